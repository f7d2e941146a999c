package conformance

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// HTTPWorker is a scripted worker for gateways that speak the worker protocol over HTTP. Without
// capabilities it is as strict as a legacy worker. It records every call.
type HTTPWorker struct {
	Server *httptest.Server

	prefix string
	token  string
	caps   []domain.Capability

	mu       sync.Mutex
	sessions map[string]string // the words of the worker protocol
	runs     map[string]int64  // the newest started generation
	stopped  map[string]int64  // the newest generation with a stop
	texts    map[string][]string
	sent     map[string]string // by session and client message id
	faults   []GatewayFault
	calls    []HTTPCall
	hang     chan struct{}
	count    int
}

// HTTPCall is one call to an [HTTPWorker].
type HTTPCall struct {
	Method, Path string
	Body         map[string]any // nil: no body
}

// NewHTTPWorker starts a worker that requires the token. The worker ends with the test.
func NewHTTPWorker(t *testing.T, token string, caps ...domain.Capability) *HTTPWorker {
	t.Helper()
	w := &HTTPWorker{
		prefix: "/below", token: token, caps: caps,
		sessions: map[string]string{}, runs: map[string]int64{}, stopped: map[string]int64{},
		texts: map[string][]string{}, sent: map[string]string{},
	}
	w.Server = httptest.NewServer(http.HandlerFunc(w.serve))
	t.Cleanup(func() {
		w.mu.Lock()
		hang := w.hang
		w.hang = nil
		w.mu.Unlock()
		if hang != nil {
			close(hang)
		}
		w.Server.Close()
	})
	return w
}

// Worker returns the worker in the form that the suite needs. Its endpoint has a path.
func (w *HTTPWorker) Worker() GatewayWorker {
	return GatewayWorker{
		Ref: ports.WorkerRef{ID: "fake-worker", Endpoint: w.Server.URL + w.prefix, Capabilities: w.caps},
		Delivered: func(id string) []string {
			w.mu.Lock()
			defer w.mu.Unlock()
			return slices.Clone(w.texts[id])
		},
		Connect: func(_ *testing.T, id string) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.sessions[id] = "connected"
		},
		Media: func(*testing.T, string) (string, []byte) { return "media 1", mediaOfWorker },
		Crash: func() {
			w.Server.CloseClientConnections()
			w.Server.Close()
		},
		Hang: func() {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.hang = make(chan struct{})
		},
		FailNext: func(faults ...GatewayFault) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.faults = faults
		},
	}
}

// Calls returns the calls so far, without health calls.
func (w *HTTPWorker) Calls() []HTTPCall {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.calls)
}

