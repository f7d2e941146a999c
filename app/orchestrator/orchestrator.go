package orchestrator

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/switchyard-wa/switchyard/app/internal/analytics"
	"github.com/switchyard-wa/switchyard/app/internal/apikeys"
	"github.com/switchyard-wa/switchyard/app/internal/env"
	"github.com/switchyard-wa/switchyard/app/internal/events"
	"github.com/switchyard-wa/switchyard/app/internal/failure"
	"github.com/switchyard-wa/switchyard/app/internal/fleet"
	"github.com/switchyard-wa/switchyard/app/internal/membership"
	"github.com/switchyard-wa/switchyard/app/internal/messaging"
	"github.com/switchyard-wa/switchyard/app/internal/migration"
	"github.com/switchyard-wa/switchyard/app/internal/operations"
	"github.com/switchyard-wa/switchyard/app/internal/outbox"
	"github.com/switchyard-wa/switchyard/app/internal/reconcile"
	"github.com/switchyard-wa/switchyard/app/internal/registry"
	"github.com/switchyard-wa/switchyard/app/internal/sendqueue"
	"github.com/switchyard-wa/switchyard/app/internal/sessions"
	"github.com/switchyard-wa/switchyard/app/internal/txn"
	"github.com/switchyard-wa/switchyard/app/internal/usage"
	"github.com/switchyard-wa/switchyard/app/internal/webhooks"
	"github.com/switchyard-wa/switchyard/app/internal/workqueue"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// Orchestrator offers its services as fields, such as o.Sessions.Connect. It is safe for
// concurrent use.
type Orchestrator struct {
	service.Services

	env         *env.Env
	invalidator ports.Invalidator
	queue       *workqueue.Queue
	members     *membership.Members
	cache       *fleet.Cache
	sync        *fleet.Sync
	log         *outbox.Log
	usage       *usage.Counter
	analytics   *analytics.Analytics
	events      *events.Events
	keys        *apikeys.Keys
	detector    *failure.Detector
	migrator    *migration.Migrator
	reconciler  *reconcile.Reconciler
	users       *sessions.Users
	messages    *messaging.Messages
	workers     *registry.Workers
	webhooks    *webhooks.Webhooks
	sendQueues  *sendqueue.Queues

	auditRetention time.Duration

	recorded    chan struct{} // receives once there are recorded events to read
	subscribe   sync.Once     // of RunOnce
	latestPass  atomic.Int64  // when it began, µs
	housekeepAt time.Time     // only the goroutine of the loop uses it
}

// New returns an orchestrator. It does not touch the store yet. The caller keeps the
// store and closes it after Run has returned.
func New(c Config) (*Orchestrator, error) {
	c = c.WithDefaults()
	if err := c.Validate(); err != nil {
		return nil, err
	}
	e := &env.Env{
		Store: c.Store, Workers: c.Workers, IDs: c.IDs, Random: c.Random, Now: c.Clock.Now,
		Timing: c.Timing, Unscanned: *c.Unscanned, Log: c.Log, Spawn: c.Spawn, Sleep: c.Sleep,
	}
	if *c.Shared {
		e.Self = domain.Replica{ID: c.IDs.NewID(), Name: c.Name, Version: c.Version, StartedAt: c.Clock.Now()}
	}
	e.SetTiers(c.Tiers)
	o := &Orchestrator{
		env: e, invalidator: c.Invalidator, auditRetention: c.AuditRetention, recorded: make(chan struct{}, 1),
	}
	o.compose(c)
	return o, nil
}

