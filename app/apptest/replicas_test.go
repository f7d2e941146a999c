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

// several makes a harness with three replicas and workers w1 to w4.
func several(t *testing.T) *apptest.Harness {
	t.Helper()
	return apptest.With(t, apptest.Options{Replicas: 3}).Workers("w1", 50, "w2", 50, "w3", 50, "w4", 50)
}

// manyLines connects so many sessions, of as many users as that takes.
func manyLines(h *apptest.Harness, n int) (ids []string) {
	for n > 0 {
		some := lines(h, min(n, 20))
		ids = append(ids, some...)
		n -= len(some)
	}
	return ids
}

// whenConnected waits until all sessions are connected, each in one place, and
// gives the time that took.
func whenConnected(t *testing.T, h *apptest.Harness, ids []string, limit time.Duration) time.Duration {
	t.Helper()
	began := h.Now()
	for {
		waiting := 0
		for _, id := range ids {
			if s := h.Session(id); s.Status != domain.Connected || len(h.Owners(id)) != 1 || h.Owners(id)[0] != s.WorkerID {
				waiting++
			}
		}
		took := h.Now().Sub(began)
		if waiting == 0 {
			return took
		}
		require.LessOrEqual(t, took, limit, "%d sessions are not connected", waiting)
		h.Advance(100 * time.Millisecond)
	}
}

func TestFailoverGoesOnWhenAReplicaDies(t *testing.T) {
	for after := range 16 {
		t.Run(fmt.Sprint(after), func(t *testing.T) {
			h := several(t)
			ids := manyLines(h, 50)
			h.Crash("w1")
			h.Advance(5*time.Second + time.Duration(after)*500*time.Millisecond) // before, during and after it is found out
			h.Kill(after % 3)
			took := whenConnected(t, h, ids, 15*time.Second)
			t.Logf("all are connected %v after a replica died", took)
			h.Start(after % 3)
			h.Advance(2 * time.Minute)
			require.Zero(t, connectedOn(t, h, ids)["worker-w1"])
		})
	}
}

func TestRollingRestartUnderSends(t *testing.T) {
	h := several(t)
	ids := manyLines(h, 20)
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
		require.Equal(t, before[id].Generation, h.Session(id).Generation, "nobody noticed")
	}
}

func TestAllReplicasRestartAtOnce(t *testing.T) {
	h := several(t)
	ids := manyLines(h, 30)
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

	h.Crash("w2") // while nobody is there to see it
	h.Restart()
	took := whenConnected(t, h, ids, 30*time.Second)
	t.Logf("a crash that nobody saw is made good %v after the start", took)
	require.Zero(t, connectedOn(t, h, ids)["worker-w2"])
}

func TestAReplicaThatStoodStillDoesNoHarm(t *testing.T) {
	for _, isCut := range []bool{false, true} {
		t.Run(fmt.Sprint("cut=", isCut), func(t *testing.T) {
			h := several(t)
			ids := manyLines(h, 40)
			if isCut {
				h.DropInvalidations(2)
			}
			h.Pause(2)
			h.Crash("w1")
			h.Advance(30 * time.Second)
			_, err := h.Orchestrator.Workers.Drain(t.Context(), "worker-w2")
			require.NoError(t, err)
			h.Advance(2 * time.Minute)
			h.RestartWorker("w1") // it registers at those that run
			h.Advance(time.Minute)
			on := connectedOn(t, h, ids)
			require.Zero(t, on["worker-w1"]+on["worker-w2"])
			generation := make(map[string]int64)
			for _, id := range ids {
				generation[id] = h.Session(id).Generation
			}
			h.Resume(2)
			back := h.Replica(2)
			for _, id := range ids { // it believes that many are where they were
				s := h.Session(id)
				_, err := back.Messages.Send(t.Context(), service.Sender{UserID: s.UserID, SessionID: id},
					&domain.Outgoing{To: "6281234567890", Type: domain.TypeText, Text: "hello"})
				require.NoError(t, err)
			}
			h.Advance(5 * time.Minute)
			require.Empty(t, h.Repeats())
			require.Equal(t, on, connectedOn(t, h, ids))
			for _, id := range ids {
				require.Equal(t, generation[id], h.Session(id).Generation, "nothing was moved or started again")
			}
		})
	}
}
