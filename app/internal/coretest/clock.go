package coretest

import (
	"sync/atomic"
	"time"
)

// Clock stands still until a test moves it. It is safe for concurrent use.
type Clock struct {
	base *atomic.Int64 // µs; all replicas of a store share it
	lead time.Duration // by how much this clock is ahead
}

// start is when every test begins.
var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func newClock() *Clock {
	c := &Clock{base: new(atomic.Int64)}
	c.base.Store(start.UnixMicro())
	return c
}

// ahead returns a clock that runs with c and shows a later time.
func (c *Clock) ahead(lead time.Duration) *Clock { return &Clock{base: c.base, lead: c.lead + lead} }

// Now returns the time.
func (c *Clock) Now() time.Time { return time.UnixMicro(c.base.Load()).UTC().Add(c.lead) }

// Advance moves the clocks of all replicas.
func (c *Clock) Advance(d time.Duration) { c.base.Add(d.Microseconds()) }
