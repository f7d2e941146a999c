package memory_test

import (
	"context"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/memory"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/conformance"
)

func TestStore_Conformance(t *testing.T) {
	conformance.Store(t, func(*testing.T) ports.Store { return memory.NewStore() })
}

func TestStore_TransactionOfAnotherStoreInside_DetectsNesting(t *testing.T) {
	a, b := newStore(t), newStore(t)
	require.NoError(t, a.Update(t.Context(), func(ctx context.Context, _ *ports.Tx) error {
		return b.Update(ctx, func(ctx context.Context, _ *ports.Tx) error {
			require.ErrorIs(t, a.View(ctx, nil), ports.ErrNested, "the transaction of a is still open")
			return nil
		})
	}))
}

func TestTx_FunctionHasReturned_ReturnsErrors(t *testing.T) {
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

func TestUpdate_FunctionExitsItsGoroutine_RollsBack(t *testing.T) {
	s := newStore(t)
	done := make(chan struct{})
	go func() { // as a test that fails inside does
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

// A Rev that a caller has seen must not match a later row with the same id.
func TestPut_RowInsertedAgain_HasANewRev(t *testing.T) {
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
