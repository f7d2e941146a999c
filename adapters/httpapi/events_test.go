package httpapi

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

type stubEvents struct{ *stub }

func (s stubEvents) List(_ context.Context, f ports.EventFilter, after int64, limit int) ([]domain.Event, error) {
	session := someSession("support")
	moved := domain.Event{
		Seq: 4712, Type: domain.EventSessionMigrated, At: noon, UserID: "u1", SessionID: "support", WorkerID: "w2", FromWorker: "w1",
		Generation: 3, Status: domain.Connected, Reason: "drain", Session: &domain.SessionSnapshot{Name: session.Name, CreatedAt: noon},
	}
	sent := domain.Event{Seq: 4711, Type: domain.EventMessageSent, At: noon, UserID: "u1", SessionID: "support", Message: someMessage()}
	return []domain.Event{sent, moved}, s.note([]any{f, after, limit})
}

func (s stubEvents) Subscribe(_ context.Context, f ports.EventFilter, after int64) (service.EventSubscription, error) {
	return new(quietSubscription), s.note([]any{f, after})
}

// quietSubscription has no event.
type quietSubscription struct{}

func (*quietSubscription) Next(ctx context.Context) ([]domain.Event, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func (*quietSubscription) Position() int64 { return 4712 }

func (*quietSubscription) Close() {}

func TestListEvents_Parameters_ReachTheService(t *testing.T) {
	got, s := ask(t, "GET", "/api/v1/events?after=4000&limit=7", userToken, "")
	require.Equal(t, http.StatusOK, got.Code)
	require.Equal(t, []any{ports.EventFilter{UserID: "u1"}, int64(4000), 7}, s.last)
	require.EqualValues(t, 4712, got.Data["nextAfter"])

	_, s = ask(t, "GET", "/api/v1/sessions/Support/events", userToken, "")
	require.Equal(t, []any{ports.EventFilter{UserID: "u1", SessionID: "support"}, int64(0), 20}, s.last)
}

func TestListEvents_BadParameters_AreRefused(t *testing.T) {
	for _, query := range []string{"after=-1", "after=x", "after=99999999999999999999", "limit=0", "limit=101",
		"after=1&after=2", "after=1&after=1", "after=%2B1", "after=0001", "limit=5&limit=6"} {
		got, s := ask(t, "GET", "/api/v1/events?"+query, userToken, "")
		require.Equal(t, http.StatusBadRequest, got.Code, query)
		require.Zero(t, s.calls)
	}
}

func TestStream_NothingHappens_SendsKeepAlivesWithThePosition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := new(stub)
		r := request("GET", "/api/v1/events", userToken, "")
		r.Header.Set("Accept", "application/json;q=0.1, text/event-stream")
		ctx, cancel := context.WithTimeout(r.Context(), 29*time.Second)
		defer cancel()
		w := serveRaw(New(config(s)), r.WithContext(ctx))
		require.Equal(t, "text/event-stream", w.Header().Get("Content-Type"))
		require.Equal(t, "retry: 2000\n\n: still here\nid: 4712\n\n: still here\nid: 4712\n\n", w.Body.String())
		require.Equal(t, []any{ports.EventFilter{UserID: "u1"}, int64(service.FromNow)}, s.last)
	})
}

func TestStream_LastEventID_IsWhereItBegins(t *testing.T) {
	for _, c := range []struct {
		query, id string
		want      int64
	}{{"", "4711", 4711}, {"?after=7", "", 7}, {"?after=0", "", 0}, {"?after=7", "4711", 4711}, {"", "", service.FromNow}} {
		s := new(stub)
		r := request("GET", "/api/v1/events"+c.query, userToken, "")
		r.Header.Set("Accept", "text/event-stream")
		r.Header.Set("Last-Event-ID", c.id)
		ctx, cancel := context.WithCancel(r.Context())
		cancel()
		serveRaw(New(config(s)), r.WithContext(ctx))
		require.Equal(t, []any{ports.EventFilter{UserID: "u1"}, c.want}, s.last)
	}
}

