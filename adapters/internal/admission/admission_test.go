package admission_test

import (
	"context"
	"errors"
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
