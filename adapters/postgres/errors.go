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
	// ErrUnavailable reports that the server cannot be reached, or did not answer in time. Nothing was changed. It is a
	// [ports.UnavailableError].
	ErrUnavailable error = &ports.UnavailableError{
		Reason: "the database does not answer",
		Cause:  errors.New("postgres: the database does not answer; see that the server runs and can be reached"),
	}
	errNoConnection = fmt.Errorf("%w: all connections are in use, or the server hangs", ErrUnavailable)
	// ErrUncertain reports that the connection was lost during the COMMIT of an Update. The Update may or may not have
	// been committed. It is a [ports.UnavailableError].
	ErrUncertain error = &ports.UnavailableError{
		Reason:    "the connection to the database was lost",
		Uncertain: true,
		Cause:     errors.New("postgres: the connection was lost during a commit; read again what was to be changed"),
	}
	// ErrOutdated reports that the schema is older than this binary's, and that [Options.Migrate] is not set.
	ErrOutdated = sqlstore.ErrOutdated
	// ErrNewer reports that the schema is newer than this binary's.
	ErrNewer = sqlstore.ErrNewer
	// ErrForeign reports that another program has made the table with the version of the schema. Nothing was changed.
	ErrForeign = sqlstore.ErrForeign
)

// SQLSTATE codes that the store acts on.
const (
	foreignKeyViolation  = "23503"
	uniqueViolation      = "23505"
	serializationFailure = "40001"
	deadlockDetected     = "40P01"
	lockNotAvailable     = "55P03"
	queryCanceled        = "57014"
	readOnlyTransaction  = "25006" // the server is a former primary
	idleInTransaction    = "25P03" // this process stood still, and the server has ended the session
	tooManyConnections   = "53300"
	diskFull             = "53100"
	cannotConnectNow     = "57P03" // the server starts, stops or recovers
)

// sqlState returns the code of an error that the server reported, or "".
func sqlState(err error) string {
	if e := new(pgconn.PgError); errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// isRefusal reports whether the server refused a statement because it violates a constraint. The caller is told which.
func isRefusal(err error) bool {
	c := sqlState(err)
	return c == uniqueViolation || c == foreignKeyViolation
}

// isRace reports whether an error is due to a concurrent transaction.
func isRace(err error) bool {
	c := sqlState(err)
	return c == serializationFailure || c == deadlockDetected
}

// isConnectionLost reports whether the server, or the connection to it, has gone and may be back in a moment. A timeout
// is no such error.
func isConnectionLost(err error) bool {
	for _, other := range []error{ErrUncertain, ErrUnavailable, errUnknownType, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, other) {
			return false
		}
	}
	c := sqlState(err)
	if c == "" {
		return !pgconn.Timeout(err)
	}
	return strings.HasPrefix(c, "57P") || strings.HasPrefix(c, "08") ||
		c == readOnlyTransaction || c == idleInTransaction || c == tooManyConnections
}

// translate maps an error of the driver to an error of this package or of ports. The driver's errors never hold a
// password.
func translate(err error) error {
	switch c := sqlState(err); {
	case err == nil, errors.Is(err, errRetryIndividually), errors.Is(err, ErrUncertain), errors.Is(err, ErrUnavailable):
		return err
	case c == uniqueViolation:
		return fmt.Errorf("%w: %w", ports.ErrExists, err)
	case c == foreignKeyViolation:
		return fmt.Errorf("%w: %w", ports.ErrNotFound, err)
	case c == queryCanceled:
		return unavailable("the database is overloaded", fmt.Errorf("postgres: a statement took too long; see whether the server is overloaded: %w", err))
	case c == lockNotAvailable:
		return unavailable("the database is overloaded", fmt.Errorf("postgres: another transaction has held a row for too long: %w", err))
	case c == diskFull:
		return unavailable("the disk of the database is full", fmt.Errorf("postgres: %w", err))
	case c == "" && pgconn.Timeout(err) || isConnectionLost(err):
		// not %w: a timeout in it is not the caller's
		return unavailable(lossReason(c), fmt.Errorf("%w: %s", ErrUnavailable, err.Error()))
	}
	return fmt.Errorf("postgres: %w", err)
}

// unavailable returns the error of a server that cannot serve, for a reason that anyone may see.
func unavailable(reason string, err error) error {
	return &ports.UnavailableError{Reason: reason, Cause: err}
}

// lossReason returns why the server cannot be used, from an SQLSTATE code or "".
func lossReason(code string) string {
	switch code {
	case readOnlyTransaction:
		return "the database is read-only: it is a standby, recovers, or was set so"
	case cannotConnectNow:
		return "the database starts, stops or recovers"
	case tooManyConnections:
		return "the database has too many connections"
	}
	return "the database does not answer"
}
