package orchestrator_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/app/orchestrator"
)

// TestCallsToAWorkerThatIsLostAreGivenUp: they would only hold up what comes next.
func TestCallsToAWorkerThatIsLostAreGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newReplicaSet(t, 1, func(cfg *orchestrator.Config) {
			realTime(cfg)
			cfg.Workers = hung{cfg.Workers.(replicaGateway)}
		})
		a := c.all[0]
		c.register(a, "worker-1", 10)
		s := c.connected(a)
		asked := aside(func() { _, _ = a.Sessions.Disconnect(t.Context(), s.UserID, s.ID) })
		time.Sleep(time.Second)
		require.Equal(t, 1, c.hands.made("disconnect"))
		began := time.Now()
		require.NoError(t, left(a.Protocol.Unregister(t.Context(), "worker-1", "")))
		<-asked
		require.Less(t, time.Since(began), time.Second)
	})
}
