package memory

import (
	"cmp"
	"context"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// idempotencyKeyName identifies a key.
type idempotencyKeyName struct{ session, key string }

// idempotencyKeyRow is the row of a key. Its value is replaced, never changed.
type idempotencyKeyRow struct {
	v     *domain.IdempotencyKey
	index int32 // in its queue, plus one
}

func (r *idempotencyKeyRow) heapIndex() *int32 { return &r.index }
func (r *idempotencyKeyRow) before(o *idempotencyKeyRow) bool {
	return cmp.Or(r.v.CreatedAt.Compare(o.v.CreatedAt), cmp.Compare(r.v.SessionID, o.v.SessionID), cmp.Compare(r.v.Key, o.v.Key)) < 0
}

func (r *idempotencyKeyRow) rev() int64 {
	if r == nil {
		return 0
	}
	return r.v.Rev
}

func (r *idempotencyKeyRow) name() idempotencyKeyName {
	return idempotencyKeyName{r.v.SessionID, r.v.Key}
}

func (r *idempotencyKeyRow) clone() *domain.IdempotencyKey {
	k := *r.v
	return &k
}

type idempotencyKeys struct{ *txn }

func (t idempotencyKeys) Put(_ context.Context, k *domain.IdempotencyKey) error {
	if err := t.writable(); err != nil {
		return err
	}
	r := t.s.idempotencyKeys[idempotencyKeyName{k.SessionID, k.Key}]
	if err := checkRev(r, k.Rev); err != nil {
		return err
	}
	session := t.s.sessions[k.SessionID]
	if session == nil {
		return ports.ErrNotFound
	}
	v := *k
	truncate(&v.CreatedAt)
	v.Rev = t.s.nextRev()
	if r != nil {
		t.remove(r)
	}
	t.add(session, &idempotencyKeyRow{v: &v})
	k.Rev = v.Rev
	return nil
}

// add adds a row to every index.
func (t idempotencyKeys) add(session *sessionRow, r *idempotencyKeyRow) {
	t.s.linkIdempotencyKey(session, r)
	t.onRollback(func() { t.s.unlinkIdempotencyKey(session, r) })
}

// remove removes a row from every index.
func (t idempotencyKeys) remove(r *idempotencyKeyRow) {
	session := t.s.sessions[r.v.SessionID]
	t.s.unlinkIdempotencyKey(session, r)
	t.onRollback(func() { t.s.linkIdempotencyKey(session, r) })
}

func (s *Store) linkIdempotencyKey(session *sessionRow, r *idempotencyKeyRow) {
	s.idempotencyKeys[r.name()] = r
	s.idempotencyAge.add(r)
	if session.idempotencyKeys == nil {
		session.idempotencyKeys = make(map[*idempotencyKeyRow]struct{})
	}
	session.idempotencyKeys[r] = struct{}{}
}

func (s *Store) unlinkIdempotencyKey(session *sessionRow, r *idempotencyKeyRow) {
	delete(s.idempotencyKeys, r.name())
	s.idempotencyAge.remove(r)
	delete(session.idempotencyKeys, r)
}

// deleteAll deletes the keys of a session.
func (t idempotencyKeys) deleteAll(session *sessionRow) {
	for r := range session.idempotencyKeys {
		t.remove(r)
	}
}

func (t idempotencyKeys) Get(_ context.Context, sessionID, key string) (*domain.IdempotencyKey, error) {
	return find(t.txn, t.s.idempotencyKeys, idempotencyKeyName{sessionID, key}, (*idempotencyKeyRow).clone)
}

func (t idempotencyKeys) DeleteBefore(_ context.Context, before time.Time, limit int) (int, error) {
	if err := t.writable(); err != nil {
		return 0, err
	}
	if limit <= 0 {
		return 0, nil
	}
	old := t.s.idempotencyAge.firstWhile(limit, func(r *idempotencyKeyRow) bool { return r.v.CreatedAt.Before(before) })
	for _, r := range old {
		t.remove(r)
	}
	return len(old), nil
}
