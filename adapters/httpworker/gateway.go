package httpworker

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"

	"github.com/valyala/fasthttp"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// Health calls the health route of a worker or an unknown endpoint. Anything but a 200
// within 5 s is a failure. A 401 of an unknown endpoint is none: it was shown no token, and
// the 401 proves that a worker may be there. Health calls whether or not the circuit is
// open.
func (c *Client) Health(ctx context.Context, w ports.WorkerRef) error {
	p, failure := c.peer(w.Endpoint)
	if failure != nil {
		return failure
	}
	r := newRequest(p, c.headFor(p, w), http.MethodGet, "/health")
	defer r.release()
	ctx, cancel := context.WithTimeout(ctx, c.cfg.HealthLimit)
	defer cancel()
	deadline, _ := ctx.Deadline()
	resp := fasthttp.AcquireResponse()
	defer fasthttp.ReleaseResponse(resp)
	retriesLeft := maxAttempts - 1
	if failure, _ := c.exchange(ctx, p, payload{wire: r.wire()}, deadline, &retriesLeft, resp); failure != nil {
		return p.withTLSHint(failure)
	}
	demandsToken := w.ID == "" && resp.StatusCode() == http.StatusUnauthorized
	if status := resp.StatusCode(); status != http.StatusOK && !demandsToken {
		e := c.responseError(resp)
		if e.Failure != ports.WorkerBusy {
			e.Failure = ports.WorkerFailed
			if status >= 400 && status < 500 {
				e.Failure = ports.WorkerRejected
			}
			e.Message = fmt.Sprintf("The worker answered its health check with HTTP %d", status)
			if demandsTLS(resp) {
				e.Message = msgNeedsTLS
			}
		}
		return e
	}
	c.closeCircuit(p)
	return nil
}

// Start starts a session. A response without a status means INIT.
func (c *Client) Start(ctx context.Context, w ports.WorkerRef, s ports.Start) (domain.Report, error) {
	resp, failure := c.call(ctx, w, http.MethodPost, "/api/sessions/start", newStartBody(s, w.Capabilities), idempotent)
	if failure != nil {
		return domain.Report{}, failure
	}
	defer fasthttp.ReleaseResponse(resp)
	r, err := c.readSession(resp.Body(), session{SessionID: lenientText(s.SessionID), Status: "initializing"}, w.ID)
	if err != nil {
		return domain.Report{}, invalidResponse(resp.StatusCode(), err)
	}
	if r.Generation == 0 {
		r.Generation = s.Generation // the response is about this start
	}
	return r, nil
}

// Status returns the worker's report on one session.
func (c *Client) Status(ctx context.Context, w ports.WorkerRef, sessionID string) (domain.Report, error) {
	path, failure := sessionPath("/api/sessions/", sessionID, "/status")
	if failure != nil {
		return domain.Report{}, failure
	}
	resp, failure := c.call(ctx, w, http.MethodGet, path, nil, idempotent)
	if failure != nil {
		return domain.Report{}, asSessionNotFound(failure)
	}
	defer fasthttp.ReleaseResponse(resp)
	r, err := c.readSession(resp.Body(), session{SessionID: lenientText(sessionID)}, w.ID)
	if err != nil {
		return domain.Report{}, invalidResponse(resp.StatusCode(), err)
	}
	return r, nil
}

// List returns the worker's reports on all its sessions. A session with an unknown
// status word is in the list, without a status: it exists.
func (c *Client) List(ctx context.Context, w ports.WorkerRef) ([]domain.Report, error) {
	resp, failure := c.call(ctx, w, http.MethodGet, "/api/sessions", nil, idempotent)
	if failure != nil {
		return nil, failure
	}
	defer fasthttp.ReleaseResponse(resp)
	list, err := c.readSessions(resp.Body(), w.ID)
	if err != nil {
		return nil, invalidResponse(resp.StatusCode(), err)
	}
	return list, nil
}

// Restart restarts a session. It is retried only if the request cannot have
// arrived, because a second restart would disturb the first.
func (c *Client) Restart(ctx context.Context, w ports.WorkerRef, sessionID string, generation int64) error {
	return c.order(ctx, w, http.MethodPost, sessionID, "/restart", generation, ifNotSent)
}

// Disconnect stops a session. It succeeds if the worker does not have the session.
func (c *Client) Disconnect(ctx context.Context, w ports.WorkerRef, sessionID string, generation int64) error {
	return ignoreNotFound(c.order(ctx, w, http.MethodPost, sessionID, "/disconnect", generation, idempotent))
}

// Logout stops a session and deletes its credentials. It succeeds if the worker
// does not have the session, unless it is a legacy worker.
func (c *Client) Logout(ctx context.Context, w ports.WorkerRef, sessionID string, generation int64) error {
	return c.wipe(ctx, w, http.MethodPost, sessionID, "/logout", generation)
}

// Delete deletes everything of a session. It succeeds if the worker does not have
// the session, unless it is a legacy worker.
func (c *Client) Delete(ctx context.Context, w ports.WorkerRef, sessionID string, generation int64) error {
	return c.wipe(ctx, w, http.MethodDelete, sessionID, "", generation)
}

// wipeRetries returns the policy of calls that wipe a session. A legacy worker limits the
// calls about a session, and another attempt does not cure its 5xx.
func wipeRetries(w ports.WorkerRef) retryPolicy {
	if w.IsLegacy() {
		return ifUnanswered
	}
	return idempotent
}

