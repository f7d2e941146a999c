package conformance_test

import (
	"sync"
	"testing"

	"github.com/switchyard-wa/switchyard/adapters/memory"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/conformance"
)

// radio is a party behind a connection of its own, as those of a network are.
// While it is cut off, everything is lost, and after that both sides know.
type radio struct {
	inner *memory.Hints
	mu    sync.Mutex
	cut   bool
	fns   map[*func(ports.Hint)]bool
}

func newRadio(inner *memory.Hints) *radio {
	return &radio{inner: inner, fns: make(map[*func(ports.Hint)]bool)}
}

func (r *radio) isCut() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.cut
}

func (r *radio) Tell(h ports.Hint) {
	if !r.isCut() {
		r.inner.Tell(h)
	}
}

func (r *radio) Listen(fn func(ports.Hint)) (cancel func()) {
	stop := r.inner.Listen(func(h ports.Hint) {
		if !r.isCut() {
			fn(h)
		}
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	key := &fn
	r.fns[key] = true
	return func() {
		stop()
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.fns, key)
	}
}

func (r *radio) off() (heal func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cut = true
	return func() {
		r.mu.Lock()
		r.cut = false
		var fns []func(ports.Hint)
		for fn := range r.fns {
			fns = append(fns, *fn)
		}
		r.mu.Unlock()
		r.inner.Tell(ports.Hint{All: true})
		for _, fn := range fns {
			fn(ports.Hint{All: true})
		}
	}
}

func TestHintsThatBreak(t *testing.T) {
	open := func() (a, b *radio) {
		inner := memory.NewHints()
		return newRadio(inner), newRadio(inner.Join())
	}
	conformance.Hints(t, func(*testing.T) (ports.Hints, ports.Hints) { return open() })
	conformance.HintsCut(t, func(*testing.T) (a, b ports.Hints, cut func(h ports.Hints) (heal func())) {
		a, b = open()
		return a, b, func(h ports.Hints) func() { return h.(*radio).off() }
	})
}
