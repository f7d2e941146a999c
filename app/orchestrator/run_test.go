package orchestrator_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/app/orchestrator"
	"github.com/switchyard-wa/switchyard/ports/service"
)

func TestRun_WorkerHangs_EndsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newReplicaSet(t, 1, func(cfg *orchestrator.Config) {
			withSystemClock(cfg)
			cfg.Workers = hangingGateway{cfg.Workers.(replicaGateway)}
		})
		a := c.all[0]
		c.register(a, "worker-1", 10)
		s := c.connectSession(a)
		ctx, stop := context.WithCancel(t.Context())
		var ended error
		over := inBackground(func() { ended = a.Run(ctx) })
		asked := inBackground(func() { _, _ = a.Sessions.Disconnect(t.Context(), s.UserID, s.ID) })
		time.Sleep(time.Second)
		_, err := a.Workers.Drain(t.Context(), "worker-1", service.DrainOptions{}) // the loop calls the worker
		require.NoError(t, err)
		time.Sleep(time.Second)
		require.NotEmpty(t, c.workers.callsOf("disconnect"))

		stop()
		began := time.Now()
		waitFor(t, over)

		require.ErrorIs(t, ended, context.Canceled)
		require.LessOrEqual(t, time.Since(began), 11*time.Second)
		<-asked
	})
}

// TestRun_SendsWithoutPause_FewPasses: each send records an event, which the loop reads with others.
func TestRun_SendsWithoutPause_FewPasses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newReplicaSet(t, 1, withSystemClock)
		a := c.all[0]
		c.register(a, "worker-1", 10)
		s := c.connectSession(a)
		ctx, stop := context.WithCancel(t.Context())
		over := inBackground(func() { _ = a.Run(ctx) })
		time.Sleep(time.Second)

		a.store.ResetCounts()
		for range 100 {
			_, err := a.Messages.Send(t.Context(), senderOf(s), &hello)
			require.NoError(t, err)
			time.Sleep(10 * time.Millisecond)
		}

		t.Logf("%d reads", a.store.Views())
		require.LessOrEqual(t, a.store.Views(), int64(3*10+10), "3 in each of 10 passes, and others")
		time.Sleep(3 * time.Second)
		counted, err := a.Messages.Usage(t.Context(), s.UserID, s.ID, time.Time{}, time.Hour)
		require.NoError(t, err)
		require.Equal(t, 100, counted[0].Count)
		stop()
		waitFor(t, over)
	})
}

func TestRun_IdleReplicas_FewTransactions(t *testing.T) {
	c := newReplicaSet(t, 3)
	var workers []string
	for i := range 10 {
		workers = append(workers, fmt.Sprint("worker-", i))
		c.register(c.all[0], workers[i], 5)
	}
	ids := c.fillWorkers(workers, 5)
	for range 5 {
		c.setIntentUp(c.createSession()) // without room
	}
	on := make(map[string][]string)
	for _, id := range ids {
		w := c.session(id).WorkerID
		on[w] = append(on[w], id)
	}
	beatAt := c.clock.Now()
	next := make(map[*replica]time.Time)
	minute := func() {
		for end := c.clock.Now().Add(time.Minute); c.clock.Now().Before(end); c.clock.advance(20 * time.Millisecond) {
			if now := c.clock.Now(); !now.Before(beatAt) {
				for i, w := range workers {
					c.heartbeat(c.all[i%3], w, on[w]...)
				}
				beatAt = now.Add(10 * time.Second)
			}
			for _, r := range c.all {
				if !c.clock.Now().Before(next[r]) {
					at, err := r.RunOnce(t.Context())
					require.NoError(t, err)
					next[r] = at
				}
			}
		}
	}

	for range 3 {
		minute()
	}
	for _, r := range c.all {
		r.store.ResetCounts()
	}
	minute()
	for _, r := range c.all {
		t.Logf("%s: %d reads and %d writes in a minute", r.name, r.store.Views(), r.store.Updates())
		require.LessOrEqual(t, r.store.Updates(), int64(30+20+15), "own heartbeats, heartbeats of workers, others")
		require.LessOrEqual(t, r.store.Views(), int64(240))
	}

	require.Zero(t, c.workers.count("start"))
}
