package apptest_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/simworker"
	"github.com/switchyard-wa/switchyard/app/apptest"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// withOwnStates returns a fleet of workers that share no credentials. Nobody scans: the
// sessions are linked beforehand by scanning at once on their first worker.
func withOwnStates(t *testing.T) *apptest.Harness {
	scans := true
	return apptest.With(t, apptest.Options{Worker: func(c *apptest.WorkerConfig) {
		c.State = simworker.NewState()
		if !scans {
			c.ScanAfter = -1
		}
		scans = false
	}})
}

func lastMigration(t *testing.T, h *apptest.Harness, sessionID string) *domain.Migration {
	t.Helper()
	list := migrations(t, h, ports.MigrationFilter{SessionID: sessionID})
	require.NotEmpty(t, list)
	return list[0]
}

func TestFailover_NoSharedState_WaitsForHome(t *testing.T) {
	h := withOwnStates(t).Workers("w1", 50, "w2", 50)
	s := h.Connected(h.User(domain.TierPro), "support")
	phone := s.PhoneNumber

	h.Crash("w1")
	for range 30 {
		h.Advance(18 * time.Second)
		waiting := h.Session(s.ID)
		require.Equal(t, []any{"worker-w1", domain.Reconnecting}, []any{waiting.WorkerID, waiting.Status})
	}

	h.RestartWorker("w1")
	h.Advance(time.Minute)
	back := h.Session(s.ID)
	require.Equal(t, []any{"worker-w1", domain.Connected, phone}, []any{back.WorkerID, back.Status, back.PhoneNumber})
	require.Empty(t, migrations(t, h, ports.MigrationFilter{SessionID: s.ID}))
}

func TestFailover_HomeStaysAway_AsksForScanAndReturnsHome(t *testing.T) {
	h := withOwnStates(t).Workers("w1", 50, "w2", 50)
	s := h.Connected(h.User(domain.TierPro), "support")
	phone := s.PhoneNumber

	h.Crash("w1")
	h.Advance(11 * time.Minute)

	moved := h.Session(s.ID)
	require.Equal(t, []any{"worker-w2", domain.QRRequired, phone, "worker-w1"},
		[]any{moved.WorkerID, moved.Status, moved.PhoneNumber, moved.CredentialsWorkerID})
	m := lastMigration(t, h, s.ID)
	require.Equal(t, []any{domain.MigrationByFailover, domain.MigrationNeedsScan, "worker-w2"}, []any{m.Kind, m.Status, m.ToWorker})
	require.Contains(t, eventTypes(h, s.ID), domain.EventSessionNeedsScan)

	h.RestartWorker("w1")
	h.Advance(time.Minute)

	back := h.Session(s.ID)
	require.Equal(t, []any{"worker-w1", domain.Connected, phone}, []any{back.WorkerID, back.Status, back.PhoneNumber})
	m = lastMigration(t, h, s.ID)
	require.Equal(t, []any{domain.MigrationByReturn, domain.MigrationCompleted}, []any{m.Kind, m.Status})
}

func TestFailover_ScannedElsewhere_HasNewHome(t *testing.T) {
	h := apptest.With(t, apptest.Options{Worker: func(c *apptest.WorkerConfig) { c.State = simworker.NewState() }}).Workers("w1", 50, "w2", 50)
	s := h.Connected(h.User(domain.TierPro), "support")
	home, other := s.WorkerID, map[string]string{"worker-w1": "worker-w2", "worker-w2": "worker-w1"}[s.WorkerID]

	h.Crash(home)
	h.Advance(11 * time.Minute)
	h.RestartWorker(home)
	h.Advance(2 * time.Minute)

	moved := h.Session(s.ID)
	require.Equal(t, []any{other, other, domain.Connected}, []any{moved.WorkerID, moved.CredentialsWorkerID, moved.Status})
}

func TestFailover_PolicyMove_MovesAtOnce(t *testing.T) {
	h := withOwnStates(t).Workers("w1", 50, "w2", 50)
	s := h.Connected(h.User(domain.TierPro), "support")
	h.Crash("w1")
	h.Advance(time.Minute)
	require.Equal(t, "worker-w1", h.Session(s.ID).WorkerID)

	move := domain.FailoverMove
	_, err := h.Orchestrator.Workers.Update(t.Context(), "worker-w1", service.WorkerChange{Failover: &move})
	require.NoError(t, err)
	h.Advance(10 * time.Second)

	require.Equal(t, "worker-w2", h.Session(s.ID).WorkerID)
}

