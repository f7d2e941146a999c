package httpapi

import (
	"io"
	"math"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports/service"
)

func TestHeartbeat_EveryForm_IsAccepted(t *testing.T) {
	type beat = domain.Heartbeat
	silent := beat{WorkerID: "worker-1", CPU: -1, Memory: -1, MessageCount: -1}
	with := func(change func(*beat)) beat {
		h := silent
		change(&h)
		return h
	}
	report := func(id string, status domain.Status) domain.Report {
		return domain.Report{SessionID: id, Status: status, WorkerID: "worker-1", Snapshot: true}
	}
	for name, c := range map[string]struct {
		body string
		want beat
	}{
		"nothing": {`{}`, silent},
		"form 1": {`{"sessions":[
				{"sessionId":"Support_1","status":"connected","phoneNumber":"6281","displayName":"Ada","lastActivity":"x","generation":3},
				{"sessionId":"sales","status":"LOGGED_OUT","phoneNumber":null},
				{"sessionId":"idle","status":"disconnected"}],
			"capabilities":{"maxSessions":20,"version":"2.0","environment":"PRODUCTION","supportedFeatures":["text"]},
			"metrics":{"cpuUsage":150,"memoryUsage":-3,"uptime":90.5,"messageCount":12,"totalSessions":3,"activeSessions":1},"lastActivity":"x"}`,
			with(func(h *beat) {
				first := report("support-1", domain.Connected)
				first.PhoneNumber, first.DisplayName, first.Generation = "6281", "Ada", 3
				second := report("sales", domain.Disconnected)
				second.LoggedOut = true
				h.Sessions, h.IsFullSnapshot = []domain.Report{first, second, report("idle", domain.Disconnected)}, true
				h.Capacity, h.Version, h.Environment = 20, "2.0", "PRODUCTION"
				h.CPU, h.Memory, h.Uptime, h.MessageCount = 100, 0, 90500*time.Millisecond, 12
			})},
		"form 1, empty": {`{"sessions":[]}`, with(func(h *beat) { h.IsFullSnapshot, h.Sessions = true, []domain.Report{} })},
		"form 2": {`{"status":"ONLINE","sessions":{"total":5,"connected":3,"disconnected":1,"qr_required":0,"reconnecting":0,"error":1},"cpuUsage":12.5,"memoryUsage":40,"uptime":60,"messageCount":7}`,
			with(func(h *beat) {
				h.Maintenance = domain.MaintenanceEnds
				h.Breakdown = &domain.Breakdown{Total: 5, Connected: 3, Disconnected: 1, Error: 1}
				h.CPU, h.Memory, h.Uptime, h.MessageCount = 12.5, 40, time.Minute, 7
			})},
		"form 3": {`{"status":"ONLINE","metrics":{"sessions":{"total":5,"connected":5,"maxSessions":30},"cpuUsage":1,"memoryUsage":2,"uptime":3,"messageCount":4},"timestamp":"2026-03-01T12:00:00Z"}`,
			with(func(h *beat) {
				h.Maintenance = domain.MaintenanceEnds
				h.Breakdown, h.Capacity = &domain.Breakdown{Total: 5, Connected: 5}, 30
				h.CPU, h.Memory, h.Uptime, h.MessageCount = 1, 2, 3*time.Second, 4
			})},
		"old count": {`{"status":"ONLINE","sessionCount":5,"cpuUsage":5}`, with(func(h *beat) { h.CPU, h.Maintenance = 5, domain.MaintenanceEnds })},
		"maintenance, form 1": {`{"sessions":[],"status":"maintenance"}`, with(func(h *beat) {
			h.IsFullSnapshot, h.Sessions, h.Maintenance = true, []domain.Report{}, domain.MaintenanceBegins
		})},
		"maintenance, form 2": {`{"status":" MAINTENANCE ","sessions":{"total":1}}`, with(func(h *beat) {
			h.Breakdown, h.Maintenance = &domain.Breakdown{Total: 1}, domain.MaintenanceBegins
		})},
		"maintenance, form 3": {`{"status":"Maintenance","metrics":{"cpuUsage":1}}`, with(func(h *beat) {
			h.CPU, h.Maintenance = 1, domain.MaintenanceBegins
		})},
		"unknown status": {`{"status":"starting"}`, silent},
		"absurd": {`{"cpuUsage":1e999,"memoryUsage":-1e999,"uptime":1e300,"messageCount":-5,"sessions":{"total":-1,"maxSessions":1e30}}`, with(func(h *beat) {
			h.CPU, h.Memory, h.Uptime, h.MessageCount, h.Breakdown = 100, 0, 100*365*24*time.Hour, 0, &domain.Breakdown{}
		})},
		"nulls":         {`{"sessions":null,"metrics":null,"capabilities":null,"cpuUsage":null,"uptime":null}`, silent},
		"list of words": {`{"capabilities":["lease"]}`, silent},
		"malformed": {`{"sessions":"none","metrics":[],"capabilities":7,"cpuUsage":"n/a","memoryUsage":{},"uptime":true,"messageCount":"NaN","status":5}`, with(func(h *beat) {
			h.Warnings = []string{"sessions is neither a list nor an object"}
		})},
		"numbers as text": {`{"sessions":{"total":"5","connected":" 3 "},"cpuUsage":"12.5","memoryUsage":"4e1","uptime":"60","messageCount":"7","capabilities":{"maxSessions":"20"}}`, with(func(h *beat) {
			h.Breakdown = &domain.Breakdown{Total: 5, Connected: 3}
			h.CPU, h.Memory, h.Uptime, h.MessageCount, h.Capacity = 12.5, 40, time.Minute, 7, 20
		})},
		"words of workers": {`{"sessions":[{"sessionId":"abc","status":"connecting"},{"sessionId":"def","status":"qr_expired"},{"sessionId":"ghi","status":"\u0043ONNECTED"},{"sessionId":"jkl","status":"Qr-Ready"}]}`, with(func(h *beat) {
			h.IsFullSnapshot = true
			h.Sessions = []domain.Report{report("abc", domain.Init), report("def", domain.Disconnected), report("ghi", domain.Connected), report("jkl", domain.QRRequired)}
		})},
		"half an emoji": {`{"sessions":[{"sessionId":"abc","status":"CONNECTED","displayName":"Ada \ud83d"},{"sessionId":"def","status":"CONNECTED","displayName":"Ada ` + "\xf0\x9f" + `"}]}`, with(func(h *beat) {
			first, second := report("abc", domain.Connected), report("def", domain.Connected)
			first.DisplayName, second.DisplayName = "Ada \uFFFD", "Ada \uFFFD\uFFFD"
			h.Sessions, h.IsFullSnapshot = []domain.Report{first, second}, true
		})},
		"repeated members": {`{"cpuUsage":1,"sessions":[{"sessionId":"abc","status":"INIT"}],"cpuUsage":2,"sessions":[{"sessionId":"def","status":"INIT","status":"CONNECTED"}]}`, with(func(h *beat) {
			h.CPU, h.Sessions, h.IsFullSnapshot = 2, []domain.Report{report("def", domain.Connected)}, true
		})},
		"malformed within": {`{"sessions":[{"sessionId":"abc","status":"INIT","phoneNumber":{},"displayName":7,"lastActivity":[]},
				{"sessionId":"support","status":"CONNECTED","phoneNumber":"6281234567890:12@s.whatsapp.net","displayName":[],"generation":"4"},
				{"sessionId":"sales","status":"CONNECTED","phoneNumber":6281234567890,"generation":null}],
			"metrics":{"cpuUsage":"NaN","memoryUsage":40,"sessions":"x"},"capabilities":{"maxSessions":"20","version":2.5,"environment":false}}`,
			with(func(h *beat) {
				first, second, third := report("abc", domain.Init), report("support", domain.Connected), report("sales", domain.Connected)
				first.DisplayName, second.PhoneNumber, third.PhoneNumber = "7", "6281234567890", "6281234567890"
				second.Generation, h.Capacity = 4, 20
				h.Sessions, h.IsFullSnapshot, h.Version, h.Memory = []domain.Report{first, second, third}, true, "2.5", 40
			})},
		"malformed count": {`{"sessions":{"total":"five","connected":3,"error":null,"init":[]},"cpuUsage":"12%"}`, with(func(h *beat) {
			h.Breakdown = &domain.Breakdown{Connected: 3}
		})},
	} {
		t.Run(name, func(t *testing.T) {
			got, s := ask(t, "PUT", "/api/workers/Worker_1/heartbeat", fleetToken, c.body)
			require.Equal(t, http.StatusOK, got.Code, got.Body)
			assert.Equal(t, c.want, s.last)
			got, s = ask(t, "POST", "/api/v1/webhooks/worker-heartbeat", fleetToken, `{"workerId":"WORKER 1",`+strings.TrimPrefix(strings.Replace(c.body, "{}", `{"x":0}`, 1), "{"))
			require.Equal(t, http.StatusOK, got.Code, got.Body)
			assert.Equal(t, c.want, s.last)
		})
	}
}

