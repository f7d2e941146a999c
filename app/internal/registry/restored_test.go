package registry_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/app/internal/coretest"
	"github.com/switchyard-wa/switchyard/app/internal/txn"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// runningIn is running in a generation.
func runningIn(id string, generation int64) domain.Report {
	r := running(id)
	r.Generation = generation
	return r
}

// newRestored returns a fleet whose store has just been restored from a backup.
func newRestored(t *testing.T) *fixture {
	f := newFixture(t)
	f.AddWorker("worker-1", 50, domain.CapGeneration)
	f.AddWorker("worker-2", 50, domain.CapGeneration)
	f.SetStateGroup("worker-1", "")
	return f
}

func TestHeartbeat_HigherGenerationOfTheOwner_IsAdoptedWithoutACommand(t *testing.T) {
	f := newRestored(t)
	f.AddConnected(f.user, "s1", "worker-1")
	result := f.heartbeat(t, snapshot(runningIn("s1", 7)))
	require.Empty(t, result.Commands)
	require.Equal(t, int64(7), f.Session("s1").Generation)
	require.Equal(t, domain.Connected, f.Session("s1").Status)

	updates, views := f.Stored.Count(func() { f.heartbeat(t, snapshot(runningIn("s1", 7))) })
	require.Equal(t, []int{1, 0}, []int{updates, views}, "it is no news any more")
}

func TestHeartbeat_HigherGenerationOfASessionThatStops_StopReachesIt(t *testing.T) {
	f := newRestored(t)
	f.AddConnected(f.user, "s1", "worker-1")
	f.Change("s1", func(s *domain.Session) { s.Logout(f.Now()) })
	require.Empty(t, f.heartbeat(t, snapshot(runningIn("s1", 7))).Commands)
	require.Equal(t, int64(7), f.Session("s1").Generation)
	var calls []coretest.Call
	f.Gateway.Answer(func(c coretest.Call) error {
		calls = append(calls, c)
		return nil
	})
	_, err := f.reconciler.Session(context.Background(), "s1")
	require.NoError(t, err)
	require.Equal(t, []coretest.Call{{Kind: "logout", Worker: "worker-1", Session: "s1", Generation: 7}}, calls)
}

func TestHeartbeat_GenerationOfTheOwnerIsImplausible_IsRefusedAndChangesNothing(t *testing.T) {
	f := newRestored(t)
	f.AddConnected(f.user, "s1", "worker-1")
	result := f.heartbeat(t, snapshot(runningIn("s1", 1<<50)))
	require.Equal(t, []service.StopCommand{{SessionID: "s1", Generation: 1 << 50}}, result.Commands)
	require.Equal(t, 1, result.Skipped)
	require.Equal(t, []string{"sessions (s1) has the generation 1125899906842624, which is far beyond any that the session was given"}, result.Warnings)
	require.Equal(t, int64(1), f.Session("s1").Generation)
}

// The worker was given the session after the backup.
func TestHeartbeat_HigherGenerationOfAnotherWorker_IsKeptForTheNextAssignment(t *testing.T) {
	for name, prepare := range map[string]func(f *fixture){
		"never given": func(*fixture) {},
		"given before": func(f *fixture) {
			f.Write(func(ctx context.Context, tx *txn.Tx) error {
				s, err := tx.Sessions.Get(ctx, "s1")
				if err != nil {
					return err
				}
				return tx.RecordHolder(ctx, "worker-1", s)
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newRestored(t)
			f.AddConnected(f.user, "s1", "worker-2")
			prepare(f)
			result := f.heartbeat(t, snapshot(runningIn("s1", 7)))
			require.Equal(t, []service.StopCommand{{SessionID: "s1", Generation: 7}}, result.Commands)
			require.Equal(t, int64(1), f.Session("s1").Generation, "only the owner raises it")
			require.Equal(t, int64(7), f.rowsOf("worker-1")[0].Generation)
			require.Equal(t, name == "never given", f.rowsOf("worker-1")[0].IsForeign())

			f.heartbeat(t, snapshot(runningIn("s1", 1<<50)))
			require.Equal(t, int64(7), f.rowsOf("worker-1")[0].Generation, "a lie is not kept")
		})
	}
}

// The wipe that the worker confirmed was of a lower generation and did nothing.
func TestHeartbeat_WipedSessionRunsInAHigherGeneration_IsWipedAgain(t *testing.T) {
	f := newRestored(t)
	f.AddConnected(f.user, "s1", "worker-1")
	f.Change("s1", func(s *domain.Session) { s.Logout(f.Now()); s.StopConfirmed(f.Now()) })
	f.confirmWipe("s1", "worker-1")
	require.Empty(t, f.Cleanups("s1"))
	f.heartbeat(t, snapshot(runningIn("s1", 7)))
	due := f.Cleanups("s1")
	require.Len(t, due, 1)
	require.Equal(t, []any{domain.CommandLogout, int64(7)}, []any{due[0].Command, due[0].Generation})
}

func TestReportSession_HigherGeneration_OnlyTheNamedOwnersIsAdopted(t *testing.T) {
	f := newRestored(t)
	f.AddConnected(f.user, "s1", "worker-1")
	f.Change("s1", func(s *domain.Session) { s.Disconnect(f.Now()) })
	require.Equal(t, domain.NotOwner, f.report(t, domain.Report{SessionID: "s1", Generation: 7, Status: domain.Connected}))
	require.Equal(t, domain.NotOwner, f.report(t, domain.Report{SessionID: "s1", WorkerID: "worker-2", Generation: 7, Status: domain.Connected}))
	require.Equal(t, int64(1), f.Session("s1").Generation)
	require.Equal(t, domain.NotWanted, f.report(t, domain.Report{SessionID: "s1", WorkerID: "worker-1", Generation: 7, Status: domain.Connected}))
	require.Equal(t, int64(7), f.Session("s1").Generation)
}

// A replica has an old cache: the row decides.
func TestHeartbeat_CacheKnowsALowerGeneration_RowIsReadAndNothingIsAdopted(t *testing.T) {
	a := newReplica(coretest.NewReplica(t, "A"))
	a.AddWorker("worker-1", 50, domain.CapGeneration)
	a.AddConnected(a.user, "s1", "worker-1")
	b := newReplica(a.Join("B", 0))
	require.NoError(t, b.Sync.Load(context.Background()))
	a.Change("s1", func(s *domain.Session) { s.RaiseGeneration(3) })
	rev := a.Session("s1").Rev
	require.Empty(t, b.heartbeat(t, snapshot(runningIn("s1", 3))).Commands)
	require.Equal(t, rev, a.Session("s1").Rev)
}
