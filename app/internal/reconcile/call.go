package reconcile

import (
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

// call sends the session's command to its worker and records the answer. The replica
// claims the row meanwhile: with the assignment, or by one more write.
func (r *Reconciler) call(ctx context.Context, s *domain.Session, w *domain.Worker) (again bool, err error) {
	began, wasClaimed := r.Now(), s.ClaimedBy == r.Self.ID
	if !r.members.HasClaimUntil(s, began.Add(membership.CallLimit)) {
		isClaimed, isOthers, err := r.acquireClaim(ctx, s)
		if err != nil || !isClaimed {
			return err == nil && !isOthers, err
		}
	}
	// Without a claim since the assignment, another replica may have called meanwhile.
	isFirst := r.fresh.take(s) && wasClaimed && s.Command == domain.CommandStart
	call, end := r.calls.Begin(ctx, w.ID, membership.CallLimit-r.Now().Sub(began))
	report, err := r.sendCommand(call, s, w)
	end()
	r.detector.RecordCall(ctx, w, err)
	var failure *ports.WorkerError
	if err != nil && !errors.As(err, &failure) {
		return false, err
	}
	recordErr := r.recordAnswer(ctx, answer{asked: s, worker: w, report: report, failure: failure, isFirst: isFirst})
	if recordErr != nil {
		return false, recordErr
	}
	return true, err
}

// acquireClaim claims the row of a session, unless the session has changed.
func (r *Reconciler) acquireClaim(ctx context.Context, read *domain.Session) (isClaimed, isOthers bool, err error) {
	s, err := r.ChangeSession(ctx, read.ID, func(_ context.Context, _ *txn.Tx, s *domain.Session) ([]domain.Event, error) {
		if s.Rev != read.Rev {
			return nil, txn.ErrUnchanged
		}
		r.members.AcquireClaim(s, r.Now())
		return nil, nil
	})
	if err != nil {
		return false, false, err
	}
	return s.ClaimedBy == r.Self.ID, r.members.IsClaimedByOther(s, r.Now()), nil
}

// sendCommand calls the worker. A report without a status says nothing.
func (r *Reconciler) sendCommand(ctx context.Context, s *domain.Session, w *domain.Worker) (domain.Report, error) {
	ref := fleet.Ref(w)
	switch s.Command {
	case domain.CommandRestart:
		err := r.Workers.Restart(ctx, ref, s.ID, s.Generation)
		var failure *ports.WorkerError
		if !errors.As(err, &failure) || failure.Failure != ports.WorkerSessionNotFound {
			return domain.Report{}, err
		}
		// The worker does not have the session: start it.
	case domain.CommandDisconnect, domain.CommandMove:
		return domain.Report{}, r.Workers.Disconnect(ctx, ref, s.ID, s.Generation)
	case domain.CommandLogout:
		return domain.Report{}, r.logoutOrWipe(ctx, w, &domain.Cleanup{SessionID: s.ID, UserID: s.UserID, Generation: s.Generation})
	}
	return r.Workers.Start(ctx, ref, ports.Start{
		SessionID: s.ID, UserID: s.UserID, SessionName: s.Name, Generation: s.Generation,
		Recover: s.PhoneNumber != "", PairingPhone: s.PairingPhone,
	})
}

// answer is the outcome of a call.
type answer struct {
	asked   *domain.Session // as it was before the call
	worker  *domain.Worker
	report  domain.Report
	failure *ports.WorkerError // nil: the call succeeded
	isFirst bool               // no call was made for this assignment before
}

// recordAnswer records the outcome of a call and ends the claim. An assignment or claim
// that has changed since overtakes the answer.
func (r *Reconciler) recordAnswer(ctx context.Context, a answer) error {
	_, err := r.ChangeSession(ctx, a.asked.ID, func(ctx context.Context, tx *txn.Tx, s *domain.Session) ([]domain.Event, error) {
		if s.WorkerID != a.worker.ID || s.Generation != a.asked.Generation || s.ClaimedBy != r.Self.ID {
			return nil, txn.ErrUnchanged
		}
		now := r.Now()
		releaseOnly := txn.ErrUnchanged
		if s.ClaimedBy != "" {
			s.ReleaseClaim()
			releaseOnly = nil
		}
		switch {
		case s.Command != a.asked.Command && s.Command != domain.CommandNone:
			return nil, releaseOnly // another command is next
		case a.failure != nil:
			if isGenerationRefused(a) && !s.Confirmed {
				s.GenerationRefused()
			}
			return nil, r.recordCallFailure(ctx, tx, s, a, now)
		case s.Command == domain.CommandNone:
			return nil, releaseOnly // a report confirmed the command during the call
		case a.asked.Command.Stops():
			s.StopConfirmed(now)
			if a.asked.Command.Wipes() {
				return nil, tx.RecordWiped(ctx, a.worker, s.ID, a.asked.Generation)
			}
			return nil, nil
		}
		s.CommandAccepted(r.Timing, now)
		if a.report.Status == "" || !s.LastReportAppliedAt.Equal(a.asked.LastReportAppliedAt) {
			return nil, nil // a report during the call is newer than the answer
		}
		report := a.report
		report.WorkerID, report.Generation = a.worker.ID, max(report.Generation, a.asked.Generation)
		_, events := s.Apply(report, r.Timing, now)
		return events, nil
	})
	return err
}

// isGenerationRefused reports whether a worker may have refused a start because the generation is over
// there. A worker that runs the session in the generation confirms the start instead.
func isGenerationRefused(a answer) bool {
	isStart := a.asked.Command == domain.CommandStart || a.asked.Command == domain.CommandRestart
	return isStart && a.failure.Status == http.StatusConflict && a.failure.Failure == ports.WorkerRejected &&
		a.worker.Supports(domain.CapGeneration)
}

// recordCallFailure records a failed call. The session may be placed elsewhere at once
// only if this was the first call of the assignment, was certainly not carried out, and the
// worker has not restarted since: nothing of the assignment can run.
func (r *Reconciler) recordCallFailure(ctx context.Context, tx *txn.Tx, s *domain.Session, a answer, now time.Time) error {
	failure := a.failure
	isBusy := failure.Failure == ports.WorkerBusy
	if isBusy {
		r.cache.Suspend(s.WorkerID, now.Add(min(max(failure.Retry, r.Timing.RestartBackoff), r.Timing.MaxBackoff)))
	}
	isNotRunning := a.isFirst && failure.IsNotExecuted()
	if isNotRunning {
		hasRestarted, err := r.hasRestarted(ctx, tx, a.worker)
		if err != nil {
			return err
		}
		isNotRunning = !hasRestarted
	}
	switch {
	case isBusy && !a.isFirst:
		s.CommandThrottled(failure.Retry, r.Timing, now)
		return nil
	case !isNotRunning:
		s.CommandOutcomeUnknown(r.Timing, now)
		return nil
	}
	if failure.Failure != ports.WorkerConnectionRefused && !isBusy {
		// The worker answers, and may have the session from an earlier assignment.
		if err := tx.ScheduleCleanup(ctx, s.WorkerID, s.ID, domain.CommandDisconnect, s.Generation); err != nil {
			return err
		}
	}
	s.StartRejected(failure.Message, r.Timing, now)
	return nil
}

// hasRestarted reports whether a worker has registered a new process since it was read:
//
//	replica: assigns ──► start: refused ───────────────────► places elsewhere
//	worker:          crashed │ registers ──► starts what is assigned to it
//
// It writes the row, so that a registration comes either before or after the transaction: a
// process that registers after it no longer finds the session among those that it recovers.
func (r *Reconciler) hasRestarted(ctx context.Context, tx *txn.Tx, read *domain.Worker) (bool, error) {
	w, err := tx.Workers.Get(ctx, read.ID)
	if errors.Is(err, ports.ErrNotFound) {
		return false, nil
	}
	if err != nil || !w.RegisteredAt.Equal(read.RegisteredAt) {
		return true, err
	}
	return false, tx.SaveWorker(ctx, w, nil)
}
