package domain

import (
	"iter"
	"maps"
	"math"
	"math/bits"
	"slices"
	"strconv"
	"time"
)

// Ranking is an index of the loads of a fleet for one strategy. A choice looks at a few of
// them, whatever the size of the fleet. It makes the same choice as [Explain].
//
// Callers serialize all methods with a plain lock. A reader's lock does not suffice: Choose may
// rearrange the index, so two calls of Choose conflict too.
//
// # Index
//
// Workers that no selector distinguishes and that age equally fast form a group. A group holds its
// workers in two heaps. agingHeap assumes that every heartbeat still ages. All workers then gain points
// at the same pace, so their order never changes. agedOutHeap assumes that every heartbeat is older
// than the aging window. Points then do not change at all. The true total of a worker is at least the
// smaller of the two totals. Choose walks both heaps in ascending order and stops when neither can
// contain a better worker.
//
// Time moves a worker only in two cases: its heartbeat is in the future, or its backoff lasts. The heap
// delayed holds these workers by the time when they become ready.
//
// # Decision
//
// Every connect and every move of a failover chooses a worker while other requests wait for the lock.
// The alternative is a scan of all loads. On 2 cores [Explain], which scans and explains, takes 8 ms for
// 10,000 workers. Choose with the Puts around it takes 1.1 to 1.6 µs for 10,000 workers and 2.3 to
// 2.4 µs for 100,000 (BenchmarkChoose and BenchmarkExplain).
type Ranking struct {
	strategy Strategy
	workers  map[string]*rankedWorker
	groups   []*rankGroup
	byKey    map[rankGroupKey]*rankGroup
	keys     []string   // label keys of the selectors so far; groups differ in these
	delayed  workerHeap // workers that become ready later, the soonest first
	latest   int64      // the latest time of a choice, in ms

	stateGroups map[string]*Ranking // the workers of each state group, ranked among themselves

	// Scratch space of Choose and Put.
	frontier workerHeap
	relocate []*rankedWorker
	key      []byte
}

// A rankGroup holds workers with the same labels, as far as selectors use them, and the same aging. See
// [Ranking].
type rankGroup struct {
	rankGroupKey
	labels      map[string]string // the part of the workers' labels that selectors use
	index       int               // position in Ranking.groups
	agingHeap   workerHeap        // ordered as if every heartbeat were still aging
	agedOutHeap workerHeap        // ordered as if no heartbeat aged any more
	futureHeap  workerHeap        // workers whose heartbeat is in the future and does not age yet
}

// A rankGroupKey identifies a group.
type rankGroupKey struct {
	labels string
	aging  int64
}

// A rankPlace says which heaps contain a worker.
type rankPlace uint8

const (
	placedNowhere   rankPlace = iota // no request can use the worker
	placedReady                      // in agingHeap and agedOutHeap
	placedFuture                     // in futureHeap, and in delayed until the heartbeat is no longer in the future
	placedSuspended                  // in delayed until the backoff is over
)

// A rankedWorker is a worker in the index.
type rankedWorker struct {
	rankKey
	readyAt int64 // when a delayed worker becomes ready, in ms
	place   rankPlace
	group   *rankGroup     // nil unless ready or in the future
	pos     [heapSlots]int // position in each heap
	load    Load
}

// maxSelectorKeys limits the label keys that divide workers into groups. Selectors with further keys
// get the same answer, more slowly.
const maxSelectorKeys = 8

// NewRanking returns an empty Ranking for the strategy.
func NewRanking(s Strategy) *Ranking {
	return &Ranking{
		strategy: s,
		workers:  make(map[string]*rankedWorker),
		byKey:    make(map[rankGroupKey]*rankGroup),
		delayed:  workerHeap{order: orderReadyAt, slot: slotDelayed},
		latest:   math.MinInt64,
	}
}

// Len returns the number of workers, eligible or not.
func (r *Ranking) Len() int { return len(r.workers) }

// Get returns the load of a worker as the caller put it.
func (r *Ranking) Get(workerID string) (Load, bool) {
	w, ok := r.workers[workerID]
	if !ok {
		return Load{}, false
	}
	return w.load, true
}

// All returns an iterator over every load, by id. The caller may put and remove workers during the
// iteration.
func (r *Ranking) All() iter.Seq[Load] {
	return func(yield func(Load) bool) {
		for _, id := range slices.Sorted(maps.Keys(r.workers)) {
			if w, ok := r.workers[id]; ok && !yield(w.load) {
				return
			}
		}
	}
}

