package main_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const nextPassword = "correct-Horse-2"

// signedOut checks that the access token is refused.
func (c client) signedOut() {
	c.s.t.Helper()
	c.refused(http.StatusUnauthorized, "AUTH_TOKEN_INVALID", "GET", "/auth/me", nil)
}

// refreshes calls refresh with a token.
func (s *server) refreshes(token string) answer {
	s.t.Helper()
	return s.anonymous().do("POST", "/auth/refresh", obj{"refreshToken": token})
}

// noRefresh checks that a refresh token is refused.
func (s *server) noRefresh(token string) {
	s.t.Helper()
	s.anonymous().refused(http.StatusUnauthorized, "AUTH_TOKEN_INVALID", "POST", "/auth/refresh", obj{"refreshToken": token})
}

func TestRegister_Input_IsValidatedAndNormalized(t *testing.T) {
	t.Parallel()
	s := serve(t)
	who := s.anonymous()
	for _, c := range []struct {
		body   any
		fields []string
	}{
		{obj{}, []string{"name", "email", "password"}},
		{nil, []string{"name", "email", "password"}},
		{obj{"name": "A", "email": "nobody", "password": "short1"}, []string{"name", "email", "password"}},
		{obj{"name": strings.Repeat("x", 101), "email": "a@b@c", "password": "onlyletters"}, []string{"name", "email", "password"}},
		{obj{"name": 7, "email": true, "password": []string{}}, []string{"name", "email", "password"}},
		{obj{"name": "Ada", "email": "ada@example.com", "password": "12345678"}, []string{"password"}},
		{obj{"name": "Ada", "email": "ada@example.com", "password": strings.Repeat("a1", 37)}, []string{"password"}},
	} {
		a := who.refused(http.StatusBadRequest, "VALIDATION_ERROR", "POST", "/auth/register", c.body)
		assert.ElementsMatch(t, c.fields, a.fields(), a)
		for _, d := range a.list("error.details") {
			assert.NotEmpty(t, text(d, "message"))
		}
	}
	user := s.register()
	a := who.refused(http.StatusConflict, "EMAIL_ALREADY_REGISTERED", "POST", "/auth/register",
		obj{"name": "Another", "email": " " + strings.ToUpper(user.email), "password": password})
	assert.NotContains(t, string(a.raw), user.id)
	who.want(http.StatusCreated, "POST", "/auth/register", obj{"name": "Élo", "email": "a@example.org", "password": strings.Repeat("a", 71) + "1"})

	both := user.refused(http.StatusBadRequest, "VALIDATION_ERROR", "POST", "/sessions",
		obj{"name": "", "sessionId": "no spaces!", "description": strings.Repeat("x", 256)})
	assert.ElementsMatch(t, []string{"name", "sessionId", "description"}, both.fields())
	user.want(http.StatusOK, "PUT", "/users/profile", obj{"name": "New Name", "email": "New@example.com", "currentPassword": password})
	me := user.get("/auth/me")
	assert.Equal(t, "New Name", me.str("data.user.name"))
	assert.Equal(t, "new@example.com", me.str("data.user.email"))
	user.refused(http.StatusConflict, "EMAIL_ALREADY_REGISTERED", "PUT", "/users/profile", obj{"email": "a@example.org", "currentPassword": password})
}

// A caller without the password cannot find out which emails are registered. That both
// cases cost the same is counted in the tests of app/accounts.
func TestLogin_WithoutPassword_RevealsNothing(t *testing.T) {
	t.Parallel()
	s := serve(t)
	user := s.register()
	answers := make(map[string]answer)
	for _, email := range []string{user.email, "unknown@example.com"} {
		answers[email] = s.anonymous().refused(http.StatusUnauthorized, "INVALID_CREDENTIALS", "POST", "/auth/login",
			obj{"email": email, "password": "wrong-Password-1"})
	}
	assert.Equal(t, answers[user.email].at("error"), answers["unknown@example.com"].at("error"))
	a := s.anonymous().post("/auth/login", obj{"email": "  " + strings.ToUpper(user.email) + " ", "password": password})
	assert.Equal(t, user.id, a.str("data.user.id"))
	assert.NotEmpty(t, a.str("data.user.lastLoginAt"))
	assert.EqualValues(t, 3600, a.at("data.expiresIn"))
	missing := s.anonymous().refused(http.StatusBadRequest, "VALIDATION_ERROR", "POST", "/auth/login", obj{})
	assert.ElementsMatch(t, []string{"email", "password"}, missing.fields())
}

// Refresh tokens rotate. A second use of one revokes its family, and no other.
func TestRefresh_UsedTwice_RevokesFamily(t *testing.T) {
	t.Parallel()
	s := serve(t)
	user := s.register()
	elsewhere := s.login(user.email, password)
	first := s.refreshes(user.refresh)
	require.Equal(t, http.StatusOK, first.status, first)
	assert.NotEqual(t, user.refresh, first.str("data.refreshToken"))
	second := s.refreshes(first.str("data.refreshToken"))
	require.Equal(t, http.StatusOK, second.status, second)
	s.with(second.str("data.token")).get("/auth/me")

	s.noRefresh(first.str("data.refreshToken"))  // used twice
	s.noRefresh(second.str("data.refreshToken")) // the family is revoked
	s.noRefresh(user.refresh)
	require.Equal(t, http.StatusOK, s.refreshes(elsewhere.refresh).status, "another sign-in")
	s.noRefresh("made-up")
	s.anonymous().refused(http.StatusBadRequest, "VALIDATION_ERROR", "POST", "/auth/refresh", obj{})
}

