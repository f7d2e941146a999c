package httpapi

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/switchyard-wa/switchyard/adapters/internal/view"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

const listSessionsDescription = "Lists the user's sessions, newest first, page by page. `search` matches the name and the phone number."

// sessionErrors are what any change of a session can fail with.
var sessionErrors = []domain.Code{domain.CodeSessionNotFound, domain.CodeInvalidState, domain.CodeWorkerUnreachable,
	domain.CodeWorkerTimeout, domain.CodeWorkerCommunication, domain.CodeNoAvailableWorkers}

func sessionRoutes() []route {
	return []route{
		operation(route{
			id: "createSession", method: post, path: "/sessions", tag: tagSessions, credential: user, limit: perUser,
			status: http.StatusCreated, message: "Session created; keep the API key, it is not shown again",
			summary: "Create a session",
			description: "Makes a session and its API key. Nothing is started: `POST /sessions/{id}/connect` does that. The id is the given one, in lower " +
				"case with single hyphens, or derived from the name. Fails with SESSION_ALREADY_EXISTS if any user has a session with the id, or had one that is not wiped from every worker yet, and with " +
				"SESSION_LIMIT_EXCEEDED if the user has as many sessions as the tier allows.",
			errors: []domain.Code{domain.CodeSessionExists, domain.CodeSessionLimit, domain.CodeUserNotFound, domain.CodeAccountDeactivated, domain.CodeInvalidState},
		}, (*api).createSession),
		operation(route{
			id: "listSessions", method: get, path: "/sessions", tag: tagSessions, credential: user, limit: perUser, message: "Sessions",
			summary:     "List the own sessions",
			description: listSessionsDescription,
		}, (*api).sessions),
		operation(route{
			id: "getSession", method: get, path: "/sessions/{id}", tag: tagSessions, credential: user, limit: perUser, message: "Session",
			summary:     "Get a session",
			description: "Returns the session with the worker it runs on. Administrators also see the worker's endpoint.",
			errors:      []domain.Code{domain.CodeSessionNotFound},
		}, (*api).session),
		operation(route{
			id: "deleteSession", method: del, path: "/sessions/{id}", tag: tagSessions, credential: user, limit: perUser, message: "Session deleted",
			summary: "Delete a session",
			description: "Deletes the session with its API key and history, and its credentials on every worker that held them. Workers that are down " +
				"are cleaned up when they return. A send that is under way ends as if the session were there, and is in no history: `GET /events` has its event after that of the deletion.",
			errors: sessionErrors,
		}, (*api).deleteSession),
		operation(route{
			id: "connectSession", method: post, path: "/sessions/{id}/connect", tag: tagSessions, credential: user, limit: perUser, optional: true,
			message: "Connecting; scan the QR code with the phone",
			summary: "Connect a session",
			description: "Chooses a worker and starts the session there. The QR code to scan is null until the worker delivers it: wait for it with " +
				"`?wait=10s`, or ask `GET /sessions/{id}/qr`. With `pairing` the answer has a code to type into the phone instead. Fails with " +
				"SESSION_ALREADY_CONNECTED or SESSION_CONNECTING if there is nothing to do (a session whose QR code has expired starts anew), and with NO_AVAILABLE_WORKERS if no worker has " +
				"room, or only workers without the session's credentials while the one that has them may come back; the session stays DISCONNECTED then. " +
				"Fails with RATE_LIMIT_EXCEEDED and Retry-After also while too many sessions of the user, or from the " +
				"caller's network, wait for a first scan, and for a while after QR codes that nobody scanned.",
			errors: append([]domain.Code{domain.CodeSessionConnected, domain.CodeSessionConnecting, domain.CodeSessionLimit,
				domain.CodeAccountDeactivated, domain.CodeUserNotFound}, sessionErrors...),
		}, (*api).connect),
		operation(route{
			id: "getQR", method: get, path: "/sessions/{id}/qr", tag: tagSessions, credential: user, limit: perUser, cost: drawing, images: true,
			message: "Scan the QR code with the phone",
			summary: "Get the QR code to scan",
			description: "Returns the present QR code. `format` asks for an image (`png`, `svg`) or a drawing for terminals (`text`) instead of JSON. " +
				"Without a QR code the JSON has nulls and a message that says what to do; as an image it is NOT_FOUND.",
			errors: []domain.Code{domain.CodeSessionNotFound, domain.CodeNotFound},
		}, (*api).qr),
		operation(route{
			id: "getSessionStatus", method: get, path: "/sessions/{id}/status", tag: tagSessions, credential: keyOrUser, limit: perKey, message: "Session status",
			summary:     "The state of a session in a few words",
			description: "Returns the session's status and that of its worker. With an API key the id must be that of the key's own session.",
			errors:      []domain.Code{domain.CodeSessionNotFound},
		}, (*api).sessionStatus),
		operation(route{
			id: "disconnectSession", method: post, path: "/sessions/{id}/disconnect", tag: tagSessions, credential: user, limit: perUser, message: "Session disconnected",
			summary:     "Disconnect a session and keep its credentials",
			description: "Stops the connection. A later connect needs no QR code. A session that is down already is no error.",
			errors:      sessionErrors,
		}, (*api).disconnect),
		operation(route{
			id: "logoutSession", method: post, path: "/sessions/{id}/logout", tag: tagSessions, credential: user, limit: perUser, message: "Session logged out",
			summary:     "Unlink the phone of a session",
			description: "Stops the connection and removes the credentials and the phone number. The next connect needs a QR code.",
			errors:      sessionErrors,
		}, (*api).logoutSession),
		operation(route{
			id: "restartSession", method: post, path: "/sessions/{id}/restart", tag: tagSessions, credential: user, limit: perUser, message: "Session restarting",
			summary:     "Restart a session",
			description: "Restarts the connection on the same worker if it is healthy, otherwise on another. Fails with INVALID_STATE for a session that is down.",
			errors:      sessionErrors,
		}, (*api).restart),
		operation(route{
			id: "rotateApiKey", method: post, path: "/sessions/{id}/api-key/rotate", tag: tagSessions, credential: user, limit: perUser,
			message:     "API key rotated; keep the new one, it is not shown again",
			summary:     "Replace the API key of a session",
			description: "Returns a new key, which is not shown again. The old one stops working at once or, with `grace`, after that time, which is at most 24h.",
			errors:      []domain.Code{domain.CodeSessionNotFound, domain.CodeInvalidState},
		}, (*api).rotateKey),
		operation(route{
			id: "listMessages", method: get, path: "/sessions/{id}/messages", tag: tagMessages, credential: user, limit: perUser, cost: longRead, message: "Messages",
			summary:     "The messages of a session",
			description: "Lists sent and received messages, newest first. `nextCursor` is the `cursor` of the next page; it is null on the last one.",
			errors:      []domain.Code{domain.CodeSessionNotFound},
		}, (*api).history),
		operation(route{
			id: "getMessage", method: get, path: "/sessions/{id}/messages/{messageId}", tag: tagMessages, credential: user, limit: perUser, message: "Message",
			summary:     "One message with its status times",
			description: "Finds a message by our id or by WhatsApp's.",
			errors:      []domain.Code{domain.CodeSessionNotFound, domain.CodeMessageNotFound},
		}, (*api).messageByID),
		operation(route{
			id: "getMessageMedia", method: get, path: "/sessions/{id}/messages/{messageId}/media", tag: tagMessages, credential: user, limit: perUser, message: "Media",
			stream: true, cost: downloading, summary: "The media of a received message",
			description: "Streams the media from the session's worker. The header Range may select one part, and If-Range its ETag. " +
				"Fails with MESSAGE_NOT_FOUND if the message has no media or the worker no longer has it, with SESSION_NOT_CONNECTED if the session is on no worker, " +
				"with WORKER_UNREACHABLE if its worker is offline, and with WORKER_COMMUNICATION_FAILED if the worker is too old. At most 4 downloads of a user run at once.",
			errors: []domain.Code{domain.CodeSessionNotFound, domain.CodeMessageNotFound, domain.CodeSessionNotConnected, domain.CodeWorkerUnreachable,
				domain.CodeWorkerCommunication, domain.CodeInvalidState},
		}, (*api).media),
		operation(route{
			id: "send", method: post, path: "/sessions/{id}/send", tag: tagMessages, credential: keyOrUser, limit: perKey, message: sentMessage,
			media: true, file: domain.MaxDocumentSize, hot: true,
			summary:     "Send a message of any type",
			description: "Sends a text, image, document, audio, video, sticker, location, contact, link or poll, as `type` says. " + sendDescription,
			errors:      append([]domain.Code{domain.CodeInvalidMessageType, domain.CodeSessionNotFound}, sendErrors...),
		}, (*api).sendAny),
		bulkSendRoute(),
	}
}

