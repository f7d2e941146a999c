package messaging

import (
	"cmp"
	"math"
	"net/http"
	"regexp"
	"time"

	"github.com/switchyard-wa/switchyard/app/internal/apperr"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// busyWait is the wait for a busy worker that states none. Legacy workers count sends by
// the minute.
const busyWait = time.Minute

// outcomeUnknown returns the public error for a message that may have been sent.
func outcomeUnknown(f *ports.WorkerError, cause error) error {
	why := "The worker did not answer"
	switch {
	case f.Failure == ports.WorkerRouteMissing:
		why = "The worker is too old to send messages, or something else answers in its place; ask the operator to look at it"
	case f.Failure == ports.WorkerFailed && f.Status/100 == 2 && f.Text == "":
		why = "The worker answered without the id of the message"
	case f.Failure == ports.WorkerFailed && f.Text != "":
		why = "The worker failed: " + f.Text
	case f.Failure == ports.WorkerFailed:
		why = "The worker failed"
	}
	return domain.Errorf(domain.Timeout, domain.CodeWorkerTimeout,
		"%s. It is not known whether the message was sent; look at its status before sending it again", why).WithCause(cause)
}

// callError returns the public error for a send or an action that was certainly not
// executed. The code is for failures that are the worker's.
func callError(f *ports.WorkerError, code domain.Code, cause error) error {
	switch f.Failure {
	case ports.WorkerConnectionRefused, ports.WorkerNameUnknown, ports.WorkerUnreachable, ports.WorkerCircuitOpen:
		return apperr.WorkerCall(cause)
	case ports.WorkerSessionNotFound:
		return domain.Errorf(domain.Conflict, domain.CodeSessionNotConnected,
			"The worker does not have the session at the moment; it is being brought back, try again in a minute").WithCause(cause)
	case ports.WorkerRouteMissing:
		return domain.Errorf(domain.BadGateway, code,
			"The session's worker is too old for this; ask the operator to update it").WithCause(cause)
	case ports.WorkerBusy:
		return busyError(f, cause)
	case ports.WorkerRejected:
		return rejectionError(f, code, cause)
	}
	return domain.Errorf(domain.BadGateway, code, "The worker could not do it: %s; try again in a minute",
		cmp.Or(f.Text, noReason)).WithCause(cause)
}

// busyError returns the public error for a call that a limit did not allow. Without a
// response it is our limit of calls in progress, otherwise the worker's.
func busyError(f *ports.WorkerError, cause error) error {
	if f.Status == 0 {
		return domain.Errorf(domain.Unavailable, domain.CodeWorkerUnreachable,
			"The session's worker has too many calls in progress; try again in a moment").WithCause(cause)
	}
	wait := cmp.Or(f.Retry, busyWait)
	return domain.Errorf(domain.Exceeded, domain.CodeRateLimit,
		"The worker limits how fast a session sends; try again in %.0f s", math.Ceil(wait.Seconds())).
		WithCause(cause).WithRetryAfter(wait)
}

// isNotConnected matches the words of a worker for a session without a connection.
var isNotConnected = regexp.MustCompile(`(?i)\bnot (yet )?(connected|ready|open|logged in|authenticated)\b|\bdisconnected\b`)

// rejectionError returns the public error for a call that the worker refused. A refusal
// that will never change is the caller's to correct.
func rejectionError(f *ports.WorkerError, code domain.Code, cause error) error {
	text := cmp.Or(f.Text, noReason)
	switch f.Status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return domain.Errorf(domain.BadGateway, domain.CodeWorkerCommunication,
			"The session's worker does not accept the calls of this server; ask the operator to look at its token").WithCause(cause)
	}
	if isNotConnected.MatchString(f.Text) || isNotConnected.MatchString(f.Message) {
		return domain.Errorf(domain.Conflict, domain.CodeSessionNotConnected,
			"Session is not connected on its worker; connect it, or try again in a minute").WithCause(cause)
	}
	switch f.Status {
	case http.StatusNotFound:
		if code != domain.CodeMessageSendFailed {
			return domain.Errorf(domain.NotFound, domain.CodeMessageNotFound, "The worker does not find it: %s", text).WithCause(cause)
		}
		fallthrough
	case http.StatusBadRequest, http.StatusNotAcceptable, http.StatusGone, http.StatusLengthRequired, http.StatusRequestEntityTooLarge,
		http.StatusRequestURITooLong, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity:
		return domain.Errorf(domain.Invalid, domain.CodeValidation, "The session's worker refuses this: %s", text).WithCause(cause)
	case http.StatusConflict, http.StatusLocked:
		return domain.Errorf(domain.Conflict, domain.CodeInvalidState, "The session's worker refuses this at the moment: %s", text).WithCause(cause)
	}
	return domain.Errorf(domain.BadGateway, code, "The session's worker refuses this: %s", text).WithCause(cause)
}
