package sqlite

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// BenchmarkGroupCommit compares group commit with a commit for each Update. An operation is one send: an Update inserts a
// message, another one updates it. Both kinds alternate within each round on files of their own; the median round counts.
func BenchmarkGroupCommit(b *testing.B) {
	for _, callers := range []int{1, 32, 256} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			const rounds, duration = 7, 500 * time.Millisecond
			grouped, single := openForGroups(b, maxGroupSize), openForGroups(b, 1)
			var rates, singleRates, ratios []float64
			for b.Loop() {
				for range rounds {
					g, s := updatesPerSecond(b, grouped, callers, duration), updatesPerSecond(b, single, callers, duration)
					rates, singleRates, ratios = append(rates, g), append(singleRates, s), append(ratios, g/s)
				}
			}
			b.ReportMetric(median(rates), "grouped-updates/s")
			b.ReportMetric(median(singleRates), "single-updates/s")
			b.ReportMetric(median(ratios), "ratio")
		})
	}
}

func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}

// openForGroups opens a store with one session, whose groups have at most groupSize Updates.
func openForGroups(b *testing.B, groupSize int) *Store {
	b.Helper()
	s, err := Open(b.Context(), filepath.Join(b.TempDir(), "store.db"), Options{Migrate: true})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, s.Close()) })
	require.NoError(b, s.Update(b.Context(), func(ctx context.Context, tx *ports.Tx) error {
		s.writer.groupSize = groupSize // in the goroutine that uses it
		if err := tx.Users.Put(ctx, &domain.User{ID: "u1", Email: "u1@example.com"}); err != nil {
			return err
		}
		return tx.Sessions.Put(ctx, domain.NewSession("s1", "u1", "Session", "", time.Now()))
	}))
	return s
}

var messageIDs atomic.Int64

// updatesPerSecond measures the rate of Updates of concurrent senders.
func updatesPerSecond(b *testing.B, s *Store, callers int, duration time.Duration) float64 {
	var updates atomic.Int64
	var wg sync.WaitGroup
	start := time.Now()
	for range callers {
		wg.Go(func() {
			for time.Since(start) < duration {
				m := &domain.Message{
					ID: fmt.Sprintf("0190f3f0-aaaa-7bbb-8ccc-%012d", messageIDs.Add(1)), SessionID: "s1", UserID: "u1",
					Direction: domain.Outbound, From: "4915112345678@s.whatsapp.net", To: "4915187654321@s.whatsapp.net",
					Type: domain.TypeText, Content: "Hello, this is an ordinary message of an ordinary length.",
					Status: domain.MessagePending, CreatedAt: time.Now(),
				}
				put := func(ctx context.Context, tx *ports.Tx) error { return tx.Messages.Put(ctx, m) }
				if err := s.Update(b.Context(), put); err != nil {
					b.Error(err)
					return
				}
				m.WhatsAppID = m.ID[10:]
				m.TransitionTo(domain.MessageSent, time.Now(), "")
				if err := s.Update(b.Context(), put); err != nil {
					b.Error(err)
					return
				}
				updates.Add(2)
			}
		})
	}
	wg.Wait()
	return float64(updates.Load()) / time.Since(start).Seconds()
}
