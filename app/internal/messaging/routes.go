package messaging

import (
	"context"
	"errors"

	"github.com/switchyard-wa/switchyard/app/internal/apperr"
	"github.com/switchyard-wa/switchyard/app/internal/env"
	"github.com/switchyard-wa/switchyard/app/internal/txn"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// Routes caches where sessions run. It is safe for concurrent use.
type Routes struct {
	*env.Env
	routes ports.Routes
}

// NewRoutes returns the routes that a port keeps.
func NewRoutes(e *env.Env, r ports.Routes) *Routes { return &Routes{Env: e, routes: r} }

// AfterCommit is an observer of transactions.
func (r *Routes) AfterCommit(ctx context.Context, c *txn.Changes) {
	for _, s := range c.Sessions {
		r.put(ctx, routeOf(s))
	}
	for _, s := range c.Deleted {
		if err := r.routes.Delete(ctx, s.ID); err != nil {
			r.Log.WarnContext(ctx, "route not removed", "session", s.ID, "error", err)
		}
	}
}

func (r *Routes) put(ctx context.Context, route ports.Route) {
	if err := r.routes.Put(ctx, route); err != nil {
		r.Log.WarnContext(ctx, "route not cached", "session", route.SessionID, "error", err)
	}
}

// find returns the route of a session from the cache, or else from the store.
func (r *Routes) find(ctx context.Context, sessionID string) (ports.Route, error) {
	route, err := r.routes.Get(ctx, sessionID)
	if err == nil {
		return route, nil
	}
	if !errors.Is(err, ports.ErrNotFound) {
		r.Log.WarnContext(ctx, "route not read", "session", sessionID, "error", err)
	}
	return r.refresh(ctx, sessionID)
}

// refresh reads the route of a session from the store and caches it.
func (r *Routes) refresh(ctx context.Context, sessionID string) (ports.Route, error) {
	var s *domain.Session
	err := r.Store.View(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		s, err = tx.Sessions.Get(ctx, sessionID)
		return apperr.Session(err)
	})
	if err != nil {
		return ports.Route{}, err
	}
	route := routeOf(s)
	r.put(ctx, route)
	return route, nil
}

func routeOf(s *domain.Session) ports.Route {
	return ports.Route{
		SessionID: s.ID, UserID: s.UserID, WorkerID: s.WorkerID, Generation: s.Generation,
		Status: s.Status, Phone: s.PhoneNumber, Rev: s.Rev,
	}
}

// target returns the route and the worker of a session that can send. A cached route
// that forbids the send is read again from the store.
func (m *Messages) target(ctx context.Context, s service.Sender) (ports.Route, *domain.Worker, error) {
	route, err := m.routes.find(ctx, s.SessionID)
	if err != nil {
		return route, nil, apperr.Public(err)
	}
	if w, err := m.workerOf(s, route); err == nil {
		return route, w, nil
	}
	return m.targetInStore(ctx, s)
}

// targetInStore returns the target by what the store says now.
func (m *Messages) targetInStore(ctx context.Context, s service.Sender) (ports.Route, *domain.Worker, error) {
	route, err := m.routes.refresh(ctx, s.SessionID)
	if err == nil && route.WorkerID != "" {
		err = m.sync.RefreshWorkersByID(ctx, route.WorkerID)
	}
	if err != nil {
		return route, nil, apperr.Public(err)
	}
	w, err := m.workerOf(s, route)
	return route, w, err
}

// workerOf returns the worker of a route, or why the session cannot send by it.
func (m *Messages) workerOf(s service.Sender, route ports.Route) (*domain.Worker, error) {
	isReconnecting := route.Status == domain.Reconnecting
	switch {
	case route.UserID != s.UserID:
		return nil, apperr.Session(ports.ErrNotFound)
	case route.WorkerID == "" || route.Status != domain.Connected && !isReconnecting:
		return nil, domain.Errorf(domain.Conflict, domain.CodeSessionNotConnected, "Session is not connected; connect it and scan the QR code first")
	}
	w := m.cache.Worker(route.WorkerID)
	switch {
	case w == nil || !w.Online:
		return nil, domain.Errorf(domain.Unavailable, domain.CodeWorkerUnreachable,
			"The session's worker is offline; the session is being brought back, try again in a minute")
	case isReconnecting:
		return nil, domain.Errorf(domain.Conflict, domain.CodeSessionNotConnected, "Session is reconnecting; try again in a moment")
	}
	return w, nil
}

// retargetAfterMove returns the worker that the session is on by now, if the failed call
// was certainly not executed because the session has moved there. Otherwise it returns
// nil.
func (m *Messages) retargetAfterMove(ctx context.Context, s service.Sender, asked *domain.Worker, err error) *domain.Worker {
	var failure *ports.WorkerError
	if !m.IsShared() || !errors.As(err, &failure) || !failure.IsNotExecuted() {
		return nil
	}
	_, w, err := m.targetInStore(ctx, s)
	if err != nil || w.ID == asked.ID && w.Endpoint == asked.Endpoint {
		return nil
	}
	m.detector.RecordCall(ctx, asked, failure)
	return w
}
