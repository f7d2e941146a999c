package httpworker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// maxErrorBody bounds the bytes that are read of an error response.
const maxErrorBody = 64 << 10

// newStreams returns the client for media. Its connections are apart from those of calls,
// because a download may hold one for long. fasthttp streams only through its Do.
func (c *Client) newStreams() *http.Client {
	t := &http.Transport{
		DialContext: c.cfg.Dial, DisableCompression: true, ForceAttemptHTTP2: false,
		TLSHandshakeTimeout: dialLimit, IdleConnTimeout: idleConnLife, MaxIdleConnsPerHost: 2, MaxConnsPerHost: maxConns,
	}
	if c.cfg.TLS != nil {
		t.TLSClientConfig = c.cfg.TLS.Clone()
		t.TLSClientConfig.NextProtos = nil // HTTP/1.1 only
	}
	return &http.Client{
		Transport:     t,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// OpenMedia opens the media of an inbound message. The circuit breaker counts the
// beginning of the response, not what follows.
func (c *Client) OpenMedia(ctx context.Context, w ports.WorkerRef, r ports.MediaRequest) (*ports.Media, error) {
	if !slices.Contains(w.Capabilities, domain.CapMedia) {
		return nil, &ports.WorkerError{Failure: ports.WorkerRouteMissing, Message: msgRouteMissing, NotSent: true}
	}
	media, failure := c.openMedia(ctx, w, r)
	if failure != nil {
		return nil, failure
	}
	if r.IfRange == "" || media.Part == nil || media.ETag == r.IfRange {
		return media, nil
	}
	// The worker has no ETags, or ignores If-Range.
	_ = media.Content.Close()
	r.Range, r.IfRange = nil, ""
	media, failure = c.openMedia(ctx, w, r)
	if failure != nil {
		return nil, failure
	}
	return media, nil
}

// openMedia makes one request under the circuit breaker.
func (c *Client) openMedia(ctx context.Context, w ports.WorkerRef, r ports.MediaRequest) (media *ports.Media, failure *ports.WorkerError) {
	p, failure := c.peer(w.Endpoint)
	if failure != nil {
		return nil, failure
	}
	began := time.Now()
	_, err := p.breaker.Load().Execute(func() (struct{}, error) {
		media, failure = c.requestMedia(ctx, p, w, r)
		return struct{}{}, breakerResult(ctx, failure, time.Since(began))
	})
	if failure == nil && err != nil {
		return nil, &ports.WorkerError{Failure: ports.WorkerCircuitOpen, Message: msgCircuitOpen, Err: err}
	}
	return media, failure
}

// requestMedia sends the request and waits for the beginning of the response.
func (c *Client) requestMedia(ctx context.Context, p *peer, w ports.WorkerRef, r ports.MediaRequest) (*ports.Media, *ports.WorkerError) {
	before, failure := sessionPath("/api/", r.SessionID, "/media/")
	if failure != nil {
		return nil, failure
	}
	path, failure := sessionPath(before, r.MediaID, "")
	if failure != nil {
		return nil, &ports.WorkerError{Failure: ports.WorkerMediaNotFound, Message: msgMediaNotFound}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimRight(w.Endpoint, "/")+path, nil)
	if err != nil {
		cancel(err)
		return nil, encodeError(err)
	}
	c.setMediaHead(request, p, w, r)
	head := time.AfterFunc(c.cfg.CallLimit, func() { cancel(errStalled) })
	response, err := c.streams.Do(request)
	if err == nil && head.Stop() && response.StatusCode/100 == 2 {
		media, failure := mediaOf(response, r)
		if failure != nil {
			cancel(failure)
			_ = response.Body.Close()
			return nil, failure
		}
		media.Content = &mediaContent{body: response.Body, ctx: ctx, cancel: cancel, limit: c.cfg.CallLimit}
		return media, nil
	}
	defer cancel(context.Canceled)
	if err != nil {
		return nil, streamError(ctx, err)
	}
	defer response.Body.Close()
	return nil, c.mediaRefusal(response)
}

// setMediaHead sets the header lines of a request for media.
func (c *Client) setMediaHead(request *http.Request, p *peer, w ports.WorkerRef, r ports.MediaRequest) {
	for line := range strings.Lines(c.headFor(p, w).lines) {
		name, value, _ := strings.Cut(strings.TrimRight(line, "\r\n"), ": ")
		if name != "Host" && name != "Accept" {
			request.Header.Set(name, value)
		}
	}
	request.Header.Set("Accept-Encoding", "identity")
	if r.Range != nil {
		request.Header.Set("Range", r.Range.String())
		if r.IfRange != "" {
			request.Header.Set("If-Range", r.IfRange)
		}
	}
}

// mediaOf reads the head of a response with media.
func mediaOf(response *http.Response, r ports.MediaRequest) (*ports.Media, *ports.WorkerError) {
	media := &ports.Media{Length: response.ContentLength, Type: response.Header.Get("Content-Type"), ETag: response.Header.Get("ETag")}
	switch coding := response.Header.Get("Content-Encoding"); {
	case coding != "" && !strings.EqualFold(coding, "identity"):
		return nil, invalidResponse(response.StatusCode, fmt.Errorf("the content is encoded: %q", clip(coding, 40)))
	case response.StatusCode == http.StatusOK:
		return media, nil
	case response.StatusCode != http.StatusPartialContent || r.Range == nil:
		return nil, invalidResponse(response.StatusCode, errors.New("not the status of media"))
	}
	part, length, err := parseContentRange(response.Header.Get("Content-Range"))
	if err != nil || media.Length >= 0 && media.Length != length {
		return nil, invalidResponse(response.StatusCode, errors.New("Content-Range does not fit"))
	}
	media.Part, media.Length = part, length
	return media, nil
}

// parseContentRange parses the header Content-Range of a 206.
func parseContentRange(header string) (part *ports.MediaPart, length int64, err error) {
	spec, found := strings.CutPrefix(header, "bytes ")
	places, total, hasTotal := strings.Cut(spec, "/")
	first, last, hasLast := strings.Cut(places, "-")
	if !found || !hasTotal || !hasLast {
		return nil, 0, errors.New("malformed")
	}
	from, errFrom := strconv.ParseUint(first, 10, 62)
	to, errTo := strconv.ParseUint(last, 10, 62)
	size := uint64(1 << 62)
	if total != "*" {
		size, err = strconv.ParseUint(total, 10, 62)
	}
	if err := errors.Join(errFrom, errTo, err); err != nil || to < from || to >= size {
		return nil, 0, errors.New("malformed")
	}
	part = &ports.MediaPart{Offset: int64(from), Size: int64(size)}
	if total == "*" {
		part.Size = -1
	}
	return part, int64(to-from) + 1, nil
}

// mediaRefusal classifies a response without media.
func (c *Client) mediaRefusal(response *http.Response) *ports.WorkerError {
	resp := fasthttp.AcquireResponse()
	defer fasthttp.ReleaseResponse(resp)
	body, _ := io.ReadAll(io.LimitReader(response.Body, maxErrorBody)) // what was read tells the reason
	resp.SetStatusCode(response.StatusCode)
	resp.Header.Set("Retry-After", response.Header.Get("Retry-After"))
	resp.SetBody(body)
	e := c.responseError(resp)
	switch {
	case response.StatusCode == http.StatusRequestedRangeNotSatisfiable:
		e.Failure, e.Message = ports.WorkerRangeInvalid, msgRangeInvalid
	case response.StatusCode == http.StatusGone, response.StatusCode == http.StatusNotFound && e.Failure == ports.WorkerRejected:
		e.Failure, e.Message = ports.WorkerMediaNotFound, msgMediaNotFound
	}
	return e
}

// errStalled ends a download whose worker sends nothing.
var errStalled = errors.New("the worker sent nothing for too long")

// streamError classifies the end of a request for media.
func streamError(ctx context.Context, err error) *ports.WorkerError {
	if errors.Is(context.Cause(ctx), errStalled) {
		return &ports.WorkerError{Failure: ports.WorkerTimedOut, Message: msgTimedOut, Err: errStalled}
	}
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err // without the URL
	}
	if e := connectError(ctx, err); e.Message != msgUnreachable {
		return e
	}
	return &ports.WorkerError{Failure: ports.WorkerConnectionLost, Message: msgBroken, Err: err}
}

// mediaContent is a response's body. A read that waits for too long cancels the request.
type mediaContent struct {
	body   io.ReadCloser
	ctx    context.Context //nolint:containedctx // of the request, which the body belongs to
	cancel context.CancelCauseFunc
	limit  time.Duration
	once   sync.Once
}

// Read reads from the body.
func (m *mediaContent) Read(p []byte) (int, error) {
	stalled := time.AfterFunc(m.limit, func() { m.cancel(errStalled) })
	n, err := m.body.Read(p)
	stalled.Stop()
	if err != nil && !errors.Is(err, io.EOF) {
		err = streamError(m.ctx, err)
	}
	return n, err
}

// Close ends the request.
func (m *mediaContent) Close() error {
	m.once.Do(func() {
		m.cancel(context.Canceled)
		_ = m.body.Close() // the request is cancelled
	})
	return nil
}
