package redis_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/redis"
	"github.com/switchyard-wa/switchyard/adapters/redis/redistest"
	"github.com/switchyard-wa/switchyard/ports"
)

// losses makes Redis unavailable in several ways. Each returns a function that makes it available again.
var losses = map[string]func(s *redistest.Server) (back func(t *testing.T)){
	"killed": func(s *redistest.Server) func(t *testing.T) {
		s.Kill()
		return func(t *testing.T) { require.NoError(t, s.Restart()) }
	},
	"stopped": func(s *redistest.Server) func(t *testing.T) {
		s.Stop()
		return func(t *testing.T) { require.NoError(t, s.Restart()) }
	},
	"paused": func(s *redistest.Server) func(t *testing.T) {
		s.Pause()
		return func(*testing.T) { s.Resume() }
	},
}

func TestCoordination_RedisLost_WorksWithoutItAndRecovers(t *testing.T) {
	for name, lose := range losses {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t)
			prefix := prefix()
			log := new(record)
			a := openWith(t, server.URL(), redis.Options{Prefix: prefix, CallLimit: time.Second, Log: log.log()})
			b := openWith(t, server.URL(), redis.Options{Prefix: prefix, CallLimit: time.Second})
			allow(t, a, "k", 5)
			require.Equal(t, 5, allow(t, b, "k", 0).Used)
			put(t, a, "s1", 1)
			eventually(t, func() bool { return revOf(t, b, "s1") == 1 }, "b knows the route")
			var invalidated sync.Map
			for _, c := range []*redis.Coordination{a, b} {
				t.Cleanup(c.Invalidator().Subscribe(func(h ports.Invalidation) {
					if h.All || slices.Contains(h.Sessions, "s1") {
						invalidated.Store(c, true)
					}
				}))
			}

			back := lose(server)

			start := time.Now()
			for range 100 {
				_, err := a.Limiter().AllowN(t.Context(), "k", time.Now(), time.Hour, 10_000, 1)
				require.NoError(t, err)
				_, err = a.Routes().Get(t.Context(), "s1")
				require.ErrorIs(t, err, ports.ErrNotFound)
				a.Invalidator().Publish(ports.Invalidation{Sessions: []string{"s1"}})
				require.NoError(t, a.Routes().Delete(t.Context(), "s2"))
			}
			require.Less(t, time.Since(start), 3*time.Second, "only the first calls wait for Redis")
			start = time.Now()
			var racing sync.WaitGroup
			for range 32 {
				racing.Go(func() {
					for range 100 {
						_, _ = a.Limiter().AllowN(t.Context(), "k2", time.Now(), time.Hour, 10_000, 1)
					}
				})
			}
			racing.Wait()
			require.Less(t, time.Since(start), 3*time.Second)
			require.Error(t, a.Health(t.Context()))

			require.Equal(t, 1, allow(t, b, "k", 1).Used, "b starts to count for itself")
			put(t, a, "s1", 2)
			require.EqualValues(t, 2, revOf(t, a, "s1"), "a finds the route that it has put")
			require.Zero(t, revOf(t, b, "s1"))

			back(t)
			waitUntilUp(t, a)
			waitUntilUp(t, b)
			eventually(t, func() bool {
				_, atA := invalidated.Load(a)
				_, atB := invalidated.Load(b)
				return (atA || name == "paused") && atB // a paused connection has no gap
			}, "no invalidation is lost")
			require.NotEqual(t, int64(1), revOf(t, b, "s1"), "the stale route is deleted")
			put(t, a, "s1", 3)
			eventually(t, func() bool { return revOf(t, b, "s1") == 3 }, "routes are shared again")
			before := allow(t, a, "k", 0).Used
			require.Equal(t, before+1, allow(t, b, "k", 1).Used, "limits are shared again")
			require.Equal(t, 1, strings.Count(log.String(), `msg="redis unavailable"`), "logged once")
			require.Contains(t, log.String(), `msg="redis available"`)
		})
	}
}

