package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// Config configures an orchestrator. Store and Workers are required. If Store is a
// [ports.Backend], it provides the other ports that are nil. All replicas of a store
// have the same Tiers, Timing, Strategy and limits of migrations.
type Config struct {
	Store   ports.Store
	Workers ports.WorkerGateway

	Routes      ports.Routes
	Limiter     ports.Limiter
	Invalidator ports.Invalidator // nil, and no Backend: ports.NoInvalidator
	Clock       ports.Clock
	IDs         ports.IDs
	Random      ports.Random
	// URLs judges the URLs of media, links and thumbnails, which workers fetch. Nil: any
	// URL is accepted, private addresses included.
	URLs ports.URLPolicy
	// MediaTypes tells types of media by their content. Nil: media that a message carries is
	// sent whatever it is, and as large as it is.
	MediaTypes ports.MediaTypes

	// Webhooks posts events to the URLs of customers. Nil, or a nil Sealer: the program has no
	// webhooks, and Webhooks.Create fails.
	Webhooks ports.WebhookSender
	// Sealer encrypts the secrets of webhooks for the store. All replicas have the same key.
	Sealer ports.Sealer
	// WebhookURLs judges the URLs of webhooks when they are given. Nil: any URL is accepted. The
	// sender judges the address when it dials.
	WebhookURLs ports.URLPolicy
	// WebhookPolicy says when deliveries are tried again. Zero fields: domain.DefaultWebhookPolicy.
	WebhookPolicy domain.WebhookPolicy
	// WebhookParallel bounds the attempts to deliver at once. Half of them are for webhooks whose latest
	// attempt failed. In each half 8 are for one user. 0: 256.
	WebhookParallel int
	// Mailer tells owners that a webhook was switched off. Nil: nobody is told.
	Mailer ports.Mailer

	// Shared says that other replicas may work on the same store. Nil: as the
	// ports.Backend says, otherwise false. Replicas share background work, and claim a
	// session before they call its worker.
	Shared *bool
	// Name and Version tell people which replica this is. Both may be empty.
	Name, Version string

	Tiers  domain.Tiers  // nil: domain.DefaultTiers
	Timing domain.Timing // zero fields: domain.DefaultTiming
	// Unscanned bounds sessions that wait for their first scan. Nil:
	// domain.DefaultUnscannedLimits.
	Unscanned *domain.UnscannedLimits
	Strategy  domain.Strategy // nil: domain.MultiFactor with its default weights
	Log       *slog.Logger    // nil: slog.Default

	// Parallel bounds how many sessions, and how many probes, the loop of this process
	// works on at once. 0: 256.
	Parallel int
	// MigrationsPerWorker bounds how many sessions leave one worker at once, by a drain
	// or a migration. 0: 4. Failovers and the removal of a worker are not held up, but
	// count.
	MigrationsPerWorker int
	// MaxMigrations bounds the same in the whole fleet, over all replicas. 0: 32.
	MaxMigrations int

	// SendPace is how many messages a minute the queue of one session forwards, with jitter. 0:
	// as many as its worker takes. Direct sends do not wait for it.
	SendPace int

	// EventRetention is how long published events are kept. 0: 7 days. How long messages
	// are kept is a limit of their owner's tier.
	EventRetention time.Duration
	// AuditRetention is how long entries of the audit trail are kept. 0: 90 days.
	AuditRetention time.Duration

	// Spawn runs background work. Nil: in a new goroutine. A harness that wants
	// everything to happen inside [Orchestrator.RunOnce] runs the function in place.
	Spawn func(func())
	// Sleep waits. Nil: by the system's clock. A harness that owns the clock returns an
	// error, and nothing waits.
	Sleep func(ctx context.Context, d time.Duration) error
}

// MaxSendPace is the highest pace that can be set, in messages a minute.
const MaxSendPace = 6000

// WithDefaults returns a copy with every optional field set.
func (c Config) WithDefaults() Config {
	if b, ok := c.Store.(ports.Backend); ok {
		c = c.withBackend(b)
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
	if c.Unscanned == nil {
		limits := domain.DefaultUnscannedLimits()
		c.Unscanned = &limits
	}
	if c.Strategy == nil {
		c.Strategy = domain.MultiFactor{Weights: domain.DefaultWeights()}
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.Parallel <= 0 {
		c.Parallel = 256
	}
	if c.MigrationsPerWorker <= 0 {
		c.MigrationsPerWorker = 4
	}
	if c.MaxMigrations <= 0 {
		c.MaxMigrations = 32
	}
	c.WebhookPolicy = c.WebhookPolicy.WithDefaults()
	if c.WebhookParallel <= 0 {
		c.WebhookParallel = 256
	}
	if c.EventRetention <= 0 {
		c.EventRetention = 7 * 24 * time.Hour
	}
	if c.AuditRetention <= 0 {
		c.AuditRetention = 90 * 24 * time.Hour
	}
	if c.Spawn == nil {
		c.Spawn = func(f func()) { go f() }
	}
	if c.Sleep == nil {
		c.Sleep = sleep
	}
	return c
}

// withBackend returns a copy in which the backend provides the ports that are nil.
func (c Config) withBackend(b ports.Backend) Config {
	c.Routes = firstSet(c.Routes, b.Routes)
	c.Limiter = firstSet(c.Limiter, b.Limiter)
	c.Invalidator = firstSet(c.Invalidator, b.Invalidator)
	c.Clock = firstSet(c.Clock, b.Clock)
	c.IDs = firstSet(c.IDs, b.IDs)
	c.Random = firstSet(c.Random, b.Random)
	if c.Shared == nil {
		shared := b.Shared()
		c.Shared = &shared
	}
	return c
}

// firstSet returns value unless it is nil, and otherwise what fallback returns.
func firstSet[T comparable](value T, fallback func() T) T {
	var unset T
	if value != unset {
		return value
	}
	return fallback()
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

// Validate returns every problem of the configuration, joined.
func (c Config) Validate() error {
	var errs []error
	require := func(name string, isMissing bool) {
		if isMissing {
			errs = append(errs, fmt.Errorf("orchestrator: %s is required", name))
		}
	}
	require("Store", c.Store == nil)
	require("Workers", c.Workers == nil)
	if c.Store != nil {
		const alternative = " (or a Store that is a ports.Backend)"
		require("Routes"+alternative, c.Routes == nil)
		require("Limiter"+alternative, c.Limiter == nil)
		require("Clock"+alternative, c.Clock == nil)
		require("IDs"+alternative, c.IDs == nil)
		require("Random"+alternative, c.Random == nil)
	}
	if c.SendPace < 0 || c.SendPace > MaxSendPace {
		errs = append(errs, fmt.Errorf("orchestrator: SendPace must be between 0 and %d messages a minute", MaxSendPace))
	}
	if err := c.Timing.Validate(); err != nil {
		errs = append(errs, err)
	}
	if len(c.Tiers) == 0 {
		errs = append(errs, errors.New("orchestrator: Tiers must name at least one tier"))
	}
	return errors.Join(errs...)
}
