package postgres_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/switchyard-wa/switchyard/adapters/postgres"
	"github.com/switchyard-wa/switchyard/adapters/postgres/postgrestest"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/conformance"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestStore(t *testing.T) {
	conformance.Store(t, func(t *testing.T) ports.Store { return open(t, postgrestest.Shared(t).NewDatabase(t)) })
}

// open opens a store that is closed with the test.
func open(t testing.TB, dsn string) *postgres.Store {
	t.Helper()
	s, err := postgres.Open(t.Context(), dsn, postgres.Options{Migrate: true})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func set(s ports.Store, name, value string) error {
	return s.Update(context.Background(), func(ctx context.Context, tx *ports.Tx) error {
		return tx.Settings.Put(ctx, name, value)
	})
}
