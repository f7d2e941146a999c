package sqlite

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/switchyard-wa/switchyard/adapters/internal/sqlstore"
	"github.com/switchyard-wa/switchyard/ports"
)

// openFile is a file that SQLite holds open. It may lose its name, or its name may come to mean another file. What SQLite
// writes is then lost with the process.
type openFile struct {
	path string
	info os.FileInfo
	name string // in messages
}

// newOpenFile returns the file that the path names now.
func newOpenFile(path, name string) (f openFile, err error) {
	f = openFile{path: path, name: name}
	f.info, err = os.Stat(path)
	return f, err
}

// checkPresence returns an error unless the path still names the file.
func (f *openFile) checkPresence() error {
	info, err := os.Stat(f.path)
	switch {
	case err == nil && os.SameFile(info, f.info):
		return nil
	case err == nil:
		return &ports.UnavailableError{Reason: f.name + " was replaced by another one; restart the server to use that one", Cause: errReplaced}
	case errors.Is(err, fs.ErrNotExist):
		return &ports.UnavailableError{Reason: f.name + " was deleted or moved away; restore it and restart the server", Cause: err}
	}
	return &ports.UnavailableError{Reason: f.name + " cannot be found", Cause: err}
}

var errReplaced = errors.New("sqlite: the path names another file than the open one")

// recordFiles records which files SQLite holds open. SQLite follows symbolic links before it names its log.
func (s *Store) recordFiles(path string) error {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	s.database, err = newOpenFile(path, "the database file")
	if err != nil {
		return err
	}
	s.log, err = newOpenFile(path+"-wal", "the log of the database file")
	return err
}

// checkFiles returns an error if what was committed last may be lost with the process. The lock plays no part: a commit stays
// in the file, whoever holds the lock.
func (s *Store) checkFiles() error {
	if err := s.database.checkPresence(); err != nil {
		return err
	}
	return s.log.checkPresence()
}

// CheckPresence implements [ports.HealthChecker]. An exclusive store also needs its lock, see [fileLock].
func (s *Store) CheckPresence() error {
	if err := s.database.checkPresence(); err != nil || s.lock == nil {
		return err
	}
	return s.lock.check()
}

// CheckHealth implements [ports.HealthChecker].
func (s *Store) CheckHealth(ctx context.Context) error {
	return s.Update(ctx, func(ctx context.Context, _ *ports.Tx) error { return sqlstore.RecordCheck(ctx, 0) })
}
