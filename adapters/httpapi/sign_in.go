package httpapi

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports/service"
)

func signInRoutes() []route {
	return []route{
		operation(route{
			id: "register", method: post, path: "/auth/register", tag: tagSignIn, credential: public, limit: perIP, cost: hashing,
			status: http.StatusCreated, message: "Account created",
			summary: "Create an account and sign in",
			description: "Creates a user of tier BASIC with role USER, and returns its first tokens. Fails with REGISTRATION_CLOSED if only administrators create users. Fails if the email has an account " +
				"already, or if the password is too weak: it must have 8 to 72 bytes with a letter and a digit, be none of the thousand " +
				"most common, and differ from the name and the email." + cookieDescription,
			errors: []domain.Code{domain.CodeInsufficientPermission, domain.CodeRegistrationClosed, domain.CodeEmailRegistered, domain.CodeInvalidState},
		}, (*api).register),
		operation(route{
			id: "login", method: post, path: "/auth/login", tag: tagSignIn, credential: public, limit: perIP, cost: hashing, message: "Signed in",
			summary: "Sign in",
			description: "Returns an access token, to be sent as `Authorization: Bearer`, and a refresh token. An unknown email and a wrong " +
				"password get the same answer in the same time. After 10 failures in 15 minutes for one email and network, further tries from there are refused. After 100 in a " +
				"day for one email, tries are refused from every network where the user was not signed in within 30 days." + cookieDescription,
			errors: []domain.Code{domain.CodeInsufficientPermission, domain.CodeInvalidCredentials, domain.CodeAccountDeactivated, domain.CodeInvalidState},
		}, (*api).login),
		operation(route{
			id: "refresh", method: post, path: "/auth/refresh", tag: tagSignIn, credential: public, limit: perIP, optional: true, message: "Token refreshed",
			summary: "Exchange a refresh token for new tokens",
			description: "Returns a new access token and a new refresh token; the one that was sent stops working. A refresh token that is sent " +
				"twice ends the sign-in, because somebody else may have it. With `?cookie=true` the token comes from the cookie, without a body and with the " +
				"header `X-Requested-With`, and the new one goes there. The pages of a browser share the cookie: within ten seconds the former token gets the same new one again.",
			errors: []domain.Code{domain.CodeAuthTokenMissing, domain.CodeInsufficientPermission, domain.CodeAuthTokenInvalid, domain.CodeAuthTokenExpired, domain.CodeAccountDeactivated, domain.CodeInvalidState},
		}, (*api).refresh),
		operation(route{
			id: "forgotPassword", method: post, path: "/auth/forgot-password", tag: tagSignIn, credential: public, limit: perIP,
			message: "If the address has an account, a mail with the next step is on its way",
			summary: "Ask for a mail to reset the password",
			description: "Mails a token for `POST /auth/reset-password` that works once, for 30 minutes. The answer is the same for every email, " +
				"so it does not tell who has an account.",
			errors: []domain.Code{domain.CodeInvalidState},
		}, (*api).forgotPassword),
		operation(route{
			id: "resetPassword", method: post, path: "/auth/reset-password", tag: tagSignIn, credential: public, limit: perIP, cost: hashing,
			message: "Password set; sign in with it",
			summary: "Set a new password with a token from a mail",
			description: "Sets the password and ends every sign-in of the user. Fails if the token was used already or is older than 30 minutes, " +
				"or if the password is too weak.",
			errors: []domain.Code{domain.CodeAuthTokenInvalid, domain.CodeAuthTokenExpired, domain.CodeAccountDeactivated, domain.CodeInvalidState},
		}, (*api).resetPassword),
		operation(route{
			id: "logout", method: post, path: "/auth/logout", tag: tagSignIn, credential: user, limit: perUser, message: "Signed out",
			summary:     "Sign out",
			description: "Ends the sign-in of the access token that is sent, at once: the token and its refresh token stop working. With `?cookie=true` the cookie goes too.",
			errors:      []domain.Code{domain.CodeInvalidState},
		}, (*api).logout),
		operation(route{
			id: "me", method: get, path: "/auth/me", tag: tagSignIn, credential: user, limit: perUser, message: "Account",
			summary:     "Who is signed in",
			description: "Returns the user that the access token belongs to.",
			errors:      []domain.Code{domain.CodeUserNotFound},
		}, (*api).me),
		operation(route{
			id: "changePassword", method: post, path: "/auth/change-password", tag: tagSignIn, credential: user, limit: perUser, cost: hashing,
			message: "Password changed; sign in with the new one",
			summary: "Change the password",
			description: "Sets a new password and ends every sign-in of the user, this one included: sign in again. Fails with INVALID_CREDENTIALS if the current password is " +
				"wrong, or if the new one is too weak.",
			errors: []domain.Code{domain.CodeInvalidCredentials, domain.CodeUserNotFound, domain.CodeInvalidState},
		}, (*api).changePassword),
		operation(route{
			id: "deactivate", method: post, path: "/auth/deactivate", tag: tagSignIn, credential: user, limit: perUser, cost: hashing, message: "Account deactivated",
			summary:     "Close the account",
			description: deactivateDescription, errors: deactivateErrors,
		}, (*api).deactivate),
	}
}

