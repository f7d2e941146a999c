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
// looking, which does nothing. So is whether a key is remembered for longer than
// it has to be, and what a Backfill does that comes when the window is over.
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
		"whether it was seeded is told":       limitBackfilled,
		"nothing may be seeded, once":         limitBackfilledWithNothing,
		"a key is remembered for a while":     limitRemembered,
		"a Backfill adds to a window":         limitBackfill,
		"a Backfill begins a window":          limitBackfillBegins,
		"a Backfill counts once":              limitBackfillOnce,
		"a Backfill may exceed the limit":     limitBackfillExceeds,
		"a Backfill in a race loses no use":   limitBackfillRace,
		"of Seeds in a race one counts":       limitBackfillsRace,
		"an expired context seeds nothing":    limitBackfillExpired,
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
	u, err := l.limiter.AllowN(l.Context(), key, l.now.Add(after), time.Hour, limit, n)
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

// SharedLimiter tests two handles on one limiter, such as those of two processes.
func SharedLimiter(t *testing.T, open func(t *testing.T) (a, b ports.Limiter)) {
	for name, test := range map[string]func(a, b *limits){
		"uses through one count for the other":          limitBoth,
		"in a race through both no more than the limit": limitBothRace,
		"a Backfill through one counts for the other":   limitBothBackfill,
	} {
		t.Run(name, func(t *testing.T) {
			one, other := open(t)
			a := &limits{T: t, limiter: one, key: unique(t), now: time.Now().UTC().Truncate(time.Millisecond)}
			b := *a
			b.limiter = other
			test(a, &b)
		})
	}
}

func limitBoth(a, b *limits) {
	a.take(0, 3, 2)
	b.expect(b.take(time.Minute, 3, 1), true, 0, time.Hour)
	a.expect(a.take(time.Minute, 3, 1), false, 0, time.Hour)
	a.expect(a.take(time.Minute, 3, -1), true, 1, time.Hour)
	b.expect(b.take(time.Minute, 3, 1), true, 0, time.Hour)
}

func limitBothRace(a, b *limits) { raceForLimit(a, b.limiter) }

