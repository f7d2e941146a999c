package domain_test

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/switchyard-wa/switchyard/domain"
)

// The index returns the same choice as Explain after any sequence of changes, even if time goes
// backwards.
func TestRankingChoose_AnyChanges_EqualsExplain(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.SampledFrom(strategies).Draw(t, "strategy")
		r := domain.NewRanking(s)
		model := map[string]domain.Load{}
		put := func(l domain.Load) {
			model[l.WorkerID] = l
			r.Put(l)
		}
		now := noon
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) { put(someLoad(t)) },
			"heartbeat": func(t *rapid.T) {
				if l, ok := model[someID.Draw(t, "id")]; ok {
					l.HeartbeatAt = someTimes(now).Draw(t, "heartbeat")
					put(l)
				}
			},
			"remove": func(t *rapid.T) {
				id := someID.Draw(t, "id")
				delete(model, id)
				r.Remove(id)
			},
			"choose": func(t *rapid.T) {
				now = someTimes(now, now.Add(time.Millisecond)).Draw(t, "now")
				req := someRequest(t)
				want, _ := domain.Explain(slices.Collect(maps.Values(model)), req, s, now)
				got, ok := r.Choose(req, now)
				if got != want || ok != (want != "") {
					t.Fatalf("chose %q, %v; should be %q", got, ok, want)
				}
				if l, found := model[got]; found && rapid.Bool().Draw(t, "take it") {
					l.Used, l.ChosenAt = l.Used+1, now
					put(l)
				}
			},
			"": func(t *rapid.T) {
				if r.Len() != len(model) {
					t.Fatalf("%d workers, should be %d", r.Len(), len(model))
				}
				var ids []string
				for l := range r.All() {
					ids = append(ids, l.WorkerID)
				}
				if !slices.Equal(ids, slices.Sorted(maps.Keys(model))) {
					t.Fatalf("All gave %v", ids)
				}
			},
		})
	})
}

// The same holds for fleets with deep heaps and realistic figures.
func TestRankingChoose_LargeFleet_EqualsExplain(t *testing.T) {
	for _, s := range strategies {
		t.Run(fmt.Sprintf("%s/%+v", s.Name(), s), func(t *testing.T) {
			rnd := newFleetRand(7)
			now := noon
			r := domain.NewRanking(s)
			model := map[string]domain.Load{}
			put := func(l domain.Load) {
				model[l.WorkerID] = l
				r.Put(l)
			}
			for i := range 200 {
				put(rnd.load(i, now))
			}
			for i := range 150 {
				now = now.Add(time.Duration(rnd.IntN(4000)-500) * time.Millisecond)
				req := domain.Request{UserWorkers: map[string]int{}}
				switch rnd.IntN(4) {
				case 0:
					req.Selector = map[string]string{"pool": "max"}
				case 1:
					req.Selector = map[string]string{"zone": fmt.Sprint(rnd.IntN(3))}
				case 2:
					if rnd.IntN(4) == 0 { // more keys than the index uses
						req.Selector = map[string]string{fmt.Sprint("key", rnd.IntN(12)): "x"}
					}
				}
				for range rnd.IntN(8) {
					id := fmt.Sprint("w", rnd.IntN(200))
					req.Avoid = append(req.Avoid, id)
					req.UserWorkers[fmt.Sprint("w", rnd.IntN(200))]++
				}
				want, _ := domain.Explain(slices.Collect(maps.Values(model)), req, s, now)
				got, ok := r.Choose(req, now)
				require.Equal(t, want, got)
				require.Equal(t, want != "", ok)
				if ok {
					l := model[got]
					l.Used, l.ChosenAt = l.Used+1, now
					if rnd.IntN(10) == 0 {
						l.SuspendedUntil = now.Add(time.Duration(rnd.IntN(20)) * time.Second)
					}
					put(l)
				}
				for range 20 {
					l := rnd.load(rnd.IntN(200), now.Add(time.Duration(rnd.IntN(2000)-1000)*time.Millisecond))
					l.Labels["zone"] = fmt.Sprint(rnd.IntN(3))
					if rnd.IntN(20) == 0 {
						l.Labels["pool"] = "max"
					}
					if i%50 == 49 {
						r.Remove(l.WorkerID)
						delete(model, l.WorkerID)
					} else {
						put(l)
					}
				}
			}
		})
	}
}

