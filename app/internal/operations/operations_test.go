package operations_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/memory"
	"github.com/switchyard-wa/switchyard/app/internal/apikeys"
	"github.com/switchyard-wa/switchyard/app/internal/coretest"
	"github.com/switchyard-wa/switchyard/app/internal/failure"
	"github.com/switchyard-wa/switchyard/app/internal/migration"
	"github.com/switchyard-wa/switchyard/app/internal/operations"
	"github.com/switchyard-wa/switchyard/app/internal/reconcile"
	"github.com/switchyard-wa/switchyard/app/internal/sessions"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// fixture is the operations of administrators, over sessions "s0", "s1" … CONNECTED on w1.
// Two sessions may leave one worker at once.
type fixture struct {
	*coretest.Core
	operations *operations.Operations
	user       string
}

func newFixture(t *testing.T, n int) *fixture {
	core := coretest.New(t)
	detector := failure.New(core.Writer, core.Members, core.Cache, core.Sync, core.Queue)
	migrator := migration.New(core.Writer, core.Members, core.Cache, core.Sync, migration.Limits{PerWorker: 2, Total: 32})
	reconciler := reconcile.New(reconcile.Parts{
		Writer: core.Writer, Members: core.Members, Cache: core.Cache, Sync: core.Sync, Detector: detector,
		Migrator: migrator, Queue: core.Queue, Calls: core.Calls,
	})
	keys := apikeys.New(core.Writer, memory.NewLimiter(), func(ports.Invalidation) {})
	f := &fixture{Core: core, user: core.AddUser(domain.TierMax), operations: operations.New(operations.Parts{
		Writer: core.Writer, Cache: core.Cache, Sync: core.Sync, Migrator: migrator, Reconciler: reconciler,
		Sessions: sessions.New(core.Writer, core.Members, core.Cache, core.Sync, reconciler, keys), Queue: core.Queue, Parallel: 4,
	})}
	f.AddSharingWorker("w1", 50)
	for i := range n {
		f.AddConnected(f.user, fmt.Sprint("s", i), "w1")
	}
	return f
}

func (f *fixture) migrate(id, target string) (*domain.Migration, error) {
	return f.operations.Migrate(context.Background(), id, service.MigrateOptions{TargetWorkerID: target, Reason: "maintenance"})
}

func TestMigrate_RoomAndAdmission_BeginsAtOnce(t *testing.T) {
	f := newFixture(t, 1)
	f.AddSharingWorker("w2", 50)
	f.AddSharingWorker("w3", 50)
	m, err := f.migrate("s0", "w3")
	require.NoError(t, err)
	require.Equal(t, domain.MigrationRunning, m.Status)
	require.Equal(t, domain.MigrationByOperator, m.Kind)
	require.Equal(t, "w3", f.Session("s0").WorkerID)
	require.Equal(t, []string{"disconnect w1 s0", "start w3 s0"}, f.Gateway.Calls())
}

func TestMigrate_LimitsReached_WaitsForAdmission(t *testing.T) {
	f := newFixture(t, 3)
	f.AddSharingWorker("w2", 50)
	for _, id := range []string{"s0", "s1"} {
		_, err := f.migrate(id, "")
		require.NoError(t, err)
	}
	m, err := f.migrate("s2", "")
	require.NoError(t, err)
	require.Equal(t, domain.MigrationPending, m.Status)
	require.Equal(t, "w1", f.Session("s2").WorkerID)
}

