package memory

import (
	"context"
	"hash/maphash"
	"sync"
	"time"

	"github.com/switchyard-wa/switchyard/adapters/internal/ratelimit"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// Limiter implements [ports.Limiter]. New keys displace expired ones, so the limiter holds few more keys than it must
// remember.
type Limiter struct {
	seed   maphash.Seed
	shards [shards]limitShard
}

type limitShard struct {
	mu      sync.Mutex
	windows ratelimit.Windows
	_       [48]byte // a shard fills one cache line
}

var _ ports.Limiter = (*Limiter)(nil)

// NewLimiter returns a limiter without windows.
func NewLimiter() *Limiter { return &Limiter{seed: maphash.MakeSeed()} }

// AllowN implements [ports.Limiter]. Only an allowed use starts a window: a query, a refund and a refused use do not.
func (l *Limiter) AllowN(
	ctx context.Context, key string, at time.Time, length time.Duration, limit, n int,
) (domain.Usage, error) {
	if err := ctx.Err(); err != nil {
		return domain.Usage{}, err
	}
	s := &l.shards[shardOf(l.seed, key)]
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.windows.AllowN(key, at, length, limit, n), nil
}

// Backfill implements [ports.Limiter].
func (l *Limiter) Backfill(ctx context.Context, key string, first time.Time, length time.Duration, used int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s := &l.shards[shardOf(l.seed, key)]
	s.mu.Lock()
	defer s.mu.Unlock()
	s.windows.Backfill(key, first, length, used)
	return nil
}
