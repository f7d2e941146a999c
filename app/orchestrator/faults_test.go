package orchestrator_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/app/orchestrator"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// leave writes a cleanup as it is left behind.
func (c *replicaSet) leave(worker, session string, at time.Time) {
	require.NoError(c.t, c.store.Update(c.t.Context(), func(ctx context.Context, tx *ports.Tx) error {
		return tx.Cleanups.Put(ctx, &domain.Cleanup{
			WorkerID: worker, SessionID: session, Command: domain.CommandDisconnect, Generation: 1, DueAt: at, CreatedAt: at,
		})
	}))
}

// TestCleanupsOfAHungWorkerHoldUpNoOther: a worker that is back with many cleanups, and hangs in each, holds up no cleanup of another.
func TestCleanupsOfAHungWorkerHoldUpNoOther(t *testing.T) {
	for _, replicas := range []int{1, 3} {
		t.Run(fmt.Sprint(replicas), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newReplicaSet(t, replicas, realTime)
				c.register(c.all[0], "worker-1", 1000)
				c.register(c.all[0], "worker-2", 1000)
				var mu sync.Mutex
				done := map[string]int{}
				c.hands.set(func(made call) error {
					if made.kind == "disconnect" && made.worker == "worker-1" {
						time.Sleep(30 * time.Second)
						return &ports.WorkerError{Failure: ports.WorkerTimedOut, Message: "timed out"}
					}
					mu.Lock()
					done[made.kind+"/"+made.worker]++
					mu.Unlock()
					return nil
				})
				now := c.now()
				for i := range 600 {
					c.leave("worker-1", fmt.Sprint("gone-", i), now)
				}
				c.running()
				c.leave("worker-2", "gone-elsewhere", c.now())
				began := time.Now()
				for time.Since(began) < 10*time.Minute {
					time.Sleep(time.Second)
					c.pulse(c.all[0], "worker-1", "worker-2")()
					mu.Lock()
					n := done["disconnect/worker-2"]
					mu.Unlock()
					if n > 0 {
						break
					}
				}
				t.Logf("worker-2 was told after %v", time.Since(began))
				require.Less(t, time.Since(began), 10*time.Second)
			})
		})
	}
}

// TestAClaimLeftBehindIsTakenOver: a replica that ends while a request of its own hangs in a call leaves a claim
// behind. It holds up neither the session for long nor what else is due on the worker.
func TestAClaimLeftBehindIsTakenOver(t *testing.T) {
	for _, skew := range []time.Duration{0, 50 * time.Second, time.Hour} {
		t.Run(skew.String(), func(t *testing.T) {
			c := newSkewedReplicaSet(t, []time.Duration{skew, 0})
			a, b := c.all[0], c.all[1]
			c.register(b, "worker-1", 10)
			c.step()
			s, other := c.line(), c.connected(b)
			began, end := c.hang("start")
			ended := aside(func() { _, _ = a.Sessions.Connect(context.Background(), s.UserID, s.ID, service.ConnectOptions{}) })
			wait(t, began)
			// A ends in order: its loop is over and hands over what it has; then the process is gone.
			a.dead = true
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			_ = a.Run(ctx)
			a.store.SetDown()

			c.pass(time.Second, c.pulse(b, "worker-1"))
			require.NoError(t, c.store.Update(t.Context(), func(ctx context.Context, tx *ports.Tx) error {
				row, err := tx.Sessions.Get(ctx, other.ID)
				if err != nil {
					return err
				}
				row.Disconnect(c.now()) // by a replica that died before it could tell the worker
				if err := tx.Users.Reserve(ctx, row.UserID, domain.UserUsage{ActiveSessions: -1}, domain.UserUsage{}); err != nil {
					return err
				}
				return tx.Sessions.Put(ctx, row)
			}))
			asked := c.clock.Now()
			until := func(done func() bool) time.Duration {
				for !done() && c.clock.Now().Sub(asked) < 2*time.Hour {
					c.pass(tick, c.pulse(b, "worker-1"))
				}
				return c.clock.Now().Sub(asked)
			}
			stopped := until(func() bool { return !c.session(other.ID).IsAssigned() })
			started := until(func() bool { return c.session(s.ID).Status == domain.Connected })
			t.Logf("the other session was stopped after %v, its own started after %v", stopped, started)
			end(nil)
			wait(t, ended)
			require.Less(t, stopped, 12*time.Second)
			require.Less(t, started, 12*time.Second)
		})
	}
}

