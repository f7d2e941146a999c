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
		"drain_id", "trial_since", "suspect", "token_epoch",
		"state_group", "failover", "drain_forced", "in_maintenance",
	},
	computed: []string{"endpoint_key"},
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
		TokenEpoch: r.text(27), StateGroup: r.text(28), Failover: domain.FailoverPolicy(r.text(29)),
		DrainForced: r.bool(30), InMaintenance: r.bool(31), Rev: r.int64(32), Used: r.int(33),
	}
	r.decode(6, &w.Labels)
	r.decode(7, &w.Capabilities)
	r.decode(20, &w.ReportedBreakdown)
	return w
}

type workerStatements struct {
	putStatements
	get, byEndpoint, remove, reserve, release *Statement
}

const workerOnline = "online AND NOT draining AND NOT in_maintenance"

func (b *Queries) workerStatements() workerStatements {
	workers := selectFrom("workers", workersTable.columns("used")...)
	puts := b.putStatements(workersTable)
	puts.compute = func(values []any) []any { return []any{domain.EndpointKey(values[1].(string))} }
	return workerStatements{
		putStatements: puts,
		get:           b.read(workers.where(equal("id"))),
		byEndpoint:    b.read(workers.where(equal("endpoint"))),
		remove:        b.write(b.deleteFrom("workers", "id = ? AND used = 0")),
		reserve: b.write(b.update("workers", []set{{"used", "used + 1"}},
			"id = ? AND used < capacity AND suspect = '' AND "+workerOnline)),
		release: b.write(b.update("workers", []set{{"used", "used - 1"}}, "id = ? AND used > 0")),
	}
}

type workers Tx

func (t *workers) Get(ctx context.Context, id string) (*domain.Worker, error) {
	return queryOne(ctx, (*Tx)(t), t.queries.workers.get, scanWorker, id)
}

func (t *workers) ByEndpoint(ctx context.Context, endpoint string) (*domain.Worker, error) {
	return queryOne(ctx, (*Tx)(t), t.queries.workers.byEndpoint, scanWorker, endpoint)
}

func (t *workers) List(ctx context.Context, f ports.WorkerFilter, p ports.Page) ([]*domain.Worker, int, error) {
	var conditions []sq.Sqlizer
	switch f.Status {
	case "":
	case domain.WorkerOnline:
		conditions = append(conditions, sq.Expr(workerOnline))
	case domain.WorkerMaintenance:
		conditions = append(conditions, sq.Expr("online AND (draining OR in_maintenance)"))
	case domain.WorkerOffline:
		conditions = append(conditions, sq.Expr("NOT online"))
	default:
		return nil, 0, (*Tx)(t).checkAllowed(ctx, false) // no worker has that status
	}
	if f.Environment != "" {
		conditions = append(conditions, t.queries.dialect.is("environment", f.Environment))
	}
	if f.StateGroup != "" {
		conditions = append(conditions, sq.Expr("state_group = ? AND state_group <> ''", f.StateGroup))
	}
	rows := selectFrom("workers", workersTable.columns("used")...).all(conditions).order("id")
	return queryPage(ctx, (*Tx)(t), rows, selectFrom("workers", "COUNT(*)").all(conditions), p, scanWorker)
}

func (t *workers) Put(ctx context.Context, w *domain.Worker) error {
	labels, err := toJSON(w.Labels, w.Labels == nil)
	if err != nil {
		return err
	}
	capabilities, err := toJSON(w.Capabilities, w.Capabilities == nil)
	if err != nil {
		return err
	}
	reported, err := toJSON(w.ReportedBreakdown, w.ReportedBreakdown == nil)
	if err != nil {
		return err
	}
	return (*Tx)(t).put(ctx, &t.queries.workers.putStatements, &w.Rev, w.ID, w.Endpoint,
		w.Capacity, w.Description, w.Version, w.Environment, labels, capabilities, int64(w.Interval),
		w.Online, w.Draining, nullableMicros(w.LastHeartbeat), nullableMicros(w.RegisteredAt), string(w.DownReason), nullableMicros(w.DownAt), nullableMicros(w.FailoverAt),
		numberOrUnknown(w.CPU), numberOrUnknown(w.Memory), int64(w.Uptime), w.MessageCount, reported, nullableMicros(w.CreatedAt), nullableMicros(w.UpdatedAt), w.AnnouncedCapacity,
		w.DrainID, nullableMicros(w.CanarySince), w.Suspect, w.TokenEpoch,
		w.StateGroup, string(w.Failover), w.DrainForced, w.InMaintenance)
}

func (t *workers) Delete(ctx context.Context, id string) error {
	err := (*Tx)(t).runRequired(ctx, ports.ErrConflict, t.queries.workers.remove, id)
	if errors.Is(err, ports.ErrConflict) {
		if _, missing := t.Get(ctx, id); missing != nil {
			return missing
		}
	}
	return err
}

// Reserve returns [ports.ErrFull] for a missing worker too.
func (t *workers) Reserve(ctx context.Context, id string) error {
	return (*Tx)(t).runRequired(ctx, ports.ErrFull, t.queries.workers.reserve, id)
}

func (t *workers) Release(ctx context.Context, id string) error {
	return (*Tx)(t).run(ctx, t.queries.workers.release, id)
}
