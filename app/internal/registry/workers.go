package registry

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/switchyard-wa/switchyard/app/internal/apperr"
	"github.com/switchyard-wa/switchyard/app/internal/audit"
	"github.com/switchyard-wa/switchyard/app/internal/failure"
	"github.com/switchyard-wa/switchyard/app/internal/fleet"
	"github.com/switchyard-wa/switchyard/app/internal/migration"
	"github.com/switchyard-wa/switchyard/app/internal/reconcile"
	"github.com/switchyard-wa/switchyard/app/internal/txn"
	"github.com/switchyard-wa/switchyard/app/internal/workqueue"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

const (
	// How long removing a worker may take for moving its sessions, and then for stopping
	// those that could not move.
	evacuateLimit = 20 * time.Second
	stopLimit     = 5 * time.Second

	loadRetention = 24 * time.Hour
)

// Parallel bounds work on many objects in one request.
type Parallel struct {
	Sessions int // reconciled at once
	Probes   int // probed at once
}

// Workers implements [service.Workers]. It is safe for concurrent use.
type Workers struct {
	*txn.Writer
	cache      *fleet.Cache
	sync       *fleet.Sync
	detector   *failure.Detector
	reconciler *reconcile.Reconciler
	parallel   Parallel
}

var _ service.Workers = (*Workers)(nil)

// NewWorkers returns the service.
func NewWorkers(w *txn.Writer, c *fleet.Cache, s *fleet.Sync, d *failure.Detector, r *reconcile.Reconciler, p Parallel) *Workers {
	return &Workers{Writer: w, cache: c, sync: s, detector: d, reconciler: r, parallel: p}
}

// Add takes a worker into the fleet by an administrator. Its health route must answer.
// Without an id one is derived from the endpoint.
func (w *Workers) Add(ctx context.Context, r domain.Registration) (*service.WorkerView, error) {
	if err := w.sync.EnsureLoaded(ctx); err != nil {
		return nil, err
	}
	if r.WorkerID == "" {
		id, err := domain.WorkerIDFromEndpoint(r.Endpoint)
		if err != nil {
			id = "worker" // the problem of the endpoint is reported below
		}
		r.WorkerID = id
	}
	if err := normalizeRegistration(&r); err != nil {
		return nil, err
	}
	if _, err := checkEndpoint(ctx, w.Writer, r); err != nil {
		return nil, apperr.Public(err)
	}
	if err := w.detector.RequireHealthy(ctx, ports.WorkerRef{Endpoint: r.Endpoint}); err != nil {
		return nil, err
	}
	var added *domain.Worker
	err := w.Transact(ctx, func(ctx context.Context, tx *txn.Tx) error {
		_, err := tx.Workers.Get(ctx, r.WorkerID)
		if err == nil {
			return domain.Errorf(domain.Conflict, domain.CodeWorkerConflict, "A worker with this id exists already; choose another id")
		}
		if !errors.Is(err, ports.ErrNotFound) {
			return err
		}
		if err := requireFreeEndpoint(ctx, tx.Tx, r); err != nil {
			return endpointTaken(err)
		}
		now := w.Now()
		added = newWorker(r, now)
		events := added.Register(r, w.Timing, now)
		if err := tx.SaveWorker(ctx, added, events); err != nil {
			return endpointTaken(err)
		}
		if err := tx.AdoptCleanups(ctx, added); err != nil {
			return err
		}
		if err := w.detector.WorkerReturned(ctx, tx, added, w.Timing.StartTimeout, nil, now); err != nil {
			return err
		}
		return w.record(ctx, tx, domain.AuditWorkerAdded, r.WorkerID, "endpoint", r.Endpoint)
	})
	if err != nil {
		return nil, apperr.Public(err)
	}
	return w.view(added), nil
}

