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
)

func TestHeartbeatsAtTheIntervalTold(t *testing.T) {
	w := newWorld(t, simworker.Config{})
	require.True(t, w.Registered())
	require.Equal(t, began.Add(10*time.Second), w.next)
	w.advance(35 * time.Second)
	require.Equal(t, []string{"heartbeat []", "heartbeat []", "heartbeat []"}, w.plane.calls())
	require.True(t, w.plane.beats[0].Lists)
	require.Equal(t, 10*time.Second, w.plane.beats[0].Uptime)
}

func TestRegistrationIsRepeatedForEver(t *testing.T) {
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

func TestLegacyRegistrationIsTriedFiveTimes(t *testing.T) {
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

func TestUnknownWorkerRegistersAgain(t *testing.T) {
	w := newWorld(t, simworker.Config{})
	w.connected("one", 1)
	w.plane.beatErr = domain.Errorf(domain.NotFound, domain.CodeWorkerNotFound, "no")
	w.advance(10 * time.Second)
	require.Equal(t, []string{"heartbeat [one/1 CONNECTED]", "register w1"}, w.plane.calls())
	require.Equal(t, []string{"one"}, w.Running(), "its sessions go on")
}

func TestQRsFollowEachOther(t *testing.T) {
	w := newWorld(t, simworker.Config{ScanAfter: simworker.Never})
	r := w.start("one", 7)
	require.Equal(t, domain.QRRequired, r.Status)
	require.NotEmpty(t, r.QR.Code)
	w.plane.interval = time.Hour
	w.advance(99 * time.Second)
	require.Len(t, w.plane.reports, 5)
	seen := map[string]bool{}
	for i, r := range w.plane.reports {
		require.Equal(t, domain.QRRequired, r.Status)
		require.Equal(t, "w1", r.WorkerID)
		require.Equal(t, int64(7), r.Generation)
		require.Equal(t, began.Add(time.Duration(i)*20*time.Second), r.At)
		seen[r.QR.Code] = true
	}
	require.Len(t, seen, 5)
	w.advance(time.Second)
	last := w.plane.reports[len(w.plane.reports)-1]
	require.Equal(t, domain.Disconnected, last.Status)
	require.False(t, last.LoggedOut)
	require.Empty(t, w.Running())
	require.Equal(t, []string{"start w1 one/7", "stop w1 one/7 QR attempts used up"}, w.journal())
	_, err := w.Status(t.Context(), "one")
	failed(t, err, ports.WorkerUnknown)
}

func TestScanAndSharedCredentials(t *testing.T) {
	state := simworker.NewState()
	w := newWorld(t, simworker.Config{State: state, ScanAfter: 3 * time.Second})
	w.start("one", 1)
	w.advance(2999 * time.Millisecond)
	require.Len(t, w.plane.reports, 1)
	w.advance(time.Millisecond)
	r := w.plane.reports[1]
	require.Equal(t, domain.Connected, r.Status)
	require.Equal(t, simworker.PhoneOf("one"), r.PhoneNumber)
	require.Equal(t, "Name", r.DisplayName)
	_, err := domain.ParsePhone(r.PhoneNumber)
	require.NoError(t, err)

	other := newWorld(t, simworker.Config{State: state})
	r = other.start("one", 2)
	require.Equal(t, domain.Connected, r.Status, "no QR where the credentials are")
	other.step()
	require.Equal(t, []string{"report one/2 CONNECTED"}, other.plane.calls())
	require.NoError(t, other.Logout(t.Context(), "one", 0))
	require.Equal(t, domain.QRRequired, other.start("one", 3).Status)
}

func TestPairing(t *testing.T) {
	w := newWorld(t, simworker.Config{ScanAfter: time.Second})
	r, err := w.Start(t.Context(), ports.Start{SessionID: "one", Generation: 1, PairingPhone: "6281234567890"})
	require.NoError(t, err)
	require.Regexp(t, `^[0-9A-F]{4}-[0-9A-F]{4}$`, r.PairingCode)
	w.advance(time.Second)
	require.Equal(t, "6281234567890", w.plane.reports[1].PhoneNumber)
}

func TestReceipts(t *testing.T) {
	w := newWorld(t, simworker.Config{ReceiptAfter: 100 * time.Millisecond})
	w.connected("one", 1)
	sent, err := w.send("one", "m1")
	require.NoError(t, err)
	require.Equal(t, began, sent.At)
	w.advance(99 * time.Millisecond)
	require.Empty(t, w.plane.messages)
	w.advance(101 * time.Millisecond)
	require.Equal(t, []domain.MessageReport{
		{SessionID: "one", WhatsAppID: sent.WhatsAppID, Status: domain.MessageDelivered, At: began.Add(100 * time.Millisecond)},
		{SessionID: "one", WhatsAppID: sent.WhatsAppID, Status: domain.MessageRead, At: began.Add(200 * time.Millisecond)},
	}, w.plane.messages)

	w.plane.err = domain.Errorf(domain.NotFound, domain.CodeMessageNotFound, "not yet")
	_, err = w.send("one", "m2")
	require.NoError(t, err)
	w.advance(time.Second)
	w.plane.err = nil
	w.advance(time.Second)
	require.Len(t, w.plane.messages, 4, "they are told again")
}

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
	_, err = w.send("one", "m2") // without a Step in between
	require.True(t, failure(t, err, ports.WorkerUnknown).NotDone())
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

func TestGenerations(t *testing.T) {
	w := newWorld(t, simworker.Config{})
	w.connected("one", 5)
	_, err := w.Start(t.Context(), ports.Start{SessionID: "one", Generation: 4})
	require.Equal(t, 409, failure(t, err, ports.WorkerRejected).Status)
	require.Equal(t, int64(5), w.start("one", 5).Generation, "the same again is no error")
	require.Equal(t, int64(6), w.start("one", 6).Generation, "the same run under a newer number")
	require.Equal(t, []string{"start w1 one/5", "continue w1 one/6"}, w.journal())
	require.NoError(t, w.Disconnect(t.Context(), "one", 0))
	_, err = w.Start(t.Context(), ports.Start{SessionID: "one", Generation: 5})
	failed(t, err, ports.WorkerRejected)
	w.start("one", 6) // no generation was ordered to stop
	require.NoError(t, w.Restart(t.Context(), "one", 7))
	require.Equal(t, []string{"stop w1 one/6 restart", "start w1 one/7"}, w.journal()[4:])
	failed(t, w.Restart(t.Context(), "one", 6), ports.WorkerRejected)
}

// A stop that was ordered is for good, whether or not anything ran, and also for
// the worker's next process.
func TestOrderedStopsAreFinal(t *testing.T) {
	stops := map[string]func(*world, int64) error{
		"disconnect": func(w *world, g int64) error { return w.Disconnect(t.Context(), "one", g) },
		"logout":     func(w *world, g int64) error { return w.Logout(t.Context(), "one", g) },
		"delete":     func(w *world, g int64) error { return w.Delete(t.Context(), "one", g) },
		"command": func(w *world, g int64) error {
			w.plane.commands = []ports.Command{{SessionID: "ONE", Generation: g}}
			w.advance(10 * time.Second)
			return nil
		},
	}
	for name, stop := range stops {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			open := func() *simworker.State {
				state, err := simworker.OpenState(dir)
				require.NoError(t, err)
				t.Cleanup(func() { _ = state.Close() })
				return state
			}
			w := newWorld(t, simworker.Config{State: open()})
			final := func(w *world, g int64) {
				t.Helper()
				_, err := w.Start(t.Context(), ports.Start{SessionID: "one", Generation: g})
				failed(t, err, ports.WorkerRejected)
				failed(t, w.Restart(t.Context(), "one", g), ports.WorkerRejected)
				w.plane.assigned = []ports.AssignedSession{{Session: &domain.Session{ID: "one", Generation: g}}}
				w.Crash()
				w.Boot()
				w.step()
				require.Equal(t, ports.RecoverySkipped, w.plane.results[0].Status)
				w.plane.assigned = nil
				require.Empty(t, w.Running())
			}
			w.connected("one", 5)
			require.NoError(t, stop(w, 4))
			require.Equal(t, []string{"one"}, w.Running(), "what runs is newer")
			_, linked := w.state.Phone("one")
			require.True(t, linked, "what it uses too")
			require.NoError(t, stop(w, 5))
			final(w, 5)
			require.NoError(t, stop(w, 7), "nothing of it runs, but a start may be on its way")
			final(w, 6)
			require.NoError(t, stop(w, 3))
			final(w, 7)

			other := newWorld(t, simworker.Config{State: open()}) // the next process
			final(other, 7)
			other.start("one", 8)
		})
	}
}

