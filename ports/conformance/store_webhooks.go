package conformance

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

var webhookClauses = []clause{
	{"a session's webhooks are listed by slot", webhooksBySlot},
	{"a slot has one webhook", oneWebhookPerSlot},
	{"a race for the last slot has one winner", webhookSlotRace},
	{"Delete removes the deliveries", deleteWebhook},
	{"webhooks end with their session", webhooksEnd},
	{"Due and NextDue", webhooksDue},
}

var deliveryClauses = []clause{
	{"a webhook has one delivery of an event", oneDelivery},
	{"NextPending is the pending delivery of the first event", nextPending},
	{"List is filtered and paged", deliveryList},
	{"Requeue makes ended deliveries pending", requeueDeliveries},
	{"Requeue and CreatedAfter keep to the times", requeueByTime},
	{"DeleteOf removes deliveries of one webhook", deleteDeliveriesOf},
	{"DeleteEnded removes old deliveries of one status", deleteEnded},
}

// dueWebhook returns a webhook that is due.
func dueWebhook(id, sessionID string, slot int, due time.Time) *domain.Webhook {
	w := webhook(id, sessionID, slot)
	w.DueAt = due
	return w
}

// endedDelivery returns a delivery that ended some minutes after noon.
func endedDelivery(id, webhookID string, position int64, s domain.DeliveryStatus, minute int) *domain.Delivery {
	v := delivery(id, webhookID, position, minute)
	v.Status, v.NextAt, v.EndedAt, v.Attempts, v.ResponseCode = s, time.Time{}, at(minute), 1, 200
	return v
}

// putWebhooks stores a session with one webhook for each id, in slots from 1 on.
func (d *db) putWebhooks(ids ...string) {
	d.Helper()
	d.put(user("u1"), session("s1", "u1"))
	for i, id := range ids {
		d.put(webhook(id, "s1", i+1))
	}
}

func (d *db) webhookIDs(sessionID string) (ids []string) {
	d.Helper()
	for _, w := range read(d, func(ctx context.Context, tx *ports.Tx) ([]*domain.Webhook, error) {
		return tx.Webhooks.BySession(ctx, sessionID)
	}) {
		ids = append(ids, w.ID)
	}
	return ids
}

func (d *db) webhookSessions() []string {
	d.Helper()
	ids := read(d, func(ctx context.Context, tx *ports.Tx) ([]string, error) { return tx.Webhooks.Sessions(ctx) })
	slices.Sort(ids)
	return ids
}

func webhooksBySlot(d *db) {
	require.Empty(d.T, d.webhookSessions())
	d.put(user("u1"), session("s1", "u1"), session("s2", "u1"), session("s3", "u1"))
	d.put(webhook("h3", "s1", 3), webhook("h1", "s1", 1), webhook("h5", "s1", 5), webhook("h2", "s2", 1))
	require.Equal(d.T, []string{"h1", "h3", "h5"}, d.webhookIDs("s1"))
	require.Equal(d.T, []string{"h2"}, d.webhookIDs("s2"))
	require.Empty(d.T, d.webhookIDs("s3"))
	require.Empty(d.T, d.webhookIDs("none"))
	require.Equal(d.T, []string{"s1", "s2"}, d.webhookSessions())
	moved := reload(d, webhook("h1", "s1", 0))
	moved.Slot = 4
	d.put(moved)
	require.Equal(d.T, []string{"h3", "h1", "h5"}, d.webhookIDs("s1"))
	require.Equal(d.T, []string{"s1", "s2"}, d.webhookSessions())
}

func oneWebhookPerSlot(d *db) {
	d.putWebhooks("h1", "h2")
	require.ErrorIs(d.T, d.tryPut(webhook("h3", "s1", 2)), ports.ErrExists)
	moved := reload(d, webhook("h1", "s1", 0))
	moved.Slot = 2
	require.ErrorIs(d.T, d.tryPut(moved), ports.ErrExists)
	require.Equal(d.T, []string{"h1", "h2"}, d.webhookIDs("s1"))
	d.put(webhook("h3", "s1", 3))
}

func webhookSlotRace(d *db) {
	d.putWebhooks("h1")
	var won atomic.Int32
	errs := make([]error, 8)
	race(len(errs), func(i int) {
		errs[i] = d.tryPut(webhook(fmt.Sprint("r", i), "s1", 2))
		if errs[i] == nil {
			won.Add(1)
		}
	})
	require.EqualValues(d.T, 1, won.Load())
	for _, err := range errs {
		if err != nil {
			require.ErrorIs(d.T, err, ports.ErrExists)
		}
	}
	require.Len(d.T, d.webhookIDs("s1"), 2)
}

