package conformance

import (
	"context"
	"reflect"
	"slices"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// writeFixture writes a few rows of every kind and their dependent rows.
func writeFixture(ctx context.Context, tx *ports.Tx) error {
	due := assignedSession("s1", "u1", "w1")
	due.DueAt, due.ClaimedBy = at(5), "r1"
	failed := sent("m4", "s3", "u2", 4)
	failed.Error, failed.Caption = "why", "caption"
	over := migration("g2", "s1", 2)
	over.Status, over.CompletedAt = domain.MigrationFailed, at(3)
	for _, row := range []any{
		user("u1"), user("u2"), worker("w1", 2), worker("w2", 2), due, session("s2", "u1"), assignedSession("s3", "u2", "w1"),
		apiKey("k1", "s1", "u1"), apiKey("k2", "s1", "u1"), apiKey("k3", "s2", "u1"),
		refreshTokenFamily("f1", "u1"), refreshTokenFamily("f2", "u2"), cleanup("w1", "s9", at(1)), cleanup("w2", "s9", at(2)),
		migration("g1", "s1", 1), over, migration("g3", "s3", 3), replica("r1"), replica("r2"),
		sent("m1", "s1", "u1", 1), received("m2", "x2", "s1", "u1", 2), sent("m3", "s1", "u1", 3), failed,
		event("one", at(1)), event("two", at(2)),
		dueWebhook("h1", "s1", 1, at(1)), webhook("h2", "s3", 2), delivery("d1", "h1", 1, 1), delivery("d2", "h2", 1, 1),
		endedDelivery("d3", "h2", 2, domain.DeliveryDelivered, 2), endedDelivery("d4", "h2", 3, domain.DeliveryDead, 3),
		idempotencyKey("1", "s1", 1), idempotencyKey("2", "s2", 2), idempotencyKey("3", "s3", 3),
		sendQueue("s1", "u1", 1), sendQueue("s3", "u2", 3), queued("q1", "s1", 1), queued("q2", "s3", 2), queued("q3", "s3", 3),
	} {
		if err := put(ctx, tx, row); err != nil {
			return err
		}
	}
	return firstError(
		tx.Users.Reserve(ctx, "u1", domain.UserUsage{Sessions: 2, ActiveSessions: 1}, domain.UserUsage{Sessions: 2, ActiveSessions: 1}),
		tx.Users.CountUnscannedRun(ctx, "u1", at(1), at(2)), tx.Users.CountUnscannedRun(ctx, "u2", at(1), at(2)),
		tx.Workers.Reserve(ctx, "w1"),
		tx.Settings.Put(ctx, "secret", "1"),
	)
}

// changeFixture changes something in every possible way.
func changeFixture(ctx context.Context, tx *ports.Tx) error {
	u, err := tx.Users.Get(ctx, "u1")
	if err != nil {
		return err
	}
	u.Email, u.CreatedAt = "new@example.com", at(-1)
	w, err := tx.Workers.Get(ctx, "w1")
	if err != nil {
		return err
	}
	w.Endpoint, w.Draining = "http://elsewhere", true
	s, err := tx.Sessions.Get(ctx, "s3")
	if err != nil {
		return err
	}
	s.WorkerID, s.Status, s.DueAt, s.CreatedAt, s.ClaimedBy = "w2", domain.Init, at(1), at(-1), "r1"
	m, err := tx.Messages.Get(ctx, "s3", "m4")
	if err != nil {
		return err
	}
	m.WhatsAppID, m.Status, m.Error, m.Caption = "x4", domain.MessageSent, "", "other caption"
	k, err := tx.APIKeys.Get(ctx, "k3")
	if err != nil {
		return err
	}
	k.Hash = hash("other")
	gone, err := tx.Sessions.Get(ctx, "s1")
	if err != nil {
		return err
	}
	found, err := get(ctx, tx, cleanup("w1", "s9", noon))
	if err != nil {
		return err
	}
	c := found.(*domain.Cleanup)
	c.DueAt, c.ClaimedBy = at(9), "r2"
	found, err = get(ctx, tx, cleanup("w2", "s9", noon))
	if err != nil {
		return err
	}
	done := found.(*domain.Cleanup)
	g, err := tx.Migrations.Get(ctx, "g1")
	if err != nil {
		return err
	}
	g.Status, g.CompletedAt, g.CreatedAt, g.ToWorker = domain.MigrationCompleted, at(8), at(-1), "w2"
	i, err := tx.IdempotencyKeys.Get(ctx, "s3", "3")
	if err != nil {
		return err
	}
	i.Failure, i.CreatedAt = domain.StoredError{Kind: domain.Timeout, Code: "C", Message: "m"}, at(9)
	r := replica("r1")
	r.SeenAt = at(1)
	h, err := tx.Webhooks.Get(ctx, "h2")
	if err != nil {
		return err
	}
	h.Slot, h.DueAt, h.Failures = 1, at(7), 2
	v, err := tx.Deliveries.Get(ctx, "d2")
	if err != nil {
		return err
	}
	v.Abandon("gone", at(4))
	queue, err := tx.SendQueues.Get(ctx, "s3")
	if err != nil {
		return err
	}
	queue.DueAt, queue.Bytes, queue.Hold = at(9), 9, "why"
	waiting, err := tx.QueuedMessages.Get(ctx, "s3", "q3")
	if err != nil {
		return err
	}
	waiting.SendAt, waiting.Deadline, waiting.Message.Caption = at(1), at(2), "other"
	forwarded, err := tx.QueuedMessages.Get(ctx, "s3", "q2")
	if err != nil {
		return err
	}
	recorded := sent("m7", "s3", "u2", 7)
	for _, row := range []any{
		u, w, s, m, k, c, g, r, i, user("u3"), session("s4", "u3"), idempotencyKey("5", "s4", 0), worker("w3", 1), sent("m5", "s4", "u3", 5), apiKey("k4", "s4", "u3"),
		sent("m0", "s3", "u2", 0), refreshTokenFamily("f3", "u1"), cleanup("w3", "s9", at(0)), event("three", at(3)),
		sent("m6", "s1", "u1", 2), migration("g4", "s4", 0), replica("r0"), h, v, webhook("h3", "s4", 1), delivery("d5", "h2", 4, 5),
		queue, waiting, sendQueue("s4", "u3", 4), queued("q4", "s4", 4), recorded,
	} {
		if err := put(ctx, tx, row); err != nil {
			return err
		}
	}
	return firstError(
		tx.Users.Reserve(ctx, "u1", domain.UserUsage{Sessions: -1, ActiveSessions: 3}, domain.UserUsage{ActiveSessions: 9}),
		tx.Users.CountUnscannedRun(ctx, "u1", at(3), at(4)), tx.Users.ResetUnscannedRuns(ctx, "u2"),
		tx.Workers.Release(ctx, "w1"),
		tx.Workers.Delete(ctx, "w1"),
		tx.Workers.Reserve(ctx, "w2"),
		tx.RefreshTokenFamilies.RevokeAll(ctx, "u1", "", at(1)),
		tx.RefreshTokenFamilies.DeleteExpired(ctx, at(600)),
		tx.APIKeys.Delete(ctx, "k3"),
		tx.Sessions.Delete(ctx, "s1", gone.Rev),
		tx.QueuedMessages.Delete(ctx, "s3", "q2", forwarded.Rev),
		tx.Messages.Delete(ctx, "s3", "m7", recorded.Rev),
		tx.Cleanups.Delete(ctx, done),
		second(tx.IdempotencyKeys.DeleteBefore(ctx, at(3), 10)),
		tx.Migrations.DeleteBefore(ctx, at(5)),
		tx.Replicas.Delete(ctx, "r2"),
		second(tx.Outbox.DeleteBefore(ctx, at(2), 10)),
		second(tx.Deliveries.DeleteOf(ctx, "h1", 10)),
		second(tx.Deliveries.DeleteEnded(ctx, domain.DeliveryDelivered, at(3), 10)),
		second(tx.Deliveries.Requeue(ctx, ports.EndedDeliveries{WebhookID: "h2", Since: at(3), EndedBy: at(9)}, at(9), 10)),
		tx.Settings.Put(ctx, "secret", "2"),
		tx.Settings.Put(ctx, "other", "3"),
	)
}

// dump returns everything that a View finds of the fixture, by every look-up.
func (d *db) dump() map[string]any {
	d.Helper()
	var all map[string]any
	require.NoError(d.T, d.store.View(d.ctx, func(ctx context.Context, tx *ports.Tx) error {
		all = make(map[string]any)
		see := func(name string, v any, err error) {
			if err != nil {
				v = err.Error()
			} else if found := reflect.ValueOf(v); found.Kind() == reflect.Slice && found.Len() == 0 {
				v = nil // nil and empty slices are equal
			}
			all[name] = v
		}
		users, total, err := tx.Users.List(ctx, ports.UserFilter{}, ports.Page{})
		see("users", users, err)
		see("users in all", total, err)
		for _, id := range []string{"u1", "u2", "u3"} {
			u, err := tx.Users.ByEmail(ctx, id+"@example.com")
			see(id+" by email", u, err)
			usage, err := tx.Users.Usage(ctx, id)
			see(id+" usage", usage, err)
			runs, err := tx.Users.UnscannedRuns(ctx, id)
			see(id+" unscanned runs", runs, err)
			keys, err := tx.APIKeys.ByUser(ctx, id)
			see(id+" keys", keys, err)
			n, first, err := tx.Messages.CountSince(ctx, id, at(-60))
			see(id+" messages", []any{n, first}, err)
			counts, err := tx.Usage.Counts(ctx, ports.UsageFilter{UserID: id}, time.Hour)
			see(id+" counts", counts, err)
			list, _, err := tx.Sessions.List(ctx, ports.SessionFilter{UserID: id}, ports.Page{})
			see(id+" sessions", list, err)
		}
		for _, id := range []string{"f1", "f2", "f3"} {
			f, err := tx.RefreshTokenFamilies.Get(ctx, id)
			see(id, f, err)
		}
		for _, id := range []string{"s1", "s2", "s3", "s4"} {
			keys, err := tx.APIKeys.BySession(ctx, id)
			see(id+" keys", len(keys), err)
			messages, err := tx.Messages.List(ctx, id, domain.MessageFilter{})
			see(id+" messages", messages, err)
		}
		for _, id := range []string{"s1", "s3", "s4"} {
			queue, err := tx.SendQueues.Get(ctx, id)
			see(id+" queue", queue, err)
			waiting, err := tx.QueuedMessages.List(ctx, id, domain.Cursor{}, 0)
			see(id+" queued", waiting, err)
			expired, err := tx.QueuedMessages.Expired(ctx, id, at(600), 10)
			see(id+" expired", expired, err)
		}
		for _, id := range []string{"u1", "u2", "u3"} {
			n, err := tx.SendQueues.Bytes(ctx, id)
			see(id+" queued bytes", n, err)
		}
		queues, err := tx.SendQueues.Due(ctx, at(600), 10)
		see("due queues", queues, err)
		for session, key := range map[string]string{"s1": "1", "s2": "2", "s3": "3", "s4": "5"} {
			k, err := tx.IdempotencyKeys.Get(ctx, session, key)
			see("idempotency key "+key, k, err)
		}
		for _, id := range []string{"k1", "k2", "k3", "k4", "other"} {
			k, err := tx.APIKeys.ByHash(ctx, hash(id))
			see(id+" by hash", k, err)
		}
		for _, id := range []string{"x2", "x4"} {
			m, err := tx.Messages.ByWhatsAppID(ctx, map[string]string{"x2": "s1", "x4": "s3"}[id], id)
			see(id+" by WhatsApp id", m, err)
		}
		workers, _, err := tx.Workers.List(ctx, ports.WorkerFilter{}, ports.Page{})
		see("workers", workers, err)
		for _, id := range []string{"w1", "w2", "w3"} {
			w, err := tx.Workers.ByEndpoint(ctx, "http://"+id+":8001")
			see(id+" by endpoint", w, err)
			sessions, err := tx.Sessions.ListByWorker(ctx, id)
			see(id+" sessions", sessions, err)
			cleanups, err := tx.Cleanups.ByWorker(ctx, id)
			see(id+" cleanups", cleanups, err)
		}
		sessions, err := tx.Sessions.Due(ctx, at(600), 10)
		see("due sessions", sessions, err)
		next, err := tx.Sessions.NextDue(ctx)
		see("next due session", next, err)
		claimed, err := tx.Sessions.ClaimedBy(ctx, "r1")
		see("claimed sessions", claimed, err)
		counts, err := tx.Sessions.CountByStatus(ctx)
		see("statuses", counts, err)
		cleanups, err := tx.Cleanups.Due(ctx, at(600), 10)
		see("due cleanups", cleanups, err)
		next, err = tx.Cleanups.NextDue(ctx)
		see("next due cleanup", next, err)
		migrations, total, err := tx.Migrations.List(ctx, ports.MigrationFilter{}, ports.Page{})
		see("migrations", migrations, err)
		see("migrations in all", total, err)
		open, err := tx.Migrations.Open(ctx)
		see("open migrations", open, err)
		replicas, err := tx.Replicas.List(ctx)
		see("replicas", replicas, err)
		pending, err := tx.Messages.PendingBefore(ctx, at(600), 10)
		see("pending", pending, err)
		events, err := tx.Outbox.After(ctx, ports.EventFilter{}, 0, 10)
		see("events", events, err)
		hooks, err := tx.Webhooks.Due(ctx, at(600), 10)
		see("due webhooks", hooks, err)
		next, err = tx.Webhooks.NextDue(ctx)
		see("next due webhook", next, err)
		ids, err := tx.Webhooks.Sessions(ctx)
		slices.Sort(ids)
		see("sessions with webhooks", ids, err)
		for _, id := range []string{"h1", "h2", "h3"} {
			deliveries, err := tx.Deliveries.List(ctx, id, ports.DeliveryFilter{})
			see(id+" deliveries", deliveries, err)
			first, err := tx.Deliveries.NextPending(ctx, id)
			see(id+" next delivery", first, err)
		}
		for _, name := range []string{"secret", "other"} {
			value, err := tx.Settings.Get(ctx, name)
			see(name, value, err)
		}
		return nil
	}))
	return all
}