// No session may count as missing because one of them could not be read.
func TestHeartbeat_UnusableItems_AreSkippedCountedAndNamed(t *testing.T) {
	got, s := ask(t, "PUT", "/api/workers/worker-1/heartbeat", fleetToken, `{"sessions":[
		{"sessionId":"support","status":"CONNECTED","displayName":{},"phoneNumber":[],"generation":null},
		null, 7, "x", [], {}, {"sessionId":"","status":"INIT"}, {"sessionId":{},"status":"INIT"},
		{"sessionId":"abc"}, {"sessionId":"abc","status":null}, {"sessionId":"abc","status":5}, {"sessionId":"a\u0000c","status":"asleep"},
		{"sessionId":"sales","status":"INIT"}],"cpuUsage":3}`)
	require.Equal(t, http.StatusOK, got.Code, got.Body)
	h := s.last.(domain.Heartbeat)
	assert.Equal(t, []domain.Report{
		{SessionID: "support", Status: domain.Connected, WorkerID: "worker-1", Snapshot: true},
		{SessionID: "sales", Status: domain.Init, WorkerID: "worker-1", Snapshot: true},
	}, h.Sessions)
	assert.False(t, h.IsFullSnapshot, "nothing is missing from a list that was not read in full")
	assert.EqualValues(t, 3, h.CPU)
	assert.EqualValues(t, 11, got.Data["sessionsSkipped"])
	assert.EqualValues(t, 2, got.Data["sessionsProcessed"])
	assert.Equal(t, []any{
		"sessions[1] is no object", "sessions[2] is no object", "sessions[3] is no object", "sessions[4] is no object",
		"sessions[5] has no sessionId", "sessions[6] has no sessionId", "sessions[7] has no sessionId",
		"sessions[8] (abc) has no status", "sessions[9] (abc) has no status", "sessions[10] (abc) has a status that is no text",
	}, got.Data["warnings"], "the first ten")

	got, s = ask(t, "PUT", "/api/workers/worker-1/heartbeat", fleetToken, `{"sessions":[`+strings.Repeat("0,", 20_000)+`{"sessionId":"late","status":"INIT"}]}`)
	require.Equal(t, http.StatusOK, got.Code, got.Body)
	assert.EqualValues(t, 20_001, got.Data["sessionsSkipped"])
	assert.Empty(t, s.last.(domain.Heartbeat).Sessions, "the list is cut")
	assert.False(t, s.last.(domain.Heartbeat).IsFullSnapshot)
}

