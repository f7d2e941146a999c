package orchestrator_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/memory"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/conformance/storehooks"
	"github.com/switchyard-wa/switchyard/ports/service"
)

func TestReconcile_ThreeReplicas_EachTaskOnce(t *testing.T) {
	c := newReplicaSet(t, 3)
	var workers []string
	for i := range 6 {
		workers = append(workers, fmt.Sprint("worker-", i))
		c.register(c.all[i%3], workers[i], 50)
	}
	turn := 0
	heartbeats := func() { // replicas receive the heartbeats in turn
		turn++
		if turn%20 == 0 {
			c.heartbeatsOf(c.all[turn/20%3], workers...)()
		}
	}
	c.advance(10*time.Second, heartbeats)
	before := c.probeCounts()
	c.advance(time.Minute, heartbeats)
	askers := make(map[string]bool)
	for _, made := range c.workers.callsOf("health") {
		askers[made.by] = true
	}
	for worker, n := range c.probeCounts() {
		require.InDelta(t, 12, n-before[worker], 2, worker)
	}
	require.Greater(t, len(askers), 1, "replicas share the probes: %v", askers)

	var ids []string
	for range 40 {
		s := c.createSession()
		c.setIntentUp(s)
		ids = append(ids, s.ID)
	}
	require.NoError(t, c.store.Update(t.Context(), func(ctx context.Context, tx *ports.Tx) error {
		for i := range 40 {
			err := tx.Cleanups.Put(ctx, &domain.Cleanup{
				WorkerID: workers[i%6], SessionID: fmt.Sprint("gone-", i), Command: domain.CommandDelete, DueAt: c.clock.Now(),
			})
			if err != nil {
				return err
			}
		}
		return nil
	}))
	c.advance(10*time.Second, heartbeats)
	started := make(map[string]int)
	by := make(map[string]int)
	for _, made := range c.workers.callsOf("start") {
		started[made.session]++
		by[made.by]++
	}
	for _, id := range ids {
		require.Equal(t, domain.Connected, c.session(id).Status)
		require.Equal(t, 1, started[id], id)
	}
	require.Len(t, by, 3, "every replica takes part")
	cleaned := make(map[string]int)
	for _, made := range c.workers.callsOf("delete") {
		cleaned[made.session]++
	}
	require.Len(t, cleaned, 40)
	require.Equal(t, 40, c.workers.count("delete"))

}

// callLoad counts the starts that are under way.
type callLoad struct {
	mu            sync.Mutex
	now, most     map[string]int // by "replica/worker", by worker, by replica
	starts, again int
	started       map[string]bool
}

// answer makes a start take a second.
func (l *callLoad) answer(made call) error {
	if made.kind != "start" {
		return nil
	}
	keys := []string{made.by + "/" + made.worker, made.worker, made.by}
	l.mu.Lock()
	for _, k := range keys {
		l.now[k]++
		l.most[k] = max(l.most[k], l.now[k])
	}
	l.starts++
	if l.started[made.session] {
		l.again++
	}
	l.started[made.session] = true
	l.mu.Unlock()
	time.Sleep(time.Second)
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, k := range keys {
		l.now[k]--
	}
	return nil
}

func newCallLoad() *callLoad {
	return &callLoad{now: map[string]int{}, most: map[string]int{}, started: map[string]bool{}}
}

