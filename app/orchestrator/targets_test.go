package orchestrator_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// TestATargetThatHasRoomForOne: two sessions are to go where there is room for one by now. While that is on its way the other
// stays in use where it is.
func TestATargetThatHasRoomForOne(t *testing.T) {
	c := newReplicaSet(t, 1)
	a := c.all[0]
	c.register(a, "worker-1", 5)
	ids := []string{c.connected(a).ID, c.connected(a).ID}
	c.register(a, "worker-2", 2)
	results, err := a.Operations.Bulk(t.Context(), service.BulkRequest{Action: service.BulkMigrate, SessionIDs: ids, TargetWorkerID: "worker-2"})
	require.NoError(t, err)
	for _, r := range results {
		require.NoError(t, r.Err)
	}
	one := 1
	_, err = a.Workers.Update(t.Context(), "worker-2", service.WorkerChange{Capacity: &one})
	require.NoError(t, err)
	c.hands.set(func(made call) error {
		if made.kind == "disconnect" {
			return &ports.WorkerError{Failure: ports.WorkerTimedOut, Message: "timed out"}
		}
		return nil
	})
	c.step()
	c.step()
	stay := 0
	for _, id := range ids {
		if s := c.session(id); s.Status == domain.Connected && s.Command == domain.CommandNone {
			stay++
		}
	}
	require.Equal(t, 1, stay)
}

// TestRatherBackThanNowhere: while a session is stopped for a move, the only other worker leaves.
func TestRatherBackThanNowhere(t *testing.T) {
	c := newReplicaSet(t, 1)
	a := c.all[0]
	c.register(a, "worker-1", 5)
	s := c.connected(a)
	c.register(a, "worker-2", 5)
	c.hands.set(func(made call) error {
		if made.kind == "disconnect" {
			require.NoError(t, left(a.Protocol.Unregister(t.Context(), "worker-2", "")))
		}
		return nil
	})
	m, err := a.Operations.Migrate(t.Context(), s.ID, "", "")
	require.NoError(t, err)
	now := c.session(s.ID)
	require.Equal(t, []any{"worker-1", int64(2), domain.Connected}, []any{now.WorkerID, now.Generation, now.Status})
	require.Equal(t, []any{domain.MigrationFailed, "no other worker could take the session; it runs where it was"}, []any{m.Status, m.Error})
}

// TestNothingIsStoppedForATargetWithCredentialsToWipe: the only other worker has to forget what an earlier time of the session
// has left there first.
func TestNothingIsStoppedForATargetWithCredentialsToWipe(t *testing.T) {
	c := newReplicaSet(t, 1)
	a := c.all[0]
	c.register(a, "worker-1", 5)
	s := c.connected(a)
	c.register(a, "worker-2", 5)
	require.NoError(t, c.store.Update(t.Context(), func(ctx context.Context, tx *ports.Tx) error {
		return tx.Cleanups.Put(ctx, &domain.Cleanup{WorkerID: "worker-2", SessionID: s.ID, Command: domain.CommandLogout, CreatedAt: c.now()})
	}))
	_, err := a.Operations.Migrate(t.Context(), s.ID, "", "")
	require.Equal(t, domain.CodeNoAvailableWorkers, domain.CodeOf(err))
	require.Zero(t, c.hands.made("disconnect"))
}

// TestARebalanceLeavesAloneWhatHasMoved: between the plan of a rebalance and its record a session goes elsewhere by another replica.
func TestARebalanceLeavesAloneWhatHasMoved(t *testing.T) {
	c := newReplicaSet(t, 2)
	a, b := c.all[0], c.all[1]
	c.register(a, "worker-1", 10)
	c.full([]string{"worker-1"}, 6)
	c.register(a, "worker-2", 10)
	c.register(a, "worker-3", 10)
	c.hub.Join().Publish(ports.Invalidation{All: true})
	c.step()
	dry, err := a.Operations.Rebalance(t.Context(), service.RebalanceOptions{DryRun: true})
	require.NoError(t, err)
	require.Greater(t, len(dry.Moves), 1)
	first := dry.Moves[0]
	elsewhere := map[string]string{"worker-2": "worker-3", "worker-3": "worker-2"}[first.ToWorker]
	a.store.BeforeNextUpdate(func() {
		_, err := b.Operations.Migrate(t.Context(), first.SessionID, elsewhere, "")
		require.NoError(t, err)
	})
	r, err := a.Operations.Rebalance(t.Context(), service.RebalanceOptions{})
	require.NoError(t, err)
	require.Equal(t, dry.Moves[1:], r.Moves)
	c.pass(time.Minute, c.pulse(a, "worker-1", "worker-2", "worker-3"))
	s := c.session(first.SessionID)
	require.Equal(t, []any{elsewhere, int64(2)}, []any{s.WorkerID, s.Generation})
}

// TestWhatIsBeingStoppedIsCountedOnce: it still is on the worker that is drained, and has begun to move.
func TestWhatIsBeingStoppedIsCountedOnce(t *testing.T) {
	c := newReplicaSet(t, 1)
	a := c.all[0]
	c.register(a, "worker-1", 10)
	for range 6 {
		c.connected(a)
	}
	c.register(a, "worker-2", 10)
	c.hands.set(func(made call) error {
		if made.kind == "disconnect" {
			return &ports.WorkerError{Failure: ports.WorkerTimedOut, Message: "timed out"}
		}
		return nil
	})
	_, err := a.Workers.Drain(t.Context(), "worker-1")
	require.NoError(t, err)
	c.pass(5*time.Second, c.pulse(a, "worker-1", "worker-2"))
	w, sessions, err := a.Workers.Get(t.Context(), "worker-1")
	require.NoError(t, err)
	require.Len(t, sessions, 6)
	require.Equal(t, service.DrainProgress{BatchID: w.DrainID, Total: 6, Remaining: 6, Moving: 4}, *w.Drain)
}

// TestABusyWorkerIsLeftAlone: one that limits how much is started there is chosen for nothing else for as long as it says.
func TestABusyWorkerIsLeftAlone(t *testing.T) {
	c := newReplicaSet(t, 1)
	a := c.all[0]
	c.register(a, "worker-1", 10)
	c.register(a, "worker-2", 10)
	c.hands.set(func(made call) error {
		if made.kind == "start" && made.worker == "worker-1" {
			return &ports.WorkerError{Failure: ports.WorkerBusy, Status: 429, Message: "busy", Retry: 30 * time.Second}
		}
		return nil
	})
	refused := func() (n int) {
		for _, made := range c.hands.all("start") {
			if made.worker == "worker-1" {
				n++
			}
		}
		return n
	}
	for range 4 {
		require.Equal(t, "worker-2", c.session(c.connected(a).ID).WorkerID)
	}
	require.Equal(t, 1, refused())
	c.pass(35*time.Second, c.pulse(a, "worker-1", "worker-2"))
	c.connected(a)
	require.Equal(t, 2, refused(), "it is asked again")
}
