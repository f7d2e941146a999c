package main_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// obj is a JSON object.
type obj = map[string]any

// client calls one server with one credential.
type client struct {
	s      *server
	base   string // /api/v1 or /api; empty for routes outside of both
	bearer string
	header http.Header // additional headers
}

// anonymous returns a client without a credential.
func (s *server) anonymous() client { return client{s: s, base: "/api/v1"} }

// with returns a client with a credential.
func (s *server) with(bearer string) client { return client{s: s, base: "/api/v1", bearer: bearer} }

// as returns the client with another credential.
func (c client) as(bearer string) client {
	c.bearer = bearer
	return c
}

// under returns the client at another base path.
func (c client) under(base string) client {
	c.base = base
	return c
}

// sending returns the client with one more header.
func (c client) sending(name, value string) client {
	c.header = c.header.Clone()
	if c.header == nil {
		c.header = make(http.Header)
	}
	c.header.Set(name, value)
	return c
}

// answer is a response whose body was read.
type answer struct {
	call   string
	status int
	header http.Header
	raw    []byte
	doc    any // nil unless the body is JSON
}

// call makes a call. It sends a string as it is, and any other body as JSON. It may
// run in any goroutine. It returns an error of the connection, and one for a
// response that breaks the general rules.
func (c client) call(method, path string, body any) (answer, error) {
	var reader io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		reader = strings.NewReader(b)
	default:
		text, err := json.Marshal(b)
		if err != nil {
			return answer{}, err
		}
		reader = bytes.NewReader(text)
	}
	req, err := http.NewRequest(method, c.s.url+c.base+path, reader)
	if err != nil {
		return answer{}, err
	}
	if reader != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.bearer != "" {
		req.Header.Set("Authorization", "Bearer "+c.bearer)
	}
	for name, values := range c.header {
		req.Header[name] = values
	}
	resp, err := c.s.web.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	a := answer{call: method + " " + c.base + path, status: resp.StatusCode, header: resp.Header}
	a.raw, err = io.ReadAll(resp.Body)
	if err != nil {
		return a, fmt.Errorf("%s: %w", a.call, err)
	}
	return a, a.read()
}

// read decodes the response and checks the rules for all responses.
func (a *answer) read() error {
	broken := func(format string, args ...any) error {
		return fmt.Errorf("%s: %d %s: %s", a.call, a.status, a.raw, fmt.Sprintf(format, args...))
	}
	id := a.header.Get("X-Request-Id")
	if id == "" {
		return broken("no X-Request-Id")
	}
	if !strings.HasPrefix(a.header.Get("Content-Type"), "application/json") {
		if a.status >= 400 {
			return broken("a failure that is not JSON but %q", a.header.Get("Content-Type"))
		}
		return nil
	}
	if err := json.Unmarshal(a.raw, &a.doc); err != nil {
		return broken("%v", err)
	}
	if at, err := time.Parse(time.RFC3339, a.str("timestamp")); err != nil || at.Location() != time.UTC {
		return broken("timestamp is not RFC 3339 in UTC")
	}
	if a.at("success") != (a.status < 400) {
		return broken("success does not agree with the status")
	}
	if a.status < 400 {
		return nil
	}
	if a.str("error.code") == "" || a.str("error.message") == "" {
		return broken("a failure without code or message")
	}
	if a.str("requestId") != id {
		return broken("requestId is not X-Request-Id, %s", id)
	}
	for _, inside := range []string{"sqlite", "SQL", "goroutine", ".go:", "dial tcp", "127."} {
		if strings.Contains(a.str("error.message"), inside) {
			return broken("the message lets out %q", inside)
		}
	}
	return nil
}

// at returns a value by its path, for example data.sessions.0.id.
func (a answer) at(path string) any { return find(a.doc, path) }

// str returns a string by its path, and "" for any other value.
func (a answer) str(path string) string { return text(a.doc, path) }

// list returns an array by its path.
func (a answer) list(path string) []any {
	l, _ := a.at(path).([]any)
	return l
}

// String returns the response in a form for failures.
func (a answer) String() string { return fmt.Sprintf("%s: %d %s", a.call, a.status, a.raw) }

// fields returns the fields that a validation error names.
func (a answer) fields() (names []string) {
	for _, d := range a.list("error.details") {
		names = append(names, text(d, "field"))
	}
	return names
}

func find(v any, path string) any {
	for key := range strings.SplitSeq(path, ".") {
		switch x := v.(type) {
		case map[string]any:
			v = x[key]
		case []any:
			i, err := strconv.Atoi(key)
			if err != nil || i >= len(x) {
				return nil
			}
			v = x[i]
		default:
			return nil
		}
	}
	return v
}

func text(v any, path string) string {
	s, _ := find(v, path).(string)
	return s
}

// do makes a call whose response meets the general rules.
func (c client) do(method, path string, body any) answer {
	c.s.t.Helper()
	a, err := c.call(method, path, body)
	require.NoError(c.s.t, err)
	return a
}

