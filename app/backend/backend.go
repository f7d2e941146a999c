// Package backend turns a data source name into everything that the core needs
// besides workers: the store, and with it routes, limits, events, the clock,
// ids and randomness.
package backend

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/switchyard-wa/switchyard/adapters/memory"
	"github.com/switchyard-wa/switchyard/adapters/sqlite"
	"github.com/switchyard-wa/switchyard/adapters/system"
	"github.com/switchyard-wa/switchyard/ports"
)

// Backend is a store with an in-process fabric around it. It implements
// [ports.Backend].
type Backend struct {
	ports.Store
	routes  ports.Routes
	limiter ports.Limiter
	bus     ports.Bus
	clock   ports.Clock
	ids     ports.IDs
	random  ports.Random
}

var _ ports.Backend = (*Backend)(nil)

// Routes gives the session → worker map.
func (b *Backend) Routes() ports.Routes { return b.routes }

// Limiter gives the counters of limits.
func (b *Backend) Limiter() ports.Limiter { return b.limiter }

// Bus gives the event bus.
func (b *Backend) Bus() ports.Bus { return b.bus }

// Clock gives the system's clock.
func (b *Backend) Clock() ports.Clock { return b.clock }

// IDs gives the source of identifiers.
func (b *Backend) IDs() ports.IDs { return b.ids }

// Random gives the source of secrets.
func (b *Backend) Random() ports.Random { return b.random }

// Around puts an in-process fabric around any store, such as one of the
// caller's own.
func Around(store ports.Store) *Backend {
	return &Backend{
		Store:  store,
		routes: memory.NewRoutes(), limiter: memory.NewLimiter(), bus: memory.NewBus(),
		clock: system.Clock{}, ids: new(system.IDs), random: system.Random{},
	}
}

// Open opens the store that a data source name means, and brings its schema up
// to date:
//
//	memory:        in memory, gone with the process
//	sqlite:PATH    a file, made if it is not there
//
// The caller closes it.
func Open(ctx context.Context, dsn string) (*Backend, error) { return open(ctx, dsn, true) }

// OpenOnly opens like Open, but fails rather than change the schema of a store.
func OpenOnly(ctx context.Context, dsn string) (*Backend, error) { return open(ctx, dsn, false) }

func open(ctx context.Context, dsn string, migrate bool) (*Backend, error) {
	scheme, path, _ := strings.Cut(dsn, ":")
	switch {
	case dsn == "memory:":
		return Around(memory.NewStore()), nil
	case scheme == "sqlite":
		store, err := sqlite.Open(ctx, path, sqlite.Options{Migrate: migrate})
		if err != nil {
			return nil, fmt.Errorf("opening the store: %w", err)
		}
		return Around(store), nil
	}
	return nil, unknown(dsn)
}

// Check reports whether a data source name is one that Open understands,
// without opening anything.
func Check(dsn string) error {
	if scheme, path, _ := strings.Cut(dsn, ":"); dsn == "memory:" || scheme == "sqlite" && path != "" {
		return nil
	}
	return unknown(dsn)
}

// unknown does not repeat what it was given: it may hold a password.
func unknown(dsn string) error {
	if scheme, _, found := strings.Cut(dsn, ":"); found && len(scheme) <= 16 {
		return fmt.Errorf("store %s: is not one that is known; use memory: or sqlite:PATH", scheme)
	}
	return errors.New("the store must be memory: or sqlite:PATH")
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
	_, path, _ := strings.Cut(dsn, ":")
	version, latest, err := sqlite.Status(ctx, path)
	return Migration{Version: version, Latest: latest}, err
}
