package accounts_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/app/accounts"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

func TestChangePassword_RightPassword_EndsEverySignIn(t *testing.T) {
	h := newHarness(t)
	here, there := h.register("ann"), h.login("ann@example.com", password)
	require.Equal(t, []string{"currentPassword", "newPassword"}, h.fields(h.ChangePassword(t.Context(), here.Principal, "", "")))
	h.refused(h.ChangePassword(t.Context(), here.Principal, other, other), domain.CodeInvalidCredentials)
	h.good(here)

	require.NoError(t, h.ChangePassword(t.Context(), here.Principal, password, other))
	h.bad(here, domain.CodeAuthTokenInvalid)
	h.bad(there, domain.CodeAuthTokenInvalid)
	for _, p := range []*person{there, here} {
		_, err := h.Refresh(t.Context(), p.RefreshToken)
		h.refused(err, domain.CodeAuthTokenInvalid)
	}

	_, err := h.Login(t.Context(), here.email, password)
	h.refused(err, domain.CodeInvalidCredentials)
	h.login(here.email, other)
	h.noSecrets(t, here.RefreshToken)
}

// A thief may hold a copy of the refresh token with which the owner is signed in.
func TestUpdateProfile_NewPassword_EndsEverySignIn(t *testing.T) {
	h := newHarness(t)
	here, there := h.register("ann"), h.login("ann@example.com", password)
	_, err := h.UpdateProfile(t.Context(), here.Principal, service.Profile{CurrentPassword: password, NewPassword: other})
	require.NoError(t, err)
	for _, p := range []*person{here, there} {
		h.bad(p, domain.CodeAuthTokenInvalid)
		_, err := h.Refresh(t.Context(), p.RefreshToken)
		h.refused(err, domain.CodeAuthTokenInvalid)
	}
	h.login(here.email, other)
}

// A stolen access token does not help to guess the password.
func TestChangePassword_ManyGuesses_AreLimited(t *testing.T) {
	h := newHarness(t)
	ann := h.register("ann")
	for i := range 10 {
		if i%2 == 0 {
			h.refused(h.ChangePassword(t.Context(), ann.Principal, other, other), domain.CodeInvalidCredentials)
		} else {
			h.refused(h.Deactivate(t.Context(), ann.Principal, other), domain.CodeInvalidCredentials)
		}
	}
	h.refused(h.ChangePassword(t.Context(), ann.Principal, password, other), domain.CodeRateLimit)
	h.refused(h.Deactivate(t.Context(), ann.Principal, password), domain.CodeRateLimit)
	h.login(ann.email, password)
	h.clock.advance(15 * time.Minute)
	require.NoError(t, h.ChangePassword(t.Context(), ann.Principal, password, other))
}

