package redis

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// Routes implements [ports.Routes]. A change by another process arrives at once while the subscription is connected, and
// otherwise within a second, when the cached route expires.
//
// Redis keeps a route for a minute after a put. That bounds how long a stale route lives, whatever fails.
type Routes struct {
	c      *Coordination
	prefix string
	cache  *routeCache

	mu    sync.Mutex
	stale map[string]struct{} // ids of sessions whose route in Redis may have missed a change
}

var _ ports.Routes = (*Routes)(nil)

const (
	routeTTL = time.Minute
	maxStale = 100_000 // the stale routes of further sessions expire by themselves
)

//go:embed put.lua
var putSource string

var putScript = redis.NewScript(putSource)

func newRoutes(c *Coordination) *Routes {
	return &Routes{c: c, prefix: c.prefix + "route:", cache: newRouteCache(), stale: make(map[string]struct{})}
}

// Get implements [ports.Routes]. While Redis is unavailable it finds only the routes that this process has put within the
// last second.
func (r *Routes) Get(ctx context.Context, sessionID string) (ports.Route, error) {
	if err := ctx.Err(); err != nil {
		return ports.Route{}, err
	}
	if route, found := r.cache.get(sessionID); found {
		return route, nil
	}
	before := r.cache.deletionsOf(sessionID)
	var text string
	err := r.c.do(ctx, func(ctx context.Context) (err error) {
		text, err = r.c.rdb.Get(ctx, r.prefix+sessionID).Result()
		if errors.Is(err, redis.Nil) {
			return nil
		}
		return err
	})
	route, ok := decodeRoute(text)
	if err != nil || !ok || route.SessionID != sessionID {
		return ports.Route{}, ports.ErrNotFound
	}
	r.cache.addRead(route, before)
	return route, nil
}

// Put implements [ports.Routes]. It succeeds even if Redis is unavailable.
func (r *Routes) Put(ctx context.Context, route ports.Route) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	before := r.cache.deletionsOf(route.SessionID)
	var higher string
	err := r.c.do(ctx, func(ctx context.Context) (err error) {
		higher, err = putScript.Run(ctx, r.c.rdb, []string{r.prefix + route.SessionID}, encodeRoute(route),
			routeTTL.Milliseconds(), r.c.channels.routes, r.c.id+putTag).Text()
		return err
	})
	if err != nil {
		r.markStale(route.SessionID)
		before = r.cache.deletionsOf(route.SessionID) // the failure may have cleared the cache
	} else if stored, ok := decodeRoute(higher); ok {
		route = stored
	}
	r.cache.put(route, before)
	return nil
}

// Delete implements [ports.Routes]. It succeeds even if Redis is unavailable.
func (r *Routes) Delete(ctx context.Context, sessionID string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	err := r.c.do(ctx, func(ctx context.Context) error { return r.deleteInRedis(ctx, r.c.rdb, sessionID) })
	r.cache.delete(sessionID)
	if err != nil {
		r.markStale(sessionID)
	}
	return nil
}

// deleteSource is a script that deletes a route and publishes the deletion.
const deleteSource = "redis.call('DEL', KEYS[1]) return redis.call('PUBLISH', ARGV[1], ARGV[2])"

func (r *Routes) deleteInRedis(ctx context.Context, c redis.Cmdable, id string) error {
	return c.Eval(ctx, deleteSource, []string{r.prefix + id}, r.c.channels.routes, r.c.id+deleteTag+id).Err()
}

// markStale records that the routes in Redis may have missed a change.
func (r *Routes) markStale(ids ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range ids {
		if len(r.stale) < maxStale {
			r.stale[id] = struct{}{}
		}
	}
}

// popStale removes and returns at most limit ids of stale routes.
func (r *Routes) popStale(limit int) (ids []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id := range r.stale {
		if len(ids) == limit {
			break
		}
		ids = append(ids, id)
		delete(r.stale, id)
	}
	return ids
}

// deleteStale deletes stale routes from Redis until none is left or the context ends.
func (r *Routes) deleteStale(ctx context.Context) error {
	for {
		ids := r.popStale(maxBatch)
		if len(ids) == 0 {
			return nil
		}
		p := r.c.rdb.Pipeline()
		for _, id := range ids {
			_ = r.deleteInRedis(ctx, p, id) // Exec sends it and returns its error
		}
		if _, err := p.Exec(ctx); err != nil {
			r.markStale(ids...)
			return err
		}
	}
}

// The kind of a message in the channel of routes. It follows the id of the sender.
const (
	putTag    = "+"
	deleteTag = "-"
)

// receive applies a message of the channel of routes to the cache.
func (r *Routes) receive(message string) {
	if len(message) <= idLength {
		return
	}
	from, kind, rest := message[:idLength], message[idLength:idLength+1], message[idLength+1:]
	switch kind {
	case deleteTag:
		r.cache.applyDelete(rest)
	case putTag:
		if route, ok := decodeRoute(rest); ok && from != r.c.id {
			r.cache.applyPut(route)
		}
	}
}

// storedRoute is the JSON form of a route in Redis. The Rev and a blank precede it, so that put.lua can compare Revs.
type storedRoute struct {
	Session    string        `json:"s"`
	User       string        `json:"u,omitempty"`
	Worker     string        `json:"w,omitempty"`
	Generation int64         `json:"g,omitempty"`
	Status     domain.Status `json:"t,omitempty"`
	Phone      string        `json:"p,omitempty"`
}

func encodeRoute(r ports.Route) string {
	b, _ := json.Marshal(storedRoute{r.SessionID, r.UserID, r.WorkerID, r.Generation, r.Status, r.Phone}) // has no error
	return strconv.FormatInt(r.Rev, 10) + " " + string(b)
}

func decodeRoute(text string) (ports.Route, bool) {
	rev, rest, found := strings.Cut(text, " ")
	if !found {
		return ports.Route{}, false
	}
	number, err := strconv.ParseInt(rev, 10, 64)
	if err != nil {
		return ports.Route{}, false
	}
	var s storedRoute
	if json.Unmarshal([]byte(rest), &s) != nil {
		return ports.Route{}, false
	}
	return ports.Route{
		SessionID: s.Session, UserID: s.User, WorkerID: s.Worker, Generation: s.Generation,
		Status: s.Status, Phone: s.Phone, Rev: number,
	}, true
}
