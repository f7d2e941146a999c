package redis_test

import (
	"crypto/rand"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/switchyard-wa/switchyard/adapters/redis"
	"github.com/switchyard-wa/switchyard/adapters/redis/redistest"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/conformance"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// prefix gives what the keys of one test begin with.
func prefix() string { return rand.Text()[:8] + ":" }

// open opens coordination that does not take a busy machine for a lost Redis.
func open(tb testing.TB, url, prefix string) *redis.Coordination {
	tb.Helper()
	return openWith(tb, url, redis.Options{Prefix: prefix, CallLimit: 10 * time.Second})
}

func openWith(tb testing.TB, url string, o redis.Options) *redis.Coordination {
	tb.Helper()
	f, err := redis.Open(tb.Context(), url, o)
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, f.Close()) })
	return f
}

// pair opens two fabrics on the server that all tests share.
func pair(t *testing.T) (a, b *redis.Coordination) {
	url, prefix := redistest.Shared(t).URL(), prefix()
	return open(t, url, prefix), open(t, url, prefix)
}

func TestConformance(t *testing.T) {
	one := func(t *testing.T) *redis.Coordination { return open(t, redistest.Shared(t).URL(), prefix()) }
	t.Run("routes", func(t *testing.T) {
		conformance.Routes(t, func(t *testing.T) ports.Routes { return one(t).Routes() })
		conformance.SharedRoutes(t, func(t *testing.T) (ports.Routes, ports.Routes) {
			a, b := pair(t)
			return a.Routes(), b.Routes()
		})
	})
	t.Run("limiter", func(t *testing.T) {
		conformance.Limiter(t, func(t *testing.T) ports.Limiter { return one(t).Limiter() })
		conformance.SharedLimiter(t, func(t *testing.T) (ports.Limiter, ports.Limiter) {
			a, b := pair(t)
			return a.Limiter(), b.Limiter()
		})
	})
	t.Run("bus", func(t *testing.T) {
		conformance.Bus(t, func(t *testing.T) ports.Bus { return one(t).Bus() })
		conformance.SharedBus(t, func(t *testing.T) (ports.Bus, ports.Bus) {
			a, b := pair(t)
			return a.Bus(), b.Bus()
		})
	})
	t.Run("invalidator", func(t *testing.T) {
		conformance.Invalidator(t, func(t *testing.T) (ports.Invalidator, ports.Invalidator) {
			a, b := pair(t)
			return a.Invalidator(), b.Invalidator()
		})
	})
}

// Without Redis everything that a process can do alone is done.
func TestConformanceWithoutRedis(t *testing.T) {
	f := away(t)
	conformance.Limiter(t, func(*testing.T) ports.Limiter { return f.Limiter() })
	conformance.Routes(t, func(*testing.T) ports.Routes { return f.Routes() })
}

// A cluster of one server refuses what a larger one would.
func TestConformanceOnCluster(t *testing.T) {
	server := redistest.Start(t, "--cluster-enabled", "yes")
	c := client(t, server.Addr())
	require.NoError(t, c.ClusterAddSlotsRange(t.Context(), 0, 16383).Err())
	require.Eventually(t, func() bool {
		info, err := c.ClusterInfo(t.Context()).Result()
		return err == nil && strings.Contains(info, "cluster_state:ok")
	}, patience, 10*time.Millisecond)
	url := "redis://" + server.Addr() + "?addr=" + server.Addr()
	one := func(t *testing.T) *redis.Coordination { return open(t, url, prefix()) }
	conformance.Limiter(t, func(t *testing.T) ports.Limiter { return one(t).Limiter() })
	conformance.Routes(t, func(t *testing.T) ports.Routes { return one(t).Routes() })
	conformance.Bus(t, func(t *testing.T) ports.Bus { return one(t).Bus() })
	conformance.Invalidator(t, func(t *testing.T) (ports.Invalidator, ports.Invalidator) {
		prefix := prefix()
		return open(t, url, prefix).Invalidator(), open(t, url, prefix).Invalidator()
	})
}

func TestInvalidatorOverABrokenConnection(t *testing.T) {
	server := redistest.Shared(t)
	conformance.InvalidatorCut(t, func(t *testing.T) (a, b ports.Invalidator, cut func(ports.Invalidator) (heal func())) {
		prefix := prefix()
		wires := make(map[ports.Invalidator]*wire)
		party := func() ports.Invalidator {
			w := newWire(t, server.Addr())
			h := open(t, w.url(), prefix).Invalidator()
			wires[h] = w
			return h
		}
		return party(), party(), func(h ports.Invalidator) func() {
			wires[h].cut()
			return wires[h].heal
		}
	})
}

// patience is how long something may take that does not depend on us alone.
const patience = 20 * time.Second

// wire is a connection to a server that can be cut.
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

// record is a log for looking at.
type record struct {
	mu   sync.Mutex
	text strings.Builder
}

func (r *record) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(p)
}

func (r *record) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}

func (r *record) log() *slog.Logger {
	return slog.New(slog.NewTextHandler(r, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// client gives a plain client of a server.
func client(tb testing.TB, addr string) *goredis.Client {
	c := goredis.NewClient(&goredis.Options{Addr: addr})
	tb.Cleanup(func() { _ = c.Close() })
	return c
}
