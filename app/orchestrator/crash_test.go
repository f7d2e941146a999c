package orchestrator_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/memory"
	"github.com/switchyard-wa/switchyard/adapters/system"
	"github.com/switchyard-wa/switchyard/app/orchestrator"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// This file kills the process at every step: before, and after, each store
// write and each call to a worker that a scenario makes, in turn. Another process
// on the same store must then finish what was begun: the next one, or a replica.
// Or the process is only stopped, and goes on when a replica has long done its
// work: then it must do no harm.

var errDead = errors.New("the process is dead")

// life is one process's; at the given operation it ends.
type life struct {
	mu     sync.Mutex
	ops    int
	dieAt  int  // 0: never
	before bool // whether the fatal operation still takes effect
	dead   bool
	stop   func() // if set, the fatal operation is not fatal: it waits until this has returned
}

func (l *life) do(effect func() error) error {
	l.mu.Lock()
	if l.dead {
		l.mu.Unlock()
		return errDead
	}
	l.ops++
	dies := l.ops == l.dieAt
	if dies && l.stop != nil {
		l.mu.Unlock()
		if !l.before {
			err := effect()
			l.stop()
			return err
		}
		l.stop()
		return effect()
	}
	if dies && l.before {
		l.dead = true
		l.mu.Unlock()
		return errDead
	}
	l.mu.Unlock()
	err := effect()
	if dies {
		l.mu.Lock()
		l.dead = true
		l.mu.Unlock()
		return errDead
	}
	return err
}

// crashableStore is the store as seen by a process that may die.
type crashableStore struct {
	ports.Store
	life *life
}

func (s crashableStore) Update(ctx context.Context, fn func(context.Context, *ports.Tx) error) error {
	return s.life.do(func() error { return s.Store.Update(ctx, fn) })
}

// place is a worker that does at once what it is told.
type place struct {
	up      bool
	running map[string]int64 // session → generation
	linked  map[string]bool  // sessions with credentials
	over    map[string]int64 // session → generation that it was told to stop
}

// halt stops the session if it runs with that generation or an older one, which
// is never started again.
func (at *place) halt(id string, generation int64) {
	if at.running[id] <= generation {
		delete(at.running, id)
	}
	at.over[id] = max(at.over[id], generation)
}

// places is a fleet of workers that outlives the control plane.
type places struct {
	mu   sync.Mutex
	all  map[string]*place
	sent map[string]int // client message id → times
}

// gate is the way of one process to the workers.
type gate struct {
	*places
	life *life
}

func (p gate) on(w ports.WorkerRef, fn func(*place) error) error {
	return p.life.do(func() error {
		p.mu.Lock()
		defer p.mu.Unlock()
		at := p.all[w.ID]
		if !at.up {
			return &ports.WorkerError{Failure: ports.WorkerConnectionRefused, Message: "connection refused"}
		}
		return fn(at)
	})
}

func (p gate) Health(_ context.Context, endpoint string) error {
	for id := range p.all {
		if endpoint == "http://"+id+":1" {
			return p.on(ports.WorkerRef{ID: id}, func(*place) error { return nil })
		}
	}
	return &ports.WorkerError{Failure: ports.WorkerConnectionRefused}
}

func (p gate) Start(_ context.Context, w ports.WorkerRef, s ports.Start) (r domain.Report, err error) {
	err = p.on(w, func(at *place) error {
		if s.Generation <= at.over[s.SessionID] || s.Generation < at.running[s.SessionID] {
			return &ports.WorkerError{Failure: ports.WorkerRejected, Status: 409, Message: "an old generation"}
		}
		at.running[s.SessionID], at.linked[s.SessionID] = s.Generation, true
		r = domain.Report{SessionID: s.SessionID, Status: domain.Connected, PhoneNumber: "6281234567890"}
		return nil
	})
	return r, err
}

func (p gate) Restart(_ context.Context, w ports.WorkerRef, id string, generation int64) error {
	return p.on(w, func(at *place) error {
		if at.running[id] != generation {
			return &ports.WorkerError{Failure: ports.WorkerSessionNotFound}
		}
		return nil
	})
}

