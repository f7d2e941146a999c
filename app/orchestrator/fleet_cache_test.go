package orchestrator_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/conformance/storehooks"
	"github.com/switchyard-wa/switchyard/ports/service"
)

func TestCache_ChangedBeforeSubscription_IsReadAgain(t *testing.T) {
	c := newReplicaSet(t, 1)
	a := c.all[0]
	late := c.join(0)
	_, err := late.Workers.Statistics(t.Context()) // fills its cache
	require.NoError(t, err)

	c.register(a, "worker-1", 1)
	c.connectSession(a)
	require.NoError(t, c.runReplica(late))

	w, _, err := late.Workers.Get(t.Context(), "worker-1")
	require.NoError(t, err)
	require.Equal(t, 1, w.Breakdown.Total)
}

// In half of the cases the invalidations are lost, and the periodic refresh finds the change.
func TestCache_ChangedByAnotherReplica_IsRefreshed(t *testing.T) {
	for _, cut := range []bool{false, true} {
		name, late := "invalidations", time.Duration(0)
		if cut {
			name, late = "invalidations are lost", 2*time.Minute+time.Second
		}
		t.Run(name, func(t *testing.T) {
			c := newReplicaSet(t, 2)
			a, b := c.all[0], c.all[1]
			a.invalidator.cut.Store(cut)
			beat := c.clock.Now()
			alive := make(map[string][]string)
			see := func() { // waits until B must have learned what A did
				c.advance(late, func() {
					if c.clock.Now().Before(beat) {
						return
					}
					for w, sessions := range alive {
						c.heartbeat(a, w, sessions...)
					}
					beat = c.clock.Now().Add(10 * time.Second)
				})
				require.NoError(t, c.runReplica(b))
			}
			at := func(r *replica, worker string) int {
				view, _, err := r.Workers.Get(t.Context(), worker)
				require.NoError(t, err)
				return view.Breakdown.Total
			}
			known := func() int { return b.Workers.ProbeStatus(t.Context()).Workers } // from the cache
			c.register(a, "worker-1", 1)
			alive["worker-1"] = nil
			see()
			require.Equal(t, 1, known())
			chosen, _, err := b.Workers.ExplainPlacement(t.Context())
			require.NoError(t, err)
			require.Equal(t, "worker-1", chosen)

			s := c.connectSession(a)
			alive["worker-1"] = []string{s.ID}
			see()
			require.Equal(t, 1, at(b, "worker-1"))
			chosen, _, err = b.Workers.ExplainPlacement(t.Context())
			require.NoError(t, err)
			require.Empty(t, chosen, "the worker is full")

			_, err = a.Sessions.Disconnect(t.Context(), s.UserID, s.ID)
			require.NoError(t, err)
			alive["worker-1"] = nil
			see()
			require.Zero(t, at(b, "worker-1"))

			_, err = a.Workers.Drain(t.Context(), "worker-1", service.DrainOptions{})
			require.NoError(t, err)
			see()
			chosen, _, err = b.Workers.ExplainPlacement(t.Context())
			require.NoError(t, err)
			require.Empty(t, chosen)

			require.NoError(t, a.Workers.Remove(t.Context(), "worker-1", service.RemoveOptions{}))
			delete(alive, "worker-1")
			see()
			require.Zero(t, known())
			_, candidates, err := b.Workers.ExplainPlacement(t.Context())
			require.NoError(t, err)
			require.Empty(t, candidates)
			b.invalidator.Invalidator.Publish(ports.Invalidation{}) // a replica ignores its own
			c.hub.Join().Publish(ports.Invalidation{Workers: []string{"worker-1"}, Sessions: []string{s.ID}})
			require.NoError(t, c.runReplica(b))
			require.Zero(t, known(), "a late invalidation brings nothing back")

			c.register(a, "worker-1", 5) // a new worker with the same id
			alive["worker-1"] = nil
			see()
			require.Equal(t, 1, known())
			chosen, _, err = b.Workers.ExplainPlacement(t.Context())
			require.NoError(t, err)
			require.Equal(t, "worker-1", chosen)
		})
	}
}