// serve records a call and executes it, or its fault.
func (w *HTTPWorker) serve(rw http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	w.mu.Lock()
	hang := w.hang
	w.mu.Unlock()
	if hang != nil {
		<-hang
		return
	}
	path, below := strings.CutPrefix(r.URL.Path, w.prefix)
	switch {
	case r.Header.Get("Authorization") != "Bearer "+w.token:
		gatewayFail(rw, 401, "Unauthorized", false)
		return
	case !below:
		gatewayFail(rw, 400, "Wrong path", false)
		return
	case r.Method == http.MethodGet && path == "/health":
		return
	}
	if session, id, ok := strings.Cut(strings.TrimPrefix(path, "/api/"), "/media/"); ok && slices.Contains(w.caps, domain.CapMedia) {
		w.serveMedia(rw, r, session, id)
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	call := HTTPCall{Method: r.Method, Path: path}
	if len(body) > 0 {
		if r.Header.Get("Content-Type") != "application/json" || json.Unmarshal(body, &call.Body) != nil {
			gatewayFail(rw, 400, "Not JSON", false)
			return
		}
	}
	w.calls = append(w.calls, call)
	var fault *GatewayFault
	if len(w.faults) > 0 {
		fault, w.faults = &w.faults[0], w.faults[1:]
	}
	var answer http.ResponseWriter = rw
	if fault != nil {
		answer = httptest.NewRecorder() // nobody reads this response
	}
	if fault == nil || fault.Done {
		w.handle(answer, call)
	}
	switch {
	case fault == nil:
	case fault.Status == 0:
		panic(http.ErrAbortHandler)
	default:
		if fault.RetryAfter > 0 {
			rw.Header().Set("Retry-After", strconv.Itoa(int(fault.RetryAfter.Seconds())))
		}
		gatewayFail(rw, fault.Status, fault.Text, len(w.caps) > 0)
	}
}

// mediaOfWorker is the media that an HTTPWorker has for each of its sessions.
var mediaOfWorker = []byte(strings.Repeat("0123456789abcdef", 500))

// serveMedia answers the route of media, without an ETag.
func (w *HTTPWorker) serveMedia(rw http.ResponseWriter, r *http.Request, session, id string) {
	w.mu.Lock()
	_, isKnown := w.sessions[session]
	w.mu.Unlock()
	switch {
	case !isKnown:
		gatewayFail(rw, http.StatusNotFound, "Session not found", true)
	case id != "media 1":
		gatewayFail(rw, http.StatusNotFound, "Media not found", true)
	default:
		rw.Header().Set("Content-Type", "image/jpeg")
		http.ServeContent(rw, r, "", time.Time{}, bytes.NewReader(mediaOfWorker))
	}
}

// handle executes a call.
func (w *HTTPWorker) handle(rw http.ResponseWriter, c HTTPCall) {
	parts := strings.Split(strings.TrimPrefix(c.Path, "/api/"), "/")
	route := c.Method + " " + strings.Join(parts, "/")
	switch {
	case route == "POST sessions/start":
		w.start(rw, c.Body)
	case route == "GET sessions":
		list := []any{}
		for id, status := range w.sessions {
			list = append(list, map[string]any{"sessionId": id, "status": status})
		}
		gatewayOK(rw, map[string]any{"sessions": list})
	case len(parts) == 2 && c.Method == "POST" && parts[1] == "send":
		w.send(rw, parts[0], c.Body)
	case len(parts) == 3 && c.Method == "POST" && parts[0] == "message" && parts[2] == "manage":
		if w.has(rw, parts[1]) && w.known(rw, c.Body, "action", "messageId", "phone", "forEveryone", "newText", "emoji", "jid", "messageKey") &&
			w.addressed(rw, c.Body) {
			gatewayOK(rw, nil)
		}
	case len(parts) == 3 && c.Method == "GET" && parts[0] == "sessions" && parts[2] == "status":
		if id := parts[1]; w.has(rw, id) {
			gatewayOK(rw, map[string]any{"sessionId": id, "status": w.sessions[id], "phoneNumber": "6281234567890:4@s.whatsapp.net", "qrCode": nil})
		}
	case len(parts) == 3 && route == "POST sessions/"+parts[1]+"/restart":
		if id := parts[1]; w.has(rw, id) && w.known(rw, c.Body, "generation") && w.current(rw, id, c.Body) {
			w.sessions[id] = "restarting"
			gatewayOK(rw, nil)
		}
	case len(parts) == 3 && route == "POST sessions/"+parts[1]+"/disconnect":
		w.stop(rw, parts[1], "disconnected", c.Body)
	case len(parts) == 3 && route == "POST sessions/"+parts[1]+"/logout":
		w.stop(rw, parts[1], "logged_out", c.Body)
	case len(parts) == 2 && c.Method == "DELETE" && parts[0] == "sessions":
		w.stop(rw, parts[1], "", c.Body)
	default:
		gatewayFail(rw, 404, "No such route", false)
	}
}

// generation returns the generation of a call, or 0.
func generation(body map[string]any) int64 {
	n, _ := body["generation"].(float64)
	return int64(n)
}

// current refuses a start or restart of a generation that is older than the running one or was stopped.
func (w *HTTPWorker) current(rw http.ResponseWriter, id string, body map[string]any) bool {
	g := generation(body)
	if g != 0 && (g < w.runs[id] || g <= w.stopped[id]) {
		gatewayFail(rw, 409, "This generation of the session is over", true)
		return false
	}
	w.runs[id] = max(w.runs[id], g)
	return true
}

// stop stops a session unless a newer generation runs. The empty status removes the session.
func (w *HTTPWorker) stop(rw http.ResponseWriter, id, status string, body map[string]any) {
	if !w.known(rw, body, "generation") {
		return
	}
	g := generation(body)
	w.stopped[id] = max(w.stopped[id], g)
	if !w.has(rw, id) {
		return
	}
	if g == 0 || g >= w.runs[id] {
		w.sessions[id] = status
		if status == "" {
			delete(w.sessions, id)
		}
	}
	gatewayOK(rw, nil)
}

// start starts a session that does not run.
func (w *HTTPWorker) start(rw http.ResponseWriter, body map[string]any) {
	id := fmt.Sprint(body["sessionId"])
	if !w.known(rw, body, "sessionId", "userId", "sessionName", "generation", "recover", "pairing") || !w.current(rw, id, body) {
		return
	}
	if s := w.sessions[id]; s == "" || s == "disconnected" || s == "logged_out" {
		w.sessions[id] = "qr_ready"
	}
	rw.WriteHeader(http.StatusCreated)
	gatewayOK(rw, map[string]any{"sessionId": id, "status": w.sessions[id], "qrCode": "2@" + id})
}

// send records a text, once for each client message id.
func (w *HTTPWorker) send(rw http.ResponseWriter, id string, body map[string]any) {
	if !w.has(rw, id) || !w.known(rw, body, "to", "type", "message", "mediaUrl", "caption", "filename", "location", "contact",
		"link", "poll", "messageId", "humanSimulation", "clientMessageId") {
		return
	}
	to, kind := fmt.Sprint(body["to"]), fmt.Sprint(body["type"])
	switch {
	case !strings.Contains(to, "@"):
		gatewayFail(rw, 400, "to must be a JID", false)
		return
	case kind == "contact" && strings.Trim(fmt.Sprint(body["contact"].(map[string]any)["phone"]), "0123456789") != "":
		gatewayFail(rw, 400, "contact.phone must be digits", false)
		return
	case kind == "document" && body["filename"] == nil:
		gatewayFail(rw, 400, "filename is required", false)
		return
	case kind == "seen" || strings.HasPrefix(kind, "typing_"):
		gatewayOK(rw, nil)
		return
	case body["humanSimulation"] == nil:
		gatewayFail(rw, 400, "this would take seconds", false)
		return
	}
	key, _ := body["clientMessageId"].(string)
	wa := w.sent[id+"/"+key]
	if key == "" || wa == "" {
		w.count++
		wa = fmt.Sprintf("3EB0%08X", w.count)
		w.texts[id] = append(w.texts[id], fmt.Sprint(body["message"]))
		if key != "" {
			w.sent[id+"/"+key] = wa
		}
	}
	gatewayOK(rw, map[string]any{"messageId": wa, "status": "sent", "timestamp": "2026-01-02T03:04:05.678Z"})
}

// has answers 404 if the session is missing.
func (w *HTTPWorker) has(rw http.ResponseWriter, id string) bool {
	if w.sessions[id] == "" {
		gatewayFail(rw, 404, "Session not found", true)
		return false
	}
	return true
}

// known refuses keys that are not listed. A worker without capabilities also refuses the keys of
// extensions.
func (w *HTTPWorker) known(rw http.ResponseWriter, body map[string]any, keys ...string) bool {
	for key := range body {
		extension := key == "clientMessageId" || key == "generation" || key == "recover" || key == "pairing"
		if !slices.Contains(keys, key) || extension && len(w.caps) == 0 {
			gatewayFail(rw, 400, fmt.Sprintf("%q is not allowed", key), false)
			return false
		}
	}
	return true
}

// addressed refuses an action unless every address in it is a JID. Legacy workers send to a stranger
// otherwise.
func (w *HTTPWorker) addressed(rw http.ResponseWriter, body map[string]any) bool {
	key, _ := body["messageKey"].(map[string]any)
	for name, value := range map[string]any{
		"phone": body["phone"], "jid": body["jid"], "remoteJid": key["remoteJid"], "participant": key["participant"],
	} {
		if to, _ := value.(string); value != nil && !strings.Contains(to, "@") || name == "phone" && value == nil {
			gatewayFail(rw, 400, name+" must be a JID", false)
			return false
		}
	}
	return true
}

// Last returns the latest call. It fails the test if there is none.
func (w *HTTPWorker) Last(t *testing.T) HTTPCall {
	t.Helper()
	calls := w.Calls()
	require.NotEmpty(t, calls)
	return calls[len(calls)-1]
}

// gatewayOK answers a success with data.
func gatewayOK(rw http.ResponseWriter, data any) {
	gatewayAnswer(rw, map[string]any{"success": true, "data": data})
}

// gatewayFail answers a failure. Workers use two forms of the error: an object or a plain text.
func gatewayFail(rw http.ResponseWriter, status int, text string, object bool) {
	body := map[string]any{"success": false, "error": text}
	if object {
		body["error"] = map[string]any{"code": "SOME_CODE", "message": text}
	}
	rw.Header().Set("Content-Type", "application/json")
	rw.WriteHeader(status)
	gatewayAnswer(rw, body)
}

// gatewayAnswer writes a JSON response.
func gatewayAnswer(rw http.ResponseWriter, v any) {
	rw.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(rw).Encode(v) // the client may be gone
}
