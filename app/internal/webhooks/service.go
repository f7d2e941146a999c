package webhooks

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/switchyard-wa/switchyard/app/internal/apperr"
	"github.com/switchyard-wa/switchyard/app/internal/audit"
	"github.com/switchyard-wa/switchyard/app/internal/txn"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// sealBound returns the value to which the sealed secrets of a webhook are bound.
func sealBound(id string) string { return "webhook:" + id }

// auditObject returns the name of a webhook in the audit trail.
func auditObject(h *domain.Webhook) string { return audit.Object("webhook", h.ID) }

func viewOf(h *domain.Webhook) *service.WebhookView {
	return &service.WebhookView{Webhook: *h, ShownSecret: h.Secret.Masked()}
}

// List returns the webhooks of a session.
func (w *Webhooks) List(ctx context.Context, userID, sessionID string) (views []*service.WebhookView, err error) {
	err = w.Store.View(ctx, func(ctx context.Context, tx *ports.Tx) error {
		views = nil
		if _, err := txn.OwnedSession(ctx, tx, userID, sessionID); err != nil {
			return err
		}
		all, err := tx.Webhooks.BySession(ctx, sessionID)
		for _, h := range all {
			views = append(views, viewOf(h))
		}
		return err
	})
	return views, apperr.Public(err)
}

// Get returns a webhook.
func (w *Webhooks) Get(ctx context.Context, userID, sessionID, webhookID string) (*service.WebhookView, error) {
	h, err := w.read(ctx, userID, sessionID, webhookID)
	if err != nil {
		return nil, err
	}
	return viewOf(h), nil
}

func (w *Webhooks) read(ctx context.Context, userID, sessionID, webhookID string) (h *domain.Webhook, err error) {
	err = w.Store.View(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		h, err = owned(ctx, tx, userID, sessionID, webhookID)
		return err
	})
	return h, apperr.Public(err)
}

// checkedChange is a change that follows the rules.
type checkedChange struct {
	url    *string
	events *[]domain.EventType
	active *bool
	key    []byte // of a secret that was given; nil: none
	fresh  bool   // apply generates a secret
}

// check applies the rules to a change.
func (w *Webhooks) check(ctx context.Context, c service.WebhookChange, isNew bool) (checkedChange, error) {
	out := checkedChange{url: c.URL, active: c.Active}
	var p domain.Problems
	switch {
	case c.URL != nil:
		err := domain.CheckWebhookURL(*c.URL)
		if err == nil && w.parts.URLs != nil {
			err = w.parts.URLs.CheckURL(ctx, *c.URL)
		}
		p.Check("url", err)
	case isNew:
		p.Add("url", "URL is required")
	}
	if c.Events != nil {
		events, err := domain.ParseWebhookEvents(*c.Events)
		p.Check("events", err)
		out.events = &events
	}
	switch {
	case c.Secret != nil && *c.Secret != "":
		key, err := domain.ParseWebhookSecret(*c.Secret)
		p.Check("secret", err)
		out.key = key
	case isNew || c.Secret != nil:
		out.fresh = true
	}
	return out, p.Err()
}

// apply changes a webhook, and returns its secret if that has changed.
func (w *Webhooks) apply(h *domain.Webhook, c checkedChange, now time.Time) (secret string, err error) {
	if c.url != nil {
		h.URL = *c.url
	}
	if c.events != nil {
		h.Events = *c.events
	}
	switch {
	case c.active == nil || *c.active == h.Active && h.OffReason == "":
	case *c.active:
		h.SwitchOn(now)
	default:
		h.SwitchOff(now)
	}
	h.UpdatedAt = now
	if c.key == nil && !c.fresh {
		return "", nil
	}
	return w.setSecret(h, c.key, 0, now)
}

// setSecret gives a webhook the secret of a key, and returns the secret. It generates a key if key is nil.
func (w *Webhooks) setSecret(h *domain.Webhook, key []byte, grace time.Duration, now time.Time) (string, error) {
	if key == nil {
		key = make([]byte, domain.WebhookSecretSize)
		if _, err := w.Random.Read(key); err != nil {
			return "", err
		}
	}
	sealed, err := w.parts.Sealer.Seal(key, sealBound(h.ID))
	if err != nil {
		return "", err
	}
	secret := domain.NewWebhookSecret(key)
	h.Rotate(domain.SealedSecret{Sealed: sealed, Hint: domain.WebhookSecretHint(secret)}, grace, now)
	return secret, nil
}

// errUnavailable returns the error of calls to a program that cannot deliver.
func errUnavailable() error {
	return domain.Errorf(domain.Conflict, domain.CodeInvalidState,
		"Webhooks are not set up on this server; its operator gives all replicas the same --webhook-key")
}