func limitBothBackfill(a, b *limits) {
	a.take(0, 10, 1)
	b.seed(-10*time.Minute, 3)
	a.seed(-20*time.Minute, 4)
	a.expect(a.take(0, 10, 0), true, 6, 50*time.Minute)
	b.expect(b.take(0, 10, 0), true, 6, 50*time.Minute)
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

func limitRace(l *limits) { raceForLimit(l, l.limiter) }

// raceForLimit asks for more than there is, through two limiters that may be one.
func raceForLimit(l *limits, other ports.Limiter) {
	for round := range 3 {
		const limit = 50
		key := fmt.Sprint(l.key, round)
		var allowed, remaining atomic.Int64
		var failed atomic.Value
		race(racers, func(i int) {
			for range 20 {
				u, err := []ports.Limiter{l.limiter, other}[i%2].AllowN(l.Context(), key, l.now, time.Hour, limit, 1)
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
			if used := rapid.IntRange(0, 9).Draw(t, "seed"); used < 3 {
				first := now.Add(-time.Duration(rapid.IntRange(0, 29).Draw(t, "minutes ago")) * time.Minute)
				if window.Start.IsZero() || now.Before(window.Start.Add(30*time.Minute)) {
					window.Backfill(first, used)
					require.NoError(t, l.limiter.Backfill(l.Context(), key, first, 30*time.Minute, used))
				}
			}
			now = now.Add(time.Duration(rapid.IntRange(-5, 40).Draw(t, "minutes")) * time.Minute)
			limit := rapid.IntRange(0, 6).Draw(t, "limit")
			n := rapid.IntRange(-2, 4).Draw(t, "n")
			length := time.Duration(rapid.IntRange(30, 31).Draw(t, "length")) * time.Minute
			if !window.Start.IsZero() && !now.Before(window.Start.Add(time.Hour)) {
				return // the key may be forgotten by now, or not
			}
			next := window
			want := next.AllowN(now, length, limit, n)
			if !next.Start.Equal(window.Start) && (n <= 0 || !want.Allowed) {
				continue // no window runs, and this would begin none
			}
			window = next
			got, err := l.limiter.AllowN(l.Context(), key, now, length, limit, n)
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
	_, err := l.limiter.AllowN(ctx, l.key, l.now, time.Hour, 3, 1)
	require.ErrorIs(l.T, err, context.Canceled)
	l.expect(l.take(0, 3, 1), true, 2, time.Hour)
}

// seed seeds the key with uses from some time after the test began.
func (l *limits) seed(after time.Duration, used int) {
	l.Helper()
	require.NoError(l.T, l.limiter.Backfill(l.Context(), l.key, l.now.Add(after), time.Hour, used))
}

func limitBackfilled(l *limits) {
	require.False(l.T, l.take(0, 3, 0).Backfilled)
	require.False(l.T, l.take(0, 3, 2).Backfilled)
	require.False(l.T, l.take(0, 3, 0).Backfilled)
	l.seed(-time.Minute, 1)
	for _, n := range []int{0, 1, -1, 0} { // the second is refused
		require.True(l.T, l.take(time.Minute, 3, n).Backfilled)
	}
	require.True(l.T, l.take(time.Hour, 3, 0).Backfilled, "its window is over")
	l.expect(l.take(time.Hour, 3, 1), true, 2, 2*time.Hour)
	require.True(l.T, l.take(time.Hour, 3, 0).Backfilled, "another window")
	require.False(l.T, l.takeOf(l.key+":other", 0, 3, 1).Backfilled)
}

// limitBackfilledWithNothing: what is told later was counted meanwhile.
func limitBackfilledWithNothing(l *limits) {
	l.seed(-90*time.Minute, 0)
	u := l.take(0, 3, 0)
	require.True(l.T, u.Backfilled)
	l.expect(u, true, 3, time.Hour)
	l.expect(l.take(0, 3, 1), true, 2, time.Hour)
	l.seed(-time.Minute, 2)
	l.expect(l.take(0, 3, 0), true, 2, time.Hour)
	require.True(l.T, l.take(0, 3, 0).Backfilled)
}

func limitRemembered(l *limits) {
	l.seed(0, 0)
	l.take(0, 3, 3)
	for i := range 500 { // which is when some limiters forget the others
		l.takeOf(fmt.Sprint(l.key, ":", i), 2*time.Hour-time.Millisecond, 3, 1)
	}
	u := l.take(2*time.Hour-time.Millisecond, 3, 0)
	require.True(l.T, u.Backfilled)
	l.expect(u, true, 3, 3*time.Hour-time.Millisecond)
	u = l.take(2*time.Hour-time.Millisecond, 3, 1)
	require.True(l.T, u.Backfilled)
	l.expect(u, true, 2, 3*time.Hour-time.Millisecond)
	require.True(l.T, l.take(4*time.Hour-2*time.Millisecond, 3, 0).Backfilled, "from the later window on")
}

func limitBackfill(l *limits) {
	l.take(0, 10, 2)
	l.seed(-20*time.Minute, 3)
	u := l.take(time.Minute, 10, 1)
	l.expect(u, true, 4, 40*time.Minute)
	require.Equal(l.T, 6, u.Used)
	require.True(l.T, u.Backfilled)
	l.expect(l.take(40*time.Minute, 10, 1), true, 9, 100*time.Minute)

	l.key += ":later" // a Backfill of uses that began after the window did
	l.take(0, 10, 2)
	l.seed(10*time.Minute, 3)
	l.expect(l.take(time.Minute, 10, 0), true, 5, time.Hour)
}

func limitBackfillBegins(l *limits) {
	l.seed(-20*time.Minute, 3)
	u := l.take(0, 10, 0)
	l.expect(u, true, 7, 40*time.Minute)
	require.Equal(l.T, 3, u.Used)
	require.True(l.T, u.Backfilled)
	l.expect(l.take(39*time.Minute, 10, 2), true, 5, 40*time.Minute)
	l.expect(l.take(40*time.Minute, 10, 2), true, 8, 100*time.Minute)

	l.key += ":nothing"
	l.seed(0, 0)
	l.expect(l.take(30*time.Minute, 10, 1), true, 9, time.Hour)
}

func limitBackfillOnce(l *limits) {
	l.take(0, 10, 1)
	l.seed(-20*time.Minute, 2)
	l.seed(-40*time.Minute, 4)
	l.expect(l.take(time.Minute, 10, 1), true, 6, 40*time.Minute)
	l.take(50*time.Minute, 10, 1) // a new window
	l.seed(45*time.Minute, 4)
	l.expect(l.take(51*time.Minute, 10, 0), true, 9, 110*time.Minute)

	l.key += ":nothing" // is what was counted, and it was
	l.take(0, 10, 1)
	l.seed(0, 0)
	l.seed(-10*time.Minute, 4)
	l.expect(l.take(time.Minute, 10, 0), true, 9, time.Hour)
}

func limitBackfillExceeds(l *limits) {
	l.take(0, 3, 1)
	l.seed(-10*time.Minute, 5)
	u := l.take(time.Minute, 3, 1)
	l.expect(u, false, 0, 50*time.Minute)
	require.Equal(l.T, 6, u.Used)
	l.expect(l.take(time.Minute, 3, -4), true, 1, 50*time.Minute)
	l.expect(l.take(time.Minute, 3, 1), true, 0, 50*time.Minute)
	l.expect(l.take(50*time.Minute, 3, 1), true, 2, 110*time.Minute)
}

func limitBackfillRace(l *limits) {
	for round := range 5 {
		const each, seeded, limit = 10, 30, 70
		l.key += fmt.Sprint(round)
		l.take(0, limit, 1)
		var allowed atomic.Int64
		allowed.Add(1)
		var failed atomic.Value
		race(racers, func(i int) {
			for range each {
				u, err := l.limiter.AllowN(l.Context(), l.key, l.now, time.Hour, limit, 1)
				if err == nil && i == 0 {
					err = l.limiter.Backfill(l.Context(), l.key, l.now.Add(-time.Minute), time.Hour, seeded)
				}
				if err != nil {
					failed.Store(err)
					return
				}
				if u.Allowed {
					allowed.Add(1)
				}
			}
		})
		require.Nil(l.T, failed.Load())
		u := l.take(0, limit, 0)
		require.EqualValues(l.T, allowed.Load()+seeded, u.Used)
		require.WithinDuration(l.T, l.now.Add(59*time.Minute), u.ResetAt, 0)
	}
}

func limitBackfillsRace(l *limits) {
	l.take(0, 100, 1)
	race(racers, func(i int) {
		if err := l.limiter.Backfill(l.Context(), l.key, l.now, time.Hour, 10+i); err != nil {
			l.Error("seeding:", err)
		}
	})
	used := l.take(0, 100, 0).Used
	require.True(l.T, used >= 11 && used < 11+racers, "%d used", used)
}

func limitBackfillExpired(l *limits) {
	ctx, cancel := context.WithCancel(l.Context())
	cancel()
	require.ErrorIs(l.T, l.limiter.Backfill(ctx, l.key, l.now, time.Hour, 2), context.Canceled)
	l.expect(l.take(0, 3, 1), true, 2, time.Hour)
	l.seed(0, 1)
	l.expect(l.take(0, 3, 0), true, 1, time.Hour)
}
