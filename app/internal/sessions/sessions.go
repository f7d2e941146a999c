package sessions

import (
	"context"
	"errors"
	"slices"

	"github.com/switchyard-wa/switchyard/app/internal/apikeys"
	"github.com/switchyard-wa/switchyard/app/internal/apperr"
	"github.com/switchyard-wa/switchyard/app/internal/audit"
	"github.com/switchyard-wa/switchyard/app/internal/fleet"
	"github.com/switchyard-wa/switchyard/app/internal/membership"
	"github.com/switchyard-wa/switchyard/app/internal/reconcile"
	"github.com/switchyard-wa/switchyard/app/internal/txn"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// maxDerivations bounds how many ids are derived from a name until one is free.
const maxDerivations = 5

// Sessions implements [service.Sessions]. It is safe for concurrent use.
type Sessions struct {
	*txn.Writer
	members    *membership.Members
	cache      *fleet.Cache
	sync       *fleet.Sync
	reconciler *reconcile.Reconciler
	keys       *apikeys.Keys
}

var _ service.Sessions = (*Sessions)(nil)

// New returns the service.
func New(w *txn.Writer, m *membership.Members, c *fleet.Cache, s *fleet.Sync, r *reconcile.Reconciler, k *apikeys.Keys) *Sessions {
	return &Sessions{Writer: w, members: m, cache: c, sync: s, reconciler: r, keys: k}
}

// Create stores a session and its API key. It starts nothing.
func (s *Sessions) Create(ctx context.Context, userID string, p service.CreateSessionParams) (*service.CreatedSession, error) {
	if err := s.sync.EnsureLoaded(ctx); err != nil {
		return nil, err
	}
	for attempt := 1; ; attempt++ {
		created, err := s.create(ctx, userID, p)
		if errors.Is(err, errIDTaken) && p.ID == "" && attempt < maxDerivations {
			continue
		}
		return created, apperr.Public(err)
	}
}

// create stores a session under the wanted id or a newly derived one.
func (s *Sessions) create(ctx context.Context, userID string, p service.CreateSessionParams) (*service.CreatedSession, error) {
	session, err := s.newSession(userID, p)
	if err != nil {
		return nil, err
	}
	if s.cache.IsForeign(session.ID) {
		return nil, errIDTaken // a worker runs somebody else's session under this id
	}
	text, key, err := s.keys.NewKey(session, session.CreatedAt)
	if err != nil {
		return nil, err
	}
	err = s.Transact(ctx, func(ctx context.Context, tx *txn.Tx) error {
		session.Rev, key.Rev = 0, 0
		if err := s.reserve(ctx, tx, userID); err != nil {
			return err
		}
		if err := checkIDFree(ctx, tx, session.ID); err != nil {
			return err
		}
		// The generations of an id never begin again: what is left of a former session is stale.
		session.Generation, _, err = tx.Sessions.LastGeneration(ctx, session.ID)
		if err != nil {
			return err
		}
		if err := tx.AddSession(ctx, session); err != nil {
			return idTaken(err)
		}
		if err := tx.APIKeys.Put(ctx, key); err != nil {
			return err
		}
		return s.Trail().Record(ctx, tx.Tx, domain.AuditKeyCreated, audit.Object("api-key", key.ID), "session", session.ID)
	})
	if err != nil {
		return nil, err
	}
	return &service.CreatedSession{Session: session, APIKey: text}, nil
}

// newSession validates the parameters and returns the session to store.
func (s *Sessions) newSession(userID string, params service.CreateSessionParams) (*domain.Session, error) {
	var p domain.Problems
	name, err := domain.CheckSessionName(params.Name)
	p.Check("name", err)
	description, err := domain.CheckDescription(params.Description)
	p.Check("description", err)
	id := ""
	if params.ID != "" {
		id, err = domain.NormalizeSessionID(params.ID)
		p.Check("sessionId", err)
	}
	if err := p.Err(); err != nil {
		return nil, err
	}
	if id == "" {
		random := make([]byte, 16)
		if _, err := s.Random.Read(random); err != nil {
			return nil, apperr.Public(err)
		}
		id = domain.DeriveSessionID(name, random)
	}
	return domain.NewSession(id, userID, name, description, s.Now()), nil
}

// reserve counts one more session of a user, within the limit of the tier.
func (s *Sessions) reserve(ctx context.Context, tx *txn.Tx, userID string) error {
	u, err := tx.Users.Get(ctx, userID)
	if err != nil {
		return apperr.User(err)
	}
	limit := s.Limits(u.Tier).Sessions
	err = tx.Users.Reserve(ctx, userID, domain.UserUsage{Sessions: 1}, domain.UserUsage{Sessions: limit})
	if !errors.Is(err, ports.ErrFull) {
		return err
	}
	usage, err := tx.Users.Usage(ctx, userID)
	if err != nil {
		return err
	}
	return domain.Errorf(domain.Conflict, domain.CodeSessionLimit,
		"Session limit exceeded. %s tier allows %d session(s). Currently: %d", u.Tier, limit, usage.Sessions)
}

// errIDTaken refuses an id. It does not tell whether the id is in use, or was.
var errIDTaken = domain.Errorf(domain.Conflict, domain.CodeSessionExists,
	"This session id is not free; choose another id, or try again later if you have just deleted it")

// checkIDFree refuses an id whose former session has not been wiped from every worker that
// was given it.
func checkIDFree(ctx context.Context, tx *txn.Tx, id string) error {
	cleanups, err := tx.Cleanups.BySession(ctx, id)
	if err == nil && slices.ContainsFunc(cleanups, (*domain.Cleanup).BlocksID) {
		return errIDTaken
	}
	return err
}

func idTaken(err error) error {
	if errors.Is(err, ports.ErrExists) {
		return errIDTaken
	}
	return err
}

// Get returns one session of the user.
func (s *Sessions) Get(ctx context.Context, userID, sessionID string) (*service.SessionView, error) {
	if err := s.sync.EnsureLoaded(ctx); err != nil {
		return nil, err
	}
	session, err := s.readOwned(ctx, userID, sessionID)
	if err != nil {
		return nil, apperr.Public(err)
	}
	return s.view(session), nil
}

func (s *Sessions) readOwned(ctx context.Context, userID, sessionID string) (session *domain.Session, err error) {
	err = s.Store.View(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		session, err = txn.OwnedSession(ctx, tx, userID, sessionID)
		return err
	})
	return session, err
}

