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
	s := c.createSession()
	began, end := c.hangFirst("start")
	connected := inBackground(func() { _, _ = a.Sessions.Connect(context.Background(), s.UserID, s.ID, service.ConnectOptions{}) })
	waitFor(t, began)
	a.halted = true // it hangs in the call
	heartbeats := c.heartbeatsOf(b, "worker-1")
	c.advance(15*time.Second, heartbeats, c.keepAlive(a))

	view, err := b.Sessions.Disconnect(t.Context(), s.UserID, s.ID)
	require.NoError(t, err)
	require.Equal(t, domain.Disconnected, view.Status, "the answer does not wait")
	c.advance(15*time.Second, heartbeats, c.keepAlive(a))
	require.Equal(t, 1, c.workers.count("start"))
	require.Zero(t, c.workers.count("disconnect"))
	require.Equal(t, domain.Conflict, kindOf(b.Sessions.Delete(t.Context(), s.UserID, s.ID)), "a delete has to wait")

	end(nil)
	waitFor(t, connected)
	a.halted = false
	c.advance(time.Second)
	require.Equal(t, []call{{"A", "disconnect", "worker-1", s.ID, 1}}, c.workers.callsOf("disconnect"), "once, after the start")
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
						c.workers.report = func(call) domain.Report { return domain.Report{} }
					}
					s := c.createSession()
					began, end := c.hangFirst("start")
					connected := inBackground(func() { _, _ = a.Sessions.Connect(context.Background(), s.UserID, s.ID, service.ConnectOptions{}) })
					waitFor(t, began)
					a.halted = true
					alive, patience := func() {}, 5*time.Second // its latest heartbeat may be two seconds old
					if !dies {
						alive, patience = c.keepAlive(a), 39*time.Second
					}
					heartbeats := c.heartbeatsOf(b, "worker-1", "worker-2")

					c.advance(patience, heartbeats, alive)
					require.Equal(t, 1, c.workers.count("start"))
					c.advance(5*time.Second, heartbeats, alive)
					require.Equal(t, 2, c.workers.count("start"), "B took over")
					if again == "started, stopped and started" {
						_, err := b.Sessions.Disconnect(t.Context(), s.UserID, s.ID)
						require.NoError(t, err)
						_, err = b.Sessions.Connect(t.Context(), s.UserID, s.ID, service.ConnectOptions{})
						require.NoError(t, err)
						require.Equal(t, 3, c.workers.count("start"))
					}

					before := c.session(s.ID)
					end(outcome)
					waitFor(t, connected)
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
			c.runAll()
			s, other := c.createSession(), c.connectSession(b)
			began, end := c.hangFirst("start")
			ended := inBackground(func() { _, _ = a.Sessions.Connect(context.Background(), s.UserID, s.ID, service.ConnectOptions{}) })
			waitFor(t, began)
			// A shuts down in order and hands over. Then its process ends.
			a.halted = true
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			_ = a.Run(ctx)
			a.store.SetDown()

			c.advance(time.Second, c.heartbeatsOf(b, "worker-1"))
			require.NoError(t, c.store.Update(t.Context(), func(ctx context.Context, tx *ports.Tx) error {
				row, err := tx.Sessions.Get(ctx, other.ID)
				if err != nil {
					return err
				}
				row.Disconnect(c.now()) // as a replica does that dies before it calls the worker
				if err := tx.Users.Reserve(ctx, row.UserID, domain.UserUsage{ActiveSessions: -1}, domain.UserUsage{}); err != nil {
					return err
				}
				return tx.Sessions.Put(ctx, row)
			}))

			asked := c.clock.Now()
			until := func(done func() bool) time.Duration {
				for !done() && c.clock.Now().Sub(asked) < 2*time.Hour {
					c.advance(tick, c.heartbeatsOf(b, "worker-1"))
				}
				return c.clock.Now().Sub(asked)
			}
			stopped := until(func() bool { return !c.session(other.ID).IsAssigned() })
			started := until(func() bool { return c.session(s.ID).Status == domain.Connected })

			t.Logf("the other session stopped after %v, the claimed session started after %v", stopped, started)
			end(nil)
			waitFor(t, ended)
			require.Less(t, stopped, 12*time.Second)
			require.Less(t, started, 12*time.Second)
		})
	}
}

