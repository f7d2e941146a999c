package domain

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// Load is the state of a worker as far as placement needs it.
type Load struct {
	WorkerID       string
	Status         WorkerStatus
	Used, Capacity int               // slots reserved in the store, and the maximum
	Breakdown      *Breakdown        // the worker's own count of its sessions; nil if unknown
	CPU, Memory    float64           // percent in use; NaN or negative if unknown
	HeartbeatAt    time.Time         // when the latest heartbeat arrived; zero: never
	ChosenAt       time.Time         // when placement last chose the worker; zero: never
	Labels         map[string]string // selectors match these
	StateGroup     string            // workers with the same group share credentials; empty: none
	SuspendedUntil time.Time         // end of the backoff after repeated failures; zero: none
	Suspect        string            // why the worker failed its canary period; empty: it did not
}

// isSchedulable reports whether the worker may receive sessions at all.
func (l *Load) isSchedulable() bool { return l.Status == WorkerOnline && l.Suspect == "" }

// full reports whether no slot is free.
func (l *Load) full() bool { return max(l.Used, 0) >= l.Capacity }

// matches reports whether the worker has every label of a selector.
func (l *Load) matches(selector map[string]string) bool {
	for k, want := range selector {
		if got, ok := l.Labels[k]; !ok || got != want {
			return false
		}
	}
	return true
}

// suspended reports whether the backoff lasts, by the wall clock.
func (l *Load) suspended(now time.Time) bool {
	return !l.SuspendedUntil.IsZero() && l.SuspendedUntil.Round(0).After(now.Round(0))
}

// Request is a session to be placed. The zero value fits every worker.
type Request struct {
	Selector    map[string]string // labels that the worker must have: a tier bound to a pool
	Avoid       []string          // workers on which the session failed a moment ago, or that a cleanup of it blocks
	AvoidGroups []string          // state groups with credentials of the session that have yet to be wiped
	Prefer      string            // the target of a migration: chosen whatever its score, if no filter excludes it
	Home        Home              // the home of a linked session: chosen next, then a worker of its state group
	UserWorkers map[string]int    // the number of active sessions of the same user on each worker, for [Spread]
	Moved       bool              // the session comes from another worker: [MultiFactor] uses UserWorkers too
}

// Home says where the credentials of a session are. The zero value is a session without credentials.
type Home struct {
	WorkerID  string
	Group     string // workers of this state group have the credentials too; empty: no other worker has
	Only      bool   // workers without the credentials are excluded: a start there would ask for a scan
	IsLeaving bool   // a migration takes the session off its home, which is not preferred to others
}

// Has reports whether the worker has the credentials.
func (h *Home) Has(l *Load) bool {
	return h.WorkerID != "" && l.WorkerID == h.WorkerID || h.shares(l)
}

// shares reports whether the worker is of the home's state group.
func (h *Home) shares(l *Load) bool {
	return h.WorkerID != "" && h.Group != "" && l.StateGroup == h.Group
}

// Factor is one part of a score.
type Factor struct {
	Name   string  `json:"name"`
	Points float64 `json:"points"`
}

// Score is a [Strategy]'s rating of a worker. Placement chooses the worker with the fewest points.
//
// Points count to a millionth. A value that is not finite counts as the worst possible value. Every
// value is limited to ±10 million points, so no strategy can break the order. TieBreak orders workers
// with equal points, then fewer sessions, then the least recent choice, then the id.
type Score struct {
	Factors  []Factor
	Aging    float64 // points that grow with the age of the heartbeat: none at 0, all from 60 s on; never negative
	TieBreak int64   // the order of workers with equal points: the lowest first
}

// Strategy scores workers. The score depends on the load only: a [Ranking] calls Score once for each
// load.
//
// A custom strategy is a type with these two methods. Filters, ties, explanations and the index work
// with every strategy. A penalty that depends on the request needs a [Penalizer].
type Strategy interface {
	Name() string
	Score(Load) Score
}

// Penalizer is a Strategy that also adds points to particular workers for a particular request.
// Explanations show these points under the strategy's name. A negative penalty counts as zero. A choice
// stays cheap while few workers have a penalty.
type Penalizer interface {
	Strategy
	Penalty(Load, Request) float64
}

