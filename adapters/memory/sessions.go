package memory

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// sessionRow is the row of a session. The row keeps its identity while its value is replaced.
type sessionRow struct {
	v               *domain.Session   // nil: the row was deleted
	owner           *userRow          // the user of the session, and of its messages unless they name another user
	keys            list[*apiKeyRow]  // by age
	history         list[*message]    // by age
	webhooks        list[*webhookRow] // by slot
	idempotencyKeys map[*idempotencyKeyRow]struct{}
	sendQueue       *sendQueueRow    // nil: none
	queued          list[*queuedRow] // by SendAt
	deadlines       list[*queuedRow] // the same, by Deadline
	queuedByID      map[string]*queuedRow
	index           int32 // in its queue, plus one
}

func sessionAge(a, b *sessionRow) int {
	return cmp.Or(a.v.CreatedAt.Compare(b.v.CreatedAt), cmp.Compare(a.v.ID, b.v.ID))
}

func sessionID(a, b *sessionRow) int { return cmp.Compare(a.v.ID, b.v.ID) }

func (r *sessionRow) heapIndex() *int32 { return &r.index }
func (r *sessionRow) before(o *sessionRow) bool {
	return cmp.Or(r.v.DueAt.Compare(o.v.DueAt), sessionID(r, o)) < 0
}

func (r *sessionRow) clone() *domain.Session { return r.v.Clone() }

func (r *sessionRow) rev() int64 {
	if r == nil {
		return 0
	}
	return r.v.Rev
}

type sessions struct{ *txn }

func (t sessions) Get(_ context.Context, id string) (*domain.Session, error) {
	return find(t.txn, t.s.sessions, id, (*sessionRow).clone)
}

func (t sessions) Put(_ context.Context, s *domain.Session) error {
	if err := t.writable(); err != nil {
		return err
	}
	r := t.s.sessions[s.ID]
	if err := checkRev(r, s.Rev); err != nil {
		return err
	}
	user := t.s.users[s.UserID]
	if user == nil {
		return ports.ErrNotFound
	}
	if r == nil {
		r = &sessionRow{owner: user}
	}
	v := s.Clone()
	v.UserID = user.v.ID // all sessions of the user share one string
	truncate(&v.StatusAt, &v.AssignedAt, &v.ClaimedUntil, &v.DebounceUntil, &v.ExcludedUntil, &v.HomeWaitUntil, &v.QR.ExpiresAt, &v.DueAt,
		&v.LastReportWorkerTime, &v.LastReportAppliedAt, &v.LastSeenAt, &v.CreatedAt, &v.UpdatedAt)
	v.Rev = t.s.nextRev()
	t.set(r, v)
	s.Rev = v.Rev
	return nil
}

func (t sessions) set(r *sessionRow, v *domain.Session) {
	old := r.v
	t.s.setSession(r, v)
	t.onRollback(func() { t.s.setSession(r, old) })
}

// setSession sets the value of a row, or removes the row if v is nil, in every index.
func (s *Store) setSession(r *sessionRow, v *domain.Session) {
	old := r.v
	isChange := old != nil && v != nil // as opposed to an insert or a delete
	ageChanged := !isChange || !old.CreatedAt.Equal(v.CreatedAt) || old.UserID != v.UserID
	dueChanged := !isChange || !old.DueAt.Equal(v.DueAt)
	workerChanged := !isChange || old.WorkerID != v.WorkerID
	claimChanged := !isChange || old.ClaimedBy != v.ClaimedBy
	if old != nil {
		s.statuses[old.Status]--
		if ageChanged {
			delete(s.sessions, old.ID)
			s.sessionOrder.remove(r, sessionAge)
			s.users[old.UserID].sessions.remove(r, sessionAge)
		}
		if dueChanged {
			s.due.remove(r)
		}
		if workerChanged && old.IsAssigned() {
			removeFrom(s.assigned, old.WorkerID, r, sessionID)
		}
		if claimChanged && old.ClaimedBy != "" {
			removeFrom(s.claimed, old.ClaimedBy, r, sessionID)
		}
	}
	r.v = v
	if v == nil {
		return
	}
	s.statuses[v.Status]++
	if ageChanged {
		s.sessions[v.ID] = r
		s.sessionOrder.add(r, sessionAge)
		s.users[v.UserID].sessions.add(r, sessionAge)
	}
	if dueChanged && !v.DueAt.IsZero() {
		s.due.add(r)
	}
	if workerChanged && v.IsAssigned() {
		addTo(s.assigned, v.WorkerID, r, sessionID)
	}
	if claimChanged && v.ClaimedBy != "" {
		addTo(s.claimed, v.ClaimedBy, r, sessionID)
	}
}

func (t sessions) Delete(_ context.Context, id string, rev int64) error {
	if err := t.writable(); err != nil {
		return err
	}
	r := t.s.sessions[id]
	switch {
	case r == nil:
		return ports.ErrNotFound
	case r.v.Rev != rev:
		return ports.ErrConflict
	}
	for _, k := range slices.Clone(r.keys) {
		apiKeys(t).set(k, nil)
	}
	for _, w := range slices.Clone(r.webhooks) {
		webhooks(t).remove(w)
	}
	messages(t).deleteAll(r)
	idempotencyKeys(t).deleteAll(r)
	queuedMessages(t).deleteAll(r)
	if generation := r.v.Generation; generation > t.s.tombstones[id] {
		former := t.s.tombstones[id]
		t.s.tombstones[id] = generation
		t.onRollback(func() { t.s.restoreTombstone(id, former) })
	}
	t.set(r, nil)
	return nil
}

