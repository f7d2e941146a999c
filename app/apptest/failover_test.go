package apptest_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/app/apptest"
	"github.com/switchyard-wa/switchyard/domain"
)

func TestFailover_WorkerCrashes_SessionsMove(t *testing.T) {
	h := apptest.New(t).Workers("w1", 50, "w2", 50)
	user := h.User(domain.TierPro)
	s := h.Connected(user, "support")

	h.Crash(s.WorkerID)
	h.Advance(time.Minute)

	after := h.Session(s.ID)
	require.Equal(t, domain.Connected, after.Status)
	require.NotEqual(t, s.WorkerID, after.WorkerID)
	require.Equal(t, s.Generation+1, after.Generation)
	require.Equal(t, []string{after.WorkerID}, h.Owners(s.ID))
	h.Send(after, "6281234567890", "still here")
}

func TestFailover_WorkerReturnsInTime_KeepsItsSessions(t *testing.T) {
	h := apptest.New(t).Workers("w1", 50, "w2", 50)
	s := h.Connected(h.User(domain.TierPro), "support")

	h.Crash(s.WorkerID)
	h.Advance(3 * time.Second)
	h.RestartWorker(s.WorkerID)
	h.Advance(time.Minute)

	after := h.Session(s.ID)
	require.Equal(t, domain.Connected, after.Status)
	require.Equal(t, s.WorkerID, after.WorkerID)
	require.Equal(t, s.Generation, after.Generation)
}

// The harness fails the test if a session runs on both workers at once.
func TestFailover_WorkerCutOff_StopsBeforeItsSessionsMove(t *testing.T) {
	h := apptest.New(t).Workers("w1", 50, "w2", 50)
	s := h.Connected(h.User(domain.TierPro), "support")
	h.Advance(time.Minute)

	h.CutOff(s.WorkerID)
	h.Advance(14 * time.Second)
	require.Equal(t, s.WorkerID, h.Session(s.ID).WorkerID, "the lease has not ended")

	h.Advance(2 * time.Minute)
	after := h.Session(s.ID)
	require.Equal(t, domain.Connected, after.Status)
	require.NotEqual(t, s.WorkerID, after.WorkerID)

	h.Reconnect(s.WorkerID)
	h.Advance(2 * time.Minute)
	require.Equal(t, []string{after.WorkerID}, h.Owners(s.ID))
}

func TestFailover_WorkerHangs_KeepsItsSessionsUntilTheLeaseEnds(t *testing.T) {
	h := apptest.New(t).Workers("w1", 50, "w2", 50)
	s := h.Connected(h.User(domain.TierPro), "support")

	h.Hang(s.WorkerID)
	for range 14 {
		h.Advance(time.Second)
		require.Equal(t, s.WorkerID, h.Session(s.ID).WorkerID)
	}

	h.Advance(2 * time.Minute)
	require.NotEqual(t, s.WorkerID, h.Session(s.ID).WorkerID)
	require.Equal(t, domain.Connected, h.Session(s.ID).Status)
}

// A legacy worker has no lease. It still runs the session when it returns.
func TestFailover_LegacyWorkerReturns_IsToldToStop(t *testing.T) {
	h := apptest.With(t, apptest.Options{Worker: func(c *apptest.WorkerConfig) { c.Legacy = true }}).Workers("w1", 50, "w2", 50)
	s := h.Connected(h.User(domain.TierPro), "support")

	h.Crash(s.WorkerID)
	h.Advance(11 * time.Minute) // a legacy worker announces no state group: the session waits for it
	moved := h.Session(s.ID)
	require.Equal(t, domain.Connected, moved.Status)

	h.RestartWorker(s.WorkerID)
	h.Advance(2 * time.Minute)
	require.Equal(t, []string{moved.WorkerID}, h.Owners(s.ID))
}

