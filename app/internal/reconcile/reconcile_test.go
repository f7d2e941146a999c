package reconcile_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/app/internal/coretest"
	"github.com/switchyard-wa/switchyard/app/internal/failure"
	"github.com/switchyard-wa/switchyard/app/internal/migration"
	"github.com/switchyard-wa/switchyard/app/internal/reconcile"
	"github.com/switchyard-wa/switchyard/app/internal/txn"
	"github.com/switchyard-wa/switchyard/app/internal/workqueue"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// replica is a core with a reconciler.
type replica struct {
	*coretest.Core
	reconciler *reconcile.Reconciler
	user       string
}

func newReplica(core *coretest.Core) *replica {
	r := &replica{Core: core, user: core.AddUser(domain.TierPro)}
	r.rebuild()
	return r
}

// rebuild replaces the reconciler, as a restart of the process does.
func (r *replica) rebuild() {
	r.reconciler = reconcile.New(reconcile.Parts{
		Writer: r.Writer, Members: r.Members, Cache: r.Cache, Sync: r.Sync, Queue: r.Queue, Calls: r.Calls,
		Detector: failure.New(r.Writer, r.Members, r.Cache, r.Sync, r.Queue),
		Migrator: migration.New(r.Writer, r.Members, r.Cache, r.Sync, migration.Limits{PerWorker: 4, Total: 32}),
	})
}

// newFixture returns a reconciler without other replicas, and room on w1 and w2.
func newFixture(t *testing.T) *replica {
	r := newReplica(coretest.New(t))
	r.AddSharingWorker("w1", 50, domain.CapGeneration)
	r.AddSharingWorker("w2", 50, domain.CapGeneration)
	return r
}

// newPair returns two replicas that know each other, and w1 and w2.
func newPair(t *testing.T) (a, b *replica) {
	a = newReplica(coretest.NewReplica(t, "A"))
	a.AddSharingWorker("w1", 50, domain.CapGeneration)
	a.AddSharingWorker("w2", 50, domain.CapGeneration)
	b = newReplica(a.Join("B", 0))
	for _, r := range []*replica{a, b} {
		require.NoError(t, r.Sync.Load(context.Background()))
	}
	coretest.Exchange(t, a.Core, b.Core)
	return a, b
}

// want records that a session is wanted up; it has no worker yet.
func (r *replica) want(id string) {
	r.AddSession(r.user, id)
	r.Change(id, func(s *domain.Session) { _ = s.Connect("", r.Now()) })
}

// reconcile runs a pass of the session and returns it as it is stored.
func (r *replica) reconcile(t *testing.T, id string) *domain.Session {
	t.Helper()
	returned, err := r.reconciler.Session(context.Background(), id)
	if err != nil {
		var failure *ports.WorkerError
		require.ErrorAs(t, err, &failure)
	}
	stored := r.Session(id)
	require.Equal(t, stored.Rev, returned.Rev, "the session is returned as it is stored")
	return stored
}

func (r *replica) down(workerID string, reason domain.DownReason) {
	r.ChangeWorkerRow(workerID, func(w *domain.Worker) { w.MarkDown(reason, r.Timing, r.Now()) })
}

// up brings a worker back, with what waits for it.
func (r *replica) up(workerID string) {
	r.ChangeWorkerRow(workerID, func(w *domain.Worker) { w.ApplyHeartbeat(domain.Heartbeat{}, r.Timing, r.Now()) })
}

// addHolder records that a worker was given a session.
func (r *replica) addHolder(sessionID, workerID string) {
	r.Write(func(ctx context.Context, tx *txn.Tx) error {
		s, err := tx.Sessions.Get(ctx, sessionID)
		if err != nil {
			return err
		}
		return tx.RecordHolder(ctx, workerID, s)
	})
}

