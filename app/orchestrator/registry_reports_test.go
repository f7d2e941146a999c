package orchestrator_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/golang/mock/gomock"
	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// commands returns the sessions that the answer to a heartbeat tells the worker to stop.
func commands(answer *service.HeartbeatResult) (ids []string) {
	for _, c := range answer.Commands {
		ids = append(ids, c.SessionID)
	}
	return ids
}

func TestHeartbeat_ListsSessionOfAnotherWorker_AnyReplicaCommandsStop(t *testing.T) {
	for _, cut := range []bool{false, true} {
		t.Run(fmt.Sprint("cut=", cut), func(t *testing.T) {
			c := newReplicaSet(t, 2)
			a, b := c.all[0], c.all[1]
			can := []domain.Capability{domain.CapGeneration, domain.CapLease}
			c.register(a, "worker-1", 5, can...)
			s := c.connectSession(a)
			c.register(a, "worker-2", 5, can...)
			require.NoError(t, c.runReplica(b))
			a.invalidator.cut.Store(cut)
			require.NoError(t, onlyError(a.Protocol.Unregister(t.Context(), "worker-1", "")))
			b.halted = true
			c.advance(9*time.Second, c.heartbeatsOf(a, "worker-2"), c.keepAlive(b))
			require.Equal(t, "worker-2", c.session(s.ID).WorkerID)

			h := domain.Heartbeat{WorkerID: "worker-1", IsFullSnapshot: true, CPU: -1, Memory: -1, MessageCount: -1, Sessions: []domain.Report{
				{SessionID: s.ID, Status: domain.Connected, Generation: 1},
			}}
			answer, err := b.Protocol.Heartbeat(t.Context(), h)
			require.NoError(t, err)
			require.Contains(t, commands(answer), s.ID)

			moved := c.session(s.ID)

			// No replica starts the session on its former worker, or stops it on its worker.
			b.halted = false
			h.Sessions = nil
			_, err = b.Protocol.Heartbeat(t.Context(), h)
			require.NoError(t, err)
			require.Empty(t, commands(c.heartbeat(b, "worker-2", s.ID)))
			c.advance(10*time.Second, c.heartbeatsOf(b, "worker-1", "worker-2"))
			now := c.session(s.ID)
			require.Equal(t, []any{moved.WorkerID, moved.Generation, domain.Connected}, []any{now.WorkerID, now.Generation, now.Status})
			require.Equal(t, 2, c.workers.count("start"))
		})
	}
}

// The session that the worker lists has a cleanup already.
func TestHeartbeat_WorkerReturns_EachStopCommandOnce(t *testing.T) {
	c := newReplicaSet(t, 1)
	a := c.all[0]
	c.register(a, "worker-1", 5, domain.CapLease, domain.CapGeneration)
	s := c.connectSession(a)
	c.register(a, "worker-2", 5, domain.CapLease, domain.CapGeneration)
	c.advance(time.Minute, c.heartbeatsOf(a, "worker-2"))
	require.Equal(t, "worker-2", c.session(s.ID).WorkerID)

	answer, err := a.Protocol.Heartbeat(t.Context(), domain.Heartbeat{
		WorkerID: "worker-1", IsFullSnapshot: true, CPU: -1, Memory: -1, MessageCount: -1,
		Sessions: []domain.Report{{SessionID: s.ID, Status: domain.Connected, Generation: 1}},
	})

	require.NoError(t, err)
	require.Equal(t, []service.StopCommand{{SessionID: s.ID, Generation: 1}}, answer.Commands)
}

// A stop could make the worker forget the session, and with it the credentials that it has to
// wipe.
func TestHeartbeat_LogoutPending_NoStopCommand(t *testing.T) {
	c := newReplicaSet(t, 1)
	a := c.all[0]
	c.register(a, "worker-1", 10, domain.CapLease, domain.CapGeneration)
	s := c.connectSession(a)
	c.workers.answerWith(func(made call) error {
		return &ports.WorkerError{Failure: ports.WorkerTimedOut, Message: "timed out"}
	})

	_, err := a.Sessions.Logout(t.Context(), s.UserID, s.ID)
	require.NoError(t, err)

	require.Equal(t, domain.CommandLogout, c.session(s.ID).Command)
	require.Empty(t, c.heartbeat(a, "worker-1", s.ID).Commands)
}