// want makes a call that must succeed with a status.
func (c client) want(status int, method, path string, body any) answer {
	c.s.t.Helper()
	a := c.do(method, path, body)
	require.Equal(c.s.t, status, a.status, a)
	return a
}

// get makes a GET that must succeed.
func (c client) get(path string) answer {
	c.s.t.Helper()
	return c.want(http.StatusOK, http.MethodGet, path, nil)
}

// post makes a POST that must succeed.
func (c client) post(path string, body any) answer {
	c.s.t.Helper()
	return c.want(http.StatusOK, http.MethodPost, path, body)
}

// refused makes a call that must fail with a status and code.
func (c client) refused(status int, code, method, path string, body any) answer {
	c.s.t.Helper()
	a := c.do(method, path, body)
	require.Equal(c.s.t, fmt.Sprint(status, " ", code), fmt.Sprint(a.status, " ", a.str("error.code")), a)
	return a
}

// person is a signed-in user.
type person struct {
	client
	id, email, refresh string
}

var people atomic.Int32

// register registers a user of tier BASIC.
func (s *server) register() *person {
	s.t.Helper()
	email := fmt.Sprintf("user%d@example.com", people.Add(1))
	a := s.anonymous().want(http.StatusCreated, "POST", "/auth/register",
		obj{"name": "Somebody", "email": email, "password": password})
	return &person{s.with(a.str("data.token")), a.str("data.user.id"), email, a.str("data.refreshToken")}
}

// registerTier registers a user and sets its tier.
func (s *server) registerTier(tier string) *person {
	s.t.Helper()
	p := s.register()
	s.admin().want(http.StatusOK, "PUT", "/admin/users/"+p.id, obj{"tier": tier})
	return p
}

// login signs a user in again.
func (s *server) login(email, password string) *person {
	s.t.Helper()
	a := s.anonymous().post("/auth/login", obj{"email": email, "password": password})
	return &person{s.with(a.str("data.token")), a.str("data.user.id"), email, a.str("data.refreshToken")}
}

// admin returns a client of the first administrator.
func (s *server) admin() client {
	s.t.Helper()
	return s.login(adminEmail, adminPassword).client
}

// testSession is a session of a user.
type testSession struct {
	client // with the user's access token
	id     string
	key    string
}

// create creates a session.
func (p *person) create(name string) *testSession {
	p.s.t.Helper()
	a := p.want(http.StatusCreated, "POST", "/sessions", obj{"name": name})
	return &testSession{p.client, a.str("data.id"), a.str("data.apiKey")}
}

// byKey returns a client with the session's API key.
func (c *testSession) byKey() client { return c.as(c.key) }

// path returns the path of a route of the session.
func (c *testSession) path(rest string) string { return "/sessions/" + c.id + rest }

// view reads the session as its user sees it.
func (c *testSession) view() answer {
	c.s.t.Helper()
	return c.get(c.path(""))
}

func (c *testSession) status() string {
	c.s.t.Helper()
	return c.view().str("data.status")
}

// await waits for a status and returns the session with it.
func (c *testSession) await(status string) (a answer) {
	c.s.t.Helper()
	waitFor(c.s.t, "session is "+status, func() (bool, any) {
		a = c.view()
		return a.str("data.status") == status, a
	})
	return a
}

// link connects the session and scans its QR code. It returns the worker.
func (c *testSession) link(fleet ...*node) *node {
	c.s.t.Helper()
	c.post(c.path("/connect?wait=10s"), nil)
	worker := c.on(fleet...)
	worker.scan(c.id)
	c.await("CONNECTED")
	return worker
}

// on returns the worker that the session is assigned to.
func (c *testSession) on(fleet ...*node) *node {
	c.s.t.Helper()
	id := c.view().str("data.workerId")
	for _, n := range fleet {
		if n.canonical == id {
			return n
		}
	}
	require.FailNow(c.s.t, "the session is on no worker of ours", "workerId %q", id)
	return nil
}

// say sends a text with the API key.
func (c *testSession) say(text string) answer {
	c.s.t.Helper()
	return c.byKey().post("/sendText", obj{"to": "6281234567890", "message": text})
}

// history reads all pages of the history.
func (c *testSession) history(limit int) (all []any) {
	c.s.t.Helper()
	seen := make(map[string]bool)
	for cursor := ""; ; {
		a := c.get(c.path(fmt.Sprintf("/messages?limit=%d&cursor=%s", limit, cursor)))
		page := a.list("data.messages")
		assert.LessOrEqual(c.s.t, len(page), limit)
		for _, m := range page {
			require.False(c.s.t, seen[text(m, "id")], "message %v is on two pages", m)
			seen[text(m, "id")] = true
		}
		all = append(all, page...)
		cursor = a.str("data.nextCursor")
		if cursor == "" {
			require.Contains(c.s.t, a.at("data"), "nextCursor")
			return all
		}
	}
}