func TestSession_WantedUp_IsPlacedAndStarted(t *testing.T) {
	r := newFixture(t)
	r.want("s1")
	s := r.reconcile(t, "s1")
	require.NotEmpty(t, s.WorkerID)
	require.Equal(t, []string{"start " + s.WorkerID + " s1"}, r.Gateway.Calls())
	require.Equal(t, 1, s.Attempts)
	require.Equal(t, r.Now().Add(r.Timing.StartTimeout), s.DueAt, "until the worker confirms it")
	require.Equal(t, 99, r.Cache.FreeSlots(), "the hold of its slot has ended")
}

func TestSession_WantedDown_IsStoppedAndItsSlotIsFree(t *testing.T) {
	for command, change := range map[string]func(*domain.Session, time.Time) (bool, []domain.Event){
		"disconnect": (*domain.Session).Disconnect, "logout": (*domain.Session).Logout,
	} {
		t.Run(command, func(t *testing.T) {
			r := newFixture(t)
			r.AddConnected(r.user, "s1", "w1")
			r.Change("s1", func(s *domain.Session) { change(s, r.Now()) })
			s := r.reconcile(t, "s1")
			require.Empty(t, s.WorkerID)
			require.Equal(t, []string{command + " w1 s1"}, r.Gateway.Calls())
			require.Zero(t, r.Worker("w1").Used)
		})
	}
}

func TestSession_NothingToDo_CallsNobodyAndIsNoLongerDue(t *testing.T) {
	r := newFixture(t)
	r.AddConnected(r.user, "s1", "w1")
	r.Change("s1", func(s *domain.Session) { s.DueAt = r.Now() })
	require.Zero(t, r.reconcile(t, "s1").DueAt)
	require.Empty(t, r.Gateway.Calls())

	updates, _ := r.Stored.Count(func() { r.reconcile(t, "s1") })
	require.Zero(t, updates)
}

func TestSession_DisconnectLasts_IsStartedAgainAfterABackOff(t *testing.T) {
	r := newFixture(t)
	r.AddConnected(r.user, "s1", "w1")
	r.Report("s1", domain.Disconnected)
	r.reconcile(t, "s1")
	require.Empty(t, r.Gateway.Calls(), "it may be a moment of a restart")

	r.Clock.Advance(r.Timing.DisconnectDebounce)
	s := r.reconcile(t, "s1")
	require.Equal(t, domain.CommandStart, s.Command)
	require.Equal(t, r.Now().Add(r.Timing.Backoff(1)), s.DueAt)
	require.Empty(t, r.Gateway.Calls())
}

func TestSession_WorkerIsDown_FailsOverOnceItMay(t *testing.T) {
	r := newFixture(t)
	r.AddConnected(r.user, "s1", "w1")
	r.down("w1", domain.DownCrashed)
	require.Equal(t, "w1", r.reconcile(t, "s1").WorkerID, "it may come back within the grace")

	r.Clock.Advance(r.Timing.FailoverDelay)
	s := r.reconcile(t, "s1")
	require.Equal(t, "w2", s.WorkerID)
	require.Equal(t, []string{"start w2 s1"}, r.Gateway.Calls())
	require.Equal(t, "w1", r.Cleanups("s1")[0].WorkerID)
	m := r.Migrations("s1")[0]
	require.Equal(t, domain.MigrationByFailover, m.Kind)
	require.Equal(t, "the worker crashed", m.Reason)
}

func TestSession_WorkerIsBackMeanwhile_StaysThere(t *testing.T) {
	r := newFixture(t)
	r.AddConnected(r.user, "s1", "w1")
	r.down("w1", domain.DownHeartbeatTimeout)
	r.Stored.BeforeUpdate(func() {
		r.ChangeWorkerRow("w1", func(w *domain.Worker) { w.ApplyHeartbeat(domain.Heartbeat{}, r.Timing, r.Now()) })
	})
	require.Equal(t, "w1", r.reconcile(t, "s1").WorkerID)
	require.Empty(t, r.Migrations("s1"))
}

