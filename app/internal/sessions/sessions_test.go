package sessions_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/memory"
	"github.com/switchyard-wa/switchyard/app/internal/apikeys"
	"github.com/switchyard-wa/switchyard/app/internal/coretest"
	"github.com/switchyard-wa/switchyard/app/internal/failure"
	"github.com/switchyard-wa/switchyard/app/internal/migration"
	"github.com/switchyard-wa/switchyard/app/internal/reconcile"
	"github.com/switchyard-wa/switchyard/app/internal/sessions"
	"github.com/switchyard-wa/switchyard/app/internal/txn"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// fixture is the services of session owners and users.
type fixture struct {
	*coretest.Core
	sessions *sessions.Sessions
	users    *sessions.Users
	user     string
}

func newFixture(t *testing.T) *fixture { return newReplica(coretest.New(t)) }

func newReplica(core *coretest.Core) *fixture {
	detector := failure.New(core.Writer, core.Members, core.Cache, core.Sync, core.Queue)
	reconciler := reconcile.New(reconcile.Parts{
		Writer: core.Writer, Members: core.Members, Cache: core.Cache, Sync: core.Sync, Detector: detector,
		Migrator: migration.New(core.Writer, core.Members, core.Cache, core.Sync, migration.Limits{PerWorker: 4, Total: 32}),
		Queue:    core.Queue, Calls: core.Calls,
	})
	keys := apikeys.New(core.Writer, memory.NewLimiter(), func(ports.Invalidation) {})
	core.AfterCommit(func(_ context.Context, c *txn.Changes) {
		for _, s := range c.Sessions {
			core.Sync.Changes.Notify(s.ID)
		}
	})
	return &fixture{
		Core: core, user: core.AddUser(domain.TierPro),
		sessions: sessions.New(core.Writer, core.Members, core.Cache, core.Sync, reconciler, keys),
		users:    sessions.NewUsers(core.Writer, core.Cache, core.Sync, keys),
	}
}

func (f *fixture) connect(id string) (*service.SessionQR, error) {
	return f.sessions.Connect(context.Background(), f.user, id, service.ConnectOptions{})
}

func TestCreate_NewSession_StartsNothing(t *testing.T) {
	f := newFixture(t)
	created, err := f.sessions.Create(context.Background(), f.user, service.CreateSessionParams{Name: "Support"})
	require.NoError(t, err)
	require.NotEmpty(t, created.APIKey)
	require.Equal(t, domain.Down, f.Session(created.ID).Intent)
	require.Equal(t, 1, f.Usage(f.user).Sessions)
	require.Empty(t, f.Gateway.Calls())
}

func TestCreate_LimitOfTheTierReached_IsRefused(t *testing.T) {
	f := newFixture(t)
	basic := f.AddUser(domain.TierBasic)
	create := func() error {
		_, err := f.sessions.Create(context.Background(), basic, service.CreateSessionParams{Name: "Support"})
		return err
	}
	require.NoError(t, create())
	require.Equal(t, domain.CodeSessionLimit, domain.CodeOf(create()))
}

func TestCreate_IDIsStillBeingWiped_IsRefusedUntilItIs(t *testing.T) {
	f := newFixture(t)
	f.AddWorker("w1", 50)
	f.AddConnected(f.user, "support", "w1")
	f.Gateway.Fail(ports.WorkerTimedOut)
	require.NoError(t, f.sessions.Delete(context.Background(), f.user, "support"))
	create := func() error {
		_, err := f.sessions.Create(context.Background(), f.user, service.CreateSessionParams{Name: "Support", ID: "support"})
		return err
	}
	require.Equal(t, domain.CodeSessionExists, domain.CodeOf(create()))

	f.Write(func(ctx context.Context, tx *txn.Tx) error {
		cleanups, err := tx.Cleanups.BySession(ctx, "support")
		if err != nil {
			return err
		}
		return tx.Cleanups.Delete(ctx, cleanups[0])
	})
	require.NoError(t, create())
	require.Equal(t, domain.CodeSessionExists, domain.CodeOf(create()))
	require.EqualValues(t, 1, f.Session("support").Generation, "generations go on")
}

