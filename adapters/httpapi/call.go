package httpapi

import (
	"context"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// A call is one request on its way through the handler. It is the request's
// context, so that go-kit's server hands it on without help, and is not reused:
// a use case may keep a context longer than the request lasts.
type call struct {
	context.Context
	api *api
	w   http.ResponseWriter
	r   *http.Request

	start    time.Time
	id       string    // of the request
	header   [4]string // backs header values, which saves allocations
	route    *route    // nil until found
	resource *resource
	params   [2]string // values of the path's variables, decoded

	caller service.Principal // zero unless an access token was accepted
	key    service.Sender    // zero unless an API key was accepted
	worker bool              // a worker's token was accepted
	own    string            // the worker whose own token that was; empty: the fleet's

	message string // instead of the route's
	success int    // status instead of the route's; 0: the route's

	scratch *scratch // nil once the request is over

	// What was answered, for the access log.
	status int
	bytes  int
	err    error
	code   domain.Code
}

type callKey struct{}

// Value gives the call itself to [callOf].
func (c *call) Value(key any) any {
	if key == (callKey{}) {
		return c
	}
	return c.Context.Value(key)
}

// callOf returns the call that ctx belongs to.
func callOf(ctx context.Context) *call { return ctx.Value(callKey{}).(*call) }

// identify takes over the caller's request id, or makes one.
func (c *call) identify() {
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

// param returns a variable of the route's path, or "" if it has none of that
// name. It is text that every store can be asked for.
func (c *call) param(name string) string { return clean(c.variable(name), maxID) }

// variable is like param, but returns what was sent, whatever it is.
func (c *call) variable(name string) string {
	if c.resource != nil {
		for i, v := range c.resource.variables {
			if v == name {
				return c.params[i]
			}
		}
	}
	return ""
}

// sessionRef returns the session id in the path, in its one spelling.
func (c *call) sessionRef() string { return domain.NormalizeSessionRef(c.param("id")) }

// workerRef returns the worker id in the path, in its one spelling.
func (c *call) workerRef() string { return domain.NormalizeWorkerRef(c.param("workerId")) }

// sender is who sends or looks at a session with the credential of the call.
func (c *call) sender() service.Sender {
	if c.key.KeyID != "" || c.key.UserID != "" {
		return c.key
	}
	return service.Sender{UserID: c.caller.UserID, SessionID: c.sessionRef()}
}

func (c *call) isAdmin() bool { return c.caller.Role == domain.RoleAdministrator }

// userID names the user for the log.
func (c *call) userID() string {
	if c.key.UserID != "" {
		return c.key.UserID
	}
	return c.caller.UserID
}

// sessionID names the session for the log.
func (c *call) sessionID() string {
	if c.key.SessionID != "" {
		return c.key.SessionID
	}
	if c.route != nil && strings.Contains(c.route.path, "/sessions/{id}") {
		return c.sessionRef()
	}
	return ""
}

// template names the route for the log: the path with its variables' names, or
// nothing for a path that is no route.
func (c *call) template() string {
	if c.route == nil {
		return ""
	}
	return c.route.path
}

// ip returns the caller's address: that of the connection or, if that is a
// trusted proxy's, the last one in X-Forwarded-For that is none. It is invalid
// for connections without an address, such as Unix sockets.
func (c *call) ip() netip.Addr {
	peer, err := netip.ParseAddrPort(c.r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	ip := peer.Addr().Unmap().WithZone("")
	if !c.trusts(ip) {
		return ip
	}
	lines := c.r.Header["X-Forwarded-For"]
	for i := len(lines) - 1; i >= 0; i-- {
		for rest := lines[i]; rest != ""; {
			hop := rest
			if comma := strings.LastIndexByte(rest, ','); comma >= 0 {
				rest, hop = rest[:comma], rest[comma+1:]
			} else {
				rest = ""
			}
			next, ok := parseHop(strings.TrimSpace(hop))
			if !ok {
				return ip
			}
			if ip = next; !c.trusts(ip) {
				return ip
			}
		}
	}
	return ip
}

// parseHop reads an address of X-Forwarded-For; some proxies add a port.
func parseHop(s string) (netip.Addr, bool) {
	ip, err := netip.ParseAddr(s)
	if err != nil {
		withPort, err := netip.ParseAddrPort(s)
		if err != nil {
			return netip.Addr{}, false
		}
		ip = withPort.Addr()
	}
	return ip.Unmap().WithZone(""), true
}

func (c *call) trusts(ip netip.Addr) bool {
	for _, p := range c.api.TrustedProxies {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

// remoteIP is ip as text; "" if there is none.
func (c *call) remoteIP() string {
	if ip := c.ip(); ip.IsValid() {
		return ip.String()
	}
	return ""
}

// A scratch holds the buffers of a request. They are used again, so nothing
// may keep a piece of them; decoded strings are copies.
type scratch struct {
	in  body
	out []byte
}

var scratches = sync.Pool{New: func() any { return &scratch{out: make([]byte, 0, 1024)} }}

// reusable reports whether the buffers are of an ordinary size.
func (s *scratch) reusable() bool {
	const most = 64 << 10
	return cap(s.out) <= most && s.in.src.Cap() <= most
}
