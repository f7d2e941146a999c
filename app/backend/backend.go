// Package backend opens the store that a data source name names, together with
// the other ports that the core needs. A [Backend] implements [ports.Backend]:
// store, routes, limiter, invalidator, clock, ids and random. Only the
// workers' gateway is missing.
//
// Without coordination everything but the store lives in this process. With a
// Redis URL the replicas on one database share routes, limits and events.
// Invalidations then take two ways, through the database and through Redis.
// Either is enough.
//
// The package also decides where a program keeps the generated secrets of a store:
// [SecretsFile].
package backend

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/switchyard-wa/switchyard/adapters/httpworker"
	"github.com/switchyard-wa/switchyard/adapters/memory"
	"github.com/switchyard-wa/switchyard/adapters/postgres"
	"github.com/switchyard-wa/switchyard/adapters/redis"
	"github.com/switchyard-wa/switchyard/adapters/sqlite"
	"github.com/switchyard-wa/switchyard/adapters/system"
	"github.com/switchyard-wa/switchyard/ports"
)

// ErrForeign is the error of a database that belongs to another program. It was not changed.
var ErrForeign = sqlite.ErrForeign

// Backend is a store with coordination. It implements [ports.Backend].
type Backend struct {
	ports.Store
	shared       bool
	coordination *redis.Coordination // nil: in this process
	routes       ports.Routes
	limiter      ports.Limiter
	invalidator  ports.Invalidator
	clock        ports.Clock
	ids          ports.IDs
	random       ports.Random
	gateways     []*httpworker.Client
	secretsFile  string
}

var _ ports.Backend = (*Backend)(nil)

// Routes returns the map from sessions to workers.
func (b *Backend) Routes() ports.Routes { return b.routes }

// Limiter returns the rate limiter.
func (b *Backend) Limiter() ports.Limiter { return b.limiter }

// Invalidator returns the publisher of cache invalidations.
func (b *Backend) Invalidator() ports.Invalidator { return b.invalidator }

// Shared reports whether other processes may work on the same store.
func (b *Backend) Shared() bool { return b.shared }

// Clock returns the system's clock.
func (b *Backend) Clock() ports.Clock { return b.clock }

// IDs returns the source of identifiers.
func (b *Backend) IDs() ports.IDs { return b.ids }

// Random returns the source of randomness.
func (b *Backend) Random() ports.Random { return b.random }

// HasCoordination reports whether replicas share the coordination, through Redis.
func (b *Backend) HasCoordination() bool { return b.coordination != nil }

// SecretsFile returns the default path of the file with the generated secrets, as the
// function SecretsFile does for the store's data source name.
func (b *Backend) SecretsFile() string { return b.secretsFile }

// defaultSecretsFile is the path for stores that are no file.
const defaultSecretsFile = "switchyard.secrets"

// SecretsFile returns the default path of the file with the generated secrets of a store:
// beside a SQLite file, and otherwise in the working directory. The path is empty for a
// store in memory.
func SecretsFile(dsn string) string {
	scheme, path, _ := strings.Cut(dsn, ":")
	switch scheme {
	case "memory":
		return ""
	case "sqlite":
		if target, err := filepath.EvalSymlinks(path); err == nil {
			path = target // every link to the store leads to the same secrets
		}
		return path + ".secrets"
	}
	return defaultSecretsFile
}

// Workers returns a gateway that calls workers over HTTP with the fleet token, or with call
// tokens derived from it. QR codes live as long as the core's domain.Timing.QRLife says. Close closes the gateway. Do not call Workers concurrently.
func (b *Backend) Workers(token string, opts ...httpworker.Option) ports.WorkerGateway {
	gateway := httpworker.New(token, opts...)
	b.gateways = append(b.gateways, gateway)
	return gateway
}

// Announce records at which address this process listens, for the errors of other processes that the
// lock of a SQLite file refuses.
func (b *Backend) Announce(address string) error {
	if store, ok := b.Store.(*sqlite.Store); ok {
		return store.Announce(address)
	}
	return nil
}

// Close closes the gateways, the coordination and the store.
func (b *Backend) Close() error {
	var errs []error
	for _, gateway := range b.gateways {
		errs = append(errs, gateway.Close())
	}
	if b.coordination != nil {
		errs = append(errs, b.coordination.Close())
	}
	return errors.Join(append(errs, b.Store.Close())...)
}

// WrapStore returns a backend around any store, with coordination in this process.
// No other process may work on the store.
func WrapStore(store ports.Store) *Backend {
	secrets := defaultSecretsFile
	if _, inMemory := store.(*memory.Store); inMemory {
		secrets = ""
	}
	return &Backend{
		Store: store, secretsFile: secrets,
		routes: memory.NewRoutes(), limiter: memory.NewLimiter(), invalidator: ports.NoInvalidator{},
		clock: system.Clock{}, ids: new(system.IDs), random: system.Random{},
	}
}

// Config configures [With].
type Config struct {
	Store        string       // data source name, see Open
	Coordination string       // memory: or empty for this process alone, or the Redis URL that replicas share
	CheckOnly    bool         // fail if the schema of the store is out of date, instead of migrating it
	Beside       bool         // open a SQLite file beside the orchestrator that works on it, for administration
	Log          *slog.Logger // nil: slog.Default
}

