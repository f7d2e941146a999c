package reconcile_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/app/internal/coretest"
	"github.com/switchyard-wa/switchyard/app/internal/txn"
	"github.com/switchyard-wa/switchyard/app/internal/workqueue"
	"github.com/switchyard-wa/switchyard/domain"
)

// pass runs one pass over the due sessions.
func (r *replica) pass(t *testing.T) time.Time {
	t.Helper()
	next, err := r.reconciler.DueSessions(context.Background(), batch())
	require.NoError(t, err)
	return next
}

func TestDueSessions_SessionIsDue_IsReconciled(t *testing.T) {
	r := newFixture(t)
	r.AddAssigned(r.user, "s1", "w1")
	r.AddConnected(r.user, "s2", "w1")
	r.Change("s2", func(s *domain.Session) { s.DueAt = r.Now().Add(time.Second) })
	r.pass(t)
	require.Equal(t, []string{"start w1 s1"}, r.Gateway.Calls())
	require.Equal(t, r.Now().Add(time.Second), r.pass(t))
}

func TestDueSessions_NewlyPlaced_WaitsForTheQueueOfItsWorker(t *testing.T) {
	r := newFixture(t)
	r.want("s1")
	r.pass(t)
	require.NotEmpty(t, r.Session("s1").WorkerID)
	require.Empty(t, r.Gateway.Calls())
	r.pass(t)
	require.Len(t, r.Gateway.Calls("start"), 1)
}

func TestDueSessions_LittleRoom_HigherTiersComeFirst(t *testing.T) {
	r := newReplica(coretest.New(t))
	r.AddWorker("w1", 1)
	for _, tier := range []domain.Tier{domain.TierBasic, domain.TierMax, domain.TierPro} {
		r.user = r.AddUser(tier)
		r.want("of " + string(tier))
		r.Clock.Advance(time.Second)
	}
	r.pass(t)
	require.NotEmpty(t, r.Session("of MAX").WorkerID)
	require.Empty(t, r.Session("of BASIC").WorkerID)
	require.Empty(t, r.Session("of PRO").WorkerID)
}

func TestDueSessions_SlotIsFreed_AsManyWaitingSessionsAsItFitsAreWoken(t *testing.T) {
	r := newReplica(coretest.New(t))
	r.AddWorker("w1", 1)
	r.AddConnected(r.user, "runs", "w1")
	for _, id := range []string{"first", "second"} {
		r.want(id)
		r.Clock.Advance(time.Second)
	}
	r.pass(t)
	require.Equal(t, []string{"first", "second"}, r.Cache.WaitingForRoom())
	r.pass(t)

	r.DeleteSession("runs")
	r.pass(t)
	require.Equal(t, "w1", r.Session("first").WorkerID)
	require.Equal(t, 1, r.Session("second").Attempts, "it was not woken without room")
}

func TestDueSessions_WorkerIsBusy_BacklogFollowsWithoutAnotherPass(t *testing.T) {
	r := newFixture(t)
	r.user = r.AddUser(domain.TierMax)
	var queued []func()
	queue := workqueue.New(256, r.Now, func(f func()) { queued = append(queued, f) })
	r.Queue = queue
	r.rebuild()
	for i := range 12 {
		r.AddAssigned(r.user, fmt.Sprintf("s%02d", i), "w1")
	}

	r.pass(t)
	require.Len(t, queued, 8, "so many at once for one worker")
	for n := 0; n < len(queued); n++ {
		queued[n]()
	}
	require.Len(t, r.Gateway.Calls("start"), 12)
}

func TestDueSessions_ManyAreBlocked_OthersAreReadAllTheSame(t *testing.T) {
	a, b := newPair(t)
	a.AddWorker("mine", 1000)
	require.NoError(t, b.Sync.RefreshAll(context.Background()))
	a.SetTiers(domain.Tiers{domain.TierPro: {Sessions: 1000}})
	for i := range 300 { // due first, and claimed by the other replica
		id := fmt.Sprintf("blocked%03d", i)
		a.AddAssigned(a.user, id, "mine")
		a.Change(id, func(s *domain.Session) { s.AcquireClaim("B", a.Now().Add(time.Minute)) })
	}
	a.Clock.Advance(3 * time.Second) // anyone may do the work
	a.want("free")
	a.Clock.Advance(3 * time.Second)

	a.pass(t)
	require.Empty(t, a.Session("free").WorkerID)
	a.pass(t)
	require.NotEmpty(t, a.Session("free").WorkerID)
}

