package fleet

import (
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// maxTombstones bounds the memory of rows that left the cache.
const maxTombstones = 10_000

// Cache holds workers and assigned sessions. It is safe for concurrent use.
type Cache struct {
	// CapacityFreed is set when a worker may have room that it lacked before.
	CapacityFreed Signal
	// MigrationEnded is set when a session may leave its worker that had to wait.
	MigrationEnded Signal
	// Disconnected is set when a session disconnected against its intent.
	Disconnected Signal

	observer WorkerObserver
	strategy domain.Strategy

	mu         sync.RWMutex
	ranking    *domain.Ranking
	workers    map[string]*cachedWorker
	sessions   map[string]*Assignment
	migrating  map[string]*Assignment // the sessions with an open migration
	away       map[string]*Assignment // the sessions that go home as soon as their homes can take them
	waiting    map[string]bool        // sessions that found no room
	tombstones map[string]int64       // last Rev of rows that left the cache
	foreign    map[string]int         // how many workers run a session that the store has never known
}

// WorkerObserver learns of every worker row that enters the cache. It runs under the
// cache's lock: it is quick and does not call the cache.
type WorkerObserver interface {
	WorkerCached(before, after *domain.Worker, now time.Time) // before is nil for a worker new to the cache
	WorkerDropped(id string)
}

// Signal is a flag that is set when something happened, and taken once.
type Signal struct{ set atomic.Bool }

// Set sets the signal.
func (s *Signal) Set() { s.set.Store(true) }

// Take clears the signal and reports whether it was set.
func (s *Signal) Take() bool { return s.set.Swap(false) }

// cachedWorker is one worker. The Worker it points to is replaced, never changed.
type cachedWorker struct {
	worker   *domain.Worker
	sessions map[string]*Assignment
	counts   domain.Breakdown
	holds    holds
	canary   canary
	foreign  map[string]domain.ForeignSession // by id
}

// Assignment is the cached state of one assigned session. It is replaced, never
// changed.
type Assignment struct {
	SessionID, UserID, WorkerID string
	Status                      domain.Status
	Intent                      domain.Intent
	Command                     domain.Command
	Confirmed                   bool
	MigrationID                 string
	Attempts                    int
	DueAt                       time.Time

	homeID                          string
	homePolicy                      domain.HomePolicy
	phone, displayName              string
	generation, rev                 int64
	assignedAt, lastReportAppliedAt time.Time
}

// NewCache returns an empty cache that places by a strategy.
func NewCache(s domain.Strategy) *Cache {
	return &Cache{
		observer:   noObserver{},
		strategy:   s,
		ranking:    domain.NewRanking(s),
		workers:    make(map[string]*cachedWorker),
		sessions:   make(map[string]*Assignment),
		migrating:  make(map[string]*Assignment),
		away:       make(map[string]*Assignment),
		waiting:    make(map[string]bool),
		tombstones: make(map[string]int64),
		foreign:    make(map[string]int),
	}
}

// Observe sets the observer of worker rows. Call it before the cache is in use.
func (c *Cache) Observe(o WorkerObserver) { c.observer = o }

type noObserver struct{}

func (noObserver) WorkerCached(_, _ *domain.Worker, _ time.Time) {}
func (noObserver) WorkerDropped(string)                          {}

// addTombstone remembers the Rev of a row that is not in the cache. The caller holds
// the lock.
func (c *Cache) addTombstone(key string, rev int64) {
	if len(c.tombstones) >= maxTombstones {
		clear(c.tombstones)
	}
	c.tombstones[key] = max(c.tombstones[key], rev)
}

// PutWorker caches a row of the store unless a newer one is known.
func (c *Cache) PutWorker(w *domain.Worker, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.workers[w.ID]
	switch {
	case w.Rev <= c.tombstones["worker/"+w.ID]:
		return
	case n == nil:
		n = &cachedWorker{sessions: make(map[string]*Assignment)}
		c.workers[w.ID] = n
	case n.worker.Rev > w.Rev:
		return
	}
	n.canary.workerChanged(n.worker, w, now)
	if mayFitMore(n.worker, w) {
		c.CapacityFreed.Set()
	}
	before := n.worker
	n.worker = w.Clone()
	c.observer.WorkerCached(before, n.worker, now)
	c.rank(n)
}

// mayFitMore reports whether the change of a worker may let it take sessions that it
// could not take before.
func mayFitMore(before, after *domain.Worker) bool {
	return before == nil || after.Capacity > before.Capacity || before.Suspect != after.Suspect ||
		before.Status() != after.Status() || !maps.Equal(before.Labels, after.Labels)
}

// RemoveWorker drops a worker whose row had this Rev when it was last stored. A
// worker that has come back since stays.
func (c *Cache) RemoveWorker(id string, rev int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.addTombstone("worker/"+id, rev)
	if n := c.workers[id]; n != nil && n.worker.Rev <= rev {
		c.setForeign(n, nil)
		delete(c.workers, id)
		c.ranking.Remove(id)
		c.observer.WorkerDropped(id)
	}
}

// PutSession caches a row of the store unless a newer one is known. Its worker must
// be in the cache already.
func (c *Cache) PutSession(s *domain.Session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.sessions[s.ID]
	if old != nil && old.rev > s.Rev || s.Rev <= c.tombstones["session/"+s.ID] {
		return
	}
	if old != nil {
		c.drop(old)
		if old.WorkerID != s.WorkerID {
			c.CapacityFreed.Set()
		}
		if old.MigrationID != "" && s.MigrationID == "" {
			c.MigrationEnded.Set()
		}
		c.recordDisconnect(old, s)
	}
	delete(c.waiting, s.ID)
	c.forgetForeign(s.ID)
	if !s.IsAssigned() {
		if s.Intent == domain.Up && s.Attempts > 0 {
			c.waiting[s.ID] = true
		}
		c.addTombstone("session/"+s.ID, s.Rev)
		return
	}
	n := c.workers[s.WorkerID]
	if n == nil {
		return
	}
	a := &Assignment{
		SessionID: s.ID, UserID: s.UserID, WorkerID: n.worker.ID,
		Status: s.Status, Intent: s.Intent, Command: s.Command, Confirmed: s.Confirmed,
		MigrationID: s.MigrationID, Attempts: s.Attempts, DueAt: s.DueAt,
		homeID: s.CredentialsWorkerID, homePolicy: s.HomePolicy,
		phone: s.PhoneNumber, displayName: s.DisplayName, generation: s.Generation, rev: s.Rev,
		assignedAt: s.AssignedAt, lastReportAppliedAt: s.LastReportAppliedAt,
	}
	c.sessions[s.ID] = a
	if a.MigrationID != "" {
		c.migrating[s.ID] = a
	}
	if s.ShouldReturnHome() {
		c.away[s.ID] = a
	}
	n.sessions[s.ID] = a
	n.counts.Add(s.Status)
	c.rank(n)
}

// RemoveSession drops a session that was deleted at a Rev.
func (c *Cache) RemoveSession(id string, rev int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.addTombstone("session/"+id, rev)
	c.dropByID(id)
}

// DropSession drops a session that is no longer in the store.
func (c *Cache) DropSession(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if old := c.sessions[id]; old != nil {
		c.addTombstone("session/"+id, old.rev)
	}
	c.dropByID(id)
}

// dropByID drops a session if it is cached. The caller holds the lock.
func (c *Cache) dropByID(id string) {
	delete(c.waiting, id)
	if old := c.sessions[id]; old != nil {
		c.drop(old)
		c.CapacityFreed.Set()
	}
}

// drop takes an assignment out of the cache. The caller holds the lock.
func (c *Cache) drop(old *Assignment) {
	delete(c.sessions, old.SessionID)
	delete(c.migrating, old.SessionID)
	delete(c.away, old.SessionID)
	n := c.workers[old.WorkerID]
	if n == nil || n.sessions[old.SessionID] == nil {
		return
	}
	delete(n.sessions, old.SessionID)
	n.counts.Remove(old.Status)
	c.rank(n)
}

// snapshotSessions returns the cached sessions, for evictMissing.
func (c *Cache) snapshotSessions() map[string]*Assignment {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return maps.Clone(c.sessions)
}

// evictMissing drops the sessions of a snapshot that have not changed since and are
// not assigned in the store.
func (c *Cache) evictMissing(snapshot map[string]*Assignment, assigned map[string]bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, a := range snapshot {
		if !assigned[id] && c.sessions[id] == a {
			c.drop(a)
			c.CapacityFreed.Set()
		}
	}
}

// snapshotWorkers returns the Revs of the cached workers, for evictMissingWorkers.
func (c *Cache) snapshotWorkers() map[string]int64 {
	c.mu.RLock()
	defer c.mu.RUnlock()
	revs := make(map[string]int64, len(c.workers))
	for id, n := range c.workers {
		revs[id] = n.worker.Rev
	}
	return revs
}

// evictMissingWorkers drops the workers of a snapshot that have not changed since and
// are not in the store.
func (c *Cache) evictMissingWorkers(snapshot map[string]int64, stored []*domain.Worker) {
	for _, w := range stored {
		delete(snapshot, w.ID)
	}
	for id, rev := range snapshot {
		c.RemoveWorker(id, rev)
	}
}

// Ref returns how a gateway addresses a worker.
func Ref(w *domain.Worker) ports.WorkerRef {
	return ports.WorkerRef{ID: w.ID, Endpoint: w.Endpoint, Capabilities: w.Capabilities, TokenEpoch: w.TokenEpoch}
}
