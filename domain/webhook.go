package domain

import (
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
	// UntoldSince is when the system switched the webhook off. It is zero once the owner has been told.
	UntoldSince time.Time

	Secret      SealedSecret
	Former      SealedSecret // signs too, until FormerUntil
	FormerUntil time.Time

	Failures     int       // failed attempts since the latest success
	Since        int64     // events up to this position are not delivered
	DueAt        time.Time // when there may be something to do; zero: after the next event
	ClaimedBy    string    // the replica that delivers
	ClaimedUntil time.Time // by the clock of that replica

	CreatedAt time.Time
	UpdatedAt time.Time
	Rev       int64
}

// Clone returns a copy that shares no memory.
func (w *Webhook) Clone() *Webhook {
	c := *w
	c.Events = slices.Clone(w.Events)
	c.Secret.Sealed, c.Former.Sealed = slices.Clone(w.Secret.Sealed), slices.Clone(w.Former.Sealed)
	return &c
}

// Wants reports whether the webhook delivers the event. The id of a deleted session may be that of another
// user's session by now: an event of the former owner is not for the webhook.
func (w *Webhook) Wants(e *Event) bool {
	if !w.Active || e.SessionID != w.SessionID || e.UserID != w.UserID || e.Seq <= w.Since || !slices.Contains(webhookEvents, e.Type) {
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
	w.Active, w.OffReason, w.UntoldSince, w.Failures, w.DueAt = true, "", time.Time{}, 0, now
}

// SwitchOff stops the webhook for its owner. Deliveries that wait keep waiting.
func (w *Webhook) SwitchOff(now time.Time) {
	w.Active, w.OffReason, w.UntoldSince, w.DueAt = false, "", time.Time{}, now
}

// disable stops the webhook for a reason that its owner is to be told.
func (w *Webhook) disable(reason string, now time.Time) {
	w.SwitchOff(now)
	w.OffReason, w.UntoldSince = reason, now
}

// The notice that a webhook was switched off is tried again after each failure: first a minute later, then
// at most an hour later, for three days in all.
const (
	minNoticeWait = time.Minute
	maxNoticeWait = time.Hour
	maxNoticeAge  = 72 * time.Hour
)

// RecordNotice applies the outcome of an attempt to tell the owner that the webhook was switched off. It
// reports whether the notice is given up.
func (w *Webhook) RecordNotice(failure error, now time.Time) (isGivenUp bool) {
	age := now.Sub(w.UntoldSince)
	isGivenUp = failure != nil && age >= maxNoticeAge
	if failure == nil || isGivenUp {
		w.UntoldSince = time.Time{}
		return isGivenUp
	}
	w.DueAt = now.Add(min(max(age, minNoticeWait), maxNoticeWait))
	return false
}

// Record applies the outcome of an attempt. It switches the webhook off after an answer of 410, and after
// too many failures in a row.
func (w *Webhook) Record(a Attempt, p WebhookPolicy, now time.Time) {
	if a.IsSuccess() {
		w.Failures = 0
		return
	}
	w.Failures++
	switch {
	case a.Code == codeGone:
		w.disable("The receiver answered 410: it wants no more events", now)
	case w.Failures >= p.MaxFailures:
		w.disable(fmt.Sprintf("%d attempts in a row failed; the latest: %s", w.Failures, a.FailureReason()), now)
	}
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
