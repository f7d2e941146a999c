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
}
