package domain

import (
	"cmp"
	"slices"
)

// MovableSession is a session that may move, as far as planning needs it.
type MovableSession struct {
	SessionID string
	UserID    string
	WorkerID  string
	Selector  map[string]string // labels that the worker must have: the tier is bound to a pool
	Group     string            // it may move only to workers of this state group; empty: to any
}

// PlannedMove is one move of a plan.
type PlannedMove struct {
	SessionID  string
	UserID     string
	FromWorker string
	ToWorker   string
}

// PlanRebalance returns the moves that even out how full workers are, in the best order of execution.
// The share of a worker is the used part of its capacity. Each move leads from the worker with the
// highest share to the worker with the lowest share that may run the session. The two shares must
// differ by more than tolerance (0.1 is 10 % of the capacity), and the move must not swap their order.
// No worker therefore exceeds the highest share of before. The plan ends when the shares are close
// enough. After its execution the next plan is empty.
//
// Only schedulable workers take part. sessions lists the sessions that may move; the loads count the
// others too. Among equal candidates a session moves whose user has the fewest sessions on the new
// worker and the most on the old one. No session moves twice.
func PlanRebalance(loads []Load, sessions []MovableSession, tolerance float64) []PlannedMove {
	b := newBalance(loads, sessions)
	var plan []PlannedMove
	for {
		m, ok := b.nextMove(tolerance)
		if !ok {
			return plan
		}
		if at := slices.IndexFunc(plan, func(p PlannedMove) bool { return p.SessionID == m.SessionID }); at >= 0 {
			m.FromWorker = plan[at].FromWorker // join both moves of the session
			plan = slices.Delete(plan, at, at+1)
		}
		if m.FromWorker != m.ToWorker {
			plan = append(plan, m)
		}
	}
}

// A balance is the state of a fleet while moves are planned.
type balance struct {
	order     []*workerLoad    // by share, the lowest first
	selectors []MovableSession // one session of each group; sessions with the same selector and state group form a group
	users     map[userAt]int   // the number of sessions of a user on a worker
}

// A userAt is the key of one user on one worker.
type userAt struct{ user, worker string }

// A workerLoad is one worker of a balance.
type workerLoad struct {
	id             string
	used, capacity int
	hosts          []bool             // by group: whether the worker may run such sessions
	sessions       [][]MovableSession // by group
}

// newBalance returns the state before the first move.
func newBalance(loads []Load, sessions []MovableSession) *balance {
	b := &balance{users: make(map[userAt]int)}
	groups := make(map[string]int)
	for _, s := range sessions {
		if key := groupKey(&s); groups[key] == 0 {
			b.selectors = append(b.selectors, s)
			groups[key] = len(b.selectors)
		}
		b.users[userAt{s.UserID, s.WorkerID}]++
	}
	at := make(map[string]*workerLoad, len(loads))
	for i := range loads {
		l := &loads[i]
		if l.isSchedulable() && l.Capacity > 0 {
			w := &workerLoad{id: l.WorkerID, used: max(l.Used, 0), capacity: l.Capacity, sessions: make([][]MovableSession, len(b.selectors))}
			for _, s := range b.selectors {
				w.hosts = append(w.hosts, l.matches(s.Selector) && (s.Group == "" || s.Group == l.StateGroup))
			}
			at[l.WorkerID] = w
			b.order = append(b.order, w)
		}
	}
	slices.SortFunc(b.order, compareWorkerLoads)
	for _, s := range sessions {
		if w := at[s.WorkerID]; w != nil {
			g := groups[groupKey(&s)] - 1
			w.sessions[g] = append(w.sessions[g], s)
		}
	}
	return b
}

// groupKey returns the selector and the state group of a session as text. Equal ones have the same text.
func groupKey(s *MovableSession) string {
	pairs := make([]string, 0, len(s.Selector))
	for k, v := range s.Selector {
		pairs = append(pairs, k+"\x00"+v+"\x00")
	}
	slices.Sort(pairs)
	key := s.Group + "\x00"
	for _, pair := range pairs {
		key += pair
	}
	return key
}

