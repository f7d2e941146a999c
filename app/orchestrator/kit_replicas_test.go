package orchestrator_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
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

// replicaSet is several replicas on one store. Time moves only when the test moves it. A replica
// may have a skewed clock, receive no invalidations, or hang in a call.
type replicaSet struct {
	t       *testing.T
	clock   *clock
	now     func() time.Time // the time of a replica without skew
	store   ports.Store
	workers *fakeWorkers
	hub     *memory.Invalidator
	routes  ports.Routes
	limiter ports.Limiter
	ids     sequentialIDs
	random  seededRandom
	config  func(*orchestrator.Config) // changes the configuration of each replica
	all     []*replica
}

// newReplicaSet returns n replicas, named A, B, C.
func newReplicaSet(t *testing.T, n int, config ...func(*orchestrator.Config)) *replicaSet {
	t.Helper()
	return newSkewedReplicaSet(t, make([]time.Duration, n), config...)
}

// newSkewedReplicaSet returns one replica for each skew of a clock.
func newSkewedReplicaSet(t *testing.T, clocks []time.Duration, config ...func(*orchestrator.Config)) *replicaSet {
	t.Helper()
	c := &replicaSet{
		t: t, clock: &clock{}, store: memory.NewStore(), hub: memory.NewInvalidator(), routes: memory.NewRoutes(),
		limiter: new(resettableLimiter), workers: &fakeWorkers{sent: map[string][]string{}},
	}
	c.clock.us.Store(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).UnixMicro())
	c.now = c.clock.Now
	c.limiter.(*resettableLimiter).reset()
	if len(config) > 0 {
		c.config = config[0]
	}
	for _, skew := range clocks {
		c.join(skew)
	}
	c.runAll()
	c.advance(3 * time.Second) // each replica knows the others
	return c
}

