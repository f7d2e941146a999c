package outbox_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/app/internal/coretest"
	"github.com/switchyard-wa/switchyard/app/internal/outbox"
	"github.com/switchyard-wa/switchyard/app/internal/txn"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// fixture is a log that is kept for a day.
type fixture struct {
	*coretest.Core
	*outbox.Log
}

func newFixture(core *coretest.Core) *fixture {
	return &fixture{core, outbox.NewLog(core.Writer, 24*time.Hour)}
}

// record commits one event for each name.
func (f *fixture) record(names ...string) {
	f.Write(func(ctx context.Context, tx *txn.Tx) error {
		for _, n := range names {
			if err := tx.Record(ctx, domain.Event{Type: domain.EventWorkerOnline, At: f.Core.Now(), Reason: n}); err != nil {
				return err
			}
		}
		return nil
	})
}

// names returns the events that are kept.
func (f *fixture) names() (names []string) {
	f.Read(func(ctx context.Context, tx *ports.Tx) error {
		events, err := tx.Outbox.After(ctx, ports.EventFilter{}, 0, 10_000)
		for _, e := range events {
			names = append(names, e.Reason)
		}
		return err
	})
	return names
}

func TestHousekeep_EventsOfToday_Stay(t *testing.T) {
	f := newFixture(coretest.New(t))
	f.record("a")
	f.Clock.Advance(24 * time.Hour)
	require.NoError(t, f.Housekeep(t.Context(), f.Core.Now()))
	require.Equal(t, []string{"a"}, f.names())
}

func TestHousekeep_ManyEventsOfYesterday_AllGo(t *testing.T) {
	f := newFixture(coretest.New(t))
	for range 2500 {
		f.record("old")
	}
	f.Clock.Advance(24*time.Hour + time.Second)
	f.record("new")
	require.NoError(t, f.Housekeep(t.Context(), f.Core.Now()))
	require.Equal(t, []string{"new"}, f.names())
}
