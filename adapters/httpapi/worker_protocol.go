package httpapi

import (
	"cmp"
	"context"
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/switchyard-wa/switchyard/adapters/internal/view"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports/service"
)

func workerRoutes() []route {
	return []route{
		operation(route{
			id: "registerWorker", method: post, path: "/workers/register", tag: tagProtocol, credential: worker, lenient: true, status: http.StatusCreated, message: "Worker registered",
			summary: "Register a worker",
			description: "Calls the worker's health route, then registers it: 201 for a new worker, 200 for a known one. Fails with WORKER_UNREACHABLE if the " +
				"worker does not answer within 5 s; nothing is registered then. Fails with WORKER_CONFLICT if another worker holds the endpoint, " +
				"or if a worker with this id still answers at another endpoint. Repeating it is no error.",
			errors: []domain.Code{domain.CodeWorkerConflict, domain.CodeWorkerUnreachable, domain.CodeInvalidState},
		}, (*api).registerWorker),
		operation(route{
			id: "heartbeat", method: put, path: "/workers/{workerId}/heartbeat", tag: tagProtocol, credential: worker, quiet: true, lenient: true, optional: true,
			message: "Heartbeat accepted",
			summary: "Report that a worker is alive, and what runs on it",
			description: "Renews the worker's lease and takes over what it says of its sessions. Every form that is in the field is accepted, and members that " +
				"are unknown or malformed are ignored. Items that cannot be used are skipped, counted and named in `warnings`. No session counts as missing then. A body that cannot " +
				"be read is a sign of life too. `commands` lists sessions that the worker runs and has to stop. A session that this server has never known is left alone. Fails with " +
				"WORKER_NOT_FOUND for an unknown worker, which has to register.",
			errors: []domain.Code{domain.CodeWorkerNotFound, domain.CodeInvalidState},
		}, (*api).heartbeat),
		operation(route{
			id: "listAssignedSessions", method: get, path: "/workers/{workerId}/sessions/assigned", tag: tagProtocol, credential: worker, message: "Assigned sessions",
			summary:     "The sessions that a restarted worker has to recover",
			description: "Lists the sessions that are assigned to the worker, with their owners. `sessions` and `assignedSessions` are the same list, for workers of different age.",
			errors:      []domain.Code{domain.CodeWorkerNotFound},
		}, (*api).assigned),
		operation(route{
			id: "reportRecovery", method: post, path: "/workers/{workerId}/sessions/recovery-status", tag: tagProtocol, credential: worker, lenient: true, message: "Recovery status processed",
			summary:     "Report what became of the sessions to recover",
			description: "Takes over one result for each session. The counts in the answer are the server's own. Sessions of other workers come back as IGNORED and are not touched.",
			errors:      []domain.Code{domain.CodeWorkerNotFound, domain.CodeInvalidState},
		}, (*api).recovered),
		operation(route{
			id: "reportPreserved", method: post, path: "/workers/{workerId}/sessions-preserved", tag: tagProtocol, credential: worker, lenient: true, message: "Preserved sessions recorded",
			summary:     "Report that a worker goes down and keeps its credentials",
			description: "Records it: the sessions become RECONNECTING and are not lost.",
			errors:      []domain.Code{domain.CodeWorkerNotFound, domain.CodeInvalidState},
		}, (*api).preserved),
		operation(route{
			id: "unregisterWorker", method: del, path: "/workers/unregister", tag: tagProtocol, credential: worker, lenient: true, message: "Worker unregistered",
			summary:     "Leave",
			description: "The worker goes OFFLINE and its sessions are placed elsewhere. Repeating it is no error. A worker that runs at another endpoint by now stays registered.",
			errors:      []domain.Code{domain.CodeWorkerNotFound, domain.CodeInvalidState},
		}, (*api).unregister),
		operation(route{
			id: "reportSessionStatus", method: post, path: "/webhooks/session-status", tag: tagProtocol, credential: worker, lenient: true, message: "Session status received",
			summary:     "Report the status of a session",
			description: "Takes over a session's status, QR code and account. A report that is stale, or not by the session's worker, is answered with `applied: false`. Fails with SESSION_NOT_FOUND for an unknown session.",
			errors:      []domain.Code{domain.CodeSessionNotFound, domain.CodeInvalidState},
		}, (*api).sessionReport),
		operation(route{
			id: "reportMessageStatus", method: post, path: "/webhooks/message-status", tag: tagProtocol, credential: worker, lenient: true, message: "Message status received",
			summary:     "Report the status of a sent message",
			description: "Takes over a message's status, which moves forward only; a report that would take it back is answered with `applied: false`. Fails with MESSAGE_NOT_FOUND for an unknown message.",
			errors:      []domain.Code{domain.CodeSessionNotFound, domain.CodeMessageNotFound, domain.CodeInvalidState},
		}, (*api).messageReport),
		operation(route{
			id: "reportMessageReceived", method: post, path: "/webhooks/message-received", tag: tagProtocol, credential: worker, lenient: true, message: "Message received",
			summary:     "Report a message that a session received",
			description: "Stores an inbound message once, however often it is reported. Fails with SESSION_NOT_FOUND for an unknown session.",
			errors:      []domain.Code{domain.CodeSessionNotFound, domain.CodeInvalidState},
		}, (*api).messageReceived),
		operation(route{
			id: "legacyHeartbeat", method: post, path: "/webhooks/worker-heartbeat", tag: tagProtocol, credential: worker, quiet: true, lenient: true, message: "Heartbeat accepted",
			summary:     "The heartbeat in its oldest form",
			description: "Like the heartbeat of a worker, which it names in the body.",
			errors:      []domain.Code{domain.CodeWorkerNotFound, domain.CodeInvalidState},
		}, (*api).legacyHeartbeat),
	}
}

