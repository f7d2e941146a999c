package apptest_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/app/apptest"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// lines connects so many sessions of a user of the highest tier.
func lines(h *apptest.Harness, n int) (ids []string) {
	user := h.User(domain.TierMax)
	for i := range n {
		ids = append(ids, h.Connected(user, fmt.Sprint("line ", i)).ID)
	}
	return ids
}

func migrations(t *testing.T, h *apptest.Harness, f ports.MigrationFilter) []*domain.Migration {
	t.Helper()
	list, total, err := h.Orchestrator.Operations.ListMigrations(t.Context(), f, ports.Page{})
	require.NoError(t, err)
	require.Len(t, list, total)
	return list
}

func open(t *testing.T, h *apptest.Harness) (pending, running int) {
	t.Helper()
	pending = len(migrations(t, h, ports.MigrationFilter{Status: domain.MigrationPending}))
	return pending, len(migrations(t, h, ports.MigrationFilter{Status: domain.MigrationRunning}))
}

// connectedOn requires that the sessions are connected, each in one place, and
// counts them by worker.
func connectedOn(t *testing.T, h *apptest.Harness, ids []string) map[string]int {
	t.Helper()
	on := make(map[string]int)
	for _, id := range ids {
		s := h.Session(id)
		require.Equal(t, domain.Connected, s.Status, id)
		require.Equal(t, []string{s.WorkerID}, h.Owners(id))
		require.Empty(t, s.MigrationID+s.MigrationTargetID)
		on[s.WorkerID]++
	}
	return on
}

func eventsOf(h *apptest.Harness, worker string) (types []domain.EventType) {
	for _, e := range h.Events() {
		if e.WorkerID == worker && e.SessionID == "" {
			types = append(types, e.Type)
		}
	}
	return types
}

func TestDrainMovesFewAtATimeAndTellsHowFarItIs(t *testing.T) {
	h := apptest.New(t).Workers("w1", 50)
	ids := lines(h, 20)
	h.Workers("w2", 50, "w3", 50)
	h.Hang("w2") // simulated workers are too quick to be watched
	h.Hang("w3")
	view, err := h.Orchestrator.Workers.Drain(t.Context(), "worker-w1")
	require.NoError(t, err)
	progress := func() service.DrainProgress {
		t.Helper()
		w, sessions, err := h.Orchestrator.Workers.Get(t.Context(), "worker-w1")
		require.NoError(t, err)
		require.Len(t, sessions, w.Drain.Remaining)
		return *w.Drain
	}
	for range 10 {
		h.Advance(time.Second)
		require.Equal(t, service.DrainProgress{BatchID: view.DrainID, Total: 20, Remaining: 16, Moving: 4}, progress())
	}
	h.Unhang("w2")
	h.Unhang("w3")
	for range 600 {
		h.Advance(100 * time.Millisecond)
		_, running := open(t, h)
		require.LessOrEqual(t, running, 4)
		p := progress()
		require.Equal(t, []int{20, running}, []int{p.Total, p.Moving})
		if p.Moved == 20 {
			break
		}
	}
	on := connectedOn(t, h, ids)
	require.Equal(t, map[string]int{"worker-w2": 10, "worker-w3": 10}, on)
	list := migrations(t, h, ports.MigrationFilter{BatchID: view.DrainID, Kind: domain.MigrationByDrain, Status: domain.MigrationCompleted})
	require.Len(t, list, 20)
	require.Less(t, list[0].CreatedAt.Sub(list[15].CreatedAt), 5*time.Second, "one follows the other without delay")
	require.Equal(t, []domain.EventType{domain.EventWorkerOnline, domain.EventWorkerDraining, domain.EventWorkerDrained}, eventsOf(h, "worker-w1"))

	_, err = h.Orchestrator.Workers.Activate(t.Context(), "worker-w1")
	require.NoError(t, err)
	w, _, err := h.Orchestrator.Workers.Get(t.Context(), "worker-w1")
	require.NoError(t, err)
	require.Nil(t, w.Drain)
}

