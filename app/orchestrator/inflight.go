package orchestrator

import (
	"context"
	"sync"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
)

// inFlight sees to it that this process works on a session in one place at a
// time: the calls to a worker about one session do not overtake each other.
// It is no lock on the session's row: reports are applied while a call is under way.
type inFlight struct {
	mu    sync.Mutex
	m     map[string]chan struct{}
	fresh map[string]int64                            // generations assigned by this process and not called about yet
	calls map[string]map[*context.CancelFunc]struct{} // under way, by worker
}

// calling gives the context of a call to a worker, which is given up when the
// worker is lost.
func (f *inFlight) calling(ctx context.Context, workerID string, limit time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.calls == nil {
		f.calls = make(map[string]map[*context.CancelFunc]struct{})
	}
	if f.calls[workerID] == nil {
		f.calls[workerID] = make(map[*context.CancelFunc]struct{})
	}
	f.calls[workerID][&cancel] = struct{}{}
	return ctx, func() {
		cancel()
		f.mu.Lock()
		defer f.mu.Unlock()
		if delete(f.calls[workerID], &cancel); len(f.calls[workerID]) == 0 {
			delete(f.calls, workerID)
		}
	}
}

// giveUp ends the calls to a worker.
func (f *inFlight) giveUp(workerID string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for cancel := range f.calls[workerID] {
		(*cancel)()
	}
}

// assigned notes that this process has just assigned the session.
func (f *inFlight) assigned(s *domain.Session) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fresh == nil {
		f.fresh = make(map[string]int64)
	}
	f.fresh[s.ID] = s.Generation
}

// first reports whether no call has been made since this process assigned the
// session; from now on one has.
func (f *inFlight) first(s *domain.Session) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	generation, fresh := f.fresh[s.ID]
	delete(f.fresh, s.ID)
	return fresh && generation == s.Generation
}

// underWay reports whether anything is being done about the session.
func (f *inFlight) underWay(sessionID string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.m[sessionID] != nil
}

// begin waits for its turn, or until the context ends.
func (f *inFlight) begin(ctx context.Context, sessionID string) (end func(), err error) {
	for {
		end, busy := f.try(sessionID)
		if end != nil {
			return end, nil
		}
		select {
		case <-busy:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// try takes the turn if it is free; otherwise it returns a channel that is
// closed when it may be.
func (f *inFlight) try(sessionID string) (end func(), busy <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if c := f.m[sessionID]; c != nil {
		return nil, c
	}
	if f.m == nil {
		f.m = make(map[string]chan struct{})
	}
	c := make(chan struct{})
	f.m[sessionID] = c
	return func() {
		f.mu.Lock()
		delete(f.m, sessionID)
		f.mu.Unlock()
		close(c)
	}, nil
}

// watchers wakes those who wait for a session to change.
type watchers struct {
	mu sync.Mutex
	m  map[string]chan struct{}
}

// changed returns a channel that is closed at the next change.
func (w *watchers) changed(sessionID string) <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.m == nil {
		w.m = make(map[string]chan struct{})
	}
	c := w.m[sessionID]
	if c == nil {
		c = make(chan struct{})
		w.m[sessionID] = c
	}
	return c
}

func (w *watchers) notify(sessionID string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if c := w.m[sessionID]; c != nil {
		close(c)
		delete(w.m, sessionID)
	}
}
