package openapitest_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/httpapi"
	"github.com/switchyard-wa/switchyard/adapters/httpapi/openapitest"
)

const (
	up       = `{"success":true,"data":{"status":"UP"},"message":"m","timestamp":"2026-03-01T12:00:00.123Z"}`
	notFound = `{"success":false,"error":{"code":"SESSION_NOT_FOUND","message":"m"},"message":"m","requestId":"r","timestamp":"2026-03-01T12:00:00.123Z"}`
	created  = `{"success":true,"data":null,"message":"m","timestamp":"2026-03-01T12:00:00.123Z"}`
)

func newChecker(t *testing.T) *openapitest.Checker {
	t.Helper()
	document, err := httpapi.Document("1.0.0", httpapi.FormatJSON3)
	require.NoError(t, err)
	checker, err := openapitest.New(document)
	require.NoError(t, err)
	return checker
}

func TestChecker_Exchanges_AreHeldAgainstTheDocument(t *testing.T) {
	checker := newChecker(t)
	for name, c := range map[string]struct {
		method, path, request string
		status                int
		response              string
		reports               string // empty: nothing
	}{
		"as documented":               {"GET", "/health", "", 200, up, ""},
		"HEAD":                        {"HEAD", "/health", "", 200, "", ""},
		"below /api, with a slash":    {"GET", "/api/sessions/support/", "", 404, notFound, ""},
		"unknown path, 404":           {"GET", "/nowhere", "", 404, notFound, ""},
		"unknown path, 200":           {"GET", "/nowhere", "", 200, up, "no such route"},
		"unknown method, 405":         {"PATCH", "/health", "", 405, notFound, ""},
		"undocumented status":         {"GET", "/health", "", 418, up, "does not list this status"},
		"undocumented code":           {"GET", "/api/v1/auth/me", "", 404, notFound, "USER_NOT_FOUND"},
		"undocumented member type":    {"GET", "/health", "", 200, strings.Replace(up, `"UP"`, "7", 1), "/data/status"},
		"missing member":              {"GET", "/health", "", 200, strings.Replace(up, `"message":"m",`, "", 1), "message"},
		"bad request that succeeds":   {"POST", "/api/v1/auth/forgot-password", `{"email":7}`, 200, created, "the request"},
		"bad request that is refused": {"POST", "/api/v1/auth/forgot-password", `{"email":7}`, 400, strings.Replace(notFound, "SESSION_NOT_FOUND", "VALIDATION_ERROR", 1), ""},
		"the document itself":         {"GET", "/openapi.json", "", 200, "{}", ""},
	} {
		t.Run(name, func(t *testing.T) {
			handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, err := io.ReadAll(r.Body)
				assert.NoError(t, err)
				assert.Equal(t, c.request, string(body), "the handler reads the whole request")
				w.Header().Set("Content-Type", "application/json; charset=utf-8")
				w.Header().Set("X-Request-Id", "r1")
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.response)
			})
			var reported []string
			report := func(err error) { reported = append(reported, err.Error()) }

			w := httptest.NewRecorder()
			checker.Handler(handler, report).ServeHTTP(w, httptest.NewRequest(c.method, c.path, strings.NewReader(c.request)))
			assert.Equal(t, c.status, w.Code)
			assert.Equal(t, c.response, w.Body.String())

			server := httptest.NewServer(handler)
			defer server.Close()
			client := &http.Client{Transport: checker.Transport(http.DefaultTransport, report)}
			r, err := http.NewRequest(c.method, server.URL+c.path, strings.NewReader(c.request))
			require.NoError(t, err)
			response, err := client.Do(r)
			require.NoError(t, err)
			body, err := io.ReadAll(response.Body)
			require.NoError(t, err)
			response.Body.Close()
			assert.Equal(t, c.response, string(body))
			client.CloseIdleConnections()

			if c.reports == "" {
				assert.Empty(t, reported)
				return
			}
			require.Len(t, reported, 2, "by the handler and by the transport")
			for _, text := range reported {
				assert.Contains(t, text, c.reports)
			}
		})
	}
}

// A load balancer may answer in the place of the API.
func TestTransport_ResponseOfAProxy_IsNotChecked(t *testing.T) {
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "nobody is there", http.StatusServiceUnavailable)
	}))
	defer proxy.Close()
	client := &http.Client{Transport: newChecker(t).Transport(http.DefaultTransport, func(err error) { t.Error(err) })}
	response, err := client.Get(proxy.URL + "/health")
	require.NoError(t, err)
	response.Body.Close()
	client.CloseIdleConnections()
}

func TestNew_InvalidDocument_Fails(t *testing.T) {
	for _, document := range []string{"", "{", `{"openapi":"3.0.3"}`} {
		_, err := openapitest.New([]byte(document))
		assert.Error(t, err, document)
	}
}
