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

// Options of coordination. The zero value is ready to use.
type Options struct {
	// Prefix is what keys and channels begin with; empty means "switchyard:".
	// Processes that share a store have the same, others have another.
	Prefix string
	// CallLimit bounds each call of Redis, and so how long somebody waits before the
	// coordination does without; 0 means 250 ms.
	CallLimit time.Duration
	// Log hears when Redis is lost and when it is back; nil: nobody does. What
	// go-redis says by itself goes there too, at the level of debugging, and since
	// it has one log for the whole process, that of the coordination opened last.
	Log *slog.Logger
}

// Coordination is what processes share through Redis. Its parts may be used
// concurrently. Make one with [Open].
type Coordination struct {
	rdb      redis.UniversalClient
	cluster  bool
	prefix   string
	channels channels
	id       string        // of this process
	limit    time.Duration // of a call
	log      *slog.Logger

	breaker *gobreaker.CircuitBreaker[struct{}]
	failure atomic.Pointer[error] // the latest

	limiter     *Limiter
	routes      *Routes
	bus         *Bus
	invalidator *Invalidator

	ctx     context.Context // until Close
	cancel  context.CancelFunc
	running sync.WaitGroup
	closing sync.Once
}

// idLength is that of the name by which a process knows its own messages.
const idLength = 16

// Open makes coordination of what Redis has at a URL. It fails if the URL cannot be
// read. If Redis does not answer it logs a warning, and the coordination works without,
// until it does. The URL is redis:// or rediss:// (with TLS), or unix://; with a
// query that has master_name it is that of a sentinel, and with addr, another
// node's address, that of a cluster. The caller closes the coordination.
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
	f := &Coordination{
		rdb: to.connect(), cluster: to.cluster, prefix: o.Prefix, limit: o.CallLimit, log: o.Log, id: rand.Text()[:idLength],
		channels: newChannels(o.Prefix, to.db),
	}
	f.ctx, f.cancel = context.WithCancel(context.WithoutCancel(ctx))
	f.breaker = f.newBreaker()
	f.limiter, f.routes, f.bus, f.invalidator = newLimiter(f), newRoutes(f), newBus(f), newInvalidator(f)
	_ = f.do(ctx, f.probe) // a failure is logged, and makes the coordination do without
	f.running.Go(f.probeUntilUp)
	f.running.Go(f.subscribe)
	f.running.Go(f.invalidator.send)
	return f, nil
}

// Routes gives the routes.
func (f *Coordination) Routes() ports.Routes { return f.routes }

// Limiter gives the limiter.
func (f *Coordination) Limiter() ports.Limiter { return f.limiter }

// Bus gives the event bus.
func (f *Coordination) Bus() ports.Bus { return f.bus }

// Invalidator gives the way to tell other processes of changes.
func (f *Coordination) Invalidator() ports.Invalidator { return f.invalidator }

// Health reports whether Redis does its work at the moment. An error is no reason
// not to serve: the coordination does without.
func (f *Coordination) Health(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return f.do(ctx, f.probe)
}

// Close tells the invalidations that wait and ends everything; subscribers and listeners hear
// nothing more, and it waits for calls of them that have begun. What is used afterwards
// works as it does without Redis.
func (f *Coordination) Close() error {
	var err error
	f.closing.Do(func() {
		f.cancel()
		f.limiter.close()
		f.running.Wait()
		f.bus.close()
		f.invalidator.close()
		err = f.rdb.Close()
	})
	return err
}

const (
	pulseEvery   = 500 * time.Millisecond // between probes while Redis is away
	suspendedFor = pulseEvery / 2         // less, so that every tick may probe
)

var errClosed = errors.New("redis: the coordination is closed")

func (f *Coordination) newBreaker() *gobreaker.CircuitBreaker[struct{}] {
	return gobreaker.NewCircuitBreaker[struct{}](gobreaker.Settings{
		Timeout:     suspendedFor,
		ReadyToTrip: func(n gobreaker.Counts) bool { return n.ConsecutiveFailures > 0 },
		OnStateChange: func(_ string, from, to gobreaker.State) {
			switch {
			case from == gobreaker.StateClosed:
				f.routes.cache.clear()
				f.log.Warn("Redis does not do its work; going on without it", "error", f.lastFailure())
			case to == gobreaker.StateClosed:
				f.routes.cache.clear()
				f.log.Info("Redis is back")
			}
		},
	})
}

// up reports whether Redis is worth a call.
func (f *Coordination) up() bool {
	return f.ctx.Err() == nil && f.breaker.State() == gobreaker.StateClosed
}

// do makes calls of Redis, bounded in time whatever the context, unless Redis is
// known to be away.
func (f *Coordination) do(ctx context.Context, call func(ctx context.Context) error) error {
	if f.ctx.Err() != nil {
		return errClosed
	}
	if !f.up() {
		return f.away()
	}
	return f.try(ctx, call)
}

// try makes calls of Redis even if that was away.
func (f *Coordination) try(ctx context.Context, call func(ctx context.Context) error) error {
	_, err := f.breaker.Execute(func() (struct{}, error) {
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), f.limit)
		defer cancel()
		err := call(bounded)
		if err != nil {
			f.failure.Store(&err)
		}
		return struct{}{}, err
	})
	if errors.Is(err, gobreaker.ErrOpenState) || errors.Is(err, gobreaker.ErrTooManyRequests) {
		return f.away()
	}
	return err
}

func (f *Coordination) lastFailure() error {
	if err := f.failure.Load(); err != nil {
		return *err
	}
	return nil
}

func (f *Coordination) away() error {
	return fmt.Errorf("redis: it does not do its work and will be tried again within a second: %w", f.lastFailure())
}

// probe tries to write, which a server may refuse that answers otherwise.
func (f *Coordination) probe(ctx context.Context) error {
	return f.rdb.Set(ctx, f.prefix+"probe", f.id, time.Minute).Err()
}

// probeUntilUp probes Redis while it is away, and then mends what went wrong meanwhile.
func (f *Coordination) probeUntilUp() {
	beat := time.NewTicker(pulseEvery)
	defer beat.Stop()
	for {
		select {
		case <-f.ctx.Done():
			return
		case <-beat.C:
		}
		if f.breaker.State() != gobreaker.StateClosed && f.try(f.ctx, f.recover) != nil {
			continue
		}
		_ = f.do(f.ctx, f.routes.forget) // what came in while it recovered
		f.limiter.replayLocalCounts()
	}
}

// recover finds out whether Redis is back, and has it forget what may be out of
// date before anybody asks for it.
func (f *Coordination) recover(ctx context.Context) error {
	if err := f.probe(ctx); err != nil {
		return err
	}
	return f.routes.forget(ctx)
}

// libraryLog is go-redis' log.
type libraryLog struct{ log *slog.Logger }

// Printf is what go-redis calls.
func (l libraryLog) Printf(ctx context.Context, format string, args ...any) {
	if l.log.Enabled(ctx, slog.LevelDebug) {
		l.log.DebugContext(ctx, "go-redis: "+fmt.Sprintf(format, args...))
	}
}
