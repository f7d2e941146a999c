package redis_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/internal/testproxy"
	"github.com/switchyard-wa/switchyard/adapters/redis/redistest"
)

// After an outage Redis holds the sum of all local counts. Backfilled keys are deleted, to be backfilled again.
func TestLimiter_RedisWasUnavailable_AddsLocalCounts(t *testing.T) {
	server := redistest.Shared(t)
	prefix := prefix()
	p := testproxy.Start(t, server.Addr())
	a, b := open(t, urlOf(p), prefix), open(t, server.URL(), prefix)
	allow(t, a, "calls", 5)
	allow(t, b, "messages", 5)
	require.NoError(t, b.Limiter().Backfill(t.Context(), "messages", time.Now(), time.Hour, 0))
	p.Cut()
	for i := range 1000 { // more than one batch
		allow(t, a, prefix+string(rune('a'+i)), 1)
	}
	require.Equal(t, 7, allow(t, a, "calls", 7).Used)
	require.False(t, allow(t, a, "messages", 2).Backfilled)
	require.NoError(t, a.Limiter().Backfill(t.Context(), "messages", time.Now().Add(-time.Minute), time.Hour, 5))
	require.Equal(t, 8, allow(t, a, "messages", 1).Used)
	require.Equal(t, 6, allow(t, b, "calls", 1).Used)
	require.Equal(t, 6, allow(t, b, "messages", 1).Used)
	p.Heal()
	waitUntilUp(t, a)
	eventually(t, func() bool { return allow(t, b, "calls", 0).Used == 13 }, "the sum")
	eventually(t, func() bool { return !allow(t, b, "messages", 0).Backfilled }, "the key is to be backfilled again")
	for i := range 1000 {
		eventually(t, func() bool { return allow(t, b, prefix+string(rune('a'+i)), 0).Used == 1 }, "every key")
	}
}
