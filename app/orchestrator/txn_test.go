package orchestrator_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/memory"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/conformance/storehooks"
)

// Many write the same row for some milliseconds.
func TestUpdate_LosesRaces_IsRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := storehooks.New(memory.NewStore())
		w := newFixtureOn(t, store)
		w.acceptStarts()
		w.worker("worker-1", 50)
		s := w.connectSession(w.user(domain.TierBasic))
		lost, until := 0, time.Now().Add(5*time.Millisecond)
		store.BeforeUpdate = func(context.Context) error {
			if !time.Now().Before(until) {
				return nil
			}
			lost++
			return ports.ErrConflict
		}

		_, err := w.Protocol.ReportSession(t.Context(), domain.Report{SessionID: s.ID, Status: domain.Reconnecting})

		require.NoError(t, err)
		require.Positive(t, lost)
		require.Equal(t, domain.Reconnecting, w.session(s.ID).Status)
	})
}
