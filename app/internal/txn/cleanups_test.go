package txn_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/app/internal/txn"
	"github.com/switchyard-wa/switchyard/domain"
)

// commands returns the command of each holder of a session.
func (f *fixture) commands(sessionID string) map[string]domain.Command {
	all := make(map[string]domain.Command)
	for _, c := range f.Holders(sessionID) {
		all[c.WorkerID] = c.Command
	}
	return all
}

// newSeparateFixture returns a fixture whose workers share no credentials.
func newSeparateFixture(t *testing.T) *fixture {
	f := newFixture(t)
	f.SetStateGroup("w1", "")
	f.SetStateGroup("w2", "")
	return f
}

// removeWorker deletes the row of a worker.
func (f *fixture) removeWorker(id string) {
	f.Write(func(ctx context.Context, tx *txn.Tx) error {
		w, err := tx.Workers.Get(ctx, id)
		if err != nil {
			return err
		}
		return tx.DeleteWorker(ctx, w)
	})
}

// adopt gives a worker the cleanups that wait for it.
func (f *fixture) adopt(id string) {
	f.Write(func(ctx context.Context, tx *txn.Tx) error {
		w, err := tx.Workers.Get(ctx, id)
		if err != nil {
			return err
		}
		return tx.AdoptCleanups(ctx, w)
	})
}

func TestHolders_SessionMoves_EveryWorkerIsRecorded(t *testing.T) {
	f := newFixture(t)
	f.AddConnected(f.user, "s1", "w1")
	f.failOver("s1", "w2")
	f.failOver("s1", "w1")
	require.Equal(t, map[string]domain.Command{"w1": domain.CommandNone, "w2": domain.CommandNone}, f.commands("s1"))
	require.Equal(t, f.user, f.Holders("s1")[0].UserID)
	require.Zero(t, f.Holders("s1")[0].DueAt)
}

func TestHolders_PhoneLogsOut_OtherWorkersAreWiped(t *testing.T) {
	f := newSeparateFixture(t)
	f.AddConnected(f.user, "s1", "w1")
	f.failOver("s1", "w2")
	f.Report("s1", domain.Connected)
	f.Change("s1", func(s *domain.Session) {
		s.Apply(domain.Report{Status: domain.Disconnected, LoggedOut: true}, f.Timing, f.Now())
	})
	require.Equal(t, map[string]domain.Command{"w1": domain.CommandLogout, "w2": domain.CommandNone}, f.commands("s1"))
}

func TestHolders_SessionIsDeleted_AllAreWiped(t *testing.T) {
	f := newFixture(t)
	f.AddConnected(f.user, "s1", "w1")
	f.failOver("s1", "w2")
	f.failOver("s1", "w1")
	f.DeleteSession("s1")
	require.Equal(t, map[string]domain.Command{"w1": domain.CommandDelete, "w2": domain.CommandDelete}, f.commands("s1"))
	for _, c := range f.Holders("s1") {
		require.EqualValues(t, 3, c.Generation, "no generation of the session may start there again")
		require.True(t, c.BlocksID())
	}
}

func TestDeleteWorker_ItsCleanups_WaitForItsReturn(t *testing.T) {
	f := newSeparateFixture(t)
	f.AddConnected(f.user, "gone", "w1")
	f.DeleteSession("gone")
	f.AddConnected(f.user, "s1", "w1")
	f.failOver("s1", "w2")
	f.removeWorker("w1")
	require.Equal(t, map[string]domain.Command{"w1": domain.CommandDelete}, f.commands("gone"))
	require.Zero(t, f.Holders("gone")[0].DueAt)
	require.Len(t, f.commands("s1"), 2)

	f.AddSharingWorker("w1", 2, domain.CapGeneration)
	f.adopt("w1")
	require.Empty(t, f.Holders("gone")[0].Endpoint)
}

func TestDeleteWorker_StopIsPending_WorkerStaysAHolder(t *testing.T) {
	f := newFixture(t)
	f.AddConnected(f.user, "s1", "w1")
	f.failOver("s1", "w2")
	f.Write(func(ctx context.Context, tx *txn.Tx) error {
		return tx.ScheduleCleanup(ctx, "w1", "s1", domain.CommandDisconnect, 1)
	})
	f.removeWorker("w1")
	require.Equal(t, map[string]domain.Command{"w1": domain.CommandNone, "w2": domain.CommandNone}, f.commands("s1"))
}

