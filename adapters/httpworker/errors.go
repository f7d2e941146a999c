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

	"github.com/switchyard-wa/switchyard/domain"
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
	msgRegistering     = "The worker is registering; try again in a moment"
	msgPoolExhausted   = "The worker has too many calls in progress; try again later"
	msgCircuitOpen     = "The worker kept failing and is left alone for a moment"
	msgUnknown         = "The worker does not have this session"
	msgRouteMissing    = "The worker does not know this call; it is too old, or something else answers in its place"
	msgMediaNotFound   = "The worker does not have this media"
	msgRangeInvalid    = "The media has no such part"
	msgRejected        = "The worker rejected the call"
	msgFailed          = "The worker failed"
	msgInvalidResponse = "The worker gave an answer that makes no sense"
)

// callTokens matches call tokens that a response echoes.
var callTokens = regexp.MustCompile("ct_[0-9a-f]{16,}")

// asRegistering returns the failure of a call whose call token was refused. The worker
// has restarted, and learns the new token from the answer to its registration. It did
// not execute the call, which may be made again then.
func asRegistering(e *ports.WorkerError) *ports.WorkerError {
	e.Failure, e.Message, e.NotSent, e.Retry = ports.WorkerBusy, msgRegistering, true, time.Second
	return e
}

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
	default:
		e.Message = cmp.Or(tlsMessage(err, time.Now()), e.Message)
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

// responseError classifies a response that is not a success. Only a 4xx in the
// error form of the protocol proves that the worker itself refused the call. A
// proxy in front of the worker may say anything.
func (c *Client) responseError(resp *fasthttp.Response) *ports.WorkerError {
	status := resp.StatusCode()
	a := readError(resp.Body())
	if c.fleet != "" {
		a.text = strings.ReplaceAll(a.text, c.fleet, "…")
	}
	a.text = callTokens.ReplaceAllLiteralString(a.text, "…")
	e := &ports.WorkerError{
		Status: status, Text: domain.PublicText(a.text), NotSent: a.notSent,
		Err: fmt.Errorf("HTTP %d %s", status, clip(a.text, 500)),
	}
	isRefusal := status >= 400 && status < 500
	switch {
	case status == http.StatusTooManyRequests:
		e.Failure, e.Message = ports.WorkerBusy, msgBusy
		e.Retry = retryAfter(string(resp.Header.Peek("Retry-After")), time.Now())
		return e
	case status == http.StatusMethodNotAllowed, status == http.StatusNotFound && a.isAboutRoute():
		e.Failure, e.Message = ports.WorkerRouteMissing, msgRouteMissing
		e.NotSent = e.NotSent || a.inForm
		return e
	case status == http.StatusNotFound && a.isAboutSession():
		e.Failure, e.Message = ports.WorkerSessionNotFound, msgUnknown
		return e
	case isRefusal && a.inForm:
		e.Failure, e.Message = ports.WorkerRejected, msgRejected
	default:
		e.Failure, e.Message = ports.WorkerFailed, msgFailed
	}
	switch {
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		e.Message, e.Text = msgRejected+": it does not accept our token", ""
	case e.Text != "":
		e.Message += ": " + e.Text
	case isRefusal && !a.inForm:
		e.Message = msgInvalidResponse
	}
	return e
}

// errorAnswer is a worker's description of a failure.
type errorAnswer struct {
	text    string // with the first of its details
	code    string
	inForm  bool // the response has the error form of the protocol
	notSent bool
}

// isAboutRoute reports whether a 404 says that the worker does not know the call.
func (a errorAnswer) isAboutRoute() bool { return !a.inForm || routeWords.MatchString(a.subject()) }

// isAboutSession reports whether a 404 says that the worker does not have the
// session. A code tells it better than a text. A text that names no object means
// the session.
func (a errorAnswer) isAboutSession() bool {
	if sessionWords.MatchString(a.code) || messageWords.MatchString(a.code) {
		return sessionWords.MatchString(a.code)
	}
	return sessionWords.MatchString(a.text) && !messageWords.MatchString(a.text) || noObject.MatchString(a.text)
}

// subject returns code and text without paths, which contain names of sessions.
func (a errorAnswer) subject() string { return a.code + " " + pathWord.ReplaceAllString(a.text, "") }

var (
	routeWords   = regexp.MustCompile(`(?i)\b(route|endpoint)\b|route_|endpoint_|\bcannot (get|post|put|delete)\b`)
	sessionWords = regexp.MustCompile(`(?i)session|instance|client|device`)
	messageWords = regexp.MustCompile(`(?i)^\W*(the )?message`)
	noObject     = regexp.MustCompile(`(?i)^\W*(not[_ ]found)?\W*$`)
	pathWord     = regexp.MustCompile(`/\S*`)
)

// readError decodes the description of a failure. It knows the forms that workers
// use: a text or an object in error, a text in errorMessage or message, and
// details that are a list or an object.
func readError(body []byte) (a errorAnswer) {
	var members struct {
		Success      json.RawMessage `json:"success"`
		Error        json.RawMessage `json:"error"`
		ErrorMessage lenientText     `json:"errorMessage"`
		Message      lenientText     `json:"message"`
		Code         lenientText     `json:"code"`
		Details      json.RawMessage `json:"details"`
	}
	if unmarshal(body, &members) != nil {
		return a
	}
	var plain lenientText
	var object struct {
		Code         lenientText     `json:"code"`
		Message      lenientText     `json:"message"`
		ErrorMessage lenientText     `json:"errorMessage"`
		Details      json.RawMessage `json:"details"`
		NotSent      json.RawMessage `json:"notSent"`
	}
	_ = json.Unmarshal(members.Error, &plain) // fails if the member is missing
	if json.Unmarshal(members.Error, &object) == nil {
		a.notSent = string(object.NotSent) == "true"
	}
	a.code = string(cmp.Or(object.Code, members.Code))
	text := cmp.Or(plain, object.Message, object.ErrorMessage, members.ErrorMessage, members.Message, object.Code)
	a.inForm = string(members.Success) == "false" && (text != "" || a.code != "") ||
		string(members.Success) != "true" && cmp.Or(plain, object.Message, object.Code, members.ErrorMessage) != ""
	a.text = strings.TrimSpace(string(text))
	for _, details := range []json.RawMessage{members.Details, object.Details} {
		if d := firstDetail(details); d != "" && d != a.text {
			a.text = strings.TrimPrefix(a.text+": "+d, ": ")
			break
		}
	}
	return a
}

// firstDetail returns the text of the first usable detail.
func firstDetail(details json.RawMessage) string {
	var list []json.RawMessage
	if json.Unmarshal(details, &list) != nil {
		list = []json.RawMessage{details}
	}
	for _, d := range list {
		var object struct{ Message, Msg lenientText }
		var detail lenientText
		if json.Unmarshal(d, &detail) != nil {
			continue
		}
		if json.Unmarshal(d, &object) == nil {
			detail = cmp.Or(detail, object.Message, object.Msg)
		}
		text := strings.TrimSpace(string(detail))
		if text != "" {
			return text
		}
	}
	return ""
}

// isHidden reports whether r is a control character or changes the direction of
// the following text.
func isHidden(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) }

// clip cuts s to n bytes for a log.
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
