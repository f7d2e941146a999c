package memory

import (
	"cmp"
	"container/heap"
	"math"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// list is a sorted slice of rows. A row that belongs at the end costs no search and moves no other row. By age that is
// nearly always the case.
type list[R comparable] []R

// add inserts a row. compare must be a total order.
func (l *list[R]) add(r R, compare func(a, b R) int) {
	if n := len(*l); n == 0 || compare((*l)[n-1], r) < 0 {
		*l = append(*l, r)
		return
	}
	i, _ := slices.BinarySearchFunc(*l, r, compare)
	*l = slices.Insert(*l, i, r)
}

// remove removes a row. The row must still compare as it did when it was added.
func (l *list[R]) remove(r R, compare func(a, b R) int) {
	n := len(*l)
	if n > 0 && (*l)[n-1] == r {
		var zero R
		(*l)[n-1] = zero
		*l = (*l)[:n-1]
		return
	}
	if i, found := slices.BinarySearchFunc(*l, r, compare); found {
		*l = slices.Delete(*l, i, i+1)
	}
}

// addTo adds a row to the list of a key, which it makes if it is missing.
func addTo[R comparable](m map[string]*list[R], key string, r R, compare func(a, b R) int) {
	l := m[key]
	if l == nil {
		l = new(list[R])
		m[key] = l
	}
	l.add(r, compare)
}

// removeFrom removes a row from the list of a key. A list that becomes empty leaves the map.
func removeFrom[R comparable](m map[string]*list[R], key string, r R, compare func(a, b R) int) {
	l := m[key]
	l.remove(r, compare)
	if len(*l) == 0 {
		delete(m, key)
	}
}

// valuesOf returns copies of the values of the rows of a key, in the order of their list.
func valuesOf[R comparable, V any](m map[string]*list[R], key string, clone func(R) V) []V {
	l := m[key]
	if l == nil {
		return nil
	}
	return copies(*l, clone)
}

// queued is a row that a queue can hold.
type queued[R any] interface {
	comparable
	// before is a total order.
	before(R) bool
	// heapIndex returns where the queue keeps the row's index plus one; 0 means that the row is in no queue.
	heapIndex() *int32
}

// queue is a priority queue of rows, as a heap. Each row knows its index, so any row can be removed.
type queue[R queued[R]] []R

func (q *queue[R]) add(r R) { heap.Push(q, r) }

// remove removes a row if the queue holds it.
func (q *queue[R]) remove(r R) {
	if i := *r.heapIndex(); i > 0 {
		heap.Remove(q, int(i-1))
	}
}

// firstWhile returns the first rows, in order, up to the first row for which match is false. It returns at most limit
// rows, or all if limit is not positive. It looks at about twice as many rows as it returns.
func (q queue[R]) firstWhile(limit int, match func(R) bool) []R {
	if limit <= 0 {
		limit = math.MaxInt
	}
	var rows []R
	// A row can follow only after its parent in the heap.
	next := frontier[R]{q: q}
	if len(q) > 0 {
		next.indexes = append(next.indexes, 0)
	}
	for len(next.indexes) > 0 && len(rows) < limit {
		i := next.indexes[0]
		if !match(q[i]) {
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

// Len implements [heap.Interface].
func (q queue[R]) Len() int { return len(q) }

// Less implements [heap.Interface].
func (q queue[R]) Less(i, j int) bool { return q[i].before(q[j]) }

// Swap implements [heap.Interface].
func (q queue[R]) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	*q[i].heapIndex(), *q[j].heapIndex() = int32(i+1), int32(j+1)
}

// Push implements [heap.Interface].
func (q *queue[R]) Push(x any) {
	r := x.(R)
	*q = append(*q, r)
	*r.heapIndex() = int32(len(*q))
}

// Pop implements [heap.Interface].
func (q *queue[R]) Pop() any {
	n := len(*q) - 1
	r := (*q)[n]
	var zero R
	(*q)[n] = zero
	*q = (*q)[:n]
	*r.heapIndex() = 0
	return r
}

// frontier is a heap of indexes of a queue, ordered by their rows.
type frontier[R queued[R]] struct {
	q       queue[R]
	indexes []int
}

func (f *frontier[R]) Len() int           { return len(f.indexes) }
func (f *frontier[R]) Less(i, j int) bool { return f.q[f.indexes[i]].before(f.q[f.indexes[j]]) }
func (f *frontier[R]) Swap(i, j int)      { f.indexes[i], f.indexes[j] = f.indexes[j], f.indexes[i] }
func (f *frontier[R]) Push(x any)         { f.indexes = append(f.indexes, x.(int)) }
func (f *frontier[R]) Pop() any {
	n := len(f.indexes) - 1
	i := f.indexes[n]
	f.indexes = f.indexes[:n]
	return i
}

// page returns one page of rows.
func page[R any](rows []R, p ports.Page) []R {
	rows = rows[min(max(p.Offset, 0), len(rows)):]
	if p.Limit > 0 {
		rows = rows[:min(p.Limit, len(rows))]
	}
	return rows
}

// latest returns a page of a whole list, latest row first. It looks only at the rows of the page.
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

// filterLatest returns the rows that match, latest row first. It does not change the list.
func filterLatest[R comparable](l list[R], match func(R) bool) []R {
	var rows []R
	for _, r := range slices.Backward(l) {
		if match(r) {
			rows = append(rows, r)
		}
	}
	return rows
}

// rangeOf returns copies of the values of the latest rows of a range.
func rangeOf[R comparable, V any](rows list[R], r ports.Range, cursor func(R) domain.Cursor, clone func(R) V) []V {
	from := func(at time.Time, id string) int { // the first row that is not before a place in the order
		return sort.Search(len(rows), func(i int) bool {
			c := cursor(rows[i])
			return cmp.Or(c.At.Compare(at), cmp.Compare(c.ID, id)) >= 0
		})
	}
	first, end := 0, len(rows)
	if !r.Since.IsZero() {
		first = from(r.Since, "")
	}
	if !r.Until.IsZero() {
		end = from(r.Until, "")
	}
	if r.After != (domain.Cursor{}) {
		end = min(end, from(r.After.At, r.After.ID))
	}
	var found []R
	for i := end - 1; i >= first && (r.Limit <= 0 || len(found) < r.Limit); i-- {
		found = append(found, rows[i])
	}
	return copies(found, clone)
}

// copies returns copies of the values of rows, which the caller may keep and change.
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

// searchTerm is a text to search for, in lower case.
type searchTerm string

func newSearchTerm(s string) searchTerm { return searchTerm(strings.ToLower(s)) }

// in reports whether a text contains the term, whatever the case. Every text contains the empty term.
func (n searchTerm) in(s string) bool {
	return n == "" || strings.Contains(strings.ToLower(s), string(n))
}

// toStoredTime returns a time as rows store it: in UTC, truncated to the microsecond.
func toStoredTime(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC().Truncate(time.Microsecond)
}

// truncate replaces times by their stored form.
func truncate(times ...*time.Time) {
	for _, t := range times {
		*t = toStoredTime(*t)
	}
}
