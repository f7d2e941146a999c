package apptest_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/app/apptest"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// newCanaryFleet returns a fleet of three workers and a fourth, w4, which has joined with a new
// version. Each has about ten sessions.
func newCanaryFleet(t *testing.T, replicas int) (h *apptest.Harness, on map[string][]string) {
	version := "1.0.0"
	h = apptest.With(t, apptest.Options{Replicas: replicas, Worker: func(c *apptest.WorkerConfig) { c.Version = version }}).
		Workers("w1", 50, "w2", 50, "w3", 50)
	ids := append(connectSessions(h, 20), connectSessions(h, 20)...)
	h.Advance(16 * time.Minute)
	version = "2.0.0"
	h.Workers("w4", 50)
	_, err := h.Orchestrator.Operations.Rebalance(t.Context(), service.RebalanceOptions{})
	require.NoError(t, err)
	h.Advance(time.Minute)
	connectedOn(t, h, ids)
	on = make(map[string][]string)
	for _, id := range ids {
		w := h.Session(id).WorkerID
		on[w] = append(on[w], id)
	}
	require.GreaterOrEqual(t, len(on["worker-w4"]), 4)
	return h, on
}

// dropLinks makes sessions lose their link to WhatsApp for three seconds.
func dropLinks(t *testing.T, h *apptest.Harness, worker string, ids []string) {
	t.Helper()
	for _, id := range ids {
		require.NoError(t, h.Worker(worker).LoseLink(id, 3*time.Second))
	}
}

// suspectReason returns why a worker is suspect, or "".
func suspectReason(t *testing.T, h *apptest.Harness, worker string) string {
	t.Helper()
	w, _, err := h.Orchestrator.Workers.Get(t.Context(), worker)
	require.NoError(t, err)
	return w.Suspect
}

func TestCanary_DropsManySessions_IsSuspectUntilActivated(t *testing.T) {
	for _, replicas := range []int{1, 3} {
		t.Run(fmt.Sprint(replicas), func(t *testing.T) {
			h, on := newCanaryFleet(t, replicas)
			ids := on["worker-w4"]

			dropLinks(t, h, "worker-w1", on["worker-w1"][:2])
			dropLinks(t, h, "worker-w4", ids)
			h.Advance(10 * time.Second)
			require.Empty(t, suspectReason(t, h, "worker-w4"), "the other workers may suffer too")
			h.Advance(30 * time.Second)
			require.Contains(t, suspectReason(t, h, "worker-w4"), fmt.Sprintf("%d disconnects among %[1]d sessions", len(ids)))
			require.Equal(t, 1, count(eventsOf(h, "worker-w4"), domain.EventWorkerSuspect))
			require.Equal(t, map[string]int{"worker-w4": len(ids)}, connectedOn(t, h, ids), "its sessions stay")

			_, all, err := h.Orchestrator.Workers.ExplainPlacement(t.Context())
			require.NoError(t, err)
			last := all[len(all)-1]
			require.Equal(t, "worker-w4", last.WorkerID)
			require.Contains(t, last.Excluded, "suspect: ")
			_, err = h.Orchestrator.Operations.Migrate(t.Context(), on["worker-w1"][0], service.MigrateOptions{TargetWorkerID: "worker-w4"})
			require.ErrorContains(t, err, "suspect")
			for _, w := range []string{"w1", "w2", "w3"} {
				_, err := h.Orchestrator.Workers.Drain(t.Context(), "worker-"+w, service.DrainOptions{})
				require.NoError(t, err)
			}
			card := h.CreateSession(h.User(domain.TierPro), "late")
			_, err = h.Orchestrator.Sessions.Connect(t.Context(), card.UserID, card.ID, service.ConnectOptions{})
			require.Equal(t, domain.CodeNoAvailableWorkers, domain.CodeOf(err))

			_, err = h.Orchestrator.Workers.Activate(t.Context(), "worker-w4")
			require.NoError(t, err)
			require.Empty(t, suspectReason(t, h, "worker-w4"))
			dropLinks(t, h, "worker-w4", ids)
			h.Advance(5 * time.Minute)
			require.Empty(t, suspectReason(t, h, "worker-w4"), "the canary period is over")
			_, err = h.Orchestrator.Sessions.Connect(t.Context(), card.UserID, card.ID, service.ConnectOptions{})
			require.NoError(t, err)
		})
	}
}

// A canary is not suspect when WhatsApp itself is down, when the worker is lost or restarts,
// or when somebody has asked for what its sessions do.
func TestCanary_CauseIsElsewhere_IsNotSuspect(t *testing.T) {
	for name, happen := range map[string]func(h *apptest.Harness, on map[string][]string){
		"everybody suffers": func(h *apptest.Harness, on map[string][]string) {
			dropLinks(t, h, "worker-w4", on["worker-w4"]) // reports first
			h.Advance(5 * time.Second)
			for _, w := range []string{"worker-w1", "worker-w2", "worker-w3"} {
				dropLinks(t, h, w, on[w])
			}
		},
		"restarts": func(h *apptest.Harness, _ map[string][]string) {
			h.Crash("w4")
			h.RestartWorker("w4")
		},
		"crashes": func(h *apptest.Harness, _ map[string][]string) {
			h.Crash("w4")
			h.Advance(2 * time.Second)
			h.RestartWorker("w4")
		},
		"goes down in order": func(h *apptest.Harness, on map[string][]string) {
			_, err := h.Orchestrator.Protocol.ReportPreserved(context.Background(), "worker-w4", on["worker-w4"])
			require.NoError(t, err)
			h.Advance(time.Second)
			h.Crash("w4")
			h.RestartWorker("w4")
		},
		"is lost": func(h *apptest.Harness, _ map[string][]string) {
			h.Hang("w4")
			h.Advance(2 * time.Minute)
			h.ResumeWorker("w4")
		},
		"is told": func(h *apptest.Harness, on map[string][]string) {
			for _, id := range on["worker-w4"] {
				_, err := h.Orchestrator.Sessions.Restart(context.Background(), h.Session(id).UserID, id)
				require.NoError(t, err)
			}
			h.Advance(10 * time.Second)
			_, err := h.Orchestrator.Operations.Bulk(context.Background(), service.BulkRequest{Action: service.BulkDisconnect, SessionIDs: on["worker-w4"]})
			require.NoError(t, err)
		},
		"is old": func(h *apptest.Harness, on map[string][]string) {
			dropLinks(t, h, "worker-w1", on["worker-w1"])
		},
		"two only": func(h *apptest.Harness, on map[string][]string) {
			dropLinks(t, h, "worker-w4", on["worker-w4"][:2])
		},
	} {
		t.Run(name, func(t *testing.T) {
			h, on := newCanaryFleet(t, 1)

			happen(h, on)

			for range 12 {
				h.Advance(15 * time.Second)
				for _, w := range []string{"worker-w1", "worker-w2", "worker-w3", "worker-w4"} {
					require.Empty(t, suspectReason(t, h, w))
				}
			}
		})
	}
}
