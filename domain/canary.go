package domain

import (
	"fmt"
	"time"
)

// startCanary begins a canary period and forgets the finding of an earlier one.
//
// A worker that joins the fleet or changes its version is a canary. If its sessions disconnect at an
// unusual rate, it becomes suspect and receives no more sessions.
func (w *Worker) startCanary(now time.Time) { w.CanarySince, w.Suspect = now, "" }

// IsCanary reports whether the worker is in its canary period and has not failed it.
func (w *Worker) IsCanary(t Timing, now time.Time) bool {
	return w.Suspect == "" && !w.CanarySince.IsZero() && now.Before(w.CanarySince.Add(t.CanaryPeriod))
}

// Disconnects counts unwanted disconnects. Disconnects that a user ordered do not count, nor do those
// of a lost worker.
type Disconnects struct {
	Count    int
	Sessions int // the number of sessions that Count comes from
}

// ExceedsBaseline reports whether a canary causes too many disconnects of its sessions: at least three
// in all, at least one for every two sessions, and at least three times the rate of the other workers.
// Trouble of the whole fleet is not the canary's fault. Without other sessions to compare with, it
// reports false.
func ExceedsBaseline(own, rest Disconnects) bool {
	return own.Count >= 3 && rest.Sessions > 0 && 2*own.Count >= own.Sessions &&
		own.Count*rest.Sessions >= 3*rest.Count*max(own.Sessions, 1)
}

// MarkSuspect records that the worker failed its canary period. The worker receives no new sessions
// until it changes its version or an operator activates it. Its present sessions stay.
func (w *Worker) MarkSuspect(own Disconnects, now time.Time) []Event {
	w.Suspect = fmt.Sprintf("%d disconnects among %d sessions since it joined or changed its version to %s",
		own.Count, own.Sessions, w.Version)
	w.UpdatedAt = now
	return []Event{w.event(EventWorkerSuspect, w.Suspect, now)}
}
