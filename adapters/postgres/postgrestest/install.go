//go:build unix

package postgrestest

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// install is an installation of PostgreSQL and the user that runs it.
type install struct {
	bin string
	as  *syscall.Credential // nil: the user of this process
}

// folders lists where system packages install PostgreSQL's programs, besides the PATH.
var folders = []string{
	"/usr/lib/postgresql/*/bin", "/usr/libexec/postgresql*", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql*/bin",
}

var errMissing = errors.New("postgrestest: PostgreSQL's programs initdb and postgres are not on this machine; " +
	"`make servers` installs them, or put their folder into PATH")

// find finds the newest installation.
func find() (install, error) {
	as, err := unprivileged()
	if err != nil {
		return install{}, err
	}
	if path, err := exec.LookPath("initdb"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil && complete(filepath.Dir(path)) {
			return install{filepath.Dir(path), as}, nil
		}
	}
	var found []string
	for _, pattern := range folders {
		matches, err := filepath.Glob(pattern)
		if err != nil {
			return install{}, err
		}
		found = append(found, slices.DeleteFunc(matches, func(dir string) bool { return !complete(dir) })...)
	}
	if len(found) == 0 {
		return install{}, errMissing
	}
	return install{slices.MaxFunc(found, func(a, b string) int { return version(a) - version(b) }), as}, nil
}

// complete reports whether a folder has all programs that a server needs.
func complete(dir string) bool {
	for _, program := range []string{"initdb", "postgres"} {
		if _, err := exec.LookPath(filepath.Join(dir, program)); err != nil {
			return false
		}
	}
	return true
}

// version returns the first number in a path, or 0.
func version(path string) int {
	digits := strings.FieldsFunc(path, func(r rune) bool { return r < '0' || r > '9' })
	if len(digits) == 0 {
		return 0
	}
	n, _ := strconv.Atoi(digits[0])
	return n
}

// unprivileged returns a user that can run the server, which refuses to run as root.
func unprivileged() (*syscall.Credential, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.ParseUint(u.Uid, 10, 32)
		if err != nil {
			return nil, err
		}
		gid, err := strconv.ParseUint(u.Gid, 10, 32)
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, err
	}
	return nil, errors.New("postgrestest: PostgreSQL does not run as root, and there is neither a user postgres nor a user nobody")
}

func (i install) path(program string) string { return filepath.Join(i.bin, program) }

// command returns a command in a new session, so that signals of a terminal do not reach it.
func (i install) command(name string, args ...string) *exec.Cmd {
	c := exec.Command(name, args...) //nolint:noctx // the guardian ends it
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: i.as}
	c.Env = append(os.Environ(), "LC_ALL=C", "TZ=UTC")
	return c
}

// chown makes the user of the server own a file or folder.
func (i install) chown(path string) error {
	if i.as == nil {
		return nil
	}
	return os.Chown(path, int(i.as.Uid), int(i.as.Gid))
}

// folder makes a folder for a server. The folder of a test does not do, because only the test's user can reach it.
func (i install) folder() (string, error) {
	parent := os.TempDir()
	if i.as != nil && !public(parent) {
		parent = "/tmp"
	}
	dir, err := os.MkdirTemp(parent, "postgrestest-")
	if err != nil {
		return "", err
	}
	return dir, i.chown(dir)
}

// public reports whether every user can reach the files in a folder.
func public(dir string) bool {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return false
	}
	for ; ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil || info.Mode()&fs.ModePerm&0o001 == 0 {
			return false
		}
		if dir == filepath.Dir(dir) {
			return true
		}
	}
}

// children returns the processes that a process has started.
func children(parent int) (pids []int) {
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		list, _ := exec.Command("ps", "-A", "-o", "pid=", "-o", "ppid=").Output() //nolint:noctx // it ends by itself
		for line := range strings.Lines(string(list)) {
			var pid, of int
			if n, _ := fmt.Sscan(line, &pid, &of); n == 2 && of == parent {
				pids = append(pids, pid)
			}
		}
		return pids
	}
	files, _ := filepath.Glob("/proc/[0-9]*")
	for _, file := range files {
		pid, _ := strconv.Atoi(filepath.Base(file))
		if _, of := status(pid); of == parent {
			pids = append(pids, pid)
		}
	}
	return pids
}

// status returns the state of a process, as a letter, and its parent.
func status(pid int) (state string, parent int) {
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)) // pid (name) state parent …
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 2 {
		return "", 0
	}
	parent, _ = strconv.Atoi(fields[1])
	return fields[0], parent
}

// alive reports whether a process runs. A process that has ended stays in the list of processes, as a zombie, until its
// parent waits for it.
func alive(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	state, _ := status(pid)
	return state != "Z"
}
