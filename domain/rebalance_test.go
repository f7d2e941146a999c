package domain_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/switchyard-wa/switchyard/domain"
)

const tolerance = 0.1

// A crew is a fleet with its sessions. Plans are executed on it.
type crew struct {
	loads    map[string]domain.Load
	sessions []domain.MovableSession
}

func (c *crew) plan() []domain.PlannedMove {
	loads := slices.Collect(maps.Values(c.loads)) // in random order
	return domain.PlanRebalance(loads, c.sessions, tolerance)
}

func (c *crew) carryOut(t require.TestingT, m domain.PlannedMove) {
	at := slices.IndexFunc(c.sessions, func(s domain.MovableSession) bool { return s.SessionID == m.SessionID })
	require.GreaterOrEqual(t, at, 0)
	session := &c.sessions[at]
	require.Equal(t, domain.PlannedMove{SessionID: session.SessionID, UserID: session.UserID, FromWorker: session.WorkerID, ToWorker: m.ToWorker}, m)
	from, to := c.loads[m.FromWorker], c.loads[m.ToWorker]
	for _, w := range []domain.Load{from, to} {
		require.Equal(t, domain.WorkerOnline, w.Status)
		require.Empty(t, w.Suspect)
	}
	for k, v := range session.Selector {
		require.Equal(t, v, to.Labels[k], "%s may not be on %s", session.SessionID, to.WorkerID)
	}
	from.Used--
	to.Used++
	c.loads[m.FromWorker], c.loads[m.ToWorker] = from, to
	session.WorkerID = m.ToWorker
}

// extremes returns the highest and the lowest share of a worker that receives sessions.
func (c *crew) extremes() (most, least float64) {
	least = 1e9
	for _, l := range c.loads {
		if l.Status == domain.WorkerOnline && l.Suspect == "" {
			share := float64(l.Used) / float64(l.Capacity)
			most, least = max(most, share), min(least, share)
		}
	}
	return most, least
}

func someCrew(t *rapid.T, equal bool) *crew {
	c := &crew{loads: make(map[string]domain.Load)}
	pools := []string{"", "", "max", "pro"}
	capacities := []int{1, 2, 5, 10, 20, 50}
	for i := range rapid.IntRange(0, 7).Draw(t, "workers") {
		l := domain.Load{WorkerID: fmt.Sprintf("w%d", i), Status: domain.WorkerOnline, Capacity: 20}
		if !equal {
			l.Capacity = rapid.SampledFrom(capacities).Draw(t, "capacity")
		}
		if pool := rapid.SampledFrom(pools).Draw(t, "pool"); pool != "" {
			l.Labels = map[string]string{"pool": pool}
		}
		switch rapid.IntRange(0, 9).Draw(t, "state") {
		case 8:
			l.Status = domain.WorkerMaintenance
		case 9:
			l.Suspect = "it is new"
		}
		n := rapid.IntRange(0, l.Capacity+l.Capacity/4).Draw(t, "sessions") // an administrator may have lowered the capacity
		l.Used = n
		c.loads[l.WorkerID] = l
		fixed := rapid.IntRange(0, n/3).Draw(t, "that cannot move")
		for k := range n - fixed {
			s := domain.MovableSession{
				SessionID: fmt.Sprintf("s%d-%02d", i, k), WorkerID: l.WorkerID,
				UserID: fmt.Sprintf("u%d", rapid.IntRange(0, 9).Draw(t, "user")),
			}
			// Most sessions are where they may run. A tier's pool may have changed since.
			if pool := rapid.SampledFrom(append(pools, l.Labels["pool"], l.Labels["pool"])).Draw(t, "tier's pool"); pool != "" {
				s.Selector = map[string]string{"pool": pool}
			}
			c.sessions = append(c.sessions, s)
		}
	}
	return c
}

func TestPlanRebalance_AnyFleet_SharesConverge(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := someCrew(t, rapid.Bool().Draw(t, "equal"))
		plan := c.plan()
		require.Equal(t, plan, c.plan(), "the same again")
		sessions := make(map[string]bool)
		most, least := c.extremes()
		for _, m := range plan {
			require.False(t, sessions[m.SessionID], "%s moves twice", m.SessionID)
			sessions[m.SessionID] = true
			c.carryOut(t, m)
			to := c.loads[m.ToWorker]
			require.LessOrEqual(t, to.Used, to.Capacity)
		}
		nowMost, nowLeast := c.extremes()
		require.LessOrEqual(t, nowMost, most)
		require.GreaterOrEqual(t, nowLeast, least)
		require.Empty(t, c.plan(), "once carried out there is nothing more to do")
	})
}

