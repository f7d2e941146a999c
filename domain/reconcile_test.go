package domain_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/switchyard-wa/switchyard/domain"
)

func TestNextStep_State_StepAndTime(t *testing.T) {
	var (
		draining = &domain.Worker{ID: "w1", Online: true, Draining: true}
		crashed  = &domain.Worker{ID: "w1", DownReason: domain.DownCrashed, FailoverAt: noon.Add(5 * time.Second)}
		lost     = &domain.Worker{ID: "w1", DownReason: domain.DownHeartbeatTimeout, FailoverAt: noon}
		soon     = noon.Add(time.Second)
		homeEnd  = noon.Add(timing.HomeWait)
		grouped  = &domain.Worker{ID: "w1", DownReason: domain.DownCrashed, FailoverAt: noon, StateGroup: "nfs"}
		forced   = &domain.Worker{ID: "w1", DownReason: domain.DownCrashed, FailoverAt: noon, Draining: true, DrainForced: true}
		moves    = &domain.Worker{ID: "w1", DownReason: domain.DownCrashed, FailoverAt: noon, Failover: domain.FailoverMove}
		longLost = &domain.Worker{ID: "w1", DownReason: domain.DownCrashed, FailoverAt: noon.Add(-timing.HomeWait)}
	)
	up := func(change func(s *domain.Session)) *domain.Session {
		s := &domain.Session{ID: "s1", Intent: domain.Up, Status: domain.Connected, WorkerID: "w1", Generation: 1, Confirmed: true}
		change(s)
		return s
	}
	atHome := func(policy domain.HomePolicy) *domain.Session {
		return up(func(s *domain.Session) { s.CredentialsWorkerID, s.HomePolicy = "w1", policy })
	}
	down := func(command domain.Command, due time.Time) *domain.Session {
		return &domain.Session{ID: "s1", Intent: domain.Down, Status: domain.Disconnected, WorkerID: "w1", Command: command, DueAt: due}
	}
	withCommand := func(command domain.Command, attempts int, due time.Time) *domain.Session {
		return up(func(s *domain.Session) { s.Command, s.Attempts, s.DueAt, s.Confirmed = command, attempts, due, false })
	}
	debounced := func(until time.Time) *domain.Session {
		return up(func(s *domain.Session) { s.Status, s.DebounceUntil, s.DueAt = domain.Disconnected, until, until })
	}
	loggedOut := func(until time.Time) *domain.Session {
		s := debounced(until)
		s.LoggedOut = true
		return s
	}
	waiting := func(due time.Time) *domain.Session {
		return up(func(s *domain.Session) { s.WorkerID, s.Confirmed, s.Status, s.DueAt = "", false, domain.Init, due })
	}
	starting := withCommand(domain.CommandStart, 0, noon)
	starting.MigrationID = "m1"
	none, never := domain.StepNone, time.Time{}
	for name, c := range map[string]struct {
		s    *domain.Session
		w    *domain.Worker
		step domain.Step
		at   time.Time
	}{
		"never started":          {domain.NewSession("s1", "u1", "", "", noon), nil, none, never},
		"waiting, due":           {waiting(noon), nil, domain.StepPlace, never},
		"waiting, after a crash": {waiting(never), nil, domain.StepPlace, never},
		"waiting, not yet":       {waiting(soon), nil, none, soon},

		"running":                       {up(func(*domain.Session) {}), online, none, never},
		"running, with an old due time": {up(func(s *domain.Session) { s.DueAt = noon }), online, none, never},
		"to be started":                 {withCommand(domain.CommandStart, 0, noon), online, domain.StepCall, never},
		"started, not confirmed yet":    {withCommand(domain.CommandStart, 1, soon), online, none, soon},
		"not confirmed in time":         {withCommand(domain.CommandStart, 1, noon), online, domain.StepCall, never},
		"not confirmed, last try":       {withCommand(domain.CommandStart, 2, soon), online, none, soon},
		"never confirmed":               {withCommand(domain.CommandStart, 2, noon), online, domain.StepStartTimedOut, never},
		"to be restarted":               {withCommand(domain.CommandRestart, 0, noon), online, domain.StepCall, never},
		"a draining worker starts it":   {withCommand(domain.CommandStart, 0, noon), draining, domain.StepCall, never},
		"drained":                       {up(func(*domain.Session) {}), draining, domain.StepStopForMove, never},
		"to migrate":                    {up(func(s *domain.Session) { s.MigrationID = "m1" }), online, domain.StepStopForMove, never},
		"to migrate, started first":     {starting, online, domain.StepCall, never},
		"moving":                        {withCommand(domain.CommandMove, 0, noon), draining, domain.StepCall, never},
		"moving, many attempts":         {withCommand(domain.CommandMove, 99, noon), draining, domain.StepCall, never},
		"moving, again later":           {withCommand(domain.CommandMove, 1, soon), draining, none, soon},

		"debounced":                {debounced(soon), online, none, soon},
		"debounce over":            {debounced(noon), online, domain.StepEndDebounce, never},
		"debounced while draining": {debounced(soon), draining, none, soon},

		"down, stop due":          {down(domain.CommandDisconnect, noon), online, domain.StepCall, never},
		"down, no stop recorded":  {down(domain.CommandNone, never), online, domain.StepCall, never},
		"down, again later":       {down(domain.CommandDisconnect, soon), online, none, soon},
		"logout of one wanted up": {withCommand(domain.CommandLogout, 9, noon), online, domain.StepCall, never},

		"worker offline":                     {up(func(*domain.Session) {}), crashed, none, crashed.FailoverAt},
		"worker offline, to be started":      {withCommand(domain.CommandStart, 9, noon), crashed, none, crashed.FailoverAt},
		"worker offline, debounce over":      {debounced(noon), crashed, none, crashed.FailoverAt},
		"worker offline, down":               {down(domain.CommandLogout, noon), crashed, none, crashed.FailoverAt},
		"worker lost":                        {up(func(*domain.Session) {}), lost, domain.StepFailover, never},
		"worker lost, not due":               {withCommand(domain.CommandStart, 0, soon), lost, domain.StepFailover, never},
		"worker lost, moving":                {withCommand(domain.CommandMove, 0, soon), lost, domain.StepFailover, never},
		"worker lost, debounced":             {debounced(soon), lost, domain.StepFailover, never},
		"worker lost, logged out":            {loggedOut(noon), lost, domain.StepEndDebounce, never},
		"worker lost, logged out, debounced": {loggedOut(soon), lost, none, soon},
		"worker lost, down":                  {down(domain.CommandDisconnect, soon), lost, domain.StepAbandonAssignment, never},
		"worker lost, logout, wanted up":     {withCommand(domain.CommandLogout, 0, soon), lost, domain.StepAbandonAssignment, never},
		"home lost":                          {atHome(domain.HomePreferred), lost, none, homeEnd},
		"home lost, wait over":               {atHome(domain.HomePreferred), longLost, domain.StepFailover, never},
		"home lost, with a state group":      {atHome(domain.HomePreferred), grouped, domain.StepFailover, never},
		"home lost, policy move":             {atHome(domain.HomePreferred), moves, domain.StepFailover, never},
		"home lost, drain was forced":        {atHome(domain.HomePreferred), forced, domain.StepFailover, never},
		"home lost, moved away by force":     {atHome(domain.HomeAbandoned), lost, domain.StepFailover, never},
		"home removed":                       {atHome(domain.HomePreferred), nil, domain.StepFailover, never},
		"worker unknown":                     {up(func(*domain.Session) {}), nil, domain.StepFailover, never},
		"worker unknown, down":               {down(domain.CommandDisconnect, soon), nil, domain.StepAbandonAssignment, never},
		"drained worker that is lost":        {up(func(*domain.Session) {}), &domain.Worker{Draining: true, FailoverAt: noon}, domain.StepFailover, never},
		"drained worker, not lost for now":   {up(func(*domain.Session) {}), &domain.Worker{Draining: true, FailoverAt: soon}, none, soon},
	} {
		t.Run(name, func(t *testing.T) {
			before := *c.s
			step, at := domain.NextStep(c.s, c.w, timing, noon)
			require.Equal(t, c.step, step)
			require.Equal(t, c.at, at)
			require.Equal(t, before, *c.s, "NextStep changes nothing")
		})
	}
}

