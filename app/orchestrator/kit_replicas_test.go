package orchestrator_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/memory"
	"github.com/switchyard-wa/switchyard/adapters/system"
	"github.com/switchyard-wa/switchyard/app/orchestrator"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/conformance/storehooks"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// flap has sessions lose their link for a moment.
func (c *replicaSet) flap(worker string, ids ...string) {
	c.t.Helper()
	for _, id := range ids {
		for _, status := range []domain.Status{domain.Reconnecting, domain.Connected} {
			_, err := c.all[0].Protocol.ReportSession(c.t.Context(), domain.Report{SessionID: id, WorkerID: worker, Generation: 1, Status: status})
			require.NoError(c.t, err)
		}
	}
}

// leave writes a cleanup as it is left behind.
func (c *replicaSet) leave(worker, session string, at time.Time) {
	require.NoError(c.t, c.store.Update(c.t.Context(), func(ctx context.Context, tx *ports.Tx) error {
		return tx.Cleanups.Put(ctx, &domain.Cleanup{
			WorkerID: worker, SessionID: session, Command: domain.CommandDisconnect, Generation: 1, DueAt: at, CreatedAt: at,
		})
	}))
}

// worker1 registers at a replica, as a process of its own endpoint.
func (c *replicaSet) worker1(at *replica, endpoint string) error {
	_, err := at.Protocol.Register(c.t.Context(), domain.Registration{
		WorkerID: "worker-1", Endpoint: endpoint, Capacity: 10, Interval: 30 * time.Second,
		Capabilities: []domain.Capability{domain.CapLease, domain.CapGeneration},
	})
	return err
}

// replicaSet is several replicas on one store. Time stands still until it is moved;
// each replica may see another time, hear no invalidations, and hang in a call.
type replicaSet struct {
	t       *testing.T
	clock   *clock
	now     func() time.Time // what a replica whose clock is right sees
	store   ports.Store
	hands   *fakeWorkers
	hub     *memory.Invalidator
	routes  ports.Routes
	limiter ports.Limiter
	bus     *record
	ids     counter
	random  dice
	config  func(*orchestrator.Config) // refines that of each replica
	all     []*replica
}

// join adds a replica.
func (c *replicaSet) join(skew time.Duration) *replica {
	r := &replica{
		name: string(rune('A' + len(c.all))), clock: &shownTime{c.clock, skew},
		invalidator: &cuttableInvalidator{Invalidator: c.hub.Join()}, store: storehooks.New(c.store),
	}
	shared := true
	cfg := orchestrator.Config{
		Store: r.store, Workers: replicaGateway{c.hands, r.name}, Routes: c.routes, Limiter: c.limiter, Bus: c.bus,
		Clock: r.clock, IDs: &c.ids, Random: &c.random, Shared: &shared, Invalidator: r.invalidator, Name: r.name,
		Log: slog.New(slog.DiscardHandler), Spawn: func(f func()) { f() },
		Sleep: func(context.Context, time.Duration) error { return errors.New("time stands still") },
	}
	if c.config != nil {
		c.config(&cfg)
	}
	if real, is := cfg.Clock.(system.Clock); is {
		c.now = real.Now
	}
	var err error
	r.Orchestrator, err = orchestrator.New(cfg)
	require.NoError(c.t, err)
	c.all = append(c.all, r)
	return r
}

// step lets every replica do what is due.
func (c *replicaSet) step() {
	for _, r := range c.all {
		if !r.dead {
			_, err := r.RunOnce(c.t.Context())
			require.NoError(c.t, err)
		}
	}
}

func (c *replicaSet) stepOf(r *replica) error {
	_, err := r.RunOnce(c.t.Context())
	return err
}

// pass lets time go by. Before each tick it does what is given.
func (c *replicaSet) pass(d time.Duration, each ...func()) {
	for end := c.clock.Now().Add(d); c.clock.Now().Before(end); {
		for _, fn := range each {
			fn()
		}
		c.clock.advance(tick)
		c.step()
	}
}

// breathe gives a sign of life of a replica that is not stepped, because it
// hangs in a call.
func (c *replicaSet) breathe(r *replica) func() {
	return func() {
		require.NoError(c.t, c.store.Update(c.t.Context(), func(ctx context.Context, tx *ports.Tx) error {
			all, err := tx.Replicas.List(ctx)
			for _, row := range all {
				if row.Name == r.name {
					row.SeenAt = r.clock.Now()
					return tx.Replicas.Put(ctx, row)
				}
			}
			return err
		}))
	}
}

