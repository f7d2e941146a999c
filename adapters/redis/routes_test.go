package redis_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/internal/testproxy"
	"github.com/switchyard-wa/switchyard/adapters/redis"
	"github.com/switchyard-wa/switchyard/adapters/redis/redistest"
)

func TestRoutes_ChangesMissedByRedis_AreDeletedWhenItIsBack(t *testing.T) {
	server := redistest.Shared(t)
	prefix := prefix()
	p := testproxy.Start(t, server.Addr())
	a, b := open(t, urlOf(p), prefix), open(t, server.URL(), prefix)
	put(t, b, "moved", 1)
	put(t, b, "deleted", 1)
	put(t, b, "untouched", 1)
	p.Cut()
	put(t, a, "moved", 2)
	require.NoError(t, a.Routes().Delete(t.Context(), "deleted"))
	require.EqualValues(t, 1, revOf(t, b, "moved"))
	p.Heal()
	waitUntilUp(t, a)
	for _, c := range []*redis.Coordination{a, b} {
		eventually(t, func() bool { return revOf(t, c, "moved") != 1 && revOf(t, c, "deleted") == 0 }, "stale routes are gone")
		require.EqualValues(t, 1, revOf(t, c, "untouched"))
	}
}

// A process reads a changed route within a second, even if its subscription does not deliver the change.
func TestRoutes_ChangeNotPublished_IsReadWithinASecond(t *testing.T) {
	server := redistest.Start(t)
	prefix := prefix()
	a, b := open(t, server.URL(), prefix), open(t, server.URL(), prefix)
	raw := client(t, server.Addr())
	put(t, a, "s1", 1)
	eventually(t, func() bool { return revOf(t, b, "s1") == 1 }, "b knows the route")
	key := raw.Keys(t.Context(), "*route:s1").Val()[0]
	value := raw.Get(t.Context(), key).Val()
	require.NoError(t, raw.Set(t.Context(), key, "2"+value[1:], 0).Err()) // publishes nothing
	start := time.Now()
	eventually(t, func() bool { return revOf(t, b, "s1") == 2 }, "b reads the route again")
	require.Less(t, time.Since(start), 3*time.Second)
}