// What one worker was told to stop another may run, with a state that they share.
func TestOrderedStopsAreTheWorkersOwn(t *testing.T) {
	state := simworker.NewState()
	w := newWorld(t, simworker.Config{State: state})
	w.start("one", 5)
	require.NoError(t, w.Disconnect(t.Context(), "one", 5))
	neighbour := simworker.New(simworker.Config{ID: "w2", State: state, Now: func() time.Time { return w.now }}, w.plane)
	neighbour.Step(t.Context(), w.now)
	_, err := neighbour.Start(t.Context(), ports.Start{SessionID: "one", Generation: 5})
	require.NoError(t, err)
}

// Sessions that end by themselves may be started again under the same number.
func TestUnorderedStopsAreNot(t *testing.T) {
	w := newWorld(t, simworker.Config{})
	w.connected("one", 5)
	require.NoError(t, w.Unlink("one"))
	w.start("one", 5)
	require.NoError(t, w.Scan("one"))
	require.NoError(t, w.Ban("one"))
	w.start("one", 5)
	w.plane.beatErr = errDown
	w.advance(45 * time.Second)
	require.Empty(t, w.Running())
	w.plane.beatErr = nil
	w.advance(2 * time.Second)
	w.start("one", 5)
	w.plane.assigned = []ports.AssignedSession{{Session: &domain.Session{ID: "one", Generation: 5}}}
	w.Crash()
	w.Boot()
	w.step()
	require.Equal(t, []string{"one"}, w.Running())
}

