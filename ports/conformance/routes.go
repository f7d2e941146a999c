package conformance

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// Routes tests routes. The suite uses unique session ids, so open may return routes that others use
// too. The routes must stay during the test.
func Routes(t *testing.T, open func(t *testing.T) ports.Routes) {
	route := func(t *testing.T, rev int64) ports.Route {
		return ports.Route{
			SessionID: unique(t), UserID: "u1", WorkerID: fmt.Sprint("w", rev), Generation: 1 << 40,
			Status: domain.Connected, Phone: "6281234567890", Rev: rev,
		}
	}
	get := func(t *testing.T, r ports.Routes, id string) ports.Route {
		t.Helper()
		got, err := r.Get(t.Context(), id)
		require.NoError(t, err)
		return got
	}

	t.Run("a route keeps all its fields", func(t *testing.T) {
		r, want := open(t), route(t, 1<<40)
		require.NoError(t, r.Put(t.Context(), want))
		require.Equal(t, want, get(t, r, want.SessionID))
		bare := ports.Route{SessionID: want.SessionID + "-bare"}
		require.NoError(t, r.Put(t.Context(), bare))
		require.Equal(t, bare, get(t, r, bare.SessionID))
	})
	t.Run("a missing route is not found", func(t *testing.T) {
		r := open(t)
		_, err := r.Get(t.Context(), unique(t))
		require.ErrorIs(t, err, ports.ErrNotFound)
		require.NoError(t, r.Delete(t.Context(), unique(t)))
	})
	t.Run("a deleted route is not found", func(t *testing.T) {
		r, first := open(t), route(t, 7)
		other := route(t, 1)
		other.SessionID += "-other"
		require.NoError(t, r.Put(t.Context(), first))
		require.NoError(t, r.Put(t.Context(), other))
		require.NoError(t, r.Delete(t.Context(), first.SessionID))
		_, err := r.Get(t.Context(), first.SessionID)
		require.ErrorIs(t, err, ports.ErrNotFound)
		require.Equal(t, other, get(t, r, other.SessionID))
		require.NoError(t, r.Delete(t.Context(), first.SessionID))

		lower := route(t, 3) // of a new session with the same id
		require.NoError(t, r.Put(t.Context(), lower))
		require.Equal(t, lower, get(t, r, lower.SessionID))
	})
	t.Run("the highest Rev stays in any order", func(t *testing.T) {
		r := open(t)
		for n := range 20 {
			random := rand.New(rand.NewPCG(1, uint64(n)))
			id := fmt.Sprint(unique(t), n)
			for _, i := range random.Perm(12) { // 10 and 11 exceed 9 as numbers, not as text
				next := route(t, int64(i+1))
				next.SessionID = id
				require.NoError(t, r.Put(t.Context(), next))
			}
			require.EqualValues(t, 12, get(t, r, id).Rev)
			require.Equal(t, "w12", get(t, r, id).WorkerID)
		}
	})
	t.Run("the same Rev replaces", func(t *testing.T) {
		r, want := open(t), route(t, 5)
		require.NoError(t, r.Put(t.Context(), want))
		want.WorkerID = ""
		require.NoError(t, r.Put(t.Context(), want))
		require.Equal(t, want, get(t, r, want.SessionID))
	})
	t.Run("the highest Rev stays in a race", func(t *testing.T) {
		r := open(t)
		for range 5 {
			id := unique(t)
			var failed atomic.Value
			race(racers, func(i int) {
				for n := range 10 {
					next := route(t, int64(n*racers+i+1))
					next.SessionID = id
					if err := r.Put(t.Context(), next); err != nil {
						failed.Store(err)
					}
					got, err := r.Get(t.Context(), id)
					if err != nil {
						failed.Store(err)
					} else if got.Rev < next.Rev || got.WorkerID != fmt.Sprint("w", got.Rev) {
						failed.Store(fmt.Errorf("got Rev %d of %s after %d was put", got.Rev, got.WorkerID, next.Rev))
					}
				}
			})
			require.Nil(t, failed.Load())
			require.EqualValues(t, 10*racers, get(t, r, id).Rev)
		}
	})
	t.Run("an expired context is an error", func(t *testing.T) {
		r, first := open(t), route(t, 1)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.ErrorIs(t, r.Put(ctx, first), context.Canceled)
		_, err := r.Get(ctx, first.SessionID)
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorIs(t, r.Delete(ctx, first.SessionID), context.Canceled)
	})
}

// SharedRoutes tests two handles on one set of routes, as two processes hold them. Each handle may
// cache a route for a second.
func SharedRoutes(t *testing.T, open func(t *testing.T) (a, b ports.Routes)) {
	route := func(id string, rev int64) ports.Route {
		return ports.Route{SessionID: id, UserID: "u1", WorkerID: fmt.Sprint("w", rev), Generation: 1, Status: domain.Connected, Rev: rev}
	}
	wait := func(t *testing.T, r ports.Routes, id string, want int64) {
		t.Helper()
		require.Eventually(t, func() bool {
			got, err := r.Get(t.Context(), id)
			if want == 0 {
				return errors.Is(err, ports.ErrNotFound)
			}
			return err == nil && got == route(id, want)
		}, 2*time.Second, 5*time.Millisecond, "Rev %d of %s; one second by contract, another for a busy machine", want, id)
	}

	t.Run("a route put through one handle is visible through the other", func(t *testing.T) {
		a, b := open(t)
		id := unique(t)
		wait(t, b, id, 0)
		require.NoError(t, a.Put(t.Context(), route(id, 5)))
		wait(t, b, id, 5)
		require.NoError(t, b.Put(t.Context(), route(id, 6)))
		wait(t, a, id, 6)
		require.NoError(t, a.Delete(t.Context(), id))
		wait(t, b, id, 0)
		wait(t, a, id, 0)
	})
	t.Run("the highest Rev stays across both handles", func(t *testing.T) {
		a, b := open(t)
		for n := range 5 {
			id := fmt.Sprint(unique(t), n)
			require.NoError(t, a.Put(t.Context(), route(id, 10)))
			require.NoError(t, b.Put(t.Context(), route(id, 9)))
			wait(t, b, id, 10)
			wait(t, a, id, 10)
			race(racers, func(i int) {
				for k := range 5 {
					if err := []ports.Routes{a, b}[i%2].Put(t.Context(), route(id, int64(11+k*racers+i))); err != nil {
						t.Error("putting:", err)
					}
				}
			})
			wait(t, a, id, 10+5*racers)
			wait(t, b, id, 10+5*racers)
		}
	})
}

// unique returns a key that no other test uses.
func unique(t *testing.T) string {
	return fmt.Sprintf("%s-%x", t.Name(), rand.Uint64())
}
