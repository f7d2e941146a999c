package httpapi

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
)

// bodies are good ones, for the routes that need one.
var bodies = map[string]string{
	"POST /auth/register":               `{"name":"Ada","email":" ADA@example.com ","password":"correct horse 1"}`,
	"POST /auth/login":                  `{"email":"ada@example.com","password":"correct horse 1"}`,
	"POST /auth/refresh":                `{"refreshToken":"refresh"}`,
	"POST /auth/forgot-password":        `{"email":"ada@example.com"}`,
	"POST /auth/reset-password":         `{"token":"once","newPassword":"correct horse 2"}`,
	"POST /auth/change-password":        `{"currentPassword":"correct horse 1","newPassword":"correct horse 2"}`,
	"POST /auth/deactivate":             `{"password":"correct horse 1"}`,
	"POST /users/deactivate":            `{"password":"correct horse 1"}`,
	"PUT /users/profile":                `{"name":"Ada L"}`,
	"POST /admin/users":                 `{"name":"Ada","email":"ADA@example.com","password":"correct horse 1","tier":"pro"}`,
	"POST /sessions":                    `{"name":"Support","sessionId":"Support_1","description":"Front desk"}`,
	"POST /sessions/{id}/send":          `{"to":"6289999999999","type":"text","message":"hello"}`,
	"POST /sessions/{id}/messages/bulk": `{"messages":[{"to":"6289999999999","type":"text","message":"hello","idempotencyKey":"again-17"},{"to":"12","type":"text"}]}`,
	"POST /sendText":                    `{"to":"6289999999999","message":"hello"}`,
	"POST /sendImage":                   `{"to":"6289999999999","imageUrl":"https://example.com/a.png","caption":"A"}`,
	"POST /sendFile":                    `{"to":"6289999999999","media":"aGVsbG8=","filename":"a.txt"}`,
	"POST /sendVoice":                   `{"to":"6289999999999","audioUrl":"https://example.com/a.ogg"}`,
	"POST /sendVideo":                   `{"to":"6289999999999","videoUrl":"https://example.com/a.mp4"}`,
	"POST /sendSticker":                 `{"to":"6289999999999","stickerUrl":"https://example.com/a.webp"}`,
	"POST /sendLocation":                `{"to":"6289999999999","latitude":0,"longitude":-12.5}`,
	"POST /sendContactVcard":            `{"to":"6289999999999","contactName":"Bo","contactPhone":"6281234567891"}`,
	"POST /sendLink":                    `{"to":"6289999999999","url":"https://example.com"}`,
	"POST /sendPoll":                    `{"to":"6289999999999","poll":{"question":"Tea?","options":["yes","no"]}}`,
	"POST /sendSeen":                    `{"to":"6289999999999","messageId":"3EB0"}`,
	"POST /startTyping":                 `{"to":"6289999999999"}`,
	"POST /stopTyping":                  `{"to":"6289999999999"}`,

	"POST /message/{messageId}/delete":   `{"phone":"6289999999999","forEveryone":true}`,
	"POST /message/{messageId}/unsend":   `{"phone":"6289999999999"}`,
	"POST /message/{messageId}/edit":     `{"phone":"6289999999999","newText":"hello!"}`,
	"POST /message/{messageId}/reaction": `{"phone":"6289999999999","emoji":"👍"}`,
	"POST /message/{messageId}/read":     `{"jid":"6289999999999@s.whatsapp.net","messageKey":{"remoteJid":"6289999999999@s.whatsapp.net","fromMe":false,"id":"3EB0"}}`,
	"POST /message/{messageId}/star":     `{"phone":"6289999999999"}`,
	"POST /message/{messageId}/unstar":   `{"phone":"6289999999999"}`,

	"POST /sessions/{id}/webhooks":            `{"url":"https://example.com/in","events":["message.sent"]}`,
	"PUT /sessions/{id}/webhooks/{webhookId}": `{"isActive":false}`,
	"PUT /sessions/{id}/webhook":              `{"url":"https://example.com/in","secret":"whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"}`,

	"PUT /sessions/{id}/scheduled/{messageId}": `{"sendAt":"2026-03-01T18:00:00Z","message":"later"}`,

	"POST /workers":                     `{"endpoint":"http://my-host.example.com:8001"}`,
	"PUT /workers/{workerId}":           `{"maxSessions":20,"labels":{"pool":"eu"}}`,
	"POST /workers/test":                `{"endpoint":"http://my-host.example.com:8001"}`,
	"POST /workers/register":            `{"workerId":"Worker 1","endpoint":"http://10.0.0.5:8001","capabilities":["lease","dedupe"]}`,
	"DELETE /workers/unregister":        `{"workerId":"worker-1","endpoint":"http://10.0.0.5:8001"}`,
	"PUT /workers/{workerId}/heartbeat": `{"sessions":[{"sessionId":"support","status":"connected"}]}`,
	"POST /workers/{workerId}/sessions/recovery-status": `{"recoveryResults":[{"sessionId":"support","status":"SUCCESS"},` +
		`{"sessionId":"sales","status":"failed","error":"no credentials"},{"sessionId":"idle","status":"SKIPPED"}],"summary":{"totalSessions":3}}`,
	"POST /workers/{workerId}/sessions-preserved": `{"workerId":"worker-1","preservedSessions":["support",{"sessionId":"Sales_1"}]}`,
	"POST /webhooks/session-status":               `{"sessionId":"support","status":"qr_required","qrCode":"2@abc","workerId":"worker-1"}`,
	"POST /webhooks/message-status":               `{"sessionId":"support","messageId":"3EB0","status":"delivered"}`,
	"POST /webhooks/message-received":             `{"sessionId":"support","messageId":"3EB1","from":"6289999999999@s.whatsapp.net","type":"text","content":"hi","timestamp":1772366400}`,
	"POST /webhooks/worker-heartbeat":             `{"workerId":"worker-1","status":"ONLINE","sessionCount":2}`,
	"PUT /admin/users/{id}":                       `{"tier":"max","isActive":false}`,
	"POST /admin/sessions/bulk":                   `{"action":"restart","sessionIds":["support","sales","odd"]}`,
	"POST /admin/sessions/{id}/migrate":           `{"targetWorkerId":"worker-2","reason":"maintenance"}`,
}

