package orchestrator_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
)

// owners follows where sessions run, by the calls that are made.
type owners struct {
	mu sync.Mutex
	on map[string]map[string]bool // workers, by session
}

// gone ends what runs on a worker.
func (o *owners) gone(worker string) {
	for _, on := range o.on {
		delete(on, worker)
	}
}

// A replica dies, or only pauses, before each write of its part of a failover in turn. The
// others finish what it has begun. It does no harm when it resumes.
func TestFailover_ReplicaStopsAtEveryWrite_OthersFinish(t *testing.T) {
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
