package orchestrator_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang/mock/gomock"
	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/memory"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/conformance/storehooks"
	"github.com/switchyard-wa/switchyard/ports/service"
)

func TestALateFarewellOfAFormerProcessChangesNothing(t *testing.T) {
	w := newFixture(t)
	w.worker("worker-1", 50)
	for _, c := range []struct {
		endpoint string
		want     domain.WorkerStatus
	}{{"http://worker-1:999", domain.WorkerOnline}, {"http://worker-1:1", domain.WorkerOffline}, {"http://worker-1:1", domain.WorkerOffline}} {
		status, err := w.Protocol.Unregister(context.Background(), "worker-1", c.endpoint)
		require.NoError(t, err)
		require.Equal(t, c.want, status)
		v, _, err := w.Workers.Get(context.Background(), "worker-1")
		require.NoError(t, err)
		require.Equal(t, c.want, v.Status())
	}
	for id, endpoint := range map[string]string{"worker-2": "http://worker-1:1", "": "http://worker-1:999"} {
		status, err := w.Protocol.Unregister(context.Background(), id, endpoint)
		require.NoError(t, err)
		require.Equal(t, domain.WorkerOffline, status, "nobody is")
	}
}

// A worker's own token outlives its stay in the fleet, and calls to an endpoint
// carry the fleet's: it neither leads elsewhere nor back in.
func TestAnOwnTokenRegistersOnlyWhatIsKnown(t *testing.T) {
	ctx := context.Background()
	var health atomic.Int64
	w := newFixture(t)
	w.workers.EXPECT().Health(gomock.Any(), gomock.Any()).DoAndReturn(func(context.Context, string) error {
		health.Add(1)
		return nil
	}).AnyTimes()
	register := func(endpoint string, own bool) error {
		before := health.Load()
		_, err := w.Protocol.Register(ctx, domain.Registration{WorkerID: "worker-1", Endpoint: endpoint, ByWorkerToken: own})
		require.Equal(t, err == nil, health.Load() > before, "who may not register is not called")
		return err
	}
	leave := func() {
		t.Helper()
		_, err := w.Protocol.Unregister(ctx, "worker-1", "http://worker-1:1")
		require.NoError(t, err)
	}
	const home, elsewhere = "http://worker-1:1", "http://worker-1:2"
	forbidden := func(err error) {
		t.Helper()
		require.Equal(t, domain.CodeInsufficientPermission, domain.CodeOf(err))
		require.ErrorContains(t, err, "needs the fleet token")
	}
	forbidden(register(home, true))
	require.NoError(t, register(home, false))
	require.NoError(t, register("HTTP://worker-1:1/", true), "it repeats what is recorded")
	leave()
	forbidden(register(elsewhere, true))
	require.NoError(t, register(home, true), "it is back")
	leave()
	require.NoError(t, register(elsewhere, false))
	forbidden(register(home, true))
	require.NoError(t, w.Workers.Remove(ctx, "worker-1", service.RemoveOptions{}))
	forbidden(register(elsewhere, true))
	require.NoError(t, register(home, false))
}

// The worker is removed while its registration is under way.
func TestAnOwnTokenDoesNotUndoARemoval(t *testing.T) {
	store := storehooks.New(memory.NewStore())
	w := newFixtureOn(t, store)
	w.worker("worker-1", 50)
	store.BeforeNextUpdate(func() {
		require.NoError(t, w.Workers.Remove(context.Background(), "worker-1", service.RemoveOptions{}))
	})
	_, err := w.Protocol.Register(context.Background(), domain.Registration{WorkerID: "worker-1", Endpoint: "http://worker-1:1", ByWorkerToken: true})
	require.Equal(t, domain.CodeInsufficientPermission, domain.CodeOf(err))
	require.Nil(t, store.BeforeUpdate)
}

func TestRegisteringAgainInterruptsNothingThatRuns(t *testing.T) {
	for name, list := range map[string]domain.Status{"it runs": domain.Connected, "it does not": domain.Disconnected} {
		t.Run(name, func(t *testing.T) {
			w, s := newLine(t)
			w.workers.EXPECT().List(gomock.Any(), gomock.Any()).Return([]domain.Report{{SessionID: s.ID, Status: list}}, nil)
			w.worker("worker-1", 50)
			want := domain.Connected
			if list != domain.Connected {
				want = domain.Reconnecting
			}
			require.Equal(t, want, w.session(s.ID).Status)
		})
	}
}

