// Package outbox publishes recorded events to the bus, in order and at least once.
//
// A transaction appends its events to the outbox. After the commit the relay reads
// them from the store by sequence number, publishes them, and records the number of
// the last published one in a setting.
//
//	commit ─► Wake ─► events after the position ─► Bus.Publish ─► position advances
//	                        ▲                           │
//	                        └────── more than a page ◄──┘
//
// # What it promises
//
//   - Every event of a committed transaction is published, after any crash.
//   - Events are published in the order of their sequence numbers.
//   - An event may be published twice: a crash between Publish and the new position
//     publishes the page again. Subscribers therefore drop sequence numbers they know.
//
// # Replicas
//
// One replica, the owner of the work "relay", publishes, which keeps the order. The
// owner may be cut off from the bus while others are not. Every other replica looks
// every 20 s: if the event that was first to be published is still first, it publishes
// itself. Two replicas then may publish the same page; order within each holds.
//
// A replica that was paused may have been replaced without knowing it. It does not
// publish before its next heartbeat ([membership.Members.MayBePresumedDead]).
//
// # Readers and retention
//
// The outbox is also the event log that clients read. Other parts derive rows from it, each with a
// [Reader] of its own. A reader records its position, as the relay does.
//
// Events are kept for the retention that [NewRelay] is given. Events that a reader has not read are
// never deleted, however long the bus is away.
package outbox

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"github.com/switchyard-wa/switchyard/app/internal/membership"
	"github.com/switchyard-wa/switchyard/app/internal/txn"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

const (
	ownerCheckEvery = 20 * time.Second // between two looks whether the owner publishes
	pageSize        = 256
	deletedPerPass  = 1000
	retryAfterError = time.Second
)

// Relay publishes events. Publish is called by one goroutine; everything else is safe
// for concurrent use.
type Relay struct {
	*txn.Writer
	members   *membership.Members
	bus       ports.Bus
	reader    *Reader
	readers   []*Reader // all of the log
	retention time.Duration

	pending atomic.Bool // there may be events to publish

	// Only Publish uses these.
	ownerCheckAt time.Time
	firstWaiting int64 // sequence number of the first event at the latest owner check; 0: none
}

// NewRelay returns a relay to a bus. Published events are kept for the retention.
func NewRelay(w *txn.Writer, m *membership.Members, bus ports.Bus, retention time.Duration) *Relay {
	r := &Relay{Writer: w, members: m, bus: bus, retention: retention}
	r.reader = r.NewReader("relay")
	return r
}

// Wake makes the next Publish look for events.
func (r *Relay) Wake() { r.pending.Store(true) }

// AfterCommit is an observer of transactions.
func (r *Relay) AfterCommit(_ context.Context, c *txn.Changes) {
	if c.HasEvents {
		r.Wake()
	}
}

// Publish publishes the events that wait, if this replica should. It returns when it
// must be called again; zero: after the next Wake.
func (r *Relay) Publish(ctx context.Context) (time.Time, error) {
	if !r.pending.Swap(false) {
		return time.Time{}, nil
	}
	isOwner := r.members.OwnsWork("relay")
	if !isOwner {
		if r.Now().Before(r.ownerCheckAt) {
			return time.Time{}, nil
		}
		r.ownerCheckAt = r.Now().Add(ownerCheckEvery)
	}
	for isFirst := true; ; isFirst = false {
		events, err := r.readPage(ctx)
		if err == nil && !isOwner && isFirst && !r.isOwnerStuck(events) {
			return time.Time{}, nil
		}
		if err == nil && len(events) > 0 {
			if r.members.MayBePresumedDead() {
				r.Wake()
				return r.Now(), nil // another replica may have published more by now
			}
			err = r.publishPage(ctx, events)
		}
		if err != nil {
			r.Wake()
			return r.Now().Add(retryAfterError), err
		}
		if len(events) < pageSize {
			return time.Time{}, nil
		}
	}
}

func (r *Relay) readPage(ctx context.Context) (events []domain.Event, err error) {
	err = r.Store.View(ctx, func(ctx context.Context, tx *ports.Tx) error {
		events, err = r.reader.Read(ctx, tx, pageSize)
		return err
	})
	return events, err
}

// isOwnerStuck reports whether the first event was first at the latest check too.
func (r *Relay) isOwnerStuck(events []domain.Event) bool {
	before := r.firstWaiting
	r.firstWaiting = 0
	if len(events) == 0 {
		return false
	}
	r.firstWaiting = events[0].Seq
	return before == events[0].Seq
}

// publishPage publishes events and advances the position. The bus carries neither messages nor sessions,
// see [ports.Bus].
func (r *Relay) publishPage(ctx context.Context, events []domain.Event) error {
	published := slices.Clone(events)
	for i := range published {
		published[i].Message, published[i].Session = nil, nil
	}
	if err := r.bus.Publish(ctx, published...); err != nil {
		return err
	}
	err := r.Store.Update(ctx, func(ctx context.Context, tx *ports.Tx) error { return r.reader.Advance(ctx, tx, events) })
	if errors.Is(err, ports.ErrConflict) {
		return nil // another replica has published them too, and perhaps more
	}
	return err
}

// NewReader returns a further reader of the log. The log keeps the events that the reader has not read.
// A name has one reader. NewReader is called before the first Housekeep.
func (r *Relay) NewReader(name string) *Reader {
	reader := &Reader{setting: name + ".position"}
	r.readers = append(r.readers, reader)
	return reader
}

// Housekeep deletes events that are older than the retention and that every reader has read.
func (r *Relay) Housekeep(ctx context.Context, now time.Time) error {
	for {
		n := 0
		err := r.Update(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
			before := now.Add(-r.retention)
			for _, reader := range r.readers {
				unread, err := reader.Read(ctx, tx, 1)
				if err != nil {
					return err
				}
				if len(unread) > 0 && unread[0].At.Before(before) {
					before = unread[0].At
				}
			}
			n, err = tx.Outbox.DeleteBefore(ctx, before, deletedPerPass)
			return err
		})
		if err != nil || n < deletedPerPass {
			return err
		}
	}
}