const deactivateDescription = "Closes the account of the user: its sessions are disconnected and its API keys stop working. An administrator can " +
	"activate it again. Fails with INVALID_CREDENTIALS if the password is wrong, and with INVALID_STATE for the last administrator."

var deactivateErrors = []domain.Code{domain.CodeInvalidCredentials, domain.CodeUserNotFound, domain.CodeInvalidState}

// tokensView is the answer to a sign-in.
type tokensView struct {
	User         UserView `json:"user"`
	Token        string   `json:"token" doc:"Access token, to be sent as Authorization: Bearer" example:"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIwMUpYM0I1WksifQ.c2lnbmF0dXJl"`
	RefreshToken string   `json:"refreshToken,omitzero" doc:"Good once, for POST /auth/refresh. Missing if it is in the cookie" example:"rt_J5nC2v8KxQ"`
	ExpiresIn    int64    `json:"expiresIn" doc:"Life of the access token in seconds" example:"3600"`
}

func viewTokens(t *service.AuthTokens, err error) (tokensView, error) {
	if err != nil {
		return tokensView{}, err
	}
	return tokensView{viewUser(t.User), t.Token, t.RefreshToken, int64(t.ExpiresIn / time.Second)}, nil
}

func passwordRule(s string) (string, error) { return s, domain.CheckPassword(s) }

// passwordOf returns the rule for the password of an account with a name and an email.
func passwordOf(name, email string) func(string) (string, error) {
	return func(s string) (string, error) { return s, domain.CheckPasswordOf(s, name, email) }
}

type registerBody struct {
	Name     string `json:"name" minLength:"1" doc:"2 to 100 characters" example:"Ada Lovelace"`
	Email    string `json:"email" minLength:"1" doc:"Trimmed and lower-cased" example:"ada@example.com"`
	Password string `json:"password" minLength:"1" doc:"8 to 72 bytes with a letter and a digit; neither a common password nor the name or email" example:"correct horse 1"`
}

type registerInput struct {
	CookieParam
	Body registerBody
}

// Resolve applies the rules of the domain.
func (in *registerInput) Resolve(huma.Context) []error {
	var p problems
	in.Body.Name = p.text("name", in.Body.Name, domain.CheckUserName)
	in.Body.Email = p.text("email", in.Body.Email, domain.NormalizeEmail)
	in.Body.Password = p.text("password", in.Body.Password, passwordOf(in.Body.Name, in.Body.Email))
	return p
}

func (a *api) register(ctx context.Context, c *requestContext, in *registerInput) (tokensView, error) {
	if err := c.checkCookieForm(in.CookieParam); err != nil {
		return tokensView{}, err
	}
	t, err := a.Accounts.Register(ctx, in.Body.Name, in.Body.Email, in.Body.Password)
	return c.tokens(in.CookieParam, t, err)
}

type loginBody struct {
	Email    string `json:"email" minLength:"1" example:"ada@example.com"`
	Password string `json:"password" minLength:"1" example:"correct horse 1"`
}

type loginInput struct {
	CookieParam
	Body loginBody
}

func (a *api) login(ctx context.Context, c *requestContext, in *loginInput) (tokensView, error) {
	if err := c.checkCookieForm(in.CookieParam); err != nil {
		return tokensView{}, err
	}
	t, err := a.Accounts.Login(ctx, in.Body.Email, in.Body.Password)
	return c.tokens(in.CookieParam, t, err)
}

type refreshBody struct {
	RefreshToken string `json:"refreshToken,omitempty" doc:"The newest one of the sign-in; required unless it is in the cookie" example:"rt_J5nC2v8KxQ"`
}

