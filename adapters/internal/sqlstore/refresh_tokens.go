package sqlstore

import (
	"bytes"
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
)

var familiesTable = table{
	name: "sign_ins", key: []string{"id"}, fixed: []string{"user_id"},
	rest: []string{"token_hash", "reuse_key", "created_at", "last_used_at", "expires_at", "revoked_at", "address", "user_agent"},
}

func scanFamily(r row) *domain.RefreshTokenFamily {
	return &domain.RefreshTokenFamily{
		ID: r.text(0), UserID: r.text(1),
		TokenHash: r.hash(2), ReuseKey: r.hash(3), CreatedAt: r.time(4), LastUsedAt: r.time(5), ExpiresAt: r.time(6),
		RevokedAt: r.time(7), Address: r.text(8), UserAgent: r.text(9), Rev: r.int64(10),
	}
}

type familyStatements struct {
	putStatements
	get, byUser, delete, revokeAll, deleteExpired *Statement
}

func (b *Queries) familyStatements() familyStatements {
	families := selectFrom("sign_ins", familiesTable.columns()...)
	return familyStatements{
		putStatements: b.putStatements(familiesTable),
		get:           b.read(families.where(equal("id"))),
		byUser:        b.read(families.where(equal("user_id"))),
		delete:        b.write(b.deleteFrom("sign_ins", equal("id"))),
		revokeAll: b.write(b.update("sign_ins", []set{{"revoked_at", "?"}, {"rev", "rev + 1"}},
			"user_id = ? AND id <> ? AND revoked_at IS NULL")),
		deleteExpired: b.write(b.deleteFrom("sign_ins", "expires_at < ?")),
	}
}

type refreshTokenFamilies Tx

func (t *refreshTokenFamilies) Get(ctx context.Context, id string) (*domain.RefreshTokenFamily, error) {
	return queryOne(ctx, (*Tx)(t), t.queries.families.get, scanFamily, id)
}

// Put returns [ports.ErrNotFound] if the user is missing.
func (t *refreshTokenFamilies) Put(ctx context.Context, f *domain.RefreshTokenFamily) error {
	return (*Tx)(t).put(ctx, &t.queries.families.putStatements, &f.Rev, f.ID, f.UserID,
		f.TokenHash[:], f.ReuseKey[:], nullableMicros(f.CreatedAt), nullableMicros(f.LastUsedAt), micros(f.ExpiresAt),
		nullableMicros(f.RevokedAt), f.Address, f.UserAgent)
}

// ByUser sorts here: a user has few families.
func (t *refreshTokenFamilies) ByUser(ctx context.Context, userID string) ([]*domain.RefreshTokenFamily, error) {
	list, err := queryAll(ctx, (*Tx)(t), t.queries.families.byUser, scanFamily, userID)
	slices.SortFunc(list, func(a, b *domain.RefreshTokenFamily) int {
		return cmp.Or(b.LastUsedAt.Compare(a.LastUsedAt), cmp.Compare(b.ID, a.ID))
	})
	return list, err
}

func (t *refreshTokenFamilies) Delete(ctx context.Context, id string) error {
	return (*Tx)(t).run(ctx, t.queries.families.delete, id)
}

func (t *refreshTokenFamilies) RevokeAll(ctx context.Context, userID, except string, at time.Time) error {
	return (*Tx)(t).run(ctx, t.queries.families.revokeAll, nullableMicros(at), userID, except)
}

func (t *refreshTokenFamilies) DeleteExpired(ctx context.Context, before time.Time) error {
	return (*Tx)(t).run(ctx, t.queries.families.deleteExpired, ceilMicros(before))
}

type passwordResetStatements struct{ put, get, byUser, consume *Statement }

func (b *Queries) passwordResetStatements() passwordResetStatements {
	resets := selectFrom("password_resets", "token_hash", "user_id", "expires_at")
	consume := b.deleteFrom("password_resets", equal("token_hash")).Suffix("RETURNING token_hash, user_id, expires_at")
	return passwordResetStatements{
		put:     b.upsert("password_resets", []string{"token_hash"}, []string{"user_id", "expires_at"}),
		get:     b.read(resets.where(equal("token_hash"))),
		byUser:  b.read(resets.where(equal("user_id"))),
		consume: b.add(Statement{Write: true, columns: 3}, consume),
	}
}

type passwordResets Tx

// Put returns [ports.ErrNotFound] if the user is missing.
func (t *passwordResets) Put(ctx context.Context, r *domain.PasswordReset) error {
	return (*Tx)(t).run(ctx, t.queries.passwordResets.put, r.TokenHash[:], r.UserID, nullableMicros(r.ExpiresAt))
}

func (t *passwordResets) Get(ctx context.Context, hash [32]byte) (*domain.PasswordReset, error) {
	return queryOne(ctx, (*Tx)(t), t.queries.passwordResets.get, scanPasswordReset, hash[:])
}

// ByUser sorts here: a user has few resets.
func (t *passwordResets) ByUser(ctx context.Context, userID string) ([]*domain.PasswordReset, error) {
	list, err := queryAll(ctx, (*Tx)(t), t.queries.passwordResets.byUser, scanPasswordReset, userID)
	slices.SortFunc(list, func(a, b *domain.PasswordReset) int {
		return cmp.Or(b.ExpiresAt.Compare(a.ExpiresAt), bytes.Compare(a.TokenHash[:], b.TokenHash[:]))
	})
	return list, err
}

func (t *passwordResets) Consume(ctx context.Context, hash [32]byte) (*domain.PasswordReset, error) {
	return queryOne(ctx, (*Tx)(t), t.queries.passwordResets.consume, scanPasswordReset, hash[:])
}

func scanPasswordReset(r row) *domain.PasswordReset {
	return &domain.PasswordReset{TokenHash: r.hash(0), UserID: r.text(1), ExpiresAt: r.time(2)}
}
