package httpapi

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/go-kit/kit/ratelimit"

	"github.com/switchyard-wa/switchyard/domain"
)

// statusByCode is the table of the API contract.
var statusByCode = map[domain.Code]int{
	domain.CodeValidation:             http.StatusBadRequest,
	domain.CodeInvalidPhoneNumber:     http.StatusBadRequest,
	domain.CodeInvalidMessageType:     http.StatusBadRequest,
	domain.CodeAuthTokenMissing:       http.StatusUnauthorized,
	domain.CodeAuthTokenInvalid:       http.StatusUnauthorized,
	domain.CodeAuthTokenExpired:       http.StatusUnauthorized,
	domain.CodeInvalidCredentials:     http.StatusUnauthorized,
	domain.CodeAPIKeyMissing:          http.StatusUnauthorized,
	domain.CodeAPIKeyInvalid:          http.StatusUnauthorized,
	domain.CodeAPIKeyExpired:          http.StatusUnauthorized,
	domain.CodeInsufficientPermission: http.StatusForbidden,
	domain.CodeAccountDeactivated:     http.StatusForbidden,
	domain.CodeRegistrationClosed:     http.StatusForbidden,
	domain.CodeNotFound:               http.StatusNotFound,
	domain.CodeUserNotFound:           http.StatusNotFound,
	domain.CodeSessionNotFound:        http.StatusNotFound,
	domain.CodeWorkerNotFound:         http.StatusNotFound,
	domain.CodeMessageNotFound:        http.StatusNotFound,
	domain.CodeAPIKeyNotFound:         http.StatusNotFound,
	domain.CodeWebhookNotFound:        http.StatusNotFound,
	domain.CodeEmailRegistered:        http.StatusConflict,
	domain.CodeSessionExists:          http.StatusConflict,
	domain.CodeSessionLimit:           http.StatusConflict,
	domain.CodeSessionConnected:       http.StatusConflict,
	domain.CodeSessionConnecting:      http.StatusConflict,
	domain.CodeSessionNotConnected:    http.StatusConflict,
	domain.CodeWorkerConflict:         http.StatusConflict,
	domain.CodeIdempotencyConflict:    http.StatusConflict,
	domain.CodeInvalidState:           http.StatusConflict,
	domain.CodeEventsExpired:          http.StatusGone,
	domain.CodeRateLimit:              http.StatusTooManyRequests,
	domain.CodeMessageLimit:           http.StatusTooManyRequests,
	domain.CodeAPILimit:               http.StatusTooManyRequests,
	domain.CodeWorkerCommunication:    http.StatusBadGateway,
	domain.CodeMessageSendFailed:      http.StatusBadGateway,
	domain.CodeWorkerTimeout:          http.StatusGatewayTimeout,
	domain.CodeNoAvailableWorkers:     http.StatusServiceUnavailable,
	domain.CodeWorkerUnreachable:      http.StatusServiceUnavailable,
	domain.CodeNotReady:               http.StatusServiceUnavailable,
	domain.CodeOverloaded:             http.StatusServiceUnavailable,
	domain.CodeInternal:               http.StatusInternalServerError,
}

// statusByKind has the status of codes that are not in the contract.
var statusByKind = map[domain.Kind]int{
	domain.Internal:        http.StatusInternalServerError,
	domain.Invalid:         http.StatusBadRequest,
	domain.Unauthenticated: http.StatusUnauthorized,
	domain.Forbidden:       http.StatusForbidden,
	domain.NotFound:        http.StatusNotFound,
	domain.Conflict:        http.StatusConflict,
	domain.Exceeded:        http.StatusTooManyRequests,
	domain.Unavailable:     http.StatusServiceUnavailable,
	domain.Timeout:         http.StatusGatewayTimeout,
	domain.BadGateway:      http.StatusBadGateway,
	domain.Gone:            http.StatusGone,
}

