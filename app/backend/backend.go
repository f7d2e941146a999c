// Package backend turns data source names into everything that the core needs
// besides workers: the store, and with it routes, limits, events, invalidations, the
// clock, ids and randomness.
package backend

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"github.com/switchyard-wa/switchyard/adapters/memory"
	"github.com/switchyard-wa/switchyard/adapters/postgres"
	"github.com/switchyard-wa/switchyard/adapters/redis"
	"github.com/switchyard-wa/switchyard/adapters/sqlite"
	"github.com/switchyard-wa/switchyard/adapters/system"
	"github.com/switchyard-wa/switchyard/ports"
)

// Backend is a store with coordination around it. It implements [ports.Backend].
type Backend struct {
	ports.Store
	shared       bool
	coordination *redis.Coordination // nil: in process
	routes       ports.Routes
	limiter      ports.Limiter
	bus          ports.Bus
	invalidator  ports.Invalidator
	clock        ports.Clock
	ids          ports.IDs
	random       ports.Random
}

var _ ports.Backend = (*Backend)(nil)

// Routes gives the session → worker map.
func (b *Backend) Routes() ports.Routes { return b.routes }

// Limiter gives the counters of limits.
func (b *Backend) Limiter() ports.Limiter { return b.limiter }

// Bus gives the event bus.
func (b *Backend) Bus() ports.Bus { return b.bus }

// Invalidator gives the way to tell other processes of changes.
func (b *Backend) Invalidator() ports.Invalidator { return b.invalidator }

// Shared reports whether other processes may work on the same store.
func (b *Backend) Shared() bool { return b.shared }

// Clock gives the system's clock.
func (b *Backend) Clock() ports.Clock { return b.clock }

// IDs gives the source of identifiers.
func (b *Backend) IDs() ports.IDs { return b.ids }

// Random gives the source of secrets.
func (b *Backend) Random() ports.Random { return b.random }

// Close releases everything.
func (b *Backend) Close() error {
	if b.coordination == nil {
		return b.Store.Close()
	}
	return errors.Join(b.coordination.Close(), b.Store.Close())
}

// WrapStore puts an in-process coordination around any store, such as one of the
// caller's own, that no other process works on.
func WrapStore(store ports.Store) *Backend {
	return &Backend{
		Store:  store,
		routes: memory.NewRoutes(), limiter: memory.NewLimiter(), bus: memory.NewBus(), invalidator: ports.NoInvalidator{},
		clock: system.Clock{}, ids: new(system.IDs), random: system.Random{},
	}
}

// Config says what a backend is made of.
type Config struct {
	Store        string       // data source name, see Open
	Coordination string       // what replicas share: memory: (or nothing) for this process alone, or a URL of Redis
	CheckOnly    bool         // fail rather than change the schema of the store
	Log          *slog.Logger // nil: slog.Default
}

// Open opens the store that a data source name means, and brings its schema up
// to date:
//
//	memory:          in memory, gone with the process
//	sqlite:PATH      a file, made if it is not there; for one orchestrator at a time
//	postgres://…     a PostgreSQL database, as libpq writes its URL
//
// The caller closes it. Processes that share a database share coordination too, see
// [With]: without one each counts limits by itself.
func Open(ctx context.Context, dsn string) (*Backend, error) { return With(ctx, Config{Store: dsn}) }

// With opens a store together with the coordination that replicas share.
func With(ctx context.Context, c Config) (*Backend, error) {
	if err := errors.Join(Check(c.Store), CheckCoordination(c.Coordination)); err != nil {
		return nil, err
	}
	b, err := open(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("opening the store: %w", err)
	}
	if inProcess(c.Coordination) {
		return b, nil
	}
	if b.coordination, err = redis.Open(ctx, c.Coordination, redis.Options{Log: c.Log}); err != nil {
		return nil, errors.Join(fmt.Errorf("opening the fabric: %w", err), b.Store.Close())
	}
	b.routes, b.limiter, b.bus = b.coordination.Routes(), b.coordination.Limiter(), b.coordination.Bus()
	b.invalidator = fanOut{b.invalidator, b.coordination.Invalidator()}
	return b, nil
}

