package domain_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/switchyard-wa/switchyard/domain"
)

// A store that was restored from a backup knows a lower generation than the assigned worker.
func TestSessionApply_HigherGenerationOfTheOwner_IsAdopted(t *testing.T) {
	for name, c := range map[string]struct {
		state  string
		status domain.Status
		want   domain.Outcome
	}{
		"nothing new":        {"CONNECTED", domain.Connected, domain.Unchanged},
		"another status":     {"CONNECTED", domain.Reconnecting, domain.Applied},
		"no transition":      {"CONNECTED", domain.QRRequired, domain.Stale},
		"down":               {"CONNECTED", domain.Disconnected, domain.Applied},
		"during the start":   {"INIT", domain.Connected, domain.Applied},
		"while it is moving": {"stopping", domain.Connected, domain.NotWanted},
		"stopped there":      {"stopping", domain.Disconnected, domain.Unchanged},
	} {
		t.Run(name, func(t *testing.T) {
			s := at(t, c.state)
			outcome, _ := s.apply(domain.Report{Status: c.status, WorkerID: "w1", Generation: 7})
			require.Equal(t, c.want, outcome)
			require.Equal(t, int64(7), s.Generation)
			require.Equal(t, "w1", s.WorkerID)
		})
	}
}

func TestSessionApply_GenerationBeyondTheBounds_IsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		known, stated int64
		want          domain.Outcome
	}{
		"largest step":       {1, 1_000_001, domain.Unchanged},
		"larger step":        {1, 1_000_002, domain.Implausible},
		"largest generation": {1<<52 - 1, 1 << 52, domain.Unchanged},
		"larger generation":  {1<<52 - 1, 1<<52 + 1, domain.Implausible},
		"no room for a sum":  {1, 1<<63 - 1, domain.Implausible},
	} {
		t.Run(name, func(t *testing.T) {
			s := at(t, "CONNECTED")
			s.Generation = c.known
			outcome, events := s.apply(domain.Report{Status: domain.Connected, WorkerID: "w1", Generation: c.stated})
			require.Equal(t, c.want, outcome)
			require.Empty(t, events)
			if c.want == domain.Implausible {
				require.Equal(t, c.known, s.Generation)
			}
		})
	}
}

// The assigned worker cannot lie its way past the fence: once the session is assigned elsewhere, the
// generation is above every one that the worker has stated, and a report of the worker counts no more.
func TestSessionApply_WorkerStatesFalseGenerations_GainsNothing(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := at(t, "CONNECTED")
		highest := s.Generation
		lie := func(worker string) {
			before := s.Generation
			stated := rapid.OneOf(rapid.Int64Range(0, before+3), rapid.Int64()).Draw(rt, "generation")
			status := rapid.SampledFrom([]domain.Status{domain.Connected, domain.Reconnecting}).Draw(rt, "status")
			_, _ = s.apply(domain.Report{Status: status, WorkerID: worker, Generation: stated})
			require.GreaterOrEqual(rt, s.Generation, before, "generations only grow")
			require.LessOrEqual(rt, s.Generation-before, int64(1_000_000))
			highest = s.Generation
		}
		for range rapid.IntRange(0, 5).Draw(rt, "lies before") {
			lie("w1")
		}
		s.UnassignForMove(domain.EventSessionFailedOver, s.now)
		s.Assign("w2", s.now)
		require.Greater(rt, s.Generation, highest)
		assigned := *s.Session
		for range rapid.IntRange(0, 5).Draw(rt, "lies after") {
			lie("w1")
			require.Equal(rt, assigned, *s.Session, "the former worker changes nothing")
		}
	})
}

func TestSessionRaiseGeneration_LowerOrImplausible_ChangesNothing(t *testing.T) {
	s := at(t, "CONNECTED")
	for _, c := range [][2]int64{{5, 5}, {3, 5}, {1_000_006, 5}, {6, 6}} {
		s.RaiseGeneration(c[0])
		require.Equal(t, c[1], s.Generation)
	}
}

func TestSessionGenerationRefused_Repeatedly_StepGrowsToABound(t *testing.T) {
	s := at(t, "INIT")
	s.Attempts, s.FailedStarts, s.Generation = 0, 0, 1
	var steps []int64
	for range 6 {
		before := s.Generation
		s.GenerationRefused()
		s.Attempts++
		steps = append(steps, s.Generation-before)
	}
	require.Equal(t, []int64{1, 256, 65536, 65536, 65536, 65536}, steps)
}
