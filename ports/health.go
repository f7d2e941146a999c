package ports

import "context"

// UnavailableError reports that a store cannot serve at the moment, and why. It may arrive wrapped.
type UnavailableError struct {
	// Reason says what is wrong, in plain words that anyone may see: "the disk is full".
	Reason string
	// Uncertain reports that an Update may have taken place.
	Uncertain bool
	Cause     error // for the log
}

// Error returns the text for the log.
func (e *UnavailableError) Error() string {
	if e.Cause == nil {
		return e.Reason
	}
	return e.Cause.Error()
}

// Unwrap returns the cause.
func (e *UnavailableError) Unwrap() error { return e.Cause }

// HealthChecker is a Store that knows whether it can serve. The interface is optional.
type HealthChecker interface {
	// CheckHealth stores a row of its own, as durably as an Update stores others. It returns an
	// [UnavailableError] if the store cannot take writes, [ErrClosed] after Close, and the error of the
	// context if the context ends first. It repeats nothing that failed.
	CheckHealth(ctx context.Context) error
	// CheckPresence returns an [UnavailableError] if the files of the store were removed or replaced.
	// Every View and Update fails then too. CheckPresence takes microseconds.
	CheckPresence() error
}
