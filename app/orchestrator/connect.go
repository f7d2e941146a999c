package orchestrator

import (
	"context"
	"errors"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// Connect records that the user wants the session up and makes the first pass
// at once: it places the session and starts it. If no worker can take it, the
// session stays down and the error says why.
func (o *sessionService) Connect(ctx context.Context, userID, sessionID string, opt service.ConnectOptions) (*service.SessionQR, error) {
	if err := o.ready(ctx); err != nil {
		return nil, err
	}
	if opt.PairingPhone != "" {
		phone, err := domain.ParsePhone(opt.PairingPhone)
		if err != nil {
			var p domain.Problems
			p.Check("pairing.phoneNumber", err)
			return nil, p.Err()
		}
		opt.PairingPhone = phone
	}
	if err := o.intendUp(ctx, userID, sessionID, opt.PairingPhone); err != nil {
		return nil, o.fault(err)
	}
	// From here on the intent is recorded: a caller that hangs up does not stop it.
	s, err := o.pursue(context.WithoutCancel(ctx), sessionID)
	if err != nil && s == nil {
		return nil, o.fault(err)
	}
	if s.Intent == domain.Up && !s.IsAssigned() && s.FailedStarts > 0 {
		return nil, o.withdraw(ctx, sessionID, err)
	}
	if s.Status == domain.Errored {
		return nil, domain.Errorf(domain.BadGateway, domain.CodeWorkerCommunication,
			"The worker could not start the session; connect again, and report it if it persists").WithCause(errors.New(s.LastError))
	}
	if opt.Wait > 0 {
		return o.await(ctx, userID, sessionID, opt.Wait)
	}
	return qrOf(s, o.now()), nil
}

// intendUp records the intent and the placement in one transaction, trying
// further workers if a slot was lost to a race.
func (o *Orchestrator) intendUp(ctx context.Context, userID, sessionID, pairing string) error {
	var request domain.Request
	for {
		s, err := o.readOwned(ctx, userID, sessionID)
		if err != nil {
			return err
		}
		now := o.now()
		if err := s.Connect(pairing, now); err != nil {
			return err // it would fail in the transaction too
		}
		worker := ""
		if !s.IsAssigned() {
			if request, err = o.request(ctx, s, request.Avoid); err != nil {
				return err
			}
			var ok bool
			if worker, ok = o.fleet.choose(request, now); !ok && o.shared() {
				if err := o.look(ctx); err != nil {
					return err
				}
				worker, ok = o.fleet.choose(request, now)
			}
			if !ok {
				return o.noWorkers()
			}
		}
		placed, err := o.change(ctx, sessionID, func(ctx context.Context, tx *ports.Tx, s *domain.Session) ([]domain.Event, error) {
			if s.UserID != userID {
				return nil, sessionMissing(ports.ErrNotFound)
			}
			if err := s.Connect(pairing, now); err != nil {
				return nil, err
			}
			if s.IsAssigned() || worker == "" {
				return nil, nil
			}
			return o.assign(ctx, tx, s, worker, now)
		})
		if worker != "" {
			o.fleet.settle(worker)
			if err == nil {
				o.calls.assigned(placed)
			}
		}
		if domain.CodeOf(err) == domain.CodeSessionLimit {
			// It may be this very session that counts by now, on an isolation level that
			// shows its row as it was.
			if s, e := o.readOwned(ctx, userID, sessionID); e == nil {
				if e := s.Connect(pairing, now); e != nil {
					return e
				}
			}
		}
		if !errors.Is(err, ports.ErrFull) {
			return err
		}
		if err := o.refresh(ctx, worker); err != nil {
			return err
		}
		request.Avoid = append(request.Avoid, worker)
	}
}

// assign gives the session to the worker. A stop that was still to be made
// there is superseded by the start, unless another replica is making it;
// credentials that are still to be wiped are not: then the worker counts as full.
func (o *Orchestrator) assign(ctx context.Context, tx *ports.Tx, s *domain.Session, worker string, now time.Time) ([]domain.Event, error) {
	left, err := tx.Cleanups.BySession(ctx, s.ID)
	if err != nil {
		return nil, err
	}
	for _, c := range left {
		if c.WorkerID != worker {
			continue
		}
		if c.Command != domain.CommandDisconnect || o.othersClaim(c.ClaimedBy, c.DueAt, now) {
			return nil, ports.ErrFull
		}
		if err := tx.Cleanups.Delete(ctx, c); err != nil {
			return nil, err
		}
	}
	events := s.Assign(worker, now)
	o.claim(s, now) // for the call that follows
	return events, nil
}

// request says what placement has to know of the session.
func (o *Orchestrator) request(ctx context.Context, s *domain.Session, avoid []string) (domain.Request, error) {
	req := domain.Request{Avoid: avoid, Moved: s.MigrationID != "" || s.PreviousWorkerID != ""}
	switch {
	case s.MigrationTargetID != "":
		req.Prefer = s.MigrationTargetID
	case s.PhoneNumber != "":
		req.Prefer = s.CredentialsWorkerID
	}
	if s.PlacementEvent == domain.EventSessionMigrated {
		req.Avoid = append(req.Avoid, s.PreviousWorkerID)
	}
	if s.ExcludedWorkerID != "" && o.now().Before(s.ExcludedUntil) {
		req.Avoid = append(req.Avoid, s.ExcludedWorkerID)
	}
	err := o.store.View(ctx, func(ctx context.Context, tx *ports.Tx) error {
		u, err := tx.Users.Get(ctx, s.UserID)
		if err != nil {
			return userMissing(err)
		}
		if pool := o.limits(u.Tier).Pool; pool != "" {
			req.Selector = map[string]string{"pool": pool}
		}
		mine, _, err := tx.Sessions.List(ctx, ports.SessionFilter{UserID: s.UserID}, ports.Page{})
		if err != nil {
			return err
		}
		ids := make([]string, len(mine))
		for i, m := range mine {
			ids[i] = m.ID
		}
		req.UserWorkers = o.fleet.userWorkers(ids)
		// Where its credentials have yet to be wiped, a start would find them.
		left, err := tx.Cleanups.BySession(ctx, s.ID)
		for _, c := range left {
			if c.Command == domain.CommandLogout || c.Command == domain.CommandDelete {
				req.Avoid = append(req.Avoid, c.WorkerID)
			}
		}
		return err
	})
	return req, err
}

func (o *Orchestrator) noWorkers() error {
	return domain.Errorf(domain.Unavailable, domain.CodeNoAvailableWorkers,
		"No worker has room at the moment; try again in a minute")
}

// withdraw ends a connect that no worker would take.
func (o *Orchestrator) withdraw(ctx context.Context, sessionID string, cause error) error {
	_, err := o.change(context.WithoutCancel(ctx), sessionID, func(_ context.Context, _ *ports.Tx, s *domain.Session) ([]domain.Event, error) {
		if s.Intent == domain.Down || s.IsAssigned() {
			return nil, errUnchanged
		}
		s.CancelConnect(o.now())
		return nil, nil
	})
	if err != nil {
		return o.fault(err)
	}
	if cause == nil {
		return o.noWorkers()
	}
	return o.workerFault(cause)
}

// workerFault turns the failure of a call to a worker into an error for users.
func (o *Orchestrator) workerFault(err error) error {
	var w *ports.WorkerError
	if !errors.As(err, &w) {
		return o.fault(err)
	}
	switch w.Failure {
	case ports.WorkerConnectionRefused, ports.WorkerNameUnknown, ports.WorkerUnreachable, ports.WorkerCircuitOpen:
		return domain.Errorf(domain.Unavailable, domain.CodeWorkerUnreachable,
			"The session's worker cannot be reached at the moment; try again in a minute").WithCause(err)
	case ports.WorkerTimedOut, ports.WorkerConnectionLost:
		return domain.Errorf(domain.Timeout, domain.CodeWorkerTimeout,
			"The worker did not answer in time, so the outcome is not known; look at the status before you try again").WithCause(err)
	case ports.WorkerBusy:
		return domain.Errorf(domain.Unavailable, domain.CodeNoAvailableWorkers,
			"The workers are busy at the moment; try again in a minute").WithCause(err)
	}
	return domain.Errorf(domain.BadGateway, domain.CodeWorkerCommunication,
		"The worker could not do it; try again, and report it if it persists").WithCause(err)
}

// await waits for something to scan, something to type, or the connection.
func (o *Orchestrator) await(ctx context.Context, userID, sessionID string, limit time.Duration) (*service.SessionQR, error) {
	wait, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		changed := o.watch.changed(sessionID)
		q, err := o.Sessions.QR(ctx, userID, sessionID)
		if err != nil || !q.QR.IsZero() || q.PairingCode != "" || q.Status != domain.Init {
			return q, err
		}
		var again <-chan time.Time // the hint of another replica may be lost
		if o.shared() {
			again = time.After(awaitGlance)
		}
		select {
		case <-changed:
		case <-again:
		case <-wait.Done():
			return q, nil
		}
	}
}

// QR gives what there is to scan at the moment.
func (o *sessionService) QR(ctx context.Context, userID, sessionID string) (*service.SessionQR, error) {
	s, err := o.readOwned(ctx, userID, sessionID)
	if err != nil {
		return nil, o.fault(err)
	}
	return qrOf(s, o.now()), nil
}

func qrOf(s *domain.Session, now time.Time) *service.SessionQR {
	q := &service.SessionQR{SessionID: s.ID, Status: s.Status, WorkerID: s.WorkerID, PairingCode: s.PairingCode}
	if now.Before(s.QR.ExpiresAt) {
		q.QR = s.QR
	}
	return q
}
