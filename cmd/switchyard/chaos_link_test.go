package main_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// direction is a direction of a link.
type direction int

const (
	forth direction = iota // towards the target
	back
)

// link is a TCP proxy on loopback that simulates a network. A call of its address
// reaches its target.
//
// A cut in one direction or both works like dropped packets. Nothing is refused
// and nothing moves. Bytes sent meanwhile arrive after heal, even if the sender
// has given up. After a reset they are lost instead, and both sides see an error.
// While nothing listens at the target, the link refuses connections, unless it is
// cut.
type link struct {
	name   string
	addr   string // address of the link
	target string

	mu       sync.Mutex
	closed   bool
	up       bool             // the target listens
	gates    [2]chan struct{} // closed: passable
	listener net.Listener     // nil: connections are refused
	pairs    map[*pair]bool
	work     sync.WaitGroup
}

// pair is one connection through a link.
type pair struct {
	near, far net.Conn
	over      chan struct{}
	once      sync.Once
}

// newLink returns a link to a target that is assumed to listen.
func newLink(t testing.TB, name, target string) *link {
	t.Helper()
	l := &link{name: name, addr: address() + ":0", target: target, up: true, pairs: make(map[*pair]bool)}
	for d := range l.gates {
		l.gates[d] = open()
	}
	l.mu.Lock()
	require.NoError(t, l.adjust())
	l.addr = l.listener.Addr().String()
	l.mu.Unlock()
	t.Cleanup(l.close)
	return l
}

func open() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

func isOpen(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// adjust opens or closes the listener according to the state. The caller holds the
// lock.
func (l *link) adjust() (err error) {
	listens := !l.closed && (l.up || !isOpen(l.gates[forth]) || !isOpen(l.gates[back]))
	switch {
	case listens && l.listener == nil:
		l.listener, err = net.Listen("tcp", l.addr)
		if err != nil {
			l.listener = nil
			return fmt.Errorf("link %s: %w", l.name, err)
		}
		listener := l.listener
		l.work.Go(func() { l.accept(listener) })
	case !listens && l.listener != nil:
		l.listener.Close()
		l.listener = nil
	}
	return nil
}

func (l *link) accept(listener net.Listener) {
	for {
		c, err := listener.Accept()
		if err != nil {
			return // the listener is closed
		}
		p := &pair{near: c, over: make(chan struct{})}
		l.mu.Lock()
		if l.closed {
			l.mu.Unlock()
			c.Close()
			return
		}
		l.pairs[p] = true
		l.work.Go(func() { l.forward(p) })
		l.mu.Unlock()
	}
}

// forward copies the bytes of one connection, once the link is passable, until it ends.
func (l *link) forward(p *pair) {
	defer func() {
		p.end(false)
		l.mu.Lock()
		delete(l.pairs, p)
		l.mu.Unlock()
	}()
	if !l.pass(p, forth) || !l.pass(p, back) {
		return
	}
	far, err := net.DialTimeout("tcp", l.target, patience)
	if err != nil {
		p.end(true)
		return
	}
	l.mu.Lock()
	p.far = far
	l.mu.Unlock()
	if isOpen(p.over) { // the connection ended meanwhile
		far.Close()
		return
	}
	var both sync.WaitGroup
	both.Go(func() { l.pump(p, forth, p.near, far) })
	both.Go(func() { l.pump(p, back, far, p.near) })
	both.Wait()
}

// pump copies bytes in one direction, and then passes on the end of the stream.
func (l *link) pump(p *pair, d direction, from, to net.Conn) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if !l.pass(p, d) {
			return
		}
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				p.end(true)
				return
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			_ = to.(*net.TCPConn).CloseWrite() // the connection may have ended
			return
		case err != nil:
			p.end(true)
			return
		}
	}
}

// pass waits until a direction is passable. It returns false if the connection
// ends first.
func (l *link) pass(p *pair, d direction) bool {
	for {
		l.mu.Lock()
		gate := l.gates[d]
		l.mu.Unlock()
		if isOpen(gate) {
			return !isOpen(p.over)
		}
		select {
		case <-gate:
		case <-p.over:
			return false
		}
	}
}

// end closes both sides, with a reset or normally.
func (p *pair) end(reset bool) {
	p.once.Do(func() {
		close(p.over)
		for _, c := range []net.Conn{p.near, p.far} {
			if c == nil {
				continue
			}
			if reset {
				_ = c.(*net.TCPConn).SetLinger(0) // best effort
			}
			c.Close()
		}
	})
}

