package webhooks

import (
	"context"
	"errors"
	"time"

	"github.com/switchyard-wa/switchyard/app/internal/workqueue"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

const (
	dispatchLimit  = 4096             // webhooks that one pass looks at
	lookAhead      = 5 * time.Second  // the loop passes at least as often
	attemptsPerRun = 64               // before a run yields to other webhooks
	claimGrace     = 10 * time.Second // how much longer a claim lasts than an attempt may take
	abandonedPerTx = 64               // deliveries that one transaction abandons
	noEvent        = "The event is no longer kept: it is older than the retention of events"
	noSecret       = "The secret of the webhook cannot be read; rotate it"
)

// Dispatch begins a run for each webhook that is due and that this replica should run. It returns when it
// must be called again; zero: after the next Wake.
func (w *Webhooks) Dispatch(ctx context.Context, work *workqueue.Batch) (time.Time, error) {
	now := w.Now()
	if !w.isAvailable() || !w.due.Swap(false) && (w.nextDue.IsZero() || now.Before(w.nextDue)) {
		return w.nextDue, nil
	}
	var list []*domain.Webhook
	err := w.Store.View(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		list, err = tx.Webhooks.Due(ctx, now.Add(lookAhead), dispatchLimit)
		return err
	})
	if err != nil {
		w.due.Store(true)
		return now.Add(retryAfterError), err
	}
	w.nextDue = time.Time{}
	if w.IsShared() || len(list) == dispatchLimit {
		w.lookAgain(now.Add(pollEvery))
	} else {
		w.lookAgain(now.Add(lookAhead))
	}
	for _, h := range list {
		if h.DueAt.After(now) {
			w.lookAgain(h.DueAt)
			break
		}
		if w.parts.Members.IsOthersClaim(h.ClaimedBy, h.ClaimedUntil, now) || !w.parts.Members.ShouldRun("webhook/"+h.ID, h.DueAt, now) {
			w.lookAgain(now.Add(pollEvery))
			continue
		}
		task := taskOf(h)
		run := w.run
		if !h.Active {
			run = w.runSwitchedOff
		}
		if !w.queue.Dispatch(work, task, func() error { return run(work.Context, h.ID) }, w.runEnded) {
			w.lookAgain(now.Add(retryAfterError))
		}
	}
	return w.nextDue, nil
}

// taskOf returns the task of a webhook. The queue bounds the tasks of each pool, and in each pool the tasks of
// one user, as it does those of one worker.
func taskOf(h *domain.Webhook) workqueue.Task {
	if h.Failures > 0 {
		return workqueue.Task{Key: h.ID, Worker: h.UserID + "/failing", Pool: workqueue.FailingWebhooks}
	}
	return workqueue.Task{Key: h.ID, Worker: h.UserID, Pool: workqueue.Webhooks}
}

// lookAgain makes Dispatch read the due webhooks again at a time, or earlier.
func (w *Webhooks) lookAgain(at time.Time) {
	if w.nextDue.IsZero() || at.Before(w.nextDue) {
		w.nextDue = at
	}
}

// runEnded lets webhooks run that waited for a slot.
func (w *Webhooks) runEnded() {
	w.due.Store(true)
	w.parts.Wake()
}

// attempt is one attempt to deliver an event to a webhook, with its outcome.
type attempt struct {
	webhook  *domain.Webhook
	delivery *domain.Delivery
	event    *domain.Event
	outcome  domain.Attempt
}

// run delivers the due events of one webhook, one after the other.
func (w *Webhooks) run(ctx context.Context, id string) error {
	var latest *attempt
	for range attemptsPerRun {
		next, err := w.recordAndPick(ctx, id, latest, true)
		if err != nil || next == nil {
			return w.logRunFailure(ctx, id, err)
		}
		latest = nil
		if !w.hasTime(next.webhook) {
			continue
		}
		if !w.try(ctx, next) {
			return nil // the process stops; another run repeats the attempt
		}
		latest = next
	}
	_, err := w.recordAndPick(ctx, id, latest, false)
	return w.logRunFailure(ctx, id, err)
}

