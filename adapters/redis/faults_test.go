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
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// openLogged opens coordination like open, and gives its log.
func openLogged(t *testing.T, url, prefix string) (*redis.Coordination, *record) {
	t.Helper()
	log := new(record)
	return openWith(t, url, redis.Options{Prefix: prefix, CallLimit: 10 * time.Second, Log: log.log()}), log
}

func take(t *testing.T, f *redis.Coordination, key string, n int) domain.Usage {
	t.Helper()
	u, err := f.Limiter().AllowN(t.Context(), key, time.Now(), time.Hour, 10_000, n)
	require.NoError(t, err)
	return u
}

func put(t *testing.T, f *redis.Coordination, id string, rev int64) {
	t.Helper()
	require.NoError(t, f.Routes().Put(t.Context(), ports.Route{SessionID: id, WorkerID: "w1", Rev: rev}))
}

// revOf gives the Rev of a route, or 0 if there is none.
func revOf(t *testing.T, f *redis.Coordination, id string) int64 {
	t.Helper()
	r, err := f.Routes().Get(t.Context(), id)
	if err != nil {
		require.ErrorIs(t, err, ports.ErrNotFound)
	}
	return r.Rev
}

func eventually(t *testing.T, condition func() bool, about string) {
	t.Helper()
	require.Eventually(t, condition, patience, 5*time.Millisecond, about)
}

func waitUntilUp(t *testing.T, f *redis.Coordination) {
	t.Helper()
	eventually(t, func() bool { return f.Health(t.Context()) == nil }, "Redis is found to be back")
}

// The ways to lose Redis, and to get it back.
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

