package sqlite

import (
	"context"
	"crypto/sha256"
	"database/sql/driver"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mattn/go-sqlite3"
	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

func TestOpen_NewerSchema_IsRefused(t *testing.T) {
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

func TestOpen_FileOfAnotherProgram_IsRefusedUnchanged(t *testing.T) {
	for name, script := range map[string]string{
		"its tables":               "CREATE TABLE songs (title TEXT); INSERT INTO songs VALUES ('one')",
		"a view":                   "CREATE VIEW songs AS SELECT 1",
		"schema_migrations of its": "CREATE TABLE schema_migrations (version TEXT PRIMARY KEY, dirty INTEGER)",
		"a write-ahead log":        "PRAGMA journal_mode = WAL; CREATE TABLE songs (title TEXT)",
	} {
		for _, isOpen := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, open: %v", name, isOpen), func(t *testing.T) {
				ctx, path := t.Context(), filepath.Join(t.TempDir(), "songs.db")
				program, err := new(sqlite3.SQLiteDriver).Open(path)
				require.NoError(t, err)
				_, err = program.(*sqlite3.SQLiteConn).Exec(script, nil)
				require.NoError(t, err)
				if isOpen {
					defer func() { require.NoError(t, program.Close()) }()
				} else {
					require.NoError(t, program.Close())
				}
				before := contents(t, filepath.Dir(path))
				for _, o := range []Options{{}, {Migrate: true}, {Exclusive: true}, {Migrate: true, Exclusive: true}} {
					_, err := Open(ctx, path, o)
					require.ErrorIs(t, err, ErrForeign)
					require.ErrorContains(t, err, path)
				}
				_, _, err = Status(ctx, path)
				require.ErrorIs(t, err, ErrForeign)
				require.Equal(t, before, contents(t, filepath.Dir(path)))
			})
		}
	}
}

// The other program died in the middle of a transaction. Its journal is still needed, and may be played back.
func TestOpen_FileOfCrashedProgram_KeepsItsJournalMode(t *testing.T) {
	ctx, path := t.Context(), filepath.Join(t.TempDir(), "songs.db")
	program, err := new(sqlite3.SQLiteDriver).Open(path)
	require.NoError(t, err)
	defer func() { require.NoError(t, program.Close()) }()
	_, err = program.(*sqlite3.SQLiteConn).Exec(`CREATE TABLE songs (title TEXT); INSERT INTO songs VALUES ('one');
		PRAGMA cache_size = 1; BEGIN; WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100)
		INSERT INTO songs SELECT hex(randomblob(2000)) FROM n`, nil)
	require.NoError(t, err)
	crashed := filepath.Join(t.TempDir(), "songs.db")
	for _, ending := range []string{"", "-journal"} {
		text, err := os.ReadFile(path + ending)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(crashed+ending, text, 0o600))
	}
	_, err = Open(ctx, crashed, Options{Migrate: true, Exclusive: true})
	require.ErrorIs(t, err, ErrForeign)
	c, err := new(sqlite3.SQLiteDriver).Open(crashed)
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Close()) }()
	mode, err := (&conn{raw: c.(*sqlite3.SQLiteConn)}).pragma("journal_mode")
	require.NoError(t, err)
	require.Equal(t, []driver.Value{"delete"}, mode)
}

// A file without tables is nobody's.
func TestOpen_EmptyFile_BecomesOurs(t *testing.T) {
	for name, script := range map[string]string{
		"no byte":          "",
		"no table is left": "CREATE TABLE songs (id INTEGER PRIMARY KEY AUTOINCREMENT); INSERT INTO songs DEFAULT VALUES; DROP TABLE songs",
	} {
		path := filepath.Join(t.TempDir(), "store.db")
		require.NoError(t, ensureFile(path))
		program, err := new(sqlite3.SQLiteDriver).Open(path)
		require.NoError(t, err)
		_, err = program.(*sqlite3.SQLiteConn).Exec(script, nil)
		require.NoError(t, err)
		require.NoError(t, program.Close())
		s, err := Open(t.Context(), path, Options{Migrate: true})
		require.NoError(t, err, name)
		require.NoError(t, s.Close())
	}
}

// contents returns the digests of the files of a directory, without the index of a write-ahead log, which readers write too.
func contents(t *testing.T, directory string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	entries, err := os.ReadDir(directory)
	require.NoError(t, err)
	for _, e := range entries {
		if text, err := os.ReadFile(filepath.Join(directory, e.Name())); !strings.HasSuffix(e.Name(), "-shm") {
			require.NoError(t, err)
			all[e.Name()] = fmt.Sprintf("%x", sha256.Sum256(text))
		}
	}
	return all
}

// TestOpen_MigrationFailsHalfway_LeavesNothing makes the first migration fail at an existing table.
func TestOpen_MigrationFailsHalfway_LeavesNothing(t *testing.T) {
	ctx, path := t.Context(), filepath.Join(t.TempDir(), "store.db")
	require.NoError(t, ensureFile(path))
	c, err := connect(path, readWrite, 1)
	require.NoError(t, err)
	require.NoError(t, c.Script(ctx, "CREATE TABLE schema_migrations (version, name, applied_at); CREATE TABLE settings (mine)"))
	require.NoError(t, c.close())
	_, err = Open(ctx, path, Options{Migrate: true})
	require.ErrorContains(t, err, "0001_first")
	require.ErrorContains(t, err, "settings already exists")

	c, err = connect(path, readWrite, 1)
	require.NoError(t, err)
	defer func() { require.NoError(t, c.close()) }()
	tables, err := c.pragma("table_list(users)")
	require.Error(t, err, "no table is left, but %v", tables)
	require.NoError(t, c.Script(ctx, "DROP TABLE settings; DROP TABLE schema_migrations"))
	s, err := Open(ctx, path, Options{Migrate: true})
	require.NoError(t, err)
	require.NoError(t, s.Close())
}

