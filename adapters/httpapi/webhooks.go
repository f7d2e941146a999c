package httpapi

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/switchyard-wa/switchyard/adapters/internal/view"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports/service"
)

const (
	webhooksDescription = "Events are posted as JSON, in the form of `GET /sessions/{id}/events`, and signed as the Standard Webhooks specification says: " +
		"`webhook-id`, `webhook-timestamp`, `webhook-signature`. Any 2xx within 10 s is a delivery; otherwise they are tried again " + retrySchedule + ", " +
		"unless the server is configured otherwise. The section `webhooks` of this document describes the requests. Later events of a webhook wait until the one before is delivered or dead. The same event " +
		"may arrive twice, with the same `webhook-id`."
	putWebhookDescription = "Changes what is given. A `secret` replaces the present one at once; an empty one has one generated. `isActive: true` switches a webhook on again. " +
		"Deliveries that waited go on at once after that, and after a change of the `url`."
	redeliveryDescription = "Deliveries keep their id. Fails with INVALID_STATE while the webhook is switched off. An event that is no longer kept cannot be delivered."
)

// webhookCodes are what an operation on a webhook can fail with.
func webhookCodes(more ...domain.Code) []domain.Code {
	return append([]domain.Code{domain.CodeSessionNotFound, domain.CodeWebhookNotFound}, more...)
}

func webhookRoutes() []route {
	const all, one, first = "/sessions/{id}/webhooks", "/sessions/{id}/webhooks/{webhookId}", "/sessions/{id}/webhook"
	of := func(id, method, path, message, summary, description string, codes ...domain.Code) route {
		return route{
			id: id, method: method, path: path, tag: tagWebhooks, credential: user, limit: perUser, message: message,
			summary: summary, description: description, errors: webhookCodes(codes...),
		}
	}
	created := of("createWebhook", post, all, "Webhook created; keep the secret, it is not shown again", "Add a webhook",
		"Adds one of up to 5 webhooks of the session. It delivers the events that are recorded from now on. "+webhooksDescription, domain.CodeInvalidState)
	created.status, created.errors = http.StatusCreated, []domain.Code{domain.CodeSessionNotFound, domain.CodeInvalidState}
	listed := of("listWebhooks", get, all, "Webhooks", "The webhooks of a session", "Lists the webhooks. Secrets are masked.")
	listed.errors = []domain.Code{domain.CodeSessionNotFound}
	putFirst := of("putFirstWebhook", put, first, "Webhook", "Set the first webhook", "Adds the first webhook, or changes it. "+putWebhookDescription, domain.CodeInvalidState)
	putFirst.errors = []domain.Code{domain.CodeSessionNotFound, domain.CodeInvalidState}
	outgoing := func(r route) route { r.cost = outbound; return r }
	const rotate, test = "Rotated; keep the secret, it is not shown again", "Sends a `ping` event now, also while the webhook is switched off, and reports what came back. It is neither repeated nor recorded."
	const rotateDescription = "Makes a new secret. With `grace` the former one signs too for that time, which is at most 24h: the header has both signatures."
	return []route{
		operation(listed, (*api).webhooks),
		operation(created, (*api).createWebhook),
		operation(of("getWebhook", get, one, "Webhook", "One webhook", "Returns the webhook. Its secret is masked."), handle1[WebhookPath](webhookOf)),
		operation(of("updateWebhook", put, one, "Webhook updated", "Change a webhook", putWebhookDescription, domain.CodeInvalidState), (*api).updateWebhook),
		operation(of("deleteWebhook", del, one, "Webhook deleted", "Delete a webhook", "Deletes the webhook with its deliveries."), handle1[WebhookPath](deleteWebhook)),
		operation(of("rotateWebhookSecret", post, one+"/rotate-secret", rotate, "Replace the secret of a webhook", rotateDescription, domain.CodeInvalidState), (*api).rotateWebhook),
		operation(outgoing(of("testWebhook", post, one+"/test", "Test event sent", "Test a webhook", test, domain.CodeInvalidState)), handle1[WebhookPath](testWebhook)),
		operation(of("listWebhookDeliveries", get, one+"/deliveries", "Deliveries", "The deliveries of a webhook", "Lists deliveries, the latest event first."), (*api).deliveriesOfWebhook),
		operation(of("redeliver", post, one+"/deliveries/{deliveryId}/redeliver", "Delivery is pending", "Deliver an event again", redeliveryDescription, domain.CodeInvalidState, domain.CodeNotFound), (*api).redeliverOfWebhook),
		operation(of("redeliverSince", post, one+"/redeliver", "Deliveries are pending", "Deliver events again since a time", "Makes every ended delivery pending that was created at or after `since`, in the order of events. "+redeliveryDescription, domain.CodeInvalidState), (*api).redeliverSinceOfWebhook),

		operation(of("getFirstWebhook", get, first, "Webhook", "The first webhook", "Returns the first webhook of the session. Its secret is masked."), handle1[SessionPath](webhookOf)),
		operation(putFirst, (*api).putFirstWebhook),
		operation(of("deleteFirstWebhook", del, first, "Webhook deleted", "Delete the first webhook", "Deletes the first webhook with its deliveries."), handle1[SessionPath](deleteWebhook)),
		operation(of("rotateFirstWebhookSecret", post, first+"/rotate-secret", rotate, "Replace the secret of the first webhook", rotateDescription, domain.CodeInvalidState), (*api).rotateFirstWebhook),
		operation(outgoing(of("testFirstWebhook", post, first+"/test", "Test event sent", "Test the first webhook", test, domain.CodeInvalidState)), handle1[SessionPath](testWebhook)),
		operation(of("listFirstWebhookDeliveries", get, first+"/deliveries", "Deliveries", "The deliveries of the first webhook", "Lists deliveries, the latest event first."), (*api).deliveriesOfFirst),
		operation(of("redeliverFirst", post, first+"/deliveries/{deliveryId}/redeliver", "Delivery is pending", "Deliver an event to the first webhook again", redeliveryDescription, domain.CodeInvalidState, domain.CodeNotFound), (*api).redeliverOfFirst),
		operation(of("redeliverFirstSince", post, first+"/redeliver", "Deliveries are pending", "Deliver events to the first webhook again since a time", "Makes every ended delivery pending that was created at or after `since`, in the order of events. "+redeliveryDescription, domain.CodeInvalidState), (*api).redeliverSinceOfFirst),
	}
}

