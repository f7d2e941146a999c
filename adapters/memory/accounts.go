package memory

import (
	"bytes"
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// userRow is the row of a user. The row keeps its identity while its value is replaced; the value itself never changes.
type userRow struct {
	v        *domain.User // nil: the row was deleted
	usage    domain.UserUsage
	runs     domain.UnscannedRuns
	sessions list[*sessionRow]           // by age
	keys     list[*apiKeyRow]            // by age
	families list[*familyRow]            // by id
	resets   list[*domain.PasswordReset] // the last to expire first
	sent     list[*message]              // by age
	received list[*message]              // by age
}

func userAge(a, b *userRow) int {
	return cmp.Or(a.v.CreatedAt.Compare(b.v.CreatedAt), cmp.Compare(a.v.ID, b.v.ID))
}

func (r *userRow) clone() *domain.User {
	u := *r.v
	return &u
}

func (r *userRow) rev() int64 {
	if r == nil {
		return 0
	}
	return r.v.Rev
}

type users struct{ *txn }

func (t users) Get(_ context.Context, id string) (*domain.User, error) {
	return find(t.txn, t.s.users, id, (*userRow).clone)
}

func (t users) ByEmail(_ context.Context, email string) (*domain.User, error) {
	return find(t.txn, t.s.emails, email, (*userRow).clone)
}

func (t users) List(_ context.Context, f ports.UserFilter, p ports.Page) ([]*domain.User, int, error) {
	if err := t.readable(); err != nil {
		return nil, 0, err
	}
	if f == (ports.UserFilter{}) {
		return latest(t.s.userOrder, p, (*userRow).clone), len(t.s.userOrder), nil
	}
	search := newSearchTerm(f.Search)
	rows := filterLatest(t.s.userOrder, func(r *userRow) bool {
		return (f.Tier == "" || r.v.Tier == f.Tier) && (f.Role == "" || r.v.Role == f.Role) &&
			(f.Active == nil || r.v.Active == *f.Active) && (search.in(r.v.Name) || search.in(r.v.Email))
	})
	var by func(a, b *domain.User) int
	switch f.Sort {
	case "name":
		by = func(a, b *domain.User) int { return strings.Compare(a.Name, b.Name) }
	case "email":
		by = func(a, b *domain.User) int { return strings.Compare(a.Email, b.Email) }
	case "lastLoginAt":
		by = func(a, b *domain.User) int { return a.LastLoginAt.Compare(b.LastLoginAt) }
	}
	if by != nil {
		slices.SortStableFunc(rows, func(a, b *userRow) int { return by(b.v, a.v) })
	}
	if f.Asc {
		slices.Reverse(rows)
	}
	return copies(page(rows, p), (*userRow).clone), len(rows), nil
}

// ListRange returns the latest users of a range first.
func (t users) ListRange(_ context.Context, r ports.Range) ([]*domain.User, error) {
	if err := t.readable(); err != nil {
		return nil, err
	}
	return rangeOf(t.s.userOrder, r, func(u *userRow) domain.Cursor { return domain.Cursor{At: u.v.CreatedAt, ID: u.v.ID} }, (*userRow).clone), nil
}

func (t users) Put(_ context.Context, u *domain.User) error {
	if err := t.writable(); err != nil {
		return err
	}
	r := t.s.users[u.ID]
	if err := checkRev(r, u.Rev); err != nil {
		return err
	}
	if other := t.s.emails[u.Email]; other != nil && other != r {
		return ports.ErrExists
	}
	if r == nil {
		r = &userRow{}
	}
	v := *u
	truncate(&v.CredentialsAt, &v.LastLoginAt, &v.CreatedAt, &v.UpdatedAt)
	v.Rev = t.s.nextRev()
	old := r.v
	t.s.setUser(r, &v)
	t.onRollback(func() { t.s.setUser(r, old) })
	u.Rev = v.Rev
	return nil
}

// setUser sets the value of a row, or removes the row if v is nil, in every index.
func (s *Store) setUser(r *userRow, v *domain.User) {
	old := r.v
	reindex := old == nil || v == nil || !old.CreatedAt.Equal(v.CreatedAt)
	if old != nil {
		delete(s.emails, old.Email)
		if reindex {
			s.userOrder.remove(r, userAge)
			delete(s.users, old.ID)
		}
	}
	r.v = v
	if v != nil {
		s.emails[v.Email] = r
		if reindex {
			s.users[v.ID] = r
			s.userOrder.add(r, userAge)
		}
	}
}

func (t users) Usage(_ context.Context, id string) (domain.UserUsage, error) {
	return find(t.txn, t.s.users, id, func(r *userRow) domain.UserUsage { return r.usage })
}

func (t users) Reserve(_ context.Context, id string, add, limit domain.UserUsage) error {
	if err := t.writable(); err != nil {
		return err
	}
	r := t.s.users[id]
	if r == nil {
		return ports.ErrNotFound
	}
	old := r.usage
	sum := domain.UserUsage{Sessions: old.Sessions + add.Sessions, ActiveSessions: old.ActiveSessions + add.ActiveSessions}
	if add.Sessions > 0 && sum.Sessions > limit.Sessions || add.ActiveSessions > 0 && sum.ActiveSessions > limit.ActiveSessions {
		return ports.ErrFull
	}
	r.usage = domain.UserUsage{Sessions: max(sum.Sessions, 0), ActiveSessions: max(sum.ActiveSessions, 0)}
	t.onRollback(func() { r.usage = old })
	return nil
}

func (t users) UnscannedRuns(_ context.Context, id string) (domain.UnscannedRuns, error) {
	return find(t.txn, t.s.users, id, func(r *userRow) domain.UnscannedRuns { return r.runs })
}

func (t users) CountUnscannedRun(_ context.Context, id string, began, ended time.Time) error {
	return t.changeRuns(id, func(runs *domain.UnscannedRuns) {
		truncate(&began, &ended)
		if !began.Before(runs.EndedAt) {
			runs.Count, runs.EndedAt = min(runs.Count+1, domain.MaxUnscannedRuns), ended
		}
	})
}

func (t users) ResetUnscannedRuns(_ context.Context, id string) error {
	return t.changeRuns(id, func(runs *domain.UnscannedRuns) { *runs = domain.UnscannedRuns{} })
}

// changeRuns lets fn change the unscanned runs of a user.
func (t users) changeRuns(id string, fn func(*domain.UnscannedRuns)) error {
	if err := t.writable(); err != nil {
		return err
	}
	r := t.s.users[id]
	if r == nil {
		return nil
	}
	old := r.runs
	fn(&r.runs)
	t.onRollback(func() { r.runs = old })
	return nil
}

type familyRow struct {
	v     *domain.RefreshTokenFamily
	user  *userRow
	index int32 // in its queue, plus one
}

func familyID(a, b *familyRow) int { return cmp.Compare(a.v.ID, b.v.ID) }

func (r *familyRow) clone() *domain.RefreshTokenFamily {
	f := *r.v
	return &f
}

func (r *familyRow) heapIndex() *int32 { return &r.index }
func (r *familyRow) before(o *familyRow) bool {
	return cmp.Or(r.v.ExpiresAt.Compare(o.v.ExpiresAt), familyID(r, o)) < 0
}

func (r *familyRow) rev() int64 {
	if r == nil {
		return 0
	}
	return r.v.Rev
}

type refreshTokenFamilies struct{ *txn }

func (t refreshTokenFamilies) Get(_ context.Context, id string) (*domain.RefreshTokenFamily, error) {
	return find(t.txn, t.s.families, id, (*familyRow).clone)
}

func (t refreshTokenFamilies) ByUser(_ context.Context, userID string) ([]*domain.RefreshTokenFamily, error) {
	if err := t.readable(); err != nil {
		return nil, err
	}
	user := t.s.users[userID]
	if user == nil {
		return nil, nil
	}
	list := copies(user.families, (*familyRow).clone)
	slices.SortFunc(list, func(a, b *domain.RefreshTokenFamily) int {
		return cmp.Or(b.LastUsedAt.Compare(a.LastUsedAt), cmp.Compare(b.ID, a.ID))
	})
	return list, nil
}

func (t refreshTokenFamilies) Delete(_ context.Context, id string) error {
	if err := t.writable(); err != nil {
		return err
	}
	if r := t.s.families[id]; r != nil {
		t.set(r, nil)
	}
	return nil
}

func (t refreshTokenFamilies) Put(_ context.Context, f *domain.RefreshTokenFamily) error {
	if err := t.writable(); err != nil {
		return err
	}
	r := t.s.families[f.ID]
	if err := checkRev(r, f.Rev); err != nil {
		return err
	}
	user := t.s.users[f.UserID]
	if user == nil {
		return ports.ErrNotFound
	}
	if r != nil && r.user != user { // a family keeps its user
		return ports.ErrConflict
	}
	if r == nil {
		r = &familyRow{user: user}
	}
	v := *f
	truncate(&v.CreatedAt, &v.LastUsedAt, &v.ExpiresAt, &v.RevokedAt)
	v.Rev = t.s.nextRev()
	t.set(r, &v)
	f.Rev = v.Rev
	return nil
}

func (t refreshTokenFamilies) set(r *familyRow, v *domain.RefreshTokenFamily) {
	old := r.v
	t.s.setFamily(r, v)
	t.onRollback(func() { t.s.setFamily(r, old) })
}

// setFamily sets the value of a row, or removes the row if v is nil, in every index.
func (s *Store) setFamily(r *familyRow, v *domain.RefreshTokenFamily) {
	if r.v != nil {
		s.expiring.remove(r)
		delete(s.families, r.v.ID)
		r.user.families.remove(r, familyID)
	}
	r.v = v
	if v != nil {
		s.expiring.add(r)
		s.families[v.ID] = r
		r.user.families.add(r, familyID)
	}
}

func (t refreshTokenFamilies) RevokeAll(_ context.Context, userID, except string, at time.Time) error {
	if err := t.writable(); err != nil {
		return err
	}
	user := t.s.users[userID]
	if user == nil {
		return nil
	}
	for _, r := range user.families {
		if r.v.ID == except || !r.v.RevokedAt.IsZero() {
			continue
		}
		v := *r.v
		v.RevokedAt, v.Rev = toStoredTime(at), t.s.nextRev()
		old := r.v
		r.v = &v
		t.onRollback(func() { r.v = old })
	}
	return nil
}

func (t refreshTokenFamilies) DeleteExpired(_ context.Context, before time.Time) error {
	if err := t.writable(); err != nil {
		return err
	}
	for len(t.s.expiring) > 0 && t.s.expiring[0].v.ExpiresAt.Before(before) {
		t.set(t.s.expiring[0], nil)
	}
	return nil
}

type passwordResets struct{ *txn }

func (t passwordResets) Put(_ context.Context, r *domain.PasswordReset) error {
	if err := t.writable(); err != nil {
		return err
	}
	if t.s.users[r.UserID] == nil {
		return ports.ErrNotFound
	}
	v := *r
	truncate(&v.ExpiresAt)
	t.set(v.TokenHash, &v)
	return nil
}

func (t passwordResets) Get(_ context.Context, hash [32]byte) (*domain.PasswordReset, error) {
	return find(t.txn, t.s.resets, hash, cloneReset)
}

func (t passwordResets) ByUser(_ context.Context, userID string) ([]*domain.PasswordReset, error) {
	if err := t.readable(); err != nil {
		return nil, err
	}
	user := t.s.users[userID]
	if user == nil {
		return nil, nil
	}
	var resets []*domain.PasswordReset
	for _, v := range user.resets {
		resets = append(resets, cloneReset(v))
	}
	return resets, nil
}

func (t passwordResets) Consume(_ context.Context, hash [32]byte) (*domain.PasswordReset, error) {
	if err := t.writable(); err != nil {
		return nil, err
	}
	v := t.s.resets[hash]
	if v == nil {
		return nil, ports.ErrNotFound
	}
	t.set(hash, nil)
	return cloneReset(v), nil
}

func cloneReset(v *domain.PasswordReset) *domain.PasswordReset {
	c := *v
	return &c
}

func (t passwordResets) set(hash [32]byte, v *domain.PasswordReset) {
	old := t.s.resets[hash]
	t.s.setReset(hash, v)
	t.onRollback(func() { t.s.setReset(hash, old) })
}

// setReset sets the reset with a hash, or removes it if v is nil, in every index.
func (s *Store) setReset(hash [32]byte, v *domain.PasswordReset) {
	if old := s.resets[hash]; old != nil {
		delete(s.resets, hash)
		s.users[old.UserID].resets.remove(old, latestReset)
	}
	if v != nil {
		s.resets[hash] = v
		s.users[v.UserID].resets.add(v, latestReset)
	}
}

func latestReset(a, b *domain.PasswordReset) int {
	return cmp.Or(b.ExpiresAt.Compare(a.ExpiresAt), bytes.Compare(a.TokenHash[:], b.TokenHash[:]))
}
