package orchestrator_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/app/orchestrator"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

func TestDetector_SkewedClocks_LiveWorkerStaysUp(t *testing.T) {
	for _, skew := range []time.Duration{time.Minute, -time.Minute, time.Hour, -time.Hour} {
		for _, can := range [][]domain.Capability{nil, {domain.CapLease, domain.CapGeneration}} {
			t.Run(fmt.Sprint(skew, can), func(t *testing.T) {
				c := newSkewedReplicaSet(t, []time.Duration{skew, 0, skew / 2})
				a, b, d := c.all[0], c.all[1], c.all[2]
				c.register(a, "worker-1", 10, can...)
				s := c.connectSession(a)

				for _, hears := range []*replica{a, b, d, b, a, d} { // receives heartbeats for 150 s
					beat := c.clock.Now()
					c.advance(150*time.Second, func() {
						if !c.clock.Now().Before(beat) {
							c.heartbeat(hears, "worker-1", s.ID)
							beat = beat.Add(10 * time.Second)
						}
					})
					require.Empty(t, c.worker("worker-1").DownReason)
				}

				require.EqualValues(t, 1, c.session(s.ID).Generation)
				require.Len(t, c.replicas(), 3, "no replica is taken for dead")
				require.Equal(t, 1, c.workers.count("start"))
			})
		}
	}
}

// In half of the cases the replicas learn late of heartbeats that others have received.
func TestDetector_WorkerSilent_DownAfterItsLeaseAndNotBefore(t *testing.T) {
	const lease, drift = 45 * time.Second, time.Second
	for _, skew := range []time.Duration{0, 5 * time.Second, -5 * time.Second, time.Minute, -time.Minute} {
		for _, cut := range []bool{false, true} { // the other replicas learn late of heartbeats
			t.Run(fmt.Sprint(skew, cut), func(t *testing.T) {
				c := newSkewedReplicaSet(t, []time.Duration{-skew, 0, skew})
				for _, r := range c.all {
					r.invalidator.cut.Store(cut)
				}
				c.register(c.all[0], "worker-1", 10, domain.CapLease, domain.CapGeneration)
				c.advance(12 * time.Second)

				for _, hears := range []int{0, 1, 2, 0, 2, 1} {
					c.heartbeat(c.all[hears], "worker-1")
					c.advance(44 * time.Second)
					require.Empty(t, c.worker("worker-1").DownReason)
				}

				c.heartbeat(c.all[1], "worker-1")
				last := c.clock.Now()
				for c.worker("worker-1").Online {
					c.advance(tick)
					require.Less(t, c.clock.Now().Sub(last), 2*time.Minute)
				}

				took := c.clock.Now().Sub(last)
				require.GreaterOrEqual(t, took, lease+drift)
				require.LessOrEqual(t, took, lease+drift+12*time.Second)
			})
		}
	}
}

// The other replica receives the heartbeats of the workers.
func TestDetector_OneReplicaIsRefused_WorkerStaysUp(t *testing.T) {
	for _, every := range []time.Duration{tick, 25 * time.Second} { // interval of the heartbeats, which the other replica receives
		t.Run(fmt.Sprint("every ", every), func(t *testing.T) {
			c := newReplicaSet(t, 2)
			a, b := c.all[0], c.all[1]
			b.invalidator.cut.Store(every == tick)                                                      // frequent heartbeats need no invalidations
			workers := []string{"worker-1", "worker-2", "worker-3", "worker-4", "worker-5", "worker-6"} // B probes some of them
			on := make(map[string][]string)
			for _, w := range workers {
				c.register(a, w, 5)
			}
			c.runAll()
			for range 8 {
				s := c.connectSession(a)
				home := c.session(s.ID).WorkerID
				on[home] = append(on[home], s.ID)
			}
			c.workers.answerWith(func(made call) error {
				if made.by == "B" && made.kind == "health" {
					return &ports.WorkerError{Failure: ports.WorkerConnectionRefused, Message: "connection refused"}
				}
				return nil
			})

			beat := c.clock.Now().Add(every)
			c.advance(2*time.Minute, func() {
				if c.clock.Now().Before(beat) {
					return
				}
				for _, w := range workers {
					c.heartbeat(a, w, on[w]...)
				}
				beat = beat.Add(every)
			})

			asked := 0
			for _, made := range c.workers.callsOf("health") {
				if made.by == "B" {
					asked++
				}
			}
			require.Positive(t, asked)
			for _, w := range workers {
				require.Empty(t, c.worker(w).DownReason)
				for _, id := range on[w] {
					s := c.session(id)
					require.Equal(t, []any{w, int64(1), domain.Connected}, []any{s.WorkerID, s.Generation, s.Status})
				}
			}
		})
	}
}

// Workers refuse a replica that receives no invalidations. It reads their rows before it
// judges, and finds the heartbeats that the other has received.
func TestDetector_RefusedWithoutInvalidations_WorkerStaysUp(t *testing.T) {
	c := newReplicaSet(t, 2)
	a, b := c.all[0], c.all[1]
	workers := c.registerWorkers(6)
	b.invalidator.cut.Store(true)
	c.workers.answerWith(func(made call) error {
		if made.by == "B" {
			return refused()
		}
		return nil
	})

	c.advance(time.Minute, c.heartbeatsOf(a, workers...))

	asked := 0
	for _, made := range c.workers.callsOf("health") {
		if made.by == "B" {
			asked++
		}
	}
	require.Greater(t, asked, 20)
	for _, e := range c.events() {
		require.NotEqual(t, domain.EventWorkerOffline, e.Type)
	}
}