func TestReconcile_ManySessionsRecover_CallsAreBounded(t *testing.T) {
	for _, size := range []struct{ workers, sessions int }{{1, 1000}, {20, 50}} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := newReplicaSet(t, 3, withSystemClock)
				var workers []string
				for i := range size.workers {
					workers = append(workers, fmt.Sprint("worker-", i))
					c.register(c.all[0], workers[i], 1000)
				}
				ids := c.fillWorkers(workers, size.sessions)
				l := newCallLoad()
				c.workers.answerWith(l.answer)
				c.startAll()
				for i, w := range workers { // all workers restart at once
					c.register(c.all[i%3], w, 1000)
				}

				began := time.Now()
				connected := 0
				for connected < len(ids) {
					require.Less(t, time.Since(began), 3*time.Minute)
					time.Sleep(100 * time.Millisecond)
					for _, w := range workers {
						c.heartbeatsOf(c.all[0], w)()
					}
					require.NoError(t, c.store.View(t.Context(), func(ctx context.Context, tx *ports.Tx) error {
						by, err := tx.Sessions.CountByStatus(ctx)
						connected = by[domain.Connected]
						return err
					}))
				}

				t.Logf("%d connected after %v; %d starts, %d repeated; at most at once: %v",
					len(ids), time.Since(began), l.starts, l.again, l.most)
				require.Zero(t, l.again)
				bound := 8
				if size.workers > 1 {
					bound = 16 // two replicas may begin at the same moment
				}
				for by, n := range l.most {
					if len(by) == 1 {
						require.LessOrEqual(t, n, 24, "calls of one replica")
					} else {
						require.LessOrEqual(t, n, bound, "calls to one worker, all replicas together: %s", by)
					}
				}
			})
		})
	}
}

func TestReconcile_SessionsWaitForRoom_HigherTierThenOlderFirst(t *testing.T) {
	c := newReplicaSet(t, 3)
	tiers := []domain.Tier{domain.TierBasic, domain.TierMax, domain.TierPro}
	var want []string // sessions by tier, highest first, then by age
	by := make(map[domain.Tier][]string)
	for i := range 12 {
		user := c.fixture().user(tiers[i%3])
		s, err := c.all[i%3].Sessions.Create(t.Context(), user, service.CreateSessionParams{Name: "line"})
		require.NoError(t, err)
		c.clock.advance(time.Second)
		c.setIntentUp(s)
		by[tiers[i%3]] = append(by[tiers[i%3]], s.ID)
	}
	want = slices.Concat(by[domain.TierMax], by[domain.TierPro], by[domain.TierBasic])

	c.advance(5 * time.Minute) // by now they look for room once a minute
	require.Zero(t, c.workers.count("start"))

	var workers []string
	for i := range want {
		if i == 6 {
			c.all[2].halted = true // the waiters may have told this replica
		}
		if i == 7 {
			c.advance(9*time.Second, c.heartbeatsOf(c.all[0], workers...))
		}
		workers = append(workers, fmt.Sprint("worker-", i))
		c.register(c.all[i%2], workers[i], 1)
		c.advance(5*time.Second, c.heartbeatsOf(c.all[0], workers...))
		var got []string
		for _, made := range c.workers.callsOf("start") {
			got = append(got, made.session)
		}
		if i < 6 || i > 7 {
			require.Equal(t, want[:i+1], got)
		}
		if i == 7 {
			require.ElementsMatch(t, want[:i+1], got)
		}
	}
}

// Every other replica and every worker can reach it.
func TestReconcile_WorkerUnreachableFromOneReplica_AnotherStops(t *testing.T) {
	c := newReplicaSet(t, 2)
	a, b := c.all[0], c.all[1]
	workers := []string{"worker-1", "worker-2", "worker-3", "worker-4", "worker-5", "worker-6"}
	for _, w := range workers {
		c.register(a, w, 5)
	}
	c.runAll()
	on := make(map[string][]string)
	for range 12 {
		s := c.connectSession(a)
		home := c.session(s.ID).WorkerID
		on[home] = append(on[home], s.ID)
	}
	c.workers.answerWith(func(made call) error {
		if made.by == "A" && made.kind != "start" {
			return &ports.WorkerError{Failure: ports.WorkerTimedOut, Message: "timed out"}
		}
		return nil
	})
	// The intent of all sessions is down. No worker was told.
	for _, ids := range on {
		for _, id := range ids {
			require.NoError(t, c.store.Update(t.Context(), func(ctx context.Context, tx *ports.Tx) error {
				s, err := tx.Sessions.Get(ctx, id)
				if err != nil {
					return err
				}
				s.Disconnect(c.now())
				if err := tx.Users.Reserve(ctx, s.UserID, domain.UserUsage{ActiveSessions: -1}, domain.UserUsage{}); err != nil {
					return err
				}
				return tx.Sessions.Put(ctx, s)
			}))
		}
	}

	remaining := func() (n int) {
		for _, ids := range on {
			for _, id := range ids {
				if c.session(id).IsAssigned() {
					n++
				}
			}
		}
		return n
	}
	began := c.clock.Now()
	for remaining() > 0 && c.clock.Now().Sub(began) < time.Hour {
		c.advance(time.Second, c.heartbeatsOf(b, workers...))
	}

	t.Logf("%d of 12 not stopped after %v", remaining(), c.clock.Now().Sub(began))
	require.Zero(t, remaining())
}

