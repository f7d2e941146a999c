package httpapi

import (
	"cmp"
	"container/list"
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/switchyard-wa/switchyard/domain"
)

// ConnectionLimits bound the open connections of a server. The zero value works.
type ConnectionLimits struct {
	// Strangers bounds the connections of one client network on which no request has
	// authenticated yet; 0: 100. Ten times as many may be open in all.
	Strangers int
	// Total bounds all connections; 0: no bound. It should be below the number of files
	// that the process may open.
	Total int
	// TrustedProxies are exempt from the bounds of networks, since many clients share
	// their addresses.
	TrustedProxies []netip.Prefix
}

// Connections bounds the open connections of a server. A new connection beyond the
// bound closes the oldest one that nobody has authenticated on and that no request
// runs on. Without such a connection the new one is closed. Connections that say
// nothing can so keep nobody out.
//
// Loopback addresses are exempt from the bounds of networks: health probes, load
// generators and proxies on this machine use them, and a process on this machine
// could do more harm otherwise. Total binds them too.
//
// netutil.LimitListener of golang.org/x/net bounds the total only, and makes newcomers
// wait for those who do not leave.
type Connections struct {
	limits ConnectionLimits

	mu       sync.Mutex
	open     int
	networks map[string]*clientNetwork
	waiting  list.List // of *connection: unauthenticated, without a request, oldest first
}

// clientNetwork counts the connections of one network. Exempt ones have the name "".
type clientNetwork struct {
	name      string
	open      int
	strangers int
	waiting   list.List // the part of Connections.waiting
}

// NewConnections returns limits for one server. Pass its listener to [Connections.Listen]
// and the server to [Connections.Watch].
func NewConnections(l ConnectionLimits) *Connections {
	l.Strangers = cmp.Or(l.Strangers, 100)
	return &Connections{limits: l, networks: make(map[string]*clientNetwork)}
}

// Open returns the number of open connections.
func (c *Connections) Open() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.open
}

// Listen returns a listener that keeps the limits.
func (c *Connections) Listen(l net.Listener) net.Listener { return &limitedListener{l, c} }

// Watch tells the limits which connections of a server are idle, and lets the handler
// of this package tell on which ones somebody has authenticated.
func (c *Connections) Watch(s *http.Server) {
	s.ConnState = func(conn net.Conn, state http.ConnState) {
		if tracked := trackedConnection(conn); tracked != nil {
			c.note(tracked, state)
		}
	}
	s.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
		if tracked := trackedConnection(conn); tracked != nil {
			return context.WithValue(ctx, connectionKey{}, tracked)
		}
		return ctx
	}
}

type connectionKey struct{}

// trackedConnection returns our connection below conn, or nil.
func trackedConnection(conn net.Conn) *connection {
	if secure, ok := conn.(*tls.Conn); ok {
		conn = secure.NetConn()
	}
	tracked, _ := conn.(*connection)
	return tracked
}

// markAuthenticated notes that a request on the connection of ctx has authenticated.
func markAuthenticated(ctx context.Context) {
	if tracked, ok := ctx.Value(connectionKey{}).(*connection); ok && !tracked.authenticated.Load() {
		tracked.owner.authenticate(tracked)
	}
}

type limitedListener struct {
	net.Listener
	owner *Connections
}

// Accept returns the next connection within the limits. It closes others.
func (l *limitedListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if tracked := l.owner.admit(conn); tracked != nil {
			return tracked, nil
		}
		_ = conn.Close()
	}
}

// connection is an open connection.
type connection struct {
	net.Conn
	owner         *Connections
	network       *clientNetwork
	authenticated atomic.Bool // changes under the lock of owner

	// What follows is guarded by the lock of owner.
	gone     bool          // out of the books
	all, own *list.Element // in the lists of waiting connections; nil if it is not there
}

// Close closes the connection and frees its place.
func (c *connection) Close() error {
	c.owner.remove(c)
	return c.Conn.Close()
}

// admit counts a new connection. It returns nil if there is no place for it.
func (c *Connections) admit(conn net.Conn) *connection {
	name := c.networkOf(conn.RemoteAddr())
	c.mu.Lock()
	network := c.networks[name]
	if network == nil {
		network = &clientNetwork{name: name}
	}
	var evicted []*connection
	if name != "" && network.strangers >= c.limits.Strangers {
		evicted = append(evicted, c.evict(&network.waiting))
	}
	if c.limits.Total > 0 && c.open >= c.limits.Total {
		evicted = append(evicted, c.evict(&c.waiting))
	}
	full := name != "" && (network.strangers >= c.limits.Strangers || network.open >= 10*c.limits.Strangers) ||
		c.limits.Total > 0 && c.open >= c.limits.Total
	var tracked *connection
	if !full {
		tracked = &connection{Conn: conn, owner: c, network: network}
		c.networks[name] = network
		c.open++
		network.open++
		network.strangers++
		c.startWaiting(tracked)
	}
	c.mu.Unlock()
	for _, old := range evicted {
		if old != nil {
			_ = old.Conn.Close() // the server then calls Close
		}
	}
	return tracked
}

// networkOf returns the network that an address counts to, or "" if it is exempt.
func (c *Connections) networkOf(addr net.Addr) string {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok {
		return ""
	}
	ip := domain.CanonicalIP(tcp.AddrPort().Addr())
	if ip.IsLoopback() || domain.TrustedProxies(c.limits.TrustedProxies).Contains(ip) {
		return ""
	}
	return domain.ClientNetwork(ip)
}

// evict takes the oldest connection of a list out of the books. The caller closes it.
func (c *Connections) evict(waiting *list.List) *connection {
	front := waiting.Front()
	if front == nil {
		return nil
	}
	old := front.Value.(*connection)
	c.forget(old)
	return old
}

func (c *Connections) remove(conn *connection) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forget(conn)
}

// forget takes a connection out of the books. c.mu is held.
func (c *Connections) forget(conn *connection) {
	if conn.gone {
		return
	}
	conn.gone = true
	c.stopWaiting(conn)
	c.open--
	conn.network.open--
	if !conn.authenticated.Load() {
		conn.network.strangers--
	}
	if conn.network.open == 0 {
		delete(c.networks, conn.network.name)
	}
}

// note follows the state of a connection. A connection on which somebody has
// authenticated costs no lock.
func (c *Connections) note(conn *connection, state http.ConnState) {
	if conn.authenticated.Load() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case conn.gone:
	case state == http.StateActive:
		c.stopWaiting(conn)
	case state == http.StateIdle && conn.all == nil && !conn.authenticated.Load():
		c.startWaiting(conn)
	}
}

func (c *Connections) authenticate(conn *connection) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if conn.gone || !conn.authenticated.CompareAndSwap(false, true) {
		return
	}
	c.stopWaiting(conn)
	conn.network.strangers--
}

func (c *Connections) startWaiting(conn *connection) {
	conn.all, conn.own = c.waiting.PushBack(conn), conn.network.waiting.PushBack(conn)
}

func (c *Connections) stopWaiting(conn *connection) {
	if conn.all == nil {
		return
	}
	c.waiting.Remove(conn.all)
	conn.network.waiting.Remove(conn.own)
	conn.all, conn.own = nil, nil
}