// Sessions that a draining worker loses by a crash are part of its drain.
func TestACrashIsPartOfTheDrain(t *testing.T) {
	h := apptest.New(t).Workers("w1", 50)
	ids := lines(h, 12)
	h.Workers("w2", 50)
	view, err := h.Orchestrator.Workers.Drain(t.Context(), "worker-w1")
	require.NoError(t, err)
	h.Crash("w1")
	h.Advance(time.Minute)
	require.Equal(t, map[string]int{"worker-w2": 12}, connectedOn(t, h, ids))
	w, _, err := h.Orchestrator.Workers.Get(t.Context(), "worker-w1")
	require.NoError(t, err)
	require.Equal(t, service.DrainProgress{BatchID: view.DrainID, Total: 12, Moved: 12}, *w.Drain)
	require.NotEmpty(t, migrations(t, h, ports.MigrationFilter{BatchID: view.DrainID, Kind: domain.MigrationByFailover}))
}

func TestMovesAreLimitedInTheWholeFleet(t *testing.T) {
	h := apptest.New(t)
	for i := range 9 {
		h.Workers(fmt.Sprintf("old-%d", i), 5)
	}
	var ids []string
	for range 9 {
		ids = append(ids, lines(h, 5)...)
	}
	h.Workers("new", 50)
	h.Hang("new")
	for i := range 9 {
		_, err := h.Orchestrator.Workers.Drain(t.Context(), fmt.Sprintf("old-%d", i))
		require.NoError(t, err)
	}
	for range 5 {
		h.Advance(time.Second)
		_, running := open(t, h)
		require.Equal(t, 32, running)
	}
	h.Unhang("new")
	h.Advance(5 * time.Minute)
	require.Equal(t, map[string]int{"new": 45}, connectedOn(t, h, ids))
}

func TestActivateKeepsWhatHasNotLeft(t *testing.T) {
	h := apptest.New(t).Workers("w1", 50)
	ids := lines(h, 12)
	h.Workers("w2", 50)
	h.Hang("w2")
	_, err := h.Orchestrator.Workers.Drain(t.Context(), "worker-w1")
	require.NoError(t, err)
	h.Advance(time.Second)
	h.Unhang("w2")
	_, err = h.Orchestrator.Workers.Activate(t.Context(), "worker-w1")
	require.NoError(t, err)
	h.Advance(5 * time.Minute)
	require.Equal(t, map[string]int{"worker-w1": 8, "worker-w2": 4}, connectedOn(t, h, ids))
}

// A drain without room waits, and goes on when there is some.
func TestDrainWaitsForRoom(t *testing.T) {
	h := apptest.New(t).Workers("w1", 50, "w2", 1)
	ids := lines(h, 6)
	_, err := h.Orchestrator.Workers.Drain(t.Context(), "worker-w1")
	require.NoError(t, err)
	h.Advance(5 * time.Minute)
	require.Equal(t, map[string]int{"worker-w1": 5, "worker-w2": 1}, connectedOn(t, h, ids))
	h.Workers("w3", 50)
	h.Advance(time.Minute)
	require.Equal(t, map[string]int{"worker-w3": 5, "worker-w2": 1}, connectedOn(t, h, ids))
}

func TestMigrate(t *testing.T) {
	h := apptest.New(t).Workers("w1", 50)
	ids := lines(h, 2)
	h.Workers("w2", 1, "w3", 50)
	m, err := h.Orchestrator.Operations.Migrate(t.Context(), ids[0], "worker-w2", "closer to its users")
	require.NoError(t, err)
	require.False(t, m.StartedAt.IsZero(), "it began at once")
	h.Advance(10 * time.Second)
	require.Equal(t, map[string]int{"worker-w1": 1, "worker-w2": 1}, connectedOn(t, h, ids))
	done := migrations(t, h, ports.MigrationFilter{SessionID: ids[0]})[0]
	require.Equal(t, []any{m.ID, domain.MigrationByOperator, domain.MigrationCompleted, "worker-w1", "worker-w2", "closer to its users"},
		[]any{done.ID, done.Kind, done.Status, done.FromWorker, done.ToWorker, done.Reason})
	require.Equal(t, domain.EventSessionMigrated, placements(h, ids[0])[1].Type)

	refused := func(id, target string) domain.Code {
		_, err := h.Orchestrator.Operations.Migrate(t.Context(), id, target, "")
		return domain.CodeOf(err)
	}
	require.Equal(t, domain.CodeSessionNotFound, refused("nobody", ""))
	require.Equal(t, domain.CodeWorkerNotFound, refused(ids[1], "worker-w9"))
	require.Equal(t, domain.CodeInvalidState, refused(ids[1], "worker-w1"), "it is there")
	require.Equal(t, domain.CodeNoAvailableWorkers, refused(ids[1], "worker-w2"), "full")
	_, err = h.Orchestrator.Sessions.Disconnect(t.Context(), h.Session(ids[1]).UserID, ids[1])
	require.NoError(t, err)
	require.Equal(t, domain.CodeInvalidState, refused(ids[1], "worker-w3"), "down")
	_, err = h.Orchestrator.Workers.Drain(t.Context(), "worker-w3")
	require.NoError(t, err)
	require.Equal(t, domain.CodeInvalidState, refused(ids[0], "worker-w3"), "in maintenance")
	_, err = h.Orchestrator.Workers.Drain(t.Context(), "worker-w1")
	require.NoError(t, err)
	require.Equal(t, domain.CodeNoAvailableWorkers, refused(ids[0], ""), "nowhere to go")
}

