package main_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// These rules hold for every route.
func TestRules_EveryRoute_AreKept(t *testing.T) {
	t.Parallel()
	s := serve(t)
	n := newNode(s, "Node")
	user := s.register()
	line := user.create("Line")
	line.link(n)

	for _, base := range []string{"/api/v1", "/api"} {
		c := user.under(base)
		c.refused(http.StatusNotFound, "NOT_FOUND", "GET", "/nothing/here", nil)
		for path, allowed := range map[string]string{"/sendText": "POST", "/sessions": "GET", "/auth/login": "POST", "/workers/register": "POST"} {
			a := c.do("PATCH", path, nil)
			assert.Equal(t, http.StatusMethodNotAllowed, a.status, a)
			assert.Contains(t, a.header.Get("Allow"), allowed, path)
		}
	}
	s.anonymous().under("").refused(http.StatusNotFound, "NOT_FOUND", "GET", "/nothing", nil)
	s.anonymous().under("").refused(http.StatusNotFound, "NOT_FOUND", "GET", "/api/v2/sessions", nil)

	// Bodies are bounded and must be JSON.
	large := obj{"name": "Line", "description": strings.Repeat("x", 1<<20)}
	assert.Equal(t, http.StatusRequestEntityTooLarge, user.do("POST", "/sessions", large).status)
	media := func(n int) obj {
		return obj{"to": someone, "media": base64.StdEncoding.EncodeToString(append([]byte("\x89PNG\r\n\x1a\n"), make([]byte, n)...))}
	}
	line.byKey().post("/sendImage", media(2<<20))
	a, err := line.byKey().call("POST", "/sendImage", media(13<<20))
	require.NoError(t, err)
	assert.Equal(t, http.StatusRequestEntityTooLarge, a.status, a)
	typed := user.sending("Content-Type", "text/plain")
	assert.Equal(t, http.StatusUnsupportedMediaType, typed.do("POST", "/sessions", `{"name":"Line"}`).status)
	user.sending("Content-Type", "application/json; charset=utf-8").refused(http.StatusBadRequest, "VALIDATION_ERROR", "POST", "/sessions", `{}`)
	for _, malformed := range []string{`{`, `{"name":}`, `[]`, `"name"`, `null null`, `{"name":"a"} x`, "\x00", `{"name":"` + "\xff" + `"}`, strings.Repeat("[", 100_000)} {
		user.refused(http.StatusBadRequest, "VALIDATION_ERROR", "POST", "/sessions", malformed)
	}

	// All problems of a query are reported.
	bad := user.refused(http.StatusBadRequest, "VALIDATION_ERROR", "GET", "/sessions?limit=0&page=zero&status=odd", nil)
	assert.ElementsMatch(t, []string{"limit", "page", "status"}, bad.fields())
	user.refused(http.StatusBadRequest, "VALIDATION_ERROR", "GET", "/sessions?limit=101", nil)
	offset := user.get("/sessions?offset=10&limit=5")
	assert.Equal(t, obj{"total": 1.0, "page": 3.0, "limit": 5.0, "totalPages": 1.0, "hasNext": false, "hasPrev": true}, offset.at("data.pagination"))

	// A valid request id is returned.
	kept := user.sending("X-Request-Id", "from-the-caller_1.2").refused(http.StatusNotFound, "SESSION_NOT_FOUND", "GET", "/sessions/none", nil)
	assert.Equal(t, "from-the-caller_1.2", kept.header.Get("X-Request-Id"))
	for _, insane := range []string{"two words", `"><script>`, strings.Repeat("x", 300)} {
		a := user.sending("X-Request-Id", insane).get("/auth/me")
		assert.NotEqual(t, insane, a.header.Get("X-Request-Id"))
	}
	assert.NotEqual(t, user.get("/auth/me").header.Get("X-Request-Id"), user.get("/auth/me").header.Get("X-Request-Id"))

	// Health is public and shows few details.
	for _, path := range []string{"/health", "/health/detailed", "/livez", "/readyz"} {
		a := s.anonymous().under("").get(path)
		assert.NotContains(t, string(a.raw), s.dir, path)
		assert.NotContains(t, string(a.raw), n.listener, path)
	}
}

