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
	inner *memory.Invalidator
	mu    sync.Mutex
	cut   bool
	fns   map[*func(ports.Invalidation)]bool
}

func newRadio(inner *memory.Invalidator) *radio {
	return &radio{inner: inner, fns: make(map[*func(ports.Invalidation)]bool)}
}

func (r *radio) isCut() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.cut
}

func (r *radio) Publish(h ports.Invalidation) {
	if !r.isCut() {
		r.inner.Publish(h)
	}
}

func (r *radio) Subscribe(fn func(ports.Invalidation)) (cancel func()) {
	stop := r.inner.Subscribe(func(h ports.Invalidation) {
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
		var fns []func(ports.Invalidation)
		for fn := range r.fns {
			fns = append(fns, *fn)
		}
		r.mu.Unlock()
		r.inner.Publish(ports.Invalidation{All: true})
		for _, fn := range fns {
			fn(ports.Invalidation{All: true})
		}
	}
}

func TestInvalidatorThatBreak(t *testing.T) {
	open := func() (a, b *radio) {
		inner := memory.NewInvalidator()
		return newRadio(inner), newRadio(inner.Join())
	}
	conformance.Invalidator(t, func(*testing.T) (ports.Invalidator, ports.Invalidator) { return open() })
	conformance.InvalidatorCut(t, func(*testing.T) (a, b ports.Invalidator, cut func(h ports.Invalidator) (heal func())) {
		a, b = open()
		return a, b, func(h ports.Invalidator) func() { return h.(*radio).off() }
	})
}
