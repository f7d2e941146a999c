package httpapi

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/internal/view"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

const goodLogin = `{"email":"ada@example.com","password":"pw"}`

func TestRequestID_SaneOne_IsKept(t *testing.T) {
	h := New(config(&stub{}))
	for id, kept := range map[string]bool{
		"abc-123_X.y": true, strings.Repeat("a", 64): true, strings.Repeat("a", 65): false,
		"": false, "a b": false, "a\"b": false, "<script>": false, "ünï": false,
	} {
		for _, path := range []string{"/health", "/nowhere", "/api/v1/auth/me"} {
			r := request("GET", path, "", "")
			r.Header.Set("X-Request-Id", id)
			got := serve(t, h, r)
			want := "req-1"
			if kept {
				want = id
			}
			assert.Equal(t, want, got.Header().Get("X-Request-Id"))
			if !got.Success {
				assert.Equal(t, want, got.RequestID)
			}
		}
	}
}

func TestNew_ZeroConfig_Works(t *testing.T) {
	s := &stub{}
	h := New(Config{Services: config(s).Services, Accounts: stubAccounts{s}})
	got := serve(t, h, request("GET", "/health", "", ""))
	assert.Equal(t, http.StatusOK, got.Code)
	assert.NotEmpty(t, got.Header().Get("X-Request-Id"))
	assert.Equal(t, http.StatusOK, serve(t, h, request("GET", "/readyz", "", "")).Code)
	assert.Equal(t, http.StatusOK, serve(t, h, request("GET", "/health/detailed", adminToken, "")).Code)
	assert.Equal(t, domain.CodeAuthTokenInvalid, serve(t, h, request("PUT", "/api/workers/w-1/heartbeat", fleetToken, "{}")).Error.Code)
}

func TestHeaders_EveryAnswer_HasSecurityHeaders(t *testing.T) {
	r := request("GET", "/nowhere", "", "")
	got := serve(t, New(config(&stub{})), r)
	assert.Equal(t, "nosniff", got.Header().Get("X-Content-Type-Options"))
	assert.Equal(t, "no-store", got.Header().Get("Cache-Control"))
	assert.Contains(t, got.Header().Get("Content-Security-Policy"), "default-src 'none'")
	assert.Empty(t, got.Header().Get("Strict-Transport-Security"))
	r.TLS = &tls.ConnectionState{}
	assert.NotEmpty(t, serve(t, New(config(&stub{})), r).Header().Get("Strict-Transport-Security"))
}

func TestErrors_Envelope_HasTheMessageTwice(t *testing.T) {
	h := New(config(&stub{}))
	for _, r := range []*http.Request{
		request("GET", "/nowhere", "", ""), request("PATCH", "/api/v1/auth/me", "", ""), request("GET", "/api/v1/auth/me", "", ""),
		request("POST", "/api/auth/login", "", "{"), request("POST", "/api/v1/sessions", userToken, "{}"),
	} {
		got := serve(t, h, r)
		assert.NotEmpty(t, got.Error.Message)
		assert.Equal(t, got.Error.Message, got.Message, r.URL.Path)
	}
}

func TestHealth_BelowBasePaths_AnswersAsAbove(t *testing.T) {
	h := New(config(&stub{}))
	want := serve(t, h, request("GET", "/health", "", ""))
	assert.Equal(t, http.StatusOK, want.Code)
	for _, path := range []string{"/api/health", "/api/v1/health", "/api/health/"} {
		got := serve(t, h, request("GET", path, "", ""))
		assert.Equal(t, http.StatusOK, got.Code, path)
		assert.Equal(t, want.Body.String(), got.Body.String(), path)
	}
	assert.Equal(t, http.StatusMethodNotAllowed, serve(t, h, request("POST", "/api/health", "", "")).Code)
	assert.Equal(t, http.StatusNotFound, serve(t, h, request("GET", "/api/livez", "", "")).Code)
}

