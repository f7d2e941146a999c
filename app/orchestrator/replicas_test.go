package orchestrator_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/memory"
	"github.com/switchyard-wa/switchyard/adapters/system"
	"github.com/switchyard-wa/switchyard/app/orchestrator"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// This file has several replicas work on one store. Time stands still until it
// is moved; each replica may see another time, hear no hints, and hang in a call.

// call is one call to a worker.
type call struct {
	by              string // the replica
	kind            string // "start", "disconnect", …
	worker, session string
	generation      int64
}

// hands are workers that do what the test says.
type hands struct {
	mu     sync.Mutex
	calls  []call
	answer func(call) error         // may block; nil: everything works
	report func(call) domain.Report // the answer to a start; nil: CONNECTED
	listed []domain.Report          // the answer to a list
	sent   map[string][]string      // workers that sent a message, by our id of it
}

func (h *hands) do(c call) error {
	h.mu.Lock()
	h.calls = append(h.calls, c)
	answer := h.answer
	h.mu.Unlock()
	if answer != nil {
		return answer(c)
	}
	return nil
}

// made counts the calls of a kind.
func (h *hands) made(kind string) (n int) { return len(h.all(kind)) }

// all gives the calls of a kind.
func (h *hands) all(kind string) (all []call) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.calls {
		if c.kind == kind {
			all = append(all, c)
		}
	}
	return all
}

func (h *hands) set(answer func(call) error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.answer = answer
}

// arm is a replica's way to the workers.
type arm struct {
	*hands
	by string
}

func (a arm) call(kind string, w ports.WorkerRef, session string, generation int64) error {
	return a.do(call{a.by, kind, w.ID, session, generation})
}

func (a arm) Health(_ context.Context, endpoint string) error {
	return a.do(call{by: a.by, kind: "health", worker: endpoint[len("http://") : len(endpoint)-len(":1")]})
}

func (a arm) Start(_ context.Context, w ports.WorkerRef, s ports.Start) (domain.Report, error) {
	c := call{a.by, "start", w.ID, s.SessionID, s.Generation}
	if err := a.do(c); err != nil {
		return domain.Report{}, err
	}
	if a.report != nil {
		return a.report(c), nil
	}
	return domain.Report{SessionID: s.SessionID, Status: domain.Connected, PhoneNumber: "6281234567890"}, nil
}

func (a arm) Restart(_ context.Context, w ports.WorkerRef, id string, generation int64) error {
	return a.call("restart", w, id, generation)
}

func (a arm) Disconnect(_ context.Context, w ports.WorkerRef, id string, generation int64) error {
	return a.call("disconnect", w, id, generation)
}

func (a arm) Logout(_ context.Context, w ports.WorkerRef, id string, generation int64) error {
	return a.call("logout", w, id, generation)
}

func (a arm) Delete(_ context.Context, w ports.WorkerRef, id string, generation int64) error {
	return a.call("delete", w, id, generation)
}