// Open opens the store of a data source name and migrates its schema:
//
//	memory:          in memory, gone with the process
//	sqlite:PATH      a file, created if necessary; for one orchestrator at a time
//	postgres://…     a PostgreSQL database, with a URL as libpq writes it
//
// A SQLite file that another backend has open is refused with sqlite.ErrInUse, in this process and in others of the machine.
// [Config.Beside] opens it nevertheless. No orchestrator may run on such a backend.
//
// The caller closes the backend. Processes that share a database need the shared
// coordination of [With]. Otherwise each of them counts limits on its own.
func Open(ctx context.Context, dsn string) (*Backend, error) { return With(ctx, Config{Store: dsn}) }

// With opens a store with the coordination that replicas share.
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
	b.coordination, err = redis.Open(ctx, c.Coordination, redis.Options{Log: c.Log})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening the fabric: %w", err), b.Store.Close())
	}
	b.routes, b.limiter = b.coordination.Routes(), b.coordination.Limiter()
	b.invalidator = fanOut{b.invalidator, b.coordination.Invalidator()}
	return b, nil
}

// open opens the store of a checked configuration.
func open(ctx context.Context, c Config) (*Backend, error) {
	scheme, path, _ := strings.Cut(c.Store, ":")
	switch scheme {
	case "memory":
		return WrapStore(memory.NewStore()), nil
	case "sqlite":
		store, err := sqlite.Open(ctx, path, sqlite.Options{Migrate: !c.CheckOnly, Exclusive: !c.Beside})
		if err != nil {
			return nil, err
		}
		b := WrapStore(store)
		b.secretsFile = SecretsFile(c.Store)
		return b, nil
	}
	store, err := postgres.Open(ctx, c.Store, postgres.Options{Migrate: !c.CheckOnly})
	if err != nil {
		return nil, err
	}
	b := WrapStore(store)
	b.shared, b.invalidator = true, store.Invalidator()
	return b, nil
}

// fanOut publishes invalidations through two invalidators. Either is enough.
type fanOut [2]ports.Invalidator

// Publish implements ports.Invalidator.
func (b fanOut) Publish(h ports.Invalidation) {
	b[0].Publish(h)
	b[1].Publish(h)
}

// Subscribe implements ports.Invalidator.
func (b fanOut) Subscribe(fn func(ports.Invalidation)) (cancel func()) {
	first, second := b[0].Subscribe(fn), b[1].Subscribe(fn)
	return func() { first(); second() }
}

// Check reports why [Open] would refuse a data source name. It opens nothing.
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

// unknown returns an error that does not repeat dsn, which may hold a password.
func unknown(dsn, use string) error {
	if scheme, _, found := strings.Cut(dsn, ":"); found && len(scheme) <= 16 {
		return fmt.Errorf("%s:… is not accepted; use %s", scheme, use)
	}
	return errors.New("use " + use)
}

// CheckCoordination reports why [With] would refuse the coordination. It does not
// connect.
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

// inProcess reports whether the coordination lives in this process.
func inProcess(coordination string) bool { return coordination == "" || coordination == "memory:" }

// Name returns a data source name or coordination without its password. It returns the scheme alone of
// a URL that is malformed, because the password may stand anywhere in it.
func Name(dsn string) string {
	u, err := url.Parse(dsn)
	if err != nil || u.Scheme == "" || u.Host == "" || strings.Contains(u.Path, "@") {
		scheme, path, _ := strings.Cut(dsn, ":")
		if scheme == "memory" || scheme == "sqlite" {
			return scheme + ":" + path
		}
		return scheme
	}
	return u.Scheme + "://" + u.Host + u.Path
}

// Part is the health of one part of a backend.
type Part struct {
	Name     string
	Optional bool // the backend works without the part, more slowly
	Took     time.Duration
	Err      error // nil: the part responds
}

// Health checks every server that the backend depends on.
func (b *Backend) Health(ctx context.Context) []Part {
	ask := func(name string, fn func(context.Context) error) Part {
		began := time.Now()
		err := fn(ctx)
		return Part{Name: name, Took: time.Since(began), Err: err}
	}
	parts := []Part{ask("store", b.checkStore)}
	if b.coordination != nil {
		coordination := ask("fabric", b.coordination.Health)
		coordination.Optional = true
		parts = append(parts, coordination)
	}
	return parts
}

// checkStore checks whether the store takes writes, or only answers if it is no [ports.HealthChecker].
func (b *Backend) checkStore(ctx context.Context) error {
	if checker, ok := b.Store.(ports.HealthChecker); ok {
		return checker.CheckHealth(ctx)
	}
	return b.View(ctx, func(ctx context.Context, tx *ports.Tx) error {
		_, err := tx.Settings.Get(ctx, "health")
		if errors.Is(err, ports.ErrNotFound) {
			return nil
		}
		return err
	})
}

// CheckPresence returns an error while the files of the store are gone; see [ports.HealthChecker].
func (b *Backend) CheckPresence() error {
	if checker, ok := b.Store.(ports.HealthChecker); ok {
		return checker.CheckPresence()
	}
	return nil
}

// Migration is the state of a store's schema.
type Migration struct {
	Version int // applied
	Latest  int // known to this binary
}

// Status returns the state of a store's schema. It does not change the schema.
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