// Create adds a webhook.
func (w *Webhooks) Create(ctx context.Context, userID, sessionID string, c service.WebhookChange) (*service.WebhookView, error) {
	if !w.isAvailable() {
		return nil, errUnavailable()
	}
	change, err := w.check(ctx, c, true)
	if err != nil {
		return nil, err
	}
	var v *service.WebhookView
	err = w.Writer.Update(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		if _, err := txn.OwnedSession(ctx, tx, userID, sessionID); err != nil {
			return err
		}
		v, err = w.create(ctx, tx, userID, sessionID, change)
		return err
	})
	return v, apperr.Public(err)
}

func (w *Webhooks) create(ctx context.Context, tx *ports.Tx, userID, sessionID string, c checkedChange) (*service.WebhookView, error) {
	present, err := tx.Webhooks.BySession(ctx, sessionID)
	if err != nil {
		return nil, err
	}
	slot := domain.FreeWebhookSlot(present)
	if slot == 0 {
		return nil, domain.Errorf(domain.Conflict, domain.CodeInvalidState, "A session has at most %d webhooks; delete one first", domain.MaxWebhooks)
	}
	now := w.Now()
	h := &domain.Webhook{ID: w.IDs.NewID(), SessionID: sessionID, UserID: userID, Slot: slot, Active: true, CreatedAt: now}
	h.Since, err = tx.Outbox.Last(ctx)
	if err != nil {
		return nil, err
	}
	secret, err := w.apply(h, c, now)
	if err != nil {
		return nil, err
	}
	err = tx.Webhooks.Put(ctx, h)
	if errors.Is(err, ports.ErrExists) {
		return nil, ports.ErrConflict // another call was first to take the slot; look again
	}
	if err != nil {
		return nil, err
	}
	if err := tx.Settings.Put(ctx, epochSetting, w.IDs.NewID()); err != nil {
		return nil, err
	}
	err = w.Trail().Record(ctx, tx, domain.AuditWebhookCreated, auditObject(h), "session", sessionID, "host", domain.WebhookHost(h.URL))
	v := viewOf(h)
	v.ShownSecret = secret
	return v, err
}

// Update changes a webhook.
func (w *Webhooks) Update(ctx context.Context, userID, sessionID, webhookID string, c service.WebhookChange) (*service.WebhookView, error) {
	return w.change(ctx, userID, sessionID, webhookID, c, false)
}

// Put changes the first webhook of a session, or adds it.
func (w *Webhooks) Put(ctx context.Context, userID, sessionID string, c service.WebhookChange) (*service.WebhookView, error) {
	return w.change(ctx, userID, sessionID, "", c, true)
}

// change changes a webhook. An empty id stands for the first one of the session. With mayCreate, change adds
// a webhook if there is none.
func (w *Webhooks) change(
	ctx context.Context, userID, sessionID, webhookID string, c service.WebhookChange, mayCreate bool,
) (*service.WebhookView, error) {
	if !w.isAvailable() {
		return nil, errUnavailable()
	}
	change, err := w.check(ctx, c, false)
	if err != nil {
		return nil, err
	}
	var v *service.WebhookView
	err = w.Writer.Update(ctx, func(ctx context.Context, tx *ports.Tx) error {
		h, err := owned(ctx, tx, userID, sessionID, webhookID)
		if domain.CodeOf(err) == domain.CodeWebhookNotFound && mayCreate {
			fresh, err := w.check(ctx, c, true)
			if err != nil {
				return err
			}
			v, err = w.create(ctx, tx, userID, sessionID, fresh)
			return err
		}
		if err != nil {
			return err
		}
		v, err = w.update(ctx, tx, h, change)
		return err
	})
	if err == nil {
		w.wakeDispatch()
	}
	return v, apperr.Public(err)
}

// update applies a change to a webhook, stores it, and returns it with its secret if that has changed.
func (w *Webhooks) update(ctx context.Context, tx *ports.Tx, h *domain.Webhook, change checkedChange) (*service.WebhookView, error) {
	now := w.Now()
	former := *h
	secret, err := w.apply(h, change, now)
	if err != nil {
		return nil, err
	}
	if h.Active && (h.URL != former.URL || !former.Active) {
		if err := wakeFirstDelivery(ctx, tx, h, now); err != nil {
			return nil, err
		}
	}
	if err := tx.Webhooks.Put(ctx, h); err != nil {
		return nil, err
	}
	v := viewOf(h)
	if secret != "" {
		v.ShownSecret = secret
		if err := w.Trail().Record(ctx, tx, domain.AuditWebhookRotated, auditObject(h), "session", h.SessionID, "grace", "0s"); err != nil {
			return nil, err
		}
	}
	return v, w.Trail().Record(ctx, tx, domain.AuditWebhookUpdated, auditObject(h), "session", h.SessionID,
		"host", domain.WebhookHost(h.URL), "active", strconv.FormatBool(h.Active))
}