func (p gate) Disconnect(_ context.Context, w ports.WorkerRef, id string, generation int64) error {
	return p.on(w, func(at *place) error { at.halt(id, generation); return nil })
}

func (p gate) Logout(_ context.Context, w ports.WorkerRef, id string, generation int64) error {
	return p.on(w, func(at *place) error { at.halt(id, generation); delete(at.linked, id); return nil })
}

func (p gate) Delete(ctx context.Context, w ports.WorkerRef, id string, generation int64) error {
	return p.Logout(ctx, w, id, generation)
}

func (p gate) Send(_ context.Context, w ports.WorkerRef, s ports.Send) (ports.Sent, error) {
	err := p.on(w, func(*place) error { p.sent[s.ClientMessageID]++; return nil })
	if errors.Is(err, errDead) {
		return ports.Sent{}, &ports.WorkerError{Failure: ports.WorkerTimedOut, Err: err}
	}
	return ports.Sent{WhatsAppID: "WA-" + s.ClientMessageID}, err
}

func (p gate) PerformAction(context.Context, ports.WorkerRef, string, domain.Action) error {
	return nil
}
func (p gate) List(context.Context, ports.WorkerRef) ([]domain.Report, error) { return nil, nil }
func (p gate) Status(context.Context, ports.WorkerRef, string) (domain.Report, error) {
	return domain.Report{}, nil
}

// crashableProcess is a control plane that may die, on a store and workers that do not.
type crashableProcess struct {
	*orchestrator.Orchestrator
	t           *testing.T
	clock       *clock
	store       ports.Store
	invalidator *memory.Invalidator
	fleet       *places
	shared      bool // by replicas
	user        string
	id          string // of the session that the scenario is about
	key         string
}

func newCrashableProcess(t *testing.T, shared bool) *crashableProcess {
	m := &crashableProcess{
		t: t, clock: &clock{}, store: memory.NewStore(), shared: shared, invalidator: memory.NewInvalidator(),
		fleet: &places{all: map[string]*place{}, sent: map[string]int{}},
	}
	m.clock.us.Store(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).UnixMicro())
	m.begin(&life{})
	m.user = (&fixture{t: t, store: m.store, clock: m.clock}).user(domain.TierBasic)
	m.register("worker-1")
	m.register("worker-2")
	s, err := m.Sessions.Create(context.Background(), m.user, service.CreateSessionParams{Name: "line"})
	require.NoError(t, err)
	m.id, m.key = s.ID, s.APIKey
	return m
}

// begin starts a process with a life of its own.
func (m *crashableProcess) begin(l *life) {
	var err error
	m.Orchestrator, err = orchestrator.New(orchestrator.Config{
		Store: crashableStore{m.store, l}, Workers: gate{m.fleet, l}, Routes: memory.NewRoutes(), Limiter: memory.NewLimiter(),
		Bus: memory.NewBus(), Clock: m.clock, IDs: new(system.IDs), Random: system.Random{},
		Shared: &m.shared, Invalidator: m.invalidator.Join(),
		Log: slog.New(slog.DiscardHandler), Spawn: func(f func()) { f() },
		Sleep: func(context.Context, time.Duration) error { return errDead },
	})
	require.NoError(m.t, err)
}

func (m *crashableProcess) register(id string) {
	if m.fleet.all[id] == nil {
		m.fleet.all[id] = &place{up: true, linked: map[string]bool{}, over: map[string]int64{}}
	}
	m.fleet.all[id].up, m.fleet.all[id].running = true, map[string]int64{}
	answer, err := m.Protocol.Register(context.Background(), domain.Registration{
		WorkerID: id, Endpoint: "http://" + id + ":1", Capabilities: []domain.Capability{domain.CapGeneration},
	})
	if errors.Is(err, errDead) {
		return
	}
	require.NoError(m.t, err)
	m.obey(id, answer.Commands)
}

