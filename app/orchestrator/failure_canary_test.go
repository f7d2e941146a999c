package orchestrator_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// A paused replica learns in one pass that sessions have left a canary and have failed on the
// next worker.
func TestCanary_SessionsFailAfterTheyMoved_WorkerIsNotSuspect(t *testing.T) {
	c := newReplicaSet(t, 2)
	a, b := c.all[0], c.all[1]
	c.register(a, "worker-1", 50)
	c.register(a, "worker-3", 50)
	ids := c.fillWorkers([]string{"worker-1", "worker-3"}, 4)[:4]
	c.hub.Join().Publish(ports.Invalidation{All: true})
	c.runAll()
	c.runAll()
	c.register(a, "worker-2", 50)

	b.halted = true
	for _, id := range ids {
		_, err := a.Operations.Migrate(t.Context(), id, service.MigrateOptions{TargetWorkerID: "worker-2"})
		require.NoError(t, err)
		require.Equal(t, []any{"worker-2", domain.Connected}, []any{c.session(id).WorkerID, c.session(id).Status})
		_, err = a.Protocol.ReportSession(t.Context(), domain.Report{SessionID: id, WorkerID: "worker-2", Generation: 2, Status: domain.Errored})
		require.NoError(t, err)
	}

	a.halted, b.halted = true, false
	c.advance(time.Minute, c.heartbeatsOf(b, "worker-1", "worker-2", "worker-3"), c.keepAlive(a))

	require.Empty(t, c.worker("worker-1").Suspect)
}

// Disconnects before a worker changed its version do not count against the new version.
func TestCanary_NewVersion_CountsFromTheUpgrade(t *testing.T) {
	c := newReplicaSet(t, 1)
	a := c.all[0]
	workers := []string{"worker-1", "worker-2"}
	c.register(a, workers[0], 50)
	c.register(a, workers[1], 50)
	ids := c.fillWorkers(workers, 4)
	c.clock.advance(20 * time.Minute)
	c.heartbeatsOf(a, workers...)()
	c.hub.Join().Publish(ports.Invalidation{All: true})
	c.runAll()

	c.loseLinks("worker-2", ids[4:]...)
	c.advance(2*time.Minute, c.heartbeatsOf(a, workers...))
	require.Empty(t, c.worker("worker-2").Suspect, "worker-2 is no canary")

	_, err := a.Protocol.Heartbeat(t.Context(), domain.Heartbeat{WorkerID: "worker-2", Version: "2.0.0", CPU: -1, Memory: -1, MessageCount: -1})
	require.NoError(t, err)

	c.loseLinks("worker-1", ids[0])
	c.advance(time.Minute, c.heartbeatsOf(a, workers...))
	require.Empty(t, c.worker("worker-2").Suspect)
	c.loseLinks("worker-2", ids[4:]...)
	c.advance(time.Minute, c.heartbeatsOf(a, workers...))
	require.Contains(t, c.worker("worker-2").Suspect, "4 disconnects among 4 sessions")
}

// Disconnects before a worker leaves belong to the leaving.
func TestCanary_WorkerLeaves_IsNotSuspect(t *testing.T) {
	for _, leaves := range []bool{false, true} {
		t.Run(fmt.Sprint(leaves), func(t *testing.T) {
			c := newReplicaSet(t, 1)
			a := c.all[0]
			workers := []string{"worker-1", "worker-2"}
			c.register(a, workers[0], 50)
			c.register(a, workers[1], 50)
			ids := c.fillWorkers(workers, 4)
			c.hub.Join().Publish(ports.Invalidation{All: true})
			c.runAll()

			c.loseLinks("worker-2", ids[4:]...)
			if leaves {
				require.NoError(t, onlyError(a.Protocol.Unregister(t.Context(), "worker-2", "")))
			}
			c.advance(2*time.Minute, c.heartbeatsOf(a, workers...))

			require.Equal(t, leaves, c.worker("worker-2").Suspect == "")
		})
	}
}

// Two replicas reach the same verdict. One of them does not know yet that the other has
// recorded it.
func TestCanary_TwoReplicasJudge_OneSuspectEvent(t *testing.T) {
	c := newReplicaSet(t, 2)
	a, b := c.all[0], c.all[1]
	workers := []string{"worker-1", "worker-2"}
	c.register(a, workers[0], 50)
	c.register(a, workers[1], 50)
	ids := c.fillWorkers(workers, 4)
	c.hub.Join().Publish(ports.Invalidation{All: true})
	c.advance(5 * time.Second) // B is between two refreshes when A judges

	for _, id := range ids[4:] {
		_, err := a.Protocol.ReportSession(t.Context(), domain.Report{SessionID: id, WorkerID: "worker-2", Generation: 1, Status: domain.Reconnecting})
		require.NoError(t, err)
	}
	c.runAll()
	b.invalidator.cut.Store(true)
	c.advance(time.Minute, c.heartbeatsOf(a, workers...))

	require.NotEmpty(t, c.worker("worker-2").Suspect)
	found := 0
	for _, e := range c.events() {
		if e.Type == domain.EventWorkerSuspect {
			found++
		}
	}
	require.Equal(t, 1, found)
}

// The clock of the replica at which the canary registers is hours ahead or behind.
func TestCanary_RegisteredBySkewedReplica_IsWatched(t *testing.T) {
	for _, skew := range []time.Duration{0, 2 * time.Hour, -2 * time.Hour} {
		t.Run(skew.String(), func(t *testing.T) {
			c := newSkewedReplicaSet(t, []time.Duration{0, skew})
			a, b := c.all[0], c.all[1]
			c.register(a, "worker-1", 50)
			on1 := c.fillWorkers([]string{"worker-1"}, 10)
			c.clock.advance(20 * time.Minute)
			c.heartbeatsOf(a, "worker-1")()
			c.register(b, "worker-2", 50) // a canary
			on2 := c.fillWorkers([]string{"worker-2"}, 10)
			c.hub.Join().Publish(ports.Invalidation{All: true})
			c.runAll()
			c.runAll()

			for _, id := range on2 { // all sessions of the canary lose their link
				_, err := a.Protocol.ReportSession(t.Context(), domain.Report{SessionID: id, WorkerID: "worker-2", Generation: 1, Status: domain.Reconnecting})
				require.NoError(t, err)
			}
			c.advance(2*time.Minute, func() { c.heartbeat(a, "worker-1", on1...) }, c.heartbeatsOf(a, "worker-2"))

			t.Log(c.worker("worker-2").Suspect)
			require.NotEmpty(t, c.worker("worker-2").Suspect)
		})
	}
}
