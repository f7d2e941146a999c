//go:build unix

package testserver

import (
	"io/fs"
	"os"
	"path/filepath"
)

// makeFolder makes a folder for a server. The folder of a test does not do, because only the test's user can reach it.
func (s *Server) makeFolder() (string, error) {
	parent := os.TempDir()
	if s.config.RunAs != nil && !isPublic(parent) {
		parent = "/tmp"
	}
	dir, err := os.MkdirTemp(parent, s.config.Name+"-")
	if err != nil {
		return "", err
	}
	return dir, s.Chown(dir)
}

// Chown makes the server's user own a file or folder.
func (s *Server) Chown(path string) error {
	as := s.config.RunAs
	if as == nil {
		return nil
	}
	return os.Chown(path, int(as.Uid), int(as.Gid))
}

// isPublic reports whether every user can reach the files in a folder.
func isPublic(dir string) bool {
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
