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

// Cleanup carries out the cleanup of a session on a worker, if there is one and the
// worker can be reached. Otherwise the loop does it later.
func (r *Reconciler) Cleanup(ctx context.Context, workerID, sessionID string) {
	unlock, err := r.sessions.Lock(ctx, sessionID)
	if err != nil {
		return
	}
	defer unlock()
	c, w, isAssignedThere, err := r.readCleanup(ctx, workerID, sessionID)
	if err != nil || c == nil {
		r.LogFailure(ctx, "cleanup not read", err, "session", sessionID, "worker", workerID)
		return
	}
	switch {
	case !c.IsPending(), r.members.IsOthersClaim(c.ClaimedBy, c.DueAt, r.Now()):
		return
	case c.Command == domain.CommandDisconnect && (w == nil || isAssignedThere):
		r.completeCleanup(ctx, c)
		return
	case w == nil, !w.Online:
		r.rescheduleCleanup(ctx, c, time.Time{})
		return
	case r.IsShared():
		c.ClaimedBy = r.Self.ID
		if !r.rescheduleCleanup(ctx, c, r.Now().Add(membership.ClaimLife)) {
			return
		}
	}
	call, end := r.calls.Begin(ctx, w.ID, membership.CallLimit)
	err = r.callCleanup(call, w, c)
	end()
	r.detector.RecordCall(ctx, w, err)
	if err == nil {
		r.completeCleanup(ctx, c)
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

// readCleanup returns the cleanup and its worker, each nil if there is none, and
// whether the session is assigned to that worker now.
func (r *Reconciler) readCleanup(ctx context.Context, workerID, sessionID string) (c *domain.Cleanup, w *domain.Worker, isAssignedThere bool, err error) {
	err = r.Store.View(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		c, w, isAssignedThere = nil, nil, false
		c, err = txn.FindCleanup(ctx, tx, workerID, sessionID)
		if err != nil {
			return err
		}
		w, err = tx.Workers.Get(ctx, workerID)
		if err != nil && !errors.Is(err, ports.ErrNotFound) {
			return err
		}
		s, err := tx.Sessions.Get(ctx, sessionID)
		if errors.Is(err, ports.ErrNotFound) {
			return nil
		}
		isAssignedThere = err == nil && s.WorkerID == workerID
		return err
	})
	return c, w, isAssignedThere, err
}

// completeCleanup records that a cleanup is done. A conflict means that it was replaced
// by another, which stays.
func (r *Reconciler) completeCleanup(ctx context.Context, c *domain.Cleanup) {
	err := r.Store.Update(ctx, func(ctx context.Context, tx *ports.Tx) error { return txn.CompleteCleanup(ctx, tx, c) })
	if !errors.Is(err, ports.ErrConflict) {
		r.LogFailure(ctx, "cleanup not completed", err, "session", c.SessionID, "worker", c.WorkerID)
	}
}

// Cleanups carries out the cleanups of a session on several workers.
func (r *Reconciler) Cleanups(ctx context.Context, workerIDs []string, sessionID string) {
	for _, id := range workerIDs {
		r.Cleanup(ctx, id, sessionID)
	}
}

// rescheduleCleanup stores a cleanup with a new due time. The zero time means when its
// worker is back. It reports whether nobody else has changed the cleanup.
func (r *Reconciler) rescheduleCleanup(ctx context.Context, c *domain.Cleanup, until time.Time) bool {
	next := *c
	err := r.Store.Update(ctx, func(ctx context.Context, tx *ports.Tx) error {
		next = *c
		w, err := tx.Workers.Get(ctx, c.WorkerID)
		if err != nil && !errors.Is(err, ports.ErrNotFound) {
			return err
		}
		next.DueAt = until
		if until.IsZero() && w != nil && w.Online {
			next.DueAt = r.Now() // the worker came back meanwhile
		}
		return tx.Cleanups.Put(ctx, &next)
	})
	switch {
	case err == nil:
		*c = next
	case !errors.Is(err, ports.ErrConflict):
		r.LogFailure(ctx, "cleanup not rescheduled", err, "session", c.SessionID, "worker", c.WorkerID)
	}
	return err == nil
}
