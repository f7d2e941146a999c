package memory

import (
	"slices"
	"sync"

	"github.com/switchyard-wa/switchyard/ports"
)

// Invalidator implements [ports.Invalidator] for parties within one process, such as
// several replicas in a test. Nothing is lost and no gap arises. An invalidation is
// passed on in the goroutine of its publisher, before Publish returns, unless
// the listener is busy with another at the time: then whoever told that one
// passes on this one too.
type Invalidator struct{ hub *invalidationHub }

type invalidationHub struct {
	mu        sync.RWMutex
	listeners []*invalidationListener
}

var _ ports.Invalidator = (*Invalidator)(nil)

// NewInvalidator returns a party that has nobody to talk to.
func NewInvalidator() *Invalidator { return &Invalidator{new(invalidationHub)} }

// Join returns another party: what it tells reaches those of all others, and
// the other way round.
func (h *Invalidator) Join() *Invalidator { return &Invalidator{h.hub} }

// Publish implements [ports.Invalidator].
func (h *Invalidator) Publish(invalidation ports.Invalidation) {
	h.hub.mu.RLock()
	var others []*invalidationListener
	for _, l := range h.hub.listeners {
		if l.party != h {
			others = append(others, l)
		}
	}
	h.hub.mu.RUnlock()
	if len(others) == 0 {
		return
	}
	invalidation.Sessions, invalidation.Workers, invalidation.Users = slices.Clone(invalidation.Sessions), slices.Clone(invalidation.Workers), slices.Clone(invalidation.Users)
	for _, l := range others {
		l.publish(invalidation)
	}
}

// Subscribe implements [ports.Invalidator]. fn may call any method; what it is given it
// shares with other listeners, so it changes nothing of it. cancel does not
// wait for a call of fn that has begun, so fn may call it too.
func (h *Invalidator) Subscribe(fn func(ports.Invalidation)) (cancel func()) {
	l := &invalidationListener{party: h, fn: fn}
	h.hub.mu.Lock()
	h.hub.listeners = append(h.hub.listeners, l)
	h.hub.mu.Unlock()
	return sync.OnceFunc(func() {
		l.mu.Lock()
		l.gone, l.queue = true, nil
		l.mu.Unlock()
		h.hub.mu.Lock()
		h.hub.listeners = slices.DeleteFunc(h.hub.listeners, func(o *invalidationListener) bool { return o == l })
		h.hub.mu.Unlock()
	})
}

type invalidationListener struct {
	party *Invalidator
	fn    func(ports.Invalidation)

	mu    sync.Mutex
	queue []ports.Invalidation
	busy  bool // somebody is passing on the queue
	gone  bool
}

func (l *invalidationListener) publish(invalidation ports.Invalidation) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gone {
		return
	}
	l.queue = append(l.queue, invalidation)
	if l.busy {
		return
	}
	l.busy = true
	defer func() { l.busy = false }() // also if fn panics
	for len(l.queue) > 0 {
		next := l.queue[0]
		l.queue = l.queue[1:]
		l.pass(next)
	}
}

// pass calls fn without the lock.
func (l *invalidationListener) pass(invalidation ports.Invalidation) {
	l.mu.Unlock()
	defer l.mu.Lock()
	l.fn(invalidation)
}
