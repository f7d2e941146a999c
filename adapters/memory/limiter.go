package memory

import (
	"context"
	"hash/maphash"
	"sync"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// Limiter implements [ports.Limiter]. Keys whose time is over go away as new
// ones come, so it holds hardly more of them than have to be remembered.
type Limiter struct {
	seed   maphash.Seed
	shards [shards]limitShard
}

type limitShard struct {
	mu      sync.Mutex
	windows map[string]*limitWindow
	_       [48]byte // a cache line each
}

type limitWindow struct {
	domain.Window
	length time.Duration
}

const (
	limiterGrace = time.Minute // for callers whose clock is behind that of others
	limiterSweep = 4           // windows looked at for each new one
)

var _ ports.Limiter = (*Limiter)(nil)

// NewLimiter returns a limiter that has counted nothing yet.
func NewLimiter() *Limiter {
	l := &Limiter{seed: maphash.MakeSeed()}
	for i := range l.shards {
		l.shards[i].windows = make(map[string]*limitWindow)
	}
	return l
}

// AllowN implements [ports.Limiter]. Only a use that is allowed begins a window;
// looking, giving back and being refused do not.
func (l *Limiter) AllowN(
	ctx context.Context, key string, at time.Time, length time.Duration, limit, n int,
) (domain.Usage, error) {
	if err := ctx.Err(); err != nil {
		return domain.Usage{}, err
	}
	s := &l.shards[shardOf(l.seed, key)]
	s.mu.Lock()
	defer s.mu.Unlock()
	w, known := s.windows[key]
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
		s.sweep(at)
		s.windows[key] = &limitWindow{Window: next, length: length}
	}
	return usage, nil
}

// Backfill implements [ports.Limiter].
func (l *Limiter) Backfill(ctx context.Context, key string, first time.Time, length time.Duration, used int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s := &l.shards[shardOf(l.seed, key)]
	s.mu.Lock()
	defer s.mu.Unlock()
	if w, known := s.windows[key]; known {
		w.Backfill(first, used)
		return nil
	}
	next := limitWindow{length: length}
	next.Backfill(first, used)
	s.sweep(first)
	s.windows[key] = &next
	return nil
}

// sweep forgets a few windows, chosen at random, if it is time. It is called
// for each new one, so those that need not be remembered stay the smaller part.
func (s *limitShard) sweep(at time.Time) {
	seen := 0
	for key, w := range s.windows {
		if !at.Before(w.Start.Add(2*w.length + limiterGrace)) {
			delete(s.windows, key)
		}
		if seen++; seen == limiterSweep {
			return
		}
	}
}
