package apptest_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/simworker"
	"github.com/switchyard-wa/switchyard/app/apptest"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// skewedReplicas makes a harness whose second replica's clock is off.
func skewedReplicas(t *testing.T, d time.Duration, o apptest.Options) *apptest.Harness {
	o.Replicas = 2
	h := apptest.With(t, o)
	h.Skew(1, d)
	h.Start(1)
	return h
}

// TestMovesAreLimitedWhateverTheClocks: the limits of moves hold whatever the clocks of replicas show.
func TestMovesAreLimitedWhateverTheClocks(t *testing.T) {
	for _, skew := range []time.Duration{2 * time.Hour, -2 * time.Hour} {
		t.Run(skew.String(), func(t *testing.T) {
			h := skewedReplicas(t, skew, apptest.Options{})
			h.Workers("w1", 50)
			ids := lines(h, 20)
			h.Workers("w2", 50)
			h.Hang("w2")
			_, err := h.Orchestrator.Workers.Drain(t.Context(), "worker-w1")
			require.NoError(t, err)
			most := 0
			for range 30 {
				h.Advance(time.Second)
				_, running := open(t, h)
				most = max(most, running)
			}
			t.Log("most at once:", most)
			h.Unhang("w2")
			h.Advance(10 * time.Minute)
			connectedOn(t, h, ids)
			require.LessOrEqual(t, most, 4)
		})
	}
}

// TestAStuckMoveBlocksForFiveMinutesOnly: a move that is stuck does not keep others from beginning for longer than five
// minutes, whatever the clocks.
func TestAStuckMoveBlocksForFiveMinutesOnly(t *testing.T) {
	for _, skew := range []time.Duration{0, 2 * time.Hour} {
		t.Run(skew.String(), func(t *testing.T) {
			h := skewedReplicas(t, skew, apptest.Options{})
			h.Workers("w1", 50)
			ids := lines(h, 8)
			h.Workers("w2", 4)
			h.Advance(10 * time.Second)
			// The replica whose clock is ahead begins four moves, which find no room when it matters.
			h.Hang("w2")
			for _, id := range ids[:4] {
				_, err := h.Replica(1).Operations.Migrate(t.Context(), id, "worker-w2", "")
				require.NoError(t, err)
			}
			_, running := open(t, h)
			require.Equal(t, 4, running)
			h.Crash("w2")
			h.Kill(1)
			// w1 drains to nowhere for the four; then there is room.
			h.Advance(6 * time.Minute)
			h.Workers("w3", 50)
			began := h.Now()
			_, err := h.Orchestrator.Workers.Drain(t.Context(), "worker-w1")
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

// TestMessagesOfUnknownOutcomeWhateverTheClocks: a message is not said to have failed an hour too early.
func TestMessagesOfUnknownOutcomeWhateverTheClocks(t *testing.T) {
	h := apptest.With(t, apptest.Options{Replicas: 4})
	for i := 1; i < 4; i++ { // one of them keeps the house
		h.Skew(i, 2*time.Hour)
		h.Start(i)
	}
	h.Workers("w1", 50)
	s := h.Session(lines(h, 1)[0])
	h.Hang("w1")
	_, err := h.Replica(0).Messages.Send(t.Context(), service.Sender{UserID: s.UserID, SessionID: s.ID},
		&domain.Outgoing{To: "6281234567890", Type: domain.TypeText, Text: "hello"})
	require.Error(t, err)
	var list []*domain.Message
	require.NoError(t, h.Store.View(t.Context(), func(ctx context.Context, tx *ports.Tx) (err error) {
		list, err = tx.Messages.PendingBefore(ctx, h.Now().Add(time.Second), 10)
		return err
	}))
	require.Len(t, list, 1)
	h.Unhang("w1")
	for range 5 {
		h.Advance(time.Minute)
		m, err := h.Orchestrator.Messages.Get(t.Context(), s.UserID, s.ID, list[0].ID)
		require.NoError(t, err)
		require.NotEqual(t, domain.MessageFailed, m.Status, "not yet an hour")
	}
}

// TestFailoverGoesOnWhenAReplicaThatIsAheadDies: the replica that found that a worker crashed is ahead, and dies.
func TestFailoverGoesOnWhenAReplicaThatIsAheadDies(t *testing.T) {
	h := skewedReplicas(t, 2*time.Hour, apptest.Options{})
	h.Workers("w1", 50)
	ids := lines(h, 5)
	h.Workers("w2", 50)
	h.Advance(10 * time.Second)
	h.Pause(0)
	h.Crash("w1")
	for range 100 {
		h.Advance(100 * time.Millisecond)
		w, _, err := h.Replica(1).Workers.Get(t.Context(), "worker-w1")
		require.NoError(t, err)
		if !w.Online {
			break
		}
	}
	h.Kill(1)
	h.Resume(0)
	took := whenConnected(t, h, ids, 3*time.Hour)
	t.Log("up again after", took)
	require.Less(t, took, 2*time.Minute)
}

// TestFailoversWithoutRoomHoldUpNoDrain: sessions that wait for room after a failover do not keep the rest of the fleet
// from being drained.
func TestFailoversWithoutRoomHoldUpNoDrain(t *testing.T) {
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
		lines(h, 20)
	}
	h.Workers("w2", 50)
	user := h.User(domain.TierPro)
	var ids []string
	for i := range 5 {
		ids = append(ids, h.Connected(user, fmt.Sprint("pro ", i)).ID)
	}
	h.Workers("w3", 50)
	h.Crash("w1") // nobody else may have these
	h.Advance(30 * time.Second)
	_, running := open(t, h)
	require.Equal(t, 40, running)
	began := h.Now()
	_, err := h.Orchestrator.Workers.Drain(t.Context(), "worker-w2")
	require.NoError(t, err)
	for connectedOn(t, h, ids)["worker-w3"] < 5 && h.Now().Sub(began) < time.Hour {
		h.Advance(time.Second)
	}
	t.Log("drained after", h.Now().Sub(began))
	require.Less(t, h.Now().Sub(began), 30*time.Second)
}

// succeeded gives a worker that is cut off and goes on running, and whose next
// process has just begun at another endpoint.
func succeeded(t *testing.T) (h *apptest.Harness, ids []string, old *simworker.Worker) {
	n := 0
	state := simworker.NewState()
	h = apptest.With(t, apptest.Options{Worker: func(c *apptest.WorkerConfig) {
		n++
		c.ID, c.Endpoint = "worker-w1", fmt.Sprintf("http://process-%d.sim:1", n)
		c.Seed, c.State = uint64(n), state
	}}).Workers("w1", 50)
	ids = lines(h, 3)
	old = h.Worker("w1")
	old.CutOff()
	h.Advance(5 * time.Second)
	h.Workers("w1", 50)
	return h, ids, old
}

// TestANewProcessOfACutOffWorkerWaitsForTheLease: a worker that is cut off is replaced by a process of the same id at another
// endpoint while its lease lasts.
func TestANewProcessOfACutOffWorkerWaitsForTheLease(t *testing.T) {
	h, ids, old := succeeded(t)
	for range 600 {
		h.Advance(100 * time.Millisecond)
		for _, w := range h.All() {
			if w == old {
				continue
			}
			for _, id := range ids {
				both := slices.Contains(w.Running(), id) && slices.Contains(old.Running(), id)
				require.False(t, both, "%v after the new process registered %s runs in both", h.Now(), id)
			}
		}
	}
}

// TestCrampedSessionsHoldUpNoOthers: sessions that cannot move for lack of room do not keep others from their turn,
// whichever replica found that out.
func TestCrampedSessionsHoldUpNoOthers(t *testing.T) {
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
			lines(h, 8)
			var ids []string
			for i := range 20 {
				ids = append(ids, h.Connected(h.User(domain.TierPro), fmt.Sprint("pro ", i)).ID)
			}
			h.Workers("w2", 50)
			h.Advance(10 * time.Second)
			began := h.Now()
			_, err := h.Orchestrator.Workers.Drain(t.Context(), old)
			require.NoError(t, err)
			for whereConnected(h, ids)["worker-w2"] < len(ids) && h.Now().Sub(began) < 20*time.Minute {
				h.Advance(time.Second)
			}
			t.Log("drained after", h.Now().Sub(began))
			require.Less(t, h.Now().Sub(began), 20*time.Second)
		})
	}
}

