package fleet

import (
	"time"

	"github.com/switchyard-wa/switchyard/domain"
)

// HeartbeatDiff is the difference between a heartbeat and the cache.
type HeartbeatDiff struct {
	Changed    []domain.Report // to be applied, of the assigned generation or a higher one
	Unexpected []domain.Report // run there, but are not assigned to the worker, or in a higher generation
	Missing    []string        // should have run there for long, and are not listed
	NewForeign []string        // foreign, and not recorded for the worker
}

// IsEmpty reports whether the heartbeat says nothing new.
func (d *HeartbeatDiff) IsEmpty() bool {
	return len(d.Changed)+len(d.Unexpected)+len(d.Missing)+len(d.NewForeign) == 0
}

// DiffHeartbeat compares a heartbeat with the cache. Without news it costs one look-up
// per session and no allocation.
func (c *Cache) DiffHeartbeat(h *domain.Heartbeat, t domain.Timing, now time.Time) HeartbeatDiff {
	c.mu.RLock()
	defer c.mu.RUnlock()
	var diff HeartbeatDiff
	n := c.workers[h.WorkerID]
	if n == nil {
		return diff
	}
	listed := 0
	for i := range h.Sessions {
		r := &h.Sessions[i]
		a := n.sessions[r.SessionID]
		if a == nil || r.Generation != 0 && r.Generation < a.generation {
			if _, isForeign := n.foreign[r.SessionID]; r.Status.IsActive() && !isForeign {
				diff.Unexpected = append(diff.Unexpected, *r)
			}
			continue
		}
		if !a.matches(r) {
			diff.Changed = append(diff.Changed, *r)
		}
		listed++
	}
	if h.IsFullSnapshot && listed < len(n.sessions) {
		diff.Missing = n.missing(h, t, now)
	}
	return diff
}

// matches reports whether a report brings no news.
func (a *Assignment) matches(r *domain.Report) bool {
	return r.Status == a.Status && a.Confirmed && !r.LoggedOut && r.Generation <= a.generation &&
		(r.PhoneNumber == "" || r.PhoneNumber == a.phone) &&
		(r.DisplayName == "" || r.DisplayName == a.displayName)
}

// missing returns the sessions that the worker should have listed.
func (n *cachedWorker) missing(h *domain.Heartbeat, t domain.Timing, now time.Time) (ids []string) {
	listed := make(map[string]bool, len(h.Sessions))
	for i := range h.Sessions {
		listed[h.Sessions[i].SessionID] = true
	}
	for id, a := range n.sessions {
		if !listed[id] && (a.shouldRun(t, now) || a.startWasAccepted(n.worker, t, now) || a.Command.Stops()) {
			ids = append(ids, id)
		}
	}
	return ids
}

// shouldRun reports whether the session should have been running for long. A list
// may be older than the confirmation, but not by much.
func (a *Assignment) shouldRun(t domain.Timing, now time.Time) bool {
	isOld := now.Sub(a.assignedAt) > t.StartTimeout || a.Confirmed && now.Sub(a.lastReportAppliedAt) > t.DisconnectDebounce
	return a.Intent == domain.Up && a.Command == domain.CommandNone && a.Status.IsActive() && isOld
}

// startWasAccepted reports whether the worker accepted a start a while ago. A worker
// that knows generations lists a session as soon as it begins to start it.
func (a *Assignment) startWasAccepted(w *domain.Worker, t domain.Timing, now time.Time) bool {
	wait := a.DueAt.Sub(now)
	return a.Command == domain.CommandStart && a.Attempts > 0 && w.Supports(domain.CapGeneration) &&
		wait > t.Backoff(a.Attempts) && wait < t.StartTimeout-t.DisconnectDebounce
}
