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

// The lease runs from when the heartbeat was sent, and ends by itself.
func TestLease(t *testing.T) {
	w := newWorld(t, simworker.Config{})
	w.connected("one", 1)
	w.advance(10 * time.Second)
	w.plane.beatErr = errDown
	w.advance(44999 * time.Millisecond)
	require.Equal(t, []string{"one"}, w.Running())
	_, err := w.send("one", "m1")
	require.NoError(t, err)

	w.now = w.now.Add(time.Millisecond)
	_, err = w.send("one", "m2") // without a Tick in between
	require.True(t, failure(t, err, ports.WorkerSessionNotFound).IsNotExecuted())
	require.Empty(t, w.Running())
	require.Equal(t, []string{"start w1 one/1", "send w1 one/1", "stop w1 one/1 the lease ran out"}, w.journal())

	w.plane.calls()
	w.plane.beatErr = nil
	w.advance(2 * time.Second)
	require.Contains(t, w.plane.calls(), "heartbeat []")
	require.Equal(t, domain.Connected, w.start("one", 2).Status, "it is a worker like any other again")
}

// However long the answer takes, the lease runs from when the message was sent,
// for the control plane may have begun to count then.
func TestLeaseCountsFromTheSending(t *testing.T) {
	w := newWorld(t, simworker.Config{})
	w.plane.during = func(string) { w.now = w.now.Add(4 * time.Second) }
	w.Crash()
	w.Boot()
	w.step()
	require.Equal(t, began.Add(45*time.Second), w.LeaseEnd())
	w.advance(6 * time.Second)
	require.Equal(t, began.Add(55*time.Second), w.LeaseEnd())
}

func TestLeaseEndsWhileCutOff(t *testing.T) {
	w := newWorld(t, simworker.Config{})
	w.connected("one", 1)
	w.CutOff(true)
	failed(t, w.Health(t.Context()), ports.WorkerUnreachable)
	w.advance(45 * time.Second)
	require.Empty(t, w.Running())
	require.Empty(t, w.plane.calls(), "nothing gets through")
	w.CutOff(false)
	w.advance(2 * time.Second)
	require.NotEmpty(t, w.plane.calls())
}

func TestLeaseEndsDuringAHang(t *testing.T) {
	w := newWorld(t, simworker.Config{})
	w.connected("one", 1)
	w.Hang(true)
	failed(t, w.Health(t.Context()), ports.WorkerTimedOut)
	w.advance(44 * time.Second)
	require.Equal(t, []string{"one"}, w.Running())
	w.advance(time.Second)
	require.Empty(t, w.Running())
	require.Empty(t, w.plane.calls())
	w.Hang(false)
	w.step()
	require.Equal(t, []string{"heartbeat []"}, w.plane.calls())
}

// Without a lease nothing is started: not before the registration's answer has
// been read, nor between the end of a lease and the next that is granted.
func TestNothingRunsWithoutALease(t *testing.T) {
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
	w.start("one", 1) // it is for the control plane to say whether it still is this worker's
}

// A control plane that grants no lease does not know the worker any more, and does
// not take it in again.
func TestNothingRunsThatNoLeaseEnds(t *testing.T) {
	w := newWorld(t, simworker.Config{})
	w.plane.lease = 0
	w.Crash()
	w.Boot()
	w.step()
	w.connected("one", 1)
	w.plane.beatErr = domain.Errorf(domain.NotFound, domain.CodeWorkerNotFound, "who?")
	w.plane.during = func(call string) {
		w.plane.set(func() {
			if w.plane.err = nil; call == "register w1" {
				w.plane.err = errDown
			}
		})
	}
	w.advance(10 * time.Second)
	require.Empty(t, w.Running())
}

// A process that is paused past its lease does nothing more for its sessions,
// whatever was under way, and says in the journal when that was over.
func TestAPauseBeyondTheLease(t *testing.T) {
	pause := func(w *world) { w.now = began.Add(100 * time.Second) } // without a step
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
			if seen++; seen == 2 { // the call was let in, and the message is about to go out
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
				w.now = began.Add(46 * time.Second) // this lease is out, the one that is granted is not
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
