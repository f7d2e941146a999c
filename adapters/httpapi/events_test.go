package httpapi

import (
	"context"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

type stubEvents struct{ *stub }

func (s stubEvents) List(_ context.Context, f ports.EventFilter, after int64, limit int) ([]domain.Event, error) {
	session := someSession("support")
	moved := domain.Event{
		Seq: 4712, Type: domain.EventSessionMigrated, At: noon, UserID: "u1", SessionID: "support", WorkerID: "w2", FromWorker: "w1",
		Generation: 3, Status: domain.Connected, Reason: "drain", Session: &domain.SessionCard{Name: session.Name, CreatedAt: noon},
	}
	sent := domain.Event{Seq: 4711, Type: domain.EventMessageSent, At: noon, UserID: "u1", SessionID: "support", Message: someMessage()}
	return []domain.Event{sent, moved}, s.note([]any{f, after, limit})
}

func TestListEvents_Parameters_ReachTheService(t *testing.T) {
	got, s := ask(t, "GET", "/api/v1/events?after=4000&limit=7", userToken, "")
	require.Equal(t, http.StatusOK, got.Code)
	require.Equal(t, []any{ports.EventFilter{UserID: "u1"}, int64(4000), 7}, s.last)
	require.EqualValues(t, 4712, got.Data["nextAfter"])

	_, s = ask(t, "GET", "/api/v1/sessions/Support/events", userToken, "")
	require.Equal(t, []any{ports.EventFilter{UserID: "u1", SessionID: "support"}, int64(0), 20}, s.last)
}

func TestListEvents_BadParameters_AreRefused(t *testing.T) {
	for _, query := range []string{"after=-1", "after=x", "after=99999999999999999999", "limit=0", "limit=101"} {
		got, s := ask(t, "GET", "/api/v1/events?"+query, userToken, "")
		require.Equal(t, http.StatusBadRequest, got.Code, query)
		require.Zero(t, s.calls)
	}
}
