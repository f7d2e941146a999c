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

// Routes implements [ports.Routes]. What other processes put arrives at once, as
// long as the connection holds, and within a second in any case.
//
// Redis keeps a route for a minute after it was put, so whatever went wrong, nobody
// finds for longer one that is out of date.
type Routes struct {
	f      *Coordination
	prefix string
	cache  *routeCache

	mu     sync.Mutex
	missed map[string]struct{} // ids whose route in Redis may be out of date
}

var _ ports.Routes = (*Routes)(nil)

const (
	routeLife = time.Minute
	maxMissed = 100_000 // the routes of those beyond run out by themselves
)

//go:embed put.lua
var putSource string

var putScript = redis.NewScript(putSource)

func newRoutes(f *Coordination) *Routes {
	return &Routes{f: f, prefix: f.prefix + "route:", cache: newRouteCache(), missed: make(map[string]struct{})}
}

// Get implements [ports.Routes]. While Redis is away, only what this process has put
// within the last second is found.
func (r *Routes) Get(ctx context.Context, sessionID string) (ports.Route, error) {
	if err := ctx.Err(); err != nil {
		return ports.Route{}, err
	}
	if route, found := r.cache.get(sessionID); found {
		return route, nil
	}
	since := r.cache.mark(sessionID)
	var text string
	err := r.f.do(ctx, func(ctx context.Context) (err error) {
		if text, err = r.f.rdb.Get(ctx, r.prefix+sessionID).Result(); errors.Is(err, redis.Nil) {
			return nil
		}
		return err
	})
	route, ok := decodeRoute(text)
	if err != nil || !ok || route.SessionID != sessionID {
		return ports.Route{}, ports.ErrNotFound
	}
	r.cache.keepRead(route, since)
	return route, nil
}

// Put implements [ports.Routes]. It succeeds without Redis.
func (r *Routes) Put(ctx context.Context, route ports.Route) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	since := r.cache.mark(route.SessionID)
	var higher string
	err := r.f.do(ctx, func(ctx context.Context) (err error) {
		higher, err = putScript.Run(ctx, r.f.rdb, []string{r.prefix + route.SessionID}, encodeRoute(route),
			routeLife.Milliseconds(), r.f.channels.routes, r.f.id+putMark).Text()
		return err
	})
	if err != nil {
		r.miss(route.SessionID)
		since = r.cache.mark(route.SessionID) // losing Redis has emptied it
	} else if there, ok := decodeRoute(higher); ok {
		route = there
	}
	r.cache.put(route, since)
	return nil
}

// Delete implements [ports.Routes]. It succeeds without Redis.
func (r *Routes) Delete(ctx context.Context, sessionID string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	err := r.f.do(ctx, func(ctx context.Context) error { return r.remove(ctx, r.f.rdb, sessionID) })
	r.cache.delete(sessionID)
	if err != nil {
		r.miss(sessionID)
	}
	return nil
}

// deleteSource deletes a route and tells the channel.
const deleteSource = "redis.call('DEL', KEYS[1]) return redis.call('PUBLISH', ARGV[1], ARGV[2])"

func (r *Routes) remove(ctx context.Context, c redis.Cmdable, id string) error {
	return c.Eval(ctx, deleteSource, []string{r.prefix + id}, r.f.channels.routes, r.f.id+deleteMark+id).Err()
}

func (r *Routes) miss(ids ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range ids {
		if len(r.missed) < maxMissed {
			r.missed[id] = struct{}{}
		}
	}
}

// takeMissed takes out some of the ids that were missed, at most limit of them.
func (r *Routes) takeMissed(limit int) (ids []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id := range r.missed {
		if len(ids) == limit {
			break
		}
		ids = append(ids, id)
		delete(r.missed, id)
	}
	return ids
}

// forget removes routes from Redis that have missed a change, as many as there is
// time for.
func (r *Routes) forget(ctx context.Context) error {
	for {
		ids := r.takeMissed(maxBatch)
		if len(ids) == 0 {
			return nil
		}
		p := r.f.rdb.Pipeline()
		for _, id := range ids {
			_ = r.remove(ctx, p, id) // it is not sent yet
		}
		if _, err := p.Exec(ctx); err != nil {
			r.miss(ids...)
			return err
		}
	}
}

// What follows the sender's name in the channel of routes.
const (
	putMark    = "+"
	deleteMark = "-"
)

// heard takes over what a process has put or deleted.
func (r *Routes) heard(message string) {
	if len(message) <= idLength {
		return
	}
	from, kind, rest := message[:idLength], message[idLength:idLength+1], message[idLength+1:]
	switch kind {
	case deleteMark:
		r.cache.applyDelete(rest)
	case putMark:
		if route, ok := decodeRoute(rest); ok && from != r.f.id {
			r.cache.applyPut(route)
		}
	}
}

// stored is a route in Redis, after its Rev and a blank.
type stored struct {
	Session    string        `json:"s"`
	User       string        `json:"u,omitempty"`
	Worker     string        `json:"w,omitempty"`
	Generation int64         `json:"g,omitempty"`
	Status     domain.Status `json:"t,omitempty"`
	Phone      string        `json:"p,omitempty"`
}

func encodeRoute(r ports.Route) string {
	b, _ := json.Marshal(stored{r.SessionID, r.UserID, r.WorkerID, r.Generation, r.Status, r.Phone}) // never fails
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
	var s stored
	if json.Unmarshal([]byte(rest), &s) != nil {
		return ports.Route{}, false
	}
	return ports.Route{
		SessionID: s.Session, UserID: s.User, WorkerID: s.Worker, Generation: s.Generation,
		Status: s.Status, Phone: s.Phone, Rev: number,
	}, true
}
