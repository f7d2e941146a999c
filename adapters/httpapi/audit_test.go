package httpapi

import (
	"context"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

type stubAudit struct{ *stub }

func (s stubAudit) List(_ context.Context, f ports.AuditFilter) ([]domain.AuditEntry, domain.Cursor, error) {
	entry := domain.AuditEntry{
		ID: "e2", At: noon, Actor: domain.Actor{Kind: domain.ActorUser, ID: "a1", Email: "root@example.com"},
		Action: domain.AuditWorkerDrained, Object: "worker:worker-1", Address: "203.0.113.7", Outcome: domain.AuditSucceeded, Count: 1,
	}
	failed := domain.AuditEntry{
		ID: "e1", At: noon, Actor: domain.Actor{Kind: domain.ActorAnonymous, Email: "ada@example.com"},
		Action: domain.AuditUserSignInFailed, Outcome: domain.AuditFailed, Details: map[string]string{"code": "INVALID_CREDENTIALS"}, Count: 3,
	}
	return []domain.AuditEntry{entry, failed}, domain.Cursor{At: noon, ID: "e1"}, s.note(f)
}

func TestListAudit_Filters_ReachTheService(t *testing.T) {
	after := domain.Cursor{At: noon, ID: "e9"}
	got, s := ask(t, "GET", "/api/v1/admin/audit?actor=Ada@Example.com&action=USER&object=worker:worker-1&since=2026-03-01T00:00:00Z&until=2026-03-02&limit=5&cursor="+after.String(), adminToken, "")
	require.Equal(t, http.StatusOK, got.Code)
	require.Equal(t, ports.AuditFilter{
		Actor: "ada@example.com", Action: "user", Object: "worker:worker-1",
		Since: noon.Truncate(24 * 60 * 60 * 1e9), Until: noon.Truncate(24*60*60*1e9).AddDate(0, 0, 1), After: after, Limit: 5,
	}, s.last)
	require.Len(t, got.Data["entries"], 2)
	require.Equal(t, domain.Cursor{At: noon, ID: "e1"}.String(), got.Data["nextCursor"])
}

func TestListAudit_UnknownAction_IsRefused(t *testing.T) {
	got, _ := ask(t, "GET", "/api/v1/admin/audit?action=worker.danced&cursor=%21", adminToken, "")
	require.Equal(t, http.StatusBadRequest, got.Code)
	require.Len(t, got.Error.Details, 2)
}

func TestListAudit_OrdinaryUser_IsRefused(t *testing.T) {
	got, s := ask(t, "GET", "/api/v1/admin/audit", userToken, "")
	require.Equal(t, http.StatusForbidden, got.Code)
	require.Zero(t, s.calls)
}

// TestCaller_EachCredential_TravelsInTheContext holds who and from where, as services find it in their context.
func TestCaller_EachCredential_TravelsInTheContext(t *testing.T) {
	cfg := config(&stub{})
	spy := &callerSpy{Accounts: cfg.Accounts, Workers: cfg.Workers, Protocol: cfg.Protocol}
	cfg.Accounts, cfg.Workers, cfg.Protocol = spyAccounts{spy.Accounts, spy}, spyWorkers{spy.Workers, spy}, spyProtocol{spy.Protocol, spy}
	h := New(cfg)

	r := request("POST", "/api/v1/auth/login", "", bodies["POST /auth/login"])
	r.Header.Set("User-Agent", "curl/8\x00")
	serve(t, h, r)
	require.Equal(t, domain.Actor{Kind: domain.ActorAnonymous}, spy.seen.Actor)
	require.Equal(t, "192.0.2.1", spy.seen.Address)
	require.Equal(t, "curl/8\uFFFD", spy.seen.UserAgent)

	serve(t, h, request("POST", "/api/v1/workers/w1/drain", adminToken, ""))
	require.Equal(t, domain.Actor{Kind: domain.ActorUser, ID: "a1", Email: "root@example.com"}, spy.seen.Actor)

	serve(t, h, request("GET", "/api/v1/workers/Worker_1/sessions/assigned", fleetToken, ""))
	require.Equal(t, domain.Actor{Kind: domain.ActorWorker, ID: "worker-1"}, spy.seen.Actor)
}

// callerSpy holds the caller of the latest call.
type callerSpy struct {
	service.Accounts
	service.Workers
	Protocol service.WorkerProtocol
	seen     service.Caller
}

type spyAccounts struct {
	service.Accounts
	spy *callerSpy
}

func (s spyAccounts) Login(ctx context.Context, email, password string) (*service.AuthTokens, error) {
	s.spy.seen = service.CallerOf(ctx)
	return s.Accounts.Login(ctx, email, password)
}

type spyWorkers struct {
	service.Workers
	spy *callerSpy
}

func (s spyWorkers) Drain(ctx context.Context, id string, opt service.DrainOptions) (*service.WorkerView, error) {
	s.spy.seen = service.CallerOf(ctx)
	return s.Workers.Drain(ctx, id, opt)
}

type spyProtocol struct {
	service.WorkerProtocol
	spy *callerSpy
}

func (s spyProtocol) AssignedSessions(ctx context.Context, id string) ([]service.AssignedSession, error) {
	s.spy.seen = service.CallerOf(ctx)
	return s.WorkerProtocol.AssignedSessions(ctx, id)
}
