package simworker_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/switchyard-wa/switchyard/adapters/simworker"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// post makes an HTTP call to a worker.
func post(t *testing.T, w *simworker.Worker, path, token, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.Endpoint()+path, strings.NewReader(body))
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(answer)
}

func TestHandler_LegacyWorker_RefusesUnknownFields(t *testing.T) {
	legacy := simworker.New(simworker.Config{ID: "w1", Legacy: true}, nil)
	serve(t, legacy, simworker.ServeConfig{Token: "t"})
	modern := simworker.New(simworker.Config{ID: "w2"}, nil)
	serve(t, modern, simworker.ServeConfig{})
	http.DefaultClient.CloseIdleConnections()

	status, _ := post(t, legacy, "/api/sessions/start", "wrong", `{"sessionId":"one"}`)
	require.Equal(t, 401, status)
	status, body := post(t, legacy, "/api/sessions/start", "t", `{"sessionId":"one","generation":3}`)
	require.Equal(t, 400, status)
	require.Contains(t, body, `"error":"Validation failed`)
	status, body = post(t, legacy, "/api/sessions/start", "t", `{"sessionId":"one","userId":"u","sessionName":"n"}`)
	require.Equal(t, 201, status)
	require.Contains(t, body, `"status":"qr_ready"`)
	for _, w := range []*simworker.Worker{legacy, modern} {
		for _, more := range []string{`{}`, `{"sessionId":"two"}`, `x`, `}`} {
			status, _ = post(t, w, "/api/sessions/start", "t", `{"sessionId":"one","userId":"u","sessionName":"n"}`+more)
			require.Equal(t, 400, status, more)
		}
	}
	require.NoError(t, legacy.Scan("one"))
	status, body = post(t, modern, "/api/sessions/start", "", `{"sessionId":"one","userId":"u","sessionName":"n","generation":3,"recover":true,"pairing":{"phoneNumber":"6281234567890"}}`)
	require.Equal(t, 201, status)
	require.Contains(t, body, `"pairingCode"`)
	require.NoError(t, modern.Scan("one"))

	const jid = `"to":"6281234567890@s.whatsapp.net","humanSimulation":false`
	for body, want := range map[string][2]int{
		`{` + jid + `,"type":"text","message":"x"}`:                                    {200, 200},
		`{` + jid + `,"type":"text","message":"x","clientMessageId":"m"}`:              {400, 200},
		`{` + jid + `,"type":"document","mediaUrl":"https://e.com/a"}`:                 {400, 400},
		`{` + jid + `,"type":"document","mediaUrl":"https://e.com/a","filename":"a"}`:  {200, 200},
		`{` + jid + `,"type":"image","mediaUrl":"data:image/png;base64,iVBORw0KGgo="}`: {200, 200},
		`{"to":"6281234567890","type":"text","message":"x","humanSimulation":false}`:   {400, 400},
		`{` + jid + `,"type":"text"}`:                                                  {400, 400},
		`{` + jid + `,"type":"dance"}`:                                                 {400, 400},
		`{"to":"6281234567890@s.whatsapp.net","type":"typing_start"}`:                  {200, 200},
		`not JSON`: {400, 400},
	} {
		for i, w := range []*simworker.Worker{legacy, modern} {
			status, answer := post(t, w, "/api/one/send", "t", body)
			require.Equal(t, want[i], status, "%s: %s", body, answer)
		}
	}
	status, body = post(t, modern, "/api/never-seen/send", "", `{`+jid+`,"type":"text","message":"x"}`)
	require.Equal(t, 404, status)
	require.Contains(t, body, `{"code":"SESSION_NOT_FOUND","message":`)
	status, _ = post(t, modern, "/api/message/one/manage", "", `{"action":"dance","messageId":"X","phone":"6281234567890@s.whatsapp.net"}`)
	require.Equal(t, 400, status)
	for body, want := range map[string]int{
		`"phone":"84912345678@s.whatsapp.net"`:                                                                                 200,
		`"phone":"84912345678"`:                                                                                                400,
		`"phone":"84912345678@s.whatsapp.net","jid":"84912345678"`:                                                             400,
		`"phone":"84912345678@s.whatsapp.net","messageKey":{"remoteJid":"84912345678","id":"X"}`:                               400,
		`"phone":"84912345678@s.whatsapp.net","messageKey":{"remoteJid":"1-2@g.us","id":"X","participant":"84912345678"}`:      400,
		`"phone":"84912345678@s.whatsapp.net","messageKey":{"remoteJid":"1-2@g.us","id":"X","participant":"84912345678@c.us"}`: 400,
		`"phone":"1-2@g.us","messageKey":{"remoteJid":"1-2@g.us","id":"X","participant":"84912345678@s.whatsapp.net"}`:         200,
	} {
		status, answer := post(t, modern, "/api/message/one/manage", "", `{"action":"star","messageId":"X",`+body+`}`)
		require.Equal(t, want, status, "%s: %s", body, answer)
	}
}