// running lets the replicas run until the end of the test, and waits until all
// know of all.
func (c *replicaSet) running() {
	ctx, cancel := context.WithCancel(context.Background())
	var ended sync.WaitGroup
	for _, r := range c.all {
		ended.Go(func() { _ = r.Run(ctx) })
	}
	c.t.Cleanup(func() { cancel(); ended.Wait() })
	time.Sleep(3 * time.Second)
}

func (c *replicaSet) fixture() *fixture { return &fixture{t: c.t, store: c.store, clock: c.clock} }

func (c *replicaSet) session(id string) *domain.Session {
	c.t.Helper()
	return c.fixture().session(id)
}

func (c *replicaSet) worker(id string) (w *domain.Worker) {
	c.t.Helper()
	require.NoError(c.t, c.store.View(c.t.Context(), func(ctx context.Context, tx *ports.Tx) (err error) {
		w, err = tx.Workers.Get(ctx, id)
		return err
	}))
	return w
}

// replicas lists those that are known in the store.
func (c *replicaSet) replicas() (all []*domain.Replica) {
	c.t.Helper()
	require.NoError(c.t, c.store.View(c.t.Context(), func(ctx context.Context, tx *ports.Tx) (err error) {
		all, err = tx.Replicas.List(ctx)
		return err
	}))
	return all
}

// probes counts calls of health routes, by worker.
func (c *replicaSet) probes() map[string]int {
	n := make(map[string]int)
	for _, made := range c.hands.all("health") {
		n[made.worker]++
	}
	return n
}

// register has a worker register at a replica.
func (c *replicaSet) register(at *replica, id string, capacity int, can ...domain.Capability) *service.RegisterResult {
	c.t.Helper()
	answer, err := at.Protocol.Register(c.t.Context(), domain.Registration{
		WorkerID: id, Endpoint: "http://" + id + ":1", Capacity: capacity, Capabilities: can, Interval: 10 * time.Second,
	})
	require.NoError(c.t, err)
	return answer
}

// beat has a worker send a heartbeat to a replica, with the sessions that it has
// connected, each of the generation that is stored.
func (c *replicaSet) beat(at *replica, id string, sessions ...string) *service.HeartbeatResult {
	c.t.Helper()
	h := domain.Heartbeat{WorkerID: id, IsFullSnapshot: true, CPU: -1, Memory: -1, MessageCount: -1}
	for _, s := range sessions {
		h.Sessions = append(h.Sessions, domain.Report{SessionID: s, Status: domain.Connected, Generation: c.session(s).Generation})
	}
	answer, err := at.Protocol.Heartbeat(c.t.Context(), h)
	require.NoError(c.t, err)
	return answer
}

// pulse has workers send heartbeats to a replica, without a list of sessions.
func (c *replicaSet) pulse(at *replica, ids ...string) func() {
	return func() {
		for _, id := range ids {
			_, err := at.Protocol.Heartbeat(c.t.Context(), domain.Heartbeat{WorkerID: id, CPU: -1, Memory: -1, MessageCount: -1})
			require.NoError(c.t, err)
		}
	}
}

// line adds a session of a user of its own.
func (c *replicaSet) line() *service.CreatedSession {
	c.t.Helper()
	user := c.fixture().user(domain.TierBasic)
	s, err := c.all[0].Sessions.Create(c.t.Context(), user, service.CreateSessionParams{Name: "line"})
	require.NoError(c.t, err)
	return s
}

// connected adds a session that is connected, by a replica.
func (c *replicaSet) connected(by *replica) *service.CreatedSession {
	c.t.Helper()
	s := c.line()
	_, err := by.Sessions.Connect(c.t.Context(), s.UserID, s.ID, service.ConnectOptions{})
	require.NoError(c.t, err)
	require.Equal(c.t, domain.Connected, c.session(s.ID).Status)
	return s
}

