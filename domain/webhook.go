package domain

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
)

// EventPing is the type of the event with which a webhook is tested. It is in no log.
const EventPing EventType = "ping"

// MaxWebhooks is the number of webhooks that a session may have.
const MaxWebhooks = 5

// MaxWebhookGrace is the longest time for which a replaced secret keeps signing.
const MaxWebhookGrace = 24 * time.Hour

// webhookEvents holds the types of events that webhooks deliver.
var webhookEvents = []EventType{
	EventMessageReceived, EventMessageSent, EventMessageDelivered, EventMessageRead, EventMessageFailed,
	EventSessionConnected, EventSessionDisconnected, EventSessionQR, EventSessionError, EventSessionMigrated,
}

// WebhookEvents returns the types of events that webhooks deliver.
func WebhookEvents() []EventType { return slices.Clone(webhookEvents) }

// Webhook is a URL of a customer that receives the events of one session.
type Webhook struct {
	ID        string
	SessionID string
	UserID    string
	Slot      int // 1 to MaxWebhooks, another one for each webhook of the session
	URL       string
	Events    []EventType // empty: all of WebhookEvents
	Active    bool
	OffReason string // why the system switched the webhook off, for people; empty if it did not

	Secret      SealedSecret
	Former      SealedSecret // signs too, until FormerUntil
	FormerUntil time.Time

	Failures     int       // failed attempts since the latest success
	Since        int64     // events up to this position are not delivered
	DueAt        time.Time // when there may be something to deliver; zero: after the next event
	ClaimedBy    string    // the replica that delivers
	ClaimedUntil time.Time // by the clock of that replica

	CreatedAt time.Time
	UpdatedAt time.Time
	Rev       int64
}

// SealedSecret is a secret as the store keeps it.
type SealedSecret struct {
	Sealed []byte // see ports.Sealer
	Hint   string // the last characters of the secret
}

// Masked returns the secret as it is shown once it is set.
func (s SealedSecret) Masked() string { return webhookSecretPrefix + "…" + s.Hint }

// Clone returns a copy that shares no memory.
func (w *Webhook) Clone() *Webhook {
	c := *w
	c.Events = slices.Clone(w.Events)
	c.Secret.Sealed, c.Former.Sealed = slices.Clone(w.Secret.Sealed), slices.Clone(w.Former.Sealed)
	return &c
}

// Wants reports whether the webhook delivers the event.
func (w *Webhook) Wants(e *Event) bool {
	if !w.Active || e.SessionID != w.SessionID || e.Seq <= w.Since || !slices.Contains(webhookEvents, e.Type) {
		return false
	}
	return len(w.Events) == 0 || slices.Contains(w.Events, e.Type)
}

// Wake makes the webhook due, unless it is due already.
func (w *Webhook) Wake(now time.Time) {
	if w.Active && (w.DueAt.IsZero() || w.DueAt.After(now)) {
		w.DueAt = now
	}
}

// SwitchOn lets the webhook deliver, beginning with the deliveries that wait.
func (w *Webhook) SwitchOn(now time.Time) {
	w.Active, w.OffReason, w.Failures, w.DueAt = true, "", 0, now
}

// SwitchOff stops the webhook. Deliveries that wait keep waiting. reason is for people, and empty if the
// user switched it off.
func (w *Webhook) SwitchOff(reason string) {
	w.Active, w.OffReason, w.DueAt = false, reason, time.Time{}
}

// Rotate replaces the secret. The present one signs too for the grace. A secret that signs too from an
// earlier rotation ends.
func (w *Webhook) Rotate(fresh SealedSecret, grace time.Duration, now time.Time) {
	w.Former, w.FormerUntil = SealedSecret{}, time.Time{}
	if grace > 0 {
		w.Former, w.FormerUntil = w.Secret, now.Add(grace)
	}
	w.Secret = fresh
}

// Signing returns the secrets that sign at a time, the present one first.
func (w *Webhook) Signing(now time.Time) []SealedSecret {
	if now.Before(w.FormerUntil) {
		return []SealedSecret{w.Secret, w.Former}
	}
	return []SealedSecret{w.Secret}
}

// WebhookPolicy says when deliveries are tried again.
type WebhookPolicy struct {
	// Retry holds the waiting times after the first, second, … failed attempt. One attempt more than it
	// has elements fails, and the delivery is dead.
	Retry       []time.Duration
	Timeout     time.Duration // of one attempt
	MaxFailures int           // in a row, which switch a webhook off
}

