package events

import (
	"context"
	"sync"

	"github.com/switchyard-wa/switchyard/app/internal/apperr"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

const (
	maxWaiting = 64 // events that wait in memory for one subscription
	behindPage = 16 // events that a subscription reads from the log at once
	maxBehind  = 2  // subscriptions that read from the log at the same time
)

// A subscription receives the events of a filter. Events that arrive while its reader is busy wait in
// memory, up to maxWaiting. Beyond this bound the subscription is behind: it reads them from the log. It
// begins behind, because its first position may be in the past.
type subscription struct {
	events *Events
	filter ports.EventFilter
	ready  chan struct{} // there may be events

	mu       sync.Mutex
	position int64           // every event up to it was returned
	waiting  []*domain.Event // shared with other subscriptions
	codes    []*domain.Event // of QR codes, which have no position
	isBehind bool            // events after position have to be read from the log
	isTaking bool            // take has emptied waiting and has not advanced position yet
}

// offer adds an event unless it is of another user, or was returned already.
func (s *subscription) offer(e *domain.Event) {
	if s.filter.UserID != "" && s.filter.UserID != e.UserID {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	isRecorded := e.Seq != 0
	switch {
	case isRecorded && e.Seq <= s.position:
		return
	case !isRecorded:
		if len(s.codes) < maxWaiting {
			s.codes = append(s.codes, e)
		}
	case s.isBehind:
	case len(s.waiting) == maxWaiting:
		s.waiting, s.isBehind = nil, true
	default:
		if len(s.waiting) == 0 && !s.isTaking {
			s.position = e.Seq - 1 // the filter has no event in between
		}
		s.waiting = append(s.waiting, e)
	}
	s.notify()
}

// fallBehind makes the subscription read the log.
func (s *subscription) fallBehind() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting, s.isBehind = nil, true
	s.notify()
}

// notify wakes the reader. The caller holds the lock.
func (s *subscription) notify() {
	select {
	case s.ready <- struct{}{}:
	default:
	}
}

// Next implements [service.EventSubscription].
func (s *subscription) Next(ctx context.Context) ([]domain.Event, error) {
	for {
		events, err := s.take(ctx)
		if err != nil || len(events) > 0 {
			return events, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-s.ready:
		}
	}
}

// take returns the events that follow the position, if there are any, and advances it.
func (s *subscription) take(ctx context.Context) (events []domain.Event, err error) {
	s.mu.Lock()
	wasBehind, waiting, codes, from := s.isBehind, s.waiting, s.codes, s.position
	s.waiting, s.codes, s.isBehind, s.isTaking = nil, nil, false, true
	s.mu.Unlock()
	if wasBehind {
		// An event that is recorded meanwhile may be in the list and wait in memory too. The next take
		// drops it, because the position has passed it.
		events, err = s.events.readBehind(ctx, s.filter, from)
	} else {
		for _, e := range waiting {
			events = append(events, *e)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.isTaking = false
	if err != nil {
		s.codes, s.isBehind = append(codes, s.codes...), true
		s.notify()
		return nil, apperr.PublicIn(ctx, err)
	}
	if len(events) == behindPage && wasBehind {
		s.isBehind = true
		s.notify()
	}
	for len(events) > 0 && events[0].Seq <= s.position {
		events = events[1:]
	}
	if len(events) > 0 {
		s.position = events[len(events)-1].Seq
	}
	for _, e := range codes {
		events = append(events, *e)
	}
	return events, nil
}

// readBehind reads a page of the log for a subscription that is behind. A few do so at a time, and
// each keeps a short page: a user may have many streams and read them slowly.
func (e *Events) readBehind(ctx context.Context, f ports.EventFilter, after int64) ([]domain.Event, error) {
	select {
	case e.behind <- struct{}{}:
		defer func() { <-e.behind }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	var page []domain.Event
	// Ownership is not checked again: a deleted session's last events still belong to its user.
	err := e.Store.View(ports.ForLongRead(ctx), func(ctx context.Context, tx *ports.Tx) (err error) {
		page, err = readPage(ctx, tx, f, after, behindPage)
		return err
	})
	return page, err
}

// Position implements [service.EventSubscription].
func (s *subscription) Position() int64 {
	// The tail comes first. An event that is distributed before the lock is taken waits, and the position
	// does not pass it.
	distributed, isKnown := s.events.tail.reached()
	s.mu.Lock()
	defer s.mu.Unlock()
	if isKnown && !s.isBehind && len(s.waiting) == 0 {
		s.position = max(s.position, distributed)
	}
	return s.position
}

// Close implements [service.EventSubscription].
func (s *subscription) Close() { s.events.tail.remove(s) }

// Subscribe implements [service.Events].
func (e *Events) Subscribe(ctx context.Context, f ports.EventFilter, after int64) (service.EventSubscription, error) {
	position := after
	var unscanned []*domain.Session // show a QR code now, which the subscription returns first
	err := e.Store.View(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		if err := requireOwned(ctx, tx, f); err != nil {
			return err
		}
		if err := requireKept(ctx, tx, after); err != nil {
			return err
		}
		if after == service.FromNow {
			position, err = tx.Outbox.Last(ctx)
			if err != nil {
				return err
			}
		}
		unscanned, _, err = tx.Sessions.List(ctx, ports.SessionFilter{UserID: f.UserID, Status: domain.QRRequired}, ports.Page{})
		return err
	})
	if err != nil {
		return nil, apperr.Public(err)
	}
	s := &subscription{events: e, filter: f, ready: make(chan struct{}, 1), position: position, isBehind: true}
	e.tail.add(s)
	for _, session := range unscanned {
		e.NoteChanges(session.ID)
	}
	e.Wake()
	return s, nil
}
