package filelock

import (
	"errors"
	"io/fs"
	"os"
	"syscall"

	"github.com/gofrs/flock"
)

// ErrHeld means that another holder has the lock.
var ErrHeld = errors.New("filelock: another process holds the lock")

// errNotInPlace means that the path names no file, or not the locked file.
var errNotInPlace = errors.New("filelock: the lock file was removed or replaced")

// Lock is a lock that this process holds. Its methods may be called concurrently, except Release and Remove.
type Lock struct {
	file *flock.Flock
	info fs.FileInfo
}

// Acquire waits for the lock of a path and creates the lock file if necessary. On a file system without locks the error wraps
// [errors.ErrUnsupported].
func Acquire(path string) (*Lock, error) {
	return acquire(path, func(f *flock.Flock) error {
		for {
			err := f.Lock()
			if !errors.Is(err, syscall.EINTR) {
				return err
			}
		}
	})
}

// TryAcquire returns the lock of a path, or [ErrHeld]. It creates the lock file if necessary.
func TryAcquire(path string) (*Lock, error) {
	return acquire(path, func(f *flock.Flock) error {
		locked, err := f.TryLock()
		if err == nil && !locked {
			return ErrHeld
		}
		return err
	})
}

// acquire locks the file that the path names. It begins again if the file was removed or replaced meanwhile.
func acquire(path string, lock func(*flock.Flock) error) (*Lock, error) {
	for {
		l := &Lock{file: flock.New(path)}
		if err := lock(l.file); err != nil {
			return nil, err
		}
		var err error
		l.info, err = l.file.Stat()
		if err != nil {
			return nil, errors.Join(err, l.file.Close())
		}
		if l.IsInPlace() {
			return l, nil
		}
		l.Release()
	}
}

// IsInPlace reports whether the path still names the locked file. It takes about 2 µs.
func (l *Lock) IsInPlace() bool {
	info, err := os.Stat(l.file.Path())
	return err == nil && os.SameFile(info, l.info)
}

// Write replaces the content of the lock file. It creates no file.
func (l *Lock) Write(text []byte) error {
	file, err := os.OpenFile(l.file.Path(), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	info, err := file.Stat()
	switch {
	case err != nil:
	case !os.SameFile(info, l.info):
		err = errNotInPlace
	default:
		err = file.Truncate(0)
		if err == nil {
			_, err = file.Write(text)
		}
	}
	return errors.Join(err, file.Close())
}

// Release releases the lock. The lock file stays.
func (l *Lock) Release() { _ = l.file.Close() }

// Remove removes the lock file, if the path still names it, and releases the lock.
func (l *Lock) Remove() {
	if l.IsInPlace() {
		_ = os.Remove(l.file.Path()) // a lock file that stays does no harm
	}
	l.Release()
}
