package conformance

import (
	"context"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

var analyticsClauses = []clause{
	{"counters of messages add up in buckets", totalsAddUp},
	{"the last sample of each bucket is found", samplesInBuckets},
	{"DeleteBefore removes what is older", analyticsDeleted},
	{"they are rolled back", analyticsRolledBack},
}

// stepAt returns the begin of a step, counted from the hour before noon.
func stepAt(n int) time.Time { return hour(0).Add(time.Duration(n) * domain.AnalyticsStep) }

func total(at time.Time, outcome domain.UsageOutcome, n int) domain.MessageTotal {
	return domain.MessageTotal{At: at, Outcome: outcome, Count: n}
}

func fleetSample(at time.Time, n int) domain.FleetSample {
	return domain.FleetSample{
		At: at, Users: n, ActiveUsers: n + 1, Sessions: n + 2, ConnectedSessions: n + 3, Workers: n + 4, OnlineWorkers: n + 5, Capacity: n + 6, Used: n + 7,
	}
}

func (d *db) addTotals(counts ...domain.MessageTotal) {
	d.Helper()
	d.update(func(ctx context.Context, tx *ports.Tx) error { return tx.Analytics.AddMessages(ctx, counts...) })
}

func (d *db) appendSamples(samples ...domain.FleetSample) {
	d.Helper()
	for _, s := range samples {
		d.update(func(ctx context.Context, tx *ports.Tx) error { return tx.Analytics.AppendSample(ctx, s) })
	}
}

func (d *db) totals(since time.Time, bucket time.Duration) []domain.MessageTotal {
	d.Helper()
	return read(d, func(ctx context.Context, tx *ports.Tx) ([]domain.MessageTotal, error) {
		return tx.Analytics.Messages(ctx, since, bucket)
	})
}

func (d *db) samples(since time.Time, bucket time.Duration) []domain.FleetSample {
	d.Helper()
	return read(d, func(ctx context.Context, tx *ports.Tx) ([]domain.FleetSample, error) {
		return tx.Analytics.Samples(ctx, since, bucket)
	})
}

func totalsAddUp(d *db) {
	d.addTotals()
	d.addTotals(total(stepAt(0), domain.UsageSent, 2), total(stepAt(1), domain.UsageSent, 3), total(stepAt(0), domain.UsageSent, 5))
	d.addTotals(total(stepAt(0), domain.UsageFailed, 1), total(stepAt(12), domain.UsageSent, 7), total(stepAt(-1), domain.UsageReceived, 9))
	require.Equal(d.T, []domain.MessageTotal{
		total(stepAt(0), domain.UsageFailed, 1), total(stepAt(0), domain.UsageSent, 7), total(stepAt(1), domain.UsageSent, 3), total(stepAt(12), domain.UsageSent, 7),
	}, d.totals(stepAt(0), domain.AnalyticsStep))
	require.Equal(d.T, []domain.MessageTotal{
		total(hour(-1), domain.UsageReceived, 9), total(hour(0), domain.UsageFailed, 1), total(hour(0), domain.UsageSent, 10), total(hour(1), domain.UsageSent, 7),
	}, d.totals(time.Time{}.AddDate(1970, 0, 0), time.Hour))
	d.addTotals(total(stepAt(0), domain.UsageFailed, -1))
	require.Equal(d.T, []domain.MessageTotal{total(stepAt(1), domain.UsageSent, 3)}, d.totals(stepAt(0).Add(time.Microsecond), domain.AnalyticsStep)[:1])
	for _, t := range d.totals(stepAt(0), time.Hour) {
		require.NotEqual(d.T, domain.UsageFailed, t.Outcome, "a sum of 0 is left out")
	}
	require.ErrorIs(d.T, d.store.View(d.ctx, func(ctx context.Context, tx *ports.Tx) error {
		return tx.Analytics.AddMessages(ctx, total(stepAt(0), domain.UsageSent, 1))
	}), ports.ErrReadOnly)
}

func samplesInBuckets(d *db) {
	require.Empty(d.T, d.samples(stepAt(0), time.Hour))
	d.appendSamples(fleetSample(stepAt(11), 11), fleetSample(stepAt(0), 0), fleetSample(stepAt(12), 12), fleetSample(stepAt(30), 30))
	d.appendSamples(fleetSample(stepAt(12), 99)) // of another replica
	require.Equal(d.T, []domain.FleetSample{fleetSample(stepAt(0), 0), fleetSample(stepAt(11), 11), fleetSample(stepAt(12), 12), fleetSample(stepAt(30), 30)},
		d.samples(stepAt(0), domain.AnalyticsStep))
	require.Equal(d.T, []domain.FleetSample{fleetSample(stepAt(11), 11), fleetSample(stepAt(12), 12), fleetSample(stepAt(30), 30)}, d.samples(stepAt(0), time.Hour))
	require.Equal(d.T, []domain.FleetSample{fleetSample(stepAt(30), 30)}, d.samples(stepAt(12).Add(time.Microsecond), time.Hour))
}

func analyticsDeleted(d *db) {
	d.addTotals(total(stepAt(0), domain.UsageSent, 1), total(stepAt(1), domain.UsageSent, 1))
	d.appendSamples(fleetSample(stepAt(0), 0), fleetSample(stepAt(1), 1))
	remove := func(before time.Time) {
		d.update(func(ctx context.Context, tx *ports.Tx) error { return tx.Analytics.DeleteBefore(ctx, before) })
	}
	remove(stepAt(0))
	require.Len(d.T, d.totals(stepAt(0), domain.AnalyticsStep), 2, "the time itself does not count")
	remove(stepAt(1))
	require.Equal(d.T, []domain.MessageTotal{total(stepAt(1), domain.UsageSent, 1)}, d.totals(stepAt(0), domain.AnalyticsStep))
	require.Equal(d.T, []domain.FleetSample{fleetSample(stepAt(1), 1)}, d.samples(stepAt(0), domain.AnalyticsStep))
}

func analyticsRolledBack(d *db) {
	d.addTotals(total(stepAt(0), domain.UsageSent, 1))
	d.appendSamples(fleetSample(stepAt(0), 0))
	d.refuse(errOurs, func(ctx context.Context, tx *ports.Tx) error {
		return firstError(tx.Analytics.AddMessages(ctx, total(stepAt(0), domain.UsageSent, 5), total(stepAt(2), domain.UsageSent, 5)),
			tx.Analytics.AppendSample(ctx, fleetSample(stepAt(2), 2)), tx.Analytics.DeleteBefore(ctx, stepAt(1)), errOurs)
	})
	require.Equal(d.T, []domain.MessageTotal{total(stepAt(0), domain.UsageSent, 1)}, d.totals(stepAt(0), domain.AnalyticsStep))
	require.Equal(d.T, []domain.FleetSample{fleetSample(stepAt(0), 0)}, d.samples(stepAt(0), domain.AnalyticsStep))
}