const (
	maxWait  = 30 * time.Second
	maxGrace = 24 * time.Hour
)

// SessionPath names a session in the path.
type SessionPath struct {
	ID string `path:"id" doc:"Id of the session, in any spelling" example:"support"`
}

// viewSession returns the view of a session. Administrators also see where its worker is.
func viewSession(s *domain.Session, w *domain.Worker, admin bool) view.SessionView {
	v := view.Session(s, w)
	if w != nil && admin {
		v.Worker.Value.Endpoint = w.Endpoint
	}
	return v
}

// shown returns a session that a service returned, or its error.
func (c *requestContext) shown(s *service.SessionView, err error) (view.SessionView, error) {
	if err != nil {
		return view.SessionView{}, err
	}
	return viewSession(s.Session, s.Worker, c.isAdmin()), nil
}

type createSessionBody struct {
	Name        string  `json:"name" minLength:"1" doc:"1 to 100 characters" example:"Support"`
	SessionID   *string `json:"sessionId,omitempty" doc:"3 to 100 letters, digits, hyphens and underscores; derived from the name if it is not given" example:"support"`
	Description *string `json:"description,omitempty" doc:"At most 255 characters" example:"Front desk"`
}

type createSessionInput struct {
	Body   createSessionBody
	params service.CreateSessionParams
}

