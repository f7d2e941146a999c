package redis_test

import (
	"io"
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// wire is a proxy for a server whose connections a test can cut.
type wire struct {
	t    *testing.T
	to   string
	addr string

	mu      sync.Mutex
	port    net.Listener // nil: cut
	open    map[net.Conn]bool
	running sync.WaitGroup
}

func newWire(t *testing.T, to string) *wire {
	w := &wire{t: t, to: to, addr: "127.0.0.1:0", open: make(map[net.Conn]bool)}
	w.heal()
	t.Cleanup(func() {
		w.cut()
		w.running.Wait()
	})
	return w
}

func (w *wire) url() string { return "redis://" + w.addr }

// cut breaks all connections and refuses new ones.
func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.port == nil {
		return
	}
	_ = w.port.Close()
	w.port = nil
	for c := range w.open {
		_ = c.Close()
	}
	clear(w.open)
}

// heal accepts connections again.
func (w *wire) heal() {
	w.mu.Lock()
	defer w.mu.Unlock()
	port, err := net.Listen("tcp4", w.addr)
	require.NoError(w.t, err)
	w.port, w.addr = port, port.Addr().String()
	w.running.Go(func() {
		for {
			in, err := port.Accept()
			if err != nil {
				return
			}
			w.running.Go(func() { w.carry(in) })
		}
	})
}

func (w *wire) carry(in net.Conn) {
	out, err := net.Dial("tcp4", w.to)
	if err != nil {
		_ = in.Close()
		return
	}
	w.mu.Lock()
	if w.port == nil {
		_ = in.Close()
		_ = out.Close()
	}
	w.open[in], w.open[out] = true, true
	w.mu.Unlock()
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{in, out}, {out, in}} {
		both.Go(func() {
			_, _ = io.Copy(way[0], way[1])
			_ = in.Close()
			_ = out.Close()
		})
	}
	both.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.open, in)
	delete(w.open, out)
}
