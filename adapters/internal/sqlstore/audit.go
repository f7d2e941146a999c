package sqlstore

import (
	"context"
	"time"

	sq "github.com/Masterminds/squirrel"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

var auditColumns = []string{
	"id", "occurred_at", "actor_kind", "actor_id", "actor_email", "action", "object", "address", "outcome", "details", "events",
}

func scanAuditEntry(r row) domain.AuditEntry {
	e := domain.AuditEntry{
		ID: r.text(0), At: r.time(1), Actor: domain.Actor{Kind: domain.ActorKind(r.text(2)), ID: r.text(3), Email: r.text(4)},
		Action: domain.AuditAction(r.text(5)), Object: r.text(6), Address: r.text(7), Outcome: domain.AuditOutcome(r.text(8)),
		Count: r.int(10),
	}
	r.decode(9, &e.Details)
	return e
}

type auditStatements struct{ append, deleteBefore *Statement }

func (b *Queries) auditStatements() auditStatements {
	return auditStatements{
		append: b.write(insertInto("audit", auditColumns...).
			Suffix("ON CONFLICT (id) DO UPDATE SET events = audit.events + excluded.events")),
		deleteBefore: b.write(b.deleteFrom("audit", "occurred_at < ?")),
	}
}

type audit Tx

func (t *audit) Append(ctx context.Context, e domain.AuditEntry) error {
	details, err := toJSON(e.Details, len(e.Details) == 0)
	if err != nil {
		return err
	}
	return (*Tx)(t).run(ctx, t.queries.audit.append, e.ID, micros(e.At), string(e.Actor.Kind), e.Actor.ID, e.Actor.Email,
		string(e.Action), e.Object, e.Address, string(e.Outcome), details, e.Count)
}

func (t *audit) List(ctx context.Context, f ports.AuditFilter) ([]domain.AuditEntry, error) {
	var conditions []sq.Sqlizer
	and := func(isGiven bool, condition string, args ...any) {
		if isGiven {
			conditions = append(conditions, sq.Expr(condition, args...))
		}
	}
	and(f.Actor != "", "(actor_id = ? OR actor_email = ? OR actor_kind = ?)", f.Actor, f.Actor, f.Actor)
	// A prefix is a range: "/" follows ".", and ";" follows ":".
	and(f.Action != "", "(action = ? OR action >= ? AND action < ?)", string(f.Action), string(f.Action)+".", string(f.Action)+"/")
	and(f.Object != "", "(object = ? OR object >= ? AND object < ?)", f.Object, f.Object+":", f.Object+";")
	and(!f.Since.IsZero(), "occurred_at >= ?", ceilMicros(f.Since))
	and(!f.Until.IsZero(), "occurred_at < ?", ceilMicros(f.Until))
	and(f.After != domain.Cursor{}, "(occurred_at, id) < (?, ?)", micros(f.After.At), f.After.ID)
	s, args, err := t.queries.list(selectFrom("audit", auditColumns...).all(conditions).
		order("occurred_at DESC", "id DESC").limit(limitArgument(f.Limit)))
	if err != nil {
		return nil, err
	}
	return queryAll(ctx, (*Tx)(t), s, scanAuditEntry, args...)
}

func (t *audit) DeleteBefore(ctx context.Context, before time.Time) error {
	return (*Tx)(t).run(ctx, t.queries.audit.deleteBefore, ceilMicros(before))
}
