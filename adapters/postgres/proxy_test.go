package postgres_test

import (
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

	mu   sync.Mutex
	open map[net.Conn]bool
	down bool // ends connections
	deaf bool // drops what the server sends
	mute bool // drops what the client sends
	made int  // counts connections
}

// through starts a proxy in front of the server of a URL. It returns the proxy and the URL that leads through it.
func through(t *testing.T, dsn string) (*proxy, string) {
	t.Helper()
	u, err := url.Parse(dsn)
	require.NoError(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &proxy{listener: l, server: u.Host, open: make(map[net.Conn]bool)}
	var accepting sync.WaitGroup
	accepting.Go(p.accept)
	t.Cleanup(func() {
		l.Close()
		p.cut()
		accepting.Wait()
	})
	u.Host = l.Addr().String()
	return p, u.String()
}

func (p *proxy) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
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

func (p *proxy) heal() { p.set(func() { p.down, p.deaf, p.mute = false, false, false }) }

// lose drops all bytes from now on, until heal.
func (p *proxy) lose() { p.set(func() { p.deaf, p.mute = true, true }) }

func (p *proxy) connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.made
}

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
	p.set(func() {
		p.open[client], p.open[server] = true, true
		p.made++
	})
	var both sync.WaitGroup
	both.Go(func() { p.copy(server, client, &p.mute) })
	both.Go(func() { p.copy(client, server, &p.deaf) })
	both.Wait()
	p.set(func() { delete(p.open, client); delete(p.open, server) })
}

// copy forwards bytes, or drops them.
func (p *proxy) copy(to, from net.Conn, lost *bool) {
	defer to.Close()
	defer from.Close()
	b := make([]byte, 1<<16)
	for {
		n, err := from.Read(b)
		if err != nil {
			return
		}
		p.mu.Lock()
		down, lost := p.down, *lost
		p.mu.Unlock()
		if down {
			return
		}
		if lost {
			continue
		}
		if _, err := to.Write(b[:n]); err != nil {
			return
		}
	}
}
