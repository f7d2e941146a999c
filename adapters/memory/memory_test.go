package memory_test

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/switchyard-wa/switchyard/adapters/memory"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/conformance"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestStore(t *testing.T) {
	conformance.Store(t, func(*testing.T) ports.Store { return memory.NewStore() })
}

func TestRoutes(t *testing.T) {
	conformance.Routes(t, func(*testing.T) ports.Routes { return memory.NewRoutes() })
	conformance.SharedRoutes(t, func(*testing.T) (a, b ports.Routes) {
		r := memory.NewRoutes()
		return r, r
	})
}

func TestLimiter(t *testing.T) {
	conformance.Limiter(t, func(*testing.T) ports.Limiter { return memory.NewLimiter() })
	conformance.SharedLimiter(t, func(*testing.T) (a, b ports.Limiter) {
		l := memory.NewLimiter()
		return l, l
	})
}

func TestBus(t *testing.T) {
	conformance.Bus(t, func(*testing.T) ports.Bus { return memory.NewBus() })
	conformance.SharedBus(t, func(*testing.T) (a, b ports.Bus) {
		bus := memory.NewBus()
		return bus, bus
	})
}

func TestInvalidator(t *testing.T) {
	conformance.Invalidator(t, func(*testing.T) (a, b ports.Invalidator) {
		party := memory.NewInvalidator()
		return party, party.Join()
	})
}

var noon = time.Date(2024, 5, 17, 12, 0, 0, 0, time.UTC)

// newStore returns a store with one user and one session.
func newStore(tb testing.TB) *memory.Store {
	tb.Helper()
	s := memory.NewStore()
	require.NoError(tb, s.Update(tb.Context(), func(ctx context.Context, tx *ports.Tx) error {
		if err := tx.Users.Put(ctx, &domain.User{ID: "u1", Email: "u1@example.com", CreatedAt: noon}); err != nil {
			return err
		}
		return tx.Sessions.Put(ctx, domain.NewSession("s1", "u1", "Session", "", noon))
	}))
	return s
}

func TestStoresMayNest(t *testing.T) {
	a, b := newStore(t), newStore(t)
	require.NoError(t, a.Update(t.Context(), func(ctx context.Context, _ *ports.Tx) error {
		return b.Update(ctx, func(ctx context.Context, _ *ports.Tx) error {
			require.ErrorIs(t, a.View(ctx, nil), ports.ErrNested, "a's transaction is still there, further out")
			return nil
		})
	}))
}

func TestTransactionIsGoodOnlyInside(t *testing.T) {
	s := newStore(t)
	var tx *ports.Tx
	require.NoError(t, s.Update(t.Context(), func(_ context.Context, inside *ports.Tx) error {
		tx = inside
		return nil
	}))
	_, err := tx.Users.Get(t.Context(), "u1")
	require.Error(t, err)
	require.Error(t, tx.Settings.Put(t.Context(), "a", "1"))
}

func TestGoexitRollsBack(t *testing.T) {
	s := newStore(t)
	done := make(chan struct{})
	go func() { // as a test does that fails inside
		defer close(done)
		_ = s.Update(context.Background(), func(ctx context.Context, tx *ports.Tx) error {
			_ = tx.Settings.Put(ctx, "a", "1")
			runtime.Goexit()
			return nil
		})
	}()
	<-done
	require.ErrorIs(t, s.View(t.Context(), func(ctx context.Context, tx *ports.Tx) error {
		_, err := tx.Settings.Get(ctx, "a")
		return err
	}), ports.ErrNotFound)
}

// A Rev that was once seen cannot come to stand for another row of the id.
func TestRevsAreNotRepeated(t *testing.T) {
	s := newStore(t)
	put := func(v *domain.Session) error {
		return s.Update(t.Context(), func(ctx context.Context, tx *ports.Tx) error { return tx.Sessions.Put(ctx, v) })
	}
	old := domain.NewSession("s2", "u1", "Session", "", noon)
	require.NoError(t, put(old))
	require.NoError(t, s.Update(t.Context(), func(ctx context.Context, tx *ports.Tx) error {
		return tx.Sessions.Delete(ctx, "s2", old.Rev)
	}))
	next := domain.NewSession("s2", "u1", "Session", "", noon)
	require.NoError(t, put(next))
	require.Greater(t, next.Rev, old.Rev)
	require.ErrorIs(t, put(old), ports.ErrConflict)
}

func TestEachAssignedBearsWrites(t *testing.T) {
	s := newStore(t)
	require.NoError(t, s.Update(t.Context(), func(ctx context.Context, tx *ports.Tx) error {
		for i := range 10 {
			v := domain.NewSession(fmt.Sprint("a", i), "u1", "", "", noon)
			v.WorkerID = fmt.Sprint("w", i%2)
			if err := tx.Sessions.Put(ctx, v); err != nil {
				return err
			}
		}
		return nil
	}))
	var seen []string
	require.NoError(t, s.Update(t.Context(), func(ctx context.Context, tx *ports.Tx) error {
		return tx.Sessions.EachAssigned(ctx, func(v *domain.Session) error {
			seen = append(seen, v.ID)
			if v.ID == "a0" {
				gone, err := tx.Sessions.Get(ctx, "a2")
				if err != nil {
					return err
				}
				return tx.Sessions.Delete(ctx, "a2", gone.Rev)
			}
			v.WorkerID = ""
			return tx.Sessions.Put(ctx, v)
		})
	}))
	require.Equal(t, []string{"a0", "a4", "a6", "a8", "a1", "a3", "a5", "a7", "a9"}, seen)
}