func TestClaim_LongCall_IsRenewed(t *testing.T) {
	c := newReplicaSet(t, 2)
	a, b := c.all[0], c.all[1]
	c.register(a, "worker-1", 10)
	s := c.createSession()
	c.setIntentUp(s)
	b.halted = true
	for !c.session(s.ID).IsAssigned() { // one pass places a session, the next starts it
		c.clock.advance(tick)
		_, err := a.RunOnce(t.Context())
		require.NoError(t, err)
	}
	require.Zero(t, c.workers.count("start"))
	a.halted = true
	c.advance(38*time.Second, c.heartbeatsOf(b, "worker-1"), c.keepAlive(b))

	began, end := c.hangFirst("start")
	stepped := inBackground(func() { _, _ = a.RunOnce(context.Background()) })
	waitFor(t, began)
	a.halted, b.halted = true, false

	c.advance(30*time.Second, c.heartbeatsOf(b, "worker-1"), c.keepAlive(a))
	require.Equal(t, 1, c.workers.count("start"), "the claim was renewed")

	end(nil)
	waitFor(t, stepped)
	require.Equal(t, domain.Connected, c.session(s.ID).Status)
}

func TestClaim_SkewedClock_IsRespected(t *testing.T) {
	for _, skew := range []time.Duration{time.Minute, -time.Minute} {
		t.Run(skew.String(), func(t *testing.T) {
			c := newSkewedReplicaSet(t, []time.Duration{0, skew})
			a, b := c.all[0], c.all[1]
			c.register(a, "worker-1", 10)
			s := c.createSession()
			began, end := c.hangFirst("start")
			connected := inBackground(func() { _, _ = a.Sessions.Connect(context.Background(), s.UserID, s.ID, service.ConnectOptions{}) })
			waitFor(t, began)
			a.halted = true
			heartbeats := c.heartbeatsOf(b, "worker-1")
			c.advance(30*time.Second, heartbeats, c.keepAlive(a))

			_, err := b.Sessions.Disconnect(t.Context(), s.UserID, s.ID)
			require.NoError(t, err)
			c.advance(3*time.Second, heartbeats, c.keepAlive(a))
			require.Len(t, c.workers.callsOf("start"), 1)
			require.Zero(t, c.workers.count("disconnect"))

			end(nil)
			waitFor(t, connected)
			c.advance(3 * time.Second) // the stop may be due later by A's clock
			require.Equal(t, 1, c.workers.count("disconnect"))
		})
	}
}

// A starts the session and cannot record it. B, which takes over, does not know whether the
// session runs. It tries the same worker again, although the worker is busy.
func TestClaim_TakenOverAfterStart_SessionStaysOnItsWorker(t *testing.T) {
	c := newReplicaSet(t, 2)
	a, b := c.all[0], c.all[1]
	c.register(a, "worker-1", 10)
	s := c.createSession()
	c.setIntentUp(s)
	a.halted = true
	c.workers.answerWith(func(made call) error {
		if made.by == "A" && made.kind == "start" {
			a.store.SetDown() // the session runs and A cannot record it
		}
		return nil
	})
	for due := c.clock.Now(); c.workers.count("start") == 0; c.clock.advance(tick) {
		require.Less(t, c.clock.Now().Sub(due), 10*time.Second)
		reads := 0 // since the latest write
		b.store.BeforeView = func(context.Context) error { reads++; return nil }
		b.store.BeforeUpdate = func(context.Context) error {
			before := reads
			reads = 0
			for before >= 3 && !a.store.IsDown() { // A assigns and calls after B has chosen a worker
				_, _ = a.RunOnce(t.Context())
				c.clock.advance(tick)
			}
			return nil
		}
		_, err := b.RunOnce(t.Context())
		require.NoError(t, err)
	}

	c.register(b, "worker-2", 10)
	c.workers.answerWith(func(made call) error {
		if made.kind == "start" {
			return &ports.WorkerError{Failure: ports.WorkerBusy, Status: 429, Message: "busy"}
		}
		return nil
	})
	c.advance(12*time.Second, c.heartbeatsOf(b, "worker-1", "worker-2"))

	starts := c.workers.callsOf("start")
	require.Greater(t, len(starts), 1, "B took over")
	for _, start := range starts {
		require.Equal(t, "worker-1", start.worker, "the session may run on worker-1: %v", starts)
	}
}

