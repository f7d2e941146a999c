package domain_test

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/switchyard-wa/switchyard/domain"
)

// strategies of the library, and some at the limits of the interface.
var strategies = []domain.Strategy{
	domain.MultiFactor{},
	domain.MultiFactor{Weights: domain.Weights{Capacity: 1, Stability: 3}},
	domain.MultiFactor{Weights: domain.Weights{Capacity: math.NaN(), Health: math.Inf(1), Resources: -50, Stability: 1e12, Authentication: -2}},
	domain.LeastSessions{},
	domain.RoundRobin{},
	domain.Spread{},
	domain.Spread{Base: domain.LeastSessions{}, Points: 3},
	domain.Spread{Base: domain.Spread{Base: domain.RoundRobin{}, Points: 0.5}, Points: -1},
	oddStrategy{},
}

// oddStrategy ages at a different pace for each worker, overflows, and returns values that are not
// numbers.
type oddStrategy struct{}

func (oddStrategy) Name() string { return "odd" }

func (oddStrategy) Score(l domain.Load) domain.Score {
	return domain.Score{
		Factors:  []domain.Factor{{"cpu", l.CPU * 1e5}, {"memory", 1 / l.Memory}},
		Aging:    float64(l.Used%4-1) * l.Memory,
		TieBreak: int64(l.Capacity) << 61,
	}
}

func (oddStrategy) Penalty(l domain.Load, req domain.Request) float64 {
	return l.Memory * float64(len(req.Avoid)-1)
}

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// loadVector is a load in scoring.json. Times are seconds before now.
type loadVector struct {
	ID             string
	Status         domain.WorkerStatus
	Used, Capacity int
	CPU, Memory    *float64
	HeartbeatAge   *float64
	ChosenAge      *float64
	SuspendedFor   *float64
	Breakdown      *domain.Breakdown
	Labels         map[string]string
}

func (v *loadVector) UnmarshalJSON(text []byte) error {
	type plain loadVector
	*v = loadVector{ID: "w", Status: domain.WorkerOnline, CPU: new(float64), Memory: new(float64), HeartbeatAge: new(float64)}
	return json.Unmarshal(text, (*plain)(v))
}

func (v *loadVector) load(now time.Time) domain.Load {
	ago := func(age *float64, sign time.Duration) time.Time {
		if age == nil {
			return time.Time{}
		}
		return now.Add(-sign * time.Duration(*age*float64(time.Second)))
	}
	known := func(p *float64) float64 {
		if p == nil {
			return math.NaN()
		}
		return *p
	}
	return domain.Load{
		WorkerID: v.ID, Status: v.Status, Used: v.Used, Capacity: v.Capacity, Labels: v.Labels, Breakdown: v.Breakdown,
		CPU: known(v.CPU), Memory: known(v.Memory),
		HeartbeatAt: ago(v.HeartbeatAge, 1), ChosenAt: ago(v.ChosenAge, 1), SuspendedUntil: ago(v.SuspendedFor, -1),
	}
}

func vectorStrategy(t *testing.T, name string, weights domain.Weights) domain.Strategy {
	if name == "" {
		return domain.MultiFactor{Weights: weights}
	}
	i := slices.IndexFunc(strategies, func(s domain.Strategy) bool { return s.Name() == name })
	require.GreaterOrEqual(t, i, 0, "strategy %q", name)
	return strategies[i]
}

