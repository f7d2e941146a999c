package postgres

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/switchyard-wa/switchyard/adapters/internal/sqlstore"
)

// Control statements begin and end transactions. They name the isolation level, whatever the defaults of the database or
// the role are. beginWrite does not name the access mode: a standby, or a database that was set read-only
// (default_transaction_read_only), refuses the first write with a code of its own.
var (
	beginRead  = &sqlstore.Statement{SQL: "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY"}
	beginWrite = &sqlstore.Statement{SQL: "BEGIN ISOLATION LEVEL READ COMMITTED"}
	commit     = &sqlstore.Statement{SQL: "COMMIT"}
	rollback   = &sqlstore.Statement{SQL: "ROLLBACK"}
	savepoint  = &sqlstore.Statement{SQL: "SAVEPOINT one"}
	release    = &sqlstore.Statement{SQL: "RELEASE one"}
	rollbackTo = &sqlstore.Statement{SQL: "ROLLBACK TO one"}
)

// conn is a connection without pgx's conversion of types, because all types are known here. It keeps its statements
// prepared. One goroutine uses it at a time.
type conn struct {
	pg       *pgconn.PgConn
	timeout  time.Duration // of a round trip; 0: none
	prepared map[*sqlstore.Statement]*pgconn.StatementDescription
	params   params
}

func newConn(pg *pgconn.PgConn, timeout time.Duration) *conn {
	return &conn{pg: pg, timeout: timeout, prepared: make(map[*sqlstore.Statement]*pgconn.StatementDescription)}
}

// setDeadline sets the time by which the server has to answer.
func (c *conn) setDeadline() {
	if c.timeout > 0 {
		_ = c.pg.Conn().SetDeadline(time.Now().Add(c.timeout)) // on failure the next read fails too
	}
}

// release returns a connection to its pool.
func (c *conn) release(pooled *pgxpool.Conn) {
	if c.pg.IsClosed() {
		pooled.Hijack() // the pool would keep the place until the server, too, has closed the connection
		return
	}
	_ = c.pg.Conn().SetDeadline(time.Time{}) // otherwise the pool takes the connection for broken
	pooled.Release()
}

// close closes a connection outside the pool.
func (c *conn) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = c.pg.Close(ctx) // the connection is not used any more
}

// prepare makes the server know a statement. Statements that are built for one use are not prepared.
func (c *conn) prepare(ctx context.Context, s *sqlstore.Statement, p *params) error {
	if s.Index < 0 || c.prepared[s] != nil {
		return nil
	}
	c.setDeadline()
	description, err := c.pg.Prepare(ctx, "s"+strconv.Itoa(len(c.prepared)), s.SQL, p.types)
	if err == nil {
		c.prepared[s] = description
	}
	return err
}

// noParams are the arguments of control statements.
var noParams = new(params)

// binaryFormat is the format of all arguments and results.
var binaryFormat = []int16{1}

// query sends a statement and returns its rows. The caller finishes them.
func (c *conn) query(ctx context.Context, s *sqlstore.Statement, p *params) (r rowReader, err error) {
	if err := c.prepare(ctx, s, p); err != nil {
		return r, err
	}
	c.setDeadline()
	r.conn = c
	if s.Index < 0 {
		r.rows = c.pg.ExecParams(ctx, s.SQL, p.values, p.types, binaryFormat, binaryFormat)
	} else {
		r.rows = c.pg.ExecStatement(ctx, c.prepared[s], p.values, binaryFormat, binaryFormat)
	}
	return r, nil
}

// queryBetween is query with a control statement before the statement and perhaps another after it (or nil), in one
// round trip.
func (c *conn) queryBetween(ctx context.Context, before, s *sqlstore.Statement, p *params, after *sqlstore.Statement) (r rowReader, err error) {
	var batch pgconn.Batch
	if err := c.appendTo(ctx, &batch, before, noParams); err != nil {
		return r, err
	}
	if err := c.appendTo(ctx, &batch, s, p); err != nil {
		return r, err
	}
	if after != nil {
		if err := c.appendTo(ctx, &batch, after, noParams); err != nil {
			return r, err
		}
	}
	c.setDeadline()
	r.conn, r.batch = c, c.pg.ExecBatch(ctx, &batch)
	for range 2 { // the control statement has no rows
		if !r.batch.NextResult() {
			return r, nil
		}
	}
	r.rows = r.batch.ResultReader()
	return r, nil
}

// exec runs a control statement and returns the server's command tag.
func (c *conn) exec(s *sqlstore.Statement) (tag string, err error) {
	r, err := c.query(context.Background(), s, noParams)
	if err != nil {
		return "", err
	}
	t, err := r.finish()
	return t.String(), err
}

// execAll runs control statements in one round trip.
func (c *conn) execAll(statements ...*sqlstore.Statement) error {
	var batch pgconn.Batch
	if err := c.appendAll(&batch, statements); err != nil {
		return err
	}
	c.setDeadline()
	return c.pg.ExecBatch(context.Background(), &batch).Close()
}

// appendTo appends a statement to a batch.
func (c *conn) appendTo(ctx context.Context, b *pgconn.Batch, s *sqlstore.Statement, p *params) error {
	if s.Index < 0 {
		b.ExecParams(s.SQL, p.values, p.types, binaryFormat, binaryFormat)
		return nil
	}
	err := c.prepare(ctx, s, p)
	if err == nil {
		b.ExecStatement(c.prepared[s], p.values, binaryFormat, binaryFormat)
	}
	return err
}

// appendAll appends control statements to a batch.
func (c *conn) appendAll(b *pgconn.Batch, statements []*sqlstore.Statement) error {
	for _, s := range statements {
		if err := c.appendTo(context.Background(), b, s, noParams); err != nil {
			return err
		}
	}
	return nil
}

// readResult reads the result of the next statement of a batch into memory.
func (c *conn) readResult(results *pgconn.MultiResultReader) (res result, err error) {
	if !results.NextResult() {
		return res, results.Close()
	}
	r := rowReader{conn: c, rows: results.ResultReader()}
	columns := len(r.rows.FieldDescriptions())
	for err == nil && columns > 0 {
		row := make([]driver.Value, columns)
		err = r.next(row)
		if err == nil {
			res.rows = append(res.rows, row)
		}
	}
	tag, failure := r.finish()
	res.changed = tag.RowsAffected()
	if failure != nil || errors.Is(err, io.EOF) {
		err = failure
	}
	return res, err
}

// rowReader reads the rows of one statement.
type rowReader struct {
	conn  *conn
	rows  *pgconn.ResultReader      // nil: an earlier statement of the batch failed
	batch *pgconn.MultiResultReader // nil: the statement was not in a batch
	read  int
}

// next decodes the next row. It returns io.EOF after the last row, and also for rows that end early: finish returns why.
func (r *rowReader) next(row []driver.Value) error {
	if r.rows == nil || !r.rows.NextRow() {
		return io.EOF
	}
	r.read++
	if r.read%256 == 0 {
		r.conn.setDeadline()
	}
	fields := r.rows.FieldDescriptions()
	for i, v := range r.rows.Values() {
		if err := decode(&row[i], v, fields[i].DataTypeOID); err != nil {
			return err
		}
	}
	return nil
}

// finish discards the remaining rows and returns the command tag.
func (r *rowReader) finish() (tag pgconn.CommandTag, err error) {
	if r.rows != nil {
		tag, err = r.rows.Close()
	}
	if r.batch != nil {
		batchErr := r.batch.Close()
		if err == nil {
			err = batchErr
		}
	}
	return tag, err
}
