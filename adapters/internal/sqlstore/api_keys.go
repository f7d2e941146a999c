package sqlstore

import (
	"context"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

var apiKeysTable = table{
	name: "api_keys", key: []string{"id"}, fixed: []string{"session_id", "user_id", "hash", "created_at"},
	rest: []string{"name", "hint", "last_used_at", "expires_at", "revoked_at"},
}

func scanKey(r row) *domain.APIKey {
	return &domain.APIKey{
		ID: r.text(0), SessionID: r.text(1), UserID: r.text(2), Hash: r.hash(3), CreatedAt: r.time(4),
		Name: r.text(5), Hint: r.text(6), LastUsedAt: r.time(7), ExpiresAt: r.time(8), RevokedAt: r.time(9),
		Rev: r.int64(10),
	}
}

type apiKeyStatements struct {
	puts
	get, byHash, byUser, bySession, remove *Statement
}

func (b *Queries) apiKeyStatements() apiKeyStatements {
	keys := pick("api_keys", apiKeysTable.columns()...)
	newest := keys.order("created_at DESC", "id DESC")
	return apiKeyStatements{
		puts:      b.puts(apiKeysTable),
		get:       b.read(keys.where(same("id"))),
		byHash:    b.read(keys.where(same("hash"))),
		byUser:    b.read(newest.where(same("user_id"))),
		bySession: b.read(newest.where(same("session_id"))),
		remove:    b.write(b.remove("api_keys", same("id"))),
	}
}

type apiKeys Tx

func (t *apiKeys) Get(ctx context.Context, id string) (*domain.APIKey, error) {
	return one(ctx, (*Tx)(t), t.body.apiKeys.get, scanKey, id)
}

func (t *apiKeys) ByHash(ctx context.Context, hash [32]byte) (*domain.APIKey, error) {
	return one(ctx, (*Tx)(t), t.body.apiKeys.byHash, scanKey, hash[:])
}

func (t *apiKeys) ByUser(ctx context.Context, userID string) ([]*domain.APIKey, error) {
	return many(ctx, (*Tx)(t), t.body.apiKeys.byUser, scanKey, userID)
}

func (t *apiKeys) BySession(ctx context.Context, sessionID string) ([]*domain.APIKey, error) {
	return many(ctx, (*Tx)(t), t.body.apiKeys.bySession, scanKey, sessionID)
}

// Put needs the session and the user to exist, or gives ErrNotFound.
func (t *apiKeys) Put(ctx context.Context, k *domain.APIKey) error {
	return (*Tx)(t).put(ctx, &t.body.apiKeys.puts, &k.Rev, k.ID, k.SessionID, k.UserID, k.Hash[:], micros(k.CreatedAt),
		k.Name, k.Hint, when(k.LastUsedAt), when(k.ExpiresAt), when(k.RevokedAt))
}

func (t *apiKeys) Delete(ctx context.Context, id string) error {
	return (*Tx)(t).changed(ctx, ports.ErrNotFound, t.body.apiKeys.remove, id)
}
