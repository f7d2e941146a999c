package reconcile_test

import (
	"context"
	"net/http"
	"slices"
	"testing"
	"time"

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

// A wipe of workers that share credentials is carried out by any of them, and counts for all.
func TestWipe_WorkerOfTheGroupIsDown_AnotherWipesForIt(t *testing.T) {
	for name, reason := range map[string]domain.DownReason{"crashed": domain.DownCrashed, "left": domain.DownUnregistered} {
		t.Run(name, func(t *testing.T) {
			r := newFixture(t)
			r.AddConnected(r.user, "s1", "w1")
			r.down("w1", reason)
			r.DeleteSession("s1")
			require.Equal(t, r.Now(), r.Cleanups("s1")[0].DueAt, "w2 can be called")
			r.reconciler.Cleanup(context.Background(), "w1", "s1")
			require.Equal(t, []string{"delete w2 s1"}, r.Gateway.Calls())
			c := r.Cleanups("s1")[0]
			require.Equal(t, []any{"w1", domain.CommandDisconnect, false}, []any{c.WorkerID, c.Command, c.BlocksID()}, "w1 only has to stop it")
			require.Zero(t, c.DueAt)

			r.up("w1")
			r.reconciler.Cleanup(context.Background(), "w1", "s1")
			require.Equal(t, []string{"delete w2 s1", "disconnect w1 s1"}, r.Gateway.Calls())
			require.Empty(t, r.Holders("s1"))
		})
	}
}

func TestWipe_OneOfTheGroupConfirms_CountsForTheOneThatIsDown(t *testing.T) {
	r := newFixture(t)
	r.AddConnected(r.user, "s1", "w2")
	r.addHolder("s1", "w1")
	r.down("w1", domain.DownCrashed)
	r.DeleteSession("s1")
	r.reconciler.Cleanup(context.Background(), "w2", "s1")
	require.Equal(t, []string{"delete w2 s1"}, r.Gateway.Calls())
	require.False(t, slices.ContainsFunc(r.Holders("s1"), (*domain.Cleanup).BlocksID), "the id is free")
	r.reconciler.Cleanup(context.Background(), "w1", "s1")
	require.Len(t, r.Gateway.Calls(), 1)
}

// A worker that may still run the session would write its credentials again.
func TestWipe_WorkerOfTheGroupMayStillRun_NobodyWipesForIt(t *testing.T) {
	r := newFixture(t)
	r.AddConnected(r.user, "s1", "w1")
	r.addHolder("s1", "w2")
	r.down("w1", domain.DownHeartbeatTimeout) // without a lease
	r.DeleteSession("s1")
	r.reconciler.Cleanups(context.Background(), []string{"w1", "w2"}, "s1")
	require.Equal(t, []string{"delete w2 s1"}, r.Gateway.Calls())
	require.Len(t, r.Cleanups("s1"), 1)
	require.True(t, r.Cleanups("s1")[0].BlocksID())
}

func TestWipe_OtherWorkerIsOfNoGroupOrLegacy_NobodyWipesForIt(t *testing.T) {
	for name, change := range map[string]func(*domain.Worker){
		"another group": func(w *domain.Worker) { w.StateGroup = "another" },
		"no group":      func(w *domain.Worker) { w.StateGroup = "" },
		"legacy":        func(w *domain.Worker) { w.Capabilities = nil },
	} {
		t.Run(name, func(t *testing.T) {
			r := newFixture(t)
			r.ChangeWorkerRow("w2", change)
			r.AddConnected(r.user, "s1", "w1")
			r.down("w1", domain.DownCrashed)
			r.DeleteSession("s1")
			require.Zero(t, r.Cleanups("s1")[0].DueAt)
			r.reconciler.Cleanup(context.Background(), "w1", "s1")
			require.Empty(t, r.Gateway.Calls())
			require.True(t, r.Cleanups("s1")[0].BlocksID())
		})
	}
}

// The row of a wipe that is confirmed tells late lists from foreign sessions, for a while.
func TestWipe_Confirmed_IsRememberedForAWhile(t *testing.T) {
	r := newFixture(t)
	r.addCleanup(domain.CommandDelete)
	r.reconciler.Cleanup(context.Background(), "w1", "s1")
	require.Len(t, r.GivenTo("s1"), 1)
	r.reconciler.Cleanup(context.Background(), "w1", "s1")
	require.Len(t, r.GivenTo("s1"), 1, "it is not over")
	r.Clock.Advance(time.Hour)
	_, err := r.reconciler.DueCleanups(context.Background(), batch())
	require.NoError(t, err)
	require.Empty(t, r.GivenTo("s1"))
	require.Len(t, r.Gateway.Calls(), 1)
}

// A start would find the credentials on the shared disk.
func TestPlace_WipeOfTheGroupIsPending_NoWorkerOfTheGroupIsChosen(t *testing.T) {
	r := newFixture(t)
	r.addCleanup(domain.CommandLogout)
	r.down("w1", domain.DownHeartbeatTimeout)
	r.Change("s1", func(s *domain.Session) { require.NoError(t, s.Connect("", r.Now())) })
	require.False(t, r.reconcile(t, "s1").IsAssigned())
	r.AddSharingWorker("w3", 50, domain.CapGeneration)
	r.SetStateGroup("w3", "")
	r.Clock.Advance(r.Timing.Backoff(1))
	require.Equal(t, "w3", r.reconcile(t, "s1").WorkerID)
}
