package sqlstore

import (
	"context"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

var apiKeysTable = table{
	name: "api_keys", key: []string{"id"}, fixed: []string{"session_id", "user_id", "hash", "created_at"},
	rest: []string{"name", "hint", "last_used_at", "expires_at", "revoked_at"},
}

func scanAPIKey(r row) *domain.APIKey {
	return &domain.APIKey{
		ID: r.text(0), SessionID: r.text(1), UserID: r.text(2), Hash: r.hash(3), CreatedAt: r.time(4),
		Name: r.text(5), Hint: r.text(6), LastUsedAt: r.time(7), ExpiresAt: r.time(8), RevokedAt: r.time(9),
		Rev: r.int64(10),
	}
}

type apiKeyStatements struct {
	putStatements
	get, byHash, byUser, bySession, remove *Statement
	deleteExpired, deleteRevoked           *Statement
}

func (b *Queries) apiKeyStatements() apiKeyStatements {
	keys := selectFrom("api_keys", apiKeysTable.columns()...)
	newest := keys.order("created_at DESC", "id DESC")
	return apiKeyStatements{
		putStatements: b.putStatements(apiKeysTable),
		get:           b.read(keys.where(equal("id"))),
		byHash:        b.read(keys.where(equal("hash"))),
		byUser:        b.read(newest.where(equal("user_id"))),
		bySession:     b.read(newest.where(equal("session_id"))),
		remove:        b.write(b.deleteFrom("api_keys", equal("id"))),
		deleteExpired: b.write(b.deleteFrom("api_keys", "expires_at < ?")),
		deleteRevoked: b.write(b.deleteFrom("api_keys", "revoked_at < ?")),
	}
}

type apiKeys Tx

func (t *apiKeys) Get(ctx context.Context, id string) (*domain.APIKey, error) {
	return queryOne(ctx, (*Tx)(t), t.queries.apiKeys.get, scanAPIKey, id)
}

func (t *apiKeys) ByHash(ctx context.Context, hash [32]byte) (*domain.APIKey, error) {
	return queryOne(ctx, (*Tx)(t), t.queries.apiKeys.byHash, scanAPIKey, hash[:])
}

func (t *apiKeys) ByUser(ctx context.Context, userID string) ([]*domain.APIKey, error) {
	return queryAll(ctx, (*Tx)(t), t.queries.apiKeys.byUser, scanAPIKey, userID)
}

func (t *apiKeys) BySession(ctx context.Context, sessionID string) ([]*domain.APIKey, error) {
	return queryAll(ctx, (*Tx)(t), t.queries.apiKeys.bySession, scanAPIKey, sessionID)
}

// Put returns [ports.ErrNotFound] if the session or the user is missing.
func (t *apiKeys) Put(ctx context.Context, k *domain.APIKey) error {
	return (*Tx)(t).put(ctx, &t.queries.apiKeys.putStatements, &k.Rev, k.ID, k.SessionID, k.UserID, k.Hash[:], micros(k.CreatedAt),
		k.Name, k.Hint, nullableMicros(k.LastUsedAt), nullableMicros(k.ExpiresAt), nullableMicros(k.RevokedAt))
}

func (t *apiKeys) Delete(ctx context.Context, id string) error {
	return (*Tx)(t).runRequired(ctx, ports.ErrNotFound, t.queries.apiKeys.remove, id)
}

func (t *apiKeys) DeleteEnded(ctx context.Context, before time.Time) error {
	if err := (*Tx)(t).run(ctx, t.queries.apiKeys.deleteExpired, ceilMicros(before)); err != nil {
		return err
	}
	return (*Tx)(t).run(ctx, t.queries.apiKeys.deleteRevoked, ceilMicros(before))
}