func TestDueSessions_OtherReplicaCallsTheWorker_ItsSessionsAreLeftToIt(t *testing.T) {
	a, b := newPair(t)
	for i := range 3 {
		a.AddAssigned(a.user, fmt.Sprint("s", i), "w1")
	}
	require.NoError(t, b.Sync.RefreshAll(context.Background()))
	a.Change("s0", func(s *domain.Session) { s.AcquireClaim("A", a.Now().Add(time.Minute)) })
	a.Clock.Advance(time.Minute / 2) // B might take the work over by now

	b.pass(t)
	require.Empty(t, b.Gateway.Calls())

	a.Change("s0", func(s *domain.Session) { s.ReleaseClaim(); s.Command, s.DueAt = domain.CommandNone, time.Time{} })
	b.Clock.Advance(2 * time.Second)
	b.pass(t)
	require.Equal(t, []string{"start w1 s1", "start w1 s2"}, b.Gateway.Calls())
}

func TestDueSessions_OwnClaim_IsContinued(t *testing.T) {
	a, _ := newPair(t)
	for _, id := range []string{"s1", "s2", "s3", "s4"} { // whoever owns the work
		a.AddWorker("w-"+id, 50)
		a.AddAssigned(a.user, id, "w-"+id)
		a.Change(id, func(s *domain.Session) { s.AcquireClaim("A", a.Now().Add(time.Minute)) })
	}
	a.pass(t)
	require.Len(t, a.Gateway.Calls("start"), 4)
}

func TestTakeOver_ReplicaIsDead_ItsClaimsEndAndItsWorkIsDue(t *testing.T) {
	a, b := newPair(t)
	b.AddAssigned(b.user, "s1", "w1")
	b.Change("s1", func(s *domain.Session) {
		s.AcquireClaim("B", b.Now().Add(time.Minute))
		s.DueAt = b.Now().Add(time.Hour)
	})
	require.NoError(t, a.reconciler.TakeOver(context.Background(), "B"))
	s := a.Session("s1")
	require.Empty(t, s.ClaimedBy)
	require.Equal(t, a.Now(), s.DueAt)
	require.Equal(t, []string{"A"}, replicaIDs(a))
}

func TestResign_ServiceStillCalls_ItsClaimAndTheRowOfTheReplicaStay(t *testing.T) {
	a, _ := newPair(t)
	a.AddAssigned(a.user, "called", "w1")
	a.AddAssigned(a.user, "idle", "w1")
	for _, id := range []string{"called", "idle"} {
		a.Change(id, func(s *domain.Session) { s.AcquireClaim("A", a.Now().Add(time.Minute)) })
	}
	unlock, err := a.reconciler.Lock(context.Background(), "called")
	require.NoError(t, err)

	a.reconciler.Resign(context.Background())
	require.Equal(t, "A", a.Session("called").ClaimedBy)
	require.Empty(t, a.Session("idle").ClaimedBy)
	require.Equal(t, []string{"A", "B"}, replicaIDs(a))

	unlock()
	a.reconciler.Resign(context.Background())
	require.Equal(t, []string{"B"}, replicaIDs(a))
}

func TestTakeOver_ClockOfTheDeadWasAhead_ItsDueTimesAreMadeOurs(t *testing.T) {
	a := newReplica(coretest.NewReplica(t, "A"))
	a.AddSharingWorker("w1", 50)
	a.AddSharingWorker("w2", 50)
	b := newReplica(a.Join("B", time.Hour))
	require.NoError(t, b.Sync.Load(context.Background()))
	coretest.Exchange(t, a.Core, b.Core)
	b.AddConnected(b.user, "debounced", "w1")
	b.Report("debounced", domain.Disconnected)
	b.AddConnected(b.user, "later", "w1")
	b.Change("later", func(s *domain.Session) { s.DueAt = a.Now().Add(time.Minute) })
	b.down("w2", domain.DownCrashed)
	b.addCleanup(domain.CommandDelete)

	require.NoError(t, a.reconciler.TakeOver(context.Background(), "B"))

	require.Equal(t, a.Now(), a.Session("debounced").DueAt)
	require.Equal(t, a.Now().Add(a.Timing.DisconnectDebounce), a.Session("debounced").DebounceUntil)
	require.Equal(t, a.Now().Add(time.Minute), a.Session("later").DueAt, "nothing is wrong with it")
	require.Equal(t, a.Now().Add(a.Timing.FailoverDelay), a.Worker("w2").FailoverAt)
	require.Equal(t, a.Now(), a.Cleanups("s1")[0].DueAt)
}

// replicaIDs returns the replicas that have a row.
func replicaIDs(r *replica) (ids []string) {
	r.Write(func(ctx context.Context, tx *txn.Tx) error {
		all, err := tx.Replicas.List(ctx)
		for _, row := range all {
			ids = append(ids, row.ID)
		}
		return err
	})
	return ids
}
