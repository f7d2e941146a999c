package redis

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"github.com/switchyard-wa/switchyard/ports"
)

const (
	publishDelay  = 10 * time.Millisecond // the first invalidation of a batch waits so long for others
	maxBatchedIDs = 1000                  // a batch of more ids becomes All
)

// Invalidator implements [ports.Invalidator]. Publish does not wait for Redis: a goroutine publishes invalidations in
// batches. A batch becomes All if it is large or if Redis was unavailable meanwhile.
//
// Each subscriber has a goroutine. While a subscriber is busy, invalidations collect in one batch, which it receives next.
// Subscribers receive All after each connection to Redis, even the first: earlier invalidations may have been lost.
type Invalidator struct {
	c           *Coordination
	unpublished *invalidationBatch

	mu          sync.Mutex
	subscribers []*invalidationSubscriber
	closed      bool
	running     sync.WaitGroup
}

var _ ports.Invalidator = (*Invalidator)(nil)

func newInvalidator(c *Coordination) *Invalidator {
	return &Invalidator{c: c, unpublished: newInvalidationBatch()}
}

// Publish implements [ports.Invalidator].
func (i *Invalidator) Publish(invalidation ports.Invalidation) { i.unpublished.add(invalidation) }

// invalidationMessage is the JSON form of an invalidation in its channel.
type invalidationMessage struct {
	From     string   `json:"from"`
	Sessions []string `json:"sessions,omitempty"`
	Workers  []string `json:"workers,omitempty"`
	Users    []string `json:"users,omitempty"`
	Events   bool     `json:"events,omitempty"`
	All      bool     `json:"all,omitempty"`
}

// publishPending publishes batches until the coordination is closed, and then once more.
func (i *Invalidator) publishPending() {
	for closing := false; !closing; {
		wait := publishDelay
		select {
		case <-i.c.ctx.Done():
		case <-i.unpublished.wake:
			if !i.c.isUp() {
				wait = probeInterval
			}
		}
		select {
		case <-i.c.ctx.Done():
		case <-time.After(wait):
		}
		closing = i.c.ctx.Err() != nil
		call := i.c.do
		if closing {
			call = i.c.try // do refuses calls of a closed coordination
		}
		invalidation, ok := i.unpublished.drain()
		if !ok {
			continue
		}
		err := call(context.Background(), func(ctx context.Context) error { return i.publish(ctx, invalidation) })
		if err != nil {
			i.unpublished.add(ports.Invalidation{All: true})
		}
	}
}

func (i *Invalidator) publish(ctx context.Context, invalidation ports.Invalidation) error {
	message, err := json.Marshal(invalidationMessage{
		i.c.id, invalidation.Sessions, invalidation.Workers, invalidation.Users, invalidation.Events, invalidation.All,
	})
	if err != nil {
		return err
	}
	return i.c.rdb.Publish(ctx, i.c.channels.invalidations, message).Err()
}

// Subscribe implements [ports.Invalidator]. cancel does not wait for a call of fn that has begun, so fn may call cancel.
func (i *Invalidator) Subscribe(fn func(ports.Invalidation)) (cancel func()) {
	s := &invalidationSubscriber{pending: newInvalidationBatch(), done: make(chan struct{})}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed {
		return func() {}
	}
	i.subscribers = append(i.subscribers, s)
	i.running.Go(func() { s.run(fn) })
	return func() { i.unsubscribe(s) }
}

func (i *Invalidator) unsubscribe(s *invalidationSubscriber) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if at := slices.Index(i.subscribers, s); at >= 0 {
		i.subscribers = slices.Delete(i.subscribers, at, at+1)
		close(s.done)
	}
}

// receive delivers the invalidation of a message, unless this process has published it.
func (i *Invalidator) receive(message string) {
	var m invalidationMessage
	if json.Unmarshal([]byte(message), &m) != nil {
		m.All = true // a newer version of this package: anything may have changed
	}
	if m.From != i.c.id {
		i.deliver(ports.Invalidation{Sessions: m.Sessions, Workers: m.Workers, Users: m.Users, Events: m.Events, All: m.All})
	}
}

// deliver adds an invalidation to the batch of every subscriber.
func (i *Invalidator) deliver(invalidation ports.Invalidation) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, s := range i.subscribers {
		s.pending.add(invalidation)
	}
}

// close ends all subscriptions and waits for calls of subscribers that have begun.
func (i *Invalidator) close() {
	i.mu.Lock()
	i.closed = true
	for _, s := range i.subscribers {
		close(s.done)
	}
	i.subscribers = nil
	i.mu.Unlock()
	i.running.Wait()
}

// invalidationSubscriber calls one function with batches of invalidations.
type invalidationSubscriber struct {
	pending *invalidationBatch
	done    chan struct{} // closed when the subscription ends
}

func (s *invalidationSubscriber) run(fn func(ports.Invalidation)) {
	for {
		select {
		case <-s.done:
			return
		case <-s.pending.wake:
		}
		select {
		case <-s.done:
			return
		default:
		}
		if invalidation, ok := s.pending.drain(); ok {
			fn(invalidation)
		}
	}
}

// invalidationBatch merges invalidations. Its methods may be called concurrently.
type invalidationBatch struct {
	wake chan struct{} // receives when the batch is not empty

	mu                       sync.Mutex
	sessions, workers, users map[string]struct{}
	events, all              bool
}

func newInvalidationBatch() *invalidationBatch {
	return &invalidationBatch{
		wake: make(chan struct{}, 1), sessions: map[string]struct{}{}, workers: map[string]struct{}{}, users: map[string]struct{}{},
	}
}

// add adds the ids of an invalidation. If the batch becomes too large, it becomes All.
func (b *invalidationBatch) add(invalidation ports.Invalidation) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.events, b.all = b.events || invalidation.Events, b.all || invalidation.All
	b.addIDs(b.sessions, invalidation.Sessions)
	b.addIDs(b.workers, invalidation.Workers)
	b.addIDs(b.users, invalidation.Users)
	if b.isEmpty() {
		return
	}
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

func (b *invalidationBatch) addIDs(to map[string]struct{}, ids []string) {
	for _, id := range ids {
		if b.all {
			return
		}
		to[id] = struct{}{}
		b.all = b.size() > maxBatchedIDs
	}
}

func (b *invalidationBatch) size() int { return len(b.sessions) + len(b.workers) + len(b.users) }

func (b *invalidationBatch) isEmpty() bool { return !b.all && !b.events && b.size() == 0 }

// drain empties the batch and returns it as one invalidation. ok is false if the batch was empty.
func (b *invalidationBatch) drain() (invalidation ports.Invalidation, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.isEmpty() {
		return invalidation, false
	}
	if b.all {
		invalidation.All = true
	} else {
		invalidation.Sessions, invalidation.Workers, invalidation.Users = keysIn(b.sessions), keysIn(b.workers), keysIn(b.users)
		invalidation.Events = b.events
	}
	clear(b.sessions)
	clear(b.workers)
	clear(b.users)
	b.events, b.all = false, false
	return invalidation, true
}

// keysIn returns the keys of a set, or nil if it is empty.
func keysIn(set map[string]struct{}) (ids []string) {
	for id := range set {
		ids = append(ids, id)
	}
	return ids
}
