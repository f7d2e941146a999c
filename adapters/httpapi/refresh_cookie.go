package httpapi

import (
	"net/http"
	"strings"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// refreshCookie is the cookie that holds a refresh token. Scripts cannot read it, and browsers send
// it from pages of the same site to the routes of sign-in alone.
const (
	refreshCookie     = "switchyard_refresh"
	refreshCookiePath = basePath + "/auth"
	refreshCookieLife = 400 * 24 * time.Hour // the longest that browsers keep; the token ends earlier
)

const cookieDescription = " With `?cookie=true` the refresh token comes as the HttpOnly cookie `" + refreshCookie + "` instead of in the body: a page " +
	"stays signed in over a reload, and no script can read the token."

// CookieParam asks for the refresh token as a cookie.
type CookieParam struct {
	Cookie bool `query:"cookie" doc:"The refresh token comes and goes as a cookie" example:"false"`
}

// tokens returns the view of a sign-in, with the refresh token in the cookie if the caller asks
// for that.
func (c *requestContext) tokens(p CookieParam, t *service.AuthTokens, err error) (tokensView, error) {
	v, err := viewTokens(t, err)
	if err == nil && p.Cookie {
		c.setRefreshCookie(v.RefreshToken)
		v.RefreshToken = ""
	}
	return v, err
}

// setRefreshCookie sets the cookie, or removes it if the token is empty.
func (c *requestContext) setRefreshCookie(token string) {
	cookie := &http.Cookie{
		Name: refreshCookie, Value: token, Path: refreshCookiePath, MaxAge: int(refreshCookieLife / time.Second),
		HttpOnly: true, Secure: c.isSecure(), SameSite: http.SameSiteStrictMode,
	}
	if token == "" {
		cookie.MaxAge = -1
	}
	http.SetCookie(c.w, cookie)
}

// isSecure reports whether the client speaks TLS, with this server or with a trusted proxy.
func (c *requestContext) isSecure() bool {
	if c.r.TLS != nil {
		return true
	}
	scheme, _, _ := strings.Cut(c.r.Header.Get("X-Forwarded-Proto"), ",")
	return strings.EqualFold(strings.TrimSpace(scheme), "https") && domain.TrustedProxies(c.api.TrustedProxies).Contains(c.peer())
}

// checkCookieForm refuses requests for the cookie that a page of another origin has caused.
func (c *requestContext) checkCookieForm(p CookieParam) error {
	if site := c.r.Header.Get("Sec-Fetch-Site"); p.Cookie && site != "" && site != "same-origin" && site != "none" {
		return domain.Errorf(domain.Forbidden, domain.CodeInsufficientPermission,
			"The cookie form of sign-in is for pages of this server; send the refresh token in the body")
	}
	return nil
}

// takeRefreshCookie returns the refresh token of the cookie.
func (c *requestContext) takeRefreshCookie() (string, error) {
	if err := c.checkCookieForm(CookieParam{Cookie: true}); err != nil {
		return "", err
	}
	if c.r.Header.Get("X-Requested-With") == "" {
		return "", domain.Errorf(domain.Forbidden, domain.CodeInsufficientPermission,
			"A refresh by cookie needs the header X-Requested-With, which pages of other sites cannot send; add it")
	}
	cookie, err := c.r.Cookie(refreshCookie)
	if err != nil || cookie.Value == "" {
		return "", domain.Errorf(domain.Unauthenticated, domain.CodeAuthTokenMissing, "There is no refresh token in a cookie; sign in")
	}
	return cookie.Value, nil
}
