package conformance

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// Limiter tests a limiter. The keys that it uses are its own, so open may
// return a limiter that others use too. The times given begin with the present
// and run ahead of it; they are whole milliseconds.
//
// A window begins with a use that is allowed. What looking, giving back or
// being refused does to a key of which no window runs is left open, but for
// looking, which does nothing.
func Limiter(t *testing.T, open func(t *testing.T) ports.Limiter) {
	for name, test := range map[string]func(l *limits){
		"room is used up":                     limitUsedUp,
		"all or nothing":                      limitAllOrNothing,
		"looking changes nothing":             limitLook,
		"a negative number gives back":        limitGiveBack,
		"a window begins with the first use":  limitBegins,
		"a window that is over counts anew":   limitReset,
		"time that runs back stays in":        limitBackwards,
		"keys are apart":                      limitKeys,
		"the limit may change":                limitChanges,
		"in a race no more than the limit":    limitRace,
		"any uses count as a Window does":     limitModel,
		"an expired context takes nothing":    limitExpired,
		"what was looked at begins no window": limitLookBegins,
	} {
		t.Run(name, func(t *testing.T) {
			test(&limits{T: t, limiter: open(t), key: unique(t), now: time.Now().UTC().Truncate(time.Millisecond)})
		})
	}
}

type limits struct {
	*testing.T
	limiter ports.Limiter
	key     string
	now     time.Time // when the test began
}

// take asks some time after the test began, in a window of an hour.
func (l *limits) take(after time.Duration, limit, n int) domain.Usage {
	l.Helper()
	return l.takeOf(l.key, after, limit, n)
}

func (l *limits) takeOf(key string, after time.Duration, limit, n int) domain.Usage {
	l.Helper()
	u, err := l.limiter.Take(l.Context(), key, l.now.Add(after), time.Hour, limit, n)
	require.NoError(l.T, err)
	require.Equal(l.T, limit, u.Limit)
	return u
}

func (l *limits) expect(u domain.Usage, allowed bool, remaining int, reset time.Duration) {
	l.Helper()
	require.Equal(l.T, allowed, u.Allowed)
	require.Equal(l.T, remaining, u.Remaining)
	require.WithinDuration(l.T, l.now.Add(reset), u.ResetAt, 0)
}

func limitUsedUp(l *limits) {
	for i := range 3 {
		l.expect(l.take(0, 3, 1), true, 2-i, time.Hour)
	}
	for range 3 {
		l.expect(l.take(time.Minute, 3, 1), false, 0, time.Hour)
	}
}

func limitAllOrNothing(l *limits) {
	l.expect(l.take(0, 5, 3), true, 2, time.Hour)
	l.expect(l.take(0, 5, 3), false, 2, time.Hour)
	l.expect(l.take(0, 5, 2), true, 0, time.Hour)
}

func limitLook(l *limits) {
	l.take(0, 5, 3)
	for range 3 {
		l.expect(l.take(time.Minute, 5, 0), true, 2, time.Hour)
	}
	l.take(0, 5, 2)
	l.expect(l.take(time.Minute, 5, 0), true, 0, time.Hour)
	l.expect(l.take(time.Hour, 5, 0), true, 5, 2*time.Hour)
}

func limitLookBegins(l *limits) {
	l.expect(l.take(0, 5, 0), true, 5, time.Hour)
	l.expect(l.take(30*time.Minute, 5, 1), true, 4, 90*time.Minute)
	l.expect(l.take(89*time.Minute, 5, 0), true, 4, 90*time.Minute)
	l.expect(l.take(100*time.Minute, 5, 0), true, 5, 160*time.Minute)
	l.expect(l.take(110*time.Minute, 5, 1), true, 4, 170*time.Minute)
}

func limitGiveBack(l *limits) {
	l.take(0, 3, 3)
	l.expect(l.take(time.Minute, 3, -1), true, 1, time.Hour)
	l.expect(l.take(time.Minute, 3, 1), true, 0, time.Hour)
	l.expect(l.take(time.Minute, 3, -99), true, 3, time.Hour)
	l.expect(l.take(time.Minute, 3, 3), true, 0, time.Hour)
	l.expect(l.take(time.Minute, 3, 1), false, 0, time.Hour)
}

