package conformance

import (
	"context"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

var usageClauses = []clause{
	{"counters add up", usageAddsUp},
	{"counters are summed in buckets", usageInBuckets},
	{"counters outlive their session", usageOutlivesSession},
	{"DeleteBefore removes the oldest hour", usageDeleted},
	{"counters are rolled back", usageRolledBack},
}

// hour returns the begin of an hour, counted from noon.
func hour(n int) time.Time { return noon.Truncate(time.Hour).Add(time.Duration(n) * time.Hour) }

func counter(userID, sessionID string, at time.Time, outcome domain.UsageOutcome, n int) domain.UsageCount {
	return domain.UsageCount{UserID: userID, SessionID: sessionID, Hour: at, Type: domain.TypeText, Outcome: outcome, Count: n}
}

func (d *db) addUsage(counts ...domain.UsageCount) {
	d.Helper()
	d.update(func(ctx context.Context, tx *ports.Tx) error { return tx.Usage.Add(ctx, counts...) })
}

func (d *db) usageCounts(f ports.UsageFilter, bucket time.Duration) []domain.UsageCount {
	d.Helper()
	return read(d, func(ctx context.Context, tx *ports.Tx) ([]domain.UsageCount, error) {
		return tx.Usage.Counts(ctx, f, bucket)
	})
}

func usageAddsUp(d *db) {
	sent, failed := counter("u1", "s1", hour(0), domain.UsageSent, 2), counter("u1", "s1", hour(0), domain.UsageFailed, 1)
	d.addUsage()
	d.addUsage(sent, failed, sent)
	d.addUsage(sent)
	sent.Count = 6
	require.Equal(d.T, []domain.UsageCount{failed, sent}, d.usageCounts(ports.UsageFilter{UserID: "u1"}, time.Hour))
	failed.Count = -1
	d.addUsage(failed)
	require.Equal(d.T, []domain.UsageCount{sent}, d.usageCounts(ports.UsageFilter{UserID: "u1"}, time.Hour), "a sum of 0 is left out")
	require.Empty(d.T, d.usageCounts(ports.UsageFilter{UserID: "u2"}, time.Hour))
	require.ErrorIs(d.T, d.store.View(d.ctx, func(ctx context.Context, tx *ports.Tx) error { return tx.Usage.Add(ctx, sent) }), ports.ErrReadOnly)
}

func usageInBuckets(d *db) {
	day := hour(0).Truncate(24 * time.Hour)
	in := func(hours, n int) time.Time { return day.Add(time.Duration(24*n+hours) * time.Hour) }
	d.addUsage(
		counter("u1", "s1", in(0, 0), domain.UsageSent, 1), counter("u1", "s1", in(23, 0), domain.UsageSent, 2),
		counter("u1", "s2", in(5, 0), domain.UsageSent, 4), counter("u1", "s1", in(0, 1), domain.UsageSent, 8),
		counter("u2", "s1", in(7, 0), domain.UsageSent, 16), counter("u1", "s1", in(-1, 0), domain.UsageSent, 32),
	)
	require.Equal(d.T, []domain.UsageCount{
		counter("u1", "s1", in(0, 0), domain.UsageSent, 3), counter("u1", "s2", in(0, 0), domain.UsageSent, 4),
		counter("u1", "s1", in(0, 1), domain.UsageSent, 8),
	}, d.usageCounts(ports.UsageFilter{UserID: "u1", Since: day}, 24*time.Hour))
	require.Equal(d.T, []domain.UsageCount{
		counter("u1", "s1", in(23, 0), domain.UsageSent, 2), counter("u1", "s1", in(0, 1), domain.UsageSent, 8),
	}, d.usageCounts(ports.UsageFilter{UserID: "u1", SessionID: "s1", Since: in(22, 0).Add(time.Minute)}, time.Hour))
	require.Equal(d.T, []domain.UsageCount{
		counter("", "", in(0, -1), domain.UsageSent, 32), counter("", "", in(0, 0), domain.UsageSent, 23), counter("", "", in(0, 1), domain.UsageSent, 8),
	}, d.usageCounts(ports.UsageFilter{}, 24*time.Hour), "all users together")
}

func usageOutlivesSession(d *db) {
	d.put(user("u1"), session("s1", "u1"))
	count := counter("u1", "s1", hour(0), domain.UsageReceived, 3)
	d.addUsage(count)
	s := reload(d, session("s1", "u1"))
	d.update(func(ctx context.Context, tx *ports.Tx) error { return tx.Sessions.Delete(ctx, "s1", s.Rev) })
	require.Equal(d.T, []domain.UsageCount{count}, d.usageCounts(ports.UsageFilter{UserID: "u1"}, time.Hour))
}

func usageDeleted(d *db) {
	for i := range 4 {
		d.addUsage(counter("u1", "s1", hour(i), domain.UsageSent, 1), counter("u2", "s2", hour(i), domain.UsageSent, 1))
	}
	remove := func(before time.Time) (n int) {
		d.update(func(ctx context.Context, tx *ports.Tx) (err error) {
			n, err = tx.Usage.DeleteBefore(ctx, before)
			return err
		})
		return n
	}
	require.Zero(d.T, remove(hour(0)), "the time itself does not count")
	require.Equal(d.T, 2, remove(hour(2)))
	require.Len(d.T, d.usageCounts(ports.UsageFilter{UserID: "u1"}, time.Hour), 3)
	require.Equal(d.T, 2, remove(hour(2)))
	require.Zero(d.T, remove(hour(2)))
	require.Equal(d.T, hour(2), d.usageCounts(ports.UsageFilter{UserID: "u1"}, time.Hour)[0].Hour)
}

func usageRolledBack(d *db) {
	count := counter("u1", "s1", hour(0), domain.UsageSent, 1)
	d.addUsage(count)
	d.refuse(errOurs, func(ctx context.Context, tx *ports.Tx) error {
		_, err := tx.Usage.DeleteBefore(ctx, hour(1))
		return firstError(err, tx.Usage.Add(ctx, counter("u1", "s1", hour(0), domain.UsageSent, 5)),
			tx.Usage.Add(ctx, counter("u1", "s2", hour(3), domain.UsageFailed, 5)), errOurs)
	})
	require.Equal(d.T, []domain.UsageCount{count}, d.usageCounts(ports.UsageFilter{UserID: "u1"}, time.Hour))
}