// assignedView is a session with its owner, for its worker to recover.
type assignedView struct {
	SessionID   string        `json:"sessionId" example:"support"`
	UserID      string        `json:"userId" example:"01JX3B5ZKQ7M"`
	SessionName string        `json:"sessionName" example:"Support"`
	PhoneNumber view.String   `json:"phoneNumber" example:"6281234567890"`
	Status      domain.Status `json:"status" example:"CONNECTED"`
	UserEmail   string        `json:"userEmail" example:"ada@example.com"`
	UserTier    domain.Tier   `json:"userTier" example:"PRO"`
	CreatedAt   view.Time     `json:"createdAt"`
	UpdatedAt   view.Time     `json:"updatedAt"`
	LastSeenAt  view.Time     `json:"lastSeenAt"`
	Generation  int64         `json:"generation" example:"3"`
}

type assignedListView struct {
	WorkerID         string         `json:"workerId" example:"worker-1"`
	SessionCount     int            `json:"sessionCount" example:"1"`
	TotalSessions    int            `json:"totalSessions" example:"1"`
	Sessions         []assignedView `json:"sessions" doc:"The list as deployed workers read it"`
	AssignedSessions []assignedView `json:"assignedSessions" doc:"The same list, by the name in the documentation of the first workers"`
	RetrievedAt      view.Time      `json:"retrievedAt"`
}

func (a *api) assigned(ctx context.Context, c *requestContext, _ *workerInput) (assignedListView, error) {
	id := c.workerRef()
	list, err := a.Protocol.AssignedSessions(ctx, id)
	if err != nil {
		return assignedListView{}, err
	}
	views := make([]assignedView, len(list))
	for i, s := range list {
		views[i] = assignedView{
			SessionID: s.ID, UserID: s.UserID, SessionName: s.Name, PhoneNumber: view.String(s.PhoneNumber),
			Status: s.Status, UserEmail: s.UserEmail, UserTier: s.UserTier, CreatedAt: view.Time(s.CreatedAt),
			UpdatedAt: view.Time(s.UpdatedAt), LastSeenAt: view.Time(s.LastSeenAt), Generation: s.Generation,
		}
	}
	return assignedListView{id, len(views), len(views), views, views, view.Time(a.Clock.Now())}, nil
}

// recoveryBody is the outcome of a recovery. The totals, which have to be there in
// one place or the other, are not believed.
type recoveryBody struct {
	Incomplete `json:"-"`
	Results    recoveryList    `json:"recoveryResults"`
	Summary    recoverySummary `json:"summary,omitempty"`
	RecoveryTotals
}

