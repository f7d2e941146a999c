package outbox_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/app/internal/coretest"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

func TestReader_TwoReadTheSameEvents_OneAdvances(t *testing.T) {
	f := newFixture(coretest.New(t))
	reader := f.NewReader("count")
	f.record("a", "b")
	var events []domain.Event
	advance := func() error {
		return f.Core.Store.Update(t.Context(), func(ctx context.Context, tx *ports.Tx) error { return reader.Advance(ctx, tx, events) })
	}
	f.Read(func(ctx context.Context, tx *ports.Tx) (err error) {
		events, err = reader.Read(ctx, tx, 10)
		return err
	})
	require.Len(t, events, 2)
	require.NoError(t, advance())
	require.ErrorIs(t, advance(), ports.ErrConflict, "the other replica")
	f.record("c")
	f.Read(func(ctx context.Context, tx *ports.Tx) (err error) {
		events, err = reader.Read(ctx, tx, 10)
		return err
	})
	require.Equal(t, "c", events[0].Reason)
	require.NoError(t, advance())
}

func TestHousekeep_EventNotReadByAReader_Stays(t *testing.T) {
	f := newFixture(coretest.New(t))
	reader := f.NewReader("count")
	f.record("a", "b")
	f.Clock.Advance(48 * time.Hour)
	require.NoError(t, f.Housekeep(t.Context(), f.Core.Now()))
	require.Equal(t, []string{"a", "b"}, f.names())

	f.Read(func(ctx context.Context, tx *ports.Tx) error {
		events, err := reader.Read(ctx, tx, 1)
		require.Equal(t, "a", events[0].Reason)
		return err
	})
	require.NoError(t, f.Core.Store.Update(t.Context(), func(ctx context.Context, tx *ports.Tx) error {
		events, err := reader.Read(ctx, tx, 2)
		if err != nil {
			return err
		}
		return reader.Advance(ctx, tx, events)
	}))
	require.NoError(t, f.Housekeep(t.Context(), f.Core.Now()))
	require.Empty(t, f.names())
}