// logRunFailure logs the error of a run, and returns it.
func (w *Webhooks) logRunFailure(ctx context.Context, id string, err error) error {
	w.LogFailure(ctx, "webhook run failed", err, "webhook", id)
	return err
}

// hasTime reports whether the claim of a webhook lasts for an attempt. After a pause of this replica it may not.
func (w *Webhooks) hasTime(h *domain.Webhook) bool {
	return !w.IsShared() || w.Now().Add(w.parts.Policy.Timeout).Before(h.ClaimedUntil)
}

// try makes an attempt. It returns false if ctx ended first.
func (w *Webhooks) try(ctx context.Context, a *attempt) bool {
	answer, err := w.post(ctx, a.webhook, a.delivery.ID, a.event, a.webhook.ClaimedUntil)
	var failure *ports.WebhookError
	switch {
	case err == nil:
		a.outcome = domain.Attempt{Code: answer.Code}
	case ctx.Err() != nil:
		return false
	case errors.As(err, &failure):
		a.outcome = domain.Attempt{Reason: failure.Message}
	default:
		a.outcome = domain.Attempt{Reason: "The attempt failed"}
	}
	if err != nil {
		w.Log.DebugContext(ctx, "webhook attempt failed", "webhook", a.webhook.ID, "delivery", a.delivery.ID, "error", err)
	}
	return true
}

// post sends an event once, and never after a time, unless that is zero.
func (w *Webhooks) post(ctx context.Context, h *domain.Webhook, deliveryID string, e *domain.Event, notAfter time.Time) (ports.WebhookAnswer, error) {
	now := w.Now()
	call := ports.WebhookCall{URL: h.URL, ID: deliveryID, At: now, Event: e, Timeout: w.parts.Policy.Timeout, NotAfter: notAfter}
	for _, secret := range h.Signing(now) {
		key, err := w.parts.Sealer.Open(secret.Sealed, sealBound(h.ID))
		if err != nil {
			w.Log.ErrorContext(ctx, "webhook secret unreadable", "webhook", h.ID, "error", err)
			return ports.WebhookAnswer{}, &ports.WebhookError{Message: noSecret, Err: err}
		}
		call.Keys = append(call.Keys, key)
	}
	return w.parts.Sender.Post(ctx, call)
}

