// Package ratelimit counts uses of keys in fixed windows of time, in memory. The limiter of the memory adapter builds on
// it, and so does the fallback that the Redis adapter uses while Redis is away.
package ratelimit

import (
	"time"

	"github.com/switchyard-wa/switchyard/domain"
)

const (
	// clockTolerance keeps a window longer than necessary, for callers whose clock is behind.
	clockTolerance = time.Minute
	// sweepSize is how many windows are checked for each new one. Expired windows therefore stay the smaller part.
	sweepSize = 4
)

// Window counts the uses of one key.
type Window struct {
	domain.Window
	Length time.Duration
}

// Windows holds the windows of many keys. The zero value is ready to use. It is not safe for concurrent use.
type Windows struct{ byKey map[string]*Window }

// AllowN counts n uses of a key if the limit allows all of them, as a limiter port does. Only an allowed use starts a window: a query, a refund and a refused
// use do not.
func (ws *Windows) AllowN(key string, at time.Time, length time.Duration, limit, n int) domain.Usage {
	w, known := ws.byKey[key]
	var next domain.Window
	if known {
		next = w.Window
	}
	usage := next.AllowN(at, length, limit, n)
	isOpen := known && next.Start.Equal(w.Start)
	switch {
	case !usage.Allowed, n <= 0 && !isOpen:
	case known:
		w.Window, w.Length = next, length
	default:
		ws.add(key, at, Window{next, length})
	}
	return usage
}

// Backfill adds uses from before the key was known, the first of them at the given time. Only the first Backfill of a
// window counts.
func (ws *Windows) Backfill(key string, first time.Time, length time.Duration, used int) {
	if w, known := ws.byKey[key]; known {
		w.Backfill(first, used)
		return
	}
	w := Window{Length: length}
	w.Backfill(first, used)
	ws.add(key, first, w)
}

// add adds a new window, and removes expired ones among a few others, chosen at random.
func (ws *Windows) add(key string, at time.Time, w Window) {
	if ws.byKey == nil {
		ws.byKey = make(map[string]*Window)
	}
	checked := 0
	for other, o := range ws.byKey {
		if !at.Before(o.Start.Add(2*o.Length + clockTolerance)) {
			delete(ws.byKey, other)
		}
		checked++
		if checked == sweepSize {
			break
		}
	}
	ws.byKey[key] = &w
}

// Remove removes and returns at most limit windows, by key.
func (ws *Windows) Remove(limit int) map[string]Window {
	removed := make(map[string]Window, min(limit, len(ws.byKey)))
	for key, w := range ws.byKey {
		if len(removed) == limit {
			break
		}
		removed[key] = *w
		delete(ws.byKey, key)
	}
	return removed
}

// Len returns the number of windows.
func (ws *Windows) Len() int { return len(ws.byKey) }
