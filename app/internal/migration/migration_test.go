package migration_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/app/internal/coretest"
	"github.com/switchyard-wa/switchyard/app/internal/migration"
	"github.com/switchyard-wa/switchyard/app/internal/txn"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// fixture is a migrator that lets two sessions leave one worker at once, and three in all.
type fixture struct {
	*coretest.Core
	migrator *migration.Migrator
	user     string
}

func newFixture(core *coretest.Core) *fixture {
	f := &fixture{Core: core}
	f.migrator = migration.New(core.Writer, core.Members, core.Cache, core.Sync, migration.Limits{PerWorker: 2, Total: 3})
	f.user = core.AddUser(domain.TierMax)
	return f
}

// withSessions returns a fixture with sessions "w1-0", "w1-1" … CONNECTED on each of two
// workers, and room on w3.
func withSessions(t *testing.T, n int) *fixture {
	f := newFixture(coretest.New(t))
	f.AddSharingWorker("w3", 50)
	for _, w := range []string{"w1", "w2"} {
		f.AddSharingWorker(w, 50)
		for i := range n {
			f.AddConnected(f.user, fmt.Sprint(w, "-", i), w)
		}
	}
	return f
}

// drain makes a worker drain.
func (f *fixture) drain(workerID string) {
	f.ChangeWorkerRow(workerID, func(w *domain.Worker) { w.Drain("drain-"+workerID, f.Now()) })
}

// migrate records a migration of a session, to a target or anywhere.
func (f *fixture) migrate(sessionID, target string) {
	f.Write(func(ctx context.Context, tx *txn.Tx) error {
		s, err := tx.Sessions.Get(ctx, sessionID)
		if err != nil {
			return err
		}
		before := s.Clone()
		m := domain.NewMigration(f.IDs.NewID(), s, domain.MigrationByOperator, target, "asked for", f.Now())
		s.Migrate(m, f.Now().Add(migration.RecheckEvery))
		if err := tx.Migrations.Put(ctx, m); err != nil {
			return err
		}
		return tx.SaveSession(ctx, before, s, nil)
	})
	f.Clock.Advance(time.Millisecond) // migrations have an order
}

// start starts the move of a session.
func (f *fixture) start(t *testing.T, sessionID string) bool {
	t.Helper()
	started, err := f.migrator.Start(context.Background(), f.Session(sessionID))
	require.NoError(t, err)
	return started
}

func TestStart_WorkerDrains_SessionIsStoppedThereByAMigrationOfItsOwn(t *testing.T) {
	f := withSessions(t, 1)
	f.drain("w1")

	require.True(t, f.start(t, "w1-0"))

	require.Equal(t, domain.CommandMove, f.Session("w1-0").Command)
	m := f.Migrations("w1-0")[0]
	require.Equal(t, domain.MigrationByDrain, m.Kind)
	require.Equal(t, "drain-w1", m.BatchID)
	require.Equal(t, domain.MigrationRunning, m.Status)
	require.Equal(t, "w1", m.FromWorker)
}

func TestStart_LimitOfTheWorkerReached_SessionWaits(t *testing.T) {
	f := withSessions(t, 3)
	f.drain("w1")
	require.True(t, f.start(t, "w1-0"))
	require.True(t, f.start(t, "w1-1"))

	require.False(t, f.start(t, "w1-2"))
	s := f.Session("w1-2")
	require.Equal(t, domain.CommandNone, s.Command, "it runs where it is")
	require.Equal(t, f.Now().Add(migration.RecheckEvery), s.DueAt)
	require.Zero(t, s.Attempts)
}

func TestStart_LimitOfTheFleetReached_SessionWaits(t *testing.T) {
	f := withSessions(t, 2)
	f.drain("w1")
	f.drain("w2")
	require.True(t, f.start(t, "w1-0"))
	require.True(t, f.start(t, "w1-1"))
	require.True(t, f.start(t, "w2-0"))
	require.False(t, f.start(t, "w2-1"))

	started, err := f.migrator.StartUnlimited(context.Background(), f.Session("w2-1"))
	require.NoError(t, err)
	require.True(t, started, "the removal of a worker does not wait")
}

func TestStart_AnotherReplicaIsFaster_LimitsHoldOverAll(t *testing.T) {
	a := newFixture(coretest.NewReplica(t, "A"))
	for _, id := range []string{"w1", "w2"} {
		a.AddSharingWorker(id, 50)
	}
	for i := range 3 {
		a.AddConnected(a.user, fmt.Sprint("s", i), "w1")
	}
	a.drain("w1")
	b := newFixture(a.Join("B", 0))
	require.NoError(t, b.Sync.Load(context.Background()))
	a.Stored.BeforeUpdate(func() {
		require.True(t, b.start(t, "s0"))
		require.True(t, b.start(t, "s1"))
	})

	require.False(t, a.start(t, "s2"))
	a.Read(func(ctx context.Context, tx *ports.Tx) error {
		started, err := tx.Settings.Get(ctx, "moves.begun")
		require.Equal(t, "2", started, "whoever counts at the same time loses the swap")
		return err
	})
}

