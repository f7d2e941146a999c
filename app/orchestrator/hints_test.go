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
)

func TestNothingIsMissedBeforeAReplicaListens(t *testing.T) {
	c := newCrowd(t, 1)
	a := c.all[0]
	late := c.join(0)
	_, err := late.Statistics(t.Context()) // it has read everything now
	require.NoError(t, err)
	c.register(a, "worker-1", 1)
	c.connected(a)
	require.NoError(t, c.stepOf(late))
	w, _, err := late.Worker(t.Context(), "worker-1")
	require.NoError(t, err)
	require.Equal(t, 1, w.Breakdown.Total)
}

func TestEachReplicaSeesWhatOthersDo(t *testing.T) {
	for _, cut := range []bool{false, true} {
		name, late := "hints", time.Duration(0)
		if cut {
			name, late = "hints are lost", 2*time.Minute+time.Second
		}
		t.Run(name, func(t *testing.T) {
			c := newCrowd(t, 2)
			a, b := c.all[0], c.all[1]
			a.ears.cut.Store(cut)
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
				view, _, err := r.Worker(t.Context(), worker)
				require.NoError(t, err)
				return view.Breakdown.Total
			}
			known := func() int { return b.Monitor(t.Context()).Workers } // without another look
			c.register(a, "worker-1", 1)
			alive["worker-1"] = nil
			see()
			require.Equal(t, 1, known())
			chosen, _, err := b.Available(t.Context())
			require.NoError(t, err)
			require.Equal(t, "worker-1", chosen)

			s := c.connected(a)
			alive["worker-1"] = []string{s.ID}
			see()
			require.Equal(t, 1, at(b, "worker-1"))
			chosen, _, err = b.Available(t.Context())
			require.NoError(t, err)
			require.Empty(t, chosen, "it is full")

			_, err = a.Disconnect(t.Context(), s.UserID, s.ID)
			require.NoError(t, err)
			alive["worker-1"] = nil
			see()
			require.Zero(t, at(b, "worker-1"))

			_, err = a.Drain(t.Context(), "worker-1")
			require.NoError(t, err)
			see()
			chosen, _, err = b.Available(t.Context())
			require.NoError(t, err)
			require.Empty(t, chosen)

			require.NoError(t, a.RemoveWorker(t.Context(), "worker-1", false))
			delete(alive, "worker-1")
			see()
			require.Zero(t, known())
			_, candidates, err := b.Available(t.Context())
			require.NoError(t, err)
			require.Empty(t, candidates)
			b.ears.Hints.Tell(ports.Hint{}) // no effect on itself
			c.hub.Join().Tell(ports.Hint{Workers: []string{"worker-1"}, Sessions: []string{s.ID}})
			require.NoError(t, c.stepOf(b))
			require.Zero(t, known(), "a late hint brings nothing back")

			c.register(a, "worker-1", 5) // it is another one
			alive["worker-1"] = nil
			see()
			require.Equal(t, 1, known())
			chosen, _, err = b.Available(t.Context())
			require.NoError(t, err)
			require.Equal(t, "worker-1", chosen)
		})
	}
}

// What a worker lists when it is back may be what it has been told to stop anyway.
func TestAWorkerThatIsBackHearsOfEachStopOnce(t *testing.T) {
	c := newCrowd(t, 1)
	a := c.all[0]
	c.register(a, "worker-1", 5, domain.CapLease, domain.CapGeneration)
	s := c.connected(a)
	c.register(a, "worker-2", 5, domain.CapLease, domain.CapGeneration)
	c.pass(time.Minute, c.pulse(a, "worker-2"))
	require.Equal(t, "worker-2", c.session(s.ID).WorkerID)
	answer, err := a.Heartbeat(t.Context(), domain.Heartbeat{
		WorkerID: "worker-1", Lists: true, CPU: -1, Memory: -1, MessageCount: -1,
		Sessions: []domain.Report{{SessionID: s.ID, Status: domain.Connected, Generation: 1}},
	})
	require.NoError(t, err)
	require.Equal(t, []ports.Command{{SessionID: s.ID, Generation: 1}}, answer.Commands)
}

