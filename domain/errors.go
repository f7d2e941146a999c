package domain

import (
	"errors"
	"fmt"
	"time"
)

// Kind classifies an [Error] by the caller's possible reaction. The set is closed: an adapter maps
// these kinds to the errors of its protocol.
type Kind uint8

// The kinds of error. Stores keep their numbers: a new kind is added at the end.
const (
	Internal        Kind = iota // a fault of the service; the caller can change nothing
	Invalid                     // the input breaks a rule; correct it
	Unauthenticated             // the caller's identity is not established
	Forbidden                   // the caller is known but may not do this
	NotFound                    // the object does not exist, or not for this caller
	Conflict                    // the present state does not allow the request
	Exceeded                    // a limit is used up; wait
	Unavailable                 // a dependency is unavailable; try again
	Timeout                     // the outcome is unknown
	BadGateway                  // a worker sent an unusable answer
	Gone                        // the object existed and was removed for good
)

// Code is the stable, machine-readable name of an error.
type Code string

// The codes. They are part of the public contract.
const (
	CodeValidation             Code = "VALIDATION_ERROR"
	CodeInvalidPhoneNumber     Code = "INVALID_PHONE_NUMBER"
	CodeInvalidMessageType     Code = "INVALID_MESSAGE_TYPE"
	CodeAuthTokenMissing       Code = "AUTH_TOKEN_MISSING"
	CodeAuthTokenInvalid       Code = "AUTH_TOKEN_INVALID"
	CodeAuthTokenExpired       Code = "AUTH_TOKEN_EXPIRED"
	CodeInvalidCredentials     Code = "INVALID_CREDENTIALS"
	CodeAPIKeyMissing          Code = "API_KEY_MISSING"
	CodeAPIKeyInvalid          Code = "API_KEY_INVALID"
	CodeAPIKeyExpired          Code = "API_KEY_EXPIRED"
	CodeInsufficientPermission Code = "INSUFFICIENT_PERMISSIONS"
	CodeAccountDeactivated     Code = "ACCOUNT_DEACTIVATED"
	CodeRegistrationClosed     Code = "REGISTRATION_CLOSED"
	CodeNotFound               Code = "NOT_FOUND"
	CodeUserNotFound           Code = "USER_NOT_FOUND"
	CodeSessionNotFound        Code = "SESSION_NOT_FOUND"
	CodeWorkerNotFound         Code = "WORKER_NOT_FOUND"
	CodeMessageNotFound        Code = "MESSAGE_NOT_FOUND"
	CodeAPIKeyNotFound         Code = "API_KEY_NOT_FOUND"
	CodeWebhookNotFound        Code = "WEBHOOK_NOT_FOUND"
	CodeEmailRegistered        Code = "EMAIL_ALREADY_REGISTERED"
	CodeSessionExists          Code = "SESSION_ALREADY_EXISTS"
	CodeSessionLimit           Code = "SESSION_LIMIT_EXCEEDED"
	CodeSessionConnected       Code = "SESSION_ALREADY_CONNECTED"
	CodeSessionConnecting      Code = "SESSION_CONNECTING"
	CodeSessionNotConnected    Code = "SESSION_NOT_CONNECTED"
	CodeWorkerConflict         Code = "WORKER_CONFLICT"
	CodeIdempotencyConflict    Code = "IDEMPOTENCY_CONFLICT"
	CodeInvalidState           Code = "INVALID_STATE"
	CodeEventsExpired          Code = "EVENTS_EXPIRED"
	CodeRateLimit              Code = "RATE_LIMIT_EXCEEDED"
	CodeMessageLimit           Code = "MESSAGE_LIMIT_EXCEEDED"
	CodeAPILimit               Code = "API_LIMIT_EXCEEDED"
	CodeWorkerCommunication    Code = "WORKER_COMMUNICATION_FAILED"
	CodeMessageSendFailed      Code = "MESSAGE_SEND_FAILED"
	CodeWorkerTimeout          Code = "WORKER_TIMEOUT"
	CodeNoAvailableWorkers     Code = "NO_AVAILABLE_WORKERS"
	CodeNotReady               Code = "NOT_READY" // the server, or its store, cannot serve at the moment
	CodeWorkerUnreachable      Code = "WORKER_UNREACHABLE"
	CodeOverloaded             Code = "OVERLOADED"
	CodeInternal               Code = "INTERNAL_ERROR"
)