func TestAdoptCleanups_EndpointReturnsUnderAnotherID_IsTheSameWorker(t *testing.T) {
	for left, returned := range map[string]string{
		"http://w1:1": "http://w1:1", "http://127.0.0.1:8001": "http://localhost:8001", "http://worker.example:80": "http://worker.example",
	} {
		f := newFixture(t)
		f.AddConnected(f.user, "gone", "w1")
		f.DeleteSession("gone")
		f.ChangeWorkerRow("w1", func(w *domain.Worker) { w.Endpoint = left })
		f.removeWorker("w1")
		f.AddSharingWorker("w9", 2)
		f.ChangeWorkerRow("w9", func(w *domain.Worker) { w.Endpoint = returned })
		f.adopt("w9")
		require.Equal(t, map[string]domain.Command{"w9": domain.CommandDelete}, f.commands("gone"))
		require.Empty(t, f.Holders("gone")[0].Endpoint)
	}
}

func TestDiscardDisk_WorkerReturnsNevertheless_IsWiped(t *testing.T) {
	f := newSeparateFixture(t)
	f.AddConnected(f.user, "gone", "w1")
	f.DeleteSession("gone")
	f.AddConnected(f.user, "s1", "w1")
	f.failOver("s1", "w2")
	f.removeWorker("w1")
	f.Write(func(ctx context.Context, tx *txn.Tx) error {
		n, err := tx.DiscardDisk(ctx, "w1")
		require.Equal(t, 2, n)
		return err
	})
	require.False(t, f.Holders("gone")[0].BlocksID(), "the id is free")

	f.AddSharingWorker("w1", 2)
	f.SetStateGroup("w1", "")
	f.adopt("w1")
	require.True(t, f.Holders("gone")[0].BlocksID(), "the disk is there after all")
	require.Equal(t, map[string]domain.Command{"w1": domain.CommandDelete, "w2": domain.CommandNone}, f.commands("s1"))
}

// The disk of a state group is not gone with one of its workers.
func TestDiscardDisk_GroupHasAnotherWorker_ItInheritsTheWipes(t *testing.T) {
	f := newFixture(t)
	f.AddConnected(f.user, "gone", "w1")
	f.DeleteSession("gone")
	f.AddConnected(f.user, "s1", "w1")
	f.failOver("s1", "w2")
	f.removeWorker("w1")
	f.discardDisk("w1")
	require.Equal(t, map[string]domain.Command{"w2": domain.CommandDelete}, f.commands("gone"))
	c := f.Holders("gone")[0]
	require.True(t, c.BlocksID(), "w2 has the credentials on the shared disk")
	require.Equal(t, []any{f.Now(), "", "shared"}, []any{c.DueAt, c.Endpoint, c.StateGroup}, "w2 is asked at once")
	require.Equal(t, map[string]domain.Command{"w2": domain.CommandNone}, f.commands("s1"), "what runs there is not wiped")

	f.DeleteSession("s1")
	f.removeWorker("w2")
	f.discardDisk("w2")
	require.False(t, f.Holders("gone")[0].BlocksID(), "nobody of the group is left")
}

func TestDiscardDisk_OtherWorkerIsOfAnotherGroup_IDIsFree(t *testing.T) {
	for _, group := range []string{"", "another"} {
		f := newFixture(t)
		f.SetStateGroup("w1", group)
		f.AddConnected(f.user, "gone", "w1")
		f.DeleteSession("gone")
		f.removeWorker("w1")
		f.discardDisk("w1")
		require.Equal(t, map[string]domain.Command{"w1": domain.CommandDelete}, f.commands("gone"))
		require.False(t, f.Holders("gone")[0].BlocksID())
	}
}

func TestDiscardDisk_WorkerRanAForeignSession_IDIsFreeUnlessTheGroupHasAnotherWorker(t *testing.T) {
	f := newFixture(t)
	f.Write(func(ctx context.Context, tx *txn.Tx) error { return tx.RecordForeign(ctx, "w1", []string{"foreign"}) })
	f.removeWorker("w1")
	require.True(t, f.Holders("foreign")[0].BlocksID(), "its disk may return")
	f.discardDisk("w1")
	require.Equal(t, map[string]domain.Command{"w2": domain.CommandForeign}, f.commands("foreign"))
	require.Zero(t, f.Holders("foreign")[0].DueAt)
	f.removeWorker("w2")
	f.discardDisk("w2")
	require.Empty(t, f.Holders("foreign"))
}

