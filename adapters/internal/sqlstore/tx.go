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

// ErrTxDone is the error of a transaction whose function has returned.
var ErrTxDone = errors.New("the transaction is over")

// Conn is a connection in a transaction. One goroutine uses it at a time.
//
// Conn translates two errors of the database: a duplicate unique value is [ports.ErrExists], and a reference to a missing row
// is [ports.ErrNotFound]. Neither ends the transaction.
type Conn interface {
	// Exec runs a statement and returns the number of changed rows.
	Exec(ctx context.Context, s *Statement, args []any) (int64, error)
	// Query runs a statement and returns its rows. The caller closes them before it runs the next statement.
	Query(ctx context.Context, s *Statement, args []any) (Rows, error)
	// Scratch returns memory that belongs to the connection.
	Scratch() *Scratch
}

// Rows iterates over the rows of a result. [driver.Rows] implements it.
type Rows interface {
	// Next stores the next row as nil, int64, float64, bool, string and []byte values, which the caller may keep. It
	// returns [io.EOF] after the last row.
	Next(row []driver.Value) error
	Close() error
}

// Scratch is reusable memory for arguments and rows. The zero value is ready to use.
type Scratch struct {
	args []any
	row  []driver.Value
}

// Access is the kind of a transaction.
type Access int

// The kinds of transactions.
const (
	ReadOnly  Access = iota // refuses statements that change rows
	ReadWrite               // runs all statements
)

// Tx is one run of a function in a transaction, and the context that the function receives. Each repository is a Tx under
// another type name, so that it needs no memory of its own.
type Tx struct {
	context.Context
	queries *Queries
	conn    Conn
	owner   any
	ports   ports.Tx
	access  Access
	done    atomic.Bool // the function has returned
}

// Begin returns a transaction on a connection, on which the adapter has sent BEGIN. owner is a pointer by which [Inside]
// recognises the transaction's context.
func (b *Queries) Begin(ctx context.Context, c Conn, owner any, access Access) *Tx {
	t := &Tx{Context: ctx, queries: b, conn: c, owner: owner, access: access}
	t.ports = ports.Tx{
		Users: (*users)(t), RefreshTokenFamilies: (*refreshTokenFamilies)(t), PasswordResets: (*passwordResets)(t), APIKeys: (*apiKeys)(t),
		Sessions: (*sessions)(t), Workers: (*workers)(t), Cleanups: (*cleanups)(t), Migrations: (*migrations)(t),
		Messages: (*messages)(t), IdempotencyKeys: (*idempotencyKeys)(t), LoadSamples: (*loadSamples)(t), Usage: (*usage)(t), Analytics: (*analytics)(t), Outbox: (*outbox)(t), Settings: (*settings)(t),
		Replicas: (*replicas)(t), Audit: (*audit)(t), Webhooks: (*webhooks)(t), Deliveries: (*deliveries)(t),
		SendQueues: (*sendQueues)(t), QueuedMessages: (*queuedMessages)(t),
	}
	return t
}

// Run calls fn. Afterwards the transaction accepts no more statements, even if fn panics. Run returns the error of fn, or
// else the error of the context.
func (t *Tx) Run(fn func(ctx context.Context, tx *ports.Tx) error) error {
	defer t.done.Store(true)
	if err := fn(t, &t.ports); err != nil {
		return err
	}
	return t.Err()
}

// Value returns the transaction itself for the key of its owner.
func (t *Tx) Value(key any) any {
	if key == t.owner {
		return t
	}
	return t.Context.Value(key)
}

// Inside reports whether a context belongs to a transaction of the owner.
func Inside(ctx context.Context, owner any) bool { return ctx.Value(owner) != nil }

// checkAllowed returns an error if a statement cannot run.
func (t *Tx) checkAllowed(ctx context.Context, write bool) error {
	switch {
	case t.done.Load():
		return ErrTxDone
	case write && t.access == ReadOnly:
		return ports.ErrReadOnly
	}
	return ctx.Err()
}

// args joins lists of arguments in the memory of the connection.
func (t *Tx) args(lists ...[]any) []any {
	s := t.conn.Scratch()
	if s.args == nil {
		s.args = make([]any, 0, 64) // no statement has more
	}
	s.args = s.args[:0]
	for _, l := range lists {
		for _, v := range l {
			if i, is := v.(int); is {
				v = int64(i) // drivers accept no other integers
			}
			s.args = append(s.args, v)
		}
	}
	return s.args
}

