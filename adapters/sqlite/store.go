package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/mattn/go-sqlite3"

	"github.com/switchyard-wa/switchyard/adapters/internal/sqlstore"
	"github.com/switchyard-wa/switchyard/ports"
)

// Options configure a store. The zero value opens a file whose schema is up to date.
type Options struct {
	// Migrate creates a missing file and upgrades its schema. Without it, Open returns [ErrOutdated] for an older schema.
	Migrate bool
	// Readers is the number of Views that run concurrently. 0 means 4.
	Readers int
	// LongReaders is the number of Views of [ports.ForLongRead] that run concurrently, on connections of their own. 0 means half of
	// the processors, from 1 to 4.
	LongReaders int
	// BusyTimeout bounds how long the store waits for another process that writes. 0 means 5 s.
	BusyTimeout time.Duration
	// Exclusive refuses the file with [ErrInUse] while another exclusive store has it open, in any process of this machine.
	// A store without it opens the file in any case, for work beside a server.
	Exclusive bool
}

// Store implements [ports.Store]. The package comment describes how it runs Views and Updates.
type Store struct {
	queries         *sqlstore.Queries
	writer          *writer
	checkpoints     *checkpointer
	idleReaders     chan *conn
	idleLongReaders chan *conn // readers for Views of [ports.ForLongRead]
	readers         []*conn
	lock            *fileLock // nil: not exclusive
	database        openFile
	log             openFile // the write-ahead log
	closed          chan struct{}
	closing         sync.Once
	closeErr        error
}

var (
	_ ports.Store         = (*Store)(nil)
	_ ports.HealthChecker = (*Store)(nil)
)

// Open opens the database in a file. No character of the path has a special meaning, and no path names a database in memory.
// Only the owner can read and write a file that Open creates.
func Open(ctx context.Context, path string, o Options) (*Store, error) {
	if o.Readers <= 0 {
		o.Readers = 4
	}
	if o.LongReaders <= 0 {
		o.LongReaders = min(max(1, runtime.GOMAXPROCS(0)/2), 4)
	}
	if o.BusyTimeout <= 0 {
		o.BusyTimeout = 5 * time.Second
	}
	path, err := resolvePath(path)
	if err != nil {
		return nil, err
	}
	s := &Store{
		queries: sqlstore.SQLite(), idleReaders: make(chan *conn, o.Readers), idleLongReaders: make(chan *conn, o.LongReaders),
		closed: make(chan struct{}),
	}
	if err := s.openLocked(ctx, path, o); err != nil {
		return nil, explain(err)
	}
	return s, nil
}

// openLocked creates the file if necessary, locks it if it is for this store alone, and opens it.
func (s *Store) openLocked(ctx context.Context, path string, o Options) (err error) {
	prepare := requireFile
	if o.Migrate {
		prepare = ensureFile
	}
	if err := prepare(path); err != nil {
		return err
	}
	if err := refuseForeign(ctx, path, o.BusyTimeout); err != nil {
		return err
	}
	if o.Exclusive {
		s.lock, err = lockFile(path)
		if err != nil {
			return err
		}
	}
	if err := s.open(ctx, path, o); err != nil {
		s.unlock()
		return fmt.Errorf("opening %s: %w", path, err)
	}
	return nil
}

// Announce records the address at which this process listens. An [InUseError] of another store contains the address. Announce
// does nothing if the store is not exclusive.
func (s *Store) Announce(address string) error {
	if s.lock == nil {
		return nil
	}
	return s.lock.announce(address)
}

// unlock releases the lock of an exclusive store.
func (s *Store) unlock() {
	if s.lock != nil {
		s.lock.release()
	}
}

// open opens all connections and starts the goroutines. It closes the connections if it fails.
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
		c, err := retryWhileBusy(ctx, o.BusyTimeout, func() (*conn, error) { return connect(path, a, o.BusyTimeout) })
		if err == nil {
			opened = append(opened, c)
		}
		return c, err
	}
	writerConn, err := next(readWrite)
	if err != nil {
		return err
	}
	if err := prepareDatabase(ctx, writerConn, o); err != nil {
		return err
	}
	checkpointConn, err := next(readWrite)
	if err != nil {
		return err
	}
	for range o.Readers + o.LongReaders {
		if _, err := next(readOnly); err != nil {
			return err
		}
	}
	if err := s.recordFiles(path); err != nil {
		return err
	}
	s.readers = opened[2:]
	for i, c := range s.readers {
		if i < o.Readers {
			s.idleReaders <- c
		} else {
			s.idleLongReaders <- c
		}
	}
	s.writer = newWriter(s, writerConn)
	s.checkpoints = newCheckpointer(checkpointConn, s.writer)
	s.writer.start()
	s.checkpoints.start()
	return nil
}

