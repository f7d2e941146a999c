package httpapi

import (
	"math"
	"net/http"
	"strings"
	"testing"
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
				h.Breakdown = &domain.Breakdown{Total: 5, Connected: 3, Disconnected: 1, Error: 1}
				h.CPU, h.Memory, h.Uptime, h.MessageCount = 12.5, 40, time.Minute, 7
			})},
		"form 3": {`{"status":"ONLINE","metrics":{"sessions":{"total":5,"connected":5,"maxSessions":30},"cpuUsage":1,"memoryUsage":2,"uptime":3,"messageCount":4},"timestamp":"2026-03-01T12:00:00Z"}`,
			with(func(h *beat) {
				h.Breakdown, h.Capacity = &domain.Breakdown{Total: 5, Connected: 5}, 30
				h.CPU, h.Memory, h.Uptime, h.MessageCount = 1, 2, 3*time.Second, 4
			})},
		"old count": {`{"status":"ONLINE","sessionCount":5,"cpuUsage":5}`, with(func(h *beat) { h.CPU = 5 })},
		"absurd": {`{"cpuUsage":1e999,"memoryUsage":-1e999,"uptime":1e300,"messageCount":-5,"sessions":{"total":-1,"maxSessions":1e30}}`, with(func(h *beat) {
			h.CPU, h.Memory, h.Uptime, h.MessageCount, h.Breakdown = 100, 0, 100*365*24*time.Hour, 0, &domain.Breakdown{}
		})},
		"nulls":         {`{"sessions":null,"metrics":null,"capabilities":null,"cpuUsage":null,"uptime":null}`, silent},
		"list of words": {`{"capabilities":["lease"]}`, silent},
		"malformed":     {`{"sessions":"none","metrics":[],"capabilities":7,"cpuUsage":"NaN","memoryUsage":{},"uptime":true,"messageCount":"7","status":5}`, silent},
		"malformed within": {`{"sessions":[{"sessionId":"abc","status":"INIT","phoneNumber":{},"displayName":7,"lastActivity":[],"generation":1.5},
				{"sessionId":"support","status":"CONNECTED","phoneNumber":"6281234567890:12@s.whatsapp.net","displayName":[],"generation":"4"},
				{"sessionId":"sales","status":"CONNECTED","phoneNumber":6281234567890,"generation":-1}],
			"metrics":{"cpuUsage":"NaN","memoryUsage":40,"sessions":"x"},"capabilities":{"maxSessions":"20","version":2.5,"environment":false}}`,
			with(func(h *beat) {
				first, second, third := report("abc", domain.Init), report("support", domain.Connected), report("sales", domain.Connected)
				first.DisplayName, second.PhoneNumber, third.PhoneNumber = "7", "6281234567890", "6281234567890"
				h.Sessions, h.IsFullSnapshot, h.Version, h.Memory = []domain.Report{first, second, third}, true, "2.5", 40
			})},
		"malformed count": {`{"sessions":{"total":"5","connected":3,"error":null,"init":[]},"cpuUsage":"12%"}`, with(func(h *beat) {
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

func TestHeartbeat_WrongBodies_AreRefused(t *testing.T) {
	for body, fields := range map[string][]string{
		`{"sessions":[{"sessionId":"a","status":"asleep"}]}`:             {"sessions[0].status"},
		`{"sessions":[{},{"sessionId":"abc","status":"INIT"},null,"x"]}`: {"sessions[0].sessionId", "sessions[0].status", "sessions[2]", "sessions[3]"},
		`{"sessions":[{"sessionId":7,"status":8}]}`:                      {"sessions[0].sessionId", "sessions[0].status"},
		`{"cpuUsage":NaN}`:            {"body"},
		`{"cpuUsage":1,"cpuUsage":2}`: {"cpuUsage"},
		`{"sessions":[{"sessionId":"abc","status":"INIT","displayName":`: {"body"},
	} {
		got, s := ask(t, "PUT", "/api/workers/w-1/heartbeat", fleetToken, body)
		assert.Equal(t, http.StatusBadRequest, got.Code, body)
		assert.Equal(t, fields, got.fields(), body)
		assert.Zero(t, s.calls)
	}
	got, _ := ask(t, "POST", "/api/v1/webhooks/worker-heartbeat", fleetToken, `{"status":"ONLINE"}`)
	assert.Equal(t, []string{"workerId"}, got.fields())
	got, _ = ask(t, "PUT", "/api/workers/w-1/heartbeat", fleetToken, `{"sessions":[`+strings.Repeat("{},", 5000)+`{}]}`)
	assert.Len(t, got.Error.Details, maxProblems, "enough is enough")
	got, _ = ask(t, "PUT", "/api/workers/unknown/heartbeat", fleetToken, `{}`)
	assert.Equal(t, domain.CodeWorkerNotFound, got.Error.Code)
}

func TestRegister_Bodies_ReachTheService(t *testing.T) {
	got, s := ask(t, "POST", "/api/workers/register", fleetToken,
		`{"workerId":" My Worker ","endpoint":"HTTP://10.0.0.5:8001/","maxSessions":7,"description":"d","version":"2","environment":"E","status":"ONLINE","timestamp":"x","labels":{"pool":"eu"},"heartbeatInterval":1500,"capabilities":["lease","generation","dedupe","telepathy",5]}`)
	require.Equal(t, http.StatusCreated, got.Code, got.Body)
	assert.Equal(t, domain.Registration{
		WorkerID: "my-worker", Endpoint: "http://10.0.0.5:8001", Capacity: 7, Description: "d", Version: "2", Environment: "E",
		Labels: map[string]string{"pool": "eu"}, Interval: 1500 * time.Millisecond,
		Capabilities: []domain.Capability{domain.CapLease, domain.CapGeneration, domain.CapDedupe},
	}, s.last)

	got, s = ask(t, "POST", "/api/workers/register", fleetToken, `{"workerId":"known","endpoint":"http://w:1","description":null,"capabilities":{"x":1}}`)
	require.Equal(t, http.StatusOK, got.Code, "it had registered before")
	assert.Equal(t, domain.Registration{WorkerID: "known", Endpoint: "http://w:1", Capacity: 50, Version: "1.0.0", Environment: "DEVELOPMENT"}, s.last)

	for body, fields := range map[string][]string{
		``:                                {"endpoint", "workerId"},
		`{"workerId":"a","endpoint":"x"}`: {"endpoint", "workerId"},
		`{"workerId":"abc","endpoint":"http://w:1","maxSessions":0,"version":7,"labels":{"a":1,"":"x"},"heartbeatInterval":-1}`:                                          {"maxSessions", "version", "labels.a", "labels.", "heartbeatInterval"},
		`{"workerId":"abc","endpoint":"http://w:1","maxSessions":1001,"environment":"` + strings.Repeat("x", 51) + `","description":"` + strings.Repeat("x", 256) + `"}`: {"maxSessions", "environment", "description"},
	} {
		got, s := ask(t, "POST", "/api/workers/register", fleetToken, body)
		assert.Equal(t, http.StatusBadRequest, got.Code)
		assert.Equal(t, fields, got.fields(), body)
		assert.Zero(t, s.calls)
	}
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

func TestUnregister_Bodies_ReachTheService(t *testing.T) {
	got, s := ask(t, "DELETE", "/api/workers/unregister", fleetToken, `{"workerId":"Worker_1","endpoint":"HTTP://W:1/"}`)
	assert.Equal(t, []string{"worker-1", "http://w:1"}, s.last)
	assert.Equal(t, "OFFLINE", got.Data["status"])
	assert.NotNil(t, got.Data["unregisteredAt"])
	got, _ = ask(t, "DELETE", "/api/workers/unregister", fleetToken, `{"workerId":"Worker_1","endpoint":"http://former:1"}`)
	assert.Equal(t, http.StatusOK, got.Code)
	assert.Equal(t, "ONLINE", got.Data["status"])
	assert.Nil(t, got.Data["unregisteredAt"])
	_, s = ask(t, "DELETE", "/api/workers/unregister", fleetToken, `{"endpoint":"http://w:1"}`)
	assert.Equal(t, []string{"", "http://w:1"}, s.last)
	got, _ = ask(t, "DELETE", "/api/workers/unregister", fleetToken, ``)
	assert.Equal(t, []string{"workerId"}, got.fields())
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
		`{"recoveryResults":[{"sessionId":"abc","status":"SUCCESS"},{"sessionId":"abc","status":"MAYBE"},{},7],"summary":{}}`: {
			"recoveryResults[1].status", "recoveryResults[2].sessionId", "recoveryResults[2].status", "recoveryResults[3]"},
		`{"recoveryResults":{},"summary":[]}`: {"recoveryResults", "summary"},
	} {
		got, _ := ask(t, "POST", path, fleetToken, body)
		assert.Equal(t, http.StatusBadRequest, got.Code)
		assert.Equal(t, fields, got.fields(), body)
	}
}

func TestPreserved_Bodies_ReachTheService(t *testing.T) {
	path := "/api/v1/workers/worker-1/sessions-preserved"
	_, s := ask(t, "POST", path, fleetToken, `{"preservedSessions":["Support_1",{"sessionId":"sales"},{"id":"idle"},null]}`)
	assert.Equal(t, []string{"support-1", "sales", "idle"}, s.last)
	_, s = ask(t, "POST", path, fleetToken, `{"preservedSessions":[]}`)
	assert.Equal(t, []string{}, s.last)
	got, _ := ask(t, "POST", path, fleetToken, `{"preservedSessions":[1]}`)
	assert.Equal(t, []string{"preservedSessions[0]"}, got.fields())
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
		`{"sessionId":"support","status":"INIT","phoneNumber":[],"displayName":{},"reason":true,"error":[{}],"workerId":{},"timestamp":"yesterday","loggedOutAt":{},"loggedOutFromPhone":"no","generation":-1,"pairingCode":false}`: {
			SessionID: "support", Status: domain.Init},
		`{"sessionId":"support","status":"INIT","timestamp":"0001-01-01T00:00:00Z","loggedOutAt":"","generation":"4"}`: {SessionID: "support", Status: domain.Init},
		`{"sessionId":"support","status":"INIT","timestamp":-1e308,"loggedOutAt":false,"generation":1e400}`:            {SessionID: "support", Status: domain.Init},
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
		``: {"sessionId", "status"},
		`{"sessionId":"support","status":"HAPPY","qrCode":"data:image/gif;base64,x","timestamp":"yesterday"}`: {"status"},
		`{"sessionId":7,"status":8,"generation":-1}`:                                                          {"sessionId", "status"},
		`{"sessionId":"support","status":"INIT","generation":-}`:                                              {"body"},
	} {
		got, _ := ask(t, "POST", "/api/webhooks/session-status", fleetToken, body)
		assert.Equal(t, http.StatusBadRequest, got.Code)
		assert.Equal(t, fields, got.fields(), body)
	}
	for outcome, applied := range map[domain.Outcome]bool{
		domain.Applied: true, domain.Repeated: true, domain.Unchanged: true, domain.Stale: false, domain.NotOwner: false, domain.NotWanted: false,
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
	got, _ := ask(t, "POST", "/api/webhooks/message-status", fleetToken, `{"status":"EATEN"}`)
	assert.Equal(t, []string{"sessionId", "messageId", "status"}, got.fields())
	got, _ = ask(t, "POST", "/api/webhooks/message-status", fleetToken, `{"sessionId":"support","messageId":7,"status":8,"clientMessageId":null}`)
	assert.Equal(t, []string{"messageId", "status"}, got.fields())
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
	assert.Equal(t, []string{"sessionId", "messageId", "from", "type", "timestamp"}, got.fields())
	got, _ = ask(t, "POST", "/api/webhooks/message-received", fleetToken, `{"sessionId":"support","messageId":7,"from":"1","type":"text","timestamp":"soon"}`)
	assert.Equal(t, []string{"messageId", "timestamp"}, got.fields())

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
		`"to":{},"mediaUrl":[],"caption":true,"generation":"2"`, `"content":["x"]`, `"content":{"x":"` + strings.Repeat("x", maxContent) + `"}`,
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
