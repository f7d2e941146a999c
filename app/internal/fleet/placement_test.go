package fleet_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/app/internal/coretest"
	"github.com/switchyard-wa/switchyard/app/internal/txn"
	"github.com/switchyard-wa/switchyard/domain"
)

func TestChoose_ConcurrentChoices_HoldSlotsUntilReleased(t *testing.T) {
	c := newCache()
	c.PutWorker(worker("w1", 1, 2), noon)
	require.Equal(t, 2, c.FreeSlots())

	for range 2 {
		id, ok := c.Choose(domain.Request{}, noon)
		require.True(t, ok)
		require.Equal(t, "w1", id)
	}
	_, ok := c.Choose(domain.Request{}, noon)
	require.False(t, ok, "both slots are held")
	require.False(t, c.HasRoom(domain.Request{}, noon))
	require.Zero(t, c.FreeSlots())

	c.ReleaseHold("w1")
	require.True(t, c.HasRoom(domain.Request{}, noon))
	require.Equal(t, 1, c.FreeSlots(), "HasRoom holds nothing")
}

func TestReleaseHold_NoHold_ChangesNothing(t *testing.T) {
	c := newCache()
	c.PutWorker(worker("w1", 1, 1), noon)
	c.ReleaseHold("w1")
	c.ReleaseHold("unknown")
	require.Equal(t, 1, c.FreeSlots())
}

func TestSuspend_WorkerLimitsUs_GetsNothingUntilThen(t *testing.T) {
	c := cacheOf("w1")
	c.Suspend("w1", noon.Add(time.Minute))

	require.False(t, c.HasRoom(domain.Request{}, noon))
	require.True(t, c.HasRoom(domain.Request{}, noon.Add(time.Minute)))
}

func TestFreeSlots_WorkerOutOfPlacement_DoesNotCount(t *testing.T) {
	for name, change := range map[string]func(*domain.Worker){
		"down":     func(w *domain.Worker) { w.Online = false },
		"draining": func(w *domain.Worker) { w.Draining = true },
		"suspect":  func(w *domain.Worker) { w.Suspect = "disconnects" },
	} {
		t.Run(name, func(t *testing.T) {
			c, w := newCache(), worker("w1", 1, 50)
			change(w)
			c.PutWorker(w, noon)
			require.Zero(t, c.FreeSlots())
		})
	}
}

func TestPlacementRequest_StateOfTheSession_NamesWorkersToPreferAndAvoid(t *testing.T) {
	core := coretest.New(t)
	core.SetTiers(domain.Tiers{domain.TierPro: {Sessions: 5, Pool: "gold"}})
	user := core.AddUser(domain.TierPro)
	for _, id := range []string{"w1", "w2", "w3"} {
		core.AddSharingWorker(id, 50)
	}
	core.AddConnected(user, "other", "w2")
	core.AddSession(user, "s1")
	core.Write(func(ctx context.Context, tx *txn.Tx) error {
		if err := tx.ScheduleCleanup(ctx, "w3", "s1", domain.CommandLogout, 1); err != nil {
			return err
		}
		return tx.ScheduleCleanup(ctx, "w1", "s1", domain.CommandDisconnect, 1)
	})
	s := core.Session("s1")
	s.PhoneNumber, s.CredentialsWorkerID = "6281234567890", "w1"
	s.ExcludedWorkerID, s.ExcludedUntil = "failed", core.Now().Add(time.Minute)

	req, err := core.Sync.PlacementRequest(context.Background(), s, []string{"asked"})

	require.NoError(t, err)
	require.Equal(t, domain.Home{WorkerID: "w1", Group: coretest.StateGroup, Only: true}, req.Home, "it holds the credentials")
	require.ElementsMatch(t, []string{"asked", "failed", "w3"}, req.Avoid, "a stop that is still to be made is no obstacle, a wipe is")
	require.Equal(t, map[string]string{"pool": "gold"}, req.Selector)
	require.Equal(t, map[string]int{"w2": 1}, req.UserWorkers)

	core.Clock.Advance(time.Minute)
	s.MigrationTargetID = "w2"
	req, err = core.Sync.PlacementRequest(context.Background(), s, nil)
	require.NoError(t, err)
	require.Equal(t, "w2", req.Prefer)
	require.Equal(t, []string{"w3"}, req.Avoid, "the exclusion is over")
}
