package operations_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// export returns the ids of the rows of an export, and the number of its pages.
func (f *fixture) export(t *testing.T, r service.ExportRequest) (ids []string, pages int) {
	t.Helper()
	require.NoError(t, f.operations.Export(t.Context(), r, func(p service.ExportPage) error {
		pages++
		for _, u := range p.Users {
			ids = append(ids, u.ID)
		}
		for _, s := range p.Sessions {
			ids = append(ids, s.ID)
		}
		for _, m := range p.Messages {
			ids = append(ids, m.ID)
		}
		for _, w := range p.Workers {
			ids = append(ids, w.ID)
		}
		return nil
	}))
	return ids, pages
}

// putMessages stores messages of a session, a minute apart.
func (f *fixture) putMessages(t *testing.T, sessionID string, n int) {
	t.Helper()
	require.NoError(t, f.Store.Update(t.Context(), func(ctx context.Context, tx *ports.Tx) error {
		for i := range n {
			m := &domain.Message{
				ID: fmt.Sprintf("%s-%03d", sessionID, i), SessionID: sessionID, UserID: f.user, Direction: domain.Outbound,
				Type: domain.TypeText, Status: domain.MessageSent, CreatedAt: f.Now().Add(time.Duration(i) * time.Minute),
			}
			if err := tx.Messages.Put(ctx, m); err != nil {
				return err
			}
		}
		return nil
	}))
}

func TestExport_EveryType_ReadsAllRows(t *testing.T) {
	f := newFixture(t, 3)
	f.AddWorker("w2", 5)
	f.putMessages(t, "s0", 250)
	f.putMessages(t, "s2", 1)
	users, _ := f.export(t, service.ExportRequest{Type: service.ExportUsers})
	require.Equal(t, []string{f.user}, users)
	all, _ := f.export(t, service.ExportRequest{Type: service.ExportSessions})
	require.ElementsMatch(t, []string{"s0", "s1", "s2"}, all)
	workers, _ := f.export(t, service.ExportRequest{Type: service.ExportWorkers})
	require.Equal(t, []string{"w1", "w2"}, workers)
	messages, pages := f.export(t, service.ExportRequest{Type: service.ExportMessages})
	require.Len(t, messages, 251)
	require.Contains(t, messages, "s2-000")
	require.Equal(t, 4, pages, "100, 100 and 50 of one session, and 1 of another")
}

func TestExport_Times_BoundTheRows(t *testing.T) {
	f := newFixture(t, 1)
	f.putMessages(t, "s0", 10)
	start := f.Now()
	messages, _ := f.export(t, service.ExportRequest{Type: service.ExportMessages, Since: start.Add(3 * time.Minute), Until: start.Add(5 * time.Minute)})
	require.Equal(t, []string{"s0-004", "s0-003"}, messages)
	for _, kind := range []service.ExportType{service.ExportUsers, service.ExportSessions, service.ExportWorkers} {
		rows, _ := f.export(t, service.ExportRequest{Type: kind, Since: start.Add(time.Hour)})
		require.Empty(t, rows, kind)
		rows, _ = f.export(t, service.ExportRequest{Type: kind, Until: start.Add(-365 * 24 * time.Hour)})
		require.Empty(t, rows, kind)
	}
}

func TestExport_Begins_IsAudited(t *testing.T) {
	f := newFixture(t, 1)
	stop := errors.New("stop")
	err := f.operations.Export(t.Context(), service.ExportRequest{Type: service.ExportSessions, Format: "csv"}, func(service.ExportPage) error { return stop })
	require.ErrorIs(t, err, stop)
	var found []domain.AuditEntry
	require.NoError(t, f.Store.View(t.Context(), func(ctx context.Context, tx *ports.Tx) (err error) {
		found, err = tx.Audit.List(ctx, ports.AuditFilter{Action: domain.AuditReportExported, Limit: 10})
		return err
	}))
	require.Len(t, found, 1)
	require.Equal(t, "report:sessions", found[0].Object)
	require.Equal(t, map[string]string{"format": "csv"}, found[0].Details)
}

func TestExport_UnknownType_IsRefused(t *testing.T) {
	err := newFixture(t, 0).operations.Export(t.Context(), service.ExportRequest{Type: "secrets"}, nil)
	var refused *domain.Error
	require.ErrorAs(t, err, &refused)
	require.Equal(t, domain.Invalid, refused.Kind)
}