// TestWhatOneReplicaCannotReachAnotherDoes: one replica cannot reach a worker, which everybody else can: what is to be done
// there gets done by another.
func TestWhatOneReplicaCannotReachAnotherDoes(t *testing.T) {
	c := newReplicaSet(t, 2)
	a, b := c.all[0], c.all[1]
	workers := []string{"worker-1", "worker-2", "worker-3", "worker-4", "worker-5", "worker-6"}
	for _, w := range workers {
		c.register(a, w, 5)
	}
	c.step()
	on := make(map[string][]string)
	for range 12 {
		s := c.connected(a)
		home := c.session(s.ID).WorkerID
		on[home] = append(on[home], s.ID)
	}
	c.hands.set(func(made call) error {
		if made.by == "A" && made.kind != "start" {
			return &ports.WorkerError{Failure: ports.WorkerTimedOut, Message: "timed out"}
		}
		return nil
	})
	// All users want their sessions down; nobody has told the workers yet.
	for _, ids := range on {
		for _, id := range ids {
			require.NoError(t, c.store.Update(t.Context(), func(ctx context.Context, tx *ports.Tx) error {
				s, err := tx.Sessions.Get(ctx, id)
				if err != nil {
					return err
				}
				s.Disconnect(c.now())
				if err := tx.Users.Reserve(ctx, s.UserID, domain.UserUsage{ActiveSessions: -1}, domain.UserUsage{}); err != nil {
					return err
				}
				return tx.Sessions.Put(ctx, s)
			}))
		}
	}
	left := func() (n int) {
		for _, ids := range on {
			for _, id := range ids {
				if c.session(id).IsAssigned() {
					n++
				}
			}
		}
		return n
	}
	began := c.clock.Now()
	for left() > 0 && c.clock.Now().Sub(began) < time.Hour {
		c.pass(time.Second, c.pulse(b, workers...))
	}
	t.Logf("%d of 12 are still to be stopped after %v", left(), c.clock.Now().Sub(began))
	require.Zero(t, left())
}

// TestTheDrainOfASickWorkerLeavesMostInUse: a worker whose stops all fail is drained: at most four of its sessions are on
// their way, and the others stay in use.
func TestTheDrainOfASickWorkerLeavesMostInUse(t *testing.T) {
	c := newReplicaSet(t, 1)
	a := c.all[0]
	c.register(a, "worker-1", 50)
	ids := c.full([]string{"worker-1"}, 20)
	c.hub.Join().Publish(ports.Invalidation{All: true})
	c.step()
	c.register(a, "worker-2", 50)
	c.hands.set(func(made call) error {
		if made.kind == "disconnect" {
			return &ports.WorkerError{Failure: ports.WorkerFailed, Status: 500, Message: "cannot disconnect"}
		}
		return nil
	})
	_, err := a.Workers.Drain(t.Context(), "worker-1")
	require.NoError(t, err)
	beats, most := c.clock.Now(), 0
	c.pass(time.Hour, c.pulse(a, "worker-2"), func() {
		if c.clock.Now().Before(beats) {
			return
		}
		beats = beats.Add(10 * time.Second)
		c.beat(a, "worker-1", ids...) // they run there all the time
		out := 0
		for _, id := range ids {
			if c.session(id).Status != domain.Connected {
				out++
			}
		}
		most = max(most, out)
	})
	t.Logf("%d of 20 are out of use", most)
	require.LessOrEqual(t, most, 4)
}