func TestStart_SessionHasChanged_DoesNothing(t *testing.T) {
	f := withSessions(t, 1)
	f.drain("w1")
	read := f.Session("w1-0")
	f.Change("w1-0", func(s *domain.Session) { s.Disconnect(f.Now()) })
	started, err := f.migrator.Start(context.Background(), read)
	require.NoError(t, err)
	require.False(t, started)
	require.Equal(t, domain.CommandDisconnect, f.Session("w1-0").Command)
}

func TestStart_NoRoomElsewhere_SessionWaitsAndAllSeeIt(t *testing.T) {
	f := newFixture(coretest.New(t))
	f.AddWorker("w1", 50)
	f.AddConnected(f.user, "s1", "w1")
	f.drain("w1")
	require.False(t, f.start(t, "s1"))
	require.Equal(t, 1, f.Session("s1").Attempts)
	require.Equal(t, f.Now().Add(migration.RecheckEvery), f.Session("s1").DueAt)
}

func TestStart_TargetIsGone_MigrationFailsAndTheSessionStays(t *testing.T) {
	f := withSessions(t, 1)
	f.migrate("w1-0", "removed")
	require.True(t, f.start(t, "w1-0"), "there may be more to do: its worker may be draining")
	require.Equal(t, domain.MigrationFailed, f.Migrations("w1-0")[0].Status)
	require.Equal(t, "w1", f.Session("w1-0").WorkerID)
	require.Empty(t, f.Session("w1-0").MigrationID)
}

func TestStart_TargetIsFullOrPromised_SessionWaits(t *testing.T) {
	f := withSessions(t, 2)
	f.AddSharingWorker("small", 1)
	f.migrate("w1-0", "small")
	f.migrate("w1-1", "small")
	require.True(t, f.start(t, "w1-0"))
	require.False(t, f.start(t, "w1-1"), "the slot is promised to the first")
	require.Equal(t, 1, f.Session("w1-1").Attempts)
	require.Equal(t, domain.MigrationPending, f.Migrations("w1-1")[0].Status)
}

func TestLimits_FailoverWaitsForRoom_BurdensNobody(t *testing.T) {
	f := withSessions(t, 3)
	f.drain("w1")
	for i := range 3 {
		id := fmt.Sprint("w2-", i)
		f.Write(func(ctx context.Context, tx *txn.Tx) error {
			s, err := tx.Sessions.Get(ctx, id)
			if err != nil {
				return err
			}
			before := s.Clone()
			leave := func() { s.UnassignForMove(domain.EventSessionFailedOver, f.Now()) }
			if err := f.migrator.Detach(ctx, tx, s, domain.MigrationByFailover, "", "crashed", leave); err != nil {
				return err
			}
			return tx.SaveSession(ctx, before, s, nil)
		})
	}
	require.True(t, f.start(t, "w1-0"))

	for i := range 3 { // now they are placed, and count
		f.Change(fmt.Sprint("w2-", i), func(s *domain.Session) { s.Assign("w3", f.Now()) })
	}
	require.False(t, f.start(t, "w1-1"))
}

func TestLimits_MigrationTakesFiveMinutes_HoldsUpItsWorkerAlone(t *testing.T) {
	f := withSessions(t, 3)
	f.drain("w1")
	f.drain("w2")
	for _, id := range []string{"w1-0", "w1-1", "w2-0"} {
		require.True(t, f.start(t, id))
	}
	require.False(t, f.start(t, "w2-1"))

	f.Clock.Advance(5 * time.Minute)
	require.False(t, f.start(t, "w1-2"), "two sessions of w1 are still there")
	require.True(t, f.start(t, "w2-1"), "the fleet is not held up")
}

func TestDetach_SessionHasAMigration_KeepsIt(t *testing.T) {
	f := withSessions(t, 1)
	f.migrate("w1-0", "w3")
	require.True(t, f.start(t, "w1-0"))
	all := f.Migrations("w1-0")
	require.Len(t, all, 1)
	require.Equal(t, domain.MigrationByOperator, all[0].Kind)
	require.Equal(t, domain.MigrationRunning, all[0].Status)
}

func TestHousekeep_MigrationIsOver_GoesAfterThirtyDays(t *testing.T) {
	f := withSessions(t, 1)
	f.migrate("w1-0", "removed")
	f.start(t, "w1-0")
	f.migrate("w1-0", "")

	f.Clock.Advance(30 * 24 * time.Hour)
	require.NoError(t, f.migrator.Housekeep(context.Background(), f.Now().Add(-time.Second)))
	require.Len(t, f.Migrations("w1-0"), 2)

	require.NoError(t, f.migrator.Housekeep(context.Background(), f.Now().Add(time.Second)))
	require.Len(t, f.Migrations("w1-0"), 1, "an open one stays")
}