// compose builds the parts, from the bottom up.
func (o *Orchestrator) compose(c Config) {
	e := o.env
	readProbeSetting := func(ctx context.Context, tx *ports.Tx) error { return o.detector.ReadSetting(ctx, tx) }

	calls := new(workqueue.Calls)
	o.queue = workqueue.New(c.Parallel, e.Now, e.Spawn)
	o.members = membership.New(e, membership.Hooks{
		AlsoRead:      readProbeSetting,
		ReplicaDied:   func(ctx context.Context, id string) error { return o.reconciler.TakeOver(ctx, id) },
		Resumed:       func(now time.Time) { o.detector.ResetHeartbeatTimers(now) },
		HeartbeatDone: func() { o.usage.Wake() },
	})
	o.cache = fleet.NewCache(c.Strategy)
	o.sync = fleet.NewSync(e, o.cache, calls, o.queue, readProbeSetting)
	writer := txn.NewWriter(e)
	o.events = events.New(writer)
	o.log = outbox.NewLog(writer, c.EventRetention)
	o.usage = usage.New(writer, o.members, o.log.NewReader("usage"))
	o.analytics = analytics.New(writer, o.usage)
	o.keys = apikeys.New(writer, c.Limiter, o.publishInvalidation)
	o.detector = failure.New(writer, o.members, o.cache, o.sync, o.queue)
	o.migrator = migration.New(writer, o.members, o.cache, o.sync, migration.Limits{PerWorker: c.MigrationsPerWorker, Total: c.MaxMigrations})
	o.reconciler = reconcile.New(reconcile.Parts{
		Writer: writer, Members: o.members, Cache: o.cache, Sync: o.sync, Detector: o.detector,
		Migrator: o.migrator, Queue: o.queue, Calls: calls,
	})
	owners := sessions.New(writer, o.members, o.cache, o.sync, o.reconciler, o.keys)
	o.users = sessions.NewUsers(writer, o.cache, o.sync, o.keys)
	routes := messaging.NewRoutes(e, c.Routes)
	o.sendQueues = sendqueue.New(sendqueue.Parts{
		Writer: writer, Members: o.members, Pace: c.SendPace, Parallel: c.Parallel, Wake: o.queue.Wake,
		Announce: func(id string) { o.publishInvalidation(ports.Invalidation{Sessions: []string{id}}) },
	})
	o.messages = messaging.New(messaging.Parts{
		Writer: writer, Members: o.members, Cache: o.cache, Sync: o.sync, Keys: o.keys, Queues: o.sendQueues,
		Detector: o.detector, Routes: routes, Usage: o.usage, URLs: c.URLs, Types: c.MediaTypes,
	})
	o.sendQueues.SetForwarder(o.messages)
	parallel := registry.Parallel{Sessions: 2 * c.MigrationsPerWorker, Probes: c.Parallel}
	o.workers = registry.NewWorkers(writer, o.cache, o.sync, o.detector, o.reconciler, parallel)

	protocol := registry.NewProtocol(writer, o.members, o.cache, o.sync, o.detector, o.queue, o.messages)

	o.webhooks = webhooks.New(webhooks.Parts{
		Writer: writer, Members: o.members, Log: o.log, Sender: c.Webhooks, Sealer: c.Sealer, URLs: c.WebhookURLs,
		Mailer: c.Mailer, Policy: c.WebhookPolicy, Retention: c.EventRetention, Parallel: c.WebhookParallel, Wake: o.queue.Wake,
		Announce: func() { o.publishInvalidation(ports.Invalidation{Events: true}) },
	})

	writer.AfterCommit(o.updateCache)
	writer.AfterCommit(routes.AfterCommit)
	writer.AfterCommit(o.usage.AfterCommit)
	writer.AfterCommit(o.webhooks.AfterCommit)
	writer.AfterCommit(o.sendQueues.AfterCommit)
	writer.AfterCommit(o.announce)

	o.Services = service.Services{
		Sessions: owners,
		APIKeys:  o.keys,
		Messages: o.messages,
		Workers:  e.Trail().Workers(o.workers),
		Operations: e.Trail().Operations(operations.New(operations.Parts{
			Writer: writer, Cache: o.cache, Sync: o.sync, Migrator: o.migrator, Reconciler: o.reconciler,
			Sessions: owners, Analytics: o.analytics, Queue: o.queue, Parallel: parallel.Sessions,
		})),
		Users:     o.users,
		Protocol:  protocol,
		Access:    protocol,
		Audit:     e.Trail(),
		Events:    o.events,
		Webhooks:  o.webhooks,
		Scheduled: o.sendQueues,
	}
}