func (m *crashableProcess) obey(id string, commands []service.StopCommand) {
	for _, c := range commands {
		m.fleet.all[id].halt(c.SessionID, c.Generation)
	}
}

// pass lets time go by: workers that are up send heartbeats every ten seconds, the loop
// runs when something is due. Both look at the clock four times a second.
func (m *crashableProcess) pass(d time.Duration) {
	const tick, beat = 250 * time.Millisecond, 10 * time.Second
	ctx := context.Background()
	for end := m.clock.Now().Add(d); m.clock.Now().Before(end); {
		now := m.clock.Now()
		isBeat := now.Truncate(beat).Equal(now)
		for id, at := range m.fleet.all {
			if !at.up || !isBeat {
				continue
			}
			h := domain.Heartbeat{WorkerID: id, IsFullSnapshot: true, CPU: -1, Memory: -1, MessageCount: -1}
			for s, generation := range at.running {
				h.Sessions = append(h.Sessions, domain.Report{SessionID: s, Generation: generation, Status: domain.Connected})
			}
			if answer, err := m.Protocol.Heartbeat(ctx, h); err == nil {
				m.obey(id, answer.Commands)
			}
		}
		next, err := m.RunOnce(ctx)
		if err != nil {
			next = now
		}
		m.clock.advance(tick)
		for at := m.clock.Now(); at.Before(next) && at.Before(end) && !at.Truncate(beat).Equal(at); at = m.clock.Now() {
			m.clock.advance(tick)
		}
	}
}

// move has the session leave the worker that it is on, if it is on one.
func (m *crashableProcess) move() {
	err := m.store.View(context.Background(), func(ctx context.Context, tx *ports.Tx) error {
		_, err := tx.Sessions.Get(ctx, m.id)
		return err
	})
	if err != nil || !m.stored().IsAssigned() || !m.fleet.all[m.stored().WorkerID].up {
		return
	}
	from := m.stored().WorkerID
	_, err = m.Workers.Drain(context.Background(), from)
	require.NoError(m.t, err)
	m.pass(time.Minute)
	delete(m.fleet.all[from].linked, m.id) // credentials go with it
	_, err = m.Workers.Activate(context.Background(), from)
	require.NoError(m.t, err)
}

func (m *crashableProcess) connect() {
	_, err := m.Sessions.Connect(context.Background(), m.user, m.id, service.ConnectOptions{})
	require.NoError(m.t, err)
}

// where lists the workers on which the session runs.
func (m *crashableProcess) where() (ids []string) {
	for id, at := range m.fleet.all {
		if _, ok := at.running[m.id]; ok && at.up {
			ids = append(ids, id)
		}
	}
	return ids
}

func (m *crashableProcess) stored() *domain.Session {
	return (&fixture{t: m.t, store: m.store}).session(m.id)
}

// sound checks what must hold at rest, whatever happened.
func (m *crashableProcess) sound() {
	err := m.store.View(context.Background(), func(ctx context.Context, tx *ports.Tx) error {
		all, _, err := tx.Sessions.List(ctx, ports.SessionFilter{}, ports.Page{})
		require.NoError(m.t, err)
		live, used := 0, map[string]int{}
		for _, s := range all {
			if s.Intent == domain.Up {
				live++
			}
			if s.IsAssigned() {
				used[s.WorkerID]++
			}
		}
		usage, err := tx.Users.Usage(ctx, m.user)
		require.NoError(m.t, err)
		require.Equal(m.t, domain.UserUsage{Sessions: len(all), ActiveSessions: live}, usage)
		workers, _, err := tx.Workers.List(ctx, ports.WorkerFilter{}, ports.Page{})
		require.NoError(m.t, err)
		for _, w := range workers {
			require.Equal(m.t, used[w.ID], w.Used, "slots of %s", w.ID)
		}
		open, err := tx.Migrations.Open(ctx)
		require.NoError(m.t, err)
		require.Empty(m.t, open, "migrations that nothing comes of")
		return nil
	})
	require.NoError(m.t, err)
	require.LessOrEqual(m.t, len(m.where()), 1, "one owner")
}

