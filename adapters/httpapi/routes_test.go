package httpapi

import (
	"flag"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
)

var update = flag.Bool("update", false, "write the golden files anew")

// apiRoutes is the whole API.
var apiRoutes = routes()

// golden compares got with a file of testdata. It prints only the lines that differ.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
	}
	const hint = "go test ./adapters/httpapi -update"
	want, err := os.ReadFile(path)
	require.NoError(t, err, "%s writes it", hint)
	if diff := lineDiff(string(want), got); diff != "" {
		t.Errorf("%s differs; if that is intended, run: %s\n%s", path, hint, diff)
	}
}

// lineDiff returns the lines between the first and the last difference, at most 20 of each
// text: "-" and those of want, then "+" and those of got. It returns "" for equal texts.
func lineDiff(want, got string) string {
	if want == got {
		return ""
	}
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	first := 0
	for first < min(len(w), len(g)) && w[first] == g[first] {
		first++
	}
	w, g = w[first:], g[first:]
	for len(w) > 0 && len(g) > 0 && w[len(w)-1] == g[len(g)-1] {
		w, g = w[:len(w)-1], g[:len(g)-1]
	}
	var out strings.Builder
	fmt.Fprintf(&out, "from line %d:\n", first+1)
	write := func(sign string, lines []string) {
		const most = 20
		for _, line := range lines[:min(len(lines), most)] {
			fmt.Fprintf(&out, "%s%s\n", sign, line)
		}
		if len(lines) > most {
			fmt.Fprintf(&out, "%s… %d more lines\n", sign, len(lines)-most)
		}
	}
	write("-", w)
	write("+", g)
	return out.String()
}

func TestLineDiff_Texts_OnlyTheDifference(t *testing.T) {
	long := strings.Repeat("x\n", 25)
	for name, c := range map[string]struct{ want, got, diff string }{
		"equal":        {"a\nb\n", "a\nb\n", ""},
		"changed line": {"a\nb\nc\n", "a\nB\nc\n", "from line 2:\n-b\n+B\n"},
		"new line":     {"a\nc\n", "a\nb\nc\n", "from line 2:\n+b\n"},
		"missing line": {"a\na\n", "a\n", "from line 2:\n-a\n"},
		"many lines":   {"", long, "from line 1:\n" + strings.Repeat("+x\n", 20) + "+… 5 more lines\n"},
	} {
		assert.Equal(t, c.diff, lineDiff(c.want, c.got), name)
	}
}

func TestRoutes_Table_MatchesGoldenFile(t *testing.T) {
	golden(t, "routes.txt", listing(apiRoutes))
}

// example fills the variables of a path.
func example(r *route) string {
	path := strings.NewReplacer("{id}", "support", "{workerId}", "worker-1", "{messageId}", "3EB0", "{webhookId}", "h1", "{deliveryId}", "d1").Replace(r.path)
	switch {
	case r.root:
		return path
	case strings.HasPrefix(r.id, "redeliver") && strings.HasSuffix(r.id, "Since"):
		path += "?since=2026-03-01"
	case r.id == "exportReport":
		path += "?type=users&format=json"
	case r.download:
		path += "?format=json"
	}
	return "/api/v1" + path
}

