package orchestrator_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/app/orchestrator"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// slowBackfill is a limiter that takes a moment to learn what was used before.
type slowBackfill struct{ ports.Limiter }

func (l slowBackfill) Backfill(ctx context.Context, key string, first time.Time, length time.Duration, used int) error {
	time.Sleep(20 * time.Millisecond) // other callers ask meanwhile
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
	s := c.connectSession(c.all[0])
	require.NoError(t, c.runReplica(c.all[1]))
	var sent, refused atomic.Int64
	flood := func(n int) {
		concurrently(n, func(i int) {
			_, err := c.all[i%2].Messages.Send(context.Background(), senderOf(s), &hello)
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

	c.limiter.(*resettableLimiter).reset()
	flood(4) // the history is counted again meanwhile
	flood(60)
	require.EqualValues(t, 50, sent.Load())
	require.EqualValues(t, 44, refused.Load())
	require.Equal(t, 50, c.workers.count("send"))
	c.limiter.(*resettableLimiter).reset()
	_, err := c.all[1].Messages.Send(t.Context(), senderOf(s), &hello)
	require.Equal(t, domain.CodeMessageLimit, domain.CodeOf(err))
}

// The limiter has lost its counters before the replica starts.
func TestMessageLimit_ReplicaStarts_BackfillsBeforeItSends(t *testing.T) {
	c := newReplicaSet(t, 1, func(cfg *orchestrator.Config) {
		cfg.Tiers = domain.DefaultTiers()
		limits := cfg.Tiers[domain.TierBasic]
		limits.MessagesPerHour = 10
		cfg.Tiers[domain.TierBasic] = limits
		cfg.Limiter = slowBackfill{cfg.Limiter}
	})
	c.register(c.all[0], "worker-1", 5)
	s := c.connectSession(c.all[0])
	for range 10 {
		_, err := c.all[0].Messages.Send(t.Context(), senderOf(s), &hello)
		require.NoError(t, err)
	}
	c.limiter.(*resettableLimiter).reset()
	late := c.join(0)
	require.NoError(t, c.runReplica(late))

	var refused atomic.Int64
	concurrently(20, func(int) {
		if _, err := late.Messages.Send(context.Background(), senderOf(s), &hello); domain.CodeOf(err) == domain.CodeMessageLimit {
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
			cfg.Limiter = slowBackfill{cfg.Limiter}
		})
		a := c.all[0]
		c.register(a, "worker-1", 5)
		s := c.connectSession(a)
		for _, before := range []int{0, limit / 2} {
			_, err := a.APIKeys.Tier(t.Context(), s.UserID) // backfills the limiter
			require.NoError(t, err)
			for range before {
				_, err := a.Messages.Send(t.Context(), senderOf(s), &hello)
				require.NoError(t, err)
			}
			c.limiter.(*resettableLimiter).reset()
			var sent atomic.Int64
			concurrently(20, func(int) {
				if _, err := a.Messages.Send(context.Background(), senderOf(s), &hello); err == nil {
					sent.Add(1)
				}
			})
			require.LessOrEqual(t, int(sent.Load()), limit-before)
			// Senders that see the limit exceeded at the same time are all refused, which leaves room.
			for range limit - before - int(sent.Load()) {
				_, err = a.Messages.Send(t.Context(), senderOf(s), &hello)
				require.NoError(t, err)
			}
			_, err = a.Messages.Send(t.Context(), senderOf(s), &hello)
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
	s := c.connectSession(a)
	_, err := a.Messages.Send(t.Context(), senderOf(s), &hello)
	require.NoError(t, err)
	c.limiter.(*resettableLimiter).reset()
	a.store.SetDown()

	for range 3 {
		_, err := a.Messages.Send(t.Context(), senderOf(s), &hello)
		require.Equal(t, domain.CodeInternal, domain.CodeOf(err))
	}

	a.store.SetUp()
	tier, err := a.APIKeys.Tier(t.Context(), s.UserID)
	require.NoError(t, err)
	require.Equal(t, 1, tier.Messages)
}

// Single sends and lists of several, over two replicas at once: exactly as many pass as the tier allows, and
// the tier shows that number on both replicas.
func TestMessageLimit_BulkAmongParallelSenders_ExactlyTheLimitPasses(t *testing.T) {
	c := newReplicaSet(t, 2)
	a, b := c.all[0], c.all[1]
	c.register(a, "worker-1", 5)
	s := c.connectSession(a)
	require.NoError(t, c.runReplica(b))
	list := make([]service.SendItem, 7)
	for i := range list {
		list[i].Message = &hello
	}
	var sent, refused atomic.Int64
	count := func(err error) {
		switch domain.CodeOf(err) {
		case "":
			sent.Add(1)
		case domain.CodeMessageLimit:
			refused.Add(1)
		}
	}
	concurrently(50, func(i int) {
		at := c.all[i%2]
		if i%5 == 0 {
			results, err := at.Messages.SendAll(context.Background(), senderOf(s), "", list)
			assert.NoError(t, err)
			for _, r := range results {
				count(r.Err)
			}
			return
		}
		for range 3 {
			_, err := at.Messages.Send(context.Background(), senderOf(s), &hello)
			count(err)
		}
	})
	require.EqualValues(t, 100, sent.Load())
	require.EqualValues(t, 40*3+10*7-100, refused.Load())
	require.Equal(t, 100, c.workers.count("send"))
	for _, r := range c.all {
		tier, err := r.APIKeys.Tier(t.Context(), s.UserID)
		require.NoError(t, err)
		require.Equal(t, 100, tier.Messages)
		require.Equal(t, 100, tier.Limits.MessagesPerHour)
	}
}

func TestTier_TwoReplicas_ShowTheSameCounts(t *testing.T) {
	c := newReplicaSet(t, 2)
	a, b := c.all[0], c.all[1]
	c.register(a, "worker-1", 5)
	s := c.connectSession(a)
	require.NoError(t, c.runReplica(b))
	for i := range 3 {
		_, err := c.all[i%2].Messages.Send(t.Context(), senderOf(s), &hello)
		require.NoError(t, err)
		_, _, err = c.all[i%2].APIKeys.Authenticate(t.Context(), s.APIKey)
		require.NoError(t, err)
	}
	c.workers.answerWith(func(call) error { return &ports.WorkerError{Failure: ports.WorkerRejected, Status: 400} })
	_, err := a.Messages.Send(t.Context(), senderOf(s), &hello) // not sent, and given back
	require.Error(t, err)
	for _, r := range c.all {
		tier, err := r.APIKeys.Tier(t.Context(), s.UserID)
		require.NoError(t, err)
		require.Equal(t, []int{1, 3, 3}, []int{tier.Sessions, tier.Messages, tier.APICalls})
	}
}
