package domain

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// Load is what placement knows of a worker.
type Load struct {
	WorkerID       string
	Status         WorkerStatus
	Used, Capacity int               // slots reserved in the store, and the most there may be
	Breakdown      *Breakdown        // the worker's own count of its sessions; nil if unknown
	CPU, Memory    float64           // percent; NaN or negative if unknown
	HeartbeatAt    time.Time         // when it was last heard of; zero: never
	ChosenAt       time.Time         // when placement last chose it; zero: never
	Labels         map[string]string // what a selector is matched with
	SuspendedUntil time.Time         // back-off after repeated failures; zero: none
	Suspect        string            // why it receives nothing since its canary period; empty: it does
}

// isSchedulable reports whether the worker is one that sessions are given to at all.
func (l *Load) isSchedulable() bool { return l.Status == WorkerOnline && l.Suspect == "" }

// full reports whether no slot is free.
func (l *Load) full() bool { return max(l.Used, 0) >= l.Capacity }

// matches reports whether the worker has every label that a selector asks for.
func (l *Load) matches(selector map[string]string) bool {
	for k, want := range selector {
		if got, ok := l.Labels[k]; !ok || got != want {
			return false
		}
	}
	return true
}

// suspended reports whether the back-off lasts, by the wall clock.
func (l *Load) suspended(now time.Time) bool {
	return !l.SuspendedUntil.IsZero() && l.SuspendedUntil.Round(0).After(now.Round(0))
}

// Request is what is to be placed. The zero value can go to any worker.
type Request struct {
	Selector    map[string]string // labels the worker must have: a tier bound to a pool
	Avoid       []string          // workers the session just failed on
	Prefer      string            // the worker that holds its credentials: taken, whatever its score, if it passes the filters
	UserWorkers map[string]int    // how many live sessions of the same user each worker has, for [Spread]
	Moved       bool              // it comes from another worker: [MultiFactor] heeds UserWorkers too
}

// Factor is one part of a score.
type Factor struct {
	Name   string  `json:"name"`
	Points float64 `json:"points"`
}

// Score is what a [Strategy] thinks of a worker; the worker with the fewest
// points is chosen.
//
// Points count to a millionth. A figure that is not finite counts as the worst
// there is, and everything is held within ±10 million points, so that no
// strategy can break the order. Workers with equal points are told apart by
// TieBreak, then by fewer sessions, then by the one chosen least recently, then by
// id.
type Score struct {
	Factors  []Factor
	Aging    float64 // points that grow with the age of the heartbeat: none at 0, all of them from 60 s on; never negative
	TieBreak int64   // who goes first among workers with equal points: the lowest
}

// Strategy says how good a worker is. Score depends on nothing but the load:
// a [Ranking] asks once for each load it is given.
//
// A strategy of one's own is a type with these two methods; filters, ties,
// explanations and the index come with it. If the penalty depends on the
// request too, see [Penalizer].
type Strategy interface {
	Name() string
	Score(Load) Score
}

// Penalizer is a Strategy that holds something against particular workers for
// a particular request. The points come on top of the score and are shown
// under the strategy's name; less than none counts as none. A choice stays
// cheap as long as few workers have a penalty.
type Penalizer interface {
	Strategy
	Penalty(Load, Request) float64
}

// Candidate is the part of an explanation that is about one worker.
type Candidate struct {
	WorkerID string   `json:"workerId"`
	Score    float64  `json:"score"`             // lower is better
	Factors  []Factor `json:"factors,omitempty"` // what the score is made of; none if excluded
	Excluded string   `json:"excluded,omitempty"`
}

