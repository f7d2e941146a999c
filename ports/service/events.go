package service

import (
	"context"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// Events reads the event log.
type Events interface {
	// List returns the recorded events of the filter's user after a position, oldest first. A filter may
	// name one session. The zero filter selects all events, those of workers too; it is for programs that
	// embed the core. After position 0 the list begins with the oldest event that is kept. After any
	// other position it fails with EVENTS_EXPIRED if retention has removed an event that follows.
	List(ctx context.Context, f ports.EventFilter, after int64, limit int) ([]domain.Event, error)
	// Subscribe returns a reader of the same events. It begins after a position or with [FromNow], and
	// goes on with events as they are recorded. The caller closes it.
	Subscribe(ctx context.Context, f ports.EventFilter, after int64) (EventSubscription, error)
}

// FromNow is the position of a subscription that begins with the next recorded event.
const FromNow = -1

// EventSubscription is one reader of the event log. One goroutine uses it. A slow reader misses nothing.
type EventSubscription interface {
	// Next waits for events and returns them, oldest first. An event without a Seq is not recorded: it
	// says that a session's QR code may be new, and [Sessions.QR] returns the code.
	//
	// Next returns the error of ctx when ctx ends, and may be called again. It fails with EVENTS_EXPIRED if
	// retention has removed events that the reader had yet to return.
	Next(ctx context.Context) ([]domain.Event, error)
	// Position returns a position up to which Next has returned every event. It also grows while only
	// events of other filters are recorded.
	Position() int64
	// Close ends the subscription and frees its memory.
	Close()
}
