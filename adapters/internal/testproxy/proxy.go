// Package testproxy puts an unreliable network between a client and a server, for tests.
package testproxy

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"
)

// Proxy forwards TCP connections to a server until a test interrupts them. Its methods may be called concurrently.
type Proxy struct {
	tb     testing.TB
	server string
	addr   string

	mu          sync.Mutex
	listener    net.Listener // nil: the network is cut
	open        map[net.Conn]struct{}
	loseAnswers bool // drops what the server sends
	loseCalls   bool // drops what the client sends
	accepted    int
	running     sync.WaitGroup
}

// Start starts a proxy in front of the server at an address. It ends with the test.
func Start(tb testing.TB, server string) *Proxy {
	tb.Helper()
	p := &Proxy{tb: tb, server: server, addr: "127.0.0.1:0", open: make(map[net.Conn]struct{})}
	p.Heal()
	tb.Cleanup(func() {
		p.Cut()
		p.running.Wait()
	})
	return p
}

// Addr returns the host and port of the proxy. They stay the same.
func (p *Proxy) Addr() string { return p.addr }

// Cut breaks all connections and refuses new ones until [Proxy.Heal].
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener == nil {
		return
	}
	_ = p.listener.Close()
	p.listener = nil
	for c := range p.open {
		_ = c.Close()
	}
}

// Lose drops all bytes from now on, until [Proxy.Heal]. Connections stay open, and new ones are accepted.
func (p *Proxy) Lose() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.loseAnswers, p.loseCalls = true, true
}

// LoseAnswers drops all bytes that the server sends from now on, until [Proxy.Heal].
func (p *Proxy) LoseAnswers() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.loseAnswers = true
}

// Heal makes the network work again. Connections that were cut stay broken; lost bytes stay lost.
func (p *Proxy) Heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.loseAnswers, p.loseCalls = false, false
	if p.listener != nil {
		return
	}
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp4", p.addr)
	if err != nil {
		p.tb.Fatalf("testproxy: %v", err)
	}
	p.listener, p.addr = l, l.Addr().String()
	p.running.Go(func() { p.accept(l) })
}

// Connections returns the number of connections to the server that the proxy has made.
func (p *Proxy) Connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.accepted
}

func (p *Proxy) accept(l net.Listener) {
	for {
		client, err := l.Accept()
		if err != nil {
			return
		}
		p.running.Go(func() { p.serve(client) })
	}
}

func (p *Proxy) serve(client net.Conn) {
	defer func() { _ = client.Close() }()
	server, err := net.DialTimeout("tcp", p.server, 5*time.Second) //nolint:noctx // it ends by itself
	if err != nil {
		return
	}
	defer func() { _ = server.Close() }()
	if !p.register(client, server) {
		return
	}
	defer p.unregister(client, server)
	var both sync.WaitGroup
	both.Go(func() { p.forward(server, client, &p.loseCalls) })
	both.Go(func() { p.forward(client, server, &p.loseAnswers) })
	both.Wait()
}

// register lets Cut close the connections. It returns false if the network is cut already.
func (p *Proxy) register(client, server net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener == nil {
		return false
	}
	p.open[client], p.open[server] = struct{}{}, struct{}{}
	p.accepted++
	return true
}

func (p *Proxy) unregister(client, server net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.open, client)
	delete(p.open, server)
}

// forward copies bytes, or drops them while *lose is true.
func (p *Proxy) forward(to, from net.Conn, lose *bool) {
	defer func() { _ = to.Close() }()
	defer func() { _ = from.Close() }()
	b := make([]byte, 1<<16)
	for {
		n, err := from.Read(b)
		if err != nil {
			return
		}
		p.mu.Lock()
		isLost := *lose
		p.mu.Unlock()
		if isLost {
			continue
		}
		if _, err := to.Write(b[:n]); err != nil {
			return
		}
	}
}
