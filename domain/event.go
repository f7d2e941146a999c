package domain

import "time"

// EventType names an event in the words of customers' webhooks.
type EventType string

// The events of the core.
const (
	EventMessageReceived  EventType = "message.received"
	EventMessageSent      EventType = "message.sent"
	EventMessageDelivered EventType = "message.delivered"
	EventMessageRead      EventType = "message.read"
	EventMessageFailed    EventType = "message.failed"

	EventSessionConnected    EventType = "session.connected"
	EventSessionDisconnected EventType = "session.disconnected"
	EventSessionQR           EventType = "session.qr_updated"
	EventSessionError        EventType = "session.error"
	EventSessionPlaced       EventType = "session.placed"
	EventSessionMigrated     EventType = "session.migrated"
	EventSessionFailedOver   EventType = "session.failed_over"
	EventSessionNeedsScan    EventType = "session.needs_scan" // an alert; FromWorker is the home
	EventSessionDeleted      EventType = "session.deleted"

	EventWorkerOnline   EventType = "worker.online"
	EventWorkerOffline  EventType = "worker.offline"
	EventWorkerDraining EventType = "worker.draining"
	EventWorkerDrained  EventType = "worker.drained" // no session is left on the worker
	EventWorkerSuspect  EventType = "worker.suspect" // an alert; see ExceedsBaseline
)

// Event is a fact about a session, a message or a worker. The transaction that causes an event also
// records it; only [Session.QREvent] is never recorded. An event contains no secret and no QR data.
type Event struct {
	// Seq is the position in the event log, in the order of commits. The store sets it. It grows and may
	// have gaps.
	Seq        int64
	Type       EventType
	At         time.Time
	UserID     string // empty for events of workers
	SessionID  string
	WorkerID   string // the present worker of the session, or the worker concerned
	FromWorker string // the former worker, for migrations and failovers
	Generation int64
	Status     Status
	Reason     string // for people; may be empty

	// Message is a copy of the message right after the event, for events of messages. Its Rev is 0. Readers
	// share the copy and do not change it.
	Message *Message
	// Session is a snapshot of the session right after the event, for events of sessions. Readers share the
	// snapshot and do not change it.
	Session *SessionSnapshot
}

// SessionSnapshot holds the texts that a user entered for a session, and the known facts of its account.
type SessionSnapshot struct {
	Name        string
	Description string
	DisplayName string
	PhoneNumber string
	LastError   string
	LastSeenAt  time.Time
	CreatedAt   time.Time
	UpdatedAt   time.Time
}

// snapshot returns the snapshot of the session.
func (s *Session) snapshot() *SessionSnapshot {
	return &SessionSnapshot{
		Name: s.Name, Description: s.Description, DisplayName: s.DisplayName, PhoneNumber: s.PhoneNumber,
		LastError: s.LastError, LastSeenAt: s.LastSeenAt, CreatedAt: s.CreatedAt, UpdatedAt: s.UpdatedAt,
	}
}

// event returns an event of the session in its present state.
func (s *Session) event(e EventType, reason string, now time.Time) Event {
	return Event{
		Type: e, At: now, UserID: s.UserID, SessionID: s.ID, WorkerID: s.WorkerID,
		Generation: s.Generation, Status: s.Status, Reason: reason, Session: s.snapshot(),
	}
}

// QREvent returns the event of the session's present QR code. It is never recorded, and has no Seq.
func (s *Session) QREvent(now time.Time) Event { return s.event(EventSessionQR, "", now) }

// DeletionEvent returns the event of the session's deletion.
func (s *Session) DeletionEvent(now time.Time) Event { return s.event(EventSessionDeleted, "", now) }

// MessageEvents returns the events of a message that changed from before to after, in their order. before
// is nil for a new message. A status that was skipped has its event too: a message that is READ was SENT.
func MessageEvents(before, after *Message, now time.Time) []Event {
	if after.Direction == Inbound {
		if before != nil {
			return nil
		}
		return []Event{after.event(EventMessageReceived, now)}
	}
	if before == nil {
		before = &Message{Status: MessagePending}
	}
	var events []Event
	for _, stage := range []struct {
		event         EventType
		before, after time.Time
	}{
		{EventMessageSent, before.SentAt, after.SentAt},
		{EventMessageDelivered, before.DeliveredAt, after.DeliveredAt},
		{EventMessageRead, before.ReadAt, after.ReadAt},
	} {
		if stage.before.IsZero() && !stage.after.IsZero() {
			events = append(events, after.event(stage.event, now))
		}
	}
	if len(events) > 0 && before.Status == MessageFailed {
		events[0].Reason = reasonWasFailed
	}
	if after.Status == MessageFailed && before.Status != MessageFailed {
		events = append(events, after.event(EventMessageFailed, now))
	}
	return events
}

// event returns an event of the message in its present state.
func (m *Message) event(t EventType, now time.Time) Event {
	snapshot := *m
	snapshot.Rev = 0
	return Event{Type: t, At: now, UserID: m.UserID, SessionID: m.SessionID, Reason: m.Error, Message: &snapshot}
}
