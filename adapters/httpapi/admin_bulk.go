package httpapi

import (
	"context"
	"fmt"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

type bulkBody struct {
	_              struct{}    `additionalProperties:"false"`
	Action         string      `json:"action" minLength:"1" doc:"restart, disconnect, migrate or delete, in any case" example:"restart"`
	SessionIDs     []textItem  `json:"sessionIds,omitempty" maxItems:"1000" doc:"The sessions, unless there is a filter" example:"[\"support\",\"sales\"]"`
	Filter         *bulkFilter `json:"filter,omitempty" doc:"The sessions, unless they are listed"`
	TargetWorkerID string      `json:"targetWorkerId,omitempty" doc:"Of the action migrate"`
	Reason         *string     `json:"reason,omitempty" doc:"Of the action migrate, at most 255 characters"`
}

// bulkFilter selects sessions. A criterion that says nothing, or is overlooked,
// would have the action done to the sessions of others too.
type bulkFilter struct {
	_        struct{}  `additionalProperties:"false"`
	Status   criterion `json:"status,omitempty" doc:"A session's status, in any case"`
	WorkerID criterion `json:"workerId,omitempty" doc:"On this worker"`
	UserID   criterion `json:"userId,omitempty" doc:"Of this user"`
	Search   criterion `json:"search,omitempty" doc:"Part of a name or phone number"`
	wrong    bool      // no object
}

// UnmarshalJSONFrom reads the criteria.
func (f *bulkFilter) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	type plain bulkFilter
	isObject, err := unmarshalObject(dec, (*plain)(f))
	f.wrong = !isObject
	return err
}

// A criterion is a text to look for. null sets no criterion.
type criterion struct {
	text  string
	given bool
	wrong bool // no text
}

// UnmarshalJSONFrom reads the text.
func (c *criterion) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	c.given = true
	switch dec.PeekKind() {
	case jsontext.KindString:
		token, err := dec.ReadToken()
		if err == nil {
			c.text = token.String()
		}
		return err
	case jsontext.KindNull:
		return dec.SkipValue()
	}
	c.wrong = true
	return dec.SkipValue()
}

// Schema describes the text.
func (criterion) Schema(huma.Registry) *huma.Schema { return &huma.Schema{Type: huma.TypeString} }

// criterion checks a criterion that is given.
func (p *problems) criterion(field string, c criterion) string {
	s := strings.TrimSpace(c.text)
	if c.given && !c.wrong && (s == "" || !searchable(s)) {
		p.add(field, "%s must be plain text of 1 to %d bytes; leave out what does not matter", field, maxID)
	}
	return s
}

func (f *bulkFilter) sessions(p *problems) ports.SessionFilter {
	var filter ports.SessionFilter
	if f == nil {
		return filter
	}
	if word := p.criterion("filter.status", f.Status); word != "" {
		status, err := domain.ParseStatus(word)
		p.check("filter.status", err)
		filter.Status = status
	}
	filter.UserID = p.criterion("filter.userId", f.UserID)
	filter.WorkerID = domain.NormalizeWorkerRef(p.criterion("filter.workerId", f.WorkerID))
	filter.Search = p.criterion("filter.search", f.Search)
	return filter
}

type bulkInput struct {
	ForceScans
	Body    bulkBody
	request service.BulkRequest
}

// Resolve applies the rules of the action.
func (in *bulkInput) Resolve(huma.Context) []error {
	var p problems
	b, r := &in.Body, &in.request
	if b.Action != "" {
		word, err := oneOf(service.BulkRestart, service.BulkDisconnect, service.BulkMigrate, service.BulkDelete)(b.Action)
		p.check("action", err)
		r.Action = word
	}
	r.Filter = b.Filter.sessions(&p)
	r.SessionIDs = asTexts(b.SessionIDs)
	isFiltered := b.Filter != nil && !b.Filter.wrong
	switch {
	case b.SessionIDs != nil && isFiltered:
		p.add("sessionIds", "Give sessionIds or a filter, not both")
	case isFiltered && r.Filter == (ports.SessionFilter{}):
		p.add("filter", "Filter must say something: status, workerId, userId or search")
	case !isFiltered && len(r.SessionIDs) == 0:
		p.add("sessionIds", "sessionIds or a filter is required")
	case len(r.SessionIDs) > service.BulkLimit:
		p.add("sessionIds", "At most %d sessions at once; use several requests", service.BulkLimit)
	}
	for i, id := range r.SessionIDs {
		r.SessionIDs[i] = normalizeSession(id)
		if strings.TrimSpace(id) == "" {
			p.add(fmt.Sprintf("sessionIds[%d]", i), "Session ID is required")
		}
	}
	r.Force = in.Force
	r.TargetWorkerID = p.text("targetWorkerId", b.TargetWorkerID, domain.NormalizeWorkerID)
	if b.TargetWorkerID != "" && r.Action != "" && r.Action != service.BulkMigrate {
		p.add("targetWorkerId", "targetWorkerId goes with the action migrate only")
	}
	if text := optional(&p, "reason", b.Reason, domain.CheckReason); text != nil {
		r.Reason = *text
	}
	return p
}

// bulkResultView says what became of one session.
type bulkResultView struct {
	SessionID string     `json:"sessionId" example:"support"`
	OK        bool       `json:"ok" doc:"The action is recorded" example:"true"`
	Error     *bulkError `json:"error,omitzero" doc:"Why it is not"`
}

type bulkError struct {
	Code    domain.Code `json:"code" example:"SESSION_NOT_FOUND"`
	Message string      `json:"message" example:"Session not found"`
}

type bulkView struct {
	Action  service.BulkAction `json:"action" example:"restart"`
	Total   int                `json:"total" example:"2"`
	OK      int                `json:"ok" example:"1"`
	Failed  int                `json:"failed" example:"1"`
	Results []bulkResultView   `json:"results"`
}

func (a *api) bulkSessions(ctx context.Context, c *requestContext, in *bulkInput) (bulkView, error) {
	results, err := a.Operations.Bulk(ctx, in.request)
	if err != nil {
		return bulkView{}, err
	}
	v := bulkView{Action: in.request.Action, Total: len(results), Results: make([]bulkResultView, len(results))}
	for i, r := range results {
		v.Results[i] = bulkResultView{SessionID: r.SessionID, OK: r.Err == nil}
		if r.Err == nil {
			v.OK++
			continue
		}
		v.Failed++
		f := toHTTPError(r.Err)
		v.Results[i].Error = &bulkError{f.code, f.message}
		if f.status >= 500 {
			c.Log().ErrorContext(ctx, "bulk action failed", "request", c.id, "session", r.SessionID, "error", r.Err)
		}
	}
	c.message = fmt.Sprintf("%s accepted, %d refused", counted(v.OK, "session"), v.Failed)
	return v, nil
}
