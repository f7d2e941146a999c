package sqlstore

import (
	"context"
	"strings"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

var webhooksTable = table{
	name: "webhooks", key: []string{"id"}, fixed: []string{"session_id", "slot"},
	rest: []string{
		"user_id", "url", "events", "active", "off_reason", "secret", "secret_hint", "former", "former_hint", "former_until",
		"failures", "since", "due_at", "claimed_by", "claimed_until", "created_at", "updated_at", "untold_since",
	},
}

func scanWebhook(r row) *domain.Webhook {
	return &domain.Webhook{
		ID: r.text(0), SessionID: r.text(1), Slot: r.int(2), UserID: r.text(3), URL: r.text(4), Events: splitEvents(r.text(5)),
		Active: r.bool(6), OffReason: r.text(7), Secret: domain.SealedSecret{Sealed: r.bytes(8), Hint: r.text(9)},
		Former: domain.SealedSecret{Sealed: r.bytes(10), Hint: r.text(11)}, FormerUntil: r.time(12),
		Failures: r.int(13), Since: r.int64(14), DueAt: r.time(15), ClaimedBy: r.text(16), ClaimedUntil: r.time(17),
		CreatedAt: r.time(18), UpdatedAt: r.time(19), UntoldSince: r.time(20), Rev: r.int64(21),
	}
}

// joinEvents returns types of events as one text. No type contains a blank.
func joinEvents(types []domain.EventType) string {
	var b strings.Builder
	for i, t := range types {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(string(t))
	}
	return b.String()
}

// splitEvents is the inverse of joinEvents.
func splitEvents(text string) (types []domain.EventType) {
	for _, t := range strings.Fields(text) {
		types = append(types, domain.EventType(t))
	}
	return types
}

type webhookStatements struct {
	putStatements
	get, bySession, remove, due, nextDue, sessions *Statement
}

func (b *Queries) webhookStatements() webhookStatements {
	webhooks := selectFrom("webhooks", webhooksTable.columns()...)
	return webhookStatements{
		putStatements: b.putStatements(webhooksTable),
		get:           b.read(webhooks.where(equal("id"))),
		bySession:     b.read(webhooks.where(equal("session_id")).order("slot")),
		remove:        b.write(b.deleteFrom("webhooks", equal("id"))),
		due:           b.read(webhooks.where("due_at <= ? AND due_at IS NOT NULL").order("due_at", "id").limit()),
		nextDue:       b.read(selectFrom("webhooks", "due_at").where("due_at IS NOT NULL").order("due_at").limit()),
		sessions:      b.scan(selectFrom("webhooks", "DISTINCT session_id")),
	}
}

type webhooks Tx

func (t *webhooks) Get(ctx context.Context, id string) (*domain.Webhook, error) {
	return queryOne(ctx, (*Tx)(t), t.queries.webhooks.get, scanWebhook, id)
}

func (t *webhooks) BySession(ctx context.Context, sessionID string) ([]*domain.Webhook, error) {
	return queryAll(ctx, (*Tx)(t), t.queries.webhooks.bySession, scanWebhook, sessionID)
}

// Put reports a missing session by the error of the foreign key.
func (t *webhooks) Put(ctx context.Context, w *domain.Webhook) error {
	return (*Tx)(t).put(ctx, &t.queries.webhooks.putStatements, &w.Rev, w.ID, w.SessionID, w.Slot,
		w.UserID, w.URL, joinEvents(w.Events), w.Active, w.OffReason, nullableBytes(w.Secret.Sealed), w.Secret.Hint,
		nullableBytes(w.Former.Sealed), w.Former.Hint, nullableMicros(w.FormerUntil), w.Failures, w.Since,
		nullableMicros(w.DueAt), w.ClaimedBy, nullableMicros(w.ClaimedUntil), nullableMicros(w.CreatedAt), nullableMicros(w.UpdatedAt),
		nullableMicros(w.UntoldSince))
}

// Delete relies on the foreign key to delete the deliveries.
func (t *webhooks) Delete(ctx context.Context, id string) error {
	return (*Tx)(t).runRequired(ctx, ports.ErrNotFound, t.queries.webhooks.remove, id)
}

func (t *webhooks) Due(ctx context.Context, at time.Time, limit int) ([]*domain.Webhook, error) {
	return queryAll(ctx, (*Tx)(t), t.queries.webhooks.due, scanWebhook, micros(at), limitArgument(limit))
}

func (t *webhooks) NextDue(ctx context.Context) (time.Time, error) {
	return earliest(ctx, (*Tx)(t), t.queries.webhooks.nextDue)
}

func (t *webhooks) Sessions(ctx context.Context) ([]string, error) {
	return queryAll(ctx, (*Tx)(t), t.queries.webhooks.sessions, func(r row) string { return r.text(0) })
}
