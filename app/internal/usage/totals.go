package usage

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// totalsOf returns the changes of the counters of all users together, in a fixed order.
func totalsOf(events []domain.Event) []domain.MessageTotal {
	total := make(totals)
	for i := range events {
		for _, count := range domain.UsageOf(&events[i]) {
			at := events[i].Message.CreatedAt.UTC().Truncate(domain.AnalyticsStep)
			total.add(domain.MessageTotal{At: at, Outcome: count.Outcome, Count: count.Count})
		}
	}
	return total.list()
}

// totals holds the sum of each counter. A key is a total with a Count of 0.
type totals map[domain.MessageTotal]int

// add adds a total to the sum of its counter.
func (s totals) add(t domain.MessageTotal) {
	n := t.Count
	t.Count = 0
	s[t] += n
}

// list returns the sums that are not 0, in a fixed order.
func (s totals) list() []domain.MessageTotal {
	var list []domain.MessageTotal
	for t, n := range s {
		t.Count = n
		if n != 0 {
			list = append(list, t)
		}
	}
	slices.SortFunc(list, func(a, b domain.MessageTotal) int {
		return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Outcome, b.Outcome))
	})
	return list
}

// Totals returns the counters of all users together since a time, in buckets, with the events that are
// not counted yet. Package analytics deletes old ones.
func (c *Counter) Totals(ctx context.Context, tx *ports.Tx, since time.Time, bucket time.Duration) ([]domain.MessageTotal, error) {
	counted, err := tx.Analytics.Messages(ctx, since, bucket)
	if err != nil {
		return nil, err
	}
	waiting, err := c.reader.Read(ctx, tx, tailSize)
	if err != nil || len(waiting) == 0 {
		return counted, err
	}
	sum := make(totals)
	for _, t := range counted {
		sum.add(t)
	}
	for _, t := range totalsOf(waiting) {
		if !t.At.Before(since) {
			t.At = t.At.Truncate(bucket)
			sum.add(t)
		}
	}
	return sum.list(), nil
}
