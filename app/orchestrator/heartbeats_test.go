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

// commands gives the sessions that a heartbeat's answer has the worker stop.
func commands(answer *service.HeartbeatResult) (ids []string) {
	for _, c := range answer.Commands {
		ids = append(ids, c.SessionID)
	}
	return ids
}

func TestWorkersAreToldWhatIsNotTheirsWhateverReplicaTheyReportTo(t *testing.T) {
	for _, cut := range []bool{false, true} {
		t.Run(fmt.Sprint("cut=", cut), func(t *testing.T) {
			c := newReplicaSet(t, 2)
			a, b := c.all[0], c.all[1]
			can := []domain.Capability{domain.CapGeneration, domain.CapLease}
			c.register(a, "worker-1", 5, can...)
			s := c.connected(a)
			c.register(a, "worker-2", 5, can...)
			require.NoError(t, c.stepOf(b))
			a.invalidator.cut.Store(cut)
			require.NoError(t, left(a.Protocol.Unregister(t.Context(), "worker-1", "")))
			b.dead = true
			c.pass(9*time.Second, c.pulse(a, "worker-2"), c.breathe(b))
			require.Equal(t, "worker-2", c.session(s.ID).WorkerID)
			h := domain.Heartbeat{WorkerID: "worker-1", IsFullSnapshot: true, CPU: -1, Memory: -1, MessageCount: -1, Sessions: []domain.Report{
				{SessionID: s.ID, Status: domain.Connected, Generation: 1},
			}}
			answer, err := b.Protocol.Heartbeat(t.Context(), h)
			require.NoError(t, err)
			require.Contains(t, commands(answer), s.ID)
			moved := c.session(s.ID)

			// Nor does anybody start it again where it was, or stop it where it is.
			b.dead = false
			h.Sessions = nil
			_, err = b.Protocol.Heartbeat(t.Context(), h)
			require.NoError(t, err)
			require.Empty(t, commands(c.beat(b, "worker-2", s.ID)))
			c.pass(10*time.Second, c.pulse(b, "worker-1", "worker-2"))
			now := c.session(s.ID)
			require.Equal(t, []any{moved.WorkerID, moved.Generation, domain.Connected}, []any{now.WorkerID, now.Generation, now.Status})
			require.Equal(t, 2, c.hands.made("start"))
		})
	}
}

func TestHeartbeatsThatReachReplicasInTurnAreCheap(t *testing.T) {
	c := newReplicaSet(t, 3)
	c.register(c.all[0], "worker-1", 50)
	ids := c.full([]string{"worker-1"}, 50)
	h := domain.Heartbeat{WorkerID: "worker-1", IsFullSnapshot: true, CPU: -1, Memory: -1, MessageCount: -1}
	for _, id := range ids {
		h.Sessions = append(h.Sessions, domain.Report{SessionID: id, Status: domain.Connected, Generation: 1})
	}
	beat := func(n int) {
		for i := range n {
			_, err := c.all[i%3].Protocol.Heartbeat(t.Context(), h)
			require.NoError(t, err)
		}
	}
	beat(3) // they learn of the sessions
	c.step()
	told := 0
	defer c.hub.Join().Subscribe(func(ports.Invalidation) { told++ })()
	for _, r := range c.all {
		r.store.ResetCounts()
	}
	beat(30)
	for _, r := range c.all {
		require.Zero(t, r.store.Views(), "reads of %s", r.name)
		require.EqualValues(t, 10, r.store.Updates(), "writes of %s", r.name)
	}
	require.Zero(t, told, "nobody else need know")
}
