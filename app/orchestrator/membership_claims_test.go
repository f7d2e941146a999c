package orchestrator_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

func TestClaim_CallUnderWay_OtherReplicasDoNotCall(t *testing.T) {
	c := newReplicaSet(t, 2)
	a, b := c.all[0], c.all[1]
	c.register(a, "worker-1", 10)
	s := c.line()
	began, end := c.hang("start")
	connected := aside(func() { _, _ = a.Sessions.Connect(context.Background(), s.UserID, s.ID, service.ConnectOptions{}) })
	wait(t, began)
	a.dead = true // it is not stepped, since it hangs
	pulse := c.pulse(b, "worker-1")
	c.pass(15*time.Second, pulse, c.breathe(a))

	view, err := b.Sessions.Disconnect(t.Context(), s.UserID, s.ID)
	require.NoError(t, err)
	require.Equal(t, domain.Disconnected, view.Status, "said so at once")
	c.pass(15*time.Second, pulse, c.breathe(a))
	require.Equal(t, 1, c.hands.made("start"))
	require.Zero(t, c.hands.made("disconnect"))
	require.Equal(t, domain.Conflict, kindOf(b.Sessions.Delete(t.Context(), s.UserID, s.ID)), "nor is it deleted meanwhile")

	end(nil)
	wait(t, connected)
	a.dead = false
	c.pass(time.Second)
	require.Equal(t, []call{{"A", "disconnect", "worker-1", s.ID, 1}}, c.hands.all("disconnect"), "once, after the start")
	row := c.session(s.ID)
	require.False(t, row.IsAssigned())
	require.Equal(t, domain.Disconnected, row.Status)
	require.Empty(t, row.ClaimedBy)
}

// The outcome of the first call arrives after the other replica has taken over.
func TestClaim_Expires_AnotherReplicaTakesOver(t *testing.T) {
	outcomes := map[string]error{
		"done":      nil,
		"refused":   &ports.WorkerError{Failure: ports.WorkerConnectionRefused, Message: "refused"},
		"busy":      &ports.WorkerError{Failure: ports.WorkerBusy, Status: 429, Message: "busy"},
		"rejected":  &ports.WorkerError{Failure: ports.WorkerRejected, Status: 409, Message: "rejected"},
		"timed out": &ports.WorkerError{Failure: ports.WorkerTimedOut, Message: "timed out"},
	}
	for name, outcome := range outcomes {
		for _, dies := range []bool{true, false} {
			for _, again := range []string{"started", "started, stopped and started", "asked, not confirmed"} {
				t.Run(fmt.Sprintf("%s/dies=%v/%s", name, dies, again), func(t *testing.T) {
					c := newReplicaSet(t, 2)
					a, b := c.all[0], c.all[1]
					c.register(a, "worker-1", 10)
					c.register(a, "worker-2", 10)
					if again == "asked, not confirmed" {
						c.hands.report = func(call) domain.Report { return domain.Report{} }
					}
					s := c.line()
					began, end := c.hang("start")
					connected := aside(func() { _, _ = a.Sessions.Connect(context.Background(), s.UserID, s.ID, service.ConnectOptions{}) })
					wait(t, began)
					a.dead = true
					breath, patience := func() {}, 5*time.Second // its last sign of life may be two seconds old
					if !dies {
						breath, patience = c.breathe(a), 39*time.Second
					}
					pulse := c.pulse(b, "worker-1", "worker-2")

					c.pass(patience, pulse, breath)
					require.Equal(t, 1, c.hands.made("start"))
					c.pass(5*time.Second, pulse, breath)
					require.Equal(t, 2, c.hands.made("start"), "the other took over")
					if again == "started, stopped and started" {
						_, err := b.Sessions.Disconnect(t.Context(), s.UserID, s.ID)
						require.NoError(t, err)
						_, err = b.Sessions.Connect(t.Context(), s.UserID, s.ID, service.ConnectOptions{})
						require.NoError(t, err)
						require.Equal(t, 3, c.hands.made("start"))
					}

					before := c.session(s.ID)
					end(outcome)
					wait(t, connected)
					require.Equal(t, before, c.session(s.ID), "the late answer changes nothing")
				})
			}
		}
	}
}

