package reconcile_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/app/internal/coretest"
	"github.com/switchyard-wa/switchyard/app/internal/membership"
	"github.com/switchyard-wa/switchyard/app/internal/txn"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// addCleanup schedules a cleanup of session s1 on w1, and stores the session.
func (r *replica) addCleanup(command domain.Command) {
	r.AddSession(r.user, "s1")
	r.Write(func(ctx context.Context, tx *txn.Tx) error {
		return tx.ScheduleCleanup(ctx, "w1", "s1", command, 1)
	})
}

func TestCleanup_WorkerAnswers_IsDoneAndGone(t *testing.T) {
	for command, kind := range map[domain.Command]string{
		domain.CommandDisconnect: "disconnect", domain.CommandLogout: "logout", domain.CommandDelete: "delete",
	} {
		r := newFixture(t)
		r.addCleanup(command)
		r.reconciler.Cleanup(context.Background(), "w1", "s1")
		require.Equal(t, []string{kind + " w1 s1"}, r.Gateway.Calls())
		require.Empty(t, r.Cleanups("s1"))
	}
}

func TestCleanup_CallFails_IsTriedAgainAfterABackOff(t *testing.T) {
	r := newFixture(t)
	r.addCleanup(domain.CommandDelete)
	r.Gateway.Fail(ports.WorkerTimedOut)
	for attempt := 1; attempt <= 3; attempt++ {
		r.reconciler.Cleanup(context.Background(), "w1", "s1")
		c := r.Cleanups("s1")[0]
		require.Equal(t, attempt, c.Attempts)
		require.Equal(t, r.Now().Add(r.Timing.Backoff(attempt)), c.DueAt)
	}
}

func TestCleanup_WorkerIsDown_WaitsForItsReturn(t *testing.T) {
	r := newFixture(t)
	r.SetStateGroup("w1", "")
	r.addCleanup(domain.CommandDelete)
	r.down("w1", domain.DownCrashed)
	r.reconciler.Cleanup(context.Background(), "w1", "s1")
	require.Empty(t, r.Gateway.Calls())
	require.Zero(t, r.Cleanups("s1")[0].DueAt)
}

func TestCleanup_SessionIsAssignedThereAgain_StopIsDroppedAndAWipeIsNot(t *testing.T) {
	for command, calls := range map[domain.Command]int{domain.CommandDisconnect: 0, domain.CommandLogout: 1} {
		r := newFixture(t)
		r.addCleanup(command)
		r.Change("s1", func(s *domain.Session) {
			require.NoError(t, s.Connect("", r.Now()))
			s.Assign("w1", r.Now())
		})
		r.reconciler.Cleanup(context.Background(), "w1", "s1")
		require.Len(t, r.Gateway.Calls(), calls)
		require.Empty(t, r.Cleanups("s1"))
	}
}

func TestCleanup_ReplacedMeanwhile_NewOneStays(t *testing.T) {
	r := newFixture(t)
	r.addCleanup(domain.CommandDisconnect)
	r.Gateway.Answer(func(coretest.Call) error {
		r.Write(func(ctx context.Context, tx *txn.Tx) error {
			return tx.ScheduleCleanup(ctx, "w1", "s1", domain.CommandDelete, 2)
		})
		return nil
	})
	r.reconciler.Cleanup(context.Background(), "w1", "s1")
	require.Equal(t, domain.CommandDelete, r.Cleanups("s1")[0].Command)
}

func TestCleanup_OtherReplicaIsAtIt_IsLeftToItUntilItsClaimEnds(t *testing.T) {
	a, b := newPair(t)
	a.addCleanup(domain.CommandDelete)
	a.Gateway.Answer(func(coretest.Call) error {
		a.Gateway.Succeed()
		require.Equal(t, "A", a.Cleanups("s1")[0].ClaimedBy)
		b.reconciler.Cleanup(context.Background(), "w1", "s1")
		require.Len(t, a.Gateway.Calls(), 1)

		a.Clock.Advance(membership.ClaimLife) // A hangs
		b.reconciler.Cleanup(context.Background(), "w1", "s1")
		require.Len(t, a.Gateway.Calls(), 2)
		return nil
	})
	a.reconciler.Cleanup(context.Background(), "w1", "s1")
	require.Empty(t, a.Cleanups("s1"))
}

func TestDueCleanups_FailedTwice_AnotherReplicaMayTryFirst(t *testing.T) {
	a, b := newPair(t)
	a.addCleanup(domain.CommandDelete)
	a.Gateway.Fail(ports.WorkerTimedOut)
	seen := map[string]bool{}
	for range 8 { // the owner changes with the attempts
		due := a.Cleanups("s1")[0].DueAt
		a.Clock.Advance(due.Sub(a.Now()))
		for _, r := range []*replica{a, b} {
			before := len(r.Gateway.Calls())
			_, err := r.reconciler.DueCleanups(context.Background(), batch())
			require.NoError(t, err)
			if len(r.Gateway.Calls()) > before {
				seen[r.Self.ID] = true
			}
		}
	}
	require.Len(t, seen, 2)
}
