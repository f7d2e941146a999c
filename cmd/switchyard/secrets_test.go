package main_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Each secret has a twin that names a file. The secret is its first line.
func TestSecretFiles_EachTwin_IsUsed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	s := serve(t, "--worker-token", "", "--admin-password", "", "--store", "",
		"--worker-token-file", write("token", fleetToken+"\n"), "--admin-password-file", write("admin", adminPassword+"\r\nsecond line\n"),
		"--jwt-secret-file", write("jwt", strings.Repeat("0123456789abcdef", 4)), "--store-file", write("store", "sqlite:other.db\n"))
	assert.FileExists(t, filepath.Join(s.dir, "other.db"))
	s.admin()
	newNode(s, "Node")
	assert.NotContains(t, s.err.String(), "secret on the command line")

	r := run(t, s.dir, nil, "", "user", "create", "--store", "sqlite:other.db", "--name", "Eve", "--email", "eve@example.com",
		"--password-file", write("eve", password+"\n"))
	assert.Zero(t, r.code, r.err)
	assert.Empty(t, r.err)
	s.login("eve@example.com", password)
}

// A secret on the command line is told once, without the secret.
func TestSecrets_OnCommandLine_WarnOnce(t *testing.T) {
	t.Parallel()
	s := serve(t)
	assert.Equal(t, 1, strings.Count(s.err.String(), "secret on the command line"), s.err.String())
	assert.Contains(t, s.err.String(), "--worker-token,--admin-password")
	r := run(t, s.dir, nil, "", "user", "create", "--name", "Eve", "--email", "eve@example.com", "--password", password)
	assert.Zero(t, r.code, r.err)
	assert.Equal(t, 1, strings.Count(r.err, "warning:"), r.err)
	assert.Contains(t, r.err, "--password on the command line")
	assert.NotContains(t, r.err, password)

	r = run(t, s.dir, []string{"SWITCHYARD_PASSWORD=" + password}, "", "user", "set-password", "--email", "eve@example.com")
	assert.Zero(t, r.code, r.err)
	assert.Empty(t, r.err, "the environment is for its owner alone")
	r = run(t, s.dir, nil, "", "migrate", "status", "--store", "postgres://user:secret@127.0.0.1:1/none?connect_timeout=1")
	assert.Contains(t, r.err, "--store on the command line")
	assert.NotContains(t, r.err, "secret@")
}

// An empty secrets file stops the start. Without the file the server starts, says so, and loses nothing: access tokens end,
// and clients refresh them.
func TestSecretsFile_EmptyOrMissing_IsNotRefilledInSilence(t *testing.T) {
	t.Parallel()
	s := serve(t, "--worker-token", "")
	user := s.register()
	before := strings.TrimSpace(run(t, s.dir, nil, "", "token").out)
	assert.NotContains(t, s.err.String(), "were missing")
	s.stop()

	file := filepath.Join(s.dir, "switchyard.db.secrets")
	require.NoError(t, os.Truncate(file, 0))
	for _, line := range []string{"serve --addr 127.0.0.1:0", "token"} {
		r := run(t, s.dir, nil, "", strings.Fields(line)...)
		assert.Equal(t, 2, r.code, line)
		assert.Contains(t, r.err, "switchyard.db.secrets is empty; restore it from a backup, or remove it", line)
	}
	info, err := os.Stat(file)
	require.NoError(t, err)
	assert.Zero(t, info.Size())

	require.NoError(t, os.Remove(file))
	s.start()
	assert.Equal(t, 1, strings.Count(s.err.String(), "secrets of a store in use were missing"), s.err.String())
	assert.Contains(t, s.err.String(), "switchyard.db.secrets")
	assert.NotEqual(t, before, strings.TrimSpace(run(t, s.dir, nil, "", "token").out))
	s.with(user.bearer).signedOut()
	s.with(s.refreshes(user.refresh).str("data.token")).get("/auth/me")
}

// A start that is dangerous in production warns once of each danger, and otherwise not at all.
func TestServe_DangerousStart_WarnsOnce(t *testing.T) {
	t.Parallel()
	s := serve(t, "--addr", "0.0.0.0:0")
	warnings := []string{"mail goes to the log", "plain HTTP on all addresses", "database open to others"}
	for i, event := range warnings {
		want := 1
		if i == 2 {
			want = 0
		}
		assert.Equal(t, want, strings.Count(s.err.String(), event), "%s: %s", event, s.err.String())
	}
	s.stop()
	path := filepath.Join(s.dir, "switchyard.db")
	info, err := os.Stat(path)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode().Perm(), "serve makes a file for its owner")

	require.NoError(t, os.Chmod(path, 0o644))
	s.flags = append(s.flags, "--addr", address()+":0", "--smtp", "smtp://127.0.0.1:1")
	s.start()
	for i, event := range warnings {
		want := 0
		if i == 2 {
			want = 1
		}
		assert.Equal(t, want, strings.Count(s.err.String(), event), "%s: %s", event, s.err.String())
	}
	assert.Contains(t, s.err.String(), "chmod 600")
	a, err := s.anonymous().under("").call("GET", "/health", nil)
	require.NoError(t, err)
	assert.Equal(t, http.StatusOK, a.status)
}
