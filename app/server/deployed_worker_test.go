package server

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/app/backend"
	"github.com/switchyard-wa/switchyard/app/orchestrator"
	"github.com/switchyard-wa/switchyard/domain"
)

// A reply is the response of a deployed worker to a send.
type reply struct {
	status int
	header http.Header
	body   string
}

// deployedFleet is the API with a worker that behaves as the deployed ones do, and a session.
type deployedFleet struct {
	t        *testing.T
	api      *Handler
	send     atomic.Pointer[reply]
	onStart  atomic.Pointer[func()] // called before a start is answered
	endpoint string
	key, jwt string
}

func newDeployedFleet(t *testing.T) *deployedFleet {
	return newDeployedFleetOf(t, orchestrator.Config{})
}

func newDeployedFleetOf(t *testing.T, core orchestrator.Config) *deployedFleet {
	store, err := backend.Open(t.Context(), "memory:")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	f := &deployedFleet{t: t, api: newTestHandlerOf(t, store, core, HandlerConfig{WorkerToken: one})}
	worker := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch {
		case strings.HasSuffix(r.URL.Path, "/send"):
			answer := f.send.Load()
			for name, values := range answer.header {
				w.Header()[name] = values
			}
			w.WriteHeader(answer.status)
			_, _ = io.WriteString(w, answer.body)
		case strings.HasSuffix(r.URL.Path, "/start"):
			if onStart := f.onStart.Load(); onStart != nil {
				(*onStart)()
			}
			_, _ = io.WriteString(w, `{"success":true,"data":{"sessionId":"line","status":"initializing"}}`)
		default:
			_, _ = io.WriteString(w, `{"success":true,"data":{}}`)
		}
	}))
	t.Cleanup(worker.Close)
	f.endpoint = worker.URL

	f.call("POST", "/api/workers/register", one, `{"workerId":"worker-1","endpoint":"`+worker.URL+`"}`, http.StatusCreated)
	tokens, err := f.api.Accounts.Register(t.Context(), "Ada", "ada@example.com", "correct-horse-1")
	require.NoError(t, err)
	f.jwt = tokens.Token
	created := f.call("POST", "/api/v1/sessions", f.jwt, `{"name":"Line","sessionId":"line"}`, http.StatusCreated)
	f.key = created.Data["apiKey"].(string)
	f.call("POST", "/api/v1/sessions/line/connect", f.jwt, ``, http.StatusOK)
	return f
}

type called struct {
	Data    map[string]any
	Message string
	Error   struct {
		Code    domain.Code
		Message string
	}
	header http.Header
}

func (f *deployedFleet) call(method, path, token, body string, want int) (c called) {
	f.t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	f.api.ServeHTTP(w, r)
	require.Equal(f.t, want, w.Code, w.Body)
	require.NoError(f.t, json.Unmarshal(w.Body.Bytes(), &c))
	c.header = w.Header()
	return c
}

func (f *deployedFleet) report(body string) {
	f.t.Helper()
	f.call("POST", "/api/webhooks/session-status", one, body, http.StatusOK)
}