func TestStream_AcceptWithQuality_IsHonoured(t *testing.T) {
	for accept, isStream := range map[string]bool{
		"text/event-stream;q=0":                        false,
		"text/event-stream; Q=0.000, application/json": false,
		"application/json, text/event-stream ; q=0.0":  false,
		"application/json;q=0, text/event-stream":      true,
		"text/event-stream;q=0.001":                    true,
		"Text/Event-Stream; charset=utf-8; q=1":        true,
		"text/event-stream; q":                         true,
		"text/event-stream-of-another-kind":            false,
		"*/*":                                          false,
	} {
		r := request("GET", "/api/v1/events", userToken, "")
		r.Header.Set("Accept", accept)
		ctx, cancel := context.WithCancel(r.Context())
		if isStream {
			cancel() // ends it
		}
		w := serveRaw(New(config(new(stub))), r.WithContext(ctx))
		cancel()
		require.Equal(t, http.StatusOK, w.Code, accept)
		require.Equal(t, isStream, w.Header().Get("Content-Type") == "text/event-stream", accept)
	}
}

func TestStream_LastEventIDNotInPlainDigits_IsRefused(t *testing.T) {
	for _, ids := range [][]string{{"+1"}, {"0001"}, {"-1"}, {"00"}, {"1.0"}, {"1 2"}, {"99999999999999999999"}, {"1", "2"}} {
		s := new(stub)
		r := request("GET", "/api/v1/events", userToken, "")
		r.Header.Set("Accept", "text/event-stream")
		r.Header["Last-Event-Id"] = ids
		ctx, cancel := context.WithCancel(r.Context())
		cancel()
		w := serveRaw(New(config(s)), r.WithContext(ctx))
		require.Equal(t, http.StatusBadRequest, w.Code, ids)
		require.Zero(t, s.calls)
	}
}

// A parameter that is given twice is refused on every route.
func TestQuery_ParameterGivenTwice_IsNamed(t *testing.T) {
	for path, c := range map[string]struct{ token, query, field string }{
		"GET /sessions":                  {userToken, "status=CONNECTED&status=ERROR", "status"},
		"GET /sessions/support/events":   {userToken, "after=1&after=1", "after"},
		"POST /sessions/support/connect": {userToken, "wait=1s&wait=2s", "wait"},
		"GET /admin/users":               {adminToken, "page=1&limit=5&page=2", "page"},
		"GET /admin/audit":               {adminToken, "actor=a&actor=b", "actor"},
		"POST /admin/rebalance":          {adminToken, "force=true&force=true", "force"},
	} {
		method, route, _ := strings.Cut(path, " ")
		got, s := ask(t, method, "/api/v1"+route+"?"+c.query, c.token, "")
		require.Equal(t, http.StatusBadRequest, got.Code, path)
		require.Contains(t, got.Body.String(), `{"field":"`+c.field+`","message":"`+c.field+` must be given once"}`, path)
		require.Equal(t, 1, strings.Count(got.Body.String(), `"field"`), path)
		require.Zero(t, s.calls, path)
	}
	got, _ := ask(t, "GET", "/api/v1/sessions?utm=1&utm=2", userToken, "")
	require.Equal(t, http.StatusOK, got.Code, "parameters of nobody are ignored")
}

func TestLists_CursorGivenTwice_IsRefused(t *testing.T) {
	for path, token := range map[string]string{"/sessions/support/messages": userToken, "/admin/audit": adminToken} {
		got, s := ask(t, "GET", "/api/v1"+path+"?cursor=a&cursor=b", token, "")
		require.Equal(t, http.StatusBadRequest, got.Code, path)
		require.Zero(t, s.calls)
		got, s = ask(t, "GET", "/api/v1"+path+"?limit=3&limit=4", token, "")
		require.Equal(t, http.StatusBadRequest, got.Code, path)
		require.Zero(t, s.calls)
	}
}
