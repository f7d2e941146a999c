package postgres_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/postgres"
	"github.com/switchyard-wa/switchyard/adapters/postgres/postgrestest"
	"github.com/switchyard-wa/switchyard/ports"
)

// requireUnavailable waits until a call fails and tells a reason. The server takes a moment to read its settings, and the
// first calls may find connections that were lost with the former server.
func requireUnavailable(t *testing.T, call func() error, reason string) {
	t.Helper()
	require.Eventually(t, func() bool {
		var u *ports.UnavailableError
		return errors.As(call(), &u) && strings.Contains(u.Reason, reason)
	}, 20*time.Second, time.Millisecond, reason)
}

// requireHealthy waits until the store says that it takes writes, and requires that it does.
func requireHealthy(t *testing.T, s *postgres.Store) {
	t.Helper()
	require.Eventually(t, func() bool { return s.CheckHealth(t.Context()) == nil }, 20*time.Second, 10*time.Millisecond)
	require.NoError(t, set(s, "name", "again"))
}

// TestCheckHealth_ServerCannotStore_TellsWhy also requires that writes tell the same, and that both work again by themselves.
func TestCheckHealth_ServerCannotStore_TellsWhy(t *testing.T) {
	server := postgrestest.Start(t)
	dsn := server.NewDatabase(t)
	s := openWith(t, dsn, postgres.Options{Migrate: true, Timeout: shortTimeout})
	requireHealthy(t, s)
	const readOnly = "the database is read-only"
	for _, c := range []struct {
		name, reason string
		begin, end   func()
	}{
		{"default_transaction_read_only", readOnly, func() {
			run(t, dsn, "ALTER SYSTEM SET default_transaction_read_only = on")
			run(t, dsn, "SELECT pg_reload_conf()")
		}, func() {
			run(t, dsn, "ALTER SYSTEM RESET default_transaction_read_only")
			run(t, dsn, "SELECT pg_reload_conf()")
		}},
		{"standby", readOnly, func() {
			server.Stop()
			require.NoError(t, server.RestartAsStandby())
		}, func() { require.NoError(t, server.Promote()) }},
		{"down", "the database does not answer", server.Stop, func() { require.NoError(t, server.Restart()) }},
		{"hangs", "the database does not answer", server.Pause, server.Resume},
	} {
		c.begin()
		requireUnavailable(t, func() error { return s.CheckHealth(t.Context()) }, c.reason)
		requireUnavailable(t, func() error { return set(s, "name", "lost") }, c.reason)
		requireUnavailable(t, func() error { return s.Update(context.Background(), readFirst(put("name", "lost"))) }, c.reason)
		c.end()
		requireHealthy(t, s)
	}
}

// TestView_Standby_Reads: a standby refuses writes only.
func TestView_Standby_Reads(t *testing.T) {
	server := postgrestest.Start(t)
	s := openWith(t, server.NewDatabase(t), postgres.Options{Migrate: true, Timeout: shortTimeout})
	require.NoError(t, set(s, "name", "value"))
	server.Stop()
	require.NoError(t, server.RestartAsStandby())
	require.Equal(t, "value", setting(t, s, "name"))
}