func TestBody_MalformedOrWrong_EveryProblemIsTold(t *testing.T) {
	big := `{"email":"` + strings.Repeat("a", maxBody) + `","password":"pw"}`
	for name, c := range map[string]struct {
		body   string
		status int
		fields []string
	}{
		"good":                   {goodLogin, 200, nil},
		"unknown fields":         {`{"email":"a","password":"b","x":{"y":[1,{"z":null}]},"":0}`, 200, nil},
		"blank around":           {" \r\n\t" + goodLogin + " \n", 200, nil},
		"nothing":                {"", 400, []string{"email", "password"}},
		"blank":                  {"  \n", 400, []string{"email", "password"}},
		"empty object":           {"{}", 400, []string{"email", "password"}},
		"nulls":                  {`{"email":null,"password":null}`, 400, []string{"email", "password"}},
		"wrong types":            {`{"email":1,"password":["x"]}`, 400, []string{"email", "password"}},
		"one of each":            {`{"email":{}}`, 400, []string{"email", "password"}},
		"an array":               {"[]", 400, []string{"body"}},
		"a string":               {`"x"`, 400, []string{"body"}},
		"null":                   {"null", 400, []string{"body"}},
		"no JSON":                {"email=a&password=b", 400, []string{"body"}},
		"half":                   {`{"email":"a"`, 400, []string{"body"}},
		"trailing garbage":       {goodLogin + "x", 400, []string{"body"}},
		"two objects":            {goodLogin + goodLogin, 400, []string{"body"}},
		"trailing comma":         {`{"email":"a",}`, 400, []string{"body"}},
		"twice":                  {`{"email":"a","password":"b","email":"c"}`, 400, []string{"email"}},
		"twice, where unread":    {`{"email":"a","password":"b","x":{"y":1,"y":2}}`, 400, []string{"x.y"}},
		"twice, other spelling":  {`{"email":"a","\u0065mail":"b","password":"c"}`, 400, []string{"email"}},
		"not UTF-8":              {"{\"email\":\"\xff\",\"password\":\"b\"}", 400, []string{"body"}},
		"half a surrogate":       {`{"email":"\ud800","password":"b"}`, 400, []string{"body"}},
		"deep":                   {strings.Repeat(`{"x":`, 20_000), 400, []string{"body"}},
		"deep and closed":        {`{"x":` + strings.Repeat("[", 200_000) + strings.Repeat("]", 200_000) + `}`, 400, []string{"body"}},
		"too large":              {big, 413, []string{"body"}},
		"NUL after the document": {goodLogin + "\x00", 400, []string{"body"}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, chunked := range []bool{false, true} {
				r := request("POST", "/api/v1/auth/login", "", c.body)
				if chunked {
					r.ContentLength = -1
				}
				got := serve(t, New(config(&stub{})), r)
				assert.Equal(t, c.status, got.Code, got.Body)
				assert.Equal(t, c.fields, got.fields())
				if c.status != 200 {
					assert.Equal(t, domain.CodeValidation, got.Error.Code)
					assert.NotContains(t, got.Error.Message, "pw")
				}
			}
		})
	}
}

func TestBody_TooLarge_IsRefused(t *testing.T) {
	fill := func(n int) string {
		return `{"to":"6289999999999","type":"image","media":"` + strings.Repeat("A", n) + `"}`
	}
	for _, c := range []struct {
		path string
		size int
		want int
	}{
		{"/api/v1/sendImage", 15 << 20, 200},
		{"/api/v1/sendImage", 16 << 20, 413},
		{"/api/v1/sendText", 2 << 20, 413},
		{"/api/v1/sessions/support/send", 15 << 20, 200},
		{"/api/v1/sessions/support/send", 16 << 20, 413},
	} {
		got, s := ask(t, "POST", c.path, keyText, fill(c.size))
		assert.Equal(t, c.want, got.Code, c.path)
		if c.want == 413 {
			assert.Zero(t, s.calls)
			assert.Equal(t, domain.CodeValidation, got.Error.Code)
			assert.Equal(t, "close", got.Header().Get("Connection"))
		}
	}
}

