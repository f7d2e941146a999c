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

func TestUnregister_AnotherEndpoint_ChangesNothing(t *testing.T) {
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
	status, err := w.Protocol.Unregister(context.Background(), "worker-2", "http://worker-1:1")
	require.NoError(t, err)
	require.Equal(t, domain.WorkerOffline, status, "no worker has this id")
}

// A replica pauses in the middle of an unregistration. The next process of the worker
// registers at the same endpoint meanwhile.
func TestUnregister_DelayedPastTheNextRegistration_ChangesNothing(t *testing.T) {
	c := newReplicaSet(t, 2)
	a, b := c.all[0], c.all[1]
	require.NoError(t, c.registerWorker1(b, "http://process-1:1"))
	c.runAll()
	s := c.connectSession(b)
	c.register(b, "worker-2", 10)
	c.runAll()
	beat := func() {
		_, err := b.Protocol.Heartbeat(t.Context(), domain.Heartbeat{WorkerID: "worker-1", CPU: -1, Memory: -1, MessageCount: -1,
			IsFullSnapshot: true, Sessions: []domain.Report{{SessionID: s.ID, Status: domain.Connected, Generation: 1}}})
		require.NoError(t, err)
	}
	a.store.BeforeNextUpdate(func() { // A pauses here
		a.halted = true
		c.advance(3*time.Second, c.heartbeatsOf(b, "worker-2"))
		require.NoError(t, c.registerWorker1(b, "http://process-1:1"))
		c.advance(time.Minute, c.heartbeatsOf(b, "worker-2"), beat)
		a.halted = false
	})

	_, err := a.Protocol.Unregister(t.Context(), "worker-1", "http://process-1:1")
	require.NoError(t, err)
	beats := c.clock.Now().Add(30 * time.Second)
	c.advance(time.Minute, c.heartbeatsOf(b, "worker-2"), func() {
		if !c.clock.Now().Before(beats) {
			beats = beats.Add(30 * time.Second)
			beat()
		}
	})

	row := c.session(s.ID)
	t.Log("the session is on", row.WorkerID, "generation", row.Generation)
	require.Equal(t, []any{"worker-1", int64(1)}, []any{row.WorkerID, row.Generation}, "the next process has run the session all the time")
}

