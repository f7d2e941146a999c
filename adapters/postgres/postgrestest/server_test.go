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

// orphans is an environment variable. It makes the test binary start servers and wait to be killed.
const orphans = "SWITCHYARD_POSTGRESTEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(orphans) != "" {
		child()
	}
	goleak.VerifyTestMain(m)
}

// connect opens a connection that is closed with the test.
func connect(t *testing.T, dsn string) *pgconn.PgConn {
	t.Helper()
	c, err := pgconn.Connect(t.Context(), dsn)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
}

// queryValue returns the first value of the last result of SQL.
func queryValue(t *testing.T, dsn, sql string) string {
	t.Helper()
	results, err := connect(t, dsn).Exec(t.Context(), sql).ReadAll()
	require.NoError(t, err)
	last := results[len(results)-1]
	if len(last.Rows) == 0 {
		return ""
	}
	return string(last.Rows[0][0])
}

func TestStart_Settings_Apply(t *testing.T) {
	require.Equal(t, "off", queryValue(t, Shared(t).DSN(), "SHOW fsync"))
	require.Equal(t, "on", queryValue(t, Start(t, "fsync=on").DSN(), "SHOW fsync"))
}

func TestNewDatabase_TwoDatabases_AreSeparate(t *testing.T) {
	one, two := Shared(t).NewDatabase(t), Shared(t).NewDatabase(t)
	queryValue(t, one, "CREATE TABLE things (n int); INSERT INTO things VALUES (1)")
	queryValue(t, two, "CREATE TABLE things (n int); INSERT INTO things VALUES (2)")
	require.Equal(t, "1", queryValue(t, one, "SELECT n FROM things"))
	require.Equal(t, "2", queryValue(t, two, "SELECT n FROM things"))
}

func TestServer_Restarts_KeepsItsData(t *testing.T) {
	s := Start(t)
	dsn := s.NewDatabase(t)
	queryValue(t, dsn, "CREATE TABLE things (n int)")
	for n, end := range []func(){s.Stop, s.Kill, func() {}} {
		queryValue(t, dsn, fmt.Sprintf("INSERT INTO things VALUES (%d)", n))
		open := connect(t, dsn)
		end()
		end()
		require.NoError(t, s.Restart())
		require.Error(t, open.Ping(t.Context()), "a connection from before")
		require.Equal(t, fmt.Sprint(n), queryValue(t, dsn, "SELECT max(n) FROM things"))
	}
}

func TestPause_ServerStandsStill_UntilResume(t *testing.T) {
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
		require.Fail(t, "the paused server answers", "%v", err)
	case <-time.After(50 * time.Millisecond):
	}
	s.Resume()
	require.NoError(t, <-answered)
	for _, end := range []func(){s.Stop, s.Kill} { // both also work while the server is paused
		s.Pause()
		end()
		require.NoError(t, s.Restart())
		require.Equal(t, "1", queryValue(t, s.DSN(), "SELECT 1"))
	}
}

func TestStart_TemporaryFolderIsPrivate_Works(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	require.Equal(t, "1", queryValue(t, Start(t).DSN(), "SELECT 1"))
}

func TestStart_NoPrograms_Fails(t *testing.T) {
	was := folders
	defer func() { folders = was }()
	folders = nil
	t.Setenv("PATH", t.TempDir())
	_, err := start(nil)
	require.ErrorContains(t, err, "make servers")
}

func TestStart_WrongSetting_Fails(t *testing.T) {
	_, err := start([]string{"no_such_setting=1"})
	require.ErrorContains(t, err, "no_such_setting")
}

// TestStart_ProcessIsKilled_ServersEnd kills a process that has started servers.
func TestStart_ProcessIsKilled_ServersEnd(t *testing.T) {
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

// child starts a running and a paused server, prints where they are, and waits.
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
		_, _ = os.Stdout.WriteString(s.DSN() + " " + s.process.Dir() + "\n")
	}
	select {}
}
