package sqlstore

import (
	"context"
	"time"

	sq "github.com/Masterminds/squirrel"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

type usageStatements struct{ add, deleteBefore *Statement }

var usageKey = []string{"user_id", "hour", "session_id", "type", "outcome"}

func (b *Queries) usageStatements() usageStatements {
	return usageStatements{
		add: b.write(insertInto("usage_hours", join(usageKey, []string{"n"})...).Suffix(
			"ON CONFLICT (user_id, hour, session_id, type, outcome) DO UPDATE SET n = usage_hours.n + excluded.n")),
		deleteBefore: b.write(b.deleteFrom("usage_hours", "hour IN (SELECT MIN(hour) FROM usage_hours WHERE hour < ?)")),
	}
}

type usage Tx

func (t *usage) Add(ctx context.Context, counts ...domain.UsageCount) error {
	for _, c := range counts {
		err := (*Tx)(t).run(ctx, t.queries.usage.add, c.UserID, micros(c.Hour), c.SessionID, string(c.Type), string(c.Outcome), c.Count)
		if err != nil {
			return err
		}
	}
	return (*Tx)(t).checkAllowed(ctx, true)
}

// Counts returns the counts in the order of their buckets. It leaves out counts of 0.
func (t *usage) Counts(ctx context.Context, f ports.UsageFilter, bucket time.Duration) ([]domain.UsageCount, error) {
	size := max(bucket.Microseconds(), 1)
	s, args, err := t.queries.list(usageCounts(f, size))
	if err != nil {
		return nil, err
	}
	return queryAll(ctx, (*Tx)(t), s, func(r row) domain.UsageCount {
		return domain.UsageCount{
			Hour: r.time(0), UserID: r.text(1), SessionID: r.text(2), Type: domain.MessageType(r.text(3)),
			Outcome: domain.UsageOutcome(r.text(4)), Count: r.int(5),
		}
	}, args...)
}

// usageCounts builds the query of counts. Of all users together, the counts name no user and no session.
func usageCounts(f ports.UsageFilter, size int64) query {
	of := []string{"user_id", "session_id"}
	conditions := []sq.Sqlizer{sq.Expr("hour >= ?", ceilMicros(f.Since))}
	if f.UserID == "" {
		of = []string{"''", "''"}
	} else {
		conditions = append(conditions, sq.Expr("user_id = ?", f.UserID))
	}
	if f.SessionID != "" {
		conditions = append(conditions, sq.Expr("session_id = ?", f.SessionID))
	}
	sum := sq.Select().Column(sq.Expr("hour - (hour % ? + ?) % ?", size, size, size)).
		Columns(of[0], of[1], "type", "outcome", "CAST(SUM(n) AS BIGINT)").From("usage_hours").Having("SUM(n) <> 0")
	return query{sum, 6}.all(conditions).group("1", "2", "3", "4", "5").order("1", "2", "3", "4", "5")
}

func (t *usage) DeleteBefore(ctx context.Context, before time.Time) (int, error) {
	n, err := (*Tx)(t).exec(ctx, t.queries.usage.deleteBefore, ceilMicros(before))
	return int(n), err
}
