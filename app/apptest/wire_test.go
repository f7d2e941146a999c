package apptest_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/httpapi"
	"github.com/switchyard-wa/switchyard/adapters/sqlite"
	"github.com/switchyard-wa/switchyard/app/apptest"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

const wireToken = "the-fleet-token-of-the-wire-tests"

// A wire is the HTTP side of a fleet: a worker that was cut off with a connected session,
// for which the test speaks.
type wire struct {
	*apptest.Harness
	http.Handler
	line *domain.Session
}

func newWire(t testing.TB, store ports.Store) *wire {
	h := apptest.With(insideFuzz{t}, apptest.Options{Store: store, Worker: func(c *apptest.WorkerConfig) { c.Legacy = true }}).Workers("w1", 50)
	w := &wire{Harness: h, line: h.Connected(h.User(domain.TierMax), "line")}
	h.CutOff("w1")
	w.Handler = httpapi.New(httpapi.Config{
		Services: h.Orchestrator.Services, WorkerTokens: domain.NewWorkerTokens(wireToken), Clock: wireClock{h},
	})
	return w
}

// insideFuzz is an F that a fuzz target may use.
type insideFuzz struct{ testing.TB }

func (insideFuzz) Helper()                  {}
func (insideFuzz) Context() context.Context { return context.Background() }

type wireClock struct{ h *apptest.Harness }

func (c wireClock) Now() time.Time { return c.h.Now() }

// call makes a request of the worker and returns the status. The answer must be ours.
func (w *wire) call(t testing.TB, method, path, contentType string, body []byte) int {
	t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(string(body)))
	r.Header.Set("Authorization", "Bearer "+wireToken)
	r.Header.Set("Content-Type", contentType)
	answer := httptest.NewRecorder()
	w.ServeHTTP(answer, r)
	var envelope struct{ Success *bool }
	if err := json.Unmarshal(answer.Body.Bytes(), &envelope); err != nil || envelope.Success == nil || *envelope.Success != (answer.Code < 300) {
		t.Fatalf("%s %s: %d %s", method, path, answer.Code, answer.Body)
	}
	if answer.Code >= 500 && answer.Code != http.StatusServiceUnavailable { // a worker that registers may not be there
		t.Fatalf("%s %s: %d %s", method, path, answer.Code, answer.Body)
	}
	return answer.Code
}

// requireStorable requires that every text that came from the worker can be kept.
func (w *wire) requireStorable(t testing.TB) {
	t.Helper()
	s := w.Session(w.line.ID)
	texts := []string{s.DisplayName, s.PhoneNumber, s.LastError, s.PairingCode, s.QR.Code}
	require.NoError(t, w.Store.View(t.Context(), func(ctx context.Context, tx *ports.Tx) error {
		worker, err := tx.Workers.Get(ctx, "worker-w1")
		if err != nil {
			return err
		}
		texts = append(texts, worker.Version, worker.Environment, worker.Description)
		list, err := tx.Messages.List(ctx, w.line.ID, domain.MessageFilter{Limit: 20})
		for _, m := range list {
			texts = append(texts, m.WhatsAppID, m.From, m.To, m.Content, m.Caption, m.MediaURL, m.Error)
		}
		return err
	}))
	for _, text := range texts {
		if !utf8.ValidString(text) || strings.Contains(text, "\x00") {
			t.Fatalf("%q was stored", text)
		}
	}
}

// uglyTexts are texts as they stand in JSON.
var uglyTexts = []string{
	`Ada \ud83d`, `\udc00\ud800`, `a\u0000b`, "\xff\xfe", "\xed\xa0\xbd", `🙂`, strings.Repeat("🙂", 400), strings.Repeat(`\u0000`, 300), `\u202e`, ` `, ``,
}

