package orchestrator_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/app/orchestrator"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

var errRolledBack = errors.New("rolled back by the test")

// reading records what an Update has read of moves, and returns it again to a later run.
type reading struct {
	counted, again bool
	open           []*domain.Migration
	value          string
	missing        error
}

func (r *reading) replace(_ context.Context, tx *ports.Tx) {
	tx.Migrations, tx.Settings = openMoves{tx.Migrations, r}, settingsRead{tx.Settings, r}
}

type openMoves struct {
	ports.Migrations
	*reading
}

func (m openMoves) Open(ctx context.Context) (open []*domain.Migration, err error) {
	if !m.again {
		m.counted = true
		m.open, err = m.Migrations.Open(ctx)
	}
	return m.open, err
}

type settingsRead struct {
	ports.Settings
	*reading
}

func (s settingsRead) Get(ctx context.Context, name string) (string, error) {
	if !s.again {
		s.value, s.missing = s.Settings.Get(ctx, name)
	}
	return s.value, s.missing
}

func TestMigration_TwoReplicasBeginAtOnce_LimitHolds(t *testing.T) {
	for begun := range 3 {
		c := newReplicaSet(t, 2, func(cfg *orchestrator.Config) { cfg.MigrationsPerWorker = begun + 1 })
		a, b := c.all[0], c.all[1]
		c.register(a, "worker-1", 10)
		var sessions []*service.CreatedSession
		for range begun + 2 {
			sessions = append(sessions, c.connectSession(a))
		}
		c.register(a, "worker-2", 10)
		c.advance(tick)
		c.workers.answerWith(func(call) error { return &ports.WorkerError{Failure: ports.WorkerTimedOut, Message: "timed out"} })
		move := func(by *replica, i int) {
			_, err := by.Operations.Migrate(t.Context(), sessions[i].ID, service.MigrateOptions{})
			require.NoError(t, err)
		}
		for i := range begun {
			move(a, i)
		}

		a.overtakeAfterCounting(func() { move(b, begun) })
		move(a, begun+1)

		_, running, err := a.Operations.ListMigrations(t.Context(), ports.MigrationFilter{Status: domain.MigrationRunning}, ports.Page{})
		require.NoError(t, err)
		require.Equal(t, begun+1, running)
	}
}

type openBefore struct {
	ports.Migrations
	open []*domain.Migration
}

func (m openBefore) Open(context.Context) ([]*domain.Migration, error) { return m.open, nil }

// The transactions of the store do not see the migrations that others begin.
func TestMigration_WeakIsolation_LimitHolds(t *testing.T) {
	c := newReplicaSet(t, 1, func(cfg *orchestrator.Config) {
		cfg.Spawn, cfg.Parallel = nil, 24
	})
	a := c.all[0]
	a.hideConcurrentMoves()
	c.register(a, "worker-1", 50)
	ids := c.fillWorkers([]string{"worker-1"}, 20)
	c.register(a, "worker-2", 50)
	c.hub.Join().Publish(ports.Invalidation{All: true})
	c.runAll()
	c.workers.answerWith(func(made call) error {
		if made.kind == "disconnect" {
			return &ports.WorkerError{Failure: ports.WorkerTimedOut, Message: "timed out"} // migrations stay open
		}
		return nil
	})

	_, err := a.Operations.Bulk(t.Context(), service.BulkRequest{Action: service.BulkMigrate, SessionIDs: ids})
	require.NoError(t, err)
	c.runAll()

	require.Equal(t, 4, c.workers.count("disconnect"))
}

// Two sessions have the same target, which has room for one by the time they are admitted. The
// other session stays in use.
func TestMigration_TargetHasOneSlot_OtherSessionStays(t *testing.T) {
	c := newReplicaSet(t, 1)
	a := c.all[0]
	c.register(a, "worker-1", 5)
	ids := []string{c.connectSession(a).ID, c.connectSession(a).ID}
	c.register(a, "worker-2", 2)
	results, err := a.Operations.Bulk(t.Context(), service.BulkRequest{Action: service.BulkMigrate, SessionIDs: ids, TargetWorkerID: "worker-2"})
	require.NoError(t, err)
	for _, r := range results {
		require.NoError(t, r.Err)
	}
	one := 1
	_, err = a.Workers.Update(t.Context(), "worker-2", service.WorkerChange{Capacity: &one})
	require.NoError(t, err)
	c.workers.answerWith(func(made call) error {
		if made.kind == "disconnect" {
			return &ports.WorkerError{Failure: ports.WorkerTimedOut, Message: "timed out"}
		}
		return nil
	})

	c.runAll()
	c.runAll()

	stay := 0
	for _, id := range ids {
		if s := c.session(id); s.Status == domain.Connected && s.Command == domain.CommandNone {
			stay++
		}
	}
	require.Equal(t, 1, stay)
}

// The only other worker leaves after the session was stopped.
func TestMigration_TargetLeaves_SessionReturns(t *testing.T) {
	c := newReplicaSet(t, 1)
	a := c.all[0]
	c.register(a, "worker-1", 5)
	s := c.connectSession(a)
	c.register(a, "worker-2", 5)
	c.workers.answerWith(func(made call) error {
		if made.kind == "disconnect" {
			require.NoError(t, onlyError(a.Protocol.Unregister(t.Context(), "worker-2", "")))
		}
		return nil
	})

	m, err := a.Operations.Migrate(t.Context(), s.ID, service.MigrateOptions{})
	require.NoError(t, err)

	now := c.session(s.ID)
	require.Equal(t, []any{"worker-1", int64(2), domain.Connected}, []any{now.WorkerID, now.Generation, now.Status})
	require.Equal(t, []any{domain.MigrationFailed, "no other worker could take the session; it runs where it was"}, []any{m.Status, m.Error})
}

