package redis

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/ports"
)

func TestRouteCache(t *testing.T) {
	route := func(rev int64) ports.Route { return ports.Route{SessionID: "s1", Rev: rev} }
	for name, test := range map[string]struct {
		do   func(n *routeCache)
		want int64 // Rev; 0: ask Redis
	}{
		"what was put":   {func(n *routeCache) { n.put(route(5), n.mark("s1")) }, 5},
		"what was found": {func(n *routeCache) { n.keepRead(route(5), n.mark("s1")) }, 5},
		"what was heard": {func(n *routeCache) { n.applyPut(route(5)) }, 5},
		"a higher Rev stays": {func(n *routeCache) {
			n.applyPut(route(5))
			n.put(route(4), n.mark("s1"))
			n.keepRead(route(3), n.mark("s1"))
		}, 5},
		"a lower Rev goes":             {func(n *routeCache) { n.put(route(4), n.mark("s1")); n.applyPut(route(5)) }, 5},
		"deleted by others":            {func(n *routeCache) { n.applyPut(route(5)); n.applyDelete("s1") }, 0},
		"deleted here":                 {func(n *routeCache) { n.applyPut(route(5)); n.delete("s1") }, 0},
		"late news of before deletion": {func(n *routeCache) { n.delete("s1"); n.applyPut(route(5)) }, 0},
		"news after it": {func(n *routeCache) {
			n.delete("s1")
			n.applyPut(route(5))
			n.applyDelete("s1")
			n.applyPut(route(3))
		}, 3},
		"put after deletion": {func(n *routeCache) { n.delete("s1"); n.put(route(3), n.mark("s1")) }, 3},
		"found before deletion": {func(n *routeCache) {
			since := n.mark("s1")
			n.applyDelete("s1")
			n.keepRead(route(5), since)
		}, 0},
		"put before deletion": {func(n *routeCache) {
			since := n.mark("s1")
			n.delete("s1")
			n.put(route(5), since)
		}, 0},
		"put before all was cleared, and an older one after": {func(n *routeCache) {
			since := n.mark("s1")
			n.clear()
			n.put(route(5), since)
			n.put(route(4), n.mark("s1"))
		}, 0},
		"put before all was cleared, and a newer one after": {func(n *routeCache) {
			since := n.mark("s1")
			n.clear()
			n.put(route(5), since)
			n.keepRead(route(6), n.mark("s1"))
		}, 6},
		"cleared": {func(n *routeCache) { n.put(route(5), n.mark("s1")); n.clear() }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			n := newRouteCache()
			test.do(n)
			got, _ := n.get("s1")
			require.Equal(t, test.want, got.Rev)
		})
	}
}

func TestNearForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newRouteCache()
		n.applyPut(ports.Route{SessionID: "s1", Rev: 5})
		time.Sleep(routeCacheLife - time.Nanosecond)
		_, found := n.get("s1")
		require.True(t, found)
		time.Sleep(time.Nanosecond)
		_, found = n.get("s1")
		require.False(t, found)
		n.applyPut(ports.Route{SessionID: "s1", Rev: 4})
		got, _ := n.get("s1")
		require.EqualValues(t, 4, got.Rev, "what is over holds up nothing")
	})
}

func TestNearIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newRouteCache()
		count := func() (sum int) {
			for i := range n.shards {
				sum += len(n.shards[i].entries)
			}
			return sum
		}
		for i := range routeCacheSize + routeCacheSize/2 {
			id := fmt.Sprint("s", i)
			if n.applyPut(ports.Route{SessionID: id}); i%3 == 0 {
				n.delete(id)
			}
		}
		require.LessOrEqual(t, count(), routeCacheSize)
		require.Greater(t, count(), routeCacheSize*9/10)
		time.Sleep(routeCacheLife)
		for i := range routeCacheSize / 2 {
			n.applyPut(ports.Route{SessionID: fmt.Sprint("t", i)})
		}
		require.LessOrEqual(t, count(), routeCacheSize*2/3, "what is over goes")
	})
}

func TestRouteEncoding(t *testing.T) {
	for _, text := range []string{"", "5", "x {}", "5 {", "5", " {}", "5 [1]"} {
		_, ok := decodeRoute(text)
		require.False(t, ok, text)
	}
	r, ok := decodeRoute(`-7 {"s":"s1","new":{"a":[1]}}`)
	require.True(t, ok, "what a newer version adds is left out")
	require.Equal(t, ports.Route{SessionID: "s1", Rev: -7}, r)
}

func TestGathering(t *testing.T) {
	g := newInvalidationBatch()
	g.add(ports.Invalidation{})
	_, some := g.take()
	require.False(t, some)
	for i := range maxBatchedIDs {
		g.add(ports.Invalidation{Sessions: []string{fmt.Sprint(i), fmt.Sprint(i)}})
	}
	invalidation, _ := g.take()
	require.Len(t, invalidation.Sessions, maxBatchedIDs)
	require.False(t, invalidation.All)
	for i := range maxBatchedIDs + 1 {
		g.add(ports.Invalidation{Workers: []string{fmt.Sprint(i)}})
	}
	invalidation, _ = g.take()
	require.Equal(t, ports.Invalidation{All: true}, invalidation)
	_, some = g.take()
	require.False(t, some)
}
