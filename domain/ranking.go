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

// Ranking holds the loads of a fleet in such an order that choosing a worker
// looks at only a few of them: it costs about the same for a hundred workers
// and for a hundred thousand. It makes the choice that [Explain] would.
//
// Its methods must not be called at the same time, not even Choose with
// Choose: Choose may rearrange the index. Callers hold a plain lock, not a
// reader's.
type Ranking struct {
	strategy Strategy
	workers  map[string]*rankedWorker
	groups   []*rankGroup
	byKey    map[rankGroupKey]*rankGroup
	keys     []string   // label keys that selectors have asked for; groups differ in these
	delayed  workerHeap // workers whose place changes with time, the soonest first
	latest   int64      // the latest time of a choice, in ms

	// Scratch space of Choose and Put.
	frontier workerHeap
	relocate []*rankedWorker
	key      []byte
}

// The workers that a selector cannot tell apart and that age equally fast are
// in one group. Within it the order of those heard of within the aging window
// never changes by itself, as all get worse at the same pace, and neither does
// the order of those beyond it, which get no worse. Which of the two a worker
// belongs to does change, so it is in both orders: its score is at least the
// lower of what it is in either, and Choose stops when neither can hold
// anything better.
type rankGroup struct {
	rankGroupKey
	labels      map[string]string // the part of its workers' labels that selectors ask for
	index       int               // in Ranking.groups
	agingHeap   workerHeap        // as if all were still aging
	agedOutHeap workerHeap        // as if none were
	futureHeap  workerHeap        // heartbeat in the future: not aging yet
}

type rankGroupKey struct {
	labels string
	aging  int64
}

// A rankPlace says in which heaps a worker is.
type rankPlace uint8

const (
	placedNowhere   rankPlace = iota // no request can use it
	placedReady                      // in agingHeap and agedOutHeap
	placedFuture                     // in futureHeap, and delayed until its heartbeat is no longer ahead
	placedSuspended                  // delayed until the back-off is over
)

type rankedWorker struct {
	rankKey
	wakes int64 // in ms
	place rankPlace
	group *rankGroup // if ready or in the future
	pos   [heapSlots]int
	load  Load
}

// maxSelectorKeys bounds how many label keys make groups. Selectors with
// further keys get the right answer, more slowly.
const maxSelectorKeys = 8

// NewRanking makes an empty Ranking for the strategy.
func NewRanking(s Strategy) *Ranking {
	return &Ranking{
		strategy: s,
		workers:  make(map[string]*rankedWorker),
		byKey:    make(map[rankGroupKey]*rankGroup),
		delayed:  workerHeap{order: orderWakes, slot: slotDelayed},
		latest:   math.MinInt64,
	}
}

// Len gives the number of workers, usable or not.
func (r *Ranking) Len() int { return len(r.workers) }

// Get gives the load of a worker, as it was put.
func (r *Ranking) Get(workerID string) (Load, bool) {
	w, ok := r.workers[workerID]
	if !ok {
		return Load{}, false
	}
	return w.load, true
}

// All gives every load, by id. Workers may be put and removed meanwhile.
func (r *Ranking) All() iter.Seq[Load] {
	return func(yield func(Load) bool) {
		for _, id := range slices.Sorted(maps.Keys(r.workers)) {
			if w, ok := r.workers[id]; ok && !yield(w.load) {
				return
			}
		}
	}
}

// Put adds a worker or replaces what is known of it. The Ranking keeps the
// labels and the breakdown without copying them: they must not be changed
// afterwards, here or by those who Get them.
func (r *Ranking) Put(l Load) {
	w, ok := r.workers[l.WorkerID]
	if !ok {
		w = &rankedWorker{}
		r.workers[l.WorkerID] = w
	}
	s := newRankKey(&l, r.strategy.Score(l))
	place := placedReady
	switch {
	case !l.isSchedulable() || l.full():
		place = placedNowhere
	case !l.SuspendedUntil.IsZero() && millis(l.SuspendedUntil) > r.latest:
		place = placedSuspended
	}
	if place == placedReady && w.place == placedReady && r.groupOf(&l, s.aging) == w.group {
		w.load, w.rankKey = l, s
		w.group.agingHeap.fix(w)
		w.group.agedOutHeap.fix(w)
		return
	}
	r.detach(w)
	w.load, w.rankKey = l, s
	r.attach(w, place)
}

