package httpworker

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode"

	"github.com/valyala/fasthttp"

	"github.com/switchyard-wa/switchyard/ports"
)

// errNotCounted excludes a call from the counts of a circuit breaker.
var errNotCounted = errors.New("not counted by the circuit breaker")

// ErrNotAllowed is the error that Config.Dial returns for an address that the
// server must not call.
var ErrNotAllowed = errors.New("the address is not allowed")

// The messages are shown to users. They contain no address.
const (
	msgRefused         = "Connection refused: nothing listens at the worker's endpoint"
	msgNameUnknown     = "The host name of the worker's endpoint was not found"
	msgUnreachable     = "The worker cannot be reached"
	msgNotAllowed      = "The address of the worker's endpoint is not one that this server may call"
	msgNoConn          = "Connection timed out: the worker did not accept it"
	msgTimedOut        = "Timed out: the worker did not answer in time"
	msgCancelled       = "The call to the worker was given up"
	msgBroken          = "The connection to the worker ended before it had answered"
	msgBusy            = "The worker is busy; try again later"
	msgPoolExhausted   = "The worker has too many calls in progress; try again later"
	msgCircuitOpen     = "The worker kept failing and is left alone for a moment"
	msgUnknown         = "The worker does not have this session"
	msgRejected        = "The worker rejected the call"
	msgFailed          = "The worker failed"
	msgInvalidResponse = "The worker gave an answer that makes no sense"
)

// notSentError returns the failure of a call whose time ran out before it was written.
func notSentError(ctx context.Context) *ports.WorkerError {
	if errors.Is(ctx.Err(), context.Canceled) {
		return &ports.WorkerError{Failure: ports.WorkerUnreachable, Message: msgCancelled, Err: context.Cause(ctx)}
	}
	return &ports.WorkerError{Failure: ports.WorkerUnreachable, Message: msgNoConn, Err: context.DeadlineExceeded}
}

// connectError classifies a failure to get a connection. Nothing was executed.
func connectError(ctx context.Context, err error) *ports.WorkerError {
	if ctx.Err() != nil {
		return notSentError(ctx)
	}
	e := &ports.WorkerError{Failure: ports.WorkerUnreachable, Message: msgUnreachable, Err: err}
	var dns *net.DNSError
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		e.Failure, e.Message = ports.WorkerConnectionRefused, msgRefused
	case errors.Is(err, ErrNotAllowed):
		e.Message = msgNotAllowed
	case errors.As(err, &dns) && dns.IsNotFound:
		e.Failure, e.Message = ports.WorkerNameUnknown, msgNameUnknown
	case errors.Is(err, fasthttp.ErrNoFreeConns), errors.Is(err, fasthttp.ErrTimeout):
		// Both errors mean that the pool had no free connection in time.
		e.Failure, e.Message = ports.WorkerBusy, msgPoolExhausted
	case timedOut(err):
		e.Message = msgNoConn
	}
	return e
}

// exchangeError classifies the end of an exchange after n bytes were written.
func exchangeError(ctx context.Context, n int, err error) *ports.WorkerError {
	switch {
	case n == 0 && ctx.Err() != nil:
		return notSentError(ctx)
	case n == 0 && timedOut(err):
		return &ports.WorkerError{Failure: ports.WorkerUnreachable, Message: msgNoConn, Err: err}
	case n == 0:
		return &ports.WorkerError{Failure: ports.WorkerUnreachable, Message: msgUnreachable, Err: err}
	case errors.Is(ctx.Err(), context.Canceled):
		return &ports.WorkerError{Failure: ports.WorkerTimedOut, Message: msgCancelled, Err: context.Cause(ctx)}
	case timedOut(err):
		return &ports.WorkerError{Failure: ports.WorkerTimedOut, Message: msgTimedOut, Err: err}
	}
	var op *net.OpError
	var chunk fasthttp.ErrBrokenChunk
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &op) || errors.As(err, &chunk) {
		return &ports.WorkerError{Failure: ports.WorkerConnectionLost, Message: msgBroken, Err: err}
	}
	if errors.Is(err, fasthttp.ErrBodyTooLarge) {
		return invalidResponse(0, fmt.Errorf("more than %d bytes", maxResponse))
	}
	// fasthttp quotes the bytes that it could not parse. They may echo the request.
	return invalidResponse(0, errors.New("not an HTTP answer"))
}

