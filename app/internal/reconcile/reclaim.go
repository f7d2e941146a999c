package reconcile

import (
	"context"
	"slices"
	"time"

	"github.com/switchyard-wa/switchyard/app/internal/apperr"
	"github.com/switchyard-wa/switchyard/app/internal/fleet"
	"github.com/switchyard-wa/switchyard/app/internal/txn"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

const (
	reclaimCandidates = 100              // sessions that one read returns
	reclaimLimit      = 10 * time.Second // for the call that stops a session
)

// ReclaimSlot frees a slot for a session that finds no room, if its user's tier ranks above
// the lowest. It takes down a session that was never linked and whose QR code expired a
// while ago. It reports whether a slot is free now.
func (r *Reconciler) ReclaimSlot(ctx context.Context, s *domain.Session, req domain.Request) (freed bool, err error) {
	if r.Unscanned.ReclaimAfter <= 0 {
		return false, nil
	}
	var candidates []*domain.Session
	now := r.Now()
	err = r.Store.View(ctx, func(ctx context.Context, tx *ports.Tx) error {
		u, err := tx.Users.Get(ctx, s.UserID)
		if err != nil {
			return apperr.User(err)
		}
		if r.Limits(u.Tier).Rank <= 0 {
			return nil
		}
		candidates, _, err = tx.Sessions.List(ctx, ports.SessionFilter{
			AwaitsScan: true, QRExpiredBefore: now.Add(-r.Unscanned.ReclaimAfter),
		}, ports.Page{Limit: reclaimCandidates})
		return err
	})
	if err != nil {
		return false, err
	}
	for _, candidate := range slices.Backward(candidates) {
		if candidate.ID == s.ID || !candidate.IsReclaimable(r.Unscanned, now) || !r.canTake(candidate.WorkerID, req) {
			continue
		}
		freed, err := r.reclaim(ctx, candidate.ID)
		if err != nil || freed {
			return freed, err
		}
	}
	return false, nil
}

// canTake reports whether placement may choose a worker for a request once it has room.
func (r *Reconciler) canTake(workerID string, req domain.Request) bool {
	w := r.cache.Worker(workerID)
	if w == nil || w.Status() != domain.WorkerOnline || w.Suspect != "" || slices.Contains(req.Avoid, workerID) {
		return false
	}
	l := fleet.LoadOf(w)
	if req.Home.Only && !req.Home.Has(&l) {
		return false // the slot would help nobody: the session waits for its home
	}
	for name, value := range req.Selector {
		if w.Labels[name] != value {
			return false
		}
	}
	return true
}

// reclaim takes one session down and reports whether its slot is free.
func (r *Reconciler) reclaim(ctx context.Context, id string) (freed bool, err error) {
	isReclaimed := false
	_, err = r.ChangeSession(ctx, id, func(_ context.Context, _ *txn.Tx, s *domain.Session) ([]domain.Event, error) {
		now := r.Now()
		isReclaimed = s.IsReclaimable(r.Unscanned, now)
		if !isReclaimed {
			return nil, txn.ErrUnchanged
		}
		return s.Reclaim(now), nil
	})
	if err != nil || !isReclaimed {
		return false, err
	}
	limited, cancel := context.WithTimeout(ctx, reclaimLimit)
	defer cancel()
	stopped, err := r.Session(limited, id)
	if stopped == nil {
		return false, err
	}
	r.Log.InfoContext(ctx, "slot reclaimed", "session", id, "free", !stopped.IsAssigned())
	return !stopped.IsAssigned(), nil
}