// The worker waits like a human typist, unless the message says not to.
func TestHandler_HumanSimulation_DelaysSend(t *testing.T) {
	w := simworker.New(simworker.Config{ID: "w1"}, nil)
	serve(t, w, simworker.ServeConfig{})
	_, err := w.Start(t.Context(), ports.Start{SessionID: "one"})
	require.NoError(t, err)
	require.NoError(t, w.Scan("one"))
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.Endpoint()+"/api/one/send",
		strings.NewReader(`{"to":"6281234567890@s.whatsapp.net","type":"text","message":"x"}`))
	require.NoError(t, err)
	resp, err := http.DefaultClient.Do(req)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Nil(t, resp)
	entries, err := w.State().Journal()
	require.NoError(t, err)
	require.Len(t, entries, 1, "who is gone has sent nothing")
}

// webPlane is a control plane over HTTP. It records bodies and returns canned
// responses by path.
type webPlane struct {
	*httptest.Server
	mu      sync.Mutex
	bodies  map[string][]map[string]any // by method and path
	answers map[string]string           // data by method and path; "404 CODE" for a failure
	tokens  map[string]int              // number of requests by token
	fleet   string                      // the fleet's token
	own     string                      // the worker token
}

func newWebPlane(t *testing.T) *webPlane {
	p := &webPlane{bodies: map[string][]map[string]any{}, answers: map[string]string{}, tokens: map[string]int{}, fleet: "fleet-token"}
	p.Server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		key := r.Method + " " + r.URL.Path
		var body map[string]any
		_ = json.NewDecoder(r.Body).Decode(&body)
		p.mu.Lock()
		token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		p.tokens[token]++
		if good := token == p.fleet || token != "" && token == p.own; !good {
			p.mu.Unlock()
			rw.WriteHeader(http.StatusUnauthorized)
			return
		}
		p.bodies[key] = append(p.bodies[key], body)
		answer := p.answers[key]
		p.mu.Unlock()
		if code, failing := strings.CutPrefix(answer, "404 "); failing {
			rw.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(rw, `{"success":false,"error":{"code":"`+code+`","message":"No."}}`)
			return
		}
		if answer == "" {
			answer = "{}"
		}
		_, _ = io.WriteString(rw, `{"success":true,"data":`+answer+`}`)
	}))
	t.Cleanup(p.Close)
	return p
}

func (p *webPlane) set(fn func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fn()
}

// shown returns the number of requests with a token.
func (p *webPlane) shown(token string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.tokens[token]
}

func (p *webPlane) last(t *testing.T, key string) map[string]any {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	require.NotEmpty(t, p.bodies[key], key)
	return p.bodies[key][len(p.bodies[key])-1]
}