// restoreTombstone sets the tombstone of a session to its former generation. 0: it had none.
func (s *Store) restoreTombstone(id string, former int64) {
	if former == 0 {
		delete(s.tombstones, id)
		return
	}
	s.tombstones[id] = former
}

func (t sessions) LastGeneration(_ context.Context, id string) (generation int64, known bool, err error) {
	if err := t.readable(); err != nil {
		return 0, false, err
	}
	generation, known = t.s.tombstones[id]
	return generation, known, nil
}

func (t sessions) List(_ context.Context, f ports.SessionFilter, p ports.Page) ([]*domain.Session, int, error) {
	if err := t.readable(); err != nil {
		return nil, 0, err
	}
	all := t.s.sessionOrder
	user, onWorker := t.s.users[f.UserID], t.s.assigned[f.WorkerID]
	switch {
	case f.UserID != "" && user == nil, f.WorkerID != "" && onWorker == nil:
		return nil, 0, nil
	case f.UserID != "":
		all = user.sessions
	case f.WorkerID != "":
		all = slices.Clone(*onWorker)
		slices.SortFunc(all, sessionAge)
	}
	if (f == ports.SessionFilter{UserID: f.UserID}) {
		return latest(all, p, (*sessionRow).clone), len(all), nil
	}
	search := newSearchTerm(f.Search)
	rows := filterLatest(all, func(r *sessionRow) bool {
		isWaiting := !f.AwaitsScan || r.v.AwaitsScan()
		isFrom := f.ConnectedFrom == "" || r.v.ConnectedFrom == f.ConnectedFrom
		isExpired := f.QRExpiredBefore.IsZero() || !r.v.QR.ExpiresAt.IsZero() && r.v.QR.ExpiresAt.Before(f.QRExpiredBefore)
		return isWaiting && isFrom && isExpired && (f.WorkerID == "" || r.v.WorkerID == f.WorkerID) && (f.Status == "" || r.v.Status == f.Status) &&
			(search.in(r.v.Name) || search.in(r.v.PhoneNumber))
	})
	return copies(page(rows, p), (*sessionRow).clone), len(rows), nil
}

// ListRange returns the latest sessions of a range first.
func (t sessions) ListRange(_ context.Context, r ports.Range) ([]*domain.Session, error) {
	if err := t.readable(); err != nil {
		return nil, err
	}
	return rangeOf(t.s.sessionOrder, r, func(s *sessionRow) domain.Cursor { return domain.Cursor{At: s.v.CreatedAt, ID: s.v.ID} }, (*sessionRow).clone), nil
}

func (t sessions) ListByWorker(_ context.Context, workerID string) ([]*domain.Session, error) {
	if err := t.readable(); err != nil {
		return nil, err
	}
	return valuesOf(t.s.assigned, workerID, (*sessionRow).clone), nil
}

// EachAssigned calls fn in order of worker and id, so that a run is reproducible. fn may write. EachAssigned skips
// sessions that fn has unassigned, moved or deleted meanwhile, and does not revisit sessions that fn has moved.
func (t sessions) EachAssigned(_ context.Context, fn func(*domain.Session) error) error {
	if err := t.readable(); err != nil {
		return err
	}
	for _, worker := range slices.Sorted(maps.Keys(t.s.assigned)) {
		rows := t.s.assigned[worker]
		if rows == nil {
			continue
		}
		for _, r := range slices.Clone(*rows) {
			if r.v == nil || r.v.WorkerID != worker {
				continue
			}
			if err := fn(r.clone()); err != nil {
				return err
			}
		}
	}
	return nil
}

func (t sessions) Due(_ context.Context, at time.Time, limit int) ([]*domain.Session, error) {
	if err := t.readable(); err != nil {
		return nil, err
	}
	rows := t.s.due.firstWhile(limit, func(r *sessionRow) bool { return !r.v.DueAt.After(at) })
	return copies(rows, (*sessionRow).clone), nil
}

func (t sessions) NextDue(context.Context) (time.Time, error) {
	if err := t.readable(); err != nil || len(t.s.due) == 0 {
		return time.Time{}, err
	}
	return t.s.due[0].v.DueAt, nil
}

func (t sessions) ClaimedBy(_ context.Context, replicaID string) ([]*domain.Session, error) {
	if err := t.readable(); err != nil {
		return nil, err
	}
	return valuesOf(t.s.claimed, replicaID, (*sessionRow).clone), nil
}

func (t sessions) CountByStatus(context.Context) (map[domain.Status]int, error) {
	if err := t.readable(); err != nil {
		return nil, err
	}
	counts := maps.Clone(t.s.statuses)
	maps.DeleteFunc(counts, func(_ domain.Status, n int) bool { return n == 0 })
	return counts, nil
}