// A step changes the state, whatever the state is: the same step does not follow from the same state at
// the same time. The time of the next look is in the future.
func TestNextStep_AnyState_StepChangesState(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, w := someSession(t), someWorker(t)
		now := noon
		for range 20 {
			worker := w
			if s.WorkerID == "w2" {
				worker = &domain.Worker{ID: "w2", Online: true}
			}
			before := s.Clone()
			step, at := domain.NextStep(s, worker, timing, now)
			require.Equal(t, before, s)
			if step == domain.StepNone {
				require.True(t, at.IsZero() || at.After(now), "ask again at %v", at)
				if at.IsZero() {
					return
				}
				now = at
				continue
			}
			require.Zero(t, at)
			carryOut(t, s, step, now)
			if again, _ := domain.NextStep(s, worker, timing, now); again == step {
				require.NotEqual(t, before, s, "step %d does nothing", step)
			}
		}
	})
}

// carryOut executes a step with one of its possible outcomes.
func carryOut(t *rapid.T, s *domain.Session, step domain.Step, now time.Time) {
	outcome := rapid.IntRange(0, 2).Draw(t, fmt.Sprint("outcome of step ", step))
	switch step {
	case domain.StepPlace:
		if outcome == 0 {
			s.PlacementFailed(timing, now)
		} else {
			s.Assign("w2", now)
		}
	case domain.StepCall:
		switch {
		case outcome == 0:
			s.CommandOutcomeUnknown(timing, now)
		case s.Command.Stops() || s.Intent == domain.Down:
			s.StopConfirmed(now)
		case outcome == 1:
			s.StartRejected("no", timing, now)
		default:
			s.CommandAccepted(timing, now)
		}
	case domain.StepEndDebounce:
		s.EndDebounce(timing, now)
	case domain.StepAbandonAssignment:
		s.StopConfirmed(now)
	case domain.StepFailover:
		s.UnassignForMove(domain.EventSessionFailedOver, now)
	case domain.StepStopForMove:
		s.RequestStopForMove(now)
	case domain.StepStartTimedOut:
		s.StartTimedOut("no", timing, now)
	default:
		t.Fatalf("step %d", step)
	}
}