func TestScore_Vectors_MatchGoldenFile(t *testing.T) {
	text, err := os.ReadFile("../testdata/scoring.json")
	require.NoError(t, err)
	var file struct {
		Now    time.Time
		Scores []struct {
			Name, Strategy string
			Weights        domain.Weights
			Worker         loadVector
			Request        domain.Request
			Score          float64
			Factors        map[string]float64
			Excluded       string
		}
		Choices []struct {
			Name, Strategy, Chosen string
			Workers                []loadVector
			Request                domain.Request
			Order                  []string
		}
	}
	require.NoError(t, json.Unmarshal(text, &file))
	require.NotEmpty(t, file.Scores)
	require.NotEmpty(t, file.Choices)
	for _, v := range file.Scores {
		t.Run("score/"+v.Name, func(t *testing.T) {
			s := vectorStrategy(t, v.Strategy, v.Weights)
			chosen, all := domain.Explain([]domain.Load{v.Worker.load(file.Now)}, v.Request, s, file.Now)
			require.Len(t, all, 1)
			got := map[string]float64{}
			for _, f := range all[0].Factors {
				got[f.Name] = f.Points
			}
			require.Equal(t, v.Excluded, all[0].Excluded)
			require.Equal(t, v.Score, all[0].Score)
			if v.Excluded != "" {
				require.Empty(t, chosen)
				require.Empty(t, got)
				return
			}
			require.Equal(t, v.Worker.ID, chosen)
			require.Equal(t, v.Factors, got)
		})
	}
	for _, v := range file.Choices {
		t.Run("choice/"+v.Name, func(t *testing.T) {
			s := vectorStrategy(t, v.Strategy, domain.Weights{})
			var loads []domain.Load
			r := domain.NewRanking(s)
			for _, w := range v.Workers {
				loads = append(loads, w.load(file.Now))
				r.Put(w.load(file.Now))
			}
			chosen, all := domain.Explain(loads, v.Request, s, file.Now)
			order := []string{}
			for _, c := range all {
				order = append(order, c.WorkerID)
			}
			require.Equal(t, v.Chosen, chosen)
			require.Equal(t, v.Order, order)
			chosen, ok := r.Choose(v.Request, file.Now)
			require.Equal(t, v.Chosen, chosen)
			require.Equal(t, v.Chosen != "", ok)
		})
	}
}

func TestWeightsValidate_BadWeights_AllReported(t *testing.T) {
	require.NoError(t, domain.DefaultWeights().Validate())
	require.NoError(t, domain.Weights{}.Validate())
	err := domain.Weights{Capacity: -1, Health: math.NaN(), Resources: math.Inf(1)}.Validate()
	var e *domain.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, domain.Invalid, e.Kind)
	require.Len(t, e.Fields, 3)
}

// Plain figures make ties frequent. Absurd figures test the limits.
var (
	someFloats = rapid.OneOf(
		rapid.SampledFrom([]float64{0, 10, 50, 100}),
		rapid.SampledFrom([]float64{math.NaN(), math.Inf(1), math.Inf(-1), -1, 101, 1e300, -1e300, math.SmallestNonzeroFloat64}),
		rapid.Float64Range(0, 100),
	)
	someCounts = rapid.OneOf(
		rapid.IntRange(0, 5),
		rapid.SampledFrom([]int{-1, math.MinInt, math.MaxInt}),
	)
	someAges = rapid.OneOf(
		rapid.SampledFrom([]time.Duration{0, time.Millisecond, time.Second, 30 * time.Second, time.Minute, time.Minute + 1, time.Hour}),
		rapid.Map(rapid.Int64Range(-int64(90*time.Second), int64(90*time.Second)), func(d int64) time.Duration { return time.Duration(d) }),
	)
	oddTimes = rapid.SampledFrom([]time.Time{{}, time.Unix(1<<62, 0), time.Unix(-1<<62, 0), time.Unix(0, math.MaxInt64), time.Unix(0, math.MinInt64)})
	someID   = rapid.SampledFrom(strings.Split("a b c d e f g h i j k l", " "))
	somePool = rapid.SampledFrom([]string{"max", "", "0:", "-"})
)

func someTimes(usual ...time.Time) *rapid.Generator[time.Time] {
	return rapid.Custom(func(t *rapid.T) time.Time {
		switch rapid.IntRange(0, 9).Draw(t, "kind of time") {
		case 0:
			return oddTimes.Draw(t, "odd time")
		case 1, 2:
			return rapid.SampledFrom(append(usual, time.Time{})).Draw(t, "time")
		}
		return noon.Add(-someAges.Draw(t, "age"))
	})
}

