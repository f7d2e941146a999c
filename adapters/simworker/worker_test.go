package simworker_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/simworker"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

func TestHeartbeat_IntervalOfRegistration_IsUsed(t *testing.T) {
	w := newWorld(t, simworker.Config{})
	require.True(t, w.Registered())
	require.Equal(t, began.Add(10*time.Second), w.next)
	w.advance(35 * time.Second)
	require.Equal(t, []string{"heartbeat []", "heartbeat []", "heartbeat []"}, w.plane.calls())
	require.True(t, w.plane.beats[0].IsFullSnapshot)
	require.Equal(t, 10*time.Second, w.plane.beats[0].Uptime)
}

func TestRegister_Failing_IsRetriedForever(t *testing.T) {
	w := newWorld(t, simworker.Config{})
	w.Crash()
	w.plane.err = errDown
	w.Boot()
	w.advance(time.Minute)
	calls := w.plane.calls()
	require.GreaterOrEqual(t, len(calls), 6, "1, 2, 4, 8, 16, 30 s apart")
	require.False(t, w.Registered())
	w.plane.err = nil
	w.advance(time.Minute)
	require.True(t, w.Registered())
}

func TestRegister_LegacyFailing_StopsAfterFiveAttempts(t *testing.T) {
	w := newWorld(t, simworker.Config{Legacy: true})
	require.Equal(t, began.Add(30*time.Second), w.next, "a full interval, which is its own")
	w.Crash()
	w.plane.err = errDown
	w.Boot()
	w.advance(21 * time.Second)
	require.Equal(t, slices.Repeat([]string{"register w1"}, 5), w.plane.calls(), "5 s apart")
	w.plane.err = nil
	w.advance(time.Minute)
	require.Equal(t, []string{"heartbeat []", "heartbeat []"}, w.plane.calls(), "it never registers again")
	w.plane.beatErr = domain.Errorf(domain.NotFound, domain.CodeWorkerNotFound, "no")
	w.advance(time.Minute)
	require.Equal(t, []string{"heartbeat []", "heartbeat []"}, w.plane.calls(), "not even when it is not known")
}

func TestHeartbeat_WorkerUnknown_RegistersAgain(t *testing.T) {
	w := newWorld(t, simworker.Config{})
	w.connected("one", 1)
	w.plane.beatErr = domain.Errorf(domain.NotFound, domain.CodeWorkerNotFound, "no")
	w.advance(10 * time.Second)
	require.Equal(t, []string{"heartbeat [one/1 CONNECTED]", "register w1"}, w.plane.calls())
	require.Equal(t, []string{"one"}, w.Running(), "its sessions go on")
}

func TestSend_RepeatedClientMessageID_SendsOnce(t *testing.T) {
	for _, legacy := range []bool{false, true} {
		w := newWorld(t, simworker.Config{Legacy: legacy})
		w.connected("one", 1)
		first, err := w.send("one", "m1")
		require.NoError(t, err)
		again, err := w.send("one", "m1")
		require.NoError(t, err)
		entries, err := w.state.Journal()
		require.NoError(t, err)
		if legacy {
			require.NotEqual(t, first.WhatsAppID, again.WhatsAppID)
			require.Len(t, simworker.Repeats(entries), 1, "the journal shows it")
		} else {
			require.Equal(t, first, again)
			require.Empty(t, simworker.Repeats(entries))
		}
	}
}