// The answer does not tell whether an id is in use, by whom, or is still being wiped.
func TestCreate_IDIsNotFree_AnswerDoesNotSayWhy(t *testing.T) {
	f := newFixture(t)
	f.AddWorker("w1", 50)
	other := f.AddUser(domain.TierPro)
	f.AddSession(other, "in-use")
	f.AddConnected(other, "deleted", "w1")
	f.Gateway.Fail(ports.WorkerTimedOut)
	require.NoError(t, f.sessions.Delete(context.Background(), other, "deleted"))
	var answers []string
	for _, id := range []string{"in-use", "deleted"} {
		_, err := f.sessions.Create(context.Background(), f.user, service.CreateSessionParams{Name: "Support", ID: id})
		require.Equal(t, domain.CodeSessionExists, domain.CodeOf(err))
		answers = append(answers, err.Error())
	}
	require.Equal(t, answers[0], answers[1])
}

func TestCreate_WorkerOnceRanAForeignSessionWithTheID_IsRefused(t *testing.T) {
	f := newFixture(t)
	f.AddWorker("w1", 50)
	f.Write(func(ctx context.Context, tx *txn.Tx) error { return tx.RecordForeign(ctx, "w1", []string{"support"}) })
	_, err := f.sessions.Create(context.Background(), f.user, service.CreateSessionParams{Name: "Support", ID: "support"})
	require.Equal(t, domain.CodeSessionExists, domain.CodeOf(err))
}

func TestCreate_WorkerRunsAForeignSessionWithTheID_IsRefused(t *testing.T) {
	f := newFixture(t)
	f.AddWorker("w1", 50)
	r := domain.Report{SessionID: "support", Status: domain.Connected}
	f.Cache.NoteForeign(&domain.Heartbeat{WorkerID: "w1", Sessions: []domain.Report{r}}, []domain.Report{r}, f.Now())
	_, err := f.sessions.Create(context.Background(), f.user, service.CreateSessionParams{Name: "Support", ID: "support"})
	require.Equal(t, domain.CodeSessionExists, domain.CodeOf(err))
}

// repeatedRandom draws the same bytes several times, and then others.
type repeatedRandom struct{ left int }

func (r *repeatedRandom) Read(p []byte) (int, error) {
	r.left--
	for i := range p {
		p[i] = byte(max(-r.left, 0))
	}
	return len(p), nil
}

func TestCreate_DerivedIDIsTaken_AnotherIsDerived(t *testing.T) {
	f := newFixture(t)
	f.AddWorker("w1", 50)
	derived := domain.DeriveSessionID("Support", make([]byte, 16))
	f.AddConnected(f.user, derived, "w1")
	f.Gateway.Fail(ports.WorkerTimedOut)
	require.NoError(t, f.sessions.Delete(context.Background(), f.user, derived))
	f.Env.Random = &repeatedRandom{left: 3}
	created, err := f.sessions.Create(context.Background(), f.user, service.CreateSessionParams{Name: "Support"})
	require.NoError(t, err)
	require.NotEqual(t, derived, created.ID)
}

func TestCreate_SeveralProblems_AreAllReported(t *testing.T) {
	f := newFixture(t)
	_, err := f.sessions.Create(context.Background(), f.user, service.CreateSessionParams{ID: "!", Description: strings.Repeat("x", 10_000)})
	var public *domain.Error
	require.ErrorAs(t, err, &public)
	require.Len(t, public.Fields, 3)
}

func TestConnect_RoomOnAWorker_StartsTheSession(t *testing.T) {
	f := newFixture(t)
	f.AddWorker("w1", 50)
	f.AddSession(f.user, "s1")
	f.Gateway.ReportOnStart(domain.Report{Status: domain.QRRequired, QR: domain.QR{Code: "scan me", ExpiresAt: f.Now().Add(time.Minute)}})
	updates, _ := f.Stored.Count(func() {
		q, err := f.connect("s1")
		require.NoError(t, err)
		require.Equal(t, "scan me", q.QR.Code)
	})
	require.Equal(t, 2, updates, "the intent with the placement, the answer")
	require.Equal(t, 49, f.Cache.FreeSlots(), "the hold of its slot has ended")
	_, err := f.connect("s1")
	require.Equal(t, domain.CodeSessionConnecting, domain.CodeOf(err))
}

func TestConnect_NoWorkerHasRoom_SessionStaysDown(t *testing.T) {
	f := newFixture(t)
	f.AddSession(f.user, "s1")
	_, err := f.connect("s1")
	require.Equal(t, domain.CodeNoAvailableWorkers, domain.CodeOf(err))
	require.Equal(t, domain.Down, f.Session("s1").Intent)
	require.Zero(t, f.Usage(f.user).ActiveSessions)
}