func TestAReplicaServesWorkersThatItHasNotHeardOf(t *testing.T) {
	c := newCrowd(t, 2)
	a, b := c.all[0], c.all[1]
	a.ears.cut.Store(true)
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
	_, err := b.Drain(t.Context(), rest[0])
	require.NoError(t, err)
	require.NoError(t, b.RemoveWorker(t.Context(), rest[1], false))
	_, err = b.Activate(t.Context(), rest[2])
	require.NoError(t, err)
	_, err = b.Disconnect(t.Context(), s.UserID, s.ID)
	require.NoError(t, err)
	require.False(t, c.session(s.ID).Assigned())
}

func TestAStaleReadBringsNothingBack(t *testing.T) {
	c := newCrowd(t, 2)
	a, b := c.all[0], c.all[1]
	c.register(a, "worker-1", 5)
	s := c.connected(a)
	require.NoError(t, c.stepOf(b))
	view, _, err := b.Worker(t.Context(), "worker-1")
	require.NoError(t, err)
	require.Equal(t, 1, view.Breakdown.Total)
	_, err = a.Restart(t.Context(), s.UserID, s.ID) // B is told, reads the row, …
	require.NoError(t, err)
	b.store.viewed = func() { // … and before it makes use of that, the session is deleted
		b.store.viewed = nil
		require.NoError(t, a.DeleteSession(t.Context(), s.UserID, s.ID))
	}
	require.NoError(t, c.stepOf(b))
	require.NoError(t, c.stepOf(b))
	view, _, err = b.Worker(t.Context(), "worker-1")
	require.NoError(t, err)
	require.Zero(t, view.Breakdown.Total)
}

