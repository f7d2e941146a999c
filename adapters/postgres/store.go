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

// Options of a store. The zero value works with a database whose schema is up
// to date.
type Options struct {
	// Migrate brings the schema up to date; otherwise a schema that is not up to
	// date is [ErrOutdated]. Any number of processes may do so at the same time.
	Migrate bool
	// Timeout is how long the server may take for one statement; 0 means 10 s. A
	// connection, a row that another transaction holds, and a server that has
	// gone are waited for half as long.
	Timeout time.Duration
}

// Store implements [ports.Store].
type Store struct {
	body        *sqlstore.Queries
	config      *pgxpool.Config
	pool        *pgxpool.Pool
	timeout     time.Duration
	invalidator *invalidator

	// Updates that begin with a write are short, such as those of messages, and of
	// heartbeats while no other replica lives: they do not wait for those that
	// read first.
	short, long *groupCommitter

	mu      sync.Mutex
	closed  bool
	running sync.WaitGroup
}

var _ ports.Store = (*Store)(nil)

// Open connects to the database of a data source name, a URL or a list of
// keywords and values as libpq has them. pool_max_conns in it bounds the number
// of connections; without it there are at most 16. Where other processes use the
// database too it should be 2 at least: one of them may stand still while it
// holds what an Update here, with its connection, waits for.
func Open(ctx context.Context, dsn string, o Options) (*Store, error) {
	if o.Timeout <= 0 {
		o.Timeout = 10 * time.Second
	}
	config, err := parse(dsn, o.Timeout)
	if err != nil {
		return nil, err
	}
	s := &Store{body: sqlstore.Postgres(), config: config, timeout: o.Timeout}
	if o.Migrate {
		err = s.migrate(ctx)
	} else {
		err = s.check(ctx)
	}
	if err != nil {
		return nil, err
	}
	if s.pool, err = pgxpool.NewWithConfig(ctx, config); err != nil {
		return nil, fmt.Errorf("postgres: %w", err)
	}
	s.short, s.long = &groupCommitter{store: s, atOnce: shortAtOnce}, &groupCommitter{store: s, atOnce: longAtOnce, turn: longTurn}
	s.invalidator = newInvalidator(s)
	return s, nil
}

// Check reports whether a data source name can be understood, without
// connecting to anything.
func Check(dsn string) error {
	_, err := parse(dsn, time.Second)
	return err
}

// errDSN does not say what is wrong, since that may quote the password.
var errDSN = errors.New("postgres: the data source name cannot be understood; it looks like " +
	"postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=verify-full, with special characters in the password as %XX")

func parse(dsn string, timeout time.Duration) (*pgxpool.Config, error) {
	config, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, errDSN
	}
	plain, err := pgconn.ParseConfig(dsn)
	if err != nil {
		return nil, errDSN
	}
	if plain.RuntimeParams["pool_max_conns"] == "" {
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
		"statement_timeout":                   ms(timeout * 4 / 5), // so that the server gives up first
		"lock_timeout":                        ms(timeout / 2),
		"idle_in_transaction_session_timeout": ms(timeout / 2), // a replica that stands still lets go of its rows
		"tcp_keepalives_idle":                 "30",            // a replica that has vanished, of its connections
		"tcp_keepalives_interval":             "10",
		"tcp_keepalives_count":                "3",
	} {
		if _, given := c.RuntimeParams[name]; !given {
			c.RuntimeParams[name] = value
		}
	}
	// A context that ends does not cost the connection if the answer comes in a
	// moment.
	c.BuildContextWatcherHandler = func(pg *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.DeadlineContextWatcherHandler{Conn: pg.Conn(), DeadlineDelay: 100 * time.Millisecond}
	}
	config.AfterConnect = func(ctx context.Context, p *pgx.Conn) error {
		own := newConn(p.PgConn(), timeout)
		p.PgConn().CustomData()[ownData] = own
		var err error
		for _, s := range []*sqlstore.Statement{beginRead, beginWrite, commit, rollback} {
			err = errors.Join(err, own.prepare(ctx, s, none))
		}
		return errors.Join(err, p.PgConn().Conn().SetDeadline(time.Time{}))
	}
	return config, nil
}

const ownData = "switchyard"

func wrapConn(p *pgxpool.Conn) *conn { return p.Conn().PgConn().CustomData()[ownData].(*conn) }

// acquire takes a connection from the pool.
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
	return s.transact(ctx, kind{}, fn)
}

// Update implements [ports.Store].
func (s *Store) Update(ctx context.Context, fn func(ctx context.Context, tx *ports.Tx) error) error {
	return s.transact(ctx, kind{write: true, shares: true}, fn)
}

// transact runs fn until a transaction stands, or has failed for good.
func (s *Store) transact(ctx context.Context, k kind, fn func(ctx context.Context, tx *ports.Tx) error) error {
	if sqlstore.Inside(ctx, s) {
		return ports.ErrNested
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if !s.enter() {
		return ports.ErrClosed
	}
	defer s.running.Done()
	p := retryPolicy{limit: s.timeout / 2}
	for {
		t := s.newTx(k)
		err := t.run(ctx, fn)
		failure, refused := t.failure, !t.participant.left && t.participant.refused
		t.recycle()
		switch {
		case failure == nil:
			return err
		case errors.Is(failure, ErrUncertain):
			return failure
		case errors.Is(failure, errAlone):
			time.Sleep(rand.N(retryJitter)) // or else they would be in each other's way again
			k.shares, k.careful = false, refused
			continue
		case refusal(failure) && !k.careful:
			k.shares, k.careful = false, true
			continue
		case p.shouldRetry(ctx, failure):
			continue
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && !errors.Is(err, errOver):
			return err
		}
		return translate(failure)
	}
}

// enter notes that something is running, unless the store is closed.
func (s *Store) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.running.Add(1)
	return true
}

// retryPolicy says whether to begin again after a failure, and waits a little.
type retryPolicy struct {
	limit time.Duration // counts from the first failure
	until time.Time
	waits *backoff.ExponentialBackOff
}

func (p *retryPolicy) shouldRetry(ctx context.Context, failure error) bool {
	if !raced(failure) && !gone(failure) {
		return false
	}
	if p.waits == nil {
		p.until, p.waits = time.Now().Add(p.limit), newBackoff(5*time.Millisecond)
	}
	wait := p.waits.NextBackOff()
	if time.Now().Add(wait).After(p.until) {
		return false
	}
	select {
	case <-ctx.Done():
		return false
	case <-time.After(wait):
		return true
	}
}

// newBackoff gives waits that grow, with jitter.
func newBackoff(first time.Duration) *backoff.ExponentialBackOff {
	b := &backoff.ExponentialBackOff{
		InitialInterval: first, Multiplier: 2, RandomizationFactor: 0.5, MaxInterval: 500 * time.Millisecond,
	}
	b.Reset()
	return b
}

// Close implements [ports.Store]. Closing again does no harm.
func (s *Store) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.running.Wait()
	s.invalidator.close()
	s.pool.Close()
	return nil
}
