package sqlstore

import (
	"context"
	"time"

	sq "github.com/Masterminds/squirrel"

	"github.com/switchyard-wa/switchyard/domain"
)

var sampleColumns = []string{"at", "users", "active_users", "sessions", "connected_sessions", "workers", "online_workers", "capacity", "used"}

func scanSample(r row) domain.FleetSample {
	return domain.FleetSample{
		At: r.time(0), Users: r.int(1), ActiveUsers: r.int(2), Sessions: r.int(3), ConnectedSessions: r.int(4),
		Workers: r.int(5), OnlineWorkers: r.int(6), Capacity: r.int(7), Used: r.int(8),
	}
}

type analyticsStatements struct{ addMessages, appendSample, samples, deleteTotals, deleteSamples *Statement }

func (b *Queries) analyticsStatements() analyticsStatements {
	return analyticsStatements{
		addMessages: b.write(insertInto("message_totals", "at", "outcome", "n").Suffix(
			"ON CONFLICT (at, outcome) DO UPDATE SET n = message_totals.n + excluded.n")),
		appendSample: b.insert("fleet_samples", sampleColumns...),
		samples: b.read(selectFrom("fleet_samples", sampleColumns...).where(
			"at IN (SELECT MAX(at) FROM fleet_samples WHERE at >= ? GROUP BY at - at % ?)").order("at")),
		deleteTotals:  b.write(b.deleteFrom("message_totals", "at < ?")),
		deleteSamples: b.write(b.deleteFrom("fleet_samples", "at < ?")),
	}
}

type analytics Tx

func (t *analytics) AddMessages(ctx context.Context, counts ...domain.MessageTotal) error {
	for _, c := range counts {
		if err := (*Tx)(t).run(ctx, t.queries.analytics.addMessages, micros(c.At), string(c.Outcome), c.Count); err != nil {
			return err
		}
	}
	return (*Tx)(t).checkAllowed(ctx, true)
}

func (t *analytics) Messages(ctx context.Context, since time.Time, bucket time.Duration) ([]domain.MessageTotal, error) {
	s, args, err := t.queries.list(messageTotals(since, max(bucket.Microseconds(), 1)))
	if err != nil {
		return nil, err
	}
	return queryAll(ctx, (*Tx)(t), s, func(r row) domain.MessageTotal {
		return domain.MessageTotal{At: r.time(0), Outcome: domain.UsageOutcome(r.text(1)), Count: r.int(2)}
	}, args...)
}

// messageTotals builds the query of sums by bucket and outcome, without those that are 0.
func messageTotals(since time.Time, size int64) query {
	sum := sq.Select().Column(sq.Expr("at - at % ?", size)).
		Columns("outcome", "CAST(SUM(n) AS BIGINT)").From("message_totals").Having("SUM(n) <> 0")
	return query{sum, 3}.all([]sq.Sqlizer{sq.Expr("at >= ?", ceilMicros(since))}).group("1", "2").order("1", "2")
}

func (t *analytics) AppendSample(ctx context.Context, s domain.FleetSample) error {
	return (*Tx)(t).run(ctx, t.queries.analytics.appendSample, micros(s.At), s.Users, s.ActiveUsers, s.Sessions, s.ConnectedSessions,
		s.Workers, s.OnlineWorkers, s.Capacity, s.Used)
}

func (t *analytics) Samples(ctx context.Context, since time.Time, bucket time.Duration) ([]domain.FleetSample, error) {
	return queryAll(ctx, (*Tx)(t), t.queries.analytics.samples, scanSample, ceilMicros(since), max(bucket.Microseconds(), 1))
}

func (t *analytics) DeleteBefore(ctx context.Context, before time.Time) error {
	for _, s := range []*Statement{t.queries.analytics.deleteTotals, t.queries.analytics.deleteSamples} {
		if err := (*Tx)(t).run(ctx, s, ceilMicros(before)); err != nil {
			return err
		}
	}
	return nil
}
