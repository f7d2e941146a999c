package retry_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/memory"
	"github.com/switchyard-wa/switchyard/app/internal/retry"
	"github.com/switchyard-wa/switchyard/ports"
)

// largest is randomness whose bytes are all ones.
type largest struct{}

func (largest) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 0xff
	}
	return len(p), nil
}

// newUpdater returns an updater, and the waits that it made.
func newUpdater(t *testing.T) (retry.Updater, *[]time.Duration) {
	store := memory.NewStore()
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	var waits []time.Duration
	return retry.Updater{Store: store, Random: largest{}, Sleep: func(ctx context.Context, d time.Duration) error {
		waits = append(waits, d)
		return ctx.Err()
	}}, &waits
}

func TestUpdate_AlwaysConflicts_GivesUpAfterEightAttemptsWithGrowingWaits(t *testing.T) {
	u, waits := newUpdater(t)
	attempts := 0

	err := u.Update(context.Background(), func(context.Context, *ports.Tx) error {
		attempts++
		return fmt.Errorf("put: %w", ports.ErrConflict)
	})

	require.ErrorIs(t, err, ports.ErrConflict)
	require.Equal(t, 8, attempts)
	require.Len(t, *waits, 6, "the second attempt follows at once")
	for i, wait := range *waits {
		require.Less(t, wait, 4*time.Millisecond<<i)
		require.GreaterOrEqual(t, wait, time.Duration(0))
	}
	require.Greater(t, (*waits)[5], (*waits)[0])
}

func TestUpdate_ConflictOnce_RunsAgainOnFreshRows(t *testing.T) {
	u, waits := newUpdater(t)
	attempts := 0
	require.NoError(t, u.Update(context.Background(), func(ctx context.Context, tx *ports.Tx) error {
		attempts++
		if attempts == 1 {
			return ports.ErrConflict
		}
		return tx.Settings.Put(ctx, "name", "value")
	}))
	require.Equal(t, 2, attempts)
	require.Empty(t, *waits)
}

func TestUpdate_AnotherError_ReturnsItAtOnce(t *testing.T) {
	u, _ := newUpdater(t)
	attempts, broken := 0, errors.New("broken")
	err := u.Update(context.Background(), func(context.Context, *ports.Tx) error {
		attempts++
		return broken
	})
	require.ErrorIs(t, err, broken)
	require.Equal(t, 1, attempts)
}

func TestUpdate_SleepRefusesToWait_TriesOn(t *testing.T) {
	u, _ := newUpdater(t)
	u.Sleep = func(context.Context, time.Duration) error { return errors.New("the harness owns the clock") }
	attempts := 0
	err := u.Update(context.Background(), func(context.Context, *ports.Tx) error {
		attempts++
		return ports.ErrConflict
	})
	require.ErrorIs(t, err, ports.ErrConflict)
	require.Equal(t, 8, attempts)
}

func TestUpdate_ContextEndsMeanwhile_StopsWithItsError(t *testing.T) {
	u, _ := newUpdater(t)
	ctx, cancel := context.WithCancel(context.Background())
	attempts := 0
	err := u.Update(ctx, func(context.Context, *ports.Tx) error {
		attempts++
		if attempts == 2 {
			cancel()
		}
		return ports.ErrConflict
	})
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, 2, attempts)
}
