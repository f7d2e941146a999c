package events_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/app/internal/coretest"
	"github.com/switchyard-wa/switchyard/app/internal/events"
	"github.com/switchyard-wa/switchyard/app/internal/txn"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/conformance/storehooks"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// record commits an event of a user.
func record(t *testing.T, core *coretest.Core, user, reason string) {
	t.Helper()
	require.NoError(t, core.Transact(context.Background(), func(ctx context.Context, tx *txn.Tx) error {
		return tx.Record(ctx, domain.Event{Type: domain.EventSessionQR, At: core.Now(), UserID: user, SessionID: "of " + user, Reason: reason})
	}))
}

// next returns the reasons of the events that wait, or nil if none does. The test runs in a bubble.
func next(t *testing.T, s service.EventSubscription) (reasons []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second) // of the bubble's clock
	defer cancel()
	page, err := s.Next(ctx)
	if err != nil {
		require.ErrorIs(t, err, context.DeadlineExceeded)
	}
	for _, e := range page {
		reasons = append(reasons, e.Reason)
	}
	return reasons
}

func TestSubscribe_FromNow_ReturnsOnlyWhatFollows(t *testing.T) {
	synctest.Test(t, subscribeFromNowReturnsOnlyWhatFollows)
}

func subscribeFromNowReturnsOnlyWhatFollows(t *testing.T) {
	f := newFixture(t)
	s, err := f.Subscribe(t.Context(), f.user, service.FromNow)
	require.NoError(t, err)
	defer s.Close()
	require.NoError(t, f.Distribute(t.Context()))
	require.Empty(t, next(t, s))

	record(t, f.Core, "u1", "new")
	record(t, f.Core, "u2", "of another user")
	require.NoError(t, f.Distribute(t.Context()))
	require.Equal(t, []string{"new"}, next(t, s))
}

func TestSubscribe_FromThePast_ReadsTheLogFirst(t *testing.T) {
	synctest.Test(t, subscribeFromThePastReadsTheLogFirst)
}

func subscribeFromThePastReadsTheLogFirst(t *testing.T) {
	f := newFixture(t)
	first, err := f.List(t.Context(), f.user, 0, 1)
	require.NoError(t, err)
	s, err := f.Subscribe(t.Context(), f.user, first[0].Seq)
	require.NoError(t, err)
	defer s.Close()
	require.Equal(t, []string{"1", "2", "3", "4", "5", "6", "7", "8", "9"}, next(t, s))
	record(t, f.Core, "u1", "new")
	require.NoError(t, f.Distribute(t.Context()))
	require.Equal(t, []string{"new"}, next(t, s))
}

func TestSubscribe_PositionNoLongerKept_IsTold(t *testing.T) {
	f := newFixture(t)
	last := f.deleteOldest(4)
	_, err := f.Subscribe(t.Context(), f.user, last-1)
	require.ErrorIs(t, err, &domain.Error{Code: domain.CodeEventsExpired})
}

func TestNext_ReaderIsSlow_LosesNothing(t *testing.T) {
	synctest.Test(t, nextReaderIsSlowLosesNothing)
}

func nextReaderIsSlowLosesNothing(t *testing.T) {
	f := newFixture(t)
	s, err := f.Subscribe(t.Context(), f.user, service.FromNow)
	require.NoError(t, err)
	defer s.Close()
	require.NoError(t, f.Distribute(t.Context()))
	require.Empty(t, next(t, s))
	var want, got []string
	for i := range 1000 {
		want = append(want, fmt.Sprint(i))
		record(t, f.Core, "u1", fmt.Sprint(i))
		if i%10 == 0 {
			require.NoError(t, f.Distribute(t.Context()))
		}
	}
	require.NoError(t, f.Distribute(t.Context()))
	for more := next(t, s); more != nil; more = next(t, s) {
		got = append(got, more...)
	}
	require.Equal(t, want, got)
}

// A quiet session has no events for longer than retention. Its reader missed nothing.
func TestPosition_OthersHaveEvents_Advances(t *testing.T) {
	synctest.Test(t, positionOthersHaveEventsAdvances)
}