// What a heartbeat holds decides nothing about the life of its worker.
func TestHeartbeat_UnreadableBody_IsASignOfLife(t *testing.T) {
	item := `{"sessionId":"support","status":"CONNECTED","displayName":"` + strings.Repeat("x", 1000) + `"},`
	long := `{"sessions":[` + strings.Repeat(item, 1100)
	for name, c := range map[string]struct {
		body    string
		listed  int
		warning string // empty: none
	}{
		"nothing":         {"", 0, ""},
		"blank":           {" \r\n\t", 0, ""},
		"byte order mark": {"\xef\xbb\xbf" + `{"sessions":[{"sessionId":"support","status":"CONNECTED"}]}`, 1, ""},
		"null":            {"null", 0, "no JSON object"},
		"list":            {`[{"sessionId":"support"}]`, 0, "no JSON object"},
		"text":            {"OK", 0, "no JSON object"},
		"page":            {"<html>", 0, "no JSON object"},
		"no JSON within":  {`{"cpuUsage":1,"sessions":[{"sessionId":"support","status":"CONNECTED"},{"sessionId":"sales","status":NaN}]}`, 1, "no valid JSON at byte 101"},
		"cut off":         {`{"sessions":[{"sessionId":"support","status":"CONNECTED"},{"sessionId":"sales","status":"CONNE`, 1, "no valid JSON"},
		"more after it":   {`{"sessions":[{"sessionId":"support","status":"CONNECTED"}]} x`, 1, "no valid JSON"},
		"deep":            {`{"x":` + strings.Repeat("[", 20_000), 0, "no valid JSON"},
		"deep within":     {`{"sessions":[{"sessionId":"support","status":"CONNECTED"},` + strings.Repeat(`{"displayName":`, 20_000), 1, "no valid JSON"},
		"too long":        {long, maxBody / len(item), "longer than 1 MiB"},
		"UTF-16":          {"\xff\xfe{\x00}\x00", 0, "no JSON object"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, contentType := range []string{"application/json", "text/plain", "image/png; x", ""} {
				s := &stub{}
				r := request("PUT", "/api/workers/worker-1/heartbeat", fleetToken, c.body)
				r.Header.Set("Content-Type", contentType)
				got := serve(t, New(config(s)), r)
				require.Equal(t, http.StatusOK, got.Code, got.Body)
				h := s.last.(domain.Heartbeat)
				assert.Equal(t, "worker-1", h.WorkerID)
				assert.Len(t, h.Sessions, c.listed)
				if c.warning == "" {
					assert.Empty(t, got.Data["warnings"])
					continue
				}
				assert.False(t, h.IsFullSnapshot)
				assert.Contains(t, got.Data["warnings"].([]any)[0], c.warning)
			}
		})
	}
	s := &stub{}
	r := request("PUT", "/api/workers/worker-1/heartbeat", fleetToken, "x")
	r.Body = io.NopCloser(io.MultiReader(strings.NewReader(`{"cpuUsage":5,`), iotest.ErrReader(io.ErrUnexpectedEOF)))
	got := serve(t, New(config(s)), r)
	require.Equal(t, http.StatusOK, got.Code, got.Body)
	assert.EqualValues(t, 5, s.last.(domain.Heartbeat).CPU)
	assert.Equal(t, []string{"The body did not arrive to its end"}, s.last.(domain.Heartbeat).Warnings)

	// The oldest form is a sign of life of the worker that it names.
	got, s = ask(t, "POST", "/api/v1/webhooks/worker-heartbeat", fleetToken, `{"workerId":"worker-1","cpuUsage":"n/a",`)
	require.Equal(t, http.StatusOK, got.Code, got.Body)
	assert.Equal(t, "worker-1", s.last.(domain.Heartbeat).WorkerID)
	for body, fields := range map[string][]string{
		`{"status":"ONLINE"}`: {"workerId"}, `{"workerId":{}}`: {"workerId"}, `{`: {"workerId", "body"}, ``: {"workerId"},
	} {
		got, s = ask(t, "POST", "/api/v1/webhooks/worker-heartbeat", fleetToken, body)
		assert.Equal(t, http.StatusBadRequest, got.Code)
		assert.Equal(t, fields, got.fields(), body)
		assert.Zero(t, s.calls)
	}
	got, _ = ask(t, "PUT", "/api/workers/unknown/heartbeat", fleetToken, `{`)
	assert.Equal(t, domain.CodeWorkerNotFound, got.Error.Code)
	got, _ = ask(t, "PUT", "/api/workers/worker-1/heartbeat", "wrong", `{}`)
	assert.Equal(t, http.StatusUnauthorized, got.Code)
}

func TestRegister_Bodies_ReachTheService(t *testing.T) {
	got, s := ask(t, "POST", "/api/workers/register", fleetToken,
		`{"workerId":" My Worker ","endpoint":"HTTP://10.0.0.5:8001/","maxSessions":7,"description":"d","version":"2","environment":"E","status":"ONLINE","timestamp":"x","stateGroup":" nfs-7 ","labels":{"pool":"eu"},"heartbeatInterval":1500,"capabilities":["lease","generation","dedupe","telepathy",5]}`)
	require.Equal(t, http.StatusCreated, got.Code, got.Body)
	assert.Equal(t, domain.Registration{
		WorkerID: "my-worker", Endpoint: "http://10.0.0.5:8001", Capacity: 7, Description: "d", Version: "2", Environment: "E",
		Labels: map[string]string{"pool": "eu"}, Interval: 1500 * time.Millisecond,
		StateGroup: "nfs-7", Maintenance: domain.MaintenanceEnds,
		Capabilities: []domain.Capability{domain.CapLease, domain.CapGeneration, domain.CapDedupe},
	}, s.last)

	got, s = ask(t, "POST", "/api/workers/register", fleetToken, `{"workerId":"known","endpoint":"http://w:1","description":null,"capabilities":{"x":1}}`)
	require.Equal(t, http.StatusOK, got.Code, "it had registered before")
	assert.Equal(t, domain.Registration{WorkerID: "known", Endpoint: "http://w:1", Capacity: 50, Version: "1.0.0", Environment: "DEVELOPMENT"}, s.last)

	for body, fields := range map[string][]string{
		``:                                {"endpoint", "workerId"},
		`{"workerId":"a","endpoint":"x"}`: {"endpoint", "workerId"},
		`{"endpoint":{},"workerId":[]}`:   {"endpoint", "workerId"},
		`{"workerId":"abc","endpoint":`:   {"endpoint", "body"},
		`{"workerId":"abc","endpoint":"http://w:1","version":NaN,"capabilities":["ownToken"]}`:    {"body"},
		`{"workerId":"abc","endpoint":"http://w:1","maxSessions":0,"heartbeatInterval":-1}`:       {"maxSessions", "heartbeatInterval"},
		`{"workerId":"abc","endpoint":"http://w:1","maxSessions":1001,"heartbeatInterval":1e400}`: {"maxSessions", "heartbeatInterval"},
	} {
		got, s := ask(t, "POST", "/api/workers/register", fleetToken, body)
		assert.Equal(t, http.StatusBadRequest, got.Code)
		assert.Equal(t, fields, got.fields(), body)
		assert.Zero(t, s.calls)
	}
}

