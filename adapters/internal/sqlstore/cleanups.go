package sqlstore

import (
	"context"
	"errors"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

var cleanupsTable = table{
	name: "cleanups", key: []string{"worker_id", "session_id"},
	rest: []string{"pending_order", "generation", "due_at", "attempts", "created_at", "claimed_by"},
}

func scanCleanup(r row) *domain.Cleanup {
	return &domain.Cleanup{
		WorkerID: r.text(0), SessionID: r.text(1), Command: domain.Command(r.text(2)), Generation: r.int64(3),
		DueAt: r.time(4), Attempts: r.int(5), CreatedAt: r.time(6), ClaimedBy: r.text(7), Rev: r.int64(8),
	}
}

type cleanupStatements struct {
	puts
	get, due, nextDue, byWorker, bySession, remove *Statement
}

func (b *Queries) cleanupStatements() cleanupStatements {
	cleanups := pick("cleanups", cleanupsTable.columns()...)
	return cleanupStatements{
		puts: b.puts(cleanupsTable),
		get:  b.read(cleanups.where(same("worker_id", "session_id"))),
		due: b.read(cleanups.where("due_at <= ? AND due_at IS NOT NULL").
			order("due_at", "worker_id", "session_id").first()),
		nextDue:   b.read(pick("cleanups", "due_at").where("due_at IS NOT NULL").order("due_at").first()),
		byWorker:  b.read(cleanups.where(same("worker_id")).order("session_id")),
		bySession: b.read(cleanups.where(same("session_id")).order("worker_id")),
		remove:    b.write(b.remove("cleanups", same("worker_id", "session_id", "rev"))),
	}
}

type cleanups Tx

func (t *cleanups) Put(ctx context.Context, c *domain.Cleanup) error {
	return (*Tx)(t).put(ctx, &t.body.cleanups.puts, &c.Rev, c.WorkerID, c.SessionID,
		string(c.Command), c.Generation, when(c.DueAt), c.Attempts, when(c.CreatedAt), c.ClaimedBy)
}

func (t *cleanups) Due(ctx context.Context, at time.Time, limit int) ([]*domain.Cleanup, error) {
	return many(ctx, (*Tx)(t), t.body.cleanups.due, scanCleanup, micros(at), upTo(limit))
}

func (t *cleanups) NextDue(ctx context.Context) (time.Time, error) {
	return earliest(ctx, (*Tx)(t), t.body.cleanups.nextDue)
}

func (t *cleanups) ByWorker(ctx context.Context, workerID string) ([]*domain.Cleanup, error) {
	return many(ctx, (*Tx)(t), t.body.cleanups.byWorker, scanCleanup, workerID)
}

func (t *cleanups) BySession(ctx context.Context, sessionID string) ([]*domain.Cleanup, error) {
	return many(ctx, (*Tx)(t), t.body.cleanups.bySession, scanCleanup, sessionID)
}

func (t *cleanups) Delete(ctx context.Context, c *domain.Cleanup) error {
	err := (*Tx)(t).changed(ctx, ports.ErrConflict, t.body.cleanups.remove, c.WorkerID, c.SessionID, c.Rev)
	if errors.Is(err, ports.ErrConflict) {
		_, missing := one(ctx, (*Tx)(t), t.body.cleanups.get, scanCleanup, c.WorkerID, c.SessionID)
		switch {
		case errors.Is(missing, ports.ErrNotFound):
			return nil
		case missing != nil:
			return missing
		}
	}
	return err
}
