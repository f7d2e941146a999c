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

// TestNobodyIsSilentWhileTheStoreIsAway: heartbeats are refused while the store is away. Once it is back, workers have as long to be
// heard of as they ever have.
func TestNobodyIsSilentWhileTheStoreIsAway(t *testing.T) {
	c := newReplicaSet(t, 2)
	a := c.all[0]
	workers := c.fleetOf(6)
	for _, r := range c.all {
		r.store.lost.Store(true)
	}
	for away := time.Duration(0); away < 5*time.Minute; away += tick {
		c.clock.advance(tick)
		for _, r := range c.all {
			_, _ = r.RunOnce(t.Context())
		}
	}
	for _, r := range c.all {
		r.store.lost.Store(false)
	}
	c.pass(20 * time.Second)
	c.pass(time.Minute, c.pulse(a, workers...))
	for _, e := range c.bus.events {
		require.NotEqual(t, domain.EventWorkerOffline, e.Type)
	}
}

// slowToSeed is a limiter that takes a moment to learn what was used before.
type slowToSeed struct{ ports.Limiter }

func (l slowToSeed) Backfill(ctx context.Context, key string, first time.Time, length time.Duration, used int) error {
	time.Sleep(20 * time.Millisecond) // others may ask
	return l.Limiter.Backfill(ctx, key, first, length, used)
}

// TestAReplicaThatBeginsCountsFirst: what was sent before is counted before anything else is let through.
func TestAReplicaThatBeginsCountsFirst(t *testing.T) {
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

// TestALimiterThatLostEverythingLetsNobodyThroughThatItRefused: while the history is read, it refuses on its own.
func TestALimiterThatLostEverythingLetsNobodyThroughThatItRefused(t *testing.T) {
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
			// Senders that see the limit exceeded at the same time are all refused, which leaves room.
			for range limit - before - int(sent.Load()) {
				_, err = a.Messages.Send(t.Context(), holder(s), &hello)
				require.NoError(t, err)
			}
			_, err = a.Messages.Send(t.Context(), holder(s), &hello)
			require.Equal(t, domain.CodeMessageLimit, domain.CodeOf(err))
			c.clock.advance(90 * time.Minute)
		}
	}
}

// TestWhatCannotBeCountedIsGivenBack: the history that a limiter needs cannot be read, so nothing is sent.
func TestWhatCannotBeCountedIsGivenBack(t *testing.T) {
	c := newReplicaSet(t, 1)
	a := c.all[0]
	c.register(a, "worker-1", 5)
	s := c.connected(a)
	_, err := a.Messages.Send(t.Context(), holder(s), &hello)
	require.NoError(t, err)
	c.limiter.(*forgetful).forget()
	a.store.lost.Store(true)
	for range 3 {
		_, err := a.Messages.Send(t.Context(), holder(s), &hello)
		require.Equal(t, domain.CodeInternal, domain.CodeOf(err))
	}
	a.store.lost.Store(false)
	tier, err := a.APIKeys.Tier(t.Context(), s.UserID)
	require.NoError(t, err)
	require.Equal(t, 1, tier.Messages)
}

// TestReplicasAreNotTakenForDeadWhileTheStoreIsAway: whoever reaches it first finds signs of life of the others that are old, like its own.
func TestReplicasAreNotTakenForDeadWhileTheStoreIsAway(t *testing.T) {
	c := newReplicaSet(t, 3)
	for _, r := range c.all {
		r.store.lost.Store(true)
	}
	for range 120 {
		c.clock.advance(tick)
		for _, r := range c.all {
			_, _ = r.RunOnce(t.Context())
		}
	}
	for _, r := range c.all {
		r.store.lost.Store(false)
	}
	for range 8 {
		c.clock.advance(tick)
		require.NoError(t, c.stepOf(c.all[2]))
	}
	require.Len(t, c.replicas(), 3)
}