func TestControl_EachCall_SpeaksTheProtocol(t *testing.T) {
	p := newWebPlane(t)
	ctx := t.Context()
	c := simworker.NewControl(p.URL+"/", "fleet-token")
	defer c.Close()
	at := began

	p.answers["POST /api/v1/workers/register"] = `{"workerId":"w1","status":"ONLINE","assignedSessionCount":2,"recoveryRequired":true,"heartbeatIntervalMs":5000,"leaseMs":15000,
		"workerToken":"wt_w1_secret","commands":[{"type":"STOP_SESSION","sessionId":"one","generation":3},{"type":"DANCE"}]}`
	p.own = "wt_w1_secret"
	r, err := c.Register(ctx, domain.Registration{WorkerID: "W 1", Endpoint: "http://w1", Capacity: 9, Interval: time.Second, Capabilities: []domain.Capability{domain.CapLease}})
	require.NoError(t, err)
	require.Equal(t, &service.RegisterResult{Worker: &domain.Worker{ID: "w1", Online: true}, Known: true, Assigned: 2, Interval: 5 * time.Second, Lease: 15 * time.Second,
		Commands: []service.StopCommand{{SessionID: "one", Generation: 3}}}, r)
	body := p.last(t, "POST /api/v1/workers/register")
	require.Equal(t, "W 1", body["workerId"])
	require.Equal(t, []any{"lease"}, body["capabilities"])
	require.Equal(t, 1000.0, body["heartbeatInterval"])

	p.answers["PUT /api/v1/workers/W 1/heartbeat"] = `{"workerId":"w1","sessionsProcessed":1,"leaseMs":15000,"commands":[{"type":"STOP_SESSION","sessionId":"one","generation":3},{"type":"DANCE"}]}`
	h, err := c.Heartbeat(ctx, domain.Heartbeat{WorkerID: "W 1", Sessions: []domain.Report{{SessionID: "one", Status: domain.Connected, Generation: 3}}, Uptime: time.Minute})
	require.NoError(t, err)
	require.Equal(t, []service.StopCommand{{SessionID: "one", Generation: 3}}, h.Commands)
	require.Equal(t, 15*time.Second, h.Lease)
	body = p.last(t, "PUT /api/v1/workers/W 1/heartbeat")
	require.Equal(t, []any{map[string]any{"sessionId": "one", "status": "CONNECTED", "generation": 3.0}}, body["sessions"])
	require.Equal(t, 60.0, body["metrics"].(map[string]any)["uptime"])

	p.answers["GET /api/v1/workers/w1/sessions/assigned"] = `{"sessions":[{"sessionId":"one","sessionName":"One","userId":"u","status":"CONNECTED","generation":4,"userTier":"PRO"}]}`
	assigned, err := c.AssignedSessions(ctx, "w1")
	require.NoError(t, err)
	require.Equal(t, "One", assigned[0].Name)
	require.Equal(t, int64(4), assigned[0].Generation)
	require.Equal(t, domain.TierPro, assigned[0].UserTier)

	p.answers["POST /api/v1/workers/w1/sessions/recovery-status"] = `{"processedResults":[{"sessionId":"one","status":"IGNORED","action":"none"}]}`
	outcomes, err := c.ReportRecovery(ctx, "w1", []service.RecoveryResult{{SessionID: "one", Status: service.RecoverySuccess, At: at}})
	require.NoError(t, err)
	require.Equal(t, service.RecoveryIgnored, outcomes[0].Status)
	body = p.last(t, "POST /api/v1/workers/w1/sessions/recovery-status")
	require.Equal(t, map[string]any{"totalSessions": 1.0, "successfulRecoveries": 1.0, "failedRecoveries": 0.0, "skippedRecoveries": 0.0}, body["summary"])

	p.answers["POST /api/v1/webhooks/session-status"] = `{"applied":false}`
	outcome, err := c.ReportSession(ctx, domain.Report{SessionID: "one", WorkerID: "w1", Status: domain.Disconnected, LoggedOut: true, Generation: 4, At: at})
	require.NoError(t, err)
	require.Equal(t, domain.NotOwner, outcome)
	require.Equal(t, map[string]any{"sessionId": "one", "workerId": "w1", "status": "DISCONNECTED", "generation": 4.0,
		"timestamp": "2026-01-02T03:04:05.000Z", "loggedOutAt": "2026-01-02T03:04:05.000Z"}, p.last(t, "POST /api/v1/webhooks/session-status"))

	applied, err := c.ReportMessage(ctx, domain.MessageReport{SessionID: "one", WhatsAppID: "3EB0", Status: domain.MessageRead})
	require.NoError(t, err)
	require.True(t, applied)
	stored, err := c.ReceiveMessage(ctx, service.InboundMessage{SessionID: "one", WhatsAppID: "3AEB", From: "x", Type: domain.TypeText, At: at})
	require.NoError(t, err)
	require.True(t, stored)
	_, err = c.ReportPreserved(ctx, "w1", []string{"one"})
	require.NoError(t, err)
	p.answers["DELETE /api/v1/workers/unregister"] = `{"status":"OFFLINE"}`
	left, err := c.Unregister(ctx, "w1", "http://w1")
	require.NoError(t, err)
	require.Equal(t, domain.WorkerOffline, left)
	require.Equal(t, map[string]any{"workerId": "w1", "endpoint": "http://w1"}, p.last(t, "DELETE /api/v1/workers/unregister"))

	p.answers["PUT /api/v1/workers/w1/heartbeat"] = "404 WORKER_NOT_FOUND"
	_, err = c.Heartbeat(ctx, domain.Heartbeat{WorkerID: "w1"})
	require.Equal(t, domain.CodeWorkerNotFound, domain.CodeOf(err))

	require.Equal(t, 1, p.shown("fleet-token"), "from the registration on it shows its own")
	p.set(func() { p.own = "wt_w1_another" })
	_, err = c.ReceiveMessage(ctx, service.InboundMessage{SessionID: "one"})
	require.Equal(t, domain.Unauthenticated, kind(t, err))
	_, err = c.ReceiveMessage(ctx, service.InboundMessage{SessionID: "one"})
	require.NoError(t, err, "and the fleet's again if that is refused")
	require.Equal(t, 2, p.shown("fleet-token"))

	p.set(func() { p.own = "wt_w1_secret" })
	for range 2 {
		_, err = c.Register(ctx, domain.Registration{WorkerID: "w1", Endpoint: "http://w1"})
		require.NoError(t, err)
	}
	require.Equal(t, 4, p.shown("fleet-token"), "its own does not bring it back once it was removed")

	legacy := simworker.NewLegacyControl(p.URL, "fleet-token")
	defer legacy.Close()
	_, err = legacy.ReportSession(ctx, domain.Report{SessionID: "one", Status: domain.QRRequired, WorkerID: "w1", Generation: 4, PairingCode: "X", QR: domain.QR{Code: "2@"}})
	require.NoError(t, err)
	require.Equal(t, map[string]any{"sessionId": "one", "workerId": "w1", "status": "QR_REQUIRED", "qrCode": "2@"}, p.last(t, "POST /api/webhooks/session-status"))
	_, err = legacy.Register(ctx, domain.Registration{WorkerID: "w1", Labels: map[string]string{"a": "b"}, Capabilities: []domain.Capability{domain.CapLease}})
	require.NoError(t, err)
	body = p.last(t, "POST /api/workers/register")
	require.NotContains(t, body, "labels")
	require.NotContains(t, body, "capabilities")
	require.Equal(t, 6, p.shown("fleet-token"), "legacy workers know no other")
}

