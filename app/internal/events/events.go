// Package events reads the event log for users.
//
// The log has one order for the whole store: an event is visible after all events with lower
// positions. A client that has read up to a position therefore misses nothing that follows it.
//
// # Live streams
//
//	commit ─► Wake ─► tail reads the log once ─► waiting events of each subscription ─► Next
//	  other replicas: invalidation ─► Wake           │ more than 64 wait
//	                                                 └─► the subscription reads the log itself
//
// A subscription is a position. What waits in memory only saves a query: a subscription that
// begins in the past, or whose reader is slow, reads the log until it has caught up. A slow reader
// therefore loses nothing and costs at most 64 pointers to events that other readers share.
//
// Without subscriptions the tail reads nothing.
package events

import (
	"context"

	"github.com/switchyard-wa/switchyard/app/internal/apperr"
	"github.com/switchyard-wa/switchyard/app/internal/txn"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// Events implements [service.Events]. It is safe for concurrent use.
type Events struct {
	*txn.Writer
	tail   *tail
	behind chan struct{} // holds a token for each subscription that reads from the log
}

var _ service.Events = (*Events)(nil)

// New returns the service.
func New(w *txn.Writer) *Events {
	return &Events{Writer: w, tail: newTail(), behind: make(chan struct{}, maxBehind)}
}

// List returns recorded events after a position, oldest first.
func (e *Events) List(ctx context.Context, f ports.EventFilter, after int64, limit int) (page []domain.Event, err error) {
	err = e.Store.View(ctx, func(ctx context.Context, tx *ports.Tx) error {
		if err := requireOwned(ctx, tx, f); err != nil {
			return err
		}
		page, err = readPage(ctx, tx, f, after, limit)
		return err
	})
	return page, apperr.Public(err)
}

// readPage returns events after a position that the log still has.
func readPage(ctx context.Context, tx *ports.Tx, f ports.EventFilter, after int64, limit int) ([]domain.Event, error) {
	if err := requireKept(ctx, tx, after); err != nil {
		return nil, err
	}
	return tx.Outbox.After(ctx, f, after, limit)
}

// requireOwned returns an error unless the filter's user owns the session.
func requireOwned(ctx context.Context, tx *ports.Tx, f ports.EventFilter) error {
	if f.SessionID == "" || f.UserID == "" {
		return nil
	}
	_, err := txn.OwnedSession(ctx, tx, f.UserID, f.SessionID)
	return err
}

// requireKept returns an error unless the log has every event after the position.
func requireKept(ctx context.Context, tx *ports.Tx, after int64) error {
	if after <= 0 {
		return nil
	}
	last, err := tx.Outbox.Last(ctx)
	if err != nil {
		return err
	}
	if after > last {
		return domain.Errorf(domain.Gone, domain.CodeEventsExpired,
			"Position %d is not one of this server's, whose last event has a lower one: its data may be restored from a backup; begin anew by leaving the position out", after)
	}
	lastDeleted, err := tx.Outbox.LastDeleted(ctx)
	if err == nil && after < lastDeleted {
		err = domain.Errorf(domain.Gone, domain.CodeEventsExpired,
			"Events after position %d are no longer kept; begin with the oldest ones by leaving the position out, or read the present state of your sessions", after)
	}
	return err
}
