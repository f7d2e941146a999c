package httpapi

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports/service"
)

type stubWebhooks struct{ *stub }

// webhookCall is what a stub was called with.
type webhookCall struct {
	name, user, session, webhook string
	argument                     any
}

func someWebhook(secret string) *service.WebhookView {
	return &service.WebhookView{
		Webhook: domain.Webhook{
			ID: "h1", SessionID: "support", UserID: "u1", Slot: 1, URL: "https://example.com/in", Events: []domain.EventType{domain.EventMessageSent},
			Active: true, Secret: domain.SealedSecret{Sealed: []byte("sealed"), Hint: "ZWY3"}, FormerUntil: noon.Add(time.Hour), CreatedAt: noon, UpdatedAt: noon,
		},
		ShownSecret: secret,
	}
}

const wholeSecret = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"

func (s stubWebhooks) List(_ context.Context, user, session string) ([]*service.WebhookView, error) {
	off := someWebhook("whsec_…ZWY3")
	off.Active, off.OffReason, off.Events, off.Failures = false, "The receiver answered 410: it wants no more events", nil, 1
	off.FormerUntil = noon
	return []*service.WebhookView{someWebhook("whsec_…ZWY3"), off}, s.note(webhookCall{"List", user, session, "", nil})
}

func (s stubWebhooks) Get(_ context.Context, user, session, webhook string) (*service.WebhookView, error) {
	return someWebhook("whsec_…ZWY3"), s.note(webhookCall{"Get", user, session, webhook, nil})
}

func (s stubWebhooks) Create(_ context.Context, user, session string, c service.WebhookChange) (*service.WebhookView, error) {
	return someWebhook(wholeSecret), s.note(webhookCall{"Create", user, session, "", c})
}

func (s stubWebhooks) Update(_ context.Context, user, session, webhook string, c service.WebhookChange) (*service.WebhookView, error) {
	return someWebhook("whsec_…ZWY3"), s.note(webhookCall{"Update", user, session, webhook, c})
}

func (s stubWebhooks) Put(_ context.Context, user, session string, c service.WebhookChange) (*service.WebhookView, error) {
	return someWebhook(wholeSecret), s.note(webhookCall{"Put", user, session, "", c})
}

func (s stubWebhooks) Delete(_ context.Context, user, session, webhook string) error {
	return s.note(webhookCall{"Delete", user, session, webhook, nil})
}

func (s stubWebhooks) RotateSecret(_ context.Context, user, session, webhook string, grace time.Duration) (*service.WebhookView, error) {
	return someWebhook(wholeSecret), s.note(webhookCall{"RotateSecret", user, session, webhook, grace})
}

func (s stubWebhooks) Test(_ context.Context, user, session, webhook string) (*service.WebhookTest, error) {
	t := &service.WebhookTest{DeliveryID: "d1", Code: 500, Body: "no such hook", Reason: "The receiver answered 500", Latency: 87 * time.Millisecond}
	return t, s.note(webhookCall{"Test", user, session, webhook, nil})
}

func someDelivery() *domain.Delivery {
	return &domain.Delivery{
		ID: "d1", WebhookID: "h1", Position: 4711, Type: domain.EventMessageSent, Status: domain.DeliveryDelivered, Attempts: 2,
		ResponseCode: 204, CreatedAt: noon, EndedAt: noon.Add(5 * time.Second),
	}
}

func (s stubWebhooks) Deliveries(_ context.Context, user, session, webhook string, q service.DeliveryQuery) ([]*domain.Delivery, domain.Cursor, error) {
	waiting := &domain.Delivery{
		ID: "d2", WebhookID: "h1", Position: 4712, Type: domain.EventMessageRead, Status: domain.DeliveryPending, Attempts: 1,
		Reason: "Connection refused: nothing listens at the URL", NextAt: noon.Add(5 * time.Second), CreatedAt: noon,
	}
	return []*domain.Delivery{waiting, someDelivery()}, domain.Cursor{At: noon, ID: "4711"}, s.note(webhookCall{"Deliveries", user, session, webhook, q})
}

func (s stubWebhooks) Redeliver(_ context.Context, user, session, webhook, delivery string) (*domain.Delivery, error) {
	d := someDelivery()
	d.Requeue(noon)
	return d, s.note(webhookCall{"Redeliver", user, session, webhook, delivery})
}

func (s stubWebhooks) RedeliverSince(_ context.Context, user, session, webhook string, since time.Time) (*service.Redelivery, error) {
	return &service.Redelivery{Count: 12}, s.note(webhookCall{"RedeliverSince", user, session, webhook, since})
}

