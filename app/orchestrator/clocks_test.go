package orchestrator_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
)

// TestWhatAReplicaThatWasAheadHasPutOff: a session settles, and a cleanup waits to be tried again, by the clock of a replica
// that is hours ahead and dies. Others do not wait for hours.
func TestWhatAReplicaThatWasAheadHasPutOff(t *testing.T) {
	c := newSkewedReplicaSet(t, []time.Duration{2 * time.Hour, 0})
	a, b := c.all[0], c.all[1]
	c.register(b, "worker-1", 10)
	c.step()
	s := c.connected(b)
	_, err := a.Protocol.ReportSession(t.Context(), domain.Report{SessionID: s.ID, WorkerID: "worker-1", Generation: 1, Status: domain.Disconnected})
	require.NoError(t, err)
	c.leave("worker-1", "gone", a.clock.Now().Add(2*time.Second))
	a.dead = true
	c.pass(30*time.Second, c.pulse(b, "worker-1"))
	require.Nil(t, c.cleanup("worker-1", "gone"))
	require.Equal(t, domain.Connected, c.session(s.ID).Status)
	require.Equal(t, 2, c.hands.made("start"))
}