// discardDisk states that the disk of a removed worker is gone.
func (f *fixture) discardDisk(id string) {
	f.Write(func(ctx context.Context, tx *txn.Tx) error {
		_, err := tx.DiscardDisk(ctx, id)
		return err
	})
}

// The credentials of a state group are those that its worker sees, which tells that they are gone.
func TestHolders_PhoneLogsOutOnAWorkerOfTheGroup_NobodyIsWiped(t *testing.T) {
	f := newFixture(t)
	f.AddConnected(f.user, "s1", "w1")
	f.failOver("s1", "w2")
	f.Report("s1", domain.Connected)
	f.Change("s1", func(s *domain.Session) {
		s.Apply(domain.Report{Status: domain.Disconnected, LoggedOut: true}, f.Timing, f.Now())
	})
	require.Equal(t, map[string]domain.Command{"w1": domain.CommandNone, "w2": domain.CommandNone}, f.commands("s1"))
}

// A login overwrites the credentials that an older wipe was about, where they are shared.
func TestHolders_LinkedAgainByALaterGeneration_OlderWipesOfTheGroupAreDropped(t *testing.T) {
	for group, want := range map[string]domain.Command{"shared": domain.CommandNone, "another": domain.CommandLogout, "": domain.CommandLogout} {
		t.Run(group, func(t *testing.T) {
			f := newFixture(t)
			f.SetStateGroup("w1", group)
			f.AddAssigned(f.user, "s1", "w1")
			f.failOver("s1", "w2")
			f.Write(func(ctx context.Context, tx *txn.Tx) error {
				return tx.ScheduleCleanup(ctx, "w1", "s1", domain.CommandLogout, 1)
			})
			f.Report("s1", domain.Connected)
			require.Equal(t, map[string]domain.Command{"w1": want, "w2": domain.CommandNone}, f.commands("s1"))
		})
	}
}

func TestHolders_LinkedByTheGenerationOfTheWipe_WipeStays(t *testing.T) {
	f := newFixture(t)
	f.AddAssigned(f.user, "s1", "w1")
	f.failOver("s1", "w2")
	f.Write(func(ctx context.Context, tx *txn.Tx) error {
		return tx.ScheduleCleanup(ctx, "w1", "s1", domain.CommandLogout, 2)
	})
	f.Report("s1", domain.Connected)
	require.Equal(t, domain.CommandLogout, f.commands("s1")["w1"])
}

// The wipes of a removed worker do not wait for its return while its state group has another.
func TestDeleteWorker_GroupHasAnotherWorker_ItsWipesAreDue(t *testing.T) {
	f := newFixture(t)
	f.AddConnected(f.user, "gone", "w1")
	f.ChangeWorkerRow("w1", func(w *domain.Worker) { w.MarkDown(domain.DownCrashed, f.Timing, f.Now()) })
	f.ChangeWorkerRow("w2", func(w *domain.Worker) { w.MarkDown(domain.DownCrashed, f.Timing, f.Now()) })
	f.DeleteSession("gone")
	require.Zero(t, f.Holders("gone")[0].DueAt, "nobody of the group can do it")
	f.ChangeWorkerRow("w2", func(w *domain.Worker) { w.ApplyHeartbeat(domain.Heartbeat{}, f.Timing, f.Now()) })
	f.removeWorker("w1")
	require.Equal(t, f.Now(), f.Holders("gone")[0].DueAt)
}

func TestWakeWipes_WorkerOfTheGroupReturns_WipesOfOthersAreDue(t *testing.T) {
	f := newFixture(t)
	f.AddConnected(f.user, "gone", "w1")
	f.AddConnected(f.user, "s1", "w1")
	f.ChangeWorkerRow("w1", func(w *domain.Worker) { w.MarkDown(domain.DownCrashed, f.Timing, f.Now()) })
	f.ChangeWorkerRow("w2", func(w *domain.Worker) { w.MarkDown(domain.DownCrashed, f.Timing, f.Now()) })
	f.DeleteSession("gone")
	f.Write(func(ctx context.Context, tx *txn.Tx) error {
		w, err := tx.Workers.Get(ctx, "w2")
		if err != nil {
			return err
		}
		return tx.WakeWipes(ctx, w)
	})
	require.Equal(t, f.Now(), f.Holders("gone")[0].DueAt)
	require.Zero(t, f.Holders("s1")[0].DueAt)
}
