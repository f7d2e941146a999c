package reconcile_test

import (
	"context"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/app/internal/coretest"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// legacyAnswers answers as a legacy worker: it does not know a session before a start, and
// logs out none without a connection.
func legacyAnswers() func(coretest.Call) error {
	known := false
	return func(c coretest.Call) error {
		switch {
		case c.Kind == "start":
			known = true
		case c.Kind == "logout" && known:
			return &ports.WorkerError{Failure: ports.WorkerFailed, Status: http.StatusInternalServerError}
		case !known:
			return &ports.WorkerError{Failure: ports.WorkerSessionNotFound, Status: http.StatusNotFound}
		}
		return nil
	}
}

func TestWipe_LegacyWorkerDoesNotKnowTheSession_StartsAndDeletesIt(t *testing.T) {
	for _, command := range []domain.Command{domain.CommandLogout, domain.CommandDelete} {
		t.Run(string(command), func(t *testing.T) {
			r := newFixture(t)
			r.ChangeWorkerRow("w1", func(w *domain.Worker) { w.Capabilities = nil })
			r.addCleanup(command)
			r.Gateway.Answer(legacyAnswers())
			r.reconciler.Cleanup(context.Background(), "w1", "s1")
			require.Equal(t, []string{"delete w1 s1", "start w1 s1", "delete w1 s1"}, r.Gateway.Calls())
			require.Empty(t, r.Holders("s1"))
		})
	}
}

func TestWipe_LegacyWorkerRefusesTheStart_StaysPending(t *testing.T) {
	r := newFixture(t)
	r.ChangeWorkerRow("w1", func(w *domain.Worker) { w.Capabilities = nil })
	r.addCleanup(domain.CommandDelete)
	r.Gateway.Answer(func(c coretest.Call) error {
		if c.Kind == "start" {
			return &ports.WorkerError{Failure: ports.WorkerBusy, Status: http.StatusTooManyRequests}
		}
		return &ports.WorkerError{Failure: ports.WorkerSessionNotFound, Status: http.StatusNotFound}
	})
	r.reconciler.Cleanup(context.Background(), "w1", "s1")
	require.Len(t, r.Cleanups("s1"), 1)
	require.True(t, r.Cleanups("s1")[0].BlocksID())
}

func TestLogout_LegacyWorkerHasNoConnection_DeletesInOneMoreCall(t *testing.T) {
	r := newFixture(t)
	r.AddWorker("legacy", 50)
	r.AddConnected(r.user, "s1", "legacy")
	r.Change("s1", func(s *domain.Session) { s.Logout(r.Now()) })
	known := legacyAnswers()
	require.NoError(t, known(coretest.Call{Kind: "start"}))
	r.Gateway.Answer(known)
	s := r.reconcile(t, "s1")
	require.Equal(t, []string{"logout legacy s1", "delete legacy s1"}, r.Gateway.Calls())
	require.False(t, s.IsAssigned())
	require.Empty(t, r.Holders("s1"), "the wipe is confirmed")
}

func TestLogout_WorkerConfirms_IsNoHolderAnyMore(t *testing.T) {
	r := newFixture(t)
	r.AddConnected(r.user, "s1", "w1")
	require.Len(t, r.Holders("s1"), 1)
	r.Change("s1", func(s *domain.Session) { s.Logout(r.Now()) })
	r.reconcile(t, "s1")
	require.Empty(t, r.Holders("s1"))
}

func TestCleanup_StopIsDone_WorkerStaysAHolder(t *testing.T) {
	r := newFixture(t)
	r.AddConnected(r.user, "s1", "w1")
	r.down("w1", domain.DownCrashed)
	r.Clock.Advance(r.Timing.FailoverDelay)
	r.reconcile(t, "s1")
	require.Len(t, r.Cleanups("s1"), 1)
	r.ChangeWorkerRow("w1", func(w *domain.Worker) { w.ApplyHeartbeat(domain.Heartbeat{}, r.Timing, r.Now()) })
	r.reconciler.Cleanup(context.Background(), "w1", "s1")
	require.Contains(t, r.Gateway.Calls(), "disconnect w1 s1")
	require.Empty(t, r.Cleanups("s1"))
	require.Len(t, r.Holders("s1"), 2, "its credentials are there still")
}
