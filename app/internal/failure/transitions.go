package failure

import (
	"context"
	"errors"
	"time"

	"github.com/switchyard-wa/switchyard/app/internal/fleet"
	"github.com/switchyard-wa/switchyard/app/internal/txn"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// MarkDown records that a worker is down and makes its sessions due for failover.
// isStillDown is asked about the row in the transaction: the worker may have come back.
func (d *Detector) MarkDown(ctx context.Context, workerID string, reason domain.DownReason, isStillDown func(*domain.Worker) bool) error {
	err := d.Transact(context.WithoutCancel(ctx), func(ctx context.Context, tx *txn.Tx) error {
		w, err := tx.Workers.Get(ctx, workerID)
		if errors.Is(err, ports.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		now := d.Now()
		if !isStillDown(w) {
			tx.NoteWorker(w)
			return nil
		}
		events := w.MarkDown(reason, d.Timing, now)
		if events == nil {
			return nil
		}
		d.Log.WarnContext(ctx, "worker down", "worker", w.ID, "reason", reason, "failoverAt", w.FailoverAt)
		if err := tx.SaveWorker(ctx, w, events); err != nil {
			return err
		}
		return tx.ChangeSessionsOf(ctx, w.ID, func(s *domain.Session) ([]domain.Event, error) {
			events := s.WorkerLost("worker "+w.ID+" is gone", now)
			s.DueAt = w.FailoverAt
			return events, nil
		})
	})
	if errors.Is(err, ports.ErrClosed) {
		return nil
	}
	return err
}

// ApplyHeartbeat applies a heartbeat to a row. The time of the latest heartbeat grows
// with each, though another replica's clock may be ahead: its change shows the others
// that the worker lives.
func (d *Detector) ApplyHeartbeat(w *domain.Worker, h domain.Heartbeat, now time.Time) []domain.Event {
	latest := w.LastHeartbeat
	events := w.ApplyHeartbeat(h, d.Timing, now)
	if !w.LastHeartbeat.After(latest) {
		w.LastHeartbeat = latest.Add(time.Microsecond)
	}
	return events
}

// WorkerReturned makes the work due that waits for a worker that is online again: its cleanups, the
// wipes of its state group, and the sessions that it has to recover. The sessions are due after a
// grace in which the worker recovers them by itself. running lists sessions that are connected there
// already.
func (d *Detector) WorkerReturned(ctx context.Context, tx *txn.Tx, w *domain.Worker, grace time.Duration, running map[string]bool, now time.Time) error {
	cleanups, err := tx.Cleanups.ByWorker(ctx, w.ID)
	if err != nil {
		return err
	}
	for _, c := range cleanups {
		if !c.IsPending() {
			continue
		}
		c.DueAt = now
		if err := tx.Cleanups.Put(ctx, c); err != nil {
			return err
		}
	}
	if err := tx.WakeWipes(ctx, w); err != nil {
		return err
	}
	return tx.ChangeSessionsOf(ctx, w.ID, func(s *domain.Session) ([]domain.Event, error) {
		if running[s.ID] && s.Status == domain.Connected && s.Command == domain.CommandNone {
			return nil, txn.ErrUnchanged
		}
		return s.AwaitRecovery(grace, now), nil
	})
}

// recheckCrash calls a worker that another replica marked as crashed. If it answers,
// its process lives, and only the other replica's link is cut.
func (d *Detector) recheckCrash(ctx context.Context, down *domain.Worker) error {
	if err := d.Workers.Health(ctx, fleet.Ref(down)); err != nil {
		return nil //nolint:nilerr // it crashed, as far as this replica can tell
	}
	err := d.Transact(ctx, func(ctx context.Context, tx *txn.Tx) error {
		w, err := tx.Workers.Get(ctx, down.ID)
		if errors.Is(err, ports.ErrNotFound) || err == nil && (w.Online || !w.DownAt.Equal(down.DownAt)) {
			return nil
		}
		if err != nil {
			return err
		}
		now := d.Now()
		events := d.ApplyHeartbeat(w, domain.Heartbeat{CPU: -1, Memory: -1, MessageCount: -1}, now)
		if err := tx.SaveWorker(ctx, w, events); err != nil {
			return err
		}
		d.Log.WarnContext(ctx, "worker answers despite reported crash", "worker", w.ID)
		return d.WorkerReturned(ctx, tx, w, d.Timing.DisconnectDebounce, nil, now)
	})
	d.LogFailure(ctx, "worker not marked online", err, "worker", down.ID)
	return err
}

// EvaluateCanaries takes canaries that fail out of placement. It returns when a canary
// may fail; zero: after the next unwanted disconnect.
func (d *Detector) EvaluateCanaries(ctx context.Context) (time.Time, error) {
	now := d.Now()
	if !d.cache.Disconnected.Take() && (d.canaryCheckAt.IsZero() || now.Before(d.canaryCheckAt)) {
		return d.canaryCheckAt, nil
	}
	failures, next := d.cache.CanaryFailures(d.Timing, now)
	d.canaryCheckAt = next
	var errs []error
	for _, f := range failures {
		errs = append(errs, d.Transact(ctx, func(ctx context.Context, tx *txn.Tx) error {
			w, err := tx.Workers.Get(ctx, f.WorkerID)
			if errors.Is(err, ports.ErrNotFound) || err == nil && !w.IsCanary(d.Timing, now) {
				return nil // another replica was first
			}
			if err != nil {
				return err
			}
			events := w.MarkSuspect(f.Disconnects, now)
			d.Log.WarnContext(ctx, "worker suspect", "worker", w.ID, "version", w.Version, "reason", w.Suspect)
			return tx.SaveWorker(ctx, w, events)
		}))
	}
	err := errors.Join(errs...)
	if err != nil {
		d.cache.Disconnected.Set() // evaluate again
	}
	return next, err
}
