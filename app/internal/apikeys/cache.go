package apikeys

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports/service"
)

const (
	cacheLife = time.Second
	cacheSize = 100_000
)

// authCache caches credentials and quotas. It is safe for concurrent use.
type authCache struct {
	mu     sync.RWMutex
	epoch  uint64 // grows with every change; what was read in an older epoch is not cached
	keys   map[[32]byte]*credential
	quotas map[string]*Quota // by user

	lastUse sync.Map // key id → *atomic.Int64: time of the last use that is not stored, µs
}

// credential is an API key with its owner, valid until it expires from the cache.
type credential struct {
	sender  service.Sender
	key     domain.APIKey
	quota   *Quota
	until   time.Time
	lastUse *atomic.Int64
}

func newAuthCache() *authCache {
	return &authCache{keys: make(map[[32]byte]*credential), quotas: make(map[string]*Quota)}
}

// forget expires everything, and keeps reads that are under way out of the cache.
func (c *authCache) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.epoch++
	clear(c.keys)
	for _, q := range c.quotas {
		q.until = time.Time{}
	}
}

// credential returns a cached credential or nil, and the epoch for putCredential.
func (c *authCache) credential(hash [32]byte, now time.Time) (*credential, uint64) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if k := c.keys[hash]; k != nil && now.Before(k.until) && now.Before(k.quota.until) {
		return k, c.epoch
	}
	return nil, c.epoch
}

// putCredential caches a credential that was read in an epoch.
func (c *authCache) putCredential(hash [32]byte, k *credential, epoch uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.epoch != epoch {
		return
	}
	if len(c.keys) >= cacheSize {
		clear(c.keys)
	}
	c.keys[hash] = k
}

// quota returns the cached quota of a user, expired or not, or nil.
func (c *authCache) quota(userID string, now time.Time) (q *Quota, isFresh bool, epoch uint64) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	q = c.quotas[userID]
	return q, q != nil && now.Before(q.until), c.epoch
}

// putQuota caches a quota that was read in an epoch. It keeps what a former quota of
// the user knows of the limiter.
func (c *authCache) putQuota(q, former *Quota, epoch uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if former == nil {
		former = c.quotas[q.user.ID]
	}
	if former != nil {
		q.isSeeded = former.isSeeded
	}
	if len(c.quotas) >= cacheSize {
		clear(c.quotas)
	}
	if c.epoch == epoch {
		c.quotas[q.user.ID] = q
	}
}

// lastUseOf returns the counter of a key's last use.
func (c *authCache) lastUseOf(keyID string) *atomic.Int64 {
	at, _ := c.lastUse.LoadOrStore(keyID, new(atomic.Int64))
	return at.(*atomic.Int64)
}

// unstoredUse returns the last use of a key that is not stored yet, or the zero time.
func (c *authCache) unstoredUse(keyID string) time.Time {
	at, ok := c.lastUse.Load(keyID)
	if !ok {
		return time.Time{}
	}
	us := at.(*atomic.Int64).Load() // once: takeLastUses may set it to 0
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

// takeLastUses returns the last uses that are not stored yet, by key. It forgets keys
// without a use since the last call. A use at this very moment may be lost.
func (c *authCache) takeLastUses() map[string]time.Time {
	uses := make(map[string]time.Time)
	c.lastUse.Range(func(id, at any) bool {
		us := at.(*atomic.Int64).Swap(0)
		if us == 0 {
			c.lastUse.CompareAndDelete(id, at) // the key was not used lately, and may not exist any more
			return true
		}
		uses[id.(string)] = time.UnixMicro(us).UTC()
		return true
	})
	return uses
}

func (c *authCache) forgetLastUse(keyID string) { c.lastUse.Delete(keyID) }
