package orchestrator_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// What is over on a worker stays over there, whatever is on its way to it.

// cleanup gives what is left to be done on a worker about a session; nil: nothing.
func (c *replicaSet) cleanup(worker, session string) (left *domain.Cleanup) {
	c.t.Helper()
	require.NoError(c.t, c.store.View(c.t.Context(), func(ctx context.Context, tx *ports.Tx) error {
		all, err := tx.Cleanups.BySession(ctx, session)
		for _, l := range all {
			if l.WorkerID == worker {
				left = l
			}
		}
		return err
	}))
	return left
}

// TestAGenerationThatFailedIsOver: a session fails on its worker while a start of it is on its way there still.
func TestAGenerationThatFailedIsOver(t *testing.T) {
	for name, can := range map[string][]domain.Capability{"generations": {domain.CapLease, domain.CapGeneration}, "none": nil} {
		t.Run(name, func(t *testing.T) {
			c := newReplicaSet(t, 2)
			a, b := c.all[0], c.all[1]
			c.register(a, "worker-1", 10, can...)
			s := c.line()
			began, end := c.hang("start")
			connected := aside(func() { _, _ = a.Sessions.Connect(context.Background(), s.UserID, s.ID, service.ConnectOptions{}) })
			wait(t, began)
			_, err := b.Protocol.ReportSession(t.Context(), domain.Report{SessionID: s.ID, WorkerID: "worker-1", Status: domain.Errored})
			require.NoError(t, err)
			require.False(t, c.session(s.ID).IsAssigned())
			a.dead = true
			c.pass(5*time.Second, c.pulse(b, "worker-1"), c.breathe(a))
			told := c.hands.all("disconnect")
			if can == nil {
				require.Empty(t, told, "it would stop what the user has started again")
			} else {
				require.Len(t, told, 1)
				require.Equal(t, call{told[0].by, "disconnect", "worker-1", s.ID, 1}, told[0], "the worker starts that no more")
			}
			end(nil)
			wait(t, connected)
		})
	}
}

// TestAWorkerThatRegistersLearnsWhatIsOver: before it may start anything.
func TestAWorkerThatRegistersLearnsWhatIsOver(t *testing.T) {
	c := newReplicaSet(t, 1)
	a := c.all[0]
	can := []domain.Capability{domain.CapLease, domain.CapGeneration}
	c.register(a, "worker-1", 10, can...)
	s := c.connected(a)
	c.register(a, "worker-2", 10, can...)
	require.NoError(t, left(a.Protocol.Unregister(t.Context(), "worker-1", "")))
	c.pass(10*time.Second, c.pulse(a, "worker-2"))
	require.Equal(t, "worker-2", c.session(s.ID).WorkerID)
	require.Equal(t, []service.StopCommand{{SessionID: s.ID, Generation: 1}}, c.register(a, "worker-1", 10, can...).Commands)
	require.Empty(t, c.register(a, "worker-2", 10, can...).Commands)
}

// TestACleanupIsNotWeakened: a session was deleted, its worker could not be told yet, and goes on listing it.
func TestACleanupIsNotWeakened(t *testing.T) {
	c := newReplicaSet(t, 1)
	a := c.all[0]
	c.register(a, "worker-1", 10)
	s := c.connected(a)
	c.hands.set(func(made call) error {
		if made.kind == "health" {
			return nil
		}
		return &ports.WorkerError{Failure: ports.WorkerTimedOut, Message: "timed out"}
	})
	require.NoError(t, a.Sessions.Delete(t.Context(), s.UserID, s.ID))
	_, err := a.Protocol.Heartbeat(t.Context(), domain.Heartbeat{WorkerID: "worker-1", IsFullSnapshot: true, CPU: -1, Memory: -1, MessageCount: -1,
		Sessions: []domain.Report{{SessionID: s.ID, Status: domain.Connected}}})
	require.NoError(t, err)
	left := c.cleanup("worker-1", s.ID)
	require.Equal(t, []any{domain.CommandDelete, int64(1)}, []any{left.Command, left.Generation})
}

// TestWhatAWorkerOwnsByNowIsNotStoppedThere: a worker lists a session that is not its own; before that it is to be stopped is
// noted, it is assigned there.
func TestWhatAWorkerOwnsByNowIsNotStoppedThere(t *testing.T) {
	c := newReplicaSet(t, 1)
	a := c.all[0]
	c.register(a, "worker-1", 10)
	s := c.line()
	a.store.AfterNextUpdate(func() {
		_, err := a.Sessions.Connect(t.Context(), s.UserID, s.ID, service.ConnectOptions{})
		require.NoError(t, err)
	})
	_, err := a.Protocol.Heartbeat(t.Context(), domain.Heartbeat{WorkerID: "worker-1", IsFullSnapshot: true, CPU: -1, Memory: -1, MessageCount: -1,
		Sessions: []domain.Report{{SessionID: s.ID, Status: domain.Connected}}})
	require.NoError(t, err)
	require.NotNil(t, c.cleanup("worker-1", s.ID))
	c.pass(5*time.Second, c.pulse(a, "worker-1"))
	require.Zero(t, c.hands.made("disconnect"))
	require.Nil(t, c.cleanup("worker-1", s.ID))
	require.Equal(t, domain.Connected, c.session(s.ID).Status)
}