// The commands in a registration's answer come before anything is recovered.
func TestCommandsOfARegistration(t *testing.T) {
	w := newWorld(t, simworker.Config{})
	w.connected("one", 5)
	w.connected("two", 5)
	w.plane.registering = []ports.Command{{SessionID: "one", Generation: 5}, {SessionID: "never-seen", Generation: 9}}
	w.plane.beatErr = domain.Errorf(domain.NotFound, domain.CodeWorkerNotFound, "no")
	w.advance(10 * time.Second)
	require.Equal(t, []string{"two"}, w.Running())
	_, err := w.Start(t.Context(), ports.Start{SessionID: "never-seen", Generation: 9})
	failed(t, err, ports.WorkerRejected)

	w.plane.registering = []ports.Command{{SessionID: "two", Generation: 5}}
	w.plane.assigned = []ports.AssignedSession{{Session: &domain.Session{ID: "two", Generation: 5}}} // from before it moved
	w.Crash()
	w.Boot()
	w.step()
	require.Empty(t, w.Running())
}

// A newer generation takes over what runs, also by way of a recovery.
func TestRecoveryTakesOver(t *testing.T) {
	w := newWorld(t, simworker.Config{})
	w.connected("one", 5)
	w.plane.assigned = []ports.AssignedSession{{Session: &domain.Session{ID: "one", Generation: 6}}}
	w.plane.beatErr = domain.Errorf(domain.Unauthenticated, domain.CodeAuthTokenInvalid, "no")
	w.advance(10 * time.Second)
	require.Contains(t, w.plane.calls(), "register w1", "another token may do")
	require.Equal(t, ports.RecoverySuccess, w.plane.results[0].Status)
	require.Equal(t, []string{"start w1 one/5", "continue w1 one/6"}, w.journal())
	require.NoError(t, w.Disconnect(t.Context(), "one", 5))
	require.Equal(t, []string{"one"}, w.Running())
}

// A process that is paused past its lease does nothing more for its sessions,
// whatever was under way, and says in the journal when that was over.
func TestAPauseBeyondTheLease(t *testing.T) {
	pause := func(w *world) { w.now = began.Add(100 * time.Second) } // without a step
	over := began.Add(45 * time.Second)
	for name, act := range map[string]func(w *world){
		"health": func(w *world) { require.NoError(t, w.Health(t.Context())) },
		"a list": func(w *world) { list, err := w.List(t.Context()); require.NoError(t, err); require.Empty(t, list) },
		"a send": func(w *world) { _, err := w.send("one", "m1"); failed(t, err, ports.WorkerUnknown) },
		"a start": func(w *world) {
			_, err := w.Start(t.Context(), ports.Start{SessionID: "one", Generation: 1})
			require.Equal(t, 503, failure(t, err, ports.WorkerFailed).Status)
		},
		"a restart":   func(w *world) { failed(t, w.Restart(t.Context(), "one", 1), ports.WorkerFailed) },
		"the phone":   func(w *world) { failed(t, w.LoseLink("one", time.Second), ports.WorkerUnknown) },
		"a message":   func(w *world) { failed(t, w.Receive(t.Context(), "one", "628999", "hi"), ports.WorkerUnknown) },
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
		w.plane.assigned = []ports.AssignedSession{{Session: &domain.Session{ID: "one", Generation: 1}}}
		w.Crash()
		w.Boot()
		w.plane.during = func(call string) {
			if call == "assigned" {
				pause(w)
			}
		}
		w.step()
		require.Equal(t, ports.RecoverySkipped, w.plane.results[0].Status)
		require.Equal(t, []string{"crash w1 /0"}, w.journal())
	})
}

