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

	"github.com/switchyard-wa/switchyard/ports"
)

// retryPolicy says which failures of a call may be followed by another try.
type retryPolicy uint8

const (
	never     retryPolicy = iota // not at all
	ifNotSent                    // if it cannot have reached the worker
	harmless                     // whenever the worker may answer better the next time
)

func (r retryPolicy) after(e *ports.WorkerError) bool {
	switch e.Failure {
	case ports.WorkerConnectionRefused, ports.WorkerNameUnknown, ports.WorkerUnreachable:
		return r >= ifNotSent
	case ports.WorkerConnectionLost:
		return r == harmless
	case ports.WorkerFailed:
		return r == harmless && e.Status >= 500
	}
	return false
}

// buffers holds *[]byte for requests.
var buffers = sync.Pool{New: func() any { return new(make([]byte, 0, 2048)) }}

// request is one call in the making: a buffer whose beginning is left free for
// the head, so that the body is written once and in place.
type request struct {
	p      *peer
	method string
	path   string // below the endpoint
	buf    *[]byte
	body   int // where it begins
}

// lengthDigits is room for the longest Content-Length.
const lengthDigits = 10

func newRequest(p *peer, method, path string) request {
	r := request{p: p, method: method, path: path, buf: buffers.Get().(*[]byte)}
	r.body = len(method) + len(p.prefix) + len(path) + len(p.head) + lengthDigits + 96
	b := *r.buf
	if cap(b) < r.body {
		b = make([]byte, 0, 2*r.body)
	}
	*r.buf = b[:r.body]
	return r
}

func (r *request) release() {
	if cap(*r.buf) <= keptBuffer {
		buffers.Put(r.buf)
	}
	r.buf = nil
}

// wire gives the request as it goes over the wire: the head is put right before
// the body that has been appended to the buffer.
func (r *request) wire() []byte {
	b := *r.buf
	size := len(b) - r.body
	var tail [lengthDigits + 64]byte
	t := tail[:0]
	if size > 0 {
		t = append(t, "Content-Type: application/json\r\n"...)
	}
	if size > 0 || r.method != http.MethodGet {
		t = append(t, "Content-Length: "...)
		t = strconv.AppendInt(t, int64(size), 10)
		t = append(t, "\r\n"...)
	}
	t = append(t, "\r\n"...)
	const version = " HTTP/1.1\r\n"
	start := r.body - len(t) - len(r.p.head) - len(version) - len(r.path) - len(r.p.prefix) - len(r.method) - 1
	at := start
	for _, part := range [...]string{r.method, " ", r.p.prefix, r.path, version, r.p.head} {
		at += copy(b[at:], part)
	}
	copy(b[at:], t)
	return b[start:]
}

// do makes the call, repeats it as far as it may, and gives an answer with a
// 2xx, which the caller releases.
func (c *Client) do(ctx context.Context, r *request, limit time.Duration, may retryPolicy) (*fasthttp.Response, *ports.WorkerError) {
	deadline := time.Now().Add(limit)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	wire := r.wire()
	resp := fasthttp.AcquireResponse()
	left := tries - 1
	failure := c.withCircuitBreaker(ctx, r.p, wire, deadline, may, &left, resp)
	if failure != nil && may.after(failure) {
		failure = c.retry(ctx, r.p, wire, deadline, may, &left, resp, failure)
	}
	if failure != nil {
		fasthttp.ReleaseResponse(resp)
		return nil, failure
	}
	return resp, nil
}

// retry repeats a call that has failed, for as many tries as are left.
func (c *Client) retry(ctx context.Context, p *peer, wire []byte, deadline time.Time, may retryPolicy, left *int, resp *fasthttp.Response, failure *ports.WorkerError) *ports.WorkerError {
	waits := backoff.ExponentialBackOff{
		InitialInterval: c.cfg.RetryWait, RandomizationFactor: 0.5, Multiplier: 3, MaxInterval: c.cfg.CallLimit,
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	<-timer.C
	for *left > 0 && may.after(failure) {
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
		*left--
		next := c.withCircuitBreaker(ctx, p, wire, deadline, may, left, resp)
		if next == nil {
			return nil
		}
		considered := next.Failure == ports.WorkerSessionNotFound || next.Failure == ports.WorkerRejected
		if next.Failure == ports.WorkerCircuitOpen || !failure.IsNotExecuted() && next.IsNotExecuted() && !considered {
			return failure // says more: an earlier try may have done it
		}
		failure = next
	}
	return failure
}

// withCircuitBreaker makes one try under the circuit breaker of the worker, for which only
// the failure to communicate counts.
func (c *Client) withCircuitBreaker(ctx context.Context, p *peer, wire []byte, deadline time.Time, may retryPolicy, left *int, resp *fasthttp.Response) (failure *ports.WorkerError) {
	began := time.Now()
	_, err := p.breaker.Load().Execute(func() (struct{}, error) {
		failure = c.attempt(ctx, p, wire, deadline, may, left, resp)
		return struct{}{}, verdict(ctx, failure, time.Since(began))
	})
	if failure == nil && err != nil {
		return &ports.WorkerError{Failure: ports.WorkerCircuitOpen, Message: msgSuspended, Err: err}
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

// verdict is what a try says of the worker. A caller that lost its patience
// within a second, or went away, says nothing.
func verdict(ctx context.Context, e *ports.WorkerError, took time.Duration) error {
	if e == nil {
		return nil
	}
	switch e.Failure {
	case ports.WorkerConnectionRefused, ports.WorkerNameUnknown, ports.WorkerUnreachable, ports.WorkerTimedOut, ports.WorkerConnectionLost:
		if ctx.Err() != nil && (!errors.Is(ctx.Err(), context.DeadlineExceeded) || took < time.Second) {
			return errNoVerdict
		}
		return e
	case ports.WorkerBusy:
		if e.Status == 0 {
			return errNoVerdict // it was not called
		}
	}
	return nil
}

// attempt makes one try, or more over connections that were closed while they
// idled, for as many as are left.
func (c *Client) attempt(ctx context.Context, p *peer, wire []byte, deadline time.Time, may retryPolicy, left *int, resp *fasthttp.Response) *ports.WorkerError {
	if may != harmless {
		left = nil
	}
	if failure := c.exchange(ctx, p, wire, deadline, left, resp); failure != nil {
		return failure
	}
	if status := resp.StatusCode(); status < 200 || status > 299 {
		return c.refusal(resp)
	}
	return nil
}

// sessionPath gives a path with a session's id in it.
func sessionPath(before, id, after string) (string, *ports.WorkerError) {
	if id == "" || id == "." || id == ".." {
		return "", &ports.WorkerError{Failure: ports.WorkerRejected, Message: "This is not a session id"}
	}
	return before + url.PathEscape(id) + after, nil
}
