package redis

import (
	"sync"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
)

// localLimiter counts in the process, for the time that Redis is away.
type localLimiter struct {
	mu    sync.Mutex
	byKey map[string]*window
}

type window struct {
	domain.Window
	length time.Duration
}

const (
	windowGrace = time.Minute // for callers whose clock is behind that of others
	windowSweep = 4           // windows looked at for each new one
)

func newLocalLimiter() *localLimiter { return &localLimiter{byKey: make(map[string]*window)} }

// allowN counts as [domain.Window] does. Only a use that is allowed begins a window.
func (ws *localLimiter) allowN(key string, at time.Time, length time.Duration, limit, n int) domain.Usage {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	w, known := ws.byKey[key]
	var next domain.Window
	if known {
		next = w.Window
	}
	usage := next.AllowN(at, length, limit, n)
	runs := known && next.Start.Equal(w.Start)
	switch {
	case !usage.Allowed, n <= 0 && !runs:
	case known:
		w.Window, w.length = next, length
	default:
		ws.add(key, at, &window{next, length})
	}
	return usage
}

func (ws *localLimiter) backfill(key string, first time.Time, length time.Duration, used int) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if w, known := ws.byKey[key]; known {
		w.Backfill(first, used)
		return
	}
	next := window{length: length}
	next.Backfill(first, used)
	ws.add(key, first, &next)
}

// add keeps a new window, and forgets a few others, chosen at random, if it is time.
func (ws *localLimiter) add(key string, at time.Time, w *window) {
	seen := 0
	for old, o := range ws.byKey {
		if !at.Before(o.Start.Add(2*o.length + windowGrace)) {
			delete(ws.byKey, old)
		}
		if seen++; seen == windowSweep {
			break
		}
	}
	ws.byKey[key] = w
}

// remove takes out some windows, at most limit of them.
func (ws *localLimiter) remove(limit int) map[string]window {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	some := make(map[string]window)
	for key, w := range ws.byKey {
		if len(some) == limit {
			break
		}
		some[key] = *w
		delete(ws.byKey, key)
	}
	return some
}