// A worker registers a few times, then never again: what describes it is not worth a refusal.
func TestRegister_UnusableDescription_IsDroppedAlone(t *testing.T) {
	long := strings.Repeat("é", 200)
	got, s := ask(t, "POST", "/api/workers/register", fleetToken, "\xef\xbb\xbf"+
		`{"workerId":"abc","endpoint":"http://w:1","maxSessions":"20","version":2.5,"environment":"`+long+`","description":"Ada \ud83d","labels":{"a":1,"":"x","b":null,"pool":"eu","c":"`+long+`"},
		"heartbeatInterval":"1500","capabilities":["lease",null,{},"lease"],"status":{},"timestamp":[]}`)
	require.Equal(t, http.StatusCreated, got.Code, got.Body)
	assert.Equal(t, domain.Registration{
		WorkerID: "abc", Endpoint: "http://w:1", Capacity: 20, Version: "2.5", Environment: strings.Repeat("é", 25), Description: "Ada \uFFFD",
		Labels: map[string]string{"a": "1", "pool": "eu"}, Interval: 1500 * time.Millisecond, Capabilities: []domain.Capability{domain.CapLease},
	}, s.last)
	_, s = ask(t, "POST", "/api/workers/register", fleetToken,
		`{"workerId":"abc","endpoint":"http://w:1","maxSessions":[],"version":{},"environment":null,"description":7.0,"labels":[],"heartbeatInterval":"often","capabilities":"lease"}`)
	assert.Equal(t, domain.Registration{WorkerID: "abc", Endpoint: "http://w:1", Capacity: 50, Version: "1.0.0", Environment: "DEVELOPMENT", Description: "7.0"}, s.last)
}

// Legacy workers log the whole answer.
func TestRegister_LegacyWorker_GetsNoToken(t *testing.T) {
	got, _ := ask(t, "POST", "/api/workers/register", fleetToken, `{"workerId":"abc","endpoint":"http://w:1"}`)
	require.Equal(t, http.StatusCreated, got.Code)
	assert.NotContains(t, got.Data, "workerToken")
	got, _ = ask(t, "POST", "/api/workers/register", fleetToken, `{"workerId":"abc","endpoint":"http://w:1","capabilities":["generation"]}`)
	assert.Equal(t, domain.NewWorkerTokens(fleetToken).Own("abc", epochNow), got.Data["workerToken"])
}

func TestAddWorker_Bodies_ReachTheService(t *testing.T) {
	got, s := ask(t, "POST", "/api/v1/workers", adminToken, `{"endpoint":"http://my-host.example.com:8001"}`)
	require.Equal(t, http.StatusCreated, got.Code)
	assert.Equal(t, "worker-my-host-example-com-8001", s.last.(domain.Registration).WorkerID)
	got, s = ask(t, "POST", "/api/v1/workers", adminToken, `{"endpoint":"http://h:1","workerId":"Worker@#$%^&*()_+Test_123"}`)
	require.Equal(t, http.StatusCreated, got.Code)
	assert.Equal(t, "worker-test-123", s.last.(domain.Registration).WorkerID)
	got, _ = ask(t, "POST", "/api/v1/workers", adminToken, `{"workerId":"x"}`)
	assert.Equal(t, []string{"endpoint", "workerId"}, got.fields())
}

func TestUpdateWorker_Bodies_ReachTheService(t *testing.T) {
	_, s := ask(t, "PUT", "/api/v1/workers/worker-1", adminToken, `{"maxSessions":7,"description":"","version":"2","environment":null,"labels":{}}`)
	capacity, description, version := 7, "", "2"
	assert.Equal(t, service.WorkerChange{Capacity: &capacity, Description: &description, Version: &version, Labels: map[string]string{}}, s.last)
	_, s = ask(t, "PUT", "/api/v1/workers/worker-1", adminToken, ``)
	assert.Equal(t, service.WorkerChange{}, s.last)
	got, _ := ask(t, "PUT", "/api/v1/workers/worker-1", adminToken, `{"maxSessions":2.5,"labels":[]}`)
	assert.Equal(t, []string{"maxSessions", "labels"}, got.fields())
	got, s = ask(t, "PUT", "/api/v1/workers/worker-1", adminToken, `{"maxSessions":7,"endpoint":"http://10.0.0.6:8001","status":{"x":1},"id":null}`)
	assert.Equal(t, http.StatusBadRequest, got.Code)
	assert.Equal(t, []string{"endpoint", "status", "id"}, got.fields(), "what does not change is not passed over in silence")
	assert.Zero(t, s.calls)
}

// The same route is a worker's way to leave and an administrator's to remove.
func TestDeleteWorker_Credentials_DecideWhatHappens(t *testing.T) {
	got, s := ask(t, "DELETE", "/api/v1/workers/Worker_1?force=true", fleetToken, "")
	assert.Equal(t, "OFFLINE", got.Data["status"])
	assert.Equal(t, []string{"worker-1", ""}, s.last)
	got, s = ask(t, "DELETE", "/api/v1/workers/Worker_1?force=TRUE", adminToken, "")
	assert.Equal(t, true, got.Data["deleted"])
	assert.Equal(t, []any{"worker-1", service.RemoveOptions{Force: true}}, s.last)
	_, s = ask(t, "DELETE", "/api/v1/workers/Worker_1", adminToken, "")
	assert.Equal(t, []any{"worker-1", service.RemoveOptions{}}, s.last)
	_, s = ask(t, "DELETE", "/api/v1/workers/Worker_1?force=true&destroyed=true", adminToken, "")
	assert.Equal(t, []any{"worker-1", service.RemoveOptions{Force: true, Destroyed: true}}, s.last)
	got, _ = ask(t, "DELETE", "/api/v1/workers/Worker_1?force=maybe", adminToken, "")
	assert.Equal(t, []string{"force"}, got.fields())
}

