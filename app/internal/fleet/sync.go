package fleet

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/switchyard-wa/switchyard/app/internal/apperr"
	"github.com/switchyard-wa/switchyard/app/internal/env"
	"github.com/switchyard-wa/switchyard/app/internal/workqueue"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

const (
	refreshWorkersEvery = 10 * time.Second // heartbeats without news are not published
	refreshAllEvery     = 2 * time.Minute  // invalidations may be lost
	retryAfterError     = time.Second
	rowsPerView         = 256
)

// Sync keeps the cache up to date with the store. It is safe for concurrent use.
type Sync struct {
	*env.Env
	// Changes notifies waiters of a session that its row may have changed.
	Changes workqueue.Notifier

	cache    *Cache
	calls    *workqueue.Calls
	queue    *workqueue.Queue
	alsoRead func(ctx context.Context, tx *ports.Tx) error

	isLoaded atomic.Bool
	loading  sync.Mutex // held while the fleet is loaded for the first time

	mu               sync.Mutex
	stale            staleRows
	refreshAllAt     time.Time
	refreshWorkersAt time.Time

	shared sharedRefresh
}

// staleRows names what has to be read again.
type staleRows struct {
	all               bool
	sessions, workers map[string]bool // ids
}

func newStaleRows() staleRows {
	return staleRows{sessions: make(map[string]bool), workers: make(map[string]bool)}
}

// NewSync returns the synchroniser of a cache. Calls to a worker are cancelled when
// its row says that it is down. alsoRead runs in the transaction of RefreshAll.
func NewSync(e *env.Env, c *Cache, calls *workqueue.Calls, q *workqueue.Queue, alsoRead func(ctx context.Context, tx *ports.Tx) error) *Sync {
	return &Sync{
		Env: e, cache: c, calls: calls, queue: q, alsoRead: alsoRead,
		stale: newStaleRows(), shared: sharedRefresh{running: make(chan struct{}, 1)},
	}
}

// Load reads the fleet into the cache, once.
func (s *Sync) Load(ctx context.Context) error {
	s.loading.Lock()
	defer s.loading.Unlock()
	if s.isLoaded.Load() {
		return nil
	}
	switch err := s.RefreshAll(ctx); {
	case err != nil && ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return fmt.Errorf("loading the fleet: %w", err)
	}
	s.isLoaded.Store(true)
	return nil
}

// EnsureLoaded loads the fleet if that has not happened yet, and returns a public
// error. Every service calls it first.
func (s *Sync) EnsureLoaded(ctx context.Context) error {
	if s.isLoaded.Load() {
		return nil
	}
	return apperr.Public(s.Load(ctx))
}

// ListeningBegan reads everything again if it was read before this replica listened
// to invalidations: one may have been missed.
func (s *Sync) ListeningBegan() {
	s.loading.Lock()
	defer s.loading.Unlock()
	if !s.isLoaded.Load() || !s.IsShared() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stale.all = true
}

// Invalidate marks rows that another replica changed. Apply reads them again.
func (s *Sync) Invalidate(i ports.Invalidation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stale.all = s.stale.all || i.All
	for _, id := range i.Sessions {
		s.stale.sessions[id] = true
	}
	for _, id := range i.Workers {
		s.stale.workers[id] = true
	}
}

// Apply reads the invalidated rows, and everything that is due for a refresh. It
// returns when the next refresh is due.
func (s *Sync) Apply(ctx context.Context) (time.Time, error) {
	now := s.Now()
	s.mu.Lock()
	stale := s.stale
	s.stale = newStaleRows()
	allDue := s.IsShared() && !now.Before(s.refreshAllAt)
	workersDue := s.IsShared() && !now.Before(s.refreshWorkersAt)
	s.mu.Unlock()

	err := s.refresh(ctx, stale, stale.all || allDue, workersDue)
	for id := range stale.sessions {
		s.Changes.Notify(id)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.stale.all = true
		return now.Add(retryAfterError), err
	}
	if !s.IsShared() {
		return time.Time{}, nil
	}
	return s.refreshWorkersAt, nil
}

func (s *Sync) refresh(ctx context.Context, stale staleRows, all, workers bool) error {
	if all {
		return s.RefreshAll(ctx)
	}
	if workers {
		if err := s.RefreshWorkers(ctx); err != nil {
			return err
		}
		s.mu.Lock()
		s.refreshWorkersAt = s.Now().Add(refreshWorkersEvery)
		s.mu.Unlock()
	}
	if err := s.RefreshWorkersByID(ctx, slices.Sorted(maps.Keys(stale.workers))...); err != nil {
		return err
	}
	return s.refreshSessionsByID(ctx, slices.Sorted(maps.Keys(stale.sessions)))
}