func TestContentType_NotJSON_IsRefused(t *testing.T) {
	for value, want := range map[string]int{
		"application/json": 200, "application/json; charset=utf-8": 200, "Application/JSON;charset=UTF-8": 200, "": 200,
		"text/plain": 415, "application/x-www-form-urlencoded": 415, "application/json; charset=latin1": 415, "application/jsonx": 415, ";": 415,
	} {
		r := request("POST", "/api/v1/auth/login", "", goodLogin)
		r.Header.Set("Content-Type", value)
		got := serve(t, New(config(&stub{})), r)
		assert.Equal(t, want, got.Code, value)
		if want == 415 {
			assert.Equal(t, domain.CodeValidation, got.Error.Code)
		}
	}
	// Where there is no body, it does not matter what it would have been.
	r := request("POST", "/api/v1/sessions/support/connect", userToken, "")
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	assert.Equal(t, http.StatusOK, serve(t, New(config(&stub{})), r).Code)

	r = request("POST", "/api/v1/auth/login", "", goodLogin)
	r.Header.Set("Content-Encoding", "gzip")
	assert.Equal(t, http.StatusUnsupportedMediaType, serve(t, New(config(&stub{})), r).Code)
}

func TestBody_BreaksOff_IsRefused(t *testing.T) {
	for want, err := range map[int]error{http.StatusBadRequest: io.ErrUnexpectedEOF, http.StatusRequestTimeout: os.ErrDeadlineExceeded} {
		r := request("POST", "/api/v1/auth/login", "", goodLogin)
		r.Body = io.NopCloser(io.MultiReader(strings.NewReader(`{"email":`), iotest.ErrReader(err)))
		assert.Equal(t, want, serve(t, New(config(&stub{})), r).Code)
	}
}

func TestHeadAndOptions_AnyRoute_AreAnswered(t *testing.T) {
	server := httptest.NewServer(New(config(&stub{})))
	defer server.Close()
	for _, method := range []string{"HEAD", "OPTIONS"} {
		r, _ := http.NewRequest(method, server.URL+"/api/v1/sessions", nil)
		r.Header.Set("Authorization", "Bearer "+userToken)
		answer, err := server.Client().Do(r)
		require.NoError(t, err)
		body, _ := io.ReadAll(answer.Body)
		answer.Body.Close()
		assert.Empty(t, body)
		assert.Less(t, answer.StatusCode, 300)
	}
}

func TestCORS_Origins_OnlyListedMayCall(t *testing.T) {
	cfg := config(&stub{})
	cfg.CORSOrigins = []string{"https://Console.example.com/"}
	h := New(cfg)
	ask := func(method, origin, preflight string) reply {
		r := request(method, "/api/v1/sessions", userToken, "")
		r.Header.Set("Origin", origin)
		if preflight != "" {
			r.Header.Set("Access-Control-Request-Method", preflight)
		}
		return serve(t, h, r)
	}
	got := ask("OPTIONS", "https://console.example.com", "POST")
	assert.Equal(t, http.StatusNoContent, got.Code)
	assert.Equal(t, "https://console.example.com", got.Header().Get("Access-Control-Allow-Origin"))
	assert.Contains(t, got.Header().Get("Access-Control-Allow-Methods"), "POST")
	assert.Contains(t, got.Header().Get("Access-Control-Allow-Headers"), "Authorization")
	assert.Equal(t, "Origin", got.Header().Get("Vary"))
	got = ask("GET", "https://console.example.com", "")
	assert.Equal(t, http.StatusOK, got.Code)
	assert.Equal(t, "https://console.example.com", got.Header().Get("Access-Control-Allow-Origin"))
	assert.Contains(t, got.Header().Get("Access-Control-Expose-Headers"), "X-RateLimit-Remaining")
	for _, origin := range []string{"https://evil.example.com", "null", ""} {
		got = ask("OPTIONS", origin, "POST")
		assert.Empty(t, got.Header().Get("Access-Control-Allow-Origin"), origin)
		assert.NotEmpty(t, got.Header().Get("Allow"))
	}

	cfg.CORSOrigins = []string{"*"}
	h = New(cfg)
	assert.Equal(t, "*", ask("GET", "https://any.example.com", "").Header().Get("Access-Control-Allow-Origin"))
	cfg.CORSOrigins = nil
	h = New(cfg)
	assert.Empty(t, ask("GET", "https://any.example.com", "").Header().Get("Access-Control-Allow-Origin"))
}

