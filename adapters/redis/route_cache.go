package redis

import (
	"hash/maphash"
	"sync"
	"time"

	"github.com/switchyard-wa/switchyard/ports"
)

const (
	routeCacheTTL    = time.Second
	routeCacheShards = 64
	routeCacheSize   = 100_000 // entries in all shards
	routeCacheSweep  = 4       // entries that are checked for expiry when one is added
)

// routeCache caches routes within the process.
//
// A read of Redis races with the subscription, which delivers changes of other processes. For example:
//
//	t0  this process reads a route from Redis
//	t1  another process deletes the route; the subscription delivers the deletion
//	t2  this process would cache the route that it read at t0
//
// Each shard therefore counts its deletions. A reader remembers the count before it reads, and the cache drops the result
// if the count has changed since.
//
// Two kinds of entries answer no lookup. A tombstone records a deletion by this process. It blocks routes that other
// processes put before the deletion, until the subscription delivers the deletion itself. An uncertain entry holds a route
// that this process has put and another process may have deleted since. It blocks routes with a lower Rev.
type routeCache struct {
	seed   maphash.Seed
	shards [routeCacheShards]routeCacheShard
}

type routeCacheShard struct {
	mu        sync.RWMutex
	entries   map[string]routeCacheEntry
	deletions deletionCount
	_         [24]byte // a shard fills one cache line
}

type routeCacheEntry struct {
	route     ports.Route
	expiresAt time.Time
	uncertain bool // the route may have been deleted since it was put
	tombstone bool // this process has deleted the route
}

// deletionCount counts the deletions of a shard.
type deletionCount uint64

func newRouteCache() *routeCache {
	c := &routeCache{seed: maphash.MakeSeed()}
	for i := range c.shards {
		c.shards[i].entries = make(map[string]routeCacheEntry)
	}
	return c
}

func (c *routeCache) shard(id string) *routeCacheShard {
	return &c.shards[maphash.String(c.seed, id)%routeCacheShards]
}

// get returns a cached route.
func (c *routeCache) get(id string) (ports.Route, bool) {
	s := c.shard(id)
	s.mu.RLock()
	e := s.entries[id]
	s.mu.RUnlock()
	if e.tombstone || e.uncertain || !time.Now().Before(e.expiresAt) {
		return ports.Route{}, false
	}
	return e.route, true
}

// deletionsOf returns the count of deletions of a session's shard.
func (c *routeCache) deletionsOf(id string) deletionCount {
	s := c.shard(id)
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.deletions
}

// addRead caches a route that was read from Redis, unless the count of deletions has changed since the read began.
func (c *routeCache) addRead(r ports.Route, before deletionCount) {
	s := c.shard(r.SessionID)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.deletions == before {
		s.add(routeCacheEntry{route: r}, overTombstones)
	}
}

// put caches a route that this process has put. Afterwards get returns no route with a lower Rev. If the count of deletions
// has changed since the put began, the route is uncertain.
func (c *routeCache) put(r ports.Route, before deletionCount) {
	s := c.shard(r.SessionID)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.deletions == before {
		s.add(routeCacheEntry{route: r}, overTombstones)
		return
	}
	s.add(routeCacheEntry{route: r, uncertain: true}, keepTombstones)
}

// applyPut caches a route that another process has put.
func (c *routeCache) applyPut(r ports.Route) {
	s := c.shard(r.SessionID)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.add(routeCacheEntry{route: r}, keepTombstones)
}

// tombstonePolicy decides whether a new entry replaces a tombstone.
type tombstonePolicy int

const (
	keepTombstones tombstonePolicy = iota
	overTombstones
)

// add adds an entry, unless the existing entry has a higher Rev or is a tombstone that stays.
func (s *routeCacheShard) add(e routeCacheEntry, p tombstonePolicy) {
	id, now := e.route.SessionID, time.Now()
	old, found := s.entries[id]
	if found && now.Before(old.expiresAt) {
		if old.tombstone && p == keepTombstones || !old.tombstone && old.route.Rev > e.route.Rev {
			return
		}
	}
	if !found {
		s.makeRoom(now)
	}
	e.expiresAt = now.Add(routeCacheTTL)
	s.entries[id] = e
}

// makeRoom removes expired entries among a few. If the shard is still full, it removes any entry.
func (s *routeCacheShard) makeRoom(now time.Time) {
	checked := 0
	for id, e := range s.entries {
		isFull := len(s.entries) >= routeCacheSize/routeCacheShards
		checked++
		if checked > routeCacheSweep && !isFull {
			return
		}
		if checked > routeCacheSweep || !now.Before(e.expiresAt) {
			delete(s.entries, id)
		}
	}
}

// delete records that this process has deleted a route.
func (c *routeCache) delete(id string) {
	s := c.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deletions++
	if _, found := s.entries[id]; !found {
		s.makeRoom(time.Now())
	}
	s.entries[id] = routeCacheEntry{tombstone: true, expiresAt: time.Now().Add(routeCacheTTL)}
}

// applyDelete removes a route whose deletion the subscription has delivered.
func (c *routeCache) applyDelete(id string) {
	s := c.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deletions++
	delete(s.entries, id)
}

// clear removes all entries, and counts as a deletion.
func (c *routeCache) clear() {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		s.deletions++
		clear(s.entries)
		s.mu.Unlock()
	}
}
