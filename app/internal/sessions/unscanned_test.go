package sessions_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/app/internal/coretest"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// connectFrom connects a session of a user as a client at an address does.
func (f *fixture) connectFrom(user, id, address string) error {
	ctx := service.WithCaller(context.Background(), service.Caller{Address: address})
	_, err := f.sessions.Connect(ctx, user, id, service.ConnectOptions{})
	return err
}

// showQR has the worker of a session report a QR code, which expires at once.
func (f *fixture) showQR(id string) {
	f.Report(id, domain.QRRequired)
	f.Change(id, func(s *domain.Session) { s.QR = domain.QR{Code: "2@", ExpiresAt: f.Now()} })
}

// requireRateLimited requires a 429 that says when to come again.
func requireRateLimited(t *testing.T, err error) time.Duration {
	t.Helper()
	require.Equal(t, domain.CodeRateLimit, domain.CodeOf(err), "%v", err)
	require.Positive(t, domain.RetryAfterOf(err))
	return domain.RetryAfterOf(err)
}

func TestConnect_ManyUnscannedFromOneNetwork_AreLimited(t *testing.T) {
	f := newFixture(t)
	f.Unscanned = domain.UnscannedLimits{PerNetwork: 3}
	f.AddWorker("w1", 50)
	connect := func(i int, address string) error {
		user, id := f.AddUser(domain.TierBasic), fmt.Sprint("session-", i)
		f.AddSession(user, id)
		return f.connectFrom(user, id, address)
	}
	for i := range 3 {
		require.NoError(t, connect(i, fmt.Sprintf("2001:db8::%d", i+1)))
		f.showQR(fmt.Sprint("session-", i))
	}
	require.Equal(t, time.Minute, requireRateLimited(t, connect(3, "2001:db8::ffff:1")), "the same /64")
	require.Equal(t, domain.Down, f.Session("session-3").Intent)
	require.NoError(t, connect(4, "2001:db8:0:1::1"), "another network")
	for i := 5; i < 10; i++ {
		require.NoError(t, connect(i, "127.0.0.1"), "it may be a proxy")
	}

	f.Change("session-0", func(s *domain.Session) { s.Status, s.CredentialsWorkerID = domain.Connected, "w1" })
	require.NoError(t, connect(10, "2001:db8::1"), "one was scanned")
}

func TestConnect_ManyUnscannedOfOneUser_AreLimited(t *testing.T) {
	f := newFixture(t)
	f.Unscanned = domain.UnscannedLimits{PerUser: 2}
	f.AddWorker("w1", 50)
	for _, id := range []string{"one", "two", "three"} {
		f.AddSession(f.user, id)
	}
	f.AddConnected(f.user, "linked", "w1")
	require.NoError(t, f.connectFrom(f.user, "one", ""))
	require.NoError(t, f.connectFrom(f.user, "two", ""))
	requireRateLimited(t, f.connectFrom(f.user, "three", ""))
	f.showQR("one")
	_, err := f.sessions.Disconnect(context.Background(), f.user, "one")
	require.NoError(t, err)
	require.NoError(t, f.connectFrom(f.user, "three", ""))
}

// A user of the MAX tier links 20 sessions at once.
func TestConnect_DefaultLimits_AllowAMaxUser(t *testing.T) {
	f := newFixture(t)
	f.Unscanned = domain.DefaultUnscannedLimits()
	f.AddWorker("w1", 50)
	user := f.AddUser(domain.TierMax)
	for i := range 20 {
		id := fmt.Sprint("session-", i)
		f.AddSession(user, id)
		require.NoError(t, f.connectFrom(user, id, "192.0.2.1"))
		f.showQR(id)
	}
}