// Remove forgets a worker.
func (r *Ranking) Remove(workerID string) {
	if w, ok := r.workers[workerID]; ok {
		r.detach(w)
		delete(r.workers, workerID)
	}
}

// Choose gives the worker that the request should go to, or false if there is
// none that may have it. The loads stay as they are: once the slot is
// reserved, the caller puts the worker's load with one more slot used and
// ChosenAt set to now.
//
// The first request with a label key in its selector that no request had
// before takes longer, as the workers are then grouped by it.
func (r *Ranking) Choose(req Request, now time.Time) (workerID string, ok bool) {
	if w, ok := r.workers[req.Prefer]; ok && req.Prefer != "" && filter(&w.load, &req, now) == isEligible {
		return w.id, true
	}
	at := millis(now)
	r.latest = max(r.latest, at)
	r.wake(at)
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
			continue // met twice
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

// A choice is the search for one worker.
type choice struct {
	ranking *Ranking
	req     *Request
	now     time.Time
	at      int64
	best    *rankedWorker
	total   int64
}

// search looks through a heap in ascending order until nothing better than
// what was found can follow.
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

func (c *choice) consider(w *rankedWorker) {
	result := filter(&w.load, c.req, c.now)
	// Putting these elsewhere keeps the next search from meeting them.
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

// wake makes workers ready whose back-off is over or whose heartbeat is no
// longer ahead.
func (r *Ranking) wake(at int64) {
	for len(r.delayed.workers) > 0 && r.delayed.workers[0].wakes <= at {
		w := r.delayed.workers[0]
		r.detach(w)
		r.attach(w, placedReady)
	}
}

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
		w.wakes = w.heartbeat
		r.delayed.push(w)
	case placedSuspended:
		w.wakes = millis(w.load.SuspendedUntil)
		r.delayed.push(w)
	}
}

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

// groupBy makes groups differ in the selector's keys from now on.
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

// groupOf finds or makes the group for a load.
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

// matches reports whether workers of the group can pass the selector, as far
// as groups differ in its keys.
func (g *rankGroup) matches(keys []string, selector map[string]string) bool {
	for k, want := range selector {
		if got, ok := g.labels[k]; (!ok || got != want) && slices.Contains(keys, k) {
			return false
		}
	}
	return true
}

// A heapSlot is where a worker remembers its position in a heap.
type heapSlot uint8

const (
	slotAging heapSlot = iota
	slotAgedOut
	slotDelayed
	slotFrontier
	heapSlots
)

// A heapOrder says what a heap is sorted by. The first three end with the
// rules for ties and compare only workers that age equally fast.
type heapOrder uint8

const (
	orderAging heapOrder = iota
	orderAgedOut
	orderFuture
	orderWakes
)

// A workerHeap is a binary heap of workers that know their positions.
type workerHeap struct {
	order   heapOrder
	slot    heapSlot
	workers []*rankedWorker
}

func (h *workerHeap) less(a, b *rankedWorker) bool {
	switch h.order {
	case orderAging:
		return compare(a.base-b.base, &a.rankKey, timesSaturating(a.aging, a.heartbeat-b.heartbeat), &b.rankKey) < 0
	case orderWakes:
		return a.wakes < b.wakes
	}
	return compare(a.base, &a.rankKey, b.base, &b.rankKey) < 0
}

// lowerBound gives the total, without penalty, that a worker in this heap has if
// the heap is the one that tells for it. With the rules for ties, it never
// decreases from one worker to the next.
func (h *workerHeap) lowerBound(w *rankedWorker, at int64) int64 {
	switch h.order {
	case orderAging:
		return w.base + timesSaturating(w.aging, at-w.heartbeat)
	case orderAgedOut:
		return w.base + w.aging*agingWindow
	}
	return w.base
}

func (h *workerHeap) push(w *rankedWorker) {
	h.workers = append(h.workers, w)
	w.pos[h.slot] = len(h.workers) - 1
	h.up(w)
}

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

// fix restores the order after w has changed.
func (h *workerHeap) fix(w *rankedWorker) {
	if !h.up(w) {
		h.down(w)
	}
}

func (h *workerHeap) put(w *rankedWorker, i int) {
	h.workers[i] = w
	w.pos[h.slot] = i
}

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

// timesSaturating multiplies, holding the result within ±2^62: beyond any
// difference between totals, so comparisons with those come out as they would
// with the exact product. a is not negative.
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
