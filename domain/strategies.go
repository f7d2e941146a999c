package domain

import "math"

// Weights are the most points that each factor of [MultiFactor] can add, and
// for Authentication the points of one session that waits for its QR code to
// be scanned. A weight of 0 switches its factor off; if all are 0, the
// defaults hold.
type Weights struct {
	Capacity, Health, Resources, Stability, Authentication float64
}

// DefaultWeights are those of the placement rules.
func DefaultWeights() Weights {
	return Weights{Capacity: 100, Health: 50, Resources: 50, Stability: 25, Authentication: 2}
}

// Validate lists every weight that is negative or not a number.
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

// MultiFactor weighs how full a worker is, how well its sessions are, how busy
// the machine is, how long ago it was heard of, and how many sessions wait for
// a QR code there. It is the strategy to use unless there is a reason for
// another. The zero value has the default weights.
//
// How many sessions a worker has is taken from the slots reserved in the
// store, and what it says of itself is held within that. CPU or memory that
// is not known (NaN or negative) counts as half used, so that silence is never
// better than an honest low figure. Without a breakdown, capacity, resources
// and stability count. Of a session that is being moved it also heeds where its
// user has others.
type MultiFactor struct{ Weights Weights }

// Name is "multi-factor".
func (MultiFactor) Name() string { return "multi-factor" }

// Score has the factors capacity, resources, health and authentication, and
// ages by the weight of stability.
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
		ill := min(clampCount(b.Error, some)+clampCount(b.Reconnecting, some), float64(some))
		factors = append(factors,
			Factor{"health", ill / float64(some) * w.Health},
			Factor{"authentication", clampCount(b.QRRequired, n) * w.Authentication},
		)
	}
	return Score{Factors: factors, Aging: w.Stability}
}

// Penalty keeps sessions that come from another worker apart from others of
// the same user, among workers that are about as good.
func (m MultiFactor) Penalty(l Load, req Request) float64 {
	if !req.Moved {
		return 0
	}
	return float64(max(req.UserWorkers[l.WorkerID], 0)) * sameUserPenalty
}

// sameUserPenalty is how many points one more session of the same user costs.
const sameUserPenalty = 10

// percent holds a percentage within 0 to 100; what is not known counts as 50.
func percent(p float64) float64 {
	if !(p >= 0) {
		return 50
	}
	return min(p, 100)
}

// clampCount holds a count between 0 and most.
func clampCount(count, most int) float64 { return float64(min(max(count, 0), most)) }

// LeastSessions chooses the worker with the fewest sessions, however many it
// could have.
type LeastSessions struct{}

// Name is "least-sessions".
func (LeastSessions) Name() string { return "least-sessions" }

// Score counts the sessions.
func (LeastSessions) Score(l Load) Score {
	return Score{Factors: []Factor{{"sessions", float64(max(l.Used, 0))}}}
}

// RoundRobin chooses the worker that was chosen least recently. All workers
// have the same score; the tie-break decides.
type RoundRobin struct{}

// Name is "round-robin".
func (RoundRobin) Name() string { return "round-robin" }

// Score has no factors.
func (RoundRobin) Score(l Load) Score { return Score{TieBreak: l.ChosenAt.UnixMicro()} }

// Spread keeps a user's sessions on different workers, so that the loss of one
// takes only some of them down. It adds points for each live session of the
// same user to what another strategy says.
type Spread struct {
	Base   Strategy // nil: MultiFactor
	Points float64  // for each session; 0: 100, as much as a full worker has
}

// Name is "spread".
func (Spread) Name() string { return "spread" }

// Score is that of the base.
func (s Spread) Score(l Load) Score { return s.base().Score(l) }

// Penalty counts the user's sessions there, and adds what the base holds
// against the worker.
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

func (s Spread) base() Strategy {
	if s.Base == nil {
		return MultiFactor{}
	}
	return s.Base
}