// Calls to the worker fail while its heartbeats arrive.
func TestHeartbeat_ListOmitsStoppedSession_ProvesTheStop(t *testing.T) {
	w, s := newConnectedFixture(t)
	w.workers.EXPECT().Disconnect(gomock.Any(), gomock.Any(), s.ID, gomock.Any()).
		Return(&ports.WorkerError{Failure: ports.WorkerFailed, Status: 500, Message: "no"}).AnyTimes()
	_, err := w.Sessions.Disconnect(context.Background(), s.UserID, s.ID)
	require.NoError(t, err)
	list := func() {
		_, err = w.Protocol.Heartbeat(context.Background(), domain.Heartbeat{WorkerID: "worker-1", IsFullSnapshot: true, CPU: -1, Memory: -1, MessageCount: -1})
		require.NoError(t, err)
	}
	list()

	for range 3 {
		require.True(t, w.session(s.ID).IsAssigned(), "one list without the session may be old")
		w.clock.advance(10 * time.Second)
		_, err = w.RunOnce(context.Background())
		require.NoError(t, err)
	}
	list()
	require.False(t, w.session(s.ID).IsAssigned())
}

// A worker that lists sessions as soon as it begins to start them has accepted a start, and
// lists nothing.
func TestHeartbeat_ListOmitsStartedSession_StartIsRepeated(t *testing.T) {
	for name, can := range map[string][]domain.Capability{"generations": {domain.CapLease, domain.CapGeneration}, "none": nil} {
		t.Run(name, func(t *testing.T) {
			c := newReplicaSet(t, 1)
			a := c.all[0]
			c.register(a, "worker-1", 10, can...)
			c.workers.report = func(call) domain.Report { return domain.Report{Status: domain.Init} }
			s := c.createSession()
			_, err := a.Sessions.Connect(t.Context(), s.UserID, s.ID, service.ConnectOptions{})
			require.NoError(t, err)
			list := func(starts int) {
				t.Helper()
				c.heartbeat(a, "worker-1")
				c.runAll()
				require.Equal(t, starts, c.workers.count("start"))
			}
			list(1) // the list may be old
			c.advance(10*time.Second, c.heartbeatsOf(a, "worker-1"))
			if can == nil {
				list(1) // the list need not have the session yet
			} else {
				list(2)
			}
		})
	}
}

// A replica pauses with a heartbeat that does not list a session. The worker has recovered the
// session when the replica resumes.
func TestHeartbeat_DelayedList_RestartsNothing(t *testing.T) {
	for _, pause := range []time.Duration{0, 30 * time.Second} {
		t.Run(pause.String(), func(t *testing.T) {
			c := newReplicaSet(t, 2)
			a, b := c.all[0], c.all[1]
			require.NoError(t, c.registerWorker1(b, "http://process-1:1"))
			c.runAll()
			s := c.connectSession(b)
			c.advance(20 * time.Second)       // lists have the session now
			a.store.BeforeNextUpdate(func() { // A pauses here
				a.halted = true
				c.advance(pause, func() { c.heartbeat(b, "worker-1", s.ID) })
				a.halted = false
			})

			c.heartbeat(a, "worker-1")
			require.Nil(t, a.store.BeforeUpdate, "the list was recorded")

			again := domain.Reconnecting // nothing is newer than the list
			if pause > 0 {
				again = domain.Connected
			}
			require.Equal(t, again, c.session(s.ID).Status)
		})
	}
}

// A worker confirms a session. Then a list arrives that may be older than the confirmation.
func TestHeartbeat_ListOlderThanConfirmation_IsIgnored(t *testing.T) {
	c := newReplicaSet(t, 1)
	a := c.all[0]
	c.register(a, "worker-1", 10)
	s := c.connectSession(a)
	c.advance(3 * time.Second)

	c.heartbeat(a, "worker-1")

	require.Equal(t, domain.Connected, c.session(s.ID).Status)
	c.advance(3 * time.Second)
	c.heartbeat(a, "worker-1")
	require.Equal(t, domain.Reconnecting, c.session(s.ID).Status, "no list is that old")
}

