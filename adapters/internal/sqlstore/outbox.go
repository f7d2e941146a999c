package sqlstore

import (
	"context"
	"strings"
	"time"

	sq "github.com/Masterminds/squirrel"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

var outboxColumns = []string{
	"seq", "type", "occurred_at", "user_id", "session_id", "worker_id", "from_worker", "generation", "status", "reason", "data",
}

func scanEvent(r row) domain.Event {
	e := domain.Event{
		Seq: r.int64(0), Type: domain.EventType(r.text(1)), At: r.time(2), UserID: r.text(3), SessionID: r.text(4),
		WorkerID: r.text(5), FromWorker: r.text(6), Generation: r.int64(7), Status: domain.Status(r.text(8)), Reason: r.text(9),
	}
	var data eventData
	r.decode(10, &data)
	data.addTo(&e)
	return e
}

type outboxStatements struct {
	append, last                      *Statement
	after, afterOfUser                *Statement
	afterOfSession, afterOfSessionAnd *Statement
	oldest, deleteThrough, keepLast   *Statement
	lastDeleted, setLastDeleted       *Statement
}

func (b *Queries) outboxStatements() outboxStatements {
	after := func(conditions ...string) *Statement {
		q := selectFrom("outbox", outboxColumns...)
		for _, c := range conditions {
			q = q.where(c)
		}
		return b.read(q.where("seq > ?").order("seq").limit())
	}
	const ofSession, ofUser = "session_id = ? AND session_id <> ''", "user_id = ? AND user_id <> ''"
	return outboxStatements{
		append:            b.appendEvent(),
		last:              b.read(selectFrom("counters", b.lastEvent()).where("name = 'outbox'")),
		after:             after(),
		afterOfUser:       after(ofUser),
		afterOfSession:    after(ofSession),
		afterOfSessionAnd: after(ofSession, "user_id = ?"),
		oldest:            b.read(selectFrom("outbox", "seq", "occurred_at").order("seq").limit()),
		deleteThrough:     b.write(b.deleteFrom("outbox", "seq <= ?")),
		keepLast:          b.write(b.update("counters", sets("value"), "name = 'outbox' AND value < ?")),
		lastDeleted:       b.read(selectFrom("counters", "value").where("name = 'outbox_trimmed'")),
		setLastDeleted:    b.write(b.update("counters", sets("value"), "name = 'outbox_trimmed'")),
	}
}

// lastOnSQLite is the expression of the number of the last event, in a query of the counter's row. DeleteBefore raises the
// counter to the number of the last event that it has deleted.
const lastOnSQLite = "MAX(COALESCE((SELECT MAX(seq) FROM outbox), 0), value)"

// lastEvent returns the expression of the number of the last event, in a query of the counter's row.
func (b *Queries) lastEvent() string {
	if b.dialect.types.IsSQLite {
		return lastOnSQLite
	}
	return "value"
}

// appendEvent adds the INSERT of an event, with the next number. Events become visible in the order of their numbers: SQLite has
// one writer at a time, and on PostgreSQL the transaction locks the row of the counter until it commits. PostgreSQL gets two texts,
// for one event and for arrays of events:
//
//	WITH next AS (UPDATE counters SET value = value + 1 WHERE name = 'outbox' RETURNING value)
//	INSERT INTO outbox (seq, …) SELECT value, $1, … FROM next
//
//	WITH next AS (UPDATE counters SET value = value + cardinality($1) WHERE name = 'outbox' RETURNING value)
//	INSERT INTO outbox (seq, …) SELECT value - cardinality($1) + n, a1, … FROM next, unnest($1, …) WITH ORDINALITY AS many (a1, …, n)
func (b *Queries) appendEvent() *Statement {
	if b.dialect.types.IsSQLite {
		values := make([]any, len(outboxColumns))
		values[0] = sq.Expr("(SELECT " + lastOnSQLite + " + 1 FROM counters WHERE name = 'outbox')")
		return b.write(sq.Insert("outbox").Columns(outboxColumns...).Values(values...))
	}
	numbered := func(count, source string) string {
		next, _, _ := b.update("counters", []set{{"value", "value + " + count}}, "name = 'outbox'").Suffix("RETURNING value").ToSql()
		return "WITH next AS (" + next + ") INSERT INTO outbox (" + strings.Join(outboxColumns, ", ") + ") SELECT " + source
	}
	values := strings.Repeat(", ?", len(outboxColumns)-1)
	s := b.write(sqlText(numbered("1", "value"+values+" FROM next")))
	arrays := strings.Join(argument.FindAllString(s.SQL, -1), ", ")
	elements := strings.ReplaceAll(arrays, "$", "a")
	s.Batched, s.Rev = &Statement{Write: true, SQL: numbered("cardinality($1)", "value - cardinality($1) + n, "+elements+
		" FROM next, unnest("+arrays+") WITH ORDINALITY AS many ("+elements+", n)")}, NoRev
	return s
}

type outbox Tx

func (t *outbox) Append(ctx context.Context, events ...domain.Event) error {
	if len(events) == 0 {
		return (*Tx)(t).checkAllowed(ctx, true)
	}
	for i := range events {
		e := &events[i]
		data, err := encodeEventData(e)
		if err != nil {
			return err
		}
		err = (*Tx)(t).run(ctx, t.queries.outbox.append, string(e.Type), micros(e.At), e.UserID, e.SessionID,
			e.WorkerID, e.FromWorker, e.Generation, string(e.Status), e.Reason, data)
		if err != nil {
			return err
		}
	}
	return nil
}

func (t *outbox) After(ctx context.Context, f ports.EventFilter, seq int64, limit int) ([]domain.Event, error) {
	s, args := &t.queries.outbox, []any{seq, limitArgument(limit)}
	switch {
	case f.SessionID != "" && f.UserID != "":
		return queryAll(ctx, (*Tx)(t), s.afterOfSessionAnd, scanEvent, append([]any{f.SessionID, f.UserID}, args...)...)
	case f.SessionID != "":
		return queryAll(ctx, (*Tx)(t), s.afterOfSession, scanEvent, append([]any{f.SessionID}, args...)...)
	case f.UserID != "":
		return queryAll(ctx, (*Tx)(t), s.afterOfUser, scanEvent, append([]any{f.UserID}, args...)...)
	}
	return queryAll(ctx, (*Tx)(t), s.after, scanEvent, args...)
}

// Last counts deleted events too.
func (t *outbox) Last(ctx context.Context) (int64, error) {
	return queryOne(ctx, (*Tx)(t), t.queries.outbox.last, func(r row) int64 { return r.int64(0) })
}

func (t *outbox) LastDeleted(ctx context.Context) (int64, error) {
	return queryOne(ctx, (*Tx)(t), t.queries.outbox.lastDeleted, func(r row) int64 { return r.int64(0) })
}

func (t *outbox) DeleteBefore(ctx context.Context, before time.Time, limit int) (int, error) {
	type head struct {
		seq int64
		at  time.Time
	}
	oldest, err := queryAll(ctx, (*Tx)(t), t.queries.outbox.oldest, func(r row) head { return head{r.int64(0), r.time(1)} }, max(limit, 0))
	if err != nil {
		return 0, err
	}
	n := 0
	for n < len(oldest) && oldest[n].at.Before(before) {
		n++
	}
	if n == 0 {
		return 0, (*Tx)(t).checkAllowed(ctx, true)
	}
	last := oldest[n-1].seq
	if err := (*Tx)(t).run(ctx, t.queries.outbox.deleteThrough, last); err != nil {
		return 0, err
	}
	if err := (*Tx)(t).run(ctx, t.queries.outbox.keepLast, last, last); err != nil {
		return 0, err
	}
	return n, (*Tx)(t).run(ctx, t.queries.outbox.setLastDeleted, last)
}

type settingStatements struct{ get, put, putIfAbsent, compareAndSwap, remove *Statement }

func (b *Queries) settingStatements() settingStatements {
	return settingStatements{
		get:            b.read(selectFrom("settings", "value").where(equal("name"))),
		put:            b.upsert("settings", []string{"name"}, []string{"value"}),
		putIfAbsent:    b.insert("settings", "name", "value"),
		compareAndSwap: b.write(b.update("settings", sets("value"), equal("name", "value"))),
		remove:         b.write(b.deleteFrom("settings", "name = ?")),
	}
}

type settings Tx

func (t *settings) Get(ctx context.Context, name string) (string, error) {
	return queryOne(ctx, (*Tx)(t), t.queries.settings.get, func(r row) string { return r.text(0) }, name)
}

func (t *settings) Put(ctx context.Context, name, value string) error {
	return (*Tx)(t).run(ctx, t.queries.settings.put, name, value)
}

func (t *settings) Delete(ctx context.Context, name string) error {
	return (*Tx)(t).run(ctx, t.queries.settings.remove, name)
}

func (t *settings) PutIfAbsent(ctx context.Context, name, value string) (string, error) {
	if err := (*Tx)(t).run(ctx, t.queries.settings.putIfAbsent, name, value); err != nil {
		return "", err
	}
	return t.Get(ctx, name)
}

func (t *settings) CompareAndSwap(ctx context.Context, name, old, value string) error {
	if old == "" {
		return (*Tx)(t).runRequired(ctx, ports.ErrConflict, t.queries.settings.putIfAbsent, name, value)
	}
	return (*Tx)(t).runRequired(ctx, ports.ErrConflict, t.queries.settings.compareAndSwap, value, name, old)
}
