package apptest_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/app/apptest"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

func TestDrain_OtherWorkerHasRoom_MovesEverySession(t *testing.T) {
	h := apptest.New(t).Workers("w1", 50)
	user := h.User(domain.TierMax)
	var ids []string
	for range 10 {
		ids = append(ids, h.Connected(user, "line").ID)
	}
	h.Workers("w2", 50)

	_, err := h.Orchestrator.Workers.Drain(t.Context(), "worker-w1", service.DrainOptions{})
	require.NoError(t, err)
	h.Advance(2 * time.Minute)

	for _, id := range ids {
		s := h.Session(id)
		require.Equal(t, domain.Connected, s.Status)
		require.Equal(t, "worker-w2", s.WorkerID)
	}
}

func TestDrain_ManySessions_MovesFourAtATimeAndReportsProgress(t *testing.T) {
	h := apptest.New(t).Workers("w1", 50)
	ids := connectSessions(h, 20)
	h.Workers("w2", 50, "w3", 50)
	h.Hang("w2") // otherwise migrations end before the test sees them
	h.Hang("w3")

	view, err := h.Orchestrator.Workers.Drain(t.Context(), "worker-w1", service.DrainOptions{})
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

	h.ResumeWorker("w2")
	h.ResumeWorker("w3")
	for range 600 {
		h.Advance(100 * time.Millisecond)
		_, running := openMigrations(t, h)
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
	require.Less(t, list[0].CreatedAt.Sub(list[15].CreatedAt), 5*time.Second, "the next begins when one ends")
	require.Equal(t, []domain.EventType{domain.EventWorkerOnline, domain.EventWorkerDraining, domain.EventWorkerDrained}, eventsOf(h, "worker-w1"))

	_, err = h.Orchestrator.Workers.Activate(t.Context(), "worker-w1")
	require.NoError(t, err)
	w, _, err := h.Orchestrator.Workers.Get(t.Context(), "worker-w1")
	require.NoError(t, err)
	require.Nil(t, w.Drain)
}

// Sessions that a draining worker loses by a crash count as moved by its drain.
func TestDrain_WorkerCrashes_FailoversCount(t *testing.T) {
	h := apptest.New(t).Workers("w1", 50)
	ids := connectSessions(h, 12)
	h.Workers("w2", 50)

	view, err := h.Orchestrator.Workers.Drain(t.Context(), "worker-w1", service.DrainOptions{})
	require.NoError(t, err)
	h.Crash("w1")
	h.Advance(time.Minute)

	require.Equal(t, map[string]int{"worker-w2": 12}, connectedOn(t, h, ids))
	w, _, err := h.Orchestrator.Workers.Get(t.Context(), "worker-w1")
	require.NoError(t, err)
	require.Equal(t, service.DrainProgress{BatchID: view.DrainID, Total: 12, Moved: 12}, *w.Drain)
	require.NotEmpty(t, migrations(t, h, ports.MigrationFilter{BatchID: view.DrainID, Kind: domain.MigrationByFailover}))
}

func TestDrain_ManyWorkers_FleetLimitHolds(t *testing.T) {
	h := apptest.New(t)
	for i := range 9 {
		h.Workers(fmt.Sprintf("old-%d", i), 5)
	}
	var ids []string
	for range 9 {
		ids = append(ids, connectSessions(h, 5)...)
	}
	h.Workers("new", 50)
	h.Hang("new")
	for i := range 9 {
		_, err := h.Orchestrator.Workers.Drain(t.Context(), fmt.Sprintf("old-%d", i), service.DrainOptions{})
		require.NoError(t, err)
	}

	for range 5 {
		h.Advance(time.Second)
		_, running := openMigrations(t, h)
		require.Equal(t, 32, running)
	}

	h.ResumeWorker("new")
	h.Advance(5 * time.Minute)
	require.Equal(t, map[string]int{"new": 45}, connectedOn(t, h, ids))
}

func TestActivate_DuringDrain_RemainingSessionsStay(t *testing.T) {
	h := apptest.New(t).Workers("w1", 50)
	ids := connectSessions(h, 12)
	h.Workers("w2", 50)
	h.Hang("w2")

	_, err := h.Orchestrator.Workers.Drain(t.Context(), "worker-w1", service.DrainOptions{})
	require.NoError(t, err)
	h.Advance(time.Second)
	h.ResumeWorker("w2")
	_, err = h.Orchestrator.Workers.Activate(t.Context(), "worker-w1")
	require.NoError(t, err)

	h.Advance(5 * time.Minute)
	require.Equal(t, map[string]int{"worker-w1": 8, "worker-w2": 4}, connectedOn(t, h, ids))
}

func TestDrain_NoRoom_WaitsForIt(t *testing.T) {
	h := apptest.New(t).Workers("w1", 50, "w2", 1)
	ids := connectSessions(h, 6)

	_, err := h.Orchestrator.Workers.Drain(t.Context(), "worker-w1", service.DrainOptions{})
	require.NoError(t, err)
	h.Advance(5 * time.Minute)
	require.Equal(t, map[string]int{"worker-w1": 5, "worker-w2": 1}, connectedOn(t, h, ids))

	h.Workers("w3", 50)
	h.Advance(time.Minute)
	require.Equal(t, map[string]int{"worker-w3": 5, "worker-w2": 1}, connectedOn(t, h, ids))
}

// Sessions that wait for room after a failover do not delay the drain of another worker.
func TestDrain_FailoversWaitForRoom_IsNotDelayed(t *testing.T) {
	tiers := domain.DefaultTiers()
	limits := tiers[domain.TierMax]
	limits.Pool = "max"
	tiers[domain.TierMax] = limits
	h := apptest.With(t, apptest.Options{Tiers: tiers, Worker: func(c *apptest.WorkerConfig) {
		if c.ID == "worker-w1" {
			c.Labels = map[string]string{"pool": "max"}
		}
	}}).Workers("w1", 50)
	for range 2 {
		connectSessions(h, 20)
	}
	h.Workers("w2", 50)
	user := h.User(domain.TierPro)
	var ids []string
	for i := range 5 {
		ids = append(ids, h.Connected(user, fmt.Sprint("pro ", i)).ID)
	}
	h.Workers("w3", 50)
	h.Crash("w1") // no other worker is in the pool of these sessions
	h.Advance(30 * time.Second)
	_, running := openMigrations(t, h)
	require.Equal(t, 40, running)

	began := h.Now()
	_, err := h.Orchestrator.Workers.Drain(t.Context(), "worker-w2", service.DrainOptions{})
	require.NoError(t, err)
	for connectedOn(t, h, ids)["worker-w3"] < 5 && h.Now().Sub(began) < time.Hour {
		h.Advance(time.Second)
	}

	t.Log("drained after", h.Now().Sub(began))
	require.Less(t, h.Now().Sub(began), 30*time.Second)
}

// The outcome is the same whichever replica finds that a session has no room.
func TestDrain_SomeSessionsHaveNoRoom_OthersMove(t *testing.T) {
	tiers := domain.DefaultTiers()
	limits := tiers[domain.TierMax]
	limits.Pool = "max"
	tiers[domain.TierMax] = limits
	for _, old := range []string{"old-1", "old-2", "old-3", "old-4", "old-5", "old-6"} {
		t.Run(old, func(t *testing.T) {
			h := apptest.With(t, apptest.Options{Replicas: 3, Tiers: tiers, Worker: func(c *apptest.WorkerConfig) {
				if c.ID == old {
					c.Labels = map[string]string{"pool": "max"}
				}
			}}).Workers(old, 50)
			connectSessions(h, 8)
			var ids []string
			for i := range 20 {
				ids = append(ids, h.Connected(h.User(domain.TierPro), fmt.Sprint("pro ", i)).ID)
			}
			h.Workers("w2", 50)
			h.Advance(10 * time.Second)

			began := h.Now()
			_, err := h.Orchestrator.Workers.Drain(t.Context(), old, service.DrainOptions{})
			require.NoError(t, err)
			for countConnected(h, ids)["worker-w2"] < len(ids) && h.Now().Sub(began) < 20*time.Minute {
				h.Advance(time.Second)
			}

			t.Log("drained after", h.Now().Sub(began))
			require.Less(t, h.Now().Sub(began), 20*time.Second)
		})
	}
}