// view returns a session with its worker.
func (s *Sessions) view(session *domain.Session) *service.SessionView {
	v := &service.SessionView{Session: session}
	if !session.IsAssigned() {
		return v
	}
	v.Worker = s.cache.Worker(session.WorkerID)
	if v.Worker != nil && session.Confirmed && session.Status.IsActive() && v.Worker.LastHeartbeat.After(session.LastSeenAt) {
		session.LastSeenAt = v.Worker.LastHeartbeat // a heartbeat without news is not stored per session
	}
	return v
}

// List returns the user's sessions, newest first.
func (s *Sessions) List(ctx context.Context, userID string, f ports.SessionFilter, p ports.Page) ([]*service.SessionView, int, error) {
	f.UserID = userID
	return s.ListAll(ctx, f, p)
}

// ListAll returns sessions of all users, newest first.
func (s *Sessions) ListAll(ctx context.Context, f ports.SessionFilter, p ports.Page) ([]*service.SessionView, int, error) {
	if err := s.sync.EnsureLoaded(ctx); err != nil {
		return nil, 0, err
	}
	var found []*domain.Session
	var total int
	err := s.Store.View(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		found, total, err = tx.Sessions.List(ctx, f, p)
		return err
	})
	if err != nil {
		return nil, 0, apperr.Public(err)
	}
	views := make([]*service.SessionView, len(found))
	for i, session := range found {
		views[i] = s.view(session)
	}
	return views, total, nil
}

// Disconnect stops the session and keeps its credentials. A worker that cannot be
// reached now is told later.
func (s *Sessions) Disconnect(ctx context.Context, userID, sessionID string) (*service.SessionView, error) {
	return s.setDesiredDown(ctx, userID, sessionID, func(_ context.Context, _ *txn.Tx, current *domain.Session) ([]domain.Event, []string, error) {
		_, events := current.Disconnect(s.Now())
		return events, nil, nil
	})
}

