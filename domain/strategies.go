package domain

import "math"

// Weights holds the maximum points of each factor of [MultiFactor]. Authentication is the points for
// each session that waits for a scan of its QR. A weight of 0 disables its factor. If all weights are
// 0, the defaults apply.
type Weights struct {
	Capacity, Health, Resources, Stability, Authentication float64
}

// DefaultWeights returns the weights of the placement rules.
func DefaultWeights() Weights {
	return Weights{Capacity: 100, Health: 50, Resources: 50, Stability: 25, Authentication: 2}
}

// Validate reports every weight that is negative or not finite.
func (w Weights) Validate() error {
	var p Problems
	for _, f := range []Factor{
		{"capacity", w.Capacity}, {"health", w.Health}, {"resources", w.Resources},
		{"stability", w.Stability}, {"authentication", w.Authentication},
	} {
		if !(f.Points >= 0) || math.IsInf(f.Points, 0) {
			p.Add(f.Name, "the weight of %s must be a number that is not negative", f.Name)
		}
	}
	return p.Err()
}

// MultiFactor scores how full a worker is, the state of its sessions and the load of its machine. It
// also scores the age of its heartbeat and its sessions that wait for a scan. It is the default
// strategy. The zero value has the default weights.
//
// The number of sessions comes from the slots reserved in the store. The worker's own breakdown counts
// up to that number. Unknown CPU or memory (NaN or negative) counts as half used, so silence never
// scores better than an honest low figure. Without a breakdown only capacity, resources and stability
// count. A session that moves also avoids workers with other sessions of its user.
type MultiFactor struct{ Weights Weights }

// Name returns "multi-factor".
func (MultiFactor) Name() string { return "multi-factor" }

// Score returns the factors capacity, resources, health and authentication, and ages by the weight of
// stability.
func (m MultiFactor) Score(l Load) Score {
	w := m.Weights
	if w == (Weights{}) {
		w = DefaultWeights()
	}
	n := max(l.Used, 0)
	full := 1.0
	if n < l.Capacity {
		full = float64(n) / float64(l.Capacity)
	}
	factors := make([]Factor, 2, 4)
	factors[0] = Factor{"capacity", full * w.Capacity}
	factors[1] = Factor{"resources", (percent(l.CPU) + percent(l.Memory)) / 200 * w.Resources}
	if b := l.Breakdown; b != nil {
		some := max(n, 1)
		unhealthy := min(clampCount(b.Error, some)+clampCount(b.Reconnecting, some), float64(some))
		factors = append(factors,
			Factor{"health", unhealthy / float64(some) * w.Health},
			Factor{"authentication", clampCount(b.QRRequired, n) * w.Authentication},
		)
	}
	return Score{Factors: factors, Aging: w.Stability}
}

// Penalty separates a session that moves from other sessions of its user, among workers with similar
// scores.
func (m MultiFactor) Penalty(l Load, req Request) float64 {
	if !req.Moved {
		return 0
	}
	return float64(max(req.UserWorkers[l.WorkerID], 0)) * sameUserPenalty
}

// sameUserPenalty is the points for each other session of the same user.
const sameUserPenalty = 10

// percent limits a percentage to 0 to 100. An unknown one counts as 50.
func percent(p float64) float64 {
	if !(p >= 0) {
		return 50
	}
	return min(p, 100)
}

// clampCount limits a count to 0 to most.
func clampCount(count, most int) float64 { return float64(min(max(count, 0), most)) }

// LeastSessions chooses the worker with the fewest sessions, whatever its capacity.
type LeastSessions struct{}

// Name returns "least-sessions".
func (LeastSessions) Name() string { return "least-sessions" }

// Score counts the sessions.
func (LeastSessions) Score(l Load) Score {
	return Score{Factors: []Factor{{"sessions", float64(max(l.Used, 0))}}}
}

// RoundRobin chooses the worker with the least recent choice. All workers have the same score, so the
// tie-break decides.
type RoundRobin struct{}

// Name returns "round-robin".
func (RoundRobin) Name() string { return "round-robin" }

// Score returns no factors.
func (RoundRobin) Score(l Load) Score { return Score{TieBreak: l.ChosenAt.UnixMicro()} }

// Spread distributes a user's sessions over workers, so the loss of one worker takes down only some of
// them. It adds points for each active session of the same user to the score of another strategy.
type Spread struct {
	Base   Strategy // nil: MultiFactor
	Points float64  // for each session; 0: 100, as many as a full worker costs
}

// Name returns "spread".
func (Spread) Name() string { return "spread" }

// Score returns the score of the base.
func (s Spread) Score(l Load) Score { return s.base().Score(l) }

// Penalty counts the user's sessions on the worker and adds the penalty of the base.
func (s Spread) Penalty(l Load, req Request) float64 {
	each := s.Points
	if each == 0 {
		each = 100
	}
	total := float64(max(req.UserWorkers[l.WorkerID], 0)) * each
	if b, ok := s.base().(Penalizer); ok {
		total += max(b.Penalty(l, req), 0)
	}
	return total
}

// base returns the strategy to which the penalty is added.
func (s Spread) base() Strategy {
	if s.Base == nil {
		return MultiFactor{}
	}
	return s.Base
}
