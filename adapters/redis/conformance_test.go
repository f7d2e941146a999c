package redis_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/internal/testproxy"
	"github.com/switchyard-wa/switchyard/adapters/redis"
	"github.com/switchyard-wa/switchyard/adapters/redis/redistest"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/conformance"
)

func TestCoordination_Server_Conformance(t *testing.T) {
	one := func(t *testing.T) *redis.Coordination { return open(t, redistest.Shared(t).URL(), prefix()) }
	t.Run("routes", func(t *testing.T) {
		conformance.Routes(t, func(t *testing.T) ports.Routes { return one(t).Routes() })
		conformance.SharedRoutes(t, func(t *testing.T) (ports.Routes, ports.Routes) {
			a, b := pair(t)
			return a.Routes(), b.Routes()
		})
	})
	t.Run("limiter", func(t *testing.T) {
		conformance.Limiter(t, func(t *testing.T) ports.Limiter { return one(t).Limiter() })
		conformance.SharedLimiter(t, func(t *testing.T) (ports.Limiter, ports.Limiter) {
			a, b := pair(t)
			return a.Limiter(), b.Limiter()
		})
	})
	t.Run("invalidator", func(t *testing.T) {
		conformance.Invalidator(t, func(t *testing.T) (ports.Invalidator, ports.Invalidator) {
			a, b := pair(t)
			return a.Invalidator(), b.Invalidator()
		})
	})
}

// Without Redis a process still limits its own uses and finds its own routes.
func TestCoordination_RedisUnavailable_Conformance(t *testing.T) {
	c := openWithoutRedis(t)
	conformance.Limiter(t, func(*testing.T) ports.Limiter { return c.Limiter() })
	conformance.Routes(t, func(*testing.T) ports.Routes { return c.Routes() })
}

// A cluster of one server refuses the same commands as a larger one.
func TestCoordination_Cluster_Conformance(t *testing.T) {
	server := redistest.Start(t, "--cluster-enabled", "yes")
	admin := client(t, server.Addr())
	require.NoError(t, admin.ClusterAddSlotsRange(t.Context(), 0, 16383).Err())
	require.Eventually(t, func() bool {
		info, err := admin.ClusterInfo(t.Context()).Result()
		return err == nil && strings.Contains(info, "cluster_state:ok")
	}, timeout, 10*time.Millisecond)
	url := "redis://" + server.Addr() + "?addr=" + server.Addr()
	one := func(t *testing.T) *redis.Coordination { return open(t, url, prefix()) }
	conformance.Limiter(t, func(t *testing.T) ports.Limiter { return one(t).Limiter() })
	conformance.Routes(t, func(t *testing.T) ports.Routes { return one(t).Routes() })
	conformance.Invalidator(t, func(t *testing.T) (ports.Invalidator, ports.Invalidator) {
		prefix := prefix()
		return open(t, url, prefix).Invalidator(), open(t, url, prefix).Invalidator()
	})
}

func TestInvalidator_ConnectionCut_Conformance(t *testing.T) {
	server := redistest.Shared(t)
	conformance.InvalidatorCut(t, func(t *testing.T) (a, b ports.Invalidator, cut func(ports.Invalidator) (heal func())) {
		prefix := prefix()
		proxies := make(map[ports.Invalidator]*testproxy.Proxy)
		member := func() ports.Invalidator {
			p := testproxy.Start(t, server.Addr())
			h := open(t, urlOf(p), prefix).Invalidator()
			proxies[h] = p
			return h
		}
		return member(), member(), func(h ports.Invalidator) func() {
			proxies[h].Cut()
			return proxies[h].Heal
		}
	})
}
