package postgres

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"sync"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/switchyard-wa/switchyard/adapters/internal/sqlstore"
	"github.com/switchyard-wa/switchyard/ports"
)

// kind is what sort of a transaction to run.
type kind struct {
	write   bool
	shares  bool // joins a group
	careful bool // each write has a savepoint, so that one that is refused can be taken back
}

// tx is one run of a function in a transaction: one of its own, whose BEGIN goes
// out together with the first statement, or that of a group. It implements
// [sqlstore.Conn].
type tx struct {
	kind
	store        *Store
	pooled       *pgxpool.Conn
	conn         *conn // nil: there has been no statement, or it is in a group
	begun        bool
	participates bool  // it is in a group
	failure      error // why it cannot go on, whatever the function makes of it

	participant participant
	scratch     sqlstore.Scratch
	params      params
}

// txs are at hand for their memory.
var txs = sync.Pool{New: func() any { return &tx{participant: participant{answered: make(chan struct{}, 1)}} }}

func (s *Store) newTx(k kind) *tx {
	t := txs.Get().(*tx)
	t.kind, t.store = k, s
	return t
}

// recycle leaves alone what the group may still have a use for.
func (t *tx) recycle() {
	if t.participant.left {
		return
	}
	answered := t.participant.answered
	*t = tx{scratch: t.scratch, params: t.params}
	t.participant.answered = answered
	txs.Put(t)
}

func (t *tx) Scratch() *sqlstore.Scratch { return &t.scratch }

// run has fn run and returns its error. What then counts is t.failure, if there
// is one.
func (t *tx) run(ctx context.Context, fn func(ctx context.Context, tx *ports.Tx) error) error {
	returned := false
	defer func() {
		if !returned { // fn panics, or ends its goroutine
			t.end(ctx, false)
		}
	}()
	err := t.store.body.Begin(ctx, t, t.store, t.write).Run(fn)
	returned = true
	t.end(ctx, err == nil)
	return err
}

// end commits, or takes everything back.
func (t *tx) end(ctx context.Context, keep bool) {
	if t.participates {
		if failure := t.participant.finishUpdate(ctx, keep); t.failure == nil {
			t.failure = failure
		}
		return
	}
	if t.conn == nil {
		return
	}
	switch {
	case !t.begun:
	case !keep || t.failure != nil:
		_, _ = t.conn.do(rollback) // or else the pool closes the connection
	case t.write:
		t.failure = t.conn.commit()
	default:
		_, _ = t.conn.do(commit) // everything has been read
	}
	if t.pooled != nil {
		t.conn.back(t.pooled)
	}
}

// commit returns [ErrUncertain] if it is not known what has become of the
// transaction. It waits for the outcome even if nobody else does any more.
func (c *conn) commit() error {
	tag, err := c.do(commit)
	var reported *pgconn.PgError
	switch {
	case err == nil && tag == "COMMIT":
		return nil
	case err == nil:
		return fmt.Errorf("postgres: the transaction was lost: the server answered COMMIT with %s", tag)
	case pgconn.SafeToRetry(err), errors.As(err, &reported) && reported.SeverityUnlocalized == "ERROR":
		return err
	}
	return fmt.Errorf("%w: %w", ErrUncertain, err)
}

func (t *tx) Exec(ctx context.Context, s *sqlstore.Statement, args []any) (int64, error) {
	if err := t.choose(ctx, s, args); err != nil {
		return 0, err
	}
	if t.participates {
		a, err := t.participant.execute(ctx, s)
		return a.changed, t.note(ctx, err)
	}
	r, err := t.query(ctx, s)
	if err != nil {
		return 0, t.note(ctx, err)
	}
	tag, err := r.finish()
	return tag.RowsAffected(), t.note(ctx, err)
}

func (t *tx) Query(ctx context.Context, s *sqlstore.Statement, args []any) (sqlstore.Rows, error) {
	if err := t.choose(ctx, s, args); err != nil {
		return nil, err
	}
	if t.participates {
		a, err := t.participant.execute(ctx, s)
		return &a, t.note(ctx, err)
	}
	r, err := t.query(ctx, s)
	return &answer{tx: t, ctx: ctx, rows: r}, t.note(ctx, err)
}

// answer gives the rows of a transaction of its own.
type answer struct {
	tx  *tx
	ctx context.Context
	rows
}

func (a *answer) Next(row []driver.Value) error { return a.next(row) }

func (a *answer) Close() error {
	_, err := a.finish()
	return a.tx.note(a.ctx, err)
}

// errOver is the answer of a run that cannot go on, and of which nothing counts.
var errOver = errors.New("postgres: this run of the transaction is over")

// choose finds the transaction for the first statement, and prepares the
// arguments of each.
func (t *tx) choose(ctx context.Context, s *sqlstore.Statement, args []any) error {
	if t.failure != nil {
		return errOver
	}
	if t.conn == nil && !t.participates {
		if t.shares {
			t.participates, t.participant.committer, t.participant.params = true, t.store.long, &t.params
			if s.Write {
				t.participant.committer = t.store.short
			}
		} else if pooled, err := t.store.acquire(ctx); err == nil {
			t.pooled, t.conn = pooled, wrapConn(pooled)
		} else {
			return t.note(ctx, err)
		}
	}
	return t.note(ctx, t.params.set(args))
}

func (t *tx) query(ctx context.Context, s *sqlstore.Statement) (rows, error) {
	if !t.begun {
		t.begun = true
		begin := beginRead
		if t.write {
			begin = beginWrite
		}
		if !t.careful {
			return t.conn.queryBetween(ctx, begin, s, &t.params, nil)
		}
		if _, err := t.conn.do(begin); err != nil {
			return rows{}, err
		}
	}
	if t.careful && s.Write {
		return t.conn.queryBetween(ctx, savepoint, s, &t.params, release)
	}
	return t.conn.query(ctx, s, &t.params)
}

// note takes note of a failure, and gives the error that the function gets.
func (t *tx) note(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case t.careful && refusal(err):
		if _, t.failure = t.conn.do(rollbackTo); t.failure == nil {
			return translate(err)
		}
	case t.failure == nil:
		t.failure = err
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case refusal(err):
		return errOver
	}
	return translate(err)
}

// Script runs any number of statements.
func (t *tx) Script(ctx context.Context, sql string) error {
	return t.note(ctx, t.conn.pg.Exec(ctx, sql).Close())
}