// uglyBodies are bodies that are hard to read.
var uglyBodies = []string{
	``, ` `, `{}`, `null`, `[]`, `7`, `"x"`, `{`, `{"a":1,"a":2}`, "\xef\xbb\xbf{}", "\xff\xfe{\x00", `<html>`, `{"":1}`, `{"x":` + strings.Repeat("[", 12_000),
	`{"sessionId":NaN}`, `{"sessionId":1e400,"generation":1e400}`, "\x1f\x8b\x08", `{"sessions":` + strings.Repeat(" ", 70_000) + `[]}`,
}

// A worker that sends heartbeats is ONLINE, whatever it sends.
func FuzzHeartbeat(f *testing.F) {
	for _, body := range append(uglyBodies,
		`{"sessions":[{"sessionId":"line","status":"CONNECTED","displayName":"Ada \ud83d"},null,7,{},{"sessionId":"line"}]}`,
		`{"status":"ONLINE","sessions":{"total":"5","connected":-1,"error":1e400},"cpuUsage":"n/a","memoryUsage":"101","uptime":-1}`,
		`{"metrics":{"sessions":{"maxSessions":-5},"cpuUsage":[]},"capabilities":{"maxSessions":1e9,"version":"\u0000","environment":"\ud800"}}`,
		`{"sessions":[`+strings.Repeat(`{"sessionId":"line","status":"DISCONNECTED"},`, 300)+`{"sessionId":"line","status":"logged_out"}]}`,
	) {
		f.Add([]byte(body), "application/json", true)
		f.Add([]byte(body), "text/plain; charset=utf-16", false)
	}
	w := newWire(f, nil)
	f.Fuzz(func(t *testing.T, body []byte, contentType string, isOldest bool) {
		w.Advance(30 * time.Second)
		view, _, err := w.Orchestrator.Workers.Get(t.Context(), "worker-w1")
		require.NoError(t, err)
		require.Equal(t, domain.WorkerOnline, view.Status())
		path, method := "/api/workers/Worker_W1/heartbeat", http.MethodPut
		if isOldest {
			path, method = "/api/v1/webhooks/worker-heartbeat", http.MethodPost
			body = append([]byte(`{"workerId":"worker-w1","x":`), body...)
		}
		code := w.call(t, method, path, contentType, body)
		if isOldest && code != http.StatusOK { // another id may follow
			require.Equal(t, http.StatusNotFound, code)
			code = w.call(t, http.MethodPut, "/api/workers/worker-w1/heartbeat", contentType, nil)
		}
		require.Equal(t, http.StatusOK, code)
		w.requireStorable(t)
	})
}

// fuzzReport fuzzes a route of the worker protocol: the worker never gets a 5xx, and what is
// stored is valid. bodies have one verb %s each, for a text.
func fuzzReport(f *testing.F, w *wire, method, path string, bodies ...string) {
	for _, body := range uglyBodies {
		f.Add([]byte(body))
	}
	for _, body := range bodies {
		for _, text := range uglyTexts {
			f.Add([]byte(strings.ReplaceAll(body, "%s", text)))
		}
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		w.call(t, method, path, "application/json", body)
		w.requireStorable(t)
	})
}

// Bodies of reports that hold a text in each member.
const (
	wireSessionStatus = `{"sessionId":"line","status":"CONNECTED","displayName":"%s","phoneNumber":"%s","reason":"%s","error":"%s","timestamp":"%s","generation":"%s"}`
	wireSessionQR     = `{"sessionId":"line","status":"QR_REQUIRED","qrCode":"%s","qrString":"%s","pairingCode":"%s","workerId":"worker-w1"}`
	wireMessageStatus = `{"sessionId":"line","messageId":"%s","clientMessageId":"%s","status":"FAILED","errorMessage":"%s","deliveredAt":"%s"}`
	wireMessage       = `{"sessionId":"line","messageId":"3EB0%s","from":"%s1","to":"%s","type":"%s","content":"%s","caption":"%s","mediaUrl":"%s","timestamp":"%s"}`
	wireRegistration  = `{"workerId":"worker-w1","endpoint":"http://worker-w1.sim:1","description":"%s","version":"%s","environment":"%s","labels":{"%s":"%s"},"maxSessions":50}`
	wireRecovery      = `{"recoveryResults":[{"sessionId":"line","status":"FAILED","error":"%s","recoveredAt":"%s"},{"sessionId":"%s"},null],"summary":{}}`
	wirePreserved     = `{"preservedSessions":["%s",{"sessionId":"%s"},{"id":"line"},null,7]}`
	wireUnregister    = `{"workerId":"%s","endpoint":"%s"}`
)

