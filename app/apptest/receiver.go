package apptest

import (
	"context"
	"sync"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// Receiver stands for the URLs of customers: webhooks of all replicas post to it. It records every attempt,
// and answers 200 unless Answer says otherwise.
type Receiver struct {
	clock *clock

	mu       sync.Mutex
	answer   func(a DeliveryAttempt) (code int, err error)
	attempts []DeliveryAttempt
}

// DeliveryAttempt is one attempt to deliver an event.
type DeliveryAttempt struct {
	At         time.Time
	URL        string
	DeliveryID string // the same in all attempts
	Event      domain.Event
	Keys       int // keys that signed
	Number     int // of the attempt for this delivery, from 1 on
	Code       int // the answer; 0: none
}

// Answer sets how the receiver answers. fn runs once for each attempt. Its error stands for a receiver that
// does not answer; use a *ports.WebhookError.
func (r *Receiver) Answer(fn func(a DeliveryAttempt) (code int, err error)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = fn
}

// Attempts returns all attempts so far, in their order.
func (r *Receiver) Attempts() []DeliveryAttempt {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]DeliveryAttempt(nil), r.attempts...)
}

// Accepted returns the events that the receiver has answered with 2xx, in their order.
func (r *Receiver) Accepted() (all []DeliveryAttempt) {
	for _, a := range r.Attempts() {
		if a.Code >= 200 && a.Code < 300 {
			all = append(all, a)
		}
	}
	return all
}

// Post implements [ports.WebhookSender].
func (r *Receiver) Post(_ context.Context, c ports.WebhookCall) (ports.WebhookAnswer, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := DeliveryAttempt{At: r.clock.Now(), URL: c.URL, DeliveryID: c.ID, Event: *c.Event, Keys: len(c.Keys), Number: 1, Code: 200}
	for _, former := range r.attempts {
		if former.DeliveryID == c.ID {
			a.Number++
		}
	}
	var err error
	if r.answer != nil {
		a.Code, err = r.answer(a)
	}
	r.attempts = append(r.attempts, a)
	return ports.WebhookAnswer{Code: a.Code}, err
}
