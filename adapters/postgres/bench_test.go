package postgres_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/postgres"
	"github.com/switchyard-wa/switchyard/adapters/postgres/postgrestest"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// goroutines is the number of concurrent writers.
const goroutines = 32

// parallel spreads b.N runs of fn over all goroutines.
func parallel(b *testing.B, fn func(goroutine int) error) {
	var failure atomic.Value
	remaining := atomic.Int64{}
	remaining.Store(int64(b.N))
	done := make(chan struct{})
	b.ReportAllocs()
	b.ResetTimer()
	for g := range goroutines {
		go func() {
			defer func() { done <- struct{}{} }()
			for remaining.Add(-1) >= 0 {
				if err := fn(g); err != nil {
					failure.Store(err)
					return
				}
			}
		}()
	}
	for range goroutines {
		<-done
	}
	b.StopTimer()
	if err := failure.Load(); err != nil {
		b.Fatal(err)
	}
}

// seed stores a user and sessions on many workers.
func seed(b testing.TB, s ports.Store, sessions int) {
	b.Helper()
	for first := 0; first < sessions; first += 1000 {
		require.NoError(b, s.Update(b.Context(), func(ctx context.Context, tx *ports.Tx) error {
			if first == 0 {
				if err := tx.Users.Put(ctx, &domain.User{ID: "user", Email: "user@example.com"}); err != nil {
					return err
				}
			}
			for i := first; i < min(first+1000, sessions); i++ {
				now := time.UnixMicro(1_700_000_000_000_000 + int64(i))
				c := domain.NewSession(sessionID(i), "user", fmt.Sprintf("Session %d", i), "One of very many sessions", now)
				c.Intent, c.Status, c.WorkerID, c.Generation = domain.Up, domain.Connected, fmt.Sprintf("worker-%d", i%2000), 1
				c.PhoneNumber, c.DisplayName, c.CredentialsWorkerID = fmt.Sprintf("49151%08d", i), "Somebody", c.WorkerID
				c.AssignedAt, c.LastReportWorkerTime, c.LastReportAppliedAt, c.LastSeenAt = now, now, now, now
				if err := tx.Sessions.Put(ctx, c); err != nil {
					return err
				}
			}
			return nil
		}))
	}
}

func sessionID(i int) string { return fmt.Sprintf("support-%06d-x7k2m9qa", i*7919%1_000_003) }

func message(session int) *domain.Message {
	return &domain.Message{
		ID: uuid.Must(uuid.NewV7()).String(), SessionID: sessionID(session), UserID: "user", Direction: domain.Outbound,
		From: "4915112345678@s.whatsapp.net", To: "4915187654321@s.whatsapp.net", Type: domain.TypeText,
		Content: "Hello, this is an ordinary message of an ordinary length.", Status: domain.MessagePending, CreatedAt: time.Now(),
	}
}

// BenchmarkMessage measures the two Updates of a send as one operation, with few sessions and with many.
func BenchmarkMessage(b *testing.B) {
	for _, sessions := range []int{goroutines, 10_000} {
		b.Run(fmt.Sprintf("sessions=%d", sessions), func(b *testing.B) {
			s := openDurable(b)
			seed(b, s, sessions)
			var n atomic.Int64
			parallel(b, func(int) error {
				return sendMessage(b.Context(), int(n.Add(1))%sessions, s.Update)
			})
			b.ReportMetric(2*float64(b.N)/b.Elapsed().Seconds(), "updates/s")
		})
	}
}

// BenchmarkHeartbeat measures the Update of a heartbeat that changes no session.
func BenchmarkHeartbeat(b *testing.B) {
	s := openDurable(b)
	workers := make([]*domain.Worker, goroutines)
	for i := range workers {
		workers[i] = &domain.Worker{
			ID: fmt.Sprintf("worker-%d", i), Endpoint: fmt.Sprintf("http://10.0.0.%d:8001", i), Capacity: 50,
			Version: "1.2.3", Environment: "production", Labels: map[string]string{"pool": "max"},
			Capabilities: []domain.Capability{domain.CapLease, domain.CapGeneration}, Interval: 30 * time.Second,
			Online: true, CreatedAt: time.Now(),
		}
	}
	parallel(b, func(g int) error {
		w := workers[g]
		w.LastHeartbeat, w.CPU, w.Memory, w.ReportedBreakdown = time.Now(), 12, 40, &domain.Breakdown{Total: 50, Connected: 50}
		return s.Update(b.Context(), func(ctx context.Context, tx *ports.Tx) error { return tx.Workers.Put(ctx, w) })
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "updates/s")
}

// BenchmarkEachAssigned loads 100 000 sessions, as a control plane does at its start.
func BenchmarkEachAssigned(b *testing.B) {
	const sessions = 100_000
	s := openDurable(b)
	seed(b, s, sessions)
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		require.NoError(b, s.View(b.Context(), func(ctx context.Context, tx *ports.Tx) error {
			return tx.Sessions.EachAssigned(ctx, func(*domain.Session) error {
				n++
				return nil
			})
		}))
		require.Equal(b, sessions, n)
	}
}

// BenchmarkGetSession reads one of 10 000 sessions, on all CPUs.
func BenchmarkGetSession(b *testing.B) {
	const sessions = 10_000
	s := openDurable(b)
	seed(b, s, sessions)
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

// startDurable starts a server that waits for the disk.
func startDurable(b *testing.B) *postgrestest.Server {
	b.Helper()
	return postgrestest.Start(b, "fsync=on", "full_page_writes=on", "max_wal_size=4GB")
}

// openDurable opens a store on a server that waits for the disk.
func openDurable(b *testing.B) *postgres.Store {
	b.Helper()
	return open(b, startDurable(b).NewDatabase(b))
}
