package postgres

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/postgres/postgrestest"
	"github.com/switchyard-wa/switchyard/ports"
)

// openShared opens a store on an empty database of the shared server.
func openShared(t *testing.T) *Store {
	t.Helper()
	return openAt(t, postgrestest.Shared(t).NewDatabase(t))
}

// openAt opens a store that is closed with the test.
func openAt(t *testing.T, dsn string) *Store {
	t.Helper()
	s, err := Open(t.Context(), dsn, Options{Migrate: true})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// updateFunc is the function of an Update.
type updateFunc = func(ctx context.Context, tx *ports.Tx) error

// put returns the function of an Update that stores a setting.
func put(name string) updateFunc {
	return func(ctx context.Context, tx *ports.Tx) error { return tx.Settings.Put(ctx, name, "1") }
}

// has reports whether a setting is stored.
func has(t *testing.T, s *Store, name string) bool {
	t.Helper()
	err := s.View(t.Context(), func(ctx context.Context, tx *ports.Tx) error {
		_, err := tx.Settings.Get(ctx, name)
		return err
	})
	if !errors.Is(err, ports.ErrNotFound) {
		require.NoError(t, err)
	}
	return err == nil
}

// awaitActivity waits until a session of the server is in a state, which is a condition on pg_stat_activity.
func awaitActivity(s *Store, state string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for found := false; !found; {
		err := s.pool.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND "+state+")").Scan(&found)
		if err != nil {
			return err
		}
	}
	return nil
}

// ignore returns nil for the expected error.
func ignore(err, expected error) error {
	if errors.Is(err, expected) {
		return nil
	}
	return err
}
