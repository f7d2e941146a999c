package conformance

import (
	"context"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

var auditClauses = []clause{
	{"an entry keeps every field", auditFields},
	{"entries are listed newest first, page by page", auditOrder},
	{"filters select", auditFilters},
	{"an entry with a known id only adds to the count", auditCounts},
	{"DeleteBefore removes old entries", auditDeleteBefore},
	{"a rollback undoes Append and DeleteBefore", auditUndone},
}

// audit returns the entries that the filter selects.
func (d *db) audit(f ports.AuditFilter) []domain.AuditEntry {
	d.Helper()
	return read(d, func(ctx context.Context, tx *ports.Tx) ([]domain.AuditEntry, error) { return tx.Audit.List(ctx, f) })
}

func (d *db) auditIDs(f ports.AuditFilter) (ids []string) {
	d.Helper()
	for _, e := range d.audit(f) {
		ids = append(ids, e.ID)
	}
	return ids
}

func (d *db) appendAudit(entries ...domain.AuditEntry) {
	d.Helper()
	d.update(appendAudit(entries...))
}

func appendAudit(entries ...domain.AuditEntry) work {
	return func(ctx context.Context, tx *ports.Tx) error {
		for _, e := range entries {
			if err := tx.Audit.Append(ctx, e); err != nil {
				return err
			}
		}
		return nil
	}
}

// auditEntry returns an entry from so many minutes after noon.
func auditEntry(id string, minute int) domain.AuditEntry {
	return domain.AuditEntry{
		ID: id, At: at(minute), Actor: domain.Actor{Kind: domain.ActorUser, ID: "u1", Email: "ann@example.com"},
		Action: domain.AuditWorkerDrained, Object: "worker:w1", Address: "2001:db8::1",
		Outcome: domain.AuditSucceeded, Count: 1,
	}
}

func auditFields(d *db) {
	full := auditEntry("a1", 1)
	full.Details = map[string]string{"reason": "a'b\"c\u2028", "empty": ""}
	full.Count = 7
	given := full
	given.At = full.At.Add(789 * time.Nanosecond).In(time.FixedZone("UTC+7", 7*60*60))
	d.appendAudit(given, domain.AuditEntry{ID: "a2", At: noon})
	full.Details["later"] = "the store keeps a copy"
	got := d.audit(ports.AuditFilter{})
	delete(full.Details, "later")
	require.Equal(d.T, []domain.AuditEntry{full, {ID: "a2", At: noon}}, got)
	got[0].Details["reason"] = "changed"
	require.Equal(d.T, full, d.audit(ports.AuditFilter{})[0])
}

func auditOrder(d *db) {
	d.appendAudit(auditEntry("b", 2), auditEntry("a", 2), auditEntry("d", 1), auditEntry("c", 3))
	require.Equal(d.T, []string{"c", "b", "a", "d"}, d.auditIDs(ports.AuditFilter{}))
	require.Equal(d.T, []string{"c", "b"}, d.auditIDs(ports.AuditFilter{Limit: 2}))
	require.Equal(d.T, []string{"a", "d"}, d.auditIDs(ports.AuditFilter{After: domain.Cursor{At: at(2), ID: "b"}, Limit: 5}))
	require.Empty(d.T, d.auditIDs(ports.AuditFilter{After: domain.Cursor{At: at(1), ID: "d"}}))
}

func auditFilters(d *db) {
	second := auditEntry("a2", 2)
	second.Actor = domain.Actor{Kind: domain.ActorCLI, ID: "root"}
	second.Action, second.Object = domain.AuditUserCreated, "user:u2"
	third := auditEntry("a3", 3)
	third.Action, third.Object = domain.AuditWorkerRemoved, "worker:w10"
	fourth := auditEntry("a4", 4)
	fourth.Action, fourth.Object, fourth.Actor.Email = domain.AuditUserUpdated, "workers:w1", "bob@example.com"
	d.appendAudit(auditEntry("a1", 1), second, third, fourth)
	for name, c := range map[string]struct {
		filter ports.AuditFilter
		want   []string
	}{
		"actor by id":         {ports.AuditFilter{Actor: "u1"}, []string{"a4", "a3", "a1"}},
		"actor by email":      {ports.AuditFilter{Actor: "ann@example.com"}, []string{"a3", "a1"}},
		"actor by kind":       {ports.AuditFilter{Actor: "cli"}, []string{"a2"}},
		"part of an actor":    {ports.AuditFilter{Actor: "u"}, nil},
		"action":              {ports.AuditFilter{Action: domain.AuditWorkerDrained}, []string{"a1"}},
		"group of actions":    {ports.AuditFilter{Action: "user"}, []string{"a4", "a2"}},
		"part of an action":   {ports.AuditFilter{Action: "worker.d"}, nil},
		"object":              {ports.AuditFilter{Object: "worker:w1"}, []string{"a1"}},
		"kind of object":      {ports.AuditFilter{Object: "worker"}, []string{"a3", "a1"}},
		"since, inclusive":    {ports.AuditFilter{Since: at(3)}, []string{"a4", "a3"}},
		"until, exclusive":    {ports.AuditFilter{Until: at(3)}, []string{"a2", "a1"}},
		"everything together": {ports.AuditFilter{Actor: "u1", Action: "worker", Object: "worker", Since: at(2), Until: at(4)}, []string{"a3"}},
		"text of a pattern":   {ports.AuditFilter{Actor: "%", Object: "_"}, nil},
	} {
		require.Equal(d.T, c.want, d.auditIDs(c.filter), name)
	}
}

func auditCounts(d *db) {
	again := auditEntry("a1", 9)
	again.Count, again.Object = 2, "user:u9"
	d.appendAudit(auditEntry("a1", 1), again)
	d.appendAudit(again)
	want := auditEntry("a1", 1)
	want.Count = 5
	require.Equal(d.T, []domain.AuditEntry{want}, d.audit(ports.AuditFilter{}))
	d.refuse(errOurs, func(ctx context.Context, tx *ports.Tx) error { return firstError(tx.Audit.Append(ctx, again), errOurs) })
	require.Equal(d.T, []domain.AuditEntry{want}, d.audit(ports.AuditFilter{}))

	race(8, func(int) { _ = d.store.Update(d.ctx, appendAudit(auditEntry("a2", 2))) })
	require.Equal(d.T, 8, d.audit(ports.AuditFilter{})[0].Count)
}

func auditDeleteBefore(d *db) {
	d.appendAudit(auditEntry("a1", 1), auditEntry("a2", 2), auditEntry("a3", 3))
	deleteBefore := func(minute int) {
		d.update(func(ctx context.Context, tx *ports.Tx) error { return tx.Audit.DeleteBefore(ctx, at(minute)) })
	}
	deleteBefore(1)
	require.Equal(d.T, []string{"a3", "a2", "a1"}, d.auditIDs(ports.AuditFilter{}), "the time itself does not count")
	deleteBefore(3)
	require.Equal(d.T, []string{"a3"}, d.auditIDs(ports.AuditFilter{}))
	d.appendAudit(auditEntry("a1", 4))
	require.Equal(d.T, []domain.AuditEntry{auditEntry("a1", 4), auditEntry("a3", 3)}, d.audit(ports.AuditFilter{}), "a deleted id begins anew")
}

func auditUndone(d *db) {
	d.appendAudit(auditEntry("a1", 1), auditEntry("a2", 2))
	d.refuse(errOurs, func(ctx context.Context, tx *ports.Tx) error {
		return firstError(tx.Audit.Append(ctx, auditEntry("a3", 0)), tx.Audit.DeleteBefore(ctx, at(2)), errOurs)
	})
	require.Equal(d.T, []string{"a2", "a1"}, d.auditIDs(ports.AuditFilter{}))
	require.ErrorIs(d.T, d.store.View(d.ctx, appendAudit(auditEntry("a4", 4))), ports.ErrReadOnly)
	d.appendAudit(auditEntry("a3", 3))
	require.Equal(d.T, []string{"a3", "a2", "a1"}, d.auditIDs(ports.AuditFilter{}))
}
