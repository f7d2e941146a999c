package orchestrator_test

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
)

func TestReplicas_TwoDie_ThirdTakesOver(t *testing.T) {
	c := newReplicaSet(t, 3)
	workers := []string{"worker-1", "worker-2", "worker-3", "worker-4", "worker-5", "worker-6"}
	for _, w := range workers {
		c.register(c.all[0], w, 50)
	}
	heartbeats := c.heartbeatsOf(c.all[0], workers...)
	c.advance(10*time.Second, heartbeats)

	c.all[1].halted, c.all[2].halted = true, true
	for range 30 {
		c.setIntentUp(c.createSession())
	}

	c.advance(5*time.Second, heartbeats)
	require.Equal(t, 30, c.workers.count("start"), "the sessions start within seconds")
	c.advance(6*time.Second, heartbeats)
	require.Len(t, c.replicas(), 1)

	before := c.probeCounts()
	c.advance(time.Minute, heartbeats)
	for _, w := range workers {
		require.InDelta(t, 12, c.probeCounts()[w]-before[w], 2, w)
	}
}

func TestReplicas_OrderlyShutdown_HandsOverAtOnce(t *testing.T) {
	c := newReplicaSet(t, 2)
	a, b := c.all[0], c.all[1]
	c.register(b, "worker-1", 50)
	s := c.createSession()
	a.halted, b.halted = true, true
	ctx, cancel := context.WithCancel(context.Background())
	a.store.AfterUpdate = func(_ context.Context, err error) error {
		if c.session(s.ID).IsAssigned() {
			cancel() // A has placed the session and does not start it
		}
		return err
	}

	c.setIntentUp(s)
	c.clock.advance(5 * time.Second)
	ended := inBackground(func() { _ = a.Run(ctx) })
	waitFor(t, ended)

	require.True(t, c.session(s.ID).IsAssigned())
	require.Zero(t, c.workers.count("start"))
	require.Len(t, c.replicas(), 1)

	b.halted = false
	c.advance(3*time.Second, c.heartbeatsOf(b, "worker-1"))
	require.Equal(t, domain.Connected, c.session(s.ID).Status)
}

func TestReplicas_BusyOrStuck_OnlyTheStuckIsDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newReplicaSet(t, 2, withSystemClock)
		var reading atomic.Int64 // duration of the next read of A
		c.all[0].store.AfterView = func(_ context.Context, err error) error {
			time.Sleep(time.Duration(reading.Swap(0)))
			return err
		}
		c.startAll()
		names := func() (all []string) {
			for _, r := range c.replicas() {
				all = append(all, r.Name)
			}
			slices.Sort(all)
			return slices.Compact(all)
		}

		reading.Store(int64(25 * time.Second))
		for range 60 {
			time.Sleep(time.Second)
			require.Equal(t, []string{"A", "B"}, names())
		}

		reading.Store(int64(3 * time.Minute))
		time.Sleep(time.Minute)
		require.Equal(t, []string{"B"}, names())
		time.Sleep(3 * time.Minute)
		require.Equal(t, []string{"A", "B"}, names())
	})
}

// The first replica that reaches the store again finds old heartbeats of all replicas, itself
// included.
func TestReplicas_StoreDown_NobodyIsDead(t *testing.T) {
	c := newReplicaSet(t, 3)
	for _, r := range c.all {
		r.store.SetDown()
	}

	for range 120 {
		c.clock.advance(tick)
		for _, r := range c.all {
			_, _ = r.RunOnce(t.Context())
		}
	}
	for _, r := range c.all {
		r.store.SetUp()
	}

	for range 8 {
		c.clock.advance(tick)
		require.NoError(t, c.runReplica(c.all[2]))
	}

	require.Len(t, c.replicas(), 3)
}

// A replica whose clock is two hours ahead delays a session and a cleanup, and dies. The
// others do not wait for hours.
func TestReplicas_ReplicaAheadDies_DueTimesAreTranslated(t *testing.T) {
	c := newSkewedReplicaSet(t, []time.Duration{2 * time.Hour, 0})
	a, b := c.all[0], c.all[1]
	c.register(b, "worker-1", 10)
	c.runAll()
	s := c.connectSession(b)

	_, err := a.Protocol.ReportSession(t.Context(), domain.Report{SessionID: s.ID, WorkerID: "worker-1", Generation: 1, Status: domain.Disconnected})
	require.NoError(t, err)
	c.putCleanup("worker-1", "gone", a.clock.Now().Add(2*time.Second))
	a.halted = true
	c.advance(30*time.Second, c.heartbeatsOf(b, "worker-1"))

	require.Nil(t, c.cleanup("worker-1", "gone"))
	require.Equal(t, domain.Connected, c.session(s.ID).Status)
	require.Equal(t, 2, c.workers.count("start"))
}
