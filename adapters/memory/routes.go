package memory

import (
	"context"
	"hash/maphash"
	"sync"

	"github.com/switchyard-wa/switchyard/ports"
)

// shards is the number of locks that share the keys of a map.
const shards = 64

func shardOf(seed maphash.Seed, key string) uint64 { return maphash.String(seed, key) % shards }

// Routes implements [ports.Routes].
type Routes struct {
	seed   maphash.Seed
	shards [shards]routeShard
}

type routeShard struct {
	mu     sync.RWMutex
	routes map[string]ports.Route
	_      [32]byte // a shard fills one cache line
}

var _ ports.Routes = (*Routes)(nil)

// NewRoutes returns an empty set of routes.
func NewRoutes() *Routes {
	r := &Routes{seed: maphash.MakeSeed()}
	for i := range r.shards {
		r.shards[i].routes = make(map[string]ports.Route)
	}
	return r
}

// Get implements [ports.Routes].
func (r *Routes) Get(ctx context.Context, sessionID string) (ports.Route, error) {
	if err := ctx.Err(); err != nil {
		return ports.Route{}, err
	}
	s := &r.shards[shardOf(r.seed, sessionID)]
	s.mu.RLock()
	defer s.mu.RUnlock()
	route, found := s.routes[sessionID]
	if !found {
		return ports.Route{}, ports.ErrNotFound
	}
	return route, nil
}

// Put implements [ports.Routes].
func (r *Routes) Put(ctx context.Context, route ports.Route) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s := &r.shards[shardOf(r.seed, route.SessionID)]
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, found := s.routes[route.SessionID]; !found || old.Rev <= route.Rev {
		s.routes[route.SessionID] = route
	}
	return nil
}

// Delete implements [ports.Routes].
func (r *Routes) Delete(ctx context.Context, sessionID string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s := &r.shards[shardOf(r.seed, sessionID)]
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.routes, sessionID)
	return nil
}