// ask wants a session up without doing anything about it yet.
func (c *replicaSet) ask(s *service.CreatedSession) {
	c.t.Helper()
	require.NoError(c.t, c.store.Update(c.t.Context(), func(ctx context.Context, tx *ports.Tx) error {
		row, err := tx.Sessions.Get(ctx, s.ID)
		if err != nil {
			return err
		}
		if err := row.Connect("", c.now()); err != nil {
			return err
		}
		if err := tx.Users.Reserve(ctx, row.UserID, domain.UserUsage{ActiveSessions: 1}, domain.UserUsage{ActiveSessions: 1 << 20}); err != nil {
			return err
		}
		return tx.Sessions.Put(ctx, row)
	}))
}

// full assigns connected sessions to workers, so many to each.
func (c *replicaSet) full(workers []string, sessions int) (ids []string) {
	c.t.Helper()
	var user string
	var users []string // of each so many that they are not over their limit
	for range (sessions*len(workers) + 19) / 20 {
		users = append(users, c.fixture().user(domain.TierMax))
	}
	n := 0
	now := c.now()
	require.NoError(c.t, c.store.Update(c.t.Context(), func(ctx context.Context, tx *ports.Tx) error {
		for _, w := range workers {
			for i := range sessions {
				user = users[n/20]
				n++
				s := domain.NewSession(fmt.Sprintf("%s-line-%d", w, i), user, "line", "", now)
				require.NoError(c.t, s.Connect("", now))
				s.Assign(w, now)
				s.Apply(domain.Report{Status: domain.Connected, WorkerID: w, PhoneNumber: "6281234567890"}, domain.DefaultTiming(), now)
				s.DueAt = time.Time{}
				require.NoError(c.t, tx.Workers.Reserve(ctx, w))
				require.NoError(c.t, tx.Sessions.Put(ctx, s))
				ids = append(ids, s.ID)
			}
		}
		return nil
	}))
	return ids
}

// hang makes the first call of the kind wait; the test ends it with an outcome.
// Later ones are answered at once.
func (c *replicaSet) hang(kind string) (began <-chan struct{}, end func(error)) {
	reached, outcome := make(chan struct{}), make(chan error, 1)
	var once atomic.Bool
	c.hands.set(func(made call) error {
		if made.kind == kind && once.CompareAndSwap(false, true) {
			close(reached)
			return <-outcome
		}
		return nil
	})
	return reached, func(err error) { outcome <- err }
}

// watchOwners answers all calls, and fails the test if a session is started while
// it runs elsewhere.
func (c *replicaSet) watchOwners() *owners {
	o := &owners{on: make(map[string]map[string]bool)}
	c.hands.set(func(made call) error {
		o.mu.Lock()
		defer o.mu.Unlock()
		if o.on[made.session] == nil {
			o.on[made.session] = make(map[string]bool)
		}
		switch made.kind {
		case "start":
			o.on[made.session][made.worker] = true
			if len(o.on[made.session]) > 1 {
				c.t.Errorf("%+v, though it runs on %v", made, o.on[made.session])
			}
		case "disconnect":
			delete(o.on[made.session], made.worker)
		}
		return nil
	})
	return o
}

// fleetOf registers workers, of which each replica has some to probe, at the first.
func (c *replicaSet) fleetOf(n int) (workers []string) {
	for i := range n {
		workers = append(workers, fmt.Sprint("worker-", i))
		c.register(c.all[0], workers[i], 5)
	}
	c.step()
	return workers
}

// What is over on a worker stays over there, whatever is on its way to it.

// cleanup gives what is left to be done on a worker about a session; nil: nothing.
func (c *replicaSet) cleanup(worker, session string) (left *domain.Cleanup) {
	c.t.Helper()
	require.NoError(c.t, c.store.View(c.t.Context(), func(ctx context.Context, tx *ports.Tx) error {
		all, err := tx.Cleanups.BySession(ctx, session)
		for _, l := range all {
			if l.WorkerID == worker {
				left = l
			}
		}
		return err
	}))
	return left
}

// newReplicaSet makes replicas named A, B, C.
func newReplicaSet(t *testing.T, n int, config ...func(*orchestrator.Config)) *replicaSet {
	t.Helper()
	return newSkewedReplicaSet(t, make([]time.Duration, n), config...)
}