// A replica ends while its own request hangs in a call, and leaves a claim. The claim delays
// neither the session for long nor other work on the worker.
func TestClaim_LeftByStoppedReplica_IsTakenOver(t *testing.T) {
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

func TestClaim_LongCall_IsRenewed(t *testing.T) {
	c := newReplicaSet(t, 2)
	a, b := c.all[0], c.all[1]
	c.register(a, "worker-1", 10)
	s := c.line()
	c.ask(s)
	b.dead = true
	for !c.session(s.ID).IsAssigned() { // in the background a session is placed first, and started by the next step
		c.clock.advance(tick)
		_, err := a.RunOnce(t.Context())
		require.NoError(t, err)
	}
	require.Zero(t, c.hands.made("start"))
	a.dead = true
	c.pass(38*time.Second, c.pulse(b, "worker-1"), c.breathe(b))

	began, end := c.hang("start")
	stepped := aside(func() { _, _ = a.RunOnce(context.Background()) })
	wait(t, began)
	a.dead, b.dead = true, false

	c.pass(30*time.Second, c.pulse(b, "worker-1"), c.breathe(a))
	require.Equal(t, 1, c.hands.made("start"), "the claim that was made with the assignment has been renewed")

	end(nil)
	wait(t, stepped)
	require.Equal(t, domain.Connected, c.session(s.ID).Status)
}

func TestClaim_SkewedClock_IsRespected(t *testing.T) {
	for _, skew := range []time.Duration{time.Minute, -time.Minute} {
		t.Run(skew.String(), func(t *testing.T) {
			c := newSkewedReplicaSet(t, []time.Duration{0, skew})
			a, b := c.all[0], c.all[1]
			c.register(a, "worker-1", 10)
			s := c.line()
			began, end := c.hang("start")
			connected := aside(func() { _, _ = a.Sessions.Connect(context.Background(), s.UserID, s.ID, service.ConnectOptions{}) })
			wait(t, began)
			a.dead = true
			pulse := c.pulse(b, "worker-1")
			c.pass(30*time.Second, pulse, c.breathe(a))

			_, err := b.Sessions.Disconnect(t.Context(), s.UserID, s.ID)
			require.NoError(t, err)
			c.pass(3*time.Second, pulse, c.breathe(a))
			require.Len(t, c.hands.all("start"), 1)
			require.Zero(t, c.hands.made("disconnect"))

			end(nil)
			wait(t, connected)
			c.pass(3 * time.Second) // by B's clock it was due at once, by A's it may be later
			require.Equal(t, 1, c.hands.made("disconnect"))
		})
	}
}

// A starts the session and cannot record it. B, which takes over, does not know whether the
// session runs. It tries the same worker again, although the worker is busy.
func TestClaim_TakenOverAfterStart_SessionStaysOnItsWorker(t *testing.T) {
	c := newReplicaSet(t, 2)
	a, b := c.all[0], c.all[1]
	c.register(a, "worker-1", 10)
	s := c.line()
	c.ask(s)
	a.dead = true
	c.hands.set(func(made call) error {
		if made.by == "A" && made.kind == "start" {
			a.store.SetDown() // it runs, but A never says so
		}
		return nil
	})
	for due := c.clock.Now(); c.hands.made("start") == 0; c.clock.advance(tick) {
		require.Less(t, c.clock.Now().Sub(due), 10*time.Second)
		reads := 0 // since the latest write
		b.store.BeforeView = func(context.Context) error { reads++; return nil }
		b.store.BeforeUpdate = func(context.Context) error {
			before := reads
			reads = 0
			for before >= 3 && !a.store.IsDown() { // B has chosen a worker too, when A assigns and calls
				_, _ = a.RunOnce(t.Context())
				c.clock.advance(tick)
			}
			return nil
		}
		_, err := b.RunOnce(t.Context())
		require.NoError(t, err)
	}

	c.register(b, "worker-2", 10)
	c.hands.set(func(made call) error {
		if made.kind == "start" {
			return &ports.WorkerError{Failure: ports.WorkerBusy, Status: 429, Message: "busy"}
		}
		return nil
	})
	c.pass(12*time.Second, c.pulse(b, "worker-1", "worker-2"))

	starts := c.hands.all("start")
	require.Greater(t, len(starts), 1, "B took over")
	for _, start := range starts {
		require.Equal(t, "worker-1", start.worker, "it may run there: %v", starts)
	}
}

// A cleanup hangs on worker-1, which the session would prefer.
func TestClaim_CleanupUnderWay_NoStartOnThatWorker(t *testing.T) {
	for _, skew := range []time.Duration{0, time.Minute, -time.Minute} {
		t.Run(skew.String(), func(t *testing.T) {
			c := newSkewedReplicaSet(t, []time.Duration{0, skew})
			a, b := c.all[0], c.all[1]
			c.register(a, "worker-1", 10)
			s := c.connected(a)
			require.NoError(t, c.store.Update(t.Context(), func(ctx context.Context, tx *ports.Tx) error {
				return tx.Cleanups.Put(ctx, &domain.Cleanup{
					WorkerID: "worker-1", SessionID: s.ID, Command: domain.CommandDisconnect, Generation: 1,
				})
			}))
			_, err := b.Sessions.Disconnect(t.Context(), s.UserID, s.ID)
			require.NoError(t, err)
			began, end := c.hang("disconnect")
			require.NoError(t, c.store.Update(t.Context(), func(ctx context.Context, tx *ports.Tx) error {
				left, err := tx.Cleanups.BySession(ctx, s.ID)
				require.NoError(t, err)
				left[0].DueAt = c.clock.Now().Add(-time.Minute)
				return tx.Cleanups.Put(ctx, left[0])
			}))
			stepped := aside(func() { _, _ = a.RunOnce(context.Background()) })
			wait(t, began)
			a.dead = true
			c.pass(5*time.Second, c.pulse(b, "worker-1"), c.breathe(a))
			require.Equal(t, 2, c.hands.made("disconnect"), "the user's, and A's")

			_, err = b.Sessions.Connect(t.Context(), s.UserID, s.ID, service.ConnectOptions{})
			require.Equal(t, domain.CodeNoAvailableWorkers, domain.CodeOf(err), "there is no other worker")

			end(nil)
			wait(t, stepped)
			_, err = b.Sessions.Connect(t.Context(), s.UserID, s.ID, service.ConnectOptions{})
			require.NoError(t, err)
			require.Equal(t, domain.Connected, c.session(s.ID).Status)
		})
	}
}

// A replica that shuts down waits for its calls. It counts as alive meanwhile.
func TestClaim_ReplicaShutsDown_KeptUntilItsCallsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newReplicaSet(t, 2, realTime)
		c.register(c.all[0], "worker-1", 50)
		c.running()
		c.hands.set(func(made call) error {
			if made.kind == "start" {
				time.Sleep(12 * time.Second)
			}
			return nil
		})
		ctx, cancel := context.WithCancel(t.Context())
		third := c.join(0)
		ended := aside(func() { _ = third.Run(ctx) })
		time.Sleep(3 * time.Second)
		s := make(map[string]bool)
		for range 12 {
			line := c.line()
			c.ask(line)
			s[line.ID] = true
		}
		time.Sleep(3 * time.Second)

		cancel()
		for range 30 {
			time.Sleep(time.Second)
			c.pulse(c.all[0], "worker-1")()
		}
		<-ended

		for _, made := range c.hands.all("start") {
			require.True(t, s[made.session], "%s was started again by %s", made.session, made.by)
			s[made.session] = false
		}
		require.Len(t, c.replicas(), 2)
	})
}

func TestClaim_RestartUnderWay_DeleteConflicts(t *testing.T) {
	c := newReplicaSet(t, 2)
	a, b := c.all[0], c.all[1]
	c.register(a, "worker-1", 50)
	s := c.line()
	c.ask(s)
	b.dead = true
	c.pass(3*time.Second, c.breathe(b)) // it is placed and started
	require.Equal(t, 1, c.hands.made("start"))
	began, end := c.hang("restart")
	var restarted <-chan struct{}
	b.store.BeforeNextUpdate(func() { // nobody is calling, and then A does
		restarted = aside(func() { _, _ = a.Sessions.Restart(context.Background(), s.UserID, s.ID) })
		wait(t, began)
	})

	err := b.Sessions.Delete(t.Context(), s.UserID, s.ID)
	require.Equal(t, domain.Conflict, kindOf(err))

	end(nil)
	wait(t, restarted)
	require.NoError(t, b.Sessions.Delete(t.Context(), s.UserID, s.ID))
}
