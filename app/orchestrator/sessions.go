package orchestrator

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// CreateSession makes a session card and its API key. Nothing is started.
func (o *Orchestrator) CreateSession(ctx context.Context, userID string, n ports.NewSession) (*ports.CreatedSession, error) {
	if err := o.ready(ctx); err != nil {
		return nil, err
	}
	id, name, description, err := o.checkNew(n)
	if err != nil {
		return nil, err
	}
	now := o.now()
	s := domain.Card(id, userID, name, description, now)
	text, key, err := o.newKey(s, now)
	if err != nil {
		return nil, o.fault(err)
	}
	err = o.transact(ctx, func(ctx context.Context, tx *ports.Tx, c *changes) error {
		s.Rev, key.Rev = 0, 0
		u, err := tx.Users.Get(ctx, userID)
		if err != nil {
			return userMissing(err)
		}
		limit := o.limits(u.Tier).Sessions
		err = tx.Users.Reserve(ctx, userID, domain.UserUsage{Sessions: 1}, domain.UserUsage{Sessions: limit})
		if errors.Is(err, ports.ErrFull) {
			usage, err := tx.Users.Usage(ctx, userID)
			if err != nil {
				return err
			}
			return domain.Errorf(domain.Conflict, domain.CodeSessionLimit,
				"Session limit exceeded. %s tier allows %d session(s). Currently: %d", u.Tier, limit, usage.Sessions)
		}
		if err != nil {
			return err
		}
		if err := idFree(ctx, tx, s.ID); err != nil {
			return err
		}
		if err := tx.Sessions.Put(ctx, s); err != nil {
			return idTaken(err)
		}
		c.sessions = append(c.sessions, s)
		return tx.Keys.Put(ctx, key)
	})
	if err != nil {
		return nil, o.fault(err)
	}
	return &ports.CreatedSession{Session: s, APIKey: text}, nil
}

func (o *Orchestrator) checkNew(n ports.NewSession) (id, name, description string, err error) {
	var p domain.Problems
	name, err = domain.CheckSessionName(n.Name)
	p.Check("name", err)
	description, err = domain.CheckDescription(n.Description)
	p.Check("description", err)
	if n.ID != "" {
		id, err = domain.NormalizeSessionID(n.ID)
		p.Check("sessionId", err)
	}
	if err := p.Err(); err != nil {
		return "", "", "", err
	}
	if id == "" {
		random := make([]byte, 16)
		if _, err := o.random.Read(random); err != nil {
			return "", "", "", o.fault(err)
		}
		id = domain.DeriveSessionID(name, random)
	}
	return id, name, description, nil
}

// idFree refuses an id whose former session has not been wiped from its worker
// yet: a new session of that id could find the old one's credentials there.
func idFree(ctx context.Context, tx *ports.Tx, id string) error {
	left, err := tx.Cleanups.BySession(ctx, id)
	if err != nil {
		return err
	}
	for _, c := range left {
		if c.Order == domain.OrderDelete || c.Order == domain.OrderLogout {
			return domain.Errorf(domain.Conflict, domain.CodeSessionExists,
				"A session with this id was deleted and is still being wiped from its worker; choose another id or try again later")
		}
	}
	return nil
}

func idTaken(err error) error {
	if errors.Is(err, ports.ErrExists) {
		return domain.Errorf(domain.Conflict, domain.CodeSessionExists, "A session with this id exists already; choose another id")
	}
	return err
}

// Session gives one session of the user.
func (o *Orchestrator) Session(ctx context.Context, userID, sessionID string) (*ports.SessionView, error) {
	if err := o.ready(ctx); err != nil {
		return nil, err
	}
	var s *domain.Session
	err := o.store.View(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		s, err = owned(ctx, tx, userID, sessionID)
		return err
	})
	if err != nil {
		return nil, o.fault(err)
	}
	return o.view(s), nil
}

func (o *Orchestrator) view(s *domain.Session) *ports.SessionView {
	v := &ports.SessionView{Session: s}
	if s.Assigned() {
		v.Worker = o.fleet.worker(s.WorkerID)
		if v.Worker != nil && s.Confirms && s.Status.Live() && v.Worker.LastHeartbeat.After(s.LastSeenAt) {
			s.LastSeenAt = v.Worker.LastHeartbeat // a heartbeat that changed nothing is not stored session by session
		}
	}
	return v
}