func (w *Workers) view(worker *domain.Worker) *service.WorkerView {
	return &service.WorkerView{
		Worker: worker, Breakdown: w.cache.Breakdown(worker.ID), Warning: w.detector.Warning(worker.ID),
	}
}

// Get returns a worker with the sessions assigned to it.
func (w *Workers) Get(ctx context.Context, id string) (*service.WorkerView, []*domain.Session, error) {
	if err := w.sync.EnsureLoaded(ctx); err != nil {
		return nil, nil, err
	}
	var worker *domain.Worker
	var assigned []*domain.Session
	var drain *service.DrainProgress
	var rows []*domain.Cleanup
	err := w.Store.View(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		worker, err = tx.Workers.Get(ctx, domain.NormalizeWorkerRef(id))
		if err != nil {
			return apperr.Worker(err)
		}
		assigned, err = tx.Sessions.ListByWorker(ctx, worker.ID)
		if err != nil {
			return err
		}
		rows, err = tx.Cleanups.ByWorker(ctx, worker.ID)
		if err != nil {
			return err
		}
		drain, err = drainProgress(ctx, tx, worker, assigned)
		return err
	})
	if err != nil {
		return nil, nil, apperr.Public(err)
	}
	v := w.view(worker)
	v.Drain, v.Foreign = drain, foreignSessions(w.cache.ForeignSessions(worker.ID), rows)
	return v, assigned, nil
}

// drainProgress counts the migrations of a worker's drain. It returns nil for a worker
// that is not draining.
func drainProgress(ctx context.Context, tx *ports.Tx, w *domain.Worker, assigned []*domain.Session) (*service.DrainProgress, error) {
	if !w.Draining {
		return nil, nil
	}
	p := &service.DrainProgress{BatchID: w.DrainID, Remaining: len(assigned)}
	running, _, err := tx.Migrations.List(ctx, ports.MigrationFilter{BatchID: w.DrainID, Status: domain.MigrationRunning}, ports.Page{})
	if err != nil {
		return nil, err
	}
	for status, n := range map[domain.MigrationStatus]*int{
		domain.MigrationCompleted: &p.Moved, domain.MigrationNeedsScan: &p.NeedsScan, domain.MigrationFailed: &p.Failed,
	} {
		_, *n, err = tx.Migrations.List(ctx, ports.MigrationFilter{BatchID: w.DrainID, Status: status}, ports.Page{Limit: 1})
		if err != nil {
			return nil, err
		}
	}
	p.Moving = len(running)
	p.Total = p.Remaining + p.Moving + p.Moved + p.NeedsScan + p.Failed
	for _, m := range running {
		if slices.ContainsFunc(assigned, func(s *domain.Session) bool { return s.ID == m.SessionID }) {
			p.Total-- // counted among the remaining
		}
	}
	return p, nil
}

// LoadSamples returns the load of a worker, which is recorded once a minute and kept for
// a day.
func (w *Workers) LoadSamples(ctx context.Context, id string, since time.Time) (samples []domain.LoadSample, err error) {
	err = w.Store.View(ctx, func(ctx context.Context, tx *ports.Tx) error {
		worker, err := tx.Workers.Get(ctx, domain.NormalizeWorkerRef(id))
		if err != nil {
			return apperr.Worker(err)
		}
		samples, err = tx.LoadSamples.Since(ctx, worker.ID, since)
		return err
	})
	return samples, apperr.Public(err)
}

// List returns workers by id.
func (w *Workers) List(ctx context.Context, f ports.WorkerFilter, p ports.Page) ([]*service.WorkerView, int, error) {
	if err := w.sync.EnsureLoaded(ctx); err != nil {
		return nil, 0, err
	}
	var list []*domain.Worker
	var total int
	err := w.Store.View(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		list, total, err = tx.Workers.List(ctx, f, p)
		return err
	})
	if err != nil {
		return nil, 0, apperr.Public(err)
	}
	views := make([]*service.WorkerView, len(list))
	for i, worker := range list {
		views[i] = w.view(worker)
	}
	return views, total, nil
}

