package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// Config is what an orchestrator is made of. Store and Workers are required.
// If Store is a [ports.Backend], it lends whatever of the ports below is nil.
// Replicas have the same Tiers, Timing, Strategy and bounds of moves.
type Config struct {
	Store   ports.Store
	Workers ports.WorkerGateway

	Routes      ports.Routes
	Limiter     ports.Limiter
	Bus         ports.Bus
	Invalidator ports.Invalidator // nil, and not lent: ports.NoInvalidator
	Clock       ports.Clock
	IDs         ports.IDs
	Random      ports.Random

	// Shared says that other replicas may work on the same store; nil: as the
	// ports.Backend says, otherwise not. Replicas share background work, and
	// claim a session before they call its worker.
	Shared *bool
	// Name and Version tell people which replica this is; they may be empty.
	Name, Version string

	Tiers    domain.Tiers    // nil: domain.DefaultTiers
	Timing   domain.Timing   // zero fields: domain.DefaultTiming
	Strategy domain.Strategy // nil: domain.MultiFactor with its default weights
	Log      *slog.Logger    // nil: slog.Default

	// Parallel bounds how many sessions, and how many probes, the background loop of
	// this process works on at once; 0: 256.
	Parallel int
	// MovesPerWorker bounds how many sessions leave one worker at once, when it is
	// drained or they migrate, and Moves how many do so in the whole fleet, whichever
	// replicas move them; 0: 4 and 32. Failovers, and the removal of a worker, are not
	// held up, but count.
	MovesPerWorker, Moves int
	// Spawn runs background work; nil: in a goroutine of its own. A harness that
	// wants everything to happen inside [Orchestrator.RunOnce] runs it in place.
	Spawn func(func())
	// Sleep waits within a use case for what another replica is doing; nil: by the
	// system's clock. A harness that owns the clock returns an error: it does not wait.
	Sleep func(ctx context.Context, d time.Duration) error
}

