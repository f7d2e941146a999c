//go:build unix

package postgrestest

import (
	"errors"
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
	if dir := folderInPath(); dir != "" && complete(dir) {
		return install{dir, as}, nil
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

// folderInPath returns the folder of the initdb that the PATH leads to, or "".
func folderInPath() string {
	link, err := exec.LookPath("initdb")
	if err != nil {
		return ""
	}
	path, err := filepath.EvalSymlinks(link)
	if err != nil {
		return ""
	}
	return filepath.Dir(path)
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
