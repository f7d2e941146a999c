package apptest

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// clock is a clock that moves only when it is set.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) set(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = t
}

// skewedClock is ahead of the clock.
type skewedClock struct {
	*clock
	ahead time.Duration
}

func (s skewedClock) Now() time.Time { return s.clock.Now().Add(s.ahead) }

// ids makes ids that sort by time and are the same in every run.
type ids struct {
	mu    sync.Mutex
	clock *clock
	n     uint64
}

func (i *ids) NewID() string {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.n++
	return fmt.Sprintf("%012x-%08x", i.clock.Now().UnixMilli(), i.n)
}

// random returns bytes that depend on the seed only.
type random struct {
	mu     sync.Mutex
	source *rand.ChaCha8
}

func (r *random) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.source.Read(p)
}
