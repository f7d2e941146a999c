package apptest_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/simworker"
	"github.com/switchyard-wa/switchyard/app/apptest"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// TestRandomFaults_SessionIDIsUsedAgain_NobodyGetsFormerCredentials lets two users create, connect,
// log out and delete sessions with the same id. Workers crash, hang, are cut off and fail calls
// meanwhile, and the control plane starts again. Whenever the id is given to somebody, no worker
// has credentials under it, and the generation goes on. A session is connected only with the
// phone that was paired for it.
func TestRandomFaults_SessionIDIsUsedAgain_NobodyGetsFormerCredentials(t *testing.T) {
	for seed := range seeds(t) {
		for name, configure := range map[string]func(c *apptest.WorkerConfig){
			"separate": func(c *apptest.WorkerConfig) { c.State = simworker.NewState() },
			"legacy":   func(c *apptest.WorkerConfig) { c.State, c.Legacy = simworker.NewState(), true },
			"shared":   func(*apptest.WorkerConfig) {},
		} {
			t.Run(fmt.Sprint(name, seed), func(t *testing.T) {
				t.Parallel()
				f := newReuse(t, seed, configure)
				for range 200 {
					f.disturb()
					f.Advance(time.Duration(f.r.IntN(20_000)) * time.Millisecond)
					f.checkPhone(name == "legacy")
				}
				require.Positive(t, f.created)
			})
		}
	}
}

// reuse is a fleet in which two users use the same session id.
type reuse struct {
	*apptest.Harness
	t          *testing.T
	r          *rand.Rand
	users      []*domain.User
	workers    []string
	created    int
	generation int64 // the latest of the id
}

func newReuse(t *testing.T, seed uint64, configure func(c *apptest.WorkerConfig)) *reuse {
	f := &reuse{t: t, r: rand.New(rand.NewPCG(seed, 2)), workers: []string{"w1", "w2", "w3"}}
	f.Harness = apptest.With(t, apptest.Options{Seed: seed, Worker: func(c *apptest.WorkerConfig) {
		c.FailRate = 0.05
		configure(c)
	}})
	for _, w := range f.workers {
		f.Workers(w, 10)
	}
	f.users = []*domain.User{f.User(domain.TierPro), f.User(domain.TierPro)}
	return f
}

// phone returns the phone that is paired for the latest session of the id.
func (f *reuse) phone() string { return fmt.Sprint("62812345", 10000+f.created) }

// checkPhone checks that the session, if it is connected, is so with its phone, or with the phone
// that scans a QR. Legacy workers know no pairing.
func (f *reuse) checkPhone(isLegacy bool) {
	for _, u := range f.users {
		s, err := f.Orchestrator.Sessions.Get(f.t.Context(), u.ID, lineID)
		if err == nil && s.Status == domain.Connected && !isLegacy {
			require.Contains(f.t, []string{f.phone(), simworker.PhoneOf(lineID)}, s.PhoneNumber)
		}
	}
}

// create creates the id for a user if it is free.
func (f *reuse) create(u *domain.User) {
	created, err := f.Orchestrator.Sessions.Create(f.t.Context(), u.ID, service.CreateSessionParams{Name: "Line", ID: lineID})
	if err != nil {
		require.Equal(f.t, domain.CodeSessionExists, domain.CodeOf(err))
		return
	}
	f.created++
	for _, w := range f.workers {
		_, isLinked := f.Worker(w).State().Phone(lineID)
		require.False(f.t, isLinked, "%s has credentials of the former owner", w)
	}
	require.GreaterOrEqual(f.t, created.Generation, f.generation)
}

// disturb does one random thing. It ignores errors of services, which may refuse.
func (f *reuse) disturb() {
	ctx, o := f.t.Context(), f.Orchestrator
	u, w := f.users[f.r.IntN(len(f.users))], f.workers[f.r.IntN(len(f.workers))]
	switch f.r.IntN(20) {
	case 0:
		f.Crash(w)
	case 1, 2, 3:
		f.RestartWorker(w)
	case 4:
		f.Hang(w)
	case 5, 6:
		f.ResumeWorker(w)
	case 7:
		f.CutOff(w)
	case 8, 9:
		f.Reconnect(w)
	case 10:
		f.Restart()
	case 11:
		_, _ = o.Operations.Migrate(ctx, lineID, service.MigrateOptions{TargetWorkerID: "worker-" + w, Reason: ""})
	case 12:
		_, _ = o.Sessions.Logout(ctx, u.ID, lineID)
	case 13:
		_, _ = o.Sessions.Disconnect(ctx, u.ID, lineID)
	case 14:
		if s, err := o.Sessions.Get(ctx, u.ID, lineID); err == nil {
			f.generation = s.Generation
			_ = o.Sessions.Delete(ctx, u.ID, lineID)
		}
	case 15, 16:
		f.create(u)
	default:
		_, _ = o.Sessions.Connect(ctx, u.ID, lineID, service.ConnectOptions{PairingPhone: f.phone()})
	}
}