// Put adds a worker or replaces its load. The Ranking keeps the labels and the breakdown without
// copying them. Nobody may change them afterwards, including callers of Get.
func (r *Ranking) Put(l Load) {
	w, ok := r.workers[l.WorkerID]
	if !ok {
		w = &rankedWorker{}
		r.workers[l.WorkerID] = w
	}
	r.putInStateGroup(w.load.StateGroup, &l)
	k := newRankKey(&l, r.strategy.Score(l))
	place := placedReady
	switch {
	case !l.isSchedulable() || l.full():
		place = placedNowhere
	case !l.SuspendedUntil.IsZero() && millis(l.SuspendedUntil) > r.latest:
		place = placedSuspended
	}
	if place == placedReady && w.place == placedReady && r.groupOf(&l, k.aging) == w.group {
		w.load, w.rankKey = l, k
		w.group.agingHeap.fix(w)
		w.group.agedOutHeap.fix(w)
		return
	}
	r.detach(w)
	w.load, w.rankKey = l, k
	r.attach(w, place)
}

// Remove removes a worker.
func (r *Ranking) Remove(workerID string) {
	if w, ok := r.workers[workerID]; ok {
		r.detach(w)
		r.putInStateGroup(w.load.StateGroup, &Load{WorkerID: workerID})
		delete(r.workers, workerID)
	}
}

// Choose returns the best worker for the request, or false if every worker is excluded. It does not
// change loads. After the reservation of the slot, the caller puts the load with one more slot used and
// ChosenAt set to now.
//
// The first request with a new label key in its selector takes longer, because Choose then groups the
// workers by that key.
func (r *Ranking) Choose(req Request, now time.Time) (workerID string, ok bool) {
	if w, ok := r.workers[req.Prefer]; ok && req.Prefer != "" && filter(&w.load, &req, now) == isEligible {
		return w.id, true
	}
	if home := r.chooseHome(&req, now); home != "" || req.Home.Only {
		return home, home != ""
	}
	at := millis(now)
	r.latest = max(r.latest, at)
	r.readyUntil(at)
	r.groupBy(req.Selector)

	c := choice{ranking: r, req: &req, now: now, at: at}
	for _, g := range r.groups {
		if g.matches(r.keys, req.Selector) {
			c.search(&g.agingHeap)
			c.search(&g.agedOutHeap)
			c.search(&g.futureHeap)
		}
	}
	for i, w := range r.relocate {
		r.relocate[i] = nil
		if w.place != placedReady {
			continue // found twice
		}
		r.detach(w)
		if w.load.suspended(now) {
			r.attach(w, placedSuspended)
		} else {
			r.attach(w, placedFuture)
		}
	}
	r.relocate = r.relocate[:0]
	if c.best == nil {
		return "", false
	}
	return c.best.id, true
}

// chooseHome returns the home of the session, or else the best worker of its state group.
func (r *Ranking) chooseHome(req *Request, now time.Time) (workerID string) {
	if req.Home.WorkerID == "" {
		return ""
	}
	home := ""
	if w, ok := r.workers[req.Home.WorkerID]; ok && filter(&w.load, req, now) == isEligible {
		home = w.id
	}
	if home != "" && !req.Home.IsLeaving {
		return home
	}
	if group := r.stateGroups[req.Home.Group]; group != nil {
		within := *req
		within.Prefer, within.Home = "", Home{}
		if id, ok := group.Choose(within, now); ok {
			return id
		}
	}
	if req.Home.Only {
		return home
	}
	return ""
}

// putInStateGroup keeps the ranking of the worker's state group. before is the former load.
func (r *Ranking) putInStateGroup(before string, l *Load) {
	if before != "" && before != l.StateGroup {
		group := r.stateGroups[before]
		group.Remove(l.WorkerID)
		if group.Len() == 0 {
			delete(r.stateGroups, before)
		}
	}
	if l.StateGroup == "" {
		return
	}
	if r.stateGroups == nil {
		r.stateGroups = make(map[string]*Ranking)
	}
	group := r.stateGroups[l.StateGroup]
	if group == nil {
		group = NewRanking(r.strategy)
		r.stateGroups[l.StateGroup] = group
	}
	member := *l
	member.StateGroup = ""
	group.Put(member)
}

// A choice is the state of one search.
type choice struct {
	ranking *Ranking
	req     *Request
	now     time.Time
	at      int64
	best    *rankedWorker
	total   int64
}

