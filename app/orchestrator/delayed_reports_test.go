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
			c := newReplicaSet(t, 2)
			a, b := c.all[0], c.all[1]
			require.NoError(t, c.worker1(b, "http://process-1:1"))
			c.step()
			s := c.connected(b)
			c.pass(20 * time.Second)          // long enough for its list to have it
			a.store.BeforeNextUpdate(func() { // it stands still here
				a.dead = true
				c.pass(held, func() { c.beat(b, "worker-1", s.ID) })
				a.dead = false
			})
			c.beat(a, "worker-1")
			require.Nil(t, a.store.BeforeUpdate, "the list was news")
			again := domain.Reconnecting // there is nothing newer than the list
			if held > 0 {
				again = domain.Connected
			}
			require.Equal(t, again, c.session(s.ID).Status)
		})
	}
}

// TestAListFromBeforeAConfirmation: a worker says that a session is connected, and then a list of it arrives that it has made before.
func TestAListFromBeforeAConfirmation(t *testing.T) {
	c := newReplicaSet(t, 1)
	a := c.all[0]
	c.register(a, "worker-1", 10)
	s := c.connected(a)
	c.pass(3 * time.Second)
	c.beat(a, "worker-1")
	require.Equal(t, domain.Connected, c.session(s.ID).Status)
	c.pass(3 * time.Second)
	c.beat(a, "worker-1")
	require.Equal(t, domain.Reconnecting, c.session(s.ID).Status, "no list is as old as that")
}
