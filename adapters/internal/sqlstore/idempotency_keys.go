package sqlstore

import (
	"context"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
)

var idempotencyKeysTable = table{
	name: "idempotency_keys", key: []string{"session_id", "idempotency_key"},
	rest: []string{"fingerprint", "message_id", "created_at", "failure_kind", "failure_code", "failure"},
}

func scanIdempotencyKey(r row) *domain.IdempotencyKey {
	return &domain.IdempotencyKey{
		SessionID: r.text(0), Key: r.text(1), Fingerprint: r.hash(2), MessageID: r.text(3), CreatedAt: r.time(4),
		Failure: domain.StoredError{Kind: domain.Kind(r.int(5)), Code: domain.Code(r.text(6)), Message: r.text(7)},
		Rev:     r.int64(8),
	}
}

type idempotencyKeyStatements struct {
	putStatements
	get, deleteBefore *Statement
}

func (b *Queries) idempotencyKeyStatements() idempotencyKeyStatements {
	return idempotencyKeyStatements{
		putStatements: b.putStatements(idempotencyKeysTable),
		get:           b.read(selectFrom("idempotency_keys", idempotencyKeysTable.columns()...).where(equal("session_id", "idempotency_key"))),
		deleteBefore: b.write(b.deleteFrom("idempotency_keys", "(session_id, idempotency_key) IN ("+
			"SELECT session_id, idempotency_key FROM idempotency_keys WHERE created_at < ? ORDER BY created_at LIMIT ?)")),
	}
}

type idempotencyKeys Tx

func (t *idempotencyKeys) Put(ctx context.Context, k *domain.IdempotencyKey) error {
	return (*Tx)(t).put(ctx, &t.queries.idempotencyKeys.putStatements, &k.Rev, k.SessionID, k.Key,
		k.Fingerprint[:], k.MessageID, micros(k.CreatedAt), int(k.Failure.Kind), string(k.Failure.Code), k.Failure.Message)
}

func (t *idempotencyKeys) Get(ctx context.Context, sessionID, key string) (*domain.IdempotencyKey, error) {
	return queryOne(ctx, (*Tx)(t), t.queries.idempotencyKeys.get, scanIdempotencyKey, sessionID, key)
}

func (t *idempotencyKeys) DeleteBefore(ctx context.Context, before time.Time, limit int) (int, error) {
	n, err := (*Tx)(t).exec(ctx, t.queries.idempotencyKeys.deleteBefore, ceilMicros(before), max(limit, 0))
	return int(n), err
}
