package domain

import (
	"cmp"
	"slices"
	"time"
)

// Step is the next thing to be done about a session.
type Step uint8

// The steps. Each is carried out by one transaction, or one call to a worker
// followed by one transaction; a crash before, between or after them leaves a
// state from which [NextStep] gives the right step again.
const (
	StepNone              Step = iota // nothing to do, now or at Session.DueAt
	StepPlace                         // choose a worker, reserve a slot, assign
	StepCall                          // tell the assigned worker Session.Command
	StepEndDebounce                   // Session.EndDebounce
	StepAbandonAssignment             // Session.StopConfirmed: the stop cannot be confirmed any more; clean up there later
	StepFailover                      // Session.UnassignForMove: the worker is lost; place elsewhere
	StepStopForMove                   // Session.RequestStopForMove, when its turn comes: the worker is being drained, or it is to migrate
	StepStartTimedOut                 // Session.StartTimedOut: the worker may have had the start but never confirmed it
)

// NextStep decides what is to be done about a session, given its worker as it is
// known (nil if there is no such worker). at is when to ask again if the step
// is StepNone; zero means that only a change of state can bring work.
//
// A session that is claimed waits for the claim to end, unless its worker is
// lost; the replica that has the claim asks about a copy without it.
//
// It is level-triggered: it looks at the recorded state alone, never at how
// that came about.
func NextStep(s *Session, w *Worker, t Timing, now time.Time) (step Step, at time.Time) {
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
		return due(StepEndDebounce, s.DebounceUntil, now) // it is not wanted elsewhere
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
	case w.Draining || s.MigrationID != "":
		return StepStopForMove, time.Time{}
	}
	return StepNone, time.Time{}
}

func due(step Step, at, now time.Time) (Step, time.Time) {
	if now.Before(at) {
		return StepNone, at
	}
	return step, time.Time{}
}

// SortByPriority orders the sessions of a lost worker for placing elsewhere, and
// those waiting for capacity: higher tiers first, then those waiting longest.
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

// IsRecoverableBy reports whether a restarted worker is to recover the session:
// it is still assigned there, wanted up, and not about to be stopped there.
func IsRecoverableBy(s *Session, workerID string) bool {
	return s.WorkerID == workerID && s.Intent == Up && s.Status.IsActive() && !s.Command.Stops()
}
