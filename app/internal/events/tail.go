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
	tailPage = 256                  // events that the tail reads at once
	minRead  = 5 * time.Millisecond // between two reads of the tail
	maxRead  = time.Second          // between two reads, should a wake-up be lost
)

// tail reads the end of the log once for all subscriptions of this process.
type tail struct {
	wake chan struct{} // there may be events

	mu        sync.Mutex
	position  int64               // every event up to it was distributed
	isReading bool                // position is known, because there are subscriptions
	changed   map[string]struct{} // sessions whose QR code may have changed
	bySession map[string]map[*subscription]struct{}
	byUser    map[string]map[*subscription]struct{}
}

func newTail() *tail {
	return &tail{
		changed: make(map[string]struct{}), wake: make(chan struct{}, 1),
		bySession: make(map[string]map[*subscription]struct{}), byUser: make(map[string]map[*subscription]struct{}),
	}
}

// index returns the index in which a filter's subscriptions are, and their key there.
func (t *tail) index(f ports.EventFilter) (in map[string]map[*subscription]struct{}, key string) {
	if f.SessionID != "" {
		return t.bySession, f.SessionID
	}
	return t.byUser, f.UserID
}

func (t *tail) add(s *subscription) {
	t.mu.Lock()
	defer t.mu.Unlock()
	in, key := t.index(s.filter)
	if in[key] == nil {
		in[key] = make(map[*subscription]struct{})
	}
	in[key][s] = struct{}{}
}

func (t *tail) remove(s *subscription) {
	t.mu.Lock()
	defer t.mu.Unlock()
	in, key := t.index(s.filter)
	delete(in[key], s)
	if len(in[key]) == 0 {
		delete(in, key)
	}
	t.isReading = t.isReading && t.hasSubscriptions()
}

// Wake says that there may be events to distribute.
func (e *Events) Wake() {
	select {
	case e.tail.wake <- struct{}{}:
	default:
	}
}

// NoteChanges says which sessions changed, here or on another replica. Their QR codes are in no
// recorded event.
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

// hasSubscriptions reports whether anybody reads. The caller holds the lock.
func (t *tail) hasSubscriptions() bool { return len(t.bySession)+len(t.byUser) > 0 }

// Run distributes events to the subscriptions until ctx ends.
func (e *Events) Run(ctx context.Context) {
	timer := time.NewTimer(maxRead)
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
		case <-time.After(minRead): // many events make one read
		}
		timer.Reset(maxRead)
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
		var page []domain.Event
		err := e.Store.View(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
			if !isReading {
				from, err = tx.Outbox.Last(ctx)
				return err
			}
			page, err = tx.Outbox.After(ctx, ports.EventFilter{}, from, tailPage)
			return err
		})
		if err != nil {
			return err
		}
		t.distribute(page, from)
		if len(page) < tailPage {
			return e.distributeQRs(ctx)
		}
	}
}

// distributeQRs tells the subscriptions which sessions have a QR code that may be new.
func (e *Events) distributeQRs(ctx context.Context) error {
	t := e.tail
	t.mu.Lock()
	changed := t.changed
	t.changed = make(map[string]struct{})
	t.mu.Unlock()
	if len(changed) == 0 {
		return nil
	}
	var shown []domain.Event
	err := e.Store.View(ctx, func(ctx context.Context, tx *ports.Tx) error {
		shown = nil
		for id := range changed {
			s, err := tx.Sessions.Get(ctx, id)
			if errors.Is(err, ports.ErrNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			if s.Status == domain.QRRequired {
				shown = append(shown, s.QRShown(e.Now()))
			}
		}
		return nil
	})
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range shown {
		t.offer(&shown[i])
	}
	return err
}

// distribute hands out the events after a position.
func (t *tail) distribute(page []domain.Event, from int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.isReading { // events before this moment are those that each subscription reads itself
		t.isReading, t.position = true, from
		for _, in := range []map[string]map[*subscription]struct{}{t.bySession, t.byUser} {
			for _, of := range in {
				for s := range of {
					s.fallBehind()
				}
			}
		}
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
}
