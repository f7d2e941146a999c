package apptest

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/switchyard-wa/switchyard/adapters/memory"
	"github.com/switchyard-wa/switchyard/adapters/simworker"
	"github.com/switchyard-wa/switchyard/app/orchestrator"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// Options change what a harness is made of. The zero value is the reference service.
type Options struct {
	Seed     uint64    // of ids, secrets and whatever the workers do at random
	Start    time.Time // what the clock shows at first; default 2026-01-01 00:00 UTC
	Tiers    domain.Tiers
	Timing   domain.Timing
	Strategy domain.Strategy
	Store    ports.Store           // default: one in memory
	Worker   func(c *WorkerConfig) // refines each worker before it is made
	Log      *slog.Logger          // default: none
}

// WorkerConfig describes a simulated worker.
type WorkerConfig = simworker.Config

// Harness is a fleet in a test.
type Harness struct {
	// Orchestrator is the real one; its use cases may be called directly.
	Orchestrator *orchestrator.Orchestrator
	// Store is what it stores to.
	Store ports.Store

	t       testing.TB
	options Options
	clock   *clock
	random  *random
	fleet   *simworker.Fleet
	state   *simworker.State
	line    *line
	ids     *ids
	workers []*simworker.Worker
	users   int
}

// New makes a harness without workers. At the end of the test it fails it if
// any session has ever run on two workers at once.
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
	h := &Harness{
		t: t, options: o, Store: o.Store, clock: &clock{now: o.Start}, line: &line{},
		random: &random{source: rand.NewChaCha8([32]byte{byte(o.Seed), byte(o.Seed >> 8), byte(o.Seed >> 16), byte(o.Seed >> 24)})},
		fleet:  new(simworker.Fleet), state: simworker.NewState(),
	}
	h.ids = &ids{clock: h.clock}
	h.Restart()
	t.Cleanup(func() {
		h.checkOwners()
		if err := h.Store.Close(); err != nil {
			t.Errorf("closing the store: %v", err)
		}
	})
	return h
}

// Restart replaces the control plane by a new process on the same store, as
// after a crash. Workers notice nothing.
func (h *Harness) Restart() {
	h.t.Helper()
	o, err := orchestrator.New(orchestrator.Config{
		Store: h.Store, Workers: h.fleet, Routes: memory.NewRoutes(), Limiter: memory.NewLimiter(), Bus: memory.NewBus(),
		Clock: h.clock, IDs: h.ids, Random: h.random,
		Tiers: h.options.Tiers, Timing: h.options.Timing, Strategy: h.options.Strategy, Log: h.options.Log,
		Spawn: func(f func()) { f() },
	})
	h.must(err)
	h.Orchestrator, h.line.WorkerProtocol = o, o
}

// line leads workers to the control plane of the moment.
type line struct{ ports.WorkerProtocol }

// Workers adds workers, given as names and capacities in turn, and lets them
// register. A name of fewer than three characters gets "worker-" before it.
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
		}
		if h.options.Worker != nil {
			h.options.Worker(&cfg)
		}
		w := simworker.New(cfg, h.line)
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

// Worker gives one of the simulated workers.
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

// Crash ends a worker's process: its sessions stop at once, its credentials stay.
func (h *Harness) Crash(worker string) { h.Worker(worker).Crash() }

// Boot starts a crashed worker again.
func (h *Harness) Boot(worker string) { h.Worker(worker).Boot() }

// Hang makes a worker stop answering and reporting, or go on.
func (h *Harness) Hang(worker string, on bool) { h.Worker(worker).Hang(on) }

// CutOff cuts a worker off from the control plane while it goes on running, or
// connects it again.
func (h *Harness) CutOff(worker string, on bool) { h.Worker(worker).CutOff(on) }

// User adds a user.
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

// Card makes a session that is not started.
func (h *Harness) Card(u *domain.User, name string) *ports.CreatedSession {
	h.t.Helper()
	s, err := h.Orchestrator.CreateSession(h.t.Context(), u.ID, ports.NewSession{Name: name})
	h.must(err)
	return s
}

// Connected makes a session, connects it, and lets the pretend phone scan it.
func (h *Harness) Connected(u *domain.User, name string) *domain.Session {
	h.t.Helper()
	s := h.Card(u, name)
	_, err := h.Orchestrator.Connect(h.t.Context(), u.ID, s.ID, ports.ConnectOptions{})
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

// Session gives a session as it is stored now.
func (h *Harness) Session(id string) *domain.Session {
	h.t.Helper()
	var s *domain.Session
	h.must(h.Store.View(h.t.Context(), func(ctx context.Context, tx *ports.Tx) (err error) {
		s, err = tx.Sessions.Get(ctx, id)
		return err
	}))
	return s
}

// Send sends a text through a connected session of its owner.
func (h *Harness) Send(s *domain.Session, to, text string) *domain.Message {
	h.t.Helper()
	m, err := h.Orchestrator.Send(h.t.Context(), ports.KeyHolder{UserID: s.UserID, SessionID: s.ID},
		&domain.Outgoing{To: to, Type: domain.TypeText, Text: text})
	h.must(err)
	return m
}

// Owners lists the workers on which a session really runs now.
func (h *Harness) Owners(sessionID string) []string {
	var ids []string
	for _, w := range h.workers {
		if slices.Contains(w.Running(), sessionID) {
			ids = append(ids, w.ID())
		}
	}
	return ids
}

// Events gives the recorded events of the last day, in order.
func (h *Harness) Events() []domain.Event {
	h.t.Helper()
	var events []domain.Event
	h.must(h.Store.View(h.t.Context(), func(ctx context.Context, tx *ports.Tx) (err error) {
		events, err = tx.Outbox.After(ctx, 0, 0)
		return err
	}))
	return events
}

// Now tells the time of the harness.
func (h *Harness) Now() time.Time { return h.clock.Now() }

// Advance lets time go by: workers and the control plane do whatever becomes
// due, in order. Advance(0) does what is due now.
func (h *Harness) Advance(d time.Duration) {
	h.t.Helper()
	ctx := h.t.Context()
	end := h.clock.Now().Add(d)
	for {
		now := h.clock.Now()
		next := end.Add(time.Nanosecond)
		for _, w := range h.workers {
			if at := w.Step(ctx, now); !at.IsZero() && at.Before(next) {
				next = at
			}
		}
		at, err := h.Orchestrator.Step(ctx)
		h.must(err)
		if at.Before(next) {
			next = at
		}
		if next.After(end) {
			break
		}
		// What is due again at once gets its turn in a moment.
		h.clock.set(later(next, now.Add(time.Millisecond)))
	}
	h.clock.set(later(end, h.clock.Now()))
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// Repeats lists the messages that workers sent more than once: there should be none.
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

// checkOwners fails the test if a session ran in two places.
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

// clock shows the time that it was set to.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) set(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = t
}

// ids counts, so that they are the same in every run and sort by time.
type ids struct {
	mu    sync.Mutex
	clock *clock
	n     uint64
}

func (i *ids) NewID() string {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.n++
	return fmt.Sprintf("%012x-%08x", i.clock.Now().UnixMilli(), i.n)
}

// random gives bytes that depend on the seed alone.
type random struct {
	mu     sync.Mutex
	source *rand.ChaCha8
}

func (r *random) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.source.Read(p)
}
