package orchestrator_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang/mock/gomock"
	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/memory"
	"github.com/switchyard-wa/switchyard/adapters/system"
	"github.com/switchyard-wa/switchyard/app/orchestrator"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/mocks"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// fixture is one orchestrator on a store in memory. Its gateway is a strict mock, and its clock
// moves only when the test moves it.
type fixture struct {
	*orchestrator.Orchestrator
	t       *testing.T
	store   ports.Store
	workers *mocks.MockWorkerGateway
	clock   *clock
}

// user adds a user of the tier.
func (w *fixture) user(tier domain.Tier) string {
	w.t.Helper()
	id := "user-" + new(system.IDs).NewID()
	require.NoError(w.t, w.store.Update(context.Background(), func(ctx context.Context, tx *ports.Tx) error {
		return tx.Users.Put(ctx, &domain.User{
			ID: id, Name: "Test", Email: id + "@example.com", Tier: tier, Role: domain.RoleUser, Active: true,
			CreatedAt: w.clock.Now(), UpdatedAt: w.clock.Now(),
		})
	}))
	return id
}

// worker registers a worker.
func (w *fixture) worker(id string, capacity int) {
	w.t.Helper()
	w.workers.EXPECT().Health(gomock.Any(), gomock.Any()).Return(nil).AnyTimes()
	_, err := w.Protocol.Register(context.Background(), domain.Registration{
		WorkerID: id, Endpoint: "http://" + id + ":1", Capacity: capacity, StateGroup: "shared",
	})
	require.NoError(w.t, err)
}

func (w *fixture) createSession(user, name string) *service.CreatedSession {
	w.t.Helper()
	s, err := w.Sessions.Create(context.Background(), user, service.CreateSessionParams{Name: name})
	require.NoError(w.t, err)
	return s
}

// connectSession returns a session that is CONNECTED on worker-1.
func (w *fixture) connectSession(user string) *service.CreatedSession {
	w.t.Helper()
	s := w.createSession(user, "line")
	_, err := w.Sessions.Connect(context.Background(), user, s.ID, service.ConnectOptions{})
	require.NoError(w.t, err)
	_, err = w.Protocol.ReportSession(context.Background(), domain.Report{SessionID: s.ID, Status: domain.Connected, PhoneNumber: "6281234567890"})
	require.NoError(w.t, err)
	return s
}

func (w *fixture) session(id string) *domain.Session {
	w.t.Helper()
	var s *domain.Session
	require.NoError(w.t, w.store.View(context.Background(), func(ctx context.Context, tx *ports.Tx) (err error) {
		s, err = tx.Sessions.Get(ctx, id)
		return err
	}))
	return s
}

func (w *fixture) acceptStarts() *atomic.Int64 {
	var n atomic.Int64
	w.workers.EXPECT().Start(gomock.Any(), gomock.Any(), gomock.Any()).DoAndReturn(
		func(context.Context, ports.WorkerRef, ports.Start) (domain.Report, error) {
			n.Add(1)
			return domain.Report{Status: domain.Init}, nil
		}).AnyTimes()
	return &n
}

type clock struct{ us atomic.Int64 }

func (c *clock) Now() time.Time { return time.UnixMicro(c.us.Load()).UTC() }

func (c *clock) advance(d time.Duration) { c.us.Add(d.Microseconds()) }

func newFixture(t *testing.T) *fixture { return newFixtureOn(t, memory.NewStore()) }

func newFixtureOn(t *testing.T, store ports.Store) *fixture {
	t.Helper()
	c := &clock{}
	c.us.Store(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).UnixMicro())
	w := &fixture{t: t, store: store, clock: c, workers: mocks.NewMockWorkerGateway(gomock.NewController(t))}
	var err error
	w.Orchestrator, err = orchestrator.New(orchestrator.Config{
		Store: w.store, Workers: w.workers, Routes: memory.NewRoutes(), Limiter: memory.NewLimiter(),
		Clock: c, IDs: new(system.IDs), Random: system.Random{},
		Log: slog.New(slog.DiscardHandler), Spawn: func(f func()) { f() },
	})
	require.NoError(t, err)
	return w
}

// newConnectedFixture returns a fixture in which a session is CONNECTED on worker-1, which has room
// for 50.
func newConnectedFixture(t *testing.T) (*fixture, *service.CreatedSession) {
	t.Helper()
	w := newFixture(t)
	w.acceptStarts()
	w.worker("worker-1", 50)
	return w, w.connectSession(w.user(domain.TierBasic))
}

// concurrently runs fn n times at once, and waits.
func concurrently(n int, fn func(i int)) {
	var done sync.WaitGroup
	for i := range n {
		done.Go(func() { fn(i) })
	}
	done.Wait()
}

func waitFor(t *testing.T, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("not done after 20 seconds")
	}
}

// inBackground runs fn in a new goroutine, and returns a channel that is closed at its end.
func inBackground(fn func()) <-chan struct{} {
	done := make(chan struct{})
	go func() { defer close(done); fn() }()
	return done
}

// onlyError returns the error of an unregistration.
func onlyError(_ domain.WorkerStatus, err error) error { return err }

func kindOf(err error) domain.Kind {
	var e *domain.Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return 0
}

func senderOf(s *service.CreatedSession) service.Sender {
	return service.Sender{UserID: s.UserID, SessionID: s.ID}
}

var hello = domain.Outgoing{To: "6281234567890", Type: domain.TypeText, Text: "hello"}
