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
	// PerformAction acts on a message or in a chat.
	PerformAction(ctx context.Context, s Sender, a domain.Action) error
	// History returns the newest first. next is zero on the last page.
	History(ctx context.Context, userID, sessionID string, f domain.MessageFilter) (messages []*domain.Message, next domain.Cursor, err error)
	// Get finds a message by our id or WhatsApp's.
	Get(ctx context.Context, userID, sessionID, messageID string) (*domain.Message, error)
	// Usage counts messages per bucket of time, as [ports.Messages] does.
	Usage(ctx context.Context, userID, sessionID string, since time.Time, bucket time.Duration) ([]ports.MessageUsage, error)
}