func deleteWebhook(d *db) {
	d.putWebhooks("h1", "h2")
	first, other := delivery("d1", "h1", 1, 1), delivery("d2", "h2", 1, 1)
	d.put(first, other, endedDelivery("d3", "h1", 2, domain.DeliveryDead, 2))
	remove := func(ctx context.Context, tx *ports.Tx) error { return tx.Webhooks.Delete(ctx, "h1") }
	d.refuse(errOurs, func(ctx context.Context, tx *ports.Tx) error { return firstError(remove(ctx, tx), errOurs) })
	require.Equal(d.T, []string{"d3", "d1"}, d.deliveryIDs("h1", ports.DeliveryFilter{}), "a rollback brings it back")
	d.update(remove)
	require.Equal(d.T, []string{"h2"}, d.webhookIDs("s1"))
	d.requireGone(first)
	require.Empty(d.T, d.deliveryIDs("h1", ports.DeliveryFilter{}))
	require.Equal(d.T, []string{"d2"}, d.deliveryIDs("h2", ports.DeliveryFilter{}))
	require.Zero(d.T, d.deleteEndedBefore(domain.DeliveryDead, at(600), 10), "it is in no list")
}

func webhooksEnd(d *db) {
	d.putWebhooks("h1")
	v := delivery("d1", "h1", 1, 1)
	d.put(dueWebhook("h2", "s1", 2, at(1)), v)
	s := reload(d, session("s1", "u1"))
	d.update(func(ctx context.Context, tx *ports.Tx) error { return tx.Sessions.Delete(ctx, "s1", s.Rev) })
	d.requireGone(webhook("h1", "s1", 1))
	d.requireGone(v)
	require.Empty(d.T, d.webhookSessions())
	require.True(d.T, d.nextWebhook().IsZero())
	d.put(session("s1", "u1"))
	require.Empty(d.T, d.webhookIDs("s1"), "another session with the id")
}

func (d *db) nextWebhook() time.Time {
	d.Helper()
	return read(d, func(ctx context.Context, tx *ports.Tx) (time.Time, error) { return tx.Webhooks.NextDue(ctx) })
}

func webhooksDue(d *db) {
	due := func(until time.Time, limit int) (ids []string) {
		for _, w := range read(d, func(ctx context.Context, tx *ports.Tx) ([]*domain.Webhook, error) {
			return tx.Webhooks.Due(ctx, until, limit)
		}) {
			ids = append(ids, w.ID)
		}
		return ids
	}
	require.True(d.T, d.nextWebhook().IsZero())
	d.putWebhooks("h1")
	d.put(dueWebhook("h2", "s1", 2, at(5)), dueWebhook("h3", "s1", 3, at(3)), dueWebhook("h4", "s1", 4, at(7)))
	require.Equal(d.T, at(3), d.nextWebhook())
	require.Equal(d.T, []string{"h3", "h2"}, due(at(5), 10))
	require.Equal(d.T, []string{"h3"}, due(at(5), 1))
	require.Empty(d.T, due(at(2), 10))
	h3 := reload(d, webhook("h3", "s1", 0))
	h3.DueAt = time.Time{}
	d.put(h3)
	require.Equal(d.T, at(5), d.nextWebhook())
	require.Equal(d.T, []string{"h2", "h4"}, due(at(600), 10))
}

func (d *db) deliveryIDs(webhookID string, f ports.DeliveryFilter) (ids []string) {
	d.Helper()
	for _, v := range read(d, func(ctx context.Context, tx *ports.Tx) ([]*domain.Delivery, error) {
		return tx.Deliveries.List(ctx, webhookID, f)
	}) {
		ids = append(ids, v.ID)
	}
	return ids
}

func oneDelivery(d *db) {
	d.putWebhooks("h1", "h2")
	d.put(delivery("d1", "h1", 7, 1), delivery("d2", "h2", 7, 1))
	require.ErrorIs(d.T, d.tryPut(delivery("d3", "h1", 7, 1)), ports.ErrExists)
	require.Equal(d.T, []string{"d1"}, d.deliveryIDs("h1", ports.DeliveryFilter{}))
}

func nextPending(d *db) {
	next := func() string {
		return read(d, func(ctx context.Context, tx *ports.Tx) (*domain.Delivery, error) {
			return tx.Deliveries.NextPending(ctx, "h1")
		}).ID
	}
	d.putWebhooks("h1", "h2")
	missing(d, func(ctx context.Context, tx *ports.Tx) (*domain.Delivery, error) {
		return tx.Deliveries.NextPending(ctx, "h1")
	})
	d.put(delivery("d9", "h1", 9, 1), delivery("d10", "h1", 10, 0), delivery("d1", "h2", 1, 1), endedDelivery("d2", "h1", 2, domain.DeliveryDead, 1))
	require.Equal(d.T, "d9", next())
	d9 := reload(d, delivery("d9", "h1", 9, 1))
	d9.Record(domain.Attempt{Code: 200}, domain.DefaultWebhookPolicy(), 0, at(2))
	d.put(d9)
	require.Equal(d.T, "d10", next())
	d2 := reload(d, delivery("d2", "h1", 2, 1))
	d2.Requeue(at(3))
	d.put(d2)
	require.Equal(d.T, "d2", next())
}

