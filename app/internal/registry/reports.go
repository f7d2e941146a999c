package registry

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"slices"
	"time"

	"github.com/switchyard-wa/switchyard/app/internal/apperr"
	"github.com/switchyard-wa/switchyard/app/internal/env"
	"github.com/switchyard-wa/switchyard/app/internal/txn"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// lateAfter is how long after its arrival a report is too old to trust.
const lateAfter = 5 * time.Second

// ReportSession applies a worker's report on one session.
func (p *Protocol) ReportSession(ctx context.Context, r domain.Report) (domain.Outcome, error) {
	if err := p.sync.EnsureLoaded(ctx); err != nil {
		return 0, err
	}
	r.SessionID = domain.NormalizeSessionRef(r.SessionID)
	if r.WorkerID != "" {
		r.WorkerID = domain.NormalizeWorkerRef(r.WorkerID)
	}
	outcome, arrived := domain.NotOwner, p.Now()
	var known, adopted int64 // generations
	_, err := p.ChangeSession(ctx, r.SessionID, func(ctx context.Context, tx *txn.Tx, s *domain.Session) ([]domain.Event, error) {
		if isTooOldToTrust(p.Env, arrived, r.Status) {
			outcome = domain.Stale
			return nil, txn.ErrUnchanged
		}
		isOfOwner, err := canBeOfOwner(ctx, tx, s, r)
		if err != nil {
			return nil, err
		}
		if !isOfOwner {
			outcome = domain.NotOwner
			return nil, txn.ErrUnchanged
		}
		var events []domain.Event
		known = s.Generation
		outcome, events = s.Apply(r, p.Timing, p.Now())
		adopted = s.Generation
		if outcome != domain.Applied && outcome != domain.Repeated && adopted == known {
			return nil, txn.ErrUnchanged
		}
		return events, nil
	})
	if err != nil {
		return outcome, apperr.Public(err)
	}
	logAdoption(ctx, p.Env, r, known, adopted)
	logRefusal(ctx, p.Env, r, outcome)
	return outcome, nil
}

// isLate reports whether this replica, or the store, has stood still since arrived.
func isLate(e *env.Env, arrived time.Time) bool { return e.Now().Sub(arrived) > lateAfter }

// isTooOldToTrust reports whether the report of an end is late. It may be about a former
// process by now. The next heartbeat repeats the true state.
func isTooOldToTrust(e *env.Env, arrived time.Time, status domain.Status) bool {
	return !status.IsActive() && isLate(e, arrived)
}

// canBeOfOwner reports whether a report that names no worker may come from the session's present
// worker. It lets every other report pass, because Session.Apply compares the worker ids.
func canBeOfOwner(ctx context.Context, tx *txn.Tx, s *domain.Session, r domain.Report) (bool, error) {
	if r.WorkerID != "" {
		return true, nil
	}
	isAllowed, err := txn.CanReport(ctx, tx.Tx, s, "")
	if err != nil || !isAllowed || r.Generation != 0 {
		return isAllowed, err
	}
	isFormer, err := canBeOfFormerOwner(ctx, tx, s, r)
	return !isFormer, err
}

// canBeOfFormerOwner reports whether a report without a worker id may come from a worker on
// which the session is being stopped or wiped, and which does not own it. Legacy workers
// report a stop without naming themselves. They also have to start a session before they can
// delete it, and then report a connection. If the owner reported after all, its next
// heartbeat repairs the state.
func canBeOfFormerOwner(ctx context.Context, tx *txn.Tx, s *domain.Session, r domain.Report) (bool, error) {
	cleanups, err := tx.Cleanups.BySession(ctx, s.ID)
	return slices.ContainsFunc(cleanups, func(c *domain.Cleanup) bool {
		isUnderWay := c.WorkerID != s.WorkerID && !c.DueAt.IsZero()
		return isUnderWay && (c.Command.Wipes() || !r.Status.IsActive())
	}), err
}

// logRefusal logs a report that was refused.
func logRefusal(ctx context.Context, e *env.Env, r domain.Report, outcome domain.Outcome) {
	level := slog.LevelInfo
	switch outcome {
	case domain.Implausible:
		level = slog.LevelWarn
		fallthrough
	case domain.Stale, domain.NotOwner, domain.NotWanted:
		e.Log.Log(ctx, level, "report refused", "session", r.SessionID, "worker", r.WorkerID,
			"status", r.Status, "generation", r.Generation, "reason", outcome.String())
	}
}

// logAdoption logs that a session has adopted the generation of a report.
func logAdoption(ctx context.Context, e *env.Env, r domain.Report, known, adopted int64) {
	if adopted > known {
		e.Log.WarnContext(ctx, "generation adopted", "session", r.SessionID, "worker", r.WorkerID, "from", known, "to", adopted)
	}
}

// AssignedSessions returns the sessions that a restarted worker has to recover.
func (p *Protocol) AssignedSessions(ctx context.Context, workerID string) ([]service.AssignedSession, error) {
	workerID = domain.NormalizeWorkerRef(workerID)
	var list []service.AssignedSession
	err := p.Store.View(ctx, func(ctx context.Context, tx *ports.Tx) error {
		list = nil
		if _, err := tx.Workers.Get(ctx, workerID); err != nil {
			return apperr.Worker(err)
		}
		assigned, err := tx.Sessions.ListByWorker(ctx, workerID)
		if err != nil {
			return err
		}
		owners := make(map[string]*domain.User)
		for _, s := range assigned {
			if !domain.IsRecoverableBy(s, workerID) {
				continue
			}
			u := owners[s.UserID]
			if u == nil {
				u, err = tx.Users.Get(ctx, s.UserID)
				if err != nil {
					return err
				}
				owners[s.UserID] = u
			}
			list = append(list, service.AssignedSession{Session: s, UserEmail: u.Email, UserTier: u.Tier})
		}
		return nil
	})
	return list, apperr.Public(err)
}

