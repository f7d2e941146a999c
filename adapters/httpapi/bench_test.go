package httpapi

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// quick is services that cost nothing.
type quick struct {
	stubKeys
	stubMessages
	stubProtocol
	message domain.Message
	answer  service.HeartbeatResult
}

func (q *quick) Authenticate(context.Context, string) (service.Sender, domain.Usage, error) {
	return service.Sender{KeyID: "k1", UserID: "u1", SessionID: "support"},
		domain.Usage{Allowed: true, Limit: 100_000, Remaining: 99_000, ResetAt: noon}, nil
}

func (q *quick) Send(context.Context, service.Sender, *domain.Outgoing) (*domain.Message, error) {
	return &q.message, nil
}

func (q *quick) Heartbeat(context.Context, domain.Heartbeat) (*service.HeartbeatResult, error) {
	return &q.answer, nil
}

// discard is a client that only listens to the status.
type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header           { return d.header }
func (d *discard) Write(b []byte) (int, error)   { return len(b), nil }
func (d *discard) WriteHeader(status int)        { d.status = status }
func (d *discard) reset()                        { clear(d.header); d.status = 0 }
func (d *discard) expect(b *testing.B, want int) { b.Helper(); check(b, d.status == want, d.status) }

func check(b *testing.B, ok bool, what any) {
	b.Helper()
	if !ok {
		b.Fatal(what)
	}
}

func quickHandler(log *slog.Logger) http.Handler {
	q := &quick{message: *someMessage(), answer: service.HeartbeatResult{Worker: someWorker(), Lease: 45 * time.Second}}
	cfg := config(&stub{})
	cfg.APIKeys, cfg.Messages, cfg.Protocol, cfg.Log, cfg.Clock, cfg.IDs = q, q, q, log, systemClock{}, randomIDs{}
	return New(cfg)
}

// benchmark serves the same request again and again. What it costs to make
// the request is not counted, as it is made once.
func benchmark(b *testing.B, h http.Handler, method, path, token, body string) {
	r := request(method, path, token, body)
	content := bytes.NewReader(nil)
	r.Body = io.NopCloser(content)
	w := &discard{header: make(http.Header, 16)}
	b.ReportAllocs()
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		content.Reset([]byte(body))
		w.reset()
		h.ServeHTTP(w, r)
	}
	w.expect(b, http.StatusOK)
}

const sendTextBody = `{"to":"6281234567890","message":"Your code is 123456. It is valid for 5 minutes."}`

func BenchmarkSendText(b *testing.B) {
	benchmark(b, quickHandler(nil), "POST", "/api/v1/sendText", keyText, sendTextBody)
}

func BenchmarkSessionSend(b *testing.B) {
	benchmark(b, quickHandler(nil), "POST", "/api/v1/sessions/support/send", keyText,
		`{"to":"6281234567890","type":"text","message":"Your code is 123456. It is valid for 5 minutes."}`)
}

func BenchmarkSendTextLogged(b *testing.B) {
	benchmark(b, quickHandler(slog.New(slog.NewJSONHandler(io.Discard, nil))), "POST", "/api/v1/sendText", keyText, sendTextBody)
}

// beat is form 1 of a heartbeat, as today's workers send it.
func beat(sessions int) string {
	var s strings.Builder
	for i := range sessions {
		if i > 0 {
			s.WriteByte(',')
		}
		fmt.Fprintf(&s, `{"sessionId":"user-%04d-support","status":"CONNECTED","phoneNumber":"62812345%05d","displayName":"Shop %d","lastActivity":"2026-03-01T12:00:00.000Z","generation":3}`, i, i, i)
	}
	return `{"sessions":[` + s.String() + `],"capabilities":{"maxSessions":50,"version":"1.2.0","environment":"PRODUCTION","supportedFeatures":["text","image"]},` +
		`"metrics":{"cpuUsage":12.5,"memoryUsage":40.25,"uptime":86400,"messageCount":1234,"totalSessions":50,"activeSessions":50},"lastActivity":"2026-03-01T12:00:00.000Z"}`
}

func BenchmarkHeartbeat(b *testing.B) {
	benchmark(b, quickHandler(nil), "PUT", "/api/v1/workers/worker-1/heartbeat", fleetToken, beat(50))
}

// BenchmarkHeartbeatHTTP is the whole way over a socket, client included.
func BenchmarkHeartbeatHTTP(b *testing.B) {
	overHTTP(b, "PUT", "/api/v1/workers/worker-1/heartbeat", fleetToken, beat(50))
}

// BenchmarkSendTextHTTP is the whole way over a socket, client included.
func BenchmarkSendTextHTTP(b *testing.B) {
	overHTTP(b, "POST", "/api/v1/sendText", keyText, sendTextBody)
}

func overHTTP(b *testing.B, method, path, token, body string) {
	server := httptest.NewServer(quickHandler(nil))
	defer server.Close()
	client := server.Client()
	client.Transport.(*http.Transport).MaxIdleConnsPerHost = 64
	b.ReportAllocs()
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			r, err := http.NewRequestWithContext(b.Context(), method, server.URL+path, strings.NewReader(body))
			if err != nil {
				b.Error(err)
				return
			}
			r.Header.Set("Authorization", "Bearer "+token)
			r.Header.Set("Content-Type", "application/json")
			answer, err := client.Do(r)
			if err != nil {
				b.Error(err)
				return
			}
			_, _ = io.Copy(io.Discard, answer.Body)
			answer.Body.Close()
			if answer.StatusCode != http.StatusOK {
				b.Error(answer.Status)
				return
			}
		}
	})
}
