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

func TestMigrate_ToTarget_MovesOrSaysWhyNot(t *testing.T) {
	h := apptest.New(t).Workers("w1", 50)
	ids := connectSessions(h, 2)
	h.Workers("w2", 1, "w3", 50)

	m, err := h.Orchestrator.Operations.Migrate(t.Context(), ids[0], service.MigrateOptions{TargetWorkerID: "worker-w2", Reason: "closer to its users"})
	require.NoError(t, err)
	require.False(t, m.StartedAt.IsZero(), "it has begun")
	h.Advance(10 * time.Second)
	require.Equal(t, map[string]int{"worker-w1": 1, "worker-w2": 1}, connectedOn(t, h, ids))

	done := migrations(t, h, ports.MigrationFilter{SessionID: ids[0]})[0]
	require.Equal(t, []any{m.ID, domain.MigrationByOperator, domain.MigrationCompleted, "worker-w1", "worker-w2", "closer to its users"},
		[]any{done.ID, done.Kind, done.Status, done.FromWorker, done.ToWorker, done.Reason})
	require.Equal(t, domain.EventSessionMigrated, placements(h, ids[0])[1].Type)

	refused := func(id, target string) domain.Code {
		_, err := h.Orchestrator.Operations.Migrate(t.Context(), id, service.MigrateOptions{TargetWorkerID: target})
		return domain.CodeOf(err)
	}
	require.Equal(t, domain.CodeSessionNotFound, refused("nobody", ""))
	require.Equal(t, domain.CodeWorkerNotFound, refused(ids[1], "worker-w9"))
	require.Equal(t, domain.CodeInvalidState, refused(ids[1], "worker-w1"), "the session is on the target")
	require.Equal(t, domain.CodeNoAvailableWorkers, refused(ids[1], "worker-w2"), "full")
	_, err = h.Orchestrator.Sessions.Disconnect(t.Context(), h.Session(ids[1]).UserID, ids[1])
	require.NoError(t, err)
	require.Equal(t, domain.CodeInvalidState, refused(ids[1], "worker-w3"), "down")
	_, err = h.Orchestrator.Workers.Drain(t.Context(), "worker-w3", service.DrainOptions{})
	require.NoError(t, err)
	require.Equal(t, domain.CodeInvalidState, refused(ids[0], "worker-w3"), "the target is in maintenance")
	_, err = h.Orchestrator.Workers.Drain(t.Context(), "worker-w1", service.DrainOptions{})
	require.NoError(t, err)
	require.Equal(t, domain.CodeNoAvailableWorkers, refused(ids[0], ""), "there is no other worker")
}

// The target takes another session before the migration is admitted.
func TestMigrate_TargetFullWhenAdmitted_SessionStays(t *testing.T) {
	h := apptest.New(t).Workers("w1", 50)
	ids := connectSessions(h, 1)
	h.Workers("w2", 1)
	results, err := h.Orchestrator.Operations.Bulk(t.Context(), service.BulkRequest{Action: service.BulkMigrate, SessionIDs: ids, TargetWorkerID: "worker-w2"})
	require.NoError(t, err)
	require.NoError(t, results[0].Err)
	_, err = h.Orchestrator.Operations.Migrate(t.Context(), ids[0], service.MigrateOptions{})
	require.Equal(t, domain.CodeInvalidState, domain.CodeOf(err), "a migration is open")

	other := h.CreateSession(h.User(domain.TierPro), "other")
	q, err := h.Orchestrator.Sessions.Connect(t.Context(), other.UserID, other.ID, service.ConnectOptions{})
	require.NoError(t, err)
	require.Equal(t, "worker-w2", q.WorkerID)
	h.Advance(time.Minute)

	m := migrations(t, h, ports.MigrationFilter{SessionID: ids[0]})[0]
	require.Equal(t, []any{domain.MigrationFailed, "worker-w2 cannot take the session any more: full"}, []any{m.Status, m.Error})
	require.Equal(t, map[string]int{"worker-w1": 1}, connectedOn(t, h, ids))
	require.Equal(t, int64(1), h.Session(ids[0]).Generation, "the session was never stopped")
}

