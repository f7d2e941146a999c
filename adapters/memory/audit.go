package memory

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// auditRow is the row of an audit entry. Only its Count changes.
type auditRow struct{ v domain.AuditEntry }

// auditAge orders entries by age.
func auditAge(a, b *auditRow) int {
	return cmp.Or(a.v.At.Compare(b.v.At), cmp.Compare(a.v.ID, b.v.ID))
}

func (r *auditRow) clone() domain.AuditEntry {
	e := r.v
	e.Details = maps.Clone(e.Details)
	return e
}

// audit is the repository of the audit trail.
type audit struct{ *txn }

func (t audit) Append(_ context.Context, e domain.AuditEntry) error {
	if err := t.writable(); err != nil {
		return err
	}
	s := t.s
	if r := s.audit[e.ID]; r != nil {
		old := r.v.Count
		r.v.Count += e.Count
		t.onRollback(func() { r.v.Count = old })
		return nil
	}
	r := &auditRow{e}
	r.v = r.clone()
	truncate(&r.v.At)
	s.audit[e.ID] = r
	s.auditOrder.add(r, auditAge)
	t.onRollback(func() {
		delete(s.audit, r.v.ID)
		s.auditOrder.remove(r, auditAge)
	})
	return nil
}

func (t audit) List(_ context.Context, f ports.AuditFilter) ([]domain.AuditEntry, error) {
	if err := t.readable(); err != nil {
		return nil, err
	}
	var list []domain.AuditEntry
	for _, r := range slices.Backward(t.s.auditOrder) {
		if f.Limit > 0 && len(list) == f.Limit {
			break
		}
		if matchesAudit(&r.v, f) {
			list = append(list, r.clone())
		}
	}
	return list, nil
}

// matchesAudit reports whether a filter selects an entry.
func matchesAudit(e *domain.AuditEntry, f ports.AuditFilter) bool {
	isIn := func(value, selected, separator string) bool {
		return selected == "" || value == selected || strings.HasPrefix(value, selected+separator)
	}
	return (f.Actor == "" || e.Actor.ID == f.Actor || e.Actor.Email == f.Actor || string(e.Actor.Kind) == f.Actor) &&
		isIn(string(e.Action), string(f.Action), ".") && isIn(e.Object, f.Object, ":") &&
		(f.Since.IsZero() || !e.At.Before(f.Since)) && (f.Until.IsZero() || e.At.Before(f.Until)) &&
		(f.After == domain.Cursor{} || cmp.Or(e.At.Compare(toStoredTime(f.After.At)), cmp.Compare(e.ID, f.After.ID)) < 0)
}

func (t audit) DeleteBefore(_ context.Context, before time.Time) error {
	if err := t.writable(); err != nil {
		return err
	}
	s, old := t.s, t.s.auditOrder
	n := 0
	for n < len(old) && old[n].v.At.Before(before) {
		delete(s.audit, old[n].v.ID)
		n++
	}
	if n == 0 {
		return nil
	}
	s.auditOrder = slices.Clone(old[n:])
	t.onRollback(func() {
		for _, r := range old[:n] {
			s.audit[r.v.ID] = r
		}
		s.auditOrder = old
	})
	return nil
}
