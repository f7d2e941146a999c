package migration_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/app/internal/coretest"
	"github.com/switchyard-wa/switchyard/domain"
)

// admit runs an admission, and returns which of the sessions are due.
func (f *fixture) admit(t *testing.T, ids ...string) (due []string, next time.Time) {
	t.Helper()
	next, err := f.migrator.Admit(context.Background())
	require.NoError(t, err)
	for _, id := range ids {
		if at := f.Session(id).DueAt; !at.IsZero() && !at.After(f.Now()) {
			due = append(due, id)
		}
	}
	return due, next
}

func TestAdmit_NobodyWaits_ReadsNothing(t *testing.T) {
	f := withSessions(t, 1)
	updates, views := f.Stored.Count(func() {
		_, next := f.admit(t)
		require.Zero(t, next)
	})
	require.Zero(t, updates+views)
}

func TestAdmit_MigrationsAndADrain_AreAdmittedInTheirOrderWithinTheLimits(t *testing.T) {
	f := withSessions(t, 8)
	f.migrate("w1-2", "w3")
	f.migrate("w1-0", "w3")
	f.migrate("w1-1", "w3") // the third of w1
	f.drain("w2")

	due, next := f.admit(t, "w1-0", "w1-1", "w1-2", "w2-0", "w2-1", "w2-2")
	require.Equal(t, []string{"w1-0", "w1-2", "w2-0"}, due)
	require.Equal(t, f.Now().Add(2*time.Second), next)
}

func TestAdmit_BetweenTwoRounds_WaitsUnlessAMigrationEnded(t *testing.T) {
	f := withSessions(t, 2)
	f.drain("w1")
	f.admit(t)
	f.Change("w1-0", func(s *domain.Session) { s.DueAt = time.Time{} })

	_, views := f.Stored.Count(func() { f.admit(t) })
	require.Zero(t, views)

	f.Cache.MigrationEnded.Set()
	due, _ := f.admit(t, "w1-0")
	require.Equal(t, []string{"w1-0"}, due)
}

func TestAdmit_SessionLookedForRoomInVain_WaitsForItsDueTime(t *testing.T) {
	f := withSessions(t, 1)
	f.drain("w1")
	f.Change("w1-0", func(s *domain.Session) { s.Attempts, s.DueAt = 1, f.Now().Add(time.Minute) })
	due, _ := f.admit(t, "w1-0")
	require.Empty(t, due)
}

func TestAdmit_AnotherReplicaOwnsIt_IsLeftToIt(t *testing.T) {
	a := newFixture(coretest.NewReplica(t, "A"))
	a.AddSharingWorker("w1", 50)
	a.AddConnected(a.user, "s1", "w1")
	a.drain("w1")
	b := newFixture(a.Join("B", 0))
	require.NoError(t, b.Sync.Load(context.Background()))
	coretest.Exchange(t, a.Core, b.Core)
	if a.Members.OwnsWork("turns") {
		a, b = b, a
	}

	due, _ := a.admit(t, "s1")
	require.Empty(t, due)
	due, _ = b.admit(t, "s1")
	require.Equal(t, []string{"s1"}, due)
}

func TestAdmit_SessionNoLongerWaits_IsLeftAlone(t *testing.T) {
	f := withSessions(t, 1)
	f.drain("w1")
	f.Stored.BeforeUpdate(func() {
		other := f.Join("", 0) // its commits do not reach the cache of f
		other.Change("w1-0", func(s *domain.Session) { s.Disconnect(f.Now()); s.DueAt = time.Time{} })
	})
	due, _ := f.admit(t, "w1-0")
	require.Empty(t, due)
}