func TestWhoWaitsForAQRSeesWhatWasReportedElsewhere(t *testing.T) {
	for _, cut := range []bool{false, true} {
		t.Run(fmt.Sprint("cut=", cut), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCrowd(t, 2, func(cfg *orchestrator.Config) { realTime(cfg); cfg.Timing.StartTimeout = 0 })
				a, b := c.all[0], c.all[1]
				c.hands.report = func(call) domain.Report { return domain.Report{Status: domain.Init} }
				c.running()
				c.register(a, "worker-1", 5)
				s := c.line()
				time.Sleep(time.Second)
				b.ears.cut.Store(cut)
				asked := make(chan *ports.SessionQR, 1)
				go func() {
					q, _ := b.Connect(context.Background(), s.UserID, s.ID, ports.ConnectOptions{Wait: 30 * time.Second})
					asked <- q
				}()
				time.Sleep(10 * time.Second)
				began := time.Now()
				_, err := a.SessionReport(t.Context(), domain.Report{
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
	c := newCrowd(t, 1)
	a := c.all[0]
	c.register(a, "worker-1", 5)
	for name, look := range map[string]func(){
		"everything": func() { c.hub.Join().Tell(ports.Hint{All: true}) },
		"one":        func() { c.hub.Join().Tell(ports.Hint{Workers: []string{"worker-2"}}) },
		"the fleet":  func() { c.clock.advance(11 * time.Second) },
	} {
		t.Run(name, func(t *testing.T) {
			look()
			a.store.viewed = func() {
				a.store.viewed = nil
				c.register(a, "worker-2", 5)
			}
			require.NoError(t, c.stepOf(a))
			require.Nil(t, a.store.viewed)
			c.beat(a, "worker-2")
			require.NoError(t, a.RemoveWorker(t.Context(), "worker-2", false))
		})
	}
}

// An operator who asks another replica hears of what has just changed, though no
// hint has come there yet.
func TestOperatorsHearTheSameFromAllReplicas(t *testing.T) {
	c := newCrowd(t, 2)
	a, b := c.all[0], c.all[1]
	_, err := b.Statistics(t.Context()) // it has read everything now
	require.NoError(t, err)
	a.ears.cut.Store(true)
	c.register(a, "worker-1", 5)
	c.register(a, "worker-2", 7)
	c.connected(a)
	_, err = a.Drain(t.Context(), "worker-1")
	require.NoError(t, err)
	_, err = a.SetMonitor(t.Context(), false)
	require.NoError(t, err)
	for _, r := range []*replica{a, b} {
		st, err := r.Statistics(t.Context())
		require.NoError(t, err)
		require.Equal(t, []int{1, 1, 12, 1}, []int{st.Online, st.Maintenance, st.Capacity, st.Used})
		chosen, all, err := r.Available(t.Context())
		require.NoError(t, err)
		require.Equal(t, "worker-2", chosen)
		require.Len(t, all, 2)
		probed, err := r.ProbeAll(t.Context())
		require.NoError(t, err)
		require.Len(t, probed, 2)
		require.False(t, r.Monitor(t.Context()).Running)
		require.Equal(t, 2, r.Monitor(t.Context()).Workers)
	}
	_, err = b.SetMonitor(t.Context(), true)
	require.NoError(t, err)
	require.True(t, a.Monitor(t.Context()).Running)
	require.NoError(t, a.RemoveWorker(t.Context(), "worker-2", true))
	_, all, err := b.Available(t.Context())
	require.NoError(t, err)
	require.Len(t, all, 1)
}

// What an operator has just made room for on one replica can go there by another.
func TestOperatorsMoveSessionsToWorkersThatAreNewElsewhere(t *testing.T) {
	for name, move := range map[string]func(t *testing.T, b *replica, s *ports.CreatedSession) error{
		"migrate": func(t *testing.T, b *replica, s *ports.CreatedSession) error {
			_, err := b.Migrate(t.Context(), s.ID, "", "")
			return err
		},
		"bulk": func(t *testing.T, b *replica, s *ports.CreatedSession) error {
			results, err := b.BulkSessions(t.Context(), ports.Bulk{Action: ports.BulkMigrate, SessionIDs: []string{s.ID}})
			require.NoError(t, err)
			return results[0].Err
		},
		"rebalance": func(t *testing.T, b *replica, _ *ports.CreatedSession) error {
			plan, err := b.Rebalance(t.Context(), true)
			require.NoError(t, err)
			require.Len(t, plan.Moves, 1)
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCrowd(t, 2)
			a, b := c.all[0], c.all[1]
			c.register(a, "worker-1", 9)
			s := c.connected(a)
			c.connected(a)
			require.NoError(t, c.stepOf(b))
			_, _, err := b.Available(t.Context()) // a look that was a moment ago
			require.NoError(t, err)
			a.ears.cut.Store(true)
			c.register(a, "worker-2", 9)
			require.NoError(t, move(t, b, s))
		})
	}
}

func TestWorkersComeAndGoWithoutHints(t *testing.T) {
	c := newCrowd(t, 2)
	a, b := c.all[0], c.all[1]
	a.ears.cut.Store(true)
	c.register(a, "worker-1", 5)
	s := c.connected(a)
	c.pass(11*time.Second, c.pulse(a, "worker-1"))
	w, _, err := b.Worker(t.Context(), "worker-1")
	require.NoError(t, err)
	require.Equal(t, 1, w.Breakdown.Total, "with its sessions")
	_, err = a.Disconnect(t.Context(), s.UserID, s.ID)
	require.NoError(t, err)
	require.NoError(t, a.RemoveWorker(t.Context(), "worker-1", false))
	c.pass(11 * time.Second)
	require.Zero(t, b.Monitor(t.Context()).Workers)
}

// hangingStore is a store that may be cut off: each read takes a while to fail.
type hangingStore struct {
	ports.Store
	hangs atomic.Bool
	after time.Duration
}

func (s *hangingStore) View(ctx context.Context, fn func(context.Context, *ports.Tx) error) error {
	if !s.hangs.Load() {
		return s.Store.View(ctx, fn)
	}
	select {
	case <-time.After(s.after):
		return errLost
	case <-ctx.Done():
		return ctx.Err()
	}
}

// TestWhoWaitsForALookWaitsForOne: those who come while the store hangs do not wait for each other's attempts, and whoever
// gives up takes nobody along.
func TestWhoWaitsForALookWaitsForOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &hangingStore{after: 10 * time.Second}
		c := newCrowd(t, 2, func(cfg *orchestrator.Config) {
			realTime(cfg)
			if store.Store == nil {
				store.Store = cfg.Store
				cfg.Store = store
			}
		})
		a := c.all[0]
		ask := func(ctx context.Context) error { _, _, err := a.Available(ctx); return err }
		require.NoError(t, ask(t.Context()))
		store.hangs.Store(true)
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
		store.hangs.Store(false)
		require.NoError(t, ask(t.Context()))
	})
}
