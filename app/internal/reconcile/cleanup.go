package reconcile

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/switchyard-wa/switchyard/app/internal/fleet"
	"github.com/switchyard-wa/switchyard/app/internal/membership"
	"github.com/switchyard-wa/switchyard/app/internal/txn"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// cleanupState is a cleanup with the facts that decide its next step.
type cleanupState struct {
	*domain.Cleanup
	executor        *domain.Worker // the worker that can carry it out; nil: none now
	isRemoved       bool           // its own worker was removed
	isAssignedThere bool           // the session is assigned to its own worker
}

// isObsolete reports whether the cleanup is a stop that is not necessary any more: its worker was
// removed, or the session is assigned there again.
func (d *cleanupState) isObsolete() bool {
	return d.Command == domain.CommandDisconnect && (d.isRemoved || d.isAssignedThere)
}

// Cleanup carries out the cleanups of a session on a worker, as far as workers can carry them out
// now. Otherwise the loop carries them out later.
func (r *Reconciler) Cleanup(ctx context.Context, workerID, sessionID string) {
	unlock, err := r.sessions.Lock(ctx, sessionID)
	if err != nil {
		return
	}
	defer unlock()
	due, err := r.readCleanups(ctx, workerID, sessionID)
	r.LogFailure(ctx, "cleanup not read", err, "session", sessionID, "worker", workerID)
	for _, d := range due {
		r.cleanUp(ctx, d)
	}
}

// cleanUp carries out one cleanup, if a worker can do it.
func (r *Reconciler) cleanUp(ctx context.Context, d *cleanupState) {
	switch {
	case d.IsWiped():
		r.forgetWiped(ctx, d.Cleanup)
	case !d.IsPending(), r.members.IsOthersClaim(d.ClaimedBy, d.DueAt, r.Now()):
	case d.isObsolete():
		r.completeStop(ctx, d.Cleanup)
	case d.executor == nil:
		r.rescheduleCleanup(ctx, d.Cleanup, time.Time{})
	default:
		r.executeCleanup(ctx, d)
	}
}

// executeCleanup calls the worker and records the answer. Where replicas exist, it claims the row
// before the call.
func (r *Reconciler) executeCleanup(ctx context.Context, d *cleanupState) {
	c, w := d.Cleanup, d.executor
	if r.IsShared() {
		c.ClaimedBy = r.Self.ID
		if !r.rescheduleCleanup(ctx, c, r.Now().Add(membership.ClaimLife)) {
			return
		}
	}
	call, end := r.calls.Begin(ctx, w.ID, membership.CallLimit)
	err := r.callCleanup(call, w, c)
	end()
	r.detector.RecordCall(ctx, w, err)
	if err == nil {
		r.completeCleanup(ctx, c, w)
		return
	}
	c.Attempts++
	wait := r.Timing.Backoff(c.Attempts)
	var failure *ports.WorkerError
	if errors.As(err, &failure) {
		wait = max(wait, min(failure.Retry, r.Timing.MaxBackoff))
	}
	c.ClaimedBy = ""
	r.rescheduleCleanup(ctx, c, r.Now().Add(wait))
}

func (r *Reconciler) callCleanup(ctx context.Context, w *domain.Worker, c *domain.Cleanup) error {
	switch {
	case !c.Command.Wipes():
		return r.Workers.Disconnect(ctx, fleet.Ref(w), c.SessionID, c.Generation)
	case w.IsLegacy():
		return r.wipeLegacy(ctx, w, c) // a legacy worker logs out no session without a connection
	case c.Command == domain.CommandLogout:
		return r.Workers.Logout(ctx, fleet.Ref(w), c.SessionID, c.Generation)
	}
	return r.Workers.Delete(ctx, fleet.Ref(w), c.SessionID, c.Generation)
}

// CallForeign stops or wipes a session that the store has never known, in whatever
// generation it runs.
func (r *Reconciler) CallForeign(ctx context.Context, w *domain.Worker, sessionID string, command domain.Command) error {
	call, end := r.calls.Begin(ctx, w.ID, membership.CallLimit)
	defer end()
	err := r.callCleanup(call, w, &domain.Cleanup{SessionID: sessionID, Command: command})
	r.detector.RecordCall(ctx, w, err)
	return err
}

// logoutOrWipe logs out a session that is assigned to the worker. A legacy worker answers
// 500 for a session without a connection and 404 for one that it has not started. Such a
// session is wiped instead.
func (r *Reconciler) logoutOrWipe(ctx context.Context, w *domain.Worker, c *domain.Cleanup) error {
	err := r.Workers.Logout(ctx, fleet.Ref(w), c.SessionID, c.Generation)
	var failure *ports.WorkerError
	if !w.IsLegacy() || !errors.As(err, &failure) {
		return err
	}
	if failure.Failure == ports.WorkerSessionNotFound || failure.Status == http.StatusInternalServerError {
		return r.wipeLegacy(ctx, w, c)
	}
	return err
}

