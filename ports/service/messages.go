package service

import (
	"context"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// MediaPart selects a part of media. The zero value selects all of it.
type MediaPart struct {
	Range *domain.ByteRange // nil: the whole media
	// IfRange is an ETag: media with another ETag is returned as a whole. Empty: any.
	IfRange string
}

// InboundMedia is the media of an inbound message.
type InboundMedia struct {
	ports.Media
	// Filename is a name for the file, by the rules of [domain.DeriveFilename].
	Filename string
	// Ref is what the worker reported of the media.
	Ref domain.MediaRef
}

// SendAllLimit is how many messages one [Messages.SendAll] takes.
const SendAllLimit = 100

// SendItem is one message of [Messages.SendAll].
type SendItem struct {
	Message *domain.Outgoing
	// Key is the idempotency key of this message. Empty: it follows from the key of the call.
	Key string
	// Refusal is the reason why the caller could not read the message. It becomes the result.
	Refusal error
}

// SendResult tells what became of one message, as [Messages.SendOnce] returns it.
type SendResult struct {
	Message  *domain.Message
	IsReplay bool
	Err      error
}

// Messages sends messages and reads the history.
type Messages interface {
	// Send records the message and forwards it once. When the outcome is unknown it
	// returns the PENDING message together with a WORKER_TIMEOUT error.
	//
	// A message with a Schedule is recorded in the queue of its session instead, and is returned
	// as PENDING ([Scheduled]). SendOnce returns it by its present state, without an error.
	Send(ctx context.Context, s Sender, m *domain.Outgoing) (*domain.Message, error)
	// SendOnce is Send with an idempotency key, which a session uses for one message a day
	// ([domain.IdempotencyKeyLife]). A repeat sends nothing: it waits until the first send
	// has ended, and returns its message and its error by the present state of the message.
	// isReplay is true then. The key of another message is an IDEMPOTENCY_CONFLICT.
	SendOnce(ctx context.Context, s Sender, key string, m *domain.Outgoing) (sent *domain.Message, isReplay bool, err error)
	// SendAll sends 1 to [SendAllLimit] messages in their order, each after the end of the one before,
	// and returns the result of each. A message that fails does not stop those after it. The code OVERLOADED
	// in a result means that the message was not sent, because ctx or the time of the call was over; sending
	// it again is safe. SendAll begins no message after 30 seconds, and takes 65 seconds at most.
	//
	// With a key each message without a key of its own has one that follows from the key and its
	// index: a repeat of the call sends only what has not been sent. Empty: the call has no key.
	//
	// An error means that no message was sent: the list has another length, the key is not valid, or the
	// session does not exist.
	SendAll(ctx context.Context, s Sender, key string, messages []SendItem) ([]SendResult, error)
	// PerformAction acts on a message or in a chat.
	PerformAction(ctx context.Context, s Sender, a domain.Action) error
	// History returns the newest first. next is zero on the last page.
	History(ctx context.Context, userID, sessionID string, f domain.MessageFilter) (messages []*domain.Message, next domain.Cursor, err error)
	// Get finds a message by our id or WhatsApp's.
	Get(ctx context.Context, userID, sessionID, messageID string) (*domain.Message, error)
	// OpenMedia returns the media of an inbound message as a stream from the worker, which ends
	// with ctx. The caller closes its Content. A message that has no media is not found, and
	// so is media that the worker no longer has. A range without any byte of the media fails
	// with a ports.WorkerError of WorkerRangeInvalid as its cause.
	OpenMedia(ctx context.Context, userID, sessionID, messageID string, part MediaPart) (*InboundMedia, error)
	// Usage counts messages per bucket of time: those received, and those sent whose outcome is known. Buckets have the given
	// length, at least an hour, and are aligned to the Unix epoch.
	Usage(ctx context.Context, userID, sessionID string, since time.Time, bucket time.Duration) ([]MessageUsage, error)
}

// MessageUsage is one count of [Messages.Usage].
type MessageUsage struct {
	Bucket    time.Time // start of the bucket
	SessionID string
	Type      domain.MessageType
	Direction domain.Direction
	Failed    bool
	// Unforwarded reports that the messages failed while they waited to be sent.
	Unforwarded bool
	Count       int
}