var (
	someCommand = rapid.SampledFrom([]domain.Command{
		domain.CommandNone, domain.CommandStart, domain.CommandRestart, domain.CommandDisconnect, domain.CommandLogout, domain.CommandMove,
	})
	aroundNoon = rapid.SampledFrom([]time.Time{{}, noon.Add(-time.Hour), noon, noon.Add(1), noon.Add(time.Minute)})
)

// someSession returns a session in any state that the methods of Session lead to.
func someSession(t *rapid.T) *domain.Session {
	s := domain.NewSession("s1", "u1", "", "", noon)
	s.Generation = rapid.Int64Range(0, 3).Draw(t, "generation")
	s.WasConnected = rapid.Bool().Draw(t, "was connected")
	s.Attempts = rapid.IntRange(0, 4).Draw(t, "attempts")
	s.FailedStarts = rapid.IntRange(0, 4).Draw(t, "failed starts")
	s.Restarts = rapid.IntRange(0, timing.RestartAttempts).Draw(t, "restarts")
	s.DueAt = aroundNoon.Draw(t, "due")
	if rapid.Bool().Draw(t, "assigned") {
		s.WorkerID, s.Command = "w1", someCommand.Draw(t, "command")
	}
	if rapid.IntRange(0, 3).Draw(t, "wanted") == 0 {
		if s.IsAssigned() && !s.Command.Stops() {
			s.Command = domain.CommandDisconnect
		}
		return s
	}
	s.Intent = domain.Up
	s.Status = rapid.SampledFrom(statuses[:4]).Draw(t, "status")
	if !s.IsAssigned() {
		return s
	}
	s.Confirmed = s.Command == domain.CommandNone
	if !s.Command.Stops() && rapid.IntRange(0, 2).Draw(t, "debounced") == 0 {
		s.Status, s.DebounceUntil = domain.Disconnected, rapid.SampledFrom([]time.Time{noon, noon.Add(time.Second)}).Draw(t, "until")
		s.LoggedOut = rapid.Bool().Draw(t, "logged out")
	}
	return s
}

// someWorker returns a worker in any state, or nil.
func someWorker(t *rapid.T) *domain.Worker {
	if rapid.IntRange(0, 4).Draw(t, "removed") == 0 {
		return nil
	}
	w := &domain.Worker{ID: "w1", Online: rapid.Bool().Draw(t, "online"), Draining: rapid.Bool().Draw(t, "draining")}
	if !w.Online {
		w.FailoverAt = rapid.SampledFrom([]time.Time{noon.Add(-time.Hour), noon, noon.Add(time.Minute)}).Draw(t, "failover")
	}
	return w
}

func TestSortByPriority_TierAndWait_Order(t *testing.T) {
	session := func(id, user string, since time.Duration) *domain.Session {
		return &domain.Session{ID: id, UserID: user, StatusAt: noon.Add(since)}
	}
	sessions := []*domain.Session{
		session("a", "ann", -3*time.Hour), session("b", "bob", 0), session("c", "cleo", 0), session("d", "cleo", -time.Second),
		session("f", "bob", -time.Minute), session("e", "bob", -time.Minute), session("g", "nobody", -time.Hour),
	}
	given := append([]*domain.Session(nil), sessions...)
	var got []string
	for _, s := range domain.SortByPriority(sessions, func(user string) int { return rankOf[user] }) {
		got = append(got, s.ID)
	}
	require.Equal(t, []string{"d", "c", "e", "f", "b", "a", "g"}, got, "higher tiers first, then the longest wait, then by id")
	require.Equal(t, given, sessions, "the input is unchanged")
	require.Empty(t, domain.SortByPriority(nil, nil))
}