// tokenFor is a credential that the route takes.
func tokenFor(r *route) string {
	return map[credential]string{
		public: "", user: userToken, admin: adminToken, apiKey: keyText, keyOrUser: keyText, worker: fleetToken, adminWorker: adminToken, adminLocal: adminToken,
	}[r.credential]
}

// The main answer of every route, as people and programs see it.
func TestRoutes_Success_AnswersMatchGoldenFiles(t *testing.T) {
	var out strings.Builder
	for i := range apiRoutes {
		r := &apiRoutes[i]
		if r.stream {
			continue // answers no JSON
		}
		cfg := config(&stub{
			usage: domain.Usage{Allowed: true, Limit: 1000, Remaining: 999, ResetAt: noon.Add(time.Hour)},
			qr:    domain.QR{Code: "2@abc", ExpiresAt: noon.Add(time.Minute)},
		})
		cfg.Health = func(context.Context) []Check {
			return []Check{{Name: "store", OK: true, Took: 1500 * time.Microsecond}}
		}
		body, path := bodies[r.method+" "+r.path], example(r)
		if r.path == "/users/usage" {
			path += "?period=7d"
		}
		if r.path == "/admin/analytics" {
			path += "?period=1h"
		}
		got := serve(t, New(cfg), request(r.method, path, tokenFor(r), body))
		require.Less(t, got.Code, 300, "%s %s: %s", r.method, r.path, got.Body)
		require.True(t, got.Success || r.download)
		writeAnswer(t, &out, r.method+" "+path, body, got)
	}
	golden(t, "answers.txt", out.String())
}

// The failures that every client has to know.
func TestRoutes_Failure_AnswersMatchGoldenFiles(t *testing.T) {
	var out strings.Builder
	for _, c := range []struct{ method, path, token, body string }{
		{"GET", "/api/v1/nowhere", "", ""},
		{"PATCH", "/api/v1/sessions", userToken, ""},
		{"GET", "/api/v1/auth/me", "", ""},
		{"GET", "/api/v1/auth/me", keyText, ""},
		{"POST", "/api/v1/sendText", "", ""},
		{"POST", "/api/v1/sendText", userToken, ""},
		{"GET", "/api/v1/workers", userToken, ""},
		{"POST", "/api/v1/auth/register", "", `{"name":"A","email":"nobody","password":"short"}`},
		{"POST", "/api/v1/auth/register", "", `{"name":`},
		{"POST", "/api/v1/auth/register", "", `[]`},
		{"POST", "/api/v1/sendImage", keyText, `{"to":"12","caption":7}`},
		{"GET", "/api/v1/sessions?page=0&limit=101&status=gone", userToken, ""},
		{"PUT", "/api/v1/workers/worker-1/heartbeat", fleetToken, `{"sessions":[{"sessionId":"a","status":"LOGGED_OUT"},{"sessionId":"b","status":"asleep"},{"status":"INIT"}]}`},
		{"PUT", "/api/v1/workers/unknown/heartbeat", fleetToken, `{}`},
	} {
		got := serve(t, New(config(&stub{})), request(c.method, c.path, c.token, c.body))
		writeAnswer(t, &out, c.method+" "+c.path, c.body, got)
	}
	golden(t, "failures.txt", out.String())
}

func writeAnswer(t *testing.T, out *strings.Builder, line, body string, got reply) {
	t.Helper()
	fmt.Fprintf(out, "### %s\n", line)
	if body != "" {
		fmt.Fprintf(out, "%s\n", body)
	}
	fmt.Fprintf(out, "\n%d\n", got.Code)
	var names []string
	for name := range got.Header() {
		switch name {
		case "Cache-Control", "Content-Security-Policy", "Content-Type", "Referrer-Policy", "X-Content-Type-Options", "Content-Length", "Vary":
		default:
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		fmt.Fprintf(out, "%s: %s\n", name, got.Header().Get(name))
	}
	v := jsontext.Value(got.Body.Bytes())
	require.NoError(t, v.Indent(jsontext.WithIndent("  ")))
	text := string(v)
	if i := strings.Index(text, "data:image/png;base64,"); i >= 0 {
		end := i + strings.IndexByte(text[i:], '"')
		text = text[:i] + "data:image/png;base64,…" + text[end:]
	}
	fmt.Fprintf(out, "%s\n\n", text)
}
