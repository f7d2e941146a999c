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

// Limiter tests a limiter. The suite uses unique keys, so open may return a limiter that others use
// too. The given times begin at the present, run ahead of it, and are whole milliseconds.
//
// A window begins with an allowed use. The suite leaves open the effect of returned or refused uses on
// a key without a window; reading has no effect. It also leaves open whether a key is remembered longer
// than required, and the effect of a Backfill after the end of the window.
func Limiter(t *testing.T, open func(t *testing.T) ports.Limiter) {
	for name, test := range map[string]func(l *limiterTest){
		"a limit is used up":                        limitUsedUp,
		"AllowN counts all or nothing":              limitAllOrNothing,
		"reading changes nothing":                   limitRead,
		"a negative number returns uses":            limitReturn,
		"a window begins with the first use":        limitBegins,
		"a new window counts from zero":             limitReset,
		"time that runs backwards stays in":         limitBackwards,
		"keys are separate":                         limitKeys,
		"the limit may change":                      limitChanges,
		"a race allows no more than the limit":      limitRace,
		"any uses count as in a Window":             limitModel,
		"an expired context counts nothing":         limitExpired,
		"reading begins no window":                  limitReadBegins,
		"Usage tells whether a Backfill took place": limitBackfilled,
		"a Backfill without uses counts, once":      limitBackfilledWithNothing,
		"a key is remembered for one more length":   limitRemembered,
		"a Backfill adds to a window":               limitBackfill,
		"a Backfill begins a window":                limitBackfillBegins,
		"a Backfill counts once":                    limitBackfillOnce,
		"a Backfill may exceed the limit":           limitBackfillExceeds,
		"a Backfill in a race loses no use":         limitBackfillRace,
		"one of several Backfills in a race counts": limitBackfillsRace,
		"an expired context backfills nothing":      limitBackfillExpired,
	} {
		t.Run(name, func(t *testing.T) {
			test(&limiterTest{T: t, limiter: open(t), key: unique(t), now: time.Now().UTC().Truncate(time.Millisecond)})
		})
	}
}

// A limiterTest is a limiter under test with a unique key.
type limiterTest struct {
	*testing.T
	limiter ports.Limiter
	key     string
	now     time.Time // the start of the test
}

// use counts uses some time after the start of the test, in a window of an hour.
func (l *limiterTest) use(after time.Duration, limit, n int) domain.Usage {
	l.Helper()
	return l.useOf(l.key, after, limit, n)
}

// useOf is use for another key.
func (l *limiterTest) useOf(key string, after time.Duration, limit, n int) domain.Usage {
	l.Helper()
	u, err := l.limiter.AllowN(l.Context(), key, l.now.Add(after), time.Hour, limit, n)
	require.NoError(l.T, err)
	require.Equal(l.T, limit, u.Limit)
	return u
}

// expect requires the outcome of a use. reset is relative to the start of the test.
func (l *limiterTest) expect(u domain.Usage, allowed bool, remaining int, reset time.Duration) {
	l.Helper()
	require.Equal(l.T, allowed, u.Allowed)
	require.Equal(l.T, remaining, u.Remaining)
	require.WithinDuration(l.T, l.now.Add(reset), u.ResetAt, 0)
}

// SharedLimiter tests two handles on one limiter, as two processes hold them.
func SharedLimiter(t *testing.T, open func(t *testing.T) (a, b ports.Limiter)) {
	for name, test := range map[string]func(a, b *limiterTest){
		"uses through one handle count for the other":        limitBoth,
		"a race through both allows no more than the limit":  limitBothRace,
		"a Backfill through one handle counts for the other": limitBothBackfill,
	} {
		t.Run(name, func(t *testing.T) {
			one, other := open(t)
			a := &limiterTest{T: t, limiter: one, key: unique(t), now: time.Now().UTC().Truncate(time.Millisecond)}
			b := *a
			b.limiter = other
			test(a, &b)
		})
	}
}

func limitBoth(a, b *limiterTest) {
	a.use(0, 3, 2)
	b.expect(b.use(time.Minute, 3, 1), true, 0, time.Hour)
	a.expect(a.use(time.Minute, 3, 1), false, 0, time.Hour)
	a.expect(a.use(time.Minute, 3, -1), true, 1, time.Hour)
	b.expect(b.use(time.Minute, 3, 1), true, 0, time.Hour)
}

