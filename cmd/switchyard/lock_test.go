package main_test

import (
	"database/sql"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	_ "github.com/mattn/go-sqlite3" // a driver of database/sql
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A second server on a SQLite file, and a migration, are refused with the pid and address of the first, by whatever name
// they call the file. Other commands work.
func TestServe_SecondOnOneFile_IsRefused(t *testing.T) {
	t.Parallel()
	s := serve(t, "--worker-token", "") // a generated one, for the command token
	elsewhere := t.TempDir()
	link := filepath.Join(elsewhere, "link.db")
	require.NoError(t, os.Symlink(filepath.Join(s.dir, "switchyard.db"), link))
	for _, c := range []struct{ dir, line string }{
		{s.dir, "serve --addr 127.0.0.1:0"},
		{s.dir, "serve --addr 127.0.0.1:0 --migrate=false"},
		{s.dir, "serve --addr 127.0.0.1:0 --store sqlite:../" + filepath.Base(s.dir) + "/switchyard.db"},
		{elsewhere, "serve --addr 127.0.0.1:0 --store sqlite:" + link},
		{s.dir, "migrate up"},
		{elsewhere, "migrate up --store sqlite:" + link},
	} {
		r := run(t, c.dir, nil, "", strings.Fields(c.line)...)
		assert.Equal(t, 1, r.code, c.line)
		assert.Contains(t, r.err, fmt.Sprintf("process %d at %s works on %s", s.cmd.Process.Pid, s.url, filepath.Join(s.dir, "switchyard.db")), c.line)
		assert.Contains(t, r.err, "stop it first", c.line)
		assert.NotContains(t, r.out, "listens", c.line)
	}
	hard := filepath.Join(elsewhere, "hard.db")
	require.NoError(t, os.Link(filepath.Join(s.dir, "switchyard.db"), hard))
	r := run(t, elsewhere, nil, "", "serve", "--addr", "127.0.0.1:0", "--store", "sqlite:"+hard)
	assert.Equal(t, 1, r.code)
	assert.Contains(t, r.err, "hard link")
	require.NoError(t, os.Remove(hard))

	user := s.register()
	for line, stdin := range map[string]string{
		"migrate status": "",
		"token":          "",
		"openapi":        "",
		"user set-tier --tier MAX --email " + user.email:                      "",
		"user create --name Eve --email eve@example.com":                      password + "\n",
		"user set-password --email " + adminEmail + " --store sqlite:" + link: password + "\n",
	} {
		r := run(t, s.dir, nil, stdin, strings.Fields(line)...)
		assert.Zero(t, r.code, "%s: %s", line, r.err)
	}
	user.create("Still served")
}

// The lock ends with its process, even if the process is killed.
func TestServe_FirstKilled_SecondStarts(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.crash()
	r := run(t, s.dir, nil, "", "migrate", "up")
	assert.Zero(t, r.code, r.err)
	s.startAgain()
	s.stop()
	s.startAgain()
}

// A lock file that is removed or renamed lets nobody in: the server locks another one.
func TestServe_LockFileRemoved_SecondIsRefused(t *testing.T) {
	t.Parallel()
	s := serve(t)
	user := s.register()
	lock := filepath.Join(s.dir, "switchyard.db.lock")
	for _, remove := range []func() error{
		func() error { return os.Remove(lock) },
		func() error { return os.Rename(lock, lock+".away") },
	} {
		require.NoError(t, remove())
		user.get("/sessions") // the server notices at the latest with the next request
		r := run(t, s.dir, nil, "", "serve", "--addr", "127.0.0.1:0")
		assert.Equal(t, 1, r.code, r.out)
		assert.Contains(t, r.err, fmt.Sprintf("process %d at %s works on", s.cmd.Process.Pid, s.url))
	}
}

// A server whose lock another process has taken meanwhile answers nothing, also after that process has ended.
func TestServe_LockTakenMeanwhile_AnswersNothing(t *testing.T) {
	t.Parallel()
	s := serve(t)
	user := s.register()
	const reason = "another process has taken over the database file"
	lock := filepath.Join(s.dir, "switchyard.db.lock")
	other, err := os.Create(lock + ".other")
	require.NoError(t, err)
	require.NoError(t, syscall.Flock(int(other.Fd()), syscall.LOCK_EX))
	_, err = other.WriteString("1 http://192.0.2.1:8000\n")
	require.NoError(t, err)
	require.NoError(t, os.Rename(other.Name(), lock))
	for range 2 {
		s.notReady(reason)
		user.refuses(reason, "POST", "/sessions", obj{"name": "Line"})
		user.refuses(reason, "GET", "/sessions", nil)
		assert.Contains(t, s.err.String(), "http://192.0.2.1:8000")
		a, err := s.anonymous().under("").call("GET", "/livez", nil)
		require.NoError(t, err)
		assert.Equal(t, http.StatusOK, a.status)
		_ = other.Close() // a second time in the second round
	}
	// A pass comes at the latest a second after one that failed.
	waitFor(t, "the passes fail", func() (bool, any) { return strings.Contains(s.err.String(), `"background pass failed"`), nil })
	assert.Never(t, func() bool { return strings.Count(s.err.String(), `"background pass failed"`) > 1 }, 3*time.Second, 100*time.Millisecond,
		"the failure is logged once")
	s.crash()
	s.startAgain()
	user.create("Line")
}

// The name of a store that is another program's is a mistake in the configuration. The file stays as it is.
func TestCommands_FileOfAnotherProgram_IsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "songs.db")
	program, err := sql.Open("sqlite3", path)
	require.NoError(t, err)
	_, err = program.ExecContext(t.Context(), "CREATE TABLE songs (title TEXT); INSERT INTO songs VALUES ('one')")
	require.NoError(t, err)
	require.NoError(t, program.Close())
	before, err := os.ReadFile(path)
	require.NoError(t, err)
	for _, line := range []string{
		"serve --addr 127.0.0.1:0", "serve --addr 127.0.0.1:0 --migrate=false", "migrate up", "migrate status", "token",
		"user set-tier --email eve@example.com --tier PRO",
	} {
		r := run(t, dir, nil, "", append(strings.Fields(line), "--store", "sqlite:songs.db")...)
		assert.Equal(t, 2, r.code, "%s: %s", line, r.err)
		assert.Contains(t, r.err, path+": the database belongs to another program, and was not changed; use another one", line)
		assert.NotContains(t, r.out, "listens", line)
	}
	after, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, before, after)
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Len(t, files, 1)
}