// recordAndPick records the outcome of the latest attempt, if there is one, and returns the next attempt. It
// returns nil if nothing is due now. If mayPick is false it returns nil too, and ends the claim.
func (w *Webhooks) recordAndPick(ctx context.Context, id string, latest *attempt, mayPick bool) (next *attempt, err error) {
	jitter, err := w.Jitter()
	if err != nil {
		return nil, err
	}
	var switchedOff *domain.Webhook
	err = w.Writer.Update(ctx, func(ctx context.Context, tx *ports.Tx) error {
		next, switchedOff = nil, nil
		h, err := tx.Webhooks.Get(ctx, id)
		if errors.Is(err, ports.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		before := stateOf(h)
		if latest != nil {
			if err := w.record(ctx, tx, h, latest, jitter); err != nil {
				return err
			}
		}
		if before.isActive && !h.Active {
			switchedOff = h
		}
		if mayPick {
			next, err = w.pick(ctx, tx, h)
			if err != nil {
				return err
			}
		} else {
			h.Wake(w.Now())
		}
		if next == nil {
			w.release(h)
		}
		if stateOf(h) == before {
			return nil
		}
		return tx.Webhooks.Put(ctx, h)
	})
	if err == nil && switchedOff != nil {
		w.Log.WarnContext(ctx, "webhook switched off", "webhook", id, "session", switchedOff.SessionID, "reason", switchedOff.OffReason)
	}
	return next, err
}

// state is the part of a webhook that runs change.
type state struct {
	isActive     bool
	failures     int
	due          time.Time
	claimedBy    string
	claimedUntil time.Time
}

func stateOf(h *domain.Webhook) state {
	return state{h.Active, h.Failures, h.DueAt, h.ClaimedBy, h.ClaimedUntil}
}

// record applies the outcome of an attempt to its delivery and to the webhook, which the caller stores. It
// does nothing if another call or replica has changed the delivery.
func (w *Webhooks) record(ctx context.Context, tx *ports.Tx, h *domain.Webhook, a *attempt, jitter float64) error {
	d, err := tx.Deliveries.Get(ctx, a.delivery.ID)
	if errors.Is(err, ports.ErrNotFound) || err == nil && d.Rev != a.delivery.Rev {
		return nil
	}
	if err != nil {
		return err
	}
	d.Record(a.outcome, w.parts.Policy, jitter, w.Now())
	if err := tx.Deliveries.Put(ctx, d); err != nil || !h.Active {
		return err
	}
	h.Record(a.outcome, w.parts.Policy, w.Now())
	if h.Active {
		return nil
	}
	return w.recordSwitchOff(ctx, tx, h)
}

// pick returns the next attempt and claims the webhook for it. Without one it sets when the webhook is due.
func (w *Webhooks) pick(ctx context.Context, tx *ports.Tx, h *domain.Webhook) (*attempt, error) {
	now := w.Now()
	switch {
	case !h.Active: // see runSwitchedOff
		return nil, nil
	case w.parts.Members.IsOthersClaim(h.ClaimedBy, h.ClaimedUntil, now):
		return nil, nil
	}
	for range abandonedPerTx {
		d, event, err := w.firstDelivery(ctx, tx, h)
		switch {
		case errors.Is(err, ports.ErrNotFound):
			h.DueAt = time.Time{}
			return nil, nil
		case errors.Is(err, errNoEvent):
			d.Abandon(noEvent, now)
			if err := tx.Deliveries.Put(ctx, d); err != nil {
				return nil, err
			}
			continue
		case err != nil:
			return nil, err
		case d.NextAt.After(now):
			h.DueAt = d.NextAt
			return nil, nil
		}
		w.claim(h, now, w.parts.Policy.Timeout)
		h.Wake(now)
		return &attempt{webhook: h, delivery: d, event: event}, nil
	}
	h.Wake(now)
	return nil, nil
}

// errNoEvent reports that the event of a delivery is no longer kept.
var errNoEvent = errors.New("the event is no longer kept")

// firstDelivery returns the pending delivery of a webhook with the lowest position, and its event. It fails
// with ports.ErrNotFound if nothing is pending. With errNoEvent it returns the delivery.
func (w *Webhooks) firstDelivery(ctx context.Context, tx *ports.Tx, h *domain.Webhook) (*domain.Delivery, *domain.Event, error) {
	d, err := tx.Deliveries.NextPending(ctx, h.ID)
	if err != nil {
		return nil, nil, err
	}
	events, err := tx.Outbox.After(ctx, ports.EventFilter{SessionID: h.SessionID}, d.Position-1, 1)
	if err != nil {
		return nil, nil, err
	}
	if len(events) == 0 || events[0].Seq != d.Position {
		return d, nil, errNoEvent
	}
	return d, &events[0], nil
}

// claim claims a webhook for work that takes no longer than a limit. It keeps a claim of this replica that
// lasts long enough.
func (w *Webhooks) claim(h *domain.Webhook, now time.Time, limit time.Duration) {
	if w.IsShared() && (h.ClaimedBy != w.Self.ID || h.ClaimedUntil.Before(now.Add(limit+claimGrace/2))) {
		h.ClaimedBy, h.ClaimedUntil = w.Self.ID, now.Add(limit+claimGrace)
	}
}

// release ends the claim of this replica, if it has one.
func (w *Webhooks) release(h *domain.Webhook) {
	if h.ClaimedBy == w.Self.ID {
		h.ClaimedBy, h.ClaimedUntil = "", time.Time{}
	}
}
