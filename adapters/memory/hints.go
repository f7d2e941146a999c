package memory

import (
	"slices"
	"sync"

	"github.com/switchyard-wa/switchyard/ports"
)

// Hints implements [ports.Hints] for parties within one process, such as
// several replicas in a test. Nothing is lost and no gap arises. A hint is
// passed on in the goroutine of whoever tells it, before Tell returns, unless
// the listener is busy with another at the time: then whoever told that one
// passes on this one too.
type Hints struct{ hub *hintHub }

type hintHub struct {
	mu        sync.RWMutex
	listeners []*hintListener
}

var _ ports.Hints = (*Hints)(nil)

// NewHints returns a party that has nobody to talk to.
func NewHints() *Hints { return &Hints{new(hintHub)} }

// Join returns another party: what it tells reaches those of all others, and
// the other way round.
func (h *Hints) Join() *Hints { return &Hints{h.hub} }

// Tell implements [ports.Hints].
func (h *Hints) Tell(hint ports.Hint) {
	h.hub.mu.RLock()
	var others []*hintListener
	for _, l := range h.hub.listeners {
		if l.party != h {
			others = append(others, l)
		}
	}
	h.hub.mu.RUnlock()
	if len(others) == 0 {
		return
	}
	hint.Sessions, hint.Workers, hint.Users = slices.Clone(hint.Sessions), slices.Clone(hint.Workers), slices.Clone(hint.Users)
	for _, l := range others {
		l.tell(hint)
	}
}

// Listen implements [ports.Hints]. fn may call any method; what it is given it
// shares with other listeners, so it changes nothing of it. cancel does not
// wait for a call of fn that has begun, so fn may call it too.
func (h *Hints) Listen(fn func(ports.Hint)) (cancel func()) {
	l := &hintListener{party: h, fn: fn}
	h.hub.mu.Lock()
	h.hub.listeners = append(h.hub.listeners, l)
	h.hub.mu.Unlock()
	return sync.OnceFunc(func() {
		l.mu.Lock()
		l.gone, l.queue = true, nil
		l.mu.Unlock()
		h.hub.mu.Lock()
		h.hub.listeners = slices.DeleteFunc(h.hub.listeners, func(o *hintListener) bool { return o == l })
		h.hub.mu.Unlock()
	})
}

type hintListener struct {
	party *Hints
	fn    func(ports.Hint)

	mu    sync.Mutex
	queue []ports.Hint
	busy  bool // somebody is passing on the queue
	gone  bool
}

func (l *hintListener) tell(hint ports.Hint) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gone {
		return
	}
	l.queue = append(l.queue, hint)
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
func (l *hintListener) pass(hint ports.Hint) {
	l.mu.Unlock()
	defer l.mu.Lock()
	l.fn(hint)
}