func limitBegins(l *limits) {
	l.expect(l.take(10*time.Minute, 3, 1), true, 2, 70*time.Minute)
	l.expect(l.take(69*time.Minute, 3, 1), true, 1, 70*time.Minute)
}

func limitReset(l *limits) {
	l.take(0, 3, 3)
	l.expect(l.take(time.Hour-time.Millisecond, 3, 1), false, 0, time.Hour)
	l.expect(l.take(time.Hour, 3, 1), true, 2, 2*time.Hour)
	l.expect(l.take(5*time.Hour, 3, 2), true, 1, 6*time.Hour)
	l.expect(l.take(5*time.Hour, 3, 1), true, 0, 6*time.Hour)
}

func limitBackwards(l *limits) {
	l.expect(l.take(10*time.Minute, 3, 2), true, 1, 70*time.Minute)
	l.expect(l.take(0, 3, 1), true, 0, 70*time.Minute)
	l.expect(l.take(0, 3, 1), false, 0, 70*time.Minute)
}

func limitKeys(l *limits) {
	for i := range 20 {
		key := fmt.Sprint(l.key, ":", i)
		l.expect(l.takeOf(key, time.Duration(i)*time.Minute, 2, 2), true, 0, time.Hour+time.Duration(i)*time.Minute)
	}
	for i := range 20 {
		key := fmt.Sprint(l.key, ":", i)
		l.expect(l.takeOf(key, 30*time.Minute, 2, 1), false, 0, time.Hour+time.Duration(i)*time.Minute)
	}
	l.expect(l.takeOf(l.key+":", 0, 2, 1), true, 1, time.Hour)
}

func limitChanges(l *limits) {
	l.take(0, 3, 3)
	l.expect(l.take(0, 10, 1), true, 6, time.Hour) // an upgrade
	l.expect(l.take(0, 2, 0), true, 0, time.Hour)  // a downgrade: less than was used
	l.expect(l.take(0, 2, 1), false, 0, time.Hour)
	l.expect(l.take(0, 2, -3), true, 1, time.Hour)
	l.expect(l.take(0, 2, 1), true, 0, time.Hour)
}

func limitRace(l *limits) {
	for round := range 3 {
		const limit = 50
		key := fmt.Sprint(l.key, round)
		var allowed, remaining atomic.Int64
		var failed atomic.Value
		race(racers, func(int) {
			for range 20 {
				u, err := l.limiter.Take(l.Context(), key, l.now, time.Hour, limit, 1)
				if err != nil {
					failed.Store(err)
					return
				}
				if u.Allowed {
					allowed.Add(1)
					remaining.Add(int64(u.Remaining))
				}
			}
		})
		require.Nil(l.T, failed.Load())
		require.EqualValues(l.T, limit, allowed.Load())
		require.EqualValues(l.T, limit*(limit-1)/2, remaining.Load(), "each was told another number that remains")
	}
}

func limitModel(l *limits) {
	run := 0
	rapid.Check(l.T, func(t *rapid.T) {
		run++
		key := fmt.Sprint(l.key, ":", run)
		var window domain.Window
		now := l.now
		for range rapid.IntRange(1, 12).Draw(t, "uses") {
			now = now.Add(time.Duration(rapid.IntRange(-5, 40).Draw(t, "minutes")) * time.Minute)
			limit := rapid.IntRange(0, 6).Draw(t, "limit")
			n := rapid.IntRange(-2, 4).Draw(t, "n")
			length := time.Duration(rapid.IntRange(30, 31).Draw(t, "length")) * time.Minute
			next := window
			want := next.Take(now, length, limit, n)
			if !next.Start.Equal(window.Start) && (n <= 0 || !want.Allowed) {
				continue // no window runs, and this would begin none
			}
			window = next
			got, err := l.limiter.Take(l.Context(), key, now, length, limit, n)
			require.NoError(t, err)
			require.WithinDuration(t, want.ResetAt, got.ResetAt, 0)
			got.ResetAt = want.ResetAt
			require.Equal(t, want, got)
		}
	})
}

func limitExpired(l *limits) {
	ctx, cancel := context.WithCancel(l.Context())
	cancel()
	_, err := l.limiter.Take(ctx, l.key, l.now, time.Hour, 3, 1)
	require.ErrorIs(l.T, err, context.Canceled)
	l.expect(l.take(0, 3, 1), true, 2, time.Hour)
}
