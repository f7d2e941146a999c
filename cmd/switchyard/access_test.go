package main_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// route is a route of the contract.
type route struct {
	method, path string // {session}, {message}, {key} and {worker} stand for ids
	body         any
}

func (r route) String() string { return r.method + " " + r.path }

// of returns the route with ids filled in.
func (r route) of(ids map[string]string) string {
	path := r.path
	for name, id := range ids {
		path = strings.ReplaceAll(path, "{"+name+"}", id)
	}
	return path
}

func routes(lines ...string) (list []route) {
	for _, line := range lines {
		method, path, _ := strings.Cut(line, " ")
		r := route{method, path, nil}
		if method == "POST" || method == "PUT" {
			r.body = obj{}
		}
		list = append(list, r)
	}
	return list
}

// aText is a body for every route that sends. If such a route refuses the body, it
// is because of the caller.
var aText = obj{"to": someone, "phone": someone, "type": "text", "message": "from a stranger", "messageId": "3EB0"}

// sessionRoutes returns the routes about one session that take an access token.
// The routes that end the session come last.
func sessionRoutes() []route {
	list := append(byTokenOrKey(), routes(
		"GET /sessions/{session}", "GET /sessions/{session}/qr", "GET /sessions/{session}/messages",
		"GET /sessions/{session}/messages/{message}", "POST /sessions/{session}/connect",
		"POST /sessions/{session}/restart", "POST /sessions/{session}/api-key/rotate",
		"DELETE /users/api-keys/{key}", "POST /sessions/{session}/disconnect",
		"POST /sessions/{session}/logout", "DELETE /sessions/{session}")...)
	return list
}

// byTokenOrKey returns the routes about one session that take either credential.
func byTokenOrKey() []route {
	return []route{{"GET", "/sessions/{session}/status", nil}, {"POST", "/sessions/{session}/send", aText}}
}

// accountRoutes returns the routes about the caller, which take an access token.
func accountRoutes() []route {
	return routes("POST /auth/logout", "GET /auth/me", "POST /auth/change-password", "POST /auth/deactivate",
		"POST /users/deactivate", "GET /users/profile", "PUT /users/profile", "GET /users/api-keys", "GET /users/usage",
		"GET /users/tier", "GET /users/sessions", "GET /sessions", "POST /sessions")
}

// keyRoutes returns the routes that take an API key only.
func keyRoutes() []route {
	list := routes("GET /session/status")
	for path := range strings.FieldsSeq(`/sendText /sendImage /sendFile /sendVoice /sendVideo /sendSticker /sendLocation
		/sendContactVcard /sendLink /sendPoll /sendSeen /startTyping /stopTyping
		/message/{message}/delete /message/{message}/unsend /message/{message}/edit /message/{message}/reaction
		/message/{message}/read /message/{message}/star /message/{message}/unstar`) {
		list = append(list, route{"POST", path, aText})
	}
	return list
}

// adminRoutes returns the routes that take an administrator's access token.
func adminRoutes() []route {
	return routes("GET /workers", "POST /workers", "GET /workers/statistics", "GET /workers/available",
		"POST /workers/test", "POST /workers/health-check", "POST /workers/health/start", "POST /workers/health/stop",
		"GET /workers/health/status", "GET /workers/{worker}", "PUT /workers/{worker}", "POST /workers/{worker}/test",
		"POST /workers/{worker}/drain", "POST /workers/{worker}/activate", "DELETE /workers/{worker}/foreign-sessions/{session}",
		"GET /admin/users", "GET /admin/users/{user}", "PUT /admin/users/{user}")
}

// workerRoutes returns the routes that take a worker token.
func workerRoutes() []route {
	return routes("POST /workers/register", "PUT /workers/{worker}/heartbeat", "GET /workers/{worker}/sessions/assigned",
		"POST /workers/{worker}/sessions/recovery-status", "POST /workers/{worker}/sessions-preserved",
		"DELETE /workers/unregister", "POST /webhooks/session-status", "POST /webhooks/message-status",
		"POST /webhooks/message-received", "POST /webhooks/worker-heartbeat")
}

// twoUserSetup is a server with two users, each with a linked session, and an
// administrator.
type twoUserSetup struct {
	s             *server
	n             *node
	admin         client
	owner, other  *person
	line, another *testSession
	ids           map[string]string // ids of things of the owner
}

func twoUsers(t *testing.T, flags ...string) *twoUserSetup {
	t.Helper()
	s := serve(t, flags...)
	b := &twoUserSetup{s: s, n: newNode(s, "Node"), admin: s.admin(), owner: s.register(), other: s.register()}
	b.line, b.another = b.owner.create("Line"), b.other.create("Another")
	b.line.link(b.n)
	b.another.link(b.n)
	sent := b.line.say("mine")
	b.ids = map[string]string{
		"session": b.line.id, "message": sent.str("data.messageId"), "worker": b.n.canonical, "user": b.owner.id,
		"key": b.owner.get("/users/api-keys").str("data.0.id"),
	}
	return b
}

