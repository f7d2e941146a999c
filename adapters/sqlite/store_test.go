package sqlite_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/switchyard-wa/switchyard/adapters/internal/storebench"
	"github.com/switchyard-wa/switchyard/adapters/sqlite"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/conformance"
)

// childFile, in the environment, makes the test binary a process that writes to the file until it is killed.
const childFile = "SWITCHYARD_SQLITE_CHILD"

func TestMain(m *testing.M) {
	if path := os.Getenv(childFile); path != "" {
		writeUntilKilled(path)
	}
	goleak.VerifyTestMain(m)
}

func TestStore_Conformance(t *testing.T) {
	conformance.Store(t, func(t *testing.T) ports.Store {
		s := open(t, file(t))
		s.IndexAfter(2) // the full-text index then has some messages of each test, and others not
		return s
	})
}

func file(t testing.TB) string { return filepath.Join(t.TempDir(), "store.db") }

// open opens a store that is closed with the test.
func open(t testing.TB, path string) *sqlite.Store {
	t.Helper()
	s, err := sqlite.Open(t.Context(), path, sqlite.Options{Migrate: true})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func set(s ports.Store, name, value string) error {
	return s.Update(context.Background(), func(ctx context.Context, tx *ports.Tx) error {
		return tx.Settings.Put(ctx, name, value)
	})
}

func setting(t testing.TB, s ports.Store, name string) (value string) {
	t.Helper()
	require.NoError(t, s.View(t.Context(), func(ctx context.Context, tx *ports.Tx) (err error) {
		value, err = tx.Settings.Get(ctx, name)
		return err
	}), "the setting %q", name)
	return value
}

func TestOpen_AnyPath_IsTakenLiterally(t *testing.T) {
	for _, name := range []string{
		"plain", "with space.db", "a?b=c.db", "a#b.db", "100%.db", "a%20b.db", "a&mode=memory.db", "a+b.db", "größe.db",
		"file:x.db", "file::memory:", "q'uote\".db", "semi;colon", "back\\slash", "?mode=ro",
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, name)
			s, err := sqlite.Open(t.Context(), path, sqlite.Options{Migrate: true})
			require.NoError(t, err)
			require.NoError(t, set(s, "name", name))
			require.NoError(t, s.Close())
			names, err := filepath.Glob(filepath.Join(dir, "*"))
			require.NoError(t, err)
			require.Equal(t, []string{path}, names, "Close leaves one file with that name")
			require.Equal(t, name, setting(t, open(t, path), "name"))
		})
	}
	t.Run("relative", func(t *testing.T) {
		dir := t.TempDir()
		t.Chdir(dir)
		require.NoError(t, os.Mkdir("sub", 0o700))
		require.NoError(t, set(open(t, "sub/../file:x?.db"), "name", "relative"))
		require.FileExists(t, filepath.Join(dir, "file:x?.db"))
	})
}

func TestOpen_UnusablePath_ExplainsWhy(t *testing.T) {
	garbage := file(t)
	require.NoError(t, os.WriteFile(garbage, []byte(strings.Repeat("This is not a database. ", 100)), 0o600))
	for path, want := range map[string]string{
		":memory:":                         "`memory:`",
		"":                                 "empty",
		"a\x00b":                           "zero byte",
		t.TempDir():                        "opening",
		filepath.Join(file(t), "store.db"): "no such file",
		garbage:                            "not an SQLite database",
	} {
		_, err := sqlite.Open(t.Context(), path, sqlite.Options{Migrate: true})
		require.ErrorContains(t, err, want, "%q", path)
	}
}

func TestOpen_NewFiles_BelongToTheOwnerAlone(t *testing.T) {
	path := file(t)
	require.NoError(t, set(open(t, path), "secret", "1"))
	for _, suffix := range []string{"", "-wal", "-shm"} {
		info, err := os.Stat(path + suffix)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), suffix)
	}
}