// The session has nothing to do. It gets work before that is recorded.
func TestReconcile_WorkArrivesWhileDueTimeIsCleared_IsDone(t *testing.T) {
	store := storehooks.New(memory.NewStore())
	w := newFixtureOn(t, store)
	starts := w.acceptStarts()
	w.worker("worker-1", 50)
	s := w.connectSession(w.user(domain.TierBasic))
	w.clock.advance(time.Minute)
	require.NoError(t, store.Store.Update(context.Background(), func(ctx context.Context, tx *ports.Tx) error {
		row, err := tx.Sessions.Get(ctx, s.ID)
		require.NoError(t, err)
		row.DueAt = w.clock.Now()
		return tx.Sessions.Put(ctx, row)
	}))
	before := starts.Load()
	store.BeforeNextUpdate(func() {
		_, err := w.Protocol.Heartbeat(context.Background(), domain.Heartbeat{WorkerID: "worker-1", IsFullSnapshot: true, CPU: -1, Memory: -1, MessageCount: -1})
		require.NoError(t, err)
		require.Equal(t, domain.CommandStart, w.session(s.ID).Command)
	})

	for range 2 {
		_, err := w.RunOnce(context.Background())
		require.NoError(t, err)
	}

	require.Nil(t, store.BeforeUpdate, "an Update was to clear the due time")
	require.Equal(t, before+1, starts.Load())
}

// A worker returns with 600 cleanups and hangs in each. The cleanup of another worker does not
// wait.
func TestCleanups_WorkerHangs_OtherWorkersAreServed(t *testing.T) {
	for _, replicas := range []int{1, 3} {
		t.Run(fmt.Sprint(replicas), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newReplicaSet(t, replicas, withSystemClock)
				c.register(c.all[0], "worker-1", 1000)
				c.register(c.all[0], "worker-2", 1000)
				var mu sync.Mutex
				done := map[string]int{}
				c.workers.answerWith(func(made call) error {
					if made.kind == "disconnect" && made.worker == "worker-1" {
						time.Sleep(30 * time.Second)
						return &ports.WorkerError{Failure: ports.WorkerTimedOut, Message: "timed out"}
					}
					mu.Lock()
					done[made.kind+"/"+made.worker]++
					mu.Unlock()
					return nil
				})
				now := c.now()
				for i := range 600 {
					c.putCleanup("worker-1", fmt.Sprint("gone-", i), now)
				}
				c.startAll()
				c.putCleanup("worker-2", "gone-elsewhere", c.now())

				began := time.Now()
				for time.Since(began) < 10*time.Minute {
					time.Sleep(time.Second)
					c.heartbeatsOf(c.all[0], "worker-1", "worker-2")()
					mu.Lock()
					n := done["disconnect/worker-2"]
					mu.Unlock()
					if n > 0 {
						break
					}
				}

				t.Logf("worker-2 was told after %v", time.Since(began))
				require.Less(t, time.Since(began), 10*time.Second)
			})
		})
	}
}
