package orchestrator_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// TestACanaryIsNotBlamedForWhatHappensElsewhere: a replica that stood still sees at once that sessions have left a worker on trial,
// and that they have failed where they went.
func TestACanaryIsNotBlamedForWhatHappensElsewhere(t *testing.T) {
	c := newCrowd(t, 2)
	a, b := c.all[0], c.all[1]
	c.register(a, "worker-1", 50)
	c.register(a, "worker-3", 50)
	ids := c.full([]string{"worker-1", "worker-3"}, 4)[:4]
	c.hub.Join().Tell(ports.Hint{All: true})
	c.step()
	c.step()
	c.register(a, "worker-2", 50)
	b.dead = true
	for _, id := range ids {
		_, err := a.Migrate(t.Context(), id, "worker-2", "")
		require.NoError(t, err)
		require.Equal(t, []any{"worker-2", domain.Connected}, []any{c.session(id).WorkerID, c.session(id).Status})
		_, err = a.SessionReport(t.Context(), domain.Report{SessionID: id, WorkerID: "worker-2", Generation: 2, Status: domain.Errored})
		require.NoError(t, err)
	}
	a.dead, b.dead = true, false
	c.pass(time.Minute, c.pulse(b, "worker-1", "worker-2", "worker-3"), c.breathe(a))
	require.Empty(t, c.worker("worker-1").Suspect)
}
