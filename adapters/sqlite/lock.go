package sqlite

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/switchyard-wa/switchyard/adapters/internal/filelock"
	"github.com/switchyard-wa/switchyard/ports"
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
//
//	held ──the lock file was removed or replaced──▶ missing ──no other process had the lock──▶ held, with a new lock file
//	  │                                                └──another process has it, or had it──▶ lost
//	  └──release──▶ released
//
// A lost lock stays lost, because the caches of this process do not know what the other one has changed.
type fileLock struct {
	path string                        // of the database
	held atomic.Pointer[filelock.Lock] // nil: lost or released

	mu      sync.Mutex // guards changes of held, and the following fields
	content []byte     // of the lock file
	lost    error      // nil: not lost
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
	held, err := filelock.TryAcquire(path + lockEnding)
	switch {
	case errors.Is(err, filelock.ErrHeld):
		return nil, holderOf(path)
	case err != nil:
		return nil, fmt.Errorf("sqlite: locking %s: %w", path+lockEnding, err)
	case names > 1:
		held.Release()
		return nil, fmt.Errorf("sqlite: %s has another name, a hard link; two servers on two names would destroy it: remove the other name", path)
	}
	l := &fileLock{path: path}
	l.held.Store(held)
	// The content only serves the error of a store that is refused. A full disk must not keep this store from opening.
	_ = l.announce("")
	return l, nil
}

// check returns an error unless this process holds the lock. It takes the lock again if the lock file was removed or replaced
// and no other process had the lock meanwhile.
func (l *fileLock) check() error {
	if held := l.held.Load(); held != nil && held.IsInPlace() {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.retake()
}

// retake does the work of check. The caller holds mu.
func (l *fileLock) retake() error {
	former := l.held.Load()
	if former == nil || former.IsInPlace() {
		return l.lost
	}
	held, err := filelock.TryAcquire(l.path + lockEnding)
	if errors.Is(err, filelock.ErrHeld) {
		return l.lose(holderOf(l.path))
	}
	if err != nil {
		return &ports.UnavailableError{Reason: "the lock file of the database was removed, and cannot be made again", Cause: fmt.Errorf("sqlite: locking: %w", err)}
	}
	// A process that had the lock and has ended since has left its content behind.
	text, err := os.ReadFile(l.path + lockEnding)
	if err != nil || len(text) > 0 && !bytes.Equal(text, l.content) {
		held.Release()
		return l.lose(holderOf(l.path))
	}
	l.held.Store(held)
	former.Release()
	_ = held.Write(l.content) // only serves the error of a store that is refused
	return nil
}

// lose releases the lock for good and returns the error that every later check returns. The caller holds mu.
func (l *fileLock) lose(cause error) error {
	if held := l.held.Swap(nil); held != nil {
		held.Release()
	}
	l.lost = &ports.UnavailableError{
		Reason: "another process has taken over the database file, because its lock file was removed; stop that process, then restart this one",
		Cause:  cause,
	}
	return l.lost
}

// announce records who holds the lock.
func (l *fileLock) announce(address string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	content := fmt.Appendf(nil, "%d %s\n", os.Getpid(), address)
	if err := l.retake(); err != nil { // before content changes, which retake compares with the lock file
		return err
	}
	l.content = content
	if held := l.held.Load(); held != nil {
		return held.Write(content)
	}
	return nil
}

// release releases the lock. The lock file stays: whoever removed it could remove the lock of another process.
func (l *fileLock) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if held := l.held.Swap(nil); held != nil {
		held.Release()
	}
}

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
