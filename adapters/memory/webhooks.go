package memory

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

type webhookRow struct {
	v          *domain.Webhook
	session    *sessionRow
	deliveries list[*deliveryRow] // by position
	pending    list[*deliveryRow] // by position
	index      int32              // in its queue, plus one
}

func webhookSlot(a, b *webhookRow) int { return cmp.Compare(a.v.Slot, b.v.Slot) }

func (r *webhookRow) heapIndex() *int32 { return &r.index }
func (r *webhookRow) before(o *webhookRow) bool {
	return cmp.Or(r.v.DueAt.Compare(o.v.DueAt), cmp.Compare(r.v.ID, o.v.ID)) < 0
}

func (r *webhookRow) clone() *domain.Webhook { return r.v.Clone() }

func (r *webhookRow) rev() int64 {
	if r == nil {
		return 0
	}
	return r.v.Rev
}

type webhooks struct{ *txn }

func (t webhooks) Get(_ context.Context, id string) (*domain.Webhook, error) {
	return find(t.txn, t.s.webhooks, id, (*webhookRow).clone)
}

func (t webhooks) BySession(_ context.Context, sessionID string) ([]*domain.Webhook, error) {
	if err := t.readable(); err != nil {
		return nil, err
	}
	session := t.s.sessions[sessionID]
	if session == nil {
		return nil, nil
	}
	return copies(session.webhooks, (*webhookRow).clone), nil
}

func (t webhooks) Put(_ context.Context, w *domain.Webhook) error {
	if err := t.writable(); err != nil {
		return err
	}
	r := t.s.webhooks[w.ID]
	if err := checkRev(r, w.Rev); err != nil {
		return err
	}
	session := t.s.sessions[w.SessionID]
	if session == nil {
		return ports.ErrNotFound
	}
	if r != nil && r.session != session { // a webhook keeps its session
		return ports.ErrConflict
	}
	if slices.ContainsFunc(session.webhooks, func(o *webhookRow) bool { return o != r && o.v.Slot == w.Slot }) {
		return ports.ErrExists
	}
	if r == nil {
		r = &webhookRow{session: session}
	}
	v := w.Clone()
	truncate(&v.FormerUntil, &v.DueAt, &v.ClaimedUntil, &v.CreatedAt, &v.UpdatedAt, &v.UntoldSince)
	v.Rev = t.s.nextRev()
	t.set(r, v)
	w.Rev = v.Rev
	return nil
}

func (t webhooks) Delete(_ context.Context, id string) error {
	if err := t.writable(); err != nil {
		return err
	}
	r := t.s.webhooks[id]
	if r == nil {
		return ports.ErrNotFound
	}
	t.remove(r)
	return nil
}

// remove removes a webhook with its deliveries.
func (t webhooks) remove(r *webhookRow) {
	for _, d := range slices.Clone(r.deliveries) {
		deliveries(t).set(d, nil)
	}
	t.set(r, nil)
}

func (t webhooks) Due(_ context.Context, at time.Time, limit int) ([]*domain.Webhook, error) {
	if err := t.readable(); err != nil {
		return nil, err
	}
	rows := t.s.webhookDue.firstWhile(limit, func(r *webhookRow) bool { return !r.v.DueAt.After(at) })
	return copies(rows, (*webhookRow).clone), nil
}

func (t webhooks) NextDue(context.Context) (time.Time, error) {
	if err := t.readable(); err != nil || len(t.s.webhookDue) == 0 {
		return time.Time{}, err
	}
	return t.s.webhookDue[0].v.DueAt, nil
}

func (t webhooks) Sessions(context.Context) (ids []string, err error) {
	if err := t.readable(); err != nil {
		return nil, err
	}
	for _, r := range t.s.webhooks {
		if r.session.webhooks[0] == r {
			ids = append(ids, r.v.SessionID)
		}
	}
	return ids, nil
}

func (t webhooks) set(r *webhookRow, v *domain.Webhook) {
	old := r.v
	t.s.setWebhook(r, v)
	t.onRollback(func() { t.s.setWebhook(r, old) })
}

// setWebhook sets the value of a row, or removes the row if v is nil, in every index.
func (s *Store) setWebhook(r *webhookRow, v *domain.Webhook) {
	if r.v != nil {
		delete(s.webhooks, r.v.ID)
		r.session.webhooks.remove(r, webhookSlot)
		s.webhookDue.remove(r)
	}
	r.v = v
	if v != nil {
		s.webhooks[v.ID] = r
		r.session.webhooks.add(r, webhookSlot)
		if !v.DueAt.IsZero() {
			s.webhookDue.add(r)
		}
	}
}