func TestRebalance_UnevenFleet_FollowsThePlan(t *testing.T) {
	h := apptest.New(t).Workers("w1", 50)
	var ids []string
	for range 3 {
		ids = append(ids, connectSessions(h, 10)...)
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
	require.Empty(t, again.Moves, "open migrations count")
	for range 100 {
		h.Advance(200 * time.Millisecond)
		_, running := openMigrations(t, h)
		require.LessOrEqual(t, running, 4, "all leave the same worker")
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

func TestRebalance_FewSessions_EvensOut(t *testing.T) {
	h := apptest.New(t).Workers("w1", 50)
	ids := connectSessions(h, 4)
	h.Workers("w2", 50)

	_, err := h.Orchestrator.Operations.Rebalance(t.Context(), service.RebalanceOptions{})
	require.NoError(t, err)
	h.Advance(time.Minute)

	require.Equal(t, map[string]int{"worker-w1": 2, "worker-w2": 2}, connectedOn(t, h, ids))
}

func TestRebalance_Pools_AreRespected(t *testing.T) {
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
	ids := connectSessions(h, 10)
	h.Workers("w2", 20)

	r, err := h.Orchestrator.Operations.Rebalance(t.Context(), service.RebalanceOptions{})
	require.NoError(t, err)
	require.Empty(t, r.Moves, "w2 is not in their pool")

	h.Workers("w3", 20)
	_, err = h.Orchestrator.Operations.Rebalance(t.Context(), service.RebalanceOptions{})
	require.NoError(t, err)
	h.Advance(time.Minute)
	require.Equal(t, map[string]int{"worker-w1": 5, "worker-w3": 5}, connectedOn(t, h, ids))
	_, err = h.Orchestrator.Operations.Migrate(t.Context(), ids[0], service.MigrateOptions{TargetWorkerID: "worker-w2"})
	require.ErrorContains(t, err, "label pool=max missing")
}

func TestCancelMigrations_PendingOrRunning_OnlyPendingAreCancelled(t *testing.T) {
	h := apptest.New(t).Workers("w1", 50)
	ids := connectSessions(h, 20)
	h.Workers("w2", 50)
	h.Hang("w2")
	r, err := h.Orchestrator.Operations.Rebalance(t.Context(), service.RebalanceOptions{})
	require.NoError(t, err)
	require.Len(t, r.Moves, 10)
	h.Advance(time.Second)
	pending, running := openMigrations(t, h)
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
	h.ResumeWorker("w2")
	h.Advance(2 * time.Minute)
	require.Equal(t, map[string]int{"worker-w1": 16, "worker-w2": 4}, connectedOn(t, h, ids))
	_, _, err = h.Orchestrator.Operations.CancelMigrations(t.Context(), "nothing")
	require.Equal(t, domain.CodeNotFound, domain.CodeOf(err))
	w, err := h.Orchestrator.Workers.Drain(t.Context(), "worker-w1", service.DrainOptions{})
	require.NoError(t, err)
	h.Advance(10 * time.Millisecond)
	_, _, err = h.Orchestrator.Operations.CancelMigrations(t.Context(), w.DrainID)
	require.ErrorContains(t, err, "activate the worker")
}

func TestMigration_SkewedClocks_LimitHolds(t *testing.T) {
	for _, skew := range []time.Duration{2 * time.Hour, -2 * time.Hour} {
		t.Run(skew.String(), func(t *testing.T) {
			h := skewedReplicas(t, skew, apptest.Options{})
			h.Workers("w1", 50)
			ids := connectSessions(h, 20)
			h.Workers("w2", 50)
			h.Hang("w2")

			_, err := h.Orchestrator.Workers.Drain(t.Context(), "worker-w1", service.DrainOptions{})
			require.NoError(t, err)
			most := 0
			for range 30 {
				h.Advance(time.Second)
				_, running := openMigrations(t, h)
				most = max(most, running)
			}

			t.Log("most at once:", most)
			h.ResumeWorker("w2")
			h.Advance(10 * time.Minute)
			connectedOn(t, h, ids)
			require.LessOrEqual(t, most, 4)
		})
	}
}

func TestMigration_Stuck_BlocksOthersForFiveMinutes(t *testing.T) {
	for _, skew := range []time.Duration{0, 2 * time.Hour} {
		t.Run(skew.String(), func(t *testing.T) {
			h := skewedReplicas(t, skew, apptest.Options{})
			h.Workers("w1", 50)
			ids := connectSessions(h, 8)
			h.Workers("w2", 4)
			h.Advance(10 * time.Second)
			// The replica whose clock is ahead begins four migrations. They stay without a target.
			h.Hang("w2")
			for _, id := range ids[:4] {
				_, err := h.Replica(1).Operations.Migrate(t.Context(), id, service.MigrateOptions{TargetWorkerID: "worker-w2"})
				require.NoError(t, err)
			}
			_, running := openMigrations(t, h)
			require.Equal(t, 4, running)
			h.Crash("w2")
			h.Kill(1)
			// There is no room until w3 registers.
			h.Advance(6 * time.Minute)
			h.Workers("w3", 50)

			began := h.Now()
			_, err := h.Orchestrator.Workers.Drain(t.Context(), "worker-w1", service.DrainOptions{})
			require.NoError(t, err)
			for h.Now().Sub(began) < 3*time.Hour {
				h.Advance(10 * time.Second)
				n := 0
				for _, id := range ids {
					if s := h.Session(id); s.WorkerID == "worker-w3" && s.Status == domain.Connected {
						n++
					}
				}
				if n == 8 {
					break
				}
			}

			t.Log("drained after", h.Now().Sub(began))
			require.Less(t, h.Now().Sub(began), 10*time.Minute)
		})
	}
}

// The control plane dies again and again, or the replica does that has begun the migrations.
func TestMigration_ControlPlaneDies_Continues(t *testing.T) {
	for _, replicas := range []int{1, 3} {
		t.Run(fmt.Sprint(replicas), func(t *testing.T) {
			h := apptest.With(t, apptest.Options{Replicas: replicas}).Workers("w1", 50)
			ids := connectSessions(h, 20)
			h.Workers("w2", 50, "w3", 50)
			trouble := func() {
				h.Hang("w2")
				h.Hang("w3")
				for i := range 40 {
					if i == 8 {
						h.ResumeWorker("w2")
						h.ResumeWorker("w3")
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
			_, err = h.Orchestrator.Workers.Drain(t.Context(), "worker-w1", service.DrainOptions{})
			require.NoError(t, err)
			trouble()
			require.Zero(t, connectedOn(t, h, ids)["worker-w1"])
			pending, running := openMigrations(t, h)
			require.Zero(t, pending+running)
			require.Equal(t, 1, count(eventsOf(h, "worker-w1"), domain.EventWorkerDrained))
		})
	}
}

func TestMigrationHistory_Failover_IsKeptForThirtyDays(t *testing.T) {
	h := apptest.New(t).Workers("w1", 50)
	ids := connectSessions(h, 8)
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
	require.Len(t, migrations(t, h, ports.MigrationFilter{}), 8, "older migrations are deleted")
}

func TestMigration_SessionEnds_IsCancelled(t *testing.T) {
	h := apptest.New(t).Workers("w1", 50)
	ids := connectSessions(h, 2)
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