func TestOpen_SchemaVersions_AreCheckedAndReported(t *testing.T) {
	ctx, path := t.Context(), file(t)
	version, latest, err := sqlite.Status(ctx, path)
	require.NoError(t, err)
	require.Zero(t, version)
	require.Positive(t, latest)

	_, err = sqlite.Open(ctx, path, sqlite.Options{})
	require.ErrorIs(t, err, sqlite.ErrOutdated)
	require.ErrorContains(t, err, "switchyard migrate up")
	require.NoFileExists(t, path, "only Migrate creates files")

	require.NoError(t, os.WriteFile(path, nil, 0o600))
	_, err = sqlite.Open(ctx, path, sqlite.Options{})
	require.ErrorIs(t, err, sqlite.ErrOutdated, "an empty file")

	for range 2 {
		s, err := sqlite.Open(ctx, path, sqlite.Options{Migrate: true})
		require.NoError(t, err)
		require.NoError(t, s.Close())
	}
	s, err := sqlite.Open(ctx, path, sqlite.Options{})
	require.NoError(t, err, "up to date")
	version, _, err = sqlite.Status(ctx, path)
	require.NoError(t, err, "while it is open")
	require.Equal(t, latest, version)
	require.NoError(t, s.Close())
	version, _, err = sqlite.Status(ctx, path)
	require.NoError(t, err, "while it is closed")
	require.Equal(t, latest, version)
}

