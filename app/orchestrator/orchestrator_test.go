package orchestrator_test

import (
	"context"
	"fmt"
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

type clock struct{ us atomic.Int64 }

func (c *clock) Now() time.Time          { return time.UnixMicro(c.us.Load()).UTC() }
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

// newLine returns a fixture in which a session is CONNECTED on worker-1, which has room
// for 50.
func newLine(t *testing.T) (*fixture, *service.CreatedSession) {
	t.Helper()
	w := newFixture(t)
	w.starts()
	w.worker("worker-1", 50)
	return w, w.connected(w.user(domain.TierBasic))
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

func TestManyCreatesMakeOneSession(t *testing.T) {
	w := newFixture(t)
	user := w.user(domain.TierBasic)
	var made, refused atomic.Int64
	race(40, func(i int) {
		_, err := w.Sessions.Create(context.Background(), user, service.CreateSessionParams{Name: fmt.Sprint("line ", i)})
		if err == nil {
			made.Add(1)
		} else if domain.CodeOf(err) == domain.CodeSessionLimit {
			refused.Add(1)
		}
	})
	require.EqualValues(t, 1, made.Load())
	require.EqualValues(t, 39, refused.Load())
}

func TestManyConnectsFillExactlyTheCapacity(t *testing.T) {
	w := newFixture(t)
	starts := w.starts()
	w.worker("worker-1", 4)
	w.worker("worker-2", 3)
	ids := make([]string, 30)
	users := make([]string, 30)
	for i := range ids {
		users[i] = w.user(domain.TierBasic)
		ids[i] = w.card(users[i], "line").ID
	}
	var connected, full atomic.Int64
	race(30, func(i int) {
		_, err := w.Sessions.Connect(context.Background(), users[i], ids[i], service.ConnectOptions{})
		if err == nil {
			connected.Add(1)
		} else if domain.CodeOf(err) == domain.CodeNoAvailableWorkers {
			full.Add(1)
		}
	})
	require.EqualValues(t, 7, connected.Load())
	require.EqualValues(t, 23, full.Load())
	require.EqualValues(t, 7, starts.Load())
	for i, id := range ids {
		if s := w.session(id); !s.IsAssigned() {
			require.Equal(t, domain.Disconnected, s.Status, "session %d", i)
			require.Equal(t, domain.Down, s.Intent)
		}
	}
}

func TestManyConnectsOfOneSessionStartItOnce(t *testing.T) {
	w := newFixture(t)
	starts := w.starts()
	w.worker("worker-1", 50)
	user := w.user(domain.TierBasic)
	id := w.card(user, "line").ID
	var connected, connecting atomic.Int64
	race(16, func(int) {
		_, err := w.Sessions.Connect(context.Background(), user, id, service.ConnectOptions{})
		if err == nil {
			connected.Add(1)
		} else if domain.CodeOf(err) == domain.CodeSessionConnecting {
			connecting.Add(1)
		}
	})
	require.EqualValues(t, 1, connected.Load())
	require.EqualValues(t, 15, connecting.Load())
	require.EqualValues(t, 1, starts.Load())
	require.EqualValues(t, 1, w.session(id).Generation)
}

// race runs fn n times at once.
func race(n int, fn func(i int)) {
	var done sync.WaitGroup
	for i := range n {
		done.Go(func() { fn(i) })
	}
	done.Wait()
}

func TestConnectWithoutWorkersChangesNothing(t *testing.T) {
	w := newFixture(t)
	user := w.user(domain.TierBasic)
	id := w.card(user, "line").ID
	_, err := w.Sessions.Connect(context.Background(), user, id, service.ConnectOptions{})
	require.Equal(t, domain.CodeNoAvailableWorkers, domain.CodeOf(err))
	require.Equal(t, domain.Disconnected, w.session(id).Status)
}

func TestConnectTriesTheNextWorker(t *testing.T) {
	w := newFixture(t)
	w.worker("worker-1", 50)
	w.worker("worker-2", 50)
	user := w.user(domain.TierBasic)
	id := w.card(user, "line").ID
	var tried []string
	w.workers.EXPECT().Start(gomock.Any(), gomock.Any(), gomock.Any()).DoAndReturn(
		func(_ context.Context, ref ports.WorkerRef, _ ports.Start) (domain.Report, error) {
			tried = append(tried, ref.ID)
			if len(tried) == 1 {
				return domain.Report{}, &ports.WorkerError{Failure: ports.WorkerBusy, Message: "busy"}
			}
			return domain.Report{Status: domain.Init}, nil
		}).Times(2)
	w.workers.EXPECT().Disconnect(gomock.Any(), gomock.Any(), id, gomock.Any()).Return(nil).AnyTimes()
	q, err := w.Sessions.Connect(context.Background(), user, id, service.ConnectOptions{})
	require.NoError(t, err)
	require.Len(t, tried, 2)
	require.NotEqual(t, tried[0], tried[1])
	require.Equal(t, tried[1], q.WorkerID)
	require.EqualValues(t, 2, w.session(id).Generation)
}

func TestConnectThatNoWorkerTakesIsWithdrawn(t *testing.T) {
	w := newFixture(t)
	w.worker("worker-1", 50)
	user := w.user(domain.TierBasic)
	id := w.card(user, "line").ID
	w.workers.EXPECT().Start(gomock.Any(), gomock.Any(), gomock.Any()).
		Return(domain.Report{}, &ports.WorkerError{Failure: ports.WorkerConnectionRefused, Message: "refused"})
	_, err := w.Sessions.Connect(context.Background(), user, id, service.ConnectOptions{})
	require.Equal(t, domain.CodeWorkerUnreachable, domain.CodeOf(err))
	s := w.session(id)
	require.Equal(t, domain.Disconnected, s.Status)
	require.Equal(t, domain.Down, s.Intent)
	require.False(t, s.IsAssigned())
}

func TestAnswerDoesNotOverwriteWhatWasReportedDuringTheCall(t *testing.T) {
	for _, c := range []struct {
		reported domain.Report
		answered domain.Status
	}{
		{domain.Report{Status: domain.Connected, PhoneNumber: "6281234567890"}, domain.Disconnected},
		{domain.Report{Status: domain.Disconnected, LoggedOut: true}, domain.Connected}, // nothing confirms the start
	} {
		t.Run(string(c.reported.Status), func(t *testing.T) {
			w := newFixture(t)
			w.worker("worker-1", 50)
			user := w.user(domain.TierBasic)
			id := w.card(user, "line").ID
			w.clock.advance(time.Second)
			w.workers.EXPECT().Start(gomock.Any(), gomock.Any(), gomock.Any()).DoAndReturn(
				func(ctx context.Context, _ ports.WorkerRef, _ ports.Start) (domain.Report, error) {
					r := c.reported
					r.SessionID = id
					outcome, err := w.Protocol.ReportSession(ctx, r)
					require.NoError(t, err)
					require.Equal(t, domain.Applied, outcome)
					return domain.Report{Status: c.answered}, nil // older than the report
				})
			_, err := w.Sessions.Connect(context.Background(), user, id, service.ConnectOptions{})
			require.NoError(t, err)
			require.Equal(t, c.reported.Status, w.session(id).Status)
		})
	}
}
