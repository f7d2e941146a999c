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
	hintGather = 10 * time.Millisecond // what is told within it goes together
	maxHinted  = 1000                  // ids that may wait; more become All
)

// Hints implements [ports.Hints]. Nobody waits for Redis: what is told goes out
// together after a moment, and as All if it is much or Redis was away meanwhile. Each
// listener has a goroutine, until it is cancelled, and is told together what came while
// it was busy. All comes whenever the fabric has been connected, the first time too.
type Hints struct {
	f      *Fabric
	untold *gathering

	mu        sync.Mutex
	listeners []*hintListener
	closed    bool
	running   sync.WaitGroup
}

var _ ports.Hints = (*Hints)(nil)

func newHints(f *Fabric) *Hints { return &Hints{f: f, untold: newGathering()} }

// Tell implements [ports.Hints].
func (h *Hints) Tell(hint ports.Hint) { h.untold.add(hint) }

// told is a hint as it goes through the channel.
type told struct {
	From     string   `json:"from"`
	Sessions []string `json:"sessions,omitempty"`
	Workers  []string `json:"workers,omitempty"`
	Users    []string `json:"users,omitempty"`
	All      bool     `json:"all,omitempty"`
}

// send tells what has gathered until the fabric is closed, and then once more.
func (h *Hints) send() {
	for closing := false; !closing; {
		wait := hintGather
		select {
		case <-h.f.ctx.Done():
		case <-h.untold.wake:
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
		hint, some := h.untold.take()
		if !some {
			continue
		}
		if call(context.Background(), func(ctx context.Context) error { return h.publish(ctx, hint) }) != nil {
			h.untold.add(ports.Hint{All: true})
		}
	}
}

func (h *Hints) publish(ctx context.Context, hint ports.Hint) error {
	message, err := json.Marshal(told{h.f.id, hint.Sessions, hint.Workers, hint.Users, hint.All})
	if err != nil {
		return err
	}
	return h.f.rdb.Publish(ctx, h.f.channels.hints, message).Err()
}

// Listen implements [ports.Hints]. cancel does not wait for a call of fn that has
// begun, so fn may call it too.
func (h *Hints) Listen(fn func(ports.Hint)) (cancel func()) {
	l := &hintListener{unheard: newGathering(), done: make(chan struct{})}
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

// heard passes on what another process tells.
func (h *Hints) heard(message string) {
	var t told
	if json.Unmarshal([]byte(message), &t) != nil {
		t.All = true // in whatever words, something has changed
	}
	if t.From != h.f.id {
		h.pass(ports.Hint{Sessions: t.Sessions, Workers: t.Workers, Users: t.Users, All: t.All})
	}
}

// missed notes that something may have been told that did not arrive.
func (h *Hints) missed() { h.pass(ports.Hint{All: true}) }

func (h *Hints) pass(hint ports.Hint) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, l := range h.listeners {
		l.unheard.add(hint)
	}
}

func (h *Hints) close() {
	h.mu.Lock()
	h.closed = true
	for _, l := range h.listeners {
		close(l.done)
	}
	h.listeners = nil
	h.mu.Unlock()
	h.running.Wait()
}

type hintListener struct {
	unheard *gathering
	done    chan struct{}
}

func (l *hintListener) run(fn func(ports.Hint)) {
	for {
		select {
		case <-l.done:
			return
		case <-l.unheard.wake:
		}
		select {
		case <-l.done:
			return
		default:
		}
		if hint, some := l.unheard.take(); some {
			fn(hint)
		}
	}
}

// gathering is hints put together.
type gathering struct {
	wake chan struct{} // gets one when there is something to take

	mu                       sync.Mutex
	sessions, workers, users map[string]struct{}
	all                      bool
}

func newGathering() *gathering {
	return &gathering{
		wake: make(chan struct{}, 1), sessions: map[string]struct{}{}, workers: map[string]struct{}{}, users: map[string]struct{}{},
	}
}

func (g *gathering) add(hint ports.Hint) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.all = g.all || hint.All
	for _, part := range []struct {
		to  map[string]struct{}
		ids []string
	}{{g.sessions, hint.Sessions}, {g.workers, hint.Workers}, {g.users, hint.Users}} {
		for _, id := range part.ids {
			if g.all {
				break
			}
			part.to[id] = struct{}{}
			g.all = g.size() > maxHinted
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

func (g *gathering) size() int { return len(g.sessions) + len(g.workers) + len(g.users) }

// take empties the gathering, and reports whether there was anything.
func (g *gathering) take() (hint ports.Hint, some bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.all && g.size() == 0 {
		return hint, false
	}
	if hint.All = g.all; !g.all {
		hint.Sessions, hint.Workers, hint.Users = drain(g.sessions), drain(g.workers), drain(g.users)
	}
	clear(g.sessions)
	clear(g.workers)
	clear(g.users)
	g.all = false
	return hint, true
}

func drain(set map[string]struct{}) (ids []string) {
	for id := range set {
		ids = append(ids, id)
	}
	return ids
}
