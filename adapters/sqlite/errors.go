package sqlite

import (
	"errors"
	"fmt"

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
)

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
		return fmt.Errorf("%w: %w", ErrBusy, err)
	case sqlite3.ErrNotADB:
		return fmt.Errorf("sqlite: the file is not an SQLite database: %w", err)
	}
	return fmt.Errorf("sqlite: %w", err)
}
