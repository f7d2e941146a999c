package domain

import (
	"cmp"
	"slices"
	"time"
)

// Step is the next action about a session.
type Step uint8

// The steps. One transaction executes a step, or one call to a worker and then one transaction. A crash
// before, between or after them leaves a state from which [NextStep] returns the right step again.
const (
	StepNone              Step = iota // nothing to do now; look again at Session.DueAt
	StepPlace                         // choose a worker, reserve a slot, assign
	StepCall                          // call the assigned worker with Session.Command
	StepEndDebounce                   // Session.EndDebounce
	StepAbandonAssignment             // Session.StopConfirmed: the stop cannot be confirmed any more; record a cleanup
	StepFailover                      // Session.UnassignForMove: the worker is lost; place the session elsewhere
	StepStopForMove                   // Session.RequestStopForMove, after admission: the worker drains, or the session migrates
	StepStartTimedOut                 // Session.StartTimedOut: the worker never confirmed a start that it may have executed
)

// NextStep returns the next step of a session and, with StepNone, the time of the next look. A zero
// time means that only a change of state can bring work. w is the assigned worker as it is known, or
// nil if there is none.
//
// A claimed session waits for the end of the claim, unless its worker is lost. The replica that holds
// the claim passes a copy without it.
//
// NextStep is level-triggered: it looks at recorded state alone and never at the events that led there.
func NextStep(s *Session, w *Worker, t Timing, now time.Time) (step Step, requeueAt time.Time) {
	if !s.IsAssigned() {
		switch {
		case s.Intent == Down:
			return StepNone, time.Time{}
		case now.Before(s.DueAt):
			return StepNone, s.DueAt
		}
		return StepPlace, time.Time{}
	}
	lost := w == nil || !w.Online && !now.Before(w.FailoverAt)
	switch {
	case lost && (s.Intent == Down || s.Command == CommandLogout):
		return StepAbandonAssignment, time.Time{}
	case lost && s.LoggedOut:
		return due(StepEndDebounce, s.DebounceUntil, now) // a logged-out session does not start elsewhere
	case lost && w != nil && s.IsBoundToHome(w) && s.ShouldWaitForHome(w, t, now):
		return StepNone, earlierOf(s.HomeWaitUntil, w.homeWaitEnd(t))
	case lost:
		return StepFailover, time.Time{}
	case !w.Online:
		return StepNone, w.FailoverAt
	case s.IsClaimed(now):
		return StepNone, s.ClaimedUntil
	case s.Command.Stops(), s.Intent == Down:
		return due(StepCall, s.DueAt, now)
	case !s.DebounceUntil.IsZero():
		return due(StepEndDebounce, s.DebounceUntil, now)
	case s.Command != CommandNone && s.Attempts >= t.StartAttempts:
		return due(StepStartTimedOut, s.DueAt, now)
	case s.Command != CommandNone:
		return due(StepCall, s.DueAt, now)
	case s.MigrationID != "", w.IsEmptying() && !s.IsBoundToHome(w):
		return StepStopForMove, time.Time{}
	}
	return StepNone, time.Time{}
}

// due returns the step if its time has come, and otherwise the time to wait for.
func due(step Step, at, now time.Time) (Step, time.Time) {
	if now.Before(at) {
		return StepNone, at
	}
	return step, time.Time{}
}

// SortByPriority returns sessions in the order of placement: higher ranks first, then the longest in
// their status. It serves the sessions of a lost worker and sessions that wait for capacity.
func SortByPriority(sessions []*Session, rank func(userID string) int) []*Session {
	plan := slices.Clone(sessions)
	slices.SortStableFunc(plan, func(a, b *Session) int {
		return cmp.Or(
			cmp.Compare(rank(b.UserID), rank(a.UserID)),
			a.StatusAt.Compare(b.StatusAt),
			cmp.Compare(a.ID, b.ID),
		)
	})
	return plan
}

// IsRecoverableBy reports whether a restarted worker recovers the session. The session is still
// assigned to the worker, wanted up, and not about to be stopped there.
func IsRecoverableBy(s *Session, workerID string) bool {
	return s.WorkerID == workerID && s.Intent == Up && s.Status.IsActive() && !s.Command.Stops()
}