func TestRankingChoose_EqualWorkers_FilledInRotation(t *testing.T) {
	for _, s := range strategies[:6] {
		t.Run(fmt.Sprintf("%s/%+v", s.Name(), s), func(t *testing.T) {
			for _, tick := range []time.Duration{0, time.Second} {
				r := domain.NewRanking(s)
				for i := range 7 {
					r.Put(domain.Load{WorkerID: fmt.Sprint("w", i), Status: domain.WorkerOnline, Capacity: 10, HeartbeatAt: noon})
				}
				now, round := noon, map[string]bool{}
				for i := range 70 {
					id, ok := r.Choose(domain.Request{}, now)
					require.True(t, ok)
					require.False(t, round[id], "%s again in round %d", id, i/7)
					round[id] = true
					if len(round) == 7 {
						clear(round)
					}
					l, _ := r.Get(id)
					l.Used, l.ChosenAt = l.Used+1, now
					r.Put(l)
					now = now.Add(tick)
				}
				_, ok := r.Choose(domain.Request{}, now)
				require.False(t, ok, "all are full")
			}
		})
	}
}

// Scores that do not grow with use leave ties. Among workers with equally many sessions the least
// recent choice goes first.
func TestRankingChoose_SlotsReleased_RotationContinues(t *testing.T) {
	r := domain.NewRanking(domain.MultiFactor{})
	for i := range 3 {
		r.Put(domain.Load{WorkerID: fmt.Sprint("w", i), Status: domain.WorkerOnline, Capacity: 10, HeartbeatAt: noon})
	}
	var got []string
	for i := range 6 {
		id, _ := r.Choose(domain.Request{}, noon)
		got = append(got, id)
		l, _ := r.Get(id)
		l.ChosenAt = noon.Add(time.Duration(i) * time.Second) // the session ended at once
		r.Put(l)
	}
	require.Equal(t, []string{"w0", "w1", "w2", "w0", "w1", "w2"}, got)
}

func TestRanking_PutAndRemove_GetAllLen(t *testing.T) {
	r := domain.NewRanking(domain.LeastSessions{})
	_, ok := r.Choose(domain.Request{Prefer: "w1"}, noon)
	require.False(t, ok)
	_, ok = r.Get("w1")
	require.False(t, ok)
	r.Remove("w1")
	want := domain.Load{WorkerID: "w1", Status: domain.WorkerOffline, Used: 1, Capacity: 2, Labels: map[string]string{"a": "b"}}
	r.Put(want)
	r.Put(domain.Load{WorkerID: "w0"})
	got, ok := r.Get("w1")
	require.True(t, ok)
	require.Equal(t, want, got)
	require.Equal(t, 2, r.Len())
	for l := range r.All() {
		r.Remove("w1")
		require.Equal(t, "w0", l.WorkerID)
	}
	require.Equal(t, 1, r.Len())
}

// counting counts the workers that a choice looks at.
type counting struct {
	domain.Strategy
	seen *int
}

func (c counting) Penalty(l domain.Load, req domain.Request) float64 {
	*c.seen++
	if p, ok := c.Strategy.(domain.Penalizer); ok {
		return p.Penalty(l, req)
	}
	return 0
}

