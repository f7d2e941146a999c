package apptest_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/app/apptest"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports/service"
)

func TestRestart_ControlPlane_SessionsAndMessagesSurvive(t *testing.T) {
	h := apptest.New(t).Workers("w1", 50, "w2", 50)
	s := h.Connected(h.User(domain.TierPro), "support")
	m := h.Send(s, "6281234567890", "before")

	h.Restart()
	h.Advance(5 * time.Minute)

	after := h.Session(s.ID)
	require.Equal(t, domain.Connected, after.Status)
	require.Equal(t, s.Generation, after.Generation, "the session has not moved")
	h.Send(after, "6281234567890", "after")
	got, err := h.Orchestrator.Messages.Get(t.Context(), s.UserID, s.ID, m.ID)
	require.NoError(t, err)
	require.Equal(t, domain.MessageRead, got.Status)
}

func TestReplicas_RollingRestart_NoSendIsLost(t *testing.T) {
	h := newReplicated(t)
	ids := connectManySessions(h, 20)
	before := make(map[string]*domain.Session)
	for _, id := range ids {
		before[id] = h.Session(id)
	}
	var sent []*domain.Message
	send := func(d time.Duration) {
		for end := h.Now().Add(d); h.Now().Before(end); h.Advance(50 * time.Millisecond) {
			replicas := h.Running()
			s := before[ids[len(sent)%len(ids)]]
			m, err := replicas[len(sent)%len(replicas)].Messages.Send(t.Context(), service.Sender{UserID: s.UserID, SessionID: s.ID},
				&domain.Outgoing{To: "6281234567890", Type: domain.TypeText, Text: "hello"})
			require.NoError(t, err)
			sent = append(sent, m)
		}
	}

	for i := range 3 {
		send(3 * time.Second)
		h.Kill(i)
		send(3 * time.Second)
		h.Start(i)
	}
	send(30 * time.Second)

	require.Empty(t, h.Repeats())
	for _, m := range sent {
		stored, err := h.Orchestrator.Messages.Get(t.Context(), m.UserID, m.SessionID, m.ID)
		require.NoError(t, err)
		require.NotEqual(t, domain.MessageFailed, stored.Status)
		require.NotEqual(t, domain.MessagePending, stored.Status)
	}
	connectedOn(t, h, ids)
	for _, id := range ids {
		require.Equal(t, before[id].Generation, h.Session(id).Generation, "no session was started again")
	}
}

func TestReplicas_AllRestartAtOnce_SessionsStay(t *testing.T) {
	h := newReplicated(t)
	ids := connectManySessions(h, 30)
	user := h.User(domain.TierMax)
	before := make(map[string]int64)
	for _, id := range ids {
		before[id] = h.Session(id).Generation
	}
	fresh := h.CreateSession(user, "one that is on its way")
	_, err := h.Orchestrator.Sessions.Connect(t.Context(), user.ID, fresh.ID, service.ConnectOptions{})
	require.NoError(t, err)

	h.Restart()
	h.Advance(2 * time.Minute)

	connectedOn(t, h, append(ids, fresh.ID))
	for _, id := range ids {
		require.Equal(t, before[id], h.Session(id).Generation)
	}

	h.Crash("w2") // no replica runs
	h.Restart()
	took := advanceUntilConnected(t, h, ids, 30*time.Second)
	t.Logf("a crash that nobody saw is made good %v after the start", took)
	require.Zero(t, connectedOn(t, h, ids)["worker-w2"])
}

// The replica is paused while the others fail over and drain. Its cache is old when it
// resumes.
func TestReplicas_PausedReplicaResumes_NothingMoves(t *testing.T) {
	for _, isCut := range []bool{false, true} {
		t.Run(fmt.Sprint("cut=", isCut), func(t *testing.T) {
			h := newReplicated(t)
			ids := connectManySessions(h, 40)
			if isCut {
				h.DropInvalidations(2)
			}
			h.Pause(2)

			h.Crash("w1")
			h.Advance(30 * time.Second)
			_, err := h.Orchestrator.Workers.Drain(t.Context(), "worker-w2", service.DrainOptions{})
			require.NoError(t, err)
			h.Advance(2 * time.Minute)
			h.RestartWorker("w1") // registers at the other replicas
			h.Advance(time.Minute)
			on := connectedOn(t, h, ids)
			require.Zero(t, on["worker-w1"]+on["worker-w2"])
			generation := make(map[string]int64)
			for _, id := range ids {
				generation[id] = h.Session(id).Generation
			}

			h.Resume(2)
			back := h.Replica(2)
			for _, id := range ids { // its cache has their former workers
				s := h.Session(id)
				_, err := back.Messages.Send(t.Context(), service.Sender{UserID: s.UserID, SessionID: id},
					&domain.Outgoing{To: "6281234567890", Type: domain.TypeText, Text: "hello"})
				require.NoError(t, err)
			}
			h.Advance(5 * time.Minute)

			require.Empty(t, h.Repeats())
			require.Equal(t, on, connectedOn(t, h, ids))
			for _, id := range ids {
				require.Equal(t, generation[id], h.Session(id).Generation, "no session was moved or started again")
			}
		})
	}
}