func someLabels(t *rapid.T) map[string]string {
	labels := map[string]string{}
	for _, k := range []string{"pool", "zone"} {
		if rapid.Bool().Draw(t, "has "+k) {
			labels[k] = somePool.Draw(t, k)
		}
	}
	return labels
}

func someLoad(t *rapid.T) domain.Load {
	l := domain.Load{
		WorkerID:    someID.Draw(t, "id"),
		Status:      rapid.SampledFrom([]domain.WorkerStatus{domain.WorkerOnline, domain.WorkerOnline, domain.WorkerOnline, domain.WorkerOffline, domain.WorkerMaintenance, ""}).Draw(t, "status"),
		Used:        someCounts.Draw(t, "used"),
		Capacity:    rapid.OneOf(rapid.SampledFrom([]int{5, 10}), someCounts).Draw(t, "capacity"),
		CPU:         someFloats.Draw(t, "cpu"),
		Memory:      someFloats.Draw(t, "memory"),
		HeartbeatAt: someTimes().Draw(t, "heartbeat"),
		ChosenAt:    someTimes().Draw(t, "chosen"),
		Labels:      someLabels(t),
	}
	if rapid.Bool().Draw(t, "breakdown?") {
		l.Breakdown = &domain.Breakdown{
			Error: someCounts.Draw(t, "error"), Reconnecting: someCounts.Draw(t, "reconnecting"), QRRequired: someCounts.Draw(t, "qr"),
			Total: someCounts.Draw(t, "total"), Connected: someCounts.Draw(t, "connected"),
		}
	}
	if rapid.IntRange(0, 2).Draw(t, "suspended?") == 0 {
		l.SuspendedUntil = someTimes().Draw(t, "suspended")
	}
	l.StateGroup = rapid.SampledFrom([]string{"", "", "g1", "g2"}).Draw(t, "state group")
	if rapid.IntRange(0, 5).Draw(t, "suspect?") == 0 {
		l.Suspect = "it drops sessions"
	}
	return l
}

func someRequest(t *rapid.T) domain.Request {
	var req domain.Request
	if rapid.IntRange(0, 2).Draw(t, "selects?") == 0 {
		req.Selector = map[string]string{
			rapid.SampledFrom([]string{"pool", "zone"}).Draw(t, "key"):             somePool.Draw(t, "value"),
			rapid.SampledFrom([]string{"pool", "zone"}).Draw(t, "perhaps another"): somePool.Draw(t, "its value"),
		}
	}
	req.Avoid = rapid.SliceOfN(someID, 0, 3).Draw(t, "avoid")
	if rapid.IntRange(0, 4).Draw(t, "prefers?") == 0 {
		req.Prefer = someID.Draw(t, "prefer")
	}
	if rapid.IntRange(0, 3).Draw(t, "home?") == 0 {
		req.Home = domain.Home{
			WorkerID: someID.Draw(t, "home"), Only: rapid.Bool().Draw(t, "only home"), IsLeaving: rapid.Bool().Draw(t, "leaves home"),
			Group: rapid.SampledFrom([]string{"", "g1", "g2"}).Draw(t, "group of the home"),
		}
	}
	if rapid.Bool().Draw(t, "user?") {
		req.UserWorkers = rapid.MapOfN(someID, someCounts, 0, 4).Draw(t, "user's")
		req.Moved = rapid.Bool().Draw(t, "moved?")
	}
	return req
}

