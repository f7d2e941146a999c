package httpapi

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

func TestMigrate_TargetAndReason_ReachTheService(t *testing.T) {
	path := "/api/v1/admin/sessions/Support_1/migrate"
	got, s := ask(t, "POST", path, adminToken, `{"targetWorkerId":" Worker 2 ","reason":" too hot "}`)
	require.Equal(t, http.StatusOK, got.Code, got.Body)
	assert.Equal(t, []any{"support-1", service.MigrateOptions{TargetWorkerID: "worker-2", Reason: "too hot"}}, s.last)
	assert.Equal(t, "Session is migrating", got.Message)
	assert.Nil(t, got.Data["migration"].(map[string]any)["duration"])
	for _, nothing := range []string{``, `{}`, `{"targetWorkerId":null,"reason":null}`, `{"targetWorkerId":"","reason":""}`} {
		_, s = ask(t, "POST", path, adminToken, nothing)
		assert.Equal(t, []any{"support-1", service.MigrateOptions{}}, s.last)
	}
	_, s = ask(t, "POST", path+"?force=true", adminToken, `{}`)
	assert.Equal(t, []any{"support-1", service.MigrateOptions{Force: true}}, s.last)
	for body, fields := range map[string][]string{
		`{"targetWorkerId":7,"reason":{}}`:                                   {"targetWorkerId", "reason"},
		`{"targetWorkerId":"!","reason":"` + strings.Repeat("x", 256) + `"}`: {"targetWorkerId", "reason"},
		`{"targetWorkerId":"worker-2",`:                                      {"body"},
	} {
		got, s := ask(t, "POST", path, adminToken, body)
		assert.Equal(t, http.StatusBadRequest, got.Code)
		assert.Equal(t, fields, got.fields(), body)
		assert.Zero(t, s.calls)
	}
}

func TestMigrations_FiltersAndIDs_ReachTheService(t *testing.T) {
	_, s := ask(t, "GET", "/api/v1/admin/migrations?sessionId=Support_1&workerId=Worker_2&status=completed&kind=failover&batchId=b1&page=3&limit=10", adminToken, "")
	assert.Equal(t, []any{ports.MigrationFilter{
		SessionID: "support-1", WorkerID: "worker-2", BatchID: "b1", Kind: domain.MigrationByFailover, Status: domain.MigrationCompleted,
	}, ports.Page{Offset: 20, Limit: 10}}, s.last)
	got, _ := ask(t, "GET", "/api/v1/admin/migrations?status=gone&kind=whim&limit=0", adminToken, "")
	assert.Equal(t, http.StatusBadRequest, got.Code)
	assert.Equal(t, []string{"status", "kind", "limit"}, got.fields())

	got, s = ask(t, "POST", "/api/v1/admin/migrations/batch-1/cancel", adminToken, "")
	assert.Equal(t, "batch-1", s.last)
	assert.Equal(t, "1 migration cancelled; 3 had begun and take their course", got.Message)
}

func TestRebalance_DryRun_FromQueryOrBody(t *testing.T) {
	for query, dry := range map[string]bool{"": false, "?dryRun=true": true, "?dryRun=0": false} {
		got, s := ask(t, "POST", "/api/v1/admin/rebalance"+query, adminToken, "")
		assert.Equal(t, http.StatusOK, got.Code)
		assert.Equal(t, dry, s.last)
		assert.Equal(t, dry, got.Data["dryRun"])
		assert.Equal(t, dry, got.Data["batchId"] == nil)
	}
	for _, c := range []struct {
		query, body string
		dry         bool
	}{{"", `{"dryRun":true}`, true}, {"", `{"dryRun":false}`, false}, {"?dryRun=true", `{"dryRun":null}`, true}, {"?dryRun=false", `{"dryRun":true}`, true}} {
		_, s := ask(t, "POST", "/api/v1/admin/rebalance"+c.query, adminToken, c.body)
		assert.Equal(t, c.dry, s.last, c)
	}
	for _, c := range []struct{ query, body, field string }{
		{"?dryRun=maybe", "", "dryRun"}, {"?dryRun", "", "dryRun"}, {"?dryRun=false&dryRun=true", "", "dryRun"}, {"?dryrun=true", "", "dryrun"},
		{"", `{"dryrun":true}`, "dryrun"}, {"", `{"dryRun":"true"}`, "dryRun"}, {"", `{"dryRun":true`, "body"},
	} {
		got, s := ask(t, "POST", "/api/v1/admin/rebalance"+c.query, adminToken, c.body)
		assert.Equal(t, http.StatusBadRequest, got.Code, c)
		assert.Equal(t, []string{c.field}, got.fields(), c)
		assert.Zero(t, s.calls)
	}
}