func deliveryList(d *db) {
	d.putWebhooks("h1", "h2")
	d.put(delivery("d1", "h1", 1, 9), endedDelivery("d2", "h1", 2, domain.DeliveryDead, 2), endedDelivery("d10", "h1", 10, domain.DeliveryDelivered, 1),
		endedDelivery("d11", "h1", 11, domain.DeliveryDead, 1), delivery("x", "h2", 3, 3))
	for _, c := range []struct {
		f    ports.DeliveryFilter
		want []string
	}{
		{ports.DeliveryFilter{}, []string{"d11", "d10", "d2", "d1"}},
		{ports.DeliveryFilter{Limit: 2}, []string{"d11", "d10"}},
		{ports.DeliveryFilter{Before: 10}, []string{"d2", "d1"}},
		{ports.DeliveryFilter{Before: 10, Limit: 1}, []string{"d2"}},
		{ports.DeliveryFilter{Before: 1}, nil},
		{ports.DeliveryFilter{Status: domain.DeliveryDead}, []string{"d11", "d2"}},
		{ports.DeliveryFilter{Status: domain.DeliveryDead, Before: 11}, []string{"d2"}},
		{ports.DeliveryFilter{Status: domain.DeliveryPending}, []string{"d1"}},
		{ports.DeliveryFilter{Status: domain.DeliveryDelivered, Before: 5}, nil},
	} {
		require.Equal(d.T, c.want, d.deliveryIDs("h1", c.f), "%+v", c.f)
	}
}

func requeueDeliveries(d *db) {
	requeue := func(since, now time.Time, limit int) (n int) {
		d.update(func(ctx context.Context, tx *ports.Tx) (err error) {
			n, err = tx.Deliveries.Requeue(ctx, ports.EndedDeliveries{WebhookID: "h1", Since: since, EndedBy: now}, now, limit)
			return err
		})
		return n
	}
	d.putWebhooks("h1", "h2")
	pending := delivery("d4", "h1", 4, 9)
	d.put(endedDelivery("d1", "h1", 1, domain.DeliveryDead, 1), endedDelivery("d2", "h1", 2, domain.DeliveryDelivered, 2),
		endedDelivery("d3", "h1", 3, domain.DeliveryDead, 3), pending, endedDelivery("x", "h2", 3, domain.DeliveryDead, 3))
	before := reload(d, delivery("d2", "h1", 2, 2))
	require.Zero(d.T, requeue(at(4), at(60), 10))
	require.Zero(d.T, requeue(at(2), at(1), 10), "they ended later")
	require.Equal(d.T, 1, requeue(at(2), at(60), 1))
	require.Equal(d.T, []string{"d4", "d2"}, d.deliveryIDs("h1", ports.DeliveryFilter{Status: domain.DeliveryPending}), "the first event first")
	after := reload(d, before)
	require.NotEqual(d.T, before.Rev, after.Rev)
	require.ErrorIs(d.T, d.tryPut(before), ports.ErrConflict)
	before.Requeue(at(60))
	requireSame(d.T, before, after)
	require.Equal(d.T, 1, requeue(at(2), at(61), 10), "a pending one stays as it is")
	requireSame(d.T, pending, reload(d, pending))
	require.Equal(d.T, at(60), reload(d, before).NextAt)
	require.Equal(d.T, []string{"d1"}, d.deliveryIDs("h1", ports.DeliveryFilter{Status: domain.DeliveryDead}))
	require.Equal(d.T, []string{"x"}, d.deliveryIDs("h2", ports.DeliveryFilter{Status: domain.DeliveryDead}))
	require.Equal(d.T, 0, d.deleteEndedBefore(domain.DeliveryDelivered, at(600), 10))
}

func deleteDeliveriesOf(d *db) {
	remove := func(id string, limit int) (n int) {
		d.update(func(ctx context.Context, tx *ports.Tx) (err error) {
			n, err = tx.Deliveries.DeleteOf(ctx, id, limit)
			return err
		})
		return n
	}
	d.putWebhooks("h1", "h2")
	d.put(delivery("d1", "h1", 1, 1), endedDelivery("d2", "h1", 2, domain.DeliveryDead, 2), delivery("d3", "h1", 3, 3), delivery("x", "h2", 1, 1))
	require.Zero(d.T, remove("h1", 0))
	require.Zero(d.T, remove("none", 10))
	require.Equal(d.T, 2, remove("h1", 2))
	require.Equal(d.T, []string{"d3"}, d.deliveryIDs("h1", ports.DeliveryFilter{}), "the lowest position first")
	require.Zero(d.T, d.deleteEndedBefore(domain.DeliveryDead, at(600), 10), "it is in no list")
	require.Equal(d.T, 1, remove("h1", 2))
	require.Zero(d.T, remove("h1", 2))
	require.Equal(d.T, []string{"x"}, d.deliveryIDs("h2", ports.DeliveryFilter{}))
}

