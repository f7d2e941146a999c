package sqlite

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/internal/storebench"
	"github.com/switchyard-wa/switchyard/ports"
)

const (
	benchmarkRounds   = 7 // the median round counts
	benchmarkDuration = 500 * time.Millisecond
	benchmarkSessions = 1000
)

// BenchmarkGroupCommit compares group commit with a commit for each Update. Each caller does the two Updates of a send, again
// and again. Both variants alternate within each round, on files of their own.
func BenchmarkGroupCommit(b *testing.B) {
	for _, callers := range []int{1, 32, 256} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			grouped, single := openForGroups(b, maxGroupSize), openForGroups(b, 1)
			var groupRates, singleRates, ratios []float64
			for range benchmarkRounds {
				g := storebench.SendRate(b, callers, benchmarkSessions, benchmarkDuration, grouped.Update)
				s := storebench.SendRate(b, callers, benchmarkSessions, benchmarkDuration, single.Update)
				groupRates, singleRates, ratios = append(groupRates, g), append(singleRates, s), append(ratios, g/s)
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(storebench.Median(groupRates), "group-updates/s")
			b.ReportMetric(storebench.Median(singleRates), "single-updates/s")
			b.ReportMetric(storebench.Median(ratios), "group/single")
		})
	}
}

// openForGroups opens a seeded store whose groups have at most groupSize Updates.
func openForGroups(b *testing.B, groupSize int) *Store {
	b.Helper()
	s, err := Open(b.Context(), filepath.Join(b.TempDir(), "store.db"), Options{Migrate: true})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, s.Close()) })
	storebench.Seed(b, s, benchmarkSessions)
	require.NoError(b, s.Update(b.Context(), func(context.Context, *ports.Tx) error {
		s.writer.groupSize = groupSize // Updates run in the goroutine that reads it
		return nil
	}))
	return s
}
