package orchestrator

import (
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
)

// mine reports whether a piece of work falls to this replica.
func (o *Orchestrator) mine(work string) bool {
	if !o.shared() {
		return true
	}
	o.members.mu.Lock()
	defer o.members.mu.Unlock()
	return domain.OwnsWork(o.self.ID, o.members.alive, work)
}

// turn reports whether this replica should do what has been due for a while:
// its own work at once, that of others if they have not.
func (o *Orchestrator) turn(work string, due, now time.Time) bool {
	return o.mine(work) || now.Sub(due) >= patience
}

// turnFor is turn for a session. A worker that another replica has been calling
// a moment ago is left to it, so that one which has many sessions due is called by
// one replica, a few at a time. If several have begun, one of them goes on.
func (o *Orchestrator) turnFor(s *domain.Session, worker string, now time.Time) bool {
	switch callers := o.loop.callers[worker]; {
	case o.shared() && s.ClaimedBy == o.self.ID:
		return true // it goes on with what it has begun
	case worker == "":
		return o.turn("session/"+s.ID, s.DueAt, now)
	case s.Command.Stops() && s.Attempts >= o.timing.StartAttempts:
		return o.turn(again(workOn(worker), s.Attempts), s.DueAt, now)
	case len(callers) > 0:
		return o.loop.works(worker) && domain.OwnsWork(o.self.ID, slices.Collect(maps.Keys(callers)), workOn(worker))
	}
	return o.turn(workOn(worker), s.DueAt, now)
}

// workOn names the work that concerns a worker.
func workOn(workerID string) string { return "worker/" + workerID }

// again names work that has not worked out so many times. It changes hands with
// each: perhaps only one replica cannot reach the worker.
func again(work string, tries int) string { return work + "/" + strconv.Itoa(tries) }

// noteCallers remembers which other replicas call which workers about sessions
// that are due.
func (o *Orchestrator) noteCallers(due []*domain.Session, now time.Time) {
	all := o.loop.callers
	for worker, callers := range all {
		maps.DeleteFunc(callers, func(_ string, seen time.Time) bool { return now.Sub(seen) >= patience })
		if len(callers) == 0 {
			delete(all, worker)
		}
	}
	for _, s := range due {
		if s.IsAssigned() && o.taken(s, now) {
			if all[s.WorkerID] == nil {
				all[s.WorkerID] = make(map[string]time.Time)
			}
			all[s.WorkerID][s.ClaimedBy] = now
		}
	}
}

// turnTaker gives the worker that has to be called about the session; empty: none,
// since it has none or that is lost.
func (o *Orchestrator) turnTaker(s *domain.Session) string {
	if w := o.fleet.worker(s.WorkerID); w == nil || !w.Online {
		return ""
	}
	return s.WorkerID
}