func TestStopForeignSession_Wipe_ReachesTheService(t *testing.T) {
	got, s := ask(t, "DELETE", "/api/v1/workers/Worker_1/foreign-sessions/Support?wipe=true", adminToken, "")
	assert.Equal(t, 200, got.Code)
	assert.Equal(t, true, got.Data["wiped"])
	assert.Equal(t, []any{"worker-1", "support", service.StopForeignOptions{Wipe: true}}, s.last)
	got, _ = ask(t, "DELETE", "/api/v1/workers/worker-1/foreign-sessions/support", fleetToken, "")
	assert.Equal(t, 401, got.Code, "an administrator alone")
}

func TestUnregister_Bodies_ReachTheService(t *testing.T) {
	got, s := ask(t, "DELETE", "/api/workers/unregister", fleetToken, `{"workerId":"Worker_1","endpoint":"HTTP://W:1/"}`)
	assert.Equal(t, []string{"worker-1", "http://w:1"}, s.last)
	assert.Equal(t, "OFFLINE", got.Data["status"])
	assert.NotNil(t, got.Data["unregisteredAt"])
	got, _ = ask(t, "DELETE", "/api/workers/unregister", fleetToken, `{"workerId":"Worker_1","endpoint":"http://former:1"}`)
	assert.Equal(t, http.StatusOK, got.Code)
	assert.Equal(t, "ONLINE", got.Data["status"])
	assert.Nil(t, got.Data["unregisteredAt"])
	for body, fields := range map[string][]string{
		`{"endpoint":"http://w:1"}`: {"workerId"}, `{"workerId":null}`: {"workerId"}, `{"workerId":[]}`: {"workerId"}, ``: {"workerId"}, `x`: {"workerId", "body"},
	} {
		got, s = ask(t, "DELETE", "/api/workers/unregister", fleetToken, body)
		assert.Equal(t, http.StatusBadRequest, got.Code)
		assert.Equal(t, fields, got.fields(), body)
		assert.Zero(t, s.calls)
	}
	_, s = ask(t, "DELETE", "/api/workers/unregister", fleetToken, `{"workerId":"worker-1","endpoint":{}`)
	assert.Equal(t, []string{"worker-1", ""}, s.last)
}

func TestRecovery_Bodies_ReachTheService(t *testing.T) {
	path := "/api/v1/workers/worker-1/sessions/recovery-status"
	got, s := ask(t, "POST", path, fleetToken,
		`{"recoveryResults":[{"sessionId":"Support_1","status":"success","recoveredAt":"2026-03-01T12:00:00+01:00"},{"sessionId":"sales","status":"FAILED","error":"gone"}],"totalSessions":9,"successfulRecoveries":9}`)
	require.Equal(t, http.StatusOK, got.Code, got.Body)
	assert.Equal(t, []service.RecoveryResult{
		{SessionID: "support-1", Status: service.RecoverySuccess, At: time.Date(2026, 3, 1, 11, 0, 0, 0, time.UTC)},
		{SessionID: "sales", Status: service.RecoveryFailed, Error: "gone"},
	}, s.last)
	assert.EqualValues(t, 1, got.Data["successfulRecoveries"], "the server counts for itself")
	assert.EqualValues(t, 2, got.Data["processedSessions"])

	got, _ = ask(t, "POST", path, fleetToken, `{"recoveryResults":[],"summary":{}}`)
	assert.Equal(t, http.StatusOK, got.Code)
	for body, fields := range map[string][]string{
		`{"recoveryResults":[]}`: {"summary"},
		`{"summary":{}}`:         {"recoveryResults"},
		`{"recoveryResults":[{"sessionId":"abc","status":"SUCCESS"},{"sessionId":"abc","status":"MAYBE"},{"sessionId":"abc"},7],"summary":{}}`: {
			"recoveryResults[1].status", "recoveryResults[2].status"},
		`{"recoveryResults":{},"summary":[]}`: {"recoveryResults", "summary"},
		`{"recoveryResults":[`:                {"summary", "body"},
	} {
		got, _ := ask(t, "POST", path, fleetToken, body)
		assert.Equal(t, http.StatusBadRequest, got.Code)
		assert.Equal(t, fields, got.fields(), body)
	}
	got, s = ask(t, "POST", path, fleetToken,
		`{"recoveryResults":[null,7,{},{"sessionId":"support","status":"SUCCESS","error":{},"recoveredAt":"yesterday"}],"totalSessions":"4","summary":{"failedRecoveries":[]}}`)
	require.Equal(t, http.StatusOK, got.Code, got.Body)
	assert.Equal(t, []service.RecoveryResult{{SessionID: "support", Status: service.RecoverySuccess}}, s.last)
	assert.EqualValues(t, 3, got.Data["sessionsSkipped"])
	assert.Equal(t, []any{"recoveryResults[0] is no object", "recoveryResults[1] is no object", "recoveryResults[2] has no sessionId"}, got.Data["warnings"])
}

func TestPreserved_Bodies_ReachTheService(t *testing.T) {
	path := "/api/v1/workers/worker-1/sessions-preserved"
	_, s := ask(t, "POST", path, fleetToken, `{"preservedSessions":["Support_1",{"sessionId":"sales"},{"id":"idle"},null]}`)
	assert.Equal(t, []string{"support-1", "sales", "idle"}, s.last)
	_, s = ask(t, "POST", path, fleetToken, `{"preservedSessions":[]}`)
	assert.Equal(t, []string{}, s.last)
	got, s := ask(t, "POST", path, fleetToken, `{"preservedSessions":[{},[],true,"","sales"]}`)
	assert.Equal(t, []string{"sales"}, s.last)
	assert.EqualValues(t, 4, got.Data["sessionsSkipped"])
	assert.Equal(t, "preservedSessions[3] names no session", got.Data["warnings"].([]any)[3])
	got, _ = ask(t, "POST", path, fleetToken, `{}`)
	assert.Equal(t, []string{"preservedSessions"}, got.fields())
}