// untouched checks that nothing of the owner has changed.
func (b *twoUserSetup) untouched(t *testing.T, asked int) {
	t.Helper()
	v := b.line.view()
	assert.Equal(t, "CONNECTED", v.str("data.status"))
	assert.EqualValues(t, 1, v.at("data.generation"))
	assert.Len(t, b.line.history(100), 1)
	assert.Len(t, b.n.asked(b.line.id), asked, "the worker was called: %v", b.n.asked(b.line.id))
	b.line.byKey().get("/session/status")
}

// Every route about a session is called with the credentials of others. The
// response is the one for a session that does not exist.
func TestAccess_OthersCredentials_SessionNotFound(t *testing.T) {
	t.Parallel()
	b := twoUsers(t)
	asked := len(b.n.asked(b.line.id))
	nowhere := map[string]string{"session": "no-such-session", "message": "3EB0NOTHING", "key": "01a20550-ffce-7125-b78b-6f2c6a972659"}
	same := func(who client, name string, r route, ids map[string]string) {
		t.Helper()
		foreign, missing := who.do(r.method, r.of(ids), r.body), who.do(r.method, r.of(nowhere), r.body)
		assert.Equal(t, http.StatusNotFound, foreign.status, "%s by %s: %s", r, name, foreign)
		assert.Equal(t, missing.status, foreign.status, "%s by %s", r, name)
		assert.Equal(t, missing.at("error"), foreign.at("error"), "%s by %s", r, name)
	}
	for _, r := range sessionRoutes() {
		same(b.other.client, "another user", r, b.ids)
		same(b.admin, "an administrator", r, b.ids)
	}
	for _, r := range byTokenOrKey() {
		same(b.another.byKey(), "another's key", r, b.ids)
	}
	// Another user's message under the caller's own session.
	same(b.other.client, "another user", route{"GET", "/sessions/" + b.another.id + "/messages/{message}", nil}, b.ids)
	for _, list := range []string{"/sessions", "/users/sessions", "/users/api-keys", "/sessions?search=Line", "/users/usage?sessionId=" + b.line.id} {
		for _, who := range []client{b.other.client, b.admin} {
			a, err := who.call("GET", list, nil)
			require.NoError(t, err)
			assert.NotContains(t, string(a.raw), `"`+b.line.id+`"`, list)
		}
	}
	b.untouched(t, asked)

	// A key may act on messages of its own session.
	for _, r := range keyRoutes() {
		a, err := b.another.byKey().call(r.method, r.of(b.ids), r.body)
		require.NoError(t, err)
		assert.Less(t, a.status, 500, a)
	}
	b.untouched(t, asked)

	// The owner gets all of this.
	for _, r := range sessionRoutes() {
		a, err := b.owner.call(r.method, r.of(b.ids), r.body)
		require.NoError(t, err)
		assert.NotEqual(t, http.StatusNotFound, a.status, "%s by its owner: %s", r, a)
		assert.Less(t, a.status, 500, a)
	}
}

