package memory

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
)

// totalKey identifies a counter of messages. Its time is microseconds since 1970.
type totalKey struct {
	at      int64
	outcome domain.UsageOutcome
}

type analytics struct{ *txn }

func (t analytics) AddMessages(_ context.Context, counts ...domain.MessageTotal) error {
	if err := t.writable(); err != nil {
		return err
	}
	for _, c := range counts {
		key := totalKey{c.At.UnixMicro(), c.Outcome}
		t.setTotal(key, t.s.totals[key]+c.Count)
	}
	return nil
}

// setTotal sets a counter, or removes it if it is 0.
func (t analytics) setTotal(key totalKey, n int) {
	s, old := t.s, t.s.totals[key]
	put := func(n int) {
		s.totals[key] = n
		if n == 0 {
			delete(s.totals, key)
		}
	}
	put(n)
	t.onRollback(func() { put(old) })
}

// Messages returns the sums in the order of their buckets.
func (t analytics) Messages(_ context.Context, since time.Time, bucket time.Duration) ([]domain.MessageTotal, error) {
	if err := t.readable(); err != nil {
		return nil, err
	}
	size := max(bucket.Microseconds(), 1)
	sums := make(map[totalKey]int)
	for key, n := range t.s.totals {
		if !time.UnixMicro(key.at).Before(since) {
			key.at -= key.at % size
			sums[key] += n
		}
	}
	var totals []domain.MessageTotal
	for key, n := range sums {
		if n != 0 {
			totals = append(totals, domain.MessageTotal{At: fromMicros(key.at), Outcome: key.outcome, Count: n})
		}
	}
	slices.SortFunc(totals, func(a, b domain.MessageTotal) int {
		return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Outcome, b.Outcome))
	})
	return totals, nil
}

func (t analytics) AppendSample(_ context.Context, sample domain.FleetSample) error {
	if err := t.writable(); err != nil {
		return err
	}
	truncate(&sample.At)
	i, exists := slices.BinarySearchFunc(t.s.samples, sample.At, sampleAt)
	if !exists {
		t.setSamples(slices.Insert(slices.Clone(t.s.samples), i, sample))
	}
	return nil
}

func sampleAt(s domain.FleetSample, at time.Time) int { return s.At.Compare(at) }

// setSamples replaces the samples. A stored slice is never changed in place.
func (t analytics) setSamples(samples []domain.FleetSample) {
	s, old := t.s, t.s.samples
	s.samples = samples
	t.onRollback(func() { s.samples = old })
}

// Samples returns the last sample of each bucket.
func (t analytics) Samples(_ context.Context, since time.Time, bucket time.Duration) ([]domain.FleetSample, error) {
	if err := t.readable(); err != nil {
		return nil, err
	}
	size := max(bucket.Microseconds(), 1)
	bucketOf := func(s domain.FleetSample) int64 { return s.At.UnixMicro() / size }
	first, _ := slices.BinarySearchFunc(t.s.samples, since, sampleAt)
	var last []domain.FleetSample
	for _, s := range t.s.samples[first:] {
		if n := len(last); n > 0 && bucketOf(last[n-1]) == bucketOf(s) {
			last = last[:n-1]
		}
		last = append(last, s)
	}
	return last, nil
}

func (t analytics) DeleteBefore(_ context.Context, before time.Time) error {
	if err := t.writable(); err != nil {
		return err
	}
	for key := range t.s.totals {
		if time.UnixMicro(key.at).Before(before) {
			t.setTotal(key, 0)
		}
	}
	if i, _ := slices.BinarySearchFunc(t.s.samples, before, sampleAt); i > 0 {
		t.setSamples(slices.Clone(t.s.samples[i:]))
	}
	return nil
}
