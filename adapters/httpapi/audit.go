package httpapi

import (
	"cmp"
	"context"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/switchyard-wa/switchyard/adapters/internal/view"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

func auditRoutes() []route {
	return []route{
		operation(route{
			id: "listAudit", method: get, path: "/admin/audit", tag: tagAdmin, credential: admin, limit: perUser, message: "Audit trail",
			summary: "Who did what, from where, and how it ended",
			description: "Lists the audit trail, newest first: sign-ins and their failures, passwords, emails, API keys, tiers, roles, and every action of an " +
				"administrator and of the command line. Equal failures of one minute are one entry with a count. Entries are kept for as long as the server's " +
				"--audit-retention says.",
		}, (*api).listAudit),
	}
}

type listAuditInput struct {
	Actor  string `query:"actor" doc:"Id or email of a user, id of a worker, or a kind: user, cli, worker, anonymous or system" example:"ada@example.com"`
	Action string `query:"action" doc:"An action, or the part before its dot for all that begin with it" example:"worker.drained"`
	Object string `query:"object" doc:"What was acted on, as kind:id, or a kind alone" example:"worker:worker-1"`
	Since  string `query:"since" doc:"RFC 3339, a date, or milliseconds (or seconds) since 1970" example:"2026-03-01T00:00:00Z"`
	Until  string `query:"until" doc:"Like since" example:"2026-03-02"`
	Cursor string `query:"cursor" doc:"nextCursor of the page before"`
	Limit  int    `query:"limit" minimum:"1" maximum:"100" doc:"How many to return; 20 if it is not given" example:"20"`
	filter ports.AuditFilter
}

// Resolve reads the parameters.
func (in *listAuditInput) Resolve(huma.Context) []error {
	var p problems
	f := &in.filter
	f.Limit = cmp.Or(in.Limit, defaultLimit)
	f.Actor = strings.ToLower(p.searchText("actor", in.Actor))
	f.Object = p.searchText("object", in.Object)
	parse(&p, "action", in.Action, &f.Action, domain.ParseAuditAction)
	p.time("since", in.Since, &f.Since)
	p.time("until", in.Until, &f.Until)
	parse(&p, "cursor", in.Cursor, &f.After, domain.ParseCursor)
	return p
}

// actorView is who did something.
type actorView struct {
	Kind  domain.ActorKind `json:"kind" doc:"user, cli, worker, anonymous or system" example:"user"`
	ID    view.String      `json:"id" doc:"Of the user or worker; of cli the user of the operating system" example:"01JX3B5ZKQ7M"`
	Email view.String      `json:"email" doc:"Of the user; of a failed sign-in the email that was tried" example:"ada@example.com"`
}

// auditView is one entry of the audit trail.
type auditView struct {
	ID      string              `json:"id" example:"0190f3c2-7b1a-7c3e-9d52-1f6c2a4b8e70"`
	At      view.Time           `json:"at"`
	Actor   actorView           `json:"actor"`
	Action  domain.AuditAction  `json:"action" doc:"What was done, such as user.signed-in or worker.drained" example:"worker.drained"`
	Object  view.String         `json:"object" doc:"What it was done to, as kind:id or a kind alone" example:"worker:worker-1"`
	Address view.String         `json:"address" doc:"Where the call came from" example:"203.0.113.7"`
	Outcome domain.AuditOutcome `json:"outcome" doc:"SUCCEEDED or FAILED" example:"SUCCEEDED"`
	Details map[string]string   `json:"details" doc:"A few more facts; of a failure the code of its error"`
	Count   int                 `json:"count" doc:"How often it happened within the minute" example:"1"`
}

func viewAudit(e domain.AuditEntry) auditView {
	details := e.Details
	if details == nil {
		details = map[string]string{}
	}
	return auditView{
		ID: e.ID, At: view.Time(e.At), Actor: actorView{e.Actor.Kind, view.String(e.Actor.ID), view.String(e.Actor.Email)},
		Action: e.Action, Object: view.String(e.Object), Address: view.String(e.Address),
		Outcome: e.Outcome, Details: details, Count: e.Count,
	}
}

type auditListView struct {
	Entries    []auditView `json:"entries"`
	NextCursor view.String `json:"nextCursor" doc:"Null on the last page" example:"AAYxyz"`
}

func (a *api) listAudit(ctx context.Context, _ *requestContext, in *listAuditInput) (auditListView, error) {
	list, next, err := a.Audit.List(ctx, in.filter)
	if err != nil {
		return auditListView{}, err
	}
	views := make([]auditView, len(list))
	for i, e := range list {
		views[i] = viewAudit(e)
	}
	return auditListView{views, view.String(next.String())}, nil
}

// maxUserAgent is the length in bytes to which a User-Agent is cut.
const maxUserAgent = 200

// caller returns who calls, for the services.
func (c *requestContext) caller() service.Caller {
	caller := service.Caller{Address: c.remoteIP(), UserAgent: clean(c.r.UserAgent(), maxUserAgent)}
	switch {
	case c.principal.UserID != "":
		caller.Actor = domain.Actor{Kind: domain.ActorUser, ID: c.principal.UserID, Email: c.principal.Email}
	case c.key.UserID != "":
		caller.Actor = domain.Actor{Kind: domain.ActorUser, ID: c.key.UserID}
	case c.worker:
		caller.Actor = domain.Actor{Kind: domain.ActorWorker, ID: c.holder.WorkerID}
		if c.holder.IsFleet() && c.route != nil {
			caller.Actor.ID = c.workerRef()
		}
	default:
		caller.Actor = domain.Actor{Kind: domain.ActorAnonymous}
	}
	return caller
}
