package apptest_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/simworker"
	"github.com/switchyard-wa/switchyard/app/apptest"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// separate is a fleet of two workers that share no credentials. Phones scan when a test says so.
type separate struct {
	*apptest.Harness
	t    *testing.T
	a, b *domain.User
}

// lineID is the id of the session that both users want.
const lineID = "line"

// newSeparate returns the fleet, after user A has linked the session on w1, w1 has crashed, and
// A has linked it again on w2.
func newSeparate(t *testing.T, legacy bool) *separate {
	h := &separate{t: t, Harness: apptest.With(t, apptest.Options{Worker: func(c *apptest.WorkerConfig) {
		c.State, c.ScanAfter, c.Legacy = simworker.NewState(), simworker.Never, legacy
	}})}
	h.a, h.b = h.User(domain.TierPro), h.User(domain.TierPro)
	h.Workers("w1", 10)
	require.NoError(t, h.create(h.a))
	h.link(h.a, "w1")
	h.Workers("w2", 10)
	h.Crash("w1")
	for end := h.Now().Add(20 * time.Minute); h.Session(lineID).Status != domain.QRRequired && h.Now().Before(end); {
		h.Advance(time.Second)
	}
	h.scan("w2")
	return h
}

func (h *separate) create(u *domain.User) error {
	_, err := h.Orchestrator.Sessions.Create(h.t.Context(), u.ID, service.CreateSessionParams{Name: "Line", ID: lineID})
	return err
}

// link connects the session of a user, and scans the QR that the worker must show.
func (h *separate) link(u *domain.User, worker string) {
	h.t.Helper()
	h.requireQR(u, worker)
	h.scan(worker)
}

// requireQR connects the session of a user, which must show a QR on the worker.
func (h *separate) requireQR(u *domain.User, worker string) {
	h.t.Helper()
	_, err := h.Orchestrator.Sessions.Connect(h.t.Context(), u.ID, lineID, service.ConnectOptions{})
	require.NoError(h.t, err)
	h.Advance(time.Second)
	s := h.Session(lineID)
	require.Equal(h.t, []any{domain.QRRequired, workerName(worker), ""}, []any{s.Status, s.WorkerID, s.PhoneNumber})
}

// scan scans the QR of the session on a worker.
func (h *separate) scan(worker string) {
	h.t.Helper()
	require.NoError(h.t, h.Worker(worker).Scan(lineID))
	h.Advance(time.Second)
	require.Equal(h.t, domain.Connected, h.Session(lineID).Status)
}

// isLinked reports whether a worker has credentials of the session.
func (h *separate) isLinked(worker string) bool {
	_, linked := h.Worker(worker).State().Phone(lineID)
	return linked
}

// bringBack starts w1 again and takes w2 out of placement.
func (h *separate) bringBack() {
	h.t.Helper()
	h.RestartWorker("w1")
	h.Advance(time.Minute)
	_, err := h.Orchestrator.Workers.Drain(h.t.Context(), "worker-w2", service.DrainOptions{})
	require.NoError(h.t, err)
}

func workerName(name string) string { return "worker-" + name }

// eachKind runs a test with workers of today and with legacy workers.
func eachKind(t *testing.T, fn func(t *testing.T, h *separate)) {
	for name, legacy := range map[string]bool{"capable": false, "legacy": true} {
		t.Run(name, func(t *testing.T) { fn(t, newSeparate(t, legacy)) })
	}
}

func TestCredentials_SessionMovedAndDeleted_IDIsTakenUntilEveryWorkerIsWiped(t *testing.T) {
	eachKind(t, func(t *testing.T, h *separate) {
		require.True(t, h.isLinked("w1") && h.isLinked("w2"))
		generation := h.Session(lineID).Generation
		require.NoError(t, h.Orchestrator.Sessions.Delete(t.Context(), h.a.ID, lineID))
		require.False(t, h.isLinked("w2"))
		for _, u := range []*domain.User{h.a, h.b} {
			require.Equal(t, domain.CodeSessionExists, domain.CodeOf(h.create(u)), "w1 has credentials still")
		}
		h.Restart()
		require.Equal(t, domain.CodeSessionExists, domain.CodeOf(h.create(h.b)), "another process knows it too")

		h.bringBack()
		require.False(t, h.isLinked("w1"))
		require.NoError(t, h.create(h.b))
		h.requireQR(h.b, "w1")
		require.Greater(t, h.Session(lineID).Generation, generation, "generations go on")
	})
}