func TestExplain_AnyFleet_ConsistentCandidates(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		loads := rapid.SliceOfNDistinct(rapid.Custom(someLoad), 0, 12, func(l domain.Load) string { return l.WorkerID }).Draw(t, "loads")
		byID := map[string]domain.Load{}
		for _, l := range loads {
			byID[l.WorkerID] = l
		}
		req, now := someRequest(t), someTimes().Draw(t, "now")
		s := rapid.SampledFrom(strategies).Draw(t, "strategy")
		chosen, all := domain.Explain(loads, req, s, now)
		if len(all) != len(loads) {
			t.Fatalf("%d loads, %d candidates", len(loads), len(all))
		}
		if (chosen == "") != (len(all) == 0 || all[0].Excluded != "") || (chosen != "" && chosen != all[0].WorkerID) {
			t.Fatalf("chosen %q of %+v", chosen, all)
		}
		for i, c := range all {
			l := byID[c.WorkerID]
			bad := l.Status != domain.WorkerOnline || l.Capacity <= 0 || l.Used >= l.Capacity || !l.SuspendedUntil.IsZero() && l.SuspendedUntil.After(now) || slices.Contains(req.Avoid, c.WorkerID) || l.Suspect != ""
			for k, v := range req.Selector {
				got, ok := l.Labels[k]
				bad = bad || !ok || got != v
			}
			bad = bad || req.Home.Only && rankAtHome(l, req) == 2 && l.WorkerID != req.Home.WorkerID
			if bad != (c.Excluded != "") {
				t.Fatalf("%+v is %+v", l, c)
			}
			sum := 0.0
			for _, f := range append(c.Factors, domain.Factor{Points: c.Score}) {
				if math.IsNaN(f.Points) || math.Abs(f.Points) > 3.1e7 {
					t.Fatalf("%+v: %+v", l, c)
				}
			}
			for _, f := range c.Factors {
				sum += f.Points
			}
			if m, ok := s.(domain.MultiFactor); ok && m.Weights == (domain.Weights{}) && c.Excluded == "" {
				if math.Abs(sum-c.Score) > 1e-5 {
					t.Fatalf("factors of %+v add up to %v", c, sum)
				}
				if c.Score < 0 || c.Score > 225+2*float64(max(l.Used, 0)) && !req.Moved {
					t.Fatalf("%+v: %+v", l, c)
				}
			}
			if i == 0 || c.Excluded != "" || c.WorkerID == req.Prefer || all[i-1].WorkerID == req.Prefer {
				continue
			}
			switch rank, before := rankAtHome(l, req), rankAtHome(byID[all[i-1].WorkerID], req); {
			case rank < before, rank == before && c.Score < all[i-1].Score:
				t.Fatalf("not sorted: %+v", all)
			}
		}
	})
}

// rankAtHome returns 0 for the home, 1 for a worker of its state group, and 2 for any other.
func rankAtHome(l domain.Load, req domain.Request) int {
	switch {
	case req.Home.WorkerID == "":
		return 2
	case l.WorkerID == req.Home.WorkerID && !req.Home.IsLeaving:
		return 0
	case req.Home.Group != "" && l.StateGroup == req.Home.Group:
		return 1
	}
	return 2
}

