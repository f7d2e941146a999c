package orchestrator_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/app/orchestrator"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/conformance/storehooks"
	"github.com/switchyard-wa/switchyard/ports/service"
)

func TestNothingIsMissedBeforeAReplicaListens(t *testing.T) {
	c := newReplicaSet(t, 1)
	a := c.all[0]
	late := c.join(0)
	_, err := late.Workers.Statistics(t.Context()) // it has read everything now
	require.NoError(t, err)
	c.register(a, "worker-1", 1)
	c.connected(a)
	require.NoError(t, c.stepOf(late))
	w, _, err := late.Workers.Get(t.Context(), "worker-1")
	require.NoError(t, err)
	require.Equal(t, 1, w.Breakdown.Total)
}

func TestEachReplicaSeesWhatOthersDo(t *testing.T) {
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
			see := func() { // B gets to see what A has done, at the latest
				c.pass(late, func() {
					if c.clock.Now().Before(beat) {
						return
					}
					for w, sessions := range alive {
						c.beat(a, w, sessions...)
					}
					beat = c.clock.Now().Add(10 * time.Second)
				})
				require.NoError(t, c.stepOf(b))
			}
			at := func(r *replica, worker string) int {
				view, _, err := r.Workers.Get(t.Context(), worker)
				require.NoError(t, err)
				return view.Breakdown.Total
			}
			known := func() int { return b.Workers.ProbeStatus(t.Context()).Workers } // without another look
			c.register(a, "worker-1", 1)
			alive["worker-1"] = nil
			see()
			require.Equal(t, 1, known())
			chosen, _, err := b.Workers.ExplainPlacement(t.Context())
			require.NoError(t, err)
			require.Equal(t, "worker-1", chosen)

			s := c.connected(a)
			alive["worker-1"] = []string{s.ID}
			see()
			require.Equal(t, 1, at(b, "worker-1"))
			chosen, _, err = b.Workers.ExplainPlacement(t.Context())
			require.NoError(t, err)
			require.Empty(t, chosen, "it is full")

			_, err = a.Sessions.Disconnect(t.Context(), s.UserID, s.ID)
			require.NoError(t, err)
			alive["worker-1"] = nil
			see()
			require.Zero(t, at(b, "worker-1"))

			_, err = a.Workers.Drain(t.Context(), "worker-1")
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
			b.invalidator.Invalidator.Publish(ports.Invalidation{}) // no effect on itself
			c.hub.Join().Publish(ports.Invalidation{Workers: []string{"worker-1"}, Sessions: []string{s.ID}})
			require.NoError(t, c.stepOf(b))
			require.Zero(t, known(), "a late invalidation brings nothing back")

			c.register(a, "worker-1", 5) // it is another one
			alive["worker-1"] = nil
			see()
			require.Equal(t, 1, known())
			chosen, _, err = b.Workers.ExplainPlacement(t.Context())
			require.NoError(t, err)
			require.Equal(t, "worker-1", chosen)
		})
	}
}

// What a worker lists when it is back may be what it has been told to stop anyway.
func TestAWorkerThatIsBackHearsOfEachStopOnce(t *testing.T) {
	c := newReplicaSet(t, 1)
	a := c.all[0]
	c.register(a, "worker-1", 5, domain.CapLease, domain.CapGeneration)
	s := c.connected(a)
	c.register(a, "worker-2", 5, domain.CapLease, domain.CapGeneration)
	c.pass(time.Minute, c.pulse(a, "worker-2"))
	require.Equal(t, "worker-2", c.session(s.ID).WorkerID)
	answer, err := a.Protocol.Heartbeat(t.Context(), domain.Heartbeat{
		WorkerID: "worker-1", IsFullSnapshot: true, CPU: -1, Memory: -1, MessageCount: -1,
		Sessions: []domain.Report{{SessionID: s.ID, Status: domain.Connected, Generation: 1}},
	})
	require.NoError(t, err)
	require.Equal(t, []service.StopCommand{{SessionID: s.ID, Generation: 1}}, answer.Commands)
}

func TestAReplicaServesWorkersThatItHasNotHeardOf(t *testing.T) {
	c := newReplicaSet(t, 2)
	a, b := c.all[0], c.all[1]
	a.invalidator.cut.Store(true)
	for _, w := range []string{"worker-1", "worker-2", "worker-3", "worker-4"} {
		c.register(a, w, 5)
	}
	s := c.connected(a)
	home := c.session(s.ID).WorkerID
	before := c.session(s.ID)
	require.Empty(t, c.beat(b, home, s.ID).Commands)
	require.Equal(t, before, c.session(s.ID), "its session is neither stopped nor started again")
	require.Equal(t, 1, c.hands.made("start"))
	var rest []string
	for _, w := range []string{"worker-1", "worker-2", "worker-3", "worker-4"} {
		if w != home {
			rest = append(rest, w)
		}
	}
	_, err := b.Workers.Drain(t.Context(), rest[0])
	require.NoError(t, err)
	require.NoError(t, b.Workers.Remove(t.Context(), rest[1], service.RemoveOptions{}))
	_, err = b.Workers.Activate(t.Context(), rest[2])
	require.NoError(t, err)
	_, err = b.Sessions.Disconnect(t.Context(), s.UserID, s.ID)
	require.NoError(t, err)
	require.False(t, c.session(s.ID).IsAssigned())
}

