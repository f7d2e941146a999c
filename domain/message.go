package domain

import (
	"slices"
	"strings"
	"time"
)

// MessageType is the kind of content.
type MessageType string

// The message types.
const (
	TypeText     MessageType = "text"
	TypeImage    MessageType = "image"
	TypeDocument MessageType = "document"
	TypeAudio    MessageType = "audio"
	TypeVideo    MessageType = "video"
	TypeSticker  MessageType = "sticker"
	TypeLocation MessageType = "location"
	TypeContact  MessageType = "contact"
	TypeLink     MessageType = "link"
	TypePoll     MessageType = "poll"

	// The following types are received only. Each refers to another message by Relations.TargetID.
	TypePollVote MessageType = "poll_vote"
	TypeReaction MessageType = "reaction" // Content is the emoji; empty: the reaction was removed
	TypeEdit     MessageType = "edit"     // Content is the new text
	TypeDeletion MessageType = "deletion"
)

// Relations says what a message refers to. Messages are named by WhatsApp's ids. The zero value refers to
// nothing.
type Relations struct {
	Author   string   // JID of the member who wrote the message, in a group
	QuotedID string   // the message to which this one replies
	TargetID string   // the message that is edited, deleted, voted on or reacted to
	Mentions []string // JIDs
}

// MaxMentions is the largest number of mentions of a message.
const MaxMentions = 256

// Normalize returns the relations with each address in its one form. It does not change r.
func (r Relations) Normalize() Relations {
	if r.Author != "" {
		r.Author = NormalizeAddress(r.Author)
	}
	var mentions []string
	for _, m := range r.Mentions {
		jid := NormalizeAddress(m)
		if jid != "" && !slices.Contains(mentions, jid) {
			mentions = append(mentions, jid)
		}
	}
	r.Mentions = mentions
	return r
}

// IsZero reports whether the message refers to nothing.
func (r *Relations) IsZero() bool {
	return r.Author == "" && r.QuotedID == "" && r.TargetID == "" && len(r.Mentions) == 0
}

// MessageTypes returns all message types.
func MessageTypes() []MessageType {
	return []MessageType{
		TypeText, TypeImage, TypeDocument, TypeAudio, TypeVideo, TypeSticker, TypeLocation, TypeContact, TypeLink, TypePoll,
		TypePollVote, TypeReaction, TypeEdit, TypeDeletion,
	}
}

// MessageStatus is the progress of a message. It only moves forward: PENDING, SENT, DELIVERED, READ.
// FAILED follows PENDING and SENT only.
type MessageStatus string

// The message statuses.
const (
	MessagePending   MessageStatus = "PENDING"
	MessageSent      MessageStatus = "SENT"
	MessageDelivered MessageStatus = "DELIVERED"
	MessageRead      MessageStatus = "READ"
	MessageFailed    MessageStatus = "FAILED"
)

// ParseMessageStatus returns the status with the given name, in any case.
func ParseMessageStatus(s string) (MessageStatus, error) {
	switch m := MessageStatus(strings.ToUpper(strings.TrimSpace(s))); m {
	case MessagePending, MessageSent, MessageDelivered, MessageRead, MessageFailed:
		return m, nil
	}
	return "", Errorf(Invalid, CodeValidation, "Status must be one of PENDING, SENT, DELIVERED, READ, FAILED")
}

// Follows reports whether a message may move from the status from to next.
func (next MessageStatus) Follows(from MessageStatus) bool {
	rank := func(s MessageStatus) int {
		switch s {
		case MessagePending:
			return 0
		case MessageSent:
			return 1
		case MessageDelivered:
			return 2
		case MessageRead:
			return 3
		}
		return -1
	}
	if next == MessageFailed {
		return from == MessagePending || from == MessageSent
	}
	return from != MessageFailed && rank(next) > rank(from)
}

// Direction says whether the session sent or received a message.
type Direction string

// The directions.
const (
	Outbound Direction = "OUTBOUND"
	Inbound  Direction = "INBOUND"
)

// Message is one message of a session's history.
type Message struct {
	ID          string // our id; sorts by time within a session
	WhatsAppID  string // WhatsApp's id; empty until the worker answers
	SessionID   string
	UserID      string
	Direction   Direction
	From, To    string // JIDs
	Type        MessageType
	Content     string // text, or a JSON document for structured types
	MediaURL    string
	Media       MediaRef // of an inbound message
	Filename    string
	Caption     string
	Relations   Relations
	Status      MessageStatus
	Error       string
	Unreported  bool // FAILED because its outcome was never reported
	Unforwarded bool // FAILED in the send queue; no worker sent it
	CreatedAt   time.Time
	SentAt      time.Time
	DeliveredAt time.Time
	ReadAt      time.Time
	Rev         int64
}

