package txn_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/app/internal/coretest"
	"github.com/switchyard-wa/switchyard/app/internal/txn"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// failOver moves a session to another worker without a stop.
func (f *fixture) failOver(id, to string) {
	f.Change(id, func(s *domain.Session) { s.UnassignForMove(domain.EventSessionFailedOver, f.Now()) })
	f.Change(id, func(s *domain.Session) { s.Assign(to, f.Now()) })
}

func TestSlots_SessionMoves_OldWorkerIsReleasedAndNewReserved(t *testing.T) {
	f := newFixture(t)
	f.AddConnected(f.user, "s1", "w1")
	require.Equal(t, 1, f.Worker("w1").Used)

	f.failOver("s1", "w2")
	require.Zero(t, f.Worker("w1").Used)
	require.Equal(t, 1, f.Worker("w2").Used)

	f.Change("s1", func(s *domain.Session) { s.Fail("broken", f.Now()) })
	require.Zero(t, f.Worker("w2").Used)
}

func TestSlots_WorkerIsFull_SaveReturnsErrFull(t *testing.T) {
	f := newFixture(t)
	f.AddConnected(f.user, "s1", "w1")
	f.AddConnected(f.user, "s2", "w1")
	f.AddSession(f.user, "s3")
	_, err := f.ChangeSession(context.Background(), "s3", func(_ context.Context, _ *txn.Tx, s *domain.Session) ([]domain.Event, error) {
		require.NoError(t, s.Connect("", f.Now()))
		return s.Assign("w1", f.Now()), nil
	})
	require.ErrorIs(t, err, ports.ErrFull)
	require.Equal(t, 2, f.Worker("w1").Used)
	require.Equal(t, 2, f.Usage(f.user).ActiveSessions, "the whole change is undone")
}

func TestSlots_LastSessionLeavesADrain_IsAnEvent(t *testing.T) {
	f := newFixture(t)
	f.AddConnected(f.user, "s1", "w1")
	f.AddConnected(f.user, "s2", "w1")
	f.ChangeWorkerRow("w1", func(w *domain.Worker) { w.Drain("drain-1", f.Now()) })

	f.failOver("s1", "w2")
	require.NotContains(t, f.Events(), domain.EventWorkerDrained)
	f.failOver("s2", "w2")
	require.Contains(t, f.Events(), domain.EventWorkerDrained)
}

func TestActiveSessions_IntentChanges_IsCountedWithinTheTier(t *testing.T) {
	f := newFixture(t)
	user := f.AddUser(domain.TierBasic) // one at a time
	f.AddConnected(user, "s1", "w1")
	f.AddSession(user, "s2")
	require.Equal(t, 1, f.Usage(user).ActiveSessions)
	connect := func() error {
		_, err := f.ChangeSession(context.Background(), "s2", func(_ context.Context, _ *txn.Tx, s *domain.Session) ([]domain.Event, error) {
			return nil, s.Connect("", f.Now())
		})
		return err
	}
	require.Equal(t, domain.CodeSessionLimit, domain.CodeOf(connect()))

	f.Change("s1", func(s *domain.Session) { s.Disconnect(f.Now()) })
	require.Zero(t, f.Usage(user).ActiveSessions)
	require.NoError(t, connect())
}

func TestActiveSessions_UserIsDeactivated_SessionStaysDown(t *testing.T) {
	f := newFixture(t)
	f.AddSession(f.user, "s1")
	f.Write(func(ctx context.Context, tx *txn.Tx) error {
		u, err := tx.Users.Get(ctx, f.user)
		if err != nil {
			return err
		}
		u.Active = false
		return tx.Users.Put(ctx, u)
	})
	_, err := f.ChangeSession(context.Background(), "s1", func(_ context.Context, _ *txn.Tx, s *domain.Session) ([]domain.Event, error) {
		return nil, s.Connect("", f.Now())
	})
	require.Equal(t, domain.CodeAccountDeactivated, domain.CodeOf(err))
	require.Zero(t, f.Usage(f.user).ActiveSessions)
}

// migrate records a migration of a session.
func (f *fixture) migrate(id string) {
	f.Write(func(ctx context.Context, tx *txn.Tx) error {
		s, err := tx.Sessions.Get(ctx, id)
		if err != nil {
			return err
		}
		before := s.Clone()
		m := domain.NewMigration("m1", s, domain.MigrationByOperator, "", "", f.Now())
		s.Migrate(m, f.Now())
		if err := tx.Migrations.Put(ctx, m); err != nil {
			return err
		}
		return tx.SaveSession(ctx, before, s, nil)
	})
}

func TestMigration_SessionArrives_IsCompletedInTheSameTransaction(t *testing.T) {
	f := newFixture(t)
	f.AddConnected(f.user, "s1", "w1")
	f.migrate("s1")
	f.failOver("s1", "w2")
	require.Equal(t, domain.MigrationRunning, f.Migrations("s1")[0].Status)
	require.False(t, f.told[len(f.told)-1].MigrationEnded)

	f.Report("s1", domain.Connected)
	require.Equal(t, domain.MigrationCompleted, f.Migrations("s1")[0].Status)
	require.Equal(t, "w2", f.Migrations("s1")[0].ToWorker)
	require.Empty(t, f.Session("s1").MigrationID)
	require.True(t, f.told[len(f.told)-1].MigrationEnded)
}

