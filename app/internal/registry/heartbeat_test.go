package registry_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/app/internal/coretest"
	"github.com/switchyard-wa/switchyard/app/internal/txn"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// snapshot returns a heartbeat of worker-1 that lists all its sessions.
func snapshot(reports ...domain.Report) domain.Heartbeat {
	return domain.Heartbeat{WorkerID: "worker-1", IsFullSnapshot: true, Sessions: reports}
}

func running(id string) domain.Report { return domain.Report{SessionID: id, Status: domain.Connected} }

func TestHeartbeat_NoNews_WritesOneRowAndReadsNothing(t *testing.T) {
	f := newFixture(t)
	f.AddWorker("worker-1", 50)
	f.AddConnected(f.user, "s1", "worker-1")
	f.heartbeat(t, snapshot(running("s1")))
	f.Clock.Advance(30 * time.Second)
	f.AfterCommit(func(context.Context, *txn.Changes) { t.Error("other replicas were told") })

	updates, views := f.Stored.Count(func() {
		result := f.heartbeat(t, snapshot(running("s1")))
		require.Equal(t, 1, result.Processed)
		require.Zero(t, result.Synced)
		require.Equal(t, 1, result.Worker.Used)
		require.Equal(t, f.Timing.Lease, result.Lease)
	})
	require.Equal(t, 1, updates)
	require.Zero(t, views)
	require.Equal(t, f.Now(), f.Worker("worker-1").LastHeartbeat)
}

func TestHeartbeat_CacheIsOld_RowIsReadAndNothingIsLost(t *testing.T) {
	a := newReplica(coretest.NewReplica(t, "A"))
	a.AddSharingWorker("worker-1", 50, domain.CapGeneration)
	a.AddConnected(a.user, "s1", "worker-1")
	b := newReplica(a.Join("B", 0))
	require.NoError(t, b.Sync.Load(context.Background()))
	a.down("worker-1", domain.DownHeartbeatTimeout) // B does not know
	a.Report("s1", domain.Reconnecting)

	result := b.heartbeat(t, snapshot(running("s1")))
	require.True(t, b.Worker("worker-1").Online)
	require.Contains(t, b.Events(), domain.EventWorkerOnline)
	require.Equal(t, 1, result.Synced, "what it lists is compared again")
	require.Equal(t, domain.Connected, b.Session("s1").Status)
}

func TestHeartbeat_StatusChanged_IsApplied(t *testing.T) {
	f := newFixture(t)
	f.AddWorker("worker-1", 50)
	f.AddAssigned(f.user, "s1", "worker-1")
	result := f.heartbeat(t, snapshot(running("s1")))
	require.Equal(t, 1, result.Synced)
	require.Equal(t, domain.Connected, f.Session("s1").Status)
	require.Equal(t, 1, result.Breakdown.Connected)
}

func TestHeartbeat_SessionOfAnotherWorker_WorkerIsCommandedToStopItAndIsAHolder(t *testing.T) {
	f := newFixture(t)
	f.AddSharingWorker("worker-1", 50, domain.CapGeneration)
	f.AddSharingWorker("worker-2", 50)
	f.AddConnected(f.user, "elsewhere", "worker-2")
	result := f.heartbeat(t, snapshot(running("elsewhere")))
	require.Equal(t, []service.StopCommand{{SessionID: "elsewhere", Generation: 1}}, result.Commands)
	require.Equal(t, "worker-2", f.Session("elsewhere").WorkerID)
	require.Len(t, f.Holders("elsewhere"), 2)
}

func TestHeartbeat_DeletedSessionRuns_IsStoppedAndWiped(t *testing.T) {
	f := newFixture(t)
	f.AddWorker("worker-1", 50, domain.CapGeneration)
	f.AddConnected(f.user, "gone", "worker-1")
	f.DeleteSession("gone")
	f.confirmWipe("gone", "worker-1")
	require.Empty(t, f.Cleanups("gone"))
	gone := running("gone")
	gone.Generation = 1
	result := f.heartbeat(t, snapshot(gone))
	require.Equal(t, []service.StopCommand{{SessionID: "gone", Generation: 1}}, result.Commands)
	require.Equal(t, domain.CommandDelete, f.Cleanups("gone")[0].Command)
	require.Equal(t, "worker-1", f.Cleanups("gone")[0].WorkerID)
}

// confirmWipe records that a worker has wiped a session.
func (f *fixture) confirmWipe(sessionID, workerID string) {
	by := f.Worker(workerID)
	f.Write(func(ctx context.Context, tx *txn.Tx) error { return tx.RecordWiped(ctx, by, sessionID, 1) })
}

