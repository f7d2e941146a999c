package redis

import (
	"hash/maphash"
	"sync"
	"time"

	"github.com/switchyard-wa/switchyard/ports"
)

const (
	routeCacheLife   = time.Second // of an entry that nothing confirms
	routeCacheShards = 64
	routeCacheSize   = 100_000 // entries in all
	routeCacheSweep  = 4       // entries looked at for each new one
)

// routeCache is what a process keeps of the routes.
//
// What comes from Redis may be overtaken by what the subscription says, so whoever
// asks Redis takes a mark before, and what it then finds is not kept if something was
// deleted since. Two entries are not for reading: a deletion by this process leaves one
// that keeps out what others had put before, until the subscription has come to it;
// and a route put by this process that may have been deleted since keeps out those of
// a lower Rev.
type routeCache struct {
	seed   maphash.Seed
	shards [routeCacheShards]routeCacheShard
}

type routeCacheShard struct {
	mu      sync.RWMutex
	entries map[string]routeCacheEntry
	deleted mark
	_       [24]byte // a cache line each
}

type routeCacheEntry struct {
	route   ports.Route
	until   time.Time
	unsure  bool
	deleted bool
}

// mark is how often something was deleted.
type mark uint64

func newRouteCache() *routeCache {
	n := &routeCache{seed: maphash.MakeSeed()}
	for i := range n.shards {
		n.shards[i].entries = make(map[string]routeCacheEntry)
	}
	return n
}

func (n *routeCache) shard(id string) *routeCacheShard {
	return &n.shards[maphash.String(n.seed, id)%routeCacheShards]
}

func (n *routeCache) get(id string) (ports.Route, bool) {
	s := n.shard(id)
	s.mu.RLock()
	e := s.entries[id]
	s.mu.RUnlock()
	if e.deleted || e.unsure || !time.Now().Before(e.until) {
		return ports.Route{}, false
	}
	return e.route, true
}

func (n *routeCache) mark(id string) mark {
	s := n.shard(id)
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.deleted
}

// keepRead keeps a route that was read from Redis, unless something was deleted since
// the mark.
func (n *routeCache) keepRead(r ports.Route, since mark) {
	s := n.shard(r.SessionID)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.deleted == since {
		s.keep(routeCacheEntry{route: r}, true)
	}
}

// put keeps a route that this process has put since the mark: from now on it sees none
// of a lower Rev.
func (n *routeCache) put(r ports.Route, since mark) {
	s := n.shard(r.SessionID)
	s.mu.Lock()
	defer s.mu.Unlock()
	same := s.deleted == since
	s.keep(routeCacheEntry{route: r, unsure: !same}, same)
}

// applyPut keeps a route that another process has put.
func (n *routeCache) applyPut(r ports.Route) {
	s := n.shard(r.SessionID)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keep(routeCacheEntry{route: r}, false)
}

// keep puts an entry in, unless the one there is of a higher Rev, or the rest of a
// deletion that may not be replaced.
func (s *routeCacheShard) keep(e routeCacheEntry, replace bool) {
	id, now := e.route.SessionID, time.Now()
	old, found := s.entries[id]
	if found && now.Before(old.until) && (old.deleted && !replace || !old.deleted && old.route.Rev > e.route.Rev) {
		return
	}
	if !found {
		s.makeRoom(now)
	}
	e.until = now.Add(routeCacheLife)
	s.entries[id] = e
}

// makeRoom removes what is over among a few entries, and if there is still no room
// any entry.
func (s *routeCacheShard) makeRoom(now time.Time) {
	seen := 0
	for id, e := range s.entries {
		full := len(s.entries) >= routeCacheSize/routeCacheShards
		if seen++; seen > routeCacheSweep && !full {
			return
		}
		if seen > routeCacheSweep || !now.Before(e.until) {
			delete(s.entries, id)
		}
	}
}

// delete notes that this process has deleted a route.
func (n *routeCache) delete(id string) {
	s := n.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deleted++
	if _, found := s.entries[id]; !found {
		s.makeRoom(time.Now())
	}
	s.entries[id] = routeCacheEntry{deleted: true, until: time.Now().Add(routeCacheLife)}
}

// applyDelete removes a route of which the subscription says that it was deleted.
func (n *routeCache) applyDelete(id string) {
	s := n.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deleted++
	delete(s.entries, id)
}

// clear removes everything.
func (n *routeCache) clear() {
	for i := range n.shards {
		s := &n.shards[i]
		s.mu.Lock()
		s.deleted++
		clear(s.entries)
		s.mu.Unlock()
	}
}
