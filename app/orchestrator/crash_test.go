package orchestrator_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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

// errDead is the error of every operation of a process that has died.
var errDead = errors.New("the process is dead")

// crashableProcess is a control plane that may die. Its store and its workers survive.
type crashableProcess struct {
	*orchestrator.Orchestrator
	t           *testing.T
	clock       *clock
	store       ports.Store
	invalidator *memory.Invalidator
	fleet       *obedientFleet
	shared      bool // replicas may run on the store
	user        string
	id          string // of the session of the scenario
	key         string
}

func newCrashableProcess(t *testing.T, shared bool) *crashableProcess {
	m := &crashableProcess{
		t: t, clock: &clock{}, store: memory.NewStore(), shared: shared, invalidator: memory.NewInvalidator(),
		fleet: &obedientFleet{all: map[string]*obedientWorker{}, linked: map[string]bool{}, sent: map[string]int{}},
	}
	m.clock.us.Store(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).UnixMicro())
	m.start(&lifetime{})
	m.user = (&fixture{t: t, store: m.store, clock: m.clock}).user(domain.TierBasic)
	m.register("worker-1")
	m.register("worker-2")
	s, err := m.Sessions.Create(context.Background(), m.user, service.CreateSessionParams{Name: "line"})
	require.NoError(t, err)
	m.id, m.key = s.ID, s.APIKey
	return m
}

// start starts a new process with the lifetime.
func (m *crashableProcess) start(l *lifetime) {
	var err error
	m.Orchestrator, err = orchestrator.New(orchestrator.Config{
		Store: l.wrap(m.store), Workers: crashableGateway{m.fleet, l}, Routes: memory.NewRoutes(), Limiter: memory.NewLimiter(),
		Clock: m.clock, IDs: new(system.IDs), Random: system.Random{},
		Shared: &m.shared, Invalidator: m.invalidator.Join(),
		Log: slog.New(slog.DiscardHandler), Spawn: func(f func()) { f() },
		Sleep: func(context.Context, time.Duration) error { return errDead },
	})
	require.NoError(m.t, err)
}

func (m *crashableProcess) register(id string) {
	if m.fleet.all[id] == nil {
		m.fleet.all[id] = &obedientWorker{up: true, linked: m.fleet.linked, fenced: map[string]int64{}}
	}
	m.fleet.all[id].up, m.fleet.all[id].running = true, map[string]int64{}
	answer, err := m.Protocol.Register(context.Background(), domain.Registration{
		WorkerID: id, Endpoint: "http://" + id + ":1", Capabilities: []domain.Capability{domain.CapGeneration}, StateGroup: "shared",
	})
	if errors.Is(err, errDead) {
		return
	}
	require.NoError(m.t, err)
	m.applyStops(id, answer.Commands)
}

func (m *crashableProcess) applyStops(id string, commands []service.StopCommand) {
	for _, c := range commands {
		m.fleet.all[id].stop(c.SessionID, c.Generation)
	}
}

// advance moves the time. Workers that are up send heartbeats every ten seconds, and the
// process runs when something is due. Both read the clock four times a second.
func (m *crashableProcess) advance(d time.Duration) {
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
				m.applyStops(id, answer.Commands)
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

// moveAway moves the session away from its worker, if it has one that is up.
func (m *crashableProcess) moveAway() {
	err := m.store.View(context.Background(), func(ctx context.Context, tx *ports.Tx) error {
		_, err := tx.Sessions.Get(ctx, m.id)
		return err
	})
	if err != nil || !m.stored().IsAssigned() || !m.fleet.all[m.stored().WorkerID].up {
		return
	}
	from := m.stored().WorkerID
	_, err = m.Workers.Drain(context.Background(), from, service.DrainOptions{Force: true}) // the other worker may be removed
	require.NoError(m.t, err)
	m.advance(time.Minute)
	_, err = m.Workers.Activate(context.Background(), from)
	require.NoError(m.t, err)
}

// recreate creates the session's id again, if it is free. No worker may have credentials then.
func (m *crashableProcess) recreate() {
	_, err := m.Sessions.Create(context.Background(), m.user, service.CreateSessionParams{Name: "again", ID: m.id})
	if err == nil {
		require.Empty(m.t, m.holders(), "the id is free although a worker has credentials")
	}
}

// holders returns the workers that have credentials of the session.
func (m *crashableProcess) holders() (ids []string) {
	for id, at := range m.fleet.all {
		if at.linked[m.id] {
			ids = append(ids, id)
		}
	}
	return ids
}

func (m *crashableProcess) connect() {
	_, err := m.Sessions.Connect(context.Background(), m.user, m.id, service.ConnectOptions{})
	require.NoError(m.t, err)
}

// runningOn returns the workers on which the session runs.
func (m *crashableProcess) runningOn() (ids []string) {
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

// requireConsistent checks what holds once nothing is under way.
func (m *crashableProcess) requireConsistent() {
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
		require.Empty(m.t, open, "open migrations")
		return nil
	})
	require.NoError(m.t, err)
	require.LessOrEqual(m.t, len(m.runningOn()), 1, "one owner")
}