// What a worker runs that was never given the session belongs to somebody else. It is stopped if the
// store knows the id, and wiped by nobody but an administrator.
func TestHeartbeat_SessionWasNeverGivenToTheWorker_IsForeignThereAndNotWiped(t *testing.T) {
	for name, prepare := range map[string]func(f *fixture){
		"deleted": func(f *fixture) {
			f.AddConnected(f.user, "line", "worker-2")
			f.DeleteSession("line")
			f.confirmWipe("line", "worker-2")
		},
		"unlinked": func(f *fixture) { f.AddSession(f.user, "line") },
		"linked":   func(f *fixture) { f.AddConnected(f.user, "line", "worker-2") },
	} {
		for kind, capabilities := range map[string][]domain.Capability{"capable": {domain.CapGeneration}, "legacy": nil} {
			t.Run(name+" "+kind, func(t *testing.T) {
				f := newFixture(t)
				f.AddSharingWorker("worker-1", 50, capabilities...)
				f.AddSharingWorker("worker-2", 50, domain.CapGeneration)
				f.SetStateGroup("worker-1", "")
				prepare(f)
				foreign := running("line")
				foreign.PhoneNumber = "6281234567890"
				result := f.heartbeat(t, snapshot(foreign))
				require.Equal(t, capabilities != nil, len(result.Commands) == 1)

				row := f.rowsOf("worker-1")[0]
				require.Equal(t, []any{domain.CommandForeign, true}, []any{row.Command, row.BlocksID()})
				f.reconciler.Cleanup(context.Background(), "worker-1", "line")
				require.NotContains(t, f.Gateway.Calls(), "delete worker-1 line")
				require.NotContains(t, f.Gateway.Calls(), "logout worker-1 line")
				require.Equal(t, capabilities == nil, slices.Contains(f.Gateway.Calls(), "disconnect worker-1 line"))

				view, _, err := f.workers.Get(context.Background(), "worker-1")
				require.NoError(t, err)
				require.Len(t, view.Foreign, 1)
				require.Equal(t, []any{"line", f.Now()}, []any{view.Foreign[0].SessionID, view.Foreign[0].FirstSeenAt})

				if name != "deleted" {
					f.DeleteSession("line")
				}
				require.Equal(t, domain.CommandForeign, f.rowsOf("worker-1")[0].Command, "a deletion wipes nothing there")
				require.NoError(t, f.workers.StopForeign(context.Background(), "worker-1", "line", service.StopForeignOptions{Wipe: true}))
				require.Empty(t, f.rowsOf("worker-1"))
			})
		}
	}
}

func TestHeartbeat_SessionNeverKnown_IsLeftAloneAndListed(t *testing.T) {
	for name, capabilities := range map[string][]domain.Capability{"capable": {domain.CapGeneration}, "legacy": nil} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.AddWorker("worker-1", 50, capabilities...)
			foreign := running("unknown")
			foreign.PhoneNumber = "6281234567890"
			for range 2 {
				require.Empty(t, f.heartbeat(t, snapshot(foreign)).Commands)
			}
			require.Empty(t, f.Cleanups("unknown"), "nothing is to be done about it")
			view, _, err := f.workers.Get(context.Background(), "worker-1")
			require.NoError(t, err)
			require.Equal(t, []domain.ForeignSession{
				{SessionID: "unknown", IsRunning: true, Status: domain.Connected, PhoneNumber: "6281234567890", FirstSeenAt: f.Now(), LastSeenAt: f.Now()},
			}, view.Foreign)
			require.True(t, f.Cache.IsForeign("unknown"))

			f.heartbeat(t, snapshot())
			view, _, err = f.workers.Get(context.Background(), "worker-1")
			require.NoError(t, err)
			require.Equal(t, []domain.ForeignSession{{SessionID: "unknown", FirstSeenAt: f.Now()}}, view.Foreign, "its id is taken still")
			require.False(t, f.Cache.IsForeign("unknown"))
		})
	}
}