// Logout stops the session and unlinks its phone. Every worker that was given the session
// is wiped, at once or when it can be reached.
func (s *Sessions) Logout(ctx context.Context, userID, sessionID string) (*service.SessionView, error) {
	return s.setDesiredDown(ctx, userID, sessionID, func(ctx context.Context, tx *txn.Tx, current *domain.Session) ([]domain.Event, []string, error) {
		_, events := current.Logout(s.Now())
		wipeOn, err := tx.ScheduleWipes(ctx, current, domain.CommandLogout)
		return events, wipeOn, err
	})
}

// setDesiredDown records that a session should be down, by stop, and carries it out.
func (s *Sessions) setDesiredDown(ctx context.Context, userID, sessionID string,
	stop func(ctx context.Context, tx *txn.Tx, current *domain.Session) (events []domain.Event, wipeOn []string, err error),
) (*service.SessionView, error) {
	if err := s.sync.EnsureLoaded(ctx); err != nil {
		return nil, err
	}
	var wipeOn []string // other workers that may hold credentials, and can be called
	session, err := s.ChangeSession(ctx, sessionID, func(ctx context.Context, tx *txn.Tx, current *domain.Session) ([]domain.Event, error) {
		if current.UserID != userID {
			return nil, apperr.Session(ports.ErrNotFound)
		}
		events, reachable, err := stop(ctx, tx, current)
		wipeOn = reachable
		return events, err
	})
	if err != nil {
		return nil, apperr.Public(err)
	}
	ctx = context.WithoutCancel(ctx)
	s.reconciler.Cleanups(ctx, wipeOn, sessionID)
	if session.IsAssigned() {
		current, _ := s.reconciler.Session(ctx, sessionID) // on failure the loop tells the worker
		if current != nil {
			session = current
		}
	}
	return s.view(session), nil
}

// Restart starts the session again where it is, or elsewhere if its worker is down.
func (s *Sessions) Restart(ctx context.Context, userID, sessionID string) (*service.SessionView, error) {
	if err := s.sync.EnsureLoaded(ctx); err != nil {
		return nil, err
	}
	_, err := s.ChangeSession(ctx, sessionID, func(_ context.Context, _ *txn.Tx, current *domain.Session) ([]domain.Event, error) {
		if current.UserID != userID {
			return nil, apperr.Session(ports.ErrNotFound)
		}
		return nil, current.Restart(s.Now())
	})
	if err != nil {
		return nil, apperr.Public(err)
	}
	session, err := s.reconciler.Session(context.WithoutCancel(ctx), sessionID)
	if session == nil {
		return nil, apperr.Public(err)
	}
	return s.view(session), nil
}

// Delete deletes the session with its history and keys. Its workers are wiped at once,
// or when they can be reached.
func (s *Sessions) Delete(ctx context.Context, userID, sessionID string) error {
	workers, err := s.DeleteInStore(ctx, userID, sessionID)
	s.reconciler.Cleanups(context.WithoutCancel(ctx), workers, sessionID)
	return err
}

// DeleteInStore deletes a session of the user, and schedules the wipe. It returns the
// workers that can be wiped now.
func (s *Sessions) DeleteInStore(ctx context.Context, userID, sessionID string) (workers []string, err error) {
	if err := s.sync.EnsureLoaded(ctx); err != nil {
		return nil, err
	}
	unlock, err := s.reconciler.Lock(ctx, sessionID) // a call under way must not start it again
	if err != nil {
		return nil, apperr.Public(err)
	}
	err = s.members.RetryWhileClaimed(ctx, func() error {
		return s.Transact(ctx, func(ctx context.Context, tx *txn.Tx) error {
			session, err := txn.OwnedSession(ctx, tx.Tx, userID, sessionID)
			if err != nil {
				return err
			}
			if s.members.IsClaimedByOther(session, s.Now()) {
				return membership.ErrClaimed
			}
			workers, err = tx.DeleteSession(ctx, session)
			if err != nil {
				return err
			}
			return s.Trail().Record(ctx, tx.Tx, domain.AuditSessionDeleted, audit.Object("session", sessionID), "user", userID)
		})
	})
	unlock()
	if err != nil {
		return nil, apperr.Public(err)
	}
	s.keys.UserChanged(userID)
	return workers, nil
}
