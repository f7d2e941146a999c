package service

import (
	"context"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// Events reads the event log.
type Events interface {
	// List returns the recorded events of the filter's user after a position, oldest first: those of one
	// session if the filter names it. After position 0 it begins with the oldest event. It fails with
	// EVENTS_EXPIRED if retention has removed events after another position.
	List(ctx context.Context, f ports.EventFilter, after int64, limit int) ([]domain.Event, error)
	// Subscribe returns the same events as they are recorded, beginning after a position or with
	// [FromNow]. Close the subscription at its end.
	Subscribe(ctx context.Context, f ports.EventFilter, after int64) (EventSubscription, error)
}

// FromNow is the position of a subscription to the events that are recorded from its beginning on.
const FromNow = -1

// EventSubscription is one reader of the event log. One goroutine uses it. A slow reader misses nothing.
type EventSubscription interface {
	// Next waits for events and returns them, oldest first. Events without a Seq are not recorded: each
	// says that a session's QR code may be new. [Sessions.QR] returns the code. Next returns the error of ctx, which may end
	// and be followed by another call, and EVENTS_EXPIRED after a reader that was slower than retention.
	Next(ctx context.Context) ([]domain.Event, error)
	// Position returns a position up to which Next has returned every event. It grows although no event
	// of the filter is recorded.
	Position() int64
	Close()
}