func TestAStaleReadBringsNothingBack(t *testing.T) {
	c := newReplicaSet(t, 2)
	a, b := c.all[0], c.all[1]
	c.register(a, "worker-1", 5)
	s := c.connected(a)
	require.NoError(t, c.stepOf(b))
	view, _, err := b.Workers.Get(t.Context(), "worker-1")
	require.NoError(t, err)
	require.Equal(t, 1, view.Breakdown.Total)
	_, err = a.Sessions.Restart(t.Context(), s.UserID, s.ID) // B is told, reads the row, …
	require.NoError(t, err)
	b.store.AfterNextView(func() { // … and before it makes use of that, the session is deleted
		require.NoError(t, a.Sessions.Delete(t.Context(), s.UserID, s.ID))
	})
	require.NoError(t, c.stepOf(b))
	require.NoError(t, c.stepOf(b))
	view, _, err = b.Workers.Get(t.Context(), "worker-1")
	require.NoError(t, err)
	require.Zero(t, view.Breakdown.Total)
}

func TestWhoWaitsForAQRSeesWhatWasReportedElsewhere(t *testing.T) {
	for _, cut := range []bool{false, true} {
		t.Run(fmt.Sprint("cut=", cut), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newReplicaSet(t, 2, func(cfg *orchestrator.Config) { realTime(cfg); cfg.Timing.StartTimeout = 0 })
				a, b := c.all[0], c.all[1]
				c.hands.report = func(call) domain.Report { return domain.Report{Status: domain.Init} }
				c.running()
				c.register(a, "worker-1", 5)
				s := c.line()
				time.Sleep(time.Second)
				b.invalidator.cut.Store(cut)
				asked := make(chan *service.SessionQR, 1)
				go func() {
					q, _ := b.Sessions.Connect(context.Background(), s.UserID, s.ID, service.ConnectOptions{Wait: 30 * time.Second})
					asked <- q
				}()
				time.Sleep(10 * time.Second)
				began := time.Now()
				_, err := a.Protocol.ReportSession(t.Context(), domain.Report{
					SessionID: s.ID, Status: domain.QRRequired, QR: domain.QR{Code: "scan me", ExpiresAt: time.Now().Add(time.Minute)},
				})
				require.NoError(t, err)
				require.Equal(t, "scan me", (<-asked).QR.Code)
				if took := time.Since(began); cut {
					require.LessOrEqual(t, took, time.Second)
				} else {
					require.LessOrEqual(t, took, 50*time.Millisecond)
				}
			})
		})
	}
}

func TestAWorkerThatRegistersDuringALookAtTheStoreStays(t *testing.T) {
	c := newReplicaSet(t, 1)
	a := c.all[0]
	c.register(a, "worker-1", 5)
	for name, look := range map[string]func(){
		"everything": func() { c.hub.Join().Publish(ports.Invalidation{All: true}) },
		"one":        func() { c.hub.Join().Publish(ports.Invalidation{Workers: []string{"worker-2"}}) },
		"the fleet":  func() { c.clock.advance(11 * time.Second) },
	} {
		t.Run(name, func(t *testing.T) {
			look()
			a.store.AfterNextView(func() {
				c.register(a, "worker-2", 5)
			})
			require.NoError(t, c.stepOf(a))
			require.Nil(t, a.store.AfterView)
			c.beat(a, "worker-2")
			require.NoError(t, a.Workers.Remove(t.Context(), "worker-2", service.RemoveOptions{}))
		})
	}
}

// An operator who asks another replica hears of what has just changed, though no
// invalidation has come there yet.
func TestOperatorsHearTheSameFromAllReplicas(t *testing.T) {
	c := newReplicaSet(t, 2)
	a, b := c.all[0], c.all[1]
	_, err := b.Workers.Statistics(t.Context()) // it has read everything now
	require.NoError(t, err)
	a.invalidator.cut.Store(true)
	c.register(a, "worker-1", 5)
	c.register(a, "worker-2", 7)
	c.connected(a)
	_, err = a.Workers.Drain(t.Context(), "worker-1")
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

// What an operator has just made room for on one replica can go there by another.
func TestOperatorsMoveSessionsToWorkersThatAreNewElsewhere(t *testing.T) {
	for name, move := range map[string]func(t *testing.T, b *replica, s *service.CreatedSession) error{
		"migrate": func(t *testing.T, b *replica, s *service.CreatedSession) error {
			_, err := b.Operations.Migrate(t.Context(), s.ID, "", "")
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
			s := c.connected(a)
			c.connected(a)
			require.NoError(t, c.stepOf(b))
			_, _, err := b.Workers.ExplainPlacement(t.Context()) // a look that was a moment ago
			require.NoError(t, err)
			a.invalidator.cut.Store(true)
			c.register(a, "worker-2", 9)
			require.NoError(t, move(t, b, s))
		})
	}
}

func TestWorkersComeAndGoWithoutInvalidations(t *testing.T) {
	c := newReplicaSet(t, 2)
	a, b := c.all[0], c.all[1]
	a.invalidator.cut.Store(true)
	c.register(a, "worker-1", 5)
	s := c.connected(a)
	c.pass(11*time.Second, c.pulse(a, "worker-1"))
	w, _, err := b.Workers.Get(t.Context(), "worker-1")
	require.NoError(t, err)
	require.Equal(t, 1, w.Breakdown.Total, "with its sessions")
	_, err = a.Sessions.Disconnect(t.Context(), s.UserID, s.ID)
	require.NoError(t, err)
	require.NoError(t, a.Workers.Remove(t.Context(), "worker-1", service.RemoveOptions{}))
	c.pass(11 * time.Second)
	require.Zero(t, b.Workers.ProbeStatus(t.Context()).Workers)
}

// TestWhoWaitsForALookWaitsForOne: those who come while the store hangs do not wait for each other's attempts, and whoever
// gives up takes nobody along.
func TestWhoWaitsForALookWaitsForOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newReplicaSet(t, 2, realTime)
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