func kind(t *testing.T, err error) domain.Kind {
	t.Helper()
	var e *domain.Error
	require.True(t, errors.As(err, &e), "%v", err)
	return e.Kind
}

// A new fleet token voids the worker tokens: the worker registers again.
func TestControl_FleetTokenChanged_RegistersAgain(t *testing.T) {
	p := newWebPlane(t)
	p.answers["POST /api/v1/workers/register"] = `{"workerId":"w1","leaseMs":45000,"heartbeatIntervalMs":10,"workerToken":"own-1"}`
	p.own = "own-1"
	c := simworker.NewControl(p.URL, "fleet-token")
	t.Cleanup(c.Close)
	serve(t, simworker.New(simworker.Config{ID: "w1"}, c), simworker.ServeConfig{})
	require.Eventually(t, func() bool { return p.shown("own-1") > 2 }, 5*time.Second, time.Millisecond)
	require.Equal(t, 1, p.shown("fleet-token"))
	p.set(func() {
		p.answers["POST /api/v1/workers/register"] = `{"workerId":"w1","leaseMs":45000,"heartbeatIntervalMs":10,"workerToken":"own-2"}`
		p.own = "own-2"
	})
	require.Eventually(t, func() bool { return p.shown("own-2") > 2 }, 5*time.Second, time.Millisecond)
	require.Equal(t, 2, p.shown("fleet-token"))
}