func TestOpen_RedisUnavailable_WorksUntilItIsBack(t *testing.T) {
	server := redistest.Start(t)
	server.Stop()
	start := time.Now()
	c, log := openLogged(t, server.URL(), prefix())
	require.Less(t, time.Since(start), 3*time.Second)
	require.Contains(t, log.String(), "level=WARN")
	require.ErrorContains(t, c.Health(t.Context()), "refused")
	require.Equal(t, 2, allow(t, c, "k", 2).Used)
	require.Equal(t, 3, allow(t, c, "k", 1).Used)

	require.NoError(t, server.Restart())
	waitUntilUp(t, c)
	eventually(t, func() bool { return allow(t, c, "k", 0).Used == 3 }, "the local counts are added to Redis")
}

func TestCoordination_RedisFlushed_StartsFromNothing(t *testing.T) {
	server := redistest.Start(t)
	c := open(t, server.URL(), prefix())
	allow(t, c, "k", 5)
	require.NoError(t, c.Limiter().Backfill(t.Context(), "k", time.Now(), time.Hour, 0))
	put(t, c, "s1", 1)
	require.NoError(t, server.FlushAll())
	require.False(t, allow(t, c, "k", 1).Backfilled)
	require.NoError(t, c.Limiter().Backfill(t.Context(), "k", time.Now().Add(-10*time.Minute), time.Hour, 5))
	u := allow(t, c, "k", 1)
	require.Equal(t, 7, u.Used)
	require.WithinDuration(t, time.Now().Add(50*time.Minute), u.ResetAt, 10*time.Second)
	eventually(t, func() bool { return revOf(t, c, "s1") == 0 }, "the route is gone")

	raw := client(t, server.Addr())
	require.NoError(t, raw.ScriptFlush(t.Context()).Err())
	require.Equal(t, 8, allow(t, c, "k", 1).Used)
	require.NoError(t, raw.ScriptFlush(t.Context()).Err())
	require.NoError(t, c.Limiter().Backfill(t.Context(), "k", time.Now().Add(-20*time.Minute), time.Hour, 9))
	require.Equal(t, 9, allow(t, c, "k", 1).Used, "backfilled once")
	require.NoError(t, raw.ScriptFlush(t.Context()).Err())
	put(t, c, "s1", 2)
	require.Positive(t, raw.Exists(t.Context(), raw.Keys(t.Context(), "*route:s1").Val()...).Val())
	require.NoError(t, c.Health(t.Context()))
}

// Every key expires, but not before the coordination may forget it.
func TestCoordination_Keys_Expire(t *testing.T) {
	server := redistest.Start(t)
	c := open(t, server.URL(), prefix())
	put(t, c, "s1", 1)
	allow(t, c, "used", 1)
	allow(t, c, "used", 1)
	require.NoError(t, c.Limiter().Backfill(t.Context(), "used", time.Now().Add(-time.Minute), time.Hour, 5))
	require.NoError(t, c.Limiter().Backfill(t.Context(), "backfilled", time.Now().Add(-time.Minute), time.Hour, 5))
	allow(t, c, "backfilled", 1)
	raw := client(t, server.Addr())
	ttl := map[string]time.Duration{"route": time.Minute, "limit": 2 * time.Hour, "probe": time.Minute}
	keys := raw.Keys(t.Context(), "*").Val()
	require.Len(t, keys, 4)
	for _, key := range keys {
		want := ttl[strings.Split(key, ":")[1]]
		got := raw.PTTL(t.Context(), key).Val()
		require.LessOrEqual(t, got, want, key)
		require.Greater(t, got, want-time.Minute/2, key)
	}
}