func placements(h *apptest.Harness, id string) (events []domain.Event) {
	for _, e := range h.Events() {
		switch e.Type {
		case domain.EventSessionPlaced, domain.EventSessionMigrated, domain.EventSessionFailedOver:
			if e.SessionID == id {
				events = append(events, e)
			}
		}
	}
	return events
}

// A target that cannot take the session any more when its turn comes fails the
// migration, and the session stays.
func TestTargetIsFullWhenTheTurnComes(t *testing.T) {
	h := apptest.New(t).Workers("w1", 50)
	ids := lines(h, 1)
	h.Workers("w2", 1)
	results, err := h.Orchestrator.Operations.Bulk(t.Context(), service.BulkRequest{Action: service.BulkMigrate, SessionIDs: ids, TargetWorkerID: "worker-w2"})
	require.NoError(t, err)
	require.NoError(t, results[0].Err)
	_, err = h.Orchestrator.Operations.Migrate(t.Context(), ids[0], "", "")
	require.Equal(t, domain.CodeInvalidState, domain.CodeOf(err), "one at a time")
	other := h.CreateSession(h.User(domain.TierPro), "other")
	q, err := h.Orchestrator.Sessions.Connect(t.Context(), other.UserID, other.ID, service.ConnectOptions{})
	require.NoError(t, err)
	require.Equal(t, "worker-w2", q.WorkerID)
	h.Advance(time.Minute)
	m := migrations(t, h, ports.MigrationFilter{SessionID: ids[0]})[0]
	require.Equal(t, []any{domain.MigrationFailed, "worker-w2 cannot take the session any more: full"}, []any{m.Status, m.Error})
	require.Equal(t, map[string]int{"worker-w1": 1}, connectedOn(t, h, ids))
	require.Equal(t, int64(1), h.Session(ids[0]).Generation, "it was never stopped")
}

func TestRebalance(t *testing.T) {
	h := apptest.New(t).Workers("w1", 50)
	var ids []string
	for range 3 {
		ids = append(ids, lines(h, 10)...)
	}
	h.Workers("w2", 50, "w3", 25)
	plan, err := h.Orchestrator.Operations.Rebalance(t.Context(), service.RebalanceOptions{DryRun: true})
	require.NoError(t, err)
	require.Empty(t, plan.BatchID)
	require.Empty(t, migrations(t, h, ports.MigrationFilter{}))
	run, err := h.Orchestrator.Operations.Rebalance(t.Context(), service.RebalanceOptions{})
	require.NoError(t, err)
	require.Equal(t, plan.Moves, run.Moves)
	again, err := h.Orchestrator.Operations.Rebalance(t.Context(), service.RebalanceOptions{})
	require.NoError(t, err)
	require.Empty(t, again.Moves, "what is under way counts")
	for range 100 {
		h.Advance(200 * time.Millisecond)
		_, running := open(t, h)
		require.LessOrEqual(t, running, 4, "they all leave the same worker")
	}
	h.Advance(time.Minute)
	on := connectedOn(t, h, ids)
	for _, w := range run.Workers {
		require.Equal(t, w.After, on[w.WorkerID], w.WorkerID)
		require.InDelta(t, 0.24, float64(w.After)/float64(w.Capacity), 0.02)
	}
	require.Len(t, migrations(t, h, ports.MigrationFilter{BatchID: run.BatchID, Status: domain.MigrationCompleted}), len(run.Moves))
	again, err = h.Orchestrator.Operations.Rebalance(t.Context(), service.RebalanceOptions{DryRun: true})
	require.NoError(t, err)
	require.Empty(t, again.Moves)
}

