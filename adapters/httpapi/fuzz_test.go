package httpapi

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/switchyard-wa/switchyard/domain"
)

// withBody are the routes that read a body.
func withBody() []*route {
	var routes []*route
	for i := range apiRoutes {
		if bodies[apiRoutes[i].method+" "+apiRoutes[i].path] != "" {
			routes = append(routes, &apiRoutes[i])
		}
	}
	return append(routes, &route{method: post, path: "/sessions/{id}/connect", credential: user})
}

// Whatever a body holds, every route that reads one answers with a success or
// a refusal, in the envelope. Only workers may send text that is not JSON.
func FuzzBodies(f *testing.F) {
	routes := withBody()
	for i, r := range routes {
		f.Add(uint8(i), []byte(bodies[r.method+" "+r.path]))
	}
	for _, body := range []string{
		`{"sessions":[{"sessionId":"a","status":null,"generation":1e400}],"metrics":{"sessions":{"total":-0.0}}}`,
		`{"recoveryResults":[{}],"summary":{"totalSessions":[]}}`, `{"pairing":{"phoneNumber":"\u0000"}}`,
		`{"a":1,"a":2}`, `{"\ud800":1}`, "{\"to\":\"\xff\"}", `{"poll":{"options":[[[]]]}}`, `[[[[`, `{"qrCode":"data:image/png;base64,iVBORw0KGgo="}`,
		`{"content":{"x":[1,{"y":"z"}]},"type":"link","timestamp":-1e308}`, `{"labels":{"":{},"x":null}}`,
	} {
		for i := range routes {
			f.Add(uint8(i), []byte(body))
		}
	}
	h := New(config(&stub{}))
	f.Fuzz(func(t *testing.T, which uint8, body []byte) {
		r := routes[int(which)%len(routes)]
		w := httptest.NewRecorder()
		h.ServeHTTP(w, request(r.method, example(r), tokenFor(r), string(body)))
		if w.Code >= 500 || w.Code < 200 {
			t.Fatalf("%s %s: %d\n%s", r.method, r.path, w.Code, w.Body)
		}
		var answer struct {
			Success bool
			Error   struct{ Code domain.Code }
		}
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
			t.Fatalf("%s %s: %v\n%s", r.method, r.path, err, w.Body)
		}
		if answer.Success != (w.Code < 300) || answer.Success != (answer.Error.Code == "") {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		if answer.Success && !r.lenient && len(strings.TrimSpace(string(body))) > 0 && !json.Valid(body) {
			t.Fatalf("%s %s took this for JSON: %q", r.method, r.path, body)
		}
	})
}

// Whatever the URL, there is an answer that is no fault of ours, and only
// routes of the table are found.
func FuzzURLs(f *testing.F) {
	for i := range apiRoutes {
		f.Add(apiRoutes[i].method, example(&apiRoutes[i]), "page=1&limit=5&wait=1s&format=svg")
	}
	f.Add("GET", "/api/v1/workers/%2e%2e%2fx", "search=%00&since=1e9&cursor=AAAA")
	f.Add("PUT", "/api//workers/..", "%zz")
	h := New(config(&stub{}))
	tokens := []string{"", userToken, adminToken, keyText, fleetToken, ownToken}
	f.Fuzz(func(t *testing.T, method, path, query string) {
		u, err := url.ParseRequestURI("http://host" + path)
		if err != nil || !strings.HasPrefix(path, "/") {
			return
		}
		u.RawQuery = query
		for _, token := range tokens {
			r := &http.Request{Method: method, URL: u, Header: http.Header{}, Body: http.NoBody, RemoteAddr: "192.0.2.1:1"}
			if token != "" {
				r.Header.Set("Authorization", "Bearer "+token)
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code >= 500 || w.Code < 200 {
				t.Fatalf("%s %s?%s: %d\n%s", method, path, query, w.Code, w.Body)
			}
		}
	})
}