func FuzzSessionStatus(f *testing.F) {
	fuzzReport(f, newWire(f, nil), http.MethodPost, "/api/webhooks/session-status", wireSessionStatus, wireSessionQR, `{"sessionId":"line","status":"%s"}`)
}

func FuzzMessageStatus(f *testing.F) {
	fuzzReport(f, newWire(f, nil), http.MethodPost, "/api/webhooks/message-status", wireMessageStatus, `{"sessionId":"line","messageId":"A","status":"%s"}`)
}

func FuzzMessageReceived(f *testing.F) {
	fuzzReport(f, newWire(f, nil), http.MethodPost, "/api/webhooks/message-received", wireMessage, `{"sessionId":"line","messageId":"A","from":"1","content":{"a":"%s","a":1}}`)
}

func FuzzRegistration(f *testing.F) {
	w := newWire(f, nil)
	w.Reconnect("w1")
	fuzzReport(f, w, http.MethodPost, "/api/workers/register", wireRegistration, `{"workerId":"%s","endpoint":"%s"}`)
}

func FuzzRecoveryStatus(f *testing.F) {
	fuzzReport(f, newWire(f, nil), http.MethodPost, "/api/workers/worker-w1/sessions/recovery-status", wireRecovery)
}

func FuzzSessionsPreserved(f *testing.F) {
	fuzzReport(f, newWire(f, nil), http.MethodPost, "/api/workers/worker-w1/sessions-preserved", wirePreserved)
}

func FuzzUnregister(f *testing.F) {
	fuzzReport(f, newWire(f, nil), http.MethodDelete, "/api/workers/unregister", wireUnregister)
}

// What a worker writes reaches every store in a form that it keeps.
func TestWorkerBodies_UglyTexts_AreStoredValid(t *testing.T) {
	for name, store := range map[string]func(t *testing.T) ports.Store{
		"memory": func(*testing.T) ports.Store { return nil },
		"sqlite": func(t *testing.T) ports.Store {
			s, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "wire.db"), sqlite.Options{Migrate: true})
			require.NoError(t, err)
			return s
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWire(t, store(t))
			for _, text := range uglyTexts {
				say := func(method, path, body string) {
					t.Helper()
					code := w.call(t, method, path, "application/json", []byte(strings.ReplaceAll(body, "%s", text)))
					require.Contains(t, []int{http.StatusOK, http.StatusNotFound}, code, "%s %q", path, text)
				}
				say("PUT", "/api/workers/worker-w1/heartbeat", `{"sessions":[{"sessionId":"line","status":"CONNECTED","displayName":"%s","phoneNumber":"%s"},{"sessionId":"%s","status":"CONNECTED"}],"capabilities":{"version":"%s","environment":"%s"}}`)
				say("POST", "/api/webhooks/session-status", wireSessionStatus)
				say("POST", "/api/webhooks/message-received", strings.Replace(wireMessage, "3EB0%s", "3EB0", 1))
				say("POST", "/api/webhooks/message-status", strings.Replace(wireMessageStatus, `"messageId":"%s"`, `"messageId":"3EB0"`, 1))
				say("POST", "/api/workers/worker-w1/sessions-preserved", wirePreserved)
				w.requireStorable(t)
			}
			require.NotContains(t, w.Session(w.line.ID).DisplayName, "\x00")
		})
	}
}
