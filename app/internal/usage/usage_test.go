package usage_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/app/internal/coretest"
	"github.com/switchyard-wa/switchyard/app/internal/outbox"
	"github.com/switchyard-wa/switchyard/app/internal/usage"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// fixture is a store with a user and a session, and counters that all take themselves for the
// owner of the work.
type fixture struct {
	*coretest.Core
	user     string
	messages map[string]*domain.Message
	counters []*usage.Counter
}

func newFixture(t *testing.T, counters int) *fixture {
	core := coretest.New(t)
	f := &fixture{Core: core, user: core.AddUser(domain.TierMax), messages: make(map[string]*domain.Message)}
	core.AddSharingWorker("w1", 50)
	core.AddConnected(f.user, "s1", "w1")
	core.AddConnected(f.user, "s2", "w1")
	for range counters {
		log := outbox.NewLog(core.Writer, 24*time.Hour)
		f.counters = append(f.counters, usage.New(core.Writer, core.Members, log.NewReader("usage")))
	}
	return f
}

// change changes a message, or stores a new one, with its events.
func (f *fixture) change(t *testing.T, id string, fn func(m *domain.Message)) {
	t.Helper()
	before := f.messages[id]
	after := &domain.Message{ID: id, UserID: f.user, Status: domain.MessagePending, Direction: domain.Outbound, Type: domain.TypeText, CreatedAt: f.Now()}
	if before != nil {
		clone := *before
		after = &clone
	}
	fn(after)
	require.NoError(t, f.Store.Update(t.Context(), func(ctx context.Context, tx *ports.Tx) error {
		stored := *after
		if err := tx.Messages.Put(ctx, &stored); err != nil {
			return err
		}
		after.Rev = stored.Rev
		return tx.Outbox.Append(ctx, domain.MessageEvents(before, after, f.Now())...)
	}))
	f.messages[id] = after
}

// expected counts the messages whose outcome is known.
func (f *fixture) expected() map[domain.UsageCount]int {
	counts := make(map[domain.UsageCount]int)
	for _, m := range f.messages {
		add := func(o domain.UsageOutcome) {
			counts[domain.UsageCount{UserID: f.user, SessionID: m.SessionID, Hour: m.CreatedAt.Truncate(time.Hour), Type: m.Type, Outcome: o}]++
		}
		switch {
		case m.Direction == domain.Inbound:
			add(domain.UsageReceived)
			continue
		case m.Status == domain.MessageFailed:
			add(domain.UsageFailed)
		case m.Status != domain.MessagePending:
			add(domain.UsageSent)
		}
		if !m.DeliveredAt.IsZero() {
			add(domain.UsageDelivered)
		}
		if !m.ReadAt.IsZero() {
			add(domain.UsageRead)
		}
	}
	return counts
}

// counted returns the counters by a function that reads them.
func (f *fixture) counted(t *testing.T, read func(ctx context.Context, tx *ports.Tx) ([]domain.UsageCount, error)) map[domain.UsageCount]int {
	t.Helper()
	counts := make(map[domain.UsageCount]int)
	require.NoError(t, f.Store.View(t.Context(), func(ctx context.Context, tx *ports.Tx) error {
		list, err := read(ctx, tx)
		for _, c := range list {
			n := c.Count
			c.Count = 0
			counts[c] += n
		}
		return err
	}))
	return counts
}

func (f *fixture) stored(t *testing.T) map[domain.UsageCount]int {
	return f.counted(t, func(ctx context.Context, tx *ports.Tx) ([]domain.UsageCount, error) {
		return tx.Usage.Counts(ctx, ports.UsageFilter{UserID: f.user}, time.Hour)
	})
}

func (f *fixture) current(t *testing.T) map[domain.UsageCount]int {
	return f.counted(t, func(ctx context.Context, tx *ports.Tx) ([]domain.UsageCount, error) {
		return f.counters[0].Counts(ctx, tx, ports.UsageFilter{UserID: f.user}, time.Hour)
	})
}

