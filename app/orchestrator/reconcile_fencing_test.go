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

// A session fails on its worker while a start of it is still under way.
func TestFencing_SessionFailsDuringStart_GenerationIsStopped(t *testing.T) {
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

// The worker receives them before it may start anything.
func TestFencing_WorkerRegisters_ReceivesStopCommands(t *testing.T) {
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

// A assigns a session and pauses before the call. B begins the call and ends before it can
// record it. Then the worker refuses A.
func TestFencing_AnotherReplicaMayHaveStarted_SessionStays(t *testing.T) {
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

// A session is deleted. Its worker could not be told and still lists it.
func TestCleanup_WorkerListsDeletedSession_CommandStaysDelete(t *testing.T) {
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

// A worker lists a session that is not assigned to it. The session is assigned to it before
// the stop is recorded.
func TestCleanup_SessionAssignedMeanwhile_IsNotStopped(t *testing.T) {
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

// A logout on the worker is recorded while the session is about to be placed there.
func TestCleanup_LogoutRecordedDuringConnect_WorkerIsExcluded(t *testing.T) {
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
