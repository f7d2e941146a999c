package operations

import (
	"context"
	"time"

	"github.com/switchyard-wa/switchyard/app/internal/apperr"
	"github.com/switchyard-wa/switchyard/app/internal/audit"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// exportPage is how many rows an export reads at once. A message may hold a megabyte.
const exportPage = 100

// Export reads rows page by page, each page in a transaction of its own, and calls fn
// with the pages. Users and sessions come newest first; so do the messages of each
// session, one session after the other.
func (o *Operations) Export(ctx context.Context, r service.ExportRequest, fn func(service.ExportPage) error) error {
	switch r.Type {
	case service.ExportUsers, service.ExportSessions, service.ExportMessages, service.ExportWorkers:
	default:
		return domain.Errorf(domain.Invalid, domain.CodeValidation, "Type must be one of users, sessions, messages, workers")
	}
	err := o.Update(ctx, func(ctx context.Context, tx *ports.Tx) error {
		return o.Trail().Record(ctx, tx, domain.AuditReportExported, audit.Object("report", string(r.Type)),
			"format", r.Format, "since", formatTime(r.Since), "until", formatTime(r.Until))
	})
	if err != nil {
		return apperr.Public(err)
	}
	within := ports.Range{Since: r.Since, Until: r.Until}
	switch r.Type {
	case service.ExportUsers:
		return o.exportUsers(ctx, within, fn)
	case service.ExportSessions:
		return o.exportSessions(ctx, within, func(page []*domain.Session) error { return fn(service.ExportPage{Sessions: page}) })
	case service.ExportMessages:
		return o.exportSessions(ctx, ports.Range{}, func(page []*domain.Session) error {
			for _, s := range page {
				if err := o.exportMessages(ctx, s.ID, within, fn); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return o.exportWorkers(ctx, within, fn)
}

// formatTime returns a time for the audit trail, or the empty string for the zero time.
func formatTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// exportRange calls fn with the pages of a range.
func exportRange[V any](
	r ports.Range, read func(r ports.Range) ([]V, error), cursor func(V) domain.Cursor, fn func([]V) error,
) error {
	for r.Limit = exportPage; ; {
		page, err := read(r)
		if err != nil {
			return apperr.Public(err)
		}
		if len(page) > 0 {
			if err := fn(page); err != nil {
				return err
			}
		}
		if len(page) < exportPage {
			return nil
		}
		r.After = cursor(page[len(page)-1])
	}
}

func (o *Operations) exportUsers(ctx context.Context, r ports.Range, fn func(service.ExportPage) error) error {
	read := func(r ports.Range) (page []*domain.User, err error) {
		err = o.Store.View(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
			page, err = tx.Users.ListRange(ctx, r)
			return err
		})
		return page, err
	}
	cursor := func(u *domain.User) domain.Cursor { return domain.Cursor{At: u.CreatedAt, ID: u.ID} }
	return exportRange(r, read, cursor, func(page []*domain.User) error { return fn(service.ExportPage{Users: page}) })
}

func (o *Operations) exportSessions(ctx context.Context, r ports.Range, fn func([]*domain.Session) error) error {
	read := func(r ports.Range) (page []*domain.Session, err error) {
		err = o.Store.View(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
			page, err = tx.Sessions.ListRange(ctx, r)
			return err
		})
		return page, err
	}
	return exportRange(r, read, func(s *domain.Session) domain.Cursor { return domain.Cursor{At: s.CreatedAt, ID: s.ID} }, fn)
}

func (o *Operations) exportMessages(ctx context.Context, sessionID string, r ports.Range, fn func(service.ExportPage) error) error {
	read := func(r ports.Range) (page []*domain.Message, err error) {
		err = o.Store.View(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
			page, err = tx.Messages.List(ctx, sessionID, domain.MessageFilter{Since: r.Since, Until: r.Until, After: r.After, Limit: r.Limit})
			return err
		})
		return page, err
	}
	cursor := func(m *domain.Message) domain.Cursor { return domain.Cursor{At: m.CreatedAt, ID: m.ID} }
	return exportRange(r, read, cursor, func(page []*domain.Message) error { return fn(service.ExportPage{Messages: page}) })
}

// exportWorkers reads the workers by id.
func (o *Operations) exportWorkers(ctx context.Context, r ports.Range, fn func(service.ExportPage) error) error {
	var all []*domain.Worker
	err := o.Store.View(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		all, _, err = tx.Workers.List(ctx, ports.WorkerFilter{}, ports.Page{})
		return err
	})
	if err != nil {
		return apperr.Public(err)
	}
	var page []*service.WorkerView
	for _, w := range all {
		if w.CreatedAt.Before(r.Since) || !r.Until.IsZero() && !w.CreatedAt.Before(r.Until) {
			continue
		}
		page = append(page, &service.WorkerView{Worker: w})
	}
	return fn(service.ExportPage{Workers: page})
}
