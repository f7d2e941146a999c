package orchestrator_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/app/orchestrator"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

func TestOutbox_PublisherPauses_PublishesNothingTwice(t *testing.T) {
	for _, when := range []string{"after it read", "after it published"} {
		t.Run(when, func(t *testing.T) {
			c := newReplicaSet(t, 2)
			c.register(c.all[0], "worker-1", 50)
			var publisher, other *replica // the publishing replica, and the other
			for i, r := range c.all {
				r.onceEventsAreRead(func() { publisher, other = r, c.all[1-i] })
			}
			c.advance(3 * time.Second)
			require.Len(t, c.bus.events, 1)
			published := 0
			stall := func() {
				publisher.halted = true
				for range 5 {
					c.connectSession(other)
					c.advance(3*time.Second, c.heartbeatsOf(other, "worker-1"))
				}
				require.Len(t, c.replicas(), 1)
				published = len(c.bus.events)
				publisher.halted = false
			}
			publisher.onceEventsAreRead(nil)
			other.onceEventsAreRead(nil)
			if when == "after it read" {
				publisher.onceEventsAreRead(stall)
			} else {
				c.bus.after = stall
			}
			c.connectSession(other)

			require.NoError(t, c.runReplica(publisher))
			c.advance(10*time.Second, c.heartbeatsOf(other, "worker-1"))

			require.Len(t, c.bus.events, published, "no event is published twice")
		})
	}
}

// cuttableBus is a replica's way to the bus, which may be cut.
type cuttableBus struct {
	ports.Bus
	cut bool
}

func (b *cuttableBus) Publish(ctx context.Context, events ...domain.Event) error {
	if b.cut {
		return fmt.Errorf("redis does not answer")
	}
	return b.Bus.Publish(ctx, events...)
}

// newReplicaSetWithBuses makes replicas with a way to the bus each.
func newReplicaSetWithBuses(t *testing.T, n int) (*replicaSet, map[string]*cuttableBus) {
	t.Helper()
	buses := map[string]*cuttableBus{}
	return newReplicaSet(t, n, func(cfg *orchestrator.Config) {
		b := &cuttableBus{Bus: cfg.Bus}
		buses[cfg.Name] = b
		cfg.Bus = b
	}), buses
}

func TestOutbox_OneReplicaCutOffFromTheBus_AnotherPublishes(t *testing.T) {
	for _, cut := range []string{"A", "B", "C"} {
		t.Run(cut, func(t *testing.T) {
			c, buses := newReplicaSetWithBuses(t, 3)
			other := c.all[0]
			if cut == "A" {
				other = c.all[1]
			}
			c.register(other, "worker-1", 10)
			c.runAll()
			buses[cut].cut = true

			s := c.createSession()
			_, err := other.Sessions.Connect(t.Context(), s.UserID, s.ID, service.ConnectOptions{})
			require.NoError(t, err)
			began := c.clock.Now()
			published := func() bool {
				c.bus.mu.Lock()
				defer c.bus.mu.Unlock()
				for _, e := range c.bus.events {
					if e.Type == domain.EventSessionConnected && e.SessionID == s.ID {
						return true
					}
				}
				return false
			}
			for !published() && c.clock.Now().Sub(began) < 10*time.Minute {
				func() {
					c.heartbeatsOf(other, "worker-1")()
					c.clock.advance(tick)
					for _, r := range c.all {
						_, _ = r.RunOnce(t.Context())
					}
				}()
			}

			t.Log("published after", c.clock.Now().Sub(began))
			require.Less(t, c.clock.Now().Sub(began), time.Minute)
		})
	}
}

// The bus is down for longer than published events are kept.
func TestOutbox_BusDownForLong_EventsAreKept(t *testing.T) {
	c, buses := newReplicaSetWithBuses(t, 1)
	a := c.all[0]
	buses["A"].cut = true
	c.register(a, "worker-1", 10)

	for range 25 * 120 {
		c.clock.advance(30 * time.Second)
		_, _ = a.RunOnce(t.Context())
	}

	buses["A"].cut = false
	for range 10 {
		c.clock.advance(time.Second)
		_, _ = a.RunOnce(t.Context())
	}

	found := false
	for _, e := range c.bus.events {
		found = found || e.Type == domain.EventWorkerOnline && e.WorkerID == "worker-1"
	}
	require.True(t, found, "the event is published")
}
