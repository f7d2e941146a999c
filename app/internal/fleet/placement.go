package fleet

import (
	"context"
	"errors"
	"time"

	"github.com/switchyard-wa/switchyard/app/internal/apperr"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// holds is the part of a worker's load that no row shows yet.
type holds struct {
	pending     int // slots chosen and not yet committed
	chosenAt    time.Time
	throttledTo time.Time // the worker rate-limits us until then
}

// Choose returns the best worker for a request and holds a slot of it until
// ReleaseHold. ok is false if no worker can take the session.
func (c *Cache) Choose(req domain.Request, now time.Time) (workerID string, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	id, ok := c.ranking.Choose(req, now)
	if !ok {
		return "", false
	}
	n := c.workers[id]
	n.holds.pending++
	n.holds.chosenAt = now
	c.rank(n)
	return id, true
}

// ReleaseHold ends the hold that Choose took.
func (c *Cache) ReleaseHold(workerID string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := c.workers[workerID]; n != nil && n.holds.pending > 0 {
		n.holds.pending--
		c.rank(n)
	}
}

// Suspend keeps a worker that rate-limits us out of placement until a time.
func (c *Cache) Suspend(workerID string, until time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := c.workers[workerID]; n != nil {
		n.holds.throttledTo = until
		c.rank(n)
	}
}

// HasRoom reports whether any worker can take a request.
func (c *Cache) HasRoom(req domain.Request, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.ranking.Choose(req, now)
	return ok
}

// FreeSlots counts the slots that placement can assign.
func (c *Cache) FreeSlots() (n int) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	for _, w := range c.workers {
		if l := w.load(); l.Status == domain.WorkerOnline && l.Suspect == "" {
			n += max(l.Capacity-l.Used, 0)
		}
	}
	return n
}

// Loads returns the load of every worker, as placement sees it.
func (c *Cache) Loads() []domain.Load {
	c.mu.RLock()
	defer c.mu.RUnlock()
	all := make([]domain.Load, 0, len(c.workers))
	for _, n := range c.workers {
		all = append(all, n.load())
	}
	return all
}

// Explain returns which worker a request would get, and how every worker scored.
func (c *Cache) Explain(loads []domain.Load, req domain.Request, now time.Time) (chosen string, all []domain.Candidate) {
	return domain.Explain(loads, req, c.strategy, now)
}

// rank updates the worker's place in the ranking. The caller holds the lock.
func (c *Cache) rank(n *cachedWorker) { c.ranking.Put(n.load()) }

// load returns the load of a worker. The caller holds the lock.
func (n *cachedWorker) load() domain.Load {
	l := LoadOf(n.worker)
	l.Used, l.ChosenAt, l.SuspendedUntil = len(n.sessions)+n.holds.pending, n.holds.chosenAt, n.holds.throttledTo
	if len(n.sessions) > 0 || n.worker.ReportedBreakdown != nil {
		b := n.counts
		l.Breakdown = &b
	}
	return l
}

// LoadOf returns the load of a worker as far as its row shows it.
func LoadOf(w *domain.Worker) domain.Load {
	return domain.Load{
		WorkerID: w.ID, Status: w.Status(), Suspect: w.Suspect, Used: w.Used, Capacity: w.Capacity,
		CPU: w.CPU, Memory: w.Memory, HeartbeatAt: w.LastHeartbeat, Labels: w.Labels,
		StateGroup: w.StateGroup,
	}
}

// PlacementRequest describes a session to placement. avoid lists workers that it must
// not get.
func (s *Sync) PlacementRequest(ctx context.Context, session *domain.Session, avoid []string) (domain.Request, error) {
	req := domain.Request{Avoid: avoid, Moved: session.MigrationID != "" || session.PreviousWorkerID != ""}
	req.Prefer = session.MigrationTargetID
	if session.PlacementEvent == domain.EventSessionMigrated {
		req.Avoid = append(req.Avoid, session.PreviousWorkerID)
	}
	if session.ExcludedWorkerID != "" && s.Now().Before(session.ExcludedUntil) {
		req.Avoid = append(req.Avoid, session.ExcludedWorkerID)
	}
	err := s.Store.View(ctx, func(ctx context.Context, tx *ports.Tx) error {
		u, err := tx.Users.Get(ctx, session.UserID)
		if err != nil {
			return apperr.User(err)
		}
		req.Home, err = HomeOf(ctx, tx, session, s.Timing, s.Now())
		if err != nil {
			return err
		}
		if pool := s.Limits(u.Tier).Pool; pool != "" {
			req.Selector = map[string]string{"pool": pool}
		}
		owned, _, err := tx.Sessions.List(ctx, ports.SessionFilter{UserID: session.UserID}, ports.Page{})
		if err != nil {
			return err
		}
		ids := make([]string, len(owned))
		for i, o := range owned {
			ids[i] = o.ID
		}
		req.UserWorkers = s.cache.UserWorkers(ids)
		return avoidCredentials(ctx, tx, session.ID, &req)
	})
	return req, err
}

// avoidCredentials excludes the workers on which a start would find credentials that are not the
// session's: those that have yet to be wiped, with their state group, and those of a stranger.
func avoidCredentials(ctx context.Context, tx *ports.Tx, sessionID string, req *domain.Request) error {
	cleanups, err := tx.Cleanups.BySession(ctx, sessionID)
	for _, c := range cleanups {
		isBlocked, err := blocksOwnWorker(ctx, tx, c)
		if err != nil {
			return err
		}
		if isBlocked {
			req.Avoid = append(req.Avoid, c.WorkerID)
		}
		if c.BlocksPlacement("", c.StateGroup) {
			req.AvoidGroups = append(req.AvoidGroups, c.StateGroup)
		}
	}
	return err
}

// blocksOwnWorker reports whether a cleanup excludes its own worker. A worker that has changed its
// state group is not excluded by what it left on its former disk.
func blocksOwnWorker(ctx context.Context, tx *ports.Tx, c *domain.Cleanup) (bool, error) {
	if !c.BlocksPlacement(c.WorkerID, c.StateGroup) {
		return false, nil
	}
	w, err := tx.Workers.Get(ctx, c.WorkerID)
	if errors.Is(err, ports.ErrNotFound) {
		return true, nil
	}
	return err == nil && c.BlocksPlacement(w.ID, w.StateGroup), err
}
