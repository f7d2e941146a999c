package redis_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/redis/redistest"
	"github.com/switchyard-wa/switchyard/ports"
)

// published publishes invalidations of a session until one arrives.
func published(t *testing.T, from ports.Invalidator, session string, arrived *sync.Map) {
	t.Helper()
	eventually(t, func() bool {
		from.Publish(ports.Invalidation{Sessions: []string{session}})
		_, found := arrived.Load(session)
		return found
	}, session)
}

func TestSubscription_ConnectionKilled_ReportsAGapAndGoesOn(t *testing.T) {
	server := redistest.Start(t)
	prefix := prefix()
	c, other := open(t, server.URL(), prefix), open(t, server.URL(), prefix)
	var all, sessions sync.Map
	t.Cleanup(c.Invalidator().Subscribe(func(i ports.Invalidation) {
		if i.All {
			all.Store("received", true)
		}
		for _, id := range i.Sessions {
			sessions.Store(id, true)
		}
	}))
	for round := range 3 {
		published(t, other.Invalidator(), fmt.Sprint("before ", round), &sessions)
		all.Clear()
		require.NoError(t, client(t, server.Addr()).ClientKillByFilter(t.Context(), "TYPE", "pubsub").Err())
		eventually(t, func() bool { _, found := all.Load("received"); return found }, "All after a gap")
		published(t, other.Invalidator(), fmt.Sprint("after ", round), &sessions)
	}
	require.NoError(t, c.Health(t.Context()))
}

// Redis does not separate the channels of its databases, so the coordination does.
func TestSubscription_AnotherDatabase_DeliversNothing(t *testing.T) {
	server := redistest.Shared(t)
	prefix := prefix()
	c, other := open(t, server.URL(), prefix), open(t, server.URL(), prefix)
	stranger := open(t, strings.TrimSuffix(server.URL(), "0")+"1", prefix)
	var got sync.Map
	t.Cleanup(c.Invalidator().Subscribe(func(i ports.Invalidation) {
		for _, id := range i.Sessions {
			got.Store(id, true)
		}
	}))
	for range 10 {
		stranger.Invalidator().Publish(ports.Invalidation{Sessions: []string{"theirs"}})
		published(t, other.Invalidator(), "ours", &got)
		got.Delete("ours")
	}
	_, found := got.Load("theirs")
	require.False(t, found)
}

func TestSubscription_NotPermitted_IsLogged(t *testing.T) {
	server := redistest.Start(t, "--user", "limited", "on", ">pw", "allkeys", "allcommands", "-subscribe")
	c, log := openLogged(t, "redis://limited:pw@"+server.Addr(), prefix())
	eventually(t, func() bool { return strings.Contains(log.String(), `msg="redis subscription refused"`) }, "the refusal is logged")
	require.NoError(t, c.Health(t.Context()))
	require.Equal(t, 1, allow(t, c, "k", 1).Used)
}