// Resolve applies the rules of the domain.
func (in *createSessionInput) Resolve(huma.Context) []error {
	var p problems
	in.params.Name = p.text("name", in.Body.Name, domain.CheckSessionName)
	if id := optional(&p, "sessionId", in.Body.SessionID, domain.NormalizeSessionID); id != nil {
		in.params.ID = *id
	}
	if text := optional(&p, "description", in.Body.Description, domain.CheckDescription); text != nil {
		in.params.Description = *text
	}
	return p
}

type createdSessionView struct {
	view.SessionView
	APIKey string `json:"apiKey" doc:"Not shown again" example:"wg_0123456789abcdefghijABCDEFGHIJ0123456789"`
}

func (a *api) createSession(ctx context.Context, c *requestContext, in *createSessionInput) (createdSessionView, error) {
	s, err := a.Sessions.Create(ctx, c.principal.UserID, in.params)
	if err != nil {
		return createdSessionView{}, err
	}
	return createdSessionView{viewSession(s.Session, nil, c.isAdmin()), s.APIKey}, nil
}

type listSessionsInput struct {
	Status string `query:"status" doc:"A session's status, in any case" example:"CONNECTED"`
	Search string `query:"search" doc:"Part of a name or phone number, at most 255 bytes" example:"desk"`
	PageInput
	filter ports.SessionFilter
}

// Resolve reads the parameters.
func (in *listSessionsInput) Resolve(huma.Context) []error {
	var p problems
	parse(&p, "status", in.Status, &in.filter.Status, domain.ParseStatus)
	in.filter.Search = p.searchText("search", in.Search)
	return p
}

type sessionListView struct {
	Sessions   []view.SessionView `json:"sessions"`
	Pagination pagination         `json:"pagination"`
}

func (a *api) sessions(ctx context.Context, c *requestContext, in *listSessionsInput) (sessionListView, error) {
	list, total, err := a.Sessions.List(ctx, c.principal.UserID, in.filter, in.page())
	if err != nil {
		return sessionListView{}, err
	}
	return viewSessions(list, in.page(), total, c.isAdmin()), nil
}

func viewSessions(list []*service.SessionView, p ports.Page, total int, admin bool) sessionListView {
	views := make([]view.SessionView, len(list))
	for i, s := range list {
		views[i] = viewSession(s.Session, s.Worker, admin)
	}
	return sessionListView{views, paginationOf(p, total)}
}

type sessionInput struct{ SessionPath }

func (a *api) session(ctx context.Context, c *requestContext, _ *sessionInput) (view.SessionView, error) {
	return c.shown(a.Sessions.Get(ctx, c.principal.UserID, c.sessionRef()))
}