func TestConnect_NobodyScannedRepeatedly_CoolsDown(t *testing.T) {
	f := newFixture(t)
	f.Unscanned = domain.DefaultUnscannedLimits()
	f.AddWorker("w1", 50)
	f.AddSession(f.user, "one")
	for range 2 {
		require.NoError(t, f.connectFrom(f.user, "one", ""))
		f.showQR("one")
		_, err := f.sessions.Disconnect(context.Background(), f.user, "one")
		require.NoError(t, err)
	}
	require.Equal(t, 30*time.Second, requireRateLimited(t, f.connectFrom(f.user, "one", "")))
	f.Clock.Advance(30 * time.Second)
	require.NoError(t, f.connectFrom(f.user, "one", ""))
}

// runUnscanned connects a session, shows its QR code for a minute, and ends the run with end.
func (f *fixture) runUnscanned(t *testing.T, id string, end func(id string) error) {
	t.Helper()
	require.NoError(t, f.connectFrom(f.user, id, ""))
	f.showQR(id)
	f.Clock.Advance(time.Minute)
	require.NoError(t, end(id))
}

func (f *fixture) disconnect(id string) error {
	_, err := f.sessions.Disconnect(context.Background(), f.user, id)
	return err
}

func (f *fixture) delete(id string) error { return f.sessions.Delete(context.Background(), f.user, id) }

// A session that is deleted and created again, and many sessions in turn, do not evade the cooldown.
func TestConnect_NobodyScannedOtherSessionsOfTheUser_CoolsDown(t *testing.T) {
	for name, end := range map[string]func(f *fixture) func(id string) error{
		"deleted":      func(f *fixture) func(string) error { return f.delete },
		"disconnected": func(f *fixture) func(string) error { return f.disconnect },
		"restarted and deleted": func(f *fixture) func(string) error {
			return func(id string) error {
				_, err := f.sessions.Restart(context.Background(), f.user, id)
				return errors.Join(err, f.delete(id))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.Unscanned = domain.DefaultUnscannedLimits()
			f.AddWorker("w1", 50)
			for i, want := range []time.Duration{0, 0, 30 * time.Second, time.Minute} {
				id := fmt.Sprint("session-", i)
				f.AddSession(f.user, id)
				if want > 0 {
					require.Equal(t, want, requireRateLimited(t, f.connectFrom(f.user, id, "")))
					require.Equal(t, domain.Down, f.Session(id).Intent)
				}
				f.Clock.Advance(want)
				f.runUnscanned(t, id, end(f))
			}
			other := f.AddUser(domain.TierBasic)
			f.AddSession(other, "other")
			require.NoError(t, f.connectFrom(other, "other", ""), "another user")
		})
	}
}

// Several codes that are shown at once count as one run: somebody links several sessions.
func TestConnect_NobodyScannedSeveralAtOnce_CountAsOneRun(t *testing.T) {
	f := newFixture(t)
	f.Unscanned = domain.DefaultUnscannedLimits()
	f.AddWorker("w1", 50)
	ids := []string{"one", "two", "three", "four"}
	for _, id := range ids {
		f.AddSession(f.user, id)
		require.NoError(t, f.connectFrom(f.user, id, ""))
		f.showQR(id)
	}
	f.Clock.Advance(time.Minute)
	for _, id := range ids {
		require.NoError(t, f.disconnect(id))
	}
	require.NoError(t, f.connectFrom(f.user, "one", ""))
}

func TestConnect_UserScannedMeanwhile_EndsTheCooldown(t *testing.T) {
	f := newFixture(t)
	f.Unscanned = domain.DefaultUnscannedLimits()
	f.AddWorker("w1", 50)
	for _, id := range []string{"one", "two", "scanned", "three"} {
		f.AddSession(f.user, id)
	}
	require.NoError(t, f.connectFrom(f.user, "scanned", ""))
	f.showQR("scanned")
	f.runUnscanned(t, "one", f.disconnect)
	f.runUnscanned(t, "two", f.disconnect)
	requireRateLimited(t, f.connectFrom(f.user, "three", ""))

	f.Report("scanned", domain.Connected)
	require.NoError(t, f.connectFrom(f.user, "three", ""))
}

