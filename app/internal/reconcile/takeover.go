package reconcile

import (
	"context"
	"time"

	"github.com/switchyard-wa/switchyard/app/internal/txn"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

const (
	toleratedClockLead = time.Minute
	resignLimit        = 5 * time.Second
)

// TakeOver ends the claims of a replica and makes its work due for all. The replica is
// dead, or it is this one and shuts down. A dead replica that returns finds its claims
// gone.
func (r *Reconciler) TakeOver(ctx context.Context, replicaID string) error {
	released, kept := 0, 0
	err := r.Transact(ctx, func(ctx context.Context, tx *txn.Tx) error {
		released, kept = 0, 0
		claimed, err := tx.Sessions.ClaimedBy(ctx, replicaID)
		if err != nil {
			return err
		}
		now := r.Now()
		for _, s := range claimed {
			if replicaID == r.Self.ID && r.sessions.IsLocked(s.ID) {
				kept++ // a service of this process still calls, and ends the claim
				continue
			}
			before := s.Clone()
			s.ReleaseClaim()
			s.DueAt = now
			if err := tx.SaveSession(ctx, before, s, nil); err != nil {
				return err
			}
			released++
		}
		if lead := r.members.ClockLead(replicaID); lead > toleratedClockLead {
			if err := r.rebaseDueTimes(ctx, tx, lead); err != nil {
				return err
			}
		}
		if kept > 0 {
			return nil // if this process ends before, others find it dead
		}
		return tx.Replicas.Delete(ctx, replicaID)
	})
	if err == nil && replicaID != r.Self.ID {
		r.Log.WarnContext(ctx, "replica dead", "replica", replicaID, "claimsReleased", released)
	}
	return err
}

// Resign hands the work of this replica over to others before it ends.
func (r *Reconciler) Resign(ctx context.Context) {
	if !r.IsShared() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), resignLimit)
	defer cancel()
	if err := r.TakeOver(ctx, r.Self.ID); err != nil {
		r.Log.WarnContext(ctx, "work not handed over", "error", err)
	}
}

// rebaseDueTimes makes due what a dead replica scheduled by a clock that was ahead. By
// our clock it would be due long after.
func (r *Reconciler) rebaseDueTimes(ctx context.Context, tx *txn.Tx, lead time.Duration) error {
	now := r.Now()
	latest := now.Add(r.Timing.MaxBackoff + r.Timing.StartTimeout) // only a wait for a home is longer, and may be looked at early
	workers, _, err := tx.Workers.List(ctx, ports.WorkerFilter{}, ports.Page{})
	if err != nil {
		return err
	}
	for _, w := range workers {
		at := now.Add(r.Timing.FailoverDelay)
		if w.Online || !w.FailoverAt.After(at) {
			continue
		}
		w.FailoverAt = at
		if err := tx.SaveWorker(ctx, w, nil); err != nil {
			return err
		}
	}
	due, err := tx.Sessions.Due(ctx, latest.Add(lead), 0)
	if err != nil {
		return err
	}
	for _, s := range due {
		if !s.DueAt.After(latest) {
			continue
		}
		if err := r.rebaseSession(ctx, tx, s, now, latest); err != nil {
			return err
		}
	}
	cleanups, err := tx.Cleanups.Due(ctx, latest.Add(lead), 0)
	if err != nil {
		return err
	}
	for _, c := range cleanups {
		if !c.DueAt.After(latest) {
			continue
		}
		c.DueAt, c.ClaimedBy = now, ""
		if err := tx.Cleanups.Put(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

func (r *Reconciler) rebaseSession(ctx context.Context, tx *txn.Tx, s *domain.Session, now, latest time.Time) error {
	before := s.Clone()
	s.DueAt = now
	if s.DebounceUntil.After(latest) {
		s.DebounceUntil = now.Add(r.Timing.DisconnectDebounce)
	}
	if end := now.Add(r.Timing.HomeWait); s.HomeWaitUntil.After(end) {
		s.HomeWaitUntil = end
	}
	return tx.SaveSession(ctx, before, s, nil)
}