// ReportRecovery applies the results of a worker's recovery, some in each transaction.
func (p *Protocol) ReportRecovery(ctx context.Context, workerID string, results []service.RecoveryResult) ([]service.RecoveryOutcome, error) {
	if err := p.sync.EnsureLoaded(ctx); err != nil {
		return nil, err
	}
	workerID = domain.NormalizeWorkerRef(workerID)
	outcomes := make([]service.RecoveryOutcome, 0, len(results))
	arrived := p.Now()
	for some := range chunks(results) {
		applied, err := p.applyRecoveries(ctx, workerID, some, arrived)
		if err != nil {
			return outcomes, apperr.Public(err)
		}
		outcomes = append(outcomes, applied...)
	}
	return outcomes, nil
}

// chunks divides a list into parts for one transaction each. An empty list is one part.
func chunks[T any](list []T) iter.Seq[[]T] {
	if len(list) == 0 {
		return slices.Values([][]T{nil})
	}
	return slices.Chunk(list, perUpdate)
}

func (p *Protocol) applyRecoveries(ctx context.Context, workerID string, results []service.RecoveryResult, arrived time.Time) (outcomes []service.RecoveryOutcome, err error) {
	err = p.Transact(ctx, func(ctx context.Context, tx *txn.Tx) error {
		outcomes = make([]service.RecoveryOutcome, 0, len(results))
		if _, err := tx.Workers.Get(ctx, workerID); err != nil {
			return apperr.Worker(err)
		}
		for _, r := range results {
			r.SessionID = domain.NormalizeSessionRef(r.SessionID)
			if r.Status == service.RecoveryFailed && isTooOldToTrust(p.Env, arrived, domain.Errored) {
				outcomes = append(outcomes, service.RecoveryOutcome{SessionID: r.SessionID, Status: service.RecoveryIgnored, Action: "refused: held up"})
				continue
			}
			outcome, err := p.applyRecovery(ctx, tx, workerID, r)
			if err != nil {
				return err
			}
			outcomes = append(outcomes, outcome)
		}
		return nil
	})
	return outcomes, err
}

func (p *Protocol) applyRecovery(ctx context.Context, tx *txn.Tx, workerID string, r service.RecoveryResult) (service.RecoveryOutcome, error) {
	out := service.RecoveryOutcome{SessionID: r.SessionID, Status: r.Status, Error: r.Error}
	s, err := tx.Sessions.Get(ctx, r.SessionID)
	if err != nil && !errors.Is(err, ports.ErrNotFound) {
		return out, err
	}
	if s == nil || s.WorkerID != workerID {
		out.Status, out.Action = service.RecoveryIgnored, "not a session of this worker"
		return out, nil
	}
	now := p.Now()
	before := s.Clone()
	report := domain.Report{SessionID: s.ID, WorkerID: workerID, Status: domain.Connected, Error: r.Error}
	action := "connected"
	switch r.Status {
	case service.RecoverySkipped:
		out.Action = "left unchanged"
		if s.Command != domain.CommandStart || !s.DueAt.After(now) {
			return out, nil
		}
		s.DueAt = now // it does not come up by itself
		return out, tx.SaveSession(ctx, before, s, nil)
	case service.RecoveryFailed:
		report.Status, action = domain.Errored, "failed, slot freed"
	}
	outcome, events := s.Apply(report, p.Timing, now)
	logRefusal(ctx, p.Env, report, outcome)
	switch outcome {
	case domain.Applied, domain.Repeated:
		out.Updated, out.Action = true, action
		return out, tx.SaveSession(ctx, before, s, events)
	case domain.Unchanged:
		out.Action = "connected"
		return out, nil
	}
	out.Status, out.Action = service.RecoveryIgnored, "refused: "+outcome.String()
	return out, nil
}

// ReportPreserved records that a worker goes down and keeps credentials. It returns how
// many of the sessions are assigned to the worker.
func (p *Protocol) ReportPreserved(ctx context.Context, workerID string, sessionIDs []string) (int, error) {
	if err := p.sync.EnsureLoaded(ctx); err != nil {
		return 0, err
	}
	workerID = domain.NormalizeWorkerRef(workerID)
	total := 0
	for some := range chunks(sessionIDs) {
		n, err := p.applyPreserved(ctx, workerID, some)
		if err != nil {
			return total, apperr.Public(err)
		}
		total += n
	}
	return total, nil
}

func (p *Protocol) applyPreserved(ctx context.Context, workerID string, sessionIDs []string) (n int, err error) {
	err = p.Transact(ctx, func(ctx context.Context, tx *txn.Tx) error {
		n = 0
		if _, err := tx.Workers.Get(ctx, workerID); err != nil {
			return apperr.Worker(err)
		}
		for _, id := range sessionIDs {
			s, err := tx.Sessions.Get(ctx, domain.NormalizeSessionRef(id))
			if errors.Is(err, ports.ErrNotFound) || err == nil && s.WorkerID != workerID {
				continue
			}
			if err != nil {
				return err
			}
			n++
			before := s.Clone()
			events := s.WorkerLost("its worker is going down and keeps the credentials", p.Now())
			if s.Status == before.Status {
				continue
			}
			if err := tx.SaveSession(ctx, before, s, events); err != nil {
				return err
			}
		}
		return nil
	})
	return n, err
}
