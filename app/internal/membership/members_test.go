package membership_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/app/internal/coretest"
	"github.com/switchyard-wa/switchyard/app/internal/membership"
	"github.com/switchyard-wa/switchyard/ports"
)

// observed is a replica whose hooks are recorded.
type observed struct {
	*membership.Members
	core    *coretest.Core
	died    []string
	resumed int
}

func observe(core *coretest.Core) *observed {
	o := &observed{core: core}
	o.Members = membership.New(core.Env, membership.Hooks{
		ReplicaDied: func(_ context.Context, id string) error {
			o.died = append(o.died, id)
			return nil
		},
		Resumed: func(time.Time) { o.resumed++ },
	})
	return o
}

// beat sends heartbeats for a while, in their rhythm.
func (o *observed) beat(t *testing.T, d time.Duration) {
	t.Helper()
	for range d / (2 * time.Second) {
		o.core.Clock.Advance(2 * time.Second)
		_, err := o.Heartbeat(context.Background())
		require.NoError(t, err)
	}
}

func TestHeartbeat_OtherReplicaBeats_IsAlive(t *testing.T) {
	a := coretest.NewReplica(t, "A")
	b := a.Join("B", 0)
	require.False(t, a.Members.HasOthers())

	coretest.Exchange(t, a, b)

	require.True(t, a.Members.HasOthers())
	require.True(t, b.Members.HasOthers())
}

func TestHeartbeat_NotDue_WritesNothing(t *testing.T) {
	a := coretest.NewReplica(t, "A")
	next, err := a.Members.Heartbeat(context.Background())
	require.NoError(t, err)
	require.Equal(t, a.Now().Add(2*time.Second), next)

	updates, views := a.Stored.Count(func() {
		a.Clock.Advance(time.Second)
		again, err := a.Members.Heartbeat(context.Background())
		require.NoError(t, err)
		require.Equal(t, next, again)
	})
	require.Zero(t, updates+views)
}

func TestHeartbeat_RowUnchangedForEightSeconds_ReplicaIsDeadUntilItsRowIsGone(t *testing.T) {
	core := coretest.NewReplica(t, "A")
	b := core.Join("B", time.Hour) // no clock is compared
	a := observe(core)
	_, err := b.Members.Heartbeat(context.Background())
	require.NoError(t, err)
	a.beat(t, 2*time.Second)

	a.beat(t, 6*time.Second)
	require.Empty(t, a.died)
	require.True(t, a.HasOthers())

	a.beat(t, 2*time.Second)
	require.Equal(t, []string{"B"}, a.died)
	require.False(t, a.HasOthers())

	a.beat(t, 2*time.Second)
	require.Equal(t, []string{"B", "B"}, a.died, "nobody has taken over yet")

	require.NoError(t, core.Update(context.Background(), func(ctx context.Context, tx *ports.Tx) error {
		return tx.Replicas.Delete(ctx, "B")
	}))
	a.beat(t, 4*time.Second)
	require.Len(t, a.died, 2)
}

func TestHeartbeat_DeadReplicaBeatsAgain_IsAlive(t *testing.T) {
	core := coretest.NewReplica(t, "A")
	b := core.Join("B", 0)
	a := observe(core)
	_, err := b.Members.Heartbeat(context.Background())
	require.NoError(t, err)
	a.beat(t, 10*time.Second)
	require.False(t, a.HasOthers())

	_, err = b.Members.Heartbeat(context.Background())
	require.NoError(t, err)
	a.beat(t, 2*time.Second)
	require.True(t, a.HasOthers())
}

func TestHeartbeat_ThisReplicaPaused_ResumesAndCountsNobodyDead(t *testing.T) {
	core := coretest.NewReplica(t, "A")
	b := core.Join("B", 0)
	a := observe(core)
	_, err := b.Members.Heartbeat(context.Background())
	require.NoError(t, err)
	a.beat(t, 4*time.Second)
	require.Equal(t, 1, a.resumed, "the first heartbeat alone")

	core.Clock.Advance(time.Minute) // A was paused; B's heartbeats may be on their way
	a.beat(t, 2*time.Second)

	require.Equal(t, 2, a.resumed)
	require.Empty(t, a.died)
	a.beat(t, 8*time.Second)
	require.Equal(t, []string{"B"}, a.died, "its time counts from the return")
	require.Equal(t, 2, a.resumed)
}

func TestHeartbeat_StoreAway_IsUnreachableUntilItAnswersAndThenResumes(t *testing.T) {
	core := coretest.NewReplica(t, "A")
	a := observe(core)
	a.beat(t, 2*time.Second)
	resumed := a.resumed
	core.Clock.Advance(2 * time.Second)
	core.Stored.FailCommits(errors.New("connection lost"))

	next, err := a.Heartbeat(context.Background())
	require.Error(t, err)
	require.True(t, a.IsStoreUnreachable())
	require.Equal(t, core.Now().Add(time.Second), next)
	require.Equal(t, resumed, a.resumed)

	core.Clock.Advance(time.Second)
	_, err = a.Heartbeat(context.Background())
	require.NoError(t, err)
	require.False(t, a.IsStoreUnreachable())
	require.Equal(t, resumed+1, a.resumed)
}

