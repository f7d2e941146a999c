package postgres_test

import (
	"context"
	"errors"
	"net/url"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/internal/testproxy"
	"github.com/switchyard-wa/switchyard/adapters/postgres"
	"github.com/switchyard-wa/switchyard/ports"
)

// open opens a store that is closed with the test.
func open(t testing.TB, dsn string) *postgres.Store {
	t.Helper()
	return openWith(t, dsn, postgres.Options{Migrate: true})
}

// openWith opens a store with options that is closed with the test.
func openWith(t testing.TB, dsn string, o postgres.Options) *postgres.Store {
	t.Helper()
	s, err := postgres.Open(t.Context(), dsn, o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// updateFunc is the function of an Update.
type updateFunc = func(ctx context.Context, tx *ports.Tx) error

// put returns a function that begins with a write.
func put(name, value string) updateFunc {
	return func(ctx context.Context, tx *ports.Tx) error { return tx.Settings.Put(ctx, name, value) }
}

// readFirst returns a function that begins with a read, so that its Update is not in the groups of write-first ones.
func readFirst(fn updateFunc) updateFunc {
	return func(ctx context.Context, tx *ports.Tx) error {
		if _, err := tx.Settings.Get(ctx, "none"); !errors.Is(err, ports.ErrNotFound) {
			return err
		}
		return fn(ctx, tx)
	}
}

// set stores a setting.
func set(s ports.Store, name, value string) error {
	return s.Update(context.Background(), put(name, value))
}

// setting returns a stored setting, or "".
func setting(t testing.TB, s ports.Store, name string) (value string) {
	t.Helper()
	require.NoError(t, s.View(t.Context(), func(ctx context.Context, tx *ports.Tx) (err error) {
		value, err = tx.Settings.Get(ctx, name)
		if errors.Is(err, ports.ErrNotFound) {
			err = nil
		}
		return err
	}), "the setting %q", name)
	return value
}

// run runs SQL over a connection of its own.
func run(t testing.TB, dsn, sql string) {
	t.Helper()
	c, err := pgconn.Connect(t.Context(), dsn)
	require.NoError(t, err)
	defer c.Close(t.Context())
	_, err = c.Exec(t.Context(), sql).ReadAll()
	require.NoError(t, err)
}

// through starts a proxy in front of the server of a URL. It returns the proxy and the URL that leads through it.
func through(t *testing.T, dsn string) (*testproxy.Proxy, string) {
	t.Helper()
	u, err := url.Parse(dsn)
	require.NoError(t, err)
	p := testproxy.Start(t, u.Host)
	u.Host = p.Addr()
	return p, u.String()
}
