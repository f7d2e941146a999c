package apptest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/switchyard-wa/switchyard/adapters/aesgcm"
	"github.com/switchyard-wa/switchyard/adapters/memory"
	"github.com/switchyard-wa/switchyard/adapters/mimetype"
	"github.com/switchyard-wa/switchyard/adapters/simworker"
	"github.com/switchyard-wa/switchyard/app/orchestrator"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// Options configure a harness. The zero value is the reference service with one replica.
type Options struct {
	Seed     uint64                // determines ids, secrets and random behavior of workers
	Start    time.Time             // first time of the clock; default 2026-01-01 00:00 UTC
	Tiers    domain.Tiers          // default: domain.DefaultTiers
	Timing   domain.Timing         // zero fields: domain.DefaultTiming
	Strategy domain.Strategy       // default: domain.MultiFactor
	Store    ports.Store           // default: a new store in memory
	Worker   func(c *WorkerConfig) // changes the configuration of each worker
	Replicas int                   // replicas of the control plane on the store; default 1
	Webhooks domain.WebhookPolicy  // zero fields: domain.DefaultWebhookPolicy
	Mailer   ports.Mailer          // gets notices; default: none
	SendPace int                   // messages a minute that the queue of a session forwards; default: no limit
	Log      *slog.Logger          // default: discards
}

// WorkerConfig describes a simulated worker.
type WorkerConfig = simworker.Config

// Harness runs a fleet inside a test. Make one with [New] or [With].
type Harness struct {
	// Orchestrator is the first replica that runs. Tests call its services.
	Orchestrator *orchestrator.Orchestrator
	// Store is the store of all replicas.
	Store ports.Store
	// IgnoreStepErrors makes Advance continue after an error of background work. Set it for
	// a Store that fails on purpose.
	IgnoreStepErrors bool

	// Receiver gets what webhooks deliver.
	Receiver *Receiver

	t            testing.TB
	options      Options
	clock        *clock
	random       *random
	fleet        *simworker.Fleet
	state        *simworker.State
	loadBalancer *loadBalancer
	coordination coordination
	replicas     []replica // by index
	ids          *ids
	workers      []*simworker.Worker
	users        int
}

// New returns a harness without workers. At the end of the test the harness fails it if a
// session has ever run on two workers at once.
func New(t testing.TB) *Harness { return With(t, Options{}) }

