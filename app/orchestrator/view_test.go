package orchestrator_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/ports"
)

// TestAnOldRowSeatsNobody: a row is read again, and before it is made use of the session leaves its worker, by this very replica.
func TestAnOldRowSeatsNobody(t *testing.T) {
	c := newReplicaSet(t, 1)
	a := c.all[0]
	c.register(a, "worker-1", 1)
	s := c.connected(a)
	c.step()
	c.hub.Join().Publish(ports.Invalidation{Sessions: []string{s.ID}})
	a.store.AfterNextView(func() {
		_, err := a.Sessions.Disconnect(t.Context(), s.UserID, s.ID)
		require.NoError(t, err)
	})
	c.step()
	require.False(t, c.session(s.ID).IsAssigned())
	used, err := a.Workers.Statistics(t.Context())
	require.NoError(t, err)
	require.Zero(t, used.Used)
	c.connected(a)
}
