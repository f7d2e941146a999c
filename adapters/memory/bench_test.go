package memory_test

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/memory"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// BenchmarkSend runs the two Updates of a send: one inserts a message, the other updates it after the worker's answer.
func BenchmarkSend(b *testing.B) {
	for _, senders := range []int{1, 32} {
		b.Run(fmt.Sprintf("senders=%d", senders), func(b *testing.B) {
			s := newStore(b)
			const sessions = 1000
			for i := range sessions {
				require.NoError(b, s.Update(b.Context(), func(ctx context.Context, tx *ports.Tx) error {
					return tx.Sessions.Put(ctx, domain.NewSession(fmt.Sprint("session-", i), "u1", "Session", "", noon))
				}))
			}
			ids := make([]string, b.N)
			for i := range ids {
				ids[i] = fmt.Sprintf("0190f3f0-aaaa-7bbb-8ccc-%012d", i)
			}
			sessionIDs := make([]string, sessions)
			for i := range sessionIDs {
				sessionIDs[i] = fmt.Sprint("session-", i)
			}
			var next atomic.Int64
			b.SetParallelism(max(senders/runtime.GOMAXPROCS(0), 1))
			if senders == 1 {
				defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
			}
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				m := &domain.Message{
					UserID: "u1", Direction: domain.Outbound, From: "6281100000000@s.whatsapp.net",
					To: "6281234567890@s.whatsapp.net", Type: domain.TypeText, Content: "Hello",
				}
				insert := func(ctx context.Context, tx *ports.Tx) error { m.Rev = 0; return tx.Messages.Put(ctx, m) }
				rev := int64(0)
				change := func(ctx context.Context, tx *ports.Tx) error { m.Rev = rev; return tx.Messages.Put(ctx, m) }
				for pb.Next() {
					i := next.Add(1) - 1
					m.ID, m.SessionID, m.WhatsAppID = ids[i], sessionIDs[i%sessions], ""
					m.Status, m.CreatedAt, m.SentAt = domain.MessagePending, noon.Add(time.Duration(i)*time.Microsecond), time.Time{}
					if err := s.Update(b.Context(), insert); err != nil {
						b.Error(err)
					}
					rev = m.Rev
					m.WhatsAppID, m.Status, m.SentAt = ids[i][10:], domain.MessageSent, m.CreatedAt
					if err := s.Update(b.Context(), change); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}

func BenchmarkView(b *testing.B) {
	s := newStore(b)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		get := func(ctx context.Context, tx *ports.Tx) error { _, err := tx.Sessions.Get(ctx, "s1"); return err }
		for pb.Next() {
			if err := s.View(b.Context(), get); err != nil {
				b.Error(err)
			}
		}
	})
}

func BenchmarkSessionPut(b *testing.B) {
	s, _ := fleet(b, 100_000)
	var sessions []*domain.Session
	require.NoError(b, s.View(b.Context(), func(ctx context.Context, tx *ports.Tx) (err error) {
		sessions, _, err = tx.Sessions.List(ctx, ports.SessionFilter{}, ports.Page{Limit: 10_000})
		return err
	}))
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		v := sessions[i%len(sessions)]
		i++
		v.DueAt = noon.Add(time.Duration(i*7919%10_000) * time.Second)
		if err := s.Update(b.Context(), func(ctx context.Context, tx *ports.Tx) error { return tx.Sessions.Put(ctx, v) }); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSessionsDue(b *testing.B) {
	s, _ := fleet(b, 100_000)
	b.ReportAllocs()
	for b.Loop() {
		if err := s.View(b.Context(), func(ctx context.Context, tx *ports.Tx) error {
			_, err := tx.Sessions.Due(ctx, noon.Add(time.Hour), 100)
			return err
		}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkFleet reports the memory of a session.
func BenchmarkFleet(b *testing.B) {
	const sessions = 100_000
	var bytes uint64
	for b.Loop() {
		var s *memory.Store
		s, bytes = fleet(b, sessions)
		runtime.KeepAlive(s)
	}
	b.ReportMetric(float64(bytes)/sessions, "B/session")
}

// fleet returns a store with so many sessions, all assigned and due, and the size of its memory in bytes.
func fleet(tb testing.TB, sessions int) (*memory.Store, uint64) {
	tb.Helper()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	s := newStore(tb)
	for i := range sessions {
		v := domain.NewSession(fmt.Sprintf("session-%06d-abcd1234", i), "u1", "Support line", "", noon.Add(time.Duration(i)*time.Second))
		v.Status, v.WorkerID, v.Generation = domain.Connected, workerIDs[i%len(workerIDs)], 1
		v.PhoneNumber, v.DueAt = fmt.Sprintf("6281234%06d", i), noon.Add(time.Duration(i%3600)*time.Second)
		require.NoError(tb, s.Update(tb.Context(), func(ctx context.Context, tx *ports.Tx) error { return tx.Sessions.Put(ctx, v) }))
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	return s, after.HeapAlloc - before.HeapAlloc
}

var workerIDs = func() (ids []string) {
	for i := range 1000 {
		ids = append(ids, fmt.Sprint("worker-", i))
	}
	return ids
}()

func BenchmarkLimiterAllowN(b *testing.B) {
	l := memory.NewLimiter()
	keys := make([]string, 1000)
	for i := range keys {
		keys[i] = fmt.Sprint("messages:user-", i)
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			if _, err := l.AllowN(b.Context(), keys[i%len(keys)], noon, time.Hour, 1<<40, 1); err != nil {
				b.Error(err)
			}
		}
	})
}

func BenchmarkLimiterAllowN_NewKeys(b *testing.B) {
	l := memory.NewLimiter()
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i++
		at := noon.Add(time.Duration(i) * 10 * time.Millisecond)
		if _, err := l.AllowN(b.Context(), fmt.Sprint("key ", i), at, time.Hour, 10, 1); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(memory.Windows(l)), "windows")
}

func BenchmarkRoutesGet(b *testing.B) {
	r := memory.NewRoutes()
	require.NoError(b, r.Put(b.Context(), ports.Route{SessionID: "s1", WorkerID: "w1", Rev: 1}))
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := r.Get(b.Context(), "s1"); err != nil {
				b.Error(err)
			}
		}
	})
}