// worker1 registers at a replica, as a process of its own endpoint.
func (c *replicaSet) worker1(at *replica, endpoint string) error {
	_, err := at.Protocol.Register(c.t.Context(), domain.Registration{
		WorkerID: "worker-1", Endpoint: endpoint, Capacity: 10, Interval: 30 * time.Second,
		Capabilities: []domain.Capability{domain.CapLease, domain.CapGeneration},
	})
	return err
}

// TestALateFarewellDoesNotHitTheNextProcess: a replica stands still in the middle of a farewell; the next process of the
// worker registers at the same endpoint meanwhile.
func TestALateFarewellDoesNotHitTheNextProcess(t *testing.T) {
	c := newReplicaSet(t, 2)
	a, b := c.all[0], c.all[1]
	require.NoError(t, c.worker1(b, "http://process-1:1"))
	c.step()
	s := c.connected(b)
	c.register(b, "worker-2", 10)
	c.step()
	beat := func() {
		_, err := b.Protocol.Heartbeat(t.Context(), domain.Heartbeat{WorkerID: "worker-1", CPU: -1, Memory: -1, MessageCount: -1,
			IsFullSnapshot: true, Sessions: []domain.Report{{SessionID: s.ID, Status: domain.Connected, Generation: 1}}})
		require.NoError(t, err)
	}
	a.store.BeforeNextUpdate(func() { // it stands still here
		a.dead = true
		c.pass(3*time.Second, c.pulse(b, "worker-2"))
		require.NoError(t, c.worker1(b, "http://process-1:1"))
		c.pass(time.Minute, c.pulse(b, "worker-2"), beat)
		a.dead = false
	})
	_, err := a.Protocol.Unregister(t.Context(), "worker-1", "http://process-1:1")
	require.NoError(t, err)
	beats := c.clock.Now().Add(30 * time.Second)
	c.pass(time.Minute, c.pulse(b, "worker-2"), func() {
		if !c.clock.Now().Before(beats) {
			beats = beats.Add(30 * time.Second)
			beat()
		}
	})
	row := c.session(s.ID)
	t.Log("the session is on", row.WorkerID, "generation", row.Generation)
	require.Equal(t, []any{"worker-1", int64(1)}, []any{row.WorkerID, row.Generation}, "the next process has been there and well all the time")
}

// deafBus is a replica's way to the bus, which may be cut.
type deafBus struct {
	ports.Bus
	cut bool
}

func (b *deafBus) Publish(ctx context.Context, events ...domain.Event) error {
	if b.cut {
		return fmt.Errorf("redis does not answer")
	}
	return b.Bus.Publish(ctx, events...)
}

// newDeaf makes replicas with a way to the bus each.
func newDeaf(t *testing.T, n int) (*replicaSet, map[string]*deafBus) {
	t.Helper()
	buses := map[string]*deafBus{}
	return newReplicaSet(t, n, func(cfg *orchestrator.Config) {
		b := &deafBus{Bus: cfg.Bus}
		buses[cfg.Name] = b
		cfg.Bus = b
	}), buses
}

// TestEventsArePublishedByWhoeverReachesTheBus: one replica is cut off from Redis; events are published by another.
func TestEventsArePublishedByWhoeverReachesTheBus(t *testing.T) {
	for _, cut := range []string{"A", "B", "C"} {
		t.Run(cut, func(t *testing.T) {
			c, buses := newDeaf(t, 3)
			other := c.all[0]
			if cut == "A" {
				other = c.all[1]
			}
			c.register(other, "worker-1", 10)
			c.step()
			buses[cut].cut = true
			s := c.line()
			_, err := other.Sessions.Connect(t.Context(), s.UserID, s.ID, service.ConnectOptions{})
			require.NoError(t, err)
			began := c.clock.Now()
			published := func() bool {
				c.bus.mu.Lock()
				defer c.bus.mu.Unlock()
				for _, e := range c.bus.events {
					if e.Type == domain.EventSessionConnected && e.SessionID == s.ID {
						return true
					}
				}
				return false
			}
			for !published() && c.clock.Now().Sub(began) < 10*time.Minute {
				func() {
					c.pulse(other, "worker-1")()
					c.clock.advance(tick)
					for _, r := range c.all {
						_, _ = r.RunOnce(t.Context())
					}
				}()
			}
			t.Log("published after", c.clock.Now().Sub(began))
			require.Less(t, c.clock.Now().Sub(began), time.Minute)
		})
	}
}

