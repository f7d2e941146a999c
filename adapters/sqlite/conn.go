package sqlite

import (
	"context"
	"database/sql/driver"
	"fmt"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/mattn/go-sqlite3"

	"github.com/switchyard-wa/switchyard/adapters/internal/sqlstore"
)

// access is what a connection is for.
type access string

const (
	readWrite access = "rw"
	readOnly  access = "ro"
)

// dsn puts every setting where the driver applies it before anything else runs.
func dsn(path string, a access, busy time.Duration) string {
	v := url.Values{
		"mode":             {string(a)},
		"_mutex":           {"no"}, // one goroutine at a time
		"_busy_timeout":    {strconv.FormatInt(max(busy.Milliseconds(), 1), 10)},
		"_foreign_keys":    {"1"},
		"_synchronous":     {"FULL"},
		"_cache_size":      {"-8000"},
		"_stmt_cache_size": {"32"}, // for the statements of lists
	}
	if a == readOnly {
		v.Set("_query_only", "1")
	} else {
		v.Set("_journal_mode", "WAL")
		v.Set("_txlock", "immediate")
		v.Set("_cache_size", "-64000")
	}
	u := url.URL{Path: "/" + strings.TrimPrefix(filepath.ToSlash(path), "/")} // a drive's letter needs the slash too
	return "file:" + u.EscapedPath() + "?" + v.Encode()
}

// control is a statement of transactions.
type control int

const (
	beginRead control = iota
	beginWrite
	commit
	rollback
	savepoint
	release
	rollbackTo
	controls
)

var controlSQL = [controls]string{
	"BEGIN", "BEGIN IMMEDIATE", "COMMIT", "ROLLBACK", "SAVEPOINT one", "RELEASE one", "ROLLBACK TO one",
}

// conn is a connection without the pool of database/sql around it, which costs
// more than most statements. It keeps its statements prepared.
type conn struct {
	raw      *sqlite3.SQLiteConn
	prepared []*sqlite3.SQLiteStmt // by index, then those of transactions
	controls [controls]*sqlite3.SQLiteStmt
	named    []driver.NamedValue
	scratch  sqlstore.Scratch
}

func connect(path string, a access, busy time.Duration) (*conn, error) {
	opened, err := (&sqlite3.SQLiteDriver{ConnectHook: func(c *sqlite3.SQLiteConn) error {
		return c.RegisterFunc(sqlstore.FoldFunction, strings.ToLower, true)
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

// close needs every statement to be closed, or the file would stay open.
func (c *conn) close() error {
	for _, list := range [][]*sqlite3.SQLiteStmt{c.prepared, c.controls[:]} {
		for _, s := range list {
			if s != nil {
				_ = s.Close() // repeats the error of its last run
			}
		}
	}
	return translate(c.raw.Close())
}

func (c *conn) Scratch() *sqlstore.Scratch { return &c.scratch }

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

// Exec does not stop when the context ends: the driver would need a goroutine
// for each statement.
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

func (c *conn) Query(ctx context.Context, s *sqlstore.Statement, args []any) (sqlstore.Rows, error) {
	if !s.Long {
		ctx = context.Background()
	}
	var rows driver.Rows
	var err error
	if s.Index < 0 {
		rows, err = c.raw.QueryContext(ctx, s.SQL, c.bind(args))
	} else if p, preparing := c.prepare(&c.prepared[s.Index], s.SQL); preparing != nil {
		err = preparing
	} else {
		rows, err = p.QueryContext(ctx, c.bind(args))
	}
	if err != nil {
		return nil, translate(err)
	}
	return rows, nil
}

// Script runs any number of statements.
func (c *conn) Script(_ context.Context, sql string) error {
	_, err := c.raw.Exec(sql, nil)
	return translate(err)
}

func (c *conn) control(which control) error {
	s, err := c.prepare(&c.controls[which], controlSQL[which])
	if err == nil {
		_, err = s.ExecContext(context.Background(), nil)
	}
	return translate(err)
}

// idle reports whether there is no transaction. SQLite itself ends one after
// some errors, such as a full disk.
func (c *conn) idle() bool { return c.raw.AutoCommit() }

// end makes sure that there is no transaction any more.
func (c *conn) end() error {
	if c.idle() {
		return nil
	}
	return c.control(rollback)
}

// pragma runs a PRAGMA and gives the first row of its answer.
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