// WithDefaults returns a copy in which everything that may be left out is set.
func (c Config) WithDefaults() Config {
	if b, ok := c.Store.(ports.Backend); ok {
		c.Routes = or(c.Routes, b.Routes)
		c.Limiter = or(c.Limiter, b.Limiter)
		c.Bus = or(c.Bus, b.Bus)
		c.Invalidator = or(c.Invalidator, b.Invalidator)
		c.Clock = or(c.Clock, b.Clock)
		c.IDs = or(c.IDs, b.IDs)
		c.Random = or(c.Random, b.Random)
		if c.Shared == nil {
			shared := b.Shared()
			c.Shared = &shared
		}
	}
	if c.Shared == nil {
		c.Shared = new(bool)
	}
	if c.Invalidator == nil {
		c.Invalidator = ports.NoInvalidator{}
	}
	if c.Tiers == nil {
		c.Tiers = domain.DefaultTiers()
	}
	c.Timing = c.Timing.WithDefaults()
	if c.Strategy == nil {
		c.Strategy = domain.MultiFactor{Weights: domain.DefaultWeights()}
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.Parallel <= 0 {
		c.Parallel = 256
	}
	if c.MovesPerWorker <= 0 {
		c.MovesPerWorker = 4
	}
	if c.Moves <= 0 {
		c.Moves = 32
	}
	if c.Spawn == nil {
		c.Spawn = func(f func()) { go f() }
	}
	if c.Sleep == nil {
		c.Sleep = sleep
	}
	return c
}

func or[T comparable](have T, lend func() T) T {
	var none T
	if have != none {
		return have
	}
	return lend()
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Validate reports everything that is missing or makes no sense.
func (c Config) Validate() error {
	var errs []error
	missing := func(name string, is bool) {
		if is {
			errs = append(errs, fmt.Errorf("orchestrator: %s is required", name))
		}
	}
	missing("Store", c.Store == nil)
	missing("Workers", c.Workers == nil)
	if c.Store != nil {
		const hint = " (or a Store that is a ports.Backend)"
		missing("Routes"+hint, c.Routes == nil)
		missing("Limiter"+hint, c.Limiter == nil)
		missing("Bus"+hint, c.Bus == nil)
		missing("Clock"+hint, c.Clock == nil)
		missing("IDs"+hint, c.IDs == nil)
		missing("Random"+hint, c.Random == nil)
	}
	if err := c.Timing.Validate(); err != nil {
		errs = append(errs, err)
	}
	if len(c.Tiers) == 0 {
		errs = append(errs, errors.New("orchestrator: Tiers must name at least one tier"))
	}
	return errors.Join(errs...)
}

// Orchestrator offers its services as fields, such as o.Sessions.Connect. It is safe for
// concurrent use.
type Orchestrator struct {
	service.Services

	store    ports.Store
	workers  ports.WorkerGateway
	routes   ports.Routes
	limiter  ports.Limiter
	bus      ports.Bus
	hints    ports.Invalidator
	ids      ports.IDs
	random   ports.Random
	now      func() time.Time
	tiers    atomic.Pointer[domain.Tiers]
	timing   domain.Timing
	log      *slog.Logger
	parallel int
	moves    int // off one worker
	movesAll int
	spawn    func(func())
	sleep    func(ctx context.Context, d time.Duration) error

	self    domain.Replica // ID is empty if the store is not shared
	members members
	fleet   *fleet
	calls   inFlight
	watch   watchers
	keys    *keyring
	sending sends
	loop    loop

	loadMu sync.Mutex
	loaded bool
}

// New makes an orchestrator. It does not touch the store yet. The caller keeps
// the store and closes it after everything has ended.
func New(c Config) (*Orchestrator, error) {
	c = c.WithDefaults()
	if err := c.Validate(); err != nil {
		return nil, err
	}
	o := &Orchestrator{
		store: c.Store, workers: c.Workers, routes: c.Routes, limiter: c.Limiter, bus: c.Bus, hints: c.Invalidator,
		ids: c.IDs, random: c.Random, now: c.Clock.Now,
		timing: c.Timing, log: c.Log,
		parallel: c.Parallel, moves: c.MovesPerWorker, movesAll: c.Moves, spawn: c.Spawn, sleep: c.Sleep,
		fleet: newFleet(c.Strategy), keys: newKeyring(),
	}
	if *c.Shared {
		o.self = domain.Replica{ID: c.IDs.NewID(), Name: c.Name, Version: c.Version, StartedAt: c.Clock.Now()}
	}
	o.Services = service.Services{
		Sessions: &sessionService{o}, APIKeys: &apiKeyService{o}, Messages: &messageService{o},
		Workers: &workerService{o}, Operations: &operationService{o}, Users: &userService{o},
		Protocol: &workerProtocol{o},
	}
	o.members.init()
	o.SetTiers(c.Tiers)
	o.loop.init(c.Parallel)
	return o, nil
}

// SetTiers replaces the limits of all tiers. They hold for whatever begins on
// this replica after it has returned.
func (o *Orchestrator) SetTiers(t domain.Tiers) {
	o.tiers.Store(&t)
	o.keys.forget()
}

func (o *Orchestrator) limits(t domain.Tier) domain.Limits { return o.tiers.Load().Of(t) }

// Load reads the fleet into memory. Every use case does so when it is the
// first; calling it earlier makes the first quick.
func (o *Orchestrator) Load(ctx context.Context) error {
	o.loadMu.Lock()
	defer o.loadMu.Unlock()
	if o.loaded {
		return nil
	}
	if err := o.reload(ctx); err != nil {
		return fmt.Errorf("loading the fleet: %w", err)
	}
	o.loaded = true
	return nil
}

// ready makes sure that the fleet is loaded, and turns a failure into an error
// for the caller.
func (o *Orchestrator) ready(ctx context.Context) error {
	if o.loop.ready.Load() {
		return nil
	}
	if err := o.Load(ctx); err != nil {
		return o.fault(err)
	}
	o.loop.ready.Store(true)
	return nil
}

// fault makes an error fit to leave a use case: domain errors and the
// context's pass, everything else becomes an internal error with its cause.
func (o *Orchestrator) fault(err error) error {
	var e *domain.Error
	switch {
	case err == nil, errors.As(err, &e),
		errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, ports.ErrConflict):
		return domain.Errorf(domain.Conflict, domain.CodeInvalidState,
			"It is being changed by others at the moment; try again").WithCause(err)
	}
	return domain.Errorf(domain.Internal, domain.CodeInternal,
		"Something went wrong on our side; try again, and report the request id if it persists").WithCause(err)
}
