package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/mattn/go-sqlite3"

	"github.com/switchyard-wa/switchyard/adapters/internal/sqlstore"
)

// access is the mode of a connection.
type access string

const (
	readWrite access = "rw"
	readOnly  access = "ro"
	// immutable takes no lock and makes no file. It is for a file that nobody writes.
	immutable access = "immutable"
	// recovering reads, and first rolls back a transaction that a crash has interrupted.
	recovering access = "recovering"
)

// dsn returns the data source name of a connection. It holds all settings, so that the driver applies them before any
// statement runs.
func dsn(path string, a access, busy time.Duration) string {
	v := url.Values{
		"mode":             {string(a)},
		"_mutex":           {"no"}, // one goroutine at a time uses the connection
		"_busy_timeout":    {strconv.FormatInt(max(busy.Milliseconds(), 1), 10)},
		"_foreign_keys":    {"1"},
		"_synchronous":     {"FULL"},
		"_cache_size":      {"-8000"},
		"_stmt_cache_size": {"32"}, // for statements of lists; conn keeps the others
	}
	switch a {
	case immutable:
		v.Set("mode", string(readOnly))
		v.Set("immutable", "1")
	case recovering:
		v.Set("mode", string(readWrite))
		v.Set("_query_only", "1")
	case readOnly:
		v.Set("_query_only", "1")
	case readWrite:
		v.Set("_journal_mode", "WAL")
		v.Set("_txlock", "immediate")
		v.Set("_secure_delete", "FAST") // overwrites what was deleted, on pages that are written anyway
		v.Set("_cache_size", "-64000")
	}
	u := url.URL{Path: "/" + strings.TrimPrefix(filepath.ToSlash(path), "/")} // a path with a drive letter needs the slash too
	return "file:" + u.EscapedPath() + "?" + v.Encode()
}

// control is a statement that controls a transaction.
type control int

const (
	beginRead control = iota
	beginWrite
	commit
	rollback
	savepoint
	release
	rollbackTo
	controlCount
)

var controlSQL = [controlCount]string{
	"BEGIN", "BEGIN IMMEDIATE", "COMMIT", "ROLLBACK", "SAVEPOINT one", "RELEASE one", "ROLLBACK TO one",
}

// conn is a connection that keeps its statements prepared. It uses the driver directly, because the pool of database/sql
// takes longer than most statements. One goroutine at a time uses it.
type conn struct {
	raw      *sqlite3.SQLiteConn
	prepared []*sqlite3.SQLiteStmt // by [sqlstore.Statement.Index]
	controls [controlCount]*sqlite3.SQLiteStmt
	named    []driver.NamedValue
	scratch  sqlstore.Scratch
}

// connect opens a connection.
func connect(path string, a access, busy time.Duration) (*conn, error) {
	opened, err := (&sqlite3.SQLiteDriver{ConnectHook: func(c *sqlite3.SQLiteConn) error {
		return errors.Join(
			c.RegisterFunc(sqlstore.FoldFunction, strings.ToLower, true),
			c.RegisterFunc(sqlstore.WordsFunction, sqlstore.WordsOf, true),
		)
	}}).Open(dsn(path, a, busy))
	if err != nil {
		return nil, err
	}
	c := &conn{
		raw:      opened.(*sqlite3.SQLiteConn),
		prepared: make([]*sqlite3.SQLiteStmt, sqlstore.SQLite().Statements()),
		named:    make([]driver.NamedValue, 64),
	}
	for i := range c.named {
		c.named[i].Ordinal = i + 1
	}
	return c, nil
}

// close closes the connection and its statements. SQLite keeps the file open until every statement is closed.
func (c *conn) close() error {
	for _, list := range [][]*sqlite3.SQLiteStmt{c.prepared, c.controls[:]} {
		for _, s := range list {
			if s != nil {
				_ = s.Close() // returns the error of the last run again
			}
		}
	}
	return translate(c.raw.Close())
}

// Scratch implements [sqlstore.Conn].
func (c *conn) Scratch() *sqlstore.Scratch { return &c.scratch }

// prepare returns the statement in *s, and prepares it on first use.
func (c *conn) prepare(s **sqlite3.SQLiteStmt, sql string) (*sqlite3.SQLiteStmt, error) {
	if *s == nil {
		prepared, err := c.raw.Prepare(sql)
		if err != nil {
			return nil, err
		}
		*s = prepared.(*sqlite3.SQLiteStmt)
	}
	return *s, nil
}

func (c *conn) bind(args []any) []driver.NamedValue {
	for i, v := range args {
		c.named[i].Value = v
	}
	return c.named[:len(args)]
}

// Exec implements [sqlstore.Conn]. It ignores the context: the driver would start a goroutine for each statement to watch it.
func (c *conn) Exec(_ context.Context, s *sqlstore.Statement, args []any) (int64, error) {
	p, err := c.prepare(&c.prepared[s.Index], s.SQL)
	if err != nil {
		return 0, translate(err)
	}
	result, err := p.ExecContext(context.Background(), c.bind(args))
	if err != nil {
		return 0, translate(err)
	}
	return result.RowsAffected()
}

// Query implements [sqlstore.Conn]. Only long statements end with the context, for the same reason.
func (c *conn) Query(ctx context.Context, s *sqlstore.Statement, args []any) (sqlstore.Rows, error) {
	if !s.Long {
		ctx = context.Background()
	}
	rows, err := c.query(ctx, s, args)
	if err != nil {
		return nil, translate(err)
	}
	return rows, nil
}

func (c *conn) query(ctx context.Context, s *sqlstore.Statement, args []any) (driver.Rows, error) {
	if s.Index < 0 {
		return c.raw.QueryContext(ctx, s.SQL, c.bind(args))
	}
	p, err := c.prepare(&c.prepared[s.Index], s.SQL)
	if err != nil {
		return nil, err
	}
	return p.QueryContext(ctx, c.bind(args))
}

// Script implements [sqlstore.Schema].
func (c *conn) Script(_ context.Context, sql string) error {
	_, err := c.raw.Exec(sql, nil)
	return translate(err)
}

// control runs a statement that controls a transaction.
func (c *conn) control(which control) error {
	s, err := c.prepare(&c.controls[which], controlSQL[which])
	if err == nil {
		_, err = s.ExecContext(context.Background(), nil)
	}
	return translate(err)
}

// idle reports whether no transaction is open. SQLite itself ends a transaction after some errors, such as a full disk.
func (c *conn) idle() bool { return c.raw.AutoCommit() }

// end rolls back the transaction, if one is open.
func (c *conn) end() error {
	if c.idle() {
		return nil
	}
	return c.control(rollback)
}

// pragma runs a PRAGMA and returns the first row of its result.
func (c *conn) pragma(format string, args ...any) ([]driver.Value, error) {
	rows, err := c.raw.QueryContext(context.Background(), "PRAGMA "+fmt.Sprintf(format, args...), nil)
	if err != nil {
		return nil, translate(err)
	}
	defer func() { _ = rows.Close() }()
	row := make([]driver.Value, len(rows.Columns()))
	if len(row) == 0 {
		return nil, nil
	}
	return row, translate(rows.Next(row))
}
