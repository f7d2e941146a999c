package redis_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/redis/redistest"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

func TestSubscription_ConnectionKilled_ReportsAGapAndGoesOn(t *testing.T) {
	server := redistest.Start(t)
	c := open(t, server.URL(), prefix())
	var all, events sync.Map
	t.Cleanup(c.Invalidator().Subscribe(func(h ports.Invalidation) { all.Store("received", h.All) }))
	t.Cleanup(c.Bus().Subscribe(func(e domain.Event) { events.Store(e.Seq, true) }))
	receivedAll := func() bool {
		v, found := all.Load("received")
		return found && v.(bool)
	}
	for round := range int64(3) {
		eventually(t, func() bool {
			require.NoError(t, c.Bus().Publish(t.Context(), domain.Event{Seq: -1}))
			_, found := events.LoadAndDelete(int64(-1))
			return found
		}, "it is subscribed")
		all.Clear()
		require.NoError(t, client(t, server.Addr()).ClientKillByFilter(t.Context(), "TYPE", "pubsub").Err())
		eventually(t, receivedAll, "All after a gap")
		require.NoError(t, c.Bus().Publish(t.Context(), domain.Event{Seq: round}))
		eventually(t, func() bool { _, found := events.Load(round); return found }, "events arrive again")
	}
	require.NoError(t, c.Health(t.Context()))
}

// Redis does not separate the channels of its databases, so the coordination does.
func TestSubscription_AnotherDatabase_DeliversNothing(t *testing.T) {
	server := redistest.Shared(t)
	prefix := prefix()
	c := open(t, server.URL(), prefix)
	other := open(t, strings.TrimSuffix(server.URL(), "0")+"1", prefix)
	var got sync.Map
	t.Cleanup(c.Bus().Subscribe(func(e domain.Event) { got.Store(e.SessionID, true) }))
	for seen := false; !seen; _, seen = got.Load("ours") {
		require.NoError(t, other.Bus().Publish(t.Context(), domain.Event{SessionID: "theirs"}))
		require.NoError(t, c.Bus().Publish(t.Context(), domain.Event{SessionID: "ours"}))
		time.Sleep(time.Millisecond)
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
