package sqlstore

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"sync/atomic"
	"time"

	"github.com/switchyard-wa/switchyard/ports"
)

// ErrTxDone is the answer of a transaction whose function has returned.
var ErrTxDone = errors.New("the transaction is over")

// Conn is a connection in a transaction. It is used by one goroutine at a
// time. Its errors are those of package ports where one applies: a unique
// value that exists is ports.ErrExists, a row that refers to a missing one is
// ports.ErrNotFound. Neither ends the transaction.
type Conn interface {
	// Exec gives the number of rows that the statement has changed.
	Exec(ctx context.Context, s *Statement, args []any) (int64, error)
	// Query gives the rows; they are closed before the next statement runs.
	Query(ctx context.Context, s *Statement, args []any) (Rows, error)
	// Scratch gives memory that belongs to the connection.
	Scratch() *Scratch
}

// Rows gives row after row as nil, int64, float64, bool, string and []byte
// values that may be kept, and [io.EOF] after the last. A [driver.Rows] is one.
type Rows interface {
	Next(row []driver.Value) error
	Close() error
}

// Scratch is memory for arguments and rows. The zero value is ready.
type Scratch struct {
	args []any
	row  []driver.Value
}

// Tx is one run of a function in a transaction, and the context that the
// function gets.
type Tx struct {
	context.Context
	body  *Queries
	conn  Conn
	owner any
	ports ports.Tx
	write bool
	over  atomic.Bool
}

// Begin makes the repositories work on a connection until End. owner, a
// pointer, is what [Inside] recognises the context by.
func (b *Queries) Begin(ctx context.Context, c Conn, owner any, write bool) *Tx {
	t := &Tx{Context: ctx, body: b, conn: c, owner: owner, write: write}
	t.ports = ports.Tx{
		Users: (*users)(t), RefreshTokenFamilies: (*refreshTokenFamilies)(t), PasswordResets: (*passwordResets)(t), APIKeys: (*apiKeys)(t),
		Sessions: (*sessions)(t), Workers: (*workers)(t), Cleanups: (*cleanups)(t), Migrations: (*migrationRows)(t),
		Messages: (*messages)(t), LoadSamples: (*loadSamples)(t), Outbox: (*outbox)(t), Settings: (*settings)(t),
		Replicas: (*replicas)(t),
	}
	return t
}

// Run calls fn, and ends the transaction however fn ends. It returns the
// context's error if that has ended by itself.
func (t *Tx) Run(fn func(ctx context.Context, tx *ports.Tx) error) error {
	defer t.over.Store(true)
	if err := fn(t, &t.ports); err != nil {
		return err
	}
	return t.Err()
}

// Value lets Inside recognise the context.
func (t *Tx) Value(key any) any {
	if key == t.owner {
		return t
	}
	return t.Context.Value(key)
}

// Inside reports whether the context is that of a transaction of the owner.
func Inside(ctx context.Context, owner any) bool { return ctx.Value(owner) != nil }

// allow refuses a statement that cannot run.
func (t *Tx) allow(ctx context.Context, write bool) error {
	switch {
	case t.over.Load():
		return ErrTxDone
	case write && !t.write:
		return ports.ErrReadOnly
	}
	return ctx.Err()
}

// args keeps arguments where they cost no memory of their own.
func (t *Tx) args(lists ...[]any) []any {
	s := t.conn.Scratch()
	if s.args == nil {
		s.args = make([]any, 0, 64) // more than any statement has
	}
	s.args = s.args[:0]
	for _, l := range lists {
		for _, v := range l {
			if i, is := v.(int); is {
				v = int64(i) // a driver knows no other integers
			}
			s.args = append(s.args, v)
		}
	}
	return s.args
}

// exec runs a statement and gives the number of rows changed.
func (t *Tx) exec(ctx context.Context, s *Statement, args ...any) (int64, error) {
	if err := t.allow(ctx, s.Write); err != nil {
		return 0, err
	}
	return t.conn.Exec(ctx, s, t.args(args))
}

// done runs a statement of which it does not matter how much it changes.
func (t *Tx) done(ctx context.Context, s *Statement, args ...any) error {
	_, err := t.exec(ctx, s, args...)
	return err
}