// up checks that the session is connected where it is assigned, and only there.
func (m *crashableProcess) up() {
	s := m.stored()
	require.Equal(m.t, domain.Connected, s.Status)
	require.Equal(m.t, []string{s.WorkerID}, m.where())
}

// down checks that the session is down and runs nowhere.
func (m *crashableProcess) down() {
	s := m.stored()
	require.Equal(m.t, domain.Disconnected, s.Status)
	require.Equal(m.t, domain.Down, s.Intent)
	require.False(m.t, s.IsAssigned())
	require.Empty(m.t, m.where())
}

func TestEveryCrashIsFinishedByTheNextProcess(t *testing.T) {
	ctx := context.Background()
	scenarios := []struct {
		name  string
		given func(m *crashableProcess)
		when  func(m *crashableProcess) // the part in which the process dies
		then  func(m *crashableProcess, began bool)
	}{
		{
			"connect", func(*crashableProcess) {},
			func(m *crashableProcess) { _, _ = m.Sessions.Connect(ctx, m.user, m.id, service.ConnectOptions{}) },
			func(m *crashableProcess, began bool) {
				if began {
					m.up()
				} else {
					m.down()
				}
			},
		},
		{
			"disconnect", (*crashableProcess).connect,
			func(m *crashableProcess) { _, _ = m.Sessions.Disconnect(ctx, m.user, m.id) },
			func(m *crashableProcess, began bool) {
				if began {
					m.down()
					require.NotEmpty(m.t, m.stored().PhoneNumber)
				} else {
					m.up()
				}
			},
		},
		{
			"logout", (*crashableProcess).connect,
			func(m *crashableProcess) { _, _ = m.Sessions.Logout(ctx, m.user, m.id) },
			func(m *crashableProcess, began bool) {
				if !began {
					m.up()
					return
				}
				m.down()
				require.Empty(m.t, m.stored().PhoneNumber)
				for id, at := range m.fleet.all {
					require.False(m.t, at.linked[m.id], "credentials left on %s", id)
				}
			},
		},
		{
			"logout while down", func(m *crashableProcess) {
				m.connect()
				_, err := m.Sessions.Disconnect(ctx, m.user, m.id)
				require.NoError(m.t, err)
			},
			func(m *crashableProcess) { _, _ = m.Sessions.Logout(ctx, m.user, m.id) },
			func(m *crashableProcess, began bool) {
				m.down()
				for _, at := range m.fleet.all {
					require.False(m.t, began && at.linked[m.id])
				}
			},
		},
		{
			"restart", (*crashableProcess).connect,
			func(m *crashableProcess) { _, _ = m.Sessions.Restart(ctx, m.user, m.id) },
			func(m *crashableProcess, _ bool) { m.up() },
		},
		{
			"delete", (*crashableProcess).connect,
			func(m *crashableProcess) { _ = m.Sessions.Delete(ctx, m.user, m.id) },
			func(m *crashableProcess, began bool) {
				if !began {
					m.up()
					return
				}
				require.Empty(m.t, m.where())
				for _, at := range m.fleet.all {
					require.False(m.t, at.linked[m.id])
				}
			},
		},
		{
			"worker crash", (*crashableProcess).connect,
			func(m *crashableProcess) {
				m.fleet.all[m.stored().WorkerID].up = false
				m.pass(20 * time.Second)
			},
			func(m *crashableProcess, _ bool) { m.up() },
		},
		{
			"worker crash and return", (*crashableProcess).connect,
			func(m *crashableProcess) {
				id := m.stored().WorkerID
				m.fleet.all[id].up = false
				m.pass(3 * time.Second)
				m.register(id)
				m.pass(3 * time.Second)
			},
			func(m *crashableProcess, _ bool) {
				for id, at := range m.fleet.all {
					if !at.up {
						m.register(id)
					}
				}
				m.pass(2 * time.Minute)
				m.up()
			},
		},
		{
			"unregister", (*crashableProcess).connect,
			func(m *crashableProcess) {
				id := m.stored().WorkerID
				m.fleet.all[id].up = false
				_, _ = m.Protocol.Unregister(ctx, id, "")
				m.pass(10 * time.Second)
			},
			func(m *crashableProcess, _ bool) { m.up() },
		},
		{
			"drain", (*crashableProcess).connect,
			func(m *crashableProcess) {
				_, _ = m.Workers.Drain(ctx, m.stored().WorkerID)
				m.pass(10 * time.Second)
			},
			func(m *crashableProcess, _ bool) { m.up() },
		},
		{
			"migrate", (*crashableProcess).connect,
			func(m *crashableProcess) {
				_, _ = m.Operations.Migrate(ctx, m.id, "", "")
				m.pass(10 * time.Second)
			},
			func(m *crashableProcess, _ bool) { m.up() },
		},
		{
			"remove worker", (*crashableProcess).connect,
			func(m *crashableProcess) { _ = m.Workers.Remove(ctx, m.stored().WorkerID, service.RemoveOptions{}) },
			func(m *crashableProcess, _ bool) { m.up() },
		},
		{
			"send", (*crashableProcess).connect,
			func(m *crashableProcess) {
				holder, _, err := m.APIKeys.Authenticate(ctx, m.key)
				if err != nil {
					return
				}
				_, _ = m.Messages.Send(ctx, holder, &domain.Outgoing{To: "6281234567890", Type: domain.TypeText, Text: "x"})
			},
			func(m *crashableProcess, _ bool) {
				m.up()
				history, _, err := m.Messages.History(ctx, m.user, m.id, domain.MessageFilter{Limit: 10})
				require.NoError(m.t, err)
				require.LessOrEqual(m.t, len(history), 1)
				for id, n := range m.fleet.sent {
					require.Equal(m.t, 1, n, "sent twice")
					require.Len(m.t, history, 1, "sent but not recorded")
					require.Equal(m.t, id, history[0].ID)
				}
			},
		},
	}
	for _, sc := range scenarios {
		for _, fate := range []struct {
			name                   string
			shared, returns, moved bool
		}{
			{"dies", false, false, false},
			{"dies beside a replica", true, false, false},
			{"comes back beside a replica", true, true, false},
			{"comes back after the session was moved", true, true, true},
		} {
			t.Run(sc.name+"/"+fate.name, func(t *testing.T) {
				t.Parallel()
				for _, before := range []bool{true, false} {
					for at := 1; ; at++ {
						m := newCrashableProcess(t, fate.shared)
						sc.given(m)
						intent, rev := m.stored().Intent, m.stored().Rev
						doomed := &life{dieAt: at, before: before}
						stopped, began := false, false
						if fate.returns {
							doomed.stop = func() {
								stopped = true
								process := m.Orchestrator
								began = m.began(intent, rev)
								m.begin(&life{})
								m.pass(time.Minute)
								if fate.moved {
									m.move()
								}
								m.pass(2 * time.Minute)
								m.sound()
								m.Orchestrator = process
							}
						}
						m.begin(doomed)
						sc.when(m)
						require.LessOrEqual(t, len(m.where()), 1, "one owner, at operation %d, before=%v", at, before)
						began = began || m.began(intent, rev)
						m.begin(&life{})
						m.pass(3 * time.Minute)
						if !t.Run(fmt.Sprintf("%d/before=%v", at, before), func(t *testing.T) {
							m.t = t
							m.sound()
							sc.then(m, began)
						}) || !doomed.dead && !stopped {
							break
						}
					}
				}
			})
		}
	}
}

// began reports whether anything that the scenario wants of the session was
// committed before the process died.
func (m *crashableProcess) began(intent domain.Intent, rev int64) bool {
	began := true
	err := m.store.View(context.Background(), func(ctx context.Context, tx *ports.Tx) error {
		s, err := tx.Sessions.Get(ctx, m.id)
		if err == nil {
			began = s.Intent != intent || s.Rev != rev
		}
		return nil
	})
	require.NoError(m.t, err)
	return began
}
