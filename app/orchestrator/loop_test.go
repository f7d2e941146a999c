package orchestrator_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

func TestBackgroundWorkIsDoneOnce(t *testing.T) {
	c := newReplicaSet(t, 3)
	var workers []string
	for i := range 6 {
		workers = append(workers, fmt.Sprint("worker-", i))
		c.register(c.all[i%3], workers[i], 50)
	}
	turn := 0
	pulse := func() { // each heartbeat reaches another replica
		if turn++; turn%20 == 0 {
			c.pulse(c.all[turn/20%3], workers...)()
		}
	}
	c.pass(10*time.Second, pulse)
	before := c.probes()
	c.pass(time.Minute, pulse)
	askers := make(map[string]bool)
	for _, made := range c.hands.all("health") {
		askers[made.by] = true
	}
	for worker, n := range c.probes() {
		require.InDelta(t, 12, n-before[worker], 2, worker)
	}
	require.Greater(t, len(askers), 1, "they share it: %v", askers)

	var ids []string
	for range 40 {
		s := c.line()
		c.ask(s)
		ids = append(ids, s.ID)
	}
	require.NoError(t, c.store.Update(t.Context(), func(ctx context.Context, tx *ports.Tx) error {
		for i := range 40 {
			err := tx.Cleanups.Put(ctx, &domain.Cleanup{
				WorkerID: workers[i%6], SessionID: fmt.Sprint("gone-", i), Command: domain.CommandDelete, DueAt: c.clock.Now(),
			})
			if err != nil {
				return err
			}
		}
		return nil
	}))
	c.pass(10*time.Second, pulse)
	started := make(map[string]int)
	by := make(map[string]int)
	for _, made := range c.hands.all("start") {
		started[made.session]++
		by[made.by]++
	}
	for _, id := range ids {
		require.Equal(t, domain.Connected, c.session(id).Status)
		require.Equal(t, 1, started[id], id)
	}
	require.Len(t, by, 3, "all take their part")
	cleaned := make(map[string]int)
	for _, made := range c.hands.all("delete") {
		cleaned[made.session]++
	}
	require.Len(t, cleaned, 40)
	require.Equal(t, 40, c.hands.made("delete"))

	c.pass(3*time.Second, pulse)
	require.NoError(t, c.store.View(t.Context(), func(ctx context.Context, tx *ports.Tx) error {
		recorded, err := tx.Outbox.After(ctx, 0, 0)
		require.Equal(t, recorded, c.bus.events, "published once, in order")
		return err
	}))
}

// load counts the calls that are under way.
type load struct {
	mu            sync.Mutex
	now, most     map[string]int // by replica and worker, by worker, by replica
	starts, again int
	started       map[string]bool
}

func newLoad() *load {
	return &load{now: map[string]int{}, most: map[string]int{}, started: map[string]bool{}}
}

// take lets a start take a while.
func (l *load) take(made call) error {
	if made.kind != "start" {
		return nil
	}
	keys := []string{made.by + "/" + made.worker, made.worker, made.by}
	l.mu.Lock()
	for _, k := range keys {
		l.now[k]++
		l.most[k] = max(l.most[k], l.now[k])
	}
	if l.starts++; l.started[made.session] {
		l.again++
	}
	l.started[made.session] = true
	l.mu.Unlock()
	time.Sleep(time.Second)
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, k := range keys {
		l.now[k]--
	}
	return nil
}

func TestRecoveryAtScale(t *testing.T) {
	for _, size := range []struct{ workers, sessions int }{{1, 1000}, {20, 50}} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := newReplicaSet(t, 3, realTime)
				var workers []string
				for i := range size.workers {
					workers = append(workers, fmt.Sprint("worker-", i))
					c.register(c.all[0], workers[i], 1000)
				}
				ids := c.full(workers, size.sessions)
				l := newLoad()
				c.hands.set(l.take)
				c.running()
				for i, w := range workers { // all of them restart at once
					c.register(c.all[i%3], w, 1000)
				}
				began := time.Now()
				connected := 0
				for connected < len(ids) {
					require.Less(t, time.Since(began), 3*time.Minute)
					time.Sleep(100 * time.Millisecond)
					for _, w := range workers {
						c.pulse(c.all[0], w)()
					}
					require.NoError(t, c.store.View(t.Context(), func(ctx context.Context, tx *ports.Tx) error {
						by, err := tx.Sessions.CountByStatus(ctx)
						connected = by[domain.Connected]
						return err
					}))
				}
				t.Logf("%d back after %v; %d starts, %d of them again; most at once: %v",
					len(ids), time.Since(began), l.starts, l.again, l.most)
				require.Zero(t, l.again)
				bound := 8
				if size.workers > 1 {
					bound = 16 // for the length of a call, when two replicas begin with it at the same moment
				}
				for by, n := range l.most {
					if len(by) == 1 {
						require.LessOrEqual(t, n, 24, "calls of one replica")
					} else {
						require.LessOrEqual(t, n, bound, "calls to one worker, all replicas together: %s", by)
					}
				}
			})
		})
	}
}