// updateCache is an observer of transactions: it brings committed rows into the cache.
func (o *Orchestrator) updateCache(_ context.Context, c *txn.Changes) {
	for _, w := range c.Workers {
		o.sync.CacheWorker(w)
	}
	for _, w := range c.Removed {
		o.cache.RemoveWorker(w.ID, w.Rev)
	}
	for _, s := range c.Read {
		o.cache.PutSession(s)
	}
	for _, s := range c.Sessions {
		o.cache.PutSession(s)
	}
	for _, s := range c.Deleted {
		o.cache.RemoveSession(s.ID, s.Rev)
	}
	if c.MigrationEnded {
		o.cache.MigrationEnded.Set()
	}
}

// announce is the last observer of transactions: it tells waiters, other replicas and
// the loop.
func (o *Orchestrator) announce(_ context.Context, c *txn.Changes) {
	var i ports.Invalidation
	for _, w := range c.Workers {
		i.Workers = append(i.Workers, w.ID)
	}
	for _, w := range c.Removed {
		i.Workers = append(i.Workers, w.ID)
	}
	for _, s := range c.Sessions {
		i.Sessions = append(i.Sessions, s.ID)
		o.sync.Changes.Notify(s.ID)
	}
	for _, s := range c.Deleted {
		i.Sessions = append(i.Sessions, s.ID)
		o.sync.Changes.Notify(s.ID)
	}
	o.events.NoteChanges(i.Sessions...)
	i.Events = c.HasEvents
	if i.Events {
		o.events.Wake()
	}
	hasRows := len(i.Sessions)+len(i.Workers) > 0
	if hasRows || i.Events {
		o.publishInvalidation(i)
	}
	if i.Events && !hasRows && len(c.Read) == 0 && !c.MigrationEnded {
		o.noteRecorded()
	} else {
		o.queue.Wake()
	}
}

// noteRecorded asks for a pass that reads recorded events. It begins later than after a Wake of the queue.
func (o *Orchestrator) noteRecorded() {
	select {
	case o.recorded <- struct{}{}:
	default:
	}
}

// publishInvalidation tells other replicas which rows have changed.
func (o *Orchestrator) publishInvalidation(i ports.Invalidation) {
	if o.env.IsShared() {
		o.invalidator.Publish(i)
	}
}

// onInvalidation marks what another replica has changed. The next pass reads it.
func (o *Orchestrator) onInvalidation(i ports.Invalidation) {
	if i.All || len(i.Users) > 0 {
		o.keys.Forget()
	}
	o.sync.Invalidate(i)
	o.events.NoteChanges(i.Sessions...)
	o.sendQueues.NoteRemoteChanges(i.Sessions...)
	o.events.Wake()
	o.usage.Wake()
	if i.Events || i.All {
		o.webhooks.Wake()
	}
	if i.All || len(i.Users)+len(i.Sessions)+len(i.Workers) > 0 {
		o.queue.Wake()
	} else {
		o.noteRecorded()
	}
}

// listen subscribes to the invalidations of other replicas.
func (o *Orchestrator) listen() (cancel func()) {
	cancel = o.invalidator.Subscribe(o.onInvalidation)
	o.sync.ListeningBegan()
	return cancel
}

// Timing returns the timing of the configuration, with defaults.
func (o *Orchestrator) Timing() domain.Timing { return o.env.Timing }

// Tiers returns the limits of all tiers. The caller does not change them.
func (o *Orchestrator) Tiers() domain.Tiers { return o.env.Tiers() }

// SetTiers replaces the limits of all tiers. They hold for whatever begins on this
// replica after it has returned.
func (o *Orchestrator) SetTiers(t domain.Tiers) {
	o.env.SetTiers(t)
	o.keys.Forget()
}

// Load reads the fleet into memory. The first service call does so too; an earlier Load
// makes that call quick.
func (o *Orchestrator) Load(ctx context.Context) error { return o.sync.Load(ctx) }

// OlderReplicaSeen reports whether another replica, which certainly lives, started on the
// store before this one.
func (o *Orchestrator) OlderReplicaSeen() bool { return o.members.OlderReplicaSeen() }

// ReplicasAlive reports whether replicas work on a store, for a process that is no
// replica yet. It waits for a heartbeat: for the given time, which may be zero, and where
// rows exist for at least the time after which their replicas count as dead.
func ReplicasAlive(ctx context.Context, store ports.Store, wait time.Duration) (bool, error) {
	return membership.ReplicasAlive(ctx, store, wait)
}