// exec runs a statement and returns the number of changed rows.
func (t *Tx) exec(ctx context.Context, s *Statement, args ...any) (int64, error) {
	if err := t.checkAllowed(ctx, s.Write); err != nil {
		return 0, err
	}
	return t.conn.Exec(ctx, s, t.args(args))
}

// run runs a statement that may change any number of rows.
func (t *Tx) run(ctx context.Context, s *Statement, args ...any) error {
	_, err := t.exec(ctx, s, args...)
	return err
}

// runRequired runs a statement. It returns the error otherwise if the statement changes no row.
func (t *Tx) runRequired(ctx context.Context, otherwise error, s *Statement, args ...any) error {
	n, err := t.exec(ctx, s, args...)
	if err == nil && n == 0 {
		return otherwise
	}
	return err
}

// put inserts a row if *rev is 0, and otherwise updates the row with that rev, as [ports.Store] demands of Put. On success it
// stores the new rev in *rev. The values belong to the columns of the table's key, then to its fixed columns, then to the
// rest.
func (t *Tx) put(ctx context.Context, p *putStatements, rev *int64, values ...any) error {
	if err := t.checkAllowed(ctx, true); err != nil {
		return err
	}
	if *rev == 0 {
		return t.insert(ctx, p, rev, values)
	}
	return t.update(ctx, p, rev, values)
}

func (t *Tx) insert(ctx context.Context, p *putStatements, rev *int64, values []any) error {
	next := nextRev(0)
	n, err := t.conn.Exec(ctx, p.insert, t.args(values, []any{next}, p.computed(values), p.derived(values)))
	switch {
	case err != nil:
		return err
	case n == 0:
		return ports.ErrExists
	}
	*rev = next
	return nil
}

// update tries the statement that leaves fixed columns alone first. If they have changed, it falls back to the statement that
// sets all columns.
func (t *Tx) update(ctx context.Context, p *putStatements, rev *int64, values []any) error {
	old := *rev
	next := nextRev(old)
	key, fixed, rest := values[:p.keys], values[p.keys:p.keys+p.fixed], values[p.keys+p.fixed:]
	n, err := t.conn.Exec(ctx, p.update, t.args(rest, []any{next}, key, []any{old}, fixed))
	if err == nil && n == 0 && p.replace != nil {
		n, err = t.conn.Exec(ctx, p.replace, t.args(fixed, rest, []any{next}, p.computed(values), key, []any{old}, p.derived(values)))
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

// lastRev is the latest rev that nextRev took from the clock.
var lastRev atomic.Int64

// nextRev returns a rev above the old one. Revs are times, so a row that is deleted and inserted again does not repeat a rev.
func nextRev(old int64) int64 {
	for {
		last := lastRev.Load()
		next := max(time.Now().UnixMicro(), last+1)
		if lastRev.CompareAndSwap(last, next) {
			return max(next, old+1)
		}
	}
}

// eachRow calls scan with each row of a result. The row is valid only during the call.
func (t *Tx) eachRow(ctx context.Context, s *Statement, args []any, scan func(r row)) (err error) {
	if err := t.checkAllowed(ctx, s.Write); err != nil {
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

// queryOne returns the value of the first row, or [ports.ErrNotFound].
func queryOne[V any](ctx context.Context, t *Tx, s *Statement, scan func(r row) V, args ...any) (v V, err error) {
	found := false
	err = t.eachRow(ctx, s, t.args(args), func(r row) {
		if !found {
			v, found = scan(r), true
		}
	})
	if err == nil && !found {
		err = ports.ErrNotFound
	}
	return v, err
}

// queryAll returns the values of all rows.
func queryAll[V any](ctx context.Context, t *Tx, s *Statement, scan func(r row) V, args ...any) (list []V, err error) {
	err = t.eachRow(ctx, s, t.args(args), func(r row) { list = append(list, scan(r)) })
	if err != nil {
		return nil, err
	}
	return list, nil
}

// queryPage returns one page of a list, and the number of rows of the whole list.
func queryPage[V any](ctx context.Context, t *Tx, rows, count query, p ports.Page, scan func(r row) V) ([]V, int, error) {
	s, args, err := t.queries.list(rows.page(p))
	if err != nil {
		return nil, 0, err
	}
	list, err := queryAll(ctx, t, s, scan, args...)
	if err != nil {
		return nil, 0, err
	}
	if n := len(list); p.Offset <= 0 && (p.Limit <= 0 || n < p.Limit) {
		return list, n, nil // the page holds all rows
	}
	s, args, err = t.queries.list(count)
	if err != nil {
		return nil, 0, err
	}
	total, err := queryOne(ctx, t, s, func(r row) int { return r.int(0) }, args...)
	return list, total, err
}
