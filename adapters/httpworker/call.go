package httpworker

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/valyala/fasthttp"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// retryPolicy tells which failures of a call may be followed by another attempt.
type retryPolicy uint8

const (
	retryNever   retryPolicy = iota // no failure
	ifNotSent                       // failures where the request cannot have reached the worker
	ifUnanswered                    // the failures of ifNotSent, and lost connections
	idempotent                      // every failure that another attempt may cure
	deduplicated                    // the failures of idempotent; the worker ignores a repetition, see isOutweighed
)

// after reports whether another attempt may follow the failure.
func (r retryPolicy) after(e *ports.WorkerError) bool {
	switch e.Failure {
	case ports.WorkerConnectionRefused, ports.WorkerNameUnknown, ports.WorkerUnreachable:
		return r >= ifNotSent
	case ports.WorkerConnectionLost:
		return r >= ifUnanswered
	case ports.WorkerFailed:
		return r >= idempotent && e.Status >= 500
	}
	return false
}

// buffers holds *[]byte for requests.
var buffers = sync.Pool{New: func() any { return new(make([]byte, 0, 2048)) }}

// request is a call before it is written. Its buffer keeps room for the head in
// front of the body. Thus the body is written once and in place.
type request struct {
	p      *peer
	head   requestHead
	method string
	path   string // below the endpoint
	buf    *[]byte
	body   int            // index of the first byte of the body
	file   *domain.Upload // goes into the body at fileAt, in base64; nil: none
	fileAt int
}

// lengthDigits is the room for the longest Content-Length.
const lengthDigits = 10

func newRequest(p *peer, head requestHead, method, path string) request {
	r := request{p: p, head: head, method: method, path: path, buf: buffers.Get().(*[]byte)}
	r.body = len(method) + len(p.prefix) + len(path) + len(head.lines) + lengthDigits + 96
	b := *r.buf
	if cap(b) < r.body {
		b = make([]byte, 0, 2*r.body)
	}
	*r.buf = b[:r.body]
	return r
}

func (r *request) release() {
	if cap(*r.buf) <= maxPooledBuffer {
		buffers.Put(r.buf)
	}
	r.buf = nil
}

// wire returns the bytes of the request. It writes the head right in front of
// the body in the buffer.
func (r *request) wire() []byte {
	b := *r.buf
	size := int64(len(b) - r.body)
	if r.file != nil {
		size += base64Length(r.file.Size)
	}
	var tail [lengthDigits + 64]byte
	t := tail[:0]
	if size > 0 {
		t = append(t, "Content-Type: application/json\r\n"...)
	}
	if size > 0 || r.method != http.MethodGet {
		t = append(t, "Content-Length: "...)
		t = strconv.AppendInt(t, size, 10)
		t = append(t, "\r\n"...)
	}
	t = append(t, "\r\n"...)
	const version = " HTTP/1.1\r\n"
	start := r.body - len(t) - len(r.head.lines) - len(version) - len(r.path) - len(r.p.prefix) - len(r.method) - 1
	at := start
	for _, part := range [...]string{r.method, " ", r.p.prefix, r.path, version, r.head.lines} {
		at += copy(b[at:], part)
	}
	copy(b[at:], t)
	return b[start:]
}

// do makes the call with the attempts that the policy allows. It returns a
// response with a 2xx, which the caller releases.
func (c *Client) do(ctx context.Context, r *request, limit time.Duration, may retryPolicy) (*fasthttp.Response, *ports.WorkerError) {
	deadline := time.Now().Add(limit)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	wire := payload{wire: r.wire(), file: r.file}
	if r.file != nil {
		wire.fileAt = len(wire.wire) - (len(*r.buf) - r.fileAt)
	}
	resp := fasthttp.AcquireResponse()
	retriesLeft := maxAttempts - 1
	failure := c.withCircuitBreaker(ctx, r.p, wire, deadline, may, &retriesLeft, resp)
	if failure != nil && may.after(failure) {
		failure = c.retry(ctx, r.p, wire, deadline, may, &retriesLeft, resp, failure)
	}
	if failure != nil {
		fasthttp.ReleaseResponse(resp)
		if r.head.hasCallToken && failure.Status == http.StatusUnauthorized {
			failure = asRegistering(failure)
		}
		return nil, failure
	}
	return resp, nil
}

