package registry_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports/service"
)

func (f *fixture) report(t *testing.T, r domain.Report) domain.Outcome {
	t.Helper()
	outcome, err := f.protocol.ReportSession(context.Background(), r)
	require.NoError(t, err)
	return outcome
}

func newConnected(t *testing.T) *fixture {
	f := newFixture(t)
	f.AddSharingWorker("worker-1", 50)
	f.AddSharingWorker("worker-2", 50)
	f.AddConnected(f.user, "s1", "worker-1")
	return f
}

func TestReportSession_OfTheOwner_IsAppliedWithItsEvent(t *testing.T) {
	f := newConnected(t)
	require.Equal(t, domain.Applied, f.report(t, domain.Report{SessionID: "s1", WorkerID: "Worker-1", Status: domain.Disconnected}))
	require.Equal(t, domain.Disconnected, f.Session("s1").Status)
	require.Contains(t, f.Events(), domain.EventSessionDisconnected)
}

func TestReportSession_OfAnotherWorkerOrGeneration_IsRefused(t *testing.T) {
	f := newConnected(t)
	require.Equal(t, domain.NotOwner, f.report(t, domain.Report{SessionID: "s1", WorkerID: "worker-2", Status: domain.Disconnected}))
	require.Equal(t, domain.NotOwner, f.report(t, domain.Report{SessionID: "s1", Generation: 9, Status: domain.Disconnected}))
	require.Equal(t, domain.Implausible, f.report(t, domain.Report{SessionID: "s1", WorkerID: "worker-1", Generation: 1 << 40, Status: domain.Disconnected}))
	require.Equal(t, domain.Connected, f.Session("s1").Status)
	_, err := f.protocol.ReportSession(context.Background(), domain.Report{SessionID: "unknown", Status: domain.Connected})
	require.Equal(t, domain.CodeSessionNotFound, domain.CodeOf(err))
}

func TestReportSession_AppliedLongAfterItArrived_EndIsNotBelieved(t *testing.T) {
	for status, want := range map[domain.Status]domain.Outcome{domain.Disconnected: domain.Stale, domain.Reconnecting: domain.Applied} {
		f := newConnected(t)
		f.Stored.BeforeUpdate(func() { f.Clock.Advance(5*time.Second + time.Millisecond) })
		require.Equal(t, want, f.report(t, domain.Report{SessionID: "s1", WorkerID: "worker-1", Status: status}))

		f = newConnected(t)
		f.Stored.BeforeUpdate(func() { f.Clock.Advance(5 * time.Second) })
		require.Equal(t, domain.Applied, f.report(t, domain.Report{SessionID: "s1", WorkerID: "worker-1", Status: status}))
	}
}

func TestReportSession_LegacyWorkerStopsWhatHasMoved_IsNotTakenForTheOwner(t *testing.T) {
	f := newConnected(t)
	anonymous := domain.Report{SessionID: "s1", Status: domain.Disconnected}
	f.heartbeat(t, domain.Heartbeat{WorkerID: "worker-2", Sessions: []domain.Report{running("s1")}}) // it is to stop s1
	require.Equal(t, domain.NotOwner, f.report(t, anonymous))
	require.Equal(t, domain.Connected, f.Session("s1").Status)

	f = newConnected(t)
	require.Equal(t, domain.Applied, f.report(t, anonymous), "nobody else is to stop it")
}

func TestReportSession_NamesNoWorkerAndTheWorkerHasAToken_IsRefused(t *testing.T) {
	f := newConnected(t)
	f.ChangeWorkerRow("worker-1", func(w *domain.Worker) {
		w.Capabilities, w.TokenEpoch = []domain.Capability{domain.CapOwnToken}, "epoch"
	})
	generation := f.Session("s1").Generation
	for _, r := range []domain.Report{{}, {Generation: generation}} {
		r.SessionID, r.Status = "s1", domain.Disconnected
		require.Equal(t, domain.NotOwner, f.report(t, r))
	}
	require.Equal(t, domain.Connected, f.Session("s1").Status)
	require.Equal(t, domain.Applied, f.report(t, domain.Report{SessionID: "s1", WorkerID: "worker-1", Status: domain.Disconnected}))
}

func TestAssignedSessions_RestartedWorker_GetsWhatItHasToRecover(t *testing.T) {
	f := newConnected(t)
	f.AddConnected(f.user, "stopped", "worker-1")
	f.Change("stopped", func(s *domain.Session) { s.Disconnect(f.Now()) })
	list, err := f.protocol.AssignedSessions(context.Background(), "Worker-1")
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.Equal(t, "s1", list[0].ID)
	require.Equal(t, domain.TierMax, list[0].UserTier)
	_, err = f.protocol.AssignedSessions(context.Background(), "unknown")
	require.Equal(t, domain.CodeWorkerNotFound, domain.CodeOf(err))
}

func TestReportRecovery_EachResult_HasItsOutcome(t *testing.T) {
	f := newConnected(t)
	f.AddConnected(f.user, "failed", "worker-1")
	f.AddConnected(f.user, "skipped", "worker-1")
	f.AddConnected(f.user, "elsewhere", "worker-2")
	f.down("worker-1", domain.DownCrashed)
	f.register(t, registration("worker-1")) // its sessions await their recovery

	outcomes, err := f.protocol.ReportRecovery(context.Background(), "worker-1", []service.RecoveryResult{
		{SessionID: "s1", Status: service.RecoverySuccess}, {SessionID: "failed", Status: service.RecoveryFailed, Error: "no credentials"},
		{SessionID: "skipped", Status: service.RecoverySkipped}, {SessionID: "elsewhere", Status: service.RecoverySuccess},
	})
	require.NoError(t, err)
	var actions []string
	for _, o := range outcomes {
		actions = append(actions, o.Action)
	}
	require.Equal(t, []string{"connected", "failed, slot freed", "left unchanged", "not a session of this worker"}, actions)
	require.Equal(t, domain.Connected, f.Session("s1").Status)
	require.Equal(t, domain.Errored, f.Session("failed").Status)
	require.Equal(t, "no credentials", f.Session("failed").LastError)
	require.Equal(t, f.Now(), f.Session("skipped").DueAt, "it is started at once")
	require.Equal(t, service.RecoveryIgnored, outcomes[3].Status)
}

func TestReportRecovery_AppliedLongAfterItArrived_FailureIsNotBelieved(t *testing.T) {
	f := newConnected(t)
	f.Stored.BeforeUpdate(func() { f.Clock.Advance(6 * time.Second) })
	outcomes, err := f.protocol.ReportRecovery(context.Background(), "worker-1", []service.RecoveryResult{{SessionID: "s1", Status: service.RecoveryFailed}})
	require.NoError(t, err)
	require.Equal(t, service.RecoveryIgnored, outcomes[0].Status)
	require.Equal(t, domain.Connected, f.Session("s1").Status)
}

func TestReportPreserved_WorkerGoesDown_ItsSessionsReconnect(t *testing.T) {
	f := newConnected(t)
	f.AddConnected(f.user, "elsewhere", "worker-2")
	n, err := f.protocol.ReportPreserved(context.Background(), "worker-1", []string{"s1", "elsewhere", "unknown"})
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.Equal(t, domain.Reconnecting, f.Session("s1").Status)
	require.Equal(t, domain.Connected, f.Session("elsewhere").Status)
}