// Users see a deployed worker's answer to a send as it was meant, and nothing private in it.
func TestSend_AnswerOfADeployedWorker_ReachesTheUser(t *testing.T) {
	f := newDeployedFleet(t)
	f.report(`{"sessionId":"line","status":"connected","phoneNumber":"6281234567890:12@s.whatsapp.net","displayName":"Ada \ud83d"}`)
	const send = `{"to":"6289999999999","message":"hello"}`
	for name, c := range map[string]struct {
		reply
		want    int
		code    domain.Code
		message string // part of it
	}{
		"too many": {reply{429, http.Header{"Retry-After": {"7"}}, `{"success":false,"error":"Too many messages","details":{}}`},
			http.StatusTooManyRequests, domain.CodeRateLimit, ""},
		"refused": {reply{400, nil, `{"success":false,"error":"Recipient at 10.0.0.5:8001 is not on WhatsApp (/app/src/send.js:10)","details":{}}`},
			http.StatusBadRequest, domain.CodeValidation, "is not on WhatsApp"},
		"refused in other words": {reply{400, nil, `{"success":false,"errorMessage":"No such recipient","details":{}}`},
			http.StatusBadRequest, domain.CodeValidation, "No such recipient"},
		"sent": {reply{200, nil, `{"success":true,"data":{"messageId":"3EB0","status":"sent"}}`}, http.StatusOK, "", "Message sent"},
		"pending": {reply{200, nil, `{"success":true,"data":{"messageId":"3EB1","status":"pending"}}`},
			http.StatusOK, "", "not confirmed that it was sent"},
	} {
		t.Run(name, func(t *testing.T) {
			f.t = t
			f.send.Store(&c.reply)
			got := f.call("POST", "/api/v1/sendText", f.key, send, c.want)
			require.Equal(t, c.code, got.Error.Code)
			require.Contains(t, got.Message+got.Error.Message, c.message)
			for _, private := range []string{"10.0.0.5", "send.js", "127.0.0.1"} {
				require.NotContains(t, got.Error.Message, private)
			}
			require.Equal(t, c.reply.header.Get("Retry-After"), got.header.Get("Retry-After"))
			if c.want == http.StatusOK {
				require.Equal(t, name == "sent", got.Message == "Message sent")
			}
		})
	}
}

// A connect that waits says why there is nothing to wait for.
func TestConnect_WaitEndsInError_SaysWhy(t *testing.T) {
	f := newDeployedFleet(t)
	f.call("POST", "/api/v1/sessions/line/disconnect", f.jwt, ``, http.StatusOK)
	answered := make(chan struct{})
	w := httptest.NewRecorder()
	go func() {
		defer close(answered)
		r := httptest.NewRequest("POST", "/api/v1/sessions/line/connect?wait=20s", nil)
		r.Header.Set("Authorization", "Bearer "+f.jwt)
		f.api.ServeHTTP(w, r)
	}()
	require.Eventually(t, func() bool {
		return f.call("GET", "/api/v1/sessions/line/status", f.jwt, ``, http.StatusOK).Data["status"] == "INIT"
	}, 10*time.Second, 10*time.Millisecond)
	f.report(`{"sessionId":"line","status":"ERROR","error":"The account is banned (10.0.0.5:8001)","workerId":"worker-1"}`)
	<-answered
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	var got called
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &got))
	require.Equal(t, "ERROR", got.Data["status"])
	require.Equal(t, "Session did not connect: The account is banned …; connect it again", got.Message)
}

// A connect that waits says so too if the error is reported before the worker answers the start.
func TestConnect_WaitErrorDuringTheStart_SaysWhy(t *testing.T) {
	f := newDeployedFleet(t)
	f.call("POST", "/api/v1/sessions/line/disconnect", f.jwt, ``, http.StatusOK)
	report := func() {
		f.report(`{"sessionId":"line","status":"ERROR","error":"The account is banned","workerId":"worker-1"}`)
	}
	f.onStart.Store(&report)
	got := f.call("POST", "/api/v1/sessions/line/connect?wait=20s", f.jwt, ``, http.StatusOK)
	require.Equal(t, "ERROR", got.Data["status"])
	require.Equal(t, "Session did not connect: The account is banned; connect it again", got.Message)
}

// The API of an embedding program keeps to the timing of its orchestrator.
func TestNewHandler_QRLifeOfTheOrchestrator_HoldsForReports(t *testing.T) {
	f := newDeployedFleetOf(t, orchestrator.Config{Timing: domain.Timing{QRLife: 5 * time.Minute}})
	f.report(`{"sessionId":"line","status":"QR_REQUIRED","qrCode":"2@abc,def,ghi"}`)
	shown := f.call("GET", "/api/v1/sessions/line/qr", f.jwt, ``, http.StatusOK).Data
	expiresAt, err := time.Parse(time.RFC3339, fmt.Sprint(shown["expiresAt"]))
	require.NoError(t, err, shown)
	require.WithinDuration(t, time.Now().Add(5*time.Minute), expiresAt, time.Minute)
}