// Restarts and stops carry the generation that the caller names.
func TestHandler_StopsAndRestarts_ReadGeneration(t *testing.T) {
	legacy := simworker.New(simworker.Config{ID: "w1", Legacy: true}, nil)
	serve(t, legacy, simworker.ServeConfig{})
	modern := simworker.New(simworker.Config{ID: "w2"}, nil)
	serve(t, modern, simworker.ServeConfig{})
	for _, w := range []*simworker.Worker{legacy, modern} {
		_, err := w.Start(t.Context(), ports.Start{SessionID: "one", Generation: 3})
		require.NoError(t, err)
	}
	for _, c := range []struct {
		path, body     string
		legacy, modern int
	}{
		{"restart", `{"generation":3}`, 400, 200},
		{"restart", `{"generation":2}`, 400, 409},
		{"restart", ``, 200, 200},
		{"disconnect", `{"generation":"x"}`, 400, 400},
		{"disconnect", `{"generation":2}`, 400, 200},
		{"restart", `{"generation":3}`, 400, 200}, // the run continued
		{"disconnect", `{"generation":3}`, 400, 200},
		{"restart", `{"generation":3}`, 400, 409},
		{"disconnect", ``, 200, 404},
		{"logout", `{}`, 500, 404}, // no connection
		{"logout", `{"generation":4}`, 400, 200},
	} {
		for w, want := range map[*simworker.Worker]int{legacy: c.legacy, modern: c.modern} {
			status, answer := post(t, w, "/api/sessions/one/"+c.path, "", c.body)
			require.Equal(t, want, status, "%s %+v: %s", w.ID(), c, answer)
		}
	}
	status, body := post(t, modern, "/api/sessions/start", "", `{"sessionId":"one","userId":"u","sessionName":"n","generation":4}`)
	require.Equal(t, 409, status)
	require.Contains(t, body, `{"code":"REJECTED","message":"this generation of the session is over here"}`)
}

// Repeats that arrive during the first send get its result too.
func TestHandler_ConcurrentRepeats_SendOnce(t *testing.T) {
	w := simworker.New(simworker.Config{ID: "w1"}, nil)
	serve(t, w, simworker.ServeConfig{Latency: 10 * time.Millisecond})
	_, err := w.Start(t.Context(), ports.Start{SessionID: "one"})
	require.NoError(t, err)
	require.NoError(t, w.Scan("one"))
	var wg sync.WaitGroup
	ids := make([]string, 16)
	for i := range ids {
		wg.Go(func() {
			_, body := post(t, w, "/api/one/send", "", `{"to":"6281234567890@s.whatsapp.net","type":"text","message":"x","clientMessageId":"m","humanSimulation":false}`)
			_, ids[i], _ = strings.Cut(body, `"messageId":"`)
			ids[i], _, _ = strings.Cut(ids[i], `"`)
		})
	}
	wg.Wait()
	for _, id := range ids {
		require.NotEmpty(t, id)
		require.Equal(t, ids[0], id)
	}
	entries, err := w.State().Journal()
	require.NoError(t, err)
	require.Len(t, entries, 2)
}

// When the lease ends, pending requests are dropped. So are requests that arrive
// before the control plane accepts another message.
func TestServe_LeaseEnds_DropsPendingRequests(t *testing.T) {
	p := &plane{lease: 300 * time.Millisecond, interval: 20 * time.Millisecond}
	w := simworker.New(simworker.Config{ID: "w1"}, p)
	serve(t, w, simworker.ServeConfig{Latency: time.Minute})
	require.Eventually(t, w.Registered, 5*time.Second, time.Millisecond)
	dial := func() net.Conn {
		t.Helper()
		conn, err := net.Dial("tcp", strings.TrimPrefix(w.Endpoint(), "http://"))
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
	closed := func(conn net.Conn, why string) {
		t.Helper()
		require.NoError(t, conn.SetReadDeadline(time.Now().Add(10*time.Second)))
		_, err := conn.Read(make([]byte, 1))
		require.Error(t, err)
		require.NotErrorIs(t, err, os.ErrDeadlineExceeded, why)
	}
	const start = `{"sessionId":"one","generation":1}`
	request := fmt.Sprintf("POST /api/sessions/start HTTP/1.1\r\nHost: w\r\nContent-Length: %d\r\n\r\n%s", len(start), start)
	half, whole := dial(), dial()
	_, err := half.Write([]byte(request[:20]))
	require.NoError(t, err)
	_, err = whole.Write([]byte(request))
	require.NoError(t, err)

	p.set(func() { p.beatErr = errDown })
	closed(half, "half a request")
	closed(whole, "one that is being worked on")
	late := dial()
	_, err = late.Write([]byte(request))
	require.NoError(t, err)
	p.set(func() { p.beatErr = nil })
	closed(late, "one that came while there was no lease")
	entries, err := w.State().Journal()
	require.NoError(t, err)
	require.Empty(t, entries)
	require.Eventually(t, func() bool { return w.LeaseEnd().After(time.Now()) }, 5*time.Second, time.Millisecond)
	fresh := dial()
	_, err = fresh.Write([]byte("GET /health HTTP/1.1\r\nHost: w\r\n\r\n"))
	require.NoError(t, err)
	answer := make([]byte, len("HTTP/1.1 200"))
	_, err = io.ReadFull(fresh, answer)
	require.NoError(t, err)
	require.Equal(t, "HTTP/1.1 200", string(answer))
}

// A served worker registers, reports, and unregisters when it is stopped.
func TestServe_ContextEnds_Unregisters(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	p := newWebPlane(t)
	defer p.Close()
	p.answers["POST /api/v1/workers/register"] = `{"workerId":"w1","leaseMs":45000,"heartbeatIntervalMs":20}`
	c := simworker.NewControl(p.URL, "fleet-token")
	defer c.Close()
	w := simworker.New(simworker.Config{ID: "w1", ScanAfter: 10 * time.Millisecond}, c)
	stop := serve(t, w, simworker.ServeConfig{})
	defer http.DefaultClient.CloseIdleConnections()
	require.Eventually(t, w.Registered, 5*time.Second, time.Millisecond)
	status, _ := post(t, w, "/api/sessions/start", "", `{"sessionId":"one","userId":"u","sessionName":"n","generation":3}`)
	require.Equal(t, 201, status)
	require.Eventually(t, func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		n := len(p.bodies["POST /api/v1/webhooks/session-status"])
		return n == 2 && len(p.bodies["PUT /api/v1/workers/w1/heartbeat"]) > 2
	}, 5*time.Second, time.Millisecond)
	require.Equal(t, "CONNECTED", p.last(t, "POST /api/v1/webhooks/session-status")["status"])
	stop()
	require.Equal(t, []any{"one"}, p.last(t, "POST /api/v1/workers/w1/sessions-preserved")["preservedSessions"])
	require.Equal(t, w.Endpoint(), p.last(t, "DELETE /api/v1/workers/unregister")["endpoint"])
}

