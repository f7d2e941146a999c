package sqlstore

import (
	"context"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

var outboxColumns = []string{
	"seq", "type", "occurred_at", "user_id", "session_id", "worker_id", "from_worker", "generation", "status", "reason",
}

func scanEvent(r row) domain.Event {
	return domain.Event{
		Seq: r.int64(0), Type: domain.EventType(r.text(1)), At: r.time(2), UserID: r.text(3), SessionID: r.text(4),
		WorkerID: r.text(5), FromWorker: r.text(6), Generation: r.int64(7), Status: domain.Status(r.text(8)), Reason: r.text(9),
	}
}

type outboxStatements struct{ number, append, after, last, trim *Statement }

func (b *Queries) outboxStatements() outboxStatements {
	// The row of the counter is locked until the transaction commits, so
	// numbers become visible in their order.
	number := b.update("counters", []set{{"value", "value + ?"}}, "name = 'outbox'").Suffix("RETURNING value")
	return outboxStatements{
		number: b.add(Statement{Write: true, columns: 1}, number),
		append: b.write(insertInto("outbox", outboxColumns...)),
		after:  b.read(pick("outbox", outboxColumns...).where("seq > ?").order("seq").first()),
		last:   b.read(pick("counters", "value").where("name = 'outbox'")),
		trim:   b.write(b.remove("outbox", "occurred_at < ?")),
	}
}

type outbox Tx

func (t *outbox) Append(ctx context.Context, events ...domain.Event) error {
	if len(events) == 0 {
		return (*Tx)(t).allow(ctx, true)
	}
	last, err := one(ctx, (*Tx)(t), t.body.outbox.number, func(r row) int64 { return r.int64(0) }, len(events))
	if err != nil {
		return err
	}
	seq := last - int64(len(events))
	for i := range events {
		seq++
		e := &events[i]
		err := (*Tx)(t).done(ctx, t.body.outbox.append, seq, string(e.Type), micros(e.At), e.UserID, e.SessionID,
			e.WorkerID, e.FromWorker, e.Generation, string(e.Status), e.Reason)
		if err != nil {
			return err
		}
	}
	return nil
}

func (t *outbox) After(ctx context.Context, seq int64, limit int) ([]domain.Event, error) {
	return many(ctx, (*Tx)(t), t.body.outbox.after, scanEvent, seq, upTo(limit))
}

// Last does not forget what was trimmed.
func (t *outbox) Last(ctx context.Context) (int64, error) {
	return one(ctx, (*Tx)(t), t.body.outbox.last, func(r row) int64 { return r.int64(0) })
}

func (t *outbox) DeleteBefore(ctx context.Context, before time.Time) error {
	return (*Tx)(t).done(ctx, t.body.outbox.trim, ceiling(before))
}

type settingStatements struct{ get, put, putNew, swap *Statement }

func (b *Queries) settingStatements() settingStatements {
	return settingStatements{
		get:    b.read(pick("settings", "value").where(same("name"))),
		put:    b.upsert("settings", []string{"name"}, []string{"value"}),
		putNew: b.insert("settings", "name", "value"),
		swap:   b.write(b.update("settings", sets("value"), same("name", "value"))),
	}
}

type settings Tx

func (t *settings) Get(ctx context.Context, name string) (string, error) {
	return one(ctx, (*Tx)(t), t.body.settings.get, func(r row) string { return r.text(0) }, name)
}

func (t *settings) Put(ctx context.Context, name, value string) error {
	return (*Tx)(t).done(ctx, t.body.settings.put, name, value)
}

func (t *settings) PutIfAbsent(ctx context.Context, name, value string) (string, error) {
	if err := (*Tx)(t).done(ctx, t.body.settings.putNew, name, value); err != nil {
		return "", err
	}
	return t.Get(ctx, name)
}

func (t *settings) CompareAndSwap(ctx context.Context, name, old, value string) error {
	if old == "" {
		return (*Tx)(t).changed(ctx, ports.ErrConflict, t.body.settings.putNew, name, value)
	}
	return (*Tx)(t).changed(ctx, ports.ErrConflict, t.body.settings.swap, value, name, old)
}