// wakeFirstDelivery makes the first pending delivery of a webhook due. The delivery may have waited for a
// receiver that is mended now.
func wakeFirstDelivery(ctx context.Context, tx *ports.Tx, h *domain.Webhook, now time.Time) error {
	h.Wake(now)
	d, err := tx.Deliveries.NextPending(ctx, h.ID)
	if errors.Is(err, ports.ErrNotFound) {
		return nil
	}
	if err != nil || !d.NextAt.After(now) {
		return err
	}
	d.NextAt = now
	return tx.Deliveries.Put(ctx, d)
}

// wakeDispatch makes Dispatch look at a webhook that a call has made due.
func (w *Webhooks) wakeDispatch() {
	w.due.Store(true)
	w.parts.Wake()
}

// Delete removes a webhook with its deliveries. It removes many deliveries in several transactions, because
// one transaction for 200,000 of them would hold up all other writers for 3 s. The webhook is switched off by
// the first of several transactions, and removed by the last.
func (w *Webhooks) Delete(ctx context.Context, userID, sessionID, webhookID string) error {
	h, err := w.read(ctx, userID, sessionID, webhookID)
	for n := changedPerPass; err == nil && n == changedPerPass; {
		err = w.Writer.Update(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
			n, err = w.deletePart(ctx, tx, userID, sessionID, h.ID)
			return err
		})
	}
	return apperr.Public(err)
}

// deletePart removes at most changedPerPass deliveries of a webhook, and the webhook with the last of them. It
// returns the number of deliveries.
func (w *Webhooks) deletePart(ctx context.Context, tx *ports.Tx, userID, sessionID, webhookID string) (n int, err error) {
	h, err := owned(ctx, tx, userID, sessionID, webhookID)
	if err != nil {
		return 0, err
	}
	n, err = tx.Deliveries.DeleteOf(ctx, h.ID, changedPerPass)
	if err != nil {
		return 0, err
	}
	if n == changedPerPass {
		h.SwitchOff(w.Now())
		return n, tx.Webhooks.Put(ctx, h)
	}
	if err := tx.Webhooks.Delete(ctx, h.ID); err != nil {
		return 0, apperr.Webhook(err)
	}
	if err := tx.Settings.Put(ctx, epochSetting, w.IDs.NewID()); err != nil {
		return 0, err
	}
	return n, w.Trail().Record(ctx, tx, domain.AuditWebhookDeleted, auditObject(h), "session", sessionID)
}

// RotateSecret gives a webhook a new secret.
func (w *Webhooks) RotateSecret(ctx context.Context, userID, sessionID, webhookID string, grace time.Duration) (*service.WebhookView, error) {
	if !w.isAvailable() {
		return nil, errUnavailable()
	}
	var p domain.Problems
	if grace < 0 || grace > domain.MaxWebhookGrace {
		p.Add("grace", "Grace must be between 0s and %v", domain.MaxWebhookGrace)
	}
	if err := p.Err(); err != nil {
		return nil, err
	}
	var v *service.WebhookView
	err := w.Writer.Update(ctx, func(ctx context.Context, tx *ports.Tx) error {
		h, err := owned(ctx, tx, userID, sessionID, webhookID)
		if err != nil {
			return err
		}
		now := w.Now()
		secret, err := w.setSecret(h, nil, grace, now)
		if err != nil {
			return err
		}
		h.UpdatedAt = now
		if err := tx.Webhooks.Put(ctx, h); err != nil {
			return err
		}
		v = viewOf(h)
		v.ShownSecret = secret
		return w.Trail().Record(ctx, tx, domain.AuditWebhookRotated, auditObject(h), "session", sessionID, "grace", grace.String())
	})
	return v, apperr.Public(err)
}

// Test sends a ping and waits for the response.
func (w *Webhooks) Test(ctx context.Context, userID, sessionID, webhookID string) (*service.WebhookTest, error) {
	if !w.isAvailable() {
		return nil, errUnavailable()
	}
	h, err := w.read(ctx, userID, sessionID, webhookID)
	if err != nil {
		return nil, err
	}
	t := &service.WebhookTest{DeliveryID: w.IDs.NewID()}
	ping := &domain.Event{Type: domain.EventPing, At: w.Now(), UserID: h.UserID, SessionID: h.SessionID}
	answer, err := w.post(ctx, h, t.DeliveryID, ping, time.Time{})
	var failure *ports.WebhookError
	switch {
	case errors.As(err, &failure):
		t.Reason = failure.Message
	case err != nil:
		return nil, apperr.PublicIn(ctx, err)
	default:
		t.Code, t.Body, t.Latency = answer.Code, answer.Body, answer.Latency
		t.Reason = domain.Attempt{Code: answer.Code}.FailureReason()
	}
	return t, nil
}
