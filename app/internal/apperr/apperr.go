// Package apperr turns errors of ports into errors that services return.
//
// A service returns a *domain.Error or an error of the context, nothing else. A
// message never shows an internal cause; the cause stays in the chain for the log.
package apperr

import (
	"context"
	"errors"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// Public returns err in its public form. Domain errors and the context's errors
// pass. A lost race is a Conflict, a store that cannot serve is Unavailable with its
// reason, and everything else is Internal.
func Public(err error) error {
	if err == nil {
		return nil // before e is allocated: every service that succeeds comes here
	}
	var e *domain.Error
	switch {
	case errors.As(err, &e),
		errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, ports.ErrConflict):
		return domain.Errorf(domain.Conflict, domain.CodeInvalidState,
			"It is being changed by others at the moment; try again").WithCause(err)
	}
	return internal(err)
}

// storeRetry is how long to wait for another try while the store cannot serve.
const storeRetry = 5 * time.Second

// PublicIn returns err in the public form for a caller with ctx. It differs from
// [Public] in the errors of contexts: once ctx has ended, its error replaces
// whatever a port made of it. While ctx is alive, the end of another context is
// Internal.
func PublicIn(ctx context.Context, err error) error {
	var e *domain.Error
	switch {
	case err == nil, errors.As(err, &e):
		return err
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return internal(err)
	}
	return Public(err)
}

func internal(err error) error {
	var u *ports.UnavailableError
	switch {
	case !errors.As(err, &u):
	case u.Uncertain:
		return domain.Errorf(domain.Unavailable, domain.CodeNotReady,
			"The outcome is not known, because %s; look at the present state before you try again", u.Reason).WithCause(err)
	default:
		return domain.Errorf(domain.Unavailable, domain.CodeNotReady,
			"The server cannot do this at the moment: %s; try again in a moment", u.Reason).WithCause(err).WithRetryAfter(storeRetry)
	}
	return domain.Errorf(domain.Internal, domain.CodeInternal,
		"Something went wrong on our side; try again, and report the request id if it persists").WithCause(err)
}

// Session replaces ports.ErrNotFound by the error for a session that does not
// exist. Other errors pass.
func Session(err error) error {
	if errors.Is(err, ports.ErrNotFound) {
		return domain.Errorf(domain.NotFound, domain.CodeSessionNotFound, "Session not found; check its id, or whether it was deleted")
	}
	return err
}

// Worker replaces ports.ErrNotFound by the error for a worker that does not exist.
func Worker(err error) error {
	if errors.Is(err, ports.ErrNotFound) {
		return domain.Errorf(domain.NotFound, domain.CodeWorkerNotFound, "Worker not found; check its id, or register it first")
	}
	return err
}

// User replaces ports.ErrNotFound by the error for a user that does not exist.
func User(err error) error {
	if errors.Is(err, ports.ErrNotFound) {
		return domain.Errorf(domain.NotFound, domain.CodeUserNotFound, "User not found")
	}
	return err
}

// Webhook replaces ports.ErrNotFound by the error for a webhook that does not exist.
func Webhook(err error) error {
	if errors.Is(err, ports.ErrNotFound) {
		return domain.Errorf(domain.NotFound, domain.CodeWebhookNotFound, "Webhook not found; list the webhooks of the session to see their ids")
	}
	return err
}

// Message replaces ports.ErrNotFound by the error for a message that does not exist.
func Message(err error) error {
	if errors.Is(err, ports.ErrNotFound) {
		return domain.Errorf(domain.NotFound, domain.CodeMessageNotFound, "Message not found in this session's history")
	}
	return err
}

// WorkerCall returns the failure of a call to a worker in its public form.
func WorkerCall(err error) error {
	var w *ports.WorkerError
	if !errors.As(err, &w) {
		return Public(err)
	}
	switch w.Failure {
	case ports.WorkerConnectionRefused, ports.WorkerNameUnknown, ports.WorkerUnreachable, ports.WorkerCircuitOpen:
		return domain.Errorf(domain.Unavailable, domain.CodeWorkerUnreachable,
			"The session's worker cannot be reached at the moment; try again in a minute").WithCause(err)
	case ports.WorkerTimedOut, ports.WorkerConnectionLost:
		return domain.Errorf(domain.Timeout, domain.CodeWorkerTimeout,
			"The worker did not answer in time, so the outcome is not known; look at the status before you try again").WithCause(err)
	case ports.WorkerBusy:
		return domain.Errorf(domain.Unavailable, domain.CodeNoAvailableWorkers,
			"The workers are busy at the moment; try again in a minute").WithCause(err)
	}
	if w.Text != "" {
		return domain.Errorf(domain.BadGateway, domain.CodeWorkerCommunication,
			"The worker could not do it: %s; try again, and report it if it persists", w.Text).WithCause(err)
	}
	return domain.Errorf(domain.BadGateway, domain.CodeWorkerCommunication,
		"The worker could not do it; try again, and report it if it persists").WithCause(err)
}
