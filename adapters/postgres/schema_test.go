package postgres

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/postgres/postgrestest"
)

// TestOpen_AnotherProcessMigrates_Waits holds the lock of the schema as a migrating process does.
func TestOpen_AnotherProcessMigrates_Waits(t *testing.T) {
	dsn := postgrestest.Shared(t).NewDatabase(t)
	first := openAt(t, dsn)
	c, err := first.pool.Acquire(t.Context())
	require.NoError(t, err)
	defer c.Release()
	tx, err := c.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), schemaLock.SQL)
	require.NoError(t, err)

	opened := make(chan error, 1)
	go func() {
		s, err := Open(t.Context(), dsn, Options{Migrate: true})
		if err == nil {
			err = s.Close()
		}
		opened <- err
	}()
	require.NoError(t, awaitActivity(first, "wait_event = 'advisory'"))
	require.Empty(t, opened)
	require.NoError(t, tx.Commit(t.Context()))
	require.NoError(t, <-opened)
}

// TestSchema_TextColumns_CompareBytewise: the collation of the database does not matter.
func TestSchema_TextColumns_CompareBytewise(t *testing.T) {
	s := openShared(t)
	pooled, err := s.acquire(t.Context())
	require.NoError(t, err)
	defer pooled.Release()
	results, err := connOf(pooled).pg.Exec(t.Context(), `SELECT table_name, column_name FROM information_schema.columns
		WHERE table_schema = current_schema() AND data_type = 'text' AND collation_name IS DISTINCT FROM 'C'`).ReadAll()
	require.NoError(t, err)
	require.Empty(t, results[0].Rows)
}
