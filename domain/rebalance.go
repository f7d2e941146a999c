package domain

import (
	"cmp"
	"slices"
)

// MovableSession is a session that could move, as far as planning has to know it.
type MovableSession struct {
	SessionID string
	UserID    string
	WorkerID  string
	Selector  map[string]string // labels that its worker must have: its tier is bound to a pool
}

// PlannedMove is one move of a plan.
type PlannedMove struct {
	SessionID  string
	UserID     string
	FromWorker string
	ToWorker   string
}

// PlanRebalance gives the moves that even out how full workers are, in the
// order in which they are best made. Each is from the fullest worker to the
// emptiest one that may have a session of it, by the share of their capacity
// that is used; but only if they are more than tolerance (0.1 is 10 % of the
// capacity) apart and do not change places by it. So no worker gets fuller than
// the fullest was, and the plan is over as soon as the shares are near enough:
// once it is carried out, the next one is empty.
//
// Only workers that receive sessions take part. sessions are those that may
// move; the loads count the others too. Of those that could, the session moves
// whose user has the fewest others at the new worker and the most at the old
// one. No session moves twice.
func PlanRebalance(loads []Load, sessions []MovableSession, tolerance float64) []PlannedMove {
	b := newBalance(loads, sessions)
	var plan []PlannedMove
	for {
		m, ok := b.nextMove(tolerance)
		if !ok {
			return plan
		}
		if at := slices.IndexFunc(plan, func(p PlannedMove) bool { return p.SessionID == m.SessionID }); at >= 0 {
			m.FromWorker = plan[at].FromWorker // it goes on: at once, then
			plan = slices.Delete(plan, at, at+1)
		}
		if m.FromWorker != m.ToWorker {
			plan = append(plan, m)
		}
	}
}

// A balance is the state of a fleet while moves are planned.
type balance struct {
	order     []*workerLoad       // by share, the emptiest first
	selectors []map[string]string // the different ones; sessions with the same form a group
	users     map[userAt]int      // how many sessions a user has on a worker
}

type userAt struct{ user, worker string }

// A workerLoad is one worker of a balance.
type workerLoad struct {
	id             string
	used, capacity int
	hosts          []bool             // by group: whether it may have such sessions
	sessions       [][]MovableSession // by group
}

func newBalance(loads []Load, sessions []MovableSession) *balance {
	b := &balance{users: make(map[userAt]int)}
	groups := make(map[string]int)
	for _, s := range sessions {
		if key := selectorKey(s.Selector); groups[key] == 0 {
			b.selectors = append(b.selectors, s.Selector)
			groups[key] = len(b.selectors)
		}
		b.users[userAt{s.UserID, s.WorkerID}]++
	}
	at := make(map[string]*workerLoad, len(loads))
	for i := range loads {
		l := &loads[i]
		if l.isSchedulable() && l.Capacity > 0 {
			w := &workerLoad{id: l.WorkerID, used: max(l.Used, 0), capacity: l.Capacity, sessions: make([][]MovableSession, len(b.selectors))}
			for _, selector := range b.selectors {
				w.hosts = append(w.hosts, l.matches(selector))
			}
			at[l.WorkerID] = w
			b.order = append(b.order, w)
		}
	}
	slices.SortFunc(b.order, compareWorkerLoads)
	for _, s := range sessions {
		if w := at[s.WorkerID]; w != nil {
			g := groups[selectorKey(s.Selector)] - 1
			w.sessions[g] = append(w.sessions[g], s)
		}
	}
	return b
}

// selectorKey writes a selector as text, the same for equal ones.
func selectorKey(selector map[string]string) string {
	pairs := make([]string, 0, len(selector))
	for k, v := range selector {
		pairs = append(pairs, k+"\x00"+v+"\x00")
	}
	slices.Sort(pairs)
	key := ""
	for _, pair := range pairs {
		key += pair
	}
	return key
}

