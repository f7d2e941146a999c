package sqlstore

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

var messagesTable = table{
	name: "messages", key: []string{"id"},
	fixed: []string{"session_id", "created_at", "direction", "to_jid", "type", "content", "caption", "filename", "relations", "media"},
	rest: []string{
		"whatsapp_id", "user_id", "from_jid", "media_url", "status", "error", "unreported", "unforwarded", "sent_at", "delivered_at", "read_at",
	},
}

func scanMessage(r row) *domain.Message {
	return &domain.Message{
		ID: r.text(0), SessionID: r.text(1), CreatedAt: r.time(2), Direction: domain.Direction(r.text(3)), To: r.text(4),
		Type: domain.MessageType(r.text(5)), Content: r.text(6), Caption: r.text(7), Filename: r.text(8),
		Relations:  relationsOf(r.text(9)),
		Media:      mediaRefOf(r.text(10)),
		WhatsAppID: r.text(11), UserID: r.text(12), From: r.text(13), MediaURL: r.text(14),
		Status: domain.MessageStatus(r.text(15)), Error: r.text(16), Unreported: r.bool(17), Unforwarded: r.bool(18),
		SentAt: r.time(19), DeliveredAt: r.time(20), ReadAt: r.time(21),
		Rev: r.int64(22),
	}
}

// mediaRefText returns a reference as it is stored: as JSON, or "" without media.
func mediaRefText(ref domain.MediaRef) string {
	if ref.IsZero() {
		return ""
	}
	text, _ := json.Marshal(storedMediaRef(ref)) // a struct of texts and a number
	return string(text)
}

// mediaRefOf reads what mediaRefText has written.
func mediaRefOf(text string) domain.MediaRef {
	var ref storedMediaRef
	if text != "" {
		_ = json.Unmarshal([]byte(text), &ref) // JSON of ours
	}
	return domain.MediaRef(ref)
}

// storedMediaRef is a reference with the names of its members in the database.
type storedMediaRef struct {
	ID     string `json:"id"`
	Type   string `json:"type,omitempty"`
	Size   int64  `json:"size,omitempty"`
	SHA256 string `json:"sha256,omitempty"`
}

// The conditions of partial indexes. A query repeats the text of a condition literally; otherwise the database does not use
// the index.
const (
	ofUser     = "user_id = ? AND session_id IN (SELECT id FROM sessions WHERE user_id = ?)"
	isPending  = "status = 'PENDING'"
	isOutbound = "direction = 'OUTBOUND'"
	isInbound  = "direction = 'INBOUND'"
)

type messageStatements struct {
	putStatements                               // for messages whose WhatsApp id may change
	putDelivered                                putStatements
	get, sentByWhatsAppID, receivedByWhatsAppID *Statement
	countSince, pendingBefore, deleteBefore     *Statement
	remove                                      *Statement
	index                                       *Statement // of PostgreSQL
	indexNew, advanceIndexed                    *Statement // of SQLite
}

func (b *Queries) messageStatements() messageStatements {
	messages := selectFrom("messages", messagesTable.columns()...)
	byWhatsAppID := messages.where(equal("session_id", "whatsapp_id") + " AND whatsapp_id <> ''")
	// The WhatsApp id of a delivered message no longer changes. It counts as fixed, so that an update does not touch its
	// index.
	anyStatus := b.messagePuts()
	fixed, rest := messagesTable.fixed, messagesTable.rest
	delivered := anyStatus
	delivered.fixed++
	delivered.update = b.put(b.update("messages", sets(join(rest[1:], []string{"rev"})...),
		equal("id", "rev")+unchanged(join(fixed, rest[:1]))), len(rest)-1)
	index := &Statement{SQL: indexWordsSQL, Index: -1, Write: true}
	return messageStatements{
		index:                index,
		putStatements:        anyStatus,
		putDelivered:         delivered,
		get:                  b.read(messages.where(equal("id", "session_id"))),
		sentByWhatsAppID:     b.read(byWhatsAppID.where(isOutbound)),
		receivedByWhatsAppID: b.read(byWhatsAppID.where(isInbound)),
		countSince: b.scan(selectFrom("messages", "COUNT(*)", "MIN(created_at)").
			where("created_at >= ?").where(isOutbound).where("NOT unforwarded").where(ofUser)),
		pendingBefore: b.read(messages.where("created_at < ?").where(isPending).
			order("created_at", "id").limit()),
		deleteBefore: b.write(b.deleteFrom("messages",
			"id IN (SELECT id FROM messages WHERE session_id = ? AND created_at < ? ORDER BY created_at, id LIMIT ?)")),
		remove: b.write(b.deleteFrom("messages", equal("id", "session_id", "rev"))),
	}
}