func TestAWorkerThatRegistersAgainElsewhereKeepsWhatRuns(t *testing.T) {
	c := newReplicaSet(t, 2)
	a, b := c.all[0], c.all[1]
	a.invalidator.cut.Store(true)
	c.register(a, "worker-1", 50)
	s := c.connected(a)
	c.hands.listed = []domain.Report{{SessionID: s.ID, Status: domain.Connected, Generation: 1}}
	c.register(b, "worker-1", 50) // it is the same process
	require.Equal(t, 1, c.hands.made("list"))
	require.Equal(t, domain.Connected, c.session(s.ID).Status)
}

func TestAnAdministratorsWordOutlivesARegistration(t *testing.T) {
	w := newFixture(t)
	w.worker("worker-1", 50)
	seven, about := 7, "the big one"
	_, err := w.Workers.Update(context.Background(), "worker-1", service.WorkerChange{
		Capacity: &seven, Description: &about, Labels: map[string]string{"pool": "max"},
	})
	require.NoError(t, err)
	w.worker("worker-1", 50)
	v, _, err := w.Workers.Get(context.Background(), "worker-1")
	require.NoError(t, err)
	require.Equal(t, 7, v.Capacity)
	require.Equal(t, about, v.Description)
	require.Equal(t, "max", v.Labels["pool"])
}

// A worker whose session calls fail while its heartbeats arrive proves by its
// own list that a stop is done.
func TestAStopIsProvedByTheWorkersList(t *testing.T) {
	w, s := newLine(t)
	w.workers.EXPECT().Disconnect(gomock.Any(), gomock.Any(), s.ID, gomock.Any()).
		Return(&ports.WorkerError{Failure: ports.WorkerFailed, Status: 500, Message: "no"}).AnyTimes()
	_, err := w.Sessions.Disconnect(context.Background(), s.UserID, s.ID)
	require.NoError(t, err)
	list := func() {
		_, err = w.Protocol.Heartbeat(context.Background(), domain.Heartbeat{WorkerID: "worker-1", IsFullSnapshot: true, CPU: -1, Memory: -1, MessageCount: -1})
		require.NoError(t, err)
	}
	list()
	for range 3 {
		require.True(t, w.session(s.ID).IsAssigned(), "one list without it may be an old one")
		w.clock.advance(10 * time.Second)
		_, err = w.RunOnce(context.Background())
		require.NoError(t, err)
	}
	list()
	require.False(t, w.session(s.ID).IsAssigned())
}

// A start that was not answered may have been carried out: the session stays
// where it is until that is known.
func TestAnUnansweredStartStaysWhereItIs(t *testing.T) {
	w := newFixture(t)
	w.worker("worker-1", 50)
	w.worker("worker-2", 50)
	w.workers.EXPECT().Start(gomock.Any(), gomock.Any(), gomock.Any()).
		Return(domain.Report{}, &ports.WorkerError{Failure: ports.WorkerTimedOut, Message: "no answer"})
	user := w.user(domain.TierBasic)
	s := w.card(user, "line")
	q, err := w.Sessions.Connect(context.Background(), user, s.ID, service.ConnectOptions{})
	require.NoError(t, err)
	require.Equal(t, domain.Init, q.Status)
	require.Equal(t, q.WorkerID, w.session(s.ID).WorkerID)
	require.EqualValues(t, 1, w.session(s.ID).Generation)
}

// outdatedRows makes the transactions of a store read old rows.
type outdatedRows struct {
	row  *domain.Session // returned as the session that is asked for
	left int             // this many times

	noWorkers bool // no worker is found until the end of an Update
}

func (o *outdatedRows) hook(store *storehooks.Store) {
	store.ViewTx, store.UpdateTx = o.replace, o.replace
	store.AfterUpdate = func(_ context.Context, err error) error {
		o.noWorkers = false
		return err
	}
}

func (o *outdatedRows) replace(_ context.Context, tx *ports.Tx) {
	tx.Sessions, tx.Workers = outdatedSessions{tx.Sessions, o}, outdatedWorkers{tx.Workers, o}
}

type outdatedSessions struct {
	ports.Sessions
	*outdatedRows
}

func (s outdatedSessions) Get(ctx context.Context, id string) (*domain.Session, error) {
	if s.left == 0 {
		return s.Sessions.Get(ctx, id)
	}
	s.left--
	return s.row.Clone(), nil
}

type outdatedWorkers struct {
	ports.Workers
	*outdatedRows
}

func (w outdatedWorkers) Get(ctx context.Context, id string) (*domain.Worker, error) {
	if w.noWorkers {
		return nil, ports.ErrNotFound
	}
	return w.Workers.Get(ctx, id)
}