// live gives messages random lives.
func (f *fixture) live(t *testing.T, random *rand.Rand, changes int) {
	for range changes {
		if random.IntN(20) == 0 {
			f.Clock.Advance(10 * time.Minute)
		}
		f.change(t, fmt.Sprint("m", random.IntN(changes/2+1)), func(m *domain.Message) {
			if m.SessionID == "" {
				m.SessionID = []string{"s1", "s2"}[random.IntN(2)]
				m.Type = []domain.MessageType{domain.TypeText, domain.TypePoll}[random.IntN(2)]
				if random.IntN(4) == 0 {
					m.Direction, m.Status = domain.Inbound, domain.MessageDelivered
				}
				return
			}
			switch to := random.IntN(6); {
			case m.Direction == domain.Inbound:
			case to == 0:
				m.FailUnreported(f.Now())
			default:
				m.TransitionTo([]domain.MessageStatus{
					domain.MessageSent, domain.MessageSent, domain.MessageDelivered, domain.MessageRead, domain.MessageFailed,
				}[to-1], f.Now(), "refused")
			}
		})
	}
}

func TestCount_RandomLives_EqualTheMessages(t *testing.T) {
	for seed := range uint64(20) {
		f := newFixture(t, 1)
		random := rand.New(rand.NewPCG(seed, 1))
		for range 5 {
			f.live(t, random, 400)
			require.Equal(t, f.expected(), f.current(t), "with the events that are not counted yet")
			f.Clock.Advance(5 * time.Second)
			f.counters[0].Wake()
			_, err := f.counters[0].Count(t.Context())
			require.NoError(t, err)
			require.Equal(t, f.expected(), f.stored(t))
			require.Equal(t, f.expected(), f.current(t))
		}
	}
}

// Two replicas take themselves for the owner. They count at the same time.
func TestCount_TwoOwners_CountOnce(t *testing.T) {
	f := newFixture(t, 2)
	random := rand.New(rand.NewPCG(7, 1))
	for range 10 {
		f.live(t, random, 1500) // several pages
		f.Clock.Advance(5 * time.Second)
		var wg sync.WaitGroup
		for _, c := range f.counters {
			c.Wake()
			wg.Go(func() {
				_, err := c.Count(t.Context())
				require.NoError(t, err)
			})
		}
		wg.Wait()
	}
	f.Clock.Advance(5 * time.Second)
	f.counters[0].Wake()
	_, err := f.counters[0].Count(t.Context())
	require.NoError(t, err)
	require.Equal(t, f.expected(), f.stored(t))
}

func TestCount_WokenOften_CountsEveryTwoSeconds(t *testing.T) {
	f := newFixture(t, 1)
	c := f.counters[0]
	f.live(t, rand.New(rand.NewPCG(1, 1)), 10)
	c.Wake()
	next, err := c.Count(t.Context())
	require.NoError(t, err)
	require.Zero(t, next)
	f.live(t, rand.New(rand.NewPCG(1, 1)), 10)
	c.Wake()
	next, err = c.Count(t.Context())
	require.NoError(t, err)
	require.False(t, next.IsZero(), "it is called again later")
	f.Clock.Advance(2 * time.Second)
	_, err = c.Count(t.Context())
	require.NoError(t, err)
	require.Equal(t, f.expected(), f.stored(t))
}

func TestHousekeep_OldCounters_AreDeleted(t *testing.T) {
	f := newFixture(t, 1)
	f.live(t, rand.New(rand.NewPCG(3, 1)), 200)
	f.counters[0].Wake()
	_, err := f.counters[0].Count(t.Context())
	require.NoError(t, err)
	require.NoError(t, f.counters[0].Housekeep(t.Context(), f.Now().Add(399*24*time.Hour)))
	require.Equal(t, f.expected(), f.stored(t))
	require.NoError(t, f.counters[0].Housekeep(t.Context(), f.Now().Add(402*24*time.Hour)))
	require.Empty(t, f.stored(t))
}