func TestUpdateProfile_Fields_AllOrNothing(t *testing.T) {
	h := newHarness(t)
	h.register("bob")
	ann := h.register("ann")
	ptr := func(s string) *string { return &s }
	_, err := h.UpdateProfile(t.Context(), ann.Principal, service.Profile{Name: ptr("x"), Email: ptr("x"), NewPassword: "x"})
	require.Equal(t, []string{"name", "email", "currentPassword", "newPassword"}, h.fields(err))

	h.clock.advance(time.Minute)
	name, email := " Ann Lee ", " ANN.Lee@example.com"
	u, err := h.UpdateProfile(t.Context(), ann.Principal, service.Profile{Name: &name, Email: &email, CurrentPassword: password})
	require.NoError(t, err)
	require.Equal(t, " Ann Lee ", name, "what the caller passes stays")
	require.Equal(t, "Ann Lee", u.Name)
	require.Equal(t, "ann.lee@example.com", u.Email)
	require.Equal(t, h.clock.now, u.UpdatedAt)
	require.Empty(t, u.PasswordHash)
	h.good(ann)

	_, err = h.UpdateProfile(t.Context(), ann.Principal, service.Profile{Name: ptr("Other"), Email: ptr("BOB@example.com"), CurrentPassword: password})
	h.refused(err, domain.CodeEmailRegistered)
	require.Equal(t, "Ann Lee", h.row("ann.lee@example.com").Name, "all or nothing")

	rev := h.row("ann.lee@example.com").Rev
	_, err = h.UpdateProfile(t.Context(), ann.Principal, service.Profile{Name: ptr("Ann Lee"), CurrentPassword: "ignored"})
	require.NoError(t, err)
	require.Equal(t, rev, h.row("ann.lee@example.com").Rev, "nothing to do")

	_, err = h.UpdateProfile(t.Context(), ann.Principal, service.Profile{Name: ptr("Other"), CurrentPassword: other, NewPassword: other})
	h.refused(err, domain.CodeInvalidCredentials)
	u, err = h.UpdateProfile(t.Context(), ann.Principal, service.Profile{Name: ptr("Anna"), CurrentPassword: password, NewPassword: other})
	require.NoError(t, err)
	require.Equal(t, "Anna", u.Name)
	require.Empty(t, u.PasswordHash)
	h.bad(ann, domain.CodeAuthTokenInvalid)
	h.login("ann.lee@example.com", other)

	_, err = h.UpdateProfile(t.Context(), service.Principal{UserID: "none"}, service.Profile{Name: &name})
	h.refused(err, domain.CodeUserNotFound)
}

func TestResetPassword_MailedToken_WorksOnce(t *testing.T) {
	for _, url := range []string{"", "https://app.example.com/reset?token="} {
		h := newHarness(t, func(c *accounts.Config) { c.ResetURL = url })
		ann := h.register("ann")
		require.NoError(t, h.ForgotPassword(t.Context(), " ANN@example.com"))
		require.Equal(t, 1, h.mailer.count())
		require.Equal(t, ann.email, h.mailer.mails[0].To)
		token := h.mailer.token()
		require.Len(t, token, 43)
		require.Contains(t, h.mailer.mails[0].Text, "\n"+url+token+"\n")
		require.Contains(t, h.mailer.mails[0].Text, "30 minutes")

		require.Equal(t, []string{"token", "newPassword"}, h.fields(h.ResetPassword(t.Context(), "x", "x")))
		require.Equal(t, []string{"newPassword"}, h.fields(h.ResetPassword(t.Context(), token, "x")), "which does not use it up")
		require.Equal(t, []string{"token"}, h.fields(h.ResetPassword(t.Context(), strings.Repeat("A", 43), other)))
		h.good(ann)
		require.NoError(t, h.ResetPassword(t.Context(), token, other))
		h.bad(ann, domain.CodeAuthTokenInvalid)
		_, err := h.Refresh(t.Context(), ann.RefreshToken)
		h.refused(err, domain.CodeAuthTokenInvalid)
		h.login(ann.email, other)
		require.Equal(t, []string{"token"}, h.fields(h.ResetPassword(t.Context(), token, password)), "it works once")
		h.login(ann.email, other)
		h.noSecrets(t, token)
	}
}

// Anybody can make up tokens. They cost no hash.
func TestResetPassword_UnknownOrExpiredToken_HashesNothing(t *testing.T) {
	h := newHarness(t)
	ann := h.register("ann")
	require.NoError(t, h.ForgotPassword(t.Context(), ann.email))
	expired := h.mailer.token()
	h.clock.advance(time.Hour)
	hashed := h.passwords.hashed.Load()
	for _, token := range []string{strings.Repeat("A", 43), expired} {
		require.Equal(t, []string{"token"}, h.fields(h.ResetPassword(t.Context(), token, other)))
	}
	require.Equal(t, hashed, h.passwords.hashed.Load())
}

