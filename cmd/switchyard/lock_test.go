package main_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

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