func TestCredentials_WorkerRemovedAndBack_IsWipedBeforeAnyStart(t *testing.T) {
	eachKind(t, func(t *testing.T, h *separate) {
		require.NoError(t, h.Orchestrator.Workers.Remove(t.Context(), "worker-w1", service.RemoveOptions{Force: true}))
		require.NoError(t, h.Orchestrator.Sessions.Delete(t.Context(), h.a.ID, lineID))
		h.Advance(time.Hour)
		require.Equal(t, domain.CodeSessionExists, domain.CodeOf(h.create(h.b)))

		h.bringBack()
		require.False(t, h.isLinked("w1"))
		require.NoError(t, h.create(h.b))
		h.requireQR(h.b, "w1")
	})
}

func TestCredentials_DiskIsGone_IDIsFreeAndAReturningWorkerIsWiped(t *testing.T) {
	eachKind(t, func(t *testing.T, h *separate) {
		require.NoError(t, h.Orchestrator.Sessions.Delete(t.Context(), h.a.ID, lineID))
		require.NoError(t, h.Orchestrator.Workers.Remove(t.Context(), "worker-w1", service.RemoveOptions{Force: true}))
		require.Equal(t, domain.CodeSessionExists, domain.CodeOf(h.create(h.b)))
		destroyed := service.RemoveOptions{Force: true, Destroyed: true}
		require.NoError(t, h.Orchestrator.Workers.Remove(t.Context(), "worker-w1", destroyed), "a worker that was removed before")
		require.NoError(t, h.create(h.b))
		h.link(h.b, "w2")

		h.RestartWorker("w1") // it is there after all
		h.Advance(time.Minute)
		require.False(t, h.isLinked("w1"))
		require.Equal(t, domain.Connected, h.Session(lineID).Status, "the new session is not disturbed")
		require.Equal(t, []string{"worker-w2"}, h.Owners(lineID))
	})
}

func TestCredentials_UserLogsOut_FormerWorkersAreWipedToo(t *testing.T) {
	eachKind(t, func(t *testing.T, h *separate) {
		_, err := h.Orchestrator.Sessions.Logout(t.Context(), h.a.ID, lineID)
		require.NoError(t, err)
		require.False(t, h.isLinked("w2"))
		h.requireQR(h.a, "w2") // at once, while w1 is not wiped
		h.RestartWorker("w1")
		h.Advance(time.Minute)
		require.False(t, h.isLinked("w1"))
		s := h.Session(lineID)
		require.Equal(t, []any{domain.QRRequired, "worker-w2", ""}, []any{s.Status, s.WorkerID, s.PhoneNumber}, "what the wipe causes is not taken for news")
	})
}

func TestCredentials_PhoneLogsOut_FormerWorkersAreWipedToo(t *testing.T) {
	eachKind(t, func(t *testing.T, h *separate) {
		require.NoError(t, h.Worker("w2").Unlink(lineID))
		h.Advance(time.Minute)
		h.RestartWorker("w1")
		h.Advance(time.Minute)
		require.False(t, h.isLinked("w1"))
		require.Empty(t, h.Session(lineID).PhoneNumber)
	})
}

// newShared returns a fleet of two workers that share credentials. User A has linked the session
// on w1, and w2 is out of placement.
func newShared(t *testing.T) *separate {
	h := &separate{t: t, Harness: apptest.With(t, apptest.Options{Worker: func(c *apptest.WorkerConfig) { c.ScanAfter = simworker.Never }})}
	h.a, h.b = h.User(domain.TierPro), h.User(domain.TierPro)
	h.Workers("w1", 10)
	require.NoError(t, h.create(h.a))
	h.link(h.a, "w1")
	h.Workers("w2", 10)
	return h
}