// Nobody scans until the worker gives up. The session still goes home.
func TestFailover_QRRunsOut_GoesHomeLater(t *testing.T) {
	h := withOwnStates(t).Workers("w1", 50, "w2", 50)
	s := h.Connected(h.User(domain.TierPro), "support")
	h.Crash("w1")
	h.Advance(11 * time.Minute)
	moved := h.Session(s.ID)
	_, err := h.Orchestrator.Protocol.ReportSession(t.Context(), domain.Report{
		SessionID: s.ID, WorkerID: moved.WorkerID, Generation: moved.Generation, Status: domain.Disconnected, Reason: "QR attempts used up",
	})
	require.NoError(t, err)
	require.NoError(t, h.Worker("w2").Disconnect(t.Context(), s.ID, moved.Generation))
	h.Advance(20 * time.Minute)
	waiting := h.Session(s.ID)
	require.Equal(t, []any{"", domain.Disconnected, s.PhoneNumber}, []any{waiting.WorkerID, waiting.Status, waiting.PhoneNumber})

	h.RestartWorker("w1")
	h.Advance(time.Minute)

	back := h.Session(s.ID)
	require.Equal(t, []any{"worker-w1", domain.Connected, s.PhoneNumber}, []any{back.WorkerID, back.Status, back.PhoneNumber})
}

func TestConnect_HomeIsOffline_WaitsForIt(t *testing.T) {
	h := withOwnStates(t).Workers("w1", 50, "w2", 50)
	user := h.User(domain.TierPro)
	s := h.Connected(user, "support")
	_, err := h.Orchestrator.Sessions.Disconnect(t.Context(), user.ID, s.ID)
	require.NoError(t, err)
	h.Crash("w1")
	h.Advance(time.Minute)

	_, err = h.Orchestrator.Sessions.Connect(t.Context(), user.ID, s.ID, service.ConnectOptions{})
	require.Equal(t, domain.CodeNoAvailableWorkers, domain.CodeOf(err))
	require.ErrorContains(t, err, "credentials")
	require.Equal(t, domain.Disconnected, h.Session(s.ID).Status)

	h.RestartWorker("w1")
	h.Advance(time.Minute)
	_, err = h.Orchestrator.Sessions.Connect(t.Context(), user.ID, s.ID, service.ConnectOptions{})
	require.NoError(t, err)
	h.Advance(10 * time.Second)
	require.Equal(t, []any{"worker-w1", domain.Connected}, []any{h.Session(s.ID).WorkerID, h.Session(s.ID).Status})
}

func TestDrain_NoSharedState_NeedsForce(t *testing.T) {
	h := withOwnStates(t).Workers("w1", 50, "w2", 50)
	s := h.Connected(h.User(domain.TierPro), "support")

	_, err := h.Orchestrator.Workers.Drain(t.Context(), "worker-w1", service.DrainOptions{})
	require.Equal(t, domain.CodeInvalidState, domain.CodeOf(err))
	require.ErrorContains(t, err, "1 linked session(s) would need a new QR scan")
	require.ErrorContains(t, err, "force=true")
	err = h.Orchestrator.Workers.Remove(t.Context(), "worker-w1", service.RemoveOptions{})
	require.ErrorContains(t, err, "1 linked session(s) would need a new QR scan")
	_, err = h.Orchestrator.Operations.Migrate(t.Context(), s.ID, service.MigrateOptions{})
	require.ErrorContains(t, err, "1 linked session(s) would need a new QR scan")
	_, err = h.Orchestrator.Operations.Bulk(t.Context(), service.BulkRequest{Action: service.BulkMigrate, SessionIDs: []string{s.ID}})
	require.ErrorContains(t, err, "1 linked session(s) would need a new QR scan")
	h.Advance(time.Minute)
	require.Equal(t, []any{"worker-w1", domain.Connected}, []any{h.Session(s.ID).WorkerID, h.Session(s.ID).Status})

	_, err = h.Orchestrator.Workers.Drain(t.Context(), "worker-w1", service.DrainOptions{Force: true})
	require.NoError(t, err)
	h.Advance(time.Minute)
	moved := h.Session(s.ID)
	require.Equal(t, []any{"worker-w2", domain.QRRequired, s.PhoneNumber}, []any{moved.WorkerID, moved.Status, moved.PhoneNumber})
	require.Equal(t, domain.MigrationNeedsScan, lastMigration(t, h, s.ID).Status)

	_, err = h.Orchestrator.Workers.Activate(t.Context(), "worker-w1")
	require.NoError(t, err)
	h.Advance(time.Minute)
	require.Equal(t, []any{"worker-w1", domain.Connected}, []any{h.Session(s.ID).WorkerID, h.Session(s.ID).Status})
}

