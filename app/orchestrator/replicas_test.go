package orchestrator_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

func TestOthersTakeOverWhatADeadReplicaDid(t *testing.T) {
	c := newReplicaSet(t, 3)
	workers := []string{"worker-1", "worker-2", "worker-3", "worker-4", "worker-5", "worker-6"}
	for _, w := range workers {
		c.register(c.all[0], w, 50)
	}
	pulse := c.pulse(c.all[0], workers...)
	c.pass(10*time.Second, pulse)
	c.all[1].dead, c.all[2].dead = true, true
	for range 30 {
		c.ask(c.line())
	}
	c.pass(5*time.Second, pulse)
	require.Equal(t, 30, c.hands.made("start"), "they wait for their turn no longer than a moment")
	c.pass(6*time.Second, pulse)
	require.Len(t, c.replicas(), 1)
	before := c.probes()
	c.pass(time.Minute, pulse)
	for _, w := range workers {
		require.InDelta(t, 12, c.probes()[w]-before[w], 2, w)
	}
	require.NoError(t, c.store.View(t.Context(), func(ctx context.Context, tx *ports.Tx) error {
		recorded, err := tx.Outbox.After(ctx, 0, 0)
		require.Equal(t, recorded, c.bus.events)
		return err
	}))
}

func TestAnOrderlyEndHandsOverAtOnce(t *testing.T) {
	c := newReplicaSet(t, 2)
	a, b := c.all[0], c.all[1]
	c.register(b, "worker-1", 50)
	s := c.line()
	a.dead, b.dead = true, true
	ctx, cancel := context.WithCancel(context.Background())
	a.store.AfterUpdate = func(_ context.Context, err error) error {
		if c.session(s.ID).IsAssigned() {
			cancel() // A has just placed the session, and will not come to start it
		}
		return err
	}
	c.ask(s)
	c.clock.advance(5 * time.Second)
	ended := aside(func() { _ = a.Run(ctx) })
	wait(t, ended)
	require.True(t, c.session(s.ID).IsAssigned())
	require.Zero(t, c.hands.made("start"))
	require.Len(t, c.replicas(), 1)
	b.dead = false
	c.pass(3*time.Second, c.pulse(b, "worker-1"))
	require.Equal(t, domain.Connected, c.session(s.ID).Status)
}

// owners follows where sessions run, by the calls that are made.
type owners struct {
	mu sync.Mutex
	on map[string]map[string]bool // workers, by session
}

// watchOwners answers all calls, and fails the test if a session is started while
// it runs elsewhere.
func (c *replicaSet) watchOwners() *owners {
	o := &owners{on: make(map[string]map[string]bool)}
	c.hands.set(func(made call) error {
		o.mu.Lock()
		defer o.mu.Unlock()
		if o.on[made.session] == nil {
			o.on[made.session] = make(map[string]bool)
		}
		switch made.kind {
		case "start":
			o.on[made.session][made.worker] = true
			if len(o.on[made.session]) > 1 {
				c.t.Errorf("%+v, though it runs on %v", made, o.on[made.session])
			}
		case "disconnect":
			delete(o.on[made.session], made.worker)
		}
		return nil
	})
	return o
}

// gone ends what runs on a worker.
func (o *owners) gone(worker string) {
	for _, on := range o.on {
		delete(on, worker)
	}
}

// A replica dies, or only stands still, before each write of its part of a
// failover in turn: what it has begun is finished by the others, and what it does
// when it goes on harms nothing.
func TestAFailoverGoesOnWhenAReplicaEndsInTheMiddle(t *testing.T) {
	const sessions = 30
	for _, returns := range []bool{false, true} {
		for at, more := 1, true; more; at++ {
			t.Run(fmt.Sprintf("returns=%v/%d", returns, at), func(t *testing.T) {
				c := newReplicaSet(t, 3)
				a := c.all[0]
				where := c.watchOwners()
				c.register(a, "worker-1", sessions)
				var ids []string
				for range sessions {
					ids = append(ids, c.connected(a).ID)
				}
				others := []string{"worker-2", "worker-3"}
				for _, w := range others {
					c.register(a, w, 50)
				}
				where.gone("worker-1")
				require.NoError(t, left(c.all[1].Protocol.Unregister(t.Context(), "worker-1", "")))
				pulse := c.pulse(c.all[1], others...)
				c.pass(5*time.Second-tick, pulse)
				writes := 0
				more = false
				a.store.BeforeUpdate = func(context.Context) error {
					if writes++; writes != at {
						return nil
					}
					more = true
					a.dead = true
					if returns {
						c.pass(time.Minute, pulse)
						a.dead = false
						return nil
					}
					a.store.SetDown()
					return nil // this write still takes effect
				}
				failover := c.clock.Now()
				for done := 0; done < sessions; {
					if _, err := a.RunOnce(t.Context()); !a.store.IsDown() {
						require.NoError(t, err)
					}
					a.dead = true
					c.pass(tick, pulse)
					a.dead = a.store.IsDown()
					done = 0
					for _, id := range ids {
						if s := c.session(id); s.Status == domain.Connected && where.on[id][s.WorkerID] {
							done++
						}
					}
					require.Less(t, c.clock.Now().Sub(failover), 75*time.Second)
				}
				if !returns {
					require.LessOrEqual(t, c.clock.Now().Sub(failover), 12*time.Second)
				}
				a.store.BeforeUpdate = nil
				c.pass(time.Minute, pulse)
				for _, id := range ids {
					s := c.session(id)
					require.Equal(t, []any{domain.Connected, map[string]bool{s.WorkerID: true}}, []any{s.Status, where.on[id]})
				}
			})
		}
	}
}

func TestABusyReplicaLivesButNotAStuckOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newReplicaSet(t, 2, realTime)
		var reading atomic.Int64 // what A reads next takes so long
		c.all[0].store.AfterView = func(_ context.Context, err error) error {
			time.Sleep(time.Duration(reading.Swap(0)))
			return err
		}
		c.running()
		names := func() (all []string) {
			for _, r := range c.replicas() {
				all = append(all, r.Name)
			}
			slices.Sort(all)
			return slices.Compact(all)
		}
		reading.Store(int64(25 * time.Second))
		for range 60 {
			time.Sleep(time.Second)
			require.Equal(t, []string{"A", "B"}, names())
		}
		reading.Store(int64(3 * time.Minute))
		time.Sleep(time.Minute)
		require.Equal(t, []string{"B"}, names())
		time.Sleep(3 * time.Minute)
		require.Equal(t, []string{"A", "B"}, names())
	})
}
