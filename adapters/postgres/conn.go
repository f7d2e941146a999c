package postgres

import (
	"context"
	"database/sql/driver"
	"io"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/switchyard-wa/switchyard/adapters/internal/sqlstore"
)

// The statements of transactions. They say what they need, whatever the
// defaults of the database or the role are.
var (
	beginRead  = &sqlstore.Statement{SQL: "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY"}
	beginWrite = &sqlstore.Statement{SQL: "BEGIN ISOLATION LEVEL READ COMMITTED, READ WRITE"}
	commit     = &sqlstore.Statement{SQL: "COMMIT"}
	rollback   = &sqlstore.Statement{SQL: "ROLLBACK"}
	savepoint  = &sqlstore.Statement{SQL: "SAVEPOINT one"}
	release    = &sqlstore.Statement{SQL: "RELEASE one"}
	rollbackTo = &sqlstore.Statement{SQL: "ROLLBACK TO one"}
)

// conn is a connection without the layers of pgx above it, which look up and
// convert types that are known here. It keeps its statements prepared.
type conn struct {
	pg       *pgconn.PgConn
	timeout  time.Duration // of a round trip; 0: none
	prepared map[*sqlstore.Statement]*pgconn.StatementDescription
	params   params
}

func newConn(pg *pgconn.PgConn, timeout time.Duration) *conn {
	return &conn{pg: pg, timeout: timeout, prepared: make(map[*sqlstore.Statement]*pgconn.StatementDescription)}
}

// setReadDeadline sets the time by which the server has to answer.
func (c *conn) setReadDeadline() {
	if c.timeout > 0 {
		_ = c.pg.Conn().SetDeadline(time.Now().Add(c.timeout)) // fails as the next read does
	}
}

// back gives a connection back to its pool.
func (c *conn) back(pooled *pgxpool.Conn) {
	if c.pg.IsClosed() {
		pooled.Hijack() // the pool would keep its place until the server, too, has closed it
		return
	}
	_ = c.pg.Conn().SetDeadline(time.Time{}) // or else the pool would take it for broken
	pooled.Release()
}

// prepare sees to it that the server knows a statement. Those that are built
// for one use are not prepared.
func (c *conn) prepare(ctx context.Context, s *sqlstore.Statement, p *params) error {
	if s.Index < 0 || c.prepared[s] != nil {
		return nil
	}
	c.setReadDeadline()
	description, err := c.pg.Prepare(ctx, "s"+strconv.Itoa(len(c.prepared)), s.SQL, p.types)
	if err == nil {
		c.prepared[s] = description
	}
	return err
}

// none are the arguments of statements of transactions.
var none = new(params)

// inBinary is the format of all arguments and results.
var inBinary = []int16{1}

// query sends a statement and gives its rows, which have to be closed.
func (c *conn) query(ctx context.Context, s *sqlstore.Statement, p *params) (r rows, err error) {
	if err := c.prepare(ctx, s, p); err != nil {
		return r, err
	}
	c.setReadDeadline()
	r.conn = c
	if s.Index < 0 {
		r.one = c.pg.ExecParams(ctx, s.SQL, p.values, p.types, inBinary, inBinary)
	} else {
		r.one = c.pg.ExecStatement(ctx, c.prepared[s], p.values, inBinary, inBinary)
	}
	return r, nil
}

// queryBetween is ask for a statement that follows another, and perhaps precedes a
// third (or nil), in one round trip.
func (c *conn) queryBetween(ctx context.Context, before, s *sqlstore.Statement, p *params, after *sqlstore.Statement) (r rows, err error) {
	var batch pgconn.Batch
	if err := c.add(ctx, &batch, before, none); err != nil {
		return r, err
	}
	if err := c.add(ctx, &batch, s, p); err != nil {
		return r, err
	}
	if after != nil {
		if err := c.add(ctx, &batch, after, none); err != nil {
			return r, err
		}
	}
	c.setReadDeadline()
	r.conn, r.all = c, c.pg.ExecBatch(ctx, &batch)
	for range 2 { // the first has no rows
		if !r.all.NextResult() {
			return r, nil
		}
	}
	r.one = r.all.ResultReader()
	return r, nil
}

// add adds a statement to a batch.
func (c *conn) add(ctx context.Context, b *pgconn.Batch, s *sqlstore.Statement, p *params) error {
	if s.Index < 0 {
		b.ExecParams(s.SQL, p.values, p.types, inBinary, inBinary)
		return nil
	}
	err := c.prepare(ctx, s, p)
	if err == nil {
		b.ExecStatement(c.prepared[s], p.values, inBinary, inBinary)
	}
	return err
}

// do runs a statement of transactions and gives the server's word for what it
// has done.
func (c *conn) do(s *sqlstore.Statement) (string, error) {
	r, err := c.query(context.Background(), s, none)
	if err != nil {
		return "", err
	}
	tag, err := r.finish()
	return tag.String(), err
}

// rows are the answer to one statement.
type rows struct {
	conn *conn
	one  *pgconn.ResultReader      // nil: it failed before
	all  *pgconn.MultiResultReader // nil: one is everything
	read int
}

// next gives io.EOF also for rows that end early; finish tells why.
func (r *rows) next(row []driver.Value) error {
	if r.one == nil || !r.one.NextRow() {
		return io.EOF
	}
	if r.read++; r.read%256 == 0 {
		r.conn.setReadDeadline()
	}
	fields := r.one.FieldDescriptions()
	for i, v := range r.one.Values() {
		if err := decode(&row[i], v, fields[i].DataTypeOID); err != nil {
			return err
		}
	}
	return nil
}

// finish reads what is left of the answer.
func (r *rows) finish() (tag pgconn.CommandTag, err error) {
	if r.one != nil {
		tag, err = r.one.Close()
	}
	if r.all != nil {
		if rest := r.all.Close(); err == nil {
			err = rest
		}
	}
	return tag, err
}