// compareShares compares the shares of two workers.
func compareShares(usedA, capacityA, usedB, capacityB int) int {
	return cmp.Compare(int64(usedA)*int64(capacityB), int64(usedB)*int64(capacityA))
}

// compareWorkerLoads orders workers by share and then by id.
func compareWorkerLoads(a, b *workerLoad) int {
	return cmp.Or(compareShares(a.used, a.capacity, b.used, b.capacity), cmp.Compare(a.id, b.id))
}

// share returns the used part of the capacity.
func (w *workerLoad) share() float64 { return float64(w.used) / float64(w.capacity) }

// A candidateMove is a move of some session of a group.
type candidateMove struct {
	from, to *workerLoad
	group    int
	gap      float64 // difference of the two shares
}

// nextMove finds the move between the workers with the widest gap and applies it.
func (b *balance) nextMove(tolerance float64) (PlannedMove, bool) {
	var best candidateMove
	for _, from := range slices.Backward(b.order) {
		if widest := from.share() - b.order[0].share(); widest <= tolerance || best.from != nil && widest < best.gap {
			break // the following workers have lower shares
		}
		for group, sessions := range from.sessions {
			if len(sessions) == 0 {
				continue
			}
			if m := b.findMove(from, group, tolerance); m.from != nil && (best.from == nil || m.compare(&best) > 0) {
				best = m
			}
		}
	}
	if best.from == nil {
		return PlannedMove{}, false
	}
	return b.applyMove(best), true
}

// compare prefers the wider gap. Ties go by id, so the plan is the same each time.
func (m *candidateMove) compare(other *candidateMove) int {
	return cmp.Or(
		cmp.Compare(m.gap, other.gap),
		cmp.Compare(other.from.id, m.from.id),
		cmp.Compare(other.to.id, m.to.id),
		cmp.Compare(other.group, m.group),
	)
}

// findMove returns the move of a session of the group to the worker with the lowest possible share. The
// field from is nil if there is no such move.
func (b *balance) findMove(from *workerLoad, group int, tolerance float64) candidateMove {
	for _, to := range b.order {
		gap := from.share() - to.share()
		if gap <= tolerance {
			break
		}
		if to.hosts[group] && to.used < to.capacity &&
			compareShares(to.used+1, to.capacity, from.used, from.capacity) < 0 &&
			compareShares(from.used-1, from.capacity, to.used, to.capacity) >= 0 {
			return candidateMove{from, to, group, gap}
		}
	}
	return candidateMove{}
}

// applyMove chooses the session of a move and updates the state.
func (b *balance) applyMove(m candidateMove) PlannedMove {
	sessions := m.from.sessions[m.group]
	sameUser := func(session MovableSession) int {
		return b.users[userAt{session.UserID, m.to.id}] - b.users[userAt{session.UserID, m.from.id}]
	}
	at := 0
	for i := range sessions {
		if cmp.Or(cmp.Compare(sameUser(sessions[i]), sameUser(sessions[at])), cmp.Compare(sessions[i].SessionID, sessions[at].SessionID)) < 0 {
			at = i
		}
	}
	session := sessions[at]
	m.from.sessions[m.group] = slices.Delete(sessions, at, at+1)
	m.to.sessions[m.group] = append(m.to.sessions[m.group], session)
	b.users[userAt{session.UserID, m.from.id}]--
	b.users[userAt{session.UserID, m.to.id}]++
	b.resize(m.from, -1)
	b.resize(m.to, +1)
	return PlannedMove{SessionID: session.SessionID, UserID: session.UserID, FromWorker: m.from.id, ToWorker: m.to.id}
}

// resize adds n to the used slots of a worker and keeps the order.
func (b *balance) resize(w *workerLoad, n int) {
	at, _ := slices.BinarySearchFunc(b.order, w, compareWorkerLoads)
	b.order = slices.Delete(b.order, at, at+1)
	w.used += n
	at, _ = slices.BinarySearchFunc(b.order, w, compareWorkerLoads)
	b.order = slices.Insert(b.order, at, w)
}
