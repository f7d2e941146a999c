package orchestrator_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/app/orchestrator"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// slowToSeed is a limiter that takes a moment to learn what was used before.
type slowToSeed struct{ ports.Limiter }

func (l slowToSeed) Backfill(ctx context.Context, key string, first time.Time, length time.Duration, used int) error {
	time.Sleep(20 * time.Millisecond) // others may ask
	return l.Limiter.Backfill(ctx, key, first, length, used)
}

// The limiter loses its counters twice.
func TestMessageLimit_TwoReplicas_IsShared(t *testing.T) {
	c := newReplicaSet(t, 2, func(cfg *orchestrator.Config) {
		cfg.Tiers = domain.DefaultTiers()
		limits := cfg.Tiers[domain.TierBasic]
		limits.MessagesPerHour = 50
		cfg.Tiers[domain.TierBasic] = limits
	})
	c.register(c.all[0], "worker-1", 5)
	s := c.connected(c.all[0])
	require.NoError(t, c.stepOf(c.all[1]))
	var sent, refused atomic.Int64
	flood := func(n int) {
		race(n, func(i int) {
			_, err := c.all[i%2].Messages.Send(context.Background(), holder(s), &hello)
			switch domain.CodeOf(err) {
			case "":
				sent.Add(1)
			case domain.CodeMessageLimit:
				refused.Add(1)
			}
		})
	}

	flood(30)
	require.EqualValues(t, 30, sent.Load())

	c.limiter.(*forgetful).forget()
	flood(4) // what was lost is counted again while they are under way
	flood(60)
	require.EqualValues(t, 50, sent.Load())
	require.EqualValues(t, 44, refused.Load())
	require.Equal(t, 50, c.hands.made("send"))
	c.limiter.(*forgetful).forget()
	_, err := c.all[1].Messages.Send(t.Context(), holder(s), &hello)
	require.Equal(t, domain.CodeMessageLimit, domain.CodeOf(err))
}

// The limiter has lost its counters before the replica starts.
func TestMessageLimit_ReplicaStarts_BackfillsBeforeItSends(t *testing.T) {
	c := newReplicaSet(t, 1, func(cfg *orchestrator.Config) {
		cfg.Tiers = domain.DefaultTiers()
		limits := cfg.Tiers[domain.TierBasic]
		limits.MessagesPerHour = 10
		cfg.Tiers[domain.TierBasic] = limits
		cfg.Limiter = slowToSeed{cfg.Limiter}
	})
	c.register(c.all[0], "worker-1", 5)
	s := c.connected(c.all[0])
	for range 10 {
		_, err := c.all[0].Messages.Send(t.Context(), holder(s), &hello)
		require.NoError(t, err)
	}
	c.limiter.(*forgetful).forget()
	late := c.join(0)
	require.NoError(t, c.stepOf(late))

	var refused atomic.Int64
	race(20, func(int) {
		if _, err := late.Messages.Send(context.Background(), holder(s), &hello); domain.CodeOf(err) == domain.CodeMessageLimit {
			refused.Add(1)
		}
	})

	require.EqualValues(t, 20, refused.Load())
}

// While the history is read, the limiter admits nothing.
func TestMessageLimit_CountersLost_RefusedSendsStayRefused(t *testing.T) {
	for _, limit := range []int{0, 10} {
		c := newReplicaSet(t, 1, func(cfg *orchestrator.Config) {
			cfg.Tiers = domain.DefaultTiers()
			limits := cfg.Tiers[domain.TierBasic]
			limits.MessagesPerHour = limit
			cfg.Tiers[domain.TierBasic] = limits
			cfg.Limiter = slowToSeed{cfg.Limiter}
		})
		a := c.all[0]
		c.register(a, "worker-1", 5)
		s := c.connected(a)
		for _, before := range []int{0, limit / 2} {
			_, err := a.APIKeys.Tier(t.Context(), s.UserID) // from here on it was told of what was sent
			require.NoError(t, err)
			for range before {
				_, err := a.Messages.Send(t.Context(), holder(s), &hello)
				require.NoError(t, err)
			}
			c.limiter.(*forgetful).forget()
			var sent atomic.Int64
			race(20, func(int) {
				if _, err := a.Messages.Send(context.Background(), holder(s), &hello); err == nil {
					sent.Add(1)
				}
			})
			require.LessOrEqual(t, int(sent.Load()), limit-before)
			_, err = a.Messages.Send(t.Context(), holder(s), &hello)
			require.Equal(t, domain.CodeMessageLimit, domain.CodeOf(err))
			c.clock.advance(90 * time.Minute)
		}
	}
}

// The history that the limiter needs cannot be read. Nothing is sent.
func TestMessageLimit_BackfillFails_UsageIsReturned(t *testing.T) {
	c := newReplicaSet(t, 1)
	a := c.all[0]
	c.register(a, "worker-1", 5)
	s := c.connected(a)
	_, err := a.Messages.Send(t.Context(), holder(s), &hello)
	require.NoError(t, err)
	c.limiter.(*forgetful).forget()
	a.store.SetDown()

	for range 3 {
		_, err := a.Messages.Send(t.Context(), holder(s), &hello)
		require.Equal(t, domain.CodeInternal, domain.CodeOf(err))
	}

	a.store.SetUp()
	tier, err := a.APIKeys.Tier(t.Context(), s.UserID)
	require.NoError(t, err)
	require.Equal(t, 1, tier.Messages)
}