// Explain places the request on one of the loads, and says why: every worker
// with its points, best first, and then, by id, those that a filter excluded,
// with the reason. A preferred worker that passes the filters comes first.
// chosen is empty if every worker is excluded.
//
// It looks at every load. [Ranking.Choose] makes the same choice without.
func Explain(loads []Load, req Request, s Strategy, now time.Time) (chosen string, all []Candidate) {
	type ranked struct {
		Candidate
		rankKey
		excluded, other bool
		total           int64
	}
	at := millis(now)
	ranks := make([]ranked, 0, len(loads))
	for i := range loads {
		l := &loads[i]
		if f := filter(l, &req, now); f != isEligible {
			ranks = append(ranks, ranked{
				Candidate: Candidate{WorkerID: l.WorkerID, Excluded: f.reason(l, &req)},
				rankKey:   rankKey{id: l.WorkerID},
				excluded:  true,
			})
			continue
		}
		sc := s.Score(*l)
		r := ranked{rankKey: newRankKey(l, sc), other: req.Prefer == "" || l.WorkerID != req.Prefer}
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
			falseFirst(a.excluded, b.excluded),
			falseFirst(a.other, b.other),
			compare(a.total, &a.rankKey, b.total, &b.rankKey),
		)
	})
	all = make([]Candidate, len(ranks))
	for i := range ranks {
		all[i] = ranks[i].Candidate
	}
	if len(ranks) > 0 && !ranks[0].excluded {
		chosen = ranks[0].WorkerID
	}
	return chosen, all
}

func falseFirst(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// A filterResult says why a worker cannot have a session, or that it can.
type filterResult uint8

const (
	isEligible filterResult = iota
	isOffline
	isMaintained
	isFull
	lacksLabel
	isAvoided
	isSuspended
	isSuspect
)

// filter comes before any score.
func filter(l *Load, req *Request, now time.Time) filterResult {
	switch {
	case l.Status == WorkerMaintenance:
		return isMaintained
	case l.Status != WorkerOnline:
		return isOffline
	case l.Suspect != "":
		return isSuspect
	case l.full():
		return isFull
	case !l.matches(req.Selector):
		return lacksLabel
	}
	if slices.Contains(req.Avoid, l.WorkerID) {
		return isAvoided
	}
	if l.suspended(now) {
		return isSuspended
	}
	return isEligible
}

// reason gives the result in words.
func (f filterResult) reason(l *Load, req *Request) string {
	switch f {
	case isEligible:
		return ""
	case isMaintained:
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
	case isAvoided:
		return "session just failed here"
	case isSuspended:
		return "suspended after failures until " + l.SuspendedUntil.UTC().Format(time.RFC3339)
	}
	return "offline"
}

// Scores are compared as integers, so that the order is the same however it is
// arrived at. Points become millionths, and these are multiplied by the length
// of the aging window in milliseconds: then one millisecond of age adds
// exactly aging, with nothing to round.
const (
	agingWindow = 60_000             // ms; from this age on a heartbeat is as bad as it gets
	maxMicros   = 10_000_000_000_000 // 10 million points; a total of three such parts stays far within int64
)

// micros turns points into millionths, holding absurd figures within bounds.
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

// points turns a total back into points.
func points(total int64) float64 {
	return math.Round(float64(total)/agingWindow) / 1e6
}

// millis gives a time of the wall clock in milliseconds, held within the next
// and the last 30 000 years, so that differences cannot overflow.
func millis(t time.Time) int64 {
	const most = 1_000_000_000_000
	sec := min(max(t.Unix(), -most), most)
	return sec*1000 + int64(t.Nanosecond()/1_000_000)
}

// A rankKey is all that the order of workers depends on, for one load.
type rankKey struct {
	base      int64 // points that do not age, in millionths · agingWindow
	aging     int64 // points of a heartbeat as old as the window, in millionths
	heartbeat int64 // in ms
	tieBreak  int64
	used      int
	chosen    int64 // in µs
	id        string
}

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
		chosen:    l.ChosenAt.UnixMicro(), // never chosen is the year 1: first
		id:        l.WorkerID,
	}
}

// aged gives the points for the age of the heartbeat. One from the future, by
// a clock that is ahead, is as good as one of this moment, and no better.
func (s *rankKey) aged(at int64) int64 {
	return s.aging * min(max(at-s.heartbeat, 0), agingWindow)
}

// penalty gives what the strategy holds against the worker for this request.
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