// record adds an action on a worker to the audit trail.
func (w *Workers) record(ctx context.Context, tx *txn.Tx, action domain.AuditAction, id string, details ...string) error {
	return w.Trail().Record(ctx, tx.Tx, action, audit.Object("worker", id), details...)
}

// change lets fn change one worker and returns its view. It records the action.
func (w *Workers) change(ctx context.Context, action domain.AuditAction, id string, fn func(ctx context.Context, tx *txn.Tx, worker *domain.Worker) ([]domain.Event, error)) (*service.WorkerView, error) {
	if err := w.sync.EnsureLoaded(ctx); err != nil {
		return nil, err
	}
	id = domain.NormalizeWorkerRef(id)
	worker, err := w.ChangeWorker(ctx, id, func(ctx context.Context, tx *txn.Tx, worker *domain.Worker) ([]domain.Event, error) {
		events, err := fn(ctx, tx, worker)
		if err != nil {
			return nil, err
		}
		return events, w.record(ctx, tx, action, id)
	})
	if err != nil {
		return nil, apperr.Public(err)
	}
	return w.view(worker), nil
}

// Update changes what an administrator may change of a worker.
func (w *Workers) Update(ctx context.Context, id string, ch service.WorkerChange) (*service.WorkerView, error) {
	if err := checkChange(ch); err != nil {
		return nil, err
	}
	return w.change(ctx, domain.AuditWorkerUpdated, id, func(ctx context.Context, tx *txn.Tx, worker *domain.Worker) ([]domain.Event, error) {
		if ch.Capacity != nil {
			worker.Capacity = *ch.Capacity
		}
		for to, from := range map[*string]*string{
			&worker.Description: ch.Description, &worker.Version: ch.Version, &worker.Environment: ch.Environment,
		} {
			if from != nil {
				*to = *from
			}
		}
		if ch.Labels != nil {
			worker.Labels = ch.Labels
		}
		worker.UpdatedAt = w.Now()
		if ch.Failover == nil {
			return nil, nil
		}
		worker.Failover = *ch.Failover
		if worker.Online {
			return nil, nil
		}
		return nil, tx.ChangeSessionsOf(ctx, worker.ID, func(s *domain.Session) ([]domain.Event, error) {
			s.DueAt = worker.FailoverAt
			return nil, nil
		})
	})
}

func checkChange(ch service.WorkerChange) error {
	var p domain.Problems
	if ch.Capacity != nil {
		checkCapacity(&p, *ch.Capacity)
	}
	text := func(s *string) string {
		if s == nil {
			return ""
		}
		return *s
	}
	checkTexts(&p, text(ch.Description), text(ch.Version), text(ch.Environment))
	p.Check("labels", domain.CheckLabels(ch.Labels))
	return p.Err()
}

// Drain takes a worker out of placement and moves its sessions to others, a few at a
// time. A drain under way can still be forced.
func (w *Workers) Drain(ctx context.Context, id string, opt service.DrainOptions) (*service.WorkerView, error) {
	return w.change(ctx, domain.AuditWorkerDrained, id, func(ctx context.Context, tx *txn.Tx, worker *domain.Worker) ([]domain.Event, error) {
		if worker.Draining && (worker.DrainForced || !opt.Force) {
			return nil, nil
		}
		if opt.Force {
			worker.ForceDrain()
		} else if err := w.checkScans(ctx, tx.Tx, worker.ID); err != nil {
			return nil, err
		}
		now := w.Now()
		events := worker.Drain(w.IDs.NewID(), now)
		tx.NoteMigrationEnded() // sessions wait for admission: look at once
		events = append(events, worker.Drained(now)...)
		due := now
		return events, tx.ChangeSessionsOf(ctx, worker.ID, func(s *domain.Session) ([]domain.Event, error) {
			if worker.Online && !s.DueAt.IsZero() {
				return nil, txn.ErrUnchanged
			}
			s.DueAt = due
			due = now.Add(migration.RecheckEvery) // the others wait for admission
			return nil, nil
		})
	})
}