func TestSessionReports_Bodies_ReachTheService(t *testing.T) {
	for body, want := range map[string]domain.Report{
		`{"sessionId":"Support_1","status":"connected","qrCode":null,"phoneNumber":"6281","displayName":"Ada","workerId":"Worker_1","timestamp":"2026-03-01T12:00:00.5Z","reason":null,"generation":4}`: {
			SessionID: "support-1", Status: domain.Connected, PhoneNumber: "6281", DisplayName: "Ada", WorkerID: "worker-1", Generation: 4,
			At: time.Date(2026, 3, 1, 12, 0, 0, 500_000_000, time.UTC)},
		`{"sessionId":"support","status":"QR_REQUIRED","qrCode":"2@abc"}`:                              {SessionID: "support", Status: domain.QRRequired, QR: domain.QR{Code: "2@abc", ExpiresAt: noon.Add(time.Minute)}},
		`{"sessionId":"support","status":"QR_REQUIRED","pairingCode":"ABCD-1234"}`:                     {SessionID: "support", Status: domain.QRRequired, PairingCode: "ABCD-1234"},
		`{"sessionId":"support","status":"disconnected","loggedOutFromPhone":true,"reason":"r"}`:       {SessionID: "support", Status: domain.Disconnected, LoggedOut: true, Reason: "r"},
		`{"sessionId":"support","status":"DISCONNECTED","loggedOutAt":1772366400000}`:                  {SessionID: "support", Status: domain.Disconnected, LoggedOut: true},
		`{"sessionId":"support","status":"LOGGED_OUT"}`:                                                {SessionID: "support", Status: domain.Disconnected, LoggedOut: true},
		`{"sessionId":"support","status":"ERROR","error":"a\u0000b"}`:                                  {SessionID: "support", Status: domain.Errored, Error: "a\uFFFDb"},
		`{"sessionId":"support","status":"CONNECTED","phoneNumber":"6281234567890:12@s.whatsapp.net"}`: {SessionID: "support", Status: domain.Connected, PhoneNumber: "6281234567890"},
		`{"sessionId":"support","status":"CONNECTED","phoneNumber":"+62 812-3456-7890"}`:               {SessionID: "support", Status: domain.Connected, PhoneNumber: "6281234567890"},
		`{"sessionId":"support","status":"CONNECTED","phoneNumber":6281234567890,"displayName":7,"reason":428,"error":500.5,"workerId":7,"pairingCode":12345678}`: {
			SessionID: "support", Status: domain.Connected, PhoneNumber: "6281234567890", DisplayName: "7", Reason: "428", Error: "500.5", WorkerID: "7", PairingCode: "12345678"},
		`{"sessionId":"support","status":"INIT","phoneNumber":[],"displayName":{},"reason":true,"error":[{}],"workerId":{},"timestamp":"yesterday","loggedOutAt":{},"loggedOutFromPhone":"no","generation":null,"pairingCode":false}`: {
			SessionID: "support", Status: domain.Init},
		`{"sessionId":"support","status":"INIT","timestamp":"0001-01-01T00:00:00Z","loggedOutAt":"","generation":"4"}`: {SessionID: "support", Status: domain.Init, Generation: 4},
		`{"sessionId":"support","status":"connecting","displayName":"Ada \ud83d"}`:                                     {SessionID: "support", Status: domain.Init, DisplayName: "Ada \uFFFD"},
		`{"sessionId":"support","status":"qr_expired","loggedOutFromPhone":"false","timestamp":"1772366400"}`:          {SessionID: "support", Status: domain.Disconnected, At: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)},
		`{"sessionId":"support","status":"INIT","generation":-}`:                                                       {SessionID: "support", Status: domain.Init},
		"\xef\xbb\xbf" + `{"sessionId":"support","status":"INIT"} `:                                                    {SessionID: "support", Status: domain.Init},
		`{"sessionId":"support","status":"INIT","timestamp":-1e308,"loggedOutAt":false}`:                               {SessionID: "support", Status: domain.Init},
		`{"sessionId":"support","status":"QR_REQUIRED","qrCode":"data:image/gif;base64,x"}`:                            {SessionID: "support", Status: domain.QRRequired},
		`{"sessionId":"support","status":"QR_REQUIRED","qrCode":7,"qrString":{"x":1}}`:                                 {SessionID: "support", Status: domain.QRRequired},
		`{"sessionId":"support","status":"QR_REQUIRED","qrCode":"2@abc","qrString":"data:text/plain,x"}`:               {SessionID: "support", Status: domain.QRRequired, QR: domain.QR{Code: "2@abc", ExpiresAt: noon.Add(time.Minute)}},
	} {
		got, s := ask(t, "POST", "/api/webhooks/session-status", fleetToken, body)
		require.Equal(t, http.StatusOK, got.Code, got.Body)
		assert.Equal(t, want, s.last)
		assert.Equal(t, true, got.Data["applied"])
	}
	for body, fields := range map[string][]string{
		``:                                 {"sessionId", "status"},
		`{"sessionId":null,"status":null}`: {"sessionId", "status"},
		`{"sessionId":[],"status":"INIT"}`: {"sessionId"},
		`{"status":"INIT","sessionId":-}`:  {"sessionId", "body"},
	} {
		got, _ := ask(t, "POST", "/api/webhooks/session-status", fleetToken, body)
		assert.Equal(t, http.StatusBadRequest, got.Code)
		assert.Equal(t, fields, got.fields(), body)
	}
	for body, warning := range map[string]string{
		`{"sessionId":"support","status":"HAPPY","qrCode":"data:image/gif;base64,x"}`: `The report has the unknown status "HAPPY"`,
		`{"sessionId":"support","status":8}`:                                          "The report has a status that is no text",
	} {
		got, s := ask(t, "POST", "/api/webhooks/session-status", fleetToken, body)
		assert.Equal(t, http.StatusOK, got.Code, got.Body)
		assert.Equal(t, false, got.Data["applied"])
		assert.Equal(t, []any{warning}, got.Data["warnings"])
		assert.Zero(t, s.calls)
	}
	for outcome, applied := range map[domain.Outcome]bool{
		domain.Applied: true, domain.Repeated: true, domain.Unchanged: true, domain.Stale: false, domain.NotOwner: false, domain.NotWanted: false, domain.Implausible: false,
	} {
		got := serve(t, New(config(&stub{outcome: outcome})), request("POST", "/api/webhooks/session-status", fleetToken, `{"sessionId":"support","status":"INIT"}`))
		assert.Equal(t, http.StatusOK, got.Code)
		assert.Equal(t, applied, got.Data["applied"])
	}
}