// changed runs a statement and returns an error if it changes nothing.
func (t *Tx) changed(ctx context.Context, otherwise error, s *Statement, args ...any) error {
	n, err := t.exec(ctx, s, args...)
	if err == nil && n == 0 {
		return otherwise
	}
	return err
}

// put inserts or replaces a row, as [ports.Store] says of Put. The values are
// those of the table's key, fixed and other columns.
func (t *Tx) put(ctx context.Context, p *puts, rev *int64, values ...any) error {
	if err := t.allow(ctx, true); err != nil {
		return err
	}
	old := *rev
	var n int64
	var err error
	if old == 0 {
		next := nextRev(0)
		if n, err = t.conn.Exec(ctx, p.insert, t.args(values, []any{next})); err != nil {
			return err
		}
		if n == 0 {
			return ports.ErrExists
		}
		*rev = next
		return nil
	}
	next := nextRev(old)
	key, fixed, rest := values[:p.keys], values[p.keys:p.keys+p.fixed], values[p.keys+p.fixed:]
	n, err = t.conn.Exec(ctx, p.update, t.args(rest, []any{next}, key, []any{old}, fixed))
	if err == nil && n == 0 && p.replace != nil {
		n, err = t.conn.Exec(ctx, p.replace, t.args(fixed, rest, []any{next}, key, []any{old}))
	}
	switch {
	case err != nil:
		return err
	case n == 0:
		return ports.ErrConflict
	}
	*rev = next
	return nil
}

// lastRev is the latest that nextRev took from the clock.
var lastRev atomic.Int64

// nextRev gives a Rev above the old one. It is the time, so that a row that is
// deleted and made anew does not repeat what it had, whatever came in between.
func nextRev(old int64) int64 {
	for {
		last := lastRev.Load()
		next := max(time.Now().UnixMicro(), last+1)
		if lastRev.CompareAndSwap(last, next) {
			return max(next, old+1)
		}
	}
}

// each reads rows. scan keeps nothing of the row itself.
func (t *Tx) each(ctx context.Context, s *Statement, args []any, scan func(r row)) (err error) {
	if err := t.allow(ctx, s.Write); err != nil {
		return err
	}
	rows, err := t.conn.Query(ctx, s, args)
	if err != nil {
		return err
	}
	defer func() {
		if closing := rows.Close(); err == nil {
			err = closing
		}
	}()
	memory := t.conn.Scratch()
	if len(memory.row) < s.columns {
		memory.row = make([]driver.Value, s.columns)
	}
	r := row{memory.row[:s.columns], &err}
	defer clear(r.values)
	for err == nil {
		if next := rows.Next(r.values); errors.Is(next, io.EOF) {
			return nil
		} else if next != nil {
			return next
		}
		scan(r)
	}
	return err
}

// one reads one row, or gives ErrNotFound.
func one[V any](ctx context.Context, t *Tx, s *Statement, scan func(r row) V, args ...any) (v V, err error) {
	found := false
	err = t.each(ctx, s, t.args(args), func(r row) {
		if !found {
			v, found = scan(r), true
		}
	})
	if err == nil && !found {
		err = ports.ErrNotFound
	}
	return v, err
}

// many reads all rows.
func many[V any](ctx context.Context, t *Tx, s *Statement, scan func(r row) V, args ...any) (list []V, err error) {
	err = t.each(ctx, s, t.args(args), func(r row) { list = append(list, scan(r)) })
	if err != nil {
		return nil, err
	}
	return list, nil
}

// listed reads the page of a list, and how many rows match in all.
func listed[V any](ctx context.Context, t *Tx, rows, count query, p ports.Page, scan func(r row) V) ([]V, int, error) {
	s, args, err := t.body.list(rows.page(p))
	if err != nil {
		return nil, 0, err
	}
	list, err := many(ctx, t, s, scan, args...)
	if err != nil {
		return nil, 0, err
	}
	if n := len(list); p.Offset <= 0 && (p.Limit <= 0 || n < p.Limit) {
		return list, n, nil // that was all
	}
	if s, args, err = t.body.list(count); err != nil {
		return nil, 0, err
	}
	total, err := one(ctx, t, s, func(r row) int { return r.int(0) }, args...)
	return list, total, err
}