func (w outdatedWorkers) ByEndpoint(ctx context.Context, endpoint string) (*domain.Worker, error) {
	if w.noWorkers {
		return nil, ports.ErrNotFound
	}
	return w.Workers.ByEndpoint(ctx, endpoint)
}

// The transaction of a connect sees the slot that another connect of the same
// session has taken, but not yet the session.
func TestASessionIsNotInItsOwnWay(t *testing.T) {
	ctx := context.Background()
	store, rows := storehooks.New(memory.NewStore()), new(outdatedRows)
	rows.hook(store)
	w := newFixtureOn(t, store)
	w.starts()
	w.worker("worker-1", 50)
	user := w.user(domain.TierBasic)
	s := w.card(user, "line")
	rows.row = w.session(s.ID)
	_, err := w.Sessions.Connect(ctx, user, s.ID, service.ConnectOptions{})
	require.NoError(t, err)
	rows.left = 2
	_, err = w.Sessions.Connect(ctx, user, s.ID, service.ConnectOptions{})
	require.Equal(t, domain.CodeSessionConnecting, domain.CodeOf(err))
	require.Zero(t, rows.left)

	tier := domain.DefaultTiers()
	tier[domain.TierBasic] = domain.Limits{Sessions: 2, MessagesPerHour: 1, APICallsPerHour: 1}
	w.SetTiers(tier)
	another := w.card(user, "another")
	w.SetTiers(domain.DefaultTiers())
	_, err = w.Sessions.Connect(ctx, user, another.ID, service.ConnectOptions{})
	require.Equal(t, domain.CodeSessionLimit, domain.CodeOf(err), "another is")
}

// Each registration saw that id and endpoint were free.
func TestTheLoserOfARegistrationHearsOfWhat(t *testing.T) {
	store, rows := storehooks.New(memory.NewStore()), new(outdatedRows)
	rows.hook(store)
	w := newFixtureOn(t, store)
	w.worker("worker-1", 50)
	for _, c := range []struct{ id, endpoint, says string }{
		{"worker-1", "http://worker-1:2", "registered with this id"},
		{"worker-1", "http://worker-1:1", "registered with this id"},
		{"worker-2", "http://worker-1:1", "has this endpoint"},
	} {
		rows.noWorkers = true
		_, err := w.Protocol.Register(context.Background(), domain.Registration{WorkerID: c.id, Endpoint: c.endpoint})
		require.Equal(t, domain.CodeWorkerConflict, domain.CodeOf(err))
		require.ErrorContains(t, err, c.says)
	}
}

// Users, administrators and workers read the same: what each of them can do.
func TestWhatIsNotThere(t *testing.T) {
	ctx := context.Background()
	w, s := newLine(t)
	for what, ask := range map[string]func() error{
		"drain":     func() error { _, err := w.Workers.Drain(ctx, "nobody"); return err },
		"migrate":   func() error { _, err := w.Operations.Migrate(ctx, s.ID, "nobody", ""); return err },
		"heartbeat": func() error { _, err := w.Protocol.Heartbeat(ctx, domain.Heartbeat{WorkerID: "nobody"}); return err },
	} {
		require.ErrorContains(t, ask(), "Worker not found; check its id, or register it first", what)
	}
	for what, ask := range map[string]func() error{
		"connect": func() error {
			_, err := w.Sessions.Connect(ctx, s.UserID, "none", service.ConnectOptions{})
			return err
		},
		"migrate": func() error { _, err := w.Operations.Migrate(ctx, "none", "worker-1", ""); return err },
		"report": func() error {
			_, err := w.Protocol.ReportSession(ctx, domain.Report{SessionID: "none", Status: domain.Connected})
			return err
		},
	} {
		require.ErrorContains(t, ask(), "Session not found; check its id, or whether it was deleted", what)
	}
}

// There was nothing to do about the session, but before that is noted there is.
func TestWorkThatComesWhileADueTimeIsClearedIsNotForgotten(t *testing.T) {
	store := storehooks.New(memory.NewStore())
	w := newFixtureOn(t, store)
	starts := w.starts()
	w.worker("worker-1", 50)
	s := w.connected(w.user(domain.TierBasic))
	w.clock.advance(time.Minute)
	require.NoError(t, store.Store.Update(context.Background(), func(ctx context.Context, tx *ports.Tx) error {
		row, err := tx.Sessions.Get(ctx, s.ID)
		require.NoError(t, err)
		row.DueAt = w.clock.Now()
		return tx.Sessions.Put(ctx, row)
	}))
	before := starts.Load()
	store.BeforeNextUpdate(func() {
		_, err := w.Protocol.Heartbeat(context.Background(), domain.Heartbeat{WorkerID: "worker-1", IsFullSnapshot: true, CPU: -1, Memory: -1, MessageCount: -1})
		require.NoError(t, err)
		require.Equal(t, domain.CommandStart, w.session(s.ID).Command)
	})
	for range 2 {
		_, err := w.RunOnce(context.Background())
		require.NoError(t, err)
	}
	require.Nil(t, store.BeforeUpdate, "the due time was to be cleared")
	require.Equal(t, before+1, starts.Load())
}