// Candidate is the part of an explanation about one worker.
type Candidate struct {
	WorkerID string   `json:"workerId"`
	Score    float64  `json:"score"`             // lower is better
	Factors  []Factor `json:"factors,omitempty"` // the parts of the score; none if excluded
	Excluded string   `json:"excluded,omitempty"`
}

// Explain places the request on one of the loads and returns the reasons. all lists the eligible
// workers with their points, the best first, then the excluded workers by id with the reason. A
// preferred worker comes first unless a filter excludes it, then the home, then its state group. chosen
// is empty if every worker is excluded.
//
// Explain looks at every load. [Ranking.Choose] makes the same choice with less work.
func Explain(loads []Load, req Request, s Strategy, now time.Time) (chosen string, all []Candidate) {
	type ranked struct {
		Candidate
		rankKey
		class placementClass
		total int64
	}
	at := millis(now)
	ranks := make([]ranked, 0, len(loads))
	for i := range loads {
		l := &loads[i]
		if f := filter(l, &req, now); f != isEligible {
			ranks = append(ranks, ranked{
				Candidate: Candidate{WorkerID: l.WorkerID, Excluded: f.reason(l, &req)},
				rankKey:   rankKey{id: l.WorkerID},
				class:     classExcluded,
			})
			continue
		}
		sc := s.Score(*l)
		r := ranked{rankKey: newRankKey(l, sc), class: classEligible}
		switch {
		case req.Prefer != "" && l.WorkerID == req.Prefer:
			r.class = classPreferred
		case req.Home.WorkerID != "" && l.WorkerID == req.Home.WorkerID && !req.Home.IsLeaving:
			r.class = classHome
		case req.Home.shares(l):
			r.class = classGroup
		}
		aged, penalty := r.aged(at), penalty(s, l, &req)
		r.total = r.base + aged + penalty
		r.Candidate = Candidate{WorkerID: l.WorkerID, Score: points(r.total)}
		for _, f := range sc.Factors {
			r.Factors = append(r.Factors, Factor{f.Name, points(micros(f.Points) * agingWindow)})
		}
		if r.aging > 0 {
			r.Factors = append(r.Factors, Factor{"stability", points(aged)})
		}
		if penalty > 0 {
			r.Factors = append(r.Factors, Factor{s.Name(), points(penalty)})
		}
		ranks = append(ranks, r)
	}
	slices.SortFunc(ranks, func(a, b ranked) int {
		return cmp.Or(
			cmp.Compare(a.class, b.class),
			compare(a.total, &a.rankKey, b.total, &b.rankKey),
		)
	})
	all = make([]Candidate, len(ranks))
	for i := range ranks {
		all[i] = ranks[i].Candidate
	}
	if len(ranks) > 0 && ranks[0].class != classExcluded {
		chosen = ranks[0].WorkerID
	}
	return chosen, all
}

// A placementClass orders candidates before their scores do.
type placementClass uint8

const (
	classPreferred placementClass = iota
	classHome
	classGroup
	classEligible
	classExcluded
)

// A filterResult is the reason why a worker cannot receive a session, or isEligible.
type filterResult uint8

const (
	isEligible filterResult = iota
	isOffline
	isInMaintenance
	isFull
	lacksLabel
	isAvoided
	isSuspended
	isSuspect
	lacksCredentials
)

// filter returns the first reason that excludes the worker. It ignores scores.
func filter(l *Load, req *Request, now time.Time) filterResult {
	switch {
	case l.Status == WorkerMaintenance:
		return isInMaintenance
	case l.Status != WorkerOnline:
		return isOffline
	case l.Suspect != "":
		return isSuspect
	case l.full():
		return isFull
	case !l.matches(req.Selector):
		return lacksLabel
	case req.Home.Only && !req.Home.Has(l):
		return lacksCredentials
	}
	if slices.Contains(req.Avoid, l.WorkerID) || l.StateGroup != "" && slices.Contains(req.AvoidGroups, l.StateGroup) {
		return isAvoided
	}
	if l.suspended(now) {
		return isSuspended
	}
	return isEligible
}

