package orchestrator_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
)

// TestAListThatWasHeldUpStartsNothingAgain: a replica stands still with a heartbeat that does not list a session, which
// the worker has recovered by the time that the replica goes on.
func TestAListThatWasHeldUpStartsNothingAgain(t *testing.T) {
	for _, held := range []time.Duration{0, 30 * time.Second} {
		t.Run(held.String(), func(t *testing.T) {
			c := newCrowd(t, 2)
			a, b := c.all[0], c.all[1]
			require.NoError(t, c.worker1(b, "http://process-1:1"))
			c.step()
			s := c.connected(b)
			c.pass(20 * time.Second) // long enough for its list to have it
			a.store.before = func(int64) {
				a.store.before = nil // it stands still here
				a.dead = true
				c.pass(held, func() { c.beat(b, "worker-1", s.ID) })
				a.dead = false
			}
			c.beat(a, "worker-1")
			require.Nil(t, a.store.before, "the list was news")
			again := domain.Reconnecting // there is nothing newer than the list
			if held > 0 {
				again = domain.Connected
			}
			require.Equal(t, again, c.session(s.ID).Status)
		})
	}
}