// Workers and administrators use several forms for the same thing.
func TestRules_WorkerRoutes_AreLenient(t *testing.T) {
	t.Parallel()
	s := serve(t)
	admin := s.admin()
	n := newNode(s, "  Odd   Node__NAME  001 ")
	assert.Equal(t, "odd-node-name-001", n.canonical)

	bad := n.must("POST", "/workers/register", obj{"endpoint": "not a url", "maxSessions": 0})
	assert.Equal(t, http.StatusBadRequest, bad.status)
	assert.Subset(t, bad.fields(), []string{"workerId", "endpoint"}, bad)
	taken := n.must("POST", "/workers/register", obj{"workerId": "another", "endpoint": n.endpoint()})
	assert.Equal(t, "WORKER_CONFLICT", taken.str("error.code"), taken)
	down := n.must("POST", "/workers/register", obj{"workerId": "another", "endpoint": "http://" + address() + ":9"})
	assert.Equal(t, http.StatusServiceUnavailable, down.status)
	assert.Equal(t, "WORKER_UNREACHABLE", down.str("error.code"), down)
	assert.Contains(t, strings.ToLower(down.str("error.message")), "refused")
	admin.refused(http.StatusNotFound, "WORKER_NOT_FOUND", "GET", "/workers/another", nil)
	unknown := n.must("PUT", "/workers/Never_Heard_Of/heartbeat", obj{"sessions": []obj{}})
	assert.Equal(t, "WORKER_NOT_FOUND", unknown.str("error.code"), unknown)

	user := s.registerTier("PRO")
	line := user.create("Line")
	line.link(n)
	for name, body := range map[string]obj{
		"form 1": {"sessions": []obj{{"sessionId": line.id, "status": "connected"}}, "metrics": obj{"cpuUsage": 250, "memoryUsage": -3}},
		"form 2": {"status": "ONLINE", "sessions": obj{"total": 1, "connected": 1}, "cpuUsage": 3, "memoryUsage": 4, "uptime": 5, "messageCount": 6},
		"form 3": {"status": "ONLINE", "metrics": obj{"sessions": obj{"total": 1, "maxSessions": 50}, "cpuUsage": 3}, "timestamp": now()},
		"number": {"status": "ONLINE", "sessionCount": 1, "fromTheFuture": obj{"x": 1}},
	} {
		a := n.must("PUT", "/workers/"+n.id+"/heartbeat", body)
		assert.Equal(t, http.StatusOK, a.status, "%s: %s", name, a)
		assert.Equal(t, n.canonical, a.str("data.workerId"))
		assert.Equal(t, "ONLINE", a.str("data.status"))
		assert.EqualValues(t, 1, a.at("data.sessionBreakdown.connected"), "%s: %s", name, a)
	}
	oldest := n.must("POST", "/webhooks/worker-heartbeat", obj{"workerId": n.id, "status": "ONLINE", "sessionCount": 1})
	assert.Equal(t, http.StatusOK, oldest.status, oldest)
	odd := n.must("PUT", "/workers/"+n.id+"/heartbeat", obj{"sessions": []obj{{"sessionId": line.id, "status": "DANCING"}}})
	assert.Equal(t, http.StatusOK, odd.status, "any heartbeat is a sign of life")
	assert.EqualValues(t, 1, odd.at("data.sessionsSkipped"), odd)
	assert.Contains(t, string(odd.raw), "DANCING")
	assert.Equal(t, "CONNECTED", line.status())

	// Reports about unknown sessions, and about sessions of another worker.
	gone := n.must("POST", "/webhooks/session-status", obj{"sessionId": "nothing", "status": "CONNECTED"})
	assert.Equal(t, "404 SESSION_NOT_FOUND", fmt.Sprint(gone.status, " ", gone.str("error.code")))
	other := newNode(s, "Other")
	foreign := other.must("POST", "/webhooks/session-status", obj{"sessionId": line.id, "status": "qr_required", "workerId": other.id, "qrCode": "2@x"})
	assert.Equal(t, http.StatusOK, foreign.status, foreign)
	assert.Equal(t, false, foreign.at("data.applied"), foreign)
	assert.Equal(t, "CONNECTED", line.status())
	for _, body := range []obj{{"workerId": n.id}, {"recoveryResults": []obj{{"sessionId": line.id, "status": "MAYBE"}}, "summary": obj{"totalSessions": 1}}} {
		a := n.must("POST", "/workers/"+n.id+"/sessions/recovery-status", body)
		assert.Equal(t, http.StatusBadRequest, a.status, a)
	}

	// Fixed paths are not ids, and only administrators see endpoints.
	assert.NotNil(t, admin.get("/workers/statistics").at("data.capacity"))
	assert.Equal(t, n.endpoint(), admin.get("/workers/"+n.canonical).str("data.endpoint"))
	assert.NotContains(t, string(line.view().raw), n.listener)

	// A worker in maintenance gets no new session.
	admin.post("/workers/"+n.canonical+"/drain?force=true", nil)
	waitFor(t, "the session moves", func() (bool, any) {
		v := line.view()
		return v.str("data.workerId") == other.canonical, v
	})
	second := user.create("Second")
	second.post(second.path("/connect"), nil)
	assert.Equal(t, other.canonical, second.view().str("data.workerId"))
	admin.post("/workers/"+n.canonical+"/activate", nil)
	assert.Equal(t, "ONLINE", admin.get("/workers/"+n.canonical).str("data.status"))
}