// reason returns the result in words.
func (f filterResult) reason(l *Load, req *Request) string {
	switch f {
	case isEligible:
		return ""
	case isInMaintenance:
		return "maintenance"
	case isFull:
		return "full"
	case isSuspect:
		return "suspect: " + l.Suspect
	case lacksLabel:
		var missing []string
		for k, want := range req.Selector {
			if got, ok := l.Labels[k]; !ok || got != want {
				missing = append(missing, k+"="+want)
			}
		}
		return "label " + slices.Min(missing) + " missing"
	case lacksCredentials:
		return "does not have the session's credentials"
	case isAvoided:
		return "session just failed here"
	case isSuspended:
		return "suspended after failures until " + l.SuspendedUntil.UTC().Format(time.RFC3339)
	}
	return "offline"
}

// Scores are compared as integers, so every computation yields the same order. Points are converted to
// millionths and multiplied by the length of the aging window in milliseconds. One millisecond of age
// then adds exactly the aging points, without rounding.
const (
	agingWindow = 60_000             // ms; older heartbeats cost no more points
	maxMicros   = 10_000_000_000_000 // 10 million points; the total of three such parts stays far within int64
)

// micros converts points to millionths within ±maxMicros.
func micros(points float64) int64 {
	switch v := math.Round(points * 1e6); {
	case math.IsNaN(v), math.IsInf(points, 0), v > maxMicros:
		return maxMicros
	case v < -maxMicros:
		return -maxMicros
	default:
		return int64(v)
	}
}

// points converts a total back to points.
func points(total int64) float64 {
	return math.Round(float64(total)/agingWindow) / 1e6
}

// millis returns a wall time in milliseconds, limited to 30 000 years before and after 1970.
// Differences of two such times cannot overflow.
func millis(t time.Time) int64 {
	const most = 1_000_000_000_000
	sec := min(max(t.Unix(), -most), most)
	return sec*1000 + int64(t.Nanosecond()/1_000_000)
}

// A rankKey holds everything that the order of workers depends on, for one load.
type rankKey struct {
	base      int64 // points that do not age, in millionths · agingWindow
	aging     int64 // points of a heartbeat as old as the window, in millionths
	heartbeat int64 // in ms
	tieBreak  int64
	used      int
	chosen    int64 // in µs
	id        string
}

// newRankKey returns the rank key of a load with its score.
func newRankKey(l *Load, sc Score) rankKey {
	var base int64
	for _, f := range sc.Factors {
		base = min(max(base+micros(f.Points), -maxMicros), maxMicros)
	}
	return rankKey{
		base:      base * agingWindow,
		aging:     max(micros(sc.Aging), 0),
		heartbeat: millis(l.HeartbeatAt),
		tieBreak:  sc.TieBreak,
		used:      max(l.Used, 0),
		chosen:    l.ChosenAt.UnixMicro(), // a worker that was never chosen has the year 1 and comes first
		id:        l.WorkerID,
	}
}

// aged returns the points for the age of the heartbeat. A heartbeat from the future, by a clock that is
// ahead, counts as one of age zero.
func (k *rankKey) aged(at int64) int64 {
	return k.aging * min(max(at-k.heartbeat, 0), agingWindow)
}

// penalty returns the strategy's penalty of the worker for this request.
func penalty(s Strategy, l *Load, req *Request) int64 {
	if p, ok := s.(Penalizer); ok {
		return max(micros(p.Penalty(*l, *req)), 0) * agingWindow
	}
	return 0
}

// compare orders two workers by their totals and then by the rules for ties.
func compare(totalA int64, a *rankKey, totalB int64, b *rankKey) int {
	switch {
	case totalA != totalB:
		return cmp.Compare(totalA, totalB)
	case a.tieBreak != b.tieBreak:
		return cmp.Compare(a.tieBreak, b.tieBreak)
	case a.used != b.used:
		return cmp.Compare(a.used, b.used)
	case a.chosen != b.chosen:
		return cmp.Compare(a.chosen, b.chosen)
	}
	return cmp.Compare(a.id, b.id)
}
