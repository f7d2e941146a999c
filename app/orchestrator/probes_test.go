package orchestrator_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

func refused() error {
	return &ports.WorkerError{Failure: ports.WorkerConnectionRefused, Message: "connection refused"}
}

// fleetOf registers workers, of which each replica has some to probe, at the first.
func (c *replicaSet) fleetOf(n int) (workers []string) {
	for i := range n {
		workers = append(workers, fmt.Sprint("worker-", i))
		c.register(c.all[0], workers[i], 5)
	}
	c.step()
	return workers
}

// TestARefusalIsJudgedByTheRow: a replica that is refused by workers, and is told of none of their heartbeats, does not even
// for a moment count them as lost while another hears of them.
func TestARefusalIsJudgedByTheRow(t *testing.T) {
	c := newReplicaSet(t, 2)
	a, b := c.all[0], c.all[1]
	workers := c.fleetOf(6)
	b.invalidator.cut.Store(true)
	c.hands.set(func(made call) error {
		if made.by == "B" {
			return refused()
		}
		return nil
	})
	c.pass(time.Minute, c.pulse(a, workers...))
	asked := 0
	for _, made := range c.hands.all("health") {
		if made.by == "B" {
			asked++
		}
	}
	require.Greater(t, asked, 20)
	for _, e := range c.bus.events {
		require.NotEqual(t, domain.EventWorkerOffline, e.Type)
	}
}

// TestACrashAfterAHeartbeatThatIsNotKnownYet: a replica that is refused learns only then of the worker's last heartbeat,
// which another has heard. It takes that for no sign of life.
func TestACrashAfterAHeartbeatThatIsNotKnownYet(t *testing.T) {
	for after := range 20 {
		t.Run(fmt.Sprint(after), func(t *testing.T) {
			c := newReplicaSet(t, 2)
			workers := c.fleetOf(4)
			c.pass(20*time.Second+time.Duration(after)*500*time.Millisecond, c.pulse(c.all[0], workers...))
			c.hands.set(func(call) error { return refused() })
			c.pass(8 * time.Second)
			for _, w := range workers {
				require.Equal(t, domain.DownCrashed, c.worker(w).DownReason)
			}
		})
	}
}

// TestAnAnswerForAFormerProcess: a worker has registered anew when the outcome of a call to its former process comes.
func TestAnAnswerForAFormerProcess(t *testing.T) {
	c := newReplicaSet(t, 1)
	a := c.all[0]
	require.NoError(t, c.worker1(a, "http://process-1:1"))
	began, end := c.hang("health")
	tested := aside(func() { _, _ = a.Workers.Test(context.Background(), "worker-1") })
	wait(t, began)
	c.clock.advance(time.Second)
	require.NoError(t, c.worker1(a, "http://process-1:1"))
	end(refused())
	wait(t, tested)
	w, _, err := a.Workers.Get(t.Context(), "worker-1")
	require.NoError(t, err)
	require.Empty(t, w.Warning)
	require.Equal(t, domain.WorkerOnline, w.Status())
}
