package sqlstore

import (
	"context"
	"errors"
	"time"

	sq "github.com/Masterminds/squirrel"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

var workersTable = table{
	name: "workers", key: "id", fixed: []string{"endpoint"},
	rest: []string{
		"capacity", "description", "version", "environment", "labels", "capabilities", "interval_ns",
		"online", "draining", "last_heartbeat", "registered_at", "loss", "lost_at", "failover_at",
		"cpu", "memory", "uptime_ns", "message_count", "reported", "created_at", "updated_at", "claimed",
	},
}

func scanWorker(r row) *domain.Worker {
	w := &domain.Worker{
		ID: r.text(0), Endpoint: r.text(1),
		Capacity: r.int(2), Description: r.text(3), Version: r.text(4), Environment: r.text(5), Interval: r.duration(8),
		Online: r.bool(9), Draining: r.bool(10), LastHeartbeat: r.time(11), RegisteredAt: r.time(12),
		Loss: domain.Loss(r.text(13)), LostAt: r.time(14), FailoverAt: r.time(15),
		CPU: r.float(16), Memory: r.float(17), Uptime: r.duration(18), MessageCount: r.int64(19),
		CreatedAt: r.time(21), UpdatedAt: r.time(22),
		Claimed: r.int(23), Rev: r.int64(24), Used: r.int(25),
	}
	r.decode(6, &w.Labels)
	r.decode(7, &w.Capabilities)
	r.decode(20, &w.Reported)
	return w
}

type workerStatements struct {
	puts
	get, byEndpoint, remove, reserve, release *Statement
}

const workerOnline = "online AND NOT draining"

func (b *Body) workerStatements() workerStatements {
	workers := pick("workers", workersTable.columns("used")...)
	return workerStatements{
		puts:       b.puts(workersTable),
		get:        b.read(workers.where(same("id"))),
		byEndpoint: b.read(workers.where(same("endpoint"))),
		remove:     b.write(b.remove("workers", "id = ? AND used = 0")),
		reserve: b.write(b.update("workers", []set{{"used", "used + 1"}},
			"id = ? AND used < capacity AND "+workerOnline)),
		release: b.write(b.update("workers", []set{{"used", "used - 1"}}, "id = ? AND used > 0")),
	}
}

type workers Tx

func (t *workers) Get(ctx context.Context, id string) (*domain.Worker, error) {
	return one(ctx, (*Tx)(t), t.body.workers.get, scanWorker, id)
}

func (t *workers) ByEndpoint(ctx context.Context, endpoint string) (*domain.Worker, error) {
	return one(ctx, (*Tx)(t), t.body.workers.byEndpoint, scanWorker, endpoint)
}

func (t *workers) List(ctx context.Context, f ports.WorkerFilter, p ports.Page) ([]*domain.Worker, int, error) {
	var conditions []sq.Sqlizer
	switch f.Status {
	case "":
	case domain.WorkerOnline:
		conditions = append(conditions, sq.Expr(workerOnline))
	case domain.WorkerMaintenance:
		conditions = append(conditions, sq.Expr("online AND draining"))
	case domain.WorkerOffline:
		conditions = append(conditions, sq.Expr("NOT online"))
	default:
		return nil, 0, (*Tx)(t).allow(ctx, false) // no worker is that
	}
	if f.Environment != "" {
		conditions = append(conditions, sq.Expr("environment = ?", f.Environment))
	}
	rows := pick("workers", workersTable.columns("used")...).all(conditions).order("id")
	return listed(ctx, (*Tx)(t), rows, pick("workers", "COUNT(*)").all(conditions), p, scanWorker)
}

func (t *workers) Put(ctx context.Context, w *domain.Worker) error {
	labels, err := encoded(w.Labels, w.Labels == nil)
	if err != nil {
		return err
	}
	capabilities, err := encoded(w.Capabilities, w.Capabilities == nil)
	if err != nil {
		return err
	}
	reported, err := encoded(w.Reported, w.Reported == nil)
	if err != nil {
		return err
	}
	return (*Tx)(t).put(ctx, &t.body.workers.puts, &w.Rev, w.ID, w.Endpoint,
		w.Capacity, w.Description, w.Version, w.Environment, labels, capabilities, int64(w.Interval),
		w.Online, w.Draining, when(w.LastHeartbeat), when(w.RegisteredAt), string(w.Loss), when(w.LostAt), when(w.FailoverAt),
		percent(w.CPU), percent(w.Memory), int64(w.Uptime), w.MessageCount, reported, when(w.CreatedAt), when(w.UpdatedAt), w.Claimed)
}

func (t *workers) Delete(ctx context.Context, id string) error {
	err := (*Tx)(t).changed(ctx, ports.ErrConflict, t.body.workers.remove, id)
	if errors.Is(err, ports.ErrConflict) {
		if _, missing := t.Get(ctx, id); missing != nil {
			return missing
		}
	}
	return err
}

// Reserve gives ErrFull for a missing worker too: it has no room.
func (t *workers) Reserve(ctx context.Context, id string) error {
	return (*Tx)(t).changed(ctx, ports.ErrFull, t.body.workers.reserve, id)
}

func (t *workers) Release(ctx context.Context, id string) error {
	return (*Tx)(t).done(ctx, t.body.workers.release, id)
}

var cleanupColumns = []string{
	"worker_id", "session_id", "pending_order", "generation", "due_at", "attempts", "created_at",
}

func scanCleanup(r row) *domain.Cleanup {
	return &domain.Cleanup{
		WorkerID: r.text(0), SessionID: r.text(1), Order: domain.Order(r.text(2)), Generation: r.int64(3),
		DueAt: r.time(4), Attempts: r.int(5), CreatedAt: r.time(6),
	}
}

type cleanupStatements struct{ put, due, nextDue, byWorker, bySession, remove *Statement }

func (b *Body) cleanupStatements() cleanupStatements {
	cleanups := pick("cleanups", cleanupColumns...)
	return cleanupStatements{
		put: b.upsert("cleanups", cleanupColumns[:2], cleanupColumns[2:]),
		due: b.read(cleanups.where("due_at <= ? AND due_at IS NOT NULL").
			order("due_at", "worker_id", "session_id").first()),
		nextDue:   b.read(pick("cleanups", "due_at").where("due_at IS NOT NULL").order("due_at").first()),
		byWorker:  b.read(cleanups.where(same("worker_id")).order("session_id")),
		bySession: b.read(cleanups.where(same("session_id")).order("worker_id")),
		remove:    b.write(b.remove("cleanups", same("worker_id", "session_id"))),
	}
}

type cleanups Tx

func (t *cleanups) Put(ctx context.Context, c *domain.Cleanup) error {
	return (*Tx)(t).done(ctx, t.body.cleanups.put, c.WorkerID, c.SessionID,
		string(c.Order), c.Generation, when(c.DueAt), c.Attempts, when(c.CreatedAt))
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

func (t *cleanups) Delete(ctx context.Context, workerID, sessionID string) error {
	return (*Tx)(t).done(ctx, t.body.cleanups.remove, workerID, sessionID)
}