func (a *api) disconnect(ctx context.Context, c *requestContext, _ *sessionInput) (view.SessionView, error) {
	return c.shown(a.Sessions.Disconnect(ctx, c.principal.UserID, c.sessionRef()))
}

func (a *api) logoutSession(ctx context.Context, c *requestContext, _ *sessionInput) (view.SessionView, error) {
	return c.shown(a.Sessions.Logout(ctx, c.principal.UserID, c.sessionRef()))
}

func (a *api) restart(ctx context.Context, c *requestContext, _ *sessionInput) (view.SessionView, error) {
	return c.shown(a.Sessions.Restart(ctx, c.principal.UserID, c.sessionRef()))
}

type deletedSessionView struct {
	SessionID string `json:"sessionId" example:"support"`
	Deleted   bool   `json:"deleted" example:"true"`
}

func (a *api) deleteSession(ctx context.Context, c *requestContext, _ *sessionInput) (deletedSessionView, error) {
	id := c.sessionRef()
	return deletedSessionView{id, true}, a.Sessions.Delete(ctx, c.principal.UserID, id)
}

type rotateKeyInput struct {
	SessionPath
	Grace string `query:"grace" doc:"How long the old key goes on working: a length of time such as 10m, or seconds; at most 24h" example:"10m"`
	grace time.Duration
}

// Resolve reads the parameters.
func (in *rotateKeyInput) Resolve(huma.Context) []error {
	var p problems
	p.duration("grace", in.Grace, &in.grace, maxGrace)
	return p
}

type rotatedKeyView struct {
	SessionID string `json:"sessionId" example:"support"`
	APIKey    string `json:"apiKey" doc:"Not shown again" example:"wg_0123456789abcdefghijABCDEFGHIJ0123456789"`
}

func (a *api) rotateKey(ctx context.Context, c *requestContext, in *rotateKeyInput) (rotatedKeyView, error) {
	id := c.sessionRef()
	key, err := a.APIKeys.Rotate(ctx, c.principal.UserID, id, in.grace)
	return rotatedKeyView{id, key}, err
}

// statusView is the state of a session in a few words.
type statusView struct {
	SessionID    string        `json:"sessionId" example:"support"`
	Status       domain.Status `json:"status" doc:"INIT, QR_REQUIRED, CONNECTED, RECONNECTING, DISCONNECTED or ERROR" example:"CONNECTED"`
	LastError    string        `json:"lastError,omitzero" doc:"Why the status is ERROR"`
	PhoneNumber  view.String   `json:"phoneNumber" example:"6281234567890"`
	DisplayName  view.String   `json:"displayName" doc:"Name of the WhatsApp account" example:"Ada's shop"`
	LastSeenAt   view.Time     `json:"lastSeenAt"`
	WorkerID     view.String   `json:"workerId" example:"worker-1"`
	WorkerStatus view.String   `json:"workerStatus" doc:"ONLINE, OFFLINE or MAINTENANCE" example:"ONLINE"`
	Generation   int64         `json:"generation" doc:"Grows with every assignment to a worker" example:"3"`
}

// sessionStatus answers for the session in the path.
func (a *api) sessionStatus(ctx context.Context, c *requestContext, _ *sessionInput) (statusView, error) {
	return a.status(ctx, c, c.sender())
}

// ownStatus answers for the session of the API key.
func (a *api) ownStatus(ctx context.Context, c *requestContext, _ *noInput) (statusView, error) {
	return a.status(ctx, c, c.sender())
}

func (a *api) status(ctx context.Context, c *requestContext, who service.Sender) (statusView, error) {
	s, err := a.Sessions.Get(ctx, who.UserID, who.SessionID)
	if err != nil {
		return statusView{}, err
	}
	v := statusView{
		SessionID: s.ID, Status: s.Status, LastError: s.LastError,
		PhoneNumber: view.String(s.PhoneNumber), DisplayName: view.String(s.DisplayName),
		LastSeenAt: view.Time(s.LastSeenAt), WorkerID: view.String(s.WorkerID), Generation: s.Generation,
	}
	if s.Worker != nil {
		v.WorkerStatus = view.String(s.Worker.Status())
	}
	if s.IsCodeExpired(a.Clock.Now()) {
		c.message = expiredCode
	}
	return v, nil
}