func TestMessageReports_Bodies_ReachTheService(t *testing.T) {
	_, s := ask(t, "POST", "/api/webhooks/message-status", fleetToken,
		`{"sessionId":"Support_1","messageId":"3EB0","status":"read","timestamp":1772366400,"deliveredAt":"2026-03-01T11:00:00Z","readAt":null,"errorMessage":null}`)
	assert.Equal(t, domain.MessageReport{
		SessionID: "support-1", WhatsAppID: "3EB0", Status: domain.MessageRead, At: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC),
		DeliveredAt: time.Date(2026, 3, 1, 11, 0, 0, 0, time.UTC),
	}, s.last)
	got, _ := ask(t, "POST", "/api/webhooks/message-status", fleetToken, `{"status":null}`)
	assert.Equal(t, []string{"sessionId", "messageId", "status"}, got.fields())
	got, s = ask(t, "POST", "/api/webhooks/message-status", fleetToken, `{"sessionId":"support","messageId":7,"status":"EATEN","clientMessageId":null}`)
	assert.Equal(t, http.StatusOK, got.Code, got.Body)
	assert.Equal(t, false, got.Data["applied"])
	assert.Equal(t, []any{`The report has the unknown status "EATEN"`}, got.Data["warnings"])
	assert.Zero(t, s.calls)
	_, s = ask(t, "POST", "/api/webhooks/message-status", fleetToken, `{"sessionId":"support","messageId":"3EB0","status":" delivered ","errorMessage":"\ud83d","timestamp":"soon"`)
	assert.Equal(t, domain.MessageReport{SessionID: "support", WhatsAppID: "3EB0", Status: domain.MessageDelivered, Error: "\uFFFD"}, s.last)
	got, _ = ask(t, "POST", "/api/webhooks/message-status", fleetToken, `{"sessionId":"support","clientMessageId":{},"status":"SENT"}`)
	assert.Equal(t, []string{"messageId"}, got.fields(), "one of the two")
	got, s = ask(t, "POST", "/api/webhooks/message-status", fleetToken, `{"sessionId":"support","clientMessageId":"01J","status":"SENT"}`)
	assert.Equal(t, http.StatusOK, got.Code, got.Body)
	assert.Equal(t, domain.MessageReport{SessionID: "support", ID: "01J", Status: domain.MessageSent}, s.last)
	_, s = ask(t, "POST", "/api/webhooks/message-status", fleetToken,
		`{"sessionId":"support","messageId":"3EB0","clientMessageId":"01J","status":"FAILED","timestamp":"soon","deliveredAt":{},"readAt":true,"errorMessage":463}`)
	assert.Equal(t, domain.MessageReport{SessionID: "support", WhatsAppID: "3EB0", ID: "01J", Status: domain.MessageFailed, Error: "463"}, s.last)
}

