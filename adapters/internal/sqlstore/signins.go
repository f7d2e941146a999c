package sqlstore

import (
	"context"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
)

var signInsTable = table{
	name: "sign_ins", key: []string{"id"}, fixed: []string{"user_id"},
	rest: []string{"token_hash", "created_at", "expires_at", "revoked_at"},
}

func scanSignIn(r row) *domain.RefreshTokenFamily {
	return &domain.RefreshTokenFamily{
		ID: r.text(0), UserID: r.text(1),
		TokenHash: r.hash(2), CreatedAt: r.time(3), ExpiresAt: r.time(4), RevokedAt: r.time(5), Rev: r.int64(6),
	}
}

type signInStatements struct {
	puts
	get, revokeAll, deleteExpired *Statement
}

func (b *Body) signInStatements() signInStatements {
	return signInStatements{
		puts: b.puts(signInsTable),
		get:  b.read(pick("sign_ins", signInsTable.columns()...).where(same("id"))),
		revokeAll: b.write(b.update("sign_ins", []set{{"revoked_at", "?"}, {"rev", "rev + 1"}},
			"user_id = ? AND id <> ? AND revoked_at IS NULL")),
		deleteExpired: b.write(b.remove("sign_ins", "expires_at < ?")),
	}
}

type signIns Tx

func (t *signIns) Get(ctx context.Context, id string) (*domain.RefreshTokenFamily, error) {
	return one(ctx, (*Tx)(t), t.body.signIns.get, scanSignIn, id)
}

// Put needs the user to exist, or gives ErrNotFound.
func (t *signIns) Put(ctx context.Context, f *domain.RefreshTokenFamily) error {
	return (*Tx)(t).put(ctx, &t.body.signIns.puts, &f.Rev, f.ID, f.UserID,
		f.TokenHash[:], when(f.CreatedAt), micros(f.ExpiresAt), when(f.RevokedAt))
}

func (t *signIns) RevokeAll(ctx context.Context, userID, except string, at time.Time) error {
	return (*Tx)(t).done(ctx, t.body.signIns.revokeAll, when(at), userID, except)
}

func (t *signIns) DeleteExpired(ctx context.Context, before time.Time) error {
	return (*Tx)(t).done(ctx, t.body.signIns.deleteExpired, ceiling(before))
}

type resetStatements struct{ put, take *Statement }

func (b *Body) resetStatements() resetStatements {
	take := b.remove("resets", same("token_hash")).Suffix("RETURNING token_hash, user_id, expires_at")
	return resetStatements{
		put:  b.upsert("resets", []string{"user_id"}, []string{"token_hash", "expires_at"}),
		take: b.add(Statement{Write: true, columns: 3}, take),
	}
}

type resets Tx

// Put needs the user to exist, or gives ErrNotFound.
func (t *resets) Put(ctx context.Context, r *domain.PasswordReset) error {
	return (*Tx)(t).done(ctx, t.body.resets.put, r.UserID, r.TokenHash[:], when(r.ExpiresAt))
}

func (t *resets) Take(ctx context.Context, hash [32]byte) (*domain.PasswordReset, error) {
	return one(ctx, (*Tx)(t), t.body.resets.take, func(r row) *domain.PasswordReset {
		return &domain.PasswordReset{TokenHash: r.hash(0), UserID: r.text(1), ExpiresAt: r.time(2)}
	}, hash[:])
}