// requireUp checks that the session is connected on its worker, and runs nowhere else.
func (m *crashableProcess) requireUp() {
	s := m.stored()
	require.Equal(m.t, domain.Connected, s.Status)
	require.Equal(m.t, []string{s.WorkerID}, m.runningOn())
}

// requireDown checks that the session is down and runs nowhere.
func (m *crashableProcess) requireDown() {
	s := m.stored()
	require.Equal(m.t, domain.Disconnected, s.Status)
	require.Equal(m.t, domain.Down, s.Intent)
	require.False(m.t, s.IsAssigned())
	require.Empty(m.t, m.runningOn())
}

// The process dies before, and after, each store write and each call to a worker of a scenario,
// in turn. The next process on the store, or a replica, finishes the operation. Or the process
// pauses, and resumes when a replica has finished its work. Then it does no harm.
func TestCrash_AtEveryOperation_AnotherProcessFinishes(t *testing.T) {
	ctx := context.Background()
	scenarios := []struct {
		name  string
		given func(m *crashableProcess)
		when  func(m *crashableProcess) // the process dies meanwhile
		then  func(m *crashableProcess, began bool)
	}{
		{
			"connect", func(*crashableProcess) {},
			func(m *crashableProcess) { _, _ = m.Sessions.Connect(ctx, m.user, m.id, service.ConnectOptions{}) },
			func(m *crashableProcess, began bool) {
				if began {
					m.requireUp()
				} else {
					m.requireDown()
				}
			},
		},
		{
			"disconnect", (*crashableProcess).connect,
			func(m *crashableProcess) { _, _ = m.Sessions.Disconnect(ctx, m.user, m.id) },
			func(m *crashableProcess, began bool) {
				if began {
					m.requireDown()
					require.NotEmpty(m.t, m.stored().PhoneNumber)
				} else {
					m.requireUp()
				}
			},
		},
		{
			"logout", (*crashableProcess).connect,
			func(m *crashableProcess) { _, _ = m.Sessions.Logout(ctx, m.user, m.id) },
			func(m *crashableProcess, began bool) {
				if !began {
					m.requireUp()
					return
				}
				m.requireDown()
				require.Empty(m.t, m.stored().PhoneNumber)
				for id, at := range m.fleet.all {
					require.False(m.t, at.linked[m.id], "%s has credentials", id)
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
				m.requireDown()
				for _, at := range m.fleet.all {
					require.False(m.t, began && at.linked[m.id])
				}
			},
		},
		{
			"restart", (*crashableProcess).connect,
			func(m *crashableProcess) { _, _ = m.Sessions.Restart(ctx, m.user, m.id) },
			func(m *crashableProcess, _ bool) { m.requireUp() },
		},
		{
			"delete", (*crashableProcess).connect,
			func(m *crashableProcess) { _ = m.Sessions.Delete(ctx, m.user, m.id) },
			func(m *crashableProcess, began bool) {
				if !began {
					m.requireUp()
					return
				}
				require.Empty(m.t, m.runningOn())
				for _, at := range m.fleet.all {
					require.False(m.t, at.linked[m.id])
				}
			},
		},
		{
			"delete after a move, and create the id again", func(m *crashableProcess) {
				m.connect()
				m.moveAway()
				require.Len(m.t, m.holders(), 2)
			},
			func(m *crashableProcess) {
				_ = m.Sessions.Delete(ctx, m.user, m.id)
				m.recreate()
				m.advance(10 * time.Second)
				m.recreate()
			},
			func(m *crashableProcess, began bool) {
				if !began {
					m.requireUp()
					return
				}
				m.recreate()
				require.Greater(m.t, m.stored().Generation, int64(1), "generations go on")
				m.requireDown()
				require.Empty(m.t, m.holders())
			},
		},
		{
			"worker crash", (*crashableProcess).connect,
			func(m *crashableProcess) {
				m.fleet.all[m.stored().WorkerID].up = false
				m.advance(20 * time.Second)
			},
			func(m *crashableProcess, _ bool) { m.requireUp() },
		},
		{
			"worker crash and return", (*crashableProcess).connect,
			func(m *crashableProcess) {
				id := m.stored().WorkerID
				m.fleet.all[id].up = false
				m.advance(3 * time.Second)
				m.register(id)
				m.advance(3 * time.Second)
			},
			func(m *crashableProcess, _ bool) {
				for id, at := range m.fleet.all {
					if !at.up {
						m.register(id)
					}
				}
				m.advance(2 * time.Minute)
				m.requireUp()
			},
		},
		{
			"unregister", (*crashableProcess).connect,
			func(m *crashableProcess) {
				id := m.stored().WorkerID
				m.fleet.all[id].up = false
				_, _ = m.Protocol.Unregister(ctx, id, "")
				m.advance(10 * time.Second)
			},
			func(m *crashableProcess, _ bool) { m.requireUp() },
		},
		{
			"drain", (*crashableProcess).connect,
			func(m *crashableProcess) {
				_, _ = m.Workers.Drain(ctx, m.stored().WorkerID, service.DrainOptions{})
				m.advance(10 * time.Second)
			},
			func(m *crashableProcess, _ bool) { m.requireUp() },
		},
		{
			"migrate", (*crashableProcess).connect,
			func(m *crashableProcess) {
				_, _ = m.Operations.Migrate(ctx, m.id, service.MigrateOptions{})
				m.advance(10 * time.Second)
			},
			func(m *crashableProcess, _ bool) { m.requireUp() },
		},
		{
			"remove worker", (*crashableProcess).connect,
			func(m *crashableProcess) { _ = m.Workers.Remove(ctx, m.stored().WorkerID, service.RemoveOptions{}) },
			func(m *crashableProcess, _ bool) { m.requireUp() },
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
				m.requireUp()
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
			shared, resumes, moved bool
		}{
			{"dies", false, false, false},
			{"dies beside a replica", true, false, false},
			{"resumes beside a replica", true, true, false},
			{"resumes after the session was moved", true, true, true},
		} {
			t.Run(sc.name+"/"+fate.name, func(t *testing.T) {
				t.Parallel()
				for _, before := range []bool{true, false} {
					for at := 1; ; at++ {
						m := newCrashableProcess(t, fate.shared)
						sc.given(m)
						intent, rev := m.stored().Intent, m.stored().Rev
						doomed := &lifetime{endAt: at, before: before}
						paused, began := false, false
						if fate.resumes {
							doomed.pause = func() {
								paused = true
								process := m.Orchestrator
								began = m.began(intent, rev)
								m.start(&lifetime{})
								m.advance(time.Minute)
								if fate.moved {
									m.moveAway()
								}
								m.advance(2 * time.Minute)
								m.requireConsistent()
								m.Orchestrator = process
							}
						}
						m.start(doomed)
						sc.when(m)
						require.LessOrEqual(t, len(m.runningOn()), 1, "one owner, at operation %d, before=%v", at, before)
						began = began || m.began(intent, rev)
						m.start(&lifetime{})
						m.advance(3 * time.Minute)
						if !t.Run(fmt.Sprintf("%d/before=%v", at, before), func(t *testing.T) {
							m.t = t
							m.requireConsistent()
							sc.then(m, began)
						}) || !doomed.dead && !paused {
							break
						}
					}
				}
			})
		}
	}
}

// began reports whether a change of the session was committed before the process died.
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