// A higher load never makes a worker more attractive.
func TestScore_MoreLoad_NeverBetter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := domain.Load{
			WorkerID: "w", Status: domain.WorkerOnline,
			Capacity: rapid.IntRange(2, 60).Draw(t, "capacity"),
			CPU:      rapid.Float64Range(0, 120).Draw(t, "cpu"), Memory: rapid.Float64Range(0, 120).Draw(t, "memory"),
			HeartbeatAt: noon.Add(-someAges.Draw(t, "age")),
		}
		l.Used = rapid.IntRange(0, l.Capacity-2).Draw(t, "used")
		b := domain.Breakdown{
			Error: rapid.IntRange(0, 60).Draw(t, "error"), Reconnecting: rapid.IntRange(0, 60).Draw(t, "reconnecting"),
			QRRequired: rapid.IntRange(0, 60).Draw(t, "qr"),
		}
		if rapid.Bool().Draw(t, "breakdown?") {
			l.Breakdown = &b
		}
		more, mb := l, b
		if l.Breakdown != nil {
			more.Breakdown = &mb
		}
		switch what := rapid.SampledFrom([]string{"used", "cpu", "memory", "age", "error", "reconnecting", "qr"}).Draw(t, "what grows"); what {
		case "used":
			b.Error, b.Reconnecting, mb.Error, mb.Reconnecting = 0, 0, 0, 0 // the same number of unhealthy sessions weighs less among more sessions
			more.Used++
		case "cpu":
			more.CPU += 5
		case "memory":
			more.Memory += 5
		case "age":
			more.HeartbeatAt = l.HeartbeatAt.Add(-time.Second)
		case "error":
			mb.Error++
		case "reconnecting":
			mb.Reconnecting++
		case "qr":
			mb.QRRequired++
		}
		score := func(l domain.Load) float64 {
			_, all := domain.Explain([]domain.Load{l}, domain.Request{}, domain.MultiFactor{}, noon)
			return all[0].Score
		}
		if score(more) < score(l) {
			t.Fatalf("%+v has %v, %+v has %v", l, score(l), more, score(more))
		}
	})
}

// scoreBy is a strategy with a fixed score for each worker.
type scoreBy map[string]domain.Score

func (scoreBy) Name() string { return "by name" }

func (s scoreBy) Score(l domain.Load) domain.Score { return s[l.WorkerID] }

// A strategy that divides by zero harms only the workers with such a score.
func TestScore_NotFinite_CountsAsWorst(t *testing.T) {
	one := func(p float64) domain.Score { return domain.Score{Factors: []domain.Factor{{"x", p}}} }
	s := scoreBy{
		"huge": one(1e6), "nan": one(math.NaN()), "inf": one(math.Inf(1)), "less": one(math.Inf(-1)),
		"aging nan": {Aging: math.NaN()}, "never younger": {Aging: -1e9}, "low": one(-1e300), "lower": one(-math.MaxFloat64),
	}
	var loads []domain.Load
	for id := range s {
		loads = append(loads, domain.Load{WorkerID: id, Status: domain.WorkerOnline, Capacity: 1})
	}
	_, all := domain.Explain(loads, domain.Request{}, s, noon)
	var got []string
	for _, c := range all {
		got = append(got, fmt.Sprintf("%s %.0f", c.WorkerID, c.Score))
	}
	require.Equal(t, []string{
		"low -10000000", "lower -10000000", "never younger 0", "huge 1000000",
		"aging nan 10000000", "inf 10000000", "less 10000000", "nan 10000000",
	}, got)
}

// fewest is a complete custom strategy.
type fewest struct{}

func (fewest) Name() string { return "fewest-errors" }

func (fewest) Score(l domain.Load) domain.Score {
	if l.Breakdown == nil {
		return domain.Score{}
	}
	return domain.Score{Factors: []domain.Factor{{"errors", float64(l.Breakdown.Error)}}}
}

func ExampleStrategy() {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	loads := []domain.Load{
		{WorkerID: "w1", Status: domain.WorkerOnline, Used: 3, Capacity: 10, Breakdown: &domain.Breakdown{Error: 2}},
		{WorkerID: "w2", Status: domain.WorkerOnline, Used: 8, Capacity: 10, Breakdown: &domain.Breakdown{Error: 1}},
		{WorkerID: "w3", Status: domain.WorkerMaintenance, Capacity: 10},
	}
	chosen, all := domain.Explain(loads, domain.Request{}, fewest{}, now)
	fmt.Println("chosen:", chosen)
	for _, c := range all {
		fmt.Printf("%s %v %v %q\n", c.WorkerID, c.Score, c.Factors, c.Excluded)
	}
	// Output:
	// chosen: w2
	// w2 1 [{errors 1}] ""
	// w1 2 [{errors 2}] ""
	// w3 0 [] "maintenance"
}