// FieldError is one problem with one field of the input.
type FieldError struct {
	Field   string `json:"field"`
	Message string `json:"message"`
}

// Error is the only error type that a service returns. Message is safe to show to the caller and names
// the next action. The cause, if any, is for logs only and is reached with [errors.Unwrap].
type Error struct {
	Kind    Kind
	Code    Code
	Message string
	Fields  []FieldError // every problem of the input; only if Kind is Invalid

	RetryAfter time.Duration // the wait before another try; 0: not known
	Usage      Usage         // of the limit that is used up; zero: no limit is used up

	cause error
}

// Error returns the code, the message and the cause, for logs.
func (e *Error) Error() string {
	if e.cause != nil {
		return fmt.Sprintf("%s: %s: %v", e.Code, e.Message, e.cause)
	}
	return fmt.Sprintf("%s: %s", e.Code, e.Message)
}

// Unwrap returns the internal cause. Callers of the service must not see it.
func (e *Error) Unwrap() error { return e.cause }

// Is reports whether target is an Error with the same code. errors.Is(err, &Error{Code:
// CodeSessionNotFound}) works through wrapped errors.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}

// WithCause returns a copy of e with the internal cause.
func (e *Error) WithCause(cause error) *Error {
	c := *e
	c.cause = cause
	return &c
}

// WithRetryAfter returns a copy of e that says how long to wait before another try.
func (e *Error) WithRetryAfter(wait time.Duration) *Error {
	c := *e
	c.RetryAfter = wait
	return &c
}

// WithUsage returns a copy of e that names the limit that is used up. Another try makes sense in its next
// window.
func (e *Error) WithUsage(u Usage, now time.Time) *Error {
	c := *e
	c.Usage, c.RetryAfter = u, max(u.ResetAt.Sub(now), time.Second)
	return &c
}

// RetryAfterOf returns how long to wait before another try. It is the time of the first Error in err's chain
// that knows one, or 0.
func RetryAfterOf(err error) time.Duration {
	var e *Error
	for errors.As(err, &e) {
		if e.RetryAfter > 0 {
			return e.RetryAfter
		}
		err = e.cause
	}
	return 0
}

// Errorf returns an Error. The message is formatted as by fmt.Sprintf and must be safe to show.
func Errorf(kind Kind, code Code, format string, args ...any) *Error {
	return &Error{Kind: kind, Code: code, Message: fmt.Sprintf(format, args...)}
}

// Overloaded returns the error for work that is refused because too much of it runs or waits already.
func Overloaded(retryAfter time.Duration, format string, args ...any) *Error {
	return Errorf(Unavailable, CodeOverloaded, format, args...).WithRetryAfter(retryAfter)
}

// CodeOf returns the code of the first Error in err's chain. It returns [CodeInternal] for any other
// error and "" for nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return CodeInternal
}

// Problems collects every problem of one input, so a caller sees all of them at once. The zero value is
// ready to use.
type Problems struct{ fields []FieldError }

// Add records one problem with the named field.
func (p *Problems) Add(field, format string, args ...any) {
	p.fields = append(p.fields, FieldError{Field: field, Message: fmt.Sprintf(format, args...)})
}

// Check records err, unless it is nil, as a problem with the named field.
func (p *Problems) Check(field string, err error) {
	if err == nil {
		return
	}
	var e *Error
	if errors.As(err, &e) {
		p.Add(field, "%s", e.Message)
		return
	}
	p.Add(field, "%s", err.Error())
}

// Merge records the problems that err lists, or err itself if it lists none.
func (p *Problems) Merge(err error) {
	var e *Error
	if errors.As(err, &e) && len(e.Fields) > 0 {
		p.fields = append(p.fields, e.Fields...)
		return
	}
	p.Check("", err)
}

// Err returns nil if there is no problem. Otherwise it returns one Invalid error that lists all
// problems. Its message is the first problem's.
func (p *Problems) Err() error {
	if len(p.fields) == 0 {
		return nil
	}
	return &Error{Kind: Invalid, Code: CodeValidation, Message: p.fields[0].Message, Fields: p.fields}
}
