package events_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/app/internal/coretest"
	"github.com/switchyard-wa/switchyard/app/internal/events"
	"github.com/switchyard-wa/switchyard/app/internal/txn"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// fixture is a log of ten events of one user.
type fixture struct {
	*coretest.Core
	*events.Events
	user ports.EventFilter
}

func newFixture(t *testing.T) *fixture {
	f := &fixture{Core: coretest.New(t), user: ports.EventFilter{UserID: "u1"}}
	f.Events = events.New(f.Core.Writer)
	f.Core.Write(func(ctx context.Context, tx *txn.Tx) error {
		for i := range 10 {
			e := domain.Event{Type: domain.EventSessionQR, At: f.Core.Now(), UserID: "u1", SessionID: "s1", Reason: fmt.Sprint(i)}
			if err := tx.Record(ctx, e); err != nil {
				return err
			}
		}
		return nil
	})
	return f
}

// deleteOldest deletes the oldest events and returns the position of the last of them.
func (f *fixture) deleteOldest(n int) (last int64) {
	f.Core.Write(func(ctx context.Context, tx *txn.Tx) error {
		if _, err := tx.Outbox.DeleteBefore(ctx, f.Core.Now().Add(time.Second), n); err != nil {
			return err
		}
		var err error
		last, err = tx.Outbox.LastDeleted(ctx)
		return err
	})
	return last
}

func TestList_PageByPage_ReturnsEveryEventOnce(t *testing.T) {
	f := newFixture(t)
	var got []string
	after := int64(0)
	for range 4 {
		page, err := f.List(t.Context(), f.user, after, 3)
		require.NoError(t, err)
		for _, e := range page {
			got, after = append(got, e.Reason), e.Seq
		}
	}
	require.Equal(t, []string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"}, got)
	page, err := f.List(t.Context(), f.user, after, 3)
	require.NoError(t, err)
	require.Empty(t, page)
}

func TestList_PositionNoLongerKept_IsTold(t *testing.T) {
	f := newFixture(t)
	last := f.deleteOldest(4)
	_, err := f.List(t.Context(), f.user, last-1, 3)
	require.ErrorIs(t, err, &domain.Error{Code: domain.CodeEventsExpired})

	for _, after := range []int64{0, last} { // nothing is missing after either
		page, err := f.List(t.Context(), f.user, after, 1)
		require.NoError(t, err)
		require.Equal(t, "4", page[0].Reason)
	}
}

func TestList_PositionBeyondTheLog_IsTold(t *testing.T) {
	f := newFixture(t)
	_, err := f.List(t.Context(), f.user, 11, 3)
	require.ErrorIs(t, err, &domain.Error{Code: domain.CodeEventsExpired})
	_, err = f.Subscribe(t.Context(), f.user, 11)
	require.ErrorIs(t, err, &domain.Error{Code: domain.CodeEventsExpired}, "it would stay silent until the log has grown")
	_, err = f.Subscribe(t.Context(), f.user, 10)
	require.NoError(t, err)
}

func TestList_SessionOfAnotherUser_IsNotFound(t *testing.T) {
	f := newFixture(t)
	_, err := f.List(t.Context(), ports.EventFilter{UserID: "u1", SessionID: "s1"}, 0, 3)
	require.ErrorIs(t, err, &domain.Error{Code: domain.CodeSessionNotFound})
}