func TestMigrate_SessionOrTargetCannot_IsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(*fixture)
		target  string
		code    domain.Code
	}{
		"down":           {func(f *fixture) { f.Change("s0", func(s *domain.Session) { s.Disconnect(f.Now()) }) }, "w2", domain.CodeInvalidState},
		"migrates":       {func(f *fixture) { f.Gateway.Fail(ports.WorkerTimedOut); _, _ = f.migrate("s0", "w2") }, "w2", domain.CodeInvalidState},
		"there already":  {func(*fixture) {}, "w1", domain.CodeInvalidState},
		"unknown target": {func(*fixture) {}, "w9", domain.CodeWorkerNotFound},
		"target drains":  {func(f *fixture) { f.ChangeWorkerRow("w2", func(w *domain.Worker) { w.Drain("d", f.Now()) }) }, "w2", domain.CodeInvalidState},
		"target is full": {func(f *fixture) { f.AddConnected(f.user, "other", "w2") }, "w2", domain.CodeNoAvailableWorkers},
		"no room":        {func(f *fixture) { f.AddConnected(f.user, "other", "w2") }, "", domain.CodeNoAvailableWorkers},
		"slot is promised": {func(f *fixture) {
			f.Gateway.Fail(ports.WorkerTimedOut)
			f.AddConnected(f.user, "first", "w1")
			_, _ = f.migrate("first", "w2")
		}, "w2", domain.CodeNoAvailableWorkers},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, 1)
			f.AddSharingWorker("w2", 1)
			c.prepare(f)
			_, err := f.migrate("s0", c.target)
			require.Equal(t, c.code, domain.CodeOf(err))
		})
	}
}

func TestCancelMigrations_Pending_SessionStays(t *testing.T) {
	f := newFixture(t, 3)
	f.AddSharingWorker("w2", 50)
	for _, id := range []string{"s0", "s1"} {
		_, err := f.migrate(id, "")
		require.NoError(t, err)
	}
	m, err := f.migrate("s2", "")
	require.NoError(t, err)
	cancelled, running, err := f.operations.CancelMigrations(context.Background(), m.ID)
	require.NoError(t, err)
	require.Zero(t, running)
	require.Equal(t, domain.MigrationCancelled, cancelled[0].Status)
	require.Empty(t, f.Session("s2").MigrationID)

	_, _, err = f.operations.CancelMigrations(context.Background(), f.Migrations("s0")[0].ID)
	require.Equal(t, domain.CodeInvalidState, domain.CodeOf(err), "it has begun")
	_, _, err = f.operations.CancelMigrations(context.Background(), "unknown")
	require.Equal(t, domain.CodeNotFound, domain.CodeOf(err))
}

func TestCancelMigrations_DrainOfAWorker_IsEndedByActivating(t *testing.T) {
	f := newFixture(t, 1)
	f.ChangeWorkerRow("w1", func(w *domain.Worker) { w.Drain("drain-1", f.Now()) })
	_, _, err := f.operations.CancelMigrations(context.Background(), "drain-1")
	require.Equal(t, domain.CodeInvalidState, domain.CodeOf(err))
}

func TestRebalance_OneWorkerIsFuller_SessionsMoveInABatch(t *testing.T) {
	f := newFixture(t, 10)
	f.AddSharingWorker("w2", 50)
	plan, err := f.operations.Rebalance(context.Background(), service.RebalanceOptions{DryRun: true})
	require.NoError(t, err)
	require.Len(t, plan.Moves, 5)
	require.Empty(t, f.Migrations("s0"), "a dry run records nothing")

	done, err := f.operations.Rebalance(context.Background(), service.RebalanceOptions{})
	require.NoError(t, err)
	require.Len(t, done.Moves, 5)
	due := 0
	for _, m := range done.Moves {
		migrations := f.Migrations(m.SessionID)
		require.Len(t, migrations, 1)
		require.Equal(t, done.BatchID, migrations[0].BatchID)
		if f.Session(m.SessionID).DueAt.Equal(f.Now()) {
			due++
		}
	}
	require.Equal(t, 1, due, "the others wait for admission")
	require.True(t, f.Cache.MigrationEnded.Take())
	require.Equal(t, []service.WorkerLoad{
		{WorkerID: "w1", Capacity: 50, Before: 10, After: 5}, {WorkerID: "w2", Capacity: 50, Before: 0, After: 5},
	}, done.Workers)

	again, err := f.operations.Rebalance(context.Background(), service.RebalanceOptions{DryRun: true})
	require.NoError(t, err)
	require.Empty(t, again.Moves, "it plans on the fleet as it will be")

	cancelled, running, err := f.operations.CancelMigrations(context.Background(), done.BatchID)
	require.NoError(t, err)
	require.Len(t, cancelled, 5)
	require.Zero(t, running)
}

