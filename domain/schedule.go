package domain

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"slices"
	"time"
)

const (
	// MaxSendAhead is how far ahead a message may be scheduled, and how long it may wait after that.
	MaxSendAhead = 30 * 24 * time.Hour
	// DefaultSendPatience is how long a message waits after the time for which it is scheduled.
	DefaultSendPatience = time.Hour

	// MaxQueuedMessages is how many messages may wait for one session.
	MaxQueuedMessages = 1000
	// MaxQueuedBytes is how many bytes the waiting messages of one user may have, media included.
	MaxQueuedBytes = 100 << 20
	// MaxQueuedUpload is the size of the largest upload that may wait, in bytes.
	MaxQueuedUpload = 16 << 20
)

// Schedule says when a message that may wait is sent. The zero value stands for as soon as the session can
// send, within [DefaultSendPatience].
type Schedule struct {
	SendAt   time.Time     // not before this time; zero: at once
	Deadline time.Time     // not after this time; zero: Patience after SendAt
	Patience time.Duration // how long it waits from SendAt on; 0: DefaultSendPatience
}

// Resolve returns the time from which and the time until which a message may be sent, if it was accepted
// now. The error lists every problem.
func (s *Schedule) Resolve(now time.Time) (sendAt, deadline time.Time, err error) {
	var p Problems
	sendAt = now
	if !s.SendAt.IsZero() {
		sendAt = s.SendAt
	}
	deadline = s.Deadline
	if deadline.IsZero() {
		patience := s.Patience
		if patience == 0 {
			patience = DefaultSendPatience
		}
		deadline = sendAt.Add(patience)
	}
	switch {
	case sendAt.After(now.Add(MaxSendAhead)):
		p.Add("sendAt", "sendAt must be at most 30 days ahead")
	case s.Deadline.IsZero() && s.Patience == 0 && !deadline.After(now):
		p.Add("sendAt", "sendAt was more than an hour ago; give a later time, or a deadline that lies ahead")
	case !deadline.After(now):
		p.Add("deadline", "The deadline has passed; give a later one")
	case !deadline.After(sendAt):
		p.Add("deadline", "The deadline must be after sendAt")
	case deadline.After(sendAt.Add(MaxSendAhead)):
		p.Add("deadline", "The deadline must be at most 30 days after sendAt")
	}
	return sendAt, deadline, p.Err()
}

// fingerprint adds the times that the sender asked for.
func (s *Schedule) fingerprint(f fingerprint) {
	if s == nil {
		return
	}
	f.flag("schedule", true)
	for _, t := range []struct {
		name string
		at   time.Time
	}{{"sendAt", s.SendAt}, {"deadline", s.Deadline}} {
		if !t.at.IsZero() {
			f.text(t.name, t.at.UTC().Format(time.RFC3339Nano))
		}
	}
	if s.Patience != 0 {
		f.text("patience", s.Patience.String())
	}
}

// QueuedMessage is a message that waits to be sent. It leaves the queue when it is forwarded to a worker,
// when its deadline passes, and when it is cancelled. It is in the history from the moment it leaves, unless
// it is cancelled.
type QueuedMessage struct {
	ID        string // of the message; sorts by the time of acceptance within a session
	SessionID string
	UserID    string
	SendAt    time.Time // messages of a session are sent in the order of SendAt, then ID
	Deadline  time.Time
	CreatedAt time.Time
	Attempts  int   // how often it was handed to a worker that certainly did not send it
	Size      int64 // bytes, media included

	// Message has neither Upload nor Schedule. Lists leave out its Media.
	Message Outgoing
	// Upload is the content of the message if it was uploaded. Lists leave it out.
	Upload       []byte
	UploadType   string
	UploadSHA256 string

	Rev int64
}

// NewQueuedMessage returns a message that waits as its Schedule says. It copies the upload. The error lists
// the problems of the schedule, or says that the upload cannot be read.
func NewQueuedMessage(id, sessionID, userID string, m *Outgoing, now time.Time) (*QueuedMessage, error) {
	sendAt, deadline, err := m.Schedule.Resolve(now)
	if err != nil {
		return nil, err
	}
	q := &QueuedMessage{ID: id, SessionID: sessionID, UserID: userID, SendAt: sendAt, Deadline: deadline, CreatedAt: now}
	return q, q.SetMessage(m)
}

// SetMessage replaces the content by a copy.
func (q *QueuedMessage) SetMessage(m *Outgoing) error {
	q.Message = *m
	q.Message.Schedule, q.Message.Upload = nil, nil
	q.Message.Mentions = slices.Clone(m.Mentions)
	q.Upload, q.UploadType, q.UploadSHA256 = nil, "", ""
	if u := m.Upload; u != nil {
		if u.Size > MaxQueuedUpload {
			return errQueuedUpload()
		}
		q.Upload = make([]byte, u.Size)
		if _, err := io.ReadFull(io.NewSectionReader(u.Content, 0, u.Size), q.Upload); err != nil {
			return fmt.Errorf("reading an upload: %w", err)
		}
		q.UploadType, q.UploadSHA256 = u.Type, u.SHA256
	}
	q.Size = int64(len(m.Media)+len(q.Upload)+len(m.Body())+len(m.Caption)+len(m.MediaURL)) + queuedOverhead
	if m.Link != nil {
		q.Size += int64(len(m.Link.Thumbnail))
	}
	return nil
}

