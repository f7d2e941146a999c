package orchestrator_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// A worker that registers again recovers its sessions. A session of which it reports nothing
// for a while is started again.
func TestRecovery_WorkerRegistersAgain_OnlySilentSessionsAreStarted(t *testing.T) {
	c := newReplicaSet(t, 2)
	a := c.all[0]
	c.register(a, "worker-1", 10)
	recovered, silent := c.connectSession(a), c.connectSession(a)
	c.advance(time.Second)

	before := c.workers.count("start")
	c.register(a, "worker-1", 10)
	require.Equal(t, domain.Reconnecting, c.session(recovered.ID).Status)
	c.advance(20*time.Second, c.heartbeatsOf(a, "worker-1"))
	require.Equal(t, before, c.workers.count("start"), "the worker is recovering")

	_, err := a.Protocol.ReportRecovery(t.Context(), "worker-1", []service.RecoveryResult{{SessionID: recovered.ID, Status: service.RecoverySuccess}})
	require.NoError(t, err)
	c.advance(time.Minute, c.heartbeatsOf(a, "worker-1"))

	starts := c.workers.callsOf("start")[before:]
	require.Len(t, starts, 1)
	require.Equal(t, silent.ID, starts[0].session)
}

// The worker registers again at one replica and sends its heartbeat to another, which does not
// know yet that the worker was down.
func TestRecovery_ReportedToAnotherReplica_IsApplied(t *testing.T) {
	c := newReplicaSet(t, 2)
	a, b := c.all[0], c.all[1]
	c.register(a, "worker-1", 10)
	s := c.connectSession(a)
	c.advance(time.Second)
	a.invalidator.cut.Store(true)
	c.register(b, "worker-1", 10)
	require.Equal(t, domain.Reconnecting, c.session(s.ID).Status)

	c.heartbeat(a, "worker-1", s.ID)
	require.Equal(t, domain.Connected, c.session(s.ID).Status)
}