// A cleanup hangs on worker-1, which the session would prefer.
func TestClaim_CleanupUnderWay_NoStartOnThatWorker(t *testing.T) {
	for _, skew := range []time.Duration{0, time.Minute, -time.Minute} {
		t.Run(skew.String(), func(t *testing.T) {
			c := newSkewedReplicaSet(t, []time.Duration{0, skew})
			a, b := c.all[0], c.all[1]
			c.register(a, "worker-1", 10)
			s := c.connectSession(a)
			c.changeHolder("worker-1", s.ID, func(h *domain.Cleanup) { h.Command = domain.CommandDisconnect })
			_, err := b.Sessions.Disconnect(t.Context(), s.UserID, s.ID)
			require.NoError(t, err)
			began, end := c.hangFirst("disconnect")
			c.changeHolder("worker-1", s.ID, func(h *domain.Cleanup) { h.DueAt = c.clock.Now().Add(-time.Minute) })
			stepped := inBackground(func() { _, _ = a.RunOnce(context.Background()) })
			waitFor(t, began)
			a.halted = true
			c.advance(5*time.Second, c.heartbeatsOf(b, "worker-1"), c.keepAlive(a))
			require.Equal(t, 2, c.workers.count("disconnect"), "one for the user, one by A")

			_, err = b.Sessions.Connect(t.Context(), s.UserID, s.ID, service.ConnectOptions{})
			require.Equal(t, domain.CodeNoAvailableWorkers, domain.CodeOf(err), "there is no other worker")

			end(nil)
			waitFor(t, stepped)
			_, err = b.Sessions.Connect(t.Context(), s.UserID, s.ID, service.ConnectOptions{})
			require.NoError(t, err)
			require.Equal(t, domain.Connected, c.session(s.ID).Status)
		})
	}
}

// A replica that shuts down waits for its calls. It counts as alive meanwhile.
func TestClaim_ReplicaShutsDown_KeptUntilItsCallsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newReplicaSet(t, 2, withSystemClock)
		c.register(c.all[0], "worker-1", 50)
		c.startAll()
		c.workers.answerWith(func(made call) error {
			if made.kind == "start" {
				time.Sleep(12 * time.Second)
			}
			return nil
		})
		ctx, cancel := context.WithCancel(t.Context())
		third := c.join(0)
		ended := inBackground(func() { _ = third.Run(ctx) })
		time.Sleep(3 * time.Second)
		s := make(map[string]bool)
		for range 12 {
			line := c.createSession()
			c.setIntentUp(line)
			s[line.ID] = true
		}
		time.Sleep(3 * time.Second)

		cancel()
		for range 30 {
			time.Sleep(time.Second)
			c.heartbeatsOf(c.all[0], "worker-1")()
		}
		<-ended

		for _, made := range c.workers.callsOf("start") {
			require.True(t, s[made.session], "%s started again by %s", made.session, made.by)
			s[made.session] = false
		}
		require.Len(t, c.replicas(), 2)
	})
}

func TestClaim_RestartUnderWay_DeleteConflicts(t *testing.T) {
	c := newReplicaSet(t, 2)
	a, b := c.all[0], c.all[1]
	c.register(a, "worker-1", 50)
	s := c.createSession()
	c.setIntentUp(s)
	b.halted = true
	c.advance(3*time.Second, c.keepAlive(b)) // placed and started
	require.Equal(t, 1, c.workers.count("start"))
	began, end := c.hangFirst("restart")
	var restarted <-chan struct{}
	b.store.BeforeNextUpdate(func() { // A begins a call after B has found none
		restarted = inBackground(func() { _, _ = a.Sessions.Restart(context.Background(), s.UserID, s.ID) })
		waitFor(t, began)
	})

	err := b.Sessions.Delete(t.Context(), s.UserID, s.ID)
	require.Equal(t, domain.Conflict, kindOf(err))

	end(nil)
	waitFor(t, restarted)
	require.NoError(t, b.Sessions.Delete(t.Context(), s.UserID, s.ID))
}