// TestAStartThatAnotherReplicaMayHaveMade: whoever assigned a session stands still before it calls. Another replica begins
// with the call meanwhile, and ends before it can say so. Then the worker refuses the first.
func TestAStartThatAnotherReplicaMayHaveMade(t *testing.T) {
	c := newReplicaSet(t, 2)
	a, b := c.all[0], c.all[1]
	c.register(a, "worker-1", 10)
	s := c.line()
	began, end := c.hang("start")
	var called <-chan struct{}
	a.store.AfterNextUpdate(func() { // it stands still here
		require.True(t, c.session(s.ID).IsAssigned())
		called = aside(func() {
			for c.hands.made("start") == 0 {
				_, _ = b.RunOnce(context.Background())
				c.clock.advance(tick)
			}
		})
		wait(t, began)
		b.store.SetDown()
		c.clock.advance(time.Minute) // longer than its claim lasts
		c.register(a, "worker-2", 10)
		c.hands.set(func(made call) error {
			if made.kind == "start" && made.worker == "worker-1" {
				return &ports.WorkerError{Failure: ports.WorkerBusy, Status: 429, Message: "busy"}
			}
			return nil
		})
	})
	_, _ = a.Sessions.Connect(t.Context(), s.UserID, s.ID, service.ConnectOptions{})
	require.NotNil(t, called)
	require.Len(t, c.hands.all("start"), 2)
	require.Equal(t, "worker-1", c.session(s.ID).WorkerID, "it may run there")
	end(nil)
	wait(t, called)
}

// TestWhatIsBeingLoggedOutIsNotStopped: a worker that still lists a session which is to be logged out there is not told to stop
// it in other words: it might forget the session, and with it what is to be wiped.
func TestWhatIsBeingLoggedOutIsNotStopped(t *testing.T) {
	c := newReplicaSet(t, 1)
	a := c.all[0]
	c.register(a, "worker-1", 10, domain.CapLease, domain.CapGeneration)
	s := c.connected(a)
	c.hands.set(func(made call) error {
		return &ports.WorkerError{Failure: ports.WorkerTimedOut, Message: "timed out"}
	})
	_, err := a.Sessions.Logout(t.Context(), s.UserID, s.ID)
	require.NoError(t, err)
	require.Equal(t, domain.CommandLogout, c.session(s.ID).Command)
	require.Empty(t, c.beat(a, "worker-1", s.ID).Commands)
}

// TestAFormerOwnerThatDoesNotSayWhoItIs: an older worker is told to stop a session that runs elsewhere by now, and reports that it has.
func TestAFormerOwnerThatDoesNotSayWhoItIs(t *testing.T) {
	c := newReplicaSet(t, 1)
	a := c.all[0]
	c.register(a, "worker-1", 10)
	s := c.connected(a)
	c.register(a, "worker-2", 10)
	c.leave("worker-2", s.ID, c.now())
	stopped := domain.Report{SessionID: s.ID, Status: domain.Disconnected}
	outcome, err := a.Protocol.ReportSession(t.Context(), stopped)
	require.NoError(t, err)
	require.Equal(t, domain.NotOwner, outcome)
	require.Equal(t, domain.Connected, c.session(s.ID).Status)
	c.pass(time.Second) // that it is stopped there
	require.Nil(t, c.cleanup("worker-2", s.ID))
	outcome, err = a.Protocol.ReportSession(t.Context(), stopped)
	require.NoError(t, err)
	require.Equal(t, domain.Applied, outcome, "it is the owner's")
}

// TestNothingStartsWithCredentialsThatAreToBeWiped: that a worker has to wipe them is noted while the session is about to be placed there.
func TestNothingStartsWithCredentialsThatAreToBeWiped(t *testing.T) {
	c := newReplicaSet(t, 1)
	a := c.all[0]
	c.register(a, "worker-1", 10)
	s := c.line()
	a.store.BeforeNextUpdate(func() {
		require.NoError(t, c.store.Update(t.Context(), func(ctx context.Context, tx *ports.Tx) error {
			return tx.Cleanups.Put(ctx, &domain.Cleanup{WorkerID: "worker-1", SessionID: s.ID, Command: domain.CommandLogout, DueAt: c.now(), CreatedAt: c.now()})
		}))
	})
	_, err := a.Sessions.Connect(t.Context(), s.UserID, s.ID, service.ConnectOptions{})
	require.Equal(t, domain.CodeNoAvailableWorkers, domain.CodeOf(err))
	require.Zero(t, c.hands.made("start"))
	c.pass(2 * time.Second)
	require.Equal(t, 1, c.hands.made("logout"))
	_, err = a.Sessions.Connect(t.Context(), s.UserID, s.ID, service.ConnectOptions{})
	require.NoError(t, err)
}