func TestConnect_NoWorkerTakesIt_IntentIsTakenBack(t *testing.T) {
	f := newFixture(t)
	f.AddWorker("w1", 50)
	f.AddSession(f.user, "s1")
	f.Gateway.Fail(ports.WorkerConnectionRefused)
	_, err := f.connect("s1")
	require.Equal(t, domain.CodeWorkerUnreachable, domain.CodeOf(err))
	s := f.Session("s1")
	require.Equal(t, domain.Down, s.Intent)
	require.Equal(t, domain.Disconnected, s.Status)
	require.Zero(t, f.Usage(f.user).ActiveSessions)
	require.Zero(t, f.Worker("w1").Used)
}

func TestConnect_SlotIsLostToARace_TakesAnotherWorker(t *testing.T) {
	f := newFixture(t)
	f.AddSharingWorker("w1", 1)
	f.AddSession(f.user, "s1")
	f.Stored.BeforeUpdate(func() {
		faster := f.Join("", 0) // its commits do not reach the cache of f
		faster.AddConnected(f.user, "faster", "w1")
		faster.AddSharingWorker("w2", 1)
		require.NoError(t, f.Sync.RefreshWorker(context.Background(), "w2"))
	})
	_, err := f.connect("s1")
	require.NoError(t, err)
	require.Equal(t, "w2", f.Session("s1").WorkerID)
	require.Zero(t, f.Cache.FreeSlots(), "no hold is left over or lost")
}

func TestConnect_CallerHangsUp_SessionIsStartedAllTheSame(t *testing.T) {
	f := newFixture(t)
	f.AddWorker("w1", 50)
	f.AddSession(f.user, "s1")
	ctx, cancel := context.WithCancel(context.Background())
	f.AfterCommit(func(context.Context, *txn.Changes) { cancel() })
	_, err := f.sessions.Connect(ctx, f.user, "s1", service.ConnectOptions{})
	require.NoError(t, err)
	require.Equal(t, []string{"start w1 s1"}, f.Gateway.Calls())
}

func TestConnect_AnotherReplicaKnowsOfRoom_WorkersAreReadFirst(t *testing.T) {
	a := newReplica(coretest.NewReplica(t, "A"))
	require.NoError(t, a.Sync.Load(context.Background()))
	a.AddSession(a.user, "s1")
	a.Join("B", 0).AddWorker("w1", 50)
	_, err := a.connect("s1")
	require.NoError(t, err)
	require.Equal(t, "w1", a.Session("s1").WorkerID)
}

func TestConnect_WaitsForTheQRCode_ReturnsItOnceItIsReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.AddWorker("w1", 50)
		f.AddSession(f.user, "s1")
		answers := make(chan *service.SessionQR, 1)
		go func() {
			q, _ := f.sessions.Connect(context.Background(), f.user, "s1", service.ConnectOptions{Wait: time.Minute})
			answers <- q
		}()
		synctest.Wait()
		require.Empty(t, answers)
		f.Change("s1", func(s *domain.Session) {
			s.Apply(domain.Report{WorkerID: "w1", Status: domain.QRRequired, QR: domain.QR{Code: "scan me", ExpiresAt: f.Now().Add(time.Minute)}}, f.Timing, f.Now())
		})
		require.Equal(t, "scan me", (<-answers).QR.Code)
	})
}

// A DISCONNECTED may be a moment in a start. Only its end is worth an answer.
func TestConnect_WaitEndsDisconnected_SaysWhy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.AddWorker("w1", 50)
		f.AddSession(f.user, "s1")
		answers := make(chan *service.SessionQR, 1)
		go func() {
			q, _ := f.sessions.Connect(context.Background(), f.user, "s1", service.ConnectOptions{Wait: time.Minute})
			answers <- q
		}()
		synctest.Wait()
		f.Change("s1", func(s *domain.Session) {
			r := domain.Report{WorkerID: "w1", Status: domain.Disconnected, LoggedOut: true, Reason: "QR attempts used up at /app/wa.js:7"}
			s.Apply(r, f.Timing, f.Now())
		})
		synctest.Wait()
		require.Empty(t, answers, "it may come back")
		f.Change("s1", func(s *domain.Session) { s.EndDebounce(f.Timing, f.Now()) })
		q := <-answers
		require.Equal(t, domain.Disconnected, q.Status)
		require.Equal(t, "QR attempts used up at …", q.Reason)
	})
}