func TestLogout_AndPasswordChange_EndTokens(t *testing.T) {
	t.Parallel()
	s := serve(t)
	user := s.register()
	user.post("/auth/logout", nil)
	user.signedOut()
	s.noRefresh(user.refresh)

	one, two := s.login(user.email, password), s.login(user.email, password)
	bad := one.refused(http.StatusBadRequest, "VALIDATION_ERROR", "POST", "/auth/change-password",
		obj{"currentPassword": password, "newPassword": "weak"})
	assert.Equal(t, []string{"newPassword"}, bad.fields())
	one.refused(http.StatusUnauthorized, "INVALID_CREDENTIALS", "POST", "/auth/change-password",
		obj{"currentPassword": "wrong-Password-1", "newPassword": nextPassword})
	one.get("/auth/me")
	one.post("/auth/change-password", obj{"currentPassword": password, "newPassword": nextPassword})
	one.signedOut()
	two.signedOut()
	s.noRefresh(two.refresh)
	s.noRefresh(one.refresh) // a thief may hold a copy
	s.anonymous().refused(http.StatusUnauthorized, "INVALID_CREDENTIALS", "POST", "/auth/login",
		obj{"email": user.email, "password": password})
	s.login(user.email, nextPassword).get("/auth/me")
}

func TestDeactivate_Account_EndsTokens(t *testing.T) {
	t.Parallel()
	s := serve(t)
	n := newNode(s, "Node")
	admin := s.admin()
	// The user does it over either route, or an administrator does it.
	for i, end := range []func(*person){
		func(p *person) {
			p.refused(http.StatusUnauthorized, "INVALID_CREDENTIALS", "POST", "/auth/deactivate", obj{"password": "wrong-Password-1"})
			p.get("/auth/me")
			p.post("/auth/deactivate", obj{"password": password})
		},
		func(p *person) { p.post("/users/deactivate", obj{"password": password}) },
		func(p *person) { admin.want(http.StatusOK, "PUT", "/admin/users/"+p.id, obj{"isActive": false}) },
	} {
		user := s.register()
		line := user.create(fmt.Sprint("Line ", i))
		line.link(n)
		end(user)
		for _, a := range []answer{user.do("GET", "/auth/me", nil), s.refreshes(user.refresh), line.byKey().do("GET", "/session/status", nil)} {
			assert.Contains(t, []int{http.StatusUnauthorized, http.StatusForbidden}, a.status, "at once: %s", a)
		}
		s.anonymous().refused(http.StatusForbidden, "ACCOUNT_DEACTIVATED", "POST", "/auth/login",
			obj{"email": user.email, "password": password})
		waitFor(t, "its sessions are disconnected", func() (bool, any) { return n.has(line.id) == "DISCONNECTED", n.asked(line.id) })
		assert.Equal(t, false, admin.get("/admin/users/"+user.id).at("data.isActive"))
	}
}

var resetToken = regexp.MustCompile(`[0-9A-Za-z_-]{32,}`)

// mailedToken returns the latest reset token for an address from the server's log.
func (s *server) mailedToken(email string) (token string) {
	s.t.Helper()
	waitFor(s.t, "a mail to "+email, func() (bool, any) {
		for line := range strings.Lines(s.err.String()) {
			var entry any
			if json.Unmarshal([]byte(line), &entry) == nil && text(entry, "to") == email {
				token = resetToken.FindString(text(entry, "text"))
			}
		}
		return token != "", s.err.String()
	})
	return token
}

func TestForgotPassword_MailedToken_ResetsPassword(t *testing.T) {
	t.Parallel()
	s := serve(t)
	user := s.register()
	registered := s.anonymous().post("/auth/forgot-password", obj{"email": strings.ToUpper(user.email)})
	unknown := s.anonymous().post("/auth/forgot-password", obj{"email": "unknown@example.com"})
	assert.Equal(t, registered.at("data"), unknown.at("data"))
	assert.Equal(t, registered.at("message"), unknown.at("message"))
	token := s.mailedToken(user.email)

	weak := s.anonymous().refused(http.StatusBadRequest, "VALIDATION_ERROR", "POST", "/auth/reset-password",
		obj{"token": token, "newPassword": "weak"})
	assert.Equal(t, []string{"newPassword"}, weak.fields())
	user.get("/auth/me")
	s.anonymous().post("/auth/reset-password", obj{"token": token, "newPassword": nextPassword})
	user.signedOut()
	s.noRefresh(user.refresh)
	used := s.anonymous().refused(http.StatusBadRequest, "VALIDATION_ERROR", "POST", "/auth/reset-password",
		obj{"token": token, "newPassword": password})
	assert.Equal(t, []string{"token"}, used.fields(), "it works once")
	s.anonymous().refused(http.StatusUnauthorized, "INVALID_CREDENTIALS", "POST", "/auth/login", obj{"email": user.email, "password": password})
	s.login(user.email, nextPassword)
	assert.NotContains(t, s.err.String(), "unknown@example.com", "nothing is mailed to strangers")
}