// wipeLegacy deletes a session from a legacy worker. Its "not found" confirms nothing: after
// a restart it still has files of sessions that it has not started. Such a session is started
// first, and then deleted.
func (r *Reconciler) wipeLegacy(ctx context.Context, w *domain.Worker, c *domain.Cleanup) error {
	ref := fleet.Ref(w)
	err := r.Workers.Delete(ctx, ref, c.SessionID, c.Generation)
	var failure *ports.WorkerError
	if !errors.As(err, &failure) || failure.Failure != ports.WorkerSessionNotFound {
		return err
	}
	_, err = r.Workers.Start(ctx, ref, ports.Start{
		SessionID: c.SessionID, UserID: cmp.Or(c.UserID, c.SessionID), SessionName: c.SessionID, Generation: c.Generation,
	})
	if err != nil {
		return err
	}
	return r.Workers.Delete(ctx, ref, c.SessionID, c.Generation)
}

// readCleanups returns the cleanups of a session on a worker.
func (r *Reconciler) readCleanups(ctx context.Context, workerID, sessionID string) (due []*cleanupState, err error) {
	err = r.Store.View(ctx, func(ctx context.Context, tx *ports.Tx) error {
		due = nil
		rows, err := txn.CleanupsOf(ctx, tx, workerID, sessionID)
		for _, c := range rows {
			d, err := readCleanup(ctx, tx, c)
			if err != nil {
				return err
			}
			due = append(due, d)
		}
		return err
	})
	return due, err
}

// readCleanup returns a cleanup with the facts that decide its next step.
func readCleanup(ctx context.Context, tx *ports.Tx, c *domain.Cleanup) (*cleanupState, error) {
	d := &cleanupState{Cleanup: c}
	var err error
	d.executor, err = txn.FindExecutor(ctx, tx, c)
	if err != nil {
		return nil, err
	}
	_, err = tx.Workers.Get(ctx, c.WorkerID)
	d.isRemoved = errors.Is(err, ports.ErrNotFound)
	if err != nil && !d.isRemoved {
		return nil, err
	}
	s, err := tx.Sessions.Get(ctx, c.SessionID)
	if err != nil && !errors.Is(err, ports.ErrNotFound) {
		return nil, err
	}
	d.isAssignedThere = err == nil && s.WorkerID == c.WorkerID
	return d, nil
}

// completeCleanup records that a worker has carried out a cleanup.
func (r *Reconciler) completeCleanup(ctx context.Context, c *domain.Cleanup, by *domain.Worker) {
	if !c.Command.Wipes() {
		r.completeStop(ctx, c)
		return
	}
	err := r.Store.Update(ctx, func(ctx context.Context, tx *ports.Tx) error {
		return txn.CompleteWipe(ctx, tx, c, by, r.Now())
	})
	r.logCleanupFailure(ctx, "cleanup not completed", err, c)
}

// completeStop records that a stop was carried out, or is not necessary any more.
func (r *Reconciler) completeStop(ctx context.Context, c *domain.Cleanup) {
	err := r.Store.Update(ctx, func(ctx context.Context, tx *ports.Tx) error {
		return txn.CompleteStop(ctx, tx, c, r.Now())
	})
	r.logCleanupFailure(ctx, "cleanup not completed", err, c)
}

// forgetWiped deletes a row that has remembered a wipe for long enough.
func (r *Reconciler) forgetWiped(ctx context.Context, c *domain.Cleanup) {
	if r.Now().Before(c.DueAt) {
		return
	}
	err := r.Store.Update(ctx, func(ctx context.Context, tx *ports.Tx) error { return tx.Cleanups.Delete(ctx, c) })
	r.logCleanupFailure(ctx, "cleanup not deleted", err, c)
}

// logCleanupFailure logs an error unless it is a conflict.
func (r *Reconciler) logCleanupFailure(ctx context.Context, event string, err error, c *domain.Cleanup) {
	if !errors.Is(err, ports.ErrConflict) {
		r.LogFailure(ctx, event, err, "session", c.SessionID, "worker", c.WorkerID)
	}
}

// Cleanups carries out the cleanups of a session on several workers.
func (r *Reconciler) Cleanups(ctx context.Context, workerIDs []string, sessionID string) {
	for _, id := range workerIDs {
		r.Cleanup(ctx, id, sessionID)
	}
}

// rescheduleCleanup stores a cleanup with a new due time. The zero time means when a worker
// that can carry it out is back. It reports whether nobody else has changed the cleanup.
func (r *Reconciler) rescheduleCleanup(ctx context.Context, c *domain.Cleanup, until time.Time) bool {
	next := *c
	err := r.Store.Update(ctx, func(ctx context.Context, tx *ports.Tx) error {
		next = *c
		next.DueAt = until
		if until.IsZero() {
			executor, err := txn.FindExecutor(ctx, tx, c)
			if err != nil {
				return err
			}
			if executor != nil {
				next.DueAt = r.Now() // a worker came back meanwhile
			}
		}
		return tx.Cleanups.Put(ctx, &next)
	})
	if err == nil {
		*c = next
	}
	r.logCleanupFailure(ctx, "cleanup not rescheduled", err, c)
	return err == nil
}
