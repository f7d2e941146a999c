package storehooks_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/memory"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/conformance"
	"github.com/switchyard-wa/switchyard/ports/conformance/storehooks"
)

func nothing(context.Context, *ports.Tx) error { return nil }

func TestStore_WithoutHooks_KeepsTheContract(t *testing.T) {
	conformance.Store(t, func(t *testing.T) ports.Store {
		s := storehooks.New(memory.NewStore())
		t.Cleanup(func() { _ = s.Close() })
		return s
	})
}

func TestStore_Hooks_RunInOrder(t *testing.T) {
	var order []string
	note := func(event string) func(context.Context) error {
		return func(context.Context) error { order = append(order, event); return nil }
	}
	noteAfter := func(event string) func(context.Context, error) error {
		return func(_ context.Context, err error) error { order = append(order, event); return err }
	}
	noteTx := func(event string) func(context.Context, *ports.Tx) {
		return func(context.Context, *ports.Tx) { order = append(order, event) }
	}
	s := storehooks.New(memory.NewStore())
	s.BeforeView, s.ViewTx, s.AfterView = note("before view"), noteTx("view tx"), noteAfter("after view")
	s.BeforeUpdate, s.UpdateTx, s.AfterUpdate = note("before update"), noteTx("update tx"), noteAfter("after update")
	s.AroundUpdate = func(ctx context.Context, fn storehooks.Func, update func(context.Context, storehooks.Func) error) error {
		order = append(order, "around update")
		return update(ctx, fn)
	}

	require.NoError(t, s.View(t.Context(), nothing))
	require.NoError(t, s.Update(t.Context(), nothing))

	require.Equal(t, []string{
		"before view", "view tx", "after view",
		"before update", "around update", "update tx", "after update",
	}, order)
	require.Equal(t, []int64{1, 1, 0}, []int64{s.Views(), s.Updates(), s.Running()})
}

func TestStore_HookReturnsError_CallerReceivesIt(t *testing.T) {
	injected := errors.New("injected")
	fail := func(context.Context) error { return injected }
	replace := func(context.Context, error) error { return injected }
	for name, set := range map[string]func(s *storehooks.Store){
		"before": func(s *storehooks.Store) { s.BeforeView, s.BeforeUpdate = fail, fail },
		"after":  func(s *storehooks.Store) { s.AfterView, s.AfterUpdate = replace, replace },
	} {
		t.Run(name, func(t *testing.T) {
			s := storehooks.New(memory.NewStore())
			set(s)
			require.ErrorIs(t, s.View(t.Context(), nothing), injected)
			require.ErrorIs(t, s.Update(t.Context(), nothing), injected)
		})
	}
}

func TestStore_Down_FailsUntilUp(t *testing.T) {
	s := storehooks.New(memory.NewStore())

	s.SetDown()
	require.True(t, s.IsDown())
	require.ErrorIs(t, s.View(t.Context(), nothing), storehooks.ErrDown)
	require.ErrorIs(t, s.Update(t.Context(), nothing), storehooks.ErrDown)

	s.SetUp()
	require.NoError(t, s.View(t.Context(), nothing))
	s.ResetCounts()
	require.Zero(t, s.Views()+s.Updates())
}

func TestStore_NextHooks_RunOnce(t *testing.T) {
	var order []string
	s := storehooks.New(memory.NewStore())
	s.BeforeNextUpdate(func() { order = append(order, "before update") })
	s.AfterNextUpdate(func() { order = append(order, "after update") })
	s.AfterNextView(func() { order = append(order, "after view") })

	for range 2 {
		require.NoError(t, s.Update(t.Context(), nothing))
		require.NoError(t, s.View(t.Context(), nothing))
	}

	require.Equal(t, []string{"before update", "after update", "after view"}, order)
}