func TestMigration_RowIsGone_SessionForgetsIt(t *testing.T) {
	f := newFixture(t)
	f.AddConnected(f.user, "s1", "w1")
	f.Change("s1", func(s *domain.Session) { s.MigrationID, s.MigrationTargetID = "none", "w2" })
	s := f.Session("s1")
	require.Empty(t, s.MigrationID)
	require.Empty(t, s.MigrationTargetID)
}

func TestFence_SessionLeavesWithoutAStop_OldWorkerIsToldItsGenerationIsOver(t *testing.T) {
	f := observed(coretest.NewReplica(t, "A"))
	f.AddConnected(f.user, "s1", "w1")
	f.failOver("s1", "w2")

	cleanups := f.Cleanups("s1")
	require.Len(t, cleanups, 1)
	require.Equal(t, "w1", cleanups[0].WorkerID)
	require.Equal(t, domain.CommandDisconnect, cleanups[0].Command)
	require.EqualValues(t, 1, cleanups[0].Generation)
}

func TestFence_NoStartCanBeOnItsWay_IsNotWritten(t *testing.T) {
	t.Run("no other replica", func(t *testing.T) {
		f := newFixture(t)
		f.AddConnected(f.user, "s1", "w1")
		f.failOver("s1", "w2")
		require.Empty(t, f.Cleanups("s1"))
	})
	t.Run("stopped there", func(t *testing.T) {
		f := observed(coretest.NewReplica(t, "A"))
		f.AddConnected(f.user, "s1", "w1")
		f.Change("s1", func(s *domain.Session) { s.Disconnect(f.Now()) })
		f.Change("s1", func(s *domain.Session) { s.StopConfirmed(f.Now()) })
		require.Empty(t, f.Cleanups("s1"))
	})
	t.Run("legacy worker", func(t *testing.T) {
		f := observed(coretest.NewReplica(t, "A"))
		f.AddWorker("legacy", 2)
		f.AddConnected(f.user, "s1", "legacy")
		f.failOver("s1", "w2")
		require.Empty(t, f.Cleanups("s1"))
	})
}

func TestScheduleCleanup_EarlierOneOnTheWorker_MergesIntoTheMoreDestructive(t *testing.T) {
	f := newFixture(t)
	f.AddSession(f.user, "s1")
	for _, c := range []struct {
		command    domain.Command
		generation int64
	}{{domain.CommandDisconnect, 3}, {domain.CommandLogout, 2}, {domain.CommandDisconnect, 1}} {
		f.Write(func(ctx context.Context, tx *txn.Tx) error {
			return tx.ScheduleCleanup(ctx, "w1", "s1", c.command, c.generation)
		})
	}
	cleanups := f.Cleanups("s1")
	require.Len(t, cleanups, 1)
	require.Equal(t, domain.CommandLogout, cleanups[0].Command)
	require.EqualValues(t, 3, cleanups[0].Generation)
	require.Equal(t, f.Now(), cleanups[0].DueAt)
}

func TestScheduleCleanup_WorkerCannotBeReached_WipeWaitsAndStopIsDropped(t *testing.T) {
	f := newSeparateFixture(t)
	f.AddSession(f.user, "s1")
	f.ChangeWorkerRow("w1", func(w *domain.Worker) { w.MarkDown(domain.DownCrashed, f.Timing, f.Now()) })
	f.Write(func(ctx context.Context, tx *txn.Tx) error {
		return errors.Join(
			tx.ScheduleCleanup(ctx, "w1", "s1", domain.CommandDelete, 1),
			tx.ScheduleCleanup(ctx, "removed", "s1", domain.CommandDelete, 1),
			tx.ScheduleCleanup(ctx, "removed too", "s1", domain.CommandDisconnect, 1),
		)
	})
	cleanups := f.Cleanups("s1")
	require.Len(t, cleanups, 2)
	for i, worker := range []string{"removed", "w1"} {
		require.Equal(t, worker, cleanups[i].WorkerID)
		require.Zero(t, cleanups[i].DueAt, "until the worker is back")
	}
}

func TestDeleteSession_BooksAndWipes_AreWrittenWithIt(t *testing.T) {
	f := newFixture(t)
	f.AddConnected(f.user, "s1", "w1")
	f.migrate("s1")
	f.failOver("s1", "w2") // the credentials are on w1 still
	f.told = nil

	f.DeleteSession("s1")

	require.Zero(t, f.Worker("w2").Used)
	require.Equal(t, domain.UserUsage{}, f.Usage(f.user))
	require.Equal(t, domain.MigrationCancelled, f.Migrations("s1")[0].Status)
	require.True(t, f.told[0].MigrationEnded)
	require.Len(t, f.told[0].Deleted, 1)
	require.Contains(t, f.Events(), domain.EventSessionDeleted)
	var wipes []string
	for _, c := range f.Cleanups("s1") {
		require.Equal(t, domain.CommandDelete, c.Command)
		wipes = append(wipes, c.WorkerID)
	}
	require.ElementsMatch(t, []string{"w1", "w2"}, wipes)
}