// A closed coordination works as it does without Redis.
func TestCoordination_Closed_WorksWithoutRedis(t *testing.T) {
	c, err := redis.Open(t.Context(), redistest.Shared(t).URL(), redis.Options{Prefix: prefix()})
	require.NoError(t, err)
	var racing sync.WaitGroup
	for range 8 {
		racing.Go(func() {
			for range 200 {
				_, err := c.Limiter().AllowN(t.Context(), "k", time.Now(), time.Hour, 10_000, 1)
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	require.NoError(t, c.Close())
	require.NoError(t, c.Close())
	racing.Wait()
	put(t, c, "s1", 1)
	require.EqualValues(t, 1, revOf(t, c, "s1"))
	require.Error(t, c.Health(t.Context()))
	c.Invalidator().Publish(ports.Invalidation{All: true})
	c.Invalidator().Subscribe(func(ports.Invalidation) {})()
}

func TestCoordination_ErrorsAndLog_HoldNoPassword(t *testing.T) {
	server := redistest.Start(t, "--requirepass", "r1ght")
	url := func(password string) string { return "redis://:" + password + "@" + server.Addr() }
	c, log := openLogged(t, url("r1ght"), prefix())
	require.NoError(t, c.Health(t.Context()))
	server.Kill()
	err := c.Health(t.Context())
	require.Error(t, err)
	require.NotContains(t, log.String()+err.Error(), "r1ght")

	require.NoError(t, server.Restart())
	waitUntilUp(t, c)
	c, log = openLogged(t, url("wr0ng"), prefix())
	err = c.Health(t.Context())
	require.ErrorContains(t, err, "WRONGPASS")
	require.NotContains(t, log.String()+err.Error(), "wr0ng")
}

func TestCoordination_SentinelFailsOver_UsesTheNewMaster(t *testing.T) {
	main := redistest.Start(t)
	host, port, _ := strings.Cut(main.Addr(), ":")
	other := redistest.Start(t, "--replicaof", host+" "+port, "--repl-diskless-sync-delay", "0")
	config := filepath.Join(t.TempDir(), "sentinel.conf")
	require.NoError(t, os.WriteFile(config, []byte("sentinel monitor main "+host+" "+port+" 1\n"+
		"sentinel down-after-milliseconds main 300\nsentinel failover-timeout main 2000\n"), 0o600))
	sentinel := redistest.Start(t, config, "--sentinel")
	observer := goredis.NewSentinelClient(&goredis.Options{Addr: sentinel.Addr()})
	t.Cleanup(func() { _ = observer.Close() })
	eventually(t, func() bool {
		replicas, err := observer.Replicas(t.Context(), "main").Result()
		return err == nil && len(replicas) == 1 && replicas[0]["master-link-status"] == "ok"
	}, "the sentinel knows the replica")

	prefix, url := prefix(), "redis://"+sentinel.Addr()+"?master_name=main"
	a, b := open(t, url, prefix), open(t, url, prefix)
	require.NoError(t, a.Health(t.Context()))
	allow(t, a, "k", 5)
	require.Equal(t, 6, allow(t, b, "k", 1).Used)
	require.NoError(t, client(t, main.Addr()).Wait(t.Context(), 1, timeout).Err())
	main.Kill()
	allow(t, a, "other", 1)
	eventually(t, func() bool {
		addr, err := observer.GetMasterAddrByName(t.Context(), "main").Result()
		return err == nil && strings.Join(addr, ":") == other.Addr()
	}, "the replica takes over")
	waitUntilUp(t, a)
	waitUntilUp(t, b)
	require.Equal(t, 7, allow(t, b, "k", 1).Used, "nothing was lost")
	put(t, a, "s1", 1)
	eventually(t, func() bool { return revOf(t, b, "s1") == 1 }, "routes are shared again")
}

// Only the first call waits for a server that does not answer.
func TestCoordination_RedisHangs_CallsDoNotWait(t *testing.T) {
	server := redistest.Start(t)
	c := openWith(t, server.URL(), redis.Options{})
	server.Pause()
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	start := time.Now()
	for range 100 {
		_, err := c.Routes().Get(ctx, "s1")
		require.ErrorIs(t, err, ports.ErrNotFound)
		_, err = c.Limiter().AllowN(ctx, "k", time.Now(), time.Hour, 100, 1)
		require.NoError(t, err)
	}
	require.Less(t, time.Since(start), 3*time.Second)
	require.Equal(t, 100, allow(t, c, "k", 0).Used)
}