// DefaultWebhookPolicy returns the policy of the reference service.
func DefaultWebhookPolicy() WebhookPolicy {
	return WebhookPolicy{
		Retry:   []time.Duration{5 * time.Second, 30 * time.Second, 2 * time.Minute, 15 * time.Minute, time.Hour},
		Timeout: 10 * time.Second, MaxFailures: 100,
	}
}

// WithDefaults returns a copy in which fields that are zero have the value of [DefaultWebhookPolicy].
func (p WebhookPolicy) WithDefaults() WebhookPolicy {
	standard := DefaultWebhookPolicy()
	if p.Retry == nil {
		p.Retry = standard.Retry
	}
	if p.Timeout <= 0 {
		p.Timeout = standard.Timeout
	}
	if p.MaxFailures <= 0 {
		p.MaxFailures = standard.MaxFailures
	}
	return p
}

// DeliveryStatus is the state of a delivery.
type DeliveryStatus string

// The states of a delivery.
const (
	DeliveryPending   DeliveryStatus = "PENDING"
	DeliveryDelivered DeliveryStatus = "DELIVERED"
	DeliveryDead      DeliveryStatus = "DEAD" // all attempts failed, or the event is no longer kept
)

// ParseDeliveryStatus returns the status that the text names, in any case.
func ParseDeliveryStatus(text string) (DeliveryStatus, error) {
	switch s := DeliveryStatus(strings.ToUpper(strings.TrimSpace(text))); s {
	case DeliveryPending, DeliveryDelivered, DeliveryDead:
		return s, nil
	}
	return "", Errorf(Invalid, CodeValidation, "Status must be PENDING, DELIVERED or DEAD")
}

// Delivery is one event on its way to one webhook.
type Delivery struct {
	ID           string // stays the same over all attempts
	WebhookID    string
	Position     int64 // of the event in the log
	Type         EventType
	Status       DeliveryStatus
	Attempts     int
	ResponseCode int       // of the latest attempt; 0: no response
	Reason       string    // why the latest attempt failed, for people
	NextAt       time.Time // of the next attempt; zero once Status is not PENDING
	CreatedAt    time.Time
	EndedAt      time.Time // when the status became DELIVERED or DEAD
	Rev          int64
}

// NewDelivery returns the delivery of an event that is due at once.
func NewDelivery(id string, w *Webhook, e *Event, now time.Time) *Delivery {
	return &Delivery{
		ID: id, WebhookID: w.ID, Position: e.Seq, Type: e.Type, Status: DeliveryPending, NextAt: now, CreatedAt: now,
	}
}

// codeGone is the code by which a receiver says that it wants no more events.
const codeGone = 410

// Attempt is the outcome of one attempt to deliver.
type Attempt struct {
	Code   int    // of the response; 0: none
	Reason string // why there is no response, for people
}

// IsSuccess reports whether the receiver has accepted the event.
func (a Attempt) IsSuccess() bool { return a.Code >= 200 && a.Code < 300 }

// FailureReason returns why the attempt failed, for people, or "" if it did not.
func (a Attempt) FailureReason() string {
	switch {
	case a.IsSuccess():
		return ""
	case a.Code == 0:
		return a.Reason
	case a.Code >= 300 && a.Code < 400:
		return fmt.Sprintf("The receiver answered %d: redirects are not followed", a.Code)
	}
	return fmt.Sprintf("The receiver answered %d", a.Code)
}

// Record applies the outcome of an attempt. jitter is a random number from 0 to 1, which moves the next
// attempt by up to 20 % in either direction.
func (d *Delivery) Record(a Attempt, p WebhookPolicy, jitter float64, now time.Time) {
	d.Attempts++
	d.ResponseCode, d.Reason = a.Code, a.FailureReason()
	switch {
	case a.IsSuccess():
		d.end(DeliveryDelivered, now)
	case d.Attempts > len(p.Retry):
		d.end(DeliveryDead, now)
	default:
		d.NextAt = now.Add(time.Duration(float64(p.Retry[d.Attempts-1]) * (0.8 + 0.4*jitter)))
	}
}

// Abandon ends a delivery that cannot be tried.
func (d *Delivery) Abandon(reason string, now time.Time) {
	d.Reason = reason
	d.end(DeliveryDead, now)
}

