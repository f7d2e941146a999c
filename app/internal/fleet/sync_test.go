package fleet_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/app/internal/coretest"
	"github.com/switchyard-wa/switchyard/app/internal/fleet"
	"github.com/switchyard-wa/switchyard/app/internal/txn"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// pair is two replicas that have loaded a fleet: s1 runs on w1, and w2 is free.
type pair struct{ here, there *coretest.Core }

func newPair(t *testing.T) pair {
	there := coretest.NewReplica(t, "there")
	there.AddSharingWorker("w1", 50)
	there.AddSharingWorker("w2", 50)
	there.AddConnected(there.AddUser(domain.TierPro), "s1", "w1")
	p := pair{there: there, here: there.Join("here", 0)}
	require.NoError(t, p.here.Sync.Load(context.Background()))
	return p
}

// move moves s1 to w2, on the other replica.
func (p pair) move() {
	p.there.Change("s1", func(s *domain.Session) {
		s.UnassignForMove(domain.EventSessionFailedOver, p.there.Now())
		s.Assign("w2", p.there.Now())
	})
}

func (p pair) apply(t *testing.T) time.Time {
	t.Helper()
	next, err := p.here.Sync.Apply(context.Background())
	require.NoError(t, err)
	return next
}

func TestLoad_Twice_ReadsOnce(t *testing.T) {
	p := newPair(t)
	require.Equal(t, "w1", p.here.Cache.WorkerOf("s1"))
	_, views := p.here.Stored.Count(func() {
		require.NoError(t, p.here.Sync.Load(context.Background()))
		require.NoError(t, p.here.Sync.EnsureLoaded(context.Background()))
	})
	require.Zero(t, views)
}

func TestEnsureLoaded_StoreFails_ErrorIsPublicAndTheNextCallTriesAgain(t *testing.T) {
	core := coretest.New(t)
	fails := true
	s := fleet.NewSync(core.Env, core.Cache, core.Calls, core.Queue, func(context.Context, *ports.Tx) error {
		if fails {
			return errors.New("broken")
		}
		return nil
	})
	require.Equal(t, domain.CodeInternal, domain.CodeOf(s.EnsureLoaded(context.Background())))
	fails = false
	require.NoError(t, s.EnsureLoaded(context.Background()))
}

func TestApply_InvalidatedSession_IsReadAgainAndItsWaitersAreWoken(t *testing.T) {
	p := newPair(t)
	p.move()
	changed := p.here.Sync.Changes.Changed("s1")

	p.apply(t)
	require.Equal(t, "w1", p.here.Cache.WorkerOf("s1"), "nobody said that it changed")

	p.here.Sync.Invalidate(ports.Invalidation{Sessions: []string{"s1"}})
	p.apply(t)
	require.Equal(t, "w2", p.here.Cache.WorkerOf("s1"))
	select {
	case <-changed:
	default:
		t.Fatal("the waiter was not woken")
	}
}

func TestApply_InvalidatedRowsAreGone_LeaveTheCache(t *testing.T) {
	p := newPair(t)
	p.there.DeleteSession("s1")
	p.there.Write(func(ctx context.Context, tx *txn.Tx) error {
		w, err := tx.Workers.Get(ctx, "w1")
		if err != nil {
			return err
		}
		return tx.DeleteWorker(ctx, w)
	})
	p.here.Sync.Invalidate(ports.Invalidation{Sessions: []string{"s1"}, Workers: []string{"w1"}})
	p.apply(t)
	require.Empty(t, p.here.Cache.WorkerOf("s1"))
	require.Nil(t, p.here.Cache.Worker("w1"))
}

func TestApply_SessionOnAWorkerNewToTheCache_BringsTheWorker(t *testing.T) {
	p := newPair(t)
	p.there.AddWorker("w3", 50)
	p.there.AddConnected(p.there.AddUser(domain.TierPro), "s3", "w3")
	p.here.Sync.Invalidate(ports.Invalidation{Sessions: []string{"s3"}})
	p.apply(t)
	require.Equal(t, "w3", p.here.Cache.WorkerOf("s3"))
}

func TestApply_InvalidationsLost_WorkersAreReadEveryTenSecondsAndAllEveryTwoMinutes(t *testing.T) {
	p := newPair(t)
	p.move()
	p.there.ChangeWorkerRow("w2", func(w *domain.Worker) { w.Capacity = 7 })

	p.here.Clock.Advance(10*time.Second - 1*time.Microsecond)
	require.Equal(t, p.here.Now().Add(time.Microsecond), p.apply(t))
	require.Equal(t, 50, p.here.Cache.Worker("w2").Capacity)

	p.here.Clock.Advance(time.Microsecond)
	p.apply(t)
	require.Equal(t, 7, p.here.Cache.Worker("w2").Capacity)
	require.Equal(t, "w1", p.here.Cache.WorkerOf("s1"))

	p.here.Clock.Advance(110 * time.Second)
	p.apply(t)
	require.Equal(t, "w2", p.here.Cache.WorkerOf("s1"))
}

func TestApply_StoreFails_EverythingIsReadOnceItAnswers(t *testing.T) {
	p := newPair(t)
	p.move()
	p.here.Sync.Invalidate(ports.Invalidation{Sessions: []string{"s1"}})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()

	next, err := p.here.Sync.Apply(ctx)
	require.Error(t, err)
	require.Equal(t, p.here.Now().Add(time.Second), next)

	p.apply(t)
	require.Equal(t, "w2", p.here.Cache.WorkerOf("s1"), "the invalidation is not lost")
}