func TestRebalanceEvensOutFewSessionsToo(t *testing.T) {
	h := apptest.New(t).Workers("w1", 50)
	ids := lines(h, 4)
	h.Workers("w2", 50)
	_, err := h.Orchestrator.Operations.Rebalance(t.Context(), service.RebalanceOptions{})
	require.NoError(t, err)
	h.Advance(time.Minute)
	require.Equal(t, map[string]int{"worker-w1": 2, "worker-w2": 2}, connectedOn(t, h, ids))
}

func TestRebalanceRespectsPools(t *testing.T) {
	tiers := domain.DefaultTiers()
	for tier, limits := range tiers {
		if tier == domain.TierMax {
			limits.Pool = "max"
			tiers[tier] = limits
		}
	}
	h := apptest.With(t, apptest.Options{Tiers: tiers, Worker: func(c *apptest.WorkerConfig) {
		if c.ID != "worker-w2" {
			c.Labels = map[string]string{"pool": "max"}
		}
	}}).Workers("w1", 20)
	ids := lines(h, 10)
	h.Workers("w2", 20)
	r, err := h.Orchestrator.Operations.Rebalance(t.Context(), service.RebalanceOptions{})
	require.NoError(t, err)
	require.Empty(t, r.Moves, "they may not be on w2")
	h.Workers("w3", 20)
	_, err = h.Orchestrator.Operations.Rebalance(t.Context(), service.RebalanceOptions{})
	require.NoError(t, err)
	h.Advance(time.Minute)
	require.Equal(t, map[string]int{"worker-w1": 5, "worker-w3": 5}, connectedOn(t, h, ids))
	_, err = h.Orchestrator.Operations.Migrate(t.Context(), ids[0], "worker-w2", "")
	require.ErrorContains(t, err, "label pool=max missing")
}

func TestCancel(t *testing.T) {
	h := apptest.New(t).Workers("w1", 50)
	ids := lines(h, 20)
	h.Workers("w2", 50)
	h.Hang("w2")
	r, err := h.Orchestrator.Operations.Rebalance(t.Context(), service.RebalanceOptions{})
	require.NoError(t, err)
	require.Len(t, r.Moves, 10)
	h.Advance(time.Second)
	pending, running := open(t, h)
	require.Equal(t, []int{6, 4}, []int{pending, running})

	last := migrations(t, h, ports.MigrationFilter{Status: domain.MigrationPending})[0]
	cancelled, _, err := h.Orchestrator.Operations.CancelMigrations(t.Context(), last.ID)
	require.NoError(t, err)
	require.Len(t, cancelled, 1)
	require.Equal(t, domain.MigrationCancelled, cancelled[0].Status)
	_, _, err = h.Orchestrator.Operations.CancelMigrations(t.Context(), last.ID)
	require.Equal(t, domain.CodeInvalidState, domain.CodeOf(err))

	cancelled, running, err = h.Orchestrator.Operations.CancelMigrations(t.Context(), r.BatchID)
	require.NoError(t, err)
	require.Equal(t, []int{5, 4}, []int{len(cancelled), running})
	h.Unhang("w2")
	h.Advance(2 * time.Minute)
	require.Equal(t, map[string]int{"worker-w1": 16, "worker-w2": 4}, connectedOn(t, h, ids))
	_, _, err = h.Orchestrator.Operations.CancelMigrations(t.Context(), "nothing")
	require.Equal(t, domain.CodeNotFound, domain.CodeOf(err))
	w, err := h.Orchestrator.Workers.Drain(t.Context(), "worker-w1")
	require.NoError(t, err)
	h.Advance(10 * time.Millisecond)
	_, _, err = h.Orchestrator.Operations.CancelMigrations(t.Context(), w.DrainID)
	require.ErrorContains(t, err, "activate the worker")
}

