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

// owners tracks where sessions run, from the calls to workers.
type owners struct {
	mu sync.Mutex
	on map[string]map[string]bool // workers, by session
}

// removeWorker ends the sessions on a worker.
func (o *owners) removeWorker(worker string) {
	for _, on := range o.on {
		delete(on, worker)
	}
}

// A replica dies with each write of its part of a failover in turn, or only pauses before the
// write. The others finish what it has begun. It does no harm when it resumes.
func TestFailover_ReplicaStopsAtEveryWrite_OthersFinish(t *testing.T) {
	const sessions = 30
	for _, resumes := range []bool{false, true} {
		for at, more := 1, true; more; at++ {
			t.Run(fmt.Sprintf("resumes=%v/%d", resumes, at), func(t *testing.T) {
				c := newReplicaSet(t, 3)
				a := c.all[0]
				where := c.trackOwners()
				c.register(a, "worker-1", sessions)
				var ids []string
				for range sessions {
					ids = append(ids, c.connectSession(a).ID)
				}
				others := []string{"worker-2", "worker-3"}
				for _, w := range others {
					c.register(a, w, 50)
				}
				where.removeWorker("worker-1")
				require.NoError(t, onlyError(c.all[1].Protocol.Unregister(t.Context(), "worker-1", "")))
				heartbeats := c.heartbeatsOf(c.all[1], others...)
				c.advance(5*time.Second-tick, heartbeats)
				writes := 0
				more = false
				a.store.BeforeUpdate = func(context.Context) error {
					writes++
					if writes != at {
						return nil
					}
					more = true
					a.halted = true
					if resumes {
						c.advance(time.Minute, heartbeats)
						a.halted = false
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
					a.halted = true
					c.advance(tick, heartbeats)
					a.halted = a.store.IsDown()
					done = 0
					for _, id := range ids {
						if s := c.session(id); s.Status == domain.Connected && where.on[id][s.WorkerID] {
							done++
						}
					}
					require.Less(t, c.clock.Now().Sub(failover), 75*time.Second)
				}
				if !resumes {
					require.LessOrEqual(t, c.clock.Now().Sub(failover), 12*time.Second)
				}
				a.store.BeforeUpdate = nil
				c.advance(time.Minute, heartbeats)
				for _, id := range ids {
					s := c.session(id)
					require.Equal(t, []any{domain.Connected, map[string]bool{s.WorkerID: true}}, []any{s.Status, where.on[id]})
				}
			})
		}
	}
}
