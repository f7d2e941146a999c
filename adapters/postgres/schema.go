package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/switchyard-wa/switchyard/adapters/internal/sqlstore"
)

// schemaLock lets one process at a time change schemas in a database.
var schemaLock = &sqlstore.Statement{SQL: "SELECT pg_advisory_xact_lock(7526768903561)"}

// migrate brings the schema up to date in one transaction. No timeout bounds the migration, or the wait for the
// migration of another process.
func (s *Store) migrate(ctx context.Context) error {
	config := s.config.ConnConfig.Copy().Config
	for _, limit := range []string{"statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"} {
		config.RuntimeParams[limit] = "0"
	}
	return runOutsidePool(ctx, &config, 0, mode{write: true}, func(t *tx) error {
		if _, err := t.Exec(ctx, schemaLock, nil); err != nil {
			return err
		}
		return s.queries.Migrate(ctx, t)
	})
}

// check returns an error if the schema is not up to date.
func (s *Store) check(ctx context.Context) error {
	return runOutsidePool(ctx, &s.config.ConnConfig.Config, s.timeout, mode{}, func(t *tx) error { return s.queries.Check(ctx, t) })
}

// Status returns the version of the schema in the database, 0 if there is none, and the version that this binary works
// with. It changes nothing.
func Status(ctx context.Context, dsn string) (version, latest int, err error) {
	latest = sqlstore.Latest()
	const wait = 10 * time.Second
	config, err := parse(dsn, wait)
	if err != nil {
		return 0, latest, err
	}
	err = runOutsidePool(ctx, &config.ConnConfig.Config, wait, mode{}, func(t *tx) error {
		version, err = sqlstore.Postgres().Version(ctx, t)
		return err
	})
	return version, latest, err
}

// runOutsidePool runs fn in a transaction on a connection outside the pool. It retries while the server is away.
func runOutsidePool(ctx context.Context, config *pgconn.Config, timeout time.Duration, m mode, fn func(t *tx) error) error {
	retry := retryPolicy{limit: config.ConnectTimeout}
	for {
		t := tx{mode: m}
		err := t.connect(ctx, config, timeout)
		if err == nil {
			err = fn(&t)
			t.end(ctx, err == nil)
			t.conn.close()
		}
		switch {
		case t.failure == nil:
			return err
		case retry.wait(ctx, t.failure):
			continue
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			return err
		}
		return translate(t.failure)
	}
}

// connect opens the connection of a transaction outside the pool.
func (t *tx) connect(ctx context.Context, config *pgconn.Config, timeout time.Duration) error {
	pg, err := pgconn.ConnectConfig(ctx, config)
	if err != nil {
		return t.recordFailure(ctx, err)
	}
	t.conn = newConn(pg, timeout)
	return nil
}