// RecoveryTotals is the totals of a recovery as the worker counts them.
type RecoveryTotals struct {
	TotalSessions        lenientNumber `json:"totalSessions,omitempty" example:"3"`
	SuccessfulRecoveries lenientNumber `json:"successfulRecoveries,omitempty" example:"1"`
	FailedRecoveries     lenientNumber `json:"failedRecoveries,omitempty" example:"1"`
	SkippedRecoveries    lenientNumber `json:"skippedRecoveries,omitempty" example:"1"`
}

// isGiven reports whether there is a total.
func (t *RecoveryTotals) isGiven() bool {
	return t.TotalSessions.given || t.SuccessfulRecoveries.given || t.FailedRecoveries.given || t.SkippedRecoveries.given
}

// recoverySummary is an object with the totals.
type recoverySummary struct {
	totals       RecoveryTotals
	given, wrong bool
}

// UnmarshalJSONFrom reads the totals.
func (s *recoverySummary) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	s.wrong = dec.PeekKind() != jsontext.KindNull
	isObject, err := unmarshalObject(dec, &s.totals)
	s.given, s.wrong = isObject, s.wrong && !isObject
	return err
}

// Schema describes the summary.
func (recoverySummary) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{
		Description: "An object with totalSessions, successfulRecoveries, failedRecoveries and skippedRecoveries; some workers have them beside it",
		Examples:    []any{map[string]any{"totalSessions": 3, "successfulRecoveries": 1, "failedRecoveries": 1, "skippedRecoveries": 1}},
	}
}

// recoveryList is a list of results.
type recoveryList struct {
	list         []recoveryItem
	beyond       int // items that were not read
	given, wrong bool
}

type recoveryItem struct {
	SessionID   lenientString `json:"sessionId"`
	Status      lenientString `json:"status"`
	Error       lenientString `json:"error"`
	RecoveredAt lenientTime   `json:"recoveredAt"`
	wrong       bool          // no object
}

// UnmarshalJSONFrom reads the results. A result that cannot be read to its end is left
// out.
func (l *recoveryList) UnmarshalJSONFrom(dec *jsontext.Decoder) (err error) {
	kind := dec.PeekKind()
	l.given = kind == jsontext.KindBeginArray
	if !l.given {
		l.wrong = kind != jsontext.KindNull
		return dec.SkipValue()
	}
	l.list = nil
	l.beyond, err = readList(dec, func() error {
		l.list = append(l.list, recoveryItem{})
		item := &l.list[len(l.list)-1]
		isObject, err := unmarshalObject(dec, item)
		item.wrong = !isObject
		if err != nil {
			l.list = l.list[:len(l.list)-1]
		}
		return err
	})
	return err
}

// Schema describes the results.
func (recoveryList) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{
		Description: "One `{sessionId, status, error, recoveredAt}` for each session; status is SUCCESS, FAILED or SKIPPED",
		Examples:    []any{[]any{map[string]any{"sessionId": "support", "status": "SUCCESS"}}},
	}
}

type recoveryInput struct {
	WorkerPath
	Body     recoveryBody
	results  []service.RecoveryResult
	warnings warnings
}

// Resolve checks the required members, and leaves out the results that name no session.
func (in *recoveryInput) Resolve(ctx huma.Context) []error {
	var p problems
	b := &in.Body
	switch {
	case b.Results.wrong:
		p.add("recoveryResults", "recoveryResults must be an array")
	case !b.Results.given:
		p.addMissing("recoveryResults", "A list of results")
	}
	for i := range b.Results.list {
		in.recovery(&p, i, &b.Results.list[i])
	}
	in.warnings.skipBeyond("recoveryResults", b.Results.beyond)
	switch {
	case b.Summary.given || b.RecoveryTotals.isGiven():
	case b.Summary.wrong:
		p.add("summary", "summary must be an object")
	default:
		p.addMissing("summary", "A summary with totalSessions, successfulRecoveries, failedRecoveries and skippedRecoveries")
	}
	p.addIncomplete(&in.warnings, contextOf(ctx.Context()).incompleteReason(b.Incomplete))
	return p
}