// TestOpen_SchemaOfVersion1_IsUpgraded upgrades a dump of a database with rows. Version 1 wrote the dump.
func TestOpen_SchemaOfVersion1_IsUpgraded(t *testing.T) {
	ctx, path := t.Context(), filepath.Join(t.TempDir(), "store.db")
	dump, err := os.ReadFile("testdata/version-1.sql")
	require.NoError(t, err)
	require.NoError(t, ensureFile(path))
	c, err := connect(path, readWrite, 1)
	require.NoError(t, err)
	require.NoError(t, c.Script(ctx, string(dump)+`
		INSERT INTO messages VALUES ('m2','s1',0,'OUTBOUND','u1','','','','text','','','','','FAILED','its outcome was never reported',NULL,NULL,NULL,1);
		INSERT INTO messages VALUES ('m3','s1',0,'OUTBOUND','u1','','','','text','','','','','FAILED','refused',NULL,NULL,NULL,1);`))
	require.NoError(t, c.close())
	version, latest, err := Status(ctx, path)
	require.NoError(t, err)
	require.Equal(t, 1, version)
	_, err = Open(ctx, path, Options{})
	require.ErrorIs(t, err, ErrOutdated)

	s, err := Open(ctx, path, Options{Migrate: true})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	version, _, err = Status(ctx, path)
	require.NoError(t, err)
	require.Equal(t, latest, version)

	at := func(minute int) time.Time { return time.Date(2026, 3, 2, 12, minute, 0, 0, time.UTC) }
	require.NoError(t, s.Update(ctx, func(ctx context.Context, tx *ports.Tx) error {
		session, err := tx.Sessions.Get(ctx, "s1")
		require.NoError(t, err)
		want := domain.NewSession("s1", "u1", "Support line", "two\nlines", at(2))
		want.Intent, want.Status, want.StatusAt, want.WasConnected = domain.Up, domain.Connected, at(4), true
		want.WorkerID, want.Generation, want.AssignedAt, want.CredentialsWorkerID = "w1", 3, at(3), "w1"
		want.PhoneNumber, want.DueAt = "6281234567890", at(9)
		want.QR = domain.QR{Code: "2@abc", Image: []byte("\x89PNG\x00\xff"), ExpiresAt: at(3)}
		want.Rev = session.Rev
		require.Equal(t, want, session)
		session.ClaimedBy, session.ClaimedUntil = "r1", at(10)
		require.NoError(t, tx.Sessions.Put(ctx, session))
		claimed, err := tx.Sessions.ClaimedBy(ctx, "r1")
		require.NoError(t, err)
		require.Equal(t, []*domain.Session{session}, claimed)

		worker, err := tx.Workers.Get(ctx, "w1")
		require.NoError(t, err)
		require.Equal(t, []any{"1.2.3", 1, time.Time{}, ""}, []any{worker.Version, worker.Used, worker.CanarySince, worker.Suspect})
		require.NoError(t, tx.Workers.Reserve(ctx, "w1"))

		cleanups, err := tx.Cleanups.ByWorker(ctx, "w1")
		require.NoError(t, err)
		require.Len(t, cleanups, 3)
		require.Equal(t, &domain.Cleanup{
			WorkerID: "w1", SessionID: "s1", UserID: "u1", Generation: 3, CreatedAt: session.CreatedAt, Rev: 1,
		}, cleanups[0], "the worker of a session has its credentials")
		cleanups = cleanups[1:]
		require.Equal(t, &domain.Cleanup{
			WorkerID: "w1", SessionID: "s8", Command: domain.CommandLogout, Generation: 4, DueAt: at(6), Attempts: 2, CreatedAt: at(5), Rev: 1,
		}, cleanups[0])
		require.ErrorIs(t, tx.Cleanups.Put(ctx, &domain.Cleanup{WorkerID: "w1", SessionID: "s8"}), ports.ErrExists)
		require.NoError(t, tx.Cleanups.Put(ctx, cleanups[0]))
		require.Greater(t, cleanups[0].Rev, int64(1))
		require.NoError(t, tx.Cleanups.Delete(ctx, cleanups[1]))

		message, err := tx.Messages.Get(ctx, "s1", "m1")
		require.NoError(t, err)
		require.Equal(t, "Hello; it's me", message.Content)
		for id, isUnreported := range map[string]bool{"m1": false, "m2": true, "m3": false} {
			message, err := tx.Messages.Get(ctx, "s1", id)
			require.NoError(t, err)
			require.Equal(t, isUnreported, message.Unreported, id)
		}
		found, err := tx.Messages.List(ctx, "s1", domain.MessageFilter{Search: "it's hello"})
		require.NoError(t, err)
		require.Equal(t, []*domain.Message{message}, found, "an indexed message")
		secret, err := tx.Settings.Get(ctx, "secret")
		require.NoError(t, err)
		require.Equal(t, "kept", secret)
		last, err := tx.Outbox.Last(ctx)
		require.NoError(t, err)
		require.EqualValues(t, 1, last)

		require.NoError(t, tx.Migrations.Put(ctx, &domain.Migration{ID: "g1", SessionID: "s1", Status: domain.MigrationPending, CreatedAt: at(7)}))
		require.NoError(t, tx.Replicas.Put(ctx, &domain.Replica{ID: "r1", StartedAt: at(7)}))
		return nil
	}))
}
