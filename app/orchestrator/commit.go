package orchestrator

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// retries bounds how often an Update that lost a race is tried.
const retries = 8

// update runs fn in an Update, again if it lost a race for a row, and with pauses
// that grow if it did more than once: then many write what it reads.
func (o *Orchestrator) update(ctx context.Context, fn func(ctx context.Context, tx *ports.Tx) error) error {
	var err error
	for try := range retries {
		if try > 1 {
			time.Sleep(rand.N(time.Millisecond << try))
		}
		if err = o.store.Update(ctx, fn); !errors.Is(err, ports.ErrConflict) {
			return err
		}
	}
	return err
}

// changes collects what one Update did, to be noted after it committed.
type changes struct {
	sessions []*domain.Session
	deleted  []*domain.Session
	workers  []*domain.Worker
	read     []*domain.Session // not changed, but perhaps newer than the view
	events   bool
	moved    bool // a migration is over, so another may begin
}

// transact runs fn in an Update and, once it has committed, takes its changes
// over into the view, the routes, and to whoever waits for them.
func (o *Orchestrator) transact(ctx context.Context, fn func(ctx context.Context, tx *ports.Tx, c *changes) error) error {
	var c changes
	err := o.update(ctx, func(ctx context.Context, tx *ports.Tx) error {
		c = changes{}
		return fn(ctx, tx, &c)
	})
	if err != nil {
		return err
	}
	o.note(ctx, &c)
	return nil
}

// note makes committed changes known in this process and to other replicas.
func (o *Orchestrator) note(ctx context.Context, c *changes) {
	ctx = context.WithoutCancel(ctx)
	var hint ports.Invalidation
	for _, w := range c.workers {
		o.sawWorker(w)
		hint.Workers = append(hint.Workers, w.ID)
	}
	for _, s := range c.read {
		o.fleet.putSession(s)
	}
	for _, s := range c.sessions {
		o.fleet.putSession(s)
		hint.Sessions = append(hint.Sessions, s.ID)
		if err := o.routes.Put(ctx, route(s)); err != nil {
			o.log.WarnContext(ctx, "route not kept", "session", s.ID, "error", err)
		}
		o.watch.notify(s.ID)
	}
	for _, s := range c.deleted {
		o.fleet.removeSession(s.ID, s.Rev)
		hint.Sessions = append(hint.Sessions, s.ID)
		if err := o.routes.Delete(ctx, s.ID); err != nil {
			o.log.WarnContext(ctx, "route not removed", "session", s.ID, "error", err)
		}
		o.watch.notify(s.ID)
	}
	if c.events {
		o.loop.relay.Store(true)
	}
	if c.moved {
		o.fleet.moved.Store(true)
	}
	if len(hint.Sessions)+len(hint.Workers) > 0 {
		o.hint(hint)
	}
	o.loop.wake()
}

func route(s *domain.Session) ports.Route {
	return ports.Route{
		SessionID: s.ID, UserID: s.UserID, WorkerID: s.WorkerID, Generation: s.Generation,
		Status: s.Status, Phone: s.PhoneNumber, Rev: s.Rev,
	}
}

// save stores what has become of a session, and keeps the books that hang on
// it: the slot of its worker, the live sessions of its user, its migration, and
// the outbox.
// before is the session as it was read. It returns ports.ErrFull if the worker
// has no slot.
func (o *Orchestrator) save(ctx context.Context, tx *ports.Tx, c *changes, before, after *domain.Session, events []domain.Event) error {
	if before.WorkerID != after.WorkerID {
		if before.IsAssigned() {
			if err := o.release(ctx, tx, c, before.WorkerID); err != nil {
				return err
			}
			if err := o.fence(ctx, tx, before); err != nil {
				return err
			}
		}
		if after.IsAssigned() {
			if err := tx.Workers.Reserve(ctx, after.WorkerID); err != nil {
				return err
			}
		}
	}
	if before.Intent != after.Intent {
		if err := o.count(ctx, tx, after); err != nil {
			return err
		}
	}
	if err := o.follow(ctx, tx, c, after); err != nil {
		return err
	}
	if err := tx.Sessions.Put(ctx, after); err != nil {
		return err
	}
	if err := o.record(ctx, tx, c, events); err != nil {
		return err
	}
	c.sessions = append(c.sessions, after)
	return nil
}