func timedOut(err error) bool {
	var t interface{ Timeout() bool }
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) ||
		errors.As(err, &t) && t.Timeout()
}

func invalidResponse(status int, err error) *ports.WorkerError {
	return &ports.WorkerError{Failure: ports.WorkerFailed, Message: msgInvalidResponse, Status: status, Err: err}
}

// responseError classifies a response that is not a success.
func (c *Client) responseError(resp *fasthttp.Response) *ports.WorkerError {
	status := resp.StatusCode()
	e := &ports.WorkerError{Status: status}
	text := errorText(resp.Body())
	if c.token != "" {
		text = strings.ReplaceAll(text, c.token, "…")
	}
	e.Err = fmt.Errorf("HTTP %d %s", status, clip(text, 500))
	switch {
	case status == http.StatusTooManyRequests:
		e.Failure, e.Message = ports.WorkerBusy, msgBusy
		e.Retry = retryAfter(string(resp.Header.Peek("Retry-After")), time.Now())
		return e
	case status == http.StatusNotFound:
		e.Failure, e.Message = ports.WorkerSessionNotFound, msgUnknown
		return e
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		e.Failure, e.Message = ports.WorkerRejected, msgRejected+": it does not accept our token"
		return e
	case status >= 400 && status < 500:
		e.Failure, e.Message = ports.WorkerRejected, msgRejected
	default:
		e.Failure, e.Message = ports.WorkerFailed, msgFailed
	}
	if presentable(text) {
		e.Message += ": " + text
	}
	return e
}

// errorText returns a worker's description of a failure with the first of its
// details. It knows both forms of error responses.
func errorText(body []byte) string {
	var a struct {
		Error   json.RawMessage   `json:"error"`
		Message string            `json:"message"`
		Details []json.RawMessage `json:"details"`
	}
	if json.Unmarshal(body, &a) != nil {
		return ""
	}
	text := a.Message
	var object struct {
		Code    string            `json:"code"`
		Message string            `json:"message"`
		Details []json.RawMessage `json:"details"`
	}
	var plain string
	if json.Unmarshal(a.Error, &plain) == nil && plain != "" {
		text = plain
	} else if json.Unmarshal(a.Error, &object) == nil {
		if object.Message != "" {
			text = object.Message
		} else if object.Code != "" {
			text = object.Code
		}
		a.Details = append(a.Details, object.Details...)
	}
	for _, d := range a.Details {
		var object struct {
			Field, Message, Msg string
		}
		var detail string
		if json.Unmarshal(d, &detail) != nil && json.Unmarshal(d, &object) == nil {
			detail = cmp.Or(object.Message, object.Msg)
		}
		if detail != "" && detail != text {
			return strings.TrimSpace(text + ": " + detail)
		}
	}
	return strings.TrimSpace(text)
}

// private matches text that customers must not see: addresses, paths, source
// positions, names of system errors.
var private = regexp.MustCompile(`://|\d+\.\d+\.\d+\.\d+|[\w\]]:\d{2,}|localhost|(^|[\s'"(=])[/\\~]|[A-Za-z]:\\|\bE[A-Z]{4,}\b|\.[cm]?[jt]s\b|\bat \w+\.`)

// presentable reports whether users may see a worker's description of a failure.
func presentable(text string) bool {
	return text != "" && len(text) <= 300 && !private.MatchString(text) &&
		strings.IndexFunc(text, unicode.IsControl) < 0
}

func clip(s string, n int) string {
	if len(s) > n {
		return strings.ToValidUTF8(s[:n], "") + "…"
	}
	return s
}

// retryAfter parses the header Retry-After, which holds seconds or a date.
func retryAfter(s string, now time.Time) time.Duration {
	const most = time.Hour
	if n, err := strconv.Atoi(strings.TrimSpace(s)); err == nil {
		return time.Duration(min(max(n, 0), int(most/time.Second))) * time.Second
	}
	if at, err := http.ParseTime(s); err == nil {
		return min(max(at.Sub(now), 0), most)
	}
	return 0
}
