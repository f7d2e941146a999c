package webhooks

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/switchyard-wa/switchyard/app/internal/apperr"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

const (
	defaultLimit = 20
	maxLimit     = 100

	maxRedelivered = 10_000 // deliveries that one call makes pending again
)

// Deliveries returns a page of deliveries.
func (w *Webhooks) Deliveries(
	ctx context.Context, userID, sessionID, webhookID string, q service.DeliveryQuery,
) (list []*domain.Delivery, next domain.Cursor, err error) {
	f := ports.DeliveryFilter{Status: q.Status}
	page := min(q.Limit, maxLimit)
	if page <= 0 {
		page = defaultLimit
	}
	f.Limit = page + 1 // one more shows whether there is another page
	if q.After.ID != "" {
		f.Before, err = strconv.ParseInt(q.After.ID, 10, 64)
		if err != nil || f.Before <= 0 {
			var p domain.Problems
			p.Add("cursor", "Cursor is not valid; use nextCursor from the previous page unchanged")
			return nil, next, p.Err()
		}
	}
	err = w.Store.View(ctx, func(ctx context.Context, tx *ports.Tx) error {
		h, err := owned(ctx, tx, userID, sessionID, webhookID)
		if err != nil {
			return err
		}
		list, err = tx.Deliveries.List(ctx, h.ID, f)
		return err
	})
	if err != nil {
		return nil, next, apperr.Public(err)
	}
	if len(list) > page {
		list = slices.Clip(list[:page])
		last := list[page-1]
		next = domain.Cursor{At: last.CreatedAt, ID: strconv.FormatInt(last.Position, 10)}
	}
	return list, next, nil
}

// Redeliver makes a delivery pending again, or due at once.
func (w *Webhooks) Redeliver(ctx context.Context, userID, sessionID, webhookID, deliveryID string) (*domain.Delivery, error) {
	var d *domain.Delivery
	err := w.Writer.Update(ctx, func(ctx context.Context, tx *ports.Tx) error {
		h, err := ownedAndActive(ctx, tx, userID, sessionID, webhookID)
		if err != nil {
			return err
		}
		d, err = tx.Deliveries.Get(ctx, deliveryID)
		if errors.Is(err, ports.ErrNotFound) || err == nil && d.WebhookID != h.ID {
			return domain.Errorf(domain.NotFound, domain.CodeNotFound, "Delivery not found; list the deliveries of the webhook to see their ids")
		}
		if err != nil {
			return err
		}
		now := w.Now()
		d.Requeue(now)
		if err := tx.Deliveries.Put(ctx, d); err != nil {
			return err
		}
		h.Wake(now)
		return tx.Webhooks.Put(ctx, h)
	})
	if err == nil {
		w.wakeDispatch()
	}
	return d, apperr.Public(err)
}

// ownedAndActive is owned for a webhook that has to be switched on.
func ownedAndActive(ctx context.Context, tx *ports.Tx, userID, sessionID, webhookID string) (*domain.Webhook, error) {
	h, err := owned(ctx, tx, userID, sessionID, webhookID)
	if err == nil && !h.Active {
		return nil, domain.Errorf(domain.Conflict, domain.CodeInvalidState, "The webhook is switched off; set isActive to true first")
	}
	return h, err
}

// RedeliverSince makes the ended deliveries since a time pending again: those of the first maxRedelivered, and
// of whatever was created at the same time as the last of them.
func (w *Webhooks) RedeliverSince(ctx context.Context, userID, sessionID, webhookID string, since time.Time) (*service.Redelivery, error) {
	now := w.Now()
	selected := ports.EndedDeliveries{EndedBy: now, Since: since}
	out := new(service.Redelivery)
	err := w.Store.View(ctx, func(ctx context.Context, tx *ports.Tx) error {
		h, err := ownedAndActive(ctx, tx, userID, sessionID, webhookID)
		if err != nil {
			return err
		}
		selected.WebhookID = h.ID
		out.Next, err = w.endOfRedelivery(ctx, tx, selected)
		return err
	})
	selected.Before = out.Next
	for n := changedPerPass; err == nil && n == changedPerPass; {
		err = w.Writer.Update(ctx, func(ctx context.Context, tx *ports.Tx) error {
			n = 0
			h, err := ownedAndActive(ctx, tx, userID, sessionID, selected.WebhookID)
			if err != nil {
				return err
			}
			n, err = tx.Deliveries.Requeue(ctx, selected, now, changedPerPass)
			if err != nil || n == 0 {
				return err
			}
			h.Wake(now)
			return tx.Webhooks.Put(ctx, h)
		})
		if err == nil {
			out.Count += n
		}
	}
	if err != nil {
		return nil, apperr.Public(err)
	}
	w.wakeDispatch()
	return out, nil
}

// endOfRedelivery returns the time at which a redelivery ends before it is complete, or the zero time.
func (w *Webhooks) endOfRedelivery(ctx context.Context, tx *ports.Tx, e ports.EndedDeliveries) (time.Time, error) {
	end, err := tx.Deliveries.CreatedAfter(ctx, e, maxRedelivered)
	if err != nil || end.IsZero() {
		return end, err
	}
	first, err := tx.Deliveries.CreatedAfter(ctx, e, 0)
	if err != nil || end.After(first) {
		return end, err
	}
	e.Since = end.Add(time.Microsecond) // all of them were created at one time
	return tx.Deliveries.CreatedAfter(ctx, e, 0)
}