func TestOpen_SeveralStoresOfAFile_ShareIt(t *testing.T) {
	path := file(t)
	stores := make([]*sqlite.Store, 4)
	var wg sync.WaitGroup
	for i := range stores {
		wg.Go(func() {
			var err error
			stores[i], err = sqlite.Open(t.Context(), path, sqlite.Options{Migrate: true})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	require.False(t, t.Failed())
	require.NoError(t, stores[0].Update(t.Context(), func(ctx context.Context, tx *ports.Tx) error {
		return tx.Users.Put(ctx, &domain.User{ID: "u"})
	}))
	const each = 50
	for _, s := range stores {
		wg.Go(func() {
			for range each {
				err := s.Update(context.Background(), func(ctx context.Context, tx *ports.Tx) error {
					return tx.Users.Reserve(ctx, "u", domain.UserUsage{Sessions: 1}, domain.UserUsage{Sessions: 1000})
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for _, s := range stores {
		require.NoError(t, s.View(t.Context(), func(ctx context.Context, tx *ports.Tx) error {
			u, err := tx.Users.Usage(ctx, "u")
			require.Equal(t, each*len(stores), u.Sessions)
			return err
		}))
		require.NoError(t, s.Close())
	}
}

func TestUpdate_AnotherProcessHoldsTheFile_ReturnsErrBusy(t *testing.T) {
	path := file(t)
	one := open(t, path)
	two, err := sqlite.Open(t.Context(), path, sqlite.Options{BusyTimeout: 50 * time.Millisecond})
	require.NoError(t, err)
	defer func() { require.NoError(t, two.Close()) }()
	require.NoError(t, one.Update(t.Context(), func(ctx context.Context, tx *ports.Tx) error {
		if err := tx.Settings.Put(ctx, "name", "one"); err != nil {
			return err
		}
		require.ErrorIs(t, set(two, "name", "two"), sqlite.ErrBusy)
		return nil
	}))
	require.NoError(t, set(two, "name", "two"))
	require.Equal(t, "two", setting(t, one, "name"))
}

// TestUpdate_ProcessKilled_AcknowledgedWritesSurvive kills a process that writes, and requires all writes that it has printed.
func TestUpdate_ProcessKilled_AcknowledgedWritesSurvive(t *testing.T) {
	path := file(t)
	for round := range 3 {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^$")
		cmd.Env = append(os.Environ(), childFile+"="+path)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		var printed []string
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			printed = append(printed, lines.Text())
			if len(printed) == 200*(round+1) {
				require.NoError(t, cmd.Process.Kill())
			}
		}
		require.Error(t, cmd.Wait())
		require.GreaterOrEqual(t, len(printed), 200*(round+1))
		s, err := sqlite.Open(t.Context(), path, sqlite.Options{})
		require.NoError(t, err)
		for _, line := range printed {
			name, value, complete := strings.Cut(line, "=")
			if complete && strings.HasSuffix(value, ".") { // the last line may be cut
				require.Equal(t, value, setting(t, s, name))
			}
		}
		require.NoError(t, s.Close())
	}
}

// writeUntilKilled writes settings, and prints each one after its Update.
func writeUntilKilled(path string) {
	s, err := sqlite.Open(context.Background(), path, sqlite.Options{Migrate: true})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	run := strconv.FormatInt(time.Now().UnixNano(), 36)
	for g := range 8 {
		go func() {
			for i := 0; ; i++ {
				name, value := fmt.Sprintf("%s-%d-%d", run, g, i), fmt.Sprint(i, ".")
				if err := set(s, name, value); err != nil {
					fmt.Fprintln(os.Stderr, err)
					os.Exit(1)
				}
				_, _ = os.Stdout.WriteString(name + "=" + value + "\n")
			}
		}()
	}
	select {}
}

func TestEachAssigned_FnWrites_VisitsEachSessionOnce(t *testing.T) {
	s := open(t, file(t))
	const sessions = 1203 // more than one batch
	storebench.Seed(t, s, sessions)
	seen := map[string]bool{}
	require.NoError(t, s.Update(t.Context(), func(ctx context.Context, tx *ports.Tx) error {
		return tx.Sessions.EachAssigned(ctx, func(c *domain.Session) error {
			seen[c.ID] = true
			c.WorkerID = ""
			return tx.Sessions.Put(ctx, c)
		})
	}))
	require.Len(t, seen, sessions)
	require.NoError(t, s.View(t.Context(), func(ctx context.Context, tx *ports.Tx) error {
		return tx.Sessions.EachAssigned(ctx, func(c *domain.Session) error { return fmt.Errorf("%s is assigned", c.ID) })
	}))
}

func TestView_ContextEndsDuringALongRead_ReturnsItsError(t *testing.T) {
	s := open(t, file(t))
	storebench.Seed(t, s, 2000)
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	err := s.View(ctx, func(ctx context.Context, tx *ports.Tx) error {
		return tx.Sessions.EachAssigned(ctx, func(*domain.Session) error {
			n++
			if n == 10 {
				cancel()
			}
			return nil
		})
	})
	require.ErrorIs(t, err, context.Canceled)
	require.Less(t, n, 2000)
	require.NoError(t, set(s, "after", "1"))
	require.Equal(t, "1", setting(t, s, "after"))
}

func TestView_AllReadersBusy_Waits(t *testing.T) {
	s, err := sqlite.Open(t.Context(), file(t), sqlite.Options{Migrate: true, Readers: 1})
	require.NoError(t, err)
	nothing := func(context.Context, *ports.Tx) error { return nil }
	inside, unblock, ended := make(chan bool), make(chan bool), make(chan error)
	go func() {
		ended <- s.View(context.Background(), func(context.Context, *ports.Tx) error {
			inside <- true
			<-unblock
			return nil
		})
	}()
	<-inside
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, s.View(ctx, nothing), context.DeadlineExceeded)
	require.NoError(t, set(s, "name", "Updates go on"))
	waiting, closed := make(chan error), make(chan error)
	go func() { waiting <- s.View(context.Background(), nothing) }()
	time.Sleep(10 * time.Millisecond)
	go func() { closed <- s.Close() }()
	require.ErrorIs(t, <-waiting, ports.ErrClosed)
	select {
	case err := <-closed:
		require.Fail(t, "Close did not wait", "and returned %v", err)
	case <-time.After(10 * time.Millisecond):
	}
	close(unblock)
	require.NoError(t, <-ended)
	require.NoError(t, <-closed)
}
