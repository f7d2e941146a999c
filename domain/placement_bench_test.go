package domain_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
)

// A fleetRand returns plausible workers, the same for the same seed.
type fleetRand struct{ *rand.Rand }

func newFleetRand(seed uint64) fleetRand { return fleetRand{rand.New(rand.NewPCG(seed, seed))} }

func (r fleetRand) load(i int, now time.Time) domain.Load {
	l := domain.Load{
		WorkerID: fmt.Sprint("w", i), Status: domain.WorkerOnline,
		Used: r.IntN(45), Capacity: 50,
		CPU: r.Float64() * 90, Memory: r.Float64() * 90,
		HeartbeatAt: now.Add(-time.Duration(r.Int64N(int64(30 * time.Second)))),
		ChosenAt:    now.Add(-time.Duration(r.Int64N(int64(time.Hour)))),
		Labels:      map[string]string{"zone": string(rune('a' + i%4))},
	}
	l.Breakdown = &domain.Breakdown{Total: l.Used, QRRequired: r.IntN(3), Error: r.IntN(3)}
	switch i % 100 {
	case 1:
		l.Status = domain.WorkerOffline
	case 2:
		l.Status = domain.WorkerMaintenance
	case 3:
		l.HeartbeatAt = now.Add(-time.Hour)
	case 4:
		l.Breakdown = nil
	}
	if i%10_000 < 10 {
		l.Labels["pool"] = "max"
	}
	return l
}

// BenchmarkChoose measures a whole decision: choose a worker, record the choice, and put the load of
// one heartbeat. The fleet neither fills nor empties.
func BenchmarkChoose(b *testing.B) {
	for _, n := range []int{10_000, 100_000} {
		for _, c := range []struct {
			name     string
			strategy domain.Strategy
			req      domain.Request
		}{
			{"", domain.MultiFactor{}, domain.Request{}},
			{"/pool", domain.MultiFactor{}, domain.Request{Selector: map[string]string{"pool": "max"}}},
			{"/spread", domain.Spread{}, domain.Request{UserWorkers: map[string]int{"w5": 1, "w6": 2, "w7": 3}}},
			{"/avoid", domain.MultiFactor{}, domain.Request{Avoid: []string{"w5", "w6", "w7"}}},
		} {
			b.Run(fmt.Sprintf("workers=%d%s", n, c.name), func(b *testing.B) {
				rnd, now := newFleetRand(1), noon
				r := domain.NewRanking(c.strategy)
				loads := make([]domain.Load, n)
				for i := range loads {
					loads[i] = rnd.load(i, now)
					r.Put(loads[i])
				}
				r.Choose(c.req, now)
				b.ReportAllocs()
				b.ResetTimer()
				for range b.N {
					now = now.Add(time.Millisecond)
					id, ok := r.Choose(c.req, now)
					if ok {
						l, _ := r.Get(id)
						l.Used, l.ChosenAt = l.Used+1, now
						if l.Used > 48 {
							l.Used = 0 // its sessions end
						}
						r.Put(l)
					}
					l := loads[rnd.IntN(n)]
					l.HeartbeatAt = now
					r.Put(l)
				}
			})
		}
	}
}

// BenchmarkExplain measures a choice without the index.
func BenchmarkExplain(b *testing.B) {
	rnd := newFleetRand(1)
	loads := make([]domain.Load, 10_000)
	for i := range loads {
		loads[i] = rnd.load(i, noon)
	}
	for range b.N {
		domain.Explain(loads, domain.Request{}, domain.MultiFactor{}, noon)
	}
}