// checkScans refuses to move sessions off a worker that would need a scan elsewhere.
func (w *Workers) checkScans(ctx context.Context, tx *ports.Tx, workerID string) error {
	assigned, err := tx.Sessions.ListByWorker(ctx, workerID)
	if err != nil {
		return err
	}
	needing, err := w.sync.NeedingScan(ctx, tx, assigned, "")
	if err == nil && len(needing) > 0 {
		err = fleet.ScanRefusal(len(needing))
	}
	return err
}

// Activate puts a worker back into placement if it answers. Sessions that have not begun
// to leave it stay, and the failure of its canary period is forgotten.
func (w *Workers) Activate(ctx context.Context, id string) (*service.WorkerView, error) {
	if err := w.sync.EnsureLoaded(ctx); err != nil {
		return nil, err
	}
	known, err := w.sync.LookupWorker(ctx, domain.NormalizeWorkerRef(id))
	if err != nil {
		return nil, err
	}
	if err := w.detector.RequireHealthy(ctx, fleet.Ref(known)); err != nil {
		return nil, err
	}
	return w.change(ctx, domain.AuditWorkerActivated, id, func(ctx context.Context, tx *txn.Tx, worker *domain.Worker) ([]domain.Event, error) {
		now := w.Now()
		wasOnline := worker.Online
		worker.Activate(now)
		events := w.detector.ApplyHeartbeat(worker, domain.Heartbeat{CPU: -1, Memory: -1, MessageCount: -1}, now)
		if wasOnline {
			return events, nil
		}
		return events, w.detector.WorkerReturned(ctx, tx, worker, w.Timing.DisconnectDebounce, nil, now)
	})
}

// Remove moves the sessions of a worker to others and then deletes it. Sessions that fit
// nowhere keep it, unless Force disconnects them. Sessions of a worker that does not
// answer keep it, forced or not, until it has certainly stopped them.
func (w *Workers) Remove(ctx context.Context, id string, opt service.RemoveOptions) error {
	id = domain.NormalizeWorkerRef(id)
	if opt.Destroyed {
		isRemoved, err := w.checkDestroyed(ctx, id, opt)
		if err != nil {
			return apperr.Public(err)
		}
		if isRemoved {
			return apperr.Public(w.Transact(ctx, func(ctx context.Context, tx *txn.Tx) error {
				return w.discardDisk(ctx, tx, id)
			}))
		}
	}
	if _, err := w.Drain(ctx, id, service.DrainOptions{Force: opt.Force}); err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx)
	remaining, err := w.evacuate(ctx, id, opt.Force)
	if err != nil {
		return apperr.Public(err)
	}
	switch {
	case remaining > 0 && opt.Force:
		return domain.Errorf(domain.Conflict, domain.CodeInvalidState,
			"The worker does not confirm that it has stopped %d session(s); they are disconnected, and it can be removed once it does or its lease is over: try again in a minute", remaining)
	case remaining > 0:
		return domain.Errorf(domain.Conflict, domain.CodeInvalidState,
			"%d session(s) could not move to another worker; the worker is in maintenance now: add capacity and try again, or use force=true to disconnect them", remaining)
	}
	err = w.Transact(ctx, func(ctx context.Context, tx *txn.Tx) error {
		worker, err := tx.Workers.Get(ctx, id)
		if err != nil {
			return apperr.Worker(err)
		}
		if err := tx.DeleteWorker(ctx, worker); err != nil {
			return apperr.Worker(err)
		}
		if err := w.record(ctx, tx, domain.AuditWorkerRemoved, id); err != nil || !opt.Destroyed {
			return err
		}
		return w.discardDisk(ctx, tx, id)
	})
	return apperr.Public(err)
}

