// Package storebench holds the benchmarks that stores in databases share, so that their figures can be compared. A store's own
// benchmarks call them with a function that opens an empty store.
package storebench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// Open opens an empty store, which is closed with the benchmark.
type Open func(b *testing.B) ports.Store

// Update is the method Update of a store.
type Update func(ctx context.Context, fn func(ctx context.Context, tx *ports.Tx) error) error

// writers is the number of concurrent goroutines of the benchmarks that write.
const writers = 32

// Message measures the two Updates of a send as one operation, with few sessions and with many.
func Message(b *testing.B, open Open) {
	for _, sessions := range []int{writers, 10_000} {
		b.Run(fmt.Sprintf("sessions=%d", sessions), func(b *testing.B) {
			s := open(b)
			Seed(b, s, sessions)
			var n atomic.Int64
			parallel(b, func(int) error { return Send(b.Context(), int(n.Add(1))%sessions, s.Update) })
			b.ReportMetric(2*float64(b.N)/b.Elapsed().Seconds(), "updates/s")
		})
	}
}

// Heartbeat measures the Update of a heartbeat that changes no session.
func Heartbeat(b *testing.B, open Open) {
	s := open(b)
	workers := make([]*domain.Worker, writers)
	for i := range workers {
		workers[i] = &domain.Worker{
			ID: fmt.Sprintf("worker-%d", i), Endpoint: fmt.Sprintf("http://10.0.0.%d:8001", i), Capacity: 50,
			Version: "1.2.3", Environment: "production", Labels: map[string]string{"pool": "max"},
			Capabilities: []domain.Capability{domain.CapLease, domain.CapGeneration}, Interval: 30 * time.Second,
			Online: true, CreatedAt: time.Now(),
		}
	}
	parallel(b, func(writer int) error {
		w := workers[writer]
		w.LastHeartbeat, w.CPU, w.Memory, w.ReportedBreakdown = time.Now(), 12, 40, &domain.Breakdown{Total: 50, Connected: 50}
		return s.Update(b.Context(), func(ctx context.Context, tx *ports.Tx) error { return tx.Workers.Put(ctx, w) })
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "updates/s")
}

// EachAssigned measures the read of 100 000 sessions, which a control plane does when it starts.
func EachAssigned(b *testing.B, open Open) {
	const sessions = 100_000
	s := open(b)
	Seed(b, s, sessions)
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		err := s.View(b.Context(), func(ctx context.Context, tx *ports.Tx) error {
			return tx.Sessions.EachAssigned(ctx, func(*domain.Session) error {
				n++
				return nil
			})
		})
		if err != nil || n != sessions {
			b.Fatal(n, err)
		}
	}
}

// GetSession measures the read of one of 10 000 sessions, on all processors.
func GetSession(b *testing.B, open Open) {
	const sessions = 10_000
	s := open(b)
	Seed(b, s, sessions)
	var n atomic.Int64
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			id := sessionID(int(n.Add(1)) % sessions)
			err := s.View(b.Context(), func(ctx context.Context, tx *ports.Tx) error {
				_, err := tx.Sessions.Get(ctx, id)
				return err
			})
			if err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// parallel runs fn b.N times in all, in several goroutines. fn receives the number of its goroutine.
func parallel(b *testing.B, fn func(writer int) error) {
	var remaining atomic.Int64
	remaining.Store(int64(b.N))
	b.ReportAllocs()
	b.ResetTimer()
	var wg sync.WaitGroup
	for writer := range writers {
		wg.Go(func() {
			for remaining.Add(-1) >= 0 {
				if err := fn(writer); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
}

// Seed inserts a user with sessions, which are assigned to up to 2 000 workers.
func Seed(tb testing.TB, s ports.Store, sessions int) {
	tb.Helper()
	const batch = 1000
	for first := 0; first < sessions; first += batch {
		err := s.Update(tb.Context(), func(ctx context.Context, tx *ports.Tx) error {
			if first == 0 {
				if err := tx.Users.Put(ctx, &domain.User{ID: "user", Email: "user@example.com"}); err != nil {
					return err
				}
			}
			for i := first; i < min(first+batch, sessions); i++ {
				if err := tx.Sessions.Put(ctx, newSession(i)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			tb.Fatal(err)
		}
	}
}

func sessionID(i int) string { return fmt.Sprintf("support-%06d-x7k2m9qa", i*7919%1_000_003) }

func newSession(i int) *domain.Session {
	now := time.UnixMicro(1_700_000_000_000_000 + int64(i))
	s := domain.NewSession(sessionID(i), "user", fmt.Sprintf("Session %d", i), "One of very many sessions", now)
	s.Intent, s.Status, s.WorkerID, s.Generation = domain.Up, domain.Connected, fmt.Sprintf("worker-%d", i%2000), 1
	s.PhoneNumber, s.DisplayName, s.CredentialsWorkerID = fmt.Sprintf("49151%08d", i), "Display name", s.WorkerID
	s.AssignedAt, s.LastReportWorkerTime, s.LastReportAppliedAt, s.LastSeenAt = now, now, now, now
	return s
}

// Send runs the two Updates of a send by a seeded session: one inserts a message that is PENDING, the other updates it to SENT
// and records the event.
func Send(ctx context.Context, session int, update Update) error {
	m := &domain.Message{
		ID: uuid.Must(uuid.NewV7()).String(), SessionID: sessionID(session), UserID: "user", Direction: domain.Outbound,
		From: "4915112345678@s.whatsapp.net", To: "4915187654321@s.whatsapp.net", Type: domain.TypeText,
		Content: "Hello, this is an ordinary message of an ordinary length.", Status: domain.MessagePending, CreatedAt: time.Now(),
	}
	err := update(ctx, func(ctx context.Context, tx *ports.Tx) error { return tx.Messages.Put(ctx, m) })
	if err != nil {
		return err
	}
	pending, now := *m, time.Now()
	m.WhatsAppID = fmt.Sprintf("3EB0%016X", rand.Uint64()) // as workers make them
	m.TransitionTo(domain.MessageSent, now, "")
	return update(ctx, func(ctx context.Context, tx *ports.Tx) error {
		if err := tx.Messages.Put(ctx, m); err != nil {
			return err
		}
		return tx.Outbox.Append(ctx, domain.MessageEvents(&pending, m, now)...)
	})
}

// SendRate returns the Updates per second of concurrent callers of [Send], for seeded sessions.
func SendRate(b *testing.B, callers, sessions int, duration time.Duration, update Update) float64 {
	b.Helper()
	var sent atomic.Int64
	var wg sync.WaitGroup
	start := time.Now()
	for caller := range callers {
		wg.Go(func() {
			for n := 0; time.Since(start) < duration; n++ {
				if err := Send(b.Context(), (caller+n*callers)%sessions, update); err != nil {
					b.Error(err)
					return
				}
				sent.Add(1)
			}
		})
	}
	wg.Wait()
	return 2 * float64(sent.Load()) / time.Since(start).Seconds()
}

// Median returns the median of values.
func Median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}
