package redis_test

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/redis/redistest"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// BenchmarkAllowN compares AllowN, whose calls share round trips, with a round trip of the smallest script for each call.
func BenchmarkAllowN(b *testing.B) {
	server := redistest.Shared(b)
	limiter := open(b, server.URL(), prefix()).Limiter()
	c := client(b, server.Addr())
	keys := make([]string, 1000)
	for i := range keys {
		keys[i] = fmt.Sprint(prefix(), "messages:user-", i)
	}
	now := time.Now()
	for _, callers := range []int{1, 32} {
		b.Run(fmt.Sprintf("shared round trips/callers=%d", callers), func(b *testing.B) {
			measure(b, c, callers, func(i int) error {
				_, err := limiter.AllowN(b.Context(), keys[i%len(keys)], now, time.Hour, 1<<40, 1)
				return err
			})
		})
		smallest := goredis.NewScript("return redis.call('INCR', KEYS[1])")
		b.Run(fmt.Sprintf("a round trip each/callers=%d", callers), func(b *testing.B) {
			measure(b, c, callers, func(i int) error {
				return smallest.Run(b.Context(), c, []string{keys[i%len(keys)] + "-plain"}, now.UnixMilli(), 3_600_000, 1).Err()
			})
		})
	}
}

// measure makes callers run do b.N times in all. It reports the processor time of this process and of Redis.
func measure(b *testing.B, c *goredis.Client, callers int, do func(i int) error) {
	b.ReportAllocs()
	b.ResetTimer()
	ours, redisTime := processorTime(b), redisProcessorTime(b, c)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
				if err := do(int(i)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(processorTime(b)-ours)/float64(b.N), "cpu-ns/op")
	b.ReportMetric(float64(redisProcessorTime(b, c)-redisTime)/float64(b.N), "redis-ns/op")
}

func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func redisProcessorTime(b *testing.B, c *goredis.Client) (sum time.Duration) {
	info, err := c.Info(b.Context(), "cpu").Result()
	require.NoError(b, err)
	for _, line := range strings.Fields(info) {
		name, value, _ := strings.Cut(line, ":")
		if name == "used_cpu_user" || name == "used_cpu_sys" {
			seconds, err := strconv.ParseFloat(value, 64)
			require.NoError(b, err)
			sum += time.Duration(seconds * float64(time.Second))
		}
	}
	return sum
}

func BenchmarkAllowN_RedisUnavailable(b *testing.B) {
	limiter := openWithoutRedis(b).Limiter()
	keys := make([]string, 1000)
	for i := range keys {
		keys[i] = fmt.Sprint("messages:user-", i)
	}
	now := time.Now()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			if _, err := limiter.AllowN(b.Context(), keys[i%len(keys)], now, time.Hour, 1<<40, 1); err != nil {
				b.Error(err)
			}
		}
	})
}

func BenchmarkRoutes(b *testing.B) {
	routes := open(b, redistest.Shared(b).URL(), prefix()).Routes()
	route := ports.Route{
		SessionID: "0190f3f0-aaaa-7bbb-8ccc-0123456789ab", UserID: "0190f3f0-aaaa-7bbb-8ccc-0123456789ab", WorkerID: "worker-1",
		Generation: 3, Status: domain.Connected, Phone: "6281234567890", Rev: 1,
	}
	b.Run("put", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			route.Rev++
			require.NoError(b, routes.Put(b.Context(), route))
		}
	})
	b.Run("get", func(b *testing.B) { // includes one read of Redis a second
		require.NoError(b, routes.Put(b.Context(), route))
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := routes.Get(b.Context(), route.SessionID); err != nil {
					b.Error(err)
				}
			}
		})
	})
}

func BenchmarkInvalidatorPublish(b *testing.B) {
	invalidator := open(b, redistest.Shared(b).URL(), prefix()).Invalidator()
	invalidation := ports.Invalidation{Sessions: []string{"0190f3f0-aaaa-7bbb-8ccc-0123456789ab"}, Workers: []string{"worker-1"}}
	b.ReportAllocs()
	for b.Loop() {
		invalidator.Publish(invalidation)
	}
}