// Among equal workers every move is necessary and useful, and the rest of a plan equals the plan from
// the reached state.
func TestPlanRebalance_EqualWorkers_NoUselessMove(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := someCrew(t, true)
		for i := range c.sessions {
			c.sessions[i].Selector = nil
		}
		plan := c.plan()
		for i, m := range plan {
			require.Equal(t, plan[i:], c.plan())
			most, least := c.extremes()
			require.Greater(t, most-least, tolerance)
			c.carryOut(t, m)
			nowMost, nowLeast := c.extremes()
			require.LessOrEqual(t, nowMost, most)
			require.GreaterOrEqual(t, nowLeast, least)
		}
	})
}

func someSessions(n int, worker, user string) (sessions []domain.MovableSession) {
	for i := range n {
		sessions = append(sessions, domain.MovableSession{SessionID: fmt.Sprintf("%s-%s-%02d", worker, user, i), UserID: user, WorkerID: worker})
	}
	return sessions
}

func hosting(id string, used, capacity int) domain.Load {
	return domain.Load{WorkerID: id, Status: domain.WorkerOnline, Used: used, Capacity: capacity}
}

func TestPlanRebalance_Examples_ExpectedMoves(t *testing.T) {
	loads := []domain.Load{hosting("a", 12, 20), hosting("b", 0, 20), hosting("c", 6, 20)}
	plan := domain.PlanRebalance(loads, someSessions(12, "a", "u"), tolerance)
	require.Len(t, plan, 5, "7, 5, 6")
	for _, m := range plan {
		require.Equal(t, "b", m.ToWorker)
	}
	require.Empty(t, domain.PlanRebalance([]domain.Load{hosting("a", 6, 20), hosting("b", 4, 20)}, someSessions(6, "a", "u"), tolerance), "near enough")
	require.Empty(t, domain.PlanRebalance([]domain.Load{hosting("a", 1, 1), hosting("b", 0, 1)}, someSessions(1, "a", "u"), tolerance), "it would only change places")
	require.Empty(t, domain.PlanRebalance(loads, nil, tolerance), "nothing may move")
	loads[1].Suspect = "it is new"
	require.Len(t, domain.PlanRebalance(loads, someSessions(12, "a", "u"), tolerance), 2, "10, -, 8")

	t.Run("users apart", func(t *testing.T) {
		sessions := slices.Concat(someSessions(5, "a", "ada"), someSessions(1, "a", "bo"), someSessions(1, "a", "cy"), someSessions(1, "b", "bo"))
		plan := domain.PlanRebalance([]domain.Load{hosting("a", 7, 10), hosting("b", 1, 10)}, sessions, tolerance)
		require.Len(t, plan, 3)
		for _, m := range plan {
			require.Equal(t, "ada", m.UserID, "she has the most in one place")
		}
	})
	t.Run("pools", func(t *testing.T) {
		pooled := someSessions(10, "a", "max")
		for i := range pooled {
			pooled[i].Selector = map[string]string{"pool": "max"}
		}
		loads := []domain.Load{hosting("a", 10, 10), hosting("b", 0, 10), hosting("c", 5, 10)}
		loads[0].Labels, loads[2].Labels = map[string]string{"pool": "max"}, map[string]string{"pool": "max"}
		plan := domain.PlanRebalance(loads, pooled, tolerance)
		require.Len(t, plan, 2, "8, -, 7")
		for _, m := range plan {
			require.Equal(t, "c", m.ToWorker)
		}
	})
}

func BenchmarkPlanRebalance(b *testing.B) {
	var loads []domain.Load
	var sessions []domain.MovableSession
	for i := range 2000 {
		used := (i * 7919) % 50
		loads = append(loads, hosting(fmt.Sprintf("w%04d", i), used, 50))
		sessions = append(sessions, someSessions(used, fmt.Sprintf("w%04d", i), fmt.Sprintf("u%d", i%97))...)
	}
	b.ReportAllocs()
	for b.Loop() {
		b.ReportMetric(float64(len(domain.PlanRebalance(loads, sessions, tolerance))), "moves")
	}
}