// With is like New, with options.
func With(t testing.TB, o Options) *Harness {
	t.Helper()
	if o.Start.IsZero() {
		o.Start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	if o.Store == nil {
		o.Store = memory.NewStore()
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.Replicas = max(o.Replicas, 1)
	h := &Harness{
		t: t, options: o, Store: o.Store, clock: &clock{now: o.Start}, loadBalancer: &loadBalancer{},
		random: &random{source: rand.NewChaCha8([32]byte{byte(o.Seed), byte(o.Seed >> 8), byte(o.Seed >> 16), byte(o.Seed >> 24)})},
		fleet:  new(simworker.Fleet), state: simworker.NewState(),
	}
	h.ids, h.Receiver = &ids{clock: h.clock}, &Receiver{clock: h.clock}
	h.coordination = newCoordination()
	h.replicas = make([]replica, o.Replicas)
	for i := range h.replicas {
		h.Start(i)
	}
	t.Cleanup(func() {
		h.checkOwners()
		if err := h.Store.Close(); err != nil {
			t.Errorf("closing the store: %v", err)
		}
	})
	return h
}

// coordination is what replicas share besides the store.
type coordination struct {
	routes      ports.Routes
	limiter     ports.Limiter
	invalidator *memory.Invalidator
}

func newCoordination() coordination {
	return coordination{memory.NewRoutes(), memory.NewLimiter(), memory.NewInvalidator()}
}

// Restart replaces every replica by a new process, as after a crash. Routes, limits
// and invalidations start empty. The store and the workers stay.
func (h *Harness) Restart() {
	h.t.Helper()
	h.coordination = newCoordination()
	for i := range h.replicas {
		h.Start(i)
	}
}

// replica is one process of the control plane.
type replica struct {
	*orchestrator.Orchestrator // nil: the replica does not run
	invalidator                *cuttableInvalidator
	clock                      skewedClock
	skew                       time.Duration // offset of the clock from the next start on
	isCut                      bool          // invalidations are dropped
	paused                     bool
}

// Start starts a replica, counted from 0, as a new process on the same store. It replaces a
// replica that runs, as after a crash.
func (h *Harness) Start(replica int) {
	h.t.Helper()
	shared := len(h.replicas) > 1
	h.Kill(replica)
	p := &h.replicas[replica]
	p.clock, p.invalidator, p.paused = skewedClock{h.clock, p.skew}, &cuttableInvalidator{Invalidator: h.coordination.invalidator.Join()}, false
	p.invalidator.cut.Store(p.isCut)
	sealer, err := aesgcm.New("the key of all replicas in a test", "webhooks", h.random)
	h.must(err)
	o, err := orchestrator.New(orchestrator.Config{
		Webhooks: h.Receiver, Sealer: sealer, WebhookPolicy: h.options.Webhooks, Mailer: h.options.Mailer, SendPace: h.options.SendPace,
		Store: h.Store, Workers: h.fleet, MediaTypes: mimetype.Types{},
		Routes: h.coordination.routes, Limiter: h.coordination.limiter, Invalidator: p.invalidator,
		Clock: p.clock, IDs: h.ids, Random: h.random,
		Shared: &shared, Name: fmt.Sprintf("replica-%d", replica),
		Tiers: h.options.Tiers, Timing: h.options.Timing, Strategy: h.options.Strategy, Log: h.options.Log,
		Spawn: func(f func()) { f() },
		Sleep: func(context.Context, time.Duration) error { return errVirtual },
	})
	h.must(err)
	p.Orchestrator = o
	h.connect()
}

// Kill ends a replica as a crash does. Advance needs at least one replica that runs.
func (h *Harness) Kill(replica int) {
	p := &h.replicas[replica]
	if p.invalidator != nil {
		p.invalidator.cut.Store(true)
	}
	p.Orchestrator = nil
	h.connect()
}

// Pause stops a replica without ending its process. Nobody reaches it until Resume.
func (h *Harness) Pause(replica int) { h.setPaused(replica, true) }

// Resume continues a replica that was paused, with the state that it had.
func (h *Harness) Resume(replica int) { h.setPaused(replica, false) }

func (h *Harness) setPaused(replica int, paused bool) {
	h.replicas[replica].paused = paused
	h.connect()
}

// DropInvalidations drops the invalidations to and from a replica, also after it has started
// again.
func (h *Harness) DropInvalidations(replica int) { h.setCut(replica, true) }

// DeliverInvalidations ends what DropInvalidations has begun.
func (h *Harness) DeliverInvalidations(replica int) { h.setCut(replica, false) }

func (h *Harness) setCut(replica int, isCut bool) {
	p := &h.replicas[replica]
	p.isCut = isCut
	if p.Orchestrator != nil {
		p.invalidator.cut.Store(isCut)
	}
}

// PinWorkers makes every worker call the same replica.
func (h *Harness) PinWorkers() { h.loadBalancer.pinned = true }

// UnpinWorkers makes workers call the replicas in turn, as they do at first.
func (h *Harness) UnpinWorkers() { h.loadBalancer.pinned = false }

// Skew sets how far the clock of a replica is ahead of the clock of the harness. It takes
// effect at the next start of the replica.
func (h *Harness) Skew(replica int, d time.Duration) { h.replicas[replica].skew = d }

// Replica returns a replica, or nil if it does not run.
func (h *Harness) Replica(replica int) *orchestrator.Orchestrator {
	return h.replicas[replica].Orchestrator
}

// Running returns the replicas that run and are not paused.
func (h *Harness) Running() (all []*orchestrator.Orchestrator) {
	for _, p := range h.loadBalancer.replicas {
		all = append(all, p.Orchestrator)
	}
	return all
}

// connect routes calls to the replicas that run and are not paused.
func (h *Harness) connect() {
	h.Orchestrator, h.loadBalancer.replicas = nil, nil
	for _, p := range h.replicas {
		if p.Orchestrator != nil && !p.paused {
			h.loadBalancer.replicas = append(h.loadBalancer.replicas, p)
		}
	}
	if len(h.loadBalancer.replicas) > 0 {
		h.Orchestrator = h.loadBalancer.replicas[0].Orchestrator
	}
}

// cuttableInvalidator passes on the invalidations of a replica unless it is cut.
type cuttableInvalidator struct {
	*memory.Invalidator
	cut atomic.Bool
}

func (e *cuttableInvalidator) Publish(invalidation ports.Invalidation) {
	if !e.cut.Load() {
		e.Invalidator.Publish(invalidation)
	}
}

func (e *cuttableInvalidator) Subscribe(fn func(ports.Invalidation)) (cancel func()) {
	return e.Invalidator.Subscribe(func(invalidation ports.Invalidation) {
		if !e.cut.Load() {
			fn(invalidation)
		}
	})
}

var errVirtual = errors.New("virtual time passes between calls only")

// loadBalancer passes the calls of workers to the replicas in turn.
type loadBalancer struct {
	replicas []replica
	next     int
	pinned   bool // every call goes to the same replica
}

func (l *loadBalancer) nextReplica() *orchestrator.Orchestrator {
	if !l.pinned {
		l.next++
	}
	return l.replicas[l.next%len(l.replicas)].Orchestrator
}

func (l *loadBalancer) Register(ctx context.Context, r domain.Registration) (*service.RegisterResult, error) {
	return l.nextReplica().Protocol.Register(ctx, r)
}

func (l *loadBalancer) Heartbeat(ctx context.Context, b domain.Heartbeat) (*service.HeartbeatResult, error) {
	return l.nextReplica().Protocol.Heartbeat(ctx, b)
}

func (l *loadBalancer) AssignedSessions(ctx context.Context, workerID string) ([]service.AssignedSession, error) {
	return l.nextReplica().Protocol.AssignedSessions(ctx, workerID)
}

func (l *loadBalancer) ReportRecovery(ctx context.Context, workerID string, results []service.RecoveryResult) ([]service.RecoveryOutcome, error) {
	return l.nextReplica().Protocol.ReportRecovery(ctx, workerID, results)
}

func (l *loadBalancer) ReportPreserved(ctx context.Context, workerID string, sessionIDs []string) (int, error) {
	return l.nextReplica().Protocol.ReportPreserved(ctx, workerID, sessionIDs)
}

func (l *loadBalancer) Unregister(ctx context.Context, workerID, endpoint string) (domain.WorkerStatus, error) {
	return l.nextReplica().Protocol.Unregister(ctx, workerID, endpoint)
}

func (l *loadBalancer) ReportSession(ctx context.Context, r domain.Report) (domain.Outcome, error) {
	return l.nextReplica().Protocol.ReportSession(ctx, r)
}

func (l *loadBalancer) ReportMessage(ctx context.Context, r domain.MessageReport) (bool, error) {
	return l.nextReplica().Protocol.ReportMessage(ctx, r)
}

func (l *loadBalancer) ReceiveMessage(ctx context.Context, m service.InboundMessage) (bool, error) {
	return l.nextReplica().Protocol.ReceiveMessage(ctx, m)
}

// Workers adds workers, given as names and capacities in turn, and lets them register. The
// id of a worker is its name, or "worker-" and the name if that is shorter than three
// characters: the worker "w1" has the id "worker-w1".
func (h *Harness) Workers(nameCapacity ...any) *Harness {
	h.t.Helper()
	for pair := range slices.Chunk(nameCapacity, 2) {
		name, isName := pair[0].(string)
		if len(pair) != 2 || !isName {
			h.t.Fatalf("apptest: Workers takes names and capacities in turn, not %v", nameCapacity)
		}
		capacity, isNumber := pair[1].(int)
		if !isNumber {
			h.t.Fatalf("apptest: the capacity of %s must be an int, not %v", name, pair[1])
		}
		cfg := simworker.Config{
			ID: workerID(name), Endpoint: "http://" + workerID(name) + ".sim:1", Capacity: capacity,
			ScanAfter: 2 * time.Second, State: h.state, Seed: h.options.Seed + uint64(len(h.workers)), Now: h.clock.Now,
			Log: h.options.Log,
		}
		if h.options.Worker != nil {
			h.options.Worker(&cfg)
		}
		w := simworker.New(cfg, h.loadBalancer)
		h.fleet.Add(w)
		h.workers = append(h.workers, w)
	}
	h.Advance(0)
	return h
}

func workerID(name string) string {
	if len(name) < 3 {
		return "worker-" + name
	}
	return name
}

// Worker returns a simulated worker.
func (h *Harness) Worker(name string) *simworker.Worker {
	h.t.Helper()
	for _, w := range h.workers {
		if w.ID() == workerID(name) {
			return w
		}
	}
	h.t.Fatalf("apptest: there is no worker %q", name)
	return nil
}

// Crash ends the process of a worker. Its sessions stop at once, and their credentials stay.
func (h *Harness) Crash(worker string) { h.Worker(worker).Crash() }

// RestartWorker starts a crashed worker again.
func (h *Harness) RestartWorker(worker string) { h.Worker(worker).Boot() }

// Hang makes a worker neither answer nor report, until ResumeWorker.
func (h *Harness) Hang(worker string) { h.Worker(worker).Hang() }

// ResumeWorker makes a worker that hangs continue.
func (h *Harness) ResumeWorker(worker string) { h.Worker(worker).Resume() }

// CutOff cuts the network between a worker and the control plane, until Reconnect. The worker
// keeps running.
func (h *Harness) CutOff(worker string) { h.Worker(worker).CutOff() }

// Reconnect restores the network that CutOff has cut.
func (h *Harness) Reconnect(worker string) { h.Worker(worker).Reconnect() }

// User adds a user of the tier.
func (h *Harness) User(tier domain.Tier) *domain.User {
	h.t.Helper()
	h.users++
	u := &domain.User{
		ID: fmt.Sprintf("user-%d", h.users), Name: fmt.Sprintf("User %d", h.users),
		Email: fmt.Sprintf("user-%d@example.com", h.users), Role: domain.RoleUser, Tier: tier, Active: true,
		CreatedAt: h.clock.Now(), UpdatedAt: h.clock.Now(), CredentialsAt: h.clock.Now(),
	}
	h.must(h.Store.Update(h.t.Context(), func(ctx context.Context, tx *ports.Tx) error {
		u.Rev = 0
		return tx.Users.Put(ctx, u)
	}))
	return u
}

// CreateSession creates a session and does not start it.
func (h *Harness) CreateSession(u *domain.User, name string) *service.CreatedSession {
	h.t.Helper()
	s, err := h.Orchestrator.Sessions.Create(h.t.Context(), u.ID, service.CreateSessionParams{Name: name})
	h.must(err)
	return s
}

// Connected creates a session, connects it, and advances time until the simulated phone has
// scanned its QR code.
func (h *Harness) Connected(u *domain.User, name string) *domain.Session {
	h.t.Helper()
	s := h.CreateSession(u, name)
	_, err := h.Orchestrator.Sessions.Connect(h.t.Context(), u.ID, s.ID, service.ConnectOptions{})
	h.must(err)
	for range 60 {
		if now := h.Session(s.ID); now.Status == domain.Connected {
			return now
		}
		h.Advance(time.Second)
	}
	h.t.Fatalf("apptest: %s is %s a minute after it was connected", s.ID, h.Session(s.ID).Status)
	return nil
}

// Session returns a session as it is stored now.
func (h *Harness) Session(id string) *domain.Session {
	h.t.Helper()
	var s *domain.Session
	h.must(h.Store.View(h.t.Context(), func(ctx context.Context, tx *ports.Tx) (err error) {
		s, err = tx.Sessions.Get(ctx, id)
		return err
	}))
	return s
}

// Send sends a text through a connected session.
func (h *Harness) Send(s *domain.Session, to, text string) *domain.Message {
	h.t.Helper()
	m, err := h.Orchestrator.Messages.Send(h.t.Context(), service.Sender{UserID: s.UserID, SessionID: s.ID},
		&domain.Outgoing{To: to, Type: domain.TypeText, Text: text})
	h.must(err)
	return m
}

// Owners returns the ids of the workers on which a session runs now.
func (h *Harness) Owners(sessionID string) []string {
	var ids []string
	for _, w := range h.workers {
		if slices.Contains(w.Running(), sessionID) {
			ids = append(ids, w.ID())
		}
	}
	return ids
}

// Events returns the recorded events of the last day, in order.
func (h *Harness) Events() []domain.Event {
	h.t.Helper()
	var events []domain.Event
	h.must(h.Store.View(h.t.Context(), func(ctx context.Context, tx *ports.Tx) (err error) {
		events, err = tx.Outbox.After(ctx, ports.EventFilter{}, 0, 0)
		return err
	}))
	return events
}

// Now returns the time of the harness.
func (h *Harness) Now() time.Time { return h.clock.Now() }

// Virtual time passes before the next step of a participant that is due again at once.
const (
	tickPause = time.Millisecond      // of a worker
	passPause = 20 * time.Millisecond // of a replica; Orchestrator.Run pauses as long
)

// Advance moves the clock. Workers and replicas do what becomes due, in order of time.
// Advance(0) does the due work.
func (h *Harness) Advance(d time.Duration) {
	h.t.Helper()
	if len(h.loadBalancer.replicas) == 0 {
		h.t.Fatal("apptest: no replica runs; call Start or Resume before Advance")
	}
	ctx := h.t.Context()
	end := h.clock.Now().Add(d)
	for {
		now := h.clock.Now()
		var next time.Time
		isDue := false
		schedule := func(at time.Time, pause time.Duration) {
			isDue = isDue || !at.After(end)
			at = later(at, now.Add(pause))
			if next.IsZero() || at.Before(next) {
				next = at
			}
		}
		for _, w := range h.workers {
			if at := w.Tick(ctx, now); !at.IsZero() {
				schedule(at, tickPause)
			}
		}
		for _, p := range h.loadBalancer.replicas {
			at, err := p.RunOnce(ctx)
			if h.IgnoreStepErrors && err != nil {
				at, err = p.clock.Now().Add(time.Second), nil
			}
			h.must(err)
			schedule(at.Add(-p.clock.ahead), passPause)
		}
		if !isDue {
			break
		}
		h.clock.set(next)
	}
	h.clock.set(later(end, h.clock.Now()))
}

// Skip moves the clock at once, as if every process had been suspended meanwhile. The next
// Advance does what has become due. Skip suits days and weeks, which Advance walks through in
// steps of seconds.
func (h *Harness) Skip(d time.Duration) { h.clock.set(h.clock.Now().Add(d)) }

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// Repeats returns the ids of messages that workers have sent more than once. A test expects
// none.
func (h *Harness) Repeats() []string {
	h.t.Helper()
	entries, err := h.state.Journal()
	h.must(err)
	var ids []string
	for _, e := range simworker.Repeats(entries) {
		ids = append(ids, e.ClientMessageID)
	}
	return ids
}

// checkOwners fails the test if a session has run on two workers at once.
func (h *Harness) checkOwners() {
	entries, err := h.state.Journal()
	if err != nil {
		h.t.Errorf("apptest: reading the journal: %v", err)
	}
	for _, o := range simworker.Overlaps(entries) {
		h.t.Errorf("apptest: a session ran on two workers at once: %+v", o)
	}
}

func (h *Harness) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatalf("apptest: %v", err)
	}
}