// WebhookPath names a webhook of a session.
type WebhookPath struct {
	SessionPath
	WebhookID string `path:"webhookId" doc:"The id of a webhook of the session" example:"01JX3B5ZKQ7M"`
}

// webhookRef returns the webhook that the path names, or "" for the first one.
func (c *requestContext) webhookRef() string { return c.pathText("webhookId") }

// pathText returns a variable of the path as text that every store can be asked for.
func (c *requestContext) pathText(name string) string {
	text, err := url.PathUnescape(c.variables[name])
	if err != nil {
		text = c.variables[name]
	}
	return clean(text, maxID)
}

// handle1 adapts a handler that needs no input besides the path.
func handle1[I, O any](fn func(a *api, ctx context.Context, c *requestContext) (O, error)) handler[I, O] {
	return func(a *api, ctx context.Context, c *requestContext, _ *I) (O, error) { return fn(a, ctx, c) }
}

// WebhookBody is what a webhook is made from, or what changes of it.
type WebhookBody struct {
	URL    *string   `json:"url,omitempty" doc:"http:// or https://, at a public address" example:"https://example.com/hooks/wa"`
	Events *[]string `json:"events,omitempty" maxItems:"20" doc:"Types of events; without them, or empty, all of them" example:"[\"message.received\",\"message.sent\"]"`
	Active *bool     `json:"isActive,omitempty" doc:"Whether events are delivered; true for a new webhook"`
	Secret *string   `json:"secret,omitempty" doc:"whsec_ and the base64 text of 24 to 64 bytes; generated for a new webhook" example:"whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="`
}

func (b *WebhookBody) change() service.WebhookChange {
	c := service.WebhookChange{URL: b.URL, Events: b.Events, Active: b.Active, Secret: b.Secret}
	if c.URL != nil {
		trimmed := strings.TrimSpace(*c.URL)
		c.URL = &trimmed
	}
	return c
}

type webhookView struct {
	ID          string             `json:"id" example:"01JX3B5ZKQ7M"`
	SessionID   string             `json:"sessionId" example:"support"`
	URL         string             `json:"url" example:"https://example.com/hooks/wa"`
	Events      []domain.EventType `json:"events" doc:"The types that are delivered"`
	Active      bool               `json:"isActive" doc:"Whether events are delivered"`
	OffReason   view.String        `json:"disabledReason" doc:"Why the server has switched the webhook off"`
	Secret      string             `json:"secret" doc:"The whole secret when the call has set it, otherwise its end" example:"whsec_…ZWY3"`
	FormerUntil view.Time          `json:"formerSecretUntil" doc:"How long the former secret signs too"`
	Failures    int                `json:"failures" doc:"Failed attempts since the latest success; 100 switch the webhook off" example:"0"`
	CreatedAt   view.Time          `json:"createdAt"`
	UpdatedAt   view.Time          `json:"updatedAt"`
}

func (a *api) webhookView(v *service.WebhookView) webhookView {
	events := v.Events
	if len(events) == 0 {
		events = domain.WebhookEvents()
	}
	until := v.FormerUntil
	if !a.Clock.Now().Before(until) {
		until = time.Time{}
	}
	return webhookView{
		ID: v.ID, SessionID: v.SessionID, URL: v.URL, Events: events, Active: v.Active, OffReason: view.String(v.OffReason),
		Secret: v.ShownSecret, FormerUntil: view.Time(until), Failures: v.Failures, CreatedAt: view.Time(v.CreatedAt), UpdatedAt: view.Time(v.UpdatedAt),
	}
}

