package reconcile

import (
	"context"
	"errors"
	"time"

	"github.com/switchyard-wa/switchyard/app/internal/apperr"
	"github.com/switchyard-wa/switchyard/app/internal/failure"
	"github.com/switchyard-wa/switchyard/app/internal/fleet"
	"github.com/switchyard-wa/switchyard/app/internal/membership"
	"github.com/switchyard-wa/switchyard/app/internal/migration"
	"github.com/switchyard-wa/switchyard/app/internal/txn"
	"github.com/switchyard-wa/switchyard/app/internal/workqueue"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// maxSteps bounds how far one pass takes a session. The loop continues from there.
const maxSteps = 12

// peerRecheckEvery is the time between two looks for another worker of a lost worker's
// state group.
const peerRecheckEvery = 15 * time.Second

// Reconciler reconciles sessions and carries out cleanups. It is safe for concurrent
// use, except for DueSessions and DueCleanups, which one goroutine calls.
type Reconciler struct {
	*txn.Writer
	members  *membership.Members
	cache    *fleet.Cache
	sync     *fleet.Sync
	detector *failure.Detector
	migrator *migration.Migrator
	queue    *workqueue.Queue
	calls    *workqueue.Calls

	sessions workqueue.KeyedMutex // by session
	fresh    freshAssignments
	loop     loopState
}

// Parts lists the parts that a reconciler builds on.
type Parts struct {
	Writer   *txn.Writer
	Members  *membership.Members
	Cache    *fleet.Cache
	Sync     *fleet.Sync
	Detector *failure.Detector
	Migrator *migration.Migrator
	Queue    *workqueue.Queue
	Calls    *workqueue.Calls
}

// New returns a reconciler.
func New(p Parts) *Reconciler {
	return &Reconciler{
		Writer: p.Writer, members: p.Members, cache: p.Cache, sync: p.Sync, detector: p.Detector,
		migrator: p.Migrator, queue: p.Queue, calls: p.Calls,
		loop: loopState{callers: make(map[string]map[string]time.Time)},
	}
}

// mode says how a pass treats a session.
type mode int

const (
	inRequest    mode = iota // a service waits for the pass
	inBackground             // the pass ends after a placement: the new worker has its own queue
	skipLimits               // a session that should leave its worker does not wait for admission
)

// Session reconciles one session now and returns it as it is then, with the latest
// failure of a worker, if any. The session is nil if it could not be read.
func (r *Reconciler) Session(ctx context.Context, id string) (*domain.Session, error) {
	return r.lockAndReconcile(ctx, id, inRequest)
}

// Evacuate reconciles one session without waiting for admission to move.
func (r *Reconciler) Evacuate(ctx context.Context, id string) error {
	_, err := r.lockAndReconcile(ctx, id, skipLimits)
	return err
}

// Lock keeps this process from reconciling a session until unlock is called.
func (r *Reconciler) Lock(ctx context.Context, id string) (unlock func(), err error) {
	return r.sessions.Lock(ctx, id)
}

func (r *Reconciler) lockAndReconcile(ctx context.Context, id string, m mode) (*domain.Session, error) {
	unlock, err := r.sessions.Lock(ctx, id)
	if err != nil {
		return nil, err
	}
	defer unlock()
	return r.reconcile(ctx, id, m)
}

// reconcile takes steps until there is nothing to do for now. The caller holds the lock
// of the session.
func (r *Reconciler) reconcile(ctx context.Context, id string, m mode) (*domain.Session, error) {
	var latest error
	for range maxSteps {
		s, w, err := r.ReadWithWorker(ctx, id)
		if err != nil {
			return nil, err
		}
		now := r.Now()
		step, at := r.members.NextStep(s, w, now)
		if step == domain.StepNone {
			isOverdue := !s.DueAt.IsZero() && !now.Before(s.DueAt)
			if isOverdue && !r.members.IsClaimedByOther(s, now) {
				s, err = r.requeueAt(ctx, s, at)
			}
			return s, errors.Join(latest, err)
		}
		again, err := r.executeStep(ctx, s, w, step, m)
		if err != nil {
			latest = err
			var failure *ports.WorkerError
			if !errors.As(err, &failure) {
				return s, err
			}
		}
		if !again || m == inBackground && step == domain.StepPlace {
			break
		}
	}
	s, _, err := r.ReadWithWorker(ctx, id)
	return s, errors.Join(latest, err)
}

// ReadWithWorker reads a session, and its worker if it has one.
func (r *Reconciler) ReadWithWorker(ctx context.Context, id string) (s *domain.Session, w *domain.Worker, err error) {
	err = r.Store.View(ctx, func(ctx context.Context, tx *ports.Tx) error {
		s, w = nil, nil
		s, err = tx.Sessions.Get(ctx, id)
		if err != nil {
			return apperr.Session(err)
		}
		if !s.IsAssigned() {
			return nil
		}
		w, err = tx.Workers.Get(ctx, s.WorkerID)
		if errors.Is(err, ports.ErrNotFound) {
			w, err = nil, nil
		}
		return err
	})
	return s, w, err
}

// requeueAt sets the due time of a session for which there was nothing to do, unless
// the session has changed since it was read.
func (r *Reconciler) requeueAt(ctx context.Context, read *domain.Session, at time.Time) (*domain.Session, error) {
	return r.ChangeSession(ctx, read.ID, func(_ context.Context, _ *txn.Tx, s *domain.Session) ([]domain.Event, error) {
		if s.Rev != read.Rev {
			return nil, txn.ErrUnchanged
		}
		s.DueAt = at
		return nil, nil
	})
}

// executeStep carries out one step. again reports whether there may be more to do now.
// A *ports.WorkerError is recorded already.
func (r *Reconciler) executeStep(ctx context.Context, s *domain.Session, w *domain.Worker, step domain.Step, m mode) (again bool, err error) {
	switch step {
	case domain.StepPlace:
		return r.place(ctx, s)
	case domain.StepCall:
		return r.call(ctx, s, w)
	case domain.StepStopForMove:
		if m == skipLimits {
			return r.migrator.StartUnlimited(ctx, s)
		}
		return r.migrator.Start(ctx, s)
	case domain.StepFailover:
		now := r.Now()
		if w != nil && s.ShouldWaitForHome(w, r.Timing, now) && s.WorkerID == s.CredentialsWorkerID && !r.cache.HasPeer(w.ID, w.StateGroup) {
			_, err := r.requeueAt(ctx, s, now.Add(peerRecheckEvery)) // no other worker has the credentials: wait where it is
			return false, err
		}
	}
	return true, r.recordStep(ctx, s, step)
}

// recordStep carries out a step that only changes rows, if it is still the next step.
func (r *Reconciler) recordStep(ctx context.Context, read *domain.Session, step domain.Step) error {
	worker := read.WorkerID
	_, err := r.ChangeSession(ctx, read.ID, func(ctx context.Context, tx *txn.Tx, s *domain.Session) ([]domain.Event, error) {
		w, err := tx.Workers.Get(ctx, worker)
		if err != nil && !errors.Is(err, ports.ErrNotFound) {
			return nil, err
		}
		now := r.Now()
		if current, _ := r.members.NextStep(s, w, now); current != step || s.WorkerID != worker {
			return nil, txn.ErrUnchanged
		}
		switch step {
		case domain.StepEndDebounce:
			return s.EndDebounce(r.Timing, now), nil
		case domain.StepAbandonAssignment:
			if err := tx.ScheduleCleanup(ctx, worker, s.ID, s.Command.AsStop(), s.Generation); err != nil {
				return nil, err
			}
			s.StopConfirmed(now)
		case domain.StepFailover:
			if err := tx.ScheduleCleanup(ctx, worker, s.ID, domain.CommandDisconnect, s.Generation); err != nil {
				return nil, err
			}
			drain := ""
			if w != nil {
				drain = w.DrainID
			}
			leave := func() { s.UnassignForMove(domain.EventSessionFailedOver, now) }
			return nil, r.migrator.Detach(ctx, tx, s, domain.MigrationByFailover, drain, failoverReason(w), leave)
		case domain.StepStartTimedOut:
			const why = "the worker did not confirm the start"
			leave := func() { s.StartTimedOut(why, r.Timing, now) }
			return nil, r.migrator.Detach(ctx, tx, s, domain.MigrationByFailover, "", why, leave)
		}
		return nil, nil
	})
	return err
}

// failoverReason returns why sessions leave a worker that is down. nil is a worker that
// was removed.
func failoverReason(w *domain.Worker) string {
	if w == nil {
		return "the worker was removed"
	}
	return map[domain.DownReason]string{
		domain.DownCrashed:          "the worker crashed",
		domain.DownHeartbeatTimeout: "the worker fell silent",
		domain.DownUnregistered:     "the worker left",
	}[w.DownReason]
}
