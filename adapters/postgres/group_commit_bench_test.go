package postgres_test

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/switchyard-wa/switchyard/adapters/postgres"
	"github.com/switchyard-wa/switchyard/adapters/postgres/postgrestest"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

const (
	updateRounds   = 7                      // of which the median counts
	updateMeasured = 700 * time.Millisecond // for one variant in a round
	// worthwhile is the gain below which plain transactions should replace group commit.
	worthwhile = 1.3
)

// BenchmarkUpdate compares group commit with plain transactions. Each caller does the two Updates of a send, again and
// again: it inserts a message that is PENDING, and updates the message to SENT. Variants alternate within each round.
// Plain transactions are measured with several sizes of the connection pool, of which the best counts.
func BenchmarkUpdate(b *testing.B) {
	server := startDurable(b)
	for _, callers := range []int{32, 256} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) { compareUpdates(b, server, callers) })
	}
}

func compareUpdates(b *testing.B, server *postgrestest.Server, callers int) {
	dsn := server.NewDatabase(b)
	grouped := open(b, dsn)
	seed(b, grouped, 1000)
	pools := []int{8, 16, 32, 64}
	plain := make([]*postgres.Store, len(pools))
	for i, size := range pools {
		plain[i] = open(b, dsn+"&pool_max_conns="+strconv.Itoa(size))
	}
	groupRates, plainRates := []float64{}, make([][]float64, len(pools))
	for range updateRounds {
		groupRates = append(groupRates, sendRate(b, callers, grouped.Update))
		for i, s := range plain {
			plainRates[i] = append(plainRates[i], sendRate(b, callers, s.UpdateIndividually))
		}
	}
	best := 0
	for i, rates := range plainRates {
		if medianOf(rates) > medianOf(plainRates[best]) {
			best = i
		}
	}
	ratios := make([]float64, updateRounds)
	for i := range ratios {
		ratios[i] = groupRates[i] / plainRates[best][i]
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(medianOf(groupRates), "group-updates/s")
	b.ReportMetric(medianOf(plainRates[best]), "plain-updates/s")
	b.ReportMetric(float64(pools[best]), "plain-conns")
	b.ReportMetric(medianOf(ratios), "group/plain")
	if ratio := medianOf(ratios); ratio < worthwhile {
		b.Logf("SHORTFALL: group commit over plain transactions is %.2f, should be at least %.2f", ratio, worthwhile)
	}
}

// sendRate returns the Updates per second of so many concurrent callers.
func sendRate(b *testing.B, callers int, update func(context.Context, func(context.Context, *ports.Tx) error) error) float64 {
	var sent atomic.Int64
	var wg sync.WaitGroup
	began := time.Now()
	for caller := range callers {
		wg.Go(func() {
			for n := 0; time.Since(began) < updateMeasured; n++ {
				if err := sendMessage(b.Context(), (caller+n*callers)%1000, update); err != nil {
					b.Error(err)
					return
				}
				sent.Add(1)
			}
		})
	}
	wg.Wait()
	return 2 * float64(sent.Load()) / time.Since(began).Seconds()
}

// sendMessage does the two Updates of a send.
func sendMessage(ctx context.Context, session int, update func(context.Context, func(context.Context, *ports.Tx) error) error) error {
	m := message(session)
	put := func(ctx context.Context, tx *ports.Tx) error { return tx.Messages.Put(ctx, m) }
	if err := update(ctx, put); err != nil {
		return err
	}
	m.WhatsAppID = "3EB0" + m.ID
	m.TransitionTo(domain.MessageSent, time.Now(), "")
	return update(ctx, put)
}

func medianOf(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	return s[len(s)/2]
}
