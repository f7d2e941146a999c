package apptest_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/sqlite"
	"github.com/switchyard-wa/switchyard/app/apptest"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// restorable is a fleet whose store can go back to a backup.
type restorable struct {
	*apptest.Harness
	t    *testing.T
	path string
}

func newRestorable(t *testing.T, o apptest.Options) *restorable {
	r := &restorable{t: t, path: filepath.Join(t.TempDir(), "fleet.db")}
	o.Store = r.open()
	r.Harness = apptest.With(t, o)
	return r
}

func (r *restorable) open() ports.Store {
	r.t.Helper()
	s, err := sqlite.Open(r.t.Context(), r.path, sqlite.Options{Migrate: true})
	require.NoError(r.t, err)
	return s
}

// backup returns the content of the store. The control plane starts again meanwhile.
func (r *restorable) backup() []byte {
	r.t.Helper()
	require.NoError(r.t, r.Store.Close())
	content, err := os.ReadFile(r.path)
	require.NoError(r.t, err)
	r.Store = r.open()
	r.Restart()
	return content
}

// restore starts the control plane again on the content of a backup. The workers run on.
func (r *restorable) restore(content []byte) {
	r.t.Helper()
	require.NoError(r.t, r.Store.Close())
	require.NoError(r.t, os.WriteFile(r.path, content, 0o600))
	r.Store = r.open()
	r.Restart()
}

// move moves a session to a worker.
func (r *restorable) move(id, worker string) {
	r.t.Helper()
	_, err := r.Orchestrator.Operations.Migrate(r.t.Context(), id, service.MigrateOptions{TargetWorkerID: workerName(worker)})
	require.NoError(r.t, err)
	r.Advance(10 * time.Second)
	require.Equal(r.t, map[string]int{workerName(worker): 1}, connectedOn(r.t, r.Harness, []string{id}))
}

// newRestoredLine returns a fleet whose only session has moved to w2 and back some times since the backup.
func newRestoredLine(t *testing.T, o apptest.Options, rounds int) (r *restorable, id string, backup []byte) {
	r = newRestorable(t, o)
	r.Workers("w1", 5)
	id = connectSessions(r.Harness, 1)[0]
	r.Workers("w2", 5)
	backup = r.backup()
	r.Advance(20 * time.Second)
	for range rounds {
		r.move(id, "w2")
		r.move(id, "w1")
	}
	return r, id, backup
}

func TestRestore_WorkerRunsAHigherGeneration_SessionStaysAndTheGenerationIsAdopted(t *testing.T) {
	r, id, backup := newRestoredLine(t, apptest.Options{}, 10)
	newest := r.Session(id).Generation
	require.Equal(t, int64(21), newest)
	r.restore(backup)
	require.Equal(t, int64(1), r.Session(id).Generation)

	for end := r.Now().Add(2 * time.Minute); r.Now().Before(end); r.Advance(time.Second) {
		require.Equal(t, map[string]int{"worker-w1": 1}, connectedOn(t, r.Harness, []string{id}))
		r.Send(r.Session(id), "6281234567890", "hello")
	}
	require.Equal(t, newest, r.Session(id).Generation)
	require.Len(t, placements(r.Harness, id), 1, "it was not placed again")
	r.move(id, "w2")
	require.Greater(t, r.Session(id).Generation, newest)
}

// An inbound message comes before the first heartbeat. Workers send it once.
func TestRestore_MessageArrivesBeforeTheHeartbeat_IsStored(t *testing.T) {
	r, id, backup := newRestoredLine(t, apptest.Options{}, 1)
	r.restore(backup)
	require.NoError(t, r.Worker("w1").Receive(t.Context(), id, "6281234567890", "hello"))
	require.Equal(t, int64(1), r.Session(id).Generation, "no report has come yet")
	require.Equal(t, 1, count(eventTypes(r.Harness, id), domain.EventMessageReceived))
}

// The session has moved since the backup. The worker that has it now is told to stop, and the next
// assignment has a generation above.
func TestRestore_SessionHasMoved_IsConnectedAgainWithinAMinute(t *testing.T) {
	r, id, backup := newRestoredLine(t, apptest.Options{}, 10)
	r.move(id, "w2")
	newest := r.Session(id).Generation
	r.restore(backup)
	r.Advance(10 * time.Second) // the heartbeats
	took := advanceUntilConnected(t, r.Harness, []string{id}, time.Minute)
	t.Log("connected again after", took)
	require.Greater(t, r.Session(id).Generation, newest)
	r.Advance(2 * time.Minute)
	connectedOn(t, r.Harness, []string{id})
}

// The user logs out before the worker has reported its generation. The worker confirms the stop of an
// older generation and does nothing. It is told again, and its credentials end.
func TestRestore_LogoutBeforeTheFirstHeartbeat_CredentialsEnd(t *testing.T) {
	for name, end := range map[string]func(r *restorable, s *domain.Session) error{
		"logout": func(r *restorable, s *domain.Session) error {
			_, err := r.Orchestrator.Sessions.Logout(r.t.Context(), s.UserID, s.ID)
			return err
		},
		"delete": func(r *restorable, s *domain.Session) error {
			return r.Orchestrator.Sessions.Delete(r.t.Context(), s.UserID, s.ID)
		},
	} {
		t.Run(name, func(t *testing.T) {
			r, id, backup := newRestoredLine(t, apptest.Options{}, 3)
			r.restore(backup)
			require.NoError(t, end(r, r.Session(id)))
			r.Advance(2 * time.Minute)
			require.Empty(t, r.Owners(id))
			_, isLinked := r.Worker("w1").State().Phone(id)
			require.False(t, isLinked)
		})
	}
}

// A worker was told to stop generations that the store does not know, and runs nothing.
func TestRestore_WorkerRefusesTheGenerations_SessionStartsWithinTwoMinutes(t *testing.T) {
	r := newRestorable(t, apptest.Options{})
	r.Workers("w1", 5)
	id := connectSessions(r.Harness, 1)[0]
	user := r.Session(id).UserID
	backup := r.backup()
	for range 20 {
		_, err := r.Orchestrator.Sessions.Disconnect(t.Context(), user, id)
		require.NoError(t, err)
		r.Advance(time.Minute)
		_, err = r.Orchestrator.Sessions.Connect(t.Context(), user, id, service.ConnectOptions{})
		require.NoError(t, err)
		r.Advance(time.Minute)
	}
	newest := r.Session(id).Generation
	_, err := r.Orchestrator.Sessions.Disconnect(t.Context(), user, id)
	require.NoError(t, err)
	r.Advance(time.Minute)
	r.restore(backup)
	r.Advance(30 * time.Second) // the list without the session
	took := advanceUntilConnected(t, r.Harness, []string{id}, 2*time.Minute)
	t.Log("connected again after", took, "at", r.Session(id).Generation, "above", newest)
	require.Greater(t, r.Session(id).Generation, newest)
}

// The worker process starts again on a restored store. It recovers what the store knows.
func TestRestore_WorkerRestarts_RecoversItsSessions(t *testing.T) {
	r, id, backup := newRestoredLine(t, apptest.Options{}, 3)
	r.restore(backup)
	r.Crash("w1")
	r.RestartWorker("w1")
	r.Advance(10 * time.Second)
	advanceUntilConnected(t, r.Harness, []string{id}, 2*time.Minute)
}
