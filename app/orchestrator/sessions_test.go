package orchestrator_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang/mock/gomock"
	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/memory"
	"github.com/switchyard-wa/switchyard/app/orchestrator"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/conformance/storehooks"
	"github.com/switchyard-wa/switchyard/ports/service"
)

func TestCreate_Concurrent_TierLimitHolds(t *testing.T) {
	w := newFixture(t)
	user := w.user(domain.TierBasic)
	var made, refused atomic.Int64

	concurrently(40, func(i int) {
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

func TestConnect_ConcurrentSessions_FillExactlyTheCapacity(t *testing.T) {
	w := newFixture(t)
	starts := w.acceptStarts()
	w.worker("worker-1", 4)
	w.worker("worker-2", 3)
	ids := make([]string, 30)
	users := make([]string, 30)
	for i := range ids {
		users[i] = w.user(domain.TierBasic)
		ids[i] = w.createSession(users[i], "line").ID
	}

	var connected, full atomic.Int64
	concurrently(30, func(i int) {
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

func TestConnect_SameSessionConcurrently_StartsOnce(t *testing.T) {
	w := newFixture(t)
	starts := w.acceptStarts()
	w.worker("worker-1", 50)
	user := w.user(domain.TierBasic)
	id := w.createSession(user, "line").ID

	var connected, connecting atomic.Int64
	concurrently(16, func(int) {
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

func TestConnect_NoWorkers_ChangesNothing(t *testing.T) {
	w := newFixture(t)
	user := w.user(domain.TierBasic)
	id := w.createSession(user, "line").ID

	_, err := w.Sessions.Connect(context.Background(), user, id, service.ConnectOptions{})

	require.Equal(t, domain.CodeNoAvailableWorkers, domain.CodeOf(err))
	require.Equal(t, domain.Disconnected, w.session(id).Status)
}

func TestConnect_WorkerBusy_TriesTheNext(t *testing.T) {
	w := newFixture(t)
	w.worker("worker-1", 50)
	w.worker("worker-2", 50)
	user := w.user(domain.TierBasic)
	id := w.createSession(user, "line").ID
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

func TestConnect_EveryWorkerRefuses_IsWithdrawn(t *testing.T) {
	w := newFixture(t)
	w.worker("worker-1", 50)
	user := w.user(domain.TierBasic)
	id := w.createSession(user, "line").ID
	w.workers.EXPECT().Start(gomock.Any(), gomock.Any(), gomock.Any()).
		Return(domain.Report{}, &ports.WorkerError{Failure: ports.WorkerConnectionRefused, Message: "refused"})

	_, err := w.Sessions.Connect(context.Background(), user, id, service.ConnectOptions{})

	require.Equal(t, domain.CodeWorkerUnreachable, domain.CodeOf(err))
	s := w.session(id)
	require.Equal(t, domain.Disconnected, s.Status)
	require.Equal(t, domain.Down, s.Intent)
	require.False(t, s.IsAssigned())
}

// The worker may have carried out the start. The session stays on it until that is known.
func TestConnect_StartUnanswered_SessionStaysAssigned(t *testing.T) {
	w := newFixture(t)
	w.worker("worker-1", 50)
	w.worker("worker-2", 50)
	w.workers.EXPECT().Start(gomock.Any(), gomock.Any(), gomock.Any()).
		Return(domain.Report{}, &ports.WorkerError{Failure: ports.WorkerTimedOut, Message: "no answer"})
	user := w.user(domain.TierBasic)
	s := w.createSession(user, "line")

	q, err := w.Sessions.Connect(context.Background(), user, s.ID, service.ConnectOptions{})

	require.NoError(t, err)
	require.Equal(t, domain.Init, q.Status)
	require.Equal(t, q.WorkerID, w.session(s.ID).WorkerID)
	require.EqualValues(t, 1, w.session(s.ID).Generation)
}

func TestConnect_ReportedDuringTheStart_AnswerDoesNotOverwrite(t *testing.T) {
	for _, c := range []struct {
		reported domain.Report
		answered domain.Status
	}{
		{domain.Report{Status: domain.Connected, PhoneNumber: "6281234567890"}, domain.Disconnected},
		{domain.Report{Status: domain.Disconnected, LoggedOut: true}, domain.Connected}, // no report confirms the start
	} {
		t.Run(string(c.reported.Status), func(t *testing.T) {
			w := newFixture(t)
			w.worker("worker-1", 50)
			user := w.user(domain.TierBasic)
			id := w.createSession(user, "line").ID
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

// The transaction of a connect sees the slot that another connect of the same session has
// taken, and does not see that session yet.
func TestConnect_OwnSlotIsTaken_ReportsConnecting(t *testing.T) {
	ctx := context.Background()
	store, rows := storehooks.New(memory.NewStore()), new(outdatedRows)
	rows.hook(store)
	w := newFixtureOn(t, store)
	w.acceptStarts()
	w.worker("worker-1", 50)
	user := w.user(domain.TierBasic)
	s := w.createSession(user, "line")
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
	another := w.createSession(user, "another")
	w.SetTiers(domain.DefaultTiers())
	_, err = w.Sessions.Connect(ctx, user, another.ID, service.ConnectOptions{})
	require.Equal(t, domain.CodeSessionLimit, domain.CodeOf(err), "the slot counts for another session")
}

// The user is deactivated at another replica after the first has read that it is active.
func TestConnect_UserDeactivatedMeanwhile_IsRefused(t *testing.T) {
	c := newReplicaSet(t, 2)
	a, b := c.all[0], c.all[1]
	c.register(a, "worker-1", 5)
	s := c.createSession()
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

func TestConnect_WaitsForQR_SeesReportOfAnotherReplica(t *testing.T) {
	for _, cut := range []bool{false, true} {
		t.Run(fmt.Sprint("cut=", cut), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newReplicaSet(t, 2, func(cfg *orchestrator.Config) { withSystemClock(cfg); cfg.Timing.StartTimeout = 0 })
				a, b := c.all[0], c.all[1]
				c.workers.report = func(call) domain.Report { return domain.Report{Status: domain.Init} }
				c.startAll()
				c.register(a, "worker-1", 5)
				s := c.createSession()
				time.Sleep(time.Second)
				b.invalidator.cut.Store(cut)
				asked := make(chan *service.SessionQR, 1)
				go func() {
					q, _ := b.Sessions.Connect(context.Background(), s.UserID, s.ID, service.ConnectOptions{Wait: 30 * time.Second})
					asked <- q
				}()
				time.Sleep(10 * time.Second)

				began := time.Now()
				_, err := a.Protocol.ReportSession(t.Context(), domain.Report{
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

// usersBeforeReserve calls before whenever the sessions of a user are about to be counted.
type usersBeforeReserve struct {
	ports.Users
	before func()
}

func (u usersBeforeReserve) Reserve(ctx context.Context, id string, add, limit domain.UserUsage) error {
	u.before()
	return u.Users.Reserve(ctx, id, add, limit)
}
