package httpapi

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/httpapi/openapitest"
	"github.com/switchyard-wa/switchyard/domain"
)

// request makes a request with a credential ("" for none) and a body ("" for
// none).
func request(method, path, token, body string) *http.Request {
	var r io.Reader
	if body != "" {
		r = strings.NewReader(body)
	}
	req := httptest.NewRequest(method, path, r)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	return req
}

// reply is an answer, decoded.
type reply struct {
	*httptest.ResponseRecorder
	Success   bool
	Data      map[string]any
	List      []any // data, if that is an array
	Message   string
	Timestamp string
	RequestID string `json:"requestId"`
	Error     struct {
		Code    domain.Code
		Message string
		Details []domain.FieldError
	}
}

// fields lists the fields that the answer has problems with.
func (r reply) fields() []string {
	var names []string
	for _, d := range r.Error.Details {
		names = append(names, d.Field)
	}
	return names
}

// document is the checker of the API's own document.
var document = sync.OnceValues(func() (*openapitest.Checker, error) {
	text, err := Document("1.0.0", FormatJSON3)
	if err != nil {
		return nil, err
	}
	return openapitest.New(text)
})

// checked returns what holds requests and answers against the document.
func checked(t testing.TB) *openapitest.Checker {
	t.Helper()
	checker, err := document()
	require.NoError(t, err)
	return checker
}

// serve answers one request, and holds request and answer against the document.
func serve(t testing.TB, h http.Handler, r *http.Request) reply {
	t.Helper()
	return serveUnchecked(t, checked(t).Handler(h, func(err error) { t.Error(err) }), r)
}

// serveUnchecked is serve for errors that no service returns on the route.
func serveUnchecked(t testing.TB, h http.Handler, r *http.Request) reply {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	out := reply{ResponseRecorder: w}
	isObject := strings.HasPrefix(w.Body.String(), "{") // a download is an array
	if isObject && strings.HasPrefix(w.Header().Get("Content-Type"), "application/json") {
		var raw struct {
			Success   bool
			Data      any
			Message   string
			Timestamp string
			RequestID string `json:"requestId"`
			Error     struct {
				Code    domain.Code         `json:"code"`
				Message string              `json:"message"`
				Details []domain.FieldError `json:"details"`
			} `json:"error"`
		}
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &raw, json.MatchCaseInsensitiveNames(true)), w.Body.String())
		out.Success, out.Message, out.Timestamp, out.RequestID = raw.Success, raw.Message, raw.Timestamp, raw.RequestID
		out.Data, _ = raw.Data.(map[string]any)
		out.List, _ = raw.Data.([]any)
		out.Error.Code, out.Error.Message, out.Error.Details = raw.Error.Code, raw.Error.Message, raw.Error.Details
	}
	return out
}

// ask serves one request by a fresh handler on a fresh stub.
func ask(t testing.TB, method, path, token, body string) (reply, *stub) {
	t.Helper()
	s := &stub{}
	return serve(t, New(config(s)), request(method, path, token, body)), s
}

// serveRaw answers one request that is for people rather than programs.
func serveRaw(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}
