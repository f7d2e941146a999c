package apptest_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/app/apptest"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports/service"
)

func TestSessionsOfACrashedWorkerMove(t *testing.T) {
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

func TestWorkerThatComesBackInTimeKeepsItsSessions(t *testing.T) {
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

func TestCutOffWorkerStopsByItselfBeforeItsSessionsMove(t *testing.T) {
	h := apptest.New(t).Workers("w1", 50, "w2", 50)
	s := h.Connected(h.User(domain.TierPro), "support")
	h.Advance(time.Minute)
	h.CutOff(s.WorkerID)
	h.Advance(14 * time.Second)
	require.Equal(t, s.WorkerID, h.Session(s.ID).WorkerID, "it must not move before the lease is out")
	h.Advance(2 * time.Minute)
	after := h.Session(s.ID)
	require.Equal(t, domain.Connected, after.Status)
	require.NotEqual(t, s.WorkerID, after.WorkerID)
	h.Reconnect(s.WorkerID)
	h.Advance(2 * time.Minute)
	require.Equal(t, []string{after.WorkerID}, h.Owners(s.ID))
}

func TestHungWorkerKeepsItsSessionsUntilTheLeaseIsOut(t *testing.T) {
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

func TestOlderWorkersAreToldToStop(t *testing.T) {
	h := apptest.With(t, apptest.Options{Worker: func(c *apptest.WorkerConfig) { c.Legacy = true }}).Workers("w1", 50, "w2", 50)
	s := h.Connected(h.User(domain.TierPro), "support")
	h.Crash(s.WorkerID)
	h.Advance(time.Minute)
	moved := h.Session(s.ID)
	require.Equal(t, domain.Connected, moved.Status)
	h.RestartWorker(s.WorkerID)
	h.Advance(2 * time.Minute)
	require.Equal(t, []string{moved.WorkerID}, h.Owners(s.ID))
}

func TestDrainMovesEverySessionAndLosesNone(t *testing.T) {
	h := apptest.New(t).Workers("w1", 50)
	user := h.User(domain.TierMax)
	var ids []string
	for range 10 {
		ids = append(ids, h.Connected(user, "line").ID)
	}
	h.Workers("w2", 50)
	_, err := h.Orchestrator.Workers.Drain(t.Context(), "worker-w1")
	require.NoError(t, err)
	h.Advance(2 * time.Minute)
	for _, id := range ids {
		s := h.Session(id)
		require.Equal(t, domain.Connected, s.Status)
		require.Equal(t, "worker-w2", s.WorkerID)
	}
}

func TestEverythingSurvivesTheControlPlane(t *testing.T) {
	h := apptest.New(t).Workers("w1", 50, "w2", 50)
	s := h.Connected(h.User(domain.TierPro), "support")
	m := h.Send(s, "6281234567890", "before")
	h.Restart()
	h.Advance(5 * time.Minute)
	after := h.Session(s.ID)
	require.Equal(t, domain.Connected, after.Status)
	require.Equal(t, s.Generation, after.Generation, "it stayed where it was")
	h.Send(after, "6281234567890", "after")
	got, err := h.Orchestrator.Messages.Get(t.Context(), s.UserID, s.ID, m.ID)
	require.NoError(t, err)
	require.Equal(t, domain.MessageRead, got.Status)
}

func TestSessionsWaitForCapacityHigherTiersFirst(t *testing.T) {
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

func TestLimitsOfATier(t *testing.T) {
	h := apptest.New(t).Workers("w1", 50)
	s := h.Connected(h.User(domain.TierBasic), "line")
	for range 100 {
		h.Send(s, "6281234567890", "hello")
	}
	send := func() error {
		_, err := h.Orchestrator.Messages.Send(t.Context(), service.Sender{UserID: s.UserID, SessionID: s.ID},
			&domain.Outgoing{To: "6281234567890", Type: domain.TypeText, Text: "one more"})
		return err
	}
	err := send()
	require.Equal(t, domain.CodeMessageLimit, domain.CodeOf(err))
	var limit interface{ Window() domain.Usage }
	require.ErrorAs(t, err, &limit, "it says which limit")
	require.Equal(t, 100, limit.Window().Limit)
	require.Zero(t, limit.Window().Remaining)
	h.Restart() // the history is counted again
	require.Equal(t, domain.CodeMessageLimit, domain.CodeOf(send()))
	h.Advance(time.Hour)
	require.NoError(t, send())
}

func BenchmarkDayOfFleetLife(b *testing.B) {
	for b.Loop() {
		h := apptest.New(b).Workers("w1", 50, "w2", 50, "w3", 50)
		for range 5 {
			u := h.User(domain.TierPro)
			for range 5 {
				h.Connected(u, "line")
			}
		}
		for hour := range 24 {
			w := []string{"w1", "w2", "w3"}[hour%3]
			h.Crash(w)
			h.Advance(30 * time.Minute)
			h.RestartWorker(w)
			h.Advance(30 * time.Minute)
		}
	}
}