// compareShares compares how full workers are, or would be.
func compareShares(usedA, capacityA, usedB, capacityB int) int {
	return cmp.Compare(int64(usedA)*int64(capacityB), int64(usedB)*int64(capacityA))
}

func compareWorkerLoads(a, b *workerLoad) int {
	return cmp.Or(compareShares(a.used, a.capacity, b.used, b.capacity), cmp.Compare(a.id, b.id))
}

func (s *workerLoad) share() float64 { return float64(s.used) / float64(s.capacity) }

// A candidateMove is a move of any session of a group.
type candidateMove struct {
	from, to *workerLoad
	group    int
	apart    float64 // how much fuller the one is than the other
}

// nextMove finds the move between workers that are furthest apart, and makes it.
func (b *balance) nextMove(tolerance float64) (PlannedMove, bool) {
	var best candidateMove
	for _, from := range slices.Backward(b.order) {
		if widest := from.share() - b.order[0].share(); widest <= tolerance || best.from != nil && widest < best.apart {
			break // and those that follow are emptier still
		}
		for group, sessions := range from.sessions {
			if len(sessions) == 0 {
				continue
			}
			if s := b.findMove(from, group, tolerance); s.from != nil && (best.from == nil || s.compare(&best) > 0) {
				best = s
			}
		}
	}
	if best.from == nil {
		return PlannedMove{}, false
	}
	return b.applyMove(best), true
}

// compare prefers what is further apart; ties go by id, for the plan to be the
// same each time.
func (s *candidateMove) compare(other *candidateMove) int {
	return cmp.Or(
		cmp.Compare(s.apart, other.apart),
		cmp.Compare(other.from.id, s.from.id),
		cmp.Compare(other.to.id, s.to.id),
		cmp.Compare(other.group, s.group),
	)
}

// findMove finds the emptiest worker that should have a session of the group from
// another one; from is nil if there is none.
func (b *balance) findMove(from *workerLoad, group int, tolerance float64) candidateMove {
	for _, to := range b.order {
		apart := from.share() - to.share()
		if apart <= tolerance {
			break
		}
		if to.hosts[group] && to.used < to.capacity &&
			compareShares(to.used+1, to.capacity, from.used, from.capacity) < 0 &&
			compareShares(from.used-1, from.capacity, to.used, to.capacity) >= 0 {
			return candidateMove{from, to, group, apart}
		}
	}
	return candidateMove{}
}

// applyMove chooses the session and makes the move with it.
func (b *balance) applyMove(s candidateMove) PlannedMove {
	sessions := s.from.sessions[s.group]
	crowd := func(session MovableSession) int {
		return b.users[userAt{session.UserID, s.to.id}] - b.users[userAt{session.UserID, s.from.id}]
	}
	at := 0
	for i := range sessions {
		if cmp.Or(cmp.Compare(crowd(sessions[i]), crowd(sessions[at])), cmp.Compare(sessions[i].SessionID, sessions[at].SessionID)) < 0 {
			at = i
		}
	}
	session := sessions[at]
	s.from.sessions[s.group] = slices.Delete(sessions, at, at+1)
	s.to.sessions[s.group] = append(s.to.sessions[s.group], session)
	b.users[userAt{session.UserID, s.from.id}]--
	b.users[userAt{session.UserID, s.to.id}]++
	b.resize(s.from, -1)
	b.resize(s.to, +1)
	return PlannedMove{SessionID: session.SessionID, UserID: session.UserID, FromWorker: s.from.id, ToWorker: s.to.id}
}

// resize changes how much a worker has, and keeps the order.
func (b *balance) resize(s *workerLoad, n int) {
	at, _ := slices.BinarySearchFunc(b.order, s, compareWorkerLoads)
	b.order = slices.Delete(b.order, at, at+1)
	s.used += n
	at, _ = slices.BinarySearchFunc(b.order, s, compareWorkerLoads)
	b.order = slices.Insert(b.order, at, s)
}
