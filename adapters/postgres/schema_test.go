package postgres

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/postgres/postgrestest"
)

// TestOneMigratesAtATime: whoever comes while another changes the schema waits.
func TestOneMigratesAtATime(t *testing.T) {
	dsn := postgrestest.Shared(t).NewDatabase(t)
	first := openAt(t, dsn)
	c, err := first.pool.Acquire(t.Context())
	require.NoError(t, err)
	defer c.Release()
	tx, err := c.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), lockSchema.SQL)
	require.NoError(t, err)

	opened := make(chan error, 1)
	go func() {
		s, err := Open(t.Context(), dsn, Options{Migrate: true})
		if err == nil {
			err = s.Close()
		}
		opened <- err
	}()
	require.Eventually(t, func() bool {
		var waits bool
		err := first.pool.QueryRow(t.Context(), "SELECT EXISTS (SELECT FROM pg_locks l, pg_database d "+
			"WHERE l.database = d.oid AND d.datname = current_database() AND l.locktype = 'advisory' AND NOT l.granted)").Scan(&waits)
		return err == nil && waits
	}, 20*time.Second, 10*time.Millisecond)
	require.Empty(t, opened)
	require.NoError(t, tx.Commit(t.Context()))
	require.NoError(t, <-opened)
}
