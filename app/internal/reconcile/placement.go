package reconcile

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/switchyard-wa/switchyard/app/internal/txn"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// place chooses a worker and assigns the session to it. If the slot is lost to a race,
// it tries the next worker.
func (r *Reconciler) place(ctx context.Context, s *domain.Session) (again bool, err error) {
	req, err := r.sync.PlacementRequest(ctx, s, nil)
	if err != nil {
		return false, err
	}
	for {
		worker, ok := r.choose(&req, s)
		if !ok {
			freed, err := r.ReclaimSlot(ctx, s, req)
			if err != nil {
				return false, err
			}
			if freed {
				worker, ok = r.choose(&req, s)
			}
		}
		if !ok {
			return false, r.recordNoRoom(ctx, s.ID, req.Home)
		}
		placed, err := r.ChangeSession(ctx, s.ID, func(ctx context.Context, tx *txn.Tx, s *domain.Session) ([]domain.Event, error) {
			now := r.Now()
			if step, _ := r.members.NextStep(s, nil, now); s.IsAssigned() || step != domain.StepPlace {
				return nil, txn.ErrUnchanged
			}
			return r.Assign(ctx, tx, s, worker, now)
		})
		r.cache.ReleaseHold(worker)
		if !errors.Is(err, ports.ErrFull) {
			if err == nil {
				r.NoteAssigned(placed)
			}
			return true, err
		}
		if err := r.sync.RefreshWorker(ctx, worker); err != nil {
			return false, err
		}
		req.Avoid = append(req.Avoid, worker)
	}
}

// choose chooses a worker and holds a slot of it. A session that fits nowhere else goes
// back to the worker that it came from.
func (r *Reconciler) choose(req *domain.Request, s *domain.Session) (worker string, ok bool) {
	worker, ok = r.cache.Choose(*req, r.Now())
	if ok || s.PreviousWorkerID == "" {
		return worker, ok
	}
	req.Avoid = slices.DeleteFunc(req.Avoid, func(id string) bool {
		return id == s.PreviousWorkerID && id != s.ExcludedWorkerID
	})
	return r.cache.Choose(*req, r.Now())
}

func (r *Reconciler) recordNoRoom(ctx context.Context, sessionID string, home domain.Home) error {
	_, err := r.ChangeSession(ctx, sessionID, func(_ context.Context, _ *txn.Tx, s *domain.Session) ([]domain.Event, error) {
		if s.IsAssigned() || s.Intent != domain.Up {
			return nil, txn.ErrUnchanged
		}
		s.PlacementFailed(r.Timing, r.Now())
		r.NoteHomeRefused(s, home)
		return nil, nil
	})
	return err
}

// NoteHomeRefused records that a session waits for a home that is online and did not take
// it.
func (r *Reconciler) NoteHomeRefused(s *domain.Session, home domain.Home) {
	if w := r.cache.Worker(home.WorkerID); home.Only && w != nil && w.Online {
		s.NoteHomeRefused(r.Timing, r.Now())
	}
}

// Assign assigns a session to a worker and claims it for the call that follows. A stop
// that is still to be made there is superseded by the start, unless another replica is
// making it. A wipe that is still to be made there, or on the disk of its state group, is
// not: then the worker counts as full. The new generation is above every one that a worker is known to
// have run.
func (r *Reconciler) Assign(ctx context.Context, tx *txn.Tx, s *domain.Session, worker string, now time.Time) ([]domain.Event, error) {
	cleanups, err := tx.Cleanups.BySession(ctx, s.ID)
	if err != nil {
		return nil, err
	}
	group := ""
	if len(cleanups) > 0 {
		w, err := tx.Workers.Get(ctx, worker)
		if err != nil && !errors.Is(err, ports.ErrNotFound) {
			return nil, err
		}
		if w != nil {
			group = w.StateGroup
		}
	}
	for _, c := range cleanups {
		isCalled := c.WorkerID == worker && r.members.IsOthersClaim(c.ClaimedBy, c.DueAt, now)
		if isCalled || c.BlocksPlacement(worker, group) {
			return nil, ports.ErrFull
		}
	}
	for _, c := range cleanups {
		s.RaiseGeneration(c.Generation)
	}
	events := s.Assign(worker, now)
	r.members.AcquireClaim(s, now)
	return events, nil
}

// NoteAssigned remembers that this process has just assigned a session.
func (r *Reconciler) NoteAssigned(s *domain.Session) { r.fresh.add(s) }

// freshAssignments remembers the assignments of this process for which no call has been
// made: nothing of them can run yet.
type freshAssignments struct {
	mu          sync.Mutex
	generations map[string]int64 // by session
}

func (f *freshAssignments) add(s *domain.Session) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.generations == nil {
		f.generations = make(map[string]int64)
	}
	f.generations[s.ID] = s.Generation
}

// take reports whether no call has been made since this process assigned the session.
// From now on one has.
func (f *freshAssignments) take(s *domain.Session) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	generation, isFresh := f.generations[s.ID]
	delete(f.generations, s.ID)
	return isFresh && generation == s.Generation
}
