package apikeys_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/memory"
	"github.com/switchyard-wa/switchyard/app/internal/apikeys"
	"github.com/switchyard-wa/switchyard/app/internal/txn"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// sent stores messages that were sent earlier.
func (f *fixture) sent(n int, at time.Time) {
	f.Write(func(ctx context.Context, tx *txn.Tx) error {
		for range n {
			m := &domain.Message{
				ID: f.IDs.NewID(), SessionID: "s1", UserID: f.user, Direction: domain.Outbound,
				Type: domain.TypeText, Status: domain.MessageSent, CreatedAt: at,
			}
			if err := tx.Messages.Put(ctx, m); err != nil {
				return err
			}
		}
		return nil
	})
}

// restart replaces the service and its limiter, as a restart of the process does.
func (f *fixture) restart(l ports.Limiter) {
	f.keys = apikeys.New(f.Writer, l, func(ports.Invalidation) {})
}

// take counts one message, and returns the code with which it is refused.
func (f *fixture) take(t *testing.T) domain.Code {
	t.Helper()
	q, err := f.keys.Quota(context.Background(), f.user)
	require.NoError(t, err)
	return domain.CodeOf(q.TakeMessage(context.Background(), f.Now()))
}

func limitOf(n int) domain.Tiers {
	return domain.Tiers{domain.TierBasic: {Sessions: 1, MessagesPerHour: n, APICallsPerHour: 1000}}
}

func TestTakeMessage_LimitReached_IsExceeded(t *testing.T) {
	f := newFixture(t)
	f.SetTiers(limitOf(2))
	require.Empty(t, f.take(t))
	require.Empty(t, f.take(t))
	require.Equal(t, domain.CodeMessageLimit, f.take(t))

	f.Clock.Advance(time.Hour)
	require.Empty(t, f.take(t), "the window is over")
}

func TestTakeMessage_LimiterLostItsMemory_HistoryCounts(t *testing.T) {
	f := newFixture(t)
	f.SetTiers(limitOf(3))
	f.sent(2, f.Now().Add(-30*time.Minute))
	f.sent(5, f.Now().Add(-61*time.Minute)) // of an earlier window

	require.Empty(t, f.take(t))
	require.Equal(t, domain.CodeMessageLimit, f.take(t))

	f.Clock.Advance(30 * time.Minute)
	require.Empty(t, f.take(t), "the window began with the first message of the history")
}

func TestTakeMessage_LimiterLosesItsMemoryLater_HistoryCountsAgain(t *testing.T) {
	f := newFixture(t)
	f.SetTiers(limitOf(3))
	l := &forgetful{Limiter: memory.NewLimiter()}
	f.restart(l)
	require.Empty(t, f.take(t))
	f.sent(3, f.Now())

	l.Limiter = memory.NewLimiter()
	require.Equal(t, domain.CodeMessageLimit, f.take(t), "the message that exceeds is taken back")
	require.Equal(t, 3, l.used(t, f))
}

// forgetful is a limiter that may be replaced by one without memory.
type forgetful struct {
	ports.Limiter
	fails error // of Backfill
	calls int   // of AllowN
}

func (l *forgetful) AllowN(ctx context.Context, key string, at time.Time, length time.Duration, limit, n int) (domain.Usage, error) {
	l.calls++
	return l.Limiter.AllowN(ctx, key, at, length, limit, n)
}

func (l *forgetful) Backfill(ctx context.Context, key string, first time.Time, length time.Duration, used int) error {
	if l.fails != nil {
		return l.fails
	}
	return l.Limiter.Backfill(ctx, key, first, length, used)
}

// used returns the messages that are counted.
func (l *forgetful) used(t *testing.T, f *fixture) int {
	t.Helper()
	usage, err := l.AllowN(context.Background(), "messages/"+f.user, f.Now(), time.Hour, 1000, 0)
	require.NoError(t, err)
	return usage.Used
}

func TestTakeMessage_HistoryCannotBeSeeded_NothingIsCounted(t *testing.T) {
	f := newFixture(t)
	l := &forgetful{Limiter: memory.NewLimiter()}
	f.restart(l)
	require.Empty(t, f.take(t))
	l.Limiter, l.fails = memory.NewLimiter(), errors.New("limiter away")

	q, err := f.keys.Quota(context.Background(), f.user)
	require.NoError(t, err)
	require.Error(t, q.TakeMessage(context.Background(), f.Now()))
	require.Zero(t, l.used(t, f), "the message was taken back")
}

func TestTakeMessage_SteadyState_ReadsNothing(t *testing.T) {
	f := newFixture(t)
	l := &forgetful{Limiter: memory.NewLimiter()}
	f.restart(l)
	require.Empty(t, f.take(t))
	updates, views := f.Stored.Count(func() { require.Empty(t, f.take(t)) })
	require.Zero(t, updates+views)

	f.Clock.Advance(time.Second)
	l.calls = 0
	_, views = f.Stored.Count(func() { require.Empty(t, f.take(t)) })
	require.Equal(t, 1, views, "the user alone")
	require.Equal(t, 1, l.calls, "the limiter was seeded, and is not asked again")
}

func TestRefundMessage_CallerHasGone_GivesOneBack(t *testing.T) {
	f := newFixture(t)
	f.SetTiers(limitOf(1))
	require.Empty(t, f.take(t))
	q, err := f.keys.Quota(context.Background(), f.user)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()

	q.RefundMessage(ctx)
	require.Empty(t, f.take(t))
}

func TestQuota_TierChangesWhileTheUserIsRead_IsNotCached(t *testing.T) {
	f := newFixture(t)
	f.SetTiers(limitOf(1))
	f.Stored.BeforeEachView(func() {
		f.Stored.BeforeEachView(nil)
		require.Empty(t, f.take(t)) // another send of the user caches its quota
		f.keys.Forget()
	})
	require.Equal(t, domain.CodeMessageLimit, f.take(t))
	_, views := f.Stored.Count(func() { f.take(t) })
	require.Equal(t, 1, views, "the quota is read again")
}

func TestTier_AfterSomeUse_ShowsWhatIsUsed(t *testing.T) {
	f := newFixture(t)
	require.Empty(t, f.take(t))
	require.Empty(t, f.code(f.key))
	require.Empty(t, f.code(f.key))
	view, err := f.keys.Tier(context.Background(), f.user)
	require.NoError(t, err)
	require.Equal(t, "1 session, 1 message, 2 calls", fmt.Sprintf("%d session, %d message, %d calls", view.Sessions, view.Messages, view.APICalls))

	_, err = f.keys.Tier(context.Background(), "nobody")
	require.Equal(t, domain.CodeUserNotFound, domain.CodeOf(err))
}

func TestTier_LimitIsLowered_ShowsWhatWasUsed(t *testing.T) {
	f := newFixture(t)
	for range 5 {
		require.Empty(t, f.take(t))
		require.Empty(t, f.code(f.key))
	}
	f.SetTiers(domain.Tiers{domain.TierBasic: {MessagesPerHour: 2, APICallsPerHour: 3}})
	f.Clock.Advance(time.Second) // the tiers are read again
	view, err := f.keys.Tier(context.Background(), f.user)
	require.NoError(t, err)
	require.Equal(t, []int{2, 3}, []int{view.Limits.MessagesPerHour, view.Limits.APICallsPerHour})
	require.Equal(t, []int{5, 5}, []int{view.Messages, view.APICalls})
}
