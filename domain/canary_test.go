package domain_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/switchyard-wa/switchyard/domain"
)

func TestWorkerIsCanary_JoinVersionAndTime_BeginAndEnd(t *testing.T) {
	w := &domain.Worker{ID: "w1"}
	require.False(t, w.IsCanary(timing, noon), "it joined long ago")
	r := domain.Registration{Endpoint: "http://w1:8001", Capacity: 50, Version: "1.0"}
	w.Register(r, timing, noon)
	require.True(t, w.IsCanary(timing, noon))
	require.True(t, w.IsCanary(timing, noon.Add(timing.CanaryPeriod-1)))
	require.False(t, w.IsCanary(timing, noon.Add(timing.CanaryPeriod)), "the canary period is over")

	hour := noon.Add(time.Hour)
	w.Register(r, timing, hour)
	require.False(t, w.IsCanary(timing, hour), "the same version, restarted")
	r.Version = "1.1"
	w.Register(r, timing, hour)
	require.True(t, w.IsCanary(timing, hour))

	events := w.MarkSuspect(domain.Disconnects{Count: 7, Sessions: 5}, hour)
	require.Equal(t, []domain.Event{{
		Type: domain.EventWorkerSuspect, At: hour, WorkerID: "w1",
		Reason: "7 disconnects among 5 sessions since it joined or changed its version to 1.1",
	}}, events)
	require.Equal(t, domain.WorkerOnline, w.Status())
	require.False(t, w.IsCanary(timing, hour), "it has failed")
	w.Register(r, timing, hour.Add(time.Minute))
	w.ApplyHeartbeat(domain.Heartbeat{Version: "1.1"}, timing, hour.Add(time.Minute))
	require.NotEmpty(t, w.Suspect, "a restart does not mend it")

	w.ApplyHeartbeat(domain.Heartbeat{Version: "1.2"}, timing, hour.Add(time.Hour))
	require.Empty(t, w.Suspect)
	require.True(t, w.IsCanary(timing, hour.Add(time.Hour)), "another chance")
	w.MarkSuspect(domain.Disconnects{}, hour)
	w.Activate(hour)
	require.Empty(t, w.Suspect)
	require.False(t, w.IsCanary(timing, hour.Add(time.Hour)))
}

func TestExceedsBaseline_Disconnects_ComparedWithRest(t *testing.T) {
	type d = domain.Disconnects
	for _, c := range []struct {
		own, rest domain.Disconnects
		want      bool
		why       string
	}{
		{d{3, 5}, d{0, 100}, true, "more than every other one"},
		{d{3, 6}, d{0, 100}, true, "every other one"},
		{d{3, 7}, d{0, 100}, false, "not every other one"},
		{d{2, 1}, d{0, 100}, false, "too few disconnects"},
		{d{5, 0}, d{0, 100}, true, "it has none left"},
		{d{50, 50}, d{100, 100}, false, "everybody suffers"},
		{d{50, 50}, d{33, 100}, true, "three times the rate"},
		{d{50, 50}, d{34, 100}, false, "not quite"},
		{d{50, 50}, d{0, 0}, false, "it is alone"},
	} {
		require.Equal(t, c.want, domain.ExceedsBaseline(c.own, c.rest), c.why)
	}
	rapid.Check(t, func(t *rapid.T) {
		some := func(what string) d {
			return d{rapid.IntRange(0, 60).Draw(t, what+" drops"), rapid.IntRange(0, 60).Draw(t, what+" sessions")}
		}
		own, rest := some("own"), some("rest")
		if !domain.ExceedsBaseline(own, rest) {
			return
		}
		require.False(t, domain.ExceedsBaseline(rest, own), "not both")
		own.Count++
		require.True(t, domain.ExceedsBaseline(own, rest), "worse is no better")
		rest.Count = max(rest.Count-1, 0)
		require.True(t, domain.ExceedsBaseline(own, rest), "nor if the others are better")
	})
}

// A suspect worker receives no sessions, and the explanation names the reason.
func TestExplain_SuspectWorker_Excluded(t *testing.T) {
	loads := []domain.Load{hosting("a", 0, 10), hosting("b", 9, 10)}
	loads[0].Suspect = "it drops sessions"
	for _, prefer := range []string{"", "a"} {
		chosen, all := domain.Explain(loads, domain.Request{Prefer: prefer}, domain.MultiFactor{}, noon)
		require.Equal(t, "b", chosen)
		require.Equal(t, domain.Candidate{WorkerID: "a", Excluded: "suspect: it drops sessions"}, all[1])
	}
}

// A session that moves avoids workers with sessions of the same user, unless the other workers are much
// worse.
func TestMultiFactor_MovedSession_AvoidsSameUser(t *testing.T) {
	loads := []domain.Load{hosting("a", 2, 50), hosting("b", 5, 50), hosting("c", 30, 50)}
	chosen := func(req domain.Request) string {
		id, _ := domain.Explain(loads, req, domain.MultiFactor{}, noon)
		r := domain.NewRanking(domain.MultiFactor{})
		for _, l := range loads {
			r.Put(l)
		}
		ranked, _ := r.Choose(req, noon)
		require.Equal(t, id, ranked)
		return id
	}
	userWorkers := map[string]int{"a": 1}
	require.Equal(t, "a", chosen(domain.Request{UserWorkers: userWorkers}))
	require.Equal(t, "b", chosen(domain.Request{UserWorkers: userWorkers, Moved: true}))
	userWorkers["b"] = 1
	require.Equal(t, "a", chosen(domain.Request{UserWorkers: userWorkers, Moved: true}))
}
