package events

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

const (
	pageSize        = 256                  // events of one read of the log
	minReadInterval = 5 * time.Millisecond // lets one read return many events
	maxReadInterval = time.Second          // bounds the delay after a lost wake-up
)

// tail reads the end of the log once for all subscriptions of this process.
type tail struct {
	wake chan struct{} // there may be events

	mu        sync.Mutex
	position  int64               // every event up to it was distributed
	isReading bool                // position is valid; false until the first read, and without subscriptions
	changed   map[string]struct{} // sessions whose QR code may have changed
	bySession map[string]subscriptionSet
	byUser    map[string]subscriptionSet
}

// subscriptionSet holds the subscriptions to one session, or to all sessions of one user.
type subscriptionSet map[*subscription]struct{}

func newTail() *tail {
	return &tail{
		changed: make(map[string]struct{}), wake: make(chan struct{}, 1),
		bySession: make(map[string]subscriptionSet), byUser: make(map[string]subscriptionSet),
	}
}

// index returns the index that holds the subscriptions of a filter, and their key in it. Subscriptions
// to the events of everybody have the key "" in byUser.
func (t *tail) index(f ports.EventFilter) (index map[string]subscriptionSet, key string) {
	if f.SessionID != "" {
		return t.bySession, f.SessionID
	}
	return t.byUser, f.UserID
}

func (t *tail) add(s *subscription) {
	t.mu.Lock()
	defer t.mu.Unlock()
	index, key := t.index(s.filter)
	if index[key] == nil {
		index[key] = make(subscriptionSet)
	}
	index[key][s] = struct{}{}
}

func (t *tail) remove(s *subscription) {
	t.mu.Lock()
	defer t.mu.Unlock()
	index, key := t.index(s.filter)
	delete(index[key], s)
	if len(index[key]) == 0 {
		delete(index, key)
	}
	t.isReading = t.isReading && t.hasSubscriptions()
}

// Wake makes Run look for events to distribute.
func (e *Events) Wake() {
	select {
	case e.tail.wake <- struct{}{}:
	default:
	}
}

// NoteChanges records that sessions changed, here or on another replica. The next Distribute tells
// subscriptions of their QR codes, which are in no recorded event.
func (e *Events) NoteChanges(sessionIDs ...string) {
	t := e.tail
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.hasSubscriptions() {
		return
	}
	for _, id := range sessionIDs {
		if len(t.byUser) > 0 || t.bySession[id] != nil {
			t.changed[id] = struct{}{}
		}
	}
	if len(t.changed) > 0 {
		e.Wake()
	}
}

// reached returns the position up to which every event was distributed. It is unknown while the tail
// does not read.
func (t *tail) reached() (position int64, isKnown bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.position, t.isReading
}

// hasSubscriptions reports whether there are subscriptions. The caller holds the lock.
func (t *tail) hasSubscriptions() bool { return len(t.bySession)+len(t.byUser) > 0 }

// Run distributes events to the subscriptions until ctx ends.
func (e *Events) Run(ctx context.Context) {
	timer := time.NewTimer(maxReadInterval)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-e.tail.wake:
		}
		e.LogFailure(ctx, "events not distributed", e.Distribute(ctx))
		select {
		case <-ctx.Done():
			return
		case <-time.After(minReadInterval):
		}
		timer.Reset(maxReadInterval)
	}
}

// Distribute hands the events that were recorded since the last call to the subscriptions. One
// goroutine calls it.
func (e *Events) Distribute(ctx context.Context) error {
	t := e.tail
	for {
		t.mu.Lock()
		hasSubscriptions, isReading, from := t.hasSubscriptions(), t.isReading, t.position
		t.mu.Unlock()
		if !hasSubscriptions {
			return nil
		}
		if !isReading {
			if err := e.beginReading(ctx); err != nil {
				return err
			}
			return e.distributeQRs(ctx)
		}
		var page []domain.Event
		err := e.Store.View(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
			page, err = tx.Outbox.After(ctx, ports.EventFilter{}, from, pageSize)
			return err
		})
		if err != nil {
			return err
		}
		t.distribute(page)
		if len(page) < pageSize {
			return e.distributeQRs(ctx)
		}
	}
}

// beginReading sets the tail to the end of the log. Each subscription reads the earlier events itself.
func (e *Events) beginReading(ctx context.Context) error {
	var last int64
	err := e.Store.View(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		last, err = tx.Outbox.Last(ctx)
		return err
	})
	if err != nil {
		return err
	}
	t := e.tail
	t.mu.Lock()
	defer t.mu.Unlock()
	t.isReading, t.position = true, last
	for _, index := range []map[string]subscriptionSet{t.bySession, t.byUser} {
		for _, set := range index {
			for s := range set {
				s.fallBehind()
			}
		}
	}
	return nil
}

// distributeQRs hands the QR codes of changed sessions to the subscriptions.
func (e *Events) distributeQRs(ctx context.Context) error {
	t := e.tail
	t.mu.Lock()
	changed := t.changed
	t.changed = make(map[string]struct{})
	t.mu.Unlock()
	if len(changed) == 0 {
		return nil
	}
	var codes []domain.Event
	err := e.Store.View(ctx, func(ctx context.Context, tx *ports.Tx) error {
		codes = nil
		for id := range changed {
			s, err := tx.Sessions.Get(ctx, id)
			if errors.Is(err, ports.ErrNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			if s.Status == domain.QRRequired {
				codes = append(codes, s.QREvent(e.Now()))
			}
		}
		return nil
	})
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range codes {
		t.offer(&codes[i])
	}
	return err
}

// distribute hands a page of the log to the subscriptions. It does nothing if the last subscription was
// removed after the page was read: the next Distribute begins anew.
func (t *tail) distribute(page []domain.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.isReading {
		return
	}
	for i := range page {
		e := &page[i]
		t.position = e.Seq
		t.offer(e)
	}
}

// offer hands an event to its subscriptions. The caller holds the lock.
func (t *tail) offer(e *domain.Event) {
	for s := range t.bySession[e.SessionID] {
		s.offer(e)
	}
	for s := range t.byUser[e.UserID] {
		s.offer(e)
	}
	if e.UserID != "" {
		for s := range t.byUser[""] {
			s.offer(e)
		}
	}
}