func TestMigrate_Forced_StaysWhereItWasSent(t *testing.T) {
	h := withOwnStates(t).Workers("w1", 50, "w2", 50)
	s := h.Connected(h.User(domain.TierPro), "support")

	_, err := h.Orchestrator.Operations.Migrate(t.Context(), s.ID, service.MigrateOptions{TargetWorkerID: "worker-w2", Force: true})
	require.NoError(t, err)
	h.Advance(time.Minute)

	moved := h.Session(s.ID)
	require.Equal(t, []any{"worker-w2", domain.QRRequired, "worker-w1"}, []any{moved.WorkerID, moved.Status, moved.CredentialsWorkerID})
}

func TestRebalance_NoSharedState_MovesOnlyWithForce(t *testing.T) {
	h := withOwnStates(t).Workers("w1", 50)
	connectSessions(h, 10)
	h.Workers("w2", 50)

	plan, err := h.Orchestrator.Operations.Rebalance(t.Context(), service.RebalanceOptions{DryRun: true})
	require.NoError(t, err)
	require.Equal(t, []int{0, 0, 5}, []int{len(plan.Moves), plan.Scans, plan.ScansIfForced})
	forced, err := h.Orchestrator.Operations.Rebalance(t.Context(), service.RebalanceOptions{Force: true})
	require.NoError(t, err)
	require.Equal(t, []int{5, 5}, []int{len(forced.Moves), forced.Scans})
}

func TestHeartbeat_Maintenance_MovesOnlyWhatNeedsNoScan(t *testing.T) {
	for name, isShared := range map[string]bool{"state group": true, "own state": false} {
		t.Run(name, func(t *testing.T) {
			h := apptest.New(t)
			if !isShared {
				h = withOwnStates(t)
			}
			h.Workers("w1", 50)
			s := h.Connected(h.User(domain.TierPro), "support")
			h.Workers("w2", 50)
			want := "worker-w1"
			if isShared {
				want = "worker-w2"
			}
			beat := domain.Heartbeat{WorkerID: "worker-w1", CPU: -1, Memory: -1, MessageCount: -1, Maintenance: domain.MaintenanceBegins}

			result, err := h.Orchestrator.Protocol.Heartbeat(t.Context(), beat)
			require.NoError(t, err)
			require.Equal(t, domain.WorkerMaintenance, result.Worker.Status())
			h.Advance(time.Minute)
			require.Equal(t, []any{want, domain.Connected}, []any{h.Session(s.ID).WorkerID, h.Session(s.ID).Status})

			beat.Maintenance = domain.MaintenanceEnds
			result, err = h.Orchestrator.Protocol.Heartbeat(t.Context(), beat)
			require.NoError(t, err)
			require.Equal(t, domain.WorkerOnline, result.Worker.Status())
			_, err = h.Orchestrator.Workers.Drain(t.Context(), "worker-w1", service.DrainOptions{Force: true})
			require.NoError(t, err)
			result, err = h.Orchestrator.Protocol.Heartbeat(t.Context(), beat)
			require.NoError(t, err)
			require.Equal(t, domain.WorkerMaintenance, result.Worker.Status(), "a worker does not end an operator's drain")
		})
	}
}

func eventTypes(h *apptest.Harness, sessionID string) (types []domain.EventType) {
	for _, e := range h.Events() {
		if e.SessionID == sessionID {
			types = append(types, e.Type)
		}
	}
	return types
}
