package sessions

import (
	"context"
	"errors"
	"time"

	"github.com/switchyard-wa/switchyard/app/internal/apperr"
	"github.com/switchyard-wa/switchyard/app/internal/txn"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// awaitPollEvery is the time between two looks at a session that somebody waits for.
// The invalidation of another replica may be lost.
const awaitPollEvery = time.Second

// Connect records that the user wants the session up, places it and starts it. If no
// worker can take it, the session stays down and the error says why.
func (s *Sessions) Connect(ctx context.Context, userID, sessionID string, opt service.ConnectOptions) (*service.SessionQR, error) {
	if err := s.sync.EnsureLoaded(ctx); err != nil {
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
	if err := s.recordConnect(ctx, userID, sessionID, opt.PairingPhone); err != nil {
		return nil, apperr.Public(err)
	}
	// The intent is recorded: the caller's cancellation does not stop it.
	session, err := s.reconciler.Session(context.WithoutCancel(ctx), sessionID)
	if session == nil {
		return nil, apperr.Public(err)
	}
	if session.Intent == domain.Up && !session.IsAssigned() && session.FailedStarts > 0 {
		return nil, s.cancelConnect(ctx, sessionID, err)
	}
	isReported := err == nil // the start was answered; the worker reported the error
	if session.Status == domain.Errored && !(isReported && opt.Wait > 0) {
		return nil, domain.Errorf(domain.BadGateway, domain.CodeWorkerCommunication,
			"The worker could not start the session; connect again, and report it if it persists").WithCause(errors.New(session.LastError))
	}
	if opt.Wait > 0 {
		return s.await(ctx, userID, sessionID, opt.Wait)
	}
	return qrOf(session, s.Now()), nil
}

// A connectPlan is a connect that is about to be recorded.
type connectPlan struct {
	userID, sessionID, pairingPhone string

	now    time.Time
	worker string   // whose slot is held; empty: the session is assigned already
	avoid  []string // workers that placement does not choose
}

// recordConnect records the intent and the placement in one transaction. It tries
// further workers if a slot is lost to a race.
func (s *Sessions) recordConnect(ctx context.Context, userID, sessionID, pairingPhone string) error {
	p := connectPlan{userID: userID, sessionID: sessionID, pairingPhone: pairingPhone}
	for {
		if err := s.planConnect(ctx, &p); err != nil {
			return err
		}
		err := s.commitConnect(ctx, &p)
		if !errors.Is(err, ports.ErrFull) {
			return err
		}
		if err := s.sync.RefreshWorker(ctx, p.worker); err != nil {
			return err
		}
		p.avoid = append(p.avoid, p.worker)
	}
}

// planConnect refuses a connect that the transaction would refuse. Otherwise it chooses a
// worker, if the session needs one, and holds a slot of it.
func (s *Sessions) planConnect(ctx context.Context, p *connectPlan) error {
	session, err := s.readOwned(ctx, p.userID, p.sessionID)
	if err != nil {
		return err
	}
	p.now, p.worker = s.Now(), ""
	wait, wasWaiting := session.ScanCooldown(s.Unscanned, p.now), session.AwaitsScan()
	if err := session.Connect(p.pairingPhone, p.now); err != nil {
		return err // it would fail in the transaction too
	}
	if wait > 0 {
		return errScanCooldown(wait)
	}
	if !wasWaiting {
		if err := s.checkUnscanned(ctx, session); err != nil {
			return err
		}
	}

	if session.IsAssigned() {
		return nil
	}
	worker, req, err := s.choose(ctx, session, p.avoid, p.now)
	if errors.Is(err, errNoWorkers) && req.Home.Only {
		return errors.Join(s.noteHomeRefused(ctx, p.sessionID, req.Home), errHomeAway)
	}
	if err != nil {
		return err
	}
	p.worker, p.avoid = worker, req.Avoid
	return nil
}

// commitConnect records the connect, and releases the hold of the slot.
func (s *Sessions) commitConnect(ctx context.Context, p *connectPlan) error {
	placed, err := s.ChangeSession(ctx, p.sessionID, func(ctx context.Context, tx *txn.Tx, current *domain.Session) ([]domain.Event, error) {
		if current.UserID != p.userID {
			return nil, apperr.Session(ports.ErrNotFound)
		}
		wasWaiting := current.AwaitsScan()
		if err := current.Connect(p.pairingPhone, p.now); err != nil {
			return nil, err
		}
		current.ConnectedFrom = clientNetwork(ctx)
		if !wasWaiting {
			if err := admitUnscanned(ctx, tx.Tx, current, s.Unscanned, p.now); err != nil {
				return nil, err
			}
		}

		if current.IsAssigned() || p.worker == "" {
			return nil, nil
		}
		return s.reconciler.Assign(ctx, tx, current, p.worker, p.now)
	})
	if p.worker != "" {
		s.cache.ReleaseHold(p.worker)
		if err == nil {
			s.reconciler.NoteAssigned(placed)
		}
	}
	if domain.CodeOf(err) == domain.CodeSessionLimit {
		err = s.explainLimit(ctx, p, err)
	}
	return err
}

// choose chooses a worker for a connect and holds a slot of it. If the cache has none,
// it reads all workers: another replica may know of one.
func (s *Sessions) choose(ctx context.Context, session *domain.Session, avoid []string, now time.Time) (worker string, req domain.Request, err error) {
	req, err = s.sync.PlacementRequest(ctx, session, avoid)
	if err != nil {
		return "", req, err
	}
	worker, ok := s.cache.Choose(req, now)
	if !ok && s.IsShared() {
		if err := s.sync.RefreshShared(ctx); err != nil {
			return "", req, err
		}
		worker, ok = s.cache.Choose(req, now)
	}
	if !ok {
		ok, err = s.reconciler.ReclaimSlot(ctx, session, req)
		if err != nil {
			return "", req, err
		}
		if ok {
			worker, ok = s.cache.Choose(req, s.Now())
		}
	}
	if !ok {
		return "", req, errNoWorkers
	}
	return worker, req, nil
}

// explainLimit returns the error of a connect that exceeds the limit. The limit may count the session
// of the plan: an isolation level may have shown its earlier row. Its state is the error then.
func (s *Sessions) explainLimit(ctx context.Context, p *connectPlan, limit error) error {
	session, err := s.readOwned(ctx, p.userID, p.sessionID)
	if err != nil {
		return limit
	}
	if err := session.Connect(p.pairingPhone, p.now); err != nil {
		return err
	}
	return limit
}

// noteHomeRefused records that the home of a session did not take it.
func (s *Sessions) noteHomeRefused(ctx context.Context, sessionID string, home domain.Home) error {
	_, err := s.ChangeSession(ctx, sessionID, func(_ context.Context, _ *txn.Tx, current *domain.Session) ([]domain.Event, error) {
		before := current.HomeWaitUntil
		s.reconciler.NoteHomeRefused(current, home)
		if current.HomeWaitUntil.Equal(before) {
			return nil, txn.ErrUnchanged
		}
		return nil, nil
	})
	return err
}

var errHomeAway = domain.Errorf(domain.Unavailable, domain.CodeNoAvailableWorkers,
	"The worker that has this session's credentials cannot take it at the moment; try again in a few minutes, or log the session out and connect it to link the account anew")

var errNoWorkers = domain.Errorf(domain.Unavailable, domain.CodeNoAvailableWorkers,
	"No worker has room at the moment; try again in a minute")

// cancelConnect takes back a connect that no worker would take, and returns why.
func (s *Sessions) cancelConnect(ctx context.Context, sessionID string, cause error) error {
	_, err := s.ChangeSession(context.WithoutCancel(ctx), sessionID, func(_ context.Context, _ *txn.Tx, current *domain.Session) ([]domain.Event, error) {
		if current.Intent == domain.Down || current.IsAssigned() {
			return nil, txn.ErrUnchanged
		}
		current.CancelConnect(s.Now())
		return nil, nil
	})
	if err != nil {
		return apperr.Public(err)
	}
	if cause == nil {
		return errNoWorkers
	}
	return apperr.WorkerCall(cause)
}

// await waits for a QR code, a pairing code, or the connection.
func (s *Sessions) await(ctx context.Context, userID, sessionID string, limit time.Duration) (*service.SessionQR, error) {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		changed := s.sync.Changes.Changed(sessionID)
		session, err := s.readOwned(ctx, userID, sessionID)
		if err != nil {
			return nil, apperr.Public(err)
		}
		q := qrOf(session, s.Now())
		mayStillStart := q.Status == domain.Init || q.Status == domain.Disconnected && session.Intent == domain.Up
		if !q.QR.IsZero() || q.PairingCode != "" || !mayStillStart {
			return q, nil
		}
		var poll <-chan time.Time
		if s.IsShared() {
			poll = time.After(awaitPollEvery)
		}
		select {
		case <-changed:
		case <-poll:
		case <-limited.Done():
			return q, nil
		}
	}
}

// QR returns the QR code or the pairing code of the moment.
func (s *Sessions) QR(ctx context.Context, userID, sessionID string) (*service.SessionQR, error) {
	session, err := s.readOwned(ctx, userID, sessionID)
	if err != nil {
		return nil, apperr.Public(err)
	}
	return qrOf(session, s.Now()), nil
}

func qrOf(s *domain.Session, now time.Time) *service.SessionQR {
	q := &service.SessionQR{SessionID: s.ID, Status: s.Status, WorkerID: s.WorkerID, PairingCode: s.PairingCode, IsExpired: s.IsCodeExpired(now)}
	if now.Before(s.QR.ExpiresAt) {
		q.QR = s.QR
	}
	if !s.Status.IsActive() {
		q.Reason = domain.PublicText(s.LastError)
	}
	return q
}