// A choice looks at few workers in every fleet.
func TestRankingChoose_LargeFleet_LooksAtFewWorkers(t *testing.T) {
	const n = 5000
	fresh := func(i int) domain.Load {
		return domain.Load{WorkerID: fmt.Sprint("w", i), Status: domain.WorkerOnline, Capacity: 50, HeartbeatAt: noon}
	}
	random := newFleetRand(3)
	fleets := map[string]func(i int) domain.Load{
		"all equal":  fresh,
		"never seen": func(i int) domain.Load { l := fresh(i); l.HeartbeatAt = time.Time{}; return l },
		"random":     func(i int) domain.Load { return random.load(i, noon) },
		"half of the clocks ahead": func(i int) domain.Load {
			l := fresh(i)
			l.Used = i % 40
			if i%2 == 0 {
				l.HeartbeatAt = noon.Add(time.Hour + time.Duration(i)*time.Millisecond)
			}
			return l
		},
		"half suspended": func(i int) domain.Load {
			l := fresh(i)
			if i%2 == 0 {
				l.SuspendedUntil = noon.Add(time.Minute)
			} else {
				l.Used = 10
			}
			return l
		},
		"a name of its own for each": func(i int) domain.Load {
			l := fresh(i)
			l.Labels = map[string]string{"host": l.WorkerID, "pool": fmt.Sprint(i % 3)}
			return l
		},
		"most of no use": func(i int) domain.Load {
			l := fresh(i)
			switch i % 4 {
			case 1:
				l.Status = domain.WorkerOffline
			case 2:
				l.Status = domain.WorkerMaintenance
			case 3:
				l.Used = 50
			}
			return l
		},
	}
	for name, load := range fleets {
		t.Run(name, func(t *testing.T) {
			seen := 0
			s := counting{domain.Spread{}, &seen}
			r := domain.NewRanking(s)
			for i := range n {
				r.Put(load(i))
			}
			req := domain.Request{UserWorkers: map[string]int{}}
			now := noon
			var counts []int
			for i := range 200 {
				if i == 100 {
					now = noon.Add(-time.Minute) // the clock is set back
				}
				if i == 150 {
					req.Selector = map[string]string{"pool": "1"}
				}
				seen = 0
				id, ok := r.Choose(req, now)
				counts = append(counts, seen)
				if !ok {
					require.Contains(t, req.Selector, "pool")
					continue
				}
				l, _ := r.Get(id)
				l.Used, l.ChosenAt = l.Used+1, now
				r.Put(l)
				if i%10 == 0 {
					clear(req.UserWorkers)
				}
				req.UserWorkers[id]++
				now = now.Add(10 * time.Millisecond)
			}
			total := 0
			for _, c := range counts {
				total += c
			}
			slices.Sort(counts)
			require.LessOrEqual(t, counts[190], 40, "%d in all: %v", total, counts)
			require.Less(t, total, 3*n, "a few choices may tidy up: %v", counts)
		})
	}
}

func TestRankingChoose_IndexedFleet_AtMostOneAllocation(t *testing.T) {
	r := domain.NewRanking(domain.Spread{})
	rnd := newFleetRand(1)
	for i := range 200 {
		r.Put(rnd.load(i, noon))
	}
	req := domain.Request{UserWorkers: map[string]int{"w1": 1}}
	r.Choose(req, noon)
	require.LessOrEqual(t, testing.AllocsPerRun(100, func() { r.Choose(req, noon) }), 1.0)
}

func TestExplain_Loads_InputUnchanged(t *testing.T) {
	loads := []domain.Load{
		{WorkerID: "b", Status: domain.WorkerOnline, Used: 1, Capacity: 2},
		{WorkerID: "a", Status: domain.WorkerOnline, Used: 0, Capacity: 2},
	}
	domain.Explain(loads, domain.Request{}, domain.LeastSessions{}, noon)
	require.False(t, slices.IsSortedFunc(loads, func(a, b domain.Load) int { return cmp.Compare(a.WorkerID, b.WorkerID) }))
}

// The index never confuses workers with different labels, however odd the labels are.
func TestRankingChoose_OddLabels_NeverConfused(t *testing.T) {
	labels := []map[string]string{
		nil, {"pool": "max"}, {"zone": "max"}, {"pool": "max", "zone": "max"}, {"pool": ""}, {"zone": ""},
		{"pool": "", "zone": "0:"}, {"pool": "0:", "zone": ""}, {"pool": "-"}, {"zone": "-"}, {"pool": "", "zone": "-"}, {"pool": "-", "zone": ""},
	}
	r := domain.NewRanking(domain.MultiFactor{})
	for range 2 { // grouped afterwards, then from the start
		for i, l := range labels {
			r.Put(domain.Load{WorkerID: fmt.Sprint("w", i), Status: domain.WorkerOnline, Capacity: 1, Labels: l})
		}
		for _, key := range []string{"zone", "pool"} {
			r.Choose(domain.Request{Selector: map[string]string{key: "x"}}, noon)
		}
		for i, want := range labels {
			var others []string
			for j := range labels {
				if j != i {
					others = append(others, fmt.Sprint("w", j))
				}
			}
			got, _ := r.Choose(domain.Request{Selector: want, Avoid: others}, noon)
			require.Equal(t, fmt.Sprint("w", i), got, "%v", want)
		}
		for i := range labels {
			r.Remove(fmt.Sprint("w", i))
		}
	}
}