// newSkewedReplicaSet makes a replica for each clock, which is off by so much.
func newSkewedReplicaSet(t *testing.T, clocks []time.Duration, config ...func(*orchestrator.Config)) *replicaSet {
	t.Helper()
	c := &replicaSet{
		t: t, clock: &clock{}, store: memory.NewStore(), hub: memory.NewInvalidator(), routes: memory.NewRoutes(),
		limiter: new(forgetful), bus: &record{}, hands: &fakeWorkers{sent: map[string][]string{}},
	}
	c.clock.us.Store(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).UnixMicro())
	c.now = c.clock.Now
	c.limiter.(*forgetful).forget()
	if len(config) > 0 {
		c.config = config[0]
	}
	for _, skew := range clocks {
		c.join(skew)
	}
	c.step()
	c.pass(3 * time.Second) // now all know of all
	return c
}

// hideConcurrentKeys makes the next Update see the keys of a session as they were before it
// began. The Update begins once as many Updates as read counts have read the keys.
func (r *replica) hideConcurrentKeys(sessionID string, read *sync.WaitGroup) {
	r.store.AroundUpdate = func(ctx context.Context, fn storehooks.Func, update func(context.Context, storehooks.Func) error) error {
		var before []*domain.APIKey
		err := r.store.Store.View(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
			before, err = tx.APIKeys.BySession(ctx, sessionID)
			return err
		})
		if err != nil {
			return err
		}
		if read != nil {
			read.Done()
			read.Wait()
			read = nil
		}
		return update(ctx, storehooks.WithTx(fn, func(_ context.Context, tx *ports.Tx) {
			tx.APIKeys = keysBefore{tx.APIKeys, before}
		}))
	}
}

// replica is one of several.
type replica struct {
	*orchestrator.Orchestrator
	name        string
	clock       *shownTime
	invalidator *cuttableInvalidator
	store       *storehooks.Store
	dead        bool // it does nothing any more
}

// onceEventsAreRead calls fn once, after the replica has read events that it is to publish.
// A later call replaces fn. A nil fn removes it.
func (r *replica) onceEventsAreRead(fn func()) {
	r.store.ViewTx, r.store.AfterView = nil, nil
	if fn == nil {
		return
	}
	var spy outboxSpy
	r.store.ViewTx = func(_ context.Context, tx *ports.Tx) { spy.Outbox, tx.Outbox = tx.Outbox, &spy }
	r.store.AfterView = func(_ context.Context, err error) error {
		if spy.foundEvents {
			r.onceEventsAreRead(nil)
			fn()
		}
		return err
	}
}

// overtakeAfterCounting makes the next Update of the replica that counts open moves lose a
// race: the Update rolls back after it has counted, other runs, and the Update runs again
// with what it has read before.
func (r *replica) overtakeAfterCounting(other func()) {
	r.store.AroundUpdate = func(ctx context.Context, fn storehooks.Func, update func(context.Context, storehooks.Func) error) error {
		var seen reading
		err := update(ctx, func(ctx context.Context, tx *ports.Tx) error {
			seen = reading{}
			err := storehooks.WithTx(fn, seen.replace)(ctx, tx)
			if seen.counted {
				return errNotYet
			}
			return err
		})
		if !errors.Is(err, errNotYet) {
			return err
		}
		r.store.AroundUpdate = nil
		other()
		seen.again = true
		return update(ctx, storehooks.WithTx(fn, seen.replace))
	}
}

// hideConcurrentMoves makes each Update see the open moves as they were before it began, as
// weak isolation levels of databases do.
func (r *replica) hideConcurrentMoves() {
	r.store.AroundUpdate = func(ctx context.Context, fn storehooks.Func, update func(context.Context, storehooks.Func) error) error {
		var open []*domain.Migration
		err := r.store.Store.View(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
			open, err = tx.Migrations.Open(ctx)
			return err
		})
		if err != nil {
			return err
		}
		time.Sleep(time.Millisecond) // other transactions begin
		return update(ctx, storehooks.WithTx(fn, func(_ context.Context, tx *ports.Tx) {
			tx.Migrations = openBefore{tx.Migrations, open}
		}))
	}
}

const tick = 250 * time.Millisecond

// realTime is for replicas that run by themselves, in a bubble of [synctest].
func realTime(cfg *orchestrator.Config) {
	cfg.Clock, cfg.Spawn, cfg.Sleep = system.Clock{}, nil, nil
	cfg.Parallel = 24
	cfg.Timing.StartTimeout = time.Second // the grace of a worker that is back
}
