package httpapi

import (
	"crypto/tls"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
)

const credentials = `{"name":"Ada","email":"ada@example.com","password":"correct horse 1"}`

// cookieOf returns the refresh cookie that an answer sets, or nil.
func cookieOf(w reply) *http.Cookie {
	for _, c := range (&http.Response{Header: w.Header()}).Cookies() {
		if c.Name == refreshCookie {
			return c
		}
	}
	return nil
}

// refreshBy returns a refresh with the cookie.
func refreshBy(cookie string) *http.Request {
	r := request("POST", "/api/v1/auth/refresh?cookie=true", "", "")
	r.Header.Set("X-Requested-With", "console")
	r.AddCookie(&http.Cookie{Name: refreshCookie, Value: cookie})
	return r
}

func TestSignIn_CookieForm_TokenIsInTheCookieAlone(t *testing.T) {
	h := New(config(&stub{}))
	for _, path := range []string{"register", "login"} {
		w := serve(t, h, request("POST", "/api/v1/auth/"+path+"?cookie=true", "", credentials))
		require.Less(t, w.Code, 300, w.Body)
		require.NotContains(t, w.Body.String(), "refreshToken", path)
		require.Equal(t, "switchyard_refresh=refresh; Path=/api/v1/auth; Max-Age=34560000; HttpOnly; SameSite=Strict", w.Header().Get("Set-Cookie"))

		w = serve(t, h, request("POST", "/api/v1/auth/"+path, "", credentials))
		require.Contains(t, w.Body.String(), `"refreshToken":"refresh"`, path)
		require.Nil(t, cookieOf(w), "no cookie unless it is asked for")
	}
}

func TestRefresh_CookieForm_CookieIsRead(t *testing.T) {
	s := &stub{}
	w := serve(t, New(config(s)), refreshBy("former"))
	require.Equal(t, 200, w.Code, w.Body)
	require.Equal(t, "browser: former", s.last)
	require.Equal(t, "refresh", cookieOf(w).Value)
	require.NotContains(t, w.Body.String(), "refreshToken")
}

func TestRefresh_CookieForm_OtherPagesAreRefused(t *testing.T) {
	s := &stub{}
	h := New(config(s))
	withoutHeader := refreshBy("former")
	withoutHeader.Header.Del("X-Requested-With")
	crossSite := refreshBy("former")
	crossSite.Header.Set("Sec-Fetch-Site", "same-site")
	for _, r := range []*http.Request{withoutHeader, crossSite} {
		w := serve(t, h, r)
		require.Equal(t, 403, w.Code, w.Body)
		require.Nil(t, cookieOf(w))
		require.Nil(t, s.last, "the token is not used")
	}
	login := request("POST", "/api/v1/auth/login?cookie=true", "", credentials)
	login.Header.Set("Sec-Fetch-Site", "cross-site")
	require.Equal(t, 403, serve(t, h, login).Code)
}

func TestRefresh_CookieMissing_SaysSignIn(t *testing.T) {
	r := request("POST", "/api/v1/auth/refresh?cookie=true", "", "")
	r.Header.Set("X-Requested-With", "console")
	w := serve(t, New(config(&stub{})), r)
	require.Equal(t, 401, w.Code)
	require.Contains(t, w.Body.String(), "AUTH_TOKEN_MISSING")
}

// A token that is not good would be sent for ever.
func TestRefresh_CookieIsNotGood_CookieIsRemoved(t *testing.T) {
	s := &stub{err: domain.Errorf(domain.Unauthenticated, domain.CodeAuthTokenInvalid, "no")}
	w := serve(t, New(config(s)), refreshBy("former"))
	require.Equal(t, 401, w.Code)
	require.Negative(t, cookieOf(w).MaxAge)

	s.err = domain.Errorf(domain.Unavailable, domain.CodeOverloaded, "later")
	require.Nil(t, cookieOf(serve(t, New(config(s)), refreshBy("former"))), "of a server that cannot tell")
}

func TestLogout_CookieForm_CookieIsRemoved(t *testing.T) {
	h := New(config(&stub{}))
	w := serve(t, h, request("POST", "/api/v1/auth/logout?cookie=true", userToken, ""))
	require.Equal(t, 200, w.Code)
	require.Negative(t, cookieOf(w).MaxAge)
	require.Nil(t, cookieOf(serve(t, h, request("POST", "/api/v1/auth/logout", userToken, ""))))
}

func TestRefreshCookie_TLS_IsSecure(t *testing.T) {
	cfg := config(&stub{})
	cfg.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	h := New(cfg)
	for _, c := range []struct {
		name, peer, scheme string
		tls                *tls.ConnectionState
		want               bool
	}{
		{"plain", "203.0.113.7:1", "", nil, false},
		{"own TLS", "203.0.113.7:1", "", &tls.ConnectionState{}, true},
		{"trusted proxy", "10.1.2.3:1", "https", nil, true},
		{"trusted proxy without TLS", "10.1.2.3:1", "http", nil, false},
		{"anybody", "203.0.113.7:1", "https", nil, false},
	} {
		r := request("POST", "/api/v1/auth/login?cookie=true", "", credentials)
		r.RemoteAddr, r.TLS = c.peer, c.tls
		if c.scheme != "" {
			r.Header.Set("X-Forwarded-Proto", c.scheme)
		}
		require.Equal(t, c.want, cookieOf(serve(t, h, r)).Secure, c.name)
	}
}

func TestRefresh_TokenMissing_IsReported(t *testing.T) {
	h := New(config(&stub{}))
	for _, body := range []string{"", `{}`, `{"refreshToken":""}`} {
		w := serve(t, h, request("POST", "/api/v1/auth/refresh", "", body))
		require.Equal(t, 400, w.Code)
		require.True(t, strings.Contains(w.Body.String(), `"field":"refreshToken","message":"refreshToken is required"`), w.Body)
	}
}
