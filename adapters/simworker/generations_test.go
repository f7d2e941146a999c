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

func TestStart_LowerGeneration_IsRejected(t *testing.T) {
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
	w.start("one", 6) // no generation was blocked
	require.NoError(t, w.Restart(t.Context(), "one", 7))
	require.Equal(t, []string{"stop w1 one/6 restart", "start w1 one/7"}, w.journal()[4:])
	failed(t, w.Restart(t.Context(), "one", 6), ports.WorkerRejected)
}

// An ordered stop is final, whether or not the session ran. It also binds the
// worker's next process.
func TestStop_Ordered_BlocksGenerationForGood(t *testing.T) {
	stops := map[string]func(*world, int64) error{
		"disconnect": func(w *world, g int64) error { return w.Disconnect(t.Context(), "one", g) },
		"logout":     func(w *world, g int64) error { return w.Logout(t.Context(), "one", g) },
		"delete":     func(w *world, g int64) error { return w.Delete(t.Context(), "one", g) },
		"command": func(w *world, g int64) error {
			w.plane.commands = []service.StopCommand{{SessionID: "ONE", Generation: g}}
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
				w.plane.assigned = []service.AssignedSession{{Session: &domain.Session{ID: "one", Generation: g}}}
				w.Crash()
				w.Boot()
				w.step()
				require.Equal(t, service.RecoverySkipped, w.plane.results[0].Status)
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

// A stop that one worker was ordered does not bind another with the same state.
func TestStop_SharedState_BindsOneWorkerOnly(t *testing.T) {
	state := simworker.NewState()
	w := newWorld(t, simworker.Config{State: state})
	w.start("one", 5)
	require.NoError(t, w.Disconnect(t.Context(), "one", 5))
	neighbour := simworker.New(simworker.Config{ID: "w2", State: state, Now: func() time.Time { return w.now }}, w.plane)
	neighbour.Tick(t.Context(), w.now)
	_, err := neighbour.Start(t.Context(), ports.Start{SessionID: "one", Generation: 5})
	require.NoError(t, err)
}

// A session that ended by itself may be started again under the same generation.
func TestStart_SessionEndedByItself_SameGenerationStarts(t *testing.T) {
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
	w.plane.assigned = []service.AssignedSession{{Session: &domain.Session{ID: "one", Generation: 5}}}
	w.Crash()
	w.Boot()
	w.step()
	require.Equal(t, []string{"one"}, w.Running())
}

// The worker applies the commands of a registration before it recovers sessions.
func TestRegister_Commands_ApplyBeforeRecovery(t *testing.T) {
	w := newWorld(t, simworker.Config{})
	w.connected("one", 5)
	w.connected("two", 5)
	w.plane.registering = []service.StopCommand{{SessionID: "one", Generation: 5}, {SessionID: "never-seen", Generation: 9}}
	w.plane.beatErr = domain.Errorf(domain.NotFound, domain.CodeWorkerNotFound, "no")
	w.advance(10 * time.Second)
	require.Equal(t, []string{"two"}, w.Running())
	_, err := w.Start(t.Context(), ports.Start{SessionID: "never-seen", Generation: 9})
	failed(t, err, ports.WorkerRejected)

	w.plane.registering = []service.StopCommand{{SessionID: "two", Generation: 5}}
	w.plane.assigned = []service.AssignedSession{{Session: &domain.Session{ID: "two", Generation: 5}}} // read before the move
	w.Crash()
	w.Boot()
	w.step()
	require.Empty(t, w.Running())
}

// A higher generation takes over the running session, also in a recovery.
func TestRecover_HigherGeneration_TakesOverRun(t *testing.T) {
	w := newWorld(t, simworker.Config{})
	w.connected("one", 5)
	w.plane.assigned = []service.AssignedSession{{Session: &domain.Session{ID: "one", Generation: 6}}}
	w.plane.beatErr = domain.Errorf(domain.Unauthenticated, domain.CodeAuthTokenInvalid, "no")
	w.advance(10 * time.Second)
	require.Contains(t, w.plane.calls(), "register w1", "another token may do")
	require.Equal(t, service.RecoverySuccess, w.plane.results[0].Status)
	require.Equal(t, []string{"start w1 one/5", "continue w1 one/6"}, w.journal())
	require.NoError(t, w.Disconnect(t.Context(), "one", 5))
	require.Equal(t, []string{"one"}, w.Running())
}

func TestHeartbeat_Commands_StopSessions(t *testing.T) {
	w := newWorld(t, simworker.Config{})
	w.connected("one", 5)
	w.connected("two", 3)
	w.plane.commands = []service.StopCommand{{SessionID: "one", Generation: 5}, {SessionID: "two", Generation: 2}, {SessionID: "never-seen", Generation: 9}}
	w.advance(10 * time.Second)
	require.Equal(t, []string{"two"}, w.Running(), "what is not newer than the command stops")
	require.Contains(t, w.journal(), "stop w1 one/5 told to stop")
	_, linked := w.state.Phone("one")
	require.True(t, linked, "credentials stay")

	// A start of a higher generation may overtake the response. The command must not stop it.
	w.plane.commands = []service.StopCommand{{SessionID: "two", Generation: 3}}
	w.plane.during = func(call string) {
		if call == "heartbeat [two/3 CONNECTED]" {
			w.start("two", 4)
		}
	}
	w.advance(10 * time.Second)
	require.Equal(t, []string{"two"}, w.Running())
}