func TestRebalance_DifferenceIsOneSessionOfFifty_MovesNothing(t *testing.T) {
	f := newFixture(t, 1)
	f.AddWorker("w2", 50)
	plan, err := f.operations.Rebalance(context.Background(), service.RebalanceOptions{DryRun: true})
	require.NoError(t, err)
	require.Empty(t, plan.Moves)
}

func TestRebalance_SessionChangedSinceThePlan_IsLeftAlone(t *testing.T) {
	f := newFixture(t, 4)
	f.AddWorker("w2", 50)
	f.Stored.BeforeUpdate(func() {
		other := f.Join("", 0) // its commits do not reach the cache of f
		for i := range 4 {
			other.Change(fmt.Sprint("s", i), func(s *domain.Session) { s.Disconnect(f.Now()) })
		}
	})
	done, err := f.operations.Rebalance(context.Background(), service.RebalanceOptions{})
	require.NoError(t, err)
	require.Empty(t, done.Moves)
}

func TestBulk_Sessions_EachHasItsResultAndIsCarriedOutLater(t *testing.T) {
	f := newFixture(t, 2)
	results, err := f.operations.Bulk(context.Background(), service.BulkRequest{
		Action: service.BulkDisconnect, SessionIDs: []string{"s0", "s0", "unknown", "s1"},
	})
	require.NoError(t, err)
	require.Len(t, results, 3, "without duplicates")
	require.NoError(t, results[0].Err)
	require.Equal(t, domain.CodeSessionNotFound, domain.CodeOf(results[1].Err))
	require.Equal(t, domain.CommandDisconnect, f.Session("s0").Command)
	require.Empty(t, f.Gateway.Calls())
}

func TestBulk_ByFilter_ActsOnWhatMatches(t *testing.T) {
	for action, isDone := range map[service.BulkAction]func(f *fixture) bool{
		service.BulkRestart: func(f *fixture) bool { return f.Session("s0").Command == domain.CommandRestart },
		service.BulkMigrate: func(f *fixture) bool { return f.Session("s0").MigrationID != "" },
		service.BulkDelete:  func(f *fixture) bool { return len(f.Cleanups("s0")) == 1 },
	} {
		t.Run(string(action), func(t *testing.T) {
			f := newFixture(t, 2)
			f.AddSharingWorker("w2", 50)
			f.AddConnected(f.user, "elsewhere", "w2")
			results, err := f.operations.Bulk(context.Background(), service.BulkRequest{Action: action, Filter: ports.SessionFilter{WorkerID: "w1"}})
			require.NoError(t, err)
			require.Len(t, results, 2)
			require.NoError(t, results[0].Err)
			require.True(t, isDone(f))
			require.Equal(t, domain.CommandNone, f.Session("elsewhere").Command)
			require.Empty(t, f.Session("elsewhere").MigrationID)
			require.Empty(t, f.Gateway.Calls(), "it is carried out in the background")
		})
	}
}

func TestBulk_RequestMakesNoSense_AllProblemsAreReported(t *testing.T) {
	f := newFixture(t, 0)
	_, err := f.operations.Bulk(context.Background(), service.BulkRequest{Action: "PAINT"})
	var public *domain.Error
	require.ErrorAs(t, err, &public)
	require.Len(t, public.Fields, 2)

	ids := make([]string, service.BulkLimit+1)
	for i := range ids {
		ids[i] = fmt.Sprint("s", i)
	}
	_, err = f.operations.Bulk(context.Background(), service.BulkRequest{Action: service.BulkDelete, SessionIDs: ids})
	require.Error(t, err)
}

func TestDeleteSession_OfAnyOwner_IsWiped(t *testing.T) {
	f := newFixture(t, 1)
	require.NoError(t, f.operations.DeleteSession(context.Background(), "s0"))
	require.Equal(t, []string{"delete w1 s0"}, f.Gateway.Calls())
	require.Equal(t, domain.CodeSessionNotFound, domain.CodeOf(f.operations.DeleteSession(context.Background(), "s0")))
}
