package httpapi

import (
	"cmp"
	"context"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/switchyard-wa/switchyard/adapters/internal/view"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// DeliveriesInput selects a page of deliveries.
type DeliveriesInput struct {
	Status string `query:"status" doc:"PENDING, DELIVERED or DEAD, in any case" example:"DEAD"`
	Cursor string `query:"cursor" doc:"nextCursor of the page before"`
	Limit  int    `query:"limit" minimum:"1" maximum:"100" doc:"How many to return; 20 if it is not given" example:"20"`
	query  service.DeliveryQuery
}

// Resolve reads the parameters.
func (in *DeliveriesInput) Resolve(huma.Context) []error {
	var p problems
	in.query.Limit = cmp.Or(in.Limit, defaultLimit)
	parse(&p, "status", in.Status, &in.query.Status, domain.ParseDeliveryStatus)
	parse(&p, "cursor", in.Cursor, &in.query.After, domain.ParseCursor)
	return p
}

type webhookDeliveriesInput struct {
	WebhookPath
	DeliveriesInput
}

type firstDeliveriesInput struct {
	SessionPath
	DeliveriesInput
}

type deliveryView struct {
	ID           string                `json:"id" doc:"The webhook-id of every attempt" example:"01JX3B5ZKQ7M"`
	Event        domain.EventType      `json:"event" example:"message.sent"`
	Position     int64                 `json:"position" doc:"Where the event is in the log" example:"4711"`
	Status       domain.DeliveryStatus `json:"status" doc:"PENDING, DELIVERED or DEAD" example:"DELIVERED"`
	Attempts     int                   `json:"attempts" example:"1"`
	ResponseCode *int                  `json:"responseCode" nullable:"true" doc:"Of the latest attempt; null if no response arrived" example:"200"`
	Error        view.String           `json:"error" doc:"Why the latest attempt failed, or why there is none"`
	NextRetry    view.Time             `json:"nextRetry" doc:"When it is tried next, unless earlier events still wait; null once it has ended"`
	CreatedAt    view.Time             `json:"createdAt"`
	DeliveredAt  view.Time             `json:"deliveredAt"`
}

func deliveryViewOf(d *domain.Delivery) deliveryView {
	v := deliveryView{
		ID: d.ID, Event: d.Type, Position: d.Position, Status: d.Status, Attempts: d.Attempts, ResponseCode: codeOf(d.ResponseCode),
		Error: view.String(d.Reason), NextRetry: view.Time(d.NextAt), CreatedAt: view.Time(d.CreatedAt),
	}
	if d.Status == domain.DeliveryDelivered {
		v.DeliveredAt = view.Time(d.EndedAt)
	}
	return v
}

type deliveriesView struct {
	Deliveries []deliveryView `json:"deliveries"`
	NextCursor view.String    `json:"nextCursor" doc:"Null on the last page" example:"AAYxyz"`
}

func (a *api) deliveriesOfWebhook(ctx context.Context, c *requestContext, in *webhookDeliveriesInput) (deliveriesView, error) {
	return a.deliveries(ctx, c, in.query)
}

func (a *api) deliveriesOfFirst(ctx context.Context, c *requestContext, in *firstDeliveriesInput) (deliveriesView, error) {
	return a.deliveries(ctx, c, in.query)
}

func (a *api) deliveries(ctx context.Context, c *requestContext, q service.DeliveryQuery) (deliveriesView, error) {
	list, next, err := a.Webhooks.Deliveries(ctx, c.principal.UserID, c.sessionRef(), c.webhookRef(), q)
	if err != nil {
		return deliveriesView{}, err
	}
	v := deliveriesView{make([]deliveryView, len(list)), view.String(next.String())}
	for i, d := range list {
		v.Deliveries[i] = deliveryViewOf(d)
	}
	return v, nil
}

type webhookDeliveryInput struct {
	WebhookPath
	DeliveryID string `path:"deliveryId" doc:"The id of a delivery of the webhook" example:"01JX3B5ZKQ7M"`
}

type firstDeliveryInput struct {
	SessionPath
	DeliveryID string `path:"deliveryId" doc:"The id of a delivery of the webhook" example:"01JX3B5ZKQ7M"`
}

func (a *api) redeliverOfWebhook(ctx context.Context, c *requestContext, _ *webhookDeliveryInput) (deliveryView, error) {
	return a.redeliver(ctx, c)
}

func (a *api) redeliverOfFirst(ctx context.Context, c *requestContext, _ *firstDeliveryInput) (deliveryView, error) {
	return a.redeliver(ctx, c)
}

func (a *api) redeliver(ctx context.Context, c *requestContext) (deliveryView, error) {
	d, err := a.Webhooks.Redeliver(ctx, c.principal.UserID, c.sessionRef(), c.webhookRef(), c.pathText("deliveryId"))
	if err != nil {
		return deliveryView{}, err
	}
	return deliveryViewOf(d), nil
}

// SinceInput names the time from which on events are delivered again.
type SinceInput struct {
	Since string `query:"since" required:"true" doc:"RFC 3339, a date, or milliseconds (or seconds) since 1970" example:"2026-03-01T00:00:00Z"`
	since time.Time
}

// Resolve reads the parameters.
func (in *SinceInput) Resolve(huma.Context) []error {
	var p problems
	if in.Since == "" {
		p.addMissing("since", "Since")
	}
	p.time("since", in.Since, &in.since)
	return p
}

type webhookSinceInput struct {
	WebhookPath
	SinceInput
}

type firstSinceInput struct {
	SessionPath
	SinceInput
}

type redeliveriesView struct {
	Deliveries int       `json:"deliveries" doc:"How many deliveries are pending again" example:"12"`
	NextSince  view.Time `json:"nextSince" doc:"Since of the next call: one call takes about 10,000 deliveries. Null if these are all"`
}

func (a *api) redeliverSinceOfWebhook(ctx context.Context, c *requestContext, in *webhookSinceInput) (redeliveriesView, error) {
	return a.redeliverSince(ctx, c, in.since)
}

func (a *api) redeliverSinceOfFirst(ctx context.Context, c *requestContext, in *firstSinceInput) (redeliveriesView, error) {
	return a.redeliverSince(ctx, c, in.since)
}

func (a *api) redeliverSince(ctx context.Context, c *requestContext, since time.Time) (redeliveriesView, error) {
	r, err := a.Webhooks.RedeliverSince(ctx, c.principal.UserID, c.sessionRef(), c.webhookRef(), since)
	if err != nil {
		return redeliveriesView{}, err
	}
	return redeliveriesView{r.Count, view.Time(r.Next)}, nil
}