// An id stays taken, also when the worker lists it no longer and the server was restarted.
func TestHeartbeat_ForeignSession_IDIsTakenUntilItIsWiped(t *testing.T) {
	f := newFixture(t)
	f.AddWorker("worker-1", 50, domain.CapGeneration)
	f.heartbeat(t, snapshot(running("unknown")))
	f.heartbeat(t, snapshot())
	taken := func() bool {
		rows := f.Holders("unknown")
		return len(rows) == 1 && rows[0].BlocksID() && rows[0].DueAt.IsZero()
	}
	require.True(t, taken())
	f.down("worker-1", domain.DownHeartbeatTimeout)
	require.Empty(t, f.heartbeat(t, snapshot()).Commands, "nothing stops it")
	require.True(t, taken())
	require.NoError(t, f.workers.StopForeign(context.Background(), "worker-1", "unknown", service.StopForeignOptions{}))
	require.True(t, taken(), "its credentials are there still")
	f.Gateway.Fail(ports.WorkerTimedOut)
	require.Error(t, f.workers.StopForeign(context.Background(), "worker-1", "unknown", service.StopForeignOptions{Wipe: true}))
	require.True(t, taken())
	f.Gateway.Succeed()
	require.NoError(t, f.workers.StopForeign(context.Background(), "worker-1", "unknown", service.StopForeignOptions{Wipe: true}))
	require.Empty(t, f.Holders("unknown"))
}

func TestHeartbeat_ForeignSessions_AreRecordedOnceAndUpToABound(t *testing.T) {
	f := newFixture(t)
	f.AddWorker("worker-1", 2000)
	many := make([]domain.Report, 1100)
	for i := range many {
		many[i] = running(fmt.Sprintf("unknown-%04d", i))
	}
	for range 12 {
		f.heartbeat(t, snapshot(many...))
	}
	rows := f.rowsOf("worker-1")
	require.Len(t, rows, 1000)
	f.heartbeat(t, snapshot())
	f.heartbeat(t, snapshot(many[:50]...))
	require.Equal(t, rows, f.rowsOf("worker-1"), "nothing is new")
}

// rowsOf returns the rows of a worker.
func (f *fixture) rowsOf(workerID string) (rows []*domain.Cleanup) {
	f.Read(func(ctx context.Context, tx *ports.Tx) (err error) {
		rows, err = tx.Cleanups.ByWorker(ctx, workerID)
		return err
	})
	return rows
}

// A list that the worker sent before the wipe arrives after it.
func TestHeartbeat_ListIsOlderThanTheWipe_SessionIsNotForeign(t *testing.T) {
	f := newFixture(t)
	f.AddWorker("worker-1", 50, domain.CapGeneration)
	f.AddConnected(f.user, "s1", "worker-1")
	f.Change("s1", func(s *domain.Session) { s.Logout(f.Now()); s.StopConfirmed(f.Now()) })
	f.confirmWipe("s1", "worker-1")
	require.Len(t, f.heartbeat(t, snapshot(running("s1"))).Commands, 1)
	require.False(t, f.rowsOf("worker-1")[0].IsForeign())
}

func TestHeartbeat_ForeignSessionAgain_IsNoNews(t *testing.T) {
	f := newFixture(t)
	f.AddWorker("worker-1", 50)
	h := snapshot(running("unknown"))
	f.heartbeat(t, h)
	diff := f.Cache.DiffHeartbeat(&h, f.Timing, f.Now())
	require.True(t, diff.IsEmpty())
}

func TestHeartbeat_ForeignIDIsCreatedHere_IsNoLongerForeign(t *testing.T) {
	f := newFixture(t)
	f.AddWorker("worker-1", 50, domain.CapGeneration)
	f.heartbeat(t, snapshot(running("unknown")))
	f.AddSession(f.user, "unknown")
	require.False(t, f.Cache.IsForeign("unknown"))
	require.Len(t, f.heartbeat(t, snapshot(running("unknown"))).Commands, 1)
}

func TestStopForeign_AdministratorAsks_StopsOrWipesIt(t *testing.T) {
	for kind, opt := range map[string]service.StopForeignOptions{"disconnect": {}, "delete": {Wipe: true}} {
		f := newFixture(t)
		f.AddWorker("worker-1", 50)
		f.heartbeat(t, snapshot(running("unknown")))
		require.NoError(t, f.workers.StopForeign(context.Background(), "worker-1", "Unknown", opt))
		require.Equal(t, []string{kind + " worker-1 unknown"}, f.Gateway.Calls())
		require.False(t, f.Cache.IsForeign("unknown"))
	}
}

func TestStopForeign_SessionIsKnown_IsRefused(t *testing.T) {
	f := newFixture(t)
	f.AddWorker("worker-1", 50)
	f.AddConnected(f.user, "s1", "worker-1")
	err := f.workers.StopForeign(context.Background(), "worker-1", "s1", service.StopForeignOptions{Wipe: true})
	require.Equal(t, domain.CodeInvalidState, domain.CodeOf(err))
	require.Empty(t, f.Gateway.Calls())
	err = f.workers.StopForeign(context.Background(), "none", "s1", service.StopForeignOptions{})
	require.Equal(t, domain.CodeWorkerNotFound, domain.CodeOf(err))
}