// An own token registers its worker again where it is known to be, in its epoch. It
// registers no other endpoint and no removed worker.
func TestRegister_OwnToken_OnlyTheRecordedEndpoint(t *testing.T) {
	ctx := context.Background()
	var health atomic.Int64
	w := newFixture(t)
	w.workers.EXPECT().Health(gomock.Any(), gomock.Any()).DoAndReturn(func(context.Context, ports.WorkerRef) error {
		health.Add(1)
		return nil
	}).AnyTimes()
	own := domain.TokenHolder{WorkerID: "worker-1"} // of the latest registration
	register := func(endpoint string, holder domain.TokenHolder) error {
		before := health.Load()
		r := domain.Registration{WorkerID: "worker-1", Endpoint: endpoint, Holder: holder, Capabilities: []domain.Capability{domain.CapOwnToken}}
		result, err := w.Protocol.Register(ctx, r)
		require.Equal(t, err == nil, health.Load() > before, "only a worker that may register is probed")
		if err == nil {
			require.NotEqual(t, own.Epoch, result.Worker.TokenEpoch, "each registration begins an epoch")
			own.Epoch = result.Worker.TokenEpoch
		}
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
	fleet := domain.TokenHolder{}

	forbidden(register(home, own))
	require.NoError(t, register(home, fleet))
	former := own
	require.NoError(t, register("HTTP://worker-1:1/", own), "the recorded endpoint")
	require.Equal(t, domain.CodeAuthTokenInvalid, domain.CodeOf(register(home, former)))
	leave()
	forbidden(register(elsewhere, own))
	require.NoError(t, register(home, own), "the worker is back")
	leave()
	require.NoError(t, register(elsewhere, fleet))
	forbidden(register(home, own))
	require.NoError(t, w.Workers.Remove(ctx, "worker-1", service.RemoveOptions{}))
	forbidden(register(elsewhere, own))
	require.NoError(t, register(home, fleet))
	require.Equal(t, domain.CodeAuthTokenInvalid, domain.CodeOf(register(home, former)))
}

// A registration ends the tokens of the process before it, and a removal those of the
// worker, on every replica at once.
func TestAuthorize_TokenOfAFormerEpoch_IsRefusedOnEveryReplica(t *testing.T) {
	ctx := context.Background()
	set := newReplicaSet(t, 2)
	one, two := set.all[0], set.all[1]
	register := func() domain.TokenHolder {
		result, err := one.Protocol.Register(ctx, domain.Registration{
			WorkerID: "worker-1", Endpoint: "http://worker-1:1", Capabilities: []domain.Capability{domain.CapOwnToken},
		})
		require.NoError(t, err)
		return domain.TokenHolder{WorkerID: "worker-1", Epoch: result.Worker.TokenEpoch}
	}
	expect := func(code domain.Code, holder domain.TokenHolder) {
		t.Helper()
		for _, o := range []*replica{one, two} {
			require.Equal(t, code, domain.CodeOf(o.Access.Authorize(ctx, holder, "worker-1")))
		}
	}
	fleet := domain.TokenHolder{}
	expect("", fleet)

	first := register()
	expect("", first)
	expect(domain.CodeInsufficientPermission, fleet)
	second := register()
	expect(domain.CodeAuthTokenInvalid, first)
	expect("", second)
	require.NoError(t, one.Workers.Remove(ctx, "worker-1", service.RemoveOptions{}))
	expect(domain.CodeAuthTokenInvalid, second)
	expect("", fleet)
	third := register()
	expect(domain.CodeAuthTokenInvalid, second)
	expect("", third)
}

// The worker is removed while its registration is under way.
func TestRegister_WorkerTokenDuringRemoval_IsForbidden(t *testing.T) {
	store := storehooks.New(memory.NewStore())
	w := newFixtureOn(t, store)
	w.workers.EXPECT().Health(gomock.Any(), gomock.Any()).Return(nil).AnyTimes()
	known, err := w.Protocol.Register(context.Background(), domain.Registration{
		WorkerID: "worker-1", Endpoint: "http://worker-1:1", Capabilities: []domain.Capability{domain.CapOwnToken},
	})
	require.NoError(t, err)
	epoch := known.Worker.TokenEpoch
	store.BeforeNextUpdate(func() {
		require.NoError(t, w.Workers.Remove(context.Background(), "worker-1", service.RemoveOptions{}))
	})

	_, err = w.Protocol.Register(context.Background(), domain.Registration{WorkerID: "worker-1", Endpoint: "http://worker-1:1", Holder: domain.TokenHolder{WorkerID: "worker-1", Epoch: epoch},
		Capabilities: []domain.Capability{domain.CapOwnToken}})
	require.Equal(t, domain.CodeInsufficientPermission, domain.CodeOf(err))
	require.Nil(t, store.BeforeUpdate)
}

func TestRegister_Again_RunningSessionsContinue(t *testing.T) {
	for name, list := range map[string]domain.Status{"runs": domain.Connected, "the session does not run": domain.Disconnected} {
		t.Run(name, func(t *testing.T) {
			w, s := newConnectedFixture(t)

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

func TestRegister_AgainAtAnotherReplica_RunningSessionsContinue(t *testing.T) {
	c := newReplicaSet(t, 2)
	a, b := c.all[0], c.all[1]
	a.invalidator.cut.Store(true)
	c.register(a, "worker-1", 50)
	s := c.connectSession(a)
	c.workers.listed = []domain.Report{{SessionID: s.ID, Status: domain.Connected, Generation: 1}}

	c.register(b, "worker-1", 50) // the same process

	require.Equal(t, 1, c.workers.count("list"))
	require.Equal(t, domain.Connected, c.session(s.ID).Status)
}

// A session that runs as intended, or is due already, is not written.
func TestRegister_Again_WritesOnlyChangedSessions(t *testing.T) {
	c := newReplicaSet(t, 1)
	a := c.all[0]
	c.register(a, "worker-1", 50)
	runs, stopped := c.connectSession(a), c.connectSession(a)
	c.workers.listed = []domain.Report{{SessionID: runs.ID, Status: domain.Connected, Generation: 1}}

	before := c.session(runs.ID).Rev
	c.register(a, "worker-1", 50)
	require.Equal(t, before, c.session(runs.ID).Rev, "the session still runs")
	waits := c.session(stopped.ID)
	require.Equal(t, domain.CommandStart, waits.Command, "the session does not run")
	require.False(t, waits.DueAt.IsZero())

	c.runAll()
	_, err := a.Workers.Drain(t.Context(), "worker-1", service.DrainOptions{Force: true})
	require.NoError(t, err)
	require.Equal(t, waits.Rev, c.session(stopped.ID).Rev, "the session is due already")
	require.False(t, c.session(runs.ID).DueAt.IsZero())
}

func TestRegister_AfterAnUpdate_KeepsTheUpdate(t *testing.T) {
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

// Each registration saw that id and endpoint were free.
func TestRegister_LosesRace_ErrorNamesTheConflict(t *testing.T) {
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

// The second registers at another endpoint, after the first was probed and before it is
// recorded.
func TestRegister_TwoProcessesWithOneID_OneIsRefused(t *testing.T) {
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
			c.workers.answerWith(func(made call) error {
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

func TestRemove_ForcedWhileTheWorkerHangs_WaitsForItsSessions(t *testing.T) {
	for name, can := range map[string][]domain.Capability{"lease": {domain.CapLease, domain.CapGeneration}, "none": nil} {
		t.Run(name, func(t *testing.T) {
			c := newReplicaSet(t, 1)
			a := c.all[0]
			c.register(a, "worker-1", 5, can...)
			s := c.connectSession(a)
			hung := c.now()
			c.workers.answerWith(func(call) error { return &ports.WorkerError{Failure: ports.WorkerTimedOut} })
			remove := func() error { return a.Workers.Remove(t.Context(), "worker-1", service.RemoveOptions{Force: true}) }

			err := remove()
			require.Equal(t, domain.CodeInvalidState, domain.CodeOf(err), "%v", err)
			require.ErrorContains(t, err, "1 session(s)")
			require.Equal(t, domain.Down, c.session(s.ID).Intent, "the session is disconnected")
			require.Equal(t, domain.Disconnected, c.session(s.ID).Status)

			for c.session(s.ID).IsAssigned() {
				require.Error(t, remove())
				c.advance(time.Second)
				require.Less(t, c.now().Sub(hung), 100*time.Second)
			}
			if can != nil {
				require.Greater(t, c.now().Sub(hung), 45*time.Second, "the lease has ended")
			}
			require.NoError(t, remove())
		})
	}
}
