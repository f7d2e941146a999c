package postgres

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
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

// Programs may share a database, but not the table with the version of the schema.
func TestOpen_VersionsOfAnotherProgram_AreRefusedUnchanged(t *testing.T) {
	dsn := postgrestest.Shared(t).NewDatabase(t)
	program, err := pgx.Connect(t.Context(), dsn)
	require.NoError(t, err)
	defer func() { require.NoError(t, program.Close(context.Background())) }()
	_, err = program.Exec(t.Context(), "CREATE TABLE songs (title TEXT)")
	require.NoError(t, err)
	version, _, err := Status(t.Context(), dsn)
	require.NoError(t, err)
	require.Zero(t, version)
	_, err = program.Exec(t.Context(), "CREATE TABLE schema_migrations (version BIGINT, dirty BOOLEAN)")
	require.NoError(t, err)
	for _, migrate := range []bool{true, false} {
		_, err := Open(t.Context(), dsn, Options{Migrate: migrate})
		require.ErrorIs(t, err, ErrForeign)
	}
	_, _, err = Status(t.Context(), dsn)
	require.ErrorIs(t, err, ErrForeign)
	var tables int
	require.NoError(t, program.QueryRow(t.Context(), "SELECT COUNT(*) FROM pg_tables WHERE schemaname = current_schema()").Scan(&tables))
	require.Equal(t, 2, tables)

	_, err = program.Exec(t.Context(), "DROP TABLE schema_migrations")
	require.NoError(t, err)
	openAt(t, dsn)
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