type refreshInput struct {
	CookieParam
	Body refreshBody
}

// Resolve requires the token where it is not in the cookie.
func (in *refreshInput) Resolve(huma.Context) []error {
	var p problems
	if !in.Cookie && in.Body.RefreshToken == "" {
		p.addMissing("refreshToken", "refreshToken")
	}
	return p
}

func (a *api) refresh(ctx context.Context, c *requestContext, in *refreshInput) (tokensView, error) {
	if !in.Cookie {
		return viewTokens(a.Accounts.Refresh(ctx, in.Body.RefreshToken))
	}
	token, err := c.takeRefreshCookie()
	if err != nil {
		return tokensView{}, err
	}
	t, err := a.Accounts.RefreshInBrowser(ctx, token)
	if err != nil && toHTTPError(err).status < http.StatusInternalServerError {
		c.setRefreshCookie("")
	}
	return c.tokens(in.CookieParam, t, err)
}

type forgotPasswordBody struct {
	Email string `json:"email" minLength:"1" example:"ada@example.com"`
}

type forgotPasswordInput struct{ Body forgotPasswordBody }

// Resolve applies the rules of the domain.
func (in *forgotPasswordInput) Resolve(huma.Context) []error {
	var p problems
	in.Body.Email = p.text("email", in.Body.Email, domain.NormalizeEmail)
	return p
}

func (a *api) forgotPassword(ctx context.Context, _ *requestContext, in *forgotPasswordInput) (noData, error) {
	return noData{}, a.Accounts.ForgotPassword(ctx, in.Body.Email)
}

type resetPasswordBody struct {
	Token       string `json:"token" minLength:"1" doc:"From the mail" example:"pr_8mT4yQ2w"`
	NewPassword string `json:"newPassword" minLength:"1" doc:"8 to 72 bytes with a letter and a digit; neither a common password nor the name or email" example:"correct horse 2"`
}

type resetPasswordInput struct{ Body resetPasswordBody }

// Resolve applies the rules of the domain.
func (in *resetPasswordInput) Resolve(huma.Context) []error {
	var p problems
	in.Body.NewPassword = p.text("newPassword", in.Body.NewPassword, passwordRule)
	return p
}

func (a *api) resetPassword(ctx context.Context, _ *requestContext, in *resetPasswordInput) (noData, error) {
	return noData{}, a.Accounts.ResetPassword(ctx, in.Body.Token, in.Body.NewPassword)
}

type logoutInput struct{ CookieParam }

func (a *api) logout(ctx context.Context, c *requestContext, in *logoutInput) (noData, error) {
	err := a.Accounts.Logout(ctx, c.principal)
	if err == nil && in.Cookie {
		c.setRefreshCookie("")
	}
	return noData{}, err
}

type meView struct {
	User UserView `json:"user"`
}

func (a *api) me(ctx context.Context, c *requestContext, _ *noInput) (meView, error) {
	u, err := a.Accounts.Get(ctx, c.principal.UserID)
	if err != nil {
		return meView{}, err
	}
	return meView{viewUser(u.User)}, nil
}

type changePasswordBody struct {
	CurrentPassword string `json:"currentPassword" minLength:"1" example:"correct horse 1"`
	NewPassword     string `json:"newPassword" minLength:"1" doc:"8 to 72 bytes with a letter and a digit; neither a common password nor the name or email" example:"correct horse 2"`
}

type changePasswordInput struct{ Body changePasswordBody }

// Resolve applies the rules of the domain.
func (in *changePasswordInput) Resolve(huma.Context) []error {
	var p problems
	in.Body.NewPassword = p.text("newPassword", in.Body.NewPassword, passwordRule)
	return p
}

func (a *api) changePassword(ctx context.Context, c *requestContext, in *changePasswordInput) (noData, error) {
	return noData{}, a.Accounts.ChangePassword(ctx, c.principal, in.Body.CurrentPassword, in.Body.NewPassword)
}

type deactivateBody struct {
	Password string `json:"password" minLength:"1" example:"correct horse 1"`
}

type deactivateInput struct{ Body deactivateBody }

func (a *api) deactivate(ctx context.Context, c *requestContext, in *deactivateInput) (noData, error) {
	return noData{}, a.Accounts.Deactivate(ctx, c.principal, in.Body.Password)
}
