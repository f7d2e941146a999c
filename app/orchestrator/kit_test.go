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

// fixture is an orchestrator over a store in memory, with workers that are mocks
// and a clock that stands still until it is moved.
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
		WorkerID: id, Endpoint: "http://" + id + ":1", Capacity: capacity,
	})
	require.NoError(w.t, err)
}

func (w *fixture) card(user, name string) *service.CreatedSession {
	w.t.Helper()
	s, err := w.Sessions.Create(context.Background(), user, service.CreateSessionParams{Name: name})
	require.NoError(w.t, err)
	return s
}

// connected gives a session that is CONNECTED on worker-1.
func (w *fixture) connected(user string) *service.CreatedSession {
	w.t.Helper()
	s := w.card(user, "line")
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

func (w *fixture) starts() *atomic.Int64 {
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
		Bus: memory.NewBus(), Clock: c, IDs: new(system.IDs), Random: system.Random{},
		Log: slog.New(slog.DiscardHandler), Spawn: func(f func()) { f() },
	})
	require.NoError(t, err)
	return w
}

// newLine returns a fixture in which a session is CONNECTED on worker-1, which has room
// for 50.
func newLine(t *testing.T) (*fixture, *service.CreatedSession) {
	t.Helper()
	w := newFixture(t)
	w.starts()
	w.worker("worker-1", 50)
	return w, w.connected(w.user(domain.TierBasic))
}

// race runs fn n times at once.
func race(n int, fn func(i int)) {
	var done sync.WaitGroup
	for i := range n {
		done.Go(func() { fn(i) })
	}
	done.Wait()
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

// left is the error of a worker that leaves.
func left(_ domain.WorkerStatus, err error) error { return err }

func kindOf(err error) domain.Kind {
	var e *domain.Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return 0
}

func holder(s *service.CreatedSession) service.Sender {
	return service.Sender{UserID: s.UserID, SessionID: s.ID}
}

var hello = domain.Outgoing{To: "6281234567890", Type: domain.TypeText, Text: "hello"}
