package simworker_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/simworker"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// The lease starts when the heartbeat is sent, and ends without a Tick.
func TestLease_EndWithoutTick_StopsSessions(t *testing.T) {
	w := newWorld(t, simworker.Config{})
	w.connected("one", 1)
	w.advance(10 * time.Second)
	w.plane.beatErr = errDown
	w.advance(44999 * time.Millisecond)
	require.Equal(t, []string{"one"}, w.Running())
	_, err := w.send("one", "m1")
	require.NoError(t, err)

	w.now = w.now.Add(time.Millisecond)
	_, err = w.send("one", "m2") // no Tick before
	require.True(t, failure(t, err, ports.WorkerSessionNotFound).IsNotExecuted())
	require.Empty(t, w.Running())
	require.Equal(t, []string{"start w1 one/1", "send w1 one/1", "stop w1 one/1 the lease ran out"}, w.journal())

	w.plane.calls()
	w.plane.beatErr = nil
	w.advance(2 * time.Second)
	require.Contains(t, w.plane.calls(), "heartbeat []")
	require.Equal(t, domain.Connected, w.start("one", 2).Status, "it is a worker like any other again")
}

// The lease starts at the sending of the message, however late the response is:
// the control plane may have started to count then.
func TestLease_LateResponse_CountsFromSending(t *testing.T) {
	w := newWorld(t, simworker.Config{})
	w.plane.during = func(string) { w.now = w.now.Add(4 * time.Second) }
	w.Crash()
	w.Boot()
	w.step()
	require.Equal(t, began.Add(45*time.Second), w.LeaseEnd())
	w.advance(6 * time.Second)
	require.Equal(t, began.Add(55*time.Second), w.LeaseEnd())
}

func TestLease_CutOff_Ends(t *testing.T) {
	w := newWorld(t, simworker.Config{})
	w.connected("one", 1)
	w.CutOff()
	failed(t, w.Health(t.Context()), ports.WorkerUnreachable)
	w.advance(45 * time.Second)
	require.Empty(t, w.Running())
	require.Empty(t, w.plane.calls(), "nothing gets through")
	w.Reconnect()
	w.advance(2 * time.Second)
	require.NotEmpty(t, w.plane.calls())
}

func TestLease_Hang_Ends(t *testing.T) {
	w := newWorld(t, simworker.Config{})
	w.connected("one", 1)
	w.Hang()
	failed(t, w.Health(t.Context()), ports.WorkerTimedOut)
	w.advance(44 * time.Second)
	require.Equal(t, []string{"one"}, w.Running())
	w.advance(time.Second)
	require.Empty(t, w.Running())
	require.Empty(t, w.plane.calls())
	w.Resume()
	w.step()
	require.Equal(t, []string{"heartbeat []"}, w.plane.calls())
}

// No session starts without a lease: neither before the response to the
// registration, nor between the end of a lease and the next grant.
func TestStart_WithoutLease_IsRefused(t *testing.T) {
	w := newWorld(t, simworker.Config{})
	refused := func(string) {
		t.Helper()
		_, err := w.Start(t.Context(), ports.Start{SessionID: "one", Generation: 1})
		require.Equal(t, 503, failure(t, err, ports.WorkerFailed).Status)
		require.Equal(t, 503, failure(t, w.Restart(t.Context(), "one", 1), ports.WorkerFailed).Status)
	}
	w.Crash()
	w.Boot()
	refused("")
	w.plane.during = refused
	w.step()
	w.plane.during = nil
	require.Equal(t, []string{"register w1"}, w.plane.calls())
	w.start("one", 1)

	w.plane.beatErr = errDown
	w.advance(45 * time.Second)
	require.Empty(t, w.Running())
	refused("")
	w.plane.during = refused
	w.plane.beatErr = nil
	w.advance(2 * time.Second)
	w.plane.during = nil
	require.Contains(t, w.plane.calls(), "heartbeat []")
	w.start("one", 1) // the control plane decides whether it is still this worker's
}

// A control plane that grants no lease and then forgets the worker must not leave
// sessions running that no lease ends.
func TestRegister_RefusedWithoutLease_StopsSessions(t *testing.T) {
	w := newWorld(t, simworker.Config{})
	w.plane.lease = 0
	w.Crash()
	w.Boot()
	w.step()
	w.connected("one", 1)
	w.plane.beatErr = domain.Errorf(domain.NotFound, domain.CodeWorkerNotFound, "who?")
	w.plane.during = func(call string) {
		w.plane.set(func() {
			w.plane.err = nil
			if call == "register w1" {
				w.plane.err = errDown
			}
		})
	}
	w.advance(10 * time.Second)
	require.Empty(t, w.Running())
}

