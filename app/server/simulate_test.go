package server

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// connectSimulated returns a server with two simulated workers, its user, and the session
// "support", which is connected.
func connectSimulated(t *testing.T) (s *Server, userID string) {
	t.Helper()
	s = runServer(t, Config{Store: "sqlite:" + t.TempDir() + "/gateway.db", SimulatedWorkers: 2})
	ctx := t.Context()
	require.Eventually(t, func() bool {
		stats, err := s.Orchestrator.Workers.Statistics(ctx)
		return err == nil && stats.Online == 2
	}, 40*time.Second, 10*time.Millisecond)
	u, err := s.Accounts.CreateUser(ctx, "Ada", "ada@example.com", "correct-horse-1", domain.TierBasic, domain.RoleUser)
	require.NoError(t, err)
	_, err = s.Orchestrator.Sessions.Create(ctx, u.ID, service.CreateSessionParams{ID: "support", Name: "Support"})
	require.NoError(t, err)
	_, err = s.Orchestrator.Sessions.Connect(ctx, u.ID, "support", service.ConnectOptions{Wait: 10 * time.Second})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		session, err := s.Orchestrator.Sessions.Get(ctx, u.ID, "support")
		return err == nil && session.Status == domain.Connected
	}, 40*time.Second, 10*time.Millisecond)
	return s, u.ID
}

func TestServer_SimulatedWorkers_MessageIsRead(t *testing.T) {
	s, userID := connectSimulated(t)
	sent, err := s.Orchestrator.Messages.Send(t.Context(), service.Sender{UserID: userID, SessionID: "support"}, &domain.Outgoing{
		To: "6281234567890", Type: domain.TypeText, Text: "Hello",
	})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		m, err := s.Orchestrator.Messages.Get(t.Context(), userID, "support", sent.ID)
		return err == nil && m.Status == domain.MessageRead && !m.DeliveredAt.IsZero() && !m.ReadAt.IsZero()
	}, 10*time.Second, 10*time.Millisecond)
}

func TestServer_SimulatedWorkers_ReceivedMessageIsStored(t *testing.T) {
	s, userID := connectSimulated(t)
	session, err := s.Orchestrator.Sessions.Get(t.Context(), userID, "support")
	require.NoError(t, err)
	for workerID, isStored := range map[string]bool{"simulated-9": false, session.WorkerID: true} {
		control := &inProcess{WorkerProtocol: s.Orchestrator.Protocol, workerID: workerID}
		stored, err := control.ReceiveMessage(t.Context(), service.InboundMessage{
			SessionID: "support", WhatsAppID: "3AEB01", From: "6289999999999@s.whatsapp.net", Type: domain.TypeText, Content: "Hi",
		})
		require.NoError(t, err)
		require.Equal(t, isStored, stored, workerID)
	}
}
