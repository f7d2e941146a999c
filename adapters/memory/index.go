package memory

import (
	"container/heap"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/switchyard-wa/switchyard/ports"
)

// list is a sorted slice of rows. Rows that arrive in order, as they nearly
// always do by age, cost no search and no moving.
type list[R comparable] []R

// add puts the row in its place. compare must be a total order.
func (l *list[R]) add(r R, compare func(a, b R) int) {
	if n := len(*l); n == 0 || compare((*l)[n-1], r) < 0 {
		*l = append(*l, r)
		return
	}
	i, _ := slices.BinarySearchFunc(*l, r, compare)
	*l = slices.Insert(*l, i, r)
}

// remove takes the row out. What it is sorted by must not have changed.
func (l *list[R]) remove(r R, compare func(a, b R) int) {
	n := len(*l)
	if n > 0 && (*l)[n-1] == r {
		var none R
		(*l)[n-1] = none
		*l = (*l)[:n-1]
		return
	}
	if i, found := slices.BinarySearchFunc(*l, r, compare); found {
		*l = slices.Delete(*l, i, i+1)
	}
}

// addTo and removeFrom keep a map of lists without empty ones.
func addTo[R comparable](m map[string]*list[R], key string, r R, compare func(a, b R) int) {
	l := m[key]
	if l == nil {
		l = new(list[R])
		m[key] = l
	}
	l.add(r, compare)
}

func removeFrom[R comparable](m map[string]*list[R], key string, r R, compare func(a, b R) int) {
	l := m[key]
	if l.remove(r, compare); len(*l) == 0 {
		delete(m, key)
	}
}

// listed returns copies of one list, in its order.
func listed[R comparable, V any](m map[string]*list[R], key string, clone func(R) V) []V {
	l := m[key]
	if l == nil {
		return nil
	}
	return copies(*l, clone)
}

// queued is a row that a queue can hold.
type queued[R any] interface {
	comparable
	before(R) bool // a total order
	place() *int32 // kept by the queue: 0 while the row is in none
}

// queue is a heap of rows that know their place in it.
type queue[R queued[R]] []R

func (q *queue[R]) add(r R) { heap.Push(q, r) }

// remove takes the row out, if it is in.
func (q *queue[R]) remove(r R) {
	if at := *r.place(); at > 0 {
		heap.Remove(q, int(at-1))
	}
}

// first returns the rows for which within holds, in order and at most limit of
// them, or all if limit is not positive. within must hold for every row before
// one for which it holds. It looks at about twice as many rows as it returns.
func (q queue[R]) first(limit int, within func(R) bool) []R {
	if limit <= 0 {
		limit = math.MaxInt
	}
	var rows []R
	// Only the children of a row that was taken can be next.
	next := frontier[R]{q: q}
	if len(q) > 0 {
		next.at = append(next.at, 0)
	}
	for len(next.at) > 0 && len(rows) < limit {
		i := next.at[0]
		if !within(q[i]) {
			break
		}
		rows = append(rows, q[i])
		heap.Pop(&next)
		for child := 2*i + 1; child <= 2*i+2 && child < len(q); child++ {
			heap.Push(&next, child)
		}
	}
	return rows
}

// Len, Less, Swap, Push and Pop are for package heap.
func (q queue[R]) Len() int           { return len(q) }
func (q queue[R]) Less(i, j int) bool { return q[i].before(q[j]) }
func (q queue[R]) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	*q[i].place(), *q[j].place() = int32(i+1), int32(j+1)
}

func (q *queue[R]) Push(x any) {
	r := x.(R)
	*q = append(*q, r)
	*r.place() = int32(len(*q))
}

func (q *queue[R]) Pop() any {
	n := len(*q) - 1
	r := (*q)[n]
	var none R
	(*q)[n] = none
	*q = (*q)[:n]
	*r.place() = 0
	return r
}

// frontier is a heap of places in a queue.
type frontier[R queued[R]] struct {
	q  queue[R]
	at []int
}

func (f *frontier[R]) Len() int           { return len(f.at) }
func (f *frontier[R]) Less(i, j int) bool { return f.q[f.at[i]].before(f.q[f.at[j]]) }
func (f *frontier[R]) Swap(i, j int)      { f.at[i], f.at[j] = f.at[j], f.at[i] }
func (f *frontier[R]) Push(x any)         { f.at = append(f.at, x.(int)) }
func (f *frontier[R]) Pop() any {
	n := len(f.at) - 1
	i := f.at[n]
	f.at = f.at[:n]
	return i
}

// page cuts a part out of what a list found.
func page[R any](rows []R, p ports.Page) []R {
	rows = rows[min(max(p.Offset, 0), len(rows)):]
	if p.Limit > 0 {
		rows = rows[:min(p.Limit, len(rows))]
	}
	return rows
}

// latest returns a page of a whole list, latest first, without a look at the
// rest.
func latest[R comparable, V any](l list[R], p ports.Page, clone func(R) V) []V {
	end := len(l) - min(max(p.Offset, 0), len(l))
	start := 0
	if p.Limit > 0 {
		start = max(end-p.Limit, 0)
	}
	values := copies(l[start:end], clone)
	slices.Reverse(values)
	return values
}

// newest returns the rows that match, latest first, and leaves the list alone.
func newest[R comparable](l list[R], match func(R) bool) []R {
	var rows []R
	for _, r := range slices.Backward(l) {
		if match(r) {
			rows = append(rows, r)
		}
	}
	return rows
}

// copies turns rows into what the caller may keep.
func copies[R, V any](rows []R, clone func(R) V) []V {
	if len(rows) == 0 {
		return nil
	}
	values := make([]V, len(rows))
	for i, r := range rows {
		values[i] = clone(r)
	}
	return values
}

// searchTerm is a text to search for in any case. The empty one is everywhere.
type searchTerm string

func newNeedle(s string) searchTerm { return searchTerm(strings.ToLower(s)) }

func (n searchTerm) in(s string) bool {
	return n == "" || strings.Contains(strings.ToLower(s), string(n))
}

// toStoredTime is a time as rows keep it: in UTC, to the microsecond.
func toStoredTime(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC().Truncate(time.Microsecond)
}

func keep(times ...*time.Time) {
	for _, t := range times {
		*t = toStoredTime(*t)
	}
}
