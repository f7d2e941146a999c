package httpapi

import (
	"context"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

const (
	maxWait  = 30 * time.Second
	maxGrace = 24 * time.Hour
)

// sessionView is a session as the API shows it.
type sessionView struct {
	ID          string         `json:"id"`
	UserID      string         `json:"userId"`
	Name        string         `json:"name"`
	Description optional       `json:"description"`
	DisplayName optional       `json:"displayName"`
	PhoneNumber optional       `json:"phoneNumber"`
	Status      domain.Status  `json:"status"`
	LastError   string         `json:"lastError,omitzero"`
	WorkerID    optional       `json:"workerId"`
	Worker      *sessionWorker `json:"worker"`
	Generation  int64          `json:"generation"`
	LastSeenAt  stamp          `json:"lastSeenAt"`
	CreatedAt   stamp          `json:"createdAt"`
	UpdatedAt   stamp          `json:"updatedAt"`
}

// sessionWorker is what a session's owner sees of its worker; administrators
// also see where it is.
type sessionWorker struct {
	ID       string              `json:"id"`
	Status   domain.WorkerStatus `json:"status"`
	Endpoint string              `json:"endpoint,omitzero"`
}

func viewSession(s *domain.Session, w *domain.Worker, admin bool) sessionView {
	v := sessionView{
		ID: s.ID, UserID: s.UserID, Name: s.Name, Description: optional(s.Description),
		DisplayName: optional(s.DisplayName), PhoneNumber: optional(s.PhoneNumber),
		Status: s.Status, LastError: s.LastError, WorkerID: optional(s.WorkerID), Generation: s.Generation,
		LastSeenAt: stamp(s.LastSeenAt), CreatedAt: stamp(s.CreatedAt), UpdatedAt: stamp(s.UpdatedAt),
	}
	if w != nil {
		v.Worker = &sessionWorker{ID: w.ID, Status: w.Status()}
		if admin {
			v.Worker.Endpoint = w.Endpoint
		}
	}
	return v
}

// shown is a session that a use case returned, or its error.
func (c *call) shown(s *service.SessionView, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return viewSession(s.Session, s.Worker, c.isAdmin()), nil
}

func (a *api) createSession(ctx context.Context, c *call) (any, error) {
	b, err := c.read()
	if err != nil {
		return nil, err
	}
	in, err := decodeNewSession(b)
	if err != nil {
		return nil, err
	}
	s, err := a.Sessions.Create(ctx, c.caller.UserID, in)
	if err != nil {
		return nil, err
	}
	return struct {
		sessionView
		APIKey string `json:"apiKey"`
	}{viewSession(s.Session, nil, c.isAdmin()), s.APIKey}, nil
}

func decodeNewSession(b *body) (service.CreateSessionParams, error) {
	var name, id, description *string
	for b.next() {
		switch b.member() {
		case "name":
			b.optional(&name)
		case "sessionId":
			b.optional(&id)
		case "description":
			b.optional(&description)
		}
	}
	var n service.CreateSessionParams
	n.Name = b.checked("name", name, "Name", domain.CheckSessionName)
	if id != nil {
		normalized, err := domain.NormalizeSessionID(*id)
		b.check("sessionId", err)
		n.ID = normalized
	}
	if description != nil {
		text, err := domain.CheckDescription(*description)
		b.check("description", err)
		n.Description = text
	}
	return n, b.end()
}

func (a *api) sessions(ctx context.Context, c *call) (any, error) {
	q := c.query()
	var f ports.SessionFilter
	parse(q, "status", &f.Status, domain.ParseStatus)
	q.text("search", &f.Search)
	p := q.page()
	if err := q.end(); err != nil {
		return nil, err
	}
	list, total, err := a.Sessions.List(ctx, c.caller.UserID, f, p.Page)
	if err != nil {
		return nil, err
	}
	return sessionList(list, p, total, c.isAdmin()), nil
}

func sessionList(list []*service.SessionView, p page, total int, admin bool) any {
	views := make([]sessionView, len(list))
	for i, s := range list {
		views[i] = viewSession(s.Session, s.Worker, admin)
	}
	return struct {
		Sessions   []sessionView `json:"sessions"`
		Pagination pagination    `json:"pagination"`
	}{views, p.of(total)}
}

func (a *api) session(ctx context.Context, c *call) (any, error) {
	return c.shown(a.Sessions.Get(ctx, c.caller.UserID, c.sessionRef()))
}

func (a *api) disconnect(ctx context.Context, c *call) (any, error) {
	return c.shown(a.Sessions.Disconnect(ctx, c.caller.UserID, c.sessionRef()))
}

func (a *api) logoutSession(ctx context.Context, c *call) (any, error) {
	return c.shown(a.Sessions.Logout(ctx, c.caller.UserID, c.sessionRef()))
}

func (a *api) restart(ctx context.Context, c *call) (any, error) {
	return c.shown(a.Sessions.Restart(ctx, c.caller.UserID, c.sessionRef()))
}

func (a *api) deleteSession(ctx context.Context, c *call) (any, error) {
	id := c.sessionRef()
	if err := a.Sessions.Delete(ctx, c.caller.UserID, id); err != nil {
		return nil, err
	}
	return deletedSession{id, true}, nil
}

type deletedSession struct {
	SessionID string `json:"sessionId"`
	Deleted   bool   `json:"deleted"`
}

func (a *api) rotateKey(ctx context.Context, c *call) (any, error) {
	q := c.query()
	var grace time.Duration
	q.duration("grace", &grace, maxGrace)
	if err := q.end(); err != nil {
		return nil, err
	}
	id := c.sessionRef()
	key, err := a.APIKeys.Rotate(ctx, c.caller.UserID, id, grace)
	if err != nil {
		return nil, err
	}
	return struct {
		SessionID string `json:"sessionId"`
		APIKey    string `json:"apiKey"`
	}{id, key}, nil
}

// statusView is the state of a session in a few words.
type statusView struct {
	SessionID    string        `json:"sessionId"`
	Status       domain.Status `json:"status"`
	LastError    string        `json:"lastError,omitzero"`
	PhoneNumber  optional      `json:"phoneNumber"`
	DisplayName  optional      `json:"displayName"`
	LastSeenAt   stamp         `json:"lastSeenAt"`
	WorkerID     optional      `json:"workerId"`
	WorkerStatus optional      `json:"workerStatus"`
	Generation   int64         `json:"generation"`
}

// sessionStatus answers for the session in the path, or that of the API key.
func (a *api) sessionStatus(ctx context.Context, c *call) (any, error) {
	who := c.sender()
	s, err := a.Sessions.Get(ctx, who.UserID, who.SessionID)
	if err != nil {
		return nil, err
	}
	v := statusView{
		SessionID: s.ID, Status: s.Status, LastError: s.LastError,
		PhoneNumber: optional(s.PhoneNumber), DisplayName: optional(s.DisplayName),
		LastSeenAt: stamp(s.LastSeenAt), WorkerID: optional(s.WorkerID), Generation: s.Generation,
	}
	if s.Worker != nil {
		v.WorkerStatus = optional(s.Worker.Status())
	}
	return v, nil
}
