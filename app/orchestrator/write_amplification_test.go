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

// TestRowsThatManyWrite: what loses its races for some milliseconds, because many write the same row, is done all the same.
func TestRowsThatManyWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := storehooks.New(memory.NewStore())
		w := newFixtureOn(t, store)
		w.starts()
		w.worker("worker-1", 50)
		s := w.connected(w.user(domain.TierBasic))
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

// TestOnlyWhatChangesIsWritten: of a worker's sessions, what it runs as it should, or what is due already, is left as it is.
func TestOnlyWhatChangesIsWritten(t *testing.T) {
	c := newReplicaSet(t, 1)
	a := c.all[0]
	c.register(a, "worker-1", 50)
	runs, stopped := c.connected(a), c.connected(a)
	c.hands.listed = []domain.Report{{SessionID: runs.ID, Status: domain.Connected, Generation: 1}}
	before := c.session(runs.ID).Rev
	c.register(a, "worker-1", 50)
	require.Equal(t, before, c.session(runs.ID).Rev, "it runs there still")
	waits := c.session(stopped.ID)
	require.Equal(t, domain.CommandStart, waits.Command, "it does not")
	require.False(t, waits.DueAt.IsZero())

	c.step()
	_, err := a.Workers.Drain(t.Context(), "worker-1")
	require.NoError(t, err)
	require.Equal(t, waits.Rev, c.session(stopped.ID).Rev, "it is due already")
	require.False(t, c.session(runs.ID).DueAt.IsZero())
}