func positionOthersHaveEventsAdvances(t *testing.T) {
	f := newFixture(t)
	s, err := f.Subscribe(t.Context(), f.user, service.FromNow)
	require.NoError(t, err)
	defer s.Close()
	require.NoError(t, f.Distribute(t.Context()))
	require.Empty(t, next(t, s))
	before := s.Position()
	record(t, f.Core, "u2", "of another user")
	require.NoError(t, f.Distribute(t.Context()))
	after := s.Position()
	require.Greater(t, after, before)

	record(t, f.Core, "u1", "waits")
	require.NoError(t, f.Distribute(t.Context()))
	require.Equal(t, after, s.Position(), "the event was not returned yet")
	require.Equal(t, []string{"waits"}, next(t, s))
	require.Greater(t, s.Position(), after)
}

// TestSubscriptions_WritersAndReadersRace_EachReadsItsEventsOnce has readers of two users begin, end
// and resume at random while writers record.
func TestSubscriptions_WritersAndReadersRace_EachReadsItsEventsOnce(t *testing.T) {
	core := coretest.New(t)
	feed := events.New(core.Writer)
	core.AfterCommit(func(context.Context, *txn.Changes) { feed.Wake() })
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { feed.Run(ctx) })
	defer running.Wait()
	defer cancel()

	const each = 400
	var writers, readers sync.WaitGroup
	for _, user := range []string{"u1", "u2"} {
		writers.Go(func() {
			for i := range each {
				record(t, core, user, fmt.Sprint(i))
			}
		})
		for r := range 6 {
			readers.Go(func() {
				random := rand.New(rand.NewPCG(uint64(r), 1))
				after, want := int64(0), 0
				for want < each {
					s, err := feed.Subscribe(ctx, ports.EventFilter{UserID: user}, after)
					if err != nil {
						t.Error(err)
						return
					}
					for stop := want + 1 + random.IntN(200); want < min(stop, each); {
						limited, cancel := context.WithTimeout(ctx, 20*time.Second)
						page, err := s.Next(limited)
						cancel()
						if err != nil {
							t.Errorf("%s waits for event %d: %v", user, want, err)
							return
						}
						for _, e := range page {
							if e.Reason != fmt.Sprint(want) || e.UserID != user {
								t.Errorf("%s expects event %d, got %s of %s", user, want, e.Reason, e.UserID)
								return
							}
							want++
						}
					}
					after = s.Position()
					s.Close()
				}
			})
		}
	}
	writers.Wait()
	readers.Wait()
}

func TestNext_EventIsDistributedWhileTheLogIsRead_NothingIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		other, err := f.Subscribe(t.Context(), f.user, service.FromNow)
		require.NoError(t, err)
		defer other.Close()
		require.NoError(t, f.Distribute(t.Context())) // the tail reads from now on
		s, err := f.Subscribe(t.Context(), f.user, 0)
		require.NoError(t, err)
		defer s.Close()

		stored := &storehooks.Store{Store: f.Core.Writer.Store}
		f.Core.Writer.Store = stored
		stored.AfterView = func(_ context.Context, err error) error {
			stored.AfterView = nil
			record(t, f.Core, "u1", "10")
			require.NoError(t, f.Distribute(t.Context()))
			return err
		}
		require.Equal(t, []string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"}, next(t, s))
		require.Equal(t, []string{"10"}, next(t, s))
	})
}

func TestSubscribe_EmptyFilter_ReturnsTheEventsOfEverybody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		s, err := f.Subscribe(t.Context(), ports.EventFilter{}, service.FromNow)
		require.NoError(t, err)
		defer s.Close()
		require.NoError(t, f.Distribute(t.Context()))
		require.Empty(t, next(t, s))
		for _, user := range []string{"u1", "", "u2"} {
			record(t, f.Core, user, "of "+user)
		}
		require.NoError(t, f.Distribute(t.Context()))
		require.Equal(t, []string{"of u1", "of ", "of u2"}, next(t, s))
	})
}