func TestCache_UnknownWorker_IsServed(t *testing.T) {
	c := newReplicaSet(t, 2)
	a, b := c.all[0], c.all[1]
	a.invalidator.cut.Store(true)
	for _, w := range []string{"worker-1", "worker-2", "worker-3", "worker-4"} {
		c.register(a, w, 5)
	}
	s := c.connectSession(a)
	home := c.session(s.ID).WorkerID
	before := c.session(s.ID)

	require.Empty(t, c.heartbeat(b, home, s.ID).Commands)
	require.Equal(t, before, c.session(s.ID), "the session is neither stopped nor started again")
	require.Equal(t, 1, c.workers.count("start"))
	var rest []string
	for _, w := range []string{"worker-1", "worker-2", "worker-3", "worker-4"} {
		if w != home {
			rest = append(rest, w)
		}
	}

	_, err := b.Workers.Drain(t.Context(), rest[0], service.DrainOptions{})
	require.NoError(t, err)
	require.NoError(t, b.Workers.Remove(t.Context(), rest[1], service.RemoveOptions{}))
	_, err = b.Workers.Activate(t.Context(), rest[2])
	require.NoError(t, err)
	_, err = b.Sessions.Disconnect(t.Context(), s.UserID, s.ID)
	require.NoError(t, err)
	require.False(t, c.session(s.ID).IsAssigned())
}

func TestCache_SessionDeletedDuringRead_StaysDeleted(t *testing.T) {
	c := newReplicaSet(t, 2)
	a, b := c.all[0], c.all[1]
	c.register(a, "worker-1", 5)
	s := c.connectSession(a)
	require.NoError(t, c.runReplica(b))
	view, _, err := b.Workers.Get(t.Context(), "worker-1")
	require.NoError(t, err)
	require.Equal(t, 1, view.Breakdown.Total)

	_, err = a.Sessions.Restart(t.Context(), s.UserID, s.ID) // B receives the invalidation and reads the row
	require.NoError(t, err)
	b.store.AfterNextView(func() { // before B uses the row
		require.NoError(t, a.Sessions.Delete(t.Context(), s.UserID, s.ID))
	})
	require.NoError(t, c.runReplica(b))
	require.NoError(t, c.runReplica(b))

	view, _, err = b.Workers.Get(t.Context(), "worker-1")
	require.NoError(t, err)
	require.Zero(t, view.Breakdown.Total)
}

// A replica reads a row again. Before it uses the row, the session leaves its worker by the
// same replica.
func TestCache_SessionLeavesDuringRead_SlotStaysFree(t *testing.T) {
	c := newReplicaSet(t, 1)
	a := c.all[0]
	c.register(a, "worker-1", 1)
	s := c.connectSession(a)
	c.runAll()
	c.hub.Join().Publish(ports.Invalidation{Sessions: []string{s.ID}})

	a.store.AfterNextView(func() {
		_, err := a.Sessions.Disconnect(t.Context(), s.UserID, s.ID)
		require.NoError(t, err)
	})
	c.runAll()

	require.False(t, c.session(s.ID).IsAssigned())
	used, err := a.Workers.Statistics(t.Context())
	require.NoError(t, err)
	require.Zero(t, used.Used)
	c.connectSession(a)
}

func TestCache_WorkerRegistersDuringRead_IsKept(t *testing.T) {
	c := newReplicaSet(t, 1)
	a := c.all[0]
	c.register(a, "worker-1", 5)
	for name, look := range map[string]func(){
		"everything": func() { c.hub.Join().Publish(ports.Invalidation{All: true}) },
		"one":        func() { c.hub.Join().Publish(ports.Invalidation{Workers: []string{"worker-2"}}) },
		"refresh":    func() { c.clock.advance(11 * time.Second) },
	} {
		t.Run(name, func(t *testing.T) {
			look()
			a.store.AfterNextView(func() {
				c.register(a, "worker-2", 5)
			})

			require.NoError(t, c.runReplica(a))
			require.Nil(t, a.store.AfterView)

			c.heartbeat(a, "worker-2")
			require.NoError(t, a.Workers.Remove(t.Context(), "worker-2", service.RemoveOptions{}))
		})
	}
}

func TestCache_InvalidationsLost_RefreshFindsTheChange(t *testing.T) {
	c := newReplicaSet(t, 2)
	a, b := c.all[0], c.all[1]
	a.invalidator.cut.Store(true)
	c.register(a, "worker-1", 5)
	s := c.connectSession(a)
	c.advance(11*time.Second, c.heartbeatsOf(a, "worker-1"))

	w, _, err := b.Workers.Get(t.Context(), "worker-1")
	require.NoError(t, err)
	require.Equal(t, 1, w.Breakdown.Total, "the cache has its sessions")

	_, err = a.Sessions.Disconnect(t.Context(), s.UserID, s.ID)
	require.NoError(t, err)
	require.NoError(t, a.Workers.Remove(t.Context(), "worker-1", service.RemoveOptions{}))
	c.advance(11 * time.Second)
	require.Zero(t, b.Workers.ProbeStatus(t.Context()).Workers)
}