func (a arm) Send(_ context.Context, w ports.WorkerRef, s ports.Send) (ports.Sent, error) {
	if err := a.call("send", w, s.SessionID, 0); err != nil {
		return ports.Sent{}, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sent[s.ClientMessageID] = append(a.sent[s.ClientMessageID], w.ID)
	return ports.Sent{WhatsAppID: "WA-" + s.ClientMessageID}, nil
}

func (a arm) Act(_ context.Context, w ports.WorkerRef, id string, _ domain.Action) error {
	return a.call("act", w, id, 0)
}

func (a arm) List(_ context.Context, w ports.WorkerRef) ([]domain.Report, error) {
	return a.listed, a.call("list", w, "", 0)
}

func (a arm) Status(_ context.Context, w ports.WorkerRef, id string) (domain.Report, error) {
	return domain.Report{}, a.call("status", w, id, 0)
}

// shownTime is what a replica's clock shows: the same for all, but for its skew.
type shownTime struct {
	*clock
	skew time.Duration
}

func (c *shownTime) Now() time.Time { return c.clock.Now().Add(c.skew) }

// earshot carries a replica's hints, unless it is cut.
type earshot struct {
	*memory.Hints
	cut atomic.Bool
}

func (e *earshot) Tell(h ports.Hint) {
	if !e.cut.Load() {
		e.Hints.Tell(h)
	}
}

func (e *earshot) Listen(fn func(ports.Hint)) (cancel func()) {
	return e.Hints.Listen(func(h ports.Hint) {
		if !e.cut.Load() {
			fn(h)
		}
	})
}

// countingStore counts transactions, and may have something happen
// before and after a write, and after a read.
type countingStore struct {
	ports.Store
	views, updates atomic.Int64
	lost           atomic.Bool // nothing is read or written any more
	run            int64       // reads since the latest write
	before         func(run int64)
	after          func()
	viewed         func()
	readEvents     func() // once, after events were read to be published
}

var errLost = errors.New("the store cannot be reached")

func (s *countingStore) View(ctx context.Context, fn func(context.Context, *ports.Tx) error) error {
	if s.views.Add(1); s.lost.Load() {
		return errLost
	}
	if atomic.AddInt64(&s.run, 1); s.viewed != nil {
		viewed := s.viewed
		defer viewed()
	}
	if s.readEvents == nil {
		return s.Store.View(ctx, fn)
	}
	seen := outbox{}
	err := s.Store.View(ctx, func(ctx context.Context, tx *ports.Tx) error {
		spied := *tx
		seen.Outbox, spied.Outbox = tx.Outbox, &seen
		return fn(ctx, &spied)
	})
	if fn := s.readEvents; seen.found {
		s.readEvents = nil
		fn()
	}
	return err
}

// outbox sees whether events were read.
type outbox struct {
	ports.Outbox
	found bool
}

func (o *outbox) After(ctx context.Context, seq int64, limit int) ([]domain.Event, error) {
	events, err := o.Outbox.After(ctx, seq, limit)
	o.found = o.found || len(events) > 0
	return events, err
}

func (s *countingStore) Update(ctx context.Context, fn func(context.Context, *ports.Tx) error) error {
	if s.updates.Add(1); s.lost.Load() {
		return errLost
	}
	if run := atomic.SwapInt64(&s.run, 0); s.before != nil {
		s.before(run)
	}
	if s.after != nil {
		defer s.after()
	}
	return s.Store.Update(ctx, fn)
}

// record is a bus that remembers what was published.
type record struct {
	mu     sync.Mutex
	events []domain.Event
	after  func() // if set, called once after a Publish
}

func (r *record) Publish(_ context.Context, events ...domain.Event) error {
	r.mu.Lock()
	r.events = append(r.events, events...)
	after := r.after
	r.after = nil
	r.mu.Unlock()
	if after != nil {
		after()
	}
	return nil
}

func (r *record) Subscribe(func(domain.Event)) (cancel func()) { return func() {} }

// replica is one of several.
type replica struct {
	*orchestrator.Orchestrator
	name  string
	clock *shownTime
	ears  *earshot
	store *countingStore
	dead  bool // it does nothing any more
}

// counter gives ids that are the same in every run, so that work is shared alike.
type counter struct{ n atomic.Int64 }

func (c *counter) NewID() string { return fmt.Sprintf("%08d", c.n.Add(1)) }

// dice do the same for random bytes.
type dice struct {
	mu     sync.Mutex
	source *rand.ChaCha8
}

func (d *dice) Read(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.source == nil {
		d.source = rand.NewChaCha8([32]byte{})
	}
	return d.source.Read(p)
}

// crowd is several replicas on one store.
type crowd struct {
	t       *testing.T
	clock   *clock
	now     func() time.Time // what a replica whose clock is right sees
	store   ports.Store
	hands   *hands
	hub     *memory.Hints
	routes  ports.Routes
	limiter ports.Limiter
	bus     *record
	ids     counter
	random  dice
	config  func(*orchestrator.Config) // refines that of each replica
	all     []*replica
}

// newCrowd makes replicas named A, B, C.
func newCrowd(t *testing.T, n int, config ...func(*orchestrator.Config)) *crowd {
	t.Helper()
	return newSkewed(t, make([]time.Duration, n), config...)
}

// newSkewed makes a replica for each clock, which is off by so much.
func newSkewed(t *testing.T, clocks []time.Duration, config ...func(*orchestrator.Config)) *crowd {
	t.Helper()
	c := &crowd{
		t: t, clock: &clock{}, store: memory.NewStore(), hub: memory.NewHints(), routes: memory.NewRoutes(),
		limiter: new(forgetful), bus: &record{}, hands: &hands{sent: map[string][]string{}},
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

// join adds a replica.
func (c *crowd) join(skew time.Duration) *replica {
	r := &replica{
		name: string(rune('A' + len(c.all))), clock: &shownTime{c.clock, skew},
		ears: &earshot{Hints: c.hub.Join()}, store: &countingStore{Store: c.store},
	}
	shared := true
	cfg := orchestrator.Config{
		Store: r.store, Workers: arm{c.hands, r.name}, Routes: c.routes, Limiter: c.limiter, Bus: c.bus,
		Clock: r.clock, IDs: &c.ids, Random: &c.random, Shared: &shared, Hints: r.ears, Name: r.name,
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
func (c *crowd) step() {
	for _, r := range c.all {
		if !r.dead {
			_, err := r.Step(c.t.Context())
			require.NoError(c.t, err)
		}
	}
}

const tick = 250 * time.Millisecond

// pass lets time go by. Before each tick it does what is given.
func (c *crowd) pass(d time.Duration, each ...func()) {
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
func (c *crowd) breathe(r *replica) func() {
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

func (c *crowd) world() *world { return &world{t: c.t, store: c.store, clock: c.clock} }

func (c *crowd) session(id string) *domain.Session {
	c.t.Helper()
	return c.world().session(id)
}

func (c *crowd) worker(id string) (w *domain.Worker) {
	c.t.Helper()
	require.NoError(c.t, c.store.View(c.t.Context(), func(ctx context.Context, tx *ports.Tx) (err error) {
		w, err = tx.Workers.Get(ctx, id)
		return err
	}))
	return w
}

// register has a worker register at a replica.
func (c *crowd) register(at *replica, id string, capacity int, can ...domain.Capability) *ports.Registered {
	c.t.Helper()
	answer, err := at.RegisterWorker(c.t.Context(), domain.Registration{
		WorkerID: id, Endpoint: "http://" + id + ":1", Capacity: capacity, Capabilities: can, Interval: 10 * time.Second,
	})
	require.NoError(c.t, err)
	return answer
}

// beat has a worker send a heartbeat to a replica, with the sessions that it has
// connected, each of the generation that is stored.
func (c *crowd) beat(at *replica, id string, sessions ...string) *ports.HeartbeatAnswer {
	c.t.Helper()
	h := domain.Heartbeat{WorkerID: id, Lists: true, CPU: -1, Memory: -1, MessageCount: -1}
	for _, s := range sessions {
		h.Sessions = append(h.Sessions, domain.Report{SessionID: s, Status: domain.Connected, Generation: c.session(s).Generation})
	}
	answer, err := at.Heartbeat(c.t.Context(), h)
	require.NoError(c.t, err)
	return answer
}

// pulse has workers send heartbeats to a replica, without a list of sessions.
func (c *crowd) pulse(at *replica, ids ...string) func() {
	return func() {
		for _, id := range ids {
			_, err := at.Heartbeat(c.t.Context(), domain.Heartbeat{WorkerID: id, CPU: -1, Memory: -1, MessageCount: -1})
			require.NoError(c.t, err)
		}
	}
}

// line adds a session of a user of its own.
func (c *crowd) line() *ports.CreatedSession {
	c.t.Helper()
	user := c.world().user(domain.TierBasic)
	s, err := c.all[0].CreateSession(c.t.Context(), user, ports.NewSession{Name: "line"})
	require.NoError(c.t, err)
	return s
}

// connected adds a session that is connected, by a replica.
func (c *crowd) connected(by *replica) *ports.CreatedSession {
	c.t.Helper()
	s := c.line()
	_, err := by.Connect(c.t.Context(), s.UserID, s.ID, ports.ConnectOptions{})
	require.NoError(c.t, err)
	require.Equal(c.t, domain.Connected, c.session(s.ID).Status)
	return s
}

// ask wants a session up without doing anything about it yet.
func (c *crowd) ask(s *ports.CreatedSession) {
	c.t.Helper()
	require.NoError(c.t, c.store.Update(c.t.Context(), func(ctx context.Context, tx *ports.Tx) error {
		row, err := tx.Sessions.Get(ctx, s.ID)
		if err != nil {
			return err
		}
		if err := row.Connect("", c.now()); err != nil {
			return err
		}
		if err := tx.Users.Reserve(ctx, row.UserID, domain.UserUsage{Live: 1}, domain.UserUsage{Live: 1 << 20}); err != nil {
			return err
		}
		return tx.Sessions.Put(ctx, row)
	}))
}

// hang makes the first call of the kind wait; the test ends it with an outcome.
// Later ones are answered at once.
func (c *crowd) hang(kind string) (began <-chan struct{}, end func(error)) {
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

func wait(t *testing.T, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("it did not come to that")
	}
}

// aside runs fn in a goroutine of its own and gives what is closed at its end.
func aside(fn func()) <-chan struct{} {
	done := make(chan struct{})
	go func() { defer close(done); fn() }()
	return done
}

func TestWhileOneReplicaCallsNoOtherDoes(t *testing.T) {
	c := newCrowd(t, 2)
	a, b := c.all[0], c.all[1]
	c.register(a, "worker-1", 10)
	s := c.line()
	began, end := c.hang("start")
	connected := aside(func() { _, _ = a.Connect(context.Background(), s.UserID, s.ID, ports.ConnectOptions{}) })
	wait(t, began)
	a.dead = true // it is not stepped, since it hangs
	pulse := c.pulse(b, "worker-1")
	c.pass(15*time.Second, pulse, c.breathe(a))
	view, err := b.Disconnect(t.Context(), s.UserID, s.ID)
	require.NoError(t, err)
	require.Equal(t, domain.Disconnected, view.Status, "said so at once")
	c.pass(15*time.Second, pulse, c.breathe(a))
	require.Equal(t, 1, c.hands.made("start"))
	require.Zero(t, c.hands.made("disconnect"))
	require.Equal(t, domain.Conflict, kindOf(b.DeleteSession(t.Context(), s.UserID, s.ID)), "nor is it deleted meanwhile")
	end(nil)
	wait(t, connected)
	a.dead = false
	c.pass(time.Second)
	require.Equal(t, []call{{"A", "disconnect", "worker-1", s.ID, 1}}, c.hands.all("disconnect"), "once, after the start")
	row := c.session(s.ID)
	require.False(t, row.Assigned())
	require.Equal(t, domain.Disconnected, row.Status)
	require.Empty(t, row.ClaimedBy)
}

func kindOf(err error) domain.Kind {
	var e *domain.Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return 0
}

func TestAnotherReplicaTakesOverWhenAClaimEnds(t *testing.T) {
	outcomes := map[string]error{
		"done":      nil,
		"refused":   &ports.WorkerError{Failure: ports.WorkerRefused, Message: "refused"},
		"busy":      &ports.WorkerError{Failure: ports.WorkerBusy, Status: 429, Message: "busy"},
		"rejected":  &ports.WorkerError{Failure: ports.WorkerRejected, Status: 409, Message: "rejected"},
		"timed out": &ports.WorkerError{Failure: ports.WorkerTimedOut, Message: "timed out"},
	}
	for name, outcome := range outcomes {
		for _, dies := range []bool{true, false} {
			for _, again := range []string{"started", "started, stopped and started", "asked, not confirmed"} {
				t.Run(fmt.Sprintf("%s/dies=%v/%s", name, dies, again), func(t *testing.T) {
					c := newCrowd(t, 2)
					a, b := c.all[0], c.all[1]
					c.register(a, "worker-1", 10)
					c.register(a, "worker-2", 10)
					if again == "asked, not confirmed" {
						c.hands.report = func(call) domain.Report { return domain.Report{} }
					}
					s := c.line()
					began, end := c.hang("start")
					connected := aside(func() { _, _ = a.Connect(context.Background(), s.UserID, s.ID, ports.ConnectOptions{}) })
					wait(t, began)
					a.dead = true
					breath, patience := func() {}, 5*time.Second // its last sign of life may be two seconds old
					if !dies {
						breath, patience = c.breathe(a), 39*time.Second
					}
					pulse := c.pulse(b, "worker-1", "worker-2")
					c.pass(patience, pulse, breath)
					require.Equal(t, 1, c.hands.made("start"))
					c.pass(5*time.Second, pulse, breath)
					require.Equal(t, 2, c.hands.made("start"), "the other took over")
					if again == "started, stopped and started" {
						_, err := b.Disconnect(t.Context(), s.UserID, s.ID)
						require.NoError(t, err)
						_, err = b.Connect(t.Context(), s.UserID, s.ID, ports.ConnectOptions{})
						require.NoError(t, err)
						require.Equal(t, 3, c.hands.made("start"))
					}
					before := c.session(s.ID)
					end(outcome)
					wait(t, connected)
					require.Equal(t, before, c.session(s.ID), "the late answer changes nothing")
				})
			}
		}
	}
}

func TestAClaimLastsAsLongAsTheCall(t *testing.T) {
	c := newCrowd(t, 2)
	a, b := c.all[0], c.all[1]
	c.register(a, "worker-1", 10)
	s := c.line()
	c.ask(s)
	b.dead = true
	for !c.session(s.ID).Assigned() { // in the background a session is placed first, and started by the next step
		c.clock.advance(tick)
		_, err := a.Step(t.Context())
		require.NoError(t, err)
	}
	require.Zero(t, c.hands.made("start"))
	a.dead = true
	c.pass(38*time.Second, c.pulse(b, "worker-1"), c.breathe(b))
	began, end := c.hang("start")
	stepped := aside(func() { _, _ = a.Step(context.Background()) })
	wait(t, began)
	a.dead, b.dead = true, false
	c.pass(30*time.Second, c.pulse(b, "worker-1"), c.breathe(a))
	require.Equal(t, 1, c.hands.made("start"), "the claim that was made with the assignment has been renewed")
	end(nil)
	wait(t, stepped)
	require.Equal(t, domain.Connected, c.session(s.ID).Status)
}

func TestClaimsHoldForReplicasWithOtherClocks(t *testing.T) {
	for _, skew := range []time.Duration{time.Minute, -time.Minute} {
		t.Run(skew.String(), func(t *testing.T) {
			c := newSkewed(t, []time.Duration{0, skew})
			a, b := c.all[0], c.all[1]
			c.register(a, "worker-1", 10)
			s := c.line()
			began, end := c.hang("start")
			connected := aside(func() { _, _ = a.Connect(context.Background(), s.UserID, s.ID, ports.ConnectOptions{}) })
			wait(t, began)
			a.dead = true
			pulse := c.pulse(b, "worker-1")
			c.pass(30*time.Second, pulse, c.breathe(a))
			_, err := b.Disconnect(t.Context(), s.UserID, s.ID)
			require.NoError(t, err)
			c.pass(3*time.Second, pulse, c.breathe(a))
			require.Len(t, c.hands.all("start"), 1)
			require.Zero(t, c.hands.made("disconnect"))
			end(nil)
			wait(t, connected)
			c.pass(3 * time.Second) // by B's clock it was due at once, by A's it may be later
			require.Equal(t, 1, c.hands.made("disconnect"))
		})
	}
}

func TestOnlyWhoeverAssignedKnowsThatNothingRuns(t *testing.T) {
	c := newCrowd(t, 2)
	a, b := c.all[0], c.all[1]
	c.register(a, "worker-1", 10)
	s := c.line()
	c.ask(s)
	a.dead = true
	c.hands.set(func(made call) error {
		if made.by == "A" && made.kind == "start" {
			a.store.lost.Store(true) // it runs, but A never says so
		}
		return nil
	})
	for due := c.clock.Now(); c.hands.made("start") == 0; c.clock.advance(tick) {
		require.Less(t, c.clock.Now().Sub(due), 10*time.Second)
		b.store.before = func(reads int64) {
			for reads >= 3 && !a.store.lost.Load() { // B has chosen a worker too, when A assigns and calls
				_, _ = a.Step(t.Context())
				c.clock.advance(tick)
			}
		}
		b.store.run = 0
		_, err := b.Step(t.Context())
		require.NoError(t, err)
	}
	c.register(b, "worker-2", 10)
	c.hands.set(func(made call) error {
		if made.kind == "start" {
			return &ports.WorkerError{Failure: ports.WorkerBusy, Status: 429, Message: "busy"}
		}
		return nil
	})
	c.pass(12*time.Second, c.pulse(b, "worker-1", "worker-2"))
	starts := c.hands.all("start")
	require.Greater(t, len(starts), 1, "B took over")
	for _, start := range starts {
		require.Equal(t, "worker-1", start.worker, "it may run there: %v", starts)
	}
}

// A cleanup that hangs on worker-1, where the session would prefer to be.
func TestNothingStartsWhereAnotherReplicaIsStoppingIt(t *testing.T) {
	for _, skew := range []time.Duration{0, time.Minute, -time.Minute} {
		t.Run(skew.String(), func(t *testing.T) {
			c := newSkewed(t, []time.Duration{0, skew})
			a, b := c.all[0], c.all[1]
			c.register(a, "worker-1", 10)
			s := c.connected(a)
			require.NoError(t, c.store.Update(t.Context(), func(ctx context.Context, tx *ports.Tx) error {
				return tx.Cleanups.Put(ctx, &domain.Cleanup{
					WorkerID: "worker-1", SessionID: s.ID, Order: domain.OrderDisconnect, Generation: 1,
				})
			}))
			_, err := b.Disconnect(t.Context(), s.UserID, s.ID)
			require.NoError(t, err)
			began, end := c.hang("disconnect")
			require.NoError(t, c.store.Update(t.Context(), func(ctx context.Context, tx *ports.Tx) error {
				left, err := tx.Cleanups.BySession(ctx, s.ID)
				require.NoError(t, err)
				left[0].DueAt = c.clock.Now().Add(-time.Minute)
				return tx.Cleanups.Put(ctx, left[0])
			}))
			stepped := aside(func() { _, _ = a.Step(context.Background()) })
			wait(t, began)
			a.dead = true
			c.pass(5*time.Second, c.pulse(b, "worker-1"), c.breathe(a))
			require.Equal(t, 2, c.hands.made("disconnect"), "the user's, and A's")
			_, err = b.Connect(t.Context(), s.UserID, s.ID, ports.ConnectOptions{})
			require.Equal(t, domain.CodeNoAvailableWorkers, domain.CodeOf(err), "there is no other worker")
			end(nil)
			wait(t, stepped)
			_, err = b.Connect(t.Context(), s.UserID, s.ID, ports.ConnectOptions{})
			require.NoError(t, err)
			require.Equal(t, domain.Connected, c.session(s.ID).Status)
		})
	}
}

func TestNoClockMakesALivingWorkerSilent(t *testing.T) {
	for _, skew := range []time.Duration{time.Minute, -time.Minute, time.Hour, -time.Hour} {
		for _, can := range [][]domain.Capability{nil, {domain.CapLease, domain.CapGeneration}} {
			t.Run(fmt.Sprint(skew, can), func(t *testing.T) {
				c := newSkewed(t, []time.Duration{skew, 0, skew / 2})
				a, b, d := c.all[0], c.all[1], c.all[2]
				c.register(a, "worker-1", 10, can...)
				s := c.connected(a)
				for _, hears := range []*replica{a, b, d, b, a, d} { // for minutes each
					beat := c.clock.Now()
					c.pass(150*time.Second, func() {
						if !c.clock.Now().Before(beat) {
							c.beat(hears, "worker-1", s.ID)
							beat = beat.Add(10 * time.Second)
						}
					})
					require.Empty(t, c.worker("worker-1").Loss)
				}
				require.EqualValues(t, 1, c.session(s.ID).Generation)
				require.Len(t, c.replicas(), 3, "nor is a living replica dead")
				require.Equal(t, 1, c.hands.made("start"))
			})
		}
	}
}

// replicas lists those that are known in the store.
func (c *crowd) replicas() (all []*domain.Replica) {
	c.t.Helper()
	require.NoError(c.t, c.store.View(c.t.Context(), func(ctx context.Context, tx *ports.Tx) (err error) {
		all, err = tx.Replicas.List(ctx)
		return err
	}))
	return all
}

func TestASilentWorkerIsLostWhenItsLeaseIsOutAndNotBefore(t *testing.T) {
	const lease, drift = 45 * time.Second, time.Second
	for _, skew := range []time.Duration{0, 5 * time.Second, -5 * time.Second, time.Minute, -time.Minute} {
		for _, cut := range []bool{false, true} { // the others learn of heartbeats late
			t.Run(fmt.Sprint(skew, cut), func(t *testing.T) {
				c := newSkewed(t, []time.Duration{-skew, 0, skew})
				for _, r := range c.all {
					r.ears.cut.Store(cut)
				}
				c.register(c.all[0], "worker-1", 10, domain.CapLease, domain.CapGeneration)
				c.pass(12 * time.Second)
				for _, hears := range []int{0, 1, 2, 0, 2, 1} {
					c.beat(c.all[hears], "worker-1")
					c.pass(44 * time.Second)
					require.Empty(t, c.worker("worker-1").Loss)
				}
				c.beat(c.all[1], "worker-1")
				last := c.clock.Now()
				for c.worker("worker-1").Online {
					c.pass(tick)
					require.Less(t, c.clock.Now().Sub(last), 2*time.Minute)
				}
				took := c.clock.Now().Sub(last)
				require.GreaterOrEqual(t, took, lease+drift)
				require.LessOrEqual(t, took, lease+drift+12*time.Second)
			})
		}
	}
}

// probes counts calls of health routes, by worker.
func (c *crowd) probes() map[string]int {
	n := make(map[string]int)
	for _, made := range c.hands.all("health") {
		n[made.worker]++
	}
	return n
}

func TestBackgroundWorkIsDoneOnce(t *testing.T) {
	c := newCrowd(t, 3)
	var workers []string
	for i := range 6 {
		workers = append(workers, fmt.Sprint("worker-", i))
		c.register(c.all[i%3], workers[i], 50)
	}
	turn := 0
	pulse := func() { // each heartbeat reaches another replica
		if turn++; turn%20 == 0 {
			c.pulse(c.all[turn/20%3], workers...)()
		}
	}
	c.pass(10*time.Second, pulse)
	before := c.probes()
	c.pass(time.Minute, pulse)
	askers := make(map[string]bool)
	for _, made := range c.hands.all("health") {
		askers[made.by] = true
	}
	for worker, n := range c.probes() {
		require.InDelta(t, 12, n-before[worker], 2, worker)
	}
	require.Greater(t, len(askers), 1, "they share it: %v", askers)

	var ids []string
	for range 40 {
		s := c.line()
		c.ask(s)
		ids = append(ids, s.ID)
	}
	require.NoError(t, c.store.Update(t.Context(), func(ctx context.Context, tx *ports.Tx) error {
		for i := range 40 {
			err := tx.Cleanups.Put(ctx, &domain.Cleanup{
				WorkerID: workers[i%6], SessionID: fmt.Sprint("gone-", i), Order: domain.OrderDelete, DueAt: c.clock.Now(),
			})
			if err != nil {
				return err
			}
		}
		return nil
	}))
	c.pass(10*time.Second, pulse)
	started := make(map[string]int)
	by := make(map[string]int)
	for _, made := range c.hands.all("start") {
		started[made.session]++
		by[made.by]++
	}
	for _, id := range ids {
		require.Equal(t, domain.Connected, c.session(id).Status)
		require.Equal(t, 1, started[id], id)
	}
	require.Len(t, by, 3, "all take their part")
	cleaned := make(map[string]int)
	for _, made := range c.hands.all("delete") {
		cleaned[made.session]++
	}
	require.Len(t, cleaned, 40)
	require.Equal(t, 40, c.hands.made("delete"))

	c.pass(3*time.Second, pulse)
	require.NoError(t, c.store.View(t.Context(), func(ctx context.Context, tx *ports.Tx) error {
		recorded, err := tx.Outbox.After(ctx, 0, 0)
		require.Equal(t, recorded, c.bus.events, "published once, in order")
		return err
	}))
}

func TestOthersTakeOverWhatADeadReplicaDid(t *testing.T) {
	c := newCrowd(t, 3)
	workers := []string{"worker-1", "worker-2", "worker-3", "worker-4", "worker-5", "worker-6"}
	for _, w := range workers {
		c.register(c.all[0], w, 50)
	}
	pulse := c.pulse(c.all[0], workers...)
	c.pass(10*time.Second, pulse)
	c.all[1].dead, c.all[2].dead = true, true
	for range 30 {
		c.ask(c.line())
	}
	c.pass(5*time.Second, pulse)
	require.Equal(t, 30, c.hands.made("start"), "they wait for their turn no longer than a moment")
	c.pass(6*time.Second, pulse)
	require.Len(t, c.replicas(), 1)
	before := c.probes()
	c.pass(time.Minute, pulse)
	for _, w := range workers {
		require.InDelta(t, 12, c.probes()[w]-before[w], 2, w)
	}
	require.NoError(t, c.store.View(t.Context(), func(ctx context.Context, tx *ports.Tx) error {
		recorded, err := tx.Outbox.After(ctx, 0, 0)
		require.Equal(t, recorded, c.bus.events)
		return err
	}))
}

func TestAnOrderlyEndHandsOverAtOnce(t *testing.T) {
	c := newCrowd(t, 2)
	a, b := c.all[0], c.all[1]
	c.register(b, "worker-1", 50)
	s := c.line()
	a.dead, b.dead = true, true
	ctx, cancel := context.WithCancel(context.Background())
	a.store.after = func() {
		if c.session(s.ID).Assigned() {
			cancel() // A has just placed the session, and will not come to start it
		}
	}
	c.ask(s)
	c.clock.advance(5 * time.Second)
	ended := aside(func() { _ = a.Run(ctx) })
	wait(t, ended)
	require.True(t, c.session(s.ID).Assigned())
	require.Zero(t, c.hands.made("start"))
	require.Len(t, c.replicas(), 1)
	b.dead = false
	c.pass(3*time.Second, c.pulse(b, "worker-1"))
	require.Equal(t, domain.Connected, c.session(s.ID).Status)
}

func TestNothingIsMissedBeforeAReplicaListens(t *testing.T) {
	c := newCrowd(t, 1)
	a := c.all[0]
	late := c.join(0)
	_, err := late.Statistics(t.Context()) // it has read everything now
	require.NoError(t, err)
	c.register(a, "worker-1", 1)
	c.connected(a)
	require.NoError(t, c.stepOf(late))
	used, err := late.Statistics(t.Context())
	require.NoError(t, err)
	require.Equal(t, 1, used.Used)
}

func (c *crowd) stepOf(r *replica) error {
	_, err := r.Step(c.t.Context())
	return err
}

// load counts the calls that are under way.
type load struct {
	mu            sync.Mutex
	now, most     map[string]int // by replica and worker, by worker, by replica
	starts, again int
	started       map[string]bool
}

func newLoad() *load {
	return &load{now: map[string]int{}, most: map[string]int{}, started: map[string]bool{}}
}

// take lets a start take a while.
func (l *load) take(made call) error {
	if made.kind != "start" {
		return nil
	}
	keys := []string{made.by + "/" + made.worker, made.worker, made.by}
	l.mu.Lock()
	for _, k := range keys {
		l.now[k]++
		l.most[k] = max(l.most[k], l.now[k])
	}
	if l.starts++; l.started[made.session] {
		l.again++
	}
	l.started[made.session] = true
	l.mu.Unlock()
	time.Sleep(time.Second)
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, k := range keys {
		l.now[k]--
	}
	return nil
}

// full assigns connected sessions to workers, so many to each.
func (c *crowd) full(workers []string, sessions int) (ids []string) {
	c.t.Helper()
	var user string
	var users []string // of each so many that they are not over their limit
	for range (sessions*len(workers) + 19) / 20 {
		users = append(users, c.world().user(domain.TierMax))
	}
	n := 0
	now := c.now()
	require.NoError(c.t, c.store.Update(c.t.Context(), func(ctx context.Context, tx *ports.Tx) error {
		for _, w := range workers {
			for i := range sessions {
				user = users[n/20]
				n++
				s := domain.Card(fmt.Sprintf("%s-line-%d", w, i), user, "line", "", now)
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

// running lets the replicas run until the end of the test, and waits until all
// know of all.
func (c *crowd) running() {
	ctx, cancel := context.WithCancel(context.Background())
	var ended sync.WaitGroup
	for _, r := range c.all {
		ended.Go(func() { _ = r.Run(ctx) })
	}
	c.t.Cleanup(func() { cancel(); ended.Wait() })
	time.Sleep(3 * time.Second)
}

// realTime is for replicas that run by themselves, in a bubble of [synctest].
func realTime(cfg *orchestrator.Config) {
	cfg.Clock, cfg.Spawn, cfg.Sleep = system.Clock{}, nil, nil
	cfg.Parallel = 24
	cfg.Timing.StartTimeout = time.Second // the grace of a worker that is back
}

func TestRecoveryAtScale(t *testing.T) {
	for _, size := range []struct{ workers, sessions int }{{1, 1000}, {20, 50}} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := newCrowd(t, 3, realTime)
				var workers []string
				for i := range size.workers {
					workers = append(workers, fmt.Sprint("worker-", i))
					c.register(c.all[0], workers[i], 1000)
				}
				ids := c.full(workers, size.sessions)
				l := newLoad()
				c.hands.set(l.take)
				c.running()
				for i, w := range workers { // all of them restart at once
					c.register(c.all[i%3], w, 1000)
				}
				began := time.Now()
				connected := 0
				for connected < len(ids) {
					require.Less(t, time.Since(began), 3*time.Minute)
					time.Sleep(100 * time.Millisecond)
					for _, w := range workers {
						c.pulse(c.all[0], w)()
					}
					require.NoError(t, c.store.View(t.Context(), func(ctx context.Context, tx *ports.Tx) error {
						by, err := tx.Sessions.CountByStatus(ctx)
						connected = by[domain.Connected]
						return err
					}))
				}
				t.Logf("%d back after %v; %d starts, %d of them again; most at once: %v",
					len(ids), time.Since(began), l.starts, l.again, l.most)
				require.Zero(t, l.again)
				bound := 8
				if size.workers > 1 {
					bound = 16 // for the length of a call, when two replicas begin with it at the same moment
				}
				for by, n := range l.most {
					if len(by) == 1 {
						require.LessOrEqual(t, n, 24, "calls of one replica")
					} else {
						require.LessOrEqual(t, n, bound, "calls to one worker, all replicas together: %s", by)
					}
				}
			})
		})
	}
}

// commands gives the sessions that a heartbeat's answer has the worker stop.
func commands(answer *ports.HeartbeatAnswer) (ids []string) {
	for _, c := range answer.Commands {
		ids = append(ids, c.SessionID)
	}
	return ids
}

func TestEachReplicaSeesWhatOthersDo(t *testing.T) {
	for _, cut := range []bool{false, true} {
		name, late := "hints", time.Duration(0)
		if cut {
			name, late = "hints are lost", 2*time.Minute+time.Second
		}
		t.Run(name, func(t *testing.T) {
			c := newCrowd(t, 2)
			a, b := c.all[0], c.all[1]
			a.ears.cut.Store(cut)
			beat := c.clock.Now()
			alive := make(map[string][]string)
			see := func() { // B gets to see what A has done, at the latest
				c.pass(late, func() {
					if c.clock.Now().Before(beat) {
						return
					}
					for w, sessions := range alive {
						c.beat(a, w, sessions...)
					}
					beat = c.clock.Now().Add(10 * time.Second)
				})
				require.NoError(t, c.stepOf(b))
			}
			at := func(r *replica, worker string) int {
				view, _, err := r.Worker(t.Context(), worker)
				require.NoError(t, err)
				return view.Breakdown.Total
			}
			c.register(a, "worker-1", 1)
			alive["worker-1"] = nil
			see()
			chosen, _, err := b.Available(t.Context())
			require.NoError(t, err)
			require.Equal(t, "worker-1", chosen)

			s := c.connected(a)
			alive["worker-1"] = []string{s.ID}
			see()
			require.Equal(t, 1, at(b, "worker-1"))
			chosen, _, err = b.Available(t.Context())
			require.NoError(t, err)
			require.Empty(t, chosen, "it is full")

			_, err = a.Disconnect(t.Context(), s.UserID, s.ID)
			require.NoError(t, err)
			alive["worker-1"] = nil
			see()
			require.Zero(t, at(b, "worker-1"))

			_, err = a.Drain(t.Context(), "worker-1")
			require.NoError(t, err)
			see()
			chosen, _, err = b.Available(t.Context())
			require.NoError(t, err)
			require.Empty(t, chosen)

			require.NoError(t, a.RemoveWorker(t.Context(), "worker-1", false))
			delete(alive, "worker-1")
			see()
			_, candidates, err := b.Available(t.Context())
			require.NoError(t, err)
			require.Empty(t, candidates)
			b.ears.Hints.Tell(ports.Hint{}) // no effect on itself
			c.hub.Join().Tell(ports.Hint{Workers: []string{"worker-1"}, Sessions: []string{s.ID}})
			require.NoError(t, c.stepOf(b))
			_, candidates, err = b.Available(t.Context())
			require.NoError(t, err)
			require.Empty(t, candidates, "a late hint brings nothing back")

			c.register(a, "worker-1", 5) // it is another one
			alive["worker-1"] = nil
			see()
			chosen, _, err = b.Available(t.Context())
			require.NoError(t, err)
			require.Equal(t, "worker-1", chosen)
		})
	}
}

func TestAReplicaServesWorkersThatItHasNotHeardOf(t *testing.T) {
	c := newCrowd(t, 2)
	a, b := c.all[0], c.all[1]
	a.ears.cut.Store(true)
	for _, w := range []string{"worker-1", "worker-2", "worker-3", "worker-4"} {
		c.register(a, w, 5)
	}
	s := c.connected(a)
	home := c.session(s.ID).WorkerID
	before := c.session(s.ID)
	require.Empty(t, c.beat(b, home, s.ID).Commands)
	require.Equal(t, before, c.session(s.ID), "its session is neither stopped nor started again")
	require.Equal(t, 1, c.hands.made("start"))
	var rest []string
	for _, w := range []string{"worker-1", "worker-2", "worker-3", "worker-4"} {
		if w != home {
			rest = append(rest, w)
		}
	}
	_, err := b.Drain(t.Context(), rest[0])
	require.NoError(t, err)
	require.NoError(t, b.RemoveWorker(t.Context(), rest[1], false))
	_, err = b.Activate(t.Context(), rest[2])
	require.NoError(t, err)
	_, err = b.Disconnect(t.Context(), s.UserID, s.ID)
	require.NoError(t, err)
	require.False(t, c.session(s.ID).Assigned())
}

func TestWorkersAreToldWhatIsNotTheirsWhateverReplicaTheyReportTo(t *testing.T) {
	for _, cut := range []bool{false, true} {
		t.Run(fmt.Sprint("cut=", cut), func(t *testing.T) {
			c := newCrowd(t, 2)
			a, b := c.all[0], c.all[1]
			can := []domain.Capability{domain.CapGeneration, domain.CapLease}
			c.register(a, "worker-1", 5, can...)
			s := c.connected(a)
			c.register(a, "worker-2", 5, can...)
			require.NoError(t, c.stepOf(b))
			a.ears.cut.Store(cut)
			require.NoError(t, left(a.UnregisterWorker(t.Context(), "worker-1", "")))
			b.dead = true
			c.pass(9*time.Second, c.pulse(a, "worker-2"), c.breathe(b))
			require.Equal(t, "worker-2", c.session(s.ID).WorkerID)
			h := domain.Heartbeat{WorkerID: "worker-1", Lists: true, CPU: -1, Memory: -1, MessageCount: -1, Sessions: []domain.Report{
				{SessionID: s.ID, Status: domain.Connected, Generation: 1},
			}}
			answer, err := b.Heartbeat(t.Context(), h)
			require.NoError(t, err)
			require.Contains(t, commands(answer), s.ID)
			moved := c.session(s.ID)

			// Nor does anybody start it again where it was, or stop it where it is.
			b.dead = false
			h.Sessions = nil
			_, err = b.Heartbeat(t.Context(), h)
			require.NoError(t, err)
			require.Empty(t, commands(c.beat(b, "worker-2", s.ID)))
			c.pass(10*time.Second, c.pulse(b, "worker-1", "worker-2"))
			now := c.session(s.ID)
			require.Equal(t, []any{moved.WorkerID, moved.Generation, domain.Connected}, []any{now.WorkerID, now.Generation, now.Status})
			require.Equal(t, 2, c.hands.made("start"))
		})
	}
}

func TestAStaleReadBringsNothingBack(t *testing.T) {
	c := newCrowd(t, 2)
	a, b := c.all[0], c.all[1]
	c.register(a, "worker-1", 5)
	s := c.connected(a)
	require.NoError(t, c.stepOf(b))
	view, _, err := b.Worker(t.Context(), "worker-1")
	require.NoError(t, err)
	require.Equal(t, 1, view.Breakdown.Total)
	_, err = a.Restart(t.Context(), s.UserID, s.ID) // B is told, reads the row, …
	require.NoError(t, err)
	b.store.viewed = func() { // … and before it makes use of that, the session is deleted
		b.store.viewed = nil
		require.NoError(t, a.DeleteSession(t.Context(), s.UserID, s.ID))
	}
	require.NoError(t, c.stepOf(b))
	require.NoError(t, c.stepOf(b))
	view, _, err = b.Worker(t.Context(), "worker-1")
	require.NoError(t, err)
	require.Zero(t, view.Breakdown.Total)
}

func TestWhoWaitsForAQRSeesWhatWasReportedElsewhere(t *testing.T) {
	for _, cut := range []bool{false, true} {
		t.Run(fmt.Sprint("cut=", cut), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCrowd(t, 2, func(cfg *orchestrator.Config) { realTime(cfg); cfg.Timing.StartTimeout = 0 })
				a, b := c.all[0], c.all[1]
				c.hands.report = func(call) domain.Report { return domain.Report{Status: domain.Init} }
				c.running()
				c.register(a, "worker-1", 5)
				s := c.line()
				time.Sleep(time.Second)
				b.ears.cut.Store(cut)
				asked := make(chan *ports.SessionQR, 1)
				go func() {
					q, _ := b.Connect(context.Background(), s.UserID, s.ID, ports.ConnectOptions{Wait: 30 * time.Second})
					asked <- q
				}()
				time.Sleep(10 * time.Second)
				began := time.Now()
				_, err := a.SessionReport(t.Context(), domain.Report{
					SessionID: s.ID, Status: domain.QRRequired, QR: domain.QR{Code: "scan me", ExpiresAt: time.Now().Add(time.Minute)},
				})
				require.NoError(t, err)
				require.Equal(t, "scan me", (<-asked).QR.Code)
				if took := time.Since(began); cut {
					require.LessOrEqual(t, took, time.Second)
				} else {
					require.LessOrEqual(t, took, 50*time.Millisecond)
				}
			})
		})
	}
}

// A replica that is told to end waits for its calls; meanwhile it lives.
func TestAReplicaThatEndsKeepsItsClaims(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t, 2, realTime)
		c.register(c.all[0], "worker-1", 50)
		c.running()
		c.hands.set(func(made call) error {
			if made.kind == "start" {
				time.Sleep(12 * time.Second)
			}
			return nil
		})
		ctx, cancel := context.WithCancel(t.Context())
		third := c.join(0)
		ended := aside(func() { _ = third.Run(ctx) })
		time.Sleep(3 * time.Second)
		s := make(map[string]bool)
		for range 12 {
			line := c.line()
			c.ask(line)
			s[line.ID] = true
		}
		time.Sleep(3 * time.Second)
		cancel()
		for range 30 {
			time.Sleep(time.Second)
			c.pulse(c.all[0], "worker-1")()
		}
		<-ended
		for _, made := range c.hands.all("start") {
			require.True(t, s[made.session], "%s was started again by %s", made.session, made.by)
			s[made.session] = false
		}
		require.Len(t, c.replicas(), 2)
	})
}

func TestAWorkerThatRegistersDuringALookAtTheStoreStays(t *testing.T) {
	c := newCrowd(t, 1)
	a := c.all[0]
	c.register(a, "worker-1", 5)
	for name, look := range map[string]func(){
		"everything": func() { c.hub.Join().Tell(ports.Hint{All: true}) },
		"one":        func() { c.hub.Join().Tell(ports.Hint{Workers: []string{"worker-2"}}) },
		"the fleet":  func() { c.clock.advance(11 * time.Second) },
	} {
		t.Run(name, func(t *testing.T) {
			look()
			a.store.viewed = func() {
				a.store.viewed = nil
				c.register(a, "worker-2", 5)
			}
			require.NoError(t, c.stepOf(a))
			require.Nil(t, a.store.viewed)
			c.beat(a, "worker-2")
			require.NoError(t, a.RemoveWorker(t.Context(), "worker-2", false))
		})
	}
}

func TestWorkersComeAndGoWithoutHints(t *testing.T) {
	c := newCrowd(t, 2)
	a, b := c.all[0], c.all[1]
	a.ears.cut.Store(true)
	c.register(a, "worker-1", 5)
	s := c.connected(a)
	c.pass(11*time.Second, c.pulse(a, "worker-1"))
	used, err := b.Statistics(t.Context())
	require.NoError(t, err)
	require.Equal(t, 1, used.Used, "with its sessions")
	_, err = a.Disconnect(t.Context(), s.UserID, s.ID)
	require.NoError(t, err)
	require.NoError(t, a.RemoveWorker(t.Context(), "worker-1", false))
	c.pass(11 * time.Second)
	used, err = b.Statistics(t.Context())
	require.NoError(t, err)
	require.Zero(t, used.Online)
}

// ownRoutes gives each replica routes that the others do not write to.
func ownRoutes(cfg *orchestrator.Config) { cfg.Routes = memory.NewRoutes() }

func holder(s *ports.CreatedSession) ports.KeyHolder {
	return ports.KeyHolder{UserID: s.UserID, SessionID: s.ID}
}

var hello = domain.Outgoing{To: "6281234567890", Type: domain.TypeText, Text: "hello"}

func TestSendsFollowASessionThatHasMoved(t *testing.T) {
	for _, known := range []bool{true, false} { // whether B knows the new worker
		t.Run(fmt.Sprint("known=", known), func(t *testing.T) {
			c := newCrowd(t, 2, ownRoutes)
			a, b := c.all[0], c.all[1]
			c.register(a, "worker-1", 5)
			s := c.connected(a)
			_, err := b.Send(t.Context(), holder(s), &hello)
			require.NoError(t, err)
			if known {
				c.register(a, "worker-2", 5)
				require.NoError(t, c.stepOf(b))
			}
			a.ears.cut.Store(true)
			if !known {
				c.register(a, "worker-2", 5)
			}
			_, err = a.Migrate(t.Context(), s.ID, "worker-2", "")
			require.NoError(t, err)
			require.Equal(t, "worker-2", c.session(s.ID).WorkerID)
			require.Equal(t, domain.Connected, c.session(s.ID).Status)
			c.hands.set(func(made call) error {
				if (made.kind == "send" || made.kind == "act") && made.worker == "worker-1" {
					return &ports.WorkerError{Failure: ports.WorkerUnknown, Status: 404, Message: "no such session"}
				}
				return nil
			})
			if known {
				require.NoError(t, b.Act(t.Context(), holder(s), domain.Action{Type: domain.ActionTypingStart, Phone: "6281234567890"}))
			}
			m, err := b.Send(t.Context(), holder(s), &hello)
			require.NoError(t, err)
			require.Equal(t, []string{"worker-2"}, c.hands.sent[m.ID])
			require.Equal(t, domain.MessageSent, m.Status)
		})
	}
}

func TestNothingIsSentTwice(t *testing.T) {
	c := newCrowd(t, 2, ownRoutes)
	a, b := c.all[0], c.all[1]
	c.register(a, "worker-1", 5)
	c.register(a, "worker-2", 5)
	s := c.connected(a)
	_, err := b.Send(t.Context(), holder(s), &hello)
	require.NoError(t, err)
	first := c.session(s.ID).WorkerID
	for _, failure := range []ports.WorkerFailure{ports.WorkerTimedOut, ports.WorkerBroken, ports.WorkerFailed} {
		c.hands.set(func(made call) error {
			if made.kind == "send" {
				_, err := a.Restart(t.Context(), s.UserID, s.ID)
				require.NoError(t, err)
				return &ports.WorkerError{Failure: failure, Status: 500, Message: "no answer"}
			}
			return nil
		})
		before := c.hands.made("send")
		_, err := b.Send(t.Context(), holder(s), &hello)
		require.Error(t, err)
		require.Equal(t, before+1, c.hands.made("send"), "it may have been sent")
	}
	c.hands.set(nil)
	require.Equal(t, first, c.session(s.ID).WorkerID)
}

func TestASessionThatIsConnectedSends(t *testing.T) {
	c := newCrowd(t, 2, ownRoutes)
	a, b := c.all[0], c.all[1]
	c.register(a, "worker-1", 5)
	c.step()
	s := c.connected(b)
	_, err := b.Disconnect(t.Context(), s.UserID, s.ID)
	require.NoError(t, err)
	_, err = b.Send(t.Context(), holder(s), &hello)
	require.Equal(t, domain.CodeSessionNotConnected, domain.CodeOf(err))

	a.ears.cut.Store(true) // B does not hear that it is connected again, nor that its worker is
	require.NoError(t, c.stepOf(b))
	require.NoError(t, left(b.UnregisterWorker(t.Context(), "worker-1", "")))
	c.register(a, "worker-1", 5)
	_, err = a.Connect(t.Context(), s.UserID, s.ID, ports.ConnectOptions{})
	require.NoError(t, err)
	require.Equal(t, domain.Connected, c.session(s.ID).Status)
	m, err := b.Send(t.Context(), holder(s), &hello)
	require.NoError(t, err)
	require.Len(t, c.hands.sent[m.ID], 1)
}

func TestAReportReachesAnotherReplicaBeforeTheSendIsAnswered(t *testing.T) {
	for _, busy := range []bool{false, true} { // whether that replica is sending, too
		t.Run(fmt.Sprint("busy=", busy), func(t *testing.T) {
			slept := func() {}
			c := newCrowd(t, 2, func(cfg *orchestrator.Config) {
				cfg.Sleep = func(context.Context, time.Duration) error { slept(); return nil }
			})
			a, b := c.all[0], c.all[1]
			c.register(a, "worker-1", 5)
			s := c.connected(a)
			answerA, answerB := make(chan struct{}), make(chan struct{})
			reached := make(chan string, 2)
			c.hands.set(func(made call) error {
				if made.kind != "send" {
					return nil
				}
				reached <- made.by
				if made.by == "A" {
					<-answerA
				} else {
					<-answerB
				}
				return nil
			})
			var sent *domain.Message
			sentA := aside(func() { sent, _ = a.Send(context.Background(), holder(s), &hello) })
			require.Equal(t, "A", <-reached)
			sentB := aside(func() {})
			if busy {
				sentB = aside(func() { _, _ = b.Send(context.Background(), holder(s), &hello) })
				require.Equal(t, "B", <-reached)
			}
			var id string
			require.NoError(t, c.store.View(t.Context(), func(ctx context.Context, tx *ports.Tx) error {
				pending, err := tx.Messages.List(ctx, s.ID, domain.MessageFilter{Limit: 10})
				for _, m := range pending {
					id = m.ID // the oldest is A's
				}
				return err
			}))
			var once sync.Once
			slept = func() { once.Do(func() { close(answerA); wait(t, sentA) }) }
			applied, err := b.MessageReport(t.Context(), domain.MessageReport{SessionID: s.ID, WhatsAppID: "WA-" + id, Status: domain.MessageDelivered})
			require.NoError(t, err)
			require.True(t, applied)
			close(answerB)
			wait(t, sentB)
			wait(t, sentA)
			require.Equal(t, id, sent.ID)
			m, err := b.Message(t.Context(), s.UserID, s.ID, id)
			require.NoError(t, err)
			require.Equal(t, domain.MessageDelivered, m.Status)
		})
	}
}

func TestWhatIsRevokedIsRefusedEverywhere(t *testing.T) {
	change := func(c *crowd, user string, fn func(*domain.User)) {
		require.NoError(c.t, c.store.Update(c.t.Context(), func(ctx context.Context, tx *ports.Tx) error {
			u, err := tx.Users.Get(ctx, user)
			require.NoError(c.t, err)
			fn(u)
			return tx.Users.Put(ctx, u)
		}))
		require.NoError(c.t, c.all[0].UserChanged(c.t.Context(), user))
	}
	for name, revoke := range map[string]struct {
		how  func(c *crowd, s *ports.CreatedSession)
		code domain.Code
	}{
		"key rotated": {func(c *crowd, s *ports.CreatedSession) {
			_, err := c.all[0].RotateKey(c.t.Context(), s.UserID, s.ID, 0)
			require.NoError(c.t, err)
		}, domain.CodeAPIKeyInvalid},
		"key revoked": {func(c *crowd, s *ports.CreatedSession) {
			keys, err := c.all[0].Keys(c.t.Context(), s.UserID)
			require.NoError(c.t, err)
			require.NoError(c.t, c.all[0].RevokeKey(c.t.Context(), s.UserID, keys[0].ID))
		}, domain.CodeAPIKeyInvalid},
		"session deleted": {func(c *crowd, s *ports.CreatedSession) {
			require.NoError(c.t, c.all[0].DeleteSession(c.t.Context(), s.UserID, s.ID))
		}, domain.CodeAPIKeyInvalid},
		"user deactivated": {func(c *crowd, s *ports.CreatedSession) {
			change(c, s.UserID, func(u *domain.User) { u.Active = false })
		}, domain.CodeAccountDeactivated},
		"used up by a downgrade": {func(c *crowd, s *ports.CreatedSession) {
			change(c, s.UserID, func(u *domain.User) { u.Tier = domain.TierBasic })
		}, domain.CodeAPILimit},
	} {
		for _, cut := range []bool{false, true} {
			t.Run(fmt.Sprint(name, "/cut=", cut), func(t *testing.T) {
				c := newCrowd(t, 2)
				user := c.world().user(domain.TierPro)
				s, err := c.all[0].CreateSession(t.Context(), user, ports.NewSession{Name: "line"})
				require.NoError(t, err)
				use := func() error {
					_, _, err := c.all[1].AuthenticateKey(t.Context(), s.APIKey)
					return err
				}
				for range 1001 { // more than the lower tier allows
					require.NoError(t, use())
				}
				c.all[0].ears.cut.Store(cut)
				revoke.how(c, s)
				if cut {
					c.clock.advance(999 * time.Millisecond)
					require.NoError(t, use(), "the test would prove nothing")
					c.clock.advance(time.Millisecond)
				}
				require.Equal(t, revoke.code, domain.CodeOf(use()))
			})
		}
	}
}

func TestLimitsHoldForAllReplicasTogether(t *testing.T) {
	c := newCrowd(t, 2, func(cfg *orchestrator.Config) {
		cfg.Tiers = domain.DefaultTiers()
		limits := cfg.Tiers[domain.TierBasic]
		limits.MessagesPerHour = 50
		cfg.Tiers[domain.TierBasic] = limits
	})
	c.register(c.all[0], "worker-1", 5)
	s := c.connected(c.all[0])
	require.NoError(t, c.stepOf(c.all[1]))
	var sent, refused atomic.Int64
	flood := func(n int) {
		race(n, func(i int) {
			_, err := c.all[i%2].Send(context.Background(), holder(s), &hello)
			switch domain.CodeOf(err) {
			case "":
				sent.Add(1)
			case domain.CodeMessageLimit:
				refused.Add(1)
			}
		})
	}
	flood(30)
	require.EqualValues(t, 30, sent.Load())
	c.limiter.(*forgetful).forget()
	flood(4) // as many may be under way while what was lost is counted again
	flood(60)
	require.LessOrEqual(t, sent.Load(), int64(50+4))
	require.GreaterOrEqual(t, sent.Load(), int64(50))
	require.EqualValues(t, 94, sent.Load()+refused.Load())
	require.EqualValues(t, sent.Load(), c.hands.made("send"))
	c.limiter.(*forgetful).forget()
	_, err := c.all[1].Send(t.Context(), holder(s), &hello)
	require.Equal(t, domain.CodeMessageLimit, domain.CodeOf(err))
}

// forgetful is a limiter that can lose everything.
type forgetful struct{ atomic.Pointer[memory.Limiter] }

func (f *forgetful) forget() { f.Store(memory.NewLimiter()) }

func (f *forgetful) Take(ctx context.Context, key string, at time.Time, length time.Duration, limit, n int) (domain.Usage, error) {
	return f.Load().Take(ctx, key, at, length, limit, n)
}

func (f *forgetful) Seed(ctx context.Context, key string, first time.Time, length time.Duration, used int) error {
	return f.Load().Seed(ctx, key, first, length, used)
}

func TestTheMonitorIsStoppedEverywhere(t *testing.T) {
	c := newCrowd(t, 3)
	for i := range 6 {
		c.register(c.all[0], fmt.Sprint("worker-", i), 5)
	}
	pulse := c.pulse(c.all[0], "worker-0", "worker-1", "worker-2", "worker-3", "worker-4", "worker-5")
	_, err := c.all[1].SetMonitor(t.Context(), false)
	require.NoError(t, err)
	c.pass(3*time.Second, pulse)
	for _, r := range c.all {
		require.False(t, r.Monitor(t.Context()).Running)
	}
	before := c.hands.made("health")
	c.pass(time.Minute, pulse)
	require.Equal(t, before, c.hands.made("health"))
	late := c.join(0)
	require.NoError(t, c.stepOf(late))
	require.False(t, late.Monitor(t.Context()).Running, "one that comes later knows")
	_, err = c.all[2].SetMonitor(t.Context(), true)
	require.NoError(t, err)
	c.pass(10*time.Second, pulse)
	require.Greater(t, c.hands.made("health"), before)
	for _, r := range c.all {
		require.True(t, r.Monitor(t.Context()).Running)
	}
}

func TestAWorkerThatRefusesOneReplicaIsNotLost(t *testing.T) {
	for _, every := range []time.Duration{tick, 25 * time.Second} { // between heartbeats, which reach the other
		t.Run(fmt.Sprint("every ", every), func(t *testing.T) {
			c := newCrowd(t, 2)
			a, b := c.all[0], c.all[1]
			b.ears.cut.Store(every == tick)                                                             // hints are needed only if heartbeats are rare
			workers := []string{"worker-1", "worker-2", "worker-3", "worker-4", "worker-5", "worker-6"} // some are B's to ask
			on := make(map[string][]string)
			for _, w := range workers {
				c.register(a, w, 5)
			}
			c.step()
			for range 8 {
				s := c.connected(a)
				home := c.session(s.ID).WorkerID
				on[home] = append(on[home], s.ID)
			}
			c.hands.set(func(made call) error {
				if made.by == "B" && made.kind == "health" {
					return &ports.WorkerError{Failure: ports.WorkerRefused, Message: "connection refused"}
				}
				return nil
			})
			beat := c.clock.Now().Add(every)
			c.pass(2*time.Minute, func() {
				if c.clock.Now().Before(beat) {
					return
				}
				for _, w := range workers {
					c.beat(a, w, on[w]...)
				}
				beat = beat.Add(every)
			})
			asked := 0
			for _, made := range c.hands.all("health") {
				if made.by == "B" {
					asked++
				}
			}
			require.Positive(t, asked)
			for _, w := range workers {
				require.Empty(t, c.worker(w).Loss)
				for _, id := range on[w] {
					s := c.session(id)
					require.Equal(t, []any{w, int64(1), domain.Connected}, []any{s.WorkerID, s.Generation, s.Status})
				}
			}
		})
	}
}

func TestWhoWaitsForRoomGetsItInOrder(t *testing.T) {
	c := newCrowd(t, 3)
	tiers := []domain.Tier{domain.TierBasic, domain.TierMax, domain.TierPro}
	var want []string // sessions, the highest tier and the oldest first
	by := make(map[domain.Tier][]string)
	for i := range 12 {
		user := c.world().user(tiers[i%3])
		s, err := c.all[i%3].CreateSession(t.Context(), user, ports.NewSession{Name: "line"})
		require.NoError(t, err)
		c.clock.advance(time.Second)
		c.ask(s)
		by[tiers[i%3]] = append(by[tiers[i%3]], s.ID)
	}
	want = slices.Concat(by[domain.TierMax], by[domain.TierPro], by[domain.TierBasic])
	c.pass(5 * time.Minute) // they look for room once a minute by now
	require.Zero(t, c.hands.made("start"))
	var workers []string
	for i := range want {
		if i == 6 {
			c.all[2].dead = true // whoever it was that they told
		}
		if i == 7 {
			c.pass(9*time.Second, c.pulse(c.all[0], workers...))
		}
		workers = append(workers, fmt.Sprint("worker-", i))
		c.register(c.all[i%2], workers[i], 1)
		c.pass(5*time.Second, c.pulse(c.all[0], workers...))
		var got []string
		for _, made := range c.hands.all("start") {
			got = append(got, made.session)
		}
		if i < 6 || i > 7 {
			require.Equal(t, want[:i+1], got)
		}
		if i == 7 {
			require.ElementsMatch(t, want[:i+1], got)
		}
	}
}

func TestIdleReplicasHardlyTouchTheStore(t *testing.T) {
	c := newCrowd(t, 3)
	var workers []string
	for i := range 10 {
		workers = append(workers, fmt.Sprint("worker-", i))
		c.register(c.all[0], workers[i], 5)
	}
	ids := c.full(workers, 5)
	for range 5 {
		c.ask(c.line()) // and these find no room
	}
	on := make(map[string][]string)
	for _, id := range ids {
		w := c.session(id).WorkerID
		on[w] = append(on[w], id)
	}
	beatAt := c.clock.Now()
	next := make(map[*replica]time.Time)
	minute := func() {
		for end := c.clock.Now().Add(time.Minute); c.clock.Now().Before(end); c.clock.advance(20 * time.Millisecond) {
			if now := c.clock.Now(); !now.Before(beatAt) {
				for i, w := range workers {
					c.beat(c.all[i%3], w, on[w]...)
				}
				beatAt = now.Add(10 * time.Second)
			}
			for _, r := range c.all {
				if !c.clock.Now().Before(next[r]) {
					at, err := r.Step(t.Context())
					require.NoError(t, err)
					next[r] = at
				}
			}
		}
	}
	for range 3 {
		minute()
	}
	for _, r := range c.all {
		r.store.views.Store(0)
		r.store.updates.Store(0)
	}
	minute()
	for _, r := range c.all {
		t.Logf("%s: %d reads and %d writes in a minute", r.name, r.store.views.Load(), r.store.updates.Load())
		require.LessOrEqual(t, r.store.updates.Load(), int64(30+20+15), "signs of life, heartbeats, the rest")
		require.LessOrEqual(t, r.store.views.Load(), int64(240))
	}
	require.Zero(t, c.hands.made("start"))
}

// owners follows where sessions run, by the calls that are made.
type owners struct {
	mu sync.Mutex
	on map[string]map[string]bool // workers, by session
}

// watchOwners answers all calls, and fails the test if a session is started while
// it runs elsewhere.
func (c *crowd) watchOwners() *owners {
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

// gone ends what runs on a worker.
func (o *owners) gone(worker string) {
	for _, on := range o.on {
		delete(on, worker)
	}
}

// A replica dies, or only stands still, before each write of its part of a
// failover in turn: what it has begun is finished by the others, and what it does
// when it goes on harms nothing.
func TestAFailoverGoesOnWhenAReplicaEndsInTheMiddle(t *testing.T) {
	const sessions = 30
	for _, returns := range []bool{false, true} {
		for at, more := 1, true; more; at++ {
			t.Run(fmt.Sprintf("returns=%v/%d", returns, at), func(t *testing.T) {
				c := newCrowd(t, 3)
				a := c.all[0]
				where := c.watchOwners()
				c.register(a, "worker-1", sessions)
				var ids []string
				for range sessions {
					ids = append(ids, c.connected(a).ID)
				}
				others := []string{"worker-2", "worker-3"}
				for _, w := range others {
					c.register(a, w, 50)
				}
				where.gone("worker-1")
				require.NoError(t, left(c.all[1].UnregisterWorker(t.Context(), "worker-1", "")))
				pulse := c.pulse(c.all[1], others...)
				c.pass(5*time.Second-tick, pulse)
				writes := 0
				more = false
				a.store.before = func(int64) {
					if writes++; writes != at {
						return
					}
					more = true
					a.dead = true
					if returns {
						c.pass(time.Minute, pulse)
						a.dead = false
						return
					}
					a.store.lost.Store(true)
				}
				failover := c.clock.Now()
				for done := 0; done < sessions; {
					if _, err := a.Step(t.Context()); !a.store.lost.Load() {
						require.NoError(t, err)
					}
					a.dead = true
					c.pass(tick, pulse)
					a.dead = a.store.lost.Load()
					done = 0
					for _, id := range ids {
						if s := c.session(id); s.Status == domain.Connected && where.on[id][s.WorkerID] {
							done++
						}
					}
					require.Less(t, c.clock.Now().Sub(failover), 75*time.Second)
				}
				if !returns {
					require.LessOrEqual(t, c.clock.Now().Sub(failover), 12*time.Second)
				}
				a.store.before = nil
				c.pass(time.Minute, pulse)
				for _, id := range ids {
					s := c.session(id)
					require.Equal(t, []any{domain.Connected, map[string]bool{s.WorkerID: true}}, []any{s.Status, where.on[id]})
				}
			})
		}
	}
}

func TestAPublisherThatStoodStillDoesNotTurnBack(t *testing.T) {
	for _, when := range []string{"after it read", "after it published"} {
		t.Run(when, func(t *testing.T) {
			c := newCrowd(t, 2)
			c.register(c.all[0], "worker-1", 50)
			var stands, other *replica // that which publishes, and the other
			for i, r := range c.all {
				r.store.readEvents = func() { stands, other = r, c.all[1-i] }
			}
			c.pass(3 * time.Second)
			require.Len(t, c.bus.events, 1)
			published := 0
			stall := func() {
				stands.dead = true
				for range 5 {
					c.connected(other)
					c.pass(3*time.Second, c.pulse(other, "worker-1"))
				}
				require.Len(t, c.replicas(), 1)
				published = len(c.bus.events)
				stands.dead = false
			}
			stands.store.readEvents, other.store.readEvents = nil, nil
			if when == "after it read" {
				stands.store.readEvents = stall
			} else {
				c.bus.after = stall
			}
			c.connected(other)
			require.NoError(t, c.stepOf(stands))
			c.pass(10*time.Second, c.pulse(other, "worker-1"))
			require.Len(t, c.bus.events, published, "nothing is published again")
		})
	}
}

func TestASessionIsNotDeletedWhileAnotherReplicaStartsIt(t *testing.T) {
	c := newCrowd(t, 2)
	a, b := c.all[0], c.all[1]
	c.register(a, "worker-1", 50)
	s := c.line()
	c.ask(s)
	b.dead = true
	c.pass(3*time.Second, c.breathe(b)) // it is placed and started
	require.Equal(t, 1, c.hands.made("start"))
	began, end := c.hang("restart")
	var restarted <-chan struct{}
	b.store.before = func(int64) { // nobody is calling, and then A does
		b.store.before = nil
		restarted = aside(func() { _, _ = a.Restart(context.Background(), s.UserID, s.ID) })
		wait(t, began)
	}
	err := b.DeleteSession(t.Context(), s.UserID, s.ID)
	require.Equal(t, domain.Conflict, kindOf(err))
	end(nil)
	wait(t, restarted)
	require.NoError(t, b.DeleteSession(t.Context(), s.UserID, s.ID))
}

func TestHeartbeatsThatReachReplicasInTurnAreCheap(t *testing.T) {
	c := newCrowd(t, 3)
	c.register(c.all[0], "worker-1", 50)
	ids := c.full([]string{"worker-1"}, 50)
	h := domain.Heartbeat{WorkerID: "worker-1", Lists: true, CPU: -1, Memory: -1, MessageCount: -1}
	for _, id := range ids {
		h.Sessions = append(h.Sessions, domain.Report{SessionID: id, Status: domain.Connected, Generation: 1})
	}
	beat := func(n int) {
		for i := range n {
			_, err := c.all[i%3].Heartbeat(t.Context(), h)
			require.NoError(t, err)
		}
	}
	beat(3) // they learn of the sessions
	c.step()
	told := 0
	defer c.hub.Join().Listen(func(ports.Hint) { told++ })()
	for _, r := range c.all {
		r.store.views.Store(0)
		r.store.updates.Store(0)
	}
	beat(30)
	for _, r := range c.all {
		require.Zero(t, r.store.views.Load(), "reads of %s", r.name)
		require.EqualValues(t, 10, r.store.updates.Load(), "writes of %s", r.name)
	}
	require.Zero(t, told, "nobody else need know")
}

func TestAWorkerThatRegistersAgainElsewhereKeepsWhatRuns(t *testing.T) {
	c := newCrowd(t, 2)
	a, b := c.all[0], c.all[1]
	a.ears.cut.Store(true)
	c.register(a, "worker-1", 50)
	s := c.connected(a)
	c.hands.listed = []domain.Report{{SessionID: s.ID, Status: domain.Connected, Generation: 1}}
	c.register(b, "worker-1", 50) // it is the same process
	require.Equal(t, 1, c.hands.made("list"))
	require.Equal(t, domain.Connected, c.session(s.ID).Status)
}

func TestAnActivatedWorkerIsHeardOf(t *testing.T) {
	c := newSkewed(t, []time.Duration{time.Minute, 0})
	a, b := c.all[0], c.all[1]
	c.register(a, "worker-1", 50)
	c.pass(40 * time.Second)
	require.Equal(t, domain.LossSilent, c.worker("worker-1").Loss)
	_, err := b.Activate(t.Context(), "worker-1")
	require.NoError(t, err)
	c.pass(20 * time.Second)
	require.Empty(t, c.worker("worker-1").Loss)
}

func TestTheLatestUseOfAKeyIsKept(t *testing.T) {
	c := newCrowd(t, 2)
	a, b := c.all[0], c.all[1]
	s := c.line()
	_, _, err := b.AuthenticateKey(t.Context(), s.APIKey)
	require.NoError(t, err)
	b.dead = true
	c.pass(2*time.Minute, c.breathe(b))
	_, _, err = a.AuthenticateKey(t.Context(), s.APIKey)
	require.NoError(t, err)
	latest := c.clock.Now()
	c.pass(2*time.Minute, c.breathe(b))
	b.dead = false
	c.pass(time.Minute)
	keys, err := a.Keys(t.Context(), s.UserID)
	require.NoError(t, err)
	require.Equal(t, latest, keys[0].LastUsedAt)
}

func TestABusyReplicaLivesButNotAStuckOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t, 2, realTime)
		var reading atomic.Int64 // what A reads next takes so long
		c.all[0].store.viewed = func() { time.Sleep(time.Duration(reading.Swap(0))) }
		c.running()
		names := func() (all []string) {
			for _, r := range c.replicas() {
				all = append(all, r.Name)
			}
			slices.Sort(all)
			return slices.Compact(all)
		}
		reading.Store(int64(25 * time.Second))
		for range 60 {
			time.Sleep(time.Second)
			require.Equal(t, []string{"A", "B"}, names())
		}
		reading.Store(int64(3 * time.Minute))
		time.Sleep(time.Minute)
		require.Equal(t, []string{"B"}, names())
		time.Sleep(3 * time.Minute)
		require.Equal(t, []string{"A", "B"}, names())
	})
}

// left is the error of a worker that leaves.
func left(_ domain.WorkerStatus, err error) error { return err }
