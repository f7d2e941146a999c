package sqlstore

import (
	"context"
	"errors"

	sq "github.com/Masterminds/squirrel"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

var workersTable = table{
	name: "workers", key: []string{"id"}, fixed: []string{"endpoint"},
	rest: []string{
		"capacity", "description", "version", "environment", "labels", "capabilities", "interval_ns",
		"online", "draining", "last_heartbeat", "registered_at", "loss", "lost_at", "failover_at",
		"cpu", "memory", "uptime_ns", "message_count", "reported", "created_at", "updated_at", "claimed",
		"drain_id", "trial_since", "suspect",
	},
}

func scanWorker(r row) *domain.Worker {
	w := &domain.Worker{
		ID: r.text(0), Endpoint: r.text(1),
		Capacity: r.int(2), Description: r.text(3), Version: r.text(4), Environment: r.text(5), Interval: r.duration(8),
		Online: r.bool(9), Draining: r.bool(10), LastHeartbeat: r.time(11), RegisteredAt: r.time(12),
		DownReason: domain.DownReason(r.text(13)), DownAt: r.time(14), FailoverAt: r.time(15),
		CPU: r.float(16), Memory: r.float(17), Uptime: r.duration(18), MessageCount: r.int64(19),
		CreatedAt: r.time(21), UpdatedAt: r.time(22),
		AnnouncedCapacity: r.int(23), DrainID: r.text(24), CanarySince: r.time(25), Suspect: r.text(26),
		Rev: r.int64(27), Used: r.int(28),
	}
	r.decode(6, &w.Labels)
	r.decode(7, &w.Capabilities)
	r.decode(20, &w.ReportedBreakdown)
	return w
}

type workerStatements struct {
	puts
	get, byEndpoint, remove, reserve, release *Statement
}

const workerOnline = "online AND NOT draining"

func (b *Queries) workerStatements() workerStatements {
	workers := pick("workers", workersTable.columns("used")...)
	return workerStatements{
		puts:       b.puts(workersTable),
		get:        b.read(workers.where(same("id"))),
		byEndpoint: b.read(workers.where(same("endpoint"))),
		remove:     b.write(b.remove("workers", "id = ? AND used = 0")),
		reserve: b.write(b.update("workers", []set{{"used", "used + 1"}},
			"id = ? AND used < capacity AND suspect = '' AND "+workerOnline)),
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
		conditions = append(conditions, t.body.dialect.is("environment", f.Environment))
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
	reported, err := encoded(w.ReportedBreakdown, w.ReportedBreakdown == nil)
	if err != nil {
		return err
	}
	return (*Tx)(t).put(ctx, &t.body.workers.puts, &w.Rev, w.ID, w.Endpoint,
		w.Capacity, w.Description, w.Version, w.Environment, labels, capabilities, int64(w.Interval),
		w.Online, w.Draining, when(w.LastHeartbeat), when(w.RegisteredAt), string(w.DownReason), when(w.DownAt), when(w.FailoverAt),
		percent(w.CPU), percent(w.Memory), int64(w.Uptime), w.MessageCount, reported, when(w.CreatedAt), when(w.UpdatedAt), w.AnnouncedCapacity,
		w.DrainID, when(w.CanarySince), w.Suspect)
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