// Every route takes its own kind of credential and refuses all others, before
// it looks at anything else.
func TestCredentials_WrongOrMissing_AreRefused(t *testing.T) {
	presented := map[string]string{
		"none": "", "user": userToken, "admin": adminToken, "key": keyText, "worker": fleetToken, "worker's own": ownToken,
		"garbage": "garbage", "unknown key": "wg_ffffffffffffffffffffffffffffffffffff",
	}
	accepted := map[credential][]string{
		public: {"none", "user", "admin", "key", "worker", "worker's own", "garbage", "unknown key"},
		user:   {"user", "admin"}, admin: {"admin"}, apiKey: {"key"}, keyOrUser: {"user", "admin", "key"},
		worker: {"worker", "worker's own"}, adminWorker: {"admin", "worker", "worker's own"}, adminLocal: {"admin"},
	}
	refusal := func(kind credential, name string) (int, domain.Code) {
		switch {
		case name == "none" && kind == apiKey:
			return http.StatusUnauthorized, domain.CodeAPIKeyMissing
		case name == "none":
			return http.StatusUnauthorized, domain.CodeAuthTokenMissing
		case kind == apiKey, kind == keyOrUser && name == "unknown key":
			return http.StatusUnauthorized, domain.CodeAPIKeyInvalid
		case name == "user" && (kind == admin || kind == adminWorker || kind == adminLocal):
			return http.StatusForbidden, domain.CodeInsufficientPermission
		}
		return http.StatusUnauthorized, domain.CodeAuthTokenInvalid
	}
	for i := range apiRoutes {
		r := &apiRoutes[i]
		for name, token := range presented {
			t.Run(r.method+" "+r.path+" "+name, func(t *testing.T) {
				// A body that is wrong in every way tells whether it was looked at.
				req := request(r.method, example(r), token, "{")
				s := &stub{}
				got := serve(t, New(config(s)), req)
				if slices.Contains(accepted[r.credential], name) {
					assert.NotContains(t, []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound}, got.Code, got.Body)
					return
				}
				status, code := refusal(r.credential, name)
				assert.Equal(t, status, got.Code)
				assert.Equal(t, code, got.Error.Code)
				assert.Zero(t, s.calls, "a service was called")
				if status == http.StatusUnauthorized {
					assert.NotEmpty(t, got.Header().Get("WWW-Authenticate"))
				}
			})
		}
	}
}

func TestCredentials_OtherScheme_CountsAsNone(t *testing.T) {
	for _, value := range []string{"Basic dXNlcjpwdw==", "Bearer", "Bearer ", userToken, "bearer\t" + userToken} {
		r := request("GET", "/api/v1/auth/me", "", "")
		r.Header.Set("Authorization", value)
		got := serve(t, New(config(&stub{})), r)
		assert.Equal(t, domain.CodeAuthTokenMissing, got.Error.Code, value)
	}
	r := request("GET", "/api/v1/auth/me", "", "")
	r.Header.Set("Authorization", "bEARER  "+userToken)
	assert.Equal(t, http.StatusOK, serve(t, New(config(&stub{})), r).Code)
}

// A key is good for its own session only; any other answers like a missing one.
func TestCredentials_KeyOfAnotherSession_IsRefused(t *testing.T) {
	const message = `{"to":"6281234567890","type":"text","message":"hi"}`
	for path, body := range map[string]string{
		"/api/v1/sessions/%s/status":        "",
		"/api/v1/sessions/%s/send":          message,
		"/api/v1/sessions/%s/messages/bulk": `{"messages":[` + message + `]}`,
	} {
		method := http.MethodGet
		if body != "" {
			method = http.MethodPost
		}
		own, s := ask(t, method, strings.Replace(path, "%s", "SUPPORT_", 1), keyText, body)
		assert.Equal(t, http.StatusOK, own.Code, "its own, in another spelling")
		assert.NotZero(t, s.calls)
		other, s := ask(t, method, strings.Replace(path, "%s", "sales", 1), keyText, body)
		assert.Equal(t, http.StatusNotFound, other.Code)
		assert.Equal(t, domain.CodeSessionNotFound, other.Error.Code)
		assert.Zero(t, s.calls)
	}
}

// The same routes answer below both base paths, and nowhere else.
func TestRouter_BothBasePaths_AnswerAlike(t *testing.T) {
	h := New(config(&stub{}))
	for i := range apiRoutes {
		r := &apiRoutes[i]
		path := strings.TrimPrefix(example(r), "/api/v1")
		for _, base := range []string{"", "/api", "/api/v1", "/api/v2", "/api/v1/api", "/v1"} {
			got := serve(t, h, request("OPTIONS", base+path, "", ""))
			isBase := base == "/api" || base == "/api/v1"
			if r.root && base == "" || !r.root && isBase || path == "/health" && (base == "" || isBase) {
				assert.Equal(t, http.StatusNoContent, got.Code, base+path)
				assert.Contains(t, got.Header().Get("Allow"), r.method)
			} else {
				assert.Equal(t, http.StatusNotFound, got.Code, base+path)
			}
		}
	}
}

