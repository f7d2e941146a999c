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
// state from which [Next] gives the right step again.
const (
	StepNone        Step = iota // nothing to do, now or at Session.DueAt
	StepPlace                   // choose a worker, reserve a slot, assign
	StepCall                    // tell the assigned worker Session.Command
	StepEndDebounce             // Session.EndDebounce
	StepRelease                 // Session.Stopped: the stop cannot be confirmed any more; clean up there later
	StepLeave                   // Session.Leave: the worker is lost; place elsewhere
	StepMove                    // Session.Move, when its turn comes: the worker is being drained, or it is to migrate
	StepGiveUp                  // Session.GiveUp: the worker may have had the start but never confirmed it
)

// Next decides what is to be done about a session, given its worker as it is
// known (nil if there is no such worker). at is when to ask again if the step
// is StepNone; zero means that only a change of state can bring work.
//
// A session that is claimed waits for the claim to end, unless its worker is
// lost; the replica that has the claim asks about a copy without it.
//
// It is level-triggered: it looks at the recorded state alone, never at how
// that came about.
func Next(s *Session, w *Worker, t Timing, now time.Time) (step Step, at time.Time) {
	if !s.Assigned() {
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
		return StepRelease, time.Time{}
	case lost && s.LoggedOut:
		return due(StepEndDebounce, s.DebounceUntil, now) // it is not wanted elsewhere
	case lost:
		return StepLeave, time.Time{}
	case !w.Online:
		return StepNone, w.FailoverAt
	case s.Claimed(now):
		return StepNone, s.ClaimedUntil
	case s.Command.Stops(), s.Intent == Down:
		return due(StepCall, s.DueAt, now)
	case !s.DebounceUntil.IsZero():
		return due(StepEndDebounce, s.DebounceUntil, now)
	case s.Command != CommandNone && s.Attempts >= t.StartAttempts:
		return due(StepGiveUp, s.DueAt, now)
	case s.Command != CommandNone:
		return due(StepCall, s.DueAt, now)
	case w.Draining || s.MigrationID != "":
		return StepMove, time.Time{}
	}
	return StepNone, time.Time{}
}

func due(step Step, at, now time.Time) (Step, time.Time) {
	if now.Before(at) {
		return StepNone, at
	}
	return step, time.Time{}
}

// FailoverPlan orders the sessions of a lost worker for placing elsewhere, and
// those waiting for capacity: higher tiers first, then those waiting longest.
func FailoverPlan(sessions []*Session, rank func(userID string) int) []*Session {
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

// Recoverable reports whether a restarted worker is to recover the session:
// it is still assigned there, wanted up, and not about to be stopped there.
func Recoverable(s *Session, workerID string) bool {
	return s.WorkerID == workerID && s.Intent == Up && s.Status.Live() && !s.Command.Stops()
}
