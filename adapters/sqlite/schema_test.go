package sqlite

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestANewerSchemaIsRefused(t *testing.T) {
	ctx, path := t.Context(), filepath.Join(t.TempDir(), "store.db")
	s, err := Open(ctx, path, Options{Migrate: true})
	require.NoError(t, err)
	_, err = s.writer.conn.raw.Exec("INSERT INTO schema_migrations VALUES (99, 'of the future', 0)", nil)
	require.NoError(t, err)
	require.NoError(t, s.Close())
	for _, migrate := range []bool{true, false} {
		_, err := Open(ctx, path, Options{Migrate: migrate})
		require.ErrorIs(t, err, ErrNewer)
		require.ErrorContains(t, err, "99")
	}
	version, latest, err := Status(ctx, path)
	require.NoError(t, err)
	require.Equal(t, 99, version)
	require.Less(t, latest, version)
}

// TestAMigrationIsAllOrNothing has the first migration fail half-way.
func TestAMigrationIsAllOrNothing(t *testing.T) {
	ctx, path := t.Context(), filepath.Join(t.TempDir(), "store.db")
	require.NoError(t, makeFile(path, true))
	c, err := connect(path, readWrite, 1)
	require.NoError(t, err)
	require.NoError(t, c.Script(ctx, "CREATE TABLE settings (mine)"))
	require.NoError(t, c.close())
	_, err = Open(ctx, path, Options{Migrate: true})
	require.ErrorContains(t, err, "0001_first")
	require.ErrorContains(t, err, "settings already exists")

	c, err = connect(path, readWrite, 1)
	require.NoError(t, err)
	defer func() { require.NoError(t, c.close()) }()
	tables, err := c.pragma("table_list(users)")
	require.Error(t, err, "there is no such row but %v", tables)
	require.NoError(t, c.Script(ctx, "DROP TABLE settings"))
	s, err := Open(ctx, path, Options{Migrate: true})
	require.NoError(t, err)
	require.NoError(t, s.Close())
}