func TestBulk_ActionsAndFilters_ReachTheService(t *testing.T) {
	path := "/api/v1/admin/sessions/bulk"
	got, s := ask(t, "POST", path, adminToken, `{"action":"RESTART","sessionIds":["Support_1","sales"],"targetWorkerId":null}`)
	require.Equal(t, http.StatusOK, got.Code, got.Body)
	assert.Equal(t, service.BulkRequest{Action: service.BulkRestart, SessionIDs: []string{"support-1", "sales"}}, s.last)
	assert.Equal(t, "1 session accepted, 2 refused", got.Message)
	assert.NotContains(t, got.Body.String(), "10.0.0.9")
	_, s = ask(t, "POST", path, adminToken,
		`{"action":"migrate","filter":{"status":"connected","workerId":"Worker_1","userId":"u1","search":"desk"},"targetWorkerId":"Worker 2","reason":"r"}`)
	assert.Equal(t, service.BulkRequest{
		Action: service.BulkMigrate, TargetWorkerID: "worker-2", Reason: "r",
		Filter: ports.SessionFilter{Status: domain.Connected, WorkerID: "worker-1", UserID: "u1", Search: "desk"},
	}, s.last)
	_, s = ask(t, "POST", path, adminToken, `{"action":"delete","sessionIds":null,"filter":{"userId":"u1"}}`)
	assert.Equal(t, ports.SessionFilter{UserID: "u1"}, s.last.(service.BulkRequest).Filter)

	for body, fields := range map[string][]string{
		``: {"action", "sessionIds"},
		`{"action":"explode","sessionIds":[7],"targetWorkerId":"?","reason":7}`:             {"sessionIds[0]", "reason", "action", "targetWorkerId"},
		`{"action":"restart","sessionIds":["a"],"filter":{"userId":"u1"}}`:                  {"sessionIds"},
		`{"action":"restart","sessionIds":["abc"],"targetWorkerId":"worker-2"}`:             {"targetWorkerId"},
		`{"action":"restart","sessionIds":["abc","  "]}`:                                    {"sessionIds[1]"},
		`{"action":"restart","sessionIds":[]}`:                                              {"sessionIds"},
		`{"action":"restart","filter":{}}`:                                                  {"filter"},
		`{"action":"restart","filter":{"status":"gone","userId":7}}`:                        {"filter.userId", "filter.status"},
		`{"action":"delete","filter":{"userid":"u1"}}`:                                      {"filter.userid"},
		`{"action":"delete","filter":{"status":"CONNECTED","userid":"u1"}}`:                 {"filter.userid"},
		`{"action":"delete","filter":{"status":"CONNECTED","userId":""}}`:                   {"filter.userId"},
		`{"action":"delete","filter":{"status":"CONNECTED","userId":null,"workerId":" "}}`:  {"filter.userId", "filter.workerId"},
		`{"action":"delete","filter":{"userId":"u1","status":"","search":""}}`:              {"filter.status", "filter.search"},
		`{"action":"delete","filter":{"search":"` + strings.Repeat("x", 256) + `"}}`:        {"filter.search"},
		`{"action":"delete","filter":{"status":"CONNECTED"},"userId":"u1"}`:                 {"userId"},
		`{"action":"restart","filter":[]}`:                                                  {"filter", "sessionIds"},
		`{"action":"restart","sessionIds":[` + strings.Repeat(`"abc",`, 1000) + `"abc"]}`:   {"sessionIds"},
		`{"action":"restart","sessionIds":["abc"],"sessionIds":["def"]}`:                    {"sessionIds"},
		`{"action":"restart","sessionIds":["abc"]} {"action":"delete","sessionIds":["abc"]`: {"body"},
	} {
		got, s := ask(t, "POST", path, adminToken, body)
		assert.Equal(t, http.StatusBadRequest, got.Code)
		assert.Equal(t, fields, got.fields(), body)
		assert.Zero(t, s.calls)
	}
}

func TestListSessions_Administrator_SeesAllUsers(t *testing.T) {
	got, s := ask(t, "GET", "/api/v1/admin/sessions?status=connected&workerId=Worker_1&userId=u1&search=desk&limit=5", adminToken, "")
	require.Equal(t, http.StatusOK, got.Code, got.Body)
	assert.Equal(t, []any{ports.SessionFilter{UserID: "u1", WorkerID: "worker-1", Status: domain.Connected, Search: "desk"}, ports.Page{Limit: 5}}, s.last)
	assert.Contains(t, got.Body.String(), "http://10.0.0.5:8001", "administrators see where it is")
	got, _ = ask(t, "GET", "/api/v1/admin/sessions?status=gone&offset=-1", adminToken, "")
	assert.Equal(t, []string{"status", "offset"}, got.fields())
	got, s = ask(t, "DELETE", "/api/v1/admin/sessions/Support_1", adminToken, "")
	assert.Equal(t, map[string]any{"sessionId": "support-1", "deleted": true}, got.Data)
	assert.Equal(t, "support-1", s.last)
	got, _ = ask(t, "PATCH", "/api/v1/admin/sessions/bulk", adminToken, "")
	assert.Equal(t, "OPTIONS, POST", got.Header().Get("Allow"), "never taken for an id")
}