func TestCommands(t *testing.T) {
	w := newWorld(t, simworker.Config{})
	w.connected("one", 5)
	w.connected("two", 3)
	w.plane.commands = []ports.Command{{SessionID: "one", Generation: 5}, {SessionID: "two", Generation: 2}, {SessionID: "never-seen", Generation: 9}}
	w.advance(10 * time.Second)
	require.Equal(t, []string{"two"}, w.Running(), "what is not newer than the command stops")
	require.Contains(t, w.journal(), "stop w1 one/5 told to stop")
	_, linked := w.state.Phone("one")
	require.True(t, linked, "credentials stay")

	// A newer start that overtakes the answer is not what the command is about.
	w.plane.commands = []ports.Command{{SessionID: "two", Generation: 3}}
	w.plane.during = func(call string) {
		if call == "heartbeat [two/3 CONNECTED]" {
			w.start("two", 4)
		}
	}
	w.advance(10 * time.Second)
	require.Equal(t, []string{"two"}, w.Running())
}

func TestDedupe(t *testing.T) {
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

func TestRecovery(t *testing.T) {
	w := newWorld(t, simworker.Config{ScanAfter: simworker.Never})
	w.connected("linked", 3)
	w.start("waiting", 4)
	w.step()
	w.Crash()
	failed(t, w.Health(t.Context()), ports.WorkerRefused)
	w.plane.assigned = []ports.AssignedSession{
		{Session: &domain.Session{ID: "linked", Name: "L", UserID: "u", Generation: 3}},
		{Session: &domain.Session{ID: "waiting", Name: "W", UserID: "u", Generation: 4}},
	}
	w.plane.calls()
	w.Boot()
	w.step()
	require.Equal(t, []string{"register w1", "assigned", "recovered", "report linked/3 CONNECTED", "report waiting/4 QR_REQUIRED"}, w.plane.calls())
	require.Len(t, w.plane.results, 2)
	require.Equal(t, ports.RecoverySuccess, w.plane.results[0].Status)
	require.Equal(t, ports.RecoverySkipped, w.plane.results[1].Status)
	require.Equal(t, []string{"linked", "waiting"}, w.Running())

	// A failure on the way is no reason to forget it.
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

func TestReportsAreRepeatedUntilHeard(t *testing.T) {
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

// Older workers report inside the calls, before they answer, and only once.
func TestLegacyReportsInsideCalls(t *testing.T) {
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

func TestGracefulStop(t *testing.T) {
	w := newWorld(t, simworker.Config{})
	w.connected("one", 1)
	require.NoError(t, w.Stop(t.Context()))
	require.Equal(t, []string{"preserved [one]", "unregister w1 http://w1.sim:1"}, w.plane.calls())
	require.Equal(t, []string{"start w1 one/1", "stop w1 one/1 worker stops"}, w.journal())
	failed(t, w.Health(t.Context()), ports.WorkerRefused)
	_, linked := w.state.Phone("one")
	require.True(t, linked)
	require.True(t, w.Step(t.Context(), w.now).IsZero(), "there is nothing left to do")

	older := newWorld(t, simworker.Config{Legacy: true})
	older.connected("one", 1)
	require.NoError(t, older.Stop(t.Context()))
	require.Equal(t, []string{"unregister w1 http://w1.sim:1"}, older.plane.calls())
	_, linked = older.state.Phone("one")
	require.False(t, linked, "it logs every session out")
}

func TestPhone(t *testing.T) {
	w := newWorld(t, simworker.Config{})
	w.connected("one", 1)
	require.NoError(t, w.LoseLink("one", 4*time.Second))
	_, err := w.send("one", "m1")
	failed(t, err, ports.WorkerRejected)
	w.advance(4 * time.Second)
	require.Equal(t, []string{"report one/1 RECONNECTING", "report one/1 CONNECTED"}, w.plane.calls())

	require.NoError(t, w.Receive(t.Context(), "one", "628999@s.whatsapp.net", "hi"))
	require.Equal(t, []string{`received one 628999@s.whatsapp.net "hi"`}, w.plane.calls())

	require.NoError(t, w.Unlink("one"))
	w.step()
	last := w.plane.reports[len(w.plane.reports)-1]
	require.Equal(t, domain.Disconnected, last.Status)
	require.True(t, last.LoggedOut)
	_, linked := w.state.Phone("one")
	require.False(t, linked)
	failed(t, w.Unlink("one"), ports.WorkerUnknown)

	w.connected("two", 1)
	require.NoError(t, w.Ban("two"))
	w.step()
	last = w.plane.reports[len(w.plane.reports)-1]
	require.Equal(t, domain.Errored, last.Status)
	require.NotEmpty(t, last.Error)
}

func TestLimits(t *testing.T) {
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

func TestFailRate(t *testing.T) {
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

// The control plane may call back from inside every call: no lock is held.
func TestNoLockAcrossCalls(t *testing.T) {
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

// What began in one process does nothing to the next.
func TestCrashDuringACall(t *testing.T) {
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

func TestReplay(t *testing.T) {
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