// cut blocks the given directions.
func (l *link) cut(directions ...direction) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, d := range directions {
		if isOpen(l.gates[d]) {
			l.gates[d] = make(chan struct{})
		}
	}
	_ = l.adjust() // it fails only if the address is taken; then connections are refused
}

// heal unblocks both directions.
func (l *link) heal() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, gate := range l.gates {
		if !isOpen(gate) {
			close(gate)
		}
	}
	_ = l.adjust()
}

// reset resets all connections.
func (l *link) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for p := range l.pairs {
		p.end(true)
	}
}

// setTargetUp sets whether the target listens.
func (l *link) setTargetUp(up bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.up = up
	return l.adjust()
}

func (l *link) close() {
	l.mu.Lock()
	l.closed = true
	_ = l.adjust()
	for p := range l.pairs {
		p.end(true)
	}
	l.mu.Unlock()
	l.work.Wait()
}

// echo serves an echo server until the test ends.
func echo(t *testing.T) (addr string, stop func()) {
	t.Helper()
	l, err := net.Listen("tcp", address()+":0")
	require.NoError(t, err)
	var work sync.WaitGroup
	work.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			work.Go(func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			})
		}
	})
	stop = sync.OnceFunc(func() { l.Close() })
	t.Cleanup(func() { stop(); work.Wait() })
	return l.Addr().String(), stop
}

func TestLink_Faults_ActLikeANetwork(t *testing.T) {
	t.Parallel()
	const soon = 100 * time.Millisecond
	target, stop := echo(t)
	l := newLink(t, "test", target)
	dial := func() net.Conn {
		t.Helper()
		c, err := net.Dial("tcp", l.addr)
		require.NoError(t, err)
		t.Cleanup(func() { c.Close() })
		return c
	}
	say := func(c net.Conn, text string) {
		t.Helper()
		_, err := io.WriteString(c, text)
		require.NoError(t, err)
	}
	hear := func(c net.Conn, text string) {
		t.Helper()
		require.NoError(t, c.SetReadDeadline(time.Now().Add(patience)))
		got := make([]byte, len(text))
		_, err := io.ReadFull(c, got)
		require.NoError(t, err)
		require.Equal(t, text, string(got))
	}
	silent := func(c net.Conn) {
		t.Helper()
		require.NoError(t, c.SetReadDeadline(time.Now().Add(soon)))
		_, err := c.Read(make([]byte, 1))
		var timeout net.Error
		require.ErrorAs(t, err, &timeout)
		require.True(t, timeout.Timeout(), "not silent but %v", err)
	}

	before := dial()
	say(before, "one")
	hear(before, "one")
	for _, directions := range [][]direction{{forth}, {back}, {forth, back}} {
		l.cut(directions...)
		during := dial()
		say(before, "two")
		say(during, "three")
		silent(before)
		silent(during)
		l.heal()
		hear(before, "two")
		hear(during, "three")
	}

	l.cut(forth)
	gone := dial()
	say(gone, "late")
	require.NoError(t, gone.(*net.TCPConn).CloseWrite())
	l.heal()
	hear(gone, "late")
	_, err := gone.Read(make([]byte, 1))
	assert.ErrorIs(t, err, io.EOF, "the end comes after what was sent")

	l.cut(back)
	during := dial()
	say(before, "lost")
	say(during, "lost")
	silent(before)
	silent(during)
	l.reset()
	l.heal()
	for _, c := range []net.Conn{before, during} {
		require.NoError(t, c.SetReadDeadline(time.Now().Add(patience)))
		_, err = c.Read(make([]byte, 1))
		assert.ErrorIs(t, err, syscall.ECONNRESET)
	}
	after := dial()
	say(after, "four")
	hear(after, "four")

	// A process that this one is just starting holds the closed listener open until it
	// has executed its program.
	isRefused := func() bool {
		c, err := net.Dial("tcp", l.addr)
		if err == nil {
			c.Close()
		}
		return err != nil
	}
	stop()
	require.NoError(t, l.setTargetUp(false))
	assert.Eventually(t, isRefused, patience, time.Millisecond)
	l.cut(forth)
	silent(dial())
	l.heal()
	assert.Eventually(t, isRefused, patience, time.Millisecond)
}
