package memory

import (
	"cmp"
	"context"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

type cleanupKey struct{ worker, session, group string }

func keyOf(c *domain.Cleanup) cleanupKey { return cleanupKey{c.WorkerID, c.SessionID, c.StateGroup} }

type cleanupRow struct {
	v     *domain.Cleanup
	index int32 // in its queue, plus one
}

func cleanupSession(a, b *cleanupRow) int {
	return cmp.Or(cmp.Compare(a.v.SessionID, b.v.SessionID), cmp.Compare(a.v.StateGroup, b.v.StateGroup))
}

func cleanupWorker(a, b *cleanupRow) int {
	return cmp.Or(cmp.Compare(a.v.WorkerID, b.v.WorkerID), cmp.Compare(a.v.StateGroup, b.v.StateGroup))
}

func cleanupID(a, b *cleanupRow) int {
	return cmp.Or(cmp.Compare(a.v.WorkerID, b.v.WorkerID), cleanupSession(a, b))
}

func (r *cleanupRow) heapIndex() *int32 { return &r.index }
func (r *cleanupRow) before(o *cleanupRow) bool {
	return cmp.Or(r.v.DueAt.Compare(o.v.DueAt), cleanupID(r, o)) < 0
}

func (r *cleanupRow) clone() *domain.Cleanup {
	c := *r.v
	return &c
}

func (r *cleanupRow) rev() int64 {
	if r == nil {
		return 0
	}
	return r.v.Rev
}

type cleanups struct{ *txn }

func (t cleanups) Put(_ context.Context, c *domain.Cleanup) error {
	if err := t.writable(); err != nil {
		return err
	}
	r := t.s.cleanups[keyOf(c)]
	if err := checkRev(r, c.Rev); err != nil {
		return err
	}
	if r == nil {
		r = &cleanupRow{}
	}
	v := *c
	truncate(&v.DueAt, &v.CreatedAt)
	v.Rev = t.s.nextRev()
	t.set(r, &v)
	c.Rev = v.Rev
	return nil
}

func (t cleanups) Due(_ context.Context, at time.Time, limit int) ([]*domain.Cleanup, error) {
	if err := t.readable(); err != nil {
		return nil, err
	}
	rows := t.s.cleanupDue.firstWhile(limit, func(r *cleanupRow) bool { return !r.v.DueAt.After(at) })
	return copies(rows, (*cleanupRow).clone), nil
}

func (t cleanups) NextDue(context.Context) (time.Time, error) {
	if err := t.readable(); err != nil || len(t.s.cleanupDue) == 0 {
		return time.Time{}, err
	}
	return t.s.cleanupDue[0].v.DueAt, nil
}

func (t cleanups) ByWorker(_ context.Context, workerID string) ([]*domain.Cleanup, error) {
	return t.list(t.s.byWorker, workerID)
}

func (t cleanups) BySession(_ context.Context, sessionID string) ([]*domain.Cleanup, error) {
	return t.list(t.s.bySession, sessionID)
}

func (t cleanups) ByEndpoint(_ context.Context, endpoint string) ([]*domain.Cleanup, error) {
	return t.list(t.s.byEndpoint, endpoint)
}

func (t cleanups) WipesByGroup(_ context.Context, group string) ([]*domain.Cleanup, error) {
	return t.list(t.s.wipesByGroup, group)
}

func (t cleanups) list(by map[string]*list[*cleanupRow], key string) ([]*domain.Cleanup, error) {
	if err := t.readable(); err != nil {
		return nil, err
	}
	return valuesOf(by, key, (*cleanupRow).clone), nil
}

func (t cleanups) Delete(_ context.Context, c *domain.Cleanup) error {
	if err := t.writable(); err != nil {
		return err
	}
	r := t.s.cleanups[keyOf(c)]
	switch {
	case r == nil:
		return nil
	case r.v.Rev != c.Rev:
		return ports.ErrConflict
	}
	t.set(r, nil)
	return nil
}

func (t cleanups) set(r *cleanupRow, v *domain.Cleanup) {
	old := r.v
	t.s.setCleanup(r, v)
	t.onRollback(func() { t.s.setCleanup(r, old) })
}

// setCleanup sets the value of a row, or removes the row if v is nil, in every index.
func (s *Store) setCleanup(r *cleanupRow, v *domain.Cleanup) {
	if old := r.v; old != nil {
		delete(s.cleanups, keyOf(old))
		removeFrom(s.byWorker, old.WorkerID, r, cleanupSession)
		removeFrom(s.bySession, old.SessionID, r, cleanupWorker)
		if old.Endpoint != "" {
			removeFrom(s.byEndpoint, old.Endpoint, r, cleanupID)
		}
		if old.StateGroup != "" && old.Command.Wipes() {
			removeFrom(s.wipesByGroup, old.StateGroup, r, cleanupID)
		}
		s.cleanupDue.remove(r)
	}
	r.v = v
	if v != nil {
		s.cleanups[keyOf(v)] = r
		addTo(s.byWorker, v.WorkerID, r, cleanupSession)
		addTo(s.bySession, v.SessionID, r, cleanupWorker)
		if v.Endpoint != "" {
			addTo(s.byEndpoint, v.Endpoint, r, cleanupID)
		}
		if v.StateGroup != "" && v.Command.Wipes() {
			addTo(s.wipesByGroup, v.StateGroup, r, cleanupID)
		}
		if !v.DueAt.IsZero() {
			s.cleanupDue.add(r)
		}
	}
}