func TestWebhookRoutes_Requests_ReachTheService(t *testing.T) {
	url, off, secret, events := "https://example.com/in", false, wholeSecret, []string{"message.sent", "PING"}
	const base = "/api/v1/sessions/Support"
	for _, c := range []struct {
		method, path, body string
		status             int
		want               webhookCall
	}{
		{"GET", "/webhooks", "", 200, webhookCall{"List", "u1", "support", "", nil}},
		{"POST", "/webhooks", `{"url":" https://example.com/in ","events":["message.sent","PING"]}`, 201, webhookCall{"Create", "u1", "support", "", service.WebhookChange{URL: &url, Events: &events}}},
		{"GET", "/webhooks/h1", "", 200, webhookCall{"Get", "u1", "support", "h1", nil}},
		{"PUT", "/webhooks/h1", `{"isActive":false}`, 200, webhookCall{"Update", "u1", "support", "h1", service.WebhookChange{Active: &off}}},
		{"DELETE", "/webhooks/h1", "", 200, webhookCall{"Delete", "u1", "support", "h1", nil}},
		{"POST", "/webhooks/h1/rotate-secret?grace=24h", "", 200, webhookCall{"RotateSecret", "u1", "support", "h1", 24 * time.Hour}},
		{"POST", "/webhooks/h1/test", "", 200, webhookCall{"Test", "u1", "support", "h1", nil}},
		{"GET", "/webhooks/h1/deliveries?status=dead&limit=7", "", 200, webhookCall{"Deliveries", "u1", "support", "h1", service.DeliveryQuery{Status: domain.DeliveryDead, Limit: 7}}},
		{"POST", "/webhooks/h1/deliveries/d%2F1/redeliver", "", 200, webhookCall{"Redeliver", "u1", "support", "h1", "d/1"}},
		{"POST", "/webhooks/h1/redeliver?since=2026-03-01", "", 200, webhookCall{"RedeliverSince", "u1", "support", "h1", time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)}},
		{"GET", "/webhook", "", 200, webhookCall{"Get", "u1", "support", "", nil}},
		{"PUT", "/webhook", `{"url":"https://example.com/in","secret":"` + wholeSecret + `"}`, 200, webhookCall{"Put", "u1", "support", "", service.WebhookChange{URL: &url, Secret: &secret}}},
		{"DELETE", "/webhook", "", 200, webhookCall{"Delete", "u1", "support", "", nil}},
		{"POST", "/webhook/rotate-secret", "", 200, webhookCall{"RotateSecret", "u1", "support", "", time.Duration(0)}},
		{"POST", "/webhook/test", "", 200, webhookCall{"Test", "u1", "support", "", nil}},
		{"GET", "/webhook/deliveries", "", 200, webhookCall{"Deliveries", "u1", "support", "", service.DeliveryQuery{Limit: 20}}},
		{"POST", "/webhook/deliveries/d1/redeliver", "", 200, webhookCall{"Redeliver", "u1", "support", "", "d1"}},
		{"POST", "/webhook/redeliver?since=1772366400", "", 200, webhookCall{"RedeliverSince", "u1", "support", "", time.Unix(1772366400, 0).UTC()}},
	} {
		got, s := ask(t, c.method, base+c.path, userToken, c.body)
		require.Equal(t, c.status, got.Code, "%s %s: %s", c.method, c.path, got.Body)
		require.Equal(t, c.want, s.last, "%s %s", c.method, c.path)
	}
}

func TestWebhookRoutes_BadRequests_AreRefused(t *testing.T) {
	const base = "/api/v1/sessions/support"
	for _, c := range []struct{ method, path, body string }{
		{"POST", "/webhooks", `{"url":7}`},
		{"POST", "/webhooks", `{"url":"https://example.com","events":"message.sent"}`},
		{"POST", "/webhooks", `{"url":"https://example.com","events":[null]}`},
		{"POST", "/webhooks", `[]`},
		{"PUT", "/webhook", `{"isActive":"yes"}`},
		{"POST", "/webhook/rotate-secret?grace=25h", ""},
		{"POST", "/webhook/rotate-secret?grace=-1s", ""},
		{"GET", "/webhook/deliveries?status=lost", ""},
		{"GET", "/webhook/deliveries?cursor=!", ""},
		{"GET", "/webhook/deliveries?limit=101", ""},
		{"POST", "/webhook/redeliver", ""},
		{"POST", "/webhook/redeliver?since=yesterday", ""},
	} {
		got, s := ask(t, c.method, base+c.path, userToken, c.body)
		require.Equal(t, http.StatusBadRequest, got.Code, "%s %s %s", c.method, c.path, c.body)
		require.Zero(t, s.calls, "%s %s", c.method, c.path)
	}
	for _, token := range []string{"", keyText} {
		got, _ := ask(t, "GET", base+"/webhook", token, "")
		require.Equal(t, http.StatusUnauthorized, got.Code)
	}
}
