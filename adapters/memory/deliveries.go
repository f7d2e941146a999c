package memory

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

type deliveryRow struct {
	v       *domain.Delivery
	webhook *webhookRow
}

func deliveryPosition(a, b *deliveryRow) int { return cmp.Compare(a.v.Position, b.v.Position) }

func deliveryEnd(a, b *deliveryRow) int {
	return cmp.Or(a.v.EndedAt.Compare(b.v.EndedAt), cmp.Compare(a.v.ID, b.v.ID))
}

func (r *deliveryRow) clone() *domain.Delivery {
	d := *r.v
	return &d
}

func (r *deliveryRow) rev() int64 {
	if r == nil {
		return 0
	}
	return r.v.Rev
}

type deliveries struct{ *txn }

func (t deliveries) Get(_ context.Context, id string) (*domain.Delivery, error) {
	return find(t.txn, t.s.deliveries, id, (*deliveryRow).clone)
}

func (t deliveries) Put(_ context.Context, d *domain.Delivery) error {
	if err := t.writable(); err != nil {
		return err
	}
	r := t.s.deliveries[d.ID]
	if err := checkRev(r, d.Rev); err != nil {
		return err
	}
	webhook := t.s.webhooks[d.WebhookID]
	switch {
	case webhook == nil:
		return ports.ErrNotFound
	case r != nil && r.webhook != webhook: // a delivery keeps its webhook
		return ports.ErrConflict
	case r == nil:
		r = &deliveryRow{webhook: webhook}
	}
	if i, found := slices.BinarySearchFunc(webhook.deliveries, d.Position, byPosition); found && webhook.deliveries[i] != r {
		return ports.ErrExists
	}
	t.replace(r, d)
	d.Rev = r.v.Rev
	return nil
}

func byPosition(r *deliveryRow, position int64) int { return cmp.Compare(r.v.Position, position) }

// replace sets the value of a row to a copy with a new Rev.
func (t deliveries) replace(r *deliveryRow, d *domain.Delivery) {
	v := *d
	truncate(&v.NextAt, &v.CreatedAt, &v.EndedAt)
	v.Rev = t.s.nextRev()
	t.set(r, &v)
}

func (t deliveries) NextPending(_ context.Context, webhookID string) (*domain.Delivery, error) {
	if err := t.readable(); err != nil {
		return nil, err
	}
	webhook := t.s.webhooks[webhookID]
	if webhook == nil || len(webhook.pending) == 0 {
		return nil, ports.ErrNotFound
	}
	return webhook.pending[0].clone(), nil
}

func (t deliveries) List(_ context.Context, webhookID string, f ports.DeliveryFilter) (found []*domain.Delivery, err error) {
	if err := t.readable(); err != nil {
		return nil, err
	}
	webhook := t.s.webhooks[webhookID]
	if webhook == nil {
		return nil, nil
	}
	rows := webhook.deliveries
	if f.Before > 0 {
		end, _ := slices.BinarySearchFunc(rows, f.Before, byPosition)
		rows = rows[:end]
	}
	for _, r := range slices.Backward(rows) {
		if f.Limit > 0 && len(found) == f.Limit {
			break
		}
		if f.Status == "" || r.v.Status == f.Status {
			found = append(found, r.clone())
		}
	}
	return found, nil
}

func (t deliveries) Requeue(_ context.Context, e ports.EndedDeliveries, now time.Time, limit int) (int, error) {
	if err := t.writable(); err != nil {
		return 0, err
	}
	rows := t.ended(e)
	rows = rows[:min(max(limit, 0), len(rows))]
	for _, r := range rows {
		d := r.clone()
		d.Requeue(now)
		t.replace(r, d)
	}
	return len(rows), nil
}

func (t deliveries) CreatedAfter(_ context.Context, e ports.EndedDeliveries, n int) (time.Time, error) {
	if err := t.readable(); err != nil {
		return time.Time{}, err
	}
	rows := t.ended(e)
	n = max(n, 0)
	if n >= len(rows) {
		return time.Time{}, nil
	}
	return rows[n].v.CreatedAt, nil
}

// ended returns the selected deliveries in the order in which they were created.
func (t deliveries) ended(e ports.EndedDeliveries) (rows []*deliveryRow) {
	webhook := t.s.webhooks[e.WebhookID]
	if webhook == nil {
		return nil
	}
	for _, r := range webhook.deliveries {
		isEnded := !r.v.EndedAt.IsZero() && !r.v.EndedAt.After(e.EndedBy)
		if isEnded && !r.v.CreatedAt.Before(e.Since) && (e.Before.IsZero() || r.v.CreatedAt.Before(e.Before)) {
			rows = append(rows, r)
		}
	}
	slices.SortStableFunc(rows, func(a, b *deliveryRow) int { return a.v.CreatedAt.Compare(b.v.CreatedAt) })
	return rows
}

func (t deliveries) DeleteOf(_ context.Context, webhookID string, limit int) (n int, err error) {
	if err := t.writable(); err != nil {
		return 0, err
	}
	webhook := t.s.webhooks[webhookID]
	for webhook != nil && n < limit && len(webhook.deliveries) > 0 {
		t.set(webhook.deliveries[0], nil)
		n++
	}
	return n, nil
}

func (t deliveries) DeleteEnded(_ context.Context, s domain.DeliveryStatus, before time.Time, limit int) (n int, err error) {
	if err := t.writable(); err != nil {
		return 0, err
	}
	for n < limit {
		ended := t.s.endedDeliveries[s]
		if ended == nil || !(*ended)[0].v.EndedAt.Before(before) {
			break
		}
		t.set((*ended)[0], nil)
		n++
	}
	return n, nil
}

func (t deliveries) set(r *deliveryRow, v *domain.Delivery) {
	old := r.v
	t.s.setDelivery(r, v)
	t.onRollback(func() { t.s.setDelivery(r, old) })
}

// setDelivery sets the value of a row, or removes the row if v is nil, in every index.
func (s *Store) setDelivery(r *deliveryRow, v *domain.Delivery) {
	if old := r.v; old != nil {
		delete(s.deliveries, old.ID)
		r.webhook.deliveries.remove(r, deliveryPosition)
		if old.Status == domain.DeliveryPending {
			r.webhook.pending.remove(r, deliveryPosition)
		}
		if !old.EndedAt.IsZero() {
			removeEnded(s.endedDeliveries, r)
		}
	}
	r.v = v
	if v != nil {
		s.deliveries[v.ID] = r
		r.webhook.deliveries.add(r, deliveryPosition)
		if v.Status == domain.DeliveryPending {
			r.webhook.pending.add(r, deliveryPosition)
		}
		if !v.EndedAt.IsZero() {
			addEnded(s.endedDeliveries, r)
		}
	}
}

func addEnded(by map[domain.DeliveryStatus]*list[*deliveryRow], r *deliveryRow) {
	if by[r.v.Status] == nil {
		by[r.v.Status] = new(list[*deliveryRow])
	}
	by[r.v.Status].add(r, deliveryEnd)
}

func removeEnded(by map[domain.DeliveryStatus]*list[*deliveryRow], r *deliveryRow) {
	ended := by[r.v.Status]
	ended.remove(r, deliveryEnd)
	if len(*ended) == 0 {
		delete(by, r.v.Status)
	}
}
