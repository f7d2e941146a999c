package fleet

import (
	"maps"
	"slices"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
)

// maxForeign bounds the foreign sessions that are remembered for each worker.
const maxForeign = 1000

// NoteForeign records what a heartbeat says of foreign sessions, which the store has never
// known. found lists those that were not foreign before. A full snapshot removes those that
// it does not name.
func (c *Cache) NoteForeign(h *domain.Heartbeat, found []domain.Report, now time.Time) {
	if len(found) == 0 && !c.hasForeign(h.WorkerID) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.workers[h.WorkerID]
	if n == nil {
		return
	}
	isForeign := make(map[string]bool, len(found)+len(n.foreign))
	for id := range n.foreign {
		isForeign[id] = true
	}
	for _, r := range found {
		isForeign[r.SessionID] = true
	}
	next := make(map[string]domain.ForeignSession, len(isForeign))
	if !h.IsFullSnapshot {
		next = maps.Clone(n.foreign)
	}
	for i := range h.Sessions {
		r := &h.Sessions[i]
		if !isForeign[r.SessionID] || next[r.SessionID].SessionID == "" && len(next) >= maxForeign {
			continue
		}
		if next == nil {
			next = make(map[string]domain.ForeignSession)
		}
		next[r.SessionID] = domain.ForeignSession{
			SessionID: r.SessionID, IsRunning: true, Status: r.Status, PhoneNumber: r.PhoneNumber, LastSeenAt: now,
		}
	}
	c.setForeign(n, next)
}

// setForeign replaces the foreign sessions of a worker. The caller holds the lock.
func (c *Cache) setForeign(n *cachedWorker, next map[string]domain.ForeignSession) {
	for id := range n.foreign {
		c.foreign[id]--
		if c.foreign[id] == 0 {
			delete(c.foreign, id)
		}
	}
	n.foreign = next
	for id := range next {
		c.foreign[id]++
	}
}

// ForgetForeign forgets a session that was foreign. The next heartbeat that names it is
// looked at again.
func (c *Cache) ForgetForeign(sessionID string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forgetForeign(sessionID)
}

// forgetForeign forgets a session that was foreign. The caller holds the lock.
func (c *Cache) forgetForeign(sessionID string) {
	if c.foreign[sessionID] == 0 {
		return
	}
	for _, n := range c.workers {
		delete(n.foreign, sessionID)
	}
	delete(c.foreign, sessionID)
}

// IsForeign reports whether a worker runs a session with the id that the store has never
// known.
func (c *Cache) IsForeign(sessionID string) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.foreign[sessionID] > 0
}

func (c *Cache) hasForeign(workerID string) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	n := c.workers[workerID]
	return n != nil && len(n.foreign) > 0
}

// ForeignSessions returns the foreign sessions that a worker runs, in no order. This replica
// knows only those in heartbeats that it received.
func (c *Cache) ForeignSessions(workerID string) []domain.ForeignSession {
	c.mu.RLock()
	defer c.mu.RUnlock()
	n := c.workers[workerID]
	if n == nil {
		return nil
	}
	return slices.Collect(maps.Values(n.foreign))
}