func TestWhoWaitsForRoomGetsItInOrder(t *testing.T) {
	c := newReplicaSet(t, 3)
	tiers := []domain.Tier{domain.TierBasic, domain.TierMax, domain.TierPro}
	var want []string // sessions, the highest tier and the oldest first
	by := make(map[domain.Tier][]string)
	for i := range 12 {
		user := c.fixture().user(tiers[i%3])
		s, err := c.all[i%3].Sessions.Create(t.Context(), user, service.CreateSessionParams{Name: "line"})
		require.NoError(t, err)
		c.clock.advance(time.Second)
		c.ask(s)
		by[tiers[i%3]] = append(by[tiers[i%3]], s.ID)
	}
	want = slices.Concat(by[domain.TierMax], by[domain.TierPro], by[domain.TierBasic])
	c.pass(5 * time.Minute) // they look for room once a minute by now
	require.Zero(t, c.hands.made("start"))
	var workers []string
	for i := range want {
		if i == 6 {
			c.all[2].dead = true // whoever it was that they told
		}
		if i == 7 {
			c.pass(9*time.Second, c.pulse(c.all[0], workers...))
		}
		workers = append(workers, fmt.Sprint("worker-", i))
		c.register(c.all[i%2], workers[i], 1)
		c.pass(5*time.Second, c.pulse(c.all[0], workers...))
		var got []string
		for _, made := range c.hands.all("start") {
			got = append(got, made.session)
		}
		if i < 6 || i > 7 {
			require.Equal(t, want[:i+1], got)
		}
		if i == 7 {
			require.ElementsMatch(t, want[:i+1], got)
		}
	}
}

func TestIdleReplicasHardlyTouchTheStore(t *testing.T) {
	c := newReplicaSet(t, 3)
	var workers []string
	for i := range 10 {
		workers = append(workers, fmt.Sprint("worker-", i))
		c.register(c.all[0], workers[i], 5)
	}
	ids := c.full(workers, 5)
	for range 5 {
		c.ask(c.line()) // and these find no room
	}
	on := make(map[string][]string)
	for _, id := range ids {
		w := c.session(id).WorkerID
		on[w] = append(on[w], id)
	}
	beatAt := c.clock.Now()
	next := make(map[*replica]time.Time)
	minute := func() {
		for end := c.clock.Now().Add(time.Minute); c.clock.Now().Before(end); c.clock.advance(20 * time.Millisecond) {
			if now := c.clock.Now(); !now.Before(beatAt) {
				for i, w := range workers {
					c.beat(c.all[i%3], w, on[w]...)
				}
				beatAt = now.Add(10 * time.Second)
			}
			for _, r := range c.all {
				if !c.clock.Now().Before(next[r]) {
					at, err := r.RunOnce(t.Context())
					require.NoError(t, err)
					next[r] = at
				}
			}
		}
	}
	for range 3 {
		minute()
	}
	for _, r := range c.all {
		r.store.ResetCounts()
	}
	minute()
	for _, r := range c.all {
		t.Logf("%s: %d reads and %d writes in a minute", r.name, r.store.Views(), r.store.Updates())
		require.LessOrEqual(t, r.store.Updates(), int64(30+20+15), "signs of life, heartbeats, the rest")
		require.LessOrEqual(t, r.store.Views(), int64(240))
	}
	require.Zero(t, c.hands.made("start"))
}

func TestAPublisherThatStoodStillDoesNotTurnBack(t *testing.T) {
	for _, when := range []string{"after it read", "after it published"} {
		t.Run(when, func(t *testing.T) {
			c := newReplicaSet(t, 2)
			c.register(c.all[0], "worker-1", 50)
			var stands, other *replica // that which publishes, and the other
			for i, r := range c.all {
				r.onceEventsAreRead(func() { stands, other = r, c.all[1-i] })
			}
			c.pass(3 * time.Second)
			require.Len(t, c.bus.events, 1)
			published := 0
			stall := func() {
				stands.dead = true
				for range 5 {
					c.connected(other)
					c.pass(3*time.Second, c.pulse(other, "worker-1"))
				}
				require.Len(t, c.replicas(), 1)
				published = len(c.bus.events)
				stands.dead = false
			}
			stands.onceEventsAreRead(nil)
			other.onceEventsAreRead(nil)
			if when == "after it read" {
				stands.onceEventsAreRead(stall)
			} else {
				c.bus.after = stall
			}
			c.connected(other)
			require.NoError(t, c.stepOf(stands))
			c.pass(10*time.Second, c.pulse(other, "worker-1"))
			require.Len(t, c.bus.events, published, "nothing is published again")
		})
	}
}