func TestHeartbeat_ForeignSessionOnALegacyWorker_IsStoppedByACleanup(t *testing.T) {
	f := newFixture(t)
	f.AddSharingWorker("worker-1", 50)
	f.AddSharingWorker("worker-2", 50)
	f.AddConnected(f.user, "elsewhere", "worker-2")
	result := f.heartbeat(t, snapshot(running("elsewhere")))
	require.Empty(t, result.Commands)
	require.Equal(t, "worker-1", f.Cleanups("elsewhere")[0].WorkerID)
	require.Equal(t, domain.CommandDisconnect, f.Cleanups("elsewhere")[0].Command)
	require.Len(t, f.Queue.Woken(), 1)
}

func TestHeartbeat_SessionIsBeingStoppedThere_NoCommandIsAdded(t *testing.T) {
	f := newFixture(t)
	f.AddWorker("worker-1", 50, domain.CapGeneration)
	f.AddConnected(f.user, "s1", "worker-1")
	f.Change("s1", func(s *domain.Session) { s.Disconnect(f.Now()) })
	require.Empty(t, f.heartbeat(t, snapshot(running("s1"))).Commands)
}

func TestHeartbeat_WorkerIsBack_ItsSessionsAndCleanupsAreLookedAfter(t *testing.T) {
	f := newFixture(t)
	f.AddSharingWorker("worker-1", 50, domain.CapGeneration)
	f.AddConnected(f.user, "s1", "worker-1")
	f.AddConnected(f.user, "gone", "worker-1")
	f.down("worker-1", domain.DownHeartbeatTimeout)
	f.DeleteSession("gone")

	gone := running("gone")
	gone.Generation = 1
	result := f.heartbeat(t, snapshot(gone))
	require.True(t, f.Worker("worker-1").Online)
	require.Equal(t, f.Now(), f.Cleanups("gone")[0].DueAt)
	require.Equal(t, []service.StopCommand{{SessionID: "gone", Generation: 1}}, result.Commands, "once")
	require.Equal(t, domain.CommandStart, f.Session("s1").Command)
	require.Equal(t, f.Now().Add(f.Timing.DisconnectDebounce), f.Session("s1").DueAt)
}

func TestHeartbeat_SessionIsMissing_IsStartedAgain(t *testing.T) {
	f := newFixture(t)
	f.AddWorker("worker-1", 50)
	f.AddConnected(f.user, "s1", "worker-1")
	f.Clock.Advance(time.Minute)
	f.heartbeat(t, snapshot())
	s := f.Session("s1")
	require.Equal(t, domain.CommandStart, s.Command)
	require.Equal(t, domain.Reconnecting, s.Status)
	require.Equal(t, f.Now(), s.DueAt)
}

func TestHeartbeat_StopIsMissingAfterItsAttempts_ListConfirmsIt(t *testing.T) {
	f := newFixture(t)
	f.AddWorker("worker-1", 50)
	f.AddConnected(f.user, "s1", "worker-1")
	f.Change("s1", func(s *domain.Session) { s.Disconnect(f.Now()) })
	f.heartbeat(t, snapshot())
	require.Equal(t, "worker-1", f.Session("s1").WorkerID, "the stop is still being made")

	f.Change("s1", func(s *domain.Session) { s.Attempts = f.Timing.StartAttempts })
	f.heartbeat(t, snapshot())
	require.Empty(t, f.Session("s1").WorkerID)
	require.Len(t, f.Cleanups("s1"), 1)
}

func TestHeartbeat_UnknownWorker_IsToldToRegister(t *testing.T) {
	f := newFixture(t)
	_, err := f.protocol.Heartbeat(context.Background(), domain.Heartbeat{WorkerID: "worker-1"})
	require.Equal(t, domain.CodeWorkerNotFound, domain.CodeOf(err))
}

func TestHeartbeat_ReplicaWasPausedMeanwhile_EndsAndMissingSessionsAreNotBelieved(t *testing.T) {
	f := newFixture(t)
	f.AddWorker("worker-1", 50)
	f.AddConnected(f.user, "ended", "worker-1")
	f.AddConnected(f.user, "missing", "worker-1")
	f.AddAssigned(f.user, "started", "worker-1")
	f.Clock.Advance(time.Minute)
	f.Stored.BeforeUpdate(func() { f.Clock.Advance(5*time.Second + time.Millisecond) })

	f.heartbeat(t, snapshot(domain.Report{SessionID: "ended", Status: domain.Disconnected}, running("started")))
	require.Equal(t, domain.Connected, f.Session("ended").Status)
	require.Equal(t, domain.Connected, f.Session("missing").Status)
	require.Equal(t, domain.Connected, f.Session("started").Status, "what runs is no end")
}
