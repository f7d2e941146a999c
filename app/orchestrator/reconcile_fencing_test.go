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
			s := c.createSession()
			began, end := c.hangFirst("start")
			connected := inBackground(func() { _, _ = a.Sessions.Connect(context.Background(), s.UserID, s.ID, service.ConnectOptions{}) })
			waitFor(t, began)

			_, err := b.Protocol.ReportSession(t.Context(), domain.Report{SessionID: s.ID, WorkerID: "worker-1", Status: domain.Errored})
			require.NoError(t, err)
			require.False(t, c.session(s.ID).IsAssigned())
			a.halted = true
			c.advance(5*time.Second, c.heartbeatsOf(b, "worker-1"), c.keepAlive(a))

			told := c.workers.callsOf("disconnect")
			if can == nil {
				require.Empty(t, told, "a stop without generation could stop a later start")
			} else {
				require.Len(t, told, 1)
				require.Equal(t, call{told[0].by, "disconnect", "worker-1", s.ID, 1}, told[0], "the worker fences the generation")
			}
			end(nil)
			waitFor(t, connected)
		})
	}
}

// The worker receives them before it may start anything.
func TestFencing_WorkerRegisters_ReceivesStopCommands(t *testing.T) {
	c := newReplicaSet(t, 1)
	a := c.all[0]
	can := []domain.Capability{domain.CapLease, domain.CapGeneration}
	c.register(a, "worker-1", 10, can...)
	s := c.connectSession(a)
	c.register(a, "worker-2", 10, can...)

	require.NoError(t, onlyError(a.Protocol.Unregister(t.Context(), "worker-1", "")))
	c.advance(10*time.Second, c.heartbeatsOf(a, "worker-2"))
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
	s := c.createSession()
	began, end := c.hangFirst("start")
	var called <-chan struct{}
	a.store.AfterNextUpdate(func() { // A pauses here
		require.True(t, c.session(s.ID).IsAssigned())
		called = inBackground(func() {
			for c.workers.count("start") == 0 {
				_, _ = b.RunOnce(context.Background())
				c.clock.advance(tick)
			}
		})
		waitFor(t, began)
		b.store.SetDown()
		c.clock.advance(time.Minute) // longer than a claim
		c.register(a, "worker-2", 10)
		c.workers.answerWith(func(made call) error {
			if made.kind == "start" && made.worker == "worker-1" {
				return &ports.WorkerError{Failure: ports.WorkerBusy, Status: 429, Message: "busy"}
			}
			return nil
		})
	})

	_, _ = a.Sessions.Connect(t.Context(), s.UserID, s.ID, service.ConnectOptions{})

	require.NotNil(t, called)
	require.Len(t, c.workers.callsOf("start"), 2)
	require.Equal(t, "worker-1", c.session(s.ID).WorkerID, "the session may run on worker-1")
	end(nil)
	waitFor(t, called)
}

// A session is deleted. Its worker could not be told and still lists it.
func TestCleanup_WorkerListsDeletedSession_CommandStaysDelete(t *testing.T) {
	c := newReplicaSet(t, 1)
	a := c.all[0]
	c.register(a, "worker-1", 10)
	s := c.connectSession(a)
	c.workers.answerWith(func(made call) error {
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
	s := c.connectSession(a) // the worker was given the session before
	_, err := a.Sessions.Disconnect(t.Context(), s.UserID, s.ID)
	require.NoError(t, err)
	stops := c.workers.count("disconnect")
	a.store.AfterNextUpdate(func() {
		_, err := a.Sessions.Connect(t.Context(), s.UserID, s.ID, service.ConnectOptions{})
		require.NoError(t, err)
	})
	_, err = a.Protocol.Heartbeat(t.Context(), domain.Heartbeat{WorkerID: "worker-1", IsFullSnapshot: true, CPU: -1, Memory: -1, MessageCount: -1,
		Sessions: []domain.Report{{SessionID: s.ID, Status: domain.Connected}}})
	require.NoError(t, err)
	require.NotNil(t, c.cleanup("worker-1", s.ID))

	c.advance(5*time.Second, c.heartbeatsOf(a, "worker-1"))
	require.Equal(t, stops, c.workers.count("disconnect"))
	require.Nil(t, c.cleanup("worker-1", s.ID))
	require.Equal(t, domain.Connected, c.session(s.ID).Status)
}

// A logout on the worker is recorded while the session is about to be placed there.
func TestCleanup_LogoutRecordedDuringConnect_WorkerIsExcluded(t *testing.T) {
	c := newReplicaSet(t, 1)
	a := c.all[0]
	c.register(a, "worker-1", 10)
	s := c.createSession()
	a.store.BeforeNextUpdate(func() {
		require.NoError(t, c.store.Update(t.Context(), func(ctx context.Context, tx *ports.Tx) error {
			return tx.Cleanups.Put(ctx, &domain.Cleanup{WorkerID: "worker-1", SessionID: s.ID, Command: domain.CommandLogout, DueAt: c.now(), CreatedAt: c.now()})
		}))
	})

	_, err := a.Sessions.Connect(t.Context(), s.UserID, s.ID, service.ConnectOptions{})
	require.Equal(t, domain.CodeNoAvailableWorkers, domain.CodeOf(err))
	require.Zero(t, c.workers.count("start"))

	c.advance(2 * time.Second)
	require.Equal(t, 1, c.workers.count("delete"), "a legacy worker logs out no session without a connection")
	_, err = a.Sessions.Connect(t.Context(), s.UserID, s.ID, service.ConnectOptions{})
	require.NoError(t, err)
}
