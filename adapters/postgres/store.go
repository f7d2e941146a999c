package postgres

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/switchyard-wa/switchyard/adapters/internal/sqlstore"
	"github.com/switchyard-wa/switchyard/ports"
)

// Options configures a store. The zero value works with a database whose schema is up to date.
type Options struct {
	// Migrate brings the schema up to date. Without it Open returns [ErrOutdated] if the schema is not up to date. Any
	// number of processes may migrate at the same time.
	Migrate bool
	// Timeout bounds one statement; 0 means 10 s. Half of it bounds the wait for a connection, for a row that another
	// transaction holds, and for a server that has gone.
	Timeout time.Duration
}

// Store implements [ports.Store].
type Store struct {
	queries     *sqlstore.Queries
	config      *pgxpool.Config
	pool        *pgxpool.Pool
	timeout     time.Duration
	invalidator *invalidator
	healthSlot  int           // the row that health checks of this process write
	longReads   chan struct{} // a place for each long read that runs

	// writeFirst commits Updates whose first statement is a write, readFirst all others. Write-first Updates, such as those
	// of messages, do not wait for read-first ones.
	writeFirst, readFirst *groupCommitter

	mu      sync.Mutex
	closed  bool
	running sync.WaitGroup
}

var (
	_ ports.Store         = (*Store)(nil)
	_ ports.HealthChecker = (*Store)(nil)
)

// Open connects to the database of a data source name. The name is a URL, or a list of keywords and values as in libpq.
// Its pool_max_conns bounds the number of connections; the default is 16. If other processes use the database,
// pool_max_conns should be at least 2. Otherwise an Update that waits for a row of a process that stands still would block
// all others.
func Open(ctx context.Context, dsn string, o Options) (*Store, error) {
	if o.Timeout <= 0 {
		o.Timeout = 10 * time.Second
	}
	config, err := parse(dsn, o.Timeout)
	if err != nil {
		return nil, err
	}
	s := &Store{
		queries: sqlstore.Postgres(), config: config, timeout: o.Timeout, healthSlot: rand.N(sqlstore.HealthSlots),
		longReads: make(chan struct{}, maxLongReads(config.MaxConns)),
	}
	if o.Migrate {
		err = s.migrate(ctx)
	} else {
		err = s.check(ctx)
	}
	if err != nil {
		return nil, err
	}
	s.pool, err = pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("postgres: %w", err)
	}
	s.writeFirst = &groupCommitter{store: s, maxLeaders: maxWriteFirstLeaders}
	s.readFirst = &groupCommitter{store: s, maxLeaders: maxReadFirstLeaders, lock: readFirstLock}
	s.invalidator = newInvalidator(s)
	return s, nil
}

// Check returns an error if a data source name cannot be parsed. It connects to nothing.
func Check(dsn string) error {
	_, err := parse(dsn, time.Second)
	return err
}

// errDSN does not say which part is wrong, because the part may hold the password.
var errDSN = errors.New("postgres: the data source name cannot be understood; it looks like " +
	"postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=verify-full, with special characters in the password as %XX")

// parse parses a data source name and adds the settings of the store.
func parse(dsn string, timeout time.Duration) (*pgxpool.Config, error) {
	config, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, errDSN
	}
	base, err := pgconn.ParseConfig(dsn)
	if err != nil {
		return nil, errDSN
	}
	if base.RuntimeParams["pool_max_conns"] == "" {
		config.MaxConns = 16
	}
	if config.PingTimeout <= 0 {
		config.PingTimeout = timeout / 5
	}
	c := config.ConnConfig
	if c.ConnectTimeout <= 0 {
		c.ConnectTimeout = timeout / 2
	}
	ms := func(d time.Duration) string { return strconv.FormatInt(max(d.Milliseconds(), 1), 10) }
	for name, value := range map[string]string{
		"application_name":                    "switchyard",
		"synchronous_commit":                  "on",
		"statement_timeout":                   ms(timeout * 4 / 5), // the server gives up before the client does
		"lock_timeout":                        ms(timeout / 2),
		"idle_in_transaction_session_timeout": ms(timeout / 2), // a replica that stands still loses its locks
		"tcp_keepalives_idle":                 "30",            // a replica that has vanished loses its connections
		"tcp_keepalives_interval":             "10",
		"tcp_keepalives_count":                "3",
	} {
		if _, given := c.RuntimeParams[name]; !given {
			c.RuntimeParams[name] = value
		}
	}
	c.BuildContextWatcherHandler = func(pg *pgconn.PgConn) ctxwatch.Handler { return newContextWatcher(pg) }
	config.AfterConnect = func(ctx context.Context, p *pgx.Conn) error {
		c := newConn(p.PgConn(), timeout)
		p.PgConn().CustomData()[connKey] = c
		var err error
		for _, s := range []*sqlstore.Statement{beginRead, beginWrite, commit, rollback} {
			err = errors.Join(err, c.prepare(ctx, s, noParams))
		}
		return errors.Join(err, p.PgConn().Conn().SetDeadline(time.Time{}))
	}
	return config, nil
}

