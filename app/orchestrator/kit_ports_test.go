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

// shownTime is what a replica's clock shows: the same for all, but for its skew.
type shownTime struct {
	*clock
	skew time.Duration
}

func (c *shownTime) Now() time.Time { return c.clock.Now().Add(c.skew) }

// cuttableInvalidator carries a replica's invalidations, unless it is cut.
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

// outboxSpy notes whether a read found events.
type outboxSpy struct {
	ports.Outbox
	foundEvents bool
}

func (s *outboxSpy) After(ctx context.Context, seq int64, limit int) ([]domain.Event, error) {
	events, err := s.Outbox.After(ctx, seq, limit)
	s.foundEvents = s.foundEvents || len(events) > 0
	return events, err
}

// record is a bus that remembers what was published.
type record struct {
	mu     sync.Mutex
	events []domain.Event
	after  func() // if set, called once after a Publish
}

func (r *record) Publish(_ context.Context, events ...domain.Event) error {
	r.mu.Lock()
	r.events = append(r.events, events...)
	after := r.after
	r.after = nil
	r.mu.Unlock()
	if after != nil {
		after()
	}
	return nil
}

func (r *record) Subscribe(func(domain.Event)) (cancel func()) { return func() {} }

// forgetful is a limiter that can lose everything.
type forgetful struct{ atomic.Pointer[memory.Limiter] }

func (f *forgetful) forget() { f.Store(memory.NewLimiter()) }

func (f *forgetful) AllowN(ctx context.Context, key string, at time.Time, length time.Duration, limit, n int) (domain.Usage, error) {
	return f.Load().AllowN(ctx, key, at, length, limit, n)
}

func (f *forgetful) Backfill(ctx context.Context, key string, first time.Time, length time.Duration, used int) error {
	return f.Load().Backfill(ctx, key, first, length, used)
}

// counter gives ids that are the same in every run, so that work is shared alike.
type counter struct{ n atomic.Int64 }

func (c *counter) NewID() string { return fmt.Sprintf("%08d", c.n.Add(1)) }

// dice do the same for random bytes.
type dice struct {
	mu     sync.Mutex
	source *rand.ChaCha8
}

func (d *dice) Read(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.source == nil {
		d.source = rand.NewChaCha8([32]byte{})
	}
	return d.source.Read(p)
}
