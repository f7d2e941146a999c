package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/switchyard-wa/switchyard/adapters/internal/sqlstore"
	"github.com/switchyard-wa/switchyard/ports"
)

// Errors besides those of package ports.
var (
	// ErrUnavailable: the server cannot be reached, or did not answer in time.
	// Nothing was changed.
	ErrUnavailable  = errors.New("postgres: the database does not answer; see that the server runs and can be reached")
	errNoConnection = fmt.Errorf("%w: all connections are in use, or the server hangs", ErrUnavailable)
	// ErrUncertain: the connection was lost while an Update was committed, so it
	// may or may not have taken place.
	ErrUncertain = errors.New("postgres: the connection was lost during a commit; read again what was to be changed")
	// ErrOutdated: the schema is older than this binary's, and [Options.Migrate]
	// is not set.
	ErrOutdated = sqlstore.ErrOutdated
	// ErrNewer: the schema is one that this binary does not know.
	ErrNewer = sqlstore.ErrNewer
)

// The codes of PostgreSQL's errors that mean something here.
const (
	foreignKeyViolation  = "23503"
	uniqueViolation      = "23505"
	serializationFailure = "40001"
	deadlockDetected     = "40P01"
	lockNotAvailable     = "55P03"
	queryCanceled        = "57014"
	readOnlyTransaction  = "25006" // a former primary
	idleInTransaction    = "25P03" // we stood still, and the server has ended the session
	tooManyConnections   = "53300"
)

// code is the code of an error that the server reported; "": it did not.
func code(err error) string {
	if e := new(pgconn.PgError); errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// refusal reports whether the server refused a statement for a reason that the
// caller is told.
func refusal(err error) bool {
	c := code(err)
	return c == uniqueViolation || c == foreignKeyViolation
}

// raced reports whether an error comes of what others do at the same time.
func raced(err error) bool {
	c := code(err)
	return c == serializationFailure || c == deadlockDetected
}

// gone reports whether an error says that the server, or the connection to it,
// is not there: it may be again in a moment. Time that has run out is none.
func gone(err error) bool {
	for _, other := range []error{ErrUncertain, ErrUnavailable, errUnknownType, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, other) {
			return false
		}
	}
	c := code(err)
	if c == "" {
		return !pgconn.Timeout(err)
	}
	return strings.HasPrefix(c, "57P") || strings.HasPrefix(c, "08") ||
		c == readOnlyTransaction || c == idleInTransaction || c == tooManyConnections
}

// translate puts an error of the driver into the words of this package and of
// ports. The driver's own never hold a password.
func translate(err error) error {
	switch c := code(err); {
	case err == nil, errors.Is(err, errAlone), errors.Is(err, ErrUncertain), errors.Is(err, ErrUnavailable):
		return err
	case c == uniqueViolation:
		return fmt.Errorf("%w: %w", ports.ErrExists, err)
	case c == foreignKeyViolation:
		return fmt.Errorf("%w: %w", ports.ErrNotFound, err)
	case c == queryCanceled:
		return fmt.Errorf("postgres: a statement took too long; see whether the server is overloaded: %w", err)
	case c == lockNotAvailable:
		return fmt.Errorf("postgres: another transaction has held a row for too long: %w", err)
	case c == "" && pgconn.Timeout(err) || gone(err):
		return fmt.Errorf("%w: %s", ErrUnavailable, err.Error()) // a timeout in it is not the caller's
	}
	return fmt.Errorf("postgres: %w", err)
}
