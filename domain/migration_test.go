package domain_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
)

// migrating returns a session that runs on w1 and migrates to w2.
func migrating(kind domain.MigrationKind) (*domain.Session, *domain.Migration) {
	s := &domain.Session{
		ID: "s1", UserID: "u1", Intent: domain.Up, Status: domain.Connected, WorkerID: "w1", Generation: 1, Confirmed: true, WasConnected: true,
	}
	m := domain.NewMigration("m1", s, kind, "w2", "because", noon)
	s.Migrate(m, noon)
	m.SyncWithSession(s, noon)
	return s, m
}

func TestMigration_SessionMoves_StatusFollows(t *testing.T) {
	s, m := migrating(domain.MigrationByOperator)
	require.Equal(t, domain.Migration{
		ID: "m1", SessionID: "s1", UserID: "u1", Kind: domain.MigrationByOperator, FromWorker: "w1", ToWorker: "w2",
		Status: domain.MigrationPending, Reason: "because", CreatedAt: noon,
	}, *m)
	require.Equal(t, []any{"m1", "w2", noon}, []any{s.MigrationID, s.MigrationTargetID, s.DueAt})

	at := noon.Add(time.Second)
	step := func(fn func()) domain.MigrationStatus {
		fn()
		at = at.Add(time.Second)
		m.SyncWithSession(s, at)
		return m.Status
	}
	require.Equal(t, domain.MigrationRunning, step(func() { s.RequestStopForMove(at) }))
	began := at
	require.Equal(t, domain.MigrationRunning, step(func() { s.StopConfirmed(at) }))
	require.Equal(t, "w2", m.ToWorker, "where it is to go")
	require.Equal(t, domain.MigrationRunning, step(func() { s.Assign("w3", at) }))
	require.Equal(t, "w3", m.ToWorker, "where it went")
	require.Equal(t, domain.MigrationCompleted, step(func() {
		s.Apply(domain.Report{SessionID: "s1", WorkerID: "w3", Generation: 2, Status: domain.Connected}, timing, at)
	}))
	require.Equal(t, []any{began, at, ""}, []any{m.StartedAt, m.CompletedAt, m.Error})
	require.Equal(t, []any{"", ""}, []any{s.MigrationID, s.MigrationTargetID})
}

func TestMigration_SessionDoesNotMove_FailedOrCancelled(t *testing.T) {
	type outcome struct {
		status domain.MigrationStatus
		why    string
	}
	for name, c := range map[string]struct {
		kind domain.MigrationKind
		do   func(s *domain.Session, m *domain.Migration)
		want outcome
	}{
		"disconnected": {domain.MigrationByDrain, func(s *domain.Session, _ *domain.Migration) { s.Disconnect(noon) },
			outcome{domain.MigrationCancelled, "the session was taken down"}},
		"disconnected on its way": {domain.MigrationByDrain, func(s *domain.Session, _ *domain.Migration) {
			s.RequestStopForMove(noon)
			s.StopConfirmed(noon)
			s.Disconnect(noon)
		},
			outcome{domain.MigrationCancelled, "the session was taken down"}},
		"failed": {domain.MigrationByDrain, func(s *domain.Session, _ *domain.Migration) {
			s.RequestStopForMove(noon)
			s.StopConfirmed(noon)
			s.Fail("banned", noon)
		},
			outcome{domain.MigrationFailed, "banned"}},
		"back where it was": {domain.MigrationByRebalance, func(s *domain.Session, m *domain.Migration) {
			s.RequestStopForMove(noon)
			s.StopConfirmed(noon)
			m.SyncWithSession(s, noon)
			s.Assign("w1", noon)
			s.Apply(domain.Report{SessionID: "s1", Status: domain.Connected}, timing, noon)
		}, outcome{domain.MigrationFailed, "no other worker could take the session; it runs where it was"}},
		"back after a failover": {domain.MigrationByFailover, func(s *domain.Session, m *domain.Migration) {
			s.UnassignForMove(domain.EventSessionFailedOver, noon)
			m.SyncWithSession(s, noon)
			s.Assign("w1", noon)
			s.Apply(domain.Report{SessionID: "s1", Status: domain.Connected}, timing, noon)
		}, outcome{domain.MigrationCompleted, ""}},
		"cancelled": {domain.MigrationByOperator, func(s *domain.Session, m *domain.Migration) { _ = m.Cancel(s, "no more", noon) },
			outcome{domain.MigrationCancelled, "no more"}},
		"abandoned": {domain.MigrationByOperator, func(s *domain.Session, m *domain.Migration) { m.FailPending(s, "w2 is full", noon) },
			outcome{domain.MigrationFailed, "w2 is full"}},
	} {
		s, m := migrating(c.kind)
		c.do(s, m)
		m.SyncWithSession(s, noon)
		require.Equal(t, c.want, outcome{m.Status, m.Error}, name)
		require.Equal(t, noon, m.CompletedAt)
		require.Equal(t, []any{"", ""}, []any{s.MigrationID, s.MigrationTargetID})
		over := *m
		m.SyncWithSession(s, noon.Add(time.Hour))
		require.Equal(t, over, *m, "what is over stays as it is")
		require.ErrorIs(t, m.Cancel(s, "once more", noon), &domain.Error{Code: domain.CodeInvalidState})
		require.Equal(t, over, *m)
	}
	s, m := migrating(domain.MigrationByOperator)
	s.RequestStopForMove(noon)
	m.SyncWithSession(s, noon)
	require.ErrorIs(t, m.Cancel(s, "too late", noon), &domain.Error{Code: domain.CodeInvalidState})
	require.Equal(t, domain.MigrationRunning, m.Status)
	m.Deleted(noon)
	require.Equal(t, domain.MigrationCancelled, m.Status)
}
