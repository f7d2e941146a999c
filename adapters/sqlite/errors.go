package sqlite

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/mattn/go-sqlite3"

	"github.com/switchyard-wa/switchyard/adapters/internal/sqlstore"
	"github.com/switchyard-wa/switchyard/ports"
)

// Errors in addition to those of package ports.
var (
	// ErrBusy means that another process held the file for longer than [Options.BusyTimeout].
	ErrBusy = errors.New("sqlite: another process holds the database")
	// ErrInUse means that another store with [Options.Exclusive] has the file open. The error is an [InUseError].
	ErrInUse = errors.New("sqlite: the file is in use")
	// ErrOutdated means that the schema is older than this binary's and [Options.Migrate] is not set.
	ErrOutdated = sqlstore.ErrOutdated
	// ErrNewer means that a newer binary has upgraded the schema.
	ErrNewer = sqlstore.ErrNewer
	// ErrForeign means that another program has made the file. The file was not changed.
	ErrForeign = sqlstore.ErrForeign
)

// explain returns an error of Open with the cause in plain words, where the system's words are cryptic.
func explain(err error) error {
	var u *ports.UnavailableError
	switch {
	case errors.Is(err, syscall.EROFS):
		return fmt.Errorf("sqlite: the file system is read-only; it has to be writable: %w", err)
	case errors.As(err, &u):
		return fmt.Errorf("sqlite: %s: %w", u.Reason, err)
	}
	return err
}

// translate translates an error of the driver into an error of this package or of package ports.
func translate(err error) error {
	var e sqlite3.Error
	if !errors.As(err, &e) {
		return err
	}
	switch e.ExtendedCode {
	case sqlite3.ErrConstraintUnique, sqlite3.ErrConstraintPrimaryKey, sqlite3.ErrConstraintRowID:
		return fmt.Errorf("%w: %w", ports.ErrExists, err)
	case sqlite3.ErrConstraintForeignKey:
		return fmt.Errorf("%w: %w", ports.ErrNotFound, err)
	}
	switch e.Code {
	case sqlite3.ErrBusy, sqlite3.ErrLocked:
		err = fmt.Errorf("%w: %w", ErrBusy, err)
	case sqlite3.ErrNotADB:
		err = fmt.Errorf("sqlite: the file is not an SQLite database: %w", err)
	default:
		err = fmt.Errorf("sqlite: %w", err)
	}
	if reason := unavailable(e); reason != "" {
		return &ports.UnavailableError{Reason: reason, Cause: err}
	}
	return err
}

// Reasons for which the store cannot serve.
const (
	diskFull   = "the disk is full"
	diskFailed = "the disk reports an error"
	isReadOnly = "the file system, or the database file, is read-only"
)

// unavailable returns why the store cannot serve, or "" if the error has another cause.
func unavailable(e sqlite3.Error) string {
	switch e.SystemErrno {
	case syscall.ENOSPC, syscall.EDQUOT:
		return diskFull
	case syscall.EROFS:
		return isReadOnly
	}
	switch e.Code {
	case sqlite3.ErrFull:
		return diskFull
	case sqlite3.ErrReadonly:
		return isReadOnly
	case sqlite3.ErrIoErr:
		return diskFailed
	case sqlite3.ErrCantOpen, sqlite3.ErrPerm:
		return "the database file cannot be opened"
	case sqlite3.ErrCorrupt, sqlite3.ErrNotADB:
		return "the database file is damaged"
	case sqlite3.ErrBusy, sqlite3.ErrLocked:
		return "another process keeps the database file locked"
	case sqlite3.ErrNomem:
		return "there is not enough memory"
	}
	return ""
}