// recovery takes over one result.
func (in *recoveryInput) recovery(p *problems, i int, item *recoveryItem) {
	r := service.RecoveryResult{SessionID: item.SessionID.sessionRef(), Error: item.Error.cut(maxWorkerText), At: item.RecoveredAt.at}
	field := "recoveryResults[" + strconv.Itoa(i) + "].status"
	switch {
	case item.wrong:
		in.warnings.skip("recoveryResults", i, "is no object")
		return
	case r.SessionID == "":
		in.warnings.skip("recoveryResults", i, "has no sessionId")
		return
	case item.Status == "":
		p.addMissing(field, "Status")
		return
	}
	var err error
	r.Status, err = recoveryStatus(string(item.Status))
	if err != nil {
		p.add(field, "%s must be one of SUCCESS, FAILED, SKIPPED", field)
		return
	}
	in.results = append(in.results, r)
}

func recoveryStatus(s string) (service.RecoveryStatus, error) {
	return oneOf(service.RecoverySuccess, service.RecoveryFailed, service.RecoverySkipped)(strings.TrimSpace(s))
}

type recoveredView struct {
	SessionID string                 `json:"sessionId" example:"support"`
	Status    service.RecoveryStatus `json:"status" doc:"SUCCESS, FAILED, SKIPPED or IGNORED" example:"SUCCESS"`
	Action    string                 `json:"action" doc:"What was done, in a few words" example:"connected"`
	Error     string                 `json:"error,omitzero"`
}

type recoveryView struct {
	WorkerID             string          `json:"workerId" example:"worker-1"`
	ProcessedSessions    int             `json:"processedSessions" example:"3"`
	SuccessfulRecoveries int             `json:"successfulRecoveries" example:"1"`
	FailedRecoveries     int             `json:"failedRecoveries" example:"1"`
	SkippedRecoveries    int             `json:"skippedRecoveries" example:"1"`
	UpdatedSessionCount  int             `json:"updatedSessionCount" example:"2"`
	ProcessedResults     []recoveredView `json:"processedResults"`
	SessionsSkipped      int             `json:"sessionsSkipped" doc:"Results that could not be used" example:"1"`
	Warnings             []string        `json:"warnings" doc:"What could not be used, and why; at most 10 texts" example:"[\"recoveryResults[3] is no object\"]"`
}

func (a *api) recovered(ctx context.Context, c *requestContext, in *recoveryInput) (recoveryView, error) {
	id := c.workerRef()
	outcomes, err := a.Protocol.ReportRecovery(ctx, id, in.results)
	if err != nil {
		return recoveryView{}, err
	}
	c.logWarnings(id, in.warnings)
	v := recoveryView{WorkerID: id, ProcessedSessions: len(outcomes), SessionsSkipped: in.warnings.skipped, Warnings: in.warnings.list()}
	for _, o := range outcomes {
		switch o.Status {
		case service.RecoverySuccess:
			v.SuccessfulRecoveries++
		case service.RecoveryFailed:
			v.FailedRecoveries++
		case service.RecoverySkipped:
			v.SkippedRecoveries++
		}
		if o.Updated {
			v.UpdatedSessionCount++
		}
		v.ProcessedResults = append(v.ProcessedResults, recoveredView{o.SessionID, o.Status, o.Action, o.Error})
	}
	return v, nil
}

// preservedBody names the sessions whose credentials a worker keeps.
type preservedBody struct {
	Incomplete `json:"-"`
	Sessions   preservedList `json:"preservedSessions"`
}

// preservedList is a list of session ids, bare or within objects.
type preservedList struct {
	ids          []lenientString
	beyond       int // items that were not read
	given, wrong bool
}

// UnmarshalJSONFrom reads the list.
func (l *preservedList) UnmarshalJSONFrom(dec *jsontext.Decoder) (err error) {
	kind := dec.PeekKind()
	l.given = kind == jsontext.KindBeginArray
	if !l.given {
		l.wrong = kind != jsontext.KindNull
		return dec.SkipValue()
	}
	l.ids = nil
	l.beyond, err = readList(dec, func() error {
		var id lenientString
		var object struct {
			SessionID lenientString `json:"sessionId"`
			ID        lenientString `json:"id"`
		}
		if dec.PeekKind() != jsontext.KindBeginObject {
			err := id.UnmarshalJSONFrom(dec)
			l.ids = append(l.ids, id)
			return err
		}
		_, err := unmarshalObject(dec, &object)
		l.ids = append(l.ids, cmp.Or(object.SessionID, object.ID))
		return err
	})
	return err
}