// Workers that share credentials wipe for each other.
func TestCredentials_SessionDeletedWhileItsWorkerIsDown_AnotherOfTheGroupWipesAtOnce(t *testing.T) {
	for name, lose := range map[string]func(h *separate){
		"crashed": func(h *separate) { h.Crash("w1"); h.Advance(10 * time.Second) },
		"fenced":  func(h *separate) { h.CutOff("w1"); h.Advance(2 * time.Minute) },
		"was removed": func(h *separate) {
			h.Crash("w1")
			h.Advance(10 * time.Second)
			require.NoError(h.t, h.Orchestrator.Workers.Remove(h.t.Context(), "worker-w1", service.RemoveOptions{Force: true}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newShared(t)
			_, err := h.Orchestrator.Sessions.Disconnect(t.Context(), h.a.ID, lineID)
			require.NoError(t, err)
			lose(h)
			require.NoError(t, h.Orchestrator.Sessions.Delete(t.Context(), h.a.ID, lineID))
			require.False(t, h.isLinked("w2"))
			require.NoError(t, h.create(h.b), "the id is free at once")
			h.link(h.b, "w2")

			h.RestartWorker("w1")
			h.Reconnect("w1")
			h.Advance(2 * time.Hour)
			require.True(t, h.isLinked("w2"), "the return of w1 does not wipe the new login")
			require.Equal(t, domain.Connected, h.Session(lineID).Status)
		})
	}
}

// All workers of the group are down when the user logs out. The first that returns wipes, before
// anything starts there. Then the user links again.
func TestCredentials_UserLogsOutAndLinksAgainInTheGroup_OldWipeDoesNotReachTheNewLogin(t *testing.T) {
	h := newShared(t)
	_, err := h.Orchestrator.Sessions.Disconnect(t.Context(), h.a.ID, lineID)
	require.NoError(t, err)
	h.Crash("w1")
	h.Crash("w2")
	h.Advance(time.Minute)
	_, err = h.Orchestrator.Sessions.Logout(t.Context(), h.a.ID, lineID)
	require.NoError(t, err)
	require.True(t, h.isLinked("w1"), "nobody could wipe it")
	h.RestartWorker("w2")
	h.Advance(time.Second)
	h.link(h.a, "w2")

	h.RestartWorker("w1")
	h.Advance(2 * time.Hour)
	require.True(t, h.isLinked("w1"))
	require.Equal(t, domain.Connected, h.Session(lineID).Status)
	require.NotEmpty(t, h.Session(lineID).PhoneNumber)
}

// Without a shared disk the old wipe stays due.
func TestCredentials_UserLogsOutAndLinksAgainElsewhere_OldWipeIsCarriedOut(t *testing.T) {
	eachKind(t, func(t *testing.T, h *separate) {
		_, err := h.Orchestrator.Sessions.Logout(t.Context(), h.a.ID, lineID)
		require.NoError(t, err)
		h.link(h.a, "w2")
		require.True(t, h.isLinked("w1"))
		h.RestartWorker("w1")
		h.Advance(time.Minute)
		require.False(t, h.isLinked("w1"))
		require.True(t, h.isLinked("w2"))
		require.Equal(t, domain.Connected, h.Session(lineID).Status)
	})
}

// A user logs out while the session is disconnected. A legacy worker logs out no session without
// a connection.
func TestLogout_SessionIsDisconnected_IsWipedAndConnectsWithAQRAtOnce(t *testing.T) {
	for name, legacy := range map[string]bool{"capable": false, "legacy": true} {
		t.Run(name, func(t *testing.T) {
			h := &separate{t: t, Harness: apptest.With(t, apptest.Options{Worker: func(c *apptest.WorkerConfig) {
				c.State, c.ScanAfter, c.Legacy, c.Limited = simworker.NewState(), simworker.Never, legacy, true
			}})}
			h.a = h.User(domain.TierBasic)
			h.Workers("w1", 10)
			require.NoError(t, h.create(h.a))
			h.link(h.a, "w1")
			_, err := h.Orchestrator.Sessions.Disconnect(t.Context(), h.a.ID, lineID)
			require.NoError(t, err)
			_, err = h.Orchestrator.Sessions.Logout(t.Context(), h.a.ID, lineID)
			require.NoError(t, err)
			require.False(t, h.isLinked("w1"))
			h.requireQR(h.a, "w1")
		})
	}
}

// WhatsApp closes the connection after a scan, and the worker reports only the disconnect.
func TestScan_WorkerReportsOnlyADisconnect_SessionIsRestartedAndConnects(t *testing.T) {
	h := &separate{t: t, Harness: apptest.With(t, apptest.Options{Worker: func(c *apptest.WorkerConfig) {
		c.ScanAfter, c.Legacy = simworker.Never, true
	}})}
	h.a = h.User(domain.TierBasic)
	h.Workers("w1", 10)
	require.NoError(t, h.create(h.a))
	h.requireQR(h.a, "w1")
	require.NoError(t, h.Worker("w1").State().Link(lineID, "6281234567890", 0))
	_, err := h.Orchestrator.Protocol.ReportSession(t.Context(), domain.Report{SessionID: lineID, Status: domain.Disconnected, At: h.Now()})
	require.NoError(t, err)
	h.Advance(2 * time.Second)
	s := h.Session(lineID)
	require.Equal(t, []any{domain.Connected, "6281234567890"}, []any{s.Status, s.PhoneNumber})
}
