package main_test

import (
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/simworker"
)

// BenchmarkFailover kills a worker at a random time between two probes. It measures
// for each of its sessions the time until the session starts on the other worker,
// which takes all of them.
func BenchmarkFailover(b *testing.B) {
	for _, c := range []struct {
		name   string
		z      size
		probes time.Duration
	}{
		{"Sessions=200", size{users: 10, each: 20}, 5 * time.Second},
		{"Sessions=40/Quick", size{users: 2, each: 20, timing: []string{"--probe-interval", "300ms", "--failover-delay", "500ms"}}, 300 * time.Millisecond},
	} {
		b.Run(c.name, func(b *testing.B) {
			const crashes = 10 // per iteration
			c.z.replicas, c.z.workers, c.z.capacity = 3, 1, 250
			s := newScene(b, c.z)
			workload := newWorkload(s)
			s.size.workers = 2
			s.addWorker(2)
			r := rand.New(rand.NewPCG(1, 1))
			owner, other := s.machines[worker(1)], s.machines[worker(2)]
			var times []time.Duration
			for b.Loop() {
				for range crashes {
					time.Sleep(time.Duration(r.Int64N(int64(c.probes))))
					killed := s.crash(owner).from
					took := s.startsAfter(b, killed, other, len(workload.lines))
					placed := s.placedAfter(killed)
					b.Logf("placed after %v to %v, started after %v to %v", placed[0], placed[len(placed)-1], took[0], took[len(took)-1])
					times = append(times, took...)
					require.NoError(b, owner.start())
					waitFor(b, "everything is as it should be", func() (bool, any) {
						all := workload.deviations()
						return len(all) == 0, all
					})
					owner, other = other, owner
				}
			}
			slices.Sort(times)
			for name, share := range map[string]float64{"p50": 0.5, "p99": 0.99, "max": 1} {
				b.ReportMetric(times[max(0, int(share*float64(len(times)))-1)].Seconds(), name+"-s")
			}
		})
	}
}

// startsAfter waits until n sessions have started on a worker since a time, and
// returns the delay of each. It reads the journal once a second, because reading
// disturbs the measurement.
func (s *scene) startsAfter(b *testing.B, since time.Time, on *machine, n int) (took []time.Duration) {
	b.Helper()
	for deadline := time.Now().Add(patience); len(took) < n; {
		require.True(b, time.Now().Before(deadline), "%d of %d sessions have started elsewhere", len(took), n)
		time.Sleep(time.Second)
		first := make(map[string]time.Duration)
		for _, e := range s.journal() {
			if _, known := first[e.Session]; e.Event == simworker.Started && e.Worker == on.name && e.Time.After(since) && !known {
				first[e.Session] = e.Time.Sub(since)
			}
		}
		took = slices.Sorted(maps.Values(first))
	}
	return took
}

// placedAfter returns the delays of the assignments after a time.
func (s *scene) placedAfter(since time.Time) (took []time.Duration) {
	for _, events := range s.events() {
		for _, e := range events {
			if e.from.After(since) {
				took = append(took, e.from.Sub(since))
			}
		}
	}
	slices.Sort(took)
	return took
}