func TestSession_WorkerIsDownAndTheUserWantsItDown_IsAbandonedThere(t *testing.T) {
	r := newFixture(t)
	r.AddConnected(r.user, "s1", "w1")
	r.Change("s1", func(s *domain.Session) { s.Logout(r.Now()) })
	r.down("w1", domain.DownHeartbeatTimeout)
	require.Empty(t, r.reconcile(t, "s1").WorkerID)
	require.Equal(t, domain.CommandLogout, r.Cleanups("s1")[0].Command, "the phone is unlinked when the worker is back")
	require.Empty(t, r.Gateway.Calls())
}

func TestSession_StartIsNeverConfirmed_IsStoppedThereBeforeItGoesElsewhere(t *testing.T) {
	r := newFixture(t)
	r.AddAssigned(r.user, "s1", "w1")
	for range r.Timing.StartAttempts {
		r.reconcile(t, "s1")
		r.Clock.Advance(r.Timing.StartTimeout)
	}
	s := r.reconcile(t, "s1")
	require.Equal(t, []string{"start w1 s1", "start w1 s1", "disconnect w1 s1", "start w2 s1"}, r.Gateway.Calls())
	require.Equal(t, "w2", s.WorkerID)
	require.Equal(t, "w1", s.ExcludedWorkerID)
}

func TestSession_WorkerDrains_MovesToAnotherWorker(t *testing.T) {
	r := newFixture(t)
	r.AddConnected(r.user, "s1", "w1")
	r.ChangeWorkerRow("w1", func(w *domain.Worker) { w.Drain("d1", r.Now()) })
	s := r.reconcile(t, "s1")
	require.Equal(t, []string{"disconnect w1 s1", "start w2 s1"}, r.Gateway.Calls())
	require.Equal(t, "w2", s.WorkerID)
}

func TestEvacuate_LimitsOfMigrationsReached_DoesNotWait(t *testing.T) {
	r := newFixture(t)
	ids := []string{"s1", "s2", "s3", "s4", "s5"} // four may leave at once
	for _, id := range ids {
		r.AddConnected(r.user, id, "w1")
	}
	r.ChangeWorkerRow("w1", func(w *domain.Worker) { w.Drain("d1", r.Now()) })
	r.Gateway.Fail(ports.WorkerTimedOut)
	for _, id := range ids {
		r.reconcile(t, id)
	}
	require.Equal(t, domain.CommandNone, r.Session("s5").Command)

	require.Error(t, r.reconciler.Evacuate(context.Background(), "s5"))
	require.Equal(t, domain.CommandMove, r.Session("s5").Command)
}

func TestSession_RestartOfASessionTheWorkerLacks_StartsIt(t *testing.T) {
	r := newFixture(t)
	r.AddConnected(r.user, "s1", "w1")
	r.Change("s1", func(s *domain.Session) { require.NoError(t, s.Restart(r.Now())) })
	r.Gateway.Answer(func(c coretest.Call) error {
		if c.Kind == "restart" {
			return &ports.WorkerError{Failure: ports.WorkerSessionNotFound, Message: "unknown"}
		}
		return nil
	})
	r.reconcile(t, "s1")
	require.Equal(t, []string{"restart w1 s1", "start w1 s1"}, r.Gateway.Calls())
}

func TestPlace_SlotIsLostToARace_NextWorkerIsTried(t *testing.T) {
	r := newReplica(coretest.New(t))
	r.AddSharingWorker("w1", 1)
	r.AddSharingWorker("w2", 1)
	r.want("s1")
	taken := ""
	r.Stored.BeforeUpdate(func() {
		for _, id := range []string{"w1", "w2"} { // another writer takes the slot that is chosen
			if !r.Cache.HasRoom(domain.Request{Avoid: []string{other(id)}}, r.Now()) {
				taken = id
			}
		}
		r.Join("", 0).AddConnected(r.user, "faster", taken)
	})
	s := r.reconcile(t, "s1")
	require.Equal(t, other(taken), s.WorkerID)
	require.Equal(t, 1, r.Worker(taken).Used)
}

func other(workerID string) string { return map[string]string{"w1": "w2", "w2": "w1"}[workerID] }

