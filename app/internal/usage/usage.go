// Package usage counts messages by hour, session, type and outcome, from the event log.
//
//	commit ─► Wake ─► events after the position ─► counters and position, in one transaction
//
// # What it promises
//
//   - Each event counts exactly once, after any crash and with any number of replicas: the
//     counters change in the same transaction as the position, which is compared and swapped.
//   - A send waits for no counter. Events are counted some seconds later, many at once.
//   - [Counter.Counts] misses nothing: it adds the user's events that are not counted yet.
//   - A message counts in the hour in which it was created, once its outcome is known. See
//     [domain.UsageOf].
//   - Counters are kept for 400 days, also those of deleted sessions.
//
// One replica counts, the owner of the work "usage". If two replicas believe that they own it, their
// transactions conflict, and one of them counts.
package usage

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"github.com/switchyard-wa/switchyard/app/internal/membership"
	"github.com/switchyard-wa/switchyard/app/internal/outbox"
	"github.com/switchyard-wa/switchyard/app/internal/txn"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

const (
	pageSize        = 500
	countEvery      = 2 * time.Second // at most
	retryAfterError = time.Second
	retention       = 400 * 24 * time.Hour
	hoursPerRound   = 48 // hours that one Housekeep deletes at most
	// tailSize bounds the events of one user that Counts adds.
	tailSize = 10_000
)

// Counter counts messages. Count is called by one goroutine; everything else is safe for
// concurrent use.
type Counter struct {
	*txn.Writer
	members *membership.Members
	reader  *outbox.Reader

	pending atomic.Bool // there may be events to count
	nextAt  time.Time   // only Count uses it
}

// New returns a counter that reads the log by a reader of its own.
func New(w *txn.Writer, m *membership.Members, reader *outbox.Reader) *Counter {
	return &Counter{Writer: w, members: m, reader: reader}
}

// Wake says that there may be events to count.
func (c *Counter) Wake() { c.pending.Store(true) }

// AfterCommit is an observer of transactions.
func (c *Counter) AfterCommit(_ context.Context, ch *txn.Changes) {
	if ch.HasEvents {
		c.Wake()
	}
}

// Count counts the events that wait, if this replica should. It returns when it must be
// called again; zero: after the next Wake.
func (c *Counter) Count(ctx context.Context) (time.Time, error) {
	if !c.pending.Load() {
		return time.Time{}, nil
	}
	now := c.Now()
	if now.Before(c.nextAt) {
		return c.nextAt, nil
	}
	c.nextAt = now.Add(countEvery)
	c.pending.Store(false)
	if !c.members.OwnsWork("usage") {
		return time.Time{}, nil
	}
	for {
		n, err := c.countPage(ctx)
		if errors.Is(err, ports.ErrConflict) {
			return time.Time{}, nil // another replica counts
		}
		if err != nil {
			c.Wake()
			return now.Add(retryAfterError), err
		}
		if n < pageSize {
			return time.Time{}, nil
		}
	}
}

// countPage counts some events, and returns how many.
func (c *Counter) countPage(ctx context.Context) (int, error) {
	var events []domain.Event
	err := c.Store.View(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		events, err = c.reader.Read(ctx, tx, pageSize)
		return err
	})
	if err != nil || len(events) == 0 {
		return 0, err
	}
	counts, totals := addUp(events), totalsOf(events)
	return len(events), c.Store.Update(ctx, func(ctx context.Context, tx *ports.Tx) error {
		if err := c.reader.Advance(ctx, tx, events); err != nil {
			return err
		}
		if err := tx.Usage.Add(ctx, counts...); err != nil {
			return err
		}
		return tx.Analytics.AddMessages(ctx, totals...)
	})
}

// addUp returns the changes of counters that events cause, in a fixed order.
func addUp(events []domain.Event) []domain.UsageCount {
	total := make(sums)
	for i := range events {
		for _, count := range domain.UsageOf(&events[i]) {
			total.add(count)
		}
	}
	return total.counts()
}

// sums adds counts by their counter, which is a count with a Count of 0.
type sums map[domain.UsageCount]int

func (s sums) add(count domain.UsageCount) {
	n := count.Count
	count.Count = 0
	s[count] += n
}

// counts returns the sums that are not 0, in a fixed order.
func (s sums) counts() []domain.UsageCount {
	var counts []domain.UsageCount
	for count, n := range s {
		count.Count = n
		if n != 0 {
			counts = append(counts, count)
		}
	}
	slices.SortFunc(counts, compare)
	return counts
}

func compare(a, b domain.UsageCount) int {
	return cmp.Or(a.Hour.Compare(b.Hour), cmp.Compare(a.UserID, b.UserID), cmp.Compare(a.SessionID, b.SessionID),
		cmp.Compare(a.Type, b.Type), cmp.Compare(a.Outcome, b.Outcome))
}

// Counts returns the counters of a user in buckets, with the events that are not counted
// yet.
func (c *Counter) Counts(ctx context.Context, tx *ports.Tx, f ports.UsageFilter, bucket time.Duration) ([]domain.UsageCount, error) {
	counts, err := tx.Usage.Counts(ctx, f, bucket)
	if err != nil {
		return nil, err
	}
	waiting, err := c.reader.ReadOf(ctx, tx, ports.EventFilter{UserID: f.UserID, SessionID: f.SessionID}, tailSize)
	if err != nil || len(waiting) == 0 {
		return counts, err
	}
	total := make(sums)
	for _, count := range counts {
		total.add(count)
	}
	for _, count := range addUp(waiting) {
		if !count.Hour.Before(f.Since) {
			count.Hour = count.Hour.Truncate(bucket)
			total.add(count)
		}
	}
	return total.counts(), nil
}

// Housekeep deletes counters that are older than the retention, hour by hour.
func (c *Counter) Housekeep(ctx context.Context, now time.Time) error {
	c.Wake() // an earlier process may have left events
	for range hoursPerRound {
		n := 0
		err := c.Store.Update(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
			n, err = tx.Usage.DeleteBefore(ctx, now.Add(-retention))
			return err
		})
		if err != nil || n == 0 {
			return err
		}
	}
	return nil
}