// Keys whose window is over do not pile up.
func TestLimiterForgets(t *testing.T) {
	l := memory.NewLimiter()
	for hour := range 50 {
		for i := range 2000 {
			at := noon.Add(time.Duration(hour) * 2 * time.Hour)
			u, err := l.AllowN(t.Context(), fmt.Sprint("key ", hour, " ", i), at, time.Hour, 1, 1)
			require.NoError(t, err)
			require.True(t, u.Allowed)
			_, err = l.AllowN(t.Context(), fmt.Sprint("looked at ", hour, " ", i), at, time.Hour, 1, 0)
			require.NoError(t, err)
		}
	}
	require.Less(t, memory.Windows(l), 3*2000, "of 200 000 keys in all")
}

// Only a use begins a window, not an attempt.
func TestLimiterRefusalBeginsNothing(t *testing.T) {
	l := memory.NewLimiter()
	take := func(after time.Duration, n int) domain.Usage {
		u, err := l.AllowN(t.Context(), "key", noon.Add(after), time.Hour, 3, n)
		require.NoError(t, err)
		return u
	}
	require.False(t, take(0, 4).Allowed)
	require.True(t, take(0, -1).Allowed)
	require.Zero(t, memory.Windows(l))
	require.Equal(t, noon.Add(90*time.Minute), take(30*time.Minute, 1).ResetAt)
}

func TestBusForgetsWhoCancelled(t *testing.T) {
	b := memory.NewBus()
	for range 10 {
		b.Subscribe(func(domain.Event) {})()
	}
	require.Zero(t, memory.Subscribers(b))
}

// What a slow subscriber loses is the oldest.
func TestBusKeepsTheNewest(t *testing.T) {
	b := memory.NewBus()
	entered, release, got := make(chan struct{}, 1), make(chan struct{}), make(chan int64, 1<<16)
	cancel := b.Subscribe(func(e domain.Event) {
		if e.Seq == 0 {
			entered <- struct{}{}
			<-release
		}
		got <- e.Seq
	})
	defer cancel()
	require.NoError(t, b.Publish(t.Context(), domain.Event{}))
	<-entered
	const last = 10_000
	for seq := int64(1); seq <= last; seq++ {
		require.NoError(t, b.Publish(t.Context(), domain.Event{Seq: seq}))
	}
	close(release)
	require.Zero(t, <-got)
	first := <-got
	require.EqualValues(t, last-memory.BusQueue+1, first)
	for seq := first + 1; seq <= last; seq++ {
		require.Equal(t, seq, <-got)
	}
}

// An invalidation is heard before Publish returns, by everybody but its publisher.
func TestInvalidationsAreHeardAtOnce(t *testing.T) {
	a := memory.NewInvalidator()
	b, c := a.Join(), a.Join().Join()
	var heard []string
	for name, party := range map[string]*memory.Invalidator{"a": a, "b": b, "c": c} {
		t.Cleanup(party.Subscribe(func(h ports.Invalidation) { heard = append(heard, name+h.Sessions[0]) }))
	}
	b.Publish(ports.Invalidation{Sessions: []string{"1"}})
	require.ElementsMatch(t, []string{"a1", "c1"}, heard)
	memory.NewInvalidator().Publish(ports.Invalidation{Sessions: []string{"2"}})
	require.Len(t, heard, 2, "others are apart")
}

// A listener may tell and listen; what it is told meanwhile it hears next.
func TestPublishWithinSubscribers(t *testing.T) {
	a := memory.NewInvalidator()
	b := a.Join()
	var heard []string
	inside := false
	t.Cleanup(b.Subscribe(func(h ports.Invalidation) {
		require.False(t, inside)
		inside = true
		heard = append(heard, h.Users...)
		if len(heard) < 5 {
			b.Publish(ports.Invalidation{Users: h.Users})
		}
		inside = false
	}))
	t.Cleanup(a.Subscribe(func(h ports.Invalidation) {
		a.Publish(ports.Invalidation{Users: []string{h.Users[0] + "!"}})
		a.Subscribe(func(ports.Invalidation) { t.Error("it came too late for this invalidation") })()
	}))
	a.Publish(ports.Invalidation{Users: []string{"u"}})
	require.Equal(t, []string{"u", "u!", "u!!", "u!!!", "u!!!!"}, heard)
}

func TestInvalidatorForgetsWhoCancelled(t *testing.T) {
	a := memory.NewInvalidator()
	for range 10 {
		a.Join().Subscribe(func(ports.Invalidation) {})()
	}
	require.Zero(t, memory.Listeners(a))

	heard, b := 0, a.Join()
	var cancels [2]func()
	for i := range cancels {
		cancels[i] = b.Subscribe(func(ports.Invalidation) {
			heard++
			cancels[1-i]()
		})
	}
	a.Publish(ports.Invalidation{All: true})
	require.Equal(t, 1, heard, "one cancelled the other")
	require.Equal(t, 1, memory.Listeners(a))
}
