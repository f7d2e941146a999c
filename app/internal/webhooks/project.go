package webhooks

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

const pageSize = 256

// Project reads the log, and writes a delivery for each event and webhook that wants it. It returns when it
// must be called again; zero: after the next event.
func (w *Webhooks) Project(ctx context.Context) (time.Time, error) {
	if !w.isAvailable() {
		return time.Time{}, nil
	}
	now := w.Now()
	mayPoll := w.IsShared() && !now.Before(w.pollAt)
	if !w.unread.Swap(false) && !mayPoll {
		return w.pollAt, nil
	}
	if w.IsShared() {
		w.pollAt = now.Add(pollEvery)
	}
	if !w.parts.Members.OwnsWork("webhooks") {
		return w.pollAt, nil
	}
	for {
		n, err := w.projectPage(ctx)
		if err != nil {
			w.unread.Store(true)
			return now.Add(retryAfterError), err
		}
		if n < pageSize {
			return w.pollAt, nil
		}
	}
}

// known is the set of sessions with a webhook, as of an epoch.
type known struct {
	sessions map[string]bool
	epoch    string
}

// projectPage reads one page of the log and returns the number of its events. It reads no event while there is no webhook.
func (w *Webhooks) projectPage(ctx context.Context) (int, error) {
	var page []domain.Event
	var k known
	var last int64
	err := w.Store.View(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		k, err = w.readKnown(ctx, tx)
		if err != nil {
			return err
		}
		if len(k.sessions) == 0 {
			last, err = tx.Outbox.Last(ctx)
			return err
		}
		page, err = w.reader.ReadFrom(ctx, tx, w.skippedTo(), pageSize)
		return err
	})
	if err != nil {
		return 0, err
	}
	w.sessions, w.epoch = k.sessions, k.epoch
	w.skipTo(last)
	if len(page) == 0 {
		return 0, nil
	}
	if !slices.ContainsFunc(page, k.mayDeliver) {
		w.skipTo(page[len(page)-1].Seq)
		return len(page), nil
	}
	err = w.Writer.Update(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		page, k, err = w.readPage(ctx, tx) // another replica may have advanced
		if err != nil {
			return err
		}
		if err := w.writeDeliveries(ctx, tx, page, k); err != nil {
			return err
		}
		return w.reader.Advance(ctx, tx, page)
	})
	if err == nil {
		w.due.Store(true)
		w.parts.Announce()
	}
	return len(page), err
}

// readPage returns the next events, and then the sessions with a webhook.
func (w *Webhooks) readPage(ctx context.Context, tx *ports.Tx) ([]domain.Event, known, error) {
	page, err := w.reader.ReadFrom(ctx, tx, w.skippedTo(), pageSize)
	if err != nil || len(page) == 0 {
		return nil, known{w.sessions, w.epoch}, err
	}
	k, err := w.readKnown(ctx, tx)
	return page, k, err
}

// readKnown returns the sessions with a webhook, and reads them only if they have changed.
func (w *Webhooks) readKnown(ctx context.Context, tx *ports.Tx) (known, error) {
	epoch, err := tx.Settings.Get(ctx, epochSetting)
	if errors.Is(err, ports.ErrNotFound) {
		err = nil
	}
	if err != nil || w.sessions != nil && epoch == w.epoch {
		return known{w.sessions, w.epoch}, err
	}
	ids, err := tx.Webhooks.Sessions(ctx)
	k := known{make(map[string]bool, len(ids)), epoch}
	for _, id := range ids {
		k.sessions[id] = true
	}
	return k, err
}

// mayDeliver reports whether a webhook may want the event.
func (k known) mayDeliver(e domain.Event) bool { return k.sessions[e.SessionID] && e.SessionID != "" }

// writeDeliveries writes the deliveries of a page, and makes their webhooks due.
func (w *Webhooks) writeDeliveries(ctx context.Context, tx *ports.Tx, page []domain.Event, k known) error {
	now := w.Now()
	bySession := make(map[string][]*domain.Webhook)
	var woken []*domain.Webhook
	for i := range page {
		e := &page[i]
		if !k.mayDeliver(*e) {
			continue
		}
		hooks, isRead := bySession[e.SessionID]
		if !isRead {
			var err error
			hooks, err = tx.Webhooks.BySession(ctx, e.SessionID)
			if err != nil {
				return err
			}
			bySession[e.SessionID] = hooks
		}
		for _, h := range hooks {
			if !h.Wants(e) {
				continue
			}
			if err := tx.Deliveries.Put(ctx, domain.NewDelivery(w.IDs.NewID(), h, e, now)); err != nil {
				return err
			}
			if !slices.Contains(woken, h) {
				woken = append(woken, h)
			}
		}
	}
	for _, h := range woken {
		h.Wake(now)
		if err := tx.Webhooks.Put(ctx, h); err != nil { // even if it was due: see the package comment
			return err
		}
	}
	return nil
}

func (w *Webhooks) skipTo(seq int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.skipped = max(w.skipped, seq)
}

func (w *Webhooks) skippedTo() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.skipped
}