type panicking struct{ stubAccounts }

func (panicking) ForgotPassword(context.Context, string) error { panic("the secret of the stack") }

func (panicking) Refresh(context.Context, string) (*service.AuthTokens, error) {
	panic(http.ErrAbortHandler)
}

func TestPanic_InHandler_IsAnInternalError(t *testing.T) {
	var log bytes.Buffer
	cfg := config(&stub{})
	cfg.Accounts = panicking{stubAccounts{&stub{}}}
	cfg.Log = slog.New(slog.NewJSONHandler(&log, nil))
	h := New(cfg)
	got := serve(t, h, request("POST", "/api/v1/auth/forgot-password", "", `{"email":"ada@example.com"}`))
	assert.Equal(t, http.StatusInternalServerError, got.Code)
	assert.Equal(t, domain.CodeInternal, got.Error.Code)
	assert.NotContains(t, got.Body.String(), "secret")
	assert.Contains(t, log.String(), "the secret of the stack")
	assert.Contains(t, log.String(), "goroutine")
	assert.Contains(t, log.String(), "req-1")
	assert.PanicsWithValue(t, http.ErrAbortHandler, func() {
		serve(t, h, request("POST", "/api/v1/auth/refresh", "", `{"refreshToken":"x"}`))
	})
}

func TestErrors_Kinds_HaveTheirStatus(t *testing.T) {
	secret := errors.New("pq: password authentication failed at 10.0.0.1")
	for _, c := range []struct {
		err  error
		want int
		code domain.Code
	}{
		{domain.Errorf(domain.Exceeded, domain.CodeSessionLimit, "m"), 409, domain.CodeSessionLimit},
		{domain.Errorf(domain.Exceeded, domain.CodeMessageLimit, "m"), 429, domain.CodeMessageLimit},
		{domain.Errorf(domain.Conflict, "SOMETHING_NEW", "m"), 409, "SOMETHING_NEW"},
		{domain.Errorf(domain.Kind(99), "SOMETHING_ODD", "m"), 500, domain.CodeInternal},
		{fmt.Errorf("wrapped: %w", domain.Errorf(domain.NotFound, domain.CodeUserNotFound, "m").WithCause(secret)), 404, domain.CodeUserNotFound},
		{domain.Errorf(domain.Timeout, domain.CodeWorkerTimeout, "m"), 504, domain.CodeWorkerTimeout},
		{domain.Errorf(domain.BadGateway, domain.CodeMessageSendFailed, "m"), 502, domain.CodeMessageSendFailed},
		{secret, 500, domain.CodeInternal},
		{context.DeadlineExceeded, 504, domain.CodeWorkerTimeout},
		{fmt.Errorf("x: %w", context.Canceled), statusClientGone, domain.CodeInternal},
	} {
		got := serveUnchecked(t, New(config(&stub{err: c.err})), request("GET", "/api/v1/auth/me", userToken, ""))
		assert.Equal(t, c.want, got.Code, c.err)
		assert.Equal(t, c.code, got.Error.Code)
		assert.NotContains(t, got.Body.String(), "pq:")
		assert.Equal(t, c.want == 429, got.Header().Get("Retry-After") != "")
	}
}

// Every code has the status that the contract lists.
func TestErrors_EveryCode_HasItsStatus(t *testing.T) {
	for code, status := range statusByCode {
		f := toHTTPError(domain.Errorf(domain.Internal, code, "m"))
		assert.Equal(t, status, f.status)
		assert.Equal(t, code, f.code)
	}
	for kind := domain.Internal; kind <= domain.Gone; kind++ {
		assert.NotZero(t, statusByKind[kind], kind)
	}
}

