package sqlite

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/ports"
)

// setSetting stores a setting.
func setSetting(s *Store, name, value string) error {
	return s.Update(context.Background(), func(ctx context.Context, tx *ports.Tx) error {
		return tx.Settings.Put(ctx, name, value)
	})
}

// getSetting returns a stored setting.
func getSetting(s *Store, name string) (value string, err error) {
	err = s.View(context.Background(), func(ctx context.Context, tx *ports.Tx) (err error) {
		value, err = tx.Settings.Get(ctx, name)
		return err
	})
	return value, err
}

func requireUnavailable(t *testing.T, err error, reason string) {
	t.Helper()
	var u *ports.UnavailableError
	require.ErrorAs(t, err, &u)
	require.Contains(t, u.Reason, reason)
}

// requireNothing requires that the store answers nothing, for a reason.
func requireNothing(t *testing.T, s *Store, reason string) {
	t.Helper()
	requireUnavailable(t, s.CheckPresence(), reason)
	requireUnavailable(t, s.CheckHealth(t.Context()), reason)
	requireUnavailable(t, setSetting(s, "name", "lost"), reason)
	_, err := getSetting(s, "name")
	requireUnavailable(t, err, reason)
}

func TestStore_FileMovedAwayAndBack_ServesNothingMeanwhile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	s := openExclusive(t, path)
	require.NoError(t, setSetting(s, "name", "value"))
	require.NoError(t, os.Rename(path, path+".away"))
	requireNothing(t, s, "was deleted or moved away")

	require.NoError(t, os.WriteFile(path, nil, 0o600))
	requireNothing(t, s, "was replaced by another one")

	require.NoError(t, os.Rename(path+".away", path))
	require.NoError(t, s.CheckHealth(t.Context()))
	value, err := getSetting(s, "name")
	require.NoError(t, err)
	require.Equal(t, "value", value)
	require.NoError(t, setSetting(s, "name", "again"))
}

func TestStore_FileDeleted_ServesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	s := openExclusive(t, path)
	require.NoError(t, os.Remove(path))
	requireNothing(t, s, "was deleted")
}

// The file vanishes while an Update runs. The commit succeeds, but nobody is told.
func TestUpdate_FileDeletedBeforeCommit_IsNotAcknowledged(t *testing.T) {
	for _, ending := range []string{"", "-wal"} {
		path := filepath.Join(t.TempDir(), "store.db")
		s := openExclusive(t, path)
		requireUnavailable(t, s.Update(t.Context(), func(ctx context.Context, tx *ports.Tx) error {
			if err := tx.Settings.Put(ctx, "name", "value"); err != nil {
				return err
			}
			return os.Remove(path + ending)
		}), "was deleted")
		requireUnavailable(t, s.CheckHealth(t.Context()), "was deleted")
	}
}

// A limit of pages stands for a full disk: SQLite reports both in the same way.
func TestStore_DiskFull_KeepsWhatItAcknowledged(t *testing.T) {
	s := openExclusive(t, filepath.Join(t.TempDir(), "store.db"))
	require.NoError(t, setSetting(s, "kept", "value"))
	limit := func(pages int) {
		require.NoError(t, s.Update(t.Context(), func(context.Context, *ports.Tx) error { // in the writer's goroutine
			_, err := s.writer.conn.pragma("max_page_count = %d", pages)
			return err
		}))
	}
	limit(1) // SQLite takes the present size
	long := strings.Repeat("x", 1<<20)
	requireUnavailable(t, setSetting(s, "long", long), "the disk is full")
	value, err := getSetting(s, "kept")
	require.NoError(t, err)
	require.Equal(t, "value", value)
	limit(1 << 30)
	require.NoError(t, setSetting(s, "long", long))
}

func TestCheckHealth_FileReadOnly_TellsWhy(t *testing.T) {
	s := openExclusive(t, filepath.Join(t.TempDir(), "store.db"))
	_, err := s.writer.conn.pragma("query_only = 1")
	require.NoError(t, err)
	requireUnavailable(t, s.CheckHealth(t.Context()), "read-only")
	_, err = s.writer.conn.pragma("query_only = 0")
	require.NoError(t, err)
	require.NoError(t, s.CheckHealth(t.Context()))
}

func BenchmarkCheckPresence(b *testing.B) {
	for name, isExclusive := range map[string]bool{"file": false, "file and lock": true} {
		b.Run(name, func(b *testing.B) {
			s, err := Open(b.Context(), filepath.Join(b.TempDir(), "store.db"), Options{Migrate: true, Exclusive: isExclusive})
			require.NoError(b, err)
			defer func() { require.NoError(b, s.Close()) }()
			for b.Loop() {
				if err := s.CheckPresence(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