func TestForceDoesNotGiveUpWhatAWorkerMayStillRun(t *testing.T) {
	for name, can := range map[string][]domain.Capability{"lease": {domain.CapLease, domain.CapGeneration}, "none": nil} {
		t.Run(name, func(t *testing.T) {
			c := newReplicaSet(t, 1)
			a := c.all[0]
			c.register(a, "worker-1", 5, can...)
			s := c.connected(a)
			hung := c.now()
			c.hands.set(func(call) error { return &ports.WorkerError{Failure: ports.WorkerTimedOut} })
			remove := func() error { return a.Workers.Remove(t.Context(), "worker-1", service.RemoveOptions{Force: true}) }
			err := remove()
			require.Equal(t, domain.CodeInvalidState, domain.CodeOf(err), "%v", err)
			require.ErrorContains(t, err, "1 session(s)")
			require.Equal(t, domain.Down, c.session(s.ID).Intent, "it is disconnected")
			require.Equal(t, domain.Disconnected, c.session(s.ID).Status)
			for c.session(s.ID).IsAssigned() {
				require.Error(t, remove())
				c.pass(time.Second)
				require.Less(t, c.now().Sub(hung), 100*time.Second)
			}
			if can != nil {
				require.Greater(t, c.now().Sub(hung), 45*time.Second, "its lease was waited for")
			}
			require.NoError(t, remove())
		})
	}
}

// TestOneOfTwoProcessesWithTheSameIDIsTakenIn has a second register, at another
// endpoint, between the look of the first at the worker and its registration.
func TestOneOfTwoProcessesWithTheSameIDIsTakenIn(t *testing.T) {
	registration := func(port string) domain.Registration {
		return domain.Registration{WorkerID: "worker-1", Endpoint: "http://worker-1:" + port, Capacity: 5}
	}
	for name, before := range map[string]func(c *replicaSet){
		"new": func(*replicaSet) {},
		"known": func(c *replicaSet) {
			c.register(c.all[0], "worker-1", 5)
			_, err := c.all[0].Protocol.Unregister(c.t.Context(), "worker-1", "")
			require.NoError(c.t, err)
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newReplicaSet(t, 2)
			before(c)
			first := true
			c.hands.set(func(made call) error {
				if made.kind == "health" && first {
					first = false
					_, err := c.all[1].Protocol.Register(t.Context(), registration("2"))
					require.NoError(t, err)
				}
				return nil
			})
			_, err := c.all[0].Protocol.Register(t.Context(), registration("3"))
			require.Equal(t, domain.CodeWorkerConflict, domain.CodeOf(err), "%v", err)
			require.Equal(t, "http://worker-1:2", c.worker("worker-1").Endpoint)
		})
	}
}

// TestDeactivationDuringAConnect has the user deactivated at another replica
// once the first has read that it is active.
func TestDeactivationDuringAConnect(t *testing.T) {
	c := newReplicaSet(t, 2)
	a, b := c.all[0], c.all[1]
	c.register(a, "worker-1", 5)
	s := c.line()
	a.store.UpdateTx = func(ctx context.Context, tx *ports.Tx) {
		users := tx.Users
		tx.Users = usersBeforeReserve{users, func() { // as if it had been committed at that moment
			u, err := users.Get(ctx, s.UserID)
			require.NoError(t, err)
			u.Active = false
			require.NoError(t, users.Put(ctx, u))
		}}
	}
	_, err := a.Sessions.Connect(t.Context(), s.UserID, s.ID, service.ConnectOptions{})
	require.Equal(t, domain.CodeAccountDeactivated, domain.CodeOf(err), "%v", err)
	require.NoError(t, b.Users.ApplyChange(t.Context(), s.UserID))
	require.Equal(t, domain.Down, c.session(s.ID).Intent)
}

// usersBeforeReserve calls before whenever the sessions of a user are about to be counted.
type usersBeforeReserve struct {
	ports.Users
	before func()
}

func (u usersBeforeReserve) Reserve(ctx context.Context, id string, add, limit domain.UserUsage) error {
	u.before()
	return u.Users.Reserve(ctx, id, add, limit)
}