func TestConnect_CooldownOfTheUser_HoldsOnOtherReplicas(t *testing.T) {
	a := newReplica(coretest.NewReplica(t, "A"))
	a.Unscanned = domain.DefaultUnscannedLimits()
	a.AddWorker("w1", 50)
	b := newReplica(a.Join("B", 0))
	b.Unscanned = a.Unscanned
	for _, id := range []string{"one", "two", "three"} {
		a.AddSession(a.user, id)
	}
	a.runUnscanned(t, "one", a.delete)
	a.runUnscanned(t, "two", a.delete)
	_, err := b.sessions.Connect(context.Background(), a.user, "three", service.ConnectOptions{})
	require.Equal(t, 30*time.Second, requireRateLimited(t, err))
}

// A linked session starts with its credentials and needs no scan.
func TestConnect_CooldownOfTheUser_SparesLinkedSessions(t *testing.T) {
	f := newFixture(t)
	f.Unscanned = domain.DefaultUnscannedLimits()
	f.AddWorker("w1", 50)
	f.AddSession(f.user, "one")
	f.AddSession(f.user, "two")
	f.AddConnected(f.user, "linked", "w1")
	f.Change("linked", func(s *domain.Session) { s.CredentialsWorkerID = "w1" })
	require.NoError(t, f.disconnect("linked"))
	f.runUnscanned(t, "one", f.disconnect)
	f.runUnscanned(t, "two", f.disconnect)
	require.NoError(t, f.connectFrom(f.user, "linked", ""))
	f.Unscanned.Cooldown = 0
	require.NoError(t, f.connectFrom(f.user, "one", ""), "no limit")
}

func TestConnect_NoRoom_UnscannedSessionYieldsToHigherTiers(t *testing.T) {
	f := newFixture(t)
	f.Unscanned = domain.DefaultUnscannedLimits()
	f.AddWorker("w1", 1)
	basic, other := f.AddUser(domain.TierBasic), f.AddUser(domain.TierBasic)
	f.AddSession(basic, "unscanned")
	f.AddSession(other, "free")
	f.AddSession(f.user, "paid")
	require.NoError(t, f.connectFrom(basic, "unscanned", ""))
	f.showQR("unscanned")

	f.Clock.Advance(time.Minute)
	require.Equal(t, domain.CodeNoAvailableWorkers, domain.CodeOf(f.connectFrom(f.user, "paid", "")), "it may still be scanned")
	f.Clock.Advance(time.Second)
	require.Equal(t, domain.CodeNoAvailableWorkers, domain.CodeOf(f.connectFrom(other, "free", "")))
	require.NoError(t, f.connectFrom(f.user, "paid", ""))

	require.Equal(t, "w1", f.Session("paid").WorkerID)
	yielded := f.Session("unscanned")
	require.Equal(t, []any{domain.Down, domain.Disconnected, ""}, []any{yielded.Intent, yielded.Status, yielded.WorkerID})
	require.Contains(t, yielded.LastError, "connect again")
	require.Equal(t, []string{"disconnect w1 unscanned"}, f.Gateway.Calls("disconnect"))
}

// A worker that does not stop the session keeps it: the slot is not given away.
func TestConnect_NoRoomAndStopFails_SlotIsKept(t *testing.T) {
	f := newFixture(t)
	f.Unscanned = domain.DefaultUnscannedLimits()
	f.AddWorker("w1", 1)
	basic := f.AddUser(domain.TierBasic)
	f.AddSession(basic, "unscanned")
	f.AddSession(f.user, "paid")
	require.NoError(t, f.connectFrom(basic, "unscanned", ""))
	f.showQR("unscanned")
	f.Clock.Advance(2 * time.Minute)
	f.Gateway.Fail(ports.WorkerTimedOut)
	require.Equal(t, domain.CodeNoAvailableWorkers, domain.CodeOf(f.connectFrom(f.user, "paid", "")))
	require.Equal(t, "w1", f.Session("unscanned").WorkerID)
	require.False(t, f.Session("paid").IsAssigned())
}
