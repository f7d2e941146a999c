package domain

import (
	"strings"
	"time"
)

// HomePolicy is the state of a linked session towards its home. It says which workers placement may choose.
//
//	from         by                                            to
//	PREFERRED    nobody scanned on another worker              REQUIRED
//	REQUIRED     placed on the home or in its state group      PREFERRED
//	PREFERRED    an administrator moves the session by force   ABANDONED
//	every state  user connects or stops the session            PREFERRED
//	every state  the session connects, or loses its home       PREFERRED
//
//	              requireHome             AbandonHome
//	REQUIRED <------------------ PREFERRED ------------------> ABANDONED
//	         ------------------>           <------------------
//	         endHomeRequirement            resetHomePolicy
//
// A session whose policy is PREFERRED waits for its home for Timing.HomeWait. It then takes any worker, and
// returns when the home is back before a scan. A scan makes the scanning worker the home.
type HomePolicy string

// The home policies. Their texts are stored, and older than the names of their constants. No database is
// migrated for them: replicas of the version before would not know new texts.
const (
	HomePreferred HomePolicy = ""     // wait for the home for Timing.HomeWait, then take any worker, and return before a scan
	HomeRequired  HomePolicy = "ONLY" // nobody scanned on another worker: wait for the home or its state group
	HomeAbandoned HomePolicy = "LEFT" // an administrator moved the session away: take any worker, and do not return
)

// FailoverPolicy says when linked sessions of a lost worker may move to workers without their
// credentials.
type FailoverPolicy string

// The failover policies.
const (
	FailoverWait FailoverPolicy = "wait" // after Timing.HomeWait
	FailoverMove FailoverPolicy = "move" // at once
)

// ParseFailoverPolicy returns the policy with the given name, in any case.
func ParseFailoverPolicy(raw string) (FailoverPolicy, error) {
	switch p := FailoverPolicy(strings.ToLower(strings.TrimSpace(raw))); p {
	case FailoverWait, FailoverMove:
		return p, nil
	}
	return "", Errorf(Invalid, CodeValidation, "Failover must be wait or move")
}

// CheckStateGroup returns the state group without surrounding space. A state group has at most 100
// characters, otherwise the error is [Invalid].
func CheckStateGroup(raw string) (string, error) { return checkText("State group", raw, 0, 100, "") }

// IsLinked reports whether a worker stores WhatsApp credentials of the session: it has a home.
func (s *Session) IsLinked() bool { return s.CredentialsWorkerID != "" }

// isAtHome reports whether the session is assigned to its home.
func (s *Session) isAtHome() bool { return s.IsLinked() && s.WorkerID == s.CredentialsWorkerID }

// HasToScan reports whether the session is linked and still waits for a scan, on a worker without its
// credentials.
func (s *Session) HasToScan() bool {
	return s.IsLinked() && s.Status == QRRequired && s.IsAssigned() && !s.isAtHome()
}

// ShouldReturnHome reports whether the session has to scan on another worker and goes home as soon as
// its home can take it.
func (s *Session) ShouldReturnHome() bool {
	return s.HasToScan() && s.HomePolicy != HomeAbandoned && s.Intent == Up &&
		s.Command == CommandNone && s.Confirmed && s.MigrationID == ""
}

// ShouldWaitForHome reports whether placement may choose only the home of the session or a worker of its
// state group. home is the row of the home, or nil if it was removed.
func (s *Session) ShouldWaitForHome(home *Worker, t Timing, now time.Time) bool {
	switch {
	case !s.IsLinked(), s.HomePolicy == HomeAbandoned:
		return false
	case s.HomePolicy == HomeRequired:
		return true
	case home == nil, home.Draining && home.DrainForced, s.HasToScan():
		return false
	}
	end := s.HomeWaitUntil
	if !home.Online {
		end = earlierOf(end, home.homeWaitEnd(t))
	}
	return end.IsZero() || now.Before(end)
}

// NoteHomeRefused records that the home is online and could not take the session. The wait for the home
// begins with the first refusal.
func (s *Session) NoteHomeRefused(t Timing, now time.Time) {
	if s.HomeWaitUntil.IsZero() {
		s.HomeWaitUntil = now.Add(t.HomeWait)
	}
}

// AbandonHome records that an administrator moves the session to a worker without its credentials: the policy
// is HomeAbandoned.
func (s *Session) AbandonHome() { s.HomePolicy = HomeAbandoned }

// IsBoundToHome reports whether the session is on its home w, cannot leave w without a scan, and no
// administrator accepted a scan.
func (s *Session) IsBoundToHome(w *Worker) bool {
	return s.isAtHome() && w.StateGroup == "" && s.HomePolicy != HomeAbandoned && (!w.Draining || !w.DrainForced)
}

// requireHome ends the assignment to a worker on which nobody scanned. The policy is HomeRequired.
func (s *Session) requireHome(t Timing, now time.Time) {
	s.unassign()
	s.HomePolicy, s.Attempts = HomeRequired, 1
	s.DueAt, s.UpdatedAt = now.Add(t.HomeWait), now
}

// endHomeRequirement ends HomeRequired: the session is assigned to a worker with its credentials.
func (s *Session) endHomeRequirement(now time.Time) {
	if s.HomePolicy == HomeRequired {
		s.HomePolicy = HomePreferred
		s.setStatus(Reconnecting, now)
	}
}

// resetHomePolicy sets HomePreferred and ends a wait for a home that refused. The session is at home, or has
// no home.
func (s *Session) resetHomePolicy() { s.HomePolicy, s.HomeWaitUntil = HomePreferred, time.Time{} }

// askForScan records that the worker asks for a scan. On the home it means that the credentials are
// gone. On any other worker the session keeps its number and its home. was is the former status.
func (s *Session) askForScan(was Status, events []Event, now time.Time) []Event {
	switch {
	case !s.IsLinked() && was != Reconnecting:
		return events
	case !s.IsLinked(), s.isAtHome():
		s.unlink()
		s.DueAt = now // it may leave a worker that drains
		events[0].Reason = "credentials are gone; scan again"
		return events
	}
	const why = "the worker does not have the credentials; scan again, or wait for the worker that has them"
	events[0].Reason = why
	e := s.event(EventSessionNeedsScan, why, now)
	e.FromWorker = s.CredentialsWorkerID
	return append(events, e)
}

// homeWaitEnd returns when linked sessions of the worker, which is offline, may move to workers without
// their credentials.
func (w *Worker) homeWaitEnd(t Timing) time.Time {
	if w.Failover == FailoverMove {
		return w.FailoverAt
	}
	return w.FailoverAt.Add(t.HomeWait)
}

// earlierOf returns the earlier time. The zero time counts as never.
func earlierOf(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