func TestDisconnect_WorkerCannotBeReached_IsRecordedAndToldLater(t *testing.T) {
	f := newFixture(t)
	f.AddWorker("w1", 50)
	f.AddConnected(f.user, "s1", "w1")
	f.Gateway.Fail(ports.WorkerTimedOut)
	view, err := f.sessions.Disconnect(context.Background(), f.user, "s1")
	require.NoError(t, err)
	require.Equal(t, domain.Disconnected, view.Status)
	require.Equal(t, domain.CommandDisconnect, f.Session("s1").Command)
	require.False(t, f.Session("s1").DueAt.IsZero())
}

func TestLogout_CredentialsAreOnAnotherWorker_AreWipedThereToo(t *testing.T) {
	f := newFixture(t)
	f.AddSharingWorker("w1", 50)
	f.SetStateGroup("w1", "")
	f.AddConnected(f.user, "s1", "w1")
	f.AddSharingWorker("w2", 50)
	f.Change("s1", func(s *domain.Session) { s.UnassignForMove(domain.EventSessionFailedOver, f.Now()) })
	f.Change("s1", func(s *domain.Session) { s.Assign("w2", f.Now()) })
	_, err := f.sessions.Logout(context.Background(), f.user, "s1")
	require.NoError(t, err)
	require.Equal(t, []string{"delete w1 s1", "logout w2 s1"}, f.Gateway.Calls())
}

func TestRestart_SessionIsDown_IsRefused(t *testing.T) {
	f := newFixture(t)
	f.AddSession(f.user, "s1")
	_, err := f.sessions.Restart(context.Background(), f.user, "s1")
	require.Equal(t, domain.CodeInvalidState, domain.CodeOf(err))
}

func TestDelete_SessionRuns_IsGoneAndWiped(t *testing.T) {
	f := newFixture(t)
	f.AddWorker("w1", 50)
	f.AddConnected(f.user, "s1", "w1")
	require.NoError(t, f.sessions.Delete(context.Background(), f.user, "s1"))
	require.Equal(t, []string{"delete w1 s1"}, f.Gateway.Calls())
	require.Empty(t, f.Cleanups("s1"))
	require.Equal(t, domain.UserUsage{}, f.Usage(f.user))
}

func TestDelete_OtherReplicaCallsItsWorker_WaitsForTheEndOfTheClaim(t *testing.T) {
	a := newReplica(coretest.NewReplica(t, "A"))
	a.AddWorker("w1", 50)
	a.AddConnected(a.user, "s1", "w1")
	until := a.Now().Add(time.Second)
	a.Change("s1", func(s *domain.Session) { s.AcquireClaim("B", until) })
	require.NoError(t, a.sessions.Delete(context.Background(), a.user, "s1"))
	require.False(t, a.Now().Before(until))
}

func TestSession_OfAnotherUser_DoesNotExist(t *testing.T) {
	f := newFixture(t)
	f.AddWorker("w1", 50)
	f.AddConnected(f.user, "s1", "w1")
	other, ctx := f.AddUser(domain.TierPro), context.Background()
	for name, act := range map[string]func() error{
		"get":        func() error { _, err := f.sessions.Get(ctx, other, "s1"); return err },
		"qr":         func() error { _, err := f.sessions.QR(ctx, other, "s1"); return err },
		"connect":    func() error { _, err := f.sessions.Connect(ctx, other, "s1", service.ConnectOptions{}); return err },
		"disconnect": func() error { _, err := f.sessions.Disconnect(ctx, other, "s1"); return err },
		"logout":     func() error { _, err := f.sessions.Logout(ctx, other, "s1"); return err },
		"restart":    func() error { _, err := f.sessions.Restart(ctx, other, "s1"); return err },
		"delete":     func() error { return f.sessions.Delete(ctx, other, "s1") },
	} {
		require.Equal(t, domain.CodeSessionNotFound, domain.CodeOf(act()), name)
	}
	require.Empty(t, f.Gateway.Calls())
}

func TestGet_HeartbeatWithoutNews_ShowsAsLastSeen(t *testing.T) {
	f := newFixture(t)
	f.AddWorker("w1", 50)
	f.AddConnected(f.user, "s1", "w1")
	f.Clock.Advance(time.Minute)
	f.ChangeWorkerRow("w1", func(w *domain.Worker) { w.LastHeartbeat = f.Now() })
	view, err := f.sessions.Get(context.Background(), f.user, "s1")
	require.NoError(t, err)
	require.Equal(t, f.Now(), view.LastSeenAt)
}