// TestEventsWaitForTheBusHoweverLong: redis is away for longer than published events are kept: events wait.
func TestEventsWaitForTheBusHoweverLong(t *testing.T) {
	c, buses := newDeaf(t, 1)
	a := c.all[0]
	buses["A"].cut = true
	c.register(a, "worker-1", 10)
	for range 25 * 120 {
		c.clock.advance(30 * time.Second)
		_, _ = a.RunOnce(t.Context())
	}
	buses["A"].cut = false
	for range 10 {
		c.clock.advance(time.Second)
		_, _ = a.RunOnce(t.Context())
	}
	found := false
	for _, e := range c.bus.events {
		found = found || e.Type == domain.EventWorkerOnline && e.WorkerID == "worker-1"
	}
	require.True(t, found, "it was thrown away before it was published")
}

// TestCanariesWhateverTheClocks: a canary that registered at a replica whose clock is ahead is watched all the same.
func TestCanariesWhateverTheClocks(t *testing.T) {
	for _, skew := range []time.Duration{0, 2 * time.Hour, -2 * time.Hour} {
		t.Run(skew.String(), func(t *testing.T) {
			c := newSkewedReplicaSet(t, []time.Duration{0, skew})
			a, b := c.all[0], c.all[1]
			c.register(a, "worker-1", 50)
			on1 := c.full([]string{"worker-1"}, 10)
			c.clock.advance(20 * time.Minute)
			c.pulse(a, "worker-1")()
			c.register(b, "worker-2", 50) // it joins
			on2 := c.full([]string{"worker-2"}, 10)
			c.hub.Join().Publish(ports.Invalidation{All: true})
			c.step()
			c.step()
			for _, id := range on2 { // all its sessions lose their link, and say so to A
				_, err := a.Protocol.ReportSession(t.Context(), domain.Report{SessionID: id, WorkerID: "worker-2", Generation: 1, Status: domain.Reconnecting})
				require.NoError(t, err)
			}
			c.pass(2*time.Minute, func() { c.beat(a, "worker-1", on1...) }, c.pulse(a, "worker-2"))
			t.Log(c.worker("worker-2").Suspect)
			require.NotEmpty(t, c.worker("worker-2").Suspect)
		})
	}
}

// TestALateReportOfAFormerProcessTakesNothingDown: a replica stands still in the middle of a worker's report; meanwhile the worker
// has restarted and recovered the session.
func TestALateReportOfAFormerProcessTakesNothingDown(t *testing.T) {
	for name, late := range map[string]func(r *replica, id string) error{
		"error": func(r *replica, id string) error {
			_, err := r.Protocol.ReportSession(context.Background(), domain.Report{SessionID: id, WorkerID: "worker-1", Generation: 1,
				Status: domain.Errored, Error: "out of memory", At: r.clock.Now()})
			return err
		},
		"logged out": func(r *replica, id string) error {
			_, err := r.Protocol.ReportSession(context.Background(), domain.Report{SessionID: id, WorkerID: "worker-1", Generation: 1,
				Status: domain.Disconnected, LoggedOut: true, At: r.clock.Now()})
			return err
		},
		"a heartbeat's list": func(r *replica, id string) error {
			_, err := r.Protocol.Heartbeat(context.Background(), domain.Heartbeat{WorkerID: "worker-1", IsFullSnapshot: true, CPU: -1, Memory: -1, MessageCount: -1,
				Sessions: []domain.Report{{SessionID: id, Status: domain.Errored, Error: "out of memory", Generation: 1}}})
			return err
		},
		"not recovered": func(r *replica, id string) error {
			_, err := r.Protocol.ReportRecovery(context.Background(), "worker-1", []service.RecoveryResult{{SessionID: id, Status: service.RecoveryFailed}})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newReplicaSet(t, 2)
			a, b := c.all[0], c.all[1]
			require.NoError(t, c.worker1(b, "http://process-1:1"))
			c.step()
			s := c.connected(b)
			a.store.BeforeNextUpdate(func() { // it stands still here
				a.dead = true
				c.pass(3 * time.Second)
				require.NoError(t, c.worker1(b, "http://process-1:1"))
				_, err := b.Protocol.ReportRecovery(t.Context(), "worker-1", []service.RecoveryResult{{SessionID: s.ID, Status: service.RecoverySuccess}})
				require.NoError(t, err)
				_, err = b.Protocol.ReportSession(t.Context(), domain.Report{SessionID: s.ID, WorkerID: "worker-1", Generation: 1,
					Status: domain.Connected, At: c.clock.Now()})
				require.NoError(t, err)
				require.Equal(t, domain.Connected, c.session(s.ID).Status)
				c.pass(time.Minute, func() { c.beat(b, "worker-1", s.ID) })
				a.dead = false
			})
			_ = late(a, s.ID)
			c.pass(30*time.Second, func() {
				_, err := b.Protocol.Heartbeat(t.Context(), domain.Heartbeat{WorkerID: "worker-1", CPU: -1, Memory: -1, MessageCount: -1,
					IsFullSnapshot: true, Sessions: []domain.Report{{SessionID: s.ID, Status: domain.Connected, Generation: 1}}})
				require.NoError(t, err)
			})
			row := c.session(s.ID)
			require.Equal(t, []any{domain.Up, domain.Connected, "6281234567890"}, []any{row.Intent, row.Status, row.PhoneNumber})
		})
	}
}