// retry repeats a failed call while attempts remain and the policy allows it.
func (c *Client) retry(ctx context.Context, p *peer, wire payload, deadline time.Time, may retryPolicy, retriesLeft *int, resp *fasthttp.Response, failure *ports.WorkerError) *ports.WorkerError {
	waits := backoff.ExponentialBackOff{
		InitialInterval: c.cfg.RetryWait, RandomizationFactor: 0.5, Multiplier: 3, MaxInterval: c.cfg.CallLimit,
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	<-timer.C
	for *retriesLeft > 0 && may.after(failure) {
		wait := waits.NextBackOff()
		if time.Until(deadline) <= wait {
			return failure
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return failure
		case <-timer.C:
		}
		resp.Reset()
		*retriesLeft--
		next := c.withCircuitBreaker(ctx, p, wire, deadline, may, retriesLeft, resp)
		if next == nil {
			return nil
		}
		if next.Failure == ports.WorkerCircuitOpen || isOutweighed(next, failure, may) {
			return failure
		}
		failure = next
	}
	return failure
}

// isOutweighed reports whether the call fails with the earlier failure: the earlier attempt may have been
// executed, and the later one was not. After a command that sets a state, a later refusal counts instead: a
// worker that refuses the command, or lacks the session, is not in that state. After a message it does not
// count: the earlier attempt may have sent the message.
func isOutweighed(later, earlier *ports.WorkerError, may retryPolicy) bool {
	if earlier == nil || earlier.IsNotExecuted() || !later.IsNotExecuted() {
		return false
	}
	if may == deduplicated {
		return true
	}
	switch later.Failure {
	case ports.WorkerSessionNotFound, ports.WorkerRejected, ports.WorkerRouteMissing:
		return false
	}
	return true
}

// withCircuitBreaker makes one attempt under the circuit breaker of the worker.
// Only failures to communicate count as failures there.
func (c *Client) withCircuitBreaker(ctx context.Context, p *peer, wire payload, deadline time.Time, may retryPolicy, retriesLeft *int, resp *fasthttp.Response) (failure *ports.WorkerError) {
	began := time.Now()
	_, err := p.breaker.Load().Execute(func() (struct{}, error) {
		failure = c.attempt(ctx, p, wire, deadline, may, retriesLeft, resp)
		return struct{}{}, breakerResult(ctx, failure, time.Since(began))
	})
	if failure == nil && err != nil {
		return &ports.WorkerError{Failure: ports.WorkerCircuitOpen, Message: msgCircuitOpen, Err: err}
	}
	if failure != nil {
		switch failure.Failure {
		case ports.WorkerConnectionRefused, ports.WorkerNameUnknown, ports.WorkerUnreachable:
			p.connectFailed.Store(true)
		case ports.WorkerTimedOut, ports.WorkerConnectionLost:
			p.connectFailed.Store(false)
		}
	}
	return failure
}

// breakerResult returns the result of an attempt for the circuit breaker. It returns
// errNotCounted if the caller went away, or gave the worker less than a second.
func breakerResult(ctx context.Context, e *ports.WorkerError, took time.Duration) error {
	if e == nil {
		return nil
	}
	switch e.Failure {
	case ports.WorkerConnectionRefused, ports.WorkerNameUnknown, ports.WorkerUnreachable, ports.WorkerTimedOut, ports.WorkerConnectionLost:
		if ctx.Err() != nil && (!errors.Is(ctx.Err(), context.DeadlineExceeded) || took < time.Second) {
			return errNotCounted
		}
		return e
	case ports.WorkerBusy:
		if e.Status == 0 {
			return errNotCounted // the worker was not called
		}
	}
	return nil
}

// attempt makes one attempt. It uses up retries, as far as retriesLeft has any, on
// pooled connections that the worker closed while they were idle.
func (c *Client) attempt(ctx context.Context, p *peer, wire payload, deadline time.Time, may retryPolicy, retriesLeft *int, resp *fasthttp.Response) *ports.WorkerError {
	if may < idempotent {
		retriesLeft = nil
	}
	failure, earlier := c.exchange(ctx, p, wire, deadline, retriesLeft, resp)
	if failure == nil {
		if status := resp.StatusCode(); status < 200 || status > 299 {
			failure = c.responseError(resp)
		}
	}
	if failure != nil && isOutweighed(failure, earlier, may) {
		return earlier
	}
	return failure
}

// sessionPath returns a path that contains the escaped id of a session.
func sessionPath(before, id, after string) (string, *ports.WorkerError) {
	if id == "" || id == "." || id == ".." {
		return "", &ports.WorkerError{Failure: ports.WorkerRejected, Message: "This is not a session id"}
	}
	return before + url.PathEscape(id) + after, nil
}