// Every route is called with every credential of another kind.
func TestAccess_WrongCredential_IsRefused(t *testing.T) {
	t.Parallel()
	const secret = "the-secret-of-this-test-0123456789"
	b := twoUsers(t, "--jwt-secret", secret)
	asked := len(b.n.asked(b.line.id))
	claims := claimsOf(t, b.owner.bearer)
	// The unmodified token is accepted. Thus the refusals below are due to the changes.
	require.Equal(t, http.StatusOK, b.s.with(sign(t, "HS256", claims, secret)).do("GET", "/auth/me", nil).status)
	adminClaims := claimsOf(t, b.admin.bearer)
	expired := func(c obj) obj {
		old := maps.Clone(c)
		old["exp"] = time.Now().Add(-time.Minute).Unix()
		return old
	}
	long := func(c obj) obj {
		stolen := maps.Clone(c)
		stolen["exp"] = time.Now().Add(24 * time.Hour).Unix()
		return stolen
	}
	credentials := map[string]string{
		"none":                  "",
		"a day's token":         sign(t, "HS256", long(claims), secret),
		"a day's admin's":       sign(t, "HS256", long(adminClaims), secret),
		"garbage":               "garbage",
		"three parts":           "a.b.c",
		"a key":                 b.line.key,
		"an unknown key":        "wg_" + strings.Repeat("x", 40),
		"a key cut short":       b.line.key[:20],
		"the worker token":      fleetToken,
		"a user's token":        b.owner.bearer,
		"an admin's token":      b.admin.bearer,
		"an expired token":      sign(t, "HS256", expired(claims), secret),
		"an expired admin's":    sign(t, "HS256", expired(adminClaims), secret),
		"a foreign token":       sign(t, "HS256", claims, "another-secret-of-somebody-9876543210"),
		"a foreign admin's":     sign(t, "HS256", adminClaims, "another-secret-of-somebody-9876543210"),
		"an unsigned token":     sign(t, "none", adminClaims, ""),
		"a refresh token":       b.owner.refresh,
		"a token's head only":   b.owner.bearer[:strings.LastIndex(b.owner.bearer, ".")+1],
		"a key as a user's":     "Bearer " + b.line.key,
		"a key in capital head": "WG_" + b.line.key[3:],
	}
	const (
		missing  = "401 AUTH_TOKEN_MISSING"
		invalid  = "401 AUTH_TOKEN_INVALID"
		expiry   = "401 AUTH_TOKEN_EXPIRED"
		noKey    = "401 API_KEY_MISSING"
		badKey   = "401 API_KEY_INVALID"
		notAdmin = "403 INSUFFICIENT_PERMISSIONS"
	)
	for _, group := range []struct {
		name   string
		routes []route
		good   []string          // accepted credentials, not tried
		codes  map[string]string // error codes by credential, if not the usual one
		other  string
	}{
		{"account", accountRoutes(), []string{"a user's token", "an admin's token"},
			map[string]string{"none": missing, "an expired token": expiry, "an expired admin's": expiry}, invalid},
		{"session", sessionRoutes()[2:], []string{"a user's token", "an admin's token"},
			map[string]string{"none": missing, "an expired token": expiry, "an expired admin's": expiry}, invalid},
		{"token or key", byTokenOrKey(), []string{"a user's token", "an admin's token", "a key"},
			map[string]string{
				"none": missing, "an expired token": expiry, "an expired admin's": expiry,
				"an unknown key": badKey, "a key cut short": badKey,
			}, invalid},
		{"key", keyRoutes(), []string{"a key"}, map[string]string{"none": noKey}, badKey},
		{"admin", adminRoutes(), []string{"an admin's token"},
			map[string]string{"none": missing, "an expired token": expiry, "an expired admin's": expiry, "a user's token": notAdmin}, invalid},
		{"worker", workerRoutes(), []string{"the worker token"}, map[string]string{"none": missing}, invalid},
		{"worker or admin", routes("DELETE /workers/{worker}"), []string{"the worker token", "an admin's token"},
			map[string]string{"none": missing, "an expired token": expiry, "an expired admin's": expiry, "a user's token": notAdmin}, invalid},
	} {
		for name, credential := range credentials {
			want := group.other
			if code, ok := group.codes[name]; ok {
				want = code
			}
			if slices.Contains(group.good, name) {
				continue
			}
			for _, r := range group.routes {
				a, err := b.s.with(credential).call(r.method, r.of(b.ids), r.body)
				require.NoError(t, err)
				assert.Equal(t, want, fmt.Sprint(a.status, " ", a.str("error.code")), "%s with %s: %s", r, name, a)
				if a.status == http.StatusUnauthorized {
					assert.NotEmpty(t, a.header.Get("WWW-Authenticate"))
				}
			}
		}
	}
	basic := b.s.anonymous().sending("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte("a:b")))
	assert.Equal(t, http.StatusUnauthorized, basic.do("GET", "/auth/me", nil).status)
	b.untouched(t, asked)
	assert.Equal(t, "ONLINE", b.admin.get("/workers/"+b.n.canonical).str("data.status"))
}

// claimsOf decodes a token without verifying it.
func claimsOf(t *testing.T, token string) (claims obj) {
	t.Helper()
	parts := strings.Split(token, ".")
	require.Len(t, parts, 3)
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	require.NoError(t, err)
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.UseNumber()
	require.NoError(t, d.Decode(&claims))
	return claims
}

// sign returns a handmade token.
func sign(t *testing.T, alg string, claims obj, secret string) string {
	t.Helper()
	head, err := json.Marshal(obj{"alg": alg, "typ": "JWT"})
	require.NoError(t, err)
	body, err := json.Marshal(claims)
	require.NoError(t, err)
	token := base64.RawURLEncoding.EncodeToString(head) + "." + base64.RawURLEncoding.EncodeToString(body)
	if alg == "none" {
		return token + "."
	}
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(token))
	return token + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// A deleted key is refused from then on.
func TestAccess_DeletedKey_IsRefused(t *testing.T) {
	t.Parallel()
	b := twoUsers(t)
	b.owner.want(http.StatusOK, "DELETE", "/users/api-keys/"+b.ids["key"], nil)
	b.line.byKey().refused(http.StatusUnauthorized, "API_KEY_INVALID", "POST", "/sendText", obj{"to": someone, "message": "x"})
	b.owner.refused(http.StatusNotFound, "API_KEY_NOT_FOUND", "DELETE", "/users/api-keys/"+b.ids["key"], nil)
	b.line.key = b.owner.post(b.line.path("/api-key/rotate"), nil).str("data.apiKey")
	b.line.say("by a new key")
}