// TestAWorkerWhoseInvalidationWasLost: a session finds room on a worker that another
// replica has taken in, although its invalidation was lost.
func TestAWorkerWhoseInvalidationWasLost(t *testing.T) {
	c := newReplicaSet(t, 2)
	a, b := c.all[0], c.all[1]
	a.invalidator.cut.Store(true)
	s := c.line()
	_, err := a.Sessions.Connect(t.Context(), s.UserID, s.ID, service.ConnectOptions{})
	require.Equal(t, domain.CodeNoAvailableWorkers, domain.CodeOf(err))
	c.register(b, "worker-1", 10)
	_, err = a.Sessions.Connect(t.Context(), s.UserID, s.ID, service.ConnectOptions{})
	require.NoError(t, err, "that it has just looked does not matter")
	require.Equal(t, "worker-1", c.session(s.ID).WorkerID)
}

// hung is a way to the workers on which calls to stop get no answer.
type hung struct{ replicaGateway }

func (h hung) Disconnect(ctx context.Context, w ports.WorkerRef, id string, generation int64) error {
	_ = h.call("disconnect", w, id, generation)
	<-ctx.Done()
	return &ports.WorkerError{Failure: ports.WorkerTimedOut, Message: "timed out"}
}

// TestAnEndIsNotHeldUpByAWorkerThatHangs: a replica that is to end while its worker
// does not answer does so in time, and what it was at another goes on with.
func TestAnEndIsNotHeldUpByAWorkerThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newReplicaSet(t, 1, func(cfg *orchestrator.Config) {
			realTime(cfg)
			cfg.Workers = hung{cfg.Workers.(replicaGateway)}
		})
		a := c.all[0]
		c.register(a, "worker-1", 10)
		s := c.connected(a)
		ctx, stop := context.WithCancel(t.Context())
		var ended error
		over := aside(func() { ended = a.Run(ctx) })
		asked := aside(func() { _, _ = a.Sessions.Disconnect(t.Context(), s.UserID, s.ID) })
		time.Sleep(time.Second)
		_, err := a.Workers.Drain(t.Context(), "worker-1") // by the loop
		require.NoError(t, err)
		time.Sleep(time.Second)
		require.NotEmpty(t, c.hands.all("disconnect"))
		stop()
		began := time.Now()
		wait(t, over)
		require.ErrorIs(t, ended, context.Canceled)
		require.LessOrEqual(t, time.Since(began), 11*time.Second)
		<-asked
	})
}
