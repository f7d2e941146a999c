package domain

import (
	"fmt"
	"time"
)

// A worker that has just joined the fleet, or changed its version, is in its canary
// period:
// a canary. If its sessions disconnect at an unusual rate, it receives no more.

// startCanary begins a canary period; what an earlier one found is of the past.
func (w *Worker) startCanary(now time.Time) { w.CanarySince, w.Suspect = now, "" }

// IsCanary reports whether the worker is being watched, and has not failed yet.
func (w *Worker) IsCanary(t Timing, now time.Time) bool {
	return w.Suspect == "" && !w.CanarySince.IsZero() && now.Before(w.CanarySince.Add(t.CanaryPeriod))
}

// Disconnects counts disconnects that nobody wanted: neither ordered, nor because
// the worker was lost.
type Disconnects struct {
	Count    int
	Sessions int // among so many
}

// ExceedsBaseline reports whether a canary has dropped so many of its sessions
// that it is to blame: at least three times, at least once for every two
// sessions, and at least at three times the rate of the rest of the fleet. What
// everybody suffers from is not its fault; with nobody to compare it with,
// there is no telling.
func ExceedsBaseline(own, rest Disconnects) bool {
	return own.Count >= 3 && rest.Sessions > 0 && 2*own.Count >= own.Sessions &&
		own.Count*rest.Sessions >= 3*rest.Count*max(own.Sessions, 1)
}

// MarkSuspect notes that the worker failed its canary period: from now on it receives no
// sessions, until it changes its version or an operator says otherwise. Those
// that it has stay.
func (w *Worker) MarkSuspect(own Disconnects, now time.Time) []Event {
	w.Suspect = fmt.Sprintf("%d disconnects among %d sessions since it joined or changed its version to %s",
		own.Count, own.Sessions, w.Version)
	w.UpdatedAt = now
	return []Event{w.event(EventWorkerSuspect, w.Suspect, now)}
}
