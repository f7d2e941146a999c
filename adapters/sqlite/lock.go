package sqlite

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/gofrs/flock"
)

// lockEnding is the ending of the lock file, which lies beside the database.
const lockEnding = ".lock"

// InUseError is the error of an exclusive Open of a file that another exclusive store has open. It is an [ErrInUse].
type InUseError struct {
	Path    string // of the database, without symbolic links
	PID     int    // of the process that holds the lock; 0: unknown
	Address string // where that process listens; empty: unknown, or nowhere
}

// Error says who holds the file and what to do.
func (e *InUseError) Error() string {
	holder := "another process"
	switch {
	case e.PID == os.Getpid():
		holder = "this process, pid " + strconv.Itoa(e.PID) + ","
	case e.PID != 0:
		holder = "process " + strconv.Itoa(e.PID)
	}
	if e.Address != "" {
		holder += " at " + e.Address
	}
	return fmt.Sprintf("sqlite: %s works on %s already; stop it first, or use another file", holder, e.Path)
}

// Is reports whether target is [ErrInUse].
func (e *InUseError) Is(target error) bool { return target == ErrInUse }

// fileLock is the lock of an exclusive store. The operating system releases it when the process ends, however it ends.
type fileLock struct {
	file *flock.Flock
}

// lockFile locks an existing database. It returns an [InUseError] if another store holds the lock. Symbolic links to the
// database lead to the same lock. A database with several names is refused, because SQLite keeps a log for each name.
func lockFile(path string) (*fileLock, error) {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, fmt.Errorf("sqlite: %w", err)
	}
	names, err := countNames(path)
	if err != nil {
		return nil, fmt.Errorf("sqlite: %w", err)
	}
	l := &fileLock{file: flock.New(path + lockEnding)}
	locked, err := l.tryLock()
	switch {
	case err != nil:
		return nil, fmt.Errorf("sqlite: locking %s: %w", l.file.Path(), err)
	case !locked:
		return nil, holderOf(path)
	case names > 1:
		l.release()
		return nil, fmt.Errorf("sqlite: %s has another name, a hard link; two servers on two names would destroy it: remove the other name", path)
	}
	// The content only serves the error of a store that is refused. A full disk must not keep this store from opening.
	_ = l.announce("")
	return l, nil
}

// tryLock takes the lock, unless another store holds it. It repeats the attempt if the lock file was replaced meanwhile.
func (l *fileLock) tryLock() (bool, error) {
	for {
		locked, err := l.file.TryLock()
		if err != nil || !locked {
			return false, err
		}
		held, err := l.file.Stat()
		if err != nil {
			return false, errors.Join(err, l.file.Close())
		}
		present, err := os.Stat(l.file.Path())
		if err == nil && os.SameFile(held, present) {
			return true, nil
		}
		l.release()
	}
}

// announce writes who holds the lock.
func (l *fileLock) announce(address string) error {
	return os.WriteFile(l.file.Path(), fmt.Appendf(nil, "%d %s\n", os.Getpid(), address), 0o600)
}

// release releases the lock. The lock file stays: whoever removed it could remove the lock of another process.
func (l *fileLock) release() { _ = l.file.Close() }

// holderOf returns the error that names the holder of the lock.
func holderOf(path string) error {
	e := &InUseError{Path: path}
	// The holder may not have written the file yet: wait for that, a second at most.
	for end := time.Now().Add(time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		text, err := os.ReadFile(path + lockEnding)
		if err != nil {
			break
		}
		if line, isComplete := strings.CutSuffix(string(text), "\n"); isComplete {
			pid, address, _ := strings.Cut(line, " ")
			e.PID, _ = strconv.Atoi(pid)
			e.Address = address
			break
		}
	}
	return e
}