// deactivate stores a user as deactivated, and dies before the change is applied.
func (f *fixture) deactivate(userID string) {
	f.Write(func(ctx context.Context, tx *txn.Tx) error {
		u, err := tx.Users.Get(ctx, userID)
		if err != nil {
			return err
		}
		u.Active = false
		return tx.Users.Put(ctx, u)
	})
}

func TestApplyChange_TierShrinks_YoungestSessionsGoDown(t *testing.T) {
	f := newFixture(t)
	f.AddWorker("w1", 50)
	for _, id := range []string{"oldest", "middle", "youngest"} {
		f.AddConnected(f.user, id, "w1")
		f.Clock.Advance(time.Second)
	}
	f.SetTiers(domain.Tiers{domain.TierPro: {Sessions: 2}})
	require.NoError(t, f.users.ApplyChange(context.Background(), f.user))
	require.Equal(t, domain.Up, f.Session("oldest").Intent)
	require.Equal(t, domain.Up, f.Session("middle").Intent)
	require.Equal(t, domain.Down, f.Session("youngest").Intent)
}

func TestUsersHousekeep_ChangeWasNotApplied_IsAppliedInARound(t *testing.T) {
	f := newFixture(t)
	f.AddWorker("w1", 50)
	f.AddConnected(f.user, "s1", "w1")
	f.deactivate(f.user)
	require.NoError(t, f.users.Housekeep(context.Background(), f.Now()))
	require.Equal(t, domain.Down, f.Session("s1").Intent)
}

func TestUsersHousekeep_ManyUsers_AreAllCheckedInRounds(t *testing.T) {
	f := newFixture(t)
	f.AddWorker("w1", 1000)
	last := ""
	for range 300 {
		last = f.AddUser(domain.TierPro)
		f.AddConnected(last, "s"+last, "w1")
	}
	f.deactivate(last)
	require.NoError(t, f.users.Housekeep(context.Background(), f.Now()))
	require.Equal(t, domain.Up, f.Session("s"+last).Intent)
	require.NoError(t, f.users.Housekeep(context.Background(), f.Now()))
	require.Equal(t, domain.Down, f.Session("s"+last).Intent)
}

func TestUsersHousekeep_SignInExpired_IsDeleted(t *testing.T) {
	f := newFixture(t)
	f.Write(func(ctx context.Context, tx *txn.Tx) error {
		for id, expires := range map[string]time.Time{"expired": f.Now().Add(-time.Second), "valid": f.Now().Add(time.Hour)} {
			if err := tx.RefreshTokenFamilies.Put(ctx, &domain.RefreshTokenFamily{ID: id, UserID: f.user, ExpiresAt: expires}); err != nil {
				return err
			}
		}
		return nil
	})
	require.NoError(t, f.users.Housekeep(context.Background(), f.Now()))
	f.Read(func(ctx context.Context, tx *ports.Tx) error {
		_, err := tx.RefreshTokenFamilies.Get(ctx, "expired")
		require.ErrorIs(t, err, ports.ErrNotFound)
		_, err = tx.RefreshTokenFamilies.Get(ctx, "valid")
		return err
	})
}

func TestUsersHousekeep_StoreFails_ReportsItAndGoesOn(t *testing.T) {
	f := newFixture(t)
	f.AddWorker("w1", 50)
	f.AddConnected(f.user, "s1", "w1")
	f.deactivate(f.user)
	f.Stored.FailCommits(errors.New("connection lost"))
	require.Error(t, f.users.Housekeep(context.Background(), f.Now()))
	require.Equal(t, domain.Down, f.Session("s1").Intent)
}

func TestAdd_KnownUser_TakesOverTheTierAlone(t *testing.T) {
	f := newFixture(t)
	ctx := context.Background()
	require.NoError(t, f.users.Add(ctx, domain.User{ID: "u1", Email: "A@example.com", Tier: domain.TierBasic}))
	require.NoError(t, f.users.Add(ctx, domain.User{ID: "u1", Email: "b@example.com", Tier: domain.TierMax}))
	f.Read(func(ctx context.Context, tx *ports.Tx) error {
		u, err := tx.Users.Get(ctx, "u1")
		require.Equal(t, "a@example.com", u.Email)
		require.Equal(t, domain.TierMax, u.Tier)
		require.True(t, u.Active)
		return err
	})
	require.Equal(t, domain.CodeEmailRegistered, domain.CodeOf(f.users.Add(ctx, domain.User{ID: "u2", Email: "a@example.com", Tier: domain.TierMax})))
	require.Error(t, f.users.Add(ctx, domain.User{ID: "u3", Email: "c@example.com", Tier: "NONE"}))
}
