package reconcile

import (
	"context"
	"errors"
	"time"

	"github.com/switchyard-wa/switchyard/app/internal/fleet"
	"github.com/switchyard-wa/switchyard/app/internal/membership"
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
	case r.members.IsOthersClaim(c.ClaimedBy, c.DueAt, r.Now()):
		return
	case w == nil, isAssignedThere && c.Command == domain.CommandDisconnect:
		r.deleteCleanup(ctx, c)
		return
	case !w.Online:
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
		r.deleteCleanup(ctx, c)
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
	switch c.Command {
	case domain.CommandLogout:
		return r.Workers.Logout(ctx, fleet.Ref(w), c.SessionID, c.Generation)
	case domain.CommandDelete:
		return r.Workers.Delete(ctx, fleet.Ref(w), c.SessionID, c.Generation)
	}
	return r.Workers.Disconnect(ctx, fleet.Ref(w), c.SessionID, c.Generation)
}

// readCleanup returns the cleanup and its worker, each nil if there is none, and
// whether the session is assigned to that worker now.
func (r *Reconciler) readCleanup(ctx context.Context, workerID, sessionID string) (c *domain.Cleanup, w *domain.Worker, isAssignedThere bool, err error) {
	err = r.Store.View(ctx, func(ctx context.Context, tx *ports.Tx) error {
		c, w, isAssignedThere = nil, nil, false
		all, err := tx.Cleanups.BySession(ctx, sessionID)
		if err != nil {
			return err
		}
		for _, candidate := range all {
			if candidate.WorkerID == workerID {
				c = candidate
			}
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

// deleteCleanup deletes a cleanup that is done. A conflict means that it was replaced
// by another, which stays.
func (r *Reconciler) deleteCleanup(ctx context.Context, c *domain.Cleanup) {
	err := r.Store.Update(ctx, func(ctx context.Context, tx *ports.Tx) error { return tx.Cleanups.Delete(ctx, c) })
	if !errors.Is(err, ports.ErrConflict) {
		r.LogFailure(ctx, "cleanup not deleted", err, "session", c.SessionID, "worker", c.WorkerID)
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
