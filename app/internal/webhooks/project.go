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

// sessionSet is the set of sessions with a webhook, as of an epoch.
type sessionSet struct {
	ids   map[string]bool
	epoch string
}

// projectPage reads one page of the log and returns the number of its events. It reads no event while there is
// no webhook.
func (w *Webhooks) projectPage(ctx context.Context) (int, error) {
	var page []domain.Event
	var set sessionSet
	var last int64
	err := w.Store.View(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		set, err = w.readSessions(ctx, tx)
		if err != nil {
			return err
		}
		if len(set.ids) == 0 {
			last, err = tx.Outbox.Last(ctx)
			return err
		}
		page, err = w.reader.ReadFrom(ctx, tx, w.skippedTo(), pageSize)
		return err
	})
	if err != nil {
		return 0, err
	}
	w.sessions, w.epoch = set.ids, set.epoch
	w.skipTo(last)
	if len(page) == 0 {
		return 0, nil
	}
	if !slices.ContainsFunc(page, set.mayDeliver) {
		w.skipTo(page[len(page)-1].Seq)
		return len(page), nil
	}
	err = w.Writer.Update(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		page, set, err = w.readPage(ctx, tx) // another replica may have advanced
		if err != nil {
			return err
		}
		if err := w.writeDeliveries(ctx, tx, page, set); err != nil {
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

// readPage returns the next events, and the sessions with a webhook. It reads the sessions last: a webhook that
// was made before an event is among them.
func (w *Webhooks) readPage(ctx context.Context, tx *ports.Tx) ([]domain.Event, sessionSet, error) {
	page, err := w.reader.ReadFrom(ctx, tx, w.skippedTo(), pageSize)
	if err != nil || len(page) == 0 {
		return nil, sessionSet{w.sessions, w.epoch}, err
	}
	set, err := w.readSessions(ctx, tx)
	return page, set, err
}

// readSessions returns the sessions with a webhook. It reads them only if they have changed.
func (w *Webhooks) readSessions(ctx context.Context, tx *ports.Tx) (sessionSet, error) {
	epoch, err := tx.Settings.Get(ctx, epochSetting)
	if errors.Is(err, ports.ErrNotFound) {
		err = nil
	}
	if err != nil || w.sessions != nil && epoch == w.epoch {
		return sessionSet{w.sessions, w.epoch}, err
	}
	ids, err := tx.Webhooks.Sessions(ctx)
	set := sessionSet{make(map[string]bool, len(ids)), epoch}
	for _, id := range ids {
		set.ids[id] = true
	}
	return set, err
}

// mayDeliver reports whether a webhook may want the event.
func (set sessionSet) mayDeliver(e domain.Event) bool {
	return set.ids[e.SessionID] && e.SessionID != ""
}

// writeDeliveries writes the deliveries of a page, and makes their webhooks due.
func (w *Webhooks) writeDeliveries(ctx context.Context, tx *ports.Tx, page []domain.Event, set sessionSet) error {
	now := w.Now()
	bySession := make(map[string][]*domain.Webhook)
	var woken []*domain.Webhook
	for i := range page {
		e := &page[i]
		if !set.mayDeliver(*e) {
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

// skipTo notes that no event up to seq needs a delivery.
func (w *Webhooks) skipTo(seq int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.skipped = max(w.skipped, seq)
}

// skippedTo returns the position up to which no event needs a delivery.
func (w *Webhooks) skippedTo() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.skipped
}
