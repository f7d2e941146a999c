package orchestrator_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/switchyard-wa/switchyard/adapters/memory"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// skewedClock is the clock of a replica. It is ahead of the clock of the test by the skew.
type skewedClock struct {
	*clock
	skew time.Duration
}

func (c *skewedClock) Now() time.Time { return c.clock.Now().Add(c.skew) }

// cuttableInvalidator passes on the invalidations of a replica unless it is cut.
type cuttableInvalidator struct {
	*memory.Invalidator
	cut atomic.Bool
}

func (e *cuttableInvalidator) Publish(h ports.Invalidation) {
	if !e.cut.Load() {
		e.Invalidator.Publish(h)
	}
}

func (e *cuttableInvalidator) Subscribe(fn func(ports.Invalidation)) (cancel func()) {
	return e.Invalidator.Subscribe(func(h ports.Invalidation) {
		if !e.cut.Load() {
			fn(h)
		}
	})
}

// resettableLimiter is a limiter that can lose its counters.
type resettableLimiter struct{ atomic.Pointer[memory.Limiter] }

func (f *resettableLimiter) reset() { f.Store(memory.NewLimiter()) }

func (f *resettableLimiter) AllowN(ctx context.Context, key string, at time.Time, length time.Duration, limit, n int) (domain.Usage, error) {
	return f.Load().AllowN(ctx, key, at, length, limit, n)
}

func (f *resettableLimiter) Backfill(ctx context.Context, key string, first time.Time, length time.Duration, used int) error {
	return f.Load().Backfill(ctx, key, first, length, used)
}

// sequentialIDs makes the same ids in every run. Replicas then divide the work alike.
type sequentialIDs struct{ n atomic.Int64 }

func (c *sequentialIDs) NewID() string { return fmt.Sprintf("%08d", c.n.Add(1)) }

// seededRandom returns the same bytes in every run.
type seededRandom struct {
	mu     sync.Mutex
	source *rand.ChaCha8
}

func (d *seededRandom) Read(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.source == nil {
		d.source = rand.NewChaCha8([32]byte{})
	}
	return d.source.Read(p)
}