// A replica that is refused learns only then of the last heartbeat, which another has
// received. That heartbeat is no sign of life.
func TestDetector_CrashAfterUnknownHeartbeat_IsDetected(t *testing.T) {
	for after := range 20 {
		t.Run(fmt.Sprint(after), func(t *testing.T) {
			c := newReplicaSet(t, 2)
			workers := c.registerWorkers(4)
			c.advance(20*time.Second+time.Duration(after)*500*time.Millisecond, c.heartbeatsOf(c.all[0], workers...))

			c.workers.answerWith(func(call) error { return refused() })
			c.advance(8 * time.Second)

			for _, w := range workers {
				require.Equal(t, domain.DownCrashed, c.worker(w).DownReason)
			}
		})
	}
}

// A worker registers again before the outcome of a probe of its former process arrives.
func TestDetector_ProbeOfFormerProcess_IsIgnored(t *testing.T) {
	c := newReplicaSet(t, 1)
	a := c.all[0]
	require.NoError(t, c.registerWorker1(a, "http://process-1:1"))

	began, end := c.hangFirst("health")
	tested := inBackground(func() { _, _ = a.Workers.Test(context.Background(), "worker-1") })
	waitFor(t, began)

	c.clock.advance(time.Second)
	require.NoError(t, c.registerWorker1(a, "http://process-1:1"))
	end(refused())
	waitFor(t, tested)

	w, _, err := a.Workers.Get(t.Context(), "worker-1")
	require.NoError(t, err)
	require.Empty(t, w.Warning)
	require.Equal(t, domain.WorkerOnline, w.Status())
}

func TestDetector_WorkerActivated_IsUpAgain(t *testing.T) {
	c := newSkewedReplicaSet(t, []time.Duration{time.Minute, 0})
	a, b := c.all[0], c.all[1]
	c.register(a, "worker-1", 50)
	c.advance(40 * time.Second)
	require.Equal(t, domain.DownHeartbeatTimeout, c.worker("worker-1").DownReason)

	_, err := b.Workers.Activate(t.Context(), "worker-1")
	require.NoError(t, err)
	c.advance(20 * time.Second)

	require.Empty(t, c.worker("worker-1").DownReason)
}

func TestDetector_ProbesStopped_OnEveryReplica(t *testing.T) {
	c := newReplicaSet(t, 3)
	for i := range 6 {
		c.register(c.all[0], fmt.Sprint("worker-", i), 5)
	}
	heartbeats := c.heartbeatsOf(c.all[0], "worker-0", "worker-1", "worker-2", "worker-3", "worker-4", "worker-5")

	_, err := c.all[1].Workers.StopProbes(t.Context())
	require.NoError(t, err)
	c.advance(3*time.Second, heartbeats)
	for _, r := range c.all {
		require.False(t, r.Workers.ProbeStatus(t.Context()).Running)
	}

	before := c.workers.count("health")
	c.advance(time.Minute, heartbeats)
	require.Equal(t, before, c.workers.count("health"))

	late := c.join(0)
	require.NoError(t, c.runReplica(late))
	require.False(t, late.Workers.ProbeStatus(t.Context()).Running, "a later replica knows")

	_, err = c.all[2].Workers.StartProbes(t.Context())
	require.NoError(t, err)
	c.advance(10*time.Second, heartbeats)
	require.Greater(t, c.workers.count("health"), before)
	for _, r := range c.all {
		require.True(t, r.Workers.ProbeStatus(t.Context()).Running)
	}
}

// Heartbeats fail while the store is down. Afterwards workers have the full time to send one.
func TestDetector_StoreDown_NoWorkerGoesDown(t *testing.T) {
	c := newReplicaSet(t, 2)
	a := c.all[0]
	workers := c.registerWorkers(6)

	for _, r := range c.all {
		r.store.SetDown()
	}
	for away := time.Duration(0); away < 5*time.Minute; away += tick {
		c.clock.advance(tick)
		for _, r := range c.all {
			_, _ = r.RunOnce(t.Context())
		}
	}
	for _, r := range c.all {
		r.store.SetUp()
	}

	c.advance(20 * time.Second)
	c.advance(time.Minute, c.heartbeatsOf(a, workers...))

	for _, e := range c.events() {
		require.NotEqual(t, domain.EventWorkerOffline, e.Type)
	}
}

func TestDetector_WorkerLeaves_CallsAreCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newReplicaSet(t, 1, func(cfg *orchestrator.Config) {
			withSystemClock(cfg)
			cfg.Workers = hangingGateway{cfg.Workers.(replicaGateway)}
		})
		a := c.all[0]
		c.register(a, "worker-1", 10)
		s := c.connectSession(a)
		asked := inBackground(func() { _, _ = a.Sessions.Disconnect(t.Context(), s.UserID, s.ID) })
		time.Sleep(time.Second)
		require.Equal(t, 1, c.workers.count("disconnect"))

		began := time.Now()
		require.NoError(t, onlyError(a.Protocol.Unregister(t.Context(), "worker-1", "")))

		<-asked
		require.Less(t, time.Since(began), time.Second)
	})
}