func TestFailover_NoCapacity_HigherTiersFirst(t *testing.T) {
	h := apptest.New(t).Workers("w1", 2, "w2", 2)
	basic := h.Connected(h.User(domain.TierBasic), "basic")
	top := h.Connected(h.User(domain.TierMax), "max")
	h.Connected(h.User(domain.TierPro), "pro")
	h.Connected(h.User(domain.TierPro), "pro")

	h.Crash("w1")
	h.Crash("w2")
	h.Advance(time.Minute)
	require.Equal(t, domain.Reconnecting, h.Session(basic.ID).Status)

	h.Workers("w3", 1)
	h.Advance(time.Minute)
	require.Equal(t, domain.Connected, h.Session(top.ID).Status)
	require.Equal(t, domain.Reconnecting, h.Session(basic.ID).Status)
	require.Empty(t, h.Session(basic.ID).WorkerID)
}

func TestFailover_SessionsOfOneUser_SpreadOverWorkers(t *testing.T) {
	h := apptest.New(t).Workers("w1", 50)
	var users [3][]string
	for i := range users {
		users[i] = connectSessions(h, 3)
	}
	h.Workers("w2", 50, "w3", 50, "w4", 50)

	h.Crash("w1")
	h.Advance(time.Minute)

	for _, ids := range users {
		require.Len(t, connectedOn(t, h, ids), 3)
	}
}

// The replica dies before, while or after the crash of the worker is detected.
func TestFailover_ReplicaDiesMeanwhile_OthersFinish(t *testing.T) {
	for after := range 16 {
		t.Run(fmt.Sprint(after), func(t *testing.T) {
			h := newReplicated(t)
			ids := connectManySessions(h, 50)

			h.Crash("w1")
			h.Advance(5*time.Second + time.Duration(after)*500*time.Millisecond) // before, during and after the detection
			h.Kill(after % 3)

			took := advanceUntilConnected(t, h, ids, 15*time.Second)
			t.Logf("all are connected %v after a replica died", took)

			h.Start(after % 3)
			h.Advance(2 * time.Minute)
			require.Zero(t, connectedOn(t, h, ids)["worker-w1"])
		})
	}
}

// The replica that detects the crash has a clock two hours ahead, and dies.
func TestFailover_ReplicaAheadDies_OthersFinish(t *testing.T) {
	h := skewedReplicas(t, 2*time.Hour, apptest.Options{})
	h.Workers("w1", 50)
	ids := connectSessions(h, 5)
	h.Workers("w2", 50)
	h.Advance(10 * time.Second)

	h.Pause(0)
	h.Crash("w1")
	for range 100 {
		h.Advance(100 * time.Millisecond)
		w, _, err := h.Replica(1).Workers.Get(t.Context(), "worker-w1")
		require.NoError(t, err)
		if !w.Online {
			break
		}
	}

	h.Kill(1)
	h.Resume(0)
	took := advanceUntilConnected(t, h, ids, 3*time.Hour)
	t.Log("up again after", took)
	require.Less(t, took, 2*time.Minute)
}

// A process with the same id registers at another endpoint while the lease of the former
// process lasts.
func TestFailover_NewProcessOfCutOffWorker_WaitsForTheLease(t *testing.T) {
	h, ids, old := withTwoProcesses(t)
	for range 600 {
		h.Advance(100 * time.Millisecond)
		for _, w := range h.All() {
			if w == old {
				continue
			}
			for _, id := range ids {
				both := slices.Contains(w.Running(), id) && slices.Contains(old.Running(), id)
				require.False(t, both, "%v after the new process registered %s runs in both", h.Now(), id)
			}
		}
	}
}

// The former process is reachable again before its lease ends.
func TestFailover_FormerProcessReturns_StopsItsSessions(t *testing.T) {
	h, ids, old := withTwoProcesses(t)
	h.Advance(5 * time.Second)

	old.Reconnect()
	h.Advance(time.Hour)

	for _, id := range ids {
		runs := 0
		for _, w := range h.All() {
			if slices.Contains(w.Running(), id) {
				runs++
			}
		}
		require.Equal(t, 1, runs, "%s runs in so many processes an hour later", id)
	}
}