// queuedOverhead is the size of a message that waits beyond its texts and media, in bytes.
const queuedOverhead = 512

// errQueuedUpload refuses an upload that is too large to wait.
func errQueuedUpload() error {
	var p Problems
	p.Add("media", "A file that is sent later may have at most %s; give its URL instead", mebibytes(MaxQueuedUpload))
	return p.Err()
}

// CheckQueueable returns an error if the message cannot wait because of the size of its upload.
func (m *Outgoing) CheckQueueable() error {
	if m.Schedule != nil && m.Upload != nil && m.Upload.Size > MaxQueuedUpload {
		return errQueuedUpload()
	}
	return nil
}

// Outgoing returns the message as it is sent. It shares memory with q.
func (q *QueuedMessage) Outgoing() *Outgoing {
	m := q.Message
	if q.Upload != nil {
		m.Upload = &Upload{Content: bytes.NewReader(q.Upload), Size: int64(len(q.Upload)), Type: q.UploadType, SHA256: q.UploadSHA256}
	}
	return &m
}

// NewMessage returns the message in the form of the history: PENDING, and created at a time.
func (q *QueuedMessage) NewMessage(at time.Time) *Message {
	m := &q.Message
	to, err := ParseRecipient(m.To)
	if err != nil {
		to = JID(m.To) // it was valid when it was accepted
	}
	return &Message{
		ID: q.ID, SessionID: q.SessionID, UserID: q.UserID, Direction: Outbound, To: string(to), Type: m.Type, Content: m.Body(),
		MediaURL: m.MediaURL, Filename: m.Filename, Caption: m.Caption, Status: MessagePending, CreatedAt: at,
		Relations: Relations{QuotedID: m.QuotedMessageID, Mentions: m.MentionedJIDs()},
	}
}

// Clone returns a copy that shares nothing mutable with q.
func (q *QueuedMessage) Clone() *QueuedMessage {
	c := *q
	m := &c.Message
	m.Mentions = slices.Clone(m.Mentions)
	m.Location, m.Contact, m.Link = cloneOf(m.Location), cloneOf(m.Contact), cloneOf(m.Link)
	m.Poll = cloneOf(m.Poll)
	if m.Poll != nil {
		m.Poll.Options = slices.Clone(m.Poll.Options)
	}
	c.Upload = bytes.Clone(q.Upload)
	return &c
}

// cloneOf returns a pointer to a copy, or nil.
func cloneOf[T any](v *T) *T {
	if v == nil {
		return nil
	}
	c := *v
	return &c
}

// SendQueue is the state of the queue of one session.
type SendQueue struct {
	SessionID string
	UserID    string
	Waiting   int   // messages
	Bytes     int64 // the sum of their sizes
	// DueAt is when there is something to do; zero: nothing waits.
	DueAt time.Time
	// NotBefore is when the next message may be forwarded, by the pace or because the worker was busy.
	NotBefore time.Time
	// Hold says why the first message was not forwarded when it was due, for people; empty: it was not tried.
	Hold         string
	ClaimedBy    string    // the replica that forwards
	ClaimedUntil time.Time // by the clock of that replica
	Rev          int64
}

// Add counts a message that begins to wait. userBytes is the size of all messages that wait for sessions of
// the user. The error says which of the two is full.
func (q *SendQueue) Add(m *QueuedMessage, userBytes int64) error {
	switch {
	case q.Waiting >= MaxQueuedMessages:
		return Errorf(Exceeded, CodeMessageLimit,
			"The queue of the session is full: %d messages wait. Try again when some of them were sent, or cancel some", q.Waiting).WithRetryAfter(time.Minute)
	case userBytes+m.Size > MaxQueuedBytes:
		return Errorf(Exceeded, CodeMessageLimit,
			"The messages that wait for your sessions may have at most %s together, media included; send media by URL, or try again when some were sent",
			mebibytes(MaxQueuedBytes)).WithRetryAfter(time.Minute)
	}
	q.Restore(m)
	return nil
}

// Restore counts a message that waits again.
func (q *SendQueue) Restore(m *QueuedMessage) {
	q.Waiting++
	q.Bytes += m.Size
	q.WakeAt(m.SendAt)
}

// Remove counts a message that no longer waits.
func (q *SendQueue) Remove(m *QueuedMessage) {
	q.Waiting--
	q.Bytes -= m.Size
}

// WakeAt makes the queue due at a time, unless it is due earlier.
func (q *SendQueue) WakeAt(at time.Time) {
	if q.DueAt.IsZero() || at.Before(q.DueAt) {
		q.DueAt = at
	}
}

// HoldEarlier is the Hold of a queue whose earlier messages were forwarded while the first message was due.
const HoldEarlier = "earlier messages of the queue went first"

// ExpiryReason returns the reason, for people, of a message that fails at its deadline. A queue without a Hold was
// not looked at while the message could be sent.
func (q *SendQueue) ExpiryReason() string {
	return "the deadline passed before the message could be sent: " + cmp.Or(q.Hold, "the server was down, or too busy to try")
}