// A process that is paused beyond its lease does nothing for its sessions when it
// resumes. Its journal says when they ended in effect.
func TestPause_BeyondLease_DoesNothingForSessions(t *testing.T) {
	pause := func(w *world) { w.now = began.Add(100 * time.Second) } // no Tick
	over := began.Add(45 * time.Second)
	for name, act := range map[string]func(w *world){
		"health": func(w *world) { require.NoError(t, w.Health(t.Context())) },
		"a list": func(w *world) { list, err := w.List(t.Context()); require.NoError(t, err); require.Empty(t, list) },
		"a send": func(w *world) { _, err := w.send("one", "m1"); failed(t, err, ports.WorkerSessionNotFound) },
		"a start": func(w *world) {
			_, err := w.Start(t.Context(), ports.Start{SessionID: "one", Generation: 1})
			require.Equal(t, 503, failure(t, err, ports.WorkerFailed).Status)
		},
		"a restart":   func(w *world) { failed(t, w.Restart(t.Context(), "one", 1), ports.WorkerFailed) },
		"the phone":   func(w *world) { failed(t, w.LoseLink("one", time.Second), ports.WorkerSessionNotFound) },
		"a message":   func(w *world) { failed(t, w.Receive(t.Context(), "one", "628999", "hi"), ports.WorkerSessionNotFound) },
		"a step":      func(w *world) { w.step() },
		"its own end": func(w *world) { require.NoError(t, w.Stop(t.Context())) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, simworker.Config{})
			w.connected("one", 1)
			pause(w)
			act(w)
			require.Empty(t, w.Running())
			require.Equal(t, []string{"start w1 one/1", "stop w1 one/1 the lease ran out"}, w.journal())
			entries, err := w.state.Journal()
			require.NoError(t, err)
			require.Equal(t, w.now, entries[1].Time)
			require.Equal(t, over, entries[1].Effective)
			for _, call := range w.plane.calls() {
				require.NotContains(t, call, "one", "nothing of the session is said any more")
			}
		})
	}

	t.Run("during a send", func(t *testing.T) {
		w := newWorld(t, simworker.Config{})
		w.connected("one", 1)
		seen := 0
		w.looks = func() {
			seen++
			if seen == 2 { // the call was admitted, and the message is about to be sent
				pause(w)
			}
		}
		_, err := w.send("one", "m1")
		failed(t, err, ports.WorkerSessionNotFound)
		require.Equal(t, []string{"start w1 one/1", "stop w1 one/1 the lease ran out"}, w.journal())
	})
	t.Run("during a heartbeat", func(t *testing.T) {
		w := newWorld(t, simworker.Config{})
		w.connected("one", 1)
		w.plane.during = func(call string) {
			if call == "heartbeat [one/1 CONNECTED]" {
				pause(w)
			}
		}
		w.advance(10 * time.Second)
		require.Equal(t, []string{"start w1 one/1", "stop w1 one/1 the lease ran out"}, w.journal(),
			"the answer is to a message from before")
	})
	t.Run("during a late heartbeat", func(t *testing.T) {
		w := newWorld(t, simworker.Config{})
		w.connected("one", 1)
		w.plane.beatErr = errDown
		w.advance(40 * time.Second)
		w.plane.beatErr = nil
		w.plane.during = func(call string) {
			if call == "heartbeat [one/1 CONNECTED]" {
				w.now = began.Add(46 * time.Second) // the present lease has ended, the granted one has not
				w.plane.during = nil
			}
		}
		w.step()
		w.advance(2 * time.Second)
		require.Equal(t, "stop w1 one/1 the lease ran out", w.journal()[1])
		w.start("one", 1)
	})
	t.Run("during a recovery", func(t *testing.T) {
		w := newWorld(t, simworker.Config{})
		w.plane.assigned = []service.AssignedSession{{Session: &domain.Session{ID: "one", Generation: 1}}}
		w.Crash()
		w.Boot()
		w.plane.during = func(call string) {
			if call == "assigned" {
				pause(w)
			}
		}
		w.step()
		require.Equal(t, service.RecoverySkipped, w.plane.results[0].Status)
		require.Equal(t, []string{"crash w1 /0"}, w.journal())
	})
}