// TransitionTo moves the message to a status that was reported at a time, if that is forward. It
// reports whether anything changed. A later status implies the earlier ones, so TransitionTo fills in
// their missing times. The failure is recorded with FAILED only. DELIVERED and READ are evidence: they
// also follow a failure that [Message.FailUnreported] assumed.
func (m *Message) TransitionTo(to MessageStatus, at time.Time, failure string) bool {
	isReceipt := to == MessageDelivered || to == MessageRead
	if !to.Follows(m.Status) && !(m.Unreported && isReceipt && m.Status == MessageFailed) {
		return false
	}
	m.Unreported = false
	m.Status = to
	fill := func(t *time.Time) {
		if t.IsZero() {
			*t = at
		}
	}
	switch to {
	case MessageRead:
		fill(&m.ReadAt)
		fallthrough
	case MessageDelivered:
		fill(&m.DeliveredAt)
		fallthrough
	case MessageSent:
		fill(&m.SentAt)
		m.Error = ""
	case MessageFailed:
		m.Error = failure
	}
	return true
}

// FailUnreported moves a PENDING message to FAILED because nobody reported its outcome in time. The
// message may have been sent. It reports whether anything changed.
func (m *Message) FailUnreported(at time.Time) bool {
	if m.Status != MessagePending {
		return false
	}
	m.Unreported = m.TransitionTo(MessageFailed, at, "its outcome was never reported")
	return m.Unreported
}

// Location is the content of a location message, in degrees.
type Location struct {
	Latitude  float64 `json:"latitude"`
	Longitude float64 `json:"longitude"`
	Name      string  `json:"name,omitempty"`
	Address   string  `json:"address,omitempty"`
}

// Contact is the content of a contact message.
type Contact struct {
	Name         string `json:"name"`
	Phone        string `json:"phone"`
	Email        string `json:"email,omitempty"`
	Organization string `json:"organization,omitempty"`
}

// Link is the content of a link message.
type Link struct {
	URL         string `json:"url"`
	Title       string `json:"title,omitempty"`
	Description string `json:"description,omitempty"`
	Thumbnail   string `json:"thumbnail,omitempty"`
}

// Poll is the content of a poll.
type Poll struct {
	Question        string   `json:"question"`
	Options         []string `json:"options"`
	MultipleAnswers bool     `json:"multipleAnswers,omitempty"`
}

// Outgoing is a message that a user wants to send. Exactly the fields of its type are set;
// [Outgoing.Validate] checks them.
type Outgoing struct {
	To       string // a number or JID as the user wrote it
	Type     MessageType
	Text     string  // for TypeText
	MediaURL string  // for media: the URL from which the worker fetches it
	Media    string  // for media: the content itself, in base64
	Upload   *Upload // for media: the content itself, as bytes; nil: none
	// MediaType is the type of Media or Upload by its content, if the core knows it. Senders leave it
	// empty.
	MediaType string
	Filename  string
	Caption   string
	Location  *Location
	Contact   *Contact
	Link      *Link
	Poll      *Poll
	// QuotedMessageID names the message to which this one replies, by our id or WhatsApp's. The core
	// replaces it by WhatsApp's.
	QuotedMessageID string
	Mentions        []string // accounts in the group, as numbers or JIDs
	// HumanSimulation asks the worker to show typing before it sends. That takes seconds.
	HumanSimulation bool
	// Schedule makes the message wait in the session's queue. Nil: it is sent at once, or refused.
	Schedule *Schedule
}

// ActionType is the kind of an action on an existing message or a chat.
type ActionType string

// The actions on a message, and the presence signals in a chat.
const (
	ActionDelete      ActionType = "delete"
	ActionUnsend      ActionType = "unsend"
	ActionStar        ActionType = "star"
	ActionUnstar      ActionType = "unstar"
	ActionEdit        ActionType = "edit"
	ActionReaction    ActionType = "reaction"
	ActionRead        ActionType = "read"
	ActionSeen        ActionType = "seen"
	ActionTypingStart ActionType = "typing_start"
	ActionTypingStop  ActionType = "typing_stop"
)

// MessageKey identifies a message the way WhatsApp does.
type MessageKey struct {
	RemoteJID   string `json:"remoteJid"` // the chat
	FromMe      bool   `json:"fromMe"`
	ID          string `json:"id"`
	Participant string `json:"participant,omitempty"` // the author, in a group
}

// Action is an action that a user requests on a message or in a chat.
type Action struct {
	Type        ActionType
	MessageID   string // WhatsApp's id, or ours until the message was looked up
	Phone       string // the chat, as the user wrote it
	ForEveryone bool
	NewText     string
	Emoji       string
	JID         string
	MessageKey  *MessageKey
}

// MessageReport is a worker's report about the status of a message.
type MessageReport struct {
	SessionID   string
	WorkerID    string // empty: the worker did not identify itself
	WhatsAppID  string
	ID          string // our id, if the worker reports it
	Status      MessageStatus
	At          time.Time // zero: the time of arrival
	DeliveredAt time.Time
	ReadAt      time.Time
	Error       string
}

// MessageFilter selects messages of a session's history. Zero fields do not restrict.
type MessageFilter struct {
	Direction    Direction
	Type         MessageType
	Status       MessageStatus
	To           string // the recipient's JID
	Search       string // words, see ports.Messages
	Since, Until time.Time
	After        Cursor // only messages older than the cursor
	Limit        int
}
