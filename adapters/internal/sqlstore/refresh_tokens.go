package sqlstore

import (
	"context"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
)

var familiesTable = table{
	name: "sign_ins", key: []string{"id"}, fixed: []string{"user_id"},
	rest: []string{"token_hash", "created_at", "expires_at", "revoked_at"},
}

func scanSignIn(r row) *domain.RefreshTokenFamily {
	return &domain.RefreshTokenFamily{
		ID: r.text(0), UserID: r.text(1),
		TokenHash: r.hash(2), CreatedAt: r.time(3), ExpiresAt: r.time(4), RevokedAt: r.time(5), Rev: r.int64(6),
	}
}

type familyStatements struct {
	puts
	get, revokeAll, deleteExpired *Statement
}

func (b *Queries) familyStatements() familyStatements {
	return familyStatements{
		puts: b.puts(familiesTable),
		get:  b.read(pick("sign_ins", familiesTable.columns()...).where(same("id"))),
		revokeAll: b.write(b.update("sign_ins", []set{{"revoked_at", "?"}, {"rev", "rev + 1"}},
			"user_id = ? AND id <> ? AND revoked_at IS NULL")),
		deleteExpired: b.write(b.remove("sign_ins", "expires_at < ?")),
	}
}

type refreshTokenFamilies Tx

func (t *refreshTokenFamilies) Get(ctx context.Context, id string) (*domain.RefreshTokenFamily, error) {
	return one(ctx, (*Tx)(t), t.body.families.get, scanSignIn, id)
}

// Put needs the user to exist, or gives ErrNotFound.
func (t *refreshTokenFamilies) Put(ctx context.Context, f *domain.RefreshTokenFamily) error {
	return (*Tx)(t).put(ctx, &t.body.families.puts, &f.Rev, f.ID, f.UserID,
		f.TokenHash[:], when(f.CreatedAt), micros(f.ExpiresAt), when(f.RevokedAt))
}

func (t *refreshTokenFamilies) RevokeAll(ctx context.Context, userID, except string, at time.Time) error {
	return (*Tx)(t).done(ctx, t.body.families.revokeAll, when(at), userID, except)
}

func (t *refreshTokenFamilies) DeleteExpired(ctx context.Context, before time.Time) error {
	return (*Tx)(t).done(ctx, t.body.families.deleteExpired, ceiling(before))
}

type passwordResetStatements struct{ put, consume *Statement }

func (b *Queries) passwordResetStatements() passwordResetStatements {
	take := b.remove("resets", same("token_hash")).Suffix("RETURNING token_hash, user_id, expires_at")
	return passwordResetStatements{
		put:     b.upsert("resets", []string{"user_id"}, []string{"token_hash", "expires_at"}),
		consume: b.add(Statement{Write: true, columns: 3}, take),
	}
}

type passwordResets Tx

// Put needs the user to exist, or gives ErrNotFound.
func (t *passwordResets) Put(ctx context.Context, r *domain.PasswordReset) error {
	return (*Tx)(t).done(ctx, t.body.passwordResets.put, r.UserID, r.TokenHash[:], when(r.ExpiresAt))
}

func (t *passwordResets) Consume(ctx context.Context, hash [32]byte) (*domain.PasswordReset, error) {
	return one(ctx, (*Tx)(t), t.body.passwordResets.consume, func(r row) *domain.PasswordReset {
		return &domain.PasswordReset{TokenHash: r.hash(0), UserID: r.text(1), ExpiresAt: r.time(2)}
	}, hash[:])
}