// Every service's error reaches the client, on every route.
func TestErrors_EveryRoute_ReportsThem(t *testing.T) {
	for i := range apiRoutes {
		r := &apiRoutes[i]
		if (r.root || r.path == "/health") || strings.HasPrefix(r.path, "/workers/health/") {
			continue
		}
		s := &stub{err: domain.Errorf(domain.Conflict, domain.CodeInvalidState, "Not now")}
		got := serveUnchecked(t, New(config(s)), request(r.method, example(r), tokenFor(r), bodies[r.method+" "+r.path]))
		assert.Equal(t, http.StatusConflict, got.Code, "%s %s", r.method, r.path)
		assert.Equal(t, domain.CodeInvalidState, got.Error.Code)
		assert.Equal(t, 1, s.calls)
	}
}

func TestHealth_Dependencies_DecideStatus(t *testing.T) {
	cfg := config(&stub{})
	ready, up := true, true
	cfg.Ready = func() bool { return ready }
	cfg.Health = func(context.Context) []Check {
		return []Check{{Name: "store", OK: true}, {Name: "fabric", OK: up, Message: "does not answer"}}
	}
	h := New(cfg)
	status := func(path string) int { return serve(t, h, request("GET", path, "", "")).Code }
	assert.Equal(t, 200, status("/readyz"))
	up = false
	got := serve(t, h, request("GET", "/readyz", "", ""))
	assert.Equal(t, 503, got.Code)
	assert.Equal(t, domain.CodeNotReady, got.Error.Code)
	assert.Equal(t, []domain.FieldError{{Field: "fabric", Message: "does not answer"}}, got.Error.Details)
	assert.Equal(t, 200, status("/livez"))
	assert.Equal(t, 200, status("/health"))
	got = serve(t, h, request("GET", "/health/detailed", adminToken, ""))
	assert.Equal(t, "DEGRADED", got.Data["status"])
	up, ready = true, false
	assert.Equal(t, 503, status("/readyz"))
	assert.Equal(t, 200, status("/livez"))
}

func TestAccessLog_Requests_NameRouteAndHideSecrets(t *testing.T) {
	var log bytes.Buffer
	cfg := config(&stub{})
	cfg.Log = slog.New(slog.NewJSONHandler(&log, nil))
	cfg.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	h := New(cfg)

	r := request("POST", "/api/v1/sessions/support/send?secret=hush", keyText, `{"to":"6289999999999","type":"text","message":"private"}`)
	r.Header.Set("X-Forwarded-For", "203.0.113.9")
	serve(t, h, r)
	line := log.String()
	for _, want := range []string{
		`"method":"POST"`, `"route":"/sessions/{id}/send"`, `"status":200`, `"bytes":`, `"duration":`, `"request":"req-1"`,
		`"user":"u1"`, `"session":"support"`, `"ip":"203.0.113.9"`,
	} {
		assert.Contains(t, line, want)
	}
	for _, secret := range []string{keyText, "hush", "private"} {
		assert.NotContains(t, line, secret)
	}

	log.Reset()
	serve(t, h, request("GET", "/livez", "", ""))
	serve(t, h, request("PUT", "/api/workers/worker-1/heartbeat", fleetToken, "{}"))
	assert.Empty(t, log.String(), "what comes all the time is for the debug level")

	cause := errors.New("disk on fire")
	cfg.Accounts = stubAccounts{&stub{err: cause}}
	serve(t, New(cfg), request("GET", "/api/v1/auth/me", userToken, ""))
	assert.Contains(t, log.String(), "disk on fire")
	assert.Contains(t, log.String(), `"level":"ERROR"`)
	assert.NotContains(t, log.String(), userToken)
}