func limitBothRace(a, b *limiterTest) { raceForLimit(a, b.limiter) }

func limitBothBackfill(a, b *limiterTest) {
	a.use(0, 10, 1)
	b.backfill(-10*time.Minute, 3)
	a.backfill(-20*time.Minute, 4)
	a.expect(a.use(0, 10, 0), true, 6, 50*time.Minute)
	b.expect(b.use(0, 10, 0), true, 6, 50*time.Minute)
}

func limitUsedUp(l *limiterTest) {
	for i := range 3 {
		l.expect(l.use(0, 3, 1), true, 2-i, time.Hour)
	}
	for range 3 {
		l.expect(l.use(time.Minute, 3, 1), false, 0, time.Hour)
	}
}

func limitAllOrNothing(l *limiterTest) {
	l.expect(l.use(0, 5, 3), true, 2, time.Hour)
	l.expect(l.use(0, 5, 3), false, 2, time.Hour)
	l.expect(l.use(0, 5, 2), true, 0, time.Hour)
}

func limitRead(l *limiterTest) {
	l.use(0, 5, 3)
	for range 3 {
		l.expect(l.use(time.Minute, 5, 0), true, 2, time.Hour)
	}
	l.use(0, 5, 2)
	l.expect(l.use(time.Minute, 5, 0), true, 0, time.Hour)
	l.expect(l.use(time.Hour, 5, 0), true, 5, 2*time.Hour)
}

func limitReadBegins(l *limiterTest) {
	l.expect(l.use(0, 5, 0), true, 5, time.Hour)
	l.expect(l.use(30*time.Minute, 5, 1), true, 4, 90*time.Minute)
	l.expect(l.use(89*time.Minute, 5, 0), true, 4, 90*time.Minute)
	l.expect(l.use(100*time.Minute, 5, 0), true, 5, 160*time.Minute)
	l.expect(l.use(110*time.Minute, 5, 1), true, 4, 170*time.Minute)
}

func limitReturn(l *limiterTest) {
	l.use(0, 3, 3)
	l.expect(l.use(time.Minute, 3, -1), true, 1, time.Hour)
	l.expect(l.use(time.Minute, 3, 1), true, 0, time.Hour)
	l.expect(l.use(time.Minute, 3, -99), true, 3, time.Hour)
	l.expect(l.use(time.Minute, 3, 3), true, 0, time.Hour)
	l.expect(l.use(time.Minute, 3, 1), false, 0, time.Hour)
}

func limitBegins(l *limiterTest) {
	l.expect(l.use(10*time.Minute, 3, 1), true, 2, 70*time.Minute)
	l.expect(l.use(69*time.Minute, 3, 1), true, 1, 70*time.Minute)
}

func limitReset(l *limiterTest) {
	l.use(0, 3, 3)
	l.expect(l.use(time.Hour-time.Millisecond, 3, 1), false, 0, time.Hour)
	l.expect(l.use(time.Hour, 3, 1), true, 2, 2*time.Hour)
	l.expect(l.use(5*time.Hour, 3, 2), true, 1, 6*time.Hour)
	l.expect(l.use(5*time.Hour, 3, 1), true, 0, 6*time.Hour)
}

func limitBackwards(l *limiterTest) {
	l.expect(l.use(10*time.Minute, 3, 2), true, 1, 70*time.Minute)
	l.expect(l.use(0, 3, 1), true, 0, 70*time.Minute)
	l.expect(l.use(0, 3, 1), false, 0, 70*time.Minute)
}

func limitKeys(l *limiterTest) {
	for i := range 20 {
		key := fmt.Sprint(l.key, ":", i)
		l.expect(l.useOf(key, time.Duration(i)*time.Minute, 2, 2), true, 0, time.Hour+time.Duration(i)*time.Minute)
	}
	for i := range 20 {
		key := fmt.Sprint(l.key, ":", i)
		l.expect(l.useOf(key, 30*time.Minute, 2, 1), false, 0, time.Hour+time.Duration(i)*time.Minute)
	}
	l.expect(l.useOf(l.key+":", 0, 2, 1), true, 1, time.Hour)
}

