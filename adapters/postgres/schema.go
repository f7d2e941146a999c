package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/switchyard-wa/switchyard/adapters/internal/sqlstore"
)

// lockSchema lets one process at a time change schemas in a database.
var lockSchema = &sqlstore.Statement{SQL: "SELECT pg_advisory_xact_lock(7526768903561)"}

// migrate brings the schema up to date, all in one transaction. It may take as
// long as it needs to, and wait as long as others need for theirs.
func (s *Store) migrate(ctx context.Context) error {
	config := s.config.ConnConfig.Copy().Config
	for _, limit := range []string{"statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"} {
		config.RuntimeParams[limit] = "0"
	}
	return single(ctx, &config, 0, kind{write: true}, func(t *tx) error {
		if _, err := t.Exec(ctx, lockSchema, nil); err != nil {
			return err
		}
		return s.body.Migrate(ctx, t)
	})
}

// check returns an error if the schema is not up to date.
func (s *Store) check(ctx context.Context) error {
	return single(ctx, &s.config.ConnConfig.Config, s.timeout, kind{}, func(t *tx) error { return s.body.Check(ctx, t) })
}

// Status gives the version of the schema in the database, 0 if there is none,
// and the version that this binary works with. It changes nothing.
func Status(ctx context.Context, dsn string) (version, latest int, err error) {
	latest = sqlstore.Latest()
	const wait = 10 * time.Second
	config, err := parse(dsn, wait)
	if err != nil {
		return 0, latest, err
	}
	err = single(ctx, &config.ConnConfig.Config, wait, kind{}, func(t *tx) error {
		version, err = sqlstore.Postgres().Version(ctx, t)
		return err
	})
	return version, latest, err
}

// single runs fn in a transaction on a connection outside the pool, again if
// the server was not there.
func single(ctx context.Context, config *pgconn.Config, timeout time.Duration, k kind, fn func(t *tx) error) error {
	p := retryPolicy{limit: config.ConnectTimeout}
	for {
		t := tx{kind: k}
		err := t.connect(ctx, config, timeout)
		if err == nil {
			err = fn(&t)
			t.end(ctx, err == nil)
			t.conn.close()
		}
		switch {
		case t.failure == nil:
			return err
		case p.shouldRetry(ctx, t.failure):
			continue
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			return err
		}
		return translate(t.failure)
	}
}

func (t *tx) connect(ctx context.Context, config *pgconn.Config, timeout time.Duration) error {
	pg, err := pgconn.ConnectConfig(ctx, config)
	if err != nil {
		return t.note(ctx, err)
	}
	t.conn = newConn(pg, timeout)
	return nil
}

func (c *conn) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = c.pg.Close(ctx) // it is of no use any more
}
