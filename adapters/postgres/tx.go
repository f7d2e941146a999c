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

// mode selects how a transaction runs.
type mode struct {
	write      bool
	grouped    bool // joins a group with its first statement
	savepoints bool // each write has a savepoint, so that a refused write can be undone
}

// access returns what the statements of the transaction may do.
func (m mode) access() sqlstore.Access {
	if m.write {
		return sqlstore.ReadWrite
	}
	return sqlstore.ReadOnly
}

// tx is one run of a function in a transaction. The transaction is its own, or the transaction of a group. An own
// transaction sends BEGIN together with its first statement. tx implements [sqlstore.Conn].
type tx struct {
	mode
	store   *Store
	pooled  *pgxpool.Conn
	conn    *conn // nil: there was no statement yet, or the transaction is in a group
	begun   bool
	joined  bool  // the transaction is in a group
	failure error // why the transaction cannot commit, whatever the function returns

	participant participant
	scratch     sqlstore.Scratch
	params      params
}

// txs recycles the memory of transactions.
var txs = sync.Pool{New: func() any { return &tx{participant: participant{ready: make(chan struct{}, 1)}} }}

func (s *Store) newTx(m mode) *tx {
	t := txs.Get().(*tx)
	t.mode, t.store = m, s
	return t
}

// recycle returns a transaction to txs. A withdrawn participant is left to its group, which may still use it.
func (t *tx) recycle() {
	if t.participant.withdrawn {
		return
	}
	ready := t.participant.ready
	*t = tx{scratch: t.scratch, params: t.params}
	t.participant.ready = ready
	txs.Put(t)
}

// Scratch implements [sqlstore.Conn].
func (t *tx) Scratch() *sqlstore.Scratch { return &t.scratch }

// run runs fn and ends the transaction. It returns the error of fn. t.failure, if set, overrides that error.
func (t *tx) run(ctx context.Context, fn func(ctx context.Context, tx *ports.Tx) error) error {
	returned := false
	defer func() {
		if !returned { // fn panics, or ends its goroutine
			t.end(ctx, false)
		}
	}()
	err := t.store.queries.Begin(ctx, t, t.store, t.access()).Run(fn)
	returned = true
	t.end(ctx, err == nil)
	return err
}

// end commits, or rolls back unless the changes are to be kept.
func (t *tx) end(ctx context.Context, keep bool) {
	if t.joined {
		failure := t.participant.finishUpdate(ctx, keep)
		if t.failure == nil {
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
		_, _ = t.conn.exec(rollback) // on failure the pool closes the connection
	case t.write:
		t.failure = t.conn.commit()
	default:
		_, _ = t.conn.exec(commit) // everything has been read
	}
	if t.pooled != nil {
		t.conn.release(t.pooled)
	}
}

// Exec implements [sqlstore.Conn].
func (t *tx) Exec(ctx context.Context, s *sqlstore.Statement, args []any) (int64, error) {
	if err := t.prepare(ctx, s, args); err != nil {
		return 0, err
	}
	if t.joined {
		r, err := t.participant.execute(ctx, s)
		return r.changed, t.recordFailure(ctx, err)
	}
	r, err := t.send(ctx, s)
	if err != nil {
		return 0, t.recordFailure(ctx, err)
	}
	tag, err := r.finish()
	return tag.RowsAffected(), t.recordFailure(ctx, err)
}

// Query implements [sqlstore.Conn].
func (t *tx) Query(ctx context.Context, s *sqlstore.Statement, args []any) (sqlstore.Rows, error) {
	if err := t.prepare(ctx, s, args); err != nil {
		return nil, err
	}
	if t.joined {
		r, err := t.participant.execute(ctx, s)
		return &r, t.recordFailure(ctx, err)
	}
	r, err := t.send(ctx, s)
	return &txRows{tx: t, ctx: ctx, rowReader: r}, t.recordFailure(ctx, err)
}

// txRows reads rows in an own transaction. It implements [sqlstore.Rows].
type txRows struct {
	tx  *tx
	ctx context.Context
	rowReader
}

// Next implements [sqlstore.Rows].
func (r *txRows) Next(row []driver.Value) error { return r.next(row) }

// Close implements [sqlstore.Rows].
func (r *txRows) Close() error {
	_, err := r.finish()
	return r.tx.recordFailure(r.ctx, err)
}

// errRunOver reports that a run cannot go on. Whatever the function makes of the error has no effect.
var errRunOver = errors.New("postgres: this run of the transaction is over")

// prepare finds the transaction at the first statement, and encodes the arguments of each statement.
func (t *tx) prepare(ctx context.Context, s *sqlstore.Statement, args []any) error {
	if t.failure != nil {
		return errRunOver
	}
	if t.conn == nil && !t.joined {
		if err := t.attach(ctx, s); err != nil {
			return t.recordFailure(ctx, err)
		}
	}
	return t.recordFailure(ctx, t.params.set(args))
}

// attach joins the group committer that fits the first statement, or takes a connection from the pool.
func (t *tx) attach(ctx context.Context, first *sqlstore.Statement) error {
	if t.grouped {
		t.joined, t.participant.committer, t.participant.params = true, t.store.committerFor(first), &t.params
		return nil
	}
	pooled, err := t.store.acquire(ctx)
	if err != nil {
		return err
	}
	t.pooled, t.conn = pooled, connOf(pooled)
	return nil
}

// send sends a statement in an own transaction.
func (t *tx) send(ctx context.Context, s *sqlstore.Statement) (rowReader, error) {
	if !t.begun {
		t.begun = true
		begin := beginRead
		if t.write {
			begin = beginWrite
		}
		if !t.savepoints {
			return t.conn.queryBetween(ctx, begin, s, &t.params, nil)
		}
		if _, err := t.conn.exec(begin); err != nil {
			return rowReader{}, err
		}
	}
	if t.savepoints && s.Write {
		return t.conn.queryBetween(ctx, savepoint, s, &t.params, release)
	}
	return t.conn.query(ctx, s, &t.params)
}

// recordFailure records why the transaction cannot commit, and returns the error for the function.
func (t *tx) recordFailure(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case t.savepoints && isRefusal(err):
		_, t.failure = t.conn.exec(rollbackTo)
		if t.failure == nil {
			return translate(err)
		}
	case t.failure == nil:
		t.failure = err
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case isRefusal(err):
		return errRunOver
	}
	return translate(err)
}

// Script implements [sqlstore.Conn]. It runs any number of statements.
func (t *tx) Script(ctx context.Context, sql string) error {
	return t.recordFailure(ctx, t.conn.pg.Exec(ctx, sql).Close())
}

// commit commits a transaction. It returns [ErrUncertain] if the outcome is unknown. It waits for the outcome even if
// the caller no longer does.
func (c *conn) commit() error {
	tag, err := c.exec(commit)
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
