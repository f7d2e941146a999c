package httpapi

import (
	"context"
	"reflect"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/switchyard-wa/switchyard/adapters/internal/view"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports/service"
)

const (
	exportForm = "CSV has a header with the names of the members, and structured values as JSON. A cell that begins with = + - @, a tab or a carriage " +
		"return has an apostrophe before it, so that no program takes it for a formula. JSON is an array with a row on each line, as lists have them. " +
		"The answer is streamed; if it breaks off, the connection ends without the end of the answer. "
	// exportedAtOnce is how many messages an export of a history reads at once, and with a
	// search, which finds all messages each time.
	exportedAtOnce, exportedBySearch = 100, 1000
)

func exportRoutes() []route {
	return []route{
		operation(route{
			id: "exportMessages", method: get, path: "/sessions/{id}/messages/export", tag: tagMessages, credential: user, limit: perUser, cost: exporting,
			download: true, message: "Messages",
			summary:     "Export a session's messages",
			description: "Downloads the messages that the filters select, newest first. " + exportForm,
			errors:      []domain.Code{domain.CodeSessionNotFound},
		}, (*api).exportMessages),
		operation(route{
			id: "exportReport", method: get, path: "/admin/reports/export", tag: tagAdmin, credential: admin, limit: perUser, cost: exporting,
			download: true, message: "Report",
			summary: "Export users, sessions, messages or workers",
			description: "Downloads the rows that were created in a time, newest first; messages session by session, workers by id. " + exportForm +
				"The audit trail records the export.",
		}, (*api).exportReport),
	}
}

// ExportInput selects the form of an export.
type ExportInput struct {
	Format string `query:"format" doc:"csv or json; csv if it is not given" example:"csv"`
	format string
}

func (in *ExportInput) resolve(p *problems) {
	in.format = "csv"
	parse(p, "format", in.Format, &in.format, oneOf("csv", "json"))
}

type exportMessagesInput struct {
	SessionPath
	HistoryInput
	ExportInput
}

// Resolve reads the parameters.
func (in *exportMessagesInput) Resolve(huma.Context) []error {
	var p problems
	in.HistoryInput.resolve(&p)
	in.ExportInput.resolve(&p)
	return p
}

func (a *api) exportMessages(ctx context.Context, c *requestContext, in *exportMessagesInput) ([]view.MessageView, error) {
	session, err := a.Sessions.Get(ctx, c.principal.UserID, c.sessionRef())
	if err != nil {
		return nil, err
	}
	f := in.filter
	f.Limit = exportedAtOnce
	if f.Search != "" {
		f.Limit = exportedBySearch
	}
	c.download = &download{
		format: in.format, filename: "messages-" + session.ID, columns: columnsOf[view.MessageView](),
		rows: func(write func(row any) error) error { return a.exportHistory(ctx, c, session.ID, f, write) },
	}
	return nil, nil
}

// exportHistory calls write with the messages of a session. It asks for the messages as the
// user each time: the export ends when the session does.
func (a *api) exportHistory(ctx context.Context, c *requestContext, sessionID string, f domain.MessageFilter, write func(row any) error) error {
	for {
		var page []*domain.Message
		var next domain.Cursor
		err := c.readLongIf(ctx, isLongHistory(&f), func(ctx context.Context) (err error) {
			page, next, err = a.Messages.History(ctx, c.principal.UserID, sessionID, f)
			return err
		})
		if err != nil {
			return err
		}
		for _, m := range page {
			if err := write(view.Message(m)); err != nil {
				return err
			}
		}
		if next == (domain.Cursor{}) {
			return nil
		}
		f.After = next
	}
}

type exportReportInput struct {
	ExportInput
	Type      string `query:"type" required:"true" doc:"users, sessions, messages or workers" example:"sessions"`
	StartDate string `query:"startDate" doc:"The first day, or a time as RFC 3339" example:"2026-03-01"`
	EndDate   string `query:"endDate" doc:"The last day, or a time as RFC 3339" example:"2026-03-31"`
	request   service.ExportRequest
}

// Resolve reads the parameters. An end that is a day includes the day.
func (in *exportReportInput) Resolve(huma.Context) []error {
	var p problems
	in.ExportInput.resolve(&p)
	r := &in.request
	r.Format = in.format
	parse(&p, "type", in.Type, &r.Type, oneOf(service.ExportUsers, service.ExportSessions, service.ExportMessages, service.ExportWorkers))
	p.time("startDate", in.StartDate, &r.Since)
	p.time("endDate", in.EndDate, &r.Until)
	if day, err := time.Parse(time.DateOnly, in.EndDate); err == nil && day.Equal(r.Until) {
		r.Until = day.AddDate(0, 0, 1)
	}
	return p
}

func (a *api) exportReport(ctx context.Context, c *requestContext, in *exportReportInput) ([]exportedRow, error) {
	columns := map[service.ExportType][]string{
		service.ExportUsers: columnsOf[UserView](), service.ExportSessions: columnsOf[view.SessionView]("worker"),
		service.ExportMessages: columnsOf[view.MessageView](), service.ExportWorkers: columnsOf[WorkerView](),
	}
	c.download = &download{
		format: in.format, filename: string(in.request.Type), columns: columns[in.request.Type],
		rows: func(write func(row any) error) error {
			return a.Operations.Export(ctx, in.request, func(page service.ExportPage) error { return writeExport(page, write) })
		},
	}
	return nil, nil
}

// exportedRow stands for a row of a report in the document.
type exportedRow struct{}

// Schema describes the row.
func (exportedRow) Schema(r huma.Registry) *huma.Schema {
	s := &huma.Schema{Description: "A user, a session, a message or a worker"}
	for _, t := range []reflect.Type{
		reflect.TypeFor[UserView](), reflect.TypeFor[view.SessionView](), reflect.TypeFor[view.MessageView](), reflect.TypeFor[WorkerView](),
	} {
		s.AnyOf = append(s.AnyOf, r.Schema(t, true, ""))
	}
	return s
}

// writeExport calls write with the rows of a page.
func writeExport(page service.ExportPage, write func(row any) error) error {
	for _, u := range page.Users {
		if err := write(viewUser(u)); err != nil {
			return err
		}
	}
	for _, s := range page.Sessions {
		if err := write(view.Session(s, nil)); err != nil {
			return err
		}
	}
	for _, m := range page.Messages {
		if err := write(view.Message(m)); err != nil {
			return err
		}
	}
	for _, w := range page.Workers {
		if err := write(viewWorker(w)); err != nil {
			return err
		}
	}
	return nil
}

// columnsOf returns the names of the members of a view, without some.
func columnsOf[V any](without ...string) []string {
	return slices.DeleteFunc(jsonNames(reflect.TypeFor[V]()), func(name string) bool { return slices.Contains(without, name) })
}
