package sqlstore

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

var deliveriesTable = table{
	name: "deliveries", key: []string{"id"}, fixed: []string{"webhook_id", "position"},
	rest: []string{"status", "type", "attempts", "response_code", "reason", "next_at", "created_at", "ended_at"},
}

func scanDelivery(r row) *domain.Delivery {
	return &domain.Delivery{
		ID: r.text(0), WebhookID: r.text(1), Position: r.int64(2), Status: domain.DeliveryStatus(r.text(3)), Type: domain.EventType(r.text(4)),
		Attempts: r.int(5), ResponseCode: r.int(6), Reason: r.text(7), NextAt: r.time(8), CreatedAt: r.time(9), EndedAt: r.time(10),
		Rev: r.int64(11),
	}
}

type deliveryStatements struct {
	putStatements
	get, nextPending, list, listOfStatus, requeue, createdAfter, deleteOf, deleteEnded *Statement
}

func (b *Queries) deliveryStatements() deliveryStatements {
	deliveries := selectFrom("deliveries", deliveriesTable.columns()...)
	latest := func(q query) *Statement { return b.read(q.where("position < ?").order("position DESC").limit()) }
	requeue := []set{
		{"status", "'PENDING'"}, {"attempts", "0"}, {"response_code", "0"}, {"reason", "''"}, {"next_at", "?"}, {"ended_at", "NULL"},
		{"rev", "rev + 1"},
	}
	return deliveryStatements{
		putStatements: b.putStatements(deliveriesTable),
		get:           b.read(deliveries.where(equal("id"))),
		nextPending:   b.read(deliveries.where(equal("webhook_id")).where(isPending).order("position").limit()),
		list:          latest(deliveries.where(equal("webhook_id"))),
		listOfStatus:  latest(deliveries.where(equal("webhook_id", "status"))),
		requeue: b.write(b.update("deliveries", requeue, "id IN (SELECT id FROM deliveries "+
			"WHERE "+endedDeliveries+" ORDER BY created_at, position LIMIT ?)")),
		createdAfter: b.read(selectFrom("deliveries", "created_at").where(endedDeliveries).order("created_at", "position").limitAndOffset()),
		deleteOf:     b.write(b.deleteFrom("deliveries", "id IN (SELECT id FROM deliveries WHERE webhook_id = ? ORDER BY position LIMIT ?)")),
		deleteEnded: b.write(b.deleteFrom("deliveries", "id IN (SELECT id FROM deliveries "+
			"WHERE status = ? AND ended_at < ? AND ended_at IS NOT NULL ORDER BY ended_at LIMIT ?)")),
	}
}

// endedDeliveries is the condition of a [ports.EndedDeliveries].
const endedDeliveries = "webhook_id = ? AND ended_at <= ? AND ended_at IS NOT NULL AND created_at >= ? AND created_at < ?"

// endedArguments returns the arguments of endedDeliveries.
func endedArguments(e ports.EndedDeliveries) []any {
	before := int64(math.MaxInt64)
	if !e.Before.IsZero() {
		before = ceilMicros(e.Before)
	}
	return []any{e.WebhookID, micros(e.EndedBy), ceilMicros(e.Since), before}
}

type deliveries Tx

func (t *deliveries) Get(ctx context.Context, id string) (*domain.Delivery, error) {
	return queryOne(ctx, (*Tx)(t), t.queries.deliveries.get, scanDelivery, id)
}

// Put reports a missing webhook by the error of the foreign key.
func (t *deliveries) Put(ctx context.Context, d *domain.Delivery) error {
	return (*Tx)(t).put(ctx, &t.queries.deliveries.putStatements, &d.Rev, d.ID, d.WebhookID, d.Position, string(d.Status), string(d.Type),
		d.Attempts, d.ResponseCode, d.Reason, nullableMicros(d.NextAt), micros(d.CreatedAt), nullableMicros(d.EndedAt))
}

func (t *deliveries) NextPending(ctx context.Context, webhookID string) (*domain.Delivery, error) {
	return queryOne(ctx, (*Tx)(t), t.queries.deliveries.nextPending, scanDelivery, webhookID, 1)
}

func (t *deliveries) List(ctx context.Context, webhookID string, f ports.DeliveryFilter) ([]*domain.Delivery, error) {
	before := int64(math.MaxInt64)
	if f.Before > 0 {
		before = f.Before
	}
	if f.Status != "" {
		return queryAll(ctx, (*Tx)(t), t.queries.deliveries.listOfStatus, scanDelivery, webhookID, string(f.Status), before, limitArgument(f.Limit))
	}
	return queryAll(ctx, (*Tx)(t), t.queries.deliveries.list, scanDelivery, webhookID, before, limitArgument(f.Limit))
}

func (t *deliveries) Requeue(ctx context.Context, e ports.EndedDeliveries, now time.Time, limit int) (int, error) {
	args := append([]any{micros(now)}, endedArguments(e)...)
	n, err := (*Tx)(t).exec(ctx, t.queries.deliveries.requeue, append(args, max(limit, 0))...)
	return int(n), err
}

func (t *deliveries) CreatedAfter(ctx context.Context, e ports.EndedDeliveries, n int) (time.Time, error) {
	args := append(endedArguments(e), 1, max(n, 0))
	at, err := queryOne(ctx, (*Tx)(t), t.queries.deliveries.createdAfter, func(r row) time.Time { return r.time(0) }, args...)
	if errors.Is(err, ports.ErrNotFound) {
		err = nil
	}
	return at, err
}

func (t *deliveries) DeleteOf(ctx context.Context, webhookID string, limit int) (int, error) {
	n, err := (*Tx)(t).exec(ctx, t.queries.deliveries.deleteOf, webhookID, max(limit, 0))
	return int(n), err
}

func (t *deliveries) DeleteEnded(ctx context.Context, s domain.DeliveryStatus, before time.Time, limit int) (int, error) {
	n, err := (*Tx)(t).exec(ctx, t.queries.deliveries.deleteEnded, string(s), ceilMicros(before), max(limit, 0))
	return int(n), err
}
