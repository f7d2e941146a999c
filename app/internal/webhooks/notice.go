package webhooks

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

const (
	mailTimeout  = 30 * time.Second
	expiryMargin = time.Minute // housekeeping deletes expired events once a minute
)

// runSwitchedOff mails the notice that a webhook is switched off, and ends deliveries whose events are no
// longer kept. The owner is told at least once:
//
//	switched off, UntoldSince set (one transaction) ─► claim ─► mail ─► UntoldSince cleared
func (w *Webhooks) runSwitchedOff(ctx context.Context, id string) error {
	n, err := w.claimNotice(ctx, id)
	if err == nil && n != nil {
		failure := w.mailNotice(ctx, n)
		if ctx.Err() == nil { // otherwise the process stops, and another run repeats the mail
			err = w.recordNotice(ctx, n, failure)
		}
	}
	w.LogFailure(ctx, "webhook switched-off run failed", err, "webhook", id)
	return err
}

// notice is a mail that tells the owner of a webhook that the system switched it off.
type notice struct {
	webhook *domain.Webhook
	owner   *domain.User
}

// claimNotice returns the notice that is due, and claims the webhook for its mail. It returns nil if there
// is none.
func (w *Webhooks) claimNotice(ctx context.Context, id string) (n *notice, err error) {
	err = w.Writer.Update(ctx, func(ctx context.Context, tx *ports.Tx) error {
		n = nil
		now := w.Now()
		h, err := tx.Webhooks.Get(ctx, id)
		switch {
		case errors.Is(err, ports.ErrNotFound):
			return nil
		case err != nil:
			return err
		case h.Active, h.DueAt.IsZero(), h.DueAt.After(now), w.parts.Members.IsOthersClaim(h.ClaimedBy, h.ClaimedUntil, now):
			return nil
		}
		if !h.UntoldSince.IsZero() {
			owner, err := tx.Users.Get(ctx, h.UserID)
			if err != nil && !errors.Is(err, ports.ErrNotFound) {
				return err
			}
			if err == nil && w.parts.Mailer != nil {
				w.claim(h, now, mailTimeout)
				n = &notice{h, owner}
				return tx.Webhooks.Put(ctx, h)
			}
			h.UntoldSince = time.Time{} // nobody can be told
		}
		return w.expire(ctx, tx, h)
	})
	return n, err
}

// recordNotice records whether the notice was mailed.
func (w *Webhooks) recordNotice(ctx context.Context, n *notice, failure error) error {
	isGivenUp := false
	err := w.Writer.Update(ctx, func(ctx context.Context, tx *ports.Tx) error {
		h, err := tx.Webhooks.Get(ctx, n.webhook.ID)
		if errors.Is(err, ports.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		w.release(h)
		if h.Active || !h.UntoldSince.Equal(n.webhook.UntoldSince) { // its owner has changed it meanwhile
			return tx.Webhooks.Put(ctx, h)
		}
		isGivenUp = h.RecordNotice(failure, w.Now())
		if !h.UntoldSince.IsZero() {
			return tx.Webhooks.Put(ctx, h)
		}
		return w.expire(ctx, tx, h)
	})
	if isGivenUp {
		w.Log.ErrorContext(ctx, "webhook notice given up", "webhook", n.webhook.ID)
	}
	return err
}

// expire ends deliveries of a switched-off webhook whose events are no longer kept. It stores the webhook,
// due when the next delivery expires.
func (w *Webhooks) expire(ctx context.Context, tx *ports.Tx, h *domain.Webhook) error {
	now := w.Now()
	h.DueAt = now // for another run, unless the loop reaches a delivery whose event is kept
	for range abandonedPerTx {
		d, _, err := w.firstDelivery(ctx, tx, h)
		if errors.Is(err, ports.ErrNotFound) {
			h.DueAt = time.Time{}
			break
		}
		if errors.Is(err, errNoEvent) {
			d.Abandon(noEvent, now)
			if err := tx.Deliveries.Put(ctx, d); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		h.DueAt = later(d.CreatedAt.Add(w.parts.Retention), now).Add(expiryMargin)
		break
	}
	return tx.Webhooks.Put(ctx, h)
}

// later returns the later of two times.
func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// recordSwitchOff adds to the audit trail that the system has switched a webhook off.
func (w *Webhooks) recordSwitchOff(ctx context.Context, tx *ports.Tx, h *domain.Webhook) error {
	return w.Trail().Record(ctx, tx, domain.AuditWebhookSwitchedOff, auditObject(h), "session", h.SessionID, "reason", h.OffReason)
}

// mailNotice mails the owner of a webhook that it was switched off.
func (w *Webhooks) mailNotice(ctx context.Context, n *notice) error {
	ctx, cancel := context.WithTimeout(ctx, mailTimeout)
	defer cancel()
	mail := ports.Mail{To: n.owner.Email, Subject: "A Switchyard webhook was switched off", Text: fmt.Sprintf(`A webhook of the session %s was switched off. It delivers no events until you switch it on again.

  webhook  %s
  reason   %s

Events that waited at that time are kept and go on then. Look at the receiver, send a
test, and set isActive to true.
`, n.webhook.SessionID, n.webhook.ID, n.webhook.OffReason)}
	err := w.parts.Mailer.Send(ctx, mail)
	w.LogFailure(ctx, "webhook notice not mailed", err, "webhook", n.webhook.ID)
	return err
}
