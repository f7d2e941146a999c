package apptest_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/app/apptest"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

func TestBulk_EachAction_ReportsEverySession(t *testing.T) {
	h := apptest.New(t).Workers("w1", 50)
	ids := connectSessions(h, 4)
	others := connectSessions(h, 2)
	h.Workers("w2", 50)
	user := h.Session(ids[0]).UserID
	bulk := func(b service.BulkRequest) (codes []domain.Code) {
		t.Helper()
		results, err := h.Orchestrator.Operations.Bulk(t.Context(), b)
		require.NoError(t, err)
		for _, r := range results {
			codes = append(codes, domain.CodeOf(r.Err))
		}
		h.Advance(30 * time.Second)
		return codes
	}
	require.Equal(t, []domain.Code{"", "", "", ""}, bulk(service.BulkRequest{Action: service.BulkMigrate, Filter: ports.SessionFilter{UserID: user}}))
	require.Equal(t, map[string]int{"worker-w2": 4}, connectedOn(t, h, ids))
	require.Equal(t, map[string]int{"worker-w1": 2}, connectedOn(t, h, others))

	require.Equal(t, []domain.Code{"", domain.CodeSessionNotFound, ""},
		bulk(service.BulkRequest{Action: service.BulkDisconnect, SessionIDs: []string{ids[0], "nobody", ids[1], ids[0]}}))
	require.Empty(t, h.Owners(ids[0]))
	require.Empty(t, h.Session(ids[1]).WorkerID)
	require.Equal(t, []domain.Code{domain.CodeInvalidState, ""}, bulk(service.BulkRequest{Action: service.BulkRestart, SessionIDs: []string{ids[0], ids[2]}}))
	connectedOn(t, h, ids[2:])
	require.Equal(t, []domain.Code{"", ""}, bulk(service.BulkRequest{Action: service.BulkDelete, Filter: ports.SessionFilter{WorkerID: "worker-w2"}}))
	require.Empty(t, h.Owners(ids[2]))
	list, total, err := h.Orchestrator.Operations.ListSessions(t.Context(), ports.SessionFilter{}, ports.Page{Limit: 3})
	require.NoError(t, err)
	require.Equal(t, []int{4, 3}, []int{total, len(list)})
	require.NoError(t, h.Orchestrator.Operations.DeleteSession(t.Context(), others[0]))
	require.Equal(t, domain.CodeSessionNotFound, domain.CodeOf(h.Orchestrator.Operations.DeleteSession(t.Context(), others[0])))
	require.Empty(t, h.Owners(others[0]))

	for _, b := range []service.BulkRequest{
		{Action: service.BulkRestart}, {Action: "explode", SessionIDs: ids}, {Action: service.BulkRestart, SessionIDs: make1001()},
	} {
		_, err := h.Orchestrator.Operations.Bulk(t.Context(), b)
		require.Equal(t, domain.CodeValidation, domain.CodeOf(err))
	}
}

func make1001() (ids []string) {
	for i := range service.BulkLimit + 1 {
		ids = append(ids, fmt.Sprint("session-", i))
	}
	return ids
}
