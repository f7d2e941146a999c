//go:build unix

package postgrestest

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// orphans, in the environment, makes the test binary a process that starts
// servers and dies.
const orphans = "SWITCHYARD_POSTGRESTEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(orphans) != "" {
		child()
	}
	goleak.VerifyTestMain(m)
}

func connect(t *testing.T, dsn string) *pgconn.PgConn {
	t.Helper()
	c, err := pgconn.Connect(t.Context(), dsn)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
}

func ask(t *testing.T, dsn, sql string) string {
	t.Helper()
	results, err := connect(t, dsn).Exec(t.Context(), sql).ReadAll()
	require.NoError(t, err)
	last := results[len(results)-1]
	if len(last.Rows) == 0 {
		return ""
	}
	return string(last.Rows[0][0])
}

func TestSettings(t *testing.T) {
	require.Equal(t, "off", ask(t, Shared(t).DSN(), "SHOW fsync"))
	require.Equal(t, "on", ask(t, Start(t, "fsync=on").DSN(), "SHOW fsync"))
}

func TestDatabasesAreApart(t *testing.T) {
	one, two := Shared(t).NewDatabase(t), Shared(t).NewDatabase(t)
	ask(t, one, "CREATE TABLE things (n int); INSERT INTO things VALUES (1)")
	ask(t, two, "CREATE TABLE things (n int); INSERT INTO things VALUES (2)")
	require.Equal(t, "1", ask(t, one, "SELECT n FROM things"))
	require.Equal(t, "2", ask(t, two, "SELECT n FROM things"))
}

func TestAServerKeepsWhatItHas(t *testing.T) {
	s := Start(t)
	dsn := s.NewDatabase(t)
	ask(t, dsn, "CREATE TABLE things (n int)")
	for n, end := range []func(){s.Stop, s.Kill, func() {}} {
		ask(t, dsn, fmt.Sprintf("INSERT INTO things VALUES (%d)", n))
		open := connect(t, dsn)
		end()
		end()
		require.NoError(t, s.Restart())
		require.Error(t, open.Ping(t.Context()), "a connection from before")
		require.Equal(t, fmt.Sprint(n), ask(t, dsn, "SELECT max(n) FROM things"))
	}
}

func TestPause(t *testing.T) {
	s := Start(t)
	open := connect(t, s.DSN())
	s.Pause()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := pgconn.Connect(ctx, s.DSN())
	require.ErrorIs(t, err, context.DeadlineExceeded)
	answered := make(chan error)
	go func() { answered <- open.Ping(context.Background()) }()
	select {
	case err := <-answered:
		require.Fail(t, "it does not stand still", "and answers %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	s.Resume()
	require.NoError(t, <-answered)
	for _, end := range []func(){s.Stop, s.Kill} { // also while it stands still
		s.Pause()
		end()
		require.NoError(t, s.Restart())
		require.Equal(t, "1", ask(t, s.DSN(), "SELECT 1"))
	}
}

func TestAFolderThatOthersCannotReach(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	require.Equal(t, "1", ask(t, Start(t).DSN(), "SELECT 1"))
}

func TestNoProgramsAreAnError(t *testing.T) {
	was := folders
	defer func() { folders = was }()
	folders = nil
	t.Setenv("PATH", t.TempDir())
	_, err := start(nil)
	require.ErrorContains(t, err, "make servers")
}

func TestSettingsThatAreWrong(t *testing.T) {
	_, err := start([]string{"no_such_setting=1"})
	require.ErrorContains(t, err, "no_such_setting")
}

// TestServersEndWithTheirProcess kills a process that has started some.
func TestServersEndWithTheirProcess(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), orphans+"=1")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	var dsns, dirs []string
	for lines := bufio.NewScanner(out); len(dirs) < 2 && lines.Scan(); {
		dsn, dir, _ := strings.Cut(lines.Text(), " ")
		dsns, dirs = append(dsns, dsn), append(dirs, dir)
	}
	require.Len(t, dirs, 2)
	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())
	for i, dsn := range dsns {
		require.Eventually(t, func() bool {
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			_, err := pgconn.Connect(ctx, dsn)
			_, missing := os.Stat(dirs[i])
			return err != nil && ctx.Err() == nil && os.IsNotExist(missing)
		}, time.Minute, 10*time.Millisecond)
	}
}

func child() {
	for _, pause := range []bool{false, true} {
		s, err := start(nil)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		if pause {
			s.Pause()
		}
		_, _ = os.Stdout.WriteString(s.DSN() + " " + s.dir + "\n")
	}
	select {}
}