func TestResetPassword_VoidedToken_IsRefused(t *testing.T) {
	h := newHarness(t)
	ann := h.register("ann")
	admin := h.administrator()
	ask := func() string {
		h.clock.advance(time.Hour)
		require.NoError(t, h.ForgotPassword(t.Context(), h.row(ann.email).Email))
		return h.mailer.token()
	}
	void := func(token, why string) {
		require.Equal(t, []string{"token"}, h.fields(h.ResetPassword(t.Context(), token, other)), why)
	}
	token := ask()
	h.clock.advance(30 * time.Minute)
	void(token, "expired")

	token = ask()
	h.clock.advance(30*time.Minute - time.Microsecond)
	require.NoError(t, h.ResetPassword(t.Context(), token, password), "not yet expired")

	token = ask()
	require.NoError(t, h.ChangePassword(t.Context(), ann.Principal, password, other))
	void(token, "the password was changed")
	require.NoError(t, h.ChangePassword(t.Context(), ann.Principal, other, password), "twice at the same time")

	token = ask()
	email := "ann2@example.com"
	_, err := h.UpdateProfile(t.Context(), ann.Principal, service.Profile{Email: &email, CurrentPassword: password})
	require.NoError(t, err)
	ann.email = email
	void(token, "mailed to the former address")

	token = ask()
	yes, no := true, false
	_, err = h.Update(t.Context(), ann.UserID, service.UserChange{Active: &no})
	require.NoError(t, err)
	void(token, "deactivated")
	_, err = h.Update(t.Context(), ann.UserID, service.UserChange{Active: &yes})
	require.NoError(t, err)
	void(token, "deactivated in between")
	h.login(ann.email, password)
	require.NotEqual(t, admin.UserID, ann.UserID)
}

// The response to a forgotten password does not depend on the user: it comes
// before the user is looked up.
func TestForgotPassword_AskedAgain_EarlierTokensWorkUntilOneIsUsed(t *testing.T) {
	h := newHarness(t)
	ann := h.register("ann")
	bob := h.register("bob")
	ask := func(email string) string {
		require.NoError(t, h.ForgotPassword(t.Context(), email))
		return h.mailer.token()
	}
	first, second, third, bobs := ask(ann.email), ask(ann.email), ask(ann.email), ask(bob.email)
	require.NoError(t, h.ResetPassword(t.Context(), second, other))
	for _, token := range []string{first, second, third} {
		require.Equal(t, []string{"token"}, h.fields(h.ResetPassword(t.Context(), token, password)))
	}
	require.NoError(t, h.ResetPassword(t.Context(), bobs, other), "another user's")
}

// A stranger on many networks asks for mails before and after the owner does.
func TestForgotPassword_ManyNetworks_OwnerResets(t *testing.T) {
	for name, home := range map[string]string{"from a known network": "192.0.2.1", "from anywhere": "203.0.113.7"} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			ann := h.login(h.register("ann").email, password) // from 192.0.2.1
			flood := func() {
				for i := range 100 {
					require.NoError(t, h.ForgotPassword(from(t, fmt.Sprintf("198.51.%d.1", i), nil), ann.email))
				}
			}
			flood()
			require.NoError(t, h.ForgotPassword(from(t, home, nil), ann.email))
			latest := h.mailer.token()
			flood()
			require.NoError(t, h.ResetPassword(t.Context(), latest, other), "the latest mail to the owner works")
			require.LessOrEqual(t, h.mailer.count(), 10+1+1, "ten tokens, one for the owner, the notice of the new password")
		})
	}
}

func TestForgotPassword_KnownNetworkAsksOften_LatestTokensWork(t *testing.T) {
	h := newHarness(t)
	ann := h.login(h.register("ann").email, password)
	var tokens []string
	for range 11 {
		h.clock.advance(150 * time.Second)
		require.NoError(t, h.ForgotPassword(from(t, "192.0.2.1", nil), ann.email))
		if token := h.mailer.token(); len(tokens) == 0 || token != tokens[len(tokens)-1] {
			tokens = append(tokens, token)
		}
	}
	require.Len(t, tokens, 10, "five in 15 minutes")
	require.NoError(t, h.ResetPassword(t.Context(), tokens[len(tokens)-1], other))
}