// The only other worker still has to wipe credentials of the same session.
func TestMigration_TargetHasToWipeCredentials_IsRefused(t *testing.T) {
	c := newReplicaSet(t, 1)
	a := c.all[0]
	c.register(a, "worker-1", 5)
	s := c.connectSession(a)
	c.register(a, "worker-2", 5)
	require.NoError(t, c.store.Update(t.Context(), func(ctx context.Context, tx *ports.Tx) error {
		return tx.Cleanups.Put(ctx, &domain.Cleanup{WorkerID: "worker-2", SessionID: s.ID, Command: domain.CommandLogout, CreatedAt: c.now()})
	}))

	_, err := a.Operations.Migrate(t.Context(), s.ID, service.MigrateOptions{})
	require.Equal(t, domain.CodeNoAvailableWorkers, domain.CodeOf(err))
	require.Zero(t, c.workers.count("disconnect"))
}

// Another replica moves a session after the plan is made and before it is recorded.
func TestRebalance_SessionMovedMeanwhile_IsLeftOut(t *testing.T) {
	c := newReplicaSet(t, 2)
	a, b := c.all[0], c.all[1]
	c.register(a, "worker-1", 10)
	c.fillWorkers([]string{"worker-1"}, 6)
	c.register(a, "worker-2", 10)
	c.register(a, "worker-3", 10)
	c.hub.Join().Publish(ports.Invalidation{All: true})
	c.runAll()
	dry, err := a.Operations.Rebalance(t.Context(), service.RebalanceOptions{DryRun: true})
	require.NoError(t, err)
	require.Greater(t, len(dry.Moves), 1)
	first := dry.Moves[0]
	elsewhere := map[string]string{"worker-2": "worker-3", "worker-3": "worker-2"}[first.ToWorker]
	a.store.BeforeNextUpdate(func() {
		_, err := b.Operations.Migrate(t.Context(), first.SessionID, service.MigrateOptions{TargetWorkerID: elsewhere})
		require.NoError(t, err)
	})

	r, err := a.Operations.Rebalance(t.Context(), service.RebalanceOptions{})
	require.NoError(t, err)
	require.Equal(t, dry.Moves[1:], r.Moves)

	c.advance(time.Minute, c.heartbeatsOf(a, "worker-1", "worker-2", "worker-3"))
	s := c.session(first.SessionID)
	require.Equal(t, []any{elsewhere, int64(2)}, []any{s.WorkerID, s.Generation})
}

// Every stop on the worker fails. At most four sessions are migrating, and the others stay in
// use.
func TestDrain_StopsFail_FourSessionsOutOfUse(t *testing.T) {
	c := newReplicaSet(t, 1)
	a := c.all[0]
	c.register(a, "worker-1", 50)
	ids := c.fillWorkers([]string{"worker-1"}, 20)
	c.hub.Join().Publish(ports.Invalidation{All: true})
	c.runAll()
	c.register(a, "worker-2", 50)
	c.workers.answerWith(func(made call) error {
		if made.kind == "disconnect" {
			return &ports.WorkerError{Failure: ports.WorkerFailed, Status: 500, Message: "cannot disconnect"}
		}
		return nil
	})

	_, err := a.Workers.Drain(t.Context(), "worker-1", service.DrainOptions{})
	require.NoError(t, err)
	beats, most := c.clock.Now(), 0
	c.advance(time.Hour, c.heartbeatsOf(a, "worker-2"), func() {
		if c.clock.Now().Before(beats) {
			return
		}
		beats = beats.Add(10 * time.Second)
		c.heartbeat(a, "worker-1", ids...) // the sessions run all the time
		out := 0
		for _, id := range ids {
			if c.session(id).Status != domain.Connected {
				out++
			}
		}
		most = max(most, out)
	})

	t.Logf("%d of 20 out of use", most)
	require.LessOrEqual(t, most, 4)
}

// A session that is being stopped is still on the worker and has begun to move.
func TestDrain_SessionIsStopping_IsCountedOnce(t *testing.T) {
	c := newReplicaSet(t, 1)
	a := c.all[0]
	c.register(a, "worker-1", 10)
	for range 6 {
		c.connectSession(a)
	}
	c.register(a, "worker-2", 10)
	c.workers.answerWith(func(made call) error {
		if made.kind == "disconnect" {
			return &ports.WorkerError{Failure: ports.WorkerTimedOut, Message: "timed out"}
		}
		return nil
	})

	_, err := a.Workers.Drain(t.Context(), "worker-1", service.DrainOptions{})
	require.NoError(t, err)
	c.advance(5*time.Second, c.heartbeatsOf(a, "worker-1", "worker-2"))

	w, sessions, err := a.Workers.Get(t.Context(), "worker-1")
	require.NoError(t, err)
	require.Len(t, sessions, 6)
	require.Equal(t, service.DrainProgress{BatchID: w.DrainID, Total: 6, Remaining: 6, Moving: 4}, *w.Drain)
}
