package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/mattn/go-sqlite3"

	"github.com/switchyard-wa/switchyard/adapters/internal/sqlstore"
	"github.com/switchyard-wa/switchyard/ports"
)

// Options of a store. The zero value works with a file whose schema is up to
// date.
type Options struct {
	// Migrate makes the file if it is not there and brings its schema up to
	// date; otherwise a schema that is not up to date is [ErrOutdated].
	Migrate bool
	// Readers is how many Views run at a time; 0 means 4.
	Readers int
	// BusyTimeout is how long to wait for another process that writes; 0 means
	// 5 s.
	BusyTimeout time.Duration
}

// Store implements [ports.Store].
type Store struct {
	body        *sqlstore.Queries
	writer      *writer
	checkpoints *checkpointer
	readers     chan *conn
	all         []*conn // the readers
	closed      chan struct{}
	closing     sync.Once
	closeErr    error
}

var _ ports.Store = (*Store)(nil)

// Open opens the database in a file. The path is taken as it is: no character
// of it has a meaning, and it does not name a database in memory. A file that
// Open makes can be read and written by its owner alone.
func Open(ctx context.Context, path string, o Options) (*Store, error) {
	if o.Readers <= 0 {
		o.Readers = 4
	}
	if o.BusyTimeout <= 0 {
		o.BusyTimeout = 5 * time.Second
	}
	path, err := check(path)
	if err != nil {
		return nil, err
	}
	if err := makeFile(path, o.Migrate); err != nil {
		return nil, err
	}
	s := &Store{body: sqlstore.SQLite(), readers: make(chan *conn, o.Readers), closed: make(chan struct{})}
	if err := s.open(ctx, path, o); err != nil {
		return nil, fmt.Errorf("opening %s: %w", path, err)
	}
	return s, nil
}

func (s *Store) open(ctx context.Context, path string, o Options) (err error) {
	var opened []*conn
	defer func() {
		if err != nil {
			for _, c := range opened {
				_ = c.close()
			}
		}
	}()
	next := func(a access) (*conn, error) {
		c, err := patiently(ctx, o.BusyTimeout, func() (*conn, error) { return connect(path, a, o.BusyTimeout) })
		if err == nil {
			opened = append(opened, c)
		}
		return c, err
	}
	writing, err := next(readWrite)
	if err != nil {
		return err
	}
	if err := prepareFile(ctx, writing, o.Migrate); err != nil {
		return err
	}
	copying, err := next(readWrite)
	if err != nil {
		return err
	}
	for range o.Readers {
		if _, err := next(readOnly); err != nil {
			return err
		}
	}
	s.all = opened[2:]
	for _, c := range s.all {
		s.readers <- c
	}
	s.writer = newWriter(s, writing)
	s.checkpoints = newCheckpointer(copying, s.writer)
	s.writer.start()
	s.checkpoints.start()
	return nil
}

// prepareFile sees to the mode and the schema of the file.
func prepareFile(ctx context.Context, c *conn, migrate bool) error {
	mode, err := c.pragma("journal_mode")
	if err != nil {
		return err
	}
	if mode[0] != driver.Value("wal") {
		return fmt.Errorf("sqlite: the file cannot have a write-ahead log; is it on a network file system? (journal mode %v)", mode[0])
	}
	if _, err := c.pragma("wal_autocheckpoint = 0"); err != nil { // see checkpointer
		return err
	}
	body := sqlstore.SQLite()
	if !migrate {
		return body.Check(ctx, c)
	}
	if err := c.control(beginWrite); err != nil {
		return err
	}
	if err := body.Migrate(ctx, c); err != nil {
		return errors.Join(err, c.end())
	}
	return c.control(commit)
}

// patiently repeats what another process is in the way of: while a file
// becomes one with a write-ahead log, SQLite does not wait by itself.
func patiently[V any](ctx context.Context, limit time.Duration, try func() (V, error)) (V, error) {
	for end := time.Now().Add(limit); ; {
		v, err := try()
		var e sqlite3.Error
		if err == nil || !errors.As(err, &e) || e.Code != sqlite3.ErrBusy || time.Now().After(end) {
			return v, translate(err)
		}
		select {
		case <-ctx.Done():
			return v, ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// check refuses paths that cannot be meant, and returns an absolute one.
func check(path string) (string, error) {
	switch {
	case path == "":
		return "", errors.New("sqlite: the path of the database is empty")
	case path == ":memory:":
		return "", errors.New("sqlite: :memory: would be a database for each connection; for a store in memory use `memory:`")
	case strings.ContainsRune(path, 0):
		return "", errors.New("sqlite: the path of the database has a zero byte")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("sqlite: %w", err)
	}
	return path, nil
}

// makeFile sees to it that there is a file, so that SQLite need not make one
// that others can read.
func makeFile(path string, create bool) error {
	if !create {
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%w: there is no %s", ErrOutdated, path)
		}
		return nil
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("sqlite: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("sqlite: %w", err)
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("sqlite: %w", err)
	}
	defer func() { _ = dir.Close() }()
	_ = dir.Sync() // so that the name survives too; not every system can
	return nil
}

// Status gives the version of the schema in the file, 0 if there is none, and
// the version that this binary works with. It changes nothing.
func Status(ctx context.Context, path string) (version, latest int, err error) {
	latest = sqlstore.Latest()
	if path, err = check(path); err != nil {
		return 0, latest, err
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return 0, latest, nil
	}
	const wait = 5 * time.Second
	c, err := patiently(ctx, wait, func() (*conn, error) { return connect(path, readOnly, wait) })
	if err != nil {
		return 0, latest, err
	}
	version, err = sqlstore.SQLite().Version(ctx, c)
	return version, latest, errors.Join(err, c.close())
}

// View implements [ports.Store].
func (s *Store) View(ctx context.Context, fn func(ctx context.Context, tx *ports.Tx) error) (err error) {
	if sqlstore.Inside(ctx, s) {
		return ports.ErrNested
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case <-s.closed:
		return ports.ErrClosed
	default:
	}
	var c *conn
	select {
	case c = <-s.readers:
	case <-ctx.Done():
		return ctx.Err()
	case <-s.closed:
		return ports.ErrClosed
	}
	defer func() { s.readers <- c }()
	if err := c.control(beginRead); err != nil {
		return err
	}
	defer func() { // also if fn panics, or ends its goroutine
		if ending := c.end(); err == nil {
			err = ending
		}
	}()
	return s.body.Begin(ctx, c, s, false).Run(fn)
}

// Update implements [ports.Store].
func (s *Store) Update(ctx context.Context, fn func(ctx context.Context, tx *ports.Tx) error) error {
	if sqlstore.Inside(ctx, s) {
		return ports.ErrNested
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.writer.do(ctx, fn)
}

// Close implements [ports.Store]. Updates that wait already are still carried
// out. Closing again does no harm.
func (s *Store) Close() error {
	s.closing.Do(func() {
		close(s.closed)
		s.writer.stop()
		for range s.all {
			<-s.readers
		}
		s.checkpoints.stop()
		var failures []error
		for _, c := range append(s.all, s.checkpoints.conn, s.writer.conn.conn) {
			failures = append(failures, c.close())
		}
		s.closeErr = errors.Join(failures...)
	})
	return s.closeErr
}