func TestRecover_AssignedSessions_AreResumed(t *testing.T) {
	w := newWorld(t, simworker.Config{ScanAfter: simworker.Never})
	w.connected("linked", 3)
	w.start("waiting", 4)
	w.step()
	w.Crash()
	failed(t, w.Health(t.Context()), ports.WorkerConnectionRefused)
	w.plane.assigned = []service.AssignedSession{
		{Session: &domain.Session{ID: "linked", Name: "L", UserID: "u", Generation: 3}},
		{Session: &domain.Session{ID: "waiting", Name: "W", UserID: "u", Generation: 4}},
	}
	w.plane.calls()
	w.Boot()
	w.step()
	require.Equal(t, []string{"register w1", "assigned", "recovered", "report linked/3 CONNECTED", "report waiting/4 QR_REQUIRED"}, w.plane.calls())
	require.Len(t, w.plane.results, 2)
	require.Equal(t, service.RecoverySuccess, w.plane.results[0].Status)
	require.Equal(t, service.RecoverySkipped, w.plane.results[1].Status)
	require.Equal(t, []string{"linked", "waiting"}, w.Running())

	// A failure must not make the worker forget the recovery.
	w.Crash()
	w.Boot()
	w.plane.during = func(call string) {
		w.plane.set(func() {
			w.plane.err = nil
			if call == "assigned" {
				w.plane.err = errDown
				w.plane.during = nil
			}
		})
	}
	w.step()
	require.Empty(t, w.plane.calls()[2:])
	w.plane.err = nil
	w.advance(time.Second)
	require.Contains(t, w.plane.calls(), "recovered")
}

func TestReport_Failing_IsRetriedUntilAccepted(t *testing.T) {
	w := newWorld(t, simworker.Config{ScanAfter: simworker.Never})
	w.plane.err = errDown
	w.start("one", 1)
	w.advance(3500 * time.Millisecond)
	w.plane.err = nil
	w.advance(time.Second)
	require.Equal(t, slices.Repeat([]string{"report one/1 QR_REQUIRED"}, 5), w.plane.calls())
	w.advance(3 * time.Second)
	require.Empty(t, w.plane.calls())
}

// Legacy workers report inside the calls, before they answer, and only once.
func TestReport_LegacyWorker_InsideCalls(t *testing.T) {
	w := newWorld(t, simworker.Config{Legacy: true, ScanAfter: time.Second})
	require.Equal(t, domain.QRRequired, w.start("one", 9).Status)
	require.Equal(t, []string{"report one/0 QR_REQUIRED"}, w.plane.calls())
	require.Equal(t, "w1", w.plane.reports[0].WorkerID)
	w.advance(time.Second)
	require.Equal(t, []string{"report one/0 CONNECTED"}, w.plane.calls())
	require.Empty(t, w.plane.reports[1].WorkerID)

	orders := map[string]bool{}
	for range 20 {
		require.NoError(t, w.Restart(t.Context(), "one", 0))
		calls := w.plane.calls()
		require.Len(t, calls, 3)
		require.Equal(t, "report one/0 CONNECTED", calls[2])
		orders[calls[0]+" then "+calls[1]] = true
		last := w.plane.reports[len(w.plane.reports)-3:]
		require.Equal(t, time.Millisecond, last[1].At.Sub(last[0].At))
	}
	require.Len(t, orders, 2, "in either order")

	require.NoError(t, w.Disconnect(t.Context(), "one", 0))
	require.Equal(t, []string{"report one/0 DISCONNECTED"}, w.plane.calls())
	w.advance(30 * time.Second)
	require.Equal(t, []string{"heartbeat [one/0 DISCONNECTED]"}, w.plane.calls(), "it goes on listing it")

	w.start("one", 0)
	w.plane.calls()
	require.NoError(t, w.Logout(t.Context(), "one", 0))
	last := w.plane.reports[len(w.plane.reports)-1]
	require.Equal(t, domain.Disconnected, last.Status)
	require.True(t, last.LoggedOut)
	require.NoError(t, w.Delete(t.Context(), "one", 0))
	require.Equal(t, domain.Disconnected, w.plane.reports[len(w.plane.reports)-1].Status)

	w.plane.err = errDown
	w.start("two", 0)
	w.plane.calls()
	w.plane.err = nil
	w.advance(900 * time.Millisecond)
	require.Empty(t, w.plane.calls(), "a report that is lost is lost")
}

