package memory

import (
	"slices"
	"sync"

	"github.com/switchyard-wa/switchyard/ports"
)

// Invalidator implements [ports.Invalidator] for several members within one process, such as the replicas of a test. No
// invalidation is lost, so there are no gaps. Publish delivers an invalidation in the caller's goroutine before it returns.
// There is one exception: while a subscriber runs for another invalidation, the goroutine that delivers that one delivers
// the new one as well.
type Invalidator struct{ hub *invalidationHub }

// invalidationHub holds the subscriptions of all members.
type invalidationHub struct {
	mu            sync.RWMutex
	subscriptions []*subscription
}

var _ ports.Invalidator = (*Invalidator)(nil)

// NewInvalidator returns the first member of a new group.
func NewInvalidator() *Invalidator { return &Invalidator{new(invalidationHub)} }

// Join returns another member of the group. Each member receives the invalidations of all other members.
func (h *Invalidator) Join() *Invalidator { return &Invalidator{h.hub} }

// Publish implements [ports.Invalidator].
func (h *Invalidator) Publish(invalidation ports.Invalidation) {
	h.hub.mu.RLock()
	var others []*subscription
	for _, l := range h.hub.subscriptions {
		if l.member != h {
			others = append(others, l)
		}
	}
	h.hub.mu.RUnlock()
	if len(others) == 0 {
		return
	}
	invalidation.Sessions = slices.Clone(invalidation.Sessions)
	invalidation.Workers = slices.Clone(invalidation.Workers)
	invalidation.Users = slices.Clone(invalidation.Users)
	for _, l := range others {
		l.enqueue(invalidation)
	}
}

// Subscribe implements [ports.Invalidator]. fn may call any method. It must not change the invalidation, because other
// subscribers receive the same slices. cancel does not wait for a call of fn that has begun, so fn may call cancel.
func (h *Invalidator) Subscribe(fn func(ports.Invalidation)) (cancel func()) {
	l := &subscription{member: h, fn: fn}
	h.hub.mu.Lock()
	h.hub.subscriptions = append(h.hub.subscriptions, l)
	h.hub.mu.Unlock()
	return sync.OnceFunc(func() {
		l.mu.Lock()
		l.cancelled, l.queue = true, nil
		l.mu.Unlock()
		h.hub.mu.Lock()
		h.hub.subscriptions = slices.DeleteFunc(h.hub.subscriptions, func(o *subscription) bool { return o == l })
		h.hub.mu.Unlock()
	})
}

// subscription delivers invalidations to one function, one at a time.
type subscription struct {
	member *Invalidator
	fn     func(ports.Invalidation)

	mu         sync.Mutex
	queue      []ports.Invalidation
	delivering bool // a goroutine empties the queue
	cancelled  bool
}

// enqueue delivers an invalidation, or leaves it to the goroutine that empties the queue already.
func (l *subscription) enqueue(invalidation ports.Invalidation) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cancelled {
		return
	}
	l.queue = append(l.queue, invalidation)
	if l.delivering {
		return
	}
	l.delivering = true
	defer func() { l.delivering = false }() // runs even if fn panics
	for len(l.queue) > 0 {
		next := l.queue[0]
		l.queue = l.queue[1:]
		l.deliver(next)
	}
}

// deliver calls fn. It releases the lock, which the caller holds, during the call.
func (l *subscription) deliver(invalidation ports.Invalidation) {
	l.mu.Unlock()
	defer l.mu.Lock()
	l.fn(invalidation)
}
