package service

import (
	"context"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
)

// WebhookChange is what a webhook is made from, or what changes of it. Nil fields stay as they are.
type WebhookChange struct {
	URL    *string
	Events *[]string // empty: all types
	Active *bool     // true also switches a webhook on that the system has switched off
	Secret *string   // whsec_…; an empty text, or nil for a new webhook, has one generated
}

// WebhookView is a webhook with its secret as its owner sees it.
type WebhookView struct {
	domain.Webhook
	// ShownSecret is the whole secret if the call has set it, and otherwise its end.
	ShownSecret string
}

// WebhookTest is what came back of a test event.
type WebhookTest struct {
	DeliveryID string // the webhook-id that was sent
	Code       int    // of the response; 0: none
	Body       string // the beginning of the response's body
	Reason     string // why there is no response, or why it counts as a failure; empty after a success
	Latency    time.Duration
}

// DeliveryQuery selects a page of deliveries. Zero fields do not restrict.
type DeliveryQuery struct {
	Status domain.DeliveryStatus
	After  domain.Cursor // the cursor that the page before has returned
	Limit  int           // 0: 20; at most 100
}

// Redelivery is what [Webhooks.RedeliverSince] has begun.
type Redelivery struct {
	Count int       // deliveries that are pending again
	Next  time.Time // since of the next call, if one call cannot take them all; otherwise zero
}

// Webhooks delivers the events of sessions to the URLs of their owners. An empty webhookID stands for the
// first webhook of the session. Methods fail with SESSION_NOT_FOUND or WEBHOOK_NOT_FOUND for objects of
// others, too.
type Webhooks interface {
	List(ctx context.Context, userID, sessionID string) ([]*WebhookView, error)
	Get(ctx context.Context, userID, sessionID, webhookID string) (*WebhookView, error)
	// Create adds a webhook that delivers the events recorded from now on. It fails with INVALID_STATE if
	// the session has as many as it may have.
	Create(ctx context.Context, userID, sessionID string, c WebhookChange) (*WebhookView, error)
	Update(ctx context.Context, userID, sessionID, webhookID string, c WebhookChange) (*WebhookView, error)
	// Put updates the first webhook of the session, or creates it.
	Put(ctx context.Context, userID, sessionID string, c WebhookChange) (*WebhookView, error)
	// Delete removes the webhook with its deliveries.
	Delete(ctx context.Context, userID, sessionID, webhookID string) error
	// RotateSecret generates a secret. Until the grace is over, the former one signs too.
	RotateSecret(ctx context.Context, userID, sessionID, webhookID string, grace time.Duration) (*WebhookView, error)
	// Test sends a ping now, whether or not the webhook is active, and waits for the response.
	Test(ctx context.Context, userID, sessionID, webhookID string) (*WebhookTest, error)
	// Deliveries returns deliveries of the webhook, the latest event first, and the cursor of the next page.
	// The cursor is zero on the last page.
	Deliveries(ctx context.Context, userID, sessionID, webhookID string, q DeliveryQuery) ([]*domain.Delivery, domain.Cursor, error)
	// Redeliver makes a delivery pending again. A pending one is tried at once.
	Redeliver(ctx context.Context, userID, sessionID, webhookID, deliveryID string) (*domain.Delivery, error)
	// RedeliverSince makes the ended deliveries that were created at or after a time pending again. One call
	// takes about 10,000 of them, beginning with the first.
	RedeliverSince(ctx context.Context, userID, sessionID, webhookID string, since time.Time) (*Redelivery, error)
}
