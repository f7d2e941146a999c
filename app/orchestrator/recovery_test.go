package orchestrator_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// TestARestartedWorkerHasTimeToRecover: a worker that registers again recovers its sessions by itself; only those of which it
// says nothing for a while are started there once more.
func TestARestartedWorkerHasTimeToRecover(t *testing.T) {
	c := newReplicaSet(t, 2)
	a := c.all[0]
	c.register(a, "worker-1", 10)
	recovered, silent := c.connected(a), c.connected(a)
	c.pass(time.Second)
	before := c.hands.made("start")
	c.register(a, "worker-1", 10)
	require.Equal(t, domain.Reconnecting, c.session(recovered.ID).Status)
	c.pass(20*time.Second, c.pulse(a, "worker-1"))
	require.Equal(t, before, c.hands.made("start"), "it is at it")
	_, err := a.Protocol.ReportRecovery(t.Context(), "worker-1", []service.RecoveryResult{{SessionID: recovered.ID, Status: service.RecoverySuccess}})
	require.NoError(t, err)
	c.pass(time.Minute, c.pulse(a, "worker-1"))
	starts := c.hands.all("start")[before:]
	require.Len(t, starts, 1)
	require.Equal(t, silent.ID, starts[0].session)
}

// TestWhatHasRecoveredIsHeardByAnyReplica: a worker has registered again at one replica, and what it has recovered is in the heartbeat
// that it sends to another, which does not know yet that it was down.
func TestWhatHasRecoveredIsHeardByAnyReplica(t *testing.T) {
	c := newReplicaSet(t, 2)
	a, b := c.all[0], c.all[1]
	c.register(a, "worker-1", 10)
	s := c.connected(a)
	c.pass(time.Second)
	a.invalidator.cut.Store(true)
	c.register(b, "worker-1", 10)
	require.Equal(t, domain.Reconnecting, c.session(s.ID).Status)
	c.beat(a, "worker-1", s.ID)
	require.Equal(t, domain.Connected, c.session(s.ID).Status)
}

// TestAStartThatCameToNothing: a worker that lists what it has begun to start has accepted a start, and lists nothing.
func TestAStartThatCameToNothing(t *testing.T) {
	for name, can := range map[string][]domain.Capability{"generations": {domain.CapLease, domain.CapGeneration}, "none": nil} {
		t.Run(name, func(t *testing.T) {
			c := newReplicaSet(t, 1)
			a := c.all[0]
			c.register(a, "worker-1", 10, can...)
			c.hands.report = func(call) domain.Report { return domain.Report{Status: domain.Init} }
			s := c.line()
			_, err := a.Sessions.Connect(t.Context(), s.UserID, s.ID, service.ConnectOptions{})
			require.NoError(t, err)
			list := func(starts int) {
				t.Helper()
				c.beat(a, "worker-1")
				c.step()
				require.Equal(t, starts, c.hands.made("start"))
			}
			list(1) // it may be an old one
			c.pass(10*time.Second, c.pulse(a, "worker-1"))
			if can == nil {
				list(1) // it need not be on the list yet
			} else {
				list(2)
			}
		})
	}
}
