package fleet

import (
	"maps"
	"slices"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
)

// Worker returns a cached worker, which the caller must not change, or nil.
func (c *Cache) Worker(id string) *domain.Worker {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if n := c.workers[id]; n != nil {
		return n.worker
	}
	return nil
}

// Workers returns all cached workers, by id. The caller must not change them.
func (c *Cache) Workers() []*domain.Worker {
	c.mu.RLock()
	defer c.mu.RUnlock()
	all := make([]*domain.Worker, 0, len(c.workers))
	for _, id := range slices.Sorted(maps.Keys(c.workers)) {
		all = append(all, c.workers[id].worker)
	}
	return all
}

// CountWorkers returns the number of cached workers.
func (c *Cache) CountWorkers() int {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return len(c.workers)
}

// SessionsOf returns the sessions assigned to a worker.
func (c *Cache) SessionsOf(workerID string) map[string]*Assignment {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if n := c.workers[workerID]; n != nil {
		return maps.Clone(n.sessions)
	}
	return nil
}

// Breakdown counts the sessions of a worker by status.
func (c *Cache) Breakdown(workerID string) domain.Breakdown {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if n := c.workers[workerID]; n != nil {
		return n.counts
	}
	return domain.Breakdown{}
}

// WorkerOf returns the worker that a session is assigned to, or the empty string.
func (c *Cache) WorkerOf(sessionID string) string {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if a := c.sessions[sessionID]; a != nil {
		return a.WorkerID
	}
	return ""
}

// UserWorkers counts the active sessions among ids by worker.
func (c *Cache) UserWorkers(ids []string) map[string]int {
	c.mu.RLock()
	defer c.mu.RUnlock()
	by := make(map[string]int, len(ids))
	for _, id := range ids {
		if a := c.sessions[id]; a != nil && a.Status.IsActive() {
			by[a.WorkerID]++
		}
	}
	return by
}

// UpByUser counts the assigned sessions with the intent up, by user.
func (c *Cache) UpByUser() map[string]int {
	c.mu.RLock()
	defer c.mu.RUnlock()
	up := make(map[string]int)
	for _, a := range c.sessions {
		if a.Intent == domain.Up {
			up[a.UserID]++
		}
	}
	return up
}

// WaitingForRoom returns the ids of the sessions that found no room.
func (c *Cache) WaitingForRoom() []string {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return slices.Sorted(maps.Keys(c.waiting))
}

// isMovable reports whether only admission keeps the session from moving.
func (a *Assignment) isMovable() bool {
	return a.Intent == domain.Up && a.Command == domain.CommandNone && a.Confirmed
}

// WaitingToMove returns the sessions that should leave their workers and have not
// begun to: those with an open migration, and those of draining workers that may leave
// without a scan.
func (c *Cache) WaitingToMove() (all []*Assignment) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	for _, a := range c.migrating {
		if a.isMovable() {
			all = append(all, a)
		}
	}
	for _, n := range c.workers {
		if !n.worker.IsEmptying() || !n.worker.Online {
			continue
		}
		for _, a := range n.sessions {
			if a.isMovable() && a.MigrationID == "" && !a.isBoundToHome(n.worker) {
				all = append(all, a)
			}
		}
	}
	return all
}

// isBoundToHome reports whether the session leaves its worker only with a scan that no
// administrator accepted.
func (a *Assignment) isBoundToHome(w *domain.Worker) bool {
	s := domain.Session{WorkerID: a.WorkerID, CredentialsWorkerID: a.homeID, HomePolicy: a.homePolicy}
	return s.IsBoundToHome(w)
}

// ReadyToReturn returns the sessions that have to scan on another worker, and whose homes
// can take them back now.
func (c *Cache) ReadyToReturn(now time.Time) (ids []string) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	for id, a := range c.away {
		home := c.workers[a.homeID]
		if home == nil {
			continue
		}
		l := home.load()
		if l.Status == domain.WorkerOnline && l.Suspect == "" && l.Used < l.Capacity && !l.SuspendedUntil.After(now) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// DrainingWorker returns the worker whose drain has the id, or the empty string.
func (c *Cache) DrainingWorker(drainID string) string {
	c.mu.RLock()
	defer c.mu.RUnlock()
	for _, n := range c.workers {
		if n.worker.Draining && n.worker.DrainID == drainID {
			return n.worker.ID
		}
	}
	return ""
}

// Rebalanceable returns the connected sessions that have no migration.
func (c *Cache) Rebalanceable() (all []*Assignment) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	for _, a := range c.sessions {
		if a.isMovable() && a.Status == domain.Connected && a.MigrationID == "" {
			all = append(all, a)
		}
	}
	return all
}

// LoadSamples returns the load of every worker that is online.
func (c *Cache) LoadSamples(now time.Time) (all []domain.LoadSample) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	for _, n := range c.workers {
		if w := n.worker; w.Online {
			all = append(all, domain.LoadSample{WorkerID: w.ID, At: now, Sessions: len(n.sessions), CPU: w.CPU, Memory: w.Memory})
		}
	}
	return all
}