// checkDestroyed refuses the statement that a worker's disk is gone while the worker is
// online. isRemoved reports whether the worker was removed before and still has cleanups.
func (w *Workers) checkDestroyed(ctx context.Context, id string, opt service.RemoveOptions) (isRemoved bool, err error) {
	if !opt.Force {
		var p domain.Problems
		p.Add("destroyed", "Only together with force=true")
		return false, p.Err()
	}
	err = w.Store.View(ctx, func(ctx context.Context, tx *ports.Tx) error {
		worker, err := tx.Workers.Get(ctx, id)
		switch {
		case err == nil && worker.Online:
			return domain.Errorf(domain.Conflict, domain.CodeInvalidState,
				"The worker is online, and can be wiped; stop it first if its disk is to be destroyed")
		case err == nil:
			return nil
		case !errors.Is(err, ports.ErrNotFound):
			return err
		}
		notFound := err
		left, err := tx.Cleanups.ByWorker(ctx, id)
		isRemoved = len(left) > 0
		if err != nil || isRemoved {
			return err
		}
		return apperr.Worker(notFound)
	})
	return isRemoved, err
}

// discardDisk confirms all wipes of a worker whose disk is gone.
func (w *Workers) discardDisk(ctx context.Context, tx *txn.Tx, id string) error {
	n, err := tx.DiscardDisk(ctx, id)
	if err != nil {
		return err
	}
	return w.record(ctx, tx, domain.AuditWorkerDestroyed, id, "sessions", strconv.Itoa(n))
}

// evacuate moves the sessions of a worker away and returns how many remain. With force
// it disconnects those that did not move in time.
func (w *Workers) evacuate(ctx context.Context, id string, force bool) (remaining int, err error) {
	remaining, err = w.reconcileAllOn(ctx, id, evacuateLimit)
	if err != nil || !force || remaining == 0 {
		return remaining, err
	}
	err = w.Transact(ctx, func(ctx context.Context, tx *txn.Tx) error {
		return tx.ChangeSessionsOf(ctx, id, func(s *domain.Session) ([]domain.Event, error) {
			if s.Intent == domain.Down {
				return nil, txn.ErrUnchanged
			}
			_, events := s.Disconnect(w.Now())
			return events, nil
		})
	})
	if err != nil {
		return remaining, err
	}
	return w.reconcileAllOn(ctx, id, stopLimit)
}

// reconcileAllOn reconciles all sessions of a worker, whichever replica owns them, and
// returns how many the worker still has.
func (w *Workers) reconcileAllOn(ctx context.Context, id string, limit time.Duration) (remaining int, err error) {
	assigned, err := w.assignedTo(ctx, id)
	if err != nil {
		return 0, err
	}
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	workqueue.ForEach(len(assigned), w.parallel.Sessions, w.Spawn, func(i int) {
		err := w.reconciler.Evacuate(limited, assigned[i].ID)
		w.LogFailure(limited, "session not evacuated", err, "session", assigned[i].ID, "worker", id)
	})
	assigned, err = w.assignedTo(ctx, id)
	return len(assigned), err
}

func (w *Workers) assignedTo(ctx context.Context, workerID string) (assigned []*domain.Session, err error) {
	err = w.Store.View(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		assigned, err = tx.Sessions.ListByWorker(ctx, workerID)
		return err
	})
	return assigned, err
}

// Housekeep records the load of the workers and deletes old records.
func (w *Workers) Housekeep(ctx context.Context, now time.Time) error {
	samples := w.cache.LoadSamples(now)
	return w.Writer.Update(ctx, func(ctx context.Context, tx *ports.Tx) error {
		if err := tx.LoadSamples.Append(ctx, samples...); err != nil {
			return err
		}
		return tx.LoadSamples.DeleteBefore(ctx, now.Add(-loadRetention))
	})
}