func limitChanges(l *limiterTest) {
	l.use(0, 3, 3)
	l.expect(l.use(0, 10, 1), true, 6, time.Hour) // an upgrade
	l.expect(l.use(0, 2, 0), true, 0, time.Hour)  // a downgrade below the counted uses
	l.expect(l.use(0, 2, 1), false, 0, time.Hour)
	l.expect(l.use(0, 2, -3), true, 1, time.Hour)
	l.expect(l.use(0, 2, 1), true, 0, time.Hour)
}

func limitRace(l *limiterTest) { raceForLimit(l, l.limiter) }

// raceForLimit requests more uses than allowed, through two limiters that may be the same.
func raceForLimit(l *limiterTest, other ports.Limiter) {
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
		require.EqualValues(l.T, limit*(limit-1)/2, remaining.Load(), "each use reports another remaining number")
	}
}

func limitModel(l *limiterTest) {
	run := 0
	rapid.Check(l.T, func(t *rapid.T) {
		run++
		key := fmt.Sprint(l.key, ":", run)
		var window domain.Window
		now := l.now
		for range rapid.IntRange(1, 12).Draw(t, "uses") {
			if used := rapid.IntRange(0, 9).Draw(t, "backfilled uses"); used < 3 {
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
				return // the limiter may or may not have forgotten the key
			}
			next := window
			want := next.AllowN(now, length, limit, n)
			if !next.Start.Equal(window.Start) && (n <= 0 || !want.Allowed) {
				continue // there is no window, and this use begins none
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

func limitExpired(l *limiterTest) {
	ctx, cancel := context.WithCancel(l.Context())
	cancel()
	_, err := l.limiter.AllowN(ctx, l.key, l.now, time.Hour, 3, 1)
	require.ErrorIs(l.T, err, context.Canceled)
	l.expect(l.use(0, 3, 1), true, 2, time.Hour)
}

// backfill backfills uses since some time relative to the start of the test.
func (l *limiterTest) backfill(after time.Duration, used int) {
	l.Helper()
	require.NoError(l.T, l.limiter.Backfill(l.Context(), l.key, l.now.Add(after), time.Hour, used))
}

func limitBackfilled(l *limiterTest) {
	require.False(l.T, l.use(0, 3, 0).Backfilled)
	require.False(l.T, l.use(0, 3, 2).Backfilled)
	require.False(l.T, l.use(0, 3, 0).Backfilled)
	l.backfill(-time.Minute, 1)
	for _, n := range []int{0, 1, -1, 0} { // the limiter refuses the second
		require.True(l.T, l.use(time.Minute, 3, n).Backfilled)
	}
	require.True(l.T, l.use(time.Hour, 3, 0).Backfilled, "the window has ended")
	l.expect(l.use(time.Hour, 3, 1), true, 2, 2*time.Hour)
	require.True(l.T, l.use(time.Hour, 3, 0).Backfilled, "a new window")
	require.False(l.T, l.useOf(l.key+":other", 0, 3, 1).Backfilled)
}

// limitBackfilledWithNothing checks that the limiter ignores a second Backfill after one without uses:
// the uses in between are counted already.
func limitBackfilledWithNothing(l *limiterTest) {
	l.backfill(-90*time.Minute, 0)
	u := l.use(0, 3, 0)
	require.True(l.T, u.Backfilled)
	l.expect(u, true, 3, time.Hour)
	l.expect(l.use(0, 3, 1), true, 2, time.Hour)
	l.backfill(-time.Minute, 2)
	l.expect(l.use(0, 3, 0), true, 2, time.Hour)
	require.True(l.T, l.use(0, 3, 0).Backfilled)
}

func limitRemembered(l *limiterTest) {
	l.backfill(0, 0)
	l.use(0, 3, 3)
	for i := range 500 { // some limiters forget old keys at this point
		l.useOf(fmt.Sprint(l.key, ":", i), 2*time.Hour-time.Millisecond, 3, 1)
	}
	u := l.use(2*time.Hour-time.Millisecond, 3, 0)
	require.True(l.T, u.Backfilled)
	l.expect(u, true, 3, 3*time.Hour-time.Millisecond)
	u = l.use(2*time.Hour-time.Millisecond, 3, 1)
	require.True(l.T, u.Backfilled)
	l.expect(u, true, 2, 3*time.Hour-time.Millisecond)
	require.True(l.T, l.use(4*time.Hour-2*time.Millisecond, 3, 0).Backfilled, "counted from the later window")
}

func limitBackfill(l *limiterTest) {
	l.use(0, 10, 2)
	l.backfill(-20*time.Minute, 3)
	u := l.use(time.Minute, 10, 1)
	l.expect(u, true, 4, 40*time.Minute)
	require.Equal(l.T, 6, u.Used)
	require.True(l.T, u.Backfilled)
	l.expect(l.use(40*time.Minute, 10, 1), true, 9, 100*time.Minute)

	l.key += ":later" // a Backfill of uses after the start of the window
	l.use(0, 10, 2)
	l.backfill(10*time.Minute, 3)
	l.expect(l.use(time.Minute, 10, 0), true, 5, time.Hour)
}

func limitBackfillBegins(l *limiterTest) {
	l.backfill(-20*time.Minute, 3)
	u := l.use(0, 10, 0)
	l.expect(u, true, 7, 40*time.Minute)
	require.Equal(l.T, 3, u.Used)
	require.True(l.T, u.Backfilled)
	l.expect(l.use(39*time.Minute, 10, 2), true, 5, 40*time.Minute)
	l.expect(l.use(40*time.Minute, 10, 2), true, 8, 100*time.Minute)

	l.key += ":nothing"
	l.backfill(0, 0)
	l.expect(l.use(30*time.Minute, 10, 1), true, 9, time.Hour)
}

func limitBackfillOnce(l *limiterTest) {
	l.use(0, 10, 1)
	l.backfill(-20*time.Minute, 2)
	l.backfill(-40*time.Minute, 4)
	l.expect(l.use(time.Minute, 10, 1), true, 6, 40*time.Minute)
	l.use(50*time.Minute, 10, 1) // a new window
	l.backfill(45*time.Minute, 4)
	l.expect(l.use(51*time.Minute, 10, 0), true, 9, 110*time.Minute)

	l.key += ":nothing" // a Backfill without uses counts too
	l.use(0, 10, 1)
	l.backfill(0, 0)
	l.backfill(-10*time.Minute, 4)
	l.expect(l.use(time.Minute, 10, 0), true, 9, time.Hour)
}

func limitBackfillExceeds(l *limiterTest) {
	l.use(0, 3, 1)
	l.backfill(-10*time.Minute, 5)
	u := l.use(time.Minute, 3, 1)
	l.expect(u, false, 0, 50*time.Minute)
	require.Equal(l.T, 6, u.Used)
	l.expect(l.use(time.Minute, 3, -4), true, 1, 50*time.Minute)
	l.expect(l.use(time.Minute, 3, 1), true, 0, 50*time.Minute)
	l.expect(l.use(50*time.Minute, 3, 1), true, 2, 110*time.Minute)
}

func limitBackfillRace(l *limiterTest) {
	for round := range 5 {
		const each, backfilled, limit = 10, 30, 70
		l.key += fmt.Sprint(round)
		l.use(0, limit, 1)
		var allowed atomic.Int64
		allowed.Add(1)
		var failed atomic.Value
		race(racers, func(i int) {
			for range each {
				u, err := l.limiter.AllowN(l.Context(), l.key, l.now, time.Hour, limit, 1)
				if err == nil && i == 0 {
					err = l.limiter.Backfill(l.Context(), l.key, l.now.Add(-time.Minute), time.Hour, backfilled)
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
		u := l.use(0, limit, 0)
		require.EqualValues(l.T, allowed.Load()+backfilled, u.Used)
		require.WithinDuration(l.T, l.now.Add(59*time.Minute), u.ResetAt, 0)
	}
}

func limitBackfillsRace(l *limiterTest) {
	l.use(0, 100, 1)
	race(racers, func(i int) {
		if err := l.limiter.Backfill(l.Context(), l.key, l.now, time.Hour, 10+i); err != nil {
			l.Error("backfilling:", err)
		}
	})
	used := l.use(0, 100, 0).Used
	require.True(l.T, used >= 11 && used < 11+racers, "%d used", used)
}

func limitBackfillExpired(l *limiterTest) {
	ctx, cancel := context.WithCancel(l.Context())
	cancel()
	require.ErrorIs(l.T, l.limiter.Backfill(ctx, l.key, l.now, time.Hour, 2), context.Canceled)
	l.expect(l.use(0, 3, 1), true, 2, time.Hour)
	l.backfill(0, 1)
	l.expect(l.use(0, 3, 0), true, 1, time.Hour)
}