func TestRouter_UnknownRoute_IsNotFound(t *testing.T) {
	h := New(config(&stub{}))
	for _, path := range []string{
		"/", "/api", "/api/", "/api/v1", "/api/v1/", "/nothing", "/api/v1/nothing", "/api/v1/sessions//send", "/api/v1//sessions",
		"/api/v1/sessions/a/b/c/d", "/api/v1/sessions/support/messages/", "/api/v1/workers/%zz", "/api/v1x/sessions", "/%61pi/v1/x",
	} {
		r := &http.Request{Method: "GET", URL: &url.URL{Path: path}, Header: http.Header{}, RemoteAddr: "1.2.3.4:5"}
		if strings.HasSuffix(path, "/messages/") {
			continue // a slash at the end does not matter
		}
		got := serve(t, h, r)
		if path == "/api/v1/workers/%zz" {
			assert.Equal(t, http.StatusUnauthorized, got.Code, "a strange id, but a route")
			continue
		}
		assert.Equal(t, http.StatusNotFound, got.Code, path)
		assert.Equal(t, domain.CodeNotFound, got.Error.Code)
		assert.False(t, got.Success)
		assert.Equal(t, "req-1", got.RequestID)
	}
}

func TestRouter_TrailingSlash_IsIgnored(t *testing.T) {
	got, _ := ask(t, "GET", "/api/v1/sessions/support/messages/", userToken, "")
	assert.Equal(t, http.StatusOK, got.Code)
}

func TestRouter_WrongMethod_IsRefusedWithAllow(t *testing.T) {
	for _, c := range []struct{ method, path, allow string }{
		{"PATCH", "/api/v1/sessions", "GET, HEAD, OPTIONS, POST"},
		{"GET", "/api/sendText", "OPTIONS, POST"},
		{"DELETE", "/health", "GET, HEAD, OPTIONS"},
		{"POST", "/api/v1/sessions/support/messages/m1", "GET, HEAD, OPTIONS"},
		{"POST", "/api/v1/workers/worker-1", "DELETE, GET, HEAD, OPTIONS, PUT"},
		// Fixed paths are never taken for an id, whatever the method.
		{"DELETE", "/api/v1/workers/statistics", "GET, HEAD, OPTIONS"},
		{"PUT", "/api/v1/workers/available", "GET, HEAD, OPTIONS"},
		{"GET", "/api/v1/workers/health-check", "OPTIONS, POST"},
		{"GET", "/api/v1/workers/register", "OPTIONS, POST"},
		{"GET", "/api/v1/workers/unregister/", "DELETE, OPTIONS"},
	} {
		got, _ := ask(t, c.method, c.path, adminToken, "")
		assert.Equal(t, http.StatusMethodNotAllowed, got.Code, c.path)
		assert.Equal(t, c.allow, got.Header().Get("Allow"), c.path)
		assert.Equal(t, codeMethodNotAllowed, got.Error.Code)
	}
}

// Worker ids arrive as the worker writes them, escaped or not.
func TestRouter_RawIDs_AreNormalized(t *testing.T) {
	for path, id := range map[string]string{
		"/api/workers/Worker%20ONE%2F1/heartbeat":         "worker-one-1",
		"/api/workers/Worker_1/heartbeat/":                "worker-1",
		"/api/workers/Worker@%23$%25%5E&*()_+Test_123":    "worker-test-123",
		"/api/workers/%20%20PRODUCTION%20%20Worker%20%20": "production-worker",
	} {
		method, body := "DELETE", ""
		if strings.Contains(path, "heartbeat") {
			method, body = "PUT", "{}"
		}
		got, s := ask(t, method, path, fleetToken, body)
		require.Equal(t, http.StatusOK, got.Code, path)
		if h, ok := s.last.(domain.Heartbeat); ok {
			assert.Equal(t, id, h.WorkerID)
		} else {
			assert.Equal(t, []string{id, ""}, s.last)
		}
	}
	got, s := ask(t, "GET", "/api/v1/sessions/a%00b%ff", userToken, "")
	require.Equal(t, http.StatusOK, got.Code)
	assert.Equal(t, "a\uFFFDb\uFFFD", s.last, "text that every store can be asked for")
}

// listing writes the table for people, one route a line.
func listing(routes []route) string {
	var b strings.Builder
	for _, r := range routes {
		base, size := "/api/v1", "1 MiB"
		if r.root {
			base = ""
		}
		if r.media {
			size = "16 MiB"
		}
		fmt.Fprintf(&b, "%-6s  %-52s  %-15s  limit %-4s  body %s\n", r.method, base+r.path, r.credential, r.limit, size)
	}
	return b.String()
}