type messages Tx

// Put returns [ports.ErrNotFound] if the session is missing.
func (t *messages) Put(ctx context.Context, m *domain.Message) error {
	statements := &t.queries.messages.putStatements
	if m.Status == domain.MessageDelivered || m.Status == domain.MessageRead {
		statements = &t.queries.messages.putDelivered
	}
	return (*Tx)(t).put(ctx, statements, &m.Rev, m.ID, m.SessionID, micros(m.CreatedAt), string(m.Direction),
		m.To, string(m.Type), m.Content, m.Caption, m.Filename, relationsText(&m.Relations), mediaRefText(m.Media), m.WhatsAppID, m.UserID, m.From, m.MediaURL,
		string(m.Status), m.Error, m.Unreported, m.Unforwarded, nullableMicros(m.SentAt), nullableMicros(m.DeliveredAt), nullableMicros(m.ReadAt))
}

func (t *messages) DeleteBefore(ctx context.Context, sessionID string, before time.Time, limit int) (int, error) {
	n, err := (*Tx)(t).exec(ctx, t.queries.messages.deleteBefore, sessionID, ceilMicros(before), max(limit, 0))
	return int(n), err
}

func (t *messages) Delete(ctx context.Context, sessionID, id string, rev int64) error {
	return (*Tx)(t).runRequired(ctx, ports.ErrConflict, t.queries.messages.remove, id, sessionID, rev)
}

func (t *messages) Get(ctx context.Context, sessionID, id string) (*domain.Message, error) {
	return queryOne(ctx, (*Tx)(t), t.queries.messages.get, scanMessage, id, sessionID)
}

// ByWhatsAppID prefers an outbound message, and then the latest one. A message that an account sends to itself is stored
// twice, as outbound and as inbound.
func (t *messages) ByWhatsAppID(ctx context.Context, sessionID, whatsAppID string) (*domain.Message, error) {
	for _, s := range []*Statement{t.queries.messages.sentByWhatsAppID, t.queries.messages.receivedByWhatsAppID} {
		// There is at most one row, unless WhatsApp repeats an id. The database does not sort the rows: it would scan the
		// history instead of the index.
		found, err := queryAll(ctx, (*Tx)(t), s, scanMessage, sessionID, whatsAppID)
		if err != nil {
			return nil, err
		}
		if len(found) > 0 {
			return slices.MaxFunc(found, func(a, b *domain.Message) int {
				return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.ID, b.ID))
			}), nil
		}
	}
	return nil, ports.ErrNotFound
}

// CountSince counts outbound messages of the user's sessions that were forwarded.
func (t *messages) CountSince(ctx context.Context, userID string, since time.Time) (n int, first time.Time, err error) {
	_, err = queryOne(ctx, (*Tx)(t), t.queries.messages.countSince, func(r row) struct{} {
		n, first = r.int(0), r.time(1)
		return struct{}{}
	}, ceilMicros(since), userID, userID)
	return n, first, err
}

// PendingBefore returns the oldest message first. It reads and sorts all messages that are PENDING.
func (t *messages) PendingBefore(ctx context.Context, before time.Time, limit int) ([]*domain.Message, error) {
	return queryAll(ctx, (*Tx)(t), t.queries.messages.pendingBefore, scanMessage, ceilMicros(before), limitArgument(limit))
}
