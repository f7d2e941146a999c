package service

import (
	"context"

	"github.com/switchyard-wa/switchyard/domain"
)

// ScheduledChange lists what changes of a message that waits. Nil fields stay.
type ScheduledChange struct {
	// Schedule replaces what it sets. Without a deadline and patience, a new SendAt moves the
	// deadline by as much as the message moves.
	Schedule *domain.Schedule
	// Edit changes the content. It runs on a copy, perhaps several times. An error
	// of it refuses the change.
	Edit func(m *domain.Outgoing) error
}

// Scheduled shows and changes messages that wait to be sent: those with a
// [domain.Schedule]. A message that is being forwarded, or was, no longer waits.
type Scheduled interface {
	// List returns messages without their media, in the order in which they are sent. next is
	// zero on the last page.
	List(ctx context.Context, userID, sessionID string, after domain.Cursor, limit int) (page []*domain.QueuedMessage, next domain.Cursor, err error)
	// Get returns a message without its media. It fails like Update.
	Get(ctx context.Context, userID, sessionID, messageID string) (*domain.QueuedMessage, error)
	// Update changes a message. It fails with INVALID_STATE if the message no longer waits, and
	// says what has become of it.
	Update(ctx context.Context, userID, sessionID, messageID string, c ScheduledChange) (*domain.QueuedMessage, error)
	// Cancel removes a message: it is not sent. It fails like Update.
	Cancel(ctx context.Context, userID, sessionID, messageID string) error
}
