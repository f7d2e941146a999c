package orchestrator

import (
	"context"
	"errors"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// Create makes a session card and its API key. Nothing is started.
func (o *sessionService) Create(ctx context.Context, userID string, n service.CreateSessionParams) (*service.CreatedSession, error) {
	if err := o.ready(ctx); err != nil {
		return nil, err
	}
	id, name, description, err := o.checkNew(n)
	if err != nil {
		return nil, err
	}
	now := o.now()
	s := domain.NewSession(id, userID, name, description, now)
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
		return tx.APIKeys.Put(ctx, key)
	})
	if err != nil {
		return nil, o.fault(err)
	}
	return &service.CreatedSession{Session: s, APIKey: text}, nil
}

func (o *Orchestrator) checkNew(n service.CreateSessionParams) (id, name, description string, err error) {
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
		if c.Command == domain.CommandDelete || c.Command == domain.CommandLogout {
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

// Get gives one session of the user.
func (o *sessionService) Get(ctx context.Context, userID, sessionID string) (*service.SessionView, error) {
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

func (o *Orchestrator) view(s *domain.Session) *service.SessionView {
	v := &service.SessionView{Session: s}
	if s.IsAssigned() {
		v.Worker = o.fleet.worker(s.WorkerID)
		if v.Worker != nil && s.Confirmed && s.Status.IsActive() && v.Worker.LastHeartbeat.After(s.LastSeenAt) {
			s.LastSeenAt = v.Worker.LastHeartbeat // a heartbeat that changed nothing is not stored session by session
		}
	}
	return v
}

// List lists the user's sessions, newest first.
func (o *sessionService) List(ctx context.Context, userID string, f ports.SessionFilter, p ports.Page) ([]*service.SessionView, int, error) {
	f.UserID = userID
	return o.listSessions(ctx, f, p)
}

func (o *Orchestrator) listSessions(ctx context.Context, f ports.SessionFilter, p ports.Page) ([]*service.SessionView, int, error) {
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
	views := make([]*service.SessionView, len(found))
	for i, s := range found {
		views[i] = o.view(s)
	}
	return views, total, nil
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
func (o *sessionService) Disconnect(ctx context.Context, userID, sessionID string) (*service.SessionView, error) {
	return o.down(ctx, userID, sessionID, (*domain.Session).Disconnect)
}

// Logout stops the session and unlinks its phone, wherever its credentials are.
func (o *sessionService) Logout(ctx context.Context, userID, sessionID string) (*service.SessionView, error) {
	return o.down(ctx, userID, sessionID, (*domain.Session).Logout)
}

func (o *Orchestrator) down(ctx context.Context, userID, sessionID string,
	stop func(*domain.Session, time.Time) (bool, []domain.Event),
) (*service.SessionView, error) {
	if err := o.ready(ctx); err != nil {
		return nil, err
	}
	home := ""
	s, err := o.change(ctx, sessionID, func(ctx context.Context, tx *ports.Tx, s *domain.Session) ([]domain.Event, error) {
		if s.UserID != userID {
			return nil, sessionMissing(ports.ErrNotFound)
		}
		home = s.CredentialsWorkerID
		assigned, generation := s.WorkerID, s.Generation
		_, events := stop(s, o.now())
		if s.CredentialsWorkerID != "" || home == "" || home == assigned {
			home = ""
			return events, nil
		}
		return events, o.leave(ctx, tx, home, sessionID, domain.CommandLogout, generation)
	})
	if err != nil {
		return nil, o.fault(err)
	}
	if home != "" {
		o.clean(context.WithoutCancel(ctx), home, sessionID)
	}
	if s.IsAssigned() {
		if now, _ := o.pursue(context.WithoutCancel(ctx), sessionID); now != nil {
			s = now // a worker that cannot be told yet is told by the loop
		}
	}
	return o.view(s), nil
}

// Restart starts the session afresh where it is, or elsewhere if its worker is lost.
func (o *sessionService) Restart(ctx context.Context, userID, sessionID string) (*service.SessionView, error) {
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

// Delete removes the session and everything of it. What is on a worker
// is wiped at once, or when that worker can be reached.
func (o *sessionService) Delete(ctx context.Context, userID, sessionID string) error {
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
	o.hint(ports.Invalidation{Users: []string{userID}})
	return places, nil
}

// remove deletes the session within a transaction and notes on which workers
// there is something left of it.
func (o *Orchestrator) remove(ctx context.Context, tx *ports.Tx, c *changes, s *domain.Session) (places []string, err error) {
	for _, worker := range []string{s.WorkerID, s.CredentialsWorkerID} {
		if worker != "" && (len(places) == 0 || places[0] != worker) {
			places = append(places, worker)
		}
	}
	for _, worker := range places {
		if err := o.leave(ctx, tx, worker, s.ID, domain.CommandDelete, s.Generation); err != nil {
			return nil, err
		}
	}
	if s.IsAssigned() {
		if err := o.release(ctx, tx, c, s.WorkerID); err != nil {
			return nil, err
		}
	}
	if err := o.forget(ctx, tx, c, s); err != nil {
		return nil, err
	}
	back := domain.UserUsage{Sessions: -1}
	if s.Intent == domain.Up {
		back.ActiveSessions = -1
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
