package sqlite

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/internal/filelock"
	"github.com/switchyard-wa/switchyard/ports"
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

// lockElsewhere puts a lock file of another holder in place of the one of the store.
func lockElsewhere(t *testing.T, path string) *filelock.Lock {
	t.Helper()
	other, err := filelock.TryAcquire(path + ".other")
	require.NoError(t, err)
	require.NoError(t, other.Write([]byte("1 http://192.0.2.1:8000\n")))
	require.NoError(t, os.Rename(path+".other", path+lockEnding))
	return other
}

func TestStore_LockFileRemovedOrRenamed_LocksAnother(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	s := openExclusive(t, path)
	require.NoError(t, s.Announce("http://127.0.0.1:8000"))
	for i, remove := range []func() error{
		func() error { return os.Remove(path + lockEnding) },
		func() error { return os.Rename(path+lockEnding, path+".away") },
		func() error { return os.Rename(path+".away", path+lockEnding) }, // nobody has it locked by now
	} {
		require.NoError(t, remove())
		require.NoError(t, setSetting(s, "name", strconv.Itoa(i)))
		_, err := Open(t.Context(), path, Options{Exclusive: true})
		require.ErrorIs(t, err, ErrInUse)
		require.ErrorContains(t, err, "pid "+strconv.Itoa(os.Getpid())+", at http://127.0.0.1:8000")
	}
	require.NoError(t, os.Remove(path+lockEnding))
	require.NoError(t, s.Announce("http://127.0.0.1:9000"), "it writes to no file that is not locked")
	_, err := Open(t.Context(), path, Options{Exclusive: true})
	require.ErrorContains(t, err, "http://127.0.0.1:9000")
}

func TestStore_LockTakenByAnother_ServesNothing(t *testing.T) {
	const reason = "another process has taken over the database file"
	for name, hasEnded := range map[string]bool{"that runs": false, "that has ended": true} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "store.db")
			s := openExclusive(t, path)
			other := lockElsewhere(t, path)
			if hasEnded {
				other.Release()
			}
			requireNothing(t, s, reason)
			require.ErrorContains(t, s.CheckPresence(), "process 1 at http://192.0.2.1:8000", "for the log")
			requireUnavailable(t, s.Announce("http://127.0.0.1:8000"), reason)
			other.Release()
			requireNothing(t, s, reason) // what it changed is unknown
			text, err := os.ReadFile(path + lockEnding)
			require.NoError(t, err)
			require.Equal(t, "1 http://192.0.2.1:8000\n", string(text))
			require.NoError(t, s.Close())
			openExclusive(t, path)
		})
	}
}

// The commit is in the file, whoever holds the lock by then.
func TestUpdate_LockTakenBeforeCommit_IsAcknowledged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	s := openExclusive(t, path)
	require.NoError(t, s.Update(t.Context(), func(ctx context.Context, tx *ports.Tx) error {
		lockElsewhere(t, path)
		return tx.Settings.Put(ctx, "name", "value")
	}))
	requireUnavailable(t, setSetting(s, "name", "other"), "another process")
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
