package sqlstore

import (
	"context"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

var sendQueuesTable = table{
	name: "send_queues", key: []string{"session_id"}, fixed: []string{"user_id"},
	rest: []string{"bytes", "waiting", "due_at", "not_before", "hold", "claimed_by", "claimed_until"},
}

func scanSendQueue(r row) *domain.SendQueue {
	return &domain.SendQueue{
		SessionID: r.text(0), UserID: r.text(1), Bytes: r.int64(2), Waiting: r.int(3), DueAt: r.time(4), NotBefore: r.time(5),
		Hold: r.text(6), ClaimedBy: r.text(7), ClaimedUntil: r.time(8), Rev: r.int64(9),
	}
}

type sendQueueStatements struct {
	putStatements
	get, due, nextDue, bytes *Statement
}

func (b *Queries) sendQueueStatements() sendQueueStatements {
	queues := selectFrom("send_queues", sendQueuesTable.columns()...)
	return sendQueueStatements{
		putStatements: b.putStatements(sendQueuesTable),
		get:           b.read(queues.where(equal("session_id"))),
		due:           b.read(queues.where("due_at <= ? AND due_at IS NOT NULL").order("due_at", "session_id").limit()),
		nextDue:       b.read(selectFrom("send_queues", "due_at").where("due_at IS NOT NULL").order("due_at").limit()),
		bytes:         b.read(selectFrom("send_queues", "CAST(COALESCE(SUM(bytes), 0) AS BIGINT)").where(equal("user_id"))),
	}
}

type sendQueues Tx

func (t *sendQueues) Get(ctx context.Context, sessionID string) (*domain.SendQueue, error) {
	return queryOne(ctx, (*Tx)(t), t.queries.sendQueues.get, scanSendQueue, sessionID)
}

// Put reports a missing session by the error of the foreign key.
func (t *sendQueues) Put(ctx context.Context, q *domain.SendQueue) error {
	return (*Tx)(t).put(ctx, &t.queries.sendQueues.putStatements, &q.Rev, q.SessionID, q.UserID, q.Bytes, q.Waiting,
		nullableMicros(q.DueAt), nullableMicros(q.NotBefore), q.Hold, q.ClaimedBy, nullableMicros(q.ClaimedUntil))
}

func (t *sendQueues) Due(ctx context.Context, at time.Time, limit int) ([]*domain.SendQueue, error) {
	return queryAll(ctx, (*Tx)(t), t.queries.sendQueues.due, scanSendQueue, micros(at), limitArgument(limit))
}

func (t *sendQueues) NextDue(ctx context.Context) (time.Time, error) {
	return earliest(ctx, (*Tx)(t), t.queries.sendQueues.nextDue)
}

func (t *sendQueues) Bytes(ctx context.Context, userID string) (int64, error) {
	return queryOne(ctx, (*Tx)(t), t.queries.sendQueues.bytes, func(r row) int64 { return r.int64(0) }, userID)
}

var queuedMessagesTable = table{
	name: "queued_messages", key: []string{"session_id", "id"}, fixed: []string{"send_at", "deadline"},
	rest: []string{"user_id", "created_at", "attempts", "size", "message", "media", "upload"},
}

// queuedColumns are the columns that lists read.
var queuedColumns = []string{"session_id", "id", "send_at", "deadline", "user_id", "created_at", "attempts", "size", "message", "rev"}

func scanQueued(r row) *domain.QueuedMessage {
	m := &domain.QueuedMessage{
		SessionID: r.text(0), ID: r.text(1), SendAt: r.time(2), Deadline: r.time(3), UserID: r.text(4), CreatedAt: r.time(5),
		Attempts: r.int(6), Size: r.int64(7), Rev: r.int64(9),
	}
	var stored storedOutgoing
	r.decode(8, &stored)
	stored.addTo(m)
	return m
}

func scanQueuedWithMedia(r row) *domain.QueuedMessage {
	m := scanQueued(r)
	m.Message.Media, m.Upload = r.text(10), r.bytes(11)
	return m
}

type queuedMessageStatements struct {
	putStatements
	get, remove, list, expired, nextDeadline *Statement
}

func (b *Queries) queuedMessageStatements() queuedMessageStatements {
	queued := selectFrom("queued_messages", queuedColumns...)
	return queuedMessageStatements{
		putStatements: b.putStatements(queuedMessagesTable),
		get: b.read(selectFrom("queued_messages", join(queuedColumns, []string{"media", "upload"})...).
			where(equal("session_id", "id"))),
		remove: b.write(b.deleteFrom("queued_messages", equal("session_id", "id", "rev"))),
		list: b.read(queued.where(equal("session_id")).where("(send_at, id) > (?, ?)").
			order("send_at", "id").limit()),
		expired:      b.read(queued.where(equal("session_id")).where("deadline <= ?").order("deadline", "id").limit()),
		nextDeadline: b.read(selectFrom("queued_messages", "deadline").where(equal("session_id")).order("deadline").limit()),
	}
}

type queuedMessages Tx

func (t *queuedMessages) Get(ctx context.Context, sessionID, id string) (*domain.QueuedMessage, error) {
	return queryOne(ctx, (*Tx)(t), t.queries.queuedMessages.get, scanQueuedWithMedia, sessionID, id)
}

// Put reports a missing session by the error of the foreign key.
func (t *queuedMessages) Put(ctx context.Context, m *domain.QueuedMessage) error {
	text, err := toJSON(storeOutgoing(m), false)
	if err != nil {
		return err
	}
	return (*Tx)(t).put(ctx, &t.queries.queuedMessages.putStatements, &m.Rev, m.SessionID, m.ID, micros(m.SendAt), micros(m.Deadline),
		m.UserID, micros(m.CreatedAt), m.Attempts, m.Size, text, m.Message.Media, nullableBytes(m.Upload))
}

func (t *queuedMessages) Delete(ctx context.Context, sessionID, id string, rev int64) error {
	return (*Tx)(t).runRequired(ctx, ports.ErrConflict, t.queries.queuedMessages.remove, sessionID, id, rev)
}

func (t *queuedMessages) List(ctx context.Context, sessionID string, after domain.Cursor, limit int) ([]*domain.QueuedMessage, error) {
	return queryAll(ctx, (*Tx)(t), t.queries.queuedMessages.list, scanQueued, sessionID, micros(after.At), after.ID, limitArgument(limit))
}

func (t *queuedMessages) Expired(ctx context.Context, sessionID string, at time.Time, limit int) ([]*domain.QueuedMessage, error) {
	return queryAll(ctx, (*Tx)(t), t.queries.queuedMessages.expired, scanQueued, sessionID, micros(at), limitArgument(limit))
}

func (t *queuedMessages) NextDeadline(ctx context.Context, sessionID string) (time.Time, error) {
	deadlines, err := queryAll(ctx, (*Tx)(t), t.queries.queuedMessages.nextDeadline, func(r row) time.Time { return r.time(0) }, sessionID, int64(1))
	if err != nil || len(deadlines) == 0 {
		return time.Time{}, err
	}
	return deadlines[0], nil
}

// storedOutgoing is the stored form of a message that waits, without its media. Released stores hold it: a member is added,
// never renamed.
type storedOutgoing struct {
	To         string           `json:"to"`
	Type       string           `json:"type"`
	Text       string           `json:"text,omitempty"`
	MediaURL   string           `json:"mediaUrl,omitempty"`
	MediaType  string           `json:"mediaType,omitempty"`
	Filename   string           `json:"filename,omitempty"`
	Caption    string           `json:"caption,omitempty"`
	Location   *domain.Location `json:"location,omitempty"`
	Contact    *domain.Contact  `json:"contact,omitempty"`
	Link       *domain.Link     `json:"link,omitempty"`
	Poll       *domain.Poll     `json:"poll,omitempty"`
	QuotedID   string           `json:"quotedId,omitempty"`
	Mentions   []string         `json:"mentions,omitempty"`
	Simulation bool             `json:"humanSimulation,omitempty"`

	UploadType   string `json:"uploadType,omitempty"`
	UploadSHA256 string `json:"uploadSha256,omitempty"`
}

// storeOutgoing returns the stored form of a message that waits.
func storeOutgoing(q *domain.QueuedMessage) storedOutgoing {
	m := &q.Message
	return storedOutgoing{
		To: m.To, Type: string(m.Type), Text: m.Text, MediaURL: m.MediaURL, MediaType: m.MediaType, Filename: m.Filename, Caption: m.Caption,
		Location: m.Location, Contact: m.Contact, Link: m.Link, Poll: m.Poll, QuotedID: m.QuotedMessageID, Mentions: m.Mentions,
		Simulation: m.HumanSimulation, UploadType: q.UploadType, UploadSHA256: q.UploadSHA256,
	}
}

// addTo is the inverse of storeOutgoing.
func (s *storedOutgoing) addTo(q *domain.QueuedMessage) {
	q.UploadType, q.UploadSHA256 = s.UploadType, s.UploadSHA256
	q.Message = domain.Outgoing{
		To: s.To, Type: domain.MessageType(s.Type), Text: s.Text, MediaURL: s.MediaURL, MediaType: s.MediaType, Filename: s.Filename, Caption: s.Caption,
		Location: s.Location, Contact: s.Contact, Link: s.Link, Poll: s.Poll, QuotedMessageID: s.QuotedID, Mentions: s.Mentions,
		HumanSimulation: s.Simulation,
	}
}
