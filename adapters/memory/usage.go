package memory

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// usageKey identifies a counter. Its hour is microseconds since 1970.
type usageKey struct {
	user, session string
	hour          int64
	kind          domain.MessageType
	outcome       domain.UsageOutcome
}

type usage struct{ *txn }

func (t usage) Add(_ context.Context, counts ...domain.UsageCount) error {
	if err := t.writable(); err != nil {
		return err
	}
	for _, c := range counts {
		key := usageKey{c.UserID, c.SessionID, c.Hour.UnixMicro(), c.Type, c.Outcome}
		t.set(key, t.s.usage[key]+c.Count)
	}
	return nil
}

// set sets a counter, or removes it if it is 0.
func (t usage) set(key usageKey, n int) {
	s, old := t.s, t.s.usage[key]
	s.setUsage(key, n)
	t.onRollback(func() { s.setUsage(key, old) })
}

func (s *Store) setUsage(key usageKey, n int) {
	if n == 0 {
		delete(s.usage, key)
		return
	}
	s.usage[key] = n
}

// Counts returns the counts in the order of their buckets.
func (t usage) Counts(_ context.Context, f ports.UsageFilter, bucket time.Duration) ([]domain.UsageCount, error) {
	if err := t.readable(); err != nil {
		return nil, err
	}
	size, since := max(bucket.Microseconds(), 1), f.Since.UnixMicro()
	if time.UnixMicro(since).Before(f.Since) { // hours are whole microseconds
		since++
	}
	sums := make(map[usageKey]int)
	for key, n := range t.s.usage {
		if key.hour < since || f.UserID != "" && key.user != f.UserID || f.SessionID != "" && key.session != f.SessionID {
			continue
		}
		if f.UserID == "" {
			key.user, key.session = "", ""
		}
		key.hour -= (key.hour%size + size) % size
		sums[key] += n
	}
	var counts []domain.UsageCount
	for key, n := range sums {
		if n != 0 {
			counts = append(counts, domain.UsageCount{
				UserID: key.user, SessionID: key.session, Hour: time.UnixMicro(key.hour).UTC(), Type: key.kind, Outcome: key.outcome, Count: n,
			})
		}
	}
	slices.SortFunc(counts, func(a, b domain.UsageCount) int {
		return cmp.Or(a.Hour.Compare(b.Hour), cmp.Compare(a.UserID, b.UserID), cmp.Compare(a.SessionID, b.SessionID),
			cmp.Compare(a.Type, b.Type), cmp.Compare(a.Outcome, b.Outcome))
	})
	return counts, nil
}

func (t usage) DeleteBefore(_ context.Context, before time.Time) (int, error) {
	if err := t.writable(); err != nil {
		return 0, err
	}
	var old []usageKey // of the oldest hour
	for key := range t.s.usage {
		if !time.UnixMicro(key.hour).Before(before) || len(old) > 0 && key.hour > old[0].hour {
			continue
		}
		if len(old) > 0 && key.hour < old[0].hour {
			old = old[:0]
		}
		old = append(old, key)
	}
	for _, key := range old {
		t.set(key, 0)
	}
	return len(old), nil
}