// Sessions lists the user's sessions, newest first.
func (o *Orchestrator) Sessions(ctx context.Context, userID string, f ports.SessionFilter, p ports.Page) ([]*ports.SessionView, int, error) {
	f.UserID = userID
	return o.listSessions(ctx, f, p)
}

func (o *Orchestrator) listSessions(ctx context.Context, f ports.SessionFilter, p ports.Page) ([]*ports.SessionView, int, error) {
	if err := o.ready(ctx); err != nil {
		return nil, 0, err
	}
	var found []*domain.Session
	var total int
	err := o.store.View(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		found, total, err = tx.Sessions.List(ctx, f, p)
		return err
	})
	if err != nil {
		return nil, 0, o.fault(err)
	}
	views := make([]*ports.SessionView, len(found))
	for i, s := range found {
		views[i] = o.view(s)
	}
	return views, total, nil
}

// Connect records that the user wants the session up and makes the first pass
// at once: it places the session and starts it. If no worker can take it, the
// session stays down and the error says why.
func (o *Orchestrator) Connect(ctx context.Context, userID, sessionID string, opt ports.ConnectOptions) (*ports.SessionQR, error) {
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
	if s.Intent == domain.Up && !s.Assigned() && s.Misses > 0 {
		return nil, o.withdraw(ctx, sessionID, err)
	}
	if s.Status == domain.Errored {
		return nil, domain.Errorf(domain.BadGateway, domain.CodeWorkerCommunication,
			"The worker could not start the session; connect again, and report it if it persists").Because(errors.New(s.LastError))
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
		if !s.Assigned() {
			if request, err = o.request(ctx, s, request.Avoid); err != nil {
				return err
			}
			var ok bool
			if worker, ok = o.fleet.choose(request, now); !ok && o.workersAreOld() {
				if err := o.rereadWorkers(ctx); err != nil {
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
			if s.Assigned() || worker == "" {
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
		if c.Order != domain.OrderDisconnect || o.othersClaim(c.ClaimedBy, c.DueAt, now) {
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
	req := domain.Request{Avoid: avoid, Moved: s.MoveID != "" || s.MovedFrom != ""}
	switch {
	case s.MoveTo != "":
		req.Prefer = s.MoveTo
	case s.PhoneNumber != "":
		req.Prefer = s.HomeID
	}
	if s.MoveEvent == domain.EventSessionMigrated {
		req.Avoid = append(req.Avoid, s.MovedFrom)
	}
	if s.AvoidID != "" && o.now().Before(s.AvoidUntil) {
		req.Avoid = append(req.Avoid, s.AvoidID)
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
			if c.Order == domain.OrderLogout || c.Order == domain.OrderDelete {
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
		if s.Intent == domain.Down || s.Assigned() {
			return nil, errUnchanged
		}
		s.Withdraw(o.now())
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
	case ports.WorkerRefused, ports.WorkerNameUnknown, ports.WorkerUnreachable, ports.WorkerSuspended:
		return domain.Errorf(domain.Unavailable, domain.CodeWorkerUnreachable,
			"The session's worker cannot be reached at the moment; try again in a minute").Because(err)
	case ports.WorkerTimedOut, ports.WorkerBroken:
		return domain.Errorf(domain.Timeout, domain.CodeWorkerTimeout,
			"The worker did not answer in time, so the outcome is not known; look at the status before you try again").Because(err)
	case ports.WorkerBusy:
		return domain.Errorf(domain.Unavailable, domain.CodeNoAvailableWorkers,
			"The workers are busy at the moment; try again in a minute").Because(err)
	}
	return domain.Errorf(domain.BadGateway, domain.CodeWorkerCommunication,
		"The worker could not do it; try again, and report it if it persists").Because(err)
}

// await waits for something to scan, something to type, or the connection.
func (o *Orchestrator) await(ctx context.Context, userID, sessionID string, limit time.Duration) (*ports.SessionQR, error) {
	wait, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		changed := o.watch.changed(sessionID)
		q, err := o.QR(ctx, userID, sessionID)
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
func (o *Orchestrator) QR(ctx context.Context, userID, sessionID string) (*ports.SessionQR, error) {
	s, err := o.readOwned(ctx, userID, sessionID)
	if err != nil {
		return nil, o.fault(err)
	}
	return qrOf(s, o.now()), nil
}

func qrOf(s *domain.Session, now time.Time) *ports.SessionQR {
	q := &ports.SessionQR{SessionID: s.ID, Status: s.Status, WorkerID: s.WorkerID, PairingCode: s.PairingCode}
	if now.Before(s.QR.ExpiresAt) {
		q.QR = s.QR
	}
	return q
}

func (o *Orchestrator) readOwned(ctx context.Context, userID, sessionID string) (s *domain.Session, err error) {
	err = o.store.View(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		s, err = owned(ctx, tx, userID, sessionID)
		return err
	})
	return s, err
}

// Disconnect stops the session and keeps its credentials. If the worker cannot
// be reached now it is told later.
func (o *Orchestrator) Disconnect(ctx context.Context, userID, sessionID string) (*ports.SessionView, error) {
	return o.down(ctx, userID, sessionID, (*domain.Session).Disconnect)
}

// Logout stops the session and unlinks its phone, wherever its credentials are.
func (o *Orchestrator) Logout(ctx context.Context, userID, sessionID string) (*ports.SessionView, error) {
	return o.down(ctx, userID, sessionID, (*domain.Session).Logout)
}

func (o *Orchestrator) down(ctx context.Context, userID, sessionID string,
	stop func(*domain.Session, time.Time) (bool, []domain.Event),
) (*ports.SessionView, error) {
	if err := o.ready(ctx); err != nil {
		return nil, err
	}
	home := ""
	s, err := o.change(ctx, sessionID, func(ctx context.Context, tx *ports.Tx, s *domain.Session) ([]domain.Event, error) {
		if s.UserID != userID {
			return nil, sessionMissing(ports.ErrNotFound)
		}
		home = s.HomeID
		assigned, generation := s.WorkerID, s.Generation
		_, events := stop(s, o.now())
		if s.HomeID != "" || home == "" || home == assigned {
			home = ""
			return events, nil
		}
		return events, o.leave(ctx, tx, home, sessionID, domain.OrderLogout, generation)
	})
	if err != nil {
		return nil, o.fault(err)
	}
	if home != "" {
		o.clean(context.WithoutCancel(ctx), home, sessionID)
	}
	if s.Assigned() {
		if now, _ := o.pursue(context.WithoutCancel(ctx), sessionID); now != nil {
			s = now // a worker that cannot be told yet is told by the loop
		}
	}
	return o.view(s), nil
}

// Restart starts the session afresh where it is, or elsewhere if its worker is lost.
func (o *Orchestrator) Restart(ctx context.Context, userID, sessionID string) (*ports.SessionView, error) {
	if err := o.ready(ctx); err != nil {
		return nil, err
	}
	_, err := o.change(ctx, sessionID, func(_ context.Context, _ *ports.Tx, s *domain.Session) ([]domain.Event, error) {
		if s.UserID != userID {
			return nil, sessionMissing(ports.ErrNotFound)
		}
		return nil, s.Restart(o.now())
	})
	if err != nil {
		return nil, o.fault(err)
	}
	s, err := o.pursue(context.WithoutCancel(ctx), sessionID)
	if s == nil {
		return nil, o.fault(err)
	}
	return o.view(s), nil
}

// DeleteSession removes the session and everything of it. What is on a worker
// is wiped at once, or when that worker can be reached.
func (o *Orchestrator) DeleteSession(ctx context.Context, userID, sessionID string) error {
	places, err := o.takeOut(ctx, userID, sessionID)
	for _, worker := range places {
		o.clean(context.WithoutCancel(ctx), worker, sessionID)
	}
	return err
}

// takeOut deletes a session of the user, and gives the workers on which there is
// something left of it.
func (o *Orchestrator) takeOut(ctx context.Context, userID, sessionID string) (places []string, err error) {
	if err := o.ready(ctx); err != nil {
		return nil, err
	}
	// A call that is under way must not start it again behind our back.
	end, err := o.calls.begin(ctx, sessionID)
	if err != nil {
		return nil, o.fault(err)
	}
	err = o.unclaimed(ctx, func() error {
		return o.transact(ctx, func(ctx context.Context, tx *ports.Tx, c *changes) error {
			s, err := owned(ctx, tx, userID, sessionID)
			if err == nil && o.taken(s, o.now()) {
				err = errTaken
			}
			if err != nil {
				return err
			}
			places, err = o.remove(ctx, tx, c, s)
			return err
		})
	})
	end()
	if err != nil {
		return nil, o.fault(err)
	}
	o.keys.forget()
	o.hint(ports.Hint{Users: []string{userID}})
	return places, nil
}

// remove deletes the session within a transaction and notes on which workers
// there is something left of it.
func (o *Orchestrator) remove(ctx context.Context, tx *ports.Tx, c *changes, s *domain.Session) (places []string, err error) {
	for _, worker := range []string{s.WorkerID, s.HomeID} {
		if worker != "" && (len(places) == 0 || places[0] != worker) {
			places = append(places, worker)
		}
	}
	for _, worker := range places {
		if err := o.leave(ctx, tx, worker, s.ID, domain.OrderDelete, s.Generation); err != nil {
			return nil, err
		}
	}
	if s.Assigned() {
		if err := o.release(ctx, tx, c, s.WorkerID); err != nil {
			return nil, err
		}
	}
	if err := o.forget(ctx, tx, c, s); err != nil {
		return nil, err
	}
	back := domain.UserUsage{Sessions: -1}
	if s.Intent == domain.Up {
		back.Live = -1
	}
	if err := tx.Users.Reserve(ctx, s.UserID, back, domain.UserUsage{}); err != nil {
		return nil, err
	}
	if err := tx.Sessions.Delete(ctx, s.ID, s.Rev); err != nil {
		return nil, err
	}
	c.deleted = append(c.deleted, s)
	return places, o.record(ctx, tx, c, []domain.Event{{
		Type: domain.EventSessionDeleted, At: o.now(), UserID: s.UserID, SessionID: s.ID,
		WorkerID: s.WorkerID, Generation: s.Generation, Status: s.Status,
	}})
}

// AddUser makes a user known whose account the embedding program manages
// itself. ID, Email and Tier are needed; the rest is filled in. A user that is
// known already takes over the tier.
func (o *Orchestrator) AddUser(ctx context.Context, u domain.User) error {
	now := o.now()
	err := o.update(ctx, func(ctx context.Context, tx *ports.Tx) error {
		known, err := tx.Users.Get(ctx, u.ID)
		if err == nil {
			known.Tier, known.UpdatedAt = u.Tier, now
			return tx.Users.Put(ctx, known)
		}
		if !errors.Is(err, ports.ErrNotFound) {
			return err
		}
		fresh := u
		fresh.Rev, fresh.Active, fresh.CreatedAt, fresh.UpdatedAt, fresh.CredentialsAt = 0, true, now, now, now
		if fresh.Role == "" {
			fresh.Role = domain.RoleUser
		}
		return tx.Users.Put(ctx, &fresh)
	})
	if err != nil {
		return o.fault(err)
	}
	return o.UserChanged(ctx, u.ID)
}

// UserChanged takes over a change of the user's tier or activity: it holds at
// once, and if more sessions are up than the tier allows, the youngest go down.
func (o *Orchestrator) UserChanged(ctx context.Context, userID string) error {
	if err := o.ready(ctx); err != nil {
		return err
	}
	o.keys.forget()
	o.hint(ports.Hint{Users: []string{userID}})
	err := o.transact(ctx, func(ctx context.Context, tx *ports.Tx, c *changes) error {
		u, err := tx.Users.Get(ctx, userID)
		if err != nil {
			return userMissing(err)
		}
		left := o.limits(u.Tier).Sessions
		if !u.Active {
			left = 0
		}
		newestFirst, _, err := tx.Sessions.List(ctx, ports.SessionFilter{UserID: userID}, ports.Page{})
		if err != nil {
			return err
		}
		for _, s := range slices.Backward(newestFirst) {
			if s.Intent == domain.Down {
				continue
			}
			if left--; left >= 0 {
				continue
			}
			before := s.Clone()
			_, events := s.Disconnect(o.now())
			if err := o.save(ctx, tx, c, before, s, events); err != nil {
				return err
			}
		}
		return nil
	})
	return o.fault(err)
}