func TestMayBePresumedDead_NoHeartbeatForSixSeconds_IsTrue(t *testing.T) {
	a := observe(coretest.NewReplica(t, "A"))
	a.beat(t, 2*time.Second)

	a.core.Clock.Advance(6*time.Second - 1*time.Microsecond)
	require.False(t, a.MayBePresumedDead())
	a.core.Clock.Advance(time.Microsecond)
	require.True(t, a.MayBePresumedDead())

	require.False(t, observe(coretest.New(t)).MayBePresumedDead(), "nobody presumes where there are no others")
}

func TestOwnsWork_SeveralReplicas_EachWorkHasOneOwnerAndTheDeadOwnNone(t *testing.T) {
	a := coretest.NewReplica(t, "A")
	b, c := a.Join("B", time.Minute), a.Join("C", -time.Minute)
	coretest.Exchange(t, a, b, c)

	owners := func(replicas ...*coretest.Core) map[string]int {
		counts := make(map[string]int)
		for i := range 100 {
			n := 0
			for _, r := range replicas {
				if r.Members.OwnsWork(fmt.Sprint("worker/", i)) {
					counts[r.Self.ID]++
					n++
				}
			}
			require.Equal(t, 1, n, "owners of work %d", i)
		}
		return counts
	}
	require.Len(t, owners(a, b, c), 3, "everybody has a share")

	for range 3 {
		coretest.Exchange(t, a, b) // C is dead
	}
	owners(a, b)
}

func TestShouldRun_OthersWork_AnyoneMayAfterTwoSeconds(t *testing.T) {
	a := coretest.NewReplica(t, "A")
	b := a.Join("B", 0)
	coretest.Exchange(t, a, b)
	work := ""
	for i := 0; a.Members.OwnsWork(work); i++ {
		work = fmt.Sprint("worker/", i)
	}
	due := a.Now()

	require.True(t, b.Members.ShouldRun(work, due, due))
	require.False(t, a.Members.ShouldRun(work, due, due.Add(2*time.Second-1)))
	require.True(t, a.Members.ShouldRun(work, due, due.Add(2*time.Second)))
}

func TestOwnsWork_StoreNotShared_OwnsAllAndNeedsNoHeartbeat(t *testing.T) {
	core := coretest.New(t)
	updates, views := core.Stored.Count(func() {
		next, err := core.Members.Heartbeat(context.Background())
		require.NoError(t, err)
		require.Zero(t, next)
	})
	require.Zero(t, updates+views)
	require.True(t, core.Members.OwnsWork("anything"))
}

func TestOlderReplicaSeen_OlderReplicaCertainlyLives_IsTrue(t *testing.T) {
	older := coretest.NewReplica(t, "A")
	older.Clock.Advance(time.Second)
	younger := older.Join("B", 0)
	beat := func(c *coretest.Core) {
		_, err := c.Members.Heartbeat(context.Background())
		require.NoError(t, err)
	}

	beat(older)
	beat(younger)
	require.False(t, younger.Members.OlderReplicaSeen(), "its row may be left over from a crash")

	older.Clock.Advance(2 * time.Second)
	beat(older)
	beat(younger)
	beat(older)
	require.True(t, younger.Members.OlderReplicaSeen())
	require.False(t, older.Members.OlderReplicaSeen())
}

func TestReplicasAlive_NoRows_IsFalseAtOnce(t *testing.T) {
	core := coretest.New(t)
	alive, err := membership.ReplicasAlive(context.Background(), core.Store, 0)
	require.NoError(t, err)
	require.False(t, alive)
}

func TestReplicasAlive_RowChanges_IsTrue(t *testing.T) {
	a := coretest.NewReplica(t, "A")
	coretest.Exchange(t, a)
	a.Stored.BeforeEachView(func() {
		a.Clock.Advance(2 * time.Second)
		_, err := a.Members.Heartbeat(context.Background())
		require.NoError(t, err)
	})

	alive, err := membership.ReplicasAlive(context.Background(), a.Stored, 0)
	require.NoError(t, err)
	require.True(t, alive)
}

func TestKeepAlive_LoopHealthyOrEnded_SendsHeartbeats(t *testing.T) {
	for name, ended := range map[string]bool{"healthy": false, "shutting down": true} {
		t.Run(name, func(t *testing.T) {
			a := coretest.NewReplica(t, "A")
			loop, cancel := context.WithCancel(context.Background())
			defer cancel()
			latestPass := a.Now()
			if ended {
				cancel()
				latestPass = latestPass.Add(-time.Hour)
			}

			stop := a.Members.KeepAlive(loop, func() time.Time { return latestPass })
			defer stop()

			require.Eventually(t, func() bool { return slices.Contains(replicaIDs(a), "A") }, 10*time.Second, time.Millisecond)
		})
	}
}

func TestKeepAlive_LoopStuck_SendsNone(t *testing.T) {
	a := coretest.NewReplica(t, "A")
	asked := make(chan struct{}, 1)
	updates, _ := a.Stored.Count(func() {
		stop := a.Members.KeepAlive(context.Background(), func() time.Time {
			asked <- struct{}{}
			return a.Now().Add(-30 * time.Second)
		})
		<-asked
		stop()
	})
	require.Zero(t, updates)
}

func replicaIDs(c *coretest.Core) (ids []string) {
	c.Read(func(ctx context.Context, tx *ports.Tx) error {
		all, err := tx.Replicas.List(ctx)
		for _, r := range all {
			ids = append(ids, r.ID)
		}
		return err
	})
	return ids
}