// Codes of HTTP itself, which no service returns.
const (
	codeMethodNotAllowed domain.Code = "METHOD_NOT_ALLOWED"
)

// statusClientGone is the status in the log for a client that did not wait.
const statusClientGone = 499

const (
	internalMessage = "Something went wrong on our side; try again, and give the request id when asking for help"
	defaultRetry    = time.Minute // where nobody knows better
)

// An httpError is an error of HTTP itself, with its status.
type httpError struct {
	status int
	shown  *domain.Error
}

// Error returns the text for the log.
func (r *httpError) Error() string { return r.shown.Error() }

func refuse(status int, code domain.Code, field, message string) error {
	r := &httpError{status, &domain.Error{Kind: domain.Invalid, Code: code, Message: message}}
	if field != "" {
		r.shown.Fields = []domain.FieldError{{Field: field, Message: message}}
	}
	return r
}

func errNoRoute(r *http.Request) error {
	if strings.HasPrefix(r.URL.Path, "/api") {
		return refuse(http.StatusNotFound, domain.CodeNotFound, "", "There is no such route; check the path")
	}
	return refuse(http.StatusNotFound, domain.CodeNotFound, "",
		"There is nothing here; the routes of the API are below /api/v1")
}

func errMethod(r *http.Request, allow string) error {
	return refuse(http.StatusMethodNotAllowed, codeMethodNotAllowed, "",
		"This route does not answer "+clean(r.Method, 16)+"; use "+allow)
}

// A failure is an error in terms of HTTP.
type failure struct {
	status  int
	code    domain.Code
	message string
	fields  []domain.FieldError
	retry   time.Duration // 0: not said
	usage   domain.Usage  // of the limit that is used up
}

// toHTTPError maps an error to HTTP. Causes that are not meant for the caller stay
// out; the log has them.
func toHTTPError(err error) failure {
	var f failure
	var e *domain.Error
	var r *httpError
	switch {
	case errors.As(err, &r):
		f = failure{status: r.status, code: r.shown.Code, message: r.shown.Message, fields: r.shown.Fields, retry: r.shown.RetryAfter}
	case errors.As(err, &e):
		f = failure{status: statusByCode[e.Code], code: e.Code, message: e.Message, fields: e.Fields, retry: domain.RetryAfterOf(err), usage: e.Usage}
		if f.status == 0 {
			f.status = statusByKind[e.Kind]
		}
	case errors.Is(err, ratelimit.ErrLimited):
		f = failure{status: http.StatusTooManyRequests, code: domain.CodeRateLimit, message: rateMessage, retry: time.Second}
	case errors.Is(err, context.DeadlineExceeded):
		f = failure{
			status: http.StatusGatewayTimeout, code: domain.CodeWorkerTimeout,
			message: "This took too long; look at the present state before trying again",
		}
	case errors.Is(err, context.Canceled):
		f = failure{status: statusClientGone, code: domain.CodeInternal, message: "The request was given up"}
	}
	if f.status == 0 {
		f = failure{status: http.StatusInternalServerError, code: domain.CodeInternal, message: internalMessage}
	}
	if f.status != http.StatusTooManyRequests && f.code != domain.CodeOverloaded && f.code != domain.CodeNotReady {
		f.retry = 0
	} else if f.retry <= 0 {
		f.retry = defaultRetry
	}
	return f
}

// renamed returns err with the fields of its problems renamed, for routes whose
// names of fields differ from those of domain.
func renamed(err error, names map[string]string) error {
	if err == nil {
		return nil
	}
	var e *domain.Error
	if len(names) == 0 || !errors.As(err, &e) || len(e.Fields) == 0 {
		return err
	}
	c := *e
	c.Fields = make([]domain.FieldError, len(e.Fields))
	for i, f := range e.Fields {
		if name, ok := names[f.Field]; ok {
			f.Field = name
		}
		c.Fields[i] = f
	}
	return &c
}
