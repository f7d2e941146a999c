package redis

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/ports"
)

func TestRouteCache_RacingChanges(t *testing.T) {
	route := func(rev int64) ports.Route { return ports.Route{SessionID: "s1", Rev: rev} }
	for name, test := range map[string]struct {
		do   func(c *routeCache)
		want int64 // the cached Rev, or 0 if a lookup has to ask Redis
	}{
		"put":                    {func(c *routeCache) { c.put(route(5), c.deletionsOf("s1")) }, 5},
		"read from Redis":        {func(c *routeCache) { c.addRead(route(5), c.deletionsOf("s1")) }, 5},
		"put by another process": {func(c *routeCache) { c.applyPut(route(5)) }, 5},
		"lower Revs after a higher one": {func(c *routeCache) {
			c.applyPut(route(5))
			c.put(route(4), c.deletionsOf("s1"))
			c.addRead(route(3), c.deletionsOf("s1"))
		}, 5},
		"higher Rev after a lower one":                      {func(c *routeCache) { c.put(route(4), c.deletionsOf("s1")); c.applyPut(route(5)) }, 5},
		"deleted by another process":                        {func(c *routeCache) { c.applyPut(route(5)); c.applyDelete("s1") }, 0},
		"deleted by this process":                           {func(c *routeCache) { c.applyPut(route(5)); c.delete("s1") }, 0},
		"message from before the deletion arrives after it": {func(c *routeCache) { c.delete("s1"); c.applyPut(route(5)) }, 0},
		"message from after the deletion": {func(c *routeCache) {
			c.delete("s1")
			c.applyPut(route(5))
			c.applyDelete("s1")
			c.applyPut(route(3))
		}, 3},
		"put after the deletion": {func(c *routeCache) { c.delete("s1"); c.put(route(3), c.deletionsOf("s1")) }, 3},
		"read before the deletion": {func(c *routeCache) {
			before := c.deletionsOf("s1")
			c.applyDelete("s1")
			c.addRead(route(5), before)
		}, 0},
		"put began before the deletion": {func(c *routeCache) {
			before := c.deletionsOf("s1")
			c.delete("s1")
			c.put(route(5), before)
		}, 0},
		"put began before a clear, then an older put": {func(c *routeCache) {
			before := c.deletionsOf("s1")
			c.clear()
			c.put(route(5), before)
			c.put(route(4), c.deletionsOf("s1"))
		}, 0},
		"put began before a clear, then a newer read": {func(c *routeCache) {
			before := c.deletionsOf("s1")
			c.clear()
			c.put(route(5), before)
			c.addRead(route(6), c.deletionsOf("s1"))
		}, 6},
		"cleared": {func(c *routeCache) { c.put(route(5), c.deletionsOf("s1")); c.clear() }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			c := newRouteCache()
			test.do(c)
			got, _ := c.get("s1")
			require.Equal(t, test.want, got.Rev)
		})
	}
}

func TestRouteCache_EntryExpired_IsNotFoundAndBlocksNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newRouteCache()
		c.applyPut(ports.Route{SessionID: "s1", Rev: 5})
		time.Sleep(routeCacheTTL - time.Nanosecond)
		_, found := c.get("s1")
		require.True(t, found)
		time.Sleep(time.Nanosecond)
		_, found = c.get("s1")
		require.False(t, found)
		c.applyPut(ports.Route{SessionID: "s1", Rev: 4})
		got, _ := c.get("s1")
		require.EqualValues(t, 4, got.Rev, "an expired entry does not block a lower Rev")
	})
}

func TestRouteCache_ManyRoutes_StaysWithinItsSize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newRouteCache()
		count := func() (sum int) {
			for i := range c.shards {
				sum += len(c.shards[i].entries)
			}
			return sum
		}
		for i := range routeCacheSize + routeCacheSize/2 {
			id := fmt.Sprint("s", i)
			c.applyPut(ports.Route{SessionID: id})
			if i%3 == 0 {
				c.delete(id)
			}
		}
		require.LessOrEqual(t, count(), routeCacheSize)
		require.Greater(t, count(), routeCacheSize*9/10)
		time.Sleep(routeCacheTTL)
		for i := range routeCacheSize / 2 {
			c.applyPut(ports.Route{SessionID: fmt.Sprint("t", i)})
		}
		require.LessOrEqual(t, count(), routeCacheSize*2/3, "expired entries are removed")
	})
}

func TestDecodeRoute_InvalidOrNewerText(t *testing.T) {
	for _, text := range []string{"", "5", "x {}", "5 {", "5", " {}", "5 [1]"} {
		_, ok := decodeRoute(text)
		require.False(t, ok, text)
	}
	r, ok := decodeRoute(`-7 {"s":"s1","new":{"a":[1]}}`)
	require.True(t, ok, "fields of a newer version are ignored")
	require.Equal(t, ports.Route{SessionID: "s1", Rev: -7}, r)
}