func TestRedisLost(t *testing.T) {
	for name, lose := range losses {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t)
			prefix := prefix()
			log := new(record)
			a := openWith(t, server.URL(), redis.Options{Prefix: prefix, CallLimit: time.Second, Log: log.log()})
			b := openWith(t, server.URL(), redis.Options{Prefix: prefix, CallLimit: time.Second})
			take(t, a, "k", 5)
			require.Equal(t, 5, take(t, b, "k", 0).Used)
			put(t, a, "s1", 1)
			eventually(t, func() bool { return revOf(t, b, "s1") == 1 }, "b knows the route")
			var heard sync.Map
			for _, f := range []*redis.Coordination{a, b} {
				t.Cleanup(f.Invalidator().Subscribe(func(h ports.Invalidation) {
					if h.All || slices.Contains(h.Sessions, "s1") {
						heard.Store(f, true)
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
			require.Less(t, time.Since(start), 3*time.Second, "calls do not wait for Redis again and again")
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
			require.Error(t, a.Bus().Publish(t.Context(), domain.Event{Seq: 1}))

			require.Equal(t, 1, take(t, b, "k", 1).Used, "b counts for itself, from the start")
			put(t, a, "s1", 2)
			require.EqualValues(t, 2, revOf(t, a, "s1"), "what it has put itself")
			require.Zero(t, revOf(t, b, "s1"))

			back(t)
			waitUntilUp(t, a)
			waitUntilUp(t, b)
			eventually(t, func() bool {
				_, all := heard.Load(a)
				_, told := heard.Load(b)
				return (all || name == "paused") && told // a connection that lasts misses nothing
			}, "no invalidation is lost")
			require.NotEqual(t, int64(1), revOf(t, b, "s1"), "the route of before is forgotten")
			put(t, a, "s1", 3)
			eventually(t, func() bool { return revOf(t, b, "s1") == 3 }, "routes are shared again")
			before := take(t, a, "k", 0).Used
			require.Equal(t, before+1, take(t, b, "k", 1).Used, "limits are shared again")
			require.NoError(t, a.Bus().Publish(t.Context(), domain.Event{Seq: 1}))
			require.Equal(t, 1, strings.Count(log.String(), "Redis does not do its work"), "told once")
			require.Contains(t, log.String(), "Redis is back")
		})
	}
}

func TestOpenWithoutRedis(t *testing.T) {
	server := redistest.Start(t)
	server.Stop()
	start := time.Now()
	f, log := openLogged(t, server.URL(), prefix())
	require.Less(t, time.Since(start), 3*time.Second)
	require.Contains(t, log.String(), "level=WARN")
	require.ErrorContains(t, f.Health(t.Context()), "refused")
	require.Equal(t, 2, take(t, f, "k", 2).Used)
	require.Equal(t, 3, take(t, f, "k", 1).Used)

	require.NoError(t, server.Restart())
	waitUntilUp(t, f)
	eventually(t, func() bool { return take(t, f, "k", 0).Used == 3 }, "Redis is told what was counted")
}

// What is counted by each of two is the sum in the end, but for what was backfilled: that
// is asked for again.
func TestCountedWithoutRedis(t *testing.T) {
	server := redistest.Shared(t)
	prefix := prefix()
	w := newWire(t, server.Addr())
	a, b := open(t, w.url(), prefix), open(t, server.URL(), prefix)
	take(t, a, "calls", 5)
	take(t, b, "messages", 5)
	require.NoError(t, b.Limiter().Backfill(t.Context(), "messages", time.Now(), time.Hour, 0))
	w.cut()
	for i := range 1000 { // more than one batch
		take(t, a, prefix+string(rune('a'+i)), 1)
	}
	require.Equal(t, 7, take(t, a, "calls", 7).Used)
	require.False(t, take(t, a, "messages", 2).Backfilled)
	require.NoError(t, a.Limiter().Backfill(t.Context(), "messages", time.Now().Add(-time.Minute), time.Hour, 5))
	require.Equal(t, 8, take(t, a, "messages", 1).Used)
	require.Equal(t, 6, take(t, b, "calls", 1).Used)
	require.Equal(t, 6, take(t, b, "messages", 1).Used)
	w.heal()
	waitUntilUp(t, a)
	eventually(t, func() bool { return take(t, b, "calls", 0).Used == 13 }, "the sum")
	eventually(t, func() bool { return !take(t, b, "messages", 0).Backfilled }, "to be seeded anew")
	for i := range 1000 {
		eventually(t, func() bool { return take(t, b, prefix+string(rune('a'+i)), 0).Used == 1 }, "every key")
	}
}

func TestRedisFlushed(t *testing.T) {
	server := redistest.Start(t)
	f := open(t, server.URL(), prefix())
	take(t, f, "k", 5)
	require.NoError(t, f.Limiter().Backfill(t.Context(), "k", time.Now(), time.Hour, 0))
	put(t, f, "s1", 1)
	require.NoError(t, server.FlushAll())
	require.False(t, take(t, f, "k", 1).Backfilled)
	require.NoError(t, f.Limiter().Backfill(t.Context(), "k", time.Now().Add(-10*time.Minute), time.Hour, 5))
	u := take(t, f, "k", 1)
	require.Equal(t, 7, u.Used)
	require.WithinDuration(t, time.Now().Add(50*time.Minute), u.ResetAt, 10*time.Second)
	eventually(t, func() bool { return revOf(t, f, "s1") == 0 }, "the route is forgotten")

	c := client(t, server.Addr())
	require.NoError(t, c.ScriptFlush(t.Context()).Err())
	require.Equal(t, 8, take(t, f, "k", 1).Used)
	require.NoError(t, c.ScriptFlush(t.Context()).Err())
	require.NoError(t, f.Limiter().Backfill(t.Context(), "k", time.Now().Add(-20*time.Minute), time.Hour, 9))
	require.Equal(t, 9, take(t, f, "k", 1).Used, "seeded once")
	require.NoError(t, c.ScriptFlush(t.Context()).Err())
	put(t, f, "s1", 2)
	require.Positive(t, c.Exists(t.Context(), c.Keys(t.Context(), "*route:s1").Val()...).Val())
	require.NoError(t, f.Health(t.Context()))
}

// Nothing stays in Redis for ever, and nothing goes that has to be remembered.
func TestExpiry(t *testing.T) {
	server := redistest.Start(t)
	f := open(t, server.URL(), prefix())
	put(t, f, "s1", 1)
	take(t, f, "used", 1)
	take(t, f, "used", 1)
	require.NoError(t, f.Limiter().Backfill(t.Context(), "used", time.Now().Add(-time.Minute), time.Hour, 5))
	require.NoError(t, f.Limiter().Backfill(t.Context(), "seeded", time.Now().Add(-time.Minute), time.Hour, 5))
	take(t, f, "seeded", 1)
	c := client(t, server.Addr())
	life := map[string]time.Duration{"route": time.Minute, "limit": 2 * time.Hour, "probe": time.Minute}
	keys := c.Keys(t.Context(), "*").Val()
	require.Len(t, keys, 4)
	for _, key := range keys {
		want := life[strings.Split(key, ":")[1]]
		got := c.PTTL(t.Context(), key).Val()
		require.LessOrEqual(t, got, want, key)
		require.Greater(t, got, want-time.Minute/2, key)
	}
}

// A process that was cut off has put what nobody else has seen.
func TestRouteMissedByRedis(t *testing.T) {
	server := redistest.Shared(t)
	prefix := prefix()
	w := newWire(t, server.Addr())
	a, b := open(t, w.url(), prefix), open(t, server.URL(), prefix)
	put(t, b, "moved", 1)
	put(t, b, "deleted", 1)
	put(t, b, "untouched", 1)
	w.cut()
	put(t, a, "moved", 2)
	require.NoError(t, a.Routes().Delete(t.Context(), "deleted"))
	require.EqualValues(t, 1, revOf(t, b, "moved"))
	w.heal()
	waitUntilUp(t, a)
	for _, f := range []*redis.Coordination{a, b} {
		eventually(t, func() bool { return revOf(t, f, "moved") != 1 && revOf(t, f, "deleted") == 0 }, "stale routes are gone")
		require.EqualValues(t, 1, revOf(t, f, "untouched"))
	}
}

// Within a second everybody has seen a change, also whose subscription is gone without
// a sign.
func TestRouteChangeUnheard(t *testing.T) {
	server := redistest.Start(t)
	prefix := prefix()
	a, b := open(t, server.URL(), prefix), open(t, server.URL(), prefix)
	c := client(t, server.Addr())
	put(t, a, "s1", 1)
	eventually(t, func() bool { return revOf(t, b, "s1") == 1 }, "b knows the route")
	key := c.Keys(t.Context(), "*route:s1").Val()[0]
	value := c.Get(t.Context(), key).Val()
	require.NoError(t, c.Set(t.Context(), key, "2"+value[1:], 0).Err()) // and nothing is published
	start := time.Now()
	eventually(t, func() bool { return revOf(t, b, "s1") == 2 }, "b looks again")
	require.Less(t, time.Since(start), 3*time.Second)
}

func TestSubscriptionKilled(t *testing.T) {
	server := redistest.Start(t)
	f := open(t, server.URL(), prefix())
	var all, events sync.Map
	t.Cleanup(f.Invalidator().Subscribe(func(h ports.Invalidation) { all.Store("heard", h.All) }))
	t.Cleanup(f.Bus().Subscribe(func(e domain.Event) { events.Store(e.Seq, true) }))
	heard := func() bool {
		v, found := all.Load("heard")
		return found && v.(bool)
	}
	for round := range int64(3) {
		eventually(t, func() bool {
			require.NoError(t, f.Bus().Publish(t.Context(), domain.Event{Seq: -1}))
			_, found := events.LoadAndDelete(int64(-1))
			return found
		}, "it is subscribed")
		all.Clear()
		require.NoError(t, client(t, server.Addr()).ClientKillByFilter(t.Context(), "TYPE", "pubsub").Err())
		eventually(t, heard, "All after a gap")
		require.NoError(t, f.Bus().Publish(t.Context(), domain.Event{Seq: round}))
		eventually(t, func() bool { _, found := events.Load(round); return found }, "events come again")
	}
	require.NoError(t, f.Health(t.Context()))
}

// What was told right before the end is told.
func TestClosePublishesInvalidations(t *testing.T) {
	a, b := pair(t)
	heard := make(chan ports.Invalidation, 100)
	t.Cleanup(b.Invalidator().Subscribe(func(h ports.Invalidation) { heard <- h }))
	for told := false; !told; {
		a.Invalidator().Publish(ports.Invalidation{Sessions: []string{"probe"}})
		select {
		case h := <-heard:
			told = len(h.Sessions) > 0
		case <-time.After(20 * time.Millisecond):
		}
	}
	a.Invalidator().Publish(ports.Invalidation{Users: []string{"u1"}})
	require.NoError(t, a.Close())
	limit := time.After(patience)
	for {
		select {
		case h := <-heard:
			if len(h.Users) == 1 {
				return
			}
		case <-limit:
			require.FailNow(t, "it was not told")
		}
	}
}

// What was told while Redis was away is told when it is back, if only that there was something.
func TestInvalidationsPublishedInVain(t *testing.T) {
	server := redistest.Shared(t)
	prefix := prefix()
	w := newWire(t, server.Addr())
	a, b := open(t, w.url(), prefix), open(t, server.URL(), prefix)
	heard := make(chan ports.Invalidation, 100)
	t.Cleanup(b.Invalidator().Subscribe(func(h ports.Invalidation) { heard <- h }))
	hears := func(tell ports.Invalidation, is func(h ports.Invalidation) bool) {
		t.Helper()
		for limit := time.After(patience); ; {
			a.Invalidator().Publish(tell)
			select {
			case h := <-heard:
				if is(h) {
					return
				}
			case <-time.After(20 * time.Millisecond):
			case <-limit:
				require.FailNow(t, "it was not told")
			}
		}
	}
	hears(ports.Invalidation{Sessions: []string{"probe"}}, func(h ports.Invalidation) bool { return len(h.Sessions) > 0 })
	w.cut()
	a.Invalidator().Publish(ports.Invalidation{Users: []string{"u1"}})
	time.Sleep(time.Second) // longer than until it is tried, in vain
	w.heal()
	hears(ports.Invalidation{}, func(h ports.Invalidation) bool { return h.All })
}

// A coordination that is closed counts and forgets like one without Redis.
func TestClosed(t *testing.T) {
	f, err := redis.Open(t.Context(), redistest.Shared(t).URL(), redis.Options{Prefix: prefix()})
	require.NoError(t, err)
	var racing sync.WaitGroup
	for range 8 {
		racing.Go(func() {
			for range 200 {
				_, err := f.Limiter().AllowN(t.Context(), "k", time.Now(), time.Hour, 10_000, 1)
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	require.NoError(t, f.Close())
	require.NoError(t, f.Close())
	racing.Wait()
	put(t, f, "s1", 1)
	require.EqualValues(t, 1, revOf(t, f, "s1"))
	require.Error(t, f.Bus().Publish(t.Context(), domain.Event{}))
	require.Error(t, f.Health(t.Context()))
	f.Invalidator().Publish(ports.Invalidation{All: true})
	f.Invalidator().Subscribe(func(ports.Invalidation) {})()
	f.Bus().Subscribe(func(domain.Event) {})()
}

// Redis does not keep the channels of its databases apart.
func TestDatabasesAreApart(t *testing.T) {
	server := redistest.Shared(t)
	prefix := prefix()
	f := open(t, server.URL(), prefix)
	other := open(t, strings.TrimSuffix(server.URL(), "0")+"1", prefix)
	var got sync.Map
	t.Cleanup(f.Bus().Subscribe(func(e domain.Event) { got.Store(e.SessionID, true) }))
	for seen := false; !seen; _, seen = got.Load("ours") {
		require.NoError(t, other.Bus().Publish(t.Context(), domain.Event{SessionID: "theirs"}))
		require.NoError(t, f.Bus().Publish(t.Context(), domain.Event{SessionID: "ours"}))
		time.Sleep(time.Millisecond)
	}
	_, found := got.Load("theirs")
	require.False(t, found)
}

func TestURL(t *testing.T) {
	for _, good := range []string{
		"redis://127.0.0.1:6379", "redis://user:s3cret@host:6379/3", "rediss://:s3cret@host", "unix:///run/redis.sock?db=1",
		"redis://:s3cret@host?dial_timeout=2s&pool_size=5", "redis://u:s3cret%2F%40@n1:7000?addr=n2:7000&addr=n3:7000",
		"rediss://u:s3cret@sentinel:26379/2?master_name=main&addr=sentinel2:26379&password=s3cret",
	} {
		require.NoError(t, redis.Check(good), good)
	}
	for bad, reason := range map[string]string{
		"":                                          "redis://",
		"host:6379":                                 "redis://",
		"http://u:s3cret@host":                      "scheme",
		"redis://u:s3cret@host/x":                   "database number",
		"redis://u:s3cret@host/1/2":                 "path",
		"redis://u:s3cret@host?foo=1":               "foo",
		"redis://u:1/s3cret@host:6379/0":            "percent-encode",
		"redis://u:s3cret/x@host:6379/0":            "percent-encode",
		"redis://u:1?s3cret@host":                   "percent-encode",
		"redis://u:%s3cret@host":                    "percent-encode",
		"redis://u:s3cret":                          "percent-encode",
		"redis://u:s3cret@host:port":                "percent-encode",
		"redis://h?master_name=m&password=1&s3cret": "percent-encode",
		"redis://u:s3cret@h?addr=nowhere":           "addr",
	} {
		for _, err := range []error{redis.Check(bad), func() error {
			_, err := redis.Open(t.Context(), bad, redis.Options{})
			return err
		}()} {
			require.ErrorContains(t, err, reason, bad)
			require.NotContains(t, err.Error(), "s3cret", bad)
		}
	}
}

func TestPasswordIsNotTold(t *testing.T) {
	server := redistest.Start(t, "--requirepass", "r1ght")
	url := func(password string) string { return "redis://:" + password + "@" + server.Addr() }
	f, log := openLogged(t, url("r1ght"), prefix())
	require.NoError(t, f.Health(t.Context()))
	server.Kill()
	err := f.Health(t.Context())
	require.Error(t, err)
	require.NotContains(t, log.String()+err.Error(), "r1ght")

	require.NoError(t, server.Restart())
	waitUntilUp(t, f)
	f, log = openLogged(t, url("wr0ng"), prefix())
	err = f.Health(t.Context())
	require.ErrorContains(t, err, "WRONGPASS")
	require.NotContains(t, log.String()+err.Error(), "wr0ng")
}

func TestNotAllowedToSubscribe(t *testing.T) {
	server := redistest.Start(t, "--user", "limited", "on", ">pw", "allkeys", "allcommands", "-subscribe")
	f, log := openLogged(t, "redis://limited:pw@"+server.Addr(), prefix())
	eventually(t, func() bool { return strings.Contains(log.String(), "is the user allowed to?") }, "somebody has to know")
	require.NoError(t, f.Health(t.Context()))
	require.Equal(t, 1, take(t, f, "k", 1).Used)
}

// A replica takes over, and the coordination with it.
func TestSentinel(t *testing.T) {
	main := redistest.Start(t)
	host, port, _ := strings.Cut(main.Addr(), ":")
	other := redistest.Start(t, "--replicaof", host+" "+port, "--repl-diskless-sync-delay", "0")
	config := filepath.Join(t.TempDir(), "sentinel.conf")
	require.NoError(t, os.WriteFile(config, []byte("sentinel monitor main "+host+" "+port+" 1\n"+
		"sentinel down-after-milliseconds main 300\nsentinel failover-timeout main 2000\n"), 0o600))
	sentinel := redistest.Start(t, config, "--sentinel")
	c := goredis.NewSentinelClient(&goredis.Options{Addr: sentinel.Addr()})
	t.Cleanup(func() { _ = c.Close() })
	eventually(t, func() bool {
		replicas, err := c.Replicas(t.Context(), "main").Result()
		return err == nil && len(replicas) == 1 && replicas[0]["master-link-status"] == "ok"
	}, "the sentinel knows the replica")

	prefix, url := prefix(), "redis://"+sentinel.Addr()+"?master_name=main"
	a, b := open(t, url, prefix), open(t, url, prefix)
	require.NoError(t, a.Health(t.Context()))
	take(t, a, "k", 5)
	require.Equal(t, 6, take(t, b, "k", 1).Used)
	require.NoError(t, client(t, main.Addr()).Wait(t.Context(), 1, patience).Err())
	main.Kill()
	take(t, a, "other", 1)
	eventually(t, func() bool {
		addr, err := c.GetMasterAddrByName(t.Context(), "main").Result()
		return err == nil && strings.Join(addr, ":") == other.Addr()
	}, "the replica takes over")
	waitUntilUp(t, a)
	waitUntilUp(t, b)
	require.Equal(t, 7, take(t, b, "k", 1).Used, "nothing was lost")
	put(t, a, "s1", 1)
	eventually(t, func() bool { return revOf(t, b, "s1") == 1 }, "routes are shared again")
}

// Nobody waits long for a server that does not answer, and nobody twice.
func TestSlowRedis(t *testing.T) {
	server := redistest.Start(t)
	f := openWith(t, server.URL(), redis.Options{})
	server.Pause()
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	start := time.Now()
	for range 100 {
		_, err := f.Routes().Get(ctx, "s1")
		require.ErrorIs(t, err, ports.ErrNotFound)
		_, err = f.Limiter().AllowN(ctx, "k", time.Now(), time.Hour, 100, 1)
		require.NoError(t, err)
	}
	require.Less(t, time.Since(start), 3*time.Second)
	require.Equal(t, 100, take(t, f, "k", 0).Used)
}