func open(ctx context.Context, c Config) (*Backend, error) {
	scheme, path, _ := strings.Cut(c.Store, ":")
	switch scheme {
	case "memory":
		return WrapStore(memory.NewStore()), nil
	case "sqlite":
		store, err := sqlite.Open(ctx, path, sqlite.Options{Migrate: !c.CheckOnly})
		if err != nil {
			return nil, err
		}
		return WrapStore(store), nil
	}
	store, err := postgres.Open(ctx, c.Store, postgres.Options{Migrate: !c.CheckOnly})
	if err != nil {
		return nil, err
	}
	b := WrapStore(store)
	b.shared, b.invalidator = true, store.Invalidator()
	return b, nil
}

// fanOut passes invalidations on by two ways: either is enough.
type fanOut [2]ports.Invalidator

func (b fanOut) Publish(h ports.Invalidation) {
	b[0].Publish(h)
	b[1].Publish(h)
}

func (b fanOut) Subscribe(fn func(ports.Invalidation)) (cancel func()) {
	first, second := b[0].Subscribe(fn), b[1].Subscribe(fn)
	return func() { first(); second() }
}

// Check reports whether a data source name is one that Open understands,
// without opening anything.
func Check(dsn string) error {
	scheme, path, _ := strings.Cut(dsn, ":")
	if dsn == "memory:" || scheme == "sqlite" && path != "" {
		return nil
	}
	if scheme == "postgres" || scheme == "postgresql" {
		return postgres.Check(dsn)
	}
	return unknown(dsn, "memory:, sqlite:PATH or postgres://USER:PASSWORD@HOST/DATABASE")
}

// unknown does not repeat what it was given: it may hold a password.
func unknown(dsn, use string) error {
	if scheme, _, found := strings.Cut(dsn, ":"); found && len(scheme) <= 16 {
		return fmt.Errorf("%s: is not one that is known; use %s", scheme, use)
	}
	return errors.New("use " + use)
}

// CheckCoordination reports whether coordination is one that With understands, without
// connecting to anything.
func CheckCoordination(coordination string) error {
	if inProcess(coordination) {
		return nil
	}
	switch scheme, _, _ := strings.Cut(coordination, ":"); scheme {
	case "redis", "rediss":
		return redis.Check(coordination)
	}
	return unknown(coordination, "memory: (this process alone), redis://HOST or rediss://HOST")
}

func inProcess(coordination string) bool { return coordination == "" || coordination == "memory:" }

// Name gives a store or coordination as it may be shown: without a password.
func Name(dsn string) string {
	u, err := url.Parse(dsn)
	if err != nil || u.Host == "" {
		scheme, path, _ := strings.Cut(dsn, ":")
		if scheme == "memory" || scheme == "sqlite" {
			return scheme + ":" + path
		}
		return scheme
	}
	return u.Scheme + "://" + u.Host + u.Path
}

// Part is one part of a backend's health.
type Part struct {
	Name     string
	Optional bool // all goes on without it, if more slowly
	Took     time.Duration
	Err      error // nil: it answers
}

// Health asks everything that the backend depends on.
func (b *Backend) Health(ctx context.Context) []Part {
	ask := func(name string, fn func(context.Context) error) Part {
		began := time.Now()
		err := fn(ctx)
		return Part{Name: name, Took: time.Since(began), Err: err}
	}
	parts := []Part{ask("store", func(ctx context.Context) error {
		return b.View(ctx, func(ctx context.Context, tx *ports.Tx) error {
			_, err := tx.Settings.Get(ctx, "health")
			if errors.Is(err, ports.ErrNotFound) {
				return nil
			}
			return err
		})
	})}
	if b.coordination != nil {
		coordination := ask("fabric", b.coordination.Health)
		coordination.Optional = true
		parts = append(parts, coordination)
	}
	return parts
}

// Migration is the state of a store's schema.
type Migration struct {
	Version int // applied
	Latest  int // known to this binary
}

// Status tells the state of a store's schema without changing it.
func Status(ctx context.Context, dsn string) (Migration, error) {
	if err := Check(dsn); err != nil || dsn == "memory:" {
		return Migration{}, err
	}
	status := postgres.Status
	source := dsn
	if scheme, path, _ := strings.Cut(dsn, ":"); scheme == "sqlite" {
		status, source = sqlite.Status, path
	}
	version, latest, err := status(ctx, source)
	return Migration{Version: version, Latest: latest}, err
}