// shownWebhook returns the view of a webhook, or the error.
func (a *api) shownWebhook(v *service.WebhookView, err error) (webhookView, error) {
	if err != nil {
		return webhookView{}, err
	}
	return a.webhookView(v), nil
}

type webhooksView struct {
	Webhooks []webhookView `json:"webhooks"`
}

func (a *api) webhooks(ctx context.Context, c *requestContext, _ *SessionPath) (webhooksView, error) {
	list, err := a.Webhooks.List(ctx, c.principal.UserID, c.sessionRef())
	if err != nil {
		return webhooksView{}, err
	}
	v := webhooksView{make([]webhookView, len(list))}
	for i, h := range list {
		v.Webhooks[i] = a.webhookView(h)
	}
	return v, nil
}

type createWebhookInput struct {
	SessionPath
	Body WebhookBody
}

func (a *api) createWebhook(ctx context.Context, c *requestContext, in *createWebhookInput) (webhookView, error) {
	return a.shownWebhook(a.Webhooks.Create(ctx, c.principal.UserID, c.sessionRef(), in.Body.change()))
}

func (a *api) putFirstWebhook(ctx context.Context, c *requestContext, in *createWebhookInput) (webhookView, error) {
	return a.shownWebhook(a.Webhooks.Put(ctx, c.principal.UserID, c.sessionRef(), in.Body.change()))
}

type updateWebhookInput struct {
	WebhookPath
	Body WebhookBody
}

func (a *api) updateWebhook(ctx context.Context, c *requestContext, in *updateWebhookInput) (webhookView, error) {
	return a.shownWebhook(a.Webhooks.Update(ctx, c.principal.UserID, c.sessionRef(), c.webhookRef(), in.Body.change()))
}

func webhookOf(a *api, ctx context.Context, c *requestContext) (webhookView, error) {
	return a.shownWebhook(a.Webhooks.Get(ctx, c.principal.UserID, c.sessionRef(), c.webhookRef()))
}

type deletedWebhookView struct {
	Deleted bool `json:"deleted" example:"true"`
}

func deleteWebhook(a *api, ctx context.Context, c *requestContext) (deletedWebhookView, error) {
	return deletedWebhookView{true}, a.Webhooks.Delete(ctx, c.principal.UserID, c.sessionRef(), c.webhookRef())
}

// GraceInput says how long a former secret signs too.
type GraceInput struct {
	Grace string `query:"grace" doc:"How long the former secret signs too: a length of time such as 10m, or seconds; at most 24h" example:"10m"`
	grace time.Duration
}

// Resolve reads the parameters.
func (in *GraceInput) Resolve(huma.Context) []error {
	var p problems
	p.duration("grace", in.Grace, &in.grace, domain.MaxWebhookGrace)
	return p
}

type rotateWebhookInput struct {
	WebhookPath
	GraceInput
}

type rotateFirstWebhookInput struct {
	SessionPath
	GraceInput
}

func (a *api) rotateWebhook(ctx context.Context, c *requestContext, in *rotateWebhookInput) (webhookView, error) {
	return a.shownWebhook(a.Webhooks.RotateSecret(ctx, c.principal.UserID, c.sessionRef(), c.webhookRef(), in.grace))
}

func (a *api) rotateFirstWebhook(ctx context.Context, c *requestContext, in *rotateFirstWebhookInput) (webhookView, error) {
	return a.shownWebhook(a.Webhooks.RotateSecret(ctx, c.principal.UserID, c.sessionRef(), "", in.grace))
}

type webhookTestView struct {
	ID           string      `json:"id" doc:"The webhook-id that was sent" example:"01JX3B5ZKQ7M"`
	Delivered    bool        `json:"delivered" doc:"Whether the receiver answered 2xx"`
	ResponseCode *int        `json:"responseCode" nullable:"true" doc:"Null if no response arrived" example:"200"`
	LatencyMs    int64       `json:"latencyMs" example:"87"`
	Body         view.String `json:"body" doc:"The beginning of the response"`
	Error        view.String `json:"error" doc:"Why it is no success"`
}

// codeOf returns the code of a response, or nil for none.
func codeOf(code int) *int {
	if code == 0 {
		return nil
	}
	return &code
}

func testWebhook(a *api, ctx context.Context, c *requestContext) (webhookTestView, error) {
	t, err := a.Webhooks.Test(ctx, c.principal.UserID, c.sessionRef(), c.webhookRef())
	if err != nil {
		return webhookTestView{}, err
	}
	return webhookTestView{
		ID: t.DeliveryID, Delivered: t.Reason == "", ResponseCode: codeOf(t.Code), LatencyMs: t.Latency.Milliseconds(),
		Body: view.String(t.Body), Error: view.String(t.Reason),
	}, nil
}