// search looks through a heap in ascending order until no better worker can follow.
func (c *choice) search(h *workerHeap) {
	if len(h.workers) == 0 {
		return
	}
	f := &c.ranking.frontier
	f.order, f.slot = h.order, slotFrontier
	f.push(h.workers[0])
	for len(f.workers) > 0 {
		w := f.workers[0]
		if c.best != nil && compare(h.lowerBound(w, c.at), &w.rankKey, c.total, &c.best.rankKey) >= 0 {
			break
		}
		f.remove(w)
		c.consider(w)
		for i := 2*w.pos[h.slot] + 1; i <= 2*w.pos[h.slot]+2 && i < len(h.workers); i++ {
			f.push(h.workers[i])
		}
	}
	clear(f.workers)
	f.workers = f.workers[:0]
}

// consider compares one worker with the best so far.
func (c *choice) consider(w *rankedWorker) {
	result := filter(&w.load, c.req, c.now)
	// Moving these workers to another heap keeps them out of the next search.
	if w.place == placedReady && (result == isSuspended || w.heartbeat > c.at) {
		c.ranking.relocate = append(c.ranking.relocate, w)
	}
	if result != isEligible {
		return
	}
	total := w.base + w.aged(c.at) + penalty(c.ranking.strategy, &w.load, c.req)
	if c.best == nil || compare(total, &w.rankKey, c.total, &c.best.rankKey) < 0 {
		c.best, c.total = w, total
	}
}

// readyUntil makes workers ready whose backoff is over or whose heartbeat is no longer in the future.
func (r *Ranking) readyUntil(at int64) {
	for len(r.delayed.workers) > 0 && r.delayed.workers[0].readyAt <= at {
		w := r.delayed.workers[0]
		r.detach(w)
		r.attach(w, placedReady)
	}
}

// attach puts a worker into the heaps of its new place.
func (r *Ranking) attach(w *rankedWorker, place rankPlace) {
	w.place = place
	switch place {
	case placedReady:
		w.group = r.groupOf(&w.load, w.aging)
		w.group.agingHeap.push(w)
		w.group.agedOutHeap.push(w)
	case placedFuture:
		w.group = r.groupOf(&w.load, w.aging)
		w.group.futureHeap.push(w)
		w.readyAt = w.heartbeat
		r.delayed.push(w)
	case placedSuspended:
		w.readyAt = millis(w.load.SuspendedUntil)
		r.delayed.push(w)
	}
}

// detach takes a worker out of its heaps, and removes an empty group.
func (r *Ranking) detach(w *rankedWorker) {
	switch w.place {
	case placedReady:
		w.group.agingHeap.remove(w)
		w.group.agedOutHeap.remove(w)
	case placedFuture:
		w.group.futureHeap.remove(w)
		r.delayed.remove(w)
	case placedSuspended:
		r.delayed.remove(w)
	}
	if g := w.group; g != nil && len(g.agingHeap.workers)+len(g.futureHeap.workers) == 0 {
		last := r.groups[len(r.groups)-1]
		r.groups[g.index], last.index = last, g.index
		r.groups = slices.Delete(r.groups, len(r.groups)-1, len(r.groups))
		delete(r.byKey, g.rankGroupKey)
	}
	w.group, w.place = nil, placedNowhere
}

// groupBy divides groups by the selector's keys from now on.
func (r *Ranking) groupBy(selector map[string]string) {
	before := len(r.keys)
	for k := range selector {
		if len(r.keys) < maxSelectorKeys && !slices.Contains(r.keys, k) {
			r.keys = append(r.keys, k)
		}
	}
	if len(r.keys) == before {
		return
	}
	r.groups = nil
	clear(r.byKey)
	for _, w := range r.workers {
		switch w.place {
		case placedReady:
			r.attach(w, placedReady)
		case placedFuture:
			w.group = r.groupOf(&w.load, w.aging)
			w.group.futureHeap.push(w)
		}
	}
}

// groupOf returns the group for a load. It adds a missing group.
func (r *Ranking) groupOf(l *Load, aging int64) *rankGroup {
	r.key = r.key[:0]
	for _, k := range r.keys {
		if v, ok := l.Labels[k]; ok {
			r.key = strconv.AppendInt(r.key, int64(len(v)), 10)
			r.key = append(append(r.key, ':'), v...)
		} else {
			r.key = append(r.key, '-')
		}
	}
	if g, ok := r.byKey[rankGroupKey{string(r.key), aging}]; ok {
		return g
	}
	g := &rankGroup{
		rankGroupKey: rankGroupKey{string(r.key), aging},
		labels:       make(map[string]string, len(r.keys)),
		index:        len(r.groups),
		agingHeap:    workerHeap{order: orderAging, slot: slotAging},
		agedOutHeap:  workerHeap{order: orderAgedOut, slot: slotAgedOut},
		futureHeap:   workerHeap{order: orderFuture, slot: slotAgedOut},
	}
	for _, k := range r.keys {
		if v, ok := l.Labels[k]; ok {
			g.labels[k] = v
		}
	}
	r.groups = append(r.groups, g)
	r.byKey[g.rankGroupKey] = g
	return g
}

