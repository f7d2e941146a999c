package sqlite

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// openExclusive opens an exclusive store. The end of the test closes it.
func openExclusive(t *testing.T, path string) *Store {
	t.Helper()
	s, err := Open(t.Context(), path, Options{Migrate: true, Exclusive: true})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func TestOpen_ExclusiveTwice_SecondIsToldTheHolder(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "store.db")
	s := openExclusive(t, path)
	require.NoError(t, s.Announce("http://127.0.0.1:8000"))
	require.NoError(t, os.Symlink(path, filepath.Join(dir, "symbolic.db")))
	t.Chdir(dir)
	for _, other := range []string{path, "store.db", "./../" + filepath.Base(dir) + "/store.db", "symbolic.db"} {
		_, err := Open(t.Context(), other, Options{Migrate: true, Exclusive: true})
		require.ErrorIs(t, err, ErrInUse, other)
		var inUse *InUseError
		require.ErrorAs(t, err, &inUse)
		require.Equal(t, os.Getpid(), inUse.PID)
		require.Equal(t, "http://127.0.0.1:8000", inUse.Address)
		require.ErrorContains(t, err, "pid "+strconv.Itoa(os.Getpid()))
	}
	beside, err := Open(t.Context(), path, Options{})
	require.NoError(t, err, "a store that is not exclusive opens beside it")
	require.NoError(t, beside.Close())
	_, err = Open(t.Context(), path, Options{Exclusive: true})
	require.ErrorIs(t, err, ErrInUse, "the other store has not released the lock")
}

func TestOpen_ExclusiveAfterClose_Opens(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	for range 2 {
		s, err := Open(t.Context(), path, Options{Migrate: true, Exclusive: true})
		require.NoError(t, err)
		require.NoError(t, s.Close())
	}
	_, err := Open(t.Context(), filepath.Join(t.TempDir(), "none.db"), Options{Exclusive: true})
	require.ErrorIs(t, err, ErrOutdated)
	require.NoError(t, os.WriteFile(path, []byte("no database at all, but long enough to be read as one"), 0o600))
	_, err = Open(t.Context(), path, Options{Exclusive: true})
	require.ErrorContains(t, err, "not an SQLite database")
	require.NoError(t, os.Remove(path))
	openExclusive(t, path) // the failed Open has released the lock
}

func TestOpen_ExclusiveThroughHardLink_IsRefused(t *testing.T) {
	dir := t.TempDir()
	path, other := filepath.Join(dir, "store.db"), filepath.Join(dir, "other.db")
	s, err := Open(t.Context(), path, Options{Migrate: true, Exclusive: true})
	require.NoError(t, err)
	require.NoError(t, os.Link(path, other))
	_, err = Open(t.Context(), other, Options{Exclusive: true})
	require.ErrorContains(t, err, "hard link")
	require.NoError(t, s.Close())
	require.NoError(t, os.Remove(other))
	openExclusive(t, path)
}

func TestOpen_LockFileRemoved_LocksTheNewOne(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	s, err := Open(t.Context(), path, Options{Migrate: true, Exclusive: true})
	require.NoError(t, err)
	require.NoError(t, s.Close())
	require.NoError(t, os.Remove(path+lockEnding))
	openExclusive(t, path)
	_, err = Open(t.Context(), path, Options{Exclusive: true})
	require.ErrorIs(t, err, ErrInUse)
}