func TestMessagesReceived_Bodies_ReachTheService(t *testing.T) {
	_, s := ask(t, "POST", "/api/webhooks/message-received", fleetToken,
		`{"sessionId":"support","messageId":"3EB1","from":"1@s.whatsapp.net","to":null,"type":"LOCATION","content":{"latitude": 1, "longitude": 2},"timestamp":1772366400000,"generation":2}`)
	assert.Equal(t, service.InboundMessage{
		SessionID: "support", WhatsAppID: "3EB1", From: "1@s.whatsapp.net", Type: domain.TypeLocation,
		Content: `{"latitude":1,"longitude":2}`, At: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), Generation: 2,
	}, s.last)
	got, _ := ask(t, "POST", "/api/webhooks/message-received", fleetToken, `{"content":7,"type":null}`)
	assert.Equal(t, []string{"sessionId", "messageId", "from"}, got.fields())
	got, s = ask(t, "POST", "/api/webhooks/message-received", fleetToken,
		`{"sessionId":"support","messageId":7,"from":"1","type":{},"timestamp":"soon","content":"half \ud83d","caption":"`+strings.Repeat("🙂", maxContent/4+1)+`"}`)
	require.Equal(t, http.StatusOK, got.Code, got.Body)
	assert.Equal(t, service.InboundMessage{
		SessionID: "support", WhatsAppID: "7", From: "1", Type: domain.TypeText, Content: "half \uFFFD", Caption: strings.Repeat("🙂", maxContent/4),
	}, s.last, "workers never send it again")

	for id, code := range map[string]int{strings.Repeat("A", 255): 200, strings.Repeat("A", 256): 400, `A\u0000`: 400} {
		for path, more := range map[string]string{"received": `"from":"1","type":"text","timestamp":1`, "status": `"status":"READ"`} {
			got, s := ask(t, "POST", "/api/webhooks/message-"+path, fleetToken, `{"sessionId":"support","messageId":"`+id+`",`+more+`}`)
			assert.Equal(t, code, got.Code, path+id)
			if code == http.StatusBadRequest {
				assert.Equal(t, []string{"messageId"}, got.fields())
				assert.Zero(t, s.calls)
			}
		}
	}

	plain := service.InboundMessage{SessionID: "support", WhatsAppID: "3EB1", From: "1", Type: domain.TypeLink, At: time.Unix(1, 0).UTC()}
	for _, optional := range []string{
		`"to":{},"mediaUrl":[],"caption":true,"generation":null`, `"content":["x"]`, `"content":{"x":"` + strings.Repeat("x", maxContent) + `"}`,
	} {
		_, s = ask(t, "POST", "/api/webhooks/message-received", fleetToken,
			`{"sessionId":"support","messageId":"3EB1","from":1,"type":"link","timestamp":1,`+optional+`}`)
		assert.Equal(t, plain, s.last)
	}
	plain.Content, plain.Caption = "7", "2.50"
	_, s = ask(t, "POST", "/api/webhooks/message-received", fleetToken,
		`{"sessionId":"support","messageId":"3EB1","from":"1","type":"link","timestamp":1,"content":7,"caption":2.50}`)
	assert.Equal(t, plain, s.last)

	for word, want := range map[string]domain.MessageType{
		`"conversation"`: domain.TypeText, `"extendedTextMessage"`: domain.TypeText, `"chat"`: domain.TypeText, `"Image"`: domain.TypeImage,
		`"imageMessage"`: domain.TypeImage, `"videoMessage"`: domain.TypeVideo, `"audioMessage"`: domain.TypeAudio, `"ptt"`: domain.TypeAudio,
		`"documentMessage"`: domain.TypeDocument, `"stickerMessage"`: domain.TypeSticker, `"locationMessage"`: domain.TypeLocation,
		`"contactMessage"`: domain.TypeContact, `"vcard"`: domain.TypeContact, `"pollCreationMessage"`: domain.TypePoll,
		`"smell"`: domain.TypeText, `7`: domain.TypeText,
	} {
		got, s := ask(t, "POST", "/api/webhooks/message-received", fleetToken,
			`{"sessionId":"support","messageId":"3EB1","from":"1","timestamp":1,"type":`+word+`}`)
		assert.Equal(t, http.StatusOK, got.Code, word)
		assert.Equal(t, want, s.last.(service.InboundMessage).Type, word)
	}
}

func TestNumbers_NotKnown_AreNull(t *testing.T) {
	for f, want := range map[float64]string{0: "0", 12.345: "12.35", 100: "100", -1: "null", math.Inf(1): "null"} {
		assert.Equal(t, want, marshalled(t, nullableFloat(f)))
	}
	assert.Equal(t, "null", marshalled(t, nullableFloat(math.NaN())))
	assert.Equal(t, math.MaxFloat64, finite(math.NaN()))
	assert.Equal(t, math.MaxFloat64, finite(math.Inf(1)))
	assert.Equal(t, 1.5, finite(1.5))
}

// An unusable end of a session must not end it: the worker may mean an earlier assignment.
func TestHeartbeat_LogoutWithAnUnusableGeneration_IsNotApplied(t *testing.T) {
	got, s := ask(t, "PUT", "/api/workers/worker-1/heartbeat", fleetToken, `{"sessions":[{"sessionId":"support","status":"LOGGED_OUT","generation":true}]}`)
	require.Equal(t, http.StatusOK, got.Code, got.Body)
	assert.Empty(t, s.last.(domain.Heartbeat).Sessions)
	assert.EqualValues(t, 1, got.Data["sessionsSkipped"])
}

// A value that is no generation does not make a report one of a legacy worker, which states none.
func TestWorkerReports_UnusableGeneration_AreSkippedCountedAndNamed(t *testing.T) {
	for raw, named := range map[string]string{
		`0`: "0", `-1`: "-1", `"0"`: "0", `-0.0`: "-0.0", `1.5`: "1.5", `1e400`: "1e400", `9223372036854775808`: "9223372036854775808",
		`"x"`: "x", `""`: `""`, `"3.0"`: "3.0", `"+3"`: "+3", `"1e2"`: "1e2", `"9223372036854775808"`: "9223372036854775808",
		`true`: "true", `false`: "false", `[]`: "[]", `[3]`: "[3]", `{}`: "{}", `"\ud83d"`: "\uFFFD",
	} {
		got, s := ask(t, "PUT", "/api/workers/worker-1/heartbeat", fleetToken,
			`{"sessions":[{"sessionId":"support","status":"CONNECTED","generation":`+raw+`},{"sessionId":"sales","status":"CONNECTED","generation":3},
				{"sessionId":"legacy","status":"CONNECTED"},{"sessionId":"old","status":"CONNECTED","generation":null}]}`)
		require.Equal(t, http.StatusOK, got.Code, got.Body)
		h := s.last.(domain.Heartbeat)
		var ids []string
		for _, r := range h.Sessions {
			ids = append(ids, r.SessionID)
		}
		assert.Equal(t, []string{"sales", "legacy", "old"}, ids)
		assert.False(t, h.IsFullSnapshot, "the session is not missing")
		assert.EqualValues(t, 1, got.Data["sessionsSkipped"])
		assert.Equal(t, []any{"sessions[0] (support) has the unusable generation " + named}, got.Data["warnings"])

		got, s = ask(t, "POST", "/api/webhooks/session-status", fleetToken, `{"sessionId":"support","status":"CONNECTED","generation":`+raw+`}`)
		require.Equal(t, http.StatusOK, got.Code, got.Body)
		assert.Equal(t, false, got.Data["applied"])
		assert.Equal(t, []any{"The report has the unusable generation " + named}, got.Data["warnings"])
		assert.Zero(t, s.calls)

		got, s = ask(t, "POST", "/api/webhooks/message-received", fleetToken, `{"sessionId":"support","messageId":"3EB1","from":"1","generation":`+raw+`}`)
		require.Equal(t, http.StatusOK, got.Code, got.Body)
		assert.Equal(t, false, got.Data["stored"])
		assert.Equal(t, []any{"The message has the unusable generation " + named}, got.Data["warnings"])
		assert.Zero(t, s.calls)
	}
}