func TestPlace_NoRoomAnywhere_WaitsWithABackOff(t *testing.T) {
	r := newReplica(coretest.New(t))
	r.want("s1")
	s := r.reconcile(t, "s1")
	require.Empty(t, s.WorkerID)
	require.Equal(t, 1, s.Attempts)
	require.Equal(t, r.Now().Add(r.Timing.Backoff(1)), s.DueAt)
	require.Equal(t, []string{"s1"}, r.Cache.WaitingForRoom())
}

func TestPlace_MigratedSessionFitsNowhereElse_GoesBack(t *testing.T) {
	r := newReplica(coretest.New(t))
	r.AddWorker("w1", 50)
	r.AddConnected(r.user, "s1", "w1")
	r.Change("s1", func(s *domain.Session) { s.UnassignForMove(domain.EventSessionMigrated, r.Now()) })
	require.Equal(t, "w1", r.reconcile(t, "s1").WorkerID)
}

func TestAssign_WipeIsStillToBeMadeThere_WorkerCountsAsFull(t *testing.T) {
	r := newFixture(t)
	r.AddConnected(r.user, "s1", "w1")
	r.down("w1", domain.DownHeartbeatTimeout)
	r.Change("s1", func(s *domain.Session) { s.Logout(r.Now()) })
	r.reconcile(t, "s1") // the logout waits as a cleanup
	r.ChangeWorkerRow("w1", func(w *domain.Worker) { w.ApplyHeartbeat(domain.Heartbeat{}, r.Timing, r.Now()) })
	r.ChangeWorkerRow("w2", func(w *domain.Worker) { w.Drain("d", r.Now()) })

	r.Change("s1", func(s *domain.Session) { require.NoError(t, s.Connect("", r.Now())) })
	require.Empty(t, r.reconcile(t, "s1").WorkerID, "a start there would find the old credentials")
}

func TestAssign_WipeIsScheduledMeanwhile_WorkerCountsAsFull(t *testing.T) {
	r := newFixture(t)
	r.ChangeWorkerRow("w2", func(w *domain.Worker) { w.Drain("d", r.Now()) })
	r.want("s1")
	r.Stored.BeforeUpdate(func() {
		r.Write(func(ctx context.Context, tx *txn.Tx) error {
			return tx.ScheduleCleanup(ctx, "w1", "s1", domain.CommandLogout, 1)
		})
	})
	require.Empty(t, r.reconcile(t, "s1").WorkerID)
	require.Equal(t, 50, r.Cache.FreeSlots())
}

func TestAssign_StopIsStillToBeMadeThere_IsSupersededByTheStart(t *testing.T) {
	r := newFixture(t)
	r.AddConnected(r.user, "s1", "w1")
	r.down("w1", domain.DownCrashed)
	r.Clock.Advance(r.Timing.FailoverDelay)
	r.reconcile(t, "s1")
	require.Len(t, r.Cleanups("s1"), 1)
	r.ChangeWorkerRow("w1", func(w *domain.Worker) { w.ApplyHeartbeat(domain.Heartbeat{}, r.Timing, r.Now()) })
	r.down("w2", domain.DownHeartbeatTimeout)

	require.Equal(t, "w1", r.reconcile(t, "s1").WorkerID)
	for _, c := range r.Cleanups("s1") {
		require.NotEqual(t, "w1", c.WorkerID)
	}
}

// A worker has run a generation that the store does not know: the store was restored from a backup.
func TestAssign_WorkerHasRunAHigherGeneration_NewOneIsAbove(t *testing.T) {
	for stated, want := range map[int64]int64{7: 8, 1: 2, 1 << 50: 2} {
		r := newFixture(t)
		r.want("s1")
		r.Change("s1", func(s *domain.Session) { s.RaiseGeneration(1) })
		r.Write(func(ctx context.Context, tx *txn.Tx) error {
			return tx.ScheduleCleanup(ctx, "w1", "s1", domain.CommandDisconnect, stated)
		})
		require.Equal(t, want, r.reconcile(t, "s1").Generation)
	}
}

// batch returns a batch for one pass of the loop.
func batch() *workqueue.Batch { return &workqueue.Batch{Context: context.Background()} }