func TestHeartbeat_AlternatingReplicas_OneWriteEach(t *testing.T) {
	c := newReplicaSet(t, 3)
	c.register(c.all[0], "worker-1", 50)
	ids := c.fillWorkers([]string{"worker-1"}, 50)
	h := domain.Heartbeat{WorkerID: "worker-1", IsFullSnapshot: true, CPU: -1, Memory: -1, MessageCount: -1}
	for _, id := range ids {
		h.Sessions = append(h.Sessions, domain.Report{SessionID: id, Status: domain.Connected, Generation: 1})
	}
	beat := func(n int) {
		for i := range n {
			_, err := c.all[i%3].Protocol.Heartbeat(t.Context(), h)
			require.NoError(t, err)
		}
	}
	beat(3) // the replicas cache the sessions
	c.runAll()
	told := 0
	defer c.hub.Join().Subscribe(func(ports.Invalidation) { told++ })()
	for _, r := range c.all {
		r.store.ResetCounts()
	}

	beat(30)
	for _, r := range c.all {
		require.Zero(t, r.store.Views(), "reads of %s", r.name)
		require.EqualValues(t, 10, r.store.Updates(), "writes of %s", r.name)
	}

	require.Zero(t, told, "no invalidation is needed")
}

// A replica pauses in the middle of a report. Meanwhile the worker has restarted and recovered
// the session.
func TestReport_OfAFormerProcess_ChangesNothing(t *testing.T) {
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
			require.NoError(t, c.registerWorker1(b, "http://process-1:1"))
			c.runAll()
			s := c.connectSession(b)
			a.store.BeforeNextUpdate(func() { // A pauses here
				a.halted = true
				c.advance(3 * time.Second)
				require.NoError(t, c.registerWorker1(b, "http://process-1:1"))
				_, err := b.Protocol.ReportRecovery(t.Context(), "worker-1", []service.RecoveryResult{{SessionID: s.ID, Status: service.RecoverySuccess}})
				require.NoError(t, err)
				_, err = b.Protocol.ReportSession(t.Context(), domain.Report{SessionID: s.ID, WorkerID: "worker-1", Generation: 1,
					Status: domain.Connected, At: c.clock.Now()})
				require.NoError(t, err)
				require.Equal(t, domain.Connected, c.session(s.ID).Status)
				c.advance(time.Minute, func() { c.heartbeat(b, "worker-1", s.ID) })
				a.halted = false
			})

			_ = late(a, s.ID)
			c.advance(30*time.Second, func() {
				_, err := b.Protocol.Heartbeat(t.Context(), domain.Heartbeat{WorkerID: "worker-1", CPU: -1, Memory: -1, MessageCount: -1,
					IsFullSnapshot: true, Sessions: []domain.Report{{SessionID: s.ID, Status: domain.Connected, Generation: 1}}})
				require.NoError(t, err)
			})

			row := c.session(s.ID)
			require.Equal(t, []any{domain.Up, domain.Connected, "6281234567890"}, []any{row.Intent, row.Status, row.PhoneNumber})
		})
	}
}

// A legacy worker is told to stop a session that runs on another worker by now, and reports
// that it has.
func TestReport_LegacyFormerOwner_IsNotApplied(t *testing.T) {
	c := newReplicaSet(t, 1)
	a := c.all[0]
	c.register(a, "worker-1", 10)
	s := c.connectSession(a)
	c.register(a, "worker-2", 10)
	c.putCleanup("worker-2", s.ID, c.now())

	stopped := domain.Report{SessionID: s.ID, Status: domain.Disconnected}
	outcome, err := a.Protocol.ReportSession(t.Context(), stopped)
	require.NoError(t, err)
	require.Equal(t, domain.NotOwner, outcome)
	require.Equal(t, domain.Connected, c.session(s.ID).Status)

	c.advance(time.Second) // the cleanup stops the session
	require.Nil(t, c.cleanup("worker-2", s.ID))
	outcome, err = a.Protocol.ReportSession(t.Context(), stopped)
	require.NoError(t, err)
	require.Equal(t, domain.Applied, outcome, "the report may be of the owner")
}