// refuseForeign returns [ErrForeign] for a file that another program has made. It runs before anything is written, because
// opening a file for writing changes its journal mode. It ignores other problems of the file, which Open reports.
func refuseForeign(ctx context.Context, path string, wait time.Duration) error {
	_, err := readVersion(ctx, path, wait)
	if errors.Is(err, ErrForeign) {
		return err
	}
	return nil
}

// readVersion returns the version of the schema in a file, or 0 if there is none. It makes no file beside a file that has no log.
func readVersion(ctx context.Context, path string, wait time.Duration) (int, error) {
	mode := immutable
	if exists(path + "-wal") {
		mode = readOnly
	}
	if exists(path + "-journal") {
		mode = recovering
	}
	c, err := retryWhileBusy(ctx, wait, func() (*conn, error) { return connect(path, mode, wait) })
	if err != nil {
		return 0, err
	}
	version, err := sqlstore.SQLite().Version(ctx, c)
	if errors.Is(err, ErrForeign) {
		err = fmt.Errorf("sqlite: %s: %w", path, err)
	}
	return version, errors.Join(err, c.close())
}

// exists reports whether a path names a file.
func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// prepareDatabase checks the journal mode, turns off automatic checkpoints, and checks or upgrades the schema.
func prepareDatabase(ctx context.Context, c *conn, o Options) error {
	mode, err := c.pragma("journal_mode")
	if err != nil {
		return err
	}
	if mode[0] != driver.Value("wal") {
		return fmt.Errorf("sqlite: the file cannot have a write-ahead log; is it on a network file system? (journal mode %v)", mode[0])
	}
	if _, err := c.pragma("wal_autocheckpoint = 0"); err != nil { // the checkpointer runs them
		return err
	}
	queries := sqlstore.SQLite()
	if !o.Migrate {
		return queries.Check(ctx, c)
	}
	if err := c.control(beginWrite); err != nil {
		return err
	}
	if err := queries.Migrate(ctx, c); err != nil {
		return errors.Join(err, c.end())
	}
	return c.control(commit)
}

// retryWhileBusy repeats try while SQLite reports that another process holds the file. SQLite itself does not wait while
// another process switches the file to a write-ahead log.
func retryWhileBusy[V any](ctx context.Context, limit time.Duration, try func() (V, error)) (V, error) {
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

// resolvePath returns the absolute path. It refuses paths that are certainly mistakes.
func resolvePath(path string) (string, error) {
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

// requireFile returns [ErrOutdated] if the file is missing.
func requireFile(path string) error {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: there is no %s", ErrOutdated, path)
	}
	return nil
}

// ensureFile creates the file if it is missing, readable by its owner alone. A file that SQLite creates is readable by
// others.
func ensureFile(path string) error {
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
	_ = dir.Sync() // makes the file's name durable, on systems that can sync a directory
	return nil
}

// Status returns the version of the schema in the file, or 0 if there is none, and the version that this binary works with.
// It changes nothing, and plays back the journal of a transaction that a crash has interrupted.
func Status(ctx context.Context, path string) (version, latest int, err error) {
	latest = sqlstore.Latest()
	path, err = resolvePath(path)
	if err != nil {
		return 0, latest, err
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return 0, latest, nil
	}
	version, err = readVersion(ctx, path, 5*time.Second)
	return version, latest, err
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
	idle := s.idleReaders
	if ports.IsLongRead(ctx) {
		idle = s.idleLongReaders
	}
	var c *conn
	select {
	case c = <-idle:
	case <-ctx.Done():
		return ctx.Err()
	case <-s.closed:
		return ports.ErrClosed
	}
	defer func() { idle <- c }()
	if err := s.CheckPresence(); err != nil {
		return err
	}
	if err := c.control(beginRead); err != nil {
		return err
	}
	defer func() { // runs even if fn panics or ends its goroutine
		if endErr := c.end(); err == nil {
			err = endErr
		}
	}()
	return s.queries.Begin(ctx, c, s, sqlstore.ReadOnly).Run(fn)
}

// Update implements [ports.Store].
func (s *Store) Update(ctx context.Context, fn func(ctx context.Context, tx *ports.Tx) error) error {
	if sqlstore.Inside(ctx, s) {
		return ports.ErrNested
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.writer.update(ctx, fn)
}

// Close implements [ports.Store]. Updates in the queue still run. A second call does nothing.
func (s *Store) Close() error {
	s.closing.Do(func() {
		close(s.closed)
		s.writer.stop()
		for _, idle := range []chan *conn{s.idleReaders, s.idleLongReaders} {
			for range cap(idle) {
				<-idle
			}
		}
		s.checkpoints.stop()
		var errs []error
		for _, c := range append(s.readers, s.checkpoints.conn, s.writer.conn.conn) {
			errs = append(errs, c.close())
		}
		s.unlock()
		s.closeErr = errors.Join(errs...)
	})
	return s.closeErr
}
