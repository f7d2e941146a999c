package domain_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/switchyard-wa/switchyard/domain"
)

// A worker that was down returns with the announcement of its maintenance. What was left to do there
// becomes due, like after any other heartbeat.
func TestLifeCycle_WorkerReturnsInMaintenance_LeftoversAreDone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newSimulation(t)
		w.faulty = false
		p := w.addProcess("odd", true, -time.Minute)
		w.register(p, 2)
		w.add("ann")
		w.connect("s1")
		require.Equal(t, "odd", w.sessions["s1"].WorkerID)

		p.cutOff = true
		w.pass(10 * time.Minute)
		w.detectFailures()
		require.False(t, w.workers["odd"].Online)
		w.remove("s1")
		w.reconcile()
		require.Contains(t, w.cleanups, place{"odd", "s1"})

		p.cutOff = false
		w.heartbeatSaying(p, domain.MaintenanceBegins)
		require.Equal(t, domain.WorkerMaintenance, w.workers["odd"].Status())
		w.reconcile()
		require.Empty(t, w.cleanups)
		w.recover()
	})
}

// loseHome adds a session that is linked on a worker of no state group. The worker is lost during a
// debounce, and the session waits for it for minutes.
func (w *simulation) loseHome() *process {
	w.faulty = false
	p := w.addProcess("odd", true, -time.Minute)
	w.register(p, 2)
	w.add("ann")
	w.connect("s1")
	p.runSession(w, "s1") // a QR
	p.runSession(w, "s1") // its scan
	require.Equal(w.t, domain.Connected, w.sessions["s1"].Status)
	p.sessions["s1"] = domain.Disconnected
	p.report(w, domain.Report{SessionID: "s1", Status: domain.Disconnected})

	p.cutOff = true
	w.markDown("odd", domain.DownHeartbeatTimeout)
	w.pass(time.Second)
	w.reconcile()
	require.True(w.t, w.isBound(w.sessions["s1"]))
	require.True(w.t, w.sessions["s1"].DueAt.After(w.now.Add(time.Minute)))
	return p
}

// The session starts again as soon as its worker is back, and not only at the end of the long wait.
func TestLifeCycle_HomeReturnsDuringDebounce_StartsWithoutDelay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newSimulation(t)
		p := w.loseHome()
		p.cutOff = false
		w.heartbeat(p)
		w.check()
		w.pass(w.timing.DisconnectDebounce)
		w.reconcile()
		require.Equal(t, domain.Init, w.sessions["s1"].Status)
		w.recover()
	})
}

// An administrator who accepts a scan ends the wait for the home.
func TestLifeCycle_ForcedMoveFromLostHome_StartsWithoutDelay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newSimulation(t)
		w.loseHome()
		w.register(w.addProcess("new", true, 0), 2)
		w.migrate("s1")
		w.check()
		w.reconcile()
		require.Equal(t, "new", w.sessions["s1"].WorkerID)
	})
}