// fence has a worker told that it is over with a session that left it without
// being stopped there by us: another replica may have a start on its way still.
func (o *Orchestrator) fence(ctx context.Context, tx *ports.Tx, s *domain.Session) error {
	if !o.shared() || s.Command.Stops() {
		return nil
	}
	w, err := tx.Workers.Get(ctx, s.WorkerID)
	if errors.Is(err, ports.ErrNotFound) || err == nil && !w.Supports(domain.CapGeneration) {
		return nil
	}
	if err != nil {
		return err
	}
	return o.leave(ctx, tx, s.WorkerID, s.ID, domain.CommandDisconnect, s.Generation)
}

// count keeps the number of the user's sessions that are wanted up, within the
// limit of the tier.
func (o *Orchestrator) count(ctx context.Context, tx *ports.Tx, s *domain.Session) error {
	if s.Intent == domain.Down {
		return tx.Users.Reserve(ctx, s.UserID, domain.UserUsage{ActiveSessions: -1}, domain.UserUsage{})
	}
	u, err := tx.Users.Get(ctx, s.UserID)
	if err != nil {
		return err
	}
	limit := o.limits(u.Tier).Sessions
	err = tx.Users.Reserve(ctx, s.UserID, domain.UserUsage{ActiveSessions: 1}, domain.UserUsage{ActiveSessions: limit})
	if errors.Is(err, ports.ErrFull) {
		return domain.Errorf(domain.Conflict, domain.CodeSessionLimit,
			"%s tier allows %d live session(s) at a time; disconnect another one first or upgrade", u.Tier, limit)
	}
	if err != nil {
		return err
	}
	// The reservation holds the row: what it says of the user now is true when we commit.
	if u, err = tx.Users.Get(ctx, s.UserID); err != nil {
		return err
	}
	if !u.Active {
		return domain.Errorf(domain.Forbidden, domain.CodeAccountDeactivated,
			"This account is deactivated; ask an administrator to activate it")
	}
	return nil
}

func (o *Orchestrator) record(ctx context.Context, tx *ports.Tx, c *changes, events []domain.Event) error {
	if len(events) == 0 {
		return nil
	}
	c.events = true
	return tx.Outbox.Append(ctx, events...)
}

// saveWorker stores what has become of a worker.
func (o *Orchestrator) saveWorker(ctx context.Context, tx *ports.Tx, c *changes, w *domain.Worker, events []domain.Event) error {
	if err := tx.Workers.Put(ctx, w); err != nil {
		return err
	}
	c.workers = append(c.workers, w)
	return o.record(ctx, tx, c, events)
}

// errUnchanged is returned by the function given to change to say that there
// is nothing to store; change then returns the session as it is.
var errUnchanged = errors.New("unchanged")

// change lets fn alter one session and stores the result.
func (o *Orchestrator) change(ctx context.Context, sessionID string,
	fn func(ctx context.Context, tx *ports.Tx, s *domain.Session) ([]domain.Event, error),
) (*domain.Session, error) {
	var result *domain.Session
	err := o.transact(ctx, func(ctx context.Context, tx *ports.Tx, c *changes) error {
		s, err := tx.Sessions.Get(ctx, sessionID)
		if err != nil {
			return sessionMissing(err)
		}
		before := s.Clone()
		result = s
		events, err := fn(ctx, tx, s)
		switch {
		case errors.Is(err, errUnchanged):
			return nil
		case err != nil:
			return err
		}
		return o.save(ctx, tx, c, before, s, events)
	})
	return result, err
}

// sessionMissing gives not found its public form, for users, administrators and workers.
func sessionMissing(err error) error {
	if errors.Is(err, ports.ErrNotFound) {
		return domain.Errorf(domain.NotFound, domain.CodeSessionNotFound, "Session not found; check its id, or whether it was deleted")
	}
	return err
}

func workerMissing(err error) error {
	if errors.Is(err, ports.ErrNotFound) {
		return domain.Errorf(domain.NotFound, domain.CodeWorkerNotFound, "Worker not found; check its id, or register it first")
	}
	return err
}

func userMissing(err error) error {
	if errors.Is(err, ports.ErrNotFound) {
		return domain.Errorf(domain.NotFound, domain.CodeUserNotFound, "User not found")
	}
	return err
}

// owned reads a session of the user; anybody else's does not exist.
func owned(ctx context.Context, tx *ports.Tx, userID, sessionID string) (*domain.Session, error) {
	s, err := tx.Sessions.Get(ctx, sessionID)
	if err == nil && s.UserID != userID {
		err = ports.ErrNotFound
	}
	if err != nil {
		return nil, sessionMissing(err)
	}
	return s, nil
}