func TestApply_StoreNotShared_ReadsNothing(t *testing.T) {
	core := coretest.New(t)
	require.NoError(t, core.Sync.Load(context.Background()))
	core.Clock.Advance(time.Hour)
	_, views := core.Stored.Count(func() {
		next, err := core.Sync.Apply(context.Background())
		require.NoError(t, err)
		require.Zero(t, next)
	})
	require.Zero(t, views)
}

func TestListeningBegan_LoadedBefore_ReadsAllAgain(t *testing.T) {
	p := newPair(t)
	p.move() // before this replica listens
	p.here.Sync.ListeningBegan()
	p.apply(t)
	require.Equal(t, "w2", p.here.Cache.WorkerOf("s1"))
}

func TestRefreshAll_RowChangedWhileReading_NewerRowStays(t *testing.T) {
	core := coretest.New(t)
	core.AddWorker("w1", 50)
	var during func()
	s := fleet.NewSync(core.Env, core.Cache, core.Calls, core.Queue, func(context.Context, *ports.Tx) error {
		during()
		return nil
	})
	for _, id := range []string{"gone", "placed again meanwhile"} { // neither is in the store
		core.Cache.PutSession(connected(id, "w1", 1))
	}
	during = func() {
		core.Cache.PutSession(connected("placed meanwhile", "w1", 1))
		core.Cache.PutSession(connected("placed again meanwhile", "w1", 2))
	}

	require.NoError(t, s.RefreshAll(context.Background()))
	require.Empty(t, core.Cache.WorkerOf("gone"))
	require.Equal(t, "w1", core.Cache.WorkerOf("placed meanwhile"))
	require.Equal(t, "w1", core.Cache.WorkerOf("placed again meanwhile"))
}

func TestRefreshWorker_SessionLeftIt_IsReadAgainSoon(t *testing.T) {
	p := newPair(t)
	p.move()
	require.NoError(t, p.here.Sync.RefreshWorker(context.Background(), "w1"))
	require.Len(t, p.here.Queue.Woken(), 1)
	p.apply(t)
	require.Equal(t, "w2", p.here.Cache.WorkerOf("s1"))
}

func TestLookupWorker_NotInTheCache_IsReadFromTheStore(t *testing.T) {
	p := newPair(t)
	p.there.AddSharingWorker("w3", 50)
	w, err := p.here.Sync.LookupWorker(context.Background(), "w3")
	require.NoError(t, err)
	require.Equal(t, "w3", w.ID)

	_, err = p.here.Sync.LookupWorker(context.Background(), "w4")
	require.Equal(t, domain.CodeWorkerNotFound, domain.CodeOf(err))
}

func TestCacheWorker_WorkerIsDown_ItsCallsAreCancelled(t *testing.T) {
	core := coretest.New(t)
	core.AddWorker("w1", 50)
	call, end := core.Calls.Begin(context.Background(), "w1", time.Hour)
	defer end()

	core.ChangeWorkerRow("w1", func(w *domain.Worker) { w.Capacity = 40 })
	require.NoError(t, call.Err())

	core.ChangeWorkerRow("w1", func(w *domain.Worker) { w.MarkDown(domain.DownCrashed, core.Timing, core.Now()) })
	require.ErrorIs(t, call.Err(), context.Canceled)
}

func TestRefreshShared_CallersWaitMeanwhile_ShareTheNextRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t)
		release := make(chan struct{})
		p.here.Stored.BeforeEachView(func() { <-release })
		refresh := func() { require.NoError(t, p.here.Sync.RefreshShared(context.Background())) }

		_, views := p.here.Stored.Count(func() {
			go refresh()
			synctest.Wait() // the first reads; it may miss what the others know of
			p.there.ChangeWorkerRow("w2", func(w *domain.Worker) { w.Capacity = 7 })
			for range 5 {
				go refresh()
			}
			synctest.Wait()
			close(release)
			synctest.Wait()
		})
		require.Equal(t, 2, views)
		require.Equal(t, 7, p.here.Cache.Worker("w2").Capacity)
	})
}

func TestRefreshShared_StoreNotShared_ReadsNothing(t *testing.T) {
	core := coretest.New(t)
	require.NoError(t, core.Sync.Load(context.Background()))
	_, views := core.Stored.Count(func() { require.NoError(t, core.Sync.RefreshShared(context.Background())) })
	require.Zero(t, views)
}

func TestRefreshShared_RefreshWasCancelled_WaitersRefreshThemselves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t)
		release := make(chan struct{})
		p.here.Stored.BeforeEachView(func() { <-release })
		refresh := func(ctx context.Context) <-chan error {
			outcome := make(chan error, 1)
			go func() { outcome <- p.here.Sync.RefreshShared(ctx) }()
			synctest.Wait()
			return outcome
		}
		ctx, cancel := context.WithCancel(context.Background())
		first, second, third := refresh(context.Background()), refresh(ctx), refresh(context.Background())

		release <- struct{}{} // the first ends, and the second begins
		require.NoError(t, <-first)
		synctest.Wait()
		cancel()
		close(release)
		require.ErrorIs(t, <-second, context.Canceled)
		require.NoError(t, <-third, "that caller has not given up")
	})
}

func TestRefreshShared_RefreshFailed_WaitersShareItsError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t)
		release := make(chan struct{})
		p.here.Stored.BeforeEachView(func() { <-release })
		outcomes := make(chan error, 3)
		for range 3 {
			go func() { outcomes <- p.here.Sync.RefreshShared(context.Background()) }()
			synctest.Wait()
		}
		release <- struct{}{}
		require.NoError(t, <-outcomes)
		synctest.Wait() // the second reads
		require.NoError(t, p.there.Stored.Close())
		_, views := p.here.Stored.Count(func() {
			close(release)
			for range 2 {
				require.Equal(t, domain.CodeInternal, domain.CodeOf(<-outcomes))
			}
		})
		require.Zero(t, views, "the third does not read")
	})
}