func (d *Delivery) end(s DeliveryStatus, now time.Time) {
	d.Status, d.NextAt, d.EndedAt = s, time.Time{}, now
}

// Requeue makes a delivery that has ended pending again, with all of its attempts.
func (d *Delivery) Requeue(now time.Time) {
	*d = Delivery{
		ID: d.ID, WebhookID: d.WebhookID, Position: d.Position, Type: d.Type, Status: DeliveryPending, NextAt: now,
		CreatedAt: d.CreatedAt, Rev: d.Rev,
	}
}

// Record applies the outcome of an attempt. It switches the webhook off after an answer of 410, and after
// too many failures in a row.
func (w *Webhook) Record(a Attempt, p WebhookPolicy) {
	if a.IsSuccess() {
		w.Failures = 0
		return
	}
	w.Failures++
	switch {
	case a.Code == codeGone:
		w.SwitchOff("The receiver answered 410: it wants no more events")
	case w.Failures >= p.MaxFailures:
		w.SwitchOff(fmt.Sprintf("%d attempts in a row failed; the latest: %s", w.Failures, a.FailureReason()))
	}
}

// The rules of secrets, as Standard Webhooks has them.
const (
	webhookSecretPrefix = "whsec_"
	webhookSecretMin    = 24 // bytes of the key
	webhookSecretMax    = 64
	webhookSecretSize   = 32 // bytes of a generated key
	webhookHint         = 4
)

// WebhookSecretSize is the number of random bytes that [NewWebhookSecret] takes.
const WebhookSecretSize = webhookSecretSize

// NewWebhookSecret returns the secret with a key.
func NewWebhookSecret(key []byte) string {
	return webhookSecretPrefix + base64.StdEncoding.EncodeToString(key)
}

// ParseWebhookSecret returns the key of a secret: whsec_ and the base64 text of 24 to 64 bytes.
func ParseWebhookSecret(text string) ([]byte, error) {
	encoded, isPrefixed := strings.CutPrefix(text, webhookSecretPrefix)
	key, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if !isPrefixed || err != nil || len(key) < webhookSecretMin || len(key) > webhookSecretMax || strings.ContainsAny(encoded, "\r\n") {
		return nil, Errorf(Invalid, CodeValidation,
			"Secret must be whsec_ and the base64 text of %d to %d random bytes; leave it out to have one made", webhookSecretMin, webhookSecretMax)
	}
	return key, nil
}

// WebhookSecretHint returns the end of a secret, by which its owner recognises it.
func WebhookSecretHint(secret string) string {
	text := strings.TrimRight(secret, "=")
	return text[max(len(text)-webhookHint, 0):]
}

// CheckWebhookURL checks the form of a webhook's URL: http or https, with a host, and neither a user name
// nor a password.
func CheckWebhookURL(text string) error {
	if problem := urlProblem(text); problem != "" {
		return Errorf(Invalid, CodeValidation, "URL %s", problem)
	}
	if u, err := url.Parse(text); err != nil || u.User != nil {
		return Errorf(Invalid, CodeValidation, "URL must not contain a user name or a password; the signature proves who sent an event")
	}
	return nil
}

// WebhookHost returns the host of a webhook's URL, for the audit trail: the rest may hold a secret.
func WebhookHost(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	return u.Host
}

// ParseWebhookEvents returns the types that the texts name, in any case, each of them once. No text stands
// for all types. "ping" is accepted: every webhook can be tested.
func ParseWebhookEvents(texts []string) ([]EventType, error) {
	var all []EventType
	for _, text := range texts {
		t := EventType(strings.ToLower(strings.TrimSpace(text)))
		if t != EventPing && !slices.Contains(webhookEvents, t) {
			return nil, Errorf(Invalid, CodeValidation, "Events must be some of %s", joinEvents())
		}
		if !slices.Contains(all, t) {
			all = append(all, t)
		}
	}
	return all, nil
}

func joinEvents() string {
	names := make([]string, len(webhookEvents))
	for i, t := range webhookEvents {
		names[i] = string(t)
	}
	return strings.Join(names, ", ")
}

// FreeWebhookSlot returns the lowest slot that none of a session's webhooks has, or 0.
func FreeWebhookSlot(present []*Webhook) int {
	for slot := 1; slot <= MaxWebhooks; slot++ {
		if !slices.ContainsFunc(present, func(w *Webhook) bool { return w.Slot == slot }) {
			return slot
		}
	}
	return 0
}
