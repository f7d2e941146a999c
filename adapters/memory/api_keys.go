package memory

import (
	"cmp"
	"context"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

type apiKeyRow struct {
	v       *domain.APIKey
	session *sessionRow
	user    *userRow
}

func apiKeyAge(a, b *apiKeyRow) int {
	return cmp.Or(a.v.CreatedAt.Compare(b.v.CreatedAt), cmp.Compare(a.v.ID, b.v.ID))
}

func (r *apiKeyRow) clone() *domain.APIKey {
	k := *r.v
	return &k
}

func (r *apiKeyRow) rev() int64 {
	if r == nil {
		return 0
	}
	return r.v.Rev
}

type apiKeys struct{ *txn }

func (t apiKeys) Get(_ context.Context, id string) (*domain.APIKey, error) {
	return find(t.txn, t.s.keys, id, (*apiKeyRow).clone)
}

func (t apiKeys) ByHash(_ context.Context, hash [32]byte) (*domain.APIKey, error) {
	return find(t.txn, t.s.hashes, hash, (*apiKeyRow).clone)
}

func (t apiKeys) ByUser(_ context.Context, userID string) ([]*domain.APIKey, error) {
	if err := t.readable(); err != nil {
		return nil, err
	}
	user := t.s.users[userID]
	if user == nil {
		return nil, nil
	}
	return latest(user.keys, ports.Page{}, (*apiKeyRow).clone), nil
}

func (t apiKeys) BySession(_ context.Context, sessionID string) ([]*domain.APIKey, error) {
	if err := t.readable(); err != nil {
		return nil, err
	}
	session := t.s.sessions[sessionID]
	if session == nil {
		return nil, nil
	}
	return latest(session.keys, ports.Page{}, (*apiKeyRow).clone), nil
}

// Put returns [ports.ErrNotFound] if the session or the user is missing.
func (t apiKeys) Put(_ context.Context, k *domain.APIKey) error {
	if err := t.writable(); err != nil {
		return err
	}
	r := t.s.keys[k.ID]
	if err := checkRev(r, k.Rev); err != nil {
		return err
	}
	if other := t.s.hashes[k.Hash]; other != nil && other != r {
		return ports.ErrExists
	}
	session, user := t.s.sessions[k.SessionID], t.s.users[k.UserID]
	switch {
	case session == nil || user == nil:
		return ports.ErrNotFound
	case r == nil:
		r = &apiKeyRow{session: session, user: user}
	case r.session != session || r.user != user: // a key keeps its session and user
		return ports.ErrConflict
	}
	v := *k
	truncate(&v.LastUsedAt, &v.CreatedAt, &v.ExpiresAt, &v.RevokedAt)
	v.Rev = t.s.nextRev()
	t.set(r, &v)
	k.Rev = v.Rev
	return nil
}

func (t apiKeys) Delete(_ context.Context, id string) error {
	if err := t.writable(); err != nil {
		return err
	}
	r := t.s.keys[id]
	if r == nil {
		return ports.ErrNotFound
	}
	t.set(r, nil)
	return nil
}

func (t apiKeys) DeleteEnded(_ context.Context, before time.Time) error {
	if err := t.writable(); err != nil {
		return err
	}
	ended := func(at time.Time) bool { return !at.IsZero() && at.Before(before) }
	for _, r := range t.s.keys {
		if ended(r.v.ExpiresAt) || ended(r.v.RevokedAt) {
			t.set(r, nil)
		}
	}
	return nil
}

func (t apiKeys) set(r *apiKeyRow, v *domain.APIKey) {
	old := r.v
	t.s.setKey(r, v)
	t.onRollback(func() { t.s.setKey(r, old) })
}

// setKey sets the value of a row, or removes the row if v is nil, in every index.
func (s *Store) setKey(r *apiKeyRow, v *domain.APIKey) {
	if r.v != nil {
		delete(s.keys, r.v.ID)
		delete(s.hashes, r.v.Hash)
		r.session.keys.remove(r, apiKeyAge)
		r.user.keys.remove(r, apiKeyAge)
	}
	r.v = v
	if v != nil {
		s.keys[v.ID] = r
		s.hashes[v.Hash] = r
		r.session.keys.add(r, apiKeyAge)
		r.user.keys.add(r, apiKeyAge)
	}
}
