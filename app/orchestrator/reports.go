package orchestrator

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// ReportSession applies a worker's word on one session.
func (o *workerProtocol) ReportSession(ctx context.Context, r domain.Report) (domain.Outcome, error) {
	if err := o.ready(ctx); err != nil {
		return 0, err
	}
	r.SessionID = domain.NormalizeSessionRef(r.SessionID)
	if r.WorkerID != "" {
		r.WorkerID = domain.NormalizeWorkerRef(r.WorkerID)
	}
	outcome, arrived := domain.NotOwner, o.now()
	_, err := o.change(ctx, r.SessionID, func(ctx context.Context, tx *ports.Tx, s *domain.Session) ([]domain.Event, error) {
		if o.heldUp(arrived, r.Status) {
			outcome = domain.Stale
			return nil, errUnchanged
		}
		if r.WorkerID == "" && r.Generation == 0 && !r.Status.IsActive() {
			stopping, err := stoppingElsewhere(ctx, tx, s)
			if err != nil {
				return nil, err
			}
			if stopping {
				outcome = domain.NotOwner // most likely the former owner
				return nil, errUnchanged
			}
		}
		var events []domain.Event
		outcome, events = s.Apply(r, o.timing, o.now())
		if outcome != domain.Applied && outcome != domain.Repeated {
			return nil, errUnchanged
		}
		return events, nil
	})
	if err != nil {
		return outcome, o.fault(err)
	}
	o.noteOutcome(ctx, r, outcome)
	return outcome, nil
}

// heldUp reports whether this replica, or the store, has stood still since a report
// of an end arrived. It may be of a former process by now; what is true of it the
// next heartbeat says again.
func (o *Orchestrator) heldUp(arrived time.Time, status domain.Status) bool {
	return !status.IsActive() && o.now().Sub(arrived) > heldUpFor
}

const heldUpFor = 5 * time.Second

// stoppingElsewhere reports whether the session is being stopped on a worker that
// does not own it. Older workers report that without saying who they are. A
// heartbeat repairs it if the report was the owner's after all.
func stoppingElsewhere(ctx context.Context, tx *ports.Tx, s *domain.Session) (bool, error) {
	left, err := tx.Cleanups.BySession(ctx, s.ID)
	return slices.ContainsFunc(left, func(c *domain.Cleanup) bool {
		return c.WorkerID != s.WorkerID && !c.DueAt.IsZero()
	}), err
}

// noteOutcome logs what was refused.
func (o *Orchestrator) noteOutcome(ctx context.Context, r domain.Report, outcome domain.Outcome) {
	switch outcome {
	case domain.Stale, domain.NotOwner, domain.NotWanted:
		o.log.InfoContext(ctx, "report refused", "session", r.SessionID, "worker", r.WorkerID,
			"status", r.Status, "generation", r.Generation, "why", outcome.String())
	}
}

// AssignedSessions lists what a restarted worker has to recover.
func (o *workerProtocol) AssignedSessions(ctx context.Context, workerID string) ([]service.AssignedSession, error) {
	workerID = domain.NormalizeWorkerRef(workerID)
	var list []service.AssignedSession
	err := o.store.View(ctx, func(ctx context.Context, tx *ports.Tx) error {
		list = nil
		if _, err := tx.Workers.Get(ctx, workerID); err != nil {
			return workerMissing(err)
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
				if u, err = tx.Users.Get(ctx, s.UserID); err != nil {
					return err
				}
				owners[s.UserID] = u
			}
			list = append(list, service.AssignedSession{Session: s, UserEmail: u.Email, UserTier: u.Tier})
		}
		return nil
	})
	return list, o.fault(err)
}

// ReportRecovery takes in what became of the sessions that a worker tried to recover.
func (o *workerProtocol) ReportRecovery(ctx context.Context, workerID string, results []service.RecoveryResult) ([]service.RecoveryOutcome, error) {
	if err := o.ready(ctx); err != nil {
		return nil, err
	}
	workerID = domain.NormalizeWorkerRef(workerID)
	var outcomes []service.RecoveryOutcome
	arrived := o.now()
	err := o.transact(ctx, func(ctx context.Context, tx *ports.Tx, c *changes) error {
		outcomes = make([]service.RecoveryOutcome, 0, len(results))
		if _, err := tx.Workers.Get(ctx, workerID); err != nil {
			return workerMissing(err)
		}
		for _, r := range results {
			r.SessionID = domain.NormalizeSessionRef(r.SessionID)
			if r.Status == service.RecoveryFailed && o.heldUp(arrived, domain.Errored) {
				outcomes = append(outcomes, service.RecoveryOutcome{SessionID: r.SessionID, Status: service.RecoveryIgnored, Action: "refused: held up"})
				continue
			}
			out, err := o.recovered(ctx, tx, c, workerID, r)
			if err != nil {
				return err
			}
			outcomes = append(outcomes, out)
		}
		return nil
	})
	return outcomes, o.fault(err)
}

func (o *Orchestrator) recovered(ctx context.Context, tx *ports.Tx, c *changes, workerID string, r service.RecoveryResult) (service.RecoveryOutcome, error) {
	out := service.RecoveryOutcome{SessionID: r.SessionID, Status: r.Status, Error: r.Error}
	s, err := tx.Sessions.Get(ctx, r.SessionID)
	if err != nil && !errors.Is(err, ports.ErrNotFound) {
		return out, err
	}
	if s == nil || s.WorkerID != workerID {
		out.Status, out.Action = service.RecoveryIgnored, "not a session of this worker"
		return out, nil
	}
	report := domain.Report{SessionID: s.ID, WorkerID: workerID, Status: domain.Connected, Error: r.Error}
	switch r.Status {
	case service.RecoverySkipped:
		out.Action = "left unchanged"
		if s.Command != domain.CommandStart || !s.DueAt.After(o.now()) {
			return out, nil
		}
		before := s.Clone()
		s.DueAt = o.now() // it is not going to come up by itself
		return out, o.save(ctx, tx, c, before, s, nil)
	case service.RecoveryFailed:
		report.Status = domain.Errored
	}
	now := o.now()
	before := s.Clone()
	outcome, events := s.Apply(report, o.timing, now)
	o.noteOutcome(ctx, report, outcome)
	switch outcome {
	case domain.Applied, domain.Repeated:
		out.Updated = true
		out.Action = map[domain.Status]string{domain.Connected: "connected", domain.Errored: "failed, slot freed"}[report.Status]
		return out, o.save(ctx, tx, c, before, s, events)
	case domain.Unchanged:
		out.Action = "connected"
		return out, nil
	}
	out.Status, out.Action = service.RecoveryIgnored, "refused: "+outcome.String()
	return out, nil
}

// ReportPreserved notes that a worker goes down but keeps credentials.
func (o *workerProtocol) ReportPreserved(ctx context.Context, workerID string, sessionIDs []string) (int, error) {
	if err := o.ready(ctx); err != nil {
		return 0, err
	}
	workerID = domain.NormalizeWorkerRef(workerID)
	n := 0
	err := o.transact(ctx, func(ctx context.Context, tx *ports.Tx, c *changes) error {
		n = 0
		if _, err := tx.Workers.Get(ctx, workerID); err != nil {
			return workerMissing(err)
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
			if events := s.WorkerLost("its worker is going down and keeps the credentials", o.now()); s.Status != before.Status {
				if err := o.save(ctx, tx, c, before, s, events); err != nil {
					return err
				}
			}
		}
		return nil
	})
	return n, o.fault(err)
}
