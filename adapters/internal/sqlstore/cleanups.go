package sqlstore

import (
	"context"
	"errors"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

var cleanupsTable = table{
	name: "cleanups", key: []string{"worker_id", "session_id", "state_group"},
	rest: []string{"pending_order", "generation", "due_at", "attempts", "created_at", "claimed_by", "user_id", "endpoint", "destroyed"},
}

func scanCleanup(r row) *domain.Cleanup {
	return &domain.Cleanup{
		WorkerID: r.text(0), SessionID: r.text(1), StateGroup: r.text(2), Command: domain.Command(r.text(3)), Generation: r.int64(4),
		DueAt: r.time(5), Attempts: r.int(6), CreatedAt: r.time(7), ClaimedBy: r.text(8),
		UserID: r.text(9), Endpoint: r.text(10), Destroyed: r.bool(11), Rev: r.int64(12),
	}
}

type cleanupStatements struct {
	putStatements
	get, due, nextDue, byWorker, bySession, byEndpoint, wipesByGroup, remove *Statement
}

func (b *Queries) cleanupStatements() cleanupStatements {
	cleanups := selectFrom("cleanups", cleanupsTable.columns()...)
	return cleanupStatements{
		putStatements: b.putStatements(cleanupsTable),
		get:           b.read(cleanups.where(equal("worker_id", "session_id", "state_group"))),
		due: b.read(cleanups.where("due_at <= ? AND due_at IS NOT NULL").
			order("due_at", "worker_id", "session_id", "state_group").limit()),
		nextDue:    b.read(selectFrom("cleanups", "due_at").where("due_at IS NOT NULL").order("due_at").limit()),
		byWorker:   b.read(cleanups.where(equal("worker_id")).order("session_id", "state_group")),
		bySession:  b.read(cleanups.where(equal("session_id")).order("worker_id", "state_group")),
		byEndpoint: b.read(cleanups.where("endpoint = ? AND endpoint <> ''").order("worker_id", "session_id", "state_group")),
		wipesByGroup: b.read(cleanups.where("state_group = ? AND state_group <> '' AND pending_order IN ('LOGOUT', 'DELETE')").
			order("worker_id", "session_id")),
		remove: b.write(b.deleteFrom("cleanups", equal("worker_id", "session_id", "state_group", "rev"))),
	}
}

type cleanups Tx

func (t *cleanups) Put(ctx context.Context, c *domain.Cleanup) error {
	return (*Tx)(t).put(ctx, &t.queries.cleanups.putStatements, &c.Rev, c.WorkerID, c.SessionID, c.StateGroup,
		string(c.Command), c.Generation, nullableMicros(c.DueAt), c.Attempts, nullableMicros(c.CreatedAt), c.ClaimedBy,
		c.UserID, c.Endpoint, c.Destroyed)
}

func (t *cleanups) Due(ctx context.Context, at time.Time, limit int) ([]*domain.Cleanup, error) {
	return queryAll(ctx, (*Tx)(t), t.queries.cleanups.due, scanCleanup, micros(at), limitArgument(limit))
}

func (t *cleanups) NextDue(ctx context.Context) (time.Time, error) {
	return earliest(ctx, (*Tx)(t), t.queries.cleanups.nextDue)
}

func (t *cleanups) ByWorker(ctx context.Context, workerID string) ([]*domain.Cleanup, error) {
	return queryAll(ctx, (*Tx)(t), t.queries.cleanups.byWorker, scanCleanup, workerID)
}

func (t *cleanups) BySession(ctx context.Context, sessionID string) ([]*domain.Cleanup, error) {
	return queryAll(ctx, (*Tx)(t), t.queries.cleanups.bySession, scanCleanup, sessionID)
}

func (t *cleanups) ByEndpoint(ctx context.Context, endpoint string) ([]*domain.Cleanup, error) {
	return queryAll(ctx, (*Tx)(t), t.queries.cleanups.byEndpoint, scanCleanup, endpoint)
}

func (t *cleanups) WipesByGroup(ctx context.Context, group string) ([]*domain.Cleanup, error) {
	return queryAll(ctx, (*Tx)(t), t.queries.cleanups.wipesByGroup, scanCleanup, group)
}

func (t *cleanups) Delete(ctx context.Context, c *domain.Cleanup) error {
	err := (*Tx)(t).runRequired(ctx, ports.ErrConflict, t.queries.cleanups.remove, c.WorkerID, c.SessionID, c.StateGroup, c.Rev)
	if errors.Is(err, ports.ErrConflict) {
		_, missing := queryOne(ctx, (*Tx)(t), t.queries.cleanups.get, scanCleanup, c.WorkerID, c.SessionID, c.StateGroup)
		switch {
		case errors.Is(missing, ports.ErrNotFound):
			return nil
		case missing != nil:
			return missing
		}
	}
	return err
}
