package memory

import (
	"cmp"
	"context"
	"strings"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// workerRow is the row of a worker. The row keeps its identity while its value is replaced.
type workerRow struct {
	v    *domain.Worker // without Used
	used int            // the number of reserved slots
}

func workerID(a, b *workerRow) int { return cmp.Compare(a.v.ID, b.v.ID) }

func (r *workerRow) clone() *domain.Worker {
	w := r.v.Clone()
	w.Used = r.used
	return w
}

func (r *workerRow) rev() int64 {
	if r == nil {
		return 0
	}
	return r.v.Rev
}

type workers struct{ *txn }

func (t workers) Get(_ context.Context, id string) (*domain.Worker, error) {
	return find(t.txn, t.s.workers, id, (*workerRow).clone)
}

func (t workers) ByEndpoint(_ context.Context, endpoint string) (*domain.Worker, error) {
	w, err := find(t.txn, t.s.endpoints, domain.EndpointKey(endpoint), (*workerRow).clone)
	if err == nil && w.Endpoint != endpoint {
		return nil, ports.ErrNotFound // it has another spelling
	}
	return w, err
}

func (t workers) List(_ context.Context, f ports.WorkerFilter, p ports.Page) ([]*domain.Worker, int, error) {
	if err := t.readable(); err != nil {
		return nil, 0, err
	}
	var rows []*workerRow
	for _, r := range t.s.workerOrder {
		if matchesWorker(r.v, f) {
			rows = append(rows, r)
		}
	}
	return copies(page(rows, p), (*workerRow).clone), len(rows), nil
}

func matchesWorker(w *domain.Worker, f ports.WorkerFilter) bool {
	return (f.Status == "" || w.Status() == f.Status) && (f.Environment == "" || strings.EqualFold(w.Environment, f.Environment)) &&
		(f.StateGroup == "" || w.StateGroup == f.StateGroup)
}

func (t workers) Put(_ context.Context, w *domain.Worker) error {
	if err := t.writable(); err != nil {
		return err
	}
	r := t.s.workers[w.ID]
	if err := checkRev(r, w.Rev); err != nil {
		return err
	}
	hasNewEndpoint := r == nil || r.v.Endpoint != w.Endpoint
	if other := t.s.endpoints[domain.EndpointKey(w.Endpoint)]; hasNewEndpoint && other != nil && other != r {
		return ports.ErrExists
	}
	if r == nil {
		r = &workerRow{}
	}
	v := w.Clone()
	truncate(&v.CanarySince, &v.LastHeartbeat, &v.RegisteredAt, &v.DownAt, &v.FailoverAt, &v.CreatedAt, &v.UpdatedAt)
	v.Rev = t.s.nextRev()
	t.set(r, v)
	w.Rev = v.Rev
	return nil
}

func (t workers) Delete(_ context.Context, id string) error {
	if err := t.writable(); err != nil {
		return err
	}
	r := t.s.workers[id]
	switch {
	case r == nil:
		return ports.ErrNotFound
	case r.used > 0:
		return ports.ErrConflict
	}
	t.set(r, nil)
	return nil
}

func (t workers) set(r *workerRow, v *domain.Worker) {
	old := r.v
	t.s.setWorker(r, v)
	t.onRollback(func() { t.s.setWorker(r, old) })
}

// setWorker sets the value of a row, or removes the row if v is nil, in every index.
func (s *Store) setWorker(r *workerRow, v *domain.Worker) {
	old := r.v
	hasNewEndpoint := old == nil || v == nil || old.Endpoint != v.Endpoint
	if old != nil && hasNewEndpoint {
		delete(s.endpoints, domain.EndpointKey(old.Endpoint))
	}
	if old != nil && v == nil {
		delete(s.workers, old.ID)
		s.workerOrder.remove(r, workerID)
	}
	r.v = v
	if v != nil && hasNewEndpoint {
		s.endpoints[domain.EndpointKey(v.Endpoint)] = r
	}
	if v != nil && old == nil {
		s.workers[v.ID] = r
		s.workerOrder.add(r, workerID)
	}
}

func (t workers) Reserve(_ context.Context, id string) error {
	if err := t.writable(); err != nil {
		return err
	}
	r := t.s.workers[id]
	if r == nil || r.v.Status() != domain.WorkerOnline || r.v.Suspect != "" || r.used >= r.v.Capacity {
		return ports.ErrFull
	}
	r.used++
	t.onRollback(func() { r.used-- })
	return nil
}

func (t workers) Release(_ context.Context, id string) error {
	if err := t.writable(); err != nil {
		return err
	}
	if r := t.s.workers[id]; r != nil && r.used > 0 {
		r.used--
		t.onRollback(func() { r.used++ })
	}
	return nil
}