// A crash closes everything at once without a report.
func TestServe_Crash_ClosesWithoutReport(t *testing.T) {
	p := &plane{lease: time.Minute}
	w := simworker.New(simworker.Config{ID: "w1"}, p)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- simworker.Serve(t.Context(), ln, w, simworker.ServeConfig{}) }()
	require.Eventually(t, w.Registered, 5*time.Second, time.Millisecond)
	w.Crash()
	require.ErrorIs(t, <-done, simworker.ErrCrashed)
	require.Equal(t, []string{"register w1"}, p.calls())
	_, err = net.Dial("tcp", ln.Addr().String())
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
}

// hanging is a control plane that accepts registrations and answers nothing else.
type hanging struct {
	plane
	release chan struct{}
}

func (h *hanging) Heartbeat(ctx context.Context, _ domain.Heartbeat) (*service.HeartbeatResult, error) {
	select {
	case <-ctx.Done():
	case <-h.release:
	}
	return nil, errors.New("no answer")
}

// The lease ends in time although the worker waits for a response.
func TestServe_ControlPlaneHangs_LeaseEnds(t *testing.T) {
	h := &hanging{plane: plane{lease: 300 * time.Millisecond, interval: 10 * time.Millisecond}, release: make(chan struct{})}
	defer close(h.release)
	w := simworker.New(simworker.Config{ID: "w1"}, h)
	serve(t, w, simworker.ServeConfig{})
	require.Eventually(t, w.Registered, 5*time.Second, time.Millisecond)
	_, err := w.Start(t.Context(), ports.Start{SessionID: "one", Generation: 1})
	require.NoError(t, err)
	end := w.LeaseEnd()
	require.Contains(t, end.String(), " m=", "it is measured by the monotonic clock")
	require.Eventually(t, func() bool { return len(w.Running()) == 0 }, 5*time.Second, time.Millisecond)
	entries, err := w.State().Journal()
	require.NoError(t, err)
	last := entries[len(entries)-1]
	require.Equal(t, simworker.Stopped, last.Event)
	require.WithinDuration(t, end, last.Time, 200*time.Millisecond)
}

func TestEndpointOf_ListenerAddress_IsCallable(t *testing.T) {
	for addr, want := range map[string]string{
		"127.0.0.1:81": "http://127.0.0.1:81", "0.0.0.0:81": "http://127.0.0.1:81", "[::]:81": "http://127.0.0.1:81", "[::1]:81": "http://[::1]:81",
	} {
		a, err := net.ResolveTCPAddr("tcp", addr)
		require.NoError(t, err)
		require.Equal(t, want, simworker.EndpointOf(a))
	}
}