// Moves go on whoever dies: the control plane, again and again, or the replica
// that began them.
func TestMovesSurviveTheControlPlane(t *testing.T) {
	for _, replicas := range []int{1, 3} {
		t.Run(fmt.Sprint(replicas), func(t *testing.T) {
			h := apptest.With(t, apptest.Options{Replicas: replicas}).Workers("w1", 50)
			ids := lines(h, 20)
			h.Workers("w2", 50, "w3", 50)
			trouble := func() {
				h.Hang("w2")
				h.Hang("w3")
				for i := range 40 {
					if i == 8 {
						h.Unhang("w2")
						h.Unhang("w3")
					}
					h.Advance(time.Duration(200+37*i) * time.Millisecond)
					switch {
					case replicas == 1:
						h.Restart()
					case i%2 == 0:
						h.Kill(i / 2 % replicas)
					default:
						h.Start(i / 2 % replicas)
					}
				}
				for i := range replicas {
					if h.Replica(i) == nil {
						h.Start(i)
					}
				}
				h.Advance(2 * time.Minute)
			}
			r, err := h.Orchestrator.Operations.Rebalance(t.Context(), service.RebalanceOptions{})
			require.NoError(t, err)
			trouble()
			on := connectedOn(t, h, ids)
			for _, w := range r.Workers {
				require.Equal(t, w.After, on[w.WorkerID], w.WorkerID)
			}
			_, err = h.Orchestrator.Workers.Drain(t.Context(), "worker-w1")
			require.NoError(t, err)
			trouble()
			require.Zero(t, connectedOn(t, h, ids)["worker-w1"])
			pending, running := open(t, h)
			require.Zero(t, pending+running)
			require.Equal(t, 1, count(eventsOf(h, "worker-w1"), domain.EventWorkerDrained))
		})
	}
}

func count[T comparable](all []T, one T) (n int) {
	for _, v := range all {
		if v == one {
			n++
		}
	}
	return n
}

func TestFailoversAreInTheHistory(t *testing.T) {
	h := apptest.New(t).Workers("w1", 50)
	ids := lines(h, 8)
	h.Workers("w2", 50)
	h.Crash("w1")
	h.Advance(time.Minute)
	require.Equal(t, map[string]int{"worker-w2": 8}, connectedOn(t, h, ids))
	list := migrations(t, h, ports.MigrationFilter{Kind: domain.MigrationByFailover, Status: domain.MigrationCompleted, WorkerID: "worker-w1"})
	require.Len(t, list, 8)
	require.Equal(t, []string{"worker-w1", "worker-w2", "the worker crashed"}, []string{list[0].FromWorker, list[0].ToWorker, list[0].Reason})

	old := *list[0]
	old.ID, old.CompletedAt = "old", h.Now().Add(-30*24*time.Hour-time.Minute)
	require.NoError(t, h.Store.Update(t.Context(), func(ctx context.Context, tx *ports.Tx) error {
		old.Rev = 0
		return tx.Migrations.Put(ctx, &old)
	}))
	h.Advance(2 * time.Minute)
	require.Len(t, migrations(t, h, ports.MigrationFilter{}), 8, "what is older than 30 days goes")
}

// The sessions of a user that fail over do not all end up in one place.
func TestSessionsOfAUserAreKeptApart(t *testing.T) {
	h := apptest.New(t).Workers("w1", 50)
	var users [3][]string
	for i := range users {
		users[i] = lines(h, 3)
	}
	h.Workers("w2", 50, "w3", 50, "w4", 50)
	h.Crash("w1")
	h.Advance(time.Minute)
	for _, ids := range users {
		require.Len(t, connectedOn(t, h, ids), 3)
	}
}

// A migration of a session that goes away is over.
func TestMigrationsEndWithTheirSessions(t *testing.T) {
	h := apptest.New(t).Workers("w1", 50)
	ids := lines(h, 2)
	h.Workers("w2", 50)
	_, err := h.Orchestrator.Operations.Bulk(t.Context(), service.BulkRequest{Action: service.BulkMigrate, SessionIDs: ids})
	require.NoError(t, err)
	_, err = h.Orchestrator.Sessions.Disconnect(t.Context(), h.Session(ids[0]).UserID, ids[0])
	require.NoError(t, err)
	require.NoError(t, h.Orchestrator.Operations.DeleteSession(t.Context(), ids[1]))
	for i, why := range []string{"the session was taken down", "the session was deleted"} {
		m := migrations(t, h, ports.MigrationFilter{SessionID: ids[i]})[0]
		require.Equal(t, []any{domain.MigrationCancelled, why}, []any{m.Status, m.Error})
	}
}
