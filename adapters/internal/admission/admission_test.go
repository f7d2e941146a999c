package admission_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/internal/admission"
	"github.com/switchyard-wa/switchyard/domain"
)

// overloaded requires an error of domain.Overloaded, with a time to wait.
func overloaded(t *testing.T, err error) {
	t.Helper()
	require.Equal(t, domain.CodeOverloaded, domain.CodeOf(err))
	require.Positive(t, domain.RetryAfterOf(err))
}

func TestQueue_Full_IsRefusedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := admission.New(admission.Config{Work: "sign-ins", Parallel: 1, Waiting: 2})
		release, err := q.Acquire(t.Context(), "")
		require.NoError(t, err)
		var order []int
		for i := range 2 {
			go func() {
				next, err := q.Acquire(t.Context(), "")
				if err == nil {
					order = append(order, i)
					next()
				}
			}()
			synctest.Wait()
		}
		began := time.Now()
		_, err = q.Acquire(t.Context(), "")
		overloaded(t, err)
		require.ErrorContains(t, err, "Too many sign-ins at once; try again in a moment")
		require.Equal(t, began, time.Now(), "without waiting")
		release()
		synctest.Wait()
		require.Equal(t, []int{0, 1}, order, "in the order of arrival")
		require.Zero(t, q.Depth())
	})
}

func TestQueue_LongWait_IsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := admission.New(admission.Config{Parallel: 1, Waiting: 5, MaxWait: 2 * time.Second})
		release, err := q.Acquire(t.Context(), "")
		require.NoError(t, err)
		defer release()
		began := time.Now()
		_, err = q.Acquire(t.Context(), "")
		overloaded(t, err)
		require.Equal(t, 2*time.Second, time.Since(began))
		require.Equal(t, 1, q.Depth())
	})
}

func TestQueue_CallerGivesUp_LeavesTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := admission.New(admission.Config{Parallel: 1, Waiting: 100})
		release, err := q.Acquire(t.Context(), "")
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		for range 100 {
			go func() {
				_, err := q.Acquire(ctx, "")
				if !errors.Is(err, context.Canceled) {
					t.Errorf("got %v", err)
				}
			}()
		}
		synctest.Wait()
		require.Equal(t, 101, q.Depth())
		cancel()
		synctest.Wait()
		require.Equal(t, 1, q.Depth())
		release()
		release() // a second time changes nothing
		next, err := q.Acquire(t.Context(), "")
		require.NoError(t, err)
		next()
		require.Zero(t, q.Depth())
	})
}

func TestQueue_ShareUsedUp_OthersAreAdmitted(t *testing.T) {
	q := admission.New(admission.Config{Parallel: 10, Share: 2})
	one, err := q.Acquire(t.Context(), "a")
	require.NoError(t, err)
	_, err = q.Acquire(t.Context(), "a")
	require.NoError(t, err)
	_, err = q.Acquire(t.Context(), "a")
	overloaded(t, err)
	_, err = q.Acquire(t.Context(), "b")
	require.NoError(t, err)
	one()
	_, err = q.Acquire(t.Context(), "a")
	require.NoError(t, err)
}

// Each caller's next piece of work waits behind one piece of every other caller.
func TestQueue_CallersInTurn_RunRoundRobin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := admission.New(admission.Config{Parallel: 1, Waiting: 100, MaxWait: time.Minute, InTurn: true})
		var order []string
		var running sync.WaitGroup
		for _, caller := range []string{"a", "a", "a", "a", "b", "b", "c"} {
			running.Go(func() {
				release, err := q.Acquire(t.Context(), caller)
				if err == nil {
					order = append(order, caller)
					time.Sleep(time.Second)
					release()
				}
			})
			synctest.Wait()
		}
		running.Wait()
		require.Equal(t, []string{"a", "b", "c", "a", "b", "a", "a"}, order)
		require.Zero(t, q.Depth())
	})
}

// The wait for the caller's own turn counts towards MaxWait. Work that is no longer wanted leaves the queue.
func TestQueue_WaitForTurnEnds_LeavesTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := admission.New(admission.Config{Parallel: 2, Waiting: 5, MaxWait: 2 * time.Second, InTurn: true})
		release, err := q.Acquire(t.Context(), "a")
		require.NoError(t, err)
		began := time.Now()
		_, err = q.Acquire(t.Context(), "a")
		overloaded(t, err)
		require.Equal(t, 2*time.Second, time.Since(began))
		other, err := q.Acquire(t.Context(), "b")
		require.NoError(t, err)
		_, err = q.Acquire(t.Context(), "c") // no place runs it, and its turn is free again afterwards
		overloaded(t, err)
		release()
		again, err := q.Acquire(t.Context(), "c")
		require.NoError(t, err)
		again()
		other()
		require.Zero(t, q.Depth())
	})
}
