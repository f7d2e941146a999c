package postgres_test

import (
	"io"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// proxy is a network between a store and its server that can be cut.
type proxy struct {
	listener net.Listener
	server   string

	mu    sync.Mutex
	state sync.Cond // of what follows
	open  map[net.Conn]bool
	down  bool // refuses and drops connections
	stuck bool // swallows what is sent, as a network that loses everything
}

// through puts a proxy in front of the server that a URL names, and gives it
// with the URL that leads through it.
func through(t *testing.T, dsn string) (*proxy, string) {
	t.Helper()
	u, err := url.Parse(dsn)
	require.NoError(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &proxy{listener: l, server: u.Host, open: make(map[net.Conn]bool)}
	p.state.L = &p.mu
	var accepting sync.WaitGroup
	accepting.Go(p.accept)
	t.Cleanup(func() {
		l.Close()
		p.cut()
		p.set(func() { p.stuck = false })
		accepting.Wait()
	})
	u.Host = l.Addr().String()
	return p, u.String()
}

func (p *proxy) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
	p.state.Broadcast()
}

// cut ends all connections and refuses new ones until heal.
func (p *proxy) cut() {
	p.set(func() {
		p.down = true
		for c := range p.open {
			c.Close()
		}
	})
}

func (p *proxy) heal() { p.set(func() { p.down, p.stuck = false, false }) }

// lose has everything disappear that is sent from now on, until heal.
func (p *proxy) lose() { p.set(func() { p.stuck = true }) }

func (p *proxy) accept() {
	var connections sync.WaitGroup
	defer connections.Wait()
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		connections.Go(func() { p.serve(client) })
	}
}

func (p *proxy) serve(client net.Conn) {
	server, err := net.DialTimeout("tcp", p.server, 5*time.Second)
	if err != nil {
		client.Close()
		return
	}
	p.set(func() { p.open[client], p.open[server] = true, true })
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{client, server}, {server, client}} {
		both.Go(func() {
			_, _ = io.Copy(way[0], lossy{p, way[1]})
			client.Close()
			server.Close()
		})
	}
	both.Wait()
	p.set(func() { delete(p.open, client); delete(p.open, server) })
}

// lossy is one direction of a connection.
type lossy struct {
	p *proxy
	net.Conn
}

func (l lossy) Read(b []byte) (int, error) {
	for {
		n, err := l.Conn.Read(b)
		l.p.mu.Lock()
		down, stuck := l.p.down, l.p.stuck
		l.p.mu.Unlock()
		switch {
		case down:
			return 0, io.EOF
		case err != nil || !stuck:
			return n, err
		}
	}
}