// matches reports whether workers of the group can match the selector, as far as groups differ in its
// keys.
func (g *rankGroup) matches(keys []string, selector map[string]string) bool {
	for k, want := range selector {
		if got, ok := g.labels[k]; (!ok || got != want) && slices.Contains(keys, k) {
			return false
		}
	}
	return true
}

// A heapSlot is the index of a worker's position in one heap.
type heapSlot uint8

const (
	slotAging heapSlot = iota
	slotAgedOut
	slotDelayed
	slotFrontier
	heapSlots
)

// A heapOrder is the order of a heap. The first three orders end with the rules for ties and compare
// only workers that age equally fast.
type heapOrder uint8

const (
	orderAging heapOrder = iota
	orderAgedOut
	orderFuture
	orderReadyAt
)

// A workerHeap is a binary heap. Its workers know their positions, so any of them can be removed.
type workerHeap struct {
	order   heapOrder
	slot    heapSlot
	workers []*rankedWorker
}

// less reports whether a comes before b.
func (h *workerHeap) less(a, b *rankedWorker) bool {
	switch h.order {
	case orderAging:
		return compare(a.base-b.base, &a.rankKey, timesSaturating(a.aging, a.heartbeat-b.heartbeat), &b.rankKey) < 0
	case orderReadyAt:
		return a.readyAt < b.readyAt
	}
	return compare(a.base, &a.rankKey, b.base, &b.rankKey) < 0
}

// lowerBound returns the total of a worker without its penalty, if the heap's assumption about aging
// holds for the worker. In ascending order of the heap, with the rules for ties, it never decreases.
func (h *workerHeap) lowerBound(w *rankedWorker, at int64) int64 {
	switch h.order {
	case orderAging:
		return w.base + timesSaturating(w.aging, at-w.heartbeat)
	case orderAgedOut:
		return w.base + w.aging*agingWindow
	}
	return w.base
}

// push adds a worker.
func (h *workerHeap) push(w *rankedWorker) {
	h.workers = append(h.workers, w)
	w.pos[h.slot] = len(h.workers) - 1
	h.up(w)
}

// remove removes a worker.
func (h *workerHeap) remove(w *rankedWorker) {
	last := len(h.workers) - 1
	moved := h.workers[last]
	h.put(moved, w.pos[h.slot])
	h.workers[last] = nil
	h.workers = h.workers[:last]
	if moved != w {
		h.fix(moved)
	}
}

// fix restores the order after a change of w.
func (h *workerHeap) fix(w *rankedWorker) {
	if !h.up(w) {
		h.down(w)
	}
}

// put places w at position i.
func (h *workerHeap) put(w *rankedWorker, i int) {
	h.workers[i] = w
	w.pos[h.slot] = i
}

// up moves w towards the root as far as needed.
func (h *workerHeap) up(w *rankedWorker) (moved bool) {
	i := w.pos[h.slot]
	for i > 0 {
		parent := h.workers[(i-1)/2]
		if !h.less(w, parent) {
			break
		}
		h.put(parent, i)
		i = (i - 1) / 2
		moved = true
	}
	h.put(w, i)
	return moved
}

// down moves w away from the root as far as needed.
func (h *workerHeap) down(w *rankedWorker) {
	i := w.pos[h.slot]
	for {
		child := 2*i + 1
		if child >= len(h.workers) {
			break
		}
		if child+1 < len(h.workers) && h.less(h.workers[child+1], h.workers[child]) {
			child++
		}
		if !h.less(h.workers[child], w) {
			break
		}
		h.put(h.workers[child], i)
		i = child
	}
	h.put(w, i)
}

// timesSaturating multiplies and limits the result to ±2^62. That is beyond every difference of totals,
// so comparisons have the same result as with the exact product. a must not be negative.
func timesSaturating(a, b int64) int64 {
	const most = 1 << 62
	neg := b < 0
	if neg {
		b = -b
	}
	hi, lo := bits.Mul64(uint64(a), uint64(b))
	if hi != 0 || lo > most {
		lo = most
	}
	if neg {
		return -int64(lo)
	}
	return int64(lo)
}