// RefreshAll reads all workers and all assigned sessions.
func (s *Sync) RefreshAll(ctx context.Context) error {
	now := s.Now()
	sessions, known := s.cache.snapshotSessions(), s.cache.snapshotWorkers()
	var workers []*domain.Worker
	assigned := make(map[string]bool)
	err := s.Store.View(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		workers, _, err = tx.Workers.List(ctx, ports.WorkerFilter{}, ports.Page{})
		if err != nil {
			return err
		}
		for _, w := range workers {
			s.CacheWorker(w)
		}
		if err := s.alsoRead(ctx, tx); err != nil {
			return err
		}
		clear(assigned)
		return tx.Sessions.EachAssigned(ctx, func(session *domain.Session) error {
			assigned[session.ID] = true
			s.cache.PutSession(session)
			return nil
		})
	})
	if err != nil {
		return err
	}
	s.cache.evictMissing(sessions, assigned)
	s.cache.evictMissingWorkers(known, workers)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refreshAllAt, s.refreshWorkersAt = now.Add(refreshAllEvery), now.Add(refreshWorkersEvery)
	return nil
}

// RefreshWorkers reads the rows of all workers.
func (s *Sync) RefreshWorkers(ctx context.Context) error {
	known := s.cache.snapshotWorkers()
	var workers []*domain.Worker
	err := s.Store.View(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		workers, _, err = tx.Workers.List(ctx, ports.WorkerFilter{}, ports.Page{})
		return err
	})
	if err != nil {
		return err
	}
	return s.cacheWorkers(ctx, workers, known)
}

// RefreshWorkersByID reads the rows of some workers. Their sessions have
// invalidations of their own.
func (s *Sync) RefreshWorkersByID(ctx context.Context, ids ...string) error {
	if len(ids) == 0 {
		return nil
	}
	known := make(map[string]int64, len(ids))
	for _, id := range ids {
		if w := s.cache.Worker(id); w != nil {
			known[id] = w.Rev
		}
	}
	var found []*domain.Worker
	err := s.Store.View(ctx, func(ctx context.Context, tx *ports.Tx) error {
		found = nil
		for _, id := range ids {
			w, err := tx.Workers.Get(ctx, id)
			if errors.Is(err, ports.ErrNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			found = append(found, w)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return s.cacheWorkers(ctx, found, known)
}

// cacheWorkers caches rows that were read, and evicts the known workers without a row.
// A worker that is new to the cache brings its sessions.
func (s *Sync) cacheWorkers(ctx context.Context, rows []*domain.Worker, known map[string]int64) error {
	for _, w := range rows {
		if s.cache.Worker(w.ID) != nil {
			s.CacheWorker(w)
		} else if err := s.RefreshWorker(ctx, w.ID); err != nil {
			return err
		}
	}
	s.cache.evictMissingWorkers(known, rows)
	return nil
}

// refreshSessionsByID reads the rows of some sessions.
func (s *Sync) refreshSessionsByID(ctx context.Context, ids []string) error {
	for chunk := range slices.Chunk(ids, rowsPerView) {
		found := make([]*domain.Session, 0, len(chunk))
		var missing []string
		err := s.Store.View(ctx, func(ctx context.Context, tx *ports.Tx) error {
			found, missing = found[:0], missing[:0]
			for _, id := range chunk {
				session, err := tx.Sessions.Get(ctx, id)
				switch {
				case errors.Is(err, ports.ErrNotFound):
					missing = append(missing, id)
				case err != nil:
					return err
				default:
					found = append(found, session)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		for _, session := range found {
			if session.IsAssigned() && s.cache.Worker(session.WorkerID) == nil {
				if err := s.RefreshWorker(ctx, session.WorkerID); err != nil {
					return err
				}
			}
			s.cache.PutSession(session)
		}
		for _, id := range missing {
			s.cache.DropSession(id)
		}
	}
	return nil
}

// RefreshWorker reads a worker and its sessions. Sessions that have left it are read
// again soon: their rows say where they are.
func (s *Sync) RefreshWorker(ctx context.Context, workerID string) error {
	var w *domain.Worker
	var assigned []*domain.Session
	known, left := s.cache.Worker(workerID), s.cache.SessionsOf(workerID)
	err := s.Store.View(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		w, err = tx.Workers.Get(ctx, workerID)
		if err != nil {
			return err
		}
		assigned, err = tx.Sessions.ListByWorker(ctx, workerID)
		return err
	})
	if errors.Is(err, ports.ErrNotFound) {
		if known != nil {
			s.cache.RemoveWorker(workerID, known.Rev)
		}
		return nil
	}
	if err != nil {
		return err
	}
	s.CacheWorker(w)
	for _, session := range assigned {
		delete(left, session.ID)
		s.cache.PutSession(session)
	}
	if len(left) > 0 {
		s.Invalidate(ports.Invalidation{Sessions: slices.Collect(maps.Keys(left))})
		s.queue.Wake()
	}
	return nil
}

// LookupWorker returns a worker from the cache or else from the store. The caller must
// not change it. An unknown worker is a public not-found error.
func (s *Sync) LookupWorker(ctx context.Context, id string) (*domain.Worker, error) {
	if w := s.cache.Worker(id); w != nil {
		return w, nil
	}
	if err := s.RefreshWorker(ctx, id); err != nil {
		return nil, apperr.Public(err)
	}
	if w := s.cache.Worker(id); w != nil {
		return w, nil
	}
	return nil, apperr.Worker(ports.ErrNotFound)
}

// CacheWorker caches a row of a worker. Calls to a worker that is down are cancelled:
// they would only delay the work that follows.
func (s *Sync) CacheWorker(w *domain.Worker) {
	s.cache.PutWorker(w, s.Now())
	if !w.Online {
		s.calls.Cancel(w.ID)
	}
}
