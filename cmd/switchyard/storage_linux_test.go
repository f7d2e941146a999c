package main_test

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// onDisk makes commands run with a small file system at their directory. It ends with the command, which sees it alone.
// Others reach its files through [diskOf].
func onDisk(options string) []string {
	return []string{"unshare", "--user", "--map-root-user", "--mount", "sh", "-c",
		`mount -t tmpfs -o "$0" none . && cd "$PWD" && exec "$@"`, options}
}

// diskOf returns the path of a process's directory.
func diskOf(p *process) string { return fmt.Sprintf("/proc/%d/cwd", p.cmd.Process.Pid) }

// notReady requires that the server says why it is not ready.
func (s *server) notReady(reason string) {
	s.t.Helper()
	waitFor(s.t, "the server is not ready: "+reason, func() (bool, any) {
		a, err := s.anonymous().under("").call("GET", "/readyz", nil)
		require.NoError(s.t, err)
		return a.status == http.StatusServiceUnavailable && strings.Contains(string(a.raw), reason) &&
			a.str("error.code") == "NOT_READY" && a.header.Get("Retry-After") != "", a
	})
}

// refuses requires that a request is answered with 503, a reason and Retry-After.
func (c client) refuses(reason, method, path string, body any) {
	c.s.t.Helper()
	a := c.refused(http.StatusServiceUnavailable, "NOT_READY", method, path, body)
	assert.Contains(c.s.t, a.str("error.message"), reason, a)
	assert.Equal(c.s.t, "5", a.header.Get("Retry-After"), a)
}

// A disk that is full stops writes, with a reason. Nothing that was acknowledged is lost, and the server recovers by itself.
func TestServe_DiskFull_IsNotReadyUntilThereIsRoom(t *testing.T) {
	t.Parallel()
	s := serveWrapped(t, onDisk("size=3m"), "--rate-limits", "off")
	user := s.registerTier("MAX")
	ballast := filepath.Join(diskOf(s.process), "ballast")
	fill, err := os.Create(ballast)
	require.NoError(t, err)
	_, err = fill.Write(make([]byte, 64<<20))
	require.ErrorContains(t, err, "no space left")
	require.NoError(t, fill.Close())

	var acknowledged []string
	for {
		a := user.do("POST", "/sessions", obj{"name": "Line", "description": strings.Repeat("x", 500)})
		if a.status != http.StatusCreated {
			break
		}
		acknowledged = append(acknowledged, a.str("data.id"))
		require.Less(t, len(acknowledged), 5000)
	}
	user.refuses("the disk is full", "POST", "/sessions", obj{"name": "Line"})
	s.notReady("the disk is full")
	user.get("/sessions")

	require.NoError(t, os.Remove(ballast))
	s.awaitReady()
	user.create("Line")
	for _, id := range acknowledged {
		user.get("/sessions/" + id)
	}
}

// With a database file that was deleted nothing is answered 2xx, not even from a cache.
func TestServe_FileDeleted_AnswersNothing(t *testing.T) {
	t.Parallel()
	s := serve(t)
	n := newNode(s, "Node")
	user := s.registerTier("PRO")
	line := user.create("Line")
	line.link(n)
	admin := s.admin()
	path := filepath.Join(s.dir, "switchyard.db")
	away := filepath.Join(s.dir, "away")

	require.NoError(t, os.Rename(path, away))
	for _, reason := range []string{"was deleted", "was replaced"} {
		s.notReady(reason)
		for _, c := range []struct {
			client
			method, path string
			body         any
		}{
			{user.client, "GET", "/sessions", nil},
			{user.client, "GET", line.path(""), nil},
			{user.client, "GET", "/auth/me", nil},
			{user.client, "POST", "/sessions", obj{"name": "Other"}},
			{line.byKey(), "GET", "/session/status", nil},
			{line.byKey(), "POST", "/sendText", obj{"to": someone, "message": "lost"}},
			{admin, "GET", "/workers", nil},
			{admin, "GET", "/admin/users", nil},
			{s.anonymous(), "POST", "/auth/login", obj{"email": user.email, "password": password}},
			{s.with(fleetToken), "PUT", "/workers/" + n.id + "/heartbeat", obj{"status": "ONLINE", "sessions": []obj{}}},
		} {
			c.refuses(reason, c.method, c.path, c.body)
		}
		a, err := s.anonymous().under("").call("GET", "/livez", nil)
		require.NoError(t, err)
		assert.Equal(t, http.StatusOK, a.status, "a restart would lose what is left")
		require.NoError(t, os.WriteFile(path, []byte("another file"), 0o600))
	}
	require.NoError(t, os.Rename(away, path))
	s.awaitReady()
	user.create("Other")
	line.say("not lost")
}

// A read-only file system is named as such at the start.
func TestServe_ReadOnlyFileSystem_IsNamed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := serve(t)
	s.stop()
	b, err := os.ReadFile(filepath.Join(s.dir, "switchyard.db"))
	require.NoError(t, err)
	for _, existing := range []bool{false, true} {
		if existing {
			require.NoError(t, os.WriteFile(filepath.Join(dir, "switchyard.db"), b, 0o600))
		}
		cmd := exec.Command("unshare", "--user", "--map-root-user", "--mount", "sh", "-c",
			`mount --bind . . && mount -o remount,bind,ro . && cd "$PWD" && exec "$0" serve --addr 127.0.0.1:0`, binary)
		cmd.Dir, cmd.Env = dir, environment()
		out, err := cmd.CombinedOutput()
		require.Error(t, err, "%s", out)
		assert.Equal(t, 1, cmd.ProcessState.ExitCode(), "%s", out)
		assert.Contains(t, string(out), "file system is read-only", "existing: %v", existing)
	}
}