// connKey is where the custom data of a pooled connection holds its [conn].
const connKey = "switchyard"

// connOf returns the conn of a pooled connection.
func connOf(p *pgxpool.Conn) *conn { return p.Conn().PgConn().CustomData()[connKey].(*conn) }

// acquire takes a connection from the pool. It waits for half the timeout at most.
func (s *Store) acquire(ctx context.Context) (*pgxpool.Conn, error) {
	limited, cancel := context.WithTimeout(ctx, s.timeout/2)
	defer cancel()
	p, err := s.pool.Acquire(limited)
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		return nil, errNoConnection
	}
	return p, err
}

// View implements [ports.Store].
func (s *Store) View(ctx context.Context, fn func(ctx context.Context, tx *ports.Tx) error) error {
	release, err := s.acquireLongRead(ctx)
	if err != nil {
		return err
	}
	defer release()
	return s.transact(ctx, mode{}, fn)
}

// Update implements [ports.Store].
func (s *Store) Update(ctx context.Context, fn func(ctx context.Context, tx *ports.Tx) error) error {
	return s.transact(ctx, mode{write: true, grouped: true}, fn)
}

// transact runs fn, again after a failure that may pass, until its transaction is committed or has failed for good.
func (s *Store) transact(ctx context.Context, m mode, fn func(ctx context.Context, tx *ports.Tx) error) error {
	if sqlstore.Inside(ctx, s) {
		return ports.ErrNested
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if !s.startCall() {
		return ports.ErrClosed
	}
	defer s.running.Done()
	retry := retryPolicy{limit: s.timeout / 2}
	for {
		t := s.newTx(m)
		err := t.run(ctx, fn)
		failure, refused := t.failure, !t.participant.withdrawn && t.participant.refused
		t.recycle()
		switch {
		case failure == nil:
			return err
		case errors.Is(failure, ErrUncertain):
			return failure
		case errors.Is(failure, errRetryIndividually):
			sleep(ctx, rand.N(retryJitter)) // so that the Updates of the group do not collide again
			m.grouped, m.savepoints = false, refused
			continue
		case isRefusal(failure) && !m.savepoints:
			m.grouped, m.savepoints = false, true
			continue
		case retry.wait(ctx, failure):
			continue
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && !errors.Is(err, errRunOver):
			return err
		}
		return translate(failure)
	}
}

// CheckHealth implements [ports.HealthChecker]. It makes a second attempt on another connection, because the pool may hold
// connections that were lost meanwhile.
func (s *Store) CheckHealth(ctx context.Context) error {
	if !s.startCall() {
		return ports.ErrClosed
	}
	defer s.running.Done()
	retry := retryPolicy{limit: s.timeout / 10}
	for {
		t := s.newTx(mode{write: true})
		err := t.run(ctx, func(ctx context.Context, _ *ports.Tx) error { return sqlstore.RecordCheck(ctx, s.healthSlot) })
		failure := t.failure
		t.recycle()
		switch {
		case failure == nil:
			return err
		case sqlState(failure) == "" && retry.wait(ctx, failure):
			continue
		case ctx.Err() != nil:
			return ctx.Err()
		}
		return translate(failure)
	}
}

// CheckPresence implements [ports.HealthChecker]. Only the server knows its files.
func (s *Store) CheckPresence() error { return nil }

// committerFor returns the group committer of an Update with this first statement.
func (s *Store) committerFor(first *sqlstore.Statement) *groupCommitter {
	if first.Write {
		return s.writeFirst
	}
	return s.readFirst
}

// startCall counts a call that Close waits for. It returns false if the store is closed.
func (s *Store) startCall() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.running.Add(1)
	return true
}

// sleep waits, unless the context ends first.
func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// retryPolicy retries after races and lost connections, for a limited time.
type retryPolicy struct {
	limit    time.Duration // counts from the first failure
	deadline time.Time
	backoff  *backoff.ExponentialBackOff
}

// wait reports whether to retry after a failure, once it is time to.
func (p *retryPolicy) wait(ctx context.Context, failure error) bool {
	if !isRace(failure) && !isConnectionLost(failure) {
		return false
	}
	if p.backoff == nil {
		p.deadline, p.backoff = time.Now().Add(p.limit), newBackOff(5*time.Millisecond)
	}
	wait := p.backoff.NextBackOff()
	if time.Now().Add(wait).After(p.deadline) {
		return false
	}
	sleep(ctx, wait)
	return ctx.Err() == nil
}

// newBackOff returns exponential delays with jitter, from first to half a second.
func newBackOff(first time.Duration) *backoff.ExponentialBackOff {
	b := &backoff.ExponentialBackOff{
		InitialInterval: first, Multiplier: 2, RandomizationFactor: 0.5, MaxInterval: 500 * time.Millisecond,
	}
	b.Reset()
	return b
}

// Close implements [ports.Store]. It waits for calls under way. Closing again has no effect.
func (s *Store) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.running.Wait()
	s.invalidator.close()
	s.pool.Close()
	return nil
}