// join adds a replica.
func (c *replicaSet) join(skew time.Duration) *replica {
	r := &replica{
		name: string(rune('A' + len(c.all))), clock: &skewedClock{c.clock, skew},
		invalidator: &cuttableInvalidator{Invalidator: c.hub.Join()}, store: storehooks.New(c.store),
	}
	shared := true
	cfg := orchestrator.Config{
		Store: r.store, Workers: replicaGateway{c.workers, r.name}, Routes: c.routes, Limiter: c.limiter,
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

// runAll runs one pass of every replica that is not halted.
func (c *replicaSet) runAll() {
	for _, r := range c.all {
		if !r.halted {
			_, err := r.RunOnce(c.t.Context())
			require.NoError(c.t, err)
		}
	}
}

func (c *replicaSet) runReplica(r *replica) error {
	_, err := r.RunOnce(c.t.Context())
	return err
}

// advance moves the time and runs the replicas at every tick. Before each tick it calls the
// functions.
func (c *replicaSet) advance(d time.Duration, each ...func()) {
	for end := c.clock.Now().Add(d); c.clock.Now().Before(end); {
		for _, fn := range each {
			fn()
		}
		c.clock.advance(tick)
		c.runAll()
	}
}

// loseLinks reports that sessions lose their link to WhatsApp and regain it.
func (c *replicaSet) loseLinks(worker string, ids ...string) {
	c.t.Helper()
	for _, id := range ids {
		for _, status := range []domain.Status{domain.Reconnecting, domain.Connected} {
			_, err := c.all[0].Protocol.ReportSession(c.t.Context(), domain.Report{SessionID: id, WorkerID: worker, Generation: 1, Status: status})
			require.NoError(c.t, err)
		}
	}
}

// putCleanup records a cleanup that is due at a time.
func (c *replicaSet) putCleanup(worker, session string, at time.Time) {
	require.NoError(c.t, c.store.Update(c.t.Context(), func(ctx context.Context, tx *ports.Tx) error {
		return tx.Cleanups.Put(ctx, &domain.Cleanup{
			WorkerID: worker, SessionID: session, Command: domain.CommandDisconnect, Generation: 1, DueAt: at, CreatedAt: at,
		})
	}))
}

// registerWorker1 registers a process of worker-1 at a replica.
func (c *replicaSet) registerWorker1(at *replica, endpoint string) error {
	_, err := at.Protocol.Register(c.t.Context(), domain.Registration{
		WorkerID: "worker-1", Endpoint: endpoint, Capacity: 10, Interval: 30 * time.Second, StateGroup: "shared",
		Capabilities: []domain.Capability{domain.CapLease, domain.CapGeneration},
	})
	return err
}

// keepAlive returns a function that records a heartbeat of a replica that is halted because it
// hangs in a call.
func (c *replicaSet) keepAlive(r *replica) func() {
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

// startAll runs the replicas until the end of the test. It waits until each knows the others.
func (c *replicaSet) startAll() {
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

// replicas returns the rows of the replicas.
func (c *replicaSet) replicas() (all []*domain.Replica) {
	c.t.Helper()
	require.NoError(c.t, c.store.View(c.t.Context(), func(ctx context.Context, tx *ports.Tx) (err error) {
		all, err = tx.Replicas.List(ctx)
		return err
	}))
	return all
}

// events returns all recorded events.
func (c *replicaSet) events() (all []domain.Event) {
	c.t.Helper()
	require.NoError(c.t, c.store.View(c.t.Context(), func(ctx context.Context, tx *ports.Tx) (err error) {
		all, err = tx.Outbox.After(ctx, ports.EventFilter{}, 0, 0)
		return err
	}))
	return all
}

// probeCounts returns the number of probes of each worker.
func (c *replicaSet) probeCounts() map[string]int {
	n := make(map[string]int)
	for _, made := range c.workers.callsOf("health") {
		n[made.worker]++
	}
	return n
}

// register registers a worker at a replica.
func (c *replicaSet) register(at *replica, id string, capacity int, can ...domain.Capability) *service.RegisterResult {
	c.t.Helper()
	answer, err := at.Protocol.Register(c.t.Context(), domain.Registration{
		WorkerID: id, Endpoint: "http://" + id + ":1", Capacity: capacity, Capabilities: can, Interval: 10 * time.Second, StateGroup: "shared",
	})
	require.NoError(c.t, err)
	return answer
}

// heartbeat sends a heartbeat of a worker to a replica. It lists the sessions as connected, with
// the generations that are stored.
func (c *replicaSet) heartbeat(at *replica, id string, sessions ...string) *service.HeartbeatResult {
	c.t.Helper()
	h := domain.Heartbeat{WorkerID: id, IsFullSnapshot: true, CPU: -1, Memory: -1, MessageCount: -1}
	for _, s := range sessions {
		h.Sessions = append(h.Sessions, domain.Report{SessionID: s, Status: domain.Connected, Generation: c.session(s).Generation})
	}
	answer, err := at.Protocol.Heartbeat(c.t.Context(), h)
	require.NoError(c.t, err)
	return answer
}

// heartbeatsOf returns a function that sends heartbeats of workers to a replica, without lists of
// sessions.
func (c *replicaSet) heartbeatsOf(at *replica, ids ...string) func() {
	return func() {
		for _, id := range ids {
			_, err := at.Protocol.Heartbeat(c.t.Context(), domain.Heartbeat{WorkerID: id, CPU: -1, Memory: -1, MessageCount: -1})
			require.NoError(c.t, err)
		}
	}
}

// createSession creates a session of a new user.
func (c *replicaSet) createSession() *service.CreatedSession {
	c.t.Helper()
	user := c.fixture().user(domain.TierBasic)
	s, err := c.all[0].Sessions.Create(c.t.Context(), user, service.CreateSessionParams{Name: "line"})
	require.NoError(c.t, err)
	return s
}

// connectSession creates a session and connects it at a replica.
func (c *replicaSet) connectSession(by *replica) *service.CreatedSession {
	c.t.Helper()
	s := c.createSession()
	_, err := by.Sessions.Connect(c.t.Context(), s.UserID, s.ID, service.ConnectOptions{})
	require.NoError(c.t, err)
	require.Equal(c.t, domain.Connected, c.session(s.ID).Status)
	return s
}

// setIntentUp records that a session is to be up. It calls no worker.
func (c *replicaSet) setIntentUp(s *service.CreatedSession) {
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

// fillWorkers assigns connected sessions to workers, the same number to each.
func (c *replicaSet) fillWorkers(workers []string, sessions int) (ids []string) {
	c.t.Helper()
	var user string
	var users []string // 20 sessions each, as their tier allows
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

// hangFirst makes the first call of the kind hang until the test ends it with an outcome. Later
// calls are answered at once.
func (c *replicaSet) hangFirst(kind string) (began <-chan struct{}, end func(error)) {
	reached, outcome := make(chan struct{}), make(chan error, 1)
	var once atomic.Bool
	c.workers.answerWith(func(made call) error {
		if made.kind == kind && once.CompareAndSwap(false, true) {
			close(reached)
			return <-outcome
		}
		return nil
	})
	return reached, func(err error) { outcome <- err }
}

// trackOwners answers all calls. It fails the test if a session is started while it runs on
// another worker.
func (c *replicaSet) trackOwners() *owners {
	o := &owners{on: make(map[string]map[string]bool)}
	c.workers.answerWith(func(made call) error {
		o.mu.Lock()
		defer o.mu.Unlock()
		if o.on[made.session] == nil {
			o.on[made.session] = make(map[string]bool)
		}
		switch made.kind {
		case "start":
			o.on[made.session][made.worker] = true
			if len(o.on[made.session]) > 1 {
				c.t.Errorf("%+v, but it runs on %v", made, o.on[made.session])
			}
		case "disconnect":
			delete(o.on[made.session], made.worker)
		}
		return nil
	})
	return o
}

// registerWorkers registers workers at the first replica. Each replica has some of them to probe.
func (c *replicaSet) registerWorkers(n int) (workers []string) {
	for i := range n {
		workers = append(workers, fmt.Sprint("worker-", i))
		c.register(c.all[0], workers[i], 5)
	}
	c.runAll()
	return workers
}

// changeHolder changes the cleanup of a worker that was given a session.
func (c *replicaSet) changeHolder(worker, session string, change func(*domain.Cleanup)) {
	c.t.Helper()
	require.NoError(c.t, c.store.Update(c.t.Context(), func(ctx context.Context, tx *ports.Tx) error {
		all, err := tx.Cleanups.BySession(ctx, session)
		require.NoError(c.t, err)
		i := slices.IndexFunc(all, func(h *domain.Cleanup) bool { return h.WorkerID == worker })
		require.GreaterOrEqual(c.t, i, 0, "the worker is no holder")
		change(all[i])
		return tx.Cleanups.Put(ctx, all[i])
	}))
}

// cleanup returns what a worker has to stop or wipe of a session, or nil.
func (c *replicaSet) cleanup(worker, session string) (left *domain.Cleanup) {
	c.t.Helper()
	require.NoError(c.t, c.store.View(c.t.Context(), func(ctx context.Context, tx *ports.Tx) error {
		all, err := tx.Cleanups.BySession(ctx, session)
		for _, l := range all {
			if l.WorkerID == worker && l.IsPending() {
				left = l
			}
		}
		return err
	}))
	return left
}

// hideConcurrentKeys makes an Update see the keys of a session as they were before it began. The
// first Update waits on read, until every replica has read the keys.
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

// replica is one replica of a set.
type replica struct {
	*orchestrator.Orchestrator
	name        string
	clock       *skewedClock
	invalidator *cuttableInvalidator
	store       *storehooks.Store
	halted      bool // advance does not run it
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
				return errRolledBack
			}
			return err
		})
		if !errors.Is(err, errRolledBack) {
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

// withSystemClock configures replicas that run in the background of a synctest bubble.
func withSystemClock(cfg *orchestrator.Config) {
	cfg.Clock, cfg.Spawn, cfg.Sleep = system.Clock{}, nil, nil
	cfg.Parallel = 24
	cfg.Timing.StartTimeout = time.Second // also the time that a worker has to recover
}