func requeueByTime(d *db) {
	d.putWebhooks("h1", "h2")
	d.put(endedDelivery("d1", "h1", 1, domain.DeliveryDead, 3), endedDelivery("d2", "h1", 2, domain.DeliveryDead, 2),
		endedDelivery("d4", "h1", 4, domain.DeliveryDelivered, 2), endedDelivery("d5", "h1", 5, domain.DeliveryDead, 4),
		delivery("d6", "h1", 6, 2), endedDelivery("x", "h2", 7, domain.DeliveryDead, 2))
	created := func(e ports.EndedDeliveries, n int) time.Time {
		e.WebhookID = "h1"
		return read(d, func(ctx context.Context, tx *ports.Tx) (time.Time, error) {
			return tx.Deliveries.CreatedAfter(ctx, e, n)
		})
	}
	all := ports.EndedDeliveries{Since: at(2), EndedBy: at(60)}
	for n, want := range []time.Time{at(2), at(2), at(3), at(4), {}} {
		require.Equal(d.T, want, created(all, n), n)
	}
	require.Equal(d.T, at(3), created(ports.EndedDeliveries{Since: at(3), EndedBy: at(60)}, 0))
	require.Zero(d.T, created(ports.EndedDeliveries{Since: at(5), EndedBy: at(60)}, 0))
	require.Zero(d.T, created(ports.EndedDeliveries{Since: at(2), EndedBy: at(1)}, 0), "they ended later")
	require.Zero(d.T, created(ports.EndedDeliveries{Since: at(2), Before: at(3), EndedBy: at(60)}, 2))

	requeue := func(e ports.EndedDeliveries, limit int) (n int) {
		e.WebhookID = "h1"
		d.update(func(ctx context.Context, tx *ports.Tx) (err error) {
			n, err = tx.Deliveries.Requeue(ctx, e, at(60), limit)
			return err
		})
		return n
	}
	pending := func() []string { return d.deliveryIDs("h1", ports.DeliveryFilter{Status: domain.DeliveryPending}) }
	require.Zero(d.T, requeue(all, 0))
	require.Equal(d.T, 1, requeue(all, 1))
	require.Equal(d.T, []string{"d6", "d2"}, pending(), "created first, lowest position")
	require.Equal(d.T, 1, requeue(ports.EndedDeliveries{Before: at(3), EndedBy: at(60)}, 10))
	require.Equal(d.T, []string{"d6", "d4", "d2"}, pending(), "the end of the time does not count")
	require.Equal(d.T, 2, requeue(all, 10))
	require.Equal(d.T, []string{"x"}, d.deliveryIDs("h2", ports.DeliveryFilter{Status: domain.DeliveryDead}))
}

func (d *db) deleteEndedBefore(s domain.DeliveryStatus, before time.Time, limit int) (n int) {
	d.Helper()
	d.update(func(ctx context.Context, tx *ports.Tx) (err error) {
		n, err = tx.Deliveries.DeleteEnded(ctx, s, before, limit)
		return err
	})
	return n
}

func deleteEnded(d *db) {
	d.putWebhooks("h1", "h2")
	d.put(delivery("d1", "h1", 1, 1), endedDelivery("d2", "h1", 2, domain.DeliveryDead, 3), endedDelivery("d3", "h2", 3, domain.DeliveryDead, 2),
		endedDelivery("d4", "h1", 4, domain.DeliveryDelivered, 1), endedDelivery("d5", "h1", 5, domain.DeliveryDead, 4))
	require.Zero(d.T, d.deleteEndedBefore(domain.DeliveryDead, at(2), 10), "the time itself does not count")
	require.Equal(d.T, 1, d.deleteEndedBefore(domain.DeliveryDead, at(4), 1))
	require.Empty(d.T, d.deliveryIDs("h2", ports.DeliveryFilter{}), "the oldest first")
	require.Equal(d.T, 1, d.deleteEndedBefore(domain.DeliveryDead, at(4), 10))
	require.Equal(d.T, []string{"d5", "d4", "d1"}, d.deliveryIDs("h1", ports.DeliveryFilter{}))
	require.Zero(d.T, d.deleteEndedBefore(domain.DeliveryPending, at(600), 10))
	require.Equal(d.T, 1, d.deleteEndedBefore(domain.DeliveryDelivered, at(600), 10))
}
