package domain

import (
	"fmt"
	"strings"
	"time"
)

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