func TestForgotPassword_MailFails_TokenTakesNoRoom(t *testing.T) {
	h := newHarness(t)
	ann := h.register("ann")
	h.mailer.err = errors.New("mail server is down")
	for i := range 20 {
		require.NoError(t, h.ForgotPassword(from(t, fmt.Sprintf("198.51.%d.1", i), nil), ann.email))
	}
	require.Equal(t, 20, h.mailer.count(), "each one was tried")
	require.Equal(t, []string{"token"}, h.fields(h.ResetPassword(t.Context(), h.mailer.token(), other)))
}

func TestForgotPassword_AnyEmail_SameResponse(t *testing.T) {
	var jobs []func()
	h := newHarness(t, func(c *accounts.Config) { c.Spawn = func(f func()) { jobs = append(jobs, f) } })
	h.register("ann")
	h.register("out")
	h.change("out@example.com", func(u *domain.User) { u.Active = false })
	h.mailer.err = errors.New("mail server is down")
	calls, limited := h.transactions(), h.limiter.calls.Load()
	ctx, cancel := context.WithCancel(t.Context())
	for _, email := range []string{"ann@example.com", "nobody@example.com", "out@example.com"} {
		require.NoError(t, h.ForgotPassword(ctx, email))
	}
	require.Equal(t, calls, h.transactions())
	require.Equal(t, limited, h.limiter.calls.Load())
	require.Zero(t, h.mailer.count())
	cancel() // the request has ended
	for _, job := range jobs {
		job()
	}
	require.Equal(t, 1, h.mailer.count())
	require.Equal(t, "ann@example.com", h.mailer.mails[0].To)
	require.Contains(t, h.log.String(), "mail server is down")
	h.noSecrets(t, h.mailer.token())
	require.Equal(t, []string{"email"}, h.fields(h.ForgotPassword(t.Context(), "x")))
}

func TestForgotPassword_ManyRequests_MailsAreLimited(t *testing.T) {
	h := newHarness(t)
	h.register("ann")
	h.register("bob")
	for range 8 {
		require.NoError(t, h.ForgotPassword(t.Context(), "ann@example.com"), "always the same answer")
	}
	require.Equal(t, 5, h.mailer.count())
	require.NoError(t, h.ForgotPassword(t.Context(), "bob@example.com"))
	require.Equal(t, 6, h.mailer.count())
	require.NoError(t, h.ResetPassword(t.Context(), h.mailer.token(), other))
	require.Equal(t, 7, h.mailer.count(), "a new password is told")
	h.clock.advance(15 * time.Minute)
	require.NoError(t, h.ForgotPassword(t.Context(), "ann@example.com"))
	require.Equal(t, 8, h.mailer.count())
	h.limiter.broken.Store(true)
	require.NoError(t, h.ForgotPassword(t.Context(), "ann@example.com"))
	require.Equal(t, 9, h.mailer.count())
}

// slowMail blocks until the test releases it or the context ends.
type slowMail struct{ begun, done chan struct{} }

func (m *slowMail) Send(ctx context.Context, _ ports.Mail) error {
	m.begun <- struct{}{}
	select {
	case <-m.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func TestClose_PendingMail_Waits(t *testing.T) {
	m := &slowMail{begun: make(chan struct{}, 100), done: make(chan struct{})}
	h := newHarness(t, func(c *accounts.Config) { c.Mailer, c.Spawn = m, nil })
	h.passwords.busy = true
	for i := range 40 {
		name := string(rune('a'+i%26)) + string(rune('a'+i/26))
		h.register(name)
		require.NoError(t, h.ForgotPassword(t.Context(), name+"@example.com"), "nobody waits for the mail")
	}
	for range 32 {
		<-m.begun
	}
	require.Contains(t, h.log.String(), "too many at once")
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, h.Close(ended), context.Canceled)
	close(m.done)
	require.NoError(t, h.Close(t.Context()))
	require.Empty(t, m.begun, "no more than 32 at once")
	require.NoError(t, h.ForgotPassword(t.Context(), "aa@example.com"))
	require.NoError(t, h.Close(t.Context()))
	require.Empty(t, m.begun, "nothing is sent after Close")
}
