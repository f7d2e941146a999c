package conformance_test

import (
	"sync"
	"testing"

	"github.com/switchyard-wa/switchyard/adapters/memory"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/conformance"
)

// cuttable is an invalidator behind a connection that can be cut, as in a network. While it is cut,
// everything is lost. Afterwards both sides receive All.
type cuttable struct {
	inner *memory.Invalidator
	mu    sync.Mutex
	cut   bool
	fns   map[*func(ports.Invalidation)]bool
}

func newCuttable(inner *memory.Invalidator) *cuttable {
	return &cuttable{inner: inner, fns: make(map[*func(ports.Invalidation)]bool)}
}

func (r *cuttable) isCut() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.cut
}

// Publish publishes unless the connection is cut.
func (r *cuttable) Publish(h ports.Invalidation) {
	if !r.isCut() {
		r.inner.Publish(h)
	}
}

// Subscribe subscribes. fn misses what arrives while the connection is cut.
func (r *cuttable) Subscribe(fn func(ports.Invalidation)) (cancel func()) {
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

// disconnect cuts the connection until heal is called.
func (r *cuttable) disconnect() (heal func()) {
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

func TestInvalidator_ConnectionBreaks_PassesSuite(t *testing.T) {
	open := func() (a, b *cuttable) {
		inner := memory.NewInvalidator()
		return newCuttable(inner), newCuttable(inner.Join())
	}
	conformance.Invalidator(t, func(*testing.T) (ports.Invalidator, ports.Invalidator) { return open() })
	conformance.InvalidatorCut(t, func(*testing.T) (a, b ports.Invalidator, cut func(h ports.Invalidator) (heal func())) {
		a, b = open()
		return a, b, func(h ports.Invalidator) func() { return h.(*cuttable).disconnect() }
	})
}
