package main_test

import (
	"flag"
	"sync"
	"testing"
	"time"
)

// Without flags the fault test is short and always the same. `make chaos` runs it
// in full.
var (
	chaosSeed     = flag.Uint64("chaos.seed", 0, "what the faults follow from; 0: the clock")
	chaosDuration = flag.Duration("chaos.duration", 0, "how long there are faults; 0: a short run with a seed of its own")
)

// quick holds timings that detect lost workers early, which leaves time for many
// faults.
var quick = []string{"--heartbeat-interval", "1s", "--lease", "3s", "--probe-interval", "300ms", "--failover-delay", "500ms"}

const quickLease = 3 * time.Second

// TestChaos crashes, hangs, restarts and partitions replicas, workers, PostgreSQL
// and Redis at random, while messages are sent over all sessions, and ids of sessions
// go from user to user. It then checks six promises. Every session had one owner at
// most at all times. No session was forgotten. Every acknowledged message was sent
// exactly once, though sends with a key are repeated, and every message that was accepted to
// be sent later was sent exactly once, or failed, or nobody knows. Nothing of a deleted session
// reaches the next one with its id. The event log has every send once, and streams of
// it miss nothing. Webhooks deliver every event that they want, in order.
func TestChaos(t *testing.T) {
	seed, duration, rate := uint64(16), 20*time.Second, 40
	z := size{replicas: 3, workers: 4, capacity: 30, users: 3, each: 16, scan: 50 * time.Millisecond, timing: quick, lease: quickLease}
	if *chaosDuration == 0 {
		t.Parallel()
	} else {
		seed, duration, rate = *chaosSeed, *chaosDuration, 80
		if seed == 0 {
			seed = uint64(time.Now().UnixNano())
		}
		z.workers, z.capacity, z.users, z.each = 6, 110, 30, 10
	}
	t.Logf("to see this again: make chaos SEED=%d DURATION=%v", seed, duration)

	s := newScene(t, z)
	c := newWorkload(s)
	s.logEvent("%d sessions are connected", len(c.lines))
	c.addHooks(seed)
	faults := plan(seed, duration, z.replicas, z.workers, z.lease)
	began := time.Now()
	c.begin(rate, seed)
	var all sync.WaitGroup
	for _, f := range faults {
		time.Sleep(time.Until(began.Add(f.at)))
		all.Go(func() { s.do(f) })
	}
	all.Wait()
	s.logEvent("the last of %d faults is over", len(faults))
	last := time.Now()
	c.deciding.end()
	took := c.awaitFinalState(last)
	c.sending.end()
	c.looking.end()
	c.repeatSends()
	c.awaitEmptyQueues()
	s.logEvent("everything was as it should be %v after the last fault", took.Round(time.Millisecond))
	c.judge()
}