func TestStop_Graceful_PreservesAndUnregisters(t *testing.T) {
	w := newWorld(t, simworker.Config{})
	w.connected("one", 1)
	require.NoError(t, w.Stop(t.Context()))
	require.Equal(t, []string{"preserved [one]", "unregister w1 http://w1.sim:1"}, w.plane.calls())
	require.Equal(t, []string{"start w1 one/1", "stop w1 one/1 worker stops"}, w.journal())
	failed(t, w.Health(t.Context()), ports.WorkerConnectionRefused)
	_, linked := w.state.Phone("one")
	require.True(t, linked)
	require.True(t, w.Tick(t.Context(), w.now).IsZero(), "there is nothing left to do")

	legacy := newWorld(t, simworker.Config{Legacy: true})
	legacy.connected("one", 1)
	require.NoError(t, legacy.Stop(t.Context()))
	require.Equal(t, []string{"unregister w1 http://w1.sim:1"}, legacy.plane.calls())
	_, linked = legacy.state.Phone("one")
	require.False(t, linked, "it logs every session out")
}

func TestLimited_TooManyCalls_AreRefused(t *testing.T) {
	w := newWorld(t, simworker.Config{Limited: true, Legacy: true, Capacity: 2})
	w.connected("one", 0)
	for range 10 {
		_, err := w.send("one", "")
		require.NoError(t, err)
	}
	_, err := w.send("one", "")
	require.Equal(t, time.Minute, failure(t, err, ports.WorkerBusy).Retry)
	w.now = w.now.Add(time.Minute)
	_, err = w.send("one", "")
	require.NoError(t, err)
	for range 4 {
		require.NoError(t, w.Restart(t.Context(), "one", 0))
	}
	failed(t, w.Restart(t.Context(), "one", 0), ports.WorkerBusy)

	w.start("two", 0)
	_, err = w.Start(t.Context(), ports.Start{SessionID: "three"})
	require.Equal(t, 409, failure(t, err, ports.WorkerRejected).Status, "full")
}

func TestFailRate_Calls_FailWithoutEffect(t *testing.T) {
	w := newWorld(t, simworker.Config{FailRate: 0.5})
	failures := 0
	for range 200 {
		require.NoError(t, w.Health(t.Context()), "health is spared")
		if _, err := w.List(t.Context()); err != nil {
			failed(t, err, ports.WorkerFailed)
			failures++
		}
	}
	require.InDelta(t, 100, failures, 40)
}

// The worker holds no lock during calls: the control plane may call it back.
func TestWorker_CallBackDuringCall_DoesNotDeadlock(t *testing.T) {
	for _, legacy := range []bool{false, true} {
		w := newWorld(t, simworker.Config{Legacy: legacy})
		w.plane.during = func(string) {
			require.NoError(t, w.Health(t.Context()))
			_, err := w.List(t.Context())
			require.NoError(t, err)
			w.Fence(w.now)
		}
		w.connected("one", 1)
		_, err := w.send("one", "m1")
		require.NoError(t, err)
		require.NoError(t, w.Restart(t.Context(), "one", 0))
		w.advance(time.Minute)
		require.NoError(t, w.Disconnect(t.Context(), "one", 0))
		w.plane.during = nil
		require.NoError(t, w.Stop(t.Context()))
	}
}

// The response to a call of a former process has no effect.
func TestCrash_DuringCall_ResponseIsIgnored(t *testing.T) {
	w := newWorld(t, simworker.Config{})
	w.connected("one", 1)
	w.plane.during = func(call string) {
		if call == "heartbeat [one/1 CONNECTED]" {
			w.Crash()
		}
	}
	w.advance(10 * time.Second)
	require.False(t, w.Registered())
	require.True(t, w.LeaseEnd().IsZero())
	require.True(t, w.next.IsZero())
	require.Equal(t, []string{"start w1 one/1", "crash w1 /0"}, w.journal())
}

func TestWorker_SameSeed_ReplaysSame(t *testing.T) {
	run := func() []simworker.Entry {
		w := newWorld(t, simworker.Config{Seed: 42, FailRate: 0.2})
		for i := range 20 {
			_, _ = w.Start(t.Context(), ports.Start{SessionID: fmt.Sprintf("s-%d", i), Generation: 1})
		}
		w.advance(5 * time.Second)
		for i := range 20 {
			_, _ = w.send(fmt.Sprintf("s-%d", i), "m")
		}
		w.advance(time.Minute)
		entries, err := w.state.Journal()
		require.NoError(t, err)
		return entries
	}
	require.Equal(t, run(), run())
}