// Schema describes the list.
func (preservedList) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Description: "A list of session ids, or of objects with a sessionId", Examples: []any{[]any{"support", "sales"}}}
}

type preservedInput struct {
	WorkerPath
	Body     preservedBody
	ids      []string
	warnings warnings
}

// Resolve checks the required members, and leaves out the items that name no session.
func (in *preservedInput) Resolve(ctx huma.Context) []error {
	var p problems
	l := &in.Body.Sessions
	switch {
	case l.wrong:
		p.add("preservedSessions", "preservedSessions must be an array")
	case !l.given:
		p.addMissing("preservedSessions", "A list of session ids")
	}
	in.ids = make([]string, 0, len(l.ids))
	for i, item := range l.ids {
		if id := item.sessionRef(); id != "" {
			in.ids = append(in.ids, id)
			continue
		}
		in.warnings.skip("preservedSessions", i, "names no session")
	}
	in.warnings.skipBeyond("preservedSessions", l.beyond)
	p.addIncomplete(&in.warnings, contextOf(ctx.Context()).incompleteReason(in.Body.Incomplete))
	return p
}

type preservedView struct {
	WorkerID          string   `json:"workerId" example:"worker-1"`
	PreservedSessions int      `json:"preservedSessions" doc:"How many of them are the worker's" example:"2"`
	SessionsSkipped   int      `json:"sessionsSkipped" doc:"Items that could not be used" example:"1"`
	Warnings          []string `json:"warnings" doc:"What could not be used, and why; at most 10 texts" example:"[\"preservedSessions[3] names no session\"]"`
}

func (a *api) preserved(ctx context.Context, c *requestContext, in *preservedInput) (preservedView, error) {
	id := c.workerRef()
	n, err := a.Protocol.ReportPreserved(ctx, id, in.ids)
	if err == nil {
		c.logWarnings(id, in.warnings)
	}
	return preservedView{id, n, in.warnings.skipped, in.warnings.list()}, err
}

// unregisterBody names the worker that leaves.
type unregisterBody struct {
	Incomplete `json:"-"`
	WorkerID   lenientString `json:"workerId,omitempty" doc:"Required with the fleet token" example:"\"worker-1\""`
	Endpoint   lenientString `json:"endpoint,omitempty" doc:"Where it runs; a worker that runs elsewhere by now stays" example:"\"http://10.0.0.5:8001\""`
}

type unregisterInput struct {
	Body     unregisterBody
	endpoint string
}

// Resolve checks that the body or the token names the worker.
func (in *unregisterInput) Resolve(ctx huma.Context) []error {
	var p problems
	p.requireWorker(contextOf(ctx.Context()), in.Body.WorkerID, in.Body.Incomplete)
	in.endpoint = in.Body.Endpoint.cut(maxID)
	if canonical, err := domain.ParseEndpoint(in.endpoint); err == nil {
		in.endpoint = canonical
	}
	return p
}

func (a *api) unregister(ctx context.Context, c *requestContext, in *unregisterInput) (removedWorkerView, error) {
	id, err := c.authorizeWorker(in.Body.WorkerID.workerRef())
	if err != nil {
		return removedWorkerView{}, err
	}
	return a.unregisterWorker(ctx, c, id, in.endpoint)
}

// unregisterWorker lets a worker go of its own accord.
func (a *api) unregisterWorker(ctx context.Context, c *requestContext, id, endpoint string) (removedWorkerView, error) {
	status, err := a.Protocol.Unregister(ctx, id, endpoint)
	if err != nil {
		return removedWorkerView{}, err
	}
	at := view.Time(a.Clock.Now())
	c.message = "Worker unregistered"
	if status != domain.WorkerOffline {
		at, c.message = view.Time{}, "The worker is at another endpoint by now; nothing has changed"
	}
	return removedWorkerView{WorkerID: view.String(id), Status: view.String(status), UnregisteredAt: &at}, nil
}
