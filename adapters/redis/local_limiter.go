package redis

import (
	"sync"
	"time"

	"github.com/switchyard-wa/switchyard/adapters/internal/ratelimit"
	"github.com/switchyard-wa/switchyard/domain"
)

// localLimiter counts within the process while Redis is unavailable.
type localLimiter struct {
	mu      sync.Mutex
	windows ratelimit.Windows
}

func (l *localLimiter) allowN(key string, at time.Time, length time.Duration, limit, n int) domain.Usage {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.windows.AllowN(key, at, length, limit, n)
}

func (l *localLimiter) backfill(key string, first time.Time, length time.Duration, used int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.windows.Backfill(key, first, length, used)
}

// remove removes and returns at most limit windows, by key.
func (l *localLimiter) remove(limit int) map[string]ratelimit.Window {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.windows.Remove(limit)
}
