package redis_test

import (
	"crypto/rand"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/switchyard-wa/switchyard/adapters/internal/testproxy"
	"github.com/switchyard-wa/switchyard/adapters/redis"
	"github.com/switchyard-wa/switchyard/adapters/redis/redistest"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// prefix returns a key prefix for one test.
func prefix() string { return rand.Text()[:8] + ":" }

// open opens a coordination whose call limit suits a busy machine.
func open(tb testing.TB, url, prefix string) *redis.Coordination {
	tb.Helper()
	return openWith(tb, url, redis.Options{Prefix: prefix, CallLimit: 10 * time.Second})
}

func openWith(tb testing.TB, url string, o redis.Options) *redis.Coordination {
	tb.Helper()
	c, err := redis.Open(tb.Context(), url, o)
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, c.Close()) })
	return c
}

// openLogged opens a coordination as open does. It also returns its log.
func openLogged(t *testing.T, url, prefix string) (*redis.Coordination, *record) {
	t.Helper()
	log := new(record)
	return openWith(t, url, redis.Options{Prefix: prefix, CallLimit: 10 * time.Second, Log: log.log()}), log
}

// pair opens two coordinations with one prefix on the shared server.
func pair(t *testing.T) (a, b *redis.Coordination) {
	url, prefix := redistest.Shared(t).URL(), prefix()
	return open(t, url, prefix), open(t, url, prefix)
}

// urlOf returns the URL of Redis behind a proxy.
func urlOf(p *testproxy.Proxy) string { return "redis://" + p.Addr() }

// openWithoutRedis opens a coordination whose Redis does not run.
func openWithoutRedis(tb testing.TB) *redis.Coordination {
	server := redistest.Start(tb)
	server.Stop()
	return open(tb, server.URL(), prefix())
}

// timeout bounds waiting for other processes.
const timeout = 20 * time.Second

func allow(t *testing.T, c *redis.Coordination, key string, n int) domain.Usage {
	t.Helper()
	u, err := c.Limiter().AllowN(t.Context(), key, time.Now(), time.Hour, 10_000, n)
	require.NoError(t, err)
	return u
}

func put(t *testing.T, c *redis.Coordination, id string, rev int64) {
	t.Helper()
	require.NoError(t, c.Routes().Put(t.Context(), ports.Route{SessionID: id, WorkerID: "w1", Rev: rev}))
}

// revOf returns the Rev of a route, or 0 if none is found.
func revOf(t *testing.T, c *redis.Coordination, id string) int64 {
	t.Helper()
	r, err := c.Routes().Get(t.Context(), id)
	if err != nil {
		require.ErrorIs(t, err, ports.ErrNotFound)
	}
	return r.Rev
}

func eventually(t *testing.T, condition func() bool, about string) {
	t.Helper()
	require.Eventually(t, condition, timeout, 5*time.Millisecond, about)
}

func waitUntilUp(t *testing.T, c *redis.Coordination) {
	t.Helper()
	eventually(t, func() bool { return c.Health(t.Context()) == nil }, "Redis is available again")
}

// record is a log that tests read.
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

// client returns a plain client of a server.
func client(tb testing.TB, addr string) *goredis.Client {
	c := goredis.NewClient(&goredis.Options{Addr: addr})
	tb.Cleanup(func() { _ = c.Close() })
	return c
}