func whereConnected(h *apptest.Harness, ids []string) map[string]int {
	on := make(map[string]int)
	for _, id := range ids {
		if s := h.Session(id); s.Status == domain.Connected {
			on[s.WorkerID]++
		}
	}
	return on
}

// TestSessionsOfADeactivatedUserGoDownWhoeverDies: a replica dies after a user was deactivated (or got a lower tier), before it has
// taken the sessions down: others do.
func TestSessionsOfADeactivatedUserGoDownWhoeverDies(t *testing.T) {
	for name, change := range map[string]func(*domain.User){
		"deactivated": func(u *domain.User) { u.Active = false },
		"downgraded":  func(u *domain.User) { u.Tier = domain.TierBasic },
	} {
		t.Run(name, func(t *testing.T) {
			h := apptest.With(t, apptest.Options{Replicas: 2}).Workers("w1", 50)
			user := h.User(domain.TierPro)
			for i := range 3 {
				h.Connected(user, fmt.Sprint("line ", i))
			}
			// What app/accounts commits; then the process is gone, or PostgreSQL for a moment.
			require.NoError(t, h.Store.Update(t.Context(), func(ctx context.Context, tx *ports.Tx) error {
				u, err := tx.Users.Get(ctx, user.ID)
				if err != nil {
					return err
				}
				change(u)
				return tx.Users.Put(ctx, u)
			}))
			h.Kill(0)
			h.Advance(time.Hour)
			h.Start(0)
			h.Advance(time.Hour)
			up := 0
			list, _, err := h.Orchestrator.Sessions.List(t.Context(), user.ID, ports.SessionFilter{}, ports.Page{})
			require.NoError(t, err)
			for _, s := range list {
				if s.Intent == domain.Up {
					up++
				}
			}
			t.Log("up after two hours:", up)
			require.LessOrEqual(t, up, 1)
		})
	}
}

// TestAFormerProcessThatIsBackDoesNotRunOn: the same, and the former process is reachable again before its lease is out.
func TestAFormerProcessThatIsBackDoesNotRunOn(t *testing.T) {
	h, ids, old := succeeded(t)
	h.Advance(5 * time.Second)
	old.Reconnect()
	h.Advance(time.Hour)
	for _, id := range ids {
		runs := 0
		for _, w := range h.All() {
			if slices.Contains(w.Running(), id) {
				runs++
			}
		}
		require.Equal(t, 1, runs, "%s runs in so many processes an hour later", id)
	}
}
