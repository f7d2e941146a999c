package membership_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/app/internal/coretest"
	"github.com/switchyard-wa/switchyard/app/internal/membership"
	"github.com/switchyard-wa/switchyard/domain"
)

func TestAcquireClaim_OtherReplicaLooks_IsClaimedUntilItEnds(t *testing.T) {
	a := coretest.NewReplica(t, "A")
	b := a.Join("B", 0)
	coretest.Exchange(t, a, b)
	s := &domain.Session{}

	a.Members.AcquireClaim(s, a.Now())

	require.True(t, b.Members.IsClaimedByOther(s, b.Now().Add(membership.ClaimLife-1)))
	require.False(t, b.Members.IsClaimedByOther(s, b.Now().Add(membership.ClaimLife)))
	require.False(t, a.Members.IsClaimedByOther(s, a.Now()), "its own claim")
}

func TestAcquireClaim_StoreNotShared_LeavesNoClaim(t *testing.T) {
	core := coretest.New(t)
	s := &domain.Session{ClaimedBy: "A replica of long ago", ClaimedUntil: core.Now().Add(time.Hour)}

	core.Members.AcquireClaim(s, core.Now())

	require.Empty(t, s.ClaimedBy)
	require.Zero(t, s.ClaimedUntil)
	require.True(t, core.Members.HasClaimUntil(s, core.Now().Add(time.Hour)))
}

func TestHasClaimUntil_ClaimEndsBefore_IsFalse(t *testing.T) {
	a := coretest.NewReplica(t, "A")
	s := &domain.Session{}
	a.Members.AcquireClaim(s, a.Now())

	require.True(t, a.Members.HasClaimUntil(s, a.Now().Add(membership.CallLimit)))
	require.True(t, a.Members.HasClaimUntil(s, a.Now().Add(membership.ClaimLife)))
	require.False(t, a.Members.HasClaimUntil(s, a.Now().Add(membership.ClaimLife+1)))
	s.ClaimedBy = "B"
	require.False(t, a.Members.HasClaimUntil(s, a.Now()))
}

func TestToLocalClock_OtherClockIsOff_ClaimEndsWhenItsOwnerMeant(t *testing.T) {
	for name, lead := range map[string]time.Duration{"ahead": time.Hour, "behind": -time.Hour} {
		t.Run(name, func(t *testing.T) {
			a := coretest.NewReplica(t, "A")
			b := a.Join("B", lead)
			coretest.Exchange(t, a, b)
			s := &domain.Session{}

			b.Members.AcquireClaim(s, b.Now())

			require.True(t, a.Members.IsClaimedByOther(s, a.Now().Add(membership.ClaimLife-1)))
			require.False(t, a.Members.IsClaimedByOther(s, a.Now().Add(membership.ClaimLife+2*time.Second)))
		})
	}
}

func TestClockLead_OtherClocks_AreMeasuredByTheirHeartbeats(t *testing.T) {
	a := coretest.NewReplica(t, "A")
	ahead, behind := a.Join("B", time.Hour), a.Join("C", -time.Minute)
	coretest.Exchange(t, a, ahead, behind)

	require.InDelta(t, time.Hour, a.Members.ClockLead("B"), float64(2*time.Second))
	require.InDelta(t, time.Minute, a.Members.MaxClockLag(), float64(2*time.Second))
	require.Zero(t, a.Members.ClockLead("unknown"))
}

func TestNextStep_ClaimedSession_WaitsForAnotherReplicaAlone(t *testing.T) {
	a := coretest.NewReplica(t, "A")
	b := a.Join("B", time.Hour)
	coretest.Exchange(t, a, b)
	worker := &domain.Worker{ID: "w1", Online: true}
	s := &domain.Session{WorkerID: "w1", Intent: domain.Up, Command: domain.CommandStart}
	b.Members.AcquireClaim(s, b.Now())

	step, at := a.Members.NextStep(s, worker, a.Now())
	require.Equal(t, domain.StepNone, step)
	require.WithinDuration(t, a.Now().Add(membership.ClaimLife), at, 2*time.Second, "by the clock of A")

	step, _ = b.Members.NextStep(s, worker, b.Now())
	require.Equal(t, domain.StepCall, step)
	require.Equal(t, "B", s.ClaimedBy, "the session itself is not changed")
}

func TestRetryWhileClaimed_ClaimEnds_Succeeds(t *testing.T) {
	a := coretest.NewReplica(t, "A")
	until := a.Now().Add(time.Second)
	err := a.Members.RetryWhileClaimed(context.Background(), func() error {
		if a.Now().Before(until) {
			return membership.ErrClaimed
		}
		return nil
	})
	require.NoError(t, err)
}

func TestRetryWhileClaimed_CallerGivesUp_IsAPublicConflict(t *testing.T) {
	a := coretest.NewReplica(t, "A")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	err := a.Members.RetryWhileClaimed(ctx, func() error { return membership.ErrClaimed })
	require.Equal(t, domain.CodeInvalidState, domain.CodeOf(err))
}
