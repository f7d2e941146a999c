package service

import (
	"context"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// Messages sends messages and reads the history.
type Messages interface {
	// Send records the message and forwards it once. When the outcome is unknown it
	// returns the PENDING message together with a WORKER_TIMEOUT error.
	Send(ctx context.Context, s Sender, m *domain.Outgoing) (*domain.Message, error)
	// SendOnce is Send with an idempotency key, which a session uses for one message a day
	// ([domain.IdempotencyKeyLife]). A repeat sends nothing: it waits until the first send
	// has ended, and returns its message and its error by the present state of the message.
	// isReplay is true then. The key of another message is an IDEMPOTENCY_CONFLICT.
	SendOnce(ctx context.Context, s Sender, key string, m *domain.Outgoing) (sent *domain.Message, isReplay bool, err error)
	// PerformAction acts on a message or in a chat.
	PerformAction(ctx context.Context, s Sender, a domain.Action) error
	// History returns the newest first. next is zero on the last page.
	History(ctx context.Context, userID, sessionID string, f domain.MessageFilter) (messages []*domain.Message, next domain.Cursor, err error)
	// Get finds a message by our id or WhatsApp's.
	Get(ctx context.Context, userID, sessionID, messageID string) (*domain.Message, error)
	// Usage counts messages per bucket of time, as [ports.Messages] does.
	Usage(ctx context.Context, userID, sessionID string, since time.Time, bucket time.Duration) ([]ports.MessageUsage, error)
}
