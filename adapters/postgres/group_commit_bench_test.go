package postgres_test

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/switchyard-wa/switchyard/adapters/internal/storebench"
	"github.com/switchyard-wa/switchyard/adapters/postgres"
	"github.com/switchyard-wa/switchyard/adapters/postgres/postgrestest"
)

const (
	updateRounds   = 7                      // the median round counts
	updateMeasured = 700 * time.Millisecond // for one variant in a round
	updateSessions = 1000
	// worthwhile is the gain below which plain transactions should replace group commit.
	worthwhile = 1.3
)

// BenchmarkUpdate compares group commit with plain transactions. Each caller does the two Updates of a send, again and
// again: it inserts a message that is PENDING, and updates the message to SENT. Variants alternate within each round.
// Plain transactions use several sizes of the connection pool; the best one counts.
func BenchmarkUpdate(b *testing.B) {
	server := startDurable(b)
	for _, callers := range []int{32, 256} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) { compareUpdates(b, server, callers) })
	}
}

func compareUpdates(b *testing.B, server *postgrestest.Server, callers int) {
	dsn := server.NewDatabase(b)
	grouped := open(b, dsn)
	storebench.Seed(b, grouped, updateSessions)
	pools := []int{8, 16, 32, 64}
	plain := make([]*postgres.Store, len(pools))
	for i, size := range pools {
		plain[i] = open(b, dsn+"&pool_max_conns="+strconv.Itoa(size))
	}
	groupRates, plainRates := []float64{}, make([][]float64, len(pools))
	for range updateRounds {
		groupRates = append(groupRates, storebench.SendRate(b, callers, updateSessions, updateMeasured, grouped.Update))
		for i, s := range plain {
			plainRates[i] = append(plainRates[i], storebench.SendRate(b, callers, updateSessions, updateMeasured, s.UpdateIndividually))
		}
	}
	best := 0
	for i, rates := range plainRates {
		if storebench.Median(rates) > storebench.Median(plainRates[best]) {
			best = i
		}
	}
	ratios := make([]float64, updateRounds)
	for i := range ratios {
		ratios[i] = groupRates[i] / plainRates[best][i]
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(storebench.Median(groupRates), "group-updates/s")
	b.ReportMetric(storebench.Median(plainRates[best]), "plain-updates/s")
	b.ReportMetric(float64(pools[best]), "plain-conns")
	b.ReportMetric(storebench.Median(ratios), "group/plain")
	if ratio := storebench.Median(ratios); ratio < worthwhile {
		b.Logf("SHORTFALL: group commit over plain transactions is %.2f, should be at least %.2f", ratio, worthwhile)
	}
}