// limited checks the form of a 429.
func limited(t *testing.T, a answer, code string, limit int, most time.Duration) {
	t.Helper()
	assert.Equal(t, "429 "+code, fmt.Sprint(a.status, " ", a.str("error.code")), a)
	assert.Equal(t, strconv.Itoa(limit), a.header.Get("X-RateLimit-Limit"))
	assert.Equal(t, "0", a.header.Get("X-RateLimit-Remaining"))
	_, err := strconv.Atoi(a.header.Get("X-RateLimit-Reset"))
	assert.NoError(t, err)
	wait, err := strconv.Atoi(a.header.Get("Retry-After"))
	assert.NoError(t, err)
	assert.Positive(t, wait)
	assert.LessOrEqual(t, time.Duration(wait)*time.Second, most)
}

func TestLimits_SignIn_AreEnforced(t *testing.T) {
	t.Parallel()
	s := serve(t)
	user := s.register()
	for i := range 10 {
		s.anonymous().refused(http.StatusUnauthorized, "INVALID_CREDENTIALS", "POST", "/auth/login",
			obj{"email": user.email, "password": fmt.Sprint("wrong-Password-", i)})
	}
	a := s.anonymous().refused(http.StatusTooManyRequests, "RATE_LIMIT_EXCEEDED", "POST", "/auth/login",
		obj{"email": user.email, "password": password})
	wait, err := strconv.Atoi(a.header.Get("Retry-After"))
	require.NoError(t, err, a.header)
	assert.Greater(t, wait, 60, "it does not pass in a minute")
	assert.LessOrEqual(t, wait, 15*60)
	user.get("/auth/me")
	other := s.register()
	s.login(other.email, password)

	// The 14 calls above used up part of the 60.
	for i := 15; ; i++ {
		a := s.anonymous().do("POST", "/auth/refresh", obj{})
		if a.status == http.StatusTooManyRequests {
			assert.Equal(t, 61, i, "the first that is too many")
			limited(t, a, "RATE_LIMIT_EXCEEDED", 60, time.Minute)
			break
		}
		require.Equal(t, http.StatusBadRequest, a.status, a)
		require.Equal(t, strconv.Itoa(60-i), a.header.Get("X-RateLimit-Remaining"), a)
	}
	s.anonymous().refused(http.StatusTooManyRequests, "RATE_LIMIT_EXCEEDED", "POST", "/auth/login", obj{})
	me := user.get("/auth/me")
	assert.Equal(t, "6000", me.header.Get("X-RateLimit-Limit"), "other routes have limits of their own")
	health, err := s.anonymous().under("").call("GET", "/health", nil)
	require.NoError(t, err)
	assert.Equal(t, http.StatusOK, health.status)
}

// A user uses up the limits of BASIC.
func TestLimits_Tier_AreEnforced(t *testing.T) {
	t.Parallel()
	s := serve(t)
	n := newNode(s, "Node")
	user := s.register()
	line := user.create("Line")
	line.link(n)
	for i := range 100 {
		a := line.say(fmt.Sprint("message ", i))
		require.Equal(t, "1000", a.header.Get("X-RateLimit-Limit"), "every call by key counts as an API call")
		require.Equal(t, strconv.Itoa(999-i), a.header.Get("X-RateLimit-Remaining"))
	}
	a := line.byKey().refused(http.StatusTooManyRequests, "MESSAGE_LIMIT_EXCEEDED", "POST", "/sendText",
		obj{"to": someone, "message": "one too many"})
	assert.Equal(t, "Message limit exceeded. BASIC tier allows 100 messages per hour", a.str("error.message"))
	assert.NotEmpty(t, a.header.Get("Retry-After"))
	user.refused(http.StatusTooManyRequests, "MESSAGE_LIMIT_EXCEEDED", "POST", line.path("/send"),
		obj{"to": someone, "type": "text", "message": "by another way"})
	assert.Len(t, n.outbox(), 100)
	line.byKey().post("/startTyping", obj{"to": someone})

	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for {
				a, err := line.byKey().call("GET", "/session/status", nil)
				if err != nil || a.status != http.StatusOK {
					break
				}
			}
		})
	}
	all.Wait()
	limited(t, line.byKey().do("GET", "/session/status", nil), "API_LIMIT_EXCEEDED", 1000, time.Hour)
	tier := user.get("/users/tier")
	assert.Equal(t, obj{"sessions": 1.0, "messagesThisHour": 100.0, "apiCallsThisHour": 1000.0}, tier.at("data.usage"))

	// A higher tier applies at once.
	s.admin().want(http.StatusOK, "PUT", "/admin/users/"+user.id, obj{"tier": "PRO"})
	line.say("as a PRO")
}
