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
	publishDelay  = 10 * time.Millisecond // what is told within it goes together
	maxBatchedIDs = 1000                  // ids that may wait; more become All
)

// Invalidator implements [ports.Invalidator]. Nobody waits for Redis: what is told goes out
// together after a moment, and as All if it is much or Redis was away meanwhile. Each
// listener has a goroutine, until it is cancelled, and is told together what came while
// it was busy. All comes whenever the coordination has been connected, the first time too.
type Invalidator struct {
	f           *Coordination
	unpublished *invalidationBatch

	mu        sync.Mutex
	listeners []*invalidationListener
	closed    bool
	running   sync.WaitGroup
}

var _ ports.Invalidator = (*Invalidator)(nil)

func newInvalidator(f *Coordination) *Invalidator {
	return &Invalidator{f: f, unpublished: newInvalidationBatch()}
}

// Publish implements [ports.Invalidator].
func (h *Invalidator) Publish(invalidation ports.Invalidation) { h.unpublished.add(invalidation) }

// invalidationMessage is an invalidation as it goes through the channel.
type invalidationMessage struct {
	From     string   `json:"from"`
	Sessions []string `json:"sessions,omitempty"`
	Workers  []string `json:"workers,omitempty"`
	Users    []string `json:"users,omitempty"`
	All      bool     `json:"all,omitempty"`
}

// send tells what has gathered until the coordination is closed, and then once more.
func (h *Invalidator) send() {
	for closing := false; !closing; {
		wait := publishDelay
		select {
		case <-h.f.ctx.Done():
		case <-h.unpublished.wake:
			if !h.f.up() {
				wait = pulseEvery
			}
		}
		select {
		case <-h.f.ctx.Done():
		case <-time.After(wait):
		}
		call := h.f.do
		if closing = h.f.ctx.Err() != nil; closing {
			call = h.f.try
		}
		invalidation, some := h.unpublished.take()
		if !some {
			continue
		}
		if call(context.Background(), func(ctx context.Context) error { return h.publish(ctx, invalidation) }) != nil {
			h.unpublished.add(ports.Invalidation{All: true})
		}
	}
}

func (h *Invalidator) publish(ctx context.Context, invalidation ports.Invalidation) error {
	message, err := json.Marshal(invalidationMessage{h.f.id, invalidation.Sessions, invalidation.Workers, invalidation.Users, invalidation.All})
	if err != nil {
		return err
	}
	return h.f.rdb.Publish(ctx, h.f.channels.invalidations, message).Err()
}

// Subscribe implements [ports.Invalidator]. cancel does not wait for a call of fn that has
// begun, so fn may call it too.
func (h *Invalidator) Subscribe(fn func(ports.Invalidation)) (cancel func()) {
	l := &invalidationListener{pending: newInvalidationBatch(), done: make(chan struct{})}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return func() {}
	}
	h.listeners = append(h.listeners, l)
	h.running.Go(func() { l.run(fn) })
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if i := slices.Index(h.listeners, l); i >= 0 {
			h.listeners = slices.Delete(h.listeners, i, i+1)
			close(l.done)
		}
	}
}

// receive passes on what another process tells.
func (h *Invalidator) receive(message string) {
	var t invalidationMessage
	if json.Unmarshal([]byte(message), &t) != nil {
		t.All = true // in whatever words, something has changed
	}
	if t.From != h.f.id {
		h.pass(ports.Invalidation{Sessions: t.Sessions, Workers: t.Workers, Users: t.Users, All: t.All})
	}
}

// reportGap notes that something may have been told that did not arrive.
func (h *Invalidator) reportGap() { h.pass(ports.Invalidation{All: true}) }

func (h *Invalidator) pass(invalidation ports.Invalidation) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, l := range h.listeners {
		l.pending.add(invalidation)
	}
}

func (h *Invalidator) close() {
	h.mu.Lock()
	h.closed = true
	for _, l := range h.listeners {
		close(l.done)
	}
	h.listeners = nil
	h.mu.Unlock()
	h.running.Wait()
}

type invalidationListener struct {
	pending *invalidationBatch
	done    chan struct{}
}

func (l *invalidationListener) run(fn func(ports.Invalidation)) {
	for {
		select {
		case <-l.done:
			return
		case <-l.pending.wake:
		}
		select {
		case <-l.done:
			return
		default:
		}
		if invalidation, some := l.pending.take(); some {
			fn(invalidation)
		}
	}
}

// invalidationBatch is invalidations put together.
type invalidationBatch struct {
	wake chan struct{} // gets one when there is something to take

	mu                       sync.Mutex
	sessions, workers, users map[string]struct{}
	all                      bool
}

func newInvalidationBatch() *invalidationBatch {
	return &invalidationBatch{
		wake: make(chan struct{}, 1), sessions: map[string]struct{}{}, workers: map[string]struct{}{}, users: map[string]struct{}{},
	}
}

func (g *invalidationBatch) add(invalidation ports.Invalidation) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.all = g.all || invalidation.All
	for _, part := range []struct {
		to  map[string]struct{}
		ids []string
	}{{g.sessions, invalidation.Sessions}, {g.workers, invalidation.Workers}, {g.users, invalidation.Users}} {
		for _, id := range part.ids {
			if g.all {
				break
			}
			part.to[id] = struct{}{}
			g.all = g.size() > maxBatchedIDs
		}
	}
	if !g.all && g.size() == 0 {
		return
	}
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

func (g *invalidationBatch) size() int { return len(g.sessions) + len(g.workers) + len(g.users) }

// take empties the gathering, and reports whether there was anything.
func (g *invalidationBatch) take() (invalidation ports.Invalidation, some bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.all && g.size() == 0 {
		return invalidation, false
	}
	if invalidation.All = g.all; !g.all {
		invalidation.Sessions, invalidation.Workers, invalidation.Users = drain(g.sessions), drain(g.workers), drain(g.users)
	}
	clear(g.sessions)
	clear(g.workers)
	clear(g.users)
	g.all = false
	return invalidation, true
}

func drain(set map[string]struct{}) (ids []string) {
	for id := range set {
		ids = append(ids, id)
	}
	return ids
}