// No invalidation has reached the other replica.
func TestCache_OperatorAsksAnotherReplica_SeesLatestRows(t *testing.T) {
	c := newReplicaSet(t, 2)
	a, b := c.all[0], c.all[1]
	_, err := b.Workers.Statistics(t.Context()) // fills its cache
	require.NoError(t, err)
	a.invalidator.cut.Store(true)
	c.register(a, "worker-1", 5)
	c.register(a, "worker-2", 7)
	c.connectSession(a)
	_, err = a.Workers.Drain(t.Context(), "worker-1", service.DrainOptions{})
	require.NoError(t, err)
	_, err = a.Workers.StopProbes(t.Context())
	require.NoError(t, err)

	for _, r := range []*replica{a, b} {
		st, err := r.Workers.Statistics(t.Context())
		require.NoError(t, err)
		require.Equal(t, []int{1, 1, 12, 1}, []int{st.Online, st.Maintenance, st.Capacity, st.Used})
		chosen, all, err := r.Workers.ExplainPlacement(t.Context())
		require.NoError(t, err)
		require.Equal(t, "worker-2", chosen)
		require.Len(t, all, 2)
		probed, err := r.Workers.ProbeAll(t.Context())
		require.NoError(t, err)
		require.Len(t, probed, 2)
		require.False(t, r.Workers.ProbeStatus(t.Context()).Running)
		require.Equal(t, 2, r.Workers.ProbeStatus(t.Context()).Workers)
	}

	_, err = b.Workers.StartProbes(t.Context())
	require.NoError(t, err)
	require.True(t, a.Workers.ProbeStatus(t.Context()).Running)
	require.NoError(t, a.Workers.Remove(t.Context(), "worker-2", service.RemoveOptions{Force: true}))
	_, all, err := b.Workers.ExplainPlacement(t.Context())
	require.NoError(t, err)
	require.Len(t, all, 1)
}

// A worker that has just registered at one replica is a target at the other.
func TestCache_OperatorMovesSession_FindsNewWorker(t *testing.T) {
	for name, move := range map[string]func(t *testing.T, b *replica, s *service.CreatedSession) error{
		"migrate": func(t *testing.T, b *replica, s *service.CreatedSession) error {
			_, err := b.Operations.Migrate(t.Context(), s.ID, service.MigrateOptions{})
			return err
		},
		"bulk": func(t *testing.T, b *replica, s *service.CreatedSession) error {
			results, err := b.Operations.Bulk(t.Context(), service.BulkRequest{Action: service.BulkMigrate, SessionIDs: []string{s.ID}})
			require.NoError(t, err)
			return results[0].Err
		},
		"rebalance": func(t *testing.T, b *replica, _ *service.CreatedSession) error {
			plan, err := b.Operations.Rebalance(t.Context(), service.RebalanceOptions{DryRun: true})
			require.NoError(t, err)
			require.Len(t, plan.Moves, 1)
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newReplicaSet(t, 2)
			a, b := c.all[0], c.all[1]
			c.register(a, "worker-1", 9)
			s := c.connectSession(a)
			c.connectSession(a)
			require.NoError(t, c.runReplica(b))
			_, _, err := b.Workers.ExplainPlacement(t.Context()) // refreshes the cache
			require.NoError(t, err)

			a.invalidator.cut.Store(true)
			c.register(a, "worker-2", 9)
			require.NoError(t, move(t, b, s))
		})
	}
}

// Callers that arrive while the store hangs share one attempt. A caller whose context ends does not
// end it for the others.
func TestCache_StoreHangs_WaitersShareOneRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newReplicaSet(t, 2, withSystemClock)
		a := c.all[0]
		var hangs atomic.Bool
		a.store.BeforeView = func(ctx context.Context) error { // each read takes ten seconds to fail
			if !hangs.Load() {
				return nil
			}
			select {
			case <-time.After(10 * time.Second):
				return storehooks.ErrDown
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		ask := func(ctx context.Context) error { _, _, err := a.Workers.ExplainPlacement(ctx); return err }
		require.NoError(t, ask(t.Context()))
		hangs.Store(true)

		begun := time.Now()
		impatient, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		var all sync.WaitGroup
		all.Go(func() { require.ErrorIs(t, ask(impatient), context.DeadlineExceeded) })
		synctest.Wait()
		for range 20 {
			all.Go(func() { require.Equal(t, domain.CodeInternal, domain.CodeOf(ask(t.Context()))) })
		}

		all.Wait()
		require.Equal(t, 13*time.Second, time.Since(begun))

		hangs.Store(false)
		require.NoError(t, ask(t.Context()))
	})
}
