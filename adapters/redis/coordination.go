package redis

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/sony/gobreaker/v2"

	"github.com/switchyard-wa/switchyard/ports"
)

// Options configure a coordination. The zero value is ready to use.
type Options struct {
	// Prefix begins all keys and channels. Processes that share a store have the same prefix, others another. Empty means
	// "switchyard:".
	Prefix string
	// CallLimit bounds each call of Redis, and thereby how long a caller waits before the coordination goes on without
	// Redis. 0 means 250 ms.
	CallLimit time.Duration
	// Log receives an event when Redis becomes unavailable or available. It also receives the messages of go-redis, at the
	// debug level. go-redis has one log per process, so it uses the log of the latest coordination. Nil discards all.
	Log *slog.Logger
}

// Coordination shares state between processes through Redis. Make one with [Open]. Its methods and parts may be called
// concurrently.
type Coordination struct {
	rdb      redis.UniversalClient
	cluster  bool
	prefix   string
	channels channels
	id       string        // of this process
	limit    time.Duration // of a call
	log      *slog.Logger

	breaker *gobreaker.CircuitBreaker[struct{}]
	failure atomic.Pointer[error] // the latest failure of a call

	limiter     *Limiter
	routes      *Routes
	invalidator *Invalidator

	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	running sync.WaitGroup
	closing sync.Once
}

// idLength is the length of the id by which a process recognises its own messages.
const idLength = 16

// Open opens a coordination on the Redis at a URL. The caller closes it. Open fails only if the URL is invalid: when Redis
// does not answer, Open logs a warning and the coordination works without Redis until it does.
//
// The URL is redis://, rediss:// (with TLS) or unix://. With the query parameter master_name it is the URL of a sentinel.
// With the query parameter addr, the address of another node, it is the URL of a cluster.
func Open(ctx context.Context, url string, o Options) (*Coordination, error) {
	if o.Prefix == "" {
		o.Prefix = "switchyard:"
	}
	if o.CallLimit <= 0 {
		o.CallLimit = 250 * time.Millisecond
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	to, err := parse(url, o.CallLimit)
	if err != nil {
		return nil, err
	}
	redis.SetLogger(libraryLog{o.Log})
	c := &Coordination{
		rdb: to.connect(), cluster: to.cluster, prefix: o.Prefix, limit: o.CallLimit, log: o.Log, id: rand.Text()[:idLength],
		channels: newChannels(o.Prefix, to.db),
	}
	c.ctx, c.cancel = context.WithCancel(context.WithoutCancel(ctx))
	c.breaker = c.newBreaker()
	c.limiter, c.routes, c.invalidator = newLimiter(c), newRoutes(c), newInvalidator(c)
	_ = c.do(ctx, c.probe) // a failure is logged and opens the circuit breaker
	c.running.Go(c.probeUntilUp)
	c.running.Go(c.subscribe)
	c.running.Go(c.invalidator.publishPending)
	return c, nil
}

// Routes returns the routes.
func (c *Coordination) Routes() ports.Routes { return c.routes }

// Limiter returns the limiter.
func (c *Coordination) Limiter() ports.Limiter { return c.limiter }

// Invalidator returns the invalidator.
func (c *Coordination) Invalidator() ports.Invalidator { return c.invalidator }

// Health returns an error if Redis is unavailable at the moment. The process can serve nevertheless: the coordination works
// without Redis.
func (c *Coordination) Health(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return c.do(ctx, c.probe)
}

// Close publishes pending invalidations and ends all subscriptions. It waits for calls of subscribers that have begun.
// After Close all parts work as they do without Redis.
func (c *Coordination) Close() error {
	var err error
	c.closing.Do(func() {
		c.cancel()
		c.limiter.close()
		c.running.Wait()
		c.invalidator.close()
		err = c.rdb.Close()
	})
	return err
}

const (
	probeInterval = 500 * time.Millisecond // between two probes while Redis is unavailable
	breakerReset  = probeInterval / 2      // shorter, so that each tick may probe
)

var errClosed = errors.New("redis: the coordination is closed")

func (c *Coordination) newBreaker() *gobreaker.CircuitBreaker[struct{}] {
	return gobreaker.NewCircuitBreaker[struct{}](gobreaker.Settings{
		Timeout:     breakerReset,
		ReadyToTrip: func(n gobreaker.Counts) bool { return n.ConsecutiveFailures > 0 },
		OnStateChange: func(_ string, from, to gobreaker.State) {
			switch {
			case from == gobreaker.StateClosed:
				c.routes.cache.clear()
				c.log.Warn("redis unavailable", "error", c.lastFailure())
			case to == gobreaker.StateClosed:
				c.routes.cache.clear()
				c.log.Info("redis available")
			}
		},
	})
}

// isUp reports whether a call of Redis is likely to succeed.
func (c *Coordination) isUp() bool {
	return c.ctx.Err() == nil && c.breaker.State() == gobreaker.StateClosed
}

// do runs call, which calls Redis, unless Redis is unavailable. The context of call ends after the call limit, and not with
// the caller's context: a caller that cancels must not make Redis look unavailable.
func (c *Coordination) do(ctx context.Context, call func(ctx context.Context) error) error {
	if c.ctx.Err() != nil {
		return errClosed
	}
	if !c.isUp() {
		return c.errUnavailable()
	}
	return c.try(ctx, call)
}

// try runs call even while Redis is unavailable, as far as the circuit breaker lets it.
func (c *Coordination) try(ctx context.Context, call func(ctx context.Context) error) error {
	_, err := c.breaker.Execute(func() (struct{}, error) {
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.limit)
		defer cancel()
		err := call(bounded)
		if err != nil {
			c.failure.Store(&err)
		}
		return struct{}{}, err
	})
	if errors.Is(err, gobreaker.ErrOpenState) || errors.Is(err, gobreaker.ErrTooManyRequests) {
		return c.errUnavailable()
	}
	return err
}

func (c *Coordination) lastFailure() error {
	if err := c.failure.Load(); err != nil {
		return *err
	}
	return nil
}

func (c *Coordination) errUnavailable() error {
	return fmt.Errorf("redis: it does not do its work and will be tried again within a second: %w", c.lastFailure())
}

// probe writes a key: a server that accepts connections may still refuse writes.
func (c *Coordination) probe(ctx context.Context) error {
	return c.rdb.Set(ctx, c.prefix+"probe", c.id, time.Minute).Err()
}

// probeUntilUp probes Redis while it is unavailable. Once Redis is back it repairs the state in Redis.
func (c *Coordination) probeUntilUp() {
	ticker := time.NewTicker(probeInterval)
	defer ticker.Stop()
	for {
		select {
		case <-c.ctx.Done():
			return
		case <-ticker.C:
		}
		if c.breaker.State() != gobreaker.StateClosed && c.try(c.ctx, c.recover) != nil {
			continue
		}
		_ = c.do(c.ctx, c.routes.deleteStale) // those that became stale during recover
		c.limiter.replayLocalCounts()
	}
}

// recover probes Redis and deletes stale routes from it, before the circuit breaker closes and callers read them.
func (c *Coordination) recover(ctx context.Context) error {
	if err := c.probe(ctx); err != nil {
		return err
	}
	return c.routes.deleteStale(ctx)
}

// libraryLog passes the messages of go-redis to a log.
type libraryLog struct{ log *slog.Logger }

// Printf logs a message of go-redis.
func (l libraryLog) Printf(ctx context.Context, format string, args ...any) {
	if l.log.Enabled(ctx, slog.LevelDebug) {
		l.log.DebugContext(ctx, "go-redis message", "text", fmt.Sprintf(format, args...))
	}
}