// wipe sends a command after which the worker has no credentials of the session. A 404
// in the protocol's error form confirms this too. The 404 of a proxy does not, and no 404
// of a legacy worker does: it may have files of sessions that it has not started.
func (c *Client) wipe(ctx context.Context, w ports.WorkerRef, method, sessionID, after string, generation int64) error {
	failure := c.command(ctx, w, method, sessionID, after, generation, wipeRetries(w))
	switch {
	case failure == nil:
		return nil
	case w.IsLegacy():
		return asSessionNotFound(failure)
	case failure.Status == http.StatusNotFound && failure.Failure != ports.WorkerRouteMissing:
		return nil
	}
	return failure
}

// Send sends one message.
func (c *Client) Send(ctx context.Context, w ports.WorkerRef, s ports.Send) (ports.Sent, error) {
	if s.Message == nil {
		return ports.Sent{}, &ports.WorkerError{Failure: ports.WorkerRejected, Message: "There is no message to send"}
	}
	path, failure := sessionPath("/api/", s.SessionID, "/send")
	if failure != nil {
		return ports.Sent{}, failure
	}
	p, failure := c.peer(w.Endpoint)
	if failure != nil {
		return ports.Sent{}, failure
	}
	dedupe := slices.Contains(w.Capabilities, domain.CapDedupe)
	r := newRequest(p, c.headFor(p, w), http.MethodPost, path)
	defer r.release()
	var err error
	*r.buf, r.fileAt, err = appendSend(*r.buf, &s, w.Capabilities)
	if err != nil {
		return ports.Sent{}, encodeError(err)
	}
	r.file = s.Message.Upload
	may := ifNotSent
	if dedupe && s.ClientMessageID != "" {
		may = deduplicated
	}
	resp, failure := c.do(ctx, &r, c.cfg.CallLimit, may)
	if failure != nil {
		return ports.Sent{}, failure
	}
	defer fasthttp.ReleaseResponse(resp)
	out, err := readSent(resp.Body())
	if err != nil {
		e := invalidResponse(resp.StatusCode(), err)
		a := readError(resp.Body())
		e.NotSent, e.Text = a.notSent, domain.PublicText(a.text)
		return ports.Sent{}, e
	}
	return out, nil
}

// PerformAction acts on a message or in a chat. Every action sets a state, and
// is therefore retried like an idempotent call.
func (c *Client) PerformAction(ctx context.Context, w ports.WorkerRef, sessionID string, a domain.Action) error {
	a, err := a.NormalizeAddresses()
	if err != nil {
		return encodeError(err)
	}
	body, bySend := actionBody(a)
	before, after := "/api/message/", "/manage"
	if bySend {
		before, after = "/api/", "/send"
	}
	path, failure := sessionPath(before, sessionID, after)
	if failure != nil {
		return failure
	}
	resp, failure := c.call(ctx, w, http.MethodPost, path, body, idempotent)
	if failure != nil {
		return failure
	}
	fasthttp.ReleaseResponse(resp)
	return nil
}

// order is command for calls to which every 404 means that the session is not there,
// whatever the 404 is about.
func (c *Client) order(ctx context.Context, w ports.WorkerRef, method, sessionID, after string, generation int64, may retryPolicy) error {
	if failure := c.command(ctx, w, method, sessionID, after, generation, may); failure != nil {
		return asSessionNotFound(failure)
	}
	return nil
}

// command sends a command for one generation of a session. A 2xx confirms the command only
// if its body is empty, or JSON that does not say otherwise: a proxy may answer with a page.
func (c *Client) command(ctx context.Context, w ports.WorkerRef, method, sessionID, after string, generation int64, may retryPolicy) *ports.WorkerError {
	path, failure := sessionPath("/api/sessions/", sessionID, after)
	if failure != nil {
		return failure
	}
	var body any
	if generation != 0 && slices.Contains(w.Capabilities, domain.CapGeneration) {
		body = generationBody{generation}
	}
	resp, failure := c.call(ctx, w, method, path, body, may)
	if failure != nil {
		return failure
	}
	defer fasthttp.ReleaseResponse(resp)
	if err := checkConfirmation(resp.Body()); err != nil {
		return invalidResponse(resp.StatusCode(), err)
	}
	return nil
}

// asSessionNotFound returns the failure of a call about one session. Whatever a
// 404 is about, the session is not there.
func asSessionNotFound(e *ports.WorkerError) *ports.WorkerError {
	if e.Status == http.StatusNotFound {
		e.Failure, e.Message = ports.WorkerSessionNotFound, msgUnknown
	}
	return e
}

// call makes a call with a JSON body, or without one. It returns a response with
// a 2xx, which the caller releases.
func (c *Client) call(ctx context.Context, w ports.WorkerRef, method, path string, body any, may retryPolicy) (*fasthttp.Response, *ports.WorkerError) {
	p, failure := c.peer(w.Endpoint)
	if failure != nil {
		return nil, failure
	}
	r := newRequest(p, c.headFor(p, w), method, path)
	defer r.release()
	if body != nil {
		doc, err := json.Marshal(body)
		if err != nil {
			return nil, encodeError(err)
		}
		*r.buf = append(*r.buf, doc...)
	}
	return c.do(ctx, &r, c.cfg.CallLimit, may)
}

// ignoreNotFound returns nil for a 404, and any other error unchanged.
func ignoreNotFound(err error) error {
	if e, ok := err.(*ports.WorkerError); ok && e.Failure == ports.WorkerSessionNotFound { //nolint:errorlint // created by this package, never wrapped
		return nil
	}
	return err
}

func encodeError(err error) *ports.WorkerError {
	return &ports.WorkerError{Failure: ports.WorkerRejected, Message: "This cannot be said to a worker", Err: err}
}