func TestRemoteAddress_TrustedProxies_AreBelieved(t *testing.T) {
	cfg := config(&stub{})
	cfg.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	a := newAPI(cfg)
	for _, c := range []struct {
		peer      string
		forwarded []string
		want      string
	}{
		{"203.0.113.1:99", nil, "203.0.113.1"},
		{"203.0.113.1:99", []string{"198.51.100.1"}, "203.0.113.1"}, // not a proxy of ours
		{"10.0.0.1:99", []string{"198.51.100.1"}, "198.51.100.1"},
		{"10.0.0.1:99", []string{"6.6.6.6, 198.51.100.1,10.0.0.2"}, "198.51.100.1"}, // the first can be made up
		{"10.0.0.1:99", []string{"6.6.6.6", "198.51.100.1", "10.0.0.2"}, "198.51.100.1"},
		{"10.0.0.1:99", []string{"nonsense, 10.0.0.2"}, "10.0.0.2"},
		{"10.0.0.1:99", []string{"198.51.100.1:1234"}, "198.51.100.1"},
		{"10.0.0.1:99", nil, "10.0.0.1"},
		{"[::ffff:10.0.0.1]:99", []string{"2001:db8::1"}, "2001:db8::1"},
		{"[fd00::1%eth0]:99", []string{"[2001:db8::1]:80"}, "2001:db8::1"},
		{"@", nil, ""},
	} {
		r := request("GET", "/", "", "")
		r.RemoteAddr = c.peer
		for _, line := range c.forwarded {
			r.Header.Add("X-Forwarded-For", line)
		}
		call := &requestContext{api: a, r: r}
		assert.Equal(t, c.want, call.remoteIP(), c.forwarded)
	}
}

// marshalled returns a value as the API writes it.
func marshalled(t *testing.T, v any) string {
	t.Helper()
	var out strings.Builder
	require.NoError(t, marshal(&out, v))
	return out.String()
}

func TestTimes_Answers_AreUTC(t *testing.T) {
	at := time.Date(2026, 3, 1, 13, 0, 0, 7_000_000, time.FixedZone("CET", 3600))
	assert.Equal(t, `"2026-03-01T12:00:00.007Z"`, marshalled(t, view.Time(at)))
	assert.Equal(t, "null", marshalled(t, view.Time{}))
}

// The store's file was deleted. Whatever the caches know, no route but those about health answers.
func TestPresence_DataGone_EveryRouteIsNotReady(t *testing.T) {
	var gone error = &ports.UnavailableError{Reason: "the database file was deleted", Cause: errors.New("/secret/path")}
	cfg := config(&stub{})
	cfg.Present = func() error { return gone }
	h := New(cfg)
	for _, r := range apiRoutes {
		got := serve(t, h, request(r.method, strings.NewReplacer("{", "", "}", "").Replace(r.fullPath()), adminToken, ""))
		if r.root {
			assert.Equal(t, http.StatusOK, got.Code, r.id)
			continue
		}
		assert.Equal(t, http.StatusServiceUnavailable, got.Code, r.id)
		assert.Equal(t, domain.CodeNotReady, got.Error.Code, r.id)
		assert.Contains(t, got.Error.Message, "the database file was deleted", r.id)
		assert.Equal(t, "5", got.Header().Get("Retry-After"), r.id)
	}
	gone = nil
	assert.Equal(t, http.StatusOK, serve(t, h, request("GET", "/api/v1/sessions", userToken, "")).Code)
}

func TestRequests_ManyHeadersOrParameters_AreRefused(t *testing.T) {
	h := New(config(&stub{}))
	r := request("GET", "/health", "", "")
	for i := range maxHeaders - 10 {
		r.Header.Add(fmt.Sprintf("X-%d", i), "v")
	}
	require.Equal(t, http.StatusOK, serve(t, h, r).Code)
	for range 20 {
		r.Header.Add("X-Again", "v")
	}
	require.Equal(t, http.StatusRequestHeaderFieldsTooLarge, serveUnchecked(t, h, r).Code)
	query := "/api/v1/sessions?" + strings.Repeat("&", maxParameters)
	require.Equal(t, http.StatusBadRequest, serve(t, h, request("GET", query, userToken, "")).Code)
	require.Equal(t, http.StatusOK, serve(t, h, request("GET", query[:len(query)-1], userToken, "")).Code)
}
