package httpapi

import (
	"bytes"
	"context"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// A requestContext is one request on its way through the handler. It is the
// context of the *http.Request, and is not reused: a service may keep a context
// longer than the request lasts.
type requestContext struct {
	context.Context
	api *api
	w   http.ResponseWriter
	r   *http.Request // as it came

	start  time.Time
	id     string    // of the request
	header [4]string // backs header values, which saves allocations
	route  *route    // nil until found

	variables     map[string]string // of the path, escaped
	query         url.Values        // of operations with query parameters
	queryProblems problems          // of the query's form
	operation     operationContext  // huma's view of the request, once the route is found
	rules         func() []error    // of inputs whose service checks the rules itself
	body          requestBody

	principal        service.Principal  // zero unless an access token was accepted
	key              service.Sender     // zero unless an API key was accepted
	worker           bool               // a worker's token was accepted
	holder           domain.TokenHolder // of the worker's token
	authorizedWorker string             // the worker for which the fleet token was accepted

	message  string          // instead of the route's
	success  int             // status instead of the route's; 0: the route's
	picture  *image          // instead of JSON
	streamed *streamedAnswer // instead of JSON
	media    *mediaStream    // what streamed sends, if it is media

	download *download // instead of an envelope

	buffers *buffers // nil once the request is over

	// The answer. status is 0 until it is written.
	failed bool // status and output tell of an error
	status int
	bytes  int
	err    error
	code   domain.Code
}

type contextKey struct{}

// Value returns the requestContext itself to [contextOf], and the caller to
// [service.CallerOf].
func (c *requestContext) Value(key any) any {
	switch key.(type) {
	case contextKey:
		return c
	case service.CallerKey:
		return c.caller()
	}
	return c.Context.Value(key)
}

// contextOf returns the requestContext that ctx belongs to.
func contextOf(ctx context.Context) *requestContext {
	return ctx.Value(contextKey{}).(*requestContext)
}

// identify takes over the caller's request id, or makes one.
func (c *requestContext) identify() {
	if ids := c.r.Header["X-Request-Id"]; len(ids) > 0 && isRequestID(ids[0]) {
		c.id = ids[0]
	} else {
		c.id = c.api.IDs.NewID()
	}
	c.header[0] = c.id
	c.w.Header()["X-Request-Id"] = c.header[0:1:1]
}

// isRequestID reports whether an id from outside is safe to repeat and to log.
func isRequestID(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
			c == '.' || c == '_' || c == '-') {
			return false
		}
	}
	return true
}

// sessionRef returns the session id in the path, in its one spelling.
func (c *requestContext) sessionRef() string { return normalizeSession(c.operation.Param("id")) }

// workerRef returns the worker id in the path, in its one spelling.
func (c *requestContext) workerRef() string { return normalizeWorker(c.operation.Param("workerId")) }

// sender names who sends or looks at a session with the credential of the request.
func (c *requestContext) sender() service.Sender {
	if c.key.KeyID != "" || c.key.UserID != "" {
		return c.key
	}
	return service.Sender{UserID: c.principal.UserID, SessionID: c.sessionRef()}
}

func (c *requestContext) isAdmin() bool { return c.principal.Role == domain.RoleAdministrator }

// userID names the user for the log.
func (c *requestContext) userID() string {
	if c.key.UserID != "" {
		return c.key.UserID
	}
	return c.principal.UserID
}

// sessionID names the session for the log.
func (c *requestContext) sessionID() string {
	if c.key.SessionID != "" {
		return c.key.SessionID
	}
	if c.route != nil && strings.Contains(c.route.path, "/sessions/{id}") {
		return c.sessionRef()
	}
	return ""
}

// template names the route for the log: the path with its variables' names, or
// nothing for a path without a route.
func (c *requestContext) template() string {
	if c.route == nil {
		return ""
	}
	return c.route.path
}

// ip returns the caller's address, by the connection and the trusted proxies. It is
// invalid for connections without an address, such as Unix sockets.
func (c *requestContext) ip() netip.Addr {
	return domain.TrustedProxies(c.api.TrustedProxies).ClientIP(c.peer(), c.r.Header["X-Forwarded-For"])
}

// peer returns the address of the connection.
func (c *requestContext) peer() netip.Addr {
	peer, err := netip.ParseAddrPort(c.r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return domain.CanonicalIP(peer.Addr())
}

// remoteIP returns ip as text; "" if there is none.
func (c *requestContext) remoteIP() string {
	if ip := c.ip(); ip.IsValid() {
		return ip.String()
	}
	return ""
}

// buffers hold the body and the answer of a request. They are reused: nothing may
// keep a piece of them. Decoded strings are copies.
type buffers struct {
	in  bytes.Buffer // the body, for the order and the names of its members
	out bytes.Buffer
}

var bufferPool = sync.Pool{New: func() any { return new(buffers) }}

// release returns buffers of an ordinary size to the pool.
func (b *buffers) release() {
	const most = 64 << 10
	if b.in.Cap() > most || b.out.Cap() > most {
		return
	}
	b.in.Reset()
	b.out.Reset()
	bufferPool.Put(b)
}
