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
	// Unauthenticated bounds the connections of one client network on which no request has
	// authenticated yet; 0: 100. A network may have ten times as many connections in all.
	Unauthenticated int
	// Total bounds all connections; 0: no bound. It should be below the number of files
	// that the process may open.
	Total int
	// TrustedProxies are exempt from the bounds of networks, since each stands for many
	// clients.
	TrustedProxies []netip.Prefix
}

// Connections bounds the open connections of a server. It is safe for concurrent use.
//
// A connection is idle while no request runs on it and none has authenticated on it. A new
// connection beyond a bound closes the oldest idle one. If there is none, the new one is
// closed. Thus silent connections keep nobody out.
//
// Loopback addresses are exempt from the bounds of networks: health probes, load
// generators and proxies on this machine use them, and a process on this machine
// could do more harm otherwise. Total binds them too.
//
// netutil.LimitListener of golang.org/x/net bounds the total only. It makes a new
// connection wait until another one is closed.
type Connections struct {
	limits ConnectionLimits

	mu       sync.Mutex
	open     int
	networks map[string]*clientNetwork
	idle     list.List // of *connection, oldest first
}

// clientNetwork counts the connections of one network. Connections that are exempt from the
// bounds of networks share one, whose name is "".
type clientNetwork struct {
	name            string
	open            int
	unauthenticated int
	idle            list.List // its part of Connections.idle
}

// NewConnections returns limits for one server. Pass its listener to [Connections.Listen]
// and the server to [Connections.Watch].
func NewConnections(l ConnectionLimits) *Connections {
	l.Unauthenticated = cmp.Or(l.Unauthenticated, 100)
	return &Connections{limits: l, networks: make(map[string]*clientNetwork)}
}

// CountOpen returns the number of open connections.
func (c *Connections) CountOpen() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.open
}

// Listen returns a listener that keeps the limits.
func (c *Connections) Listen(l net.Listener) net.Listener { return &limitedListener{l, c} }

// Watch follows the states of a server's connections. The handler of this package reports
// on which of them a request has authenticated.
func (c *Connections) Watch(s *http.Server) {
	s.ConnState = func(conn net.Conn, state http.ConnState) {
		if tracked := trackedConnection(conn); tracked != nil {
			c.setState(tracked, state)
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

// markAuthenticated records that a request on the connection of ctx has authenticated.
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

	// The lock of owner guards these fields.
	closed              bool          // no longer counted
	inAll, inItsNetwork *list.Element // its places in the lists of idle connections; nil: not idle
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
	if name != "" && network.unauthenticated >= c.limits.Unauthenticated {
		evicted = append(evicted, c.evict(&network.idle))
	}
	if c.limits.Total > 0 && c.open >= c.limits.Total {
		evicted = append(evicted, c.evict(&c.idle))
	}
	full := name != "" && (network.unauthenticated >= c.limits.Unauthenticated || network.open >= 10*c.limits.Unauthenticated) ||
		c.limits.Total > 0 && c.open >= c.limits.Total
	var tracked *connection
	if !full {
		tracked = &connection{Conn: conn, owner: c, network: network}
		c.networks[name] = network
		c.open++
		network.open++
		network.unauthenticated++
		c.startIdle(tracked)
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

// evict stops counting the oldest connection of a list, and returns it for the caller to
// close. It returns nil for an empty list.
func (c *Connections) evict(idle *list.List) *connection {
	front := idle.Front()
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

// forget stops counting a connection. The caller holds c.mu.
func (c *Connections) forget(conn *connection) {
	if conn.closed {
		return
	}
	conn.closed = true
	c.stopIdle(conn)
	c.open--
	conn.network.open--
	if !conn.authenticated.Load() {
		conn.network.unauthenticated--
	}
	if conn.network.open == 0 {
		delete(c.networks, conn.network.name)
	}
}

// setState follows the state of a connection. It takes no lock for a connection on which a
// request has authenticated.
func (c *Connections) setState(conn *connection, state http.ConnState) {
	if conn.authenticated.Load() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case conn.closed:
	case state == http.StateActive:
		c.stopIdle(conn)
	case state == http.StateIdle && conn.inAll == nil && !conn.authenticated.Load():
		c.startIdle(conn)
	}
}

func (c *Connections) authenticate(conn *connection) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if conn.closed || !conn.authenticated.CompareAndSwap(false, true) {
		return
	}
	c.stopIdle(conn)
	conn.network.unauthenticated--
}

func (c *Connections) startIdle(conn *connection) {
	conn.inAll, conn.inItsNetwork = c.idle.PushBack(conn), conn.network.idle.PushBack(conn)
}

func (c *Connections) stopIdle(conn *connection) {
	if conn.inAll == nil {
		return
	}
	c.idle.Remove(conn.inAll)
	conn.network.idle.Remove(conn.inItsNetwork)
	conn.inAll, conn.inItsNetwork = nil, nil
}
