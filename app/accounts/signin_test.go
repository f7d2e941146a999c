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

func TestRegister_NewUser_IsSignedIn(t *testing.T) {
	h := newHarness(t)
	s, err := h.Register(t.Context(), " Ann Lee ", " Ann@Example.COM ", password)
	require.NoError(t, err)
	require.Equal(t, time.Hour, s.ExpiresIn)
	require.Equal(t, "Ann Lee", s.User.Name)
	require.Equal(t, "ann@example.com", s.User.Email)
	require.Equal(t, domain.TierBasic, s.User.Tier)
	require.Equal(t, domain.RoleUser, s.User.Role)
	require.True(t, s.User.Active)
	require.Equal(t, h.clock.now, s.User.CreatedAt)
	require.Empty(t, s.User.PasswordHash)
	require.NotContains(t, h.row("ann@example.com").PasswordHash, password)

	c, err := h.Authenticate(t.Context(), s.Token)
	require.NoError(t, err)
	require.Equal(t, s.User.ID, c.UserID)
	require.Equal(t, domain.RoleUser, c.Role)

	_, err = h.Register(t.Context(), "Another", "ANN@example.com", other)
	h.refused(err, domain.CodeEmailRegistered)
	_, err = h.Register(t.Context(), "x", "x", "x")
	require.Equal(t, []string{"name", "email", "password"}, h.fields(err))
	require.EqualValues(t, 2, h.passwords.hashed.Load(), "nothing is hashed for input that is refused")
	h.noSecrets(t, s.Token, s.RefreshToken)
}

func TestLogin_RightPassword_SignsIn(t *testing.T) {
	h := newHarness(t)
	first := h.register("ann")
	require.Zero(t, first.User.LastLoginAt)
	h.clock.advance(time.Minute)
	second := h.login(" ANN@example.com", password)
	require.Equal(t, h.clock.now, second.User.LastLoginAt)
	require.Empty(t, second.User.PasswordHash)
	require.NotEqual(t, first.FamilyID, second.FamilyID)
	h.good(first)
	h.good(second)

	_, err := h.Login(t.Context(), "nobody", "")
	require.Equal(t, []string{"email", "password"}, h.fields(err))
}

// An unknown email, a wrong password and an impossible one get the same error,
// after one comparison each.
func TestLogin_UnknownOrWrong_SameErrorAndCost(t *testing.T) {
	h := newHarness(t)
	h.register("ann")
	h.register("out")
	h.change("out@example.com", func(u *domain.User) { u.Active = false })
	var answers []string
	for _, c := range []struct{ email, password string }{
		{"nobody@example.com", password}, {"ann@example.com", other}, {"ann@example.com", "x"},
		{"ann@example.com", password + strings.Repeat("x", 100)}, {"out@example.com", other},
	} {
		compared, limited, stored := h.passwords.compared.Load(), h.limiter.calls.Load(), h.transactions()
		_, err := h.Login(callerAt(t.Context(), "192.0.2.1"), c.email, c.password)
		e := h.refusal(err, domain.CodeInvalidCredentials)
		require.Equal(t, domain.Unauthenticated, e.Kind)
		answers = append(answers, e.Error())
		require.Equal(t, compared+1, h.passwords.compared.Load(), c.email)
		require.Equal(t, limited+4, h.limiter.calls.Load(), c.email)
		require.Equal(t, stored+2, h.transactions(), c.email+": a look-up, and an entry of the audit trail")
	}
	for _, a := range answers {
		require.Equal(t, answers[0], a)
	}
	_, err := h.Login(callerAt(t.Context(), "192.0.2.1"), "out@example.com", password)
	require.Equal(t, domain.Forbidden, h.refusal(err, domain.CodeAccountDeactivated).Kind)
	h.passwords.gullible = true
	_, err = h.Login(callerAt(t.Context(), "192.0.2.1"), "nobody@example.com", password)
	h.refused(err, domain.CodeInvalidCredentials, "nobody has no password, whoever compares")
	h.noSecrets(t)
}

func TestLogin_ManyWrongPasswords_AreLimited(t *testing.T) {
	h := newHarness(t)
	h.register("ann")
	try := func(email, pw, ip string) error {
		_, err := h.Login(callerAt(t.Context(), ip), email, pw)
		return err
	}
	for range 20 {
		require.NoError(t, try("ann@example.com", password, "192.0.2.1"), "successes do not count")
	}
	for range 5 {
		h.refused(try("ann@example.com", other, "192.0.2.1"), domain.CodeInvalidCredentials)
	}
	require.NoError(t, try("ann@example.com", password, "192.0.2.1"))
	h.clock.advance(5 * time.Minute)
	for range 5 {
		h.refused(try("ann@example.com", other, "192.0.2.1"), domain.CodeInvalidCredentials)
	}
	compared := h.passwords.compared.Load()
	for _, pw := range []string{other, password} {
		e := h.refusal(try("ANN@example.com", pw, "192.0.2.1"), domain.CodeRateLimit, "whatever the password")
		require.Equal(t, domain.Exceeded, e.Kind)
		require.Equal(t, "Too many wrong passwords; try again in 10 minutes", e.Message)
		require.Equal(t, 10*time.Minute, e.RetryAfter)
	}
	require.Equal(t, compared, h.passwords.compared.Load(), "nothing is compared any more")
	require.NoError(t, try("ann@example.com", password, "192.0.2.2"), "another address")
	h.refused(try("nobody@example.com", other, "192.0.2.1"), domain.CodeInvalidCredentials, "another email")

	h.clock.advance(10*time.Minute - time.Second)
	require.Equal(t, "Too many wrong passwords; try again in 1 second",
		h.refusal(try("ann@example.com", password, "192.0.2.1"), domain.CodeRateLimit).Message)
	h.clock.advance(time.Second)
	require.NoError(t, try("ann@example.com", password, "192.0.2.1"))
}

// Unknown emails are limited too. Otherwise the limit would tell which exist.
func TestLogin_ManyUnknownEmails_AreLimited(t *testing.T) {
	h := newHarness(t)
	for range 10 {
		_, err := h.Login(callerAt(t.Context(), "192.0.2.1"), "nobody@example.com", password)
		h.refused(err, domain.CodeInvalidCredentials)
	}
	_, err := h.Login(callerAt(t.Context(), "192.0.2.1"), "nobody@example.com", password)
	h.refused(err, domain.CodeRateLimit)
}

// A customer has a whole /64. Another address in it opens no new budget.
func TestLogin_WrongPasswordsFromOneNetwork_CountTogether(t *testing.T) {
	h := newHarness(t)
	h.register("ann")
	try := func(ip string) error {
		_, err := h.Login(callerAt(t.Context(), ip), "ann@example.com", other)
		return err
	}
	for i := range 10 {
		h.refused(try(fmt.Sprintf("2001:db8:0:1::%x", i+1)), domain.CodeInvalidCredentials)
	}
	h.refused(try("2001:db8:0:1:ffff::1"), domain.CodeRateLimit, "the same /64")
	h.refused(try("2001:db8:0:2::1"), domain.CodeInvalidCredentials, "another /64")
	for range 9 {
		h.refused(try("192.0.2.1"), domain.CodeInvalidCredentials)
	}
	h.refused(try("::ffff:192.0.2.1"), domain.CodeInvalidCredentials)
	h.refused(try("192.0.2.1"), domain.CodeRateLimit, "IPv4 in another spelling")
}

// A caller who waits in vain for a comparison has not guessed.
func TestLogin_PasswordQueueFull_IsOverloadedAndNotCounted(t *testing.T) {
	h := newHarness(t)
	h.register("ann")
	h.passwords.refusal = domain.Overloaded(time.Second, "Too many")
	for range 20 {
		_, err := h.Login(callerAt(t.Context(), "192.0.2.1"), "ann@example.com", other)
		h.refused(err, domain.CodeOverloaded)
	}
	_, err := h.Register(t.Context(), "Bob", "bob@example.com", password)
	h.refused(err, domain.CodeOverloaded)
	h.passwords.refusal = nil
	h.login("ann@example.com", password)
}

func TestLogin_LimiterFails_IsNotLimited(t *testing.T) {
	h := newHarness(t)
	h.register("ann")
	h.limiter.broken.Store(true)
	h.login("ann@example.com", password)
	for range 12 {
		_, err := h.Login(callerAt(t.Context(), "192.0.2.1"), "ann@example.com", other)
		h.refused(err, domain.CodeInvalidCredentials)
	}
	require.Contains(t, h.log.String(), "limiter is down")
}

// The password was changed after the comparison.
func TestLogin_PasswordChangedMeanwhile_IsRefused(t *testing.T) {
	h := newHarness(t)
	h.register("ann")
	overtake := func(fn func(*domain.User)) error {
		h.passwords.hook = func() {
			h.passwords.hook = nil
			h.change("ann@example.com", fn)
		}
		_, err := h.Login(callerAt(t.Context(), "192.0.2.1"), "ann@example.com", password)
		return err
	}
	h.refused(overtake(func(u *domain.User) { u.Active = false }), domain.CodeAccountDeactivated)
	h.refused(overtake(func(u *domain.User) { u.Active, u.PasswordHash = true, "hash:other" }), domain.CodeInvalidCredentials)
}

func TestRefresh_NewestToken_Rotates(t *testing.T) {
	h := newHarness(t)
	ann := h.register("ann")
	tokens := []string{ann.RefreshToken}
	for range 3 {
		h.clock.advance(time.Hour)
		h.bad(ann, domain.CodeAuthTokenExpired)
		s, err := h.Refresh(t.Context(), tokens[len(tokens)-1])
		require.NoError(t, err)
		require.Equal(t, time.Hour, s.ExpiresIn)
		require.Empty(t, s.User.PasswordHash)
		require.NotContains(t, tokens, s.RefreshToken)
		tokens = append(tokens, s.RefreshToken)
		next := h.person(s, ann.email)
		require.Equal(t, ann.FamilyID, next.FamilyID)
		ann = next
	}
	elsewhere := h.login(ann.email, password)

	_, err := h.Refresh(t.Context(), tokens[1])
	require.Equal(t, domain.Unauthenticated, h.refusal(err, domain.CodeAuthTokenInvalid).Kind)
	h.bad(ann, domain.CodeAuthTokenInvalid)
	for _, token := range tokens {
		_, err := h.Refresh(t.Context(), token)
		h.refused(err, domain.CodeAuthTokenInvalid)
	}
	h.good(elsewhere)
	require.Contains(t, h.log.String(), "used twice")
	h.noSecrets(t, tokens...)
}

func TestRefresh_AfterRefreshLife_IsExpired(t *testing.T) {
	h := newHarness(t)
	ann := h.register("ann")
	h.clock.advance(30*24*time.Hour - time.Microsecond)
	s, err := h.Refresh(t.Context(), ann.RefreshToken)
	require.NoError(t, err)
	h.clock.advance(30 * 24 * time.Hour)
	_, err = h.Refresh(t.Context(), s.RefreshToken)
	h.refused(err, domain.CodeAuthTokenExpired)
	require.NoError(t, h.Maintain(t.Context()))
	_, err = h.Refresh(t.Context(), s.RefreshToken)
	h.refused(err, domain.CodeAuthTokenExpired, "families go when they are past their expiry, not at it")
	h.clock.advance(time.Second)
	require.NoError(t, h.Maintain(t.Context()))
	_, err = h.Refresh(t.Context(), s.RefreshToken)
	h.refused(err, domain.CodeAuthTokenInvalid)
}

func TestRefresh_MalformedToken_IsRefusedWithoutRead(t *testing.T) {
	h := newHarness(t)
	ann := h.register("ann")
	_, secret, _ := strings.Cut(strings.TrimPrefix(ann.RefreshToken, "id."), ".")
	require.Len(t, secret, 43)
	_, err := h.Refresh(t.Context(), "")
	require.Equal(t, []string{"refreshToken"}, h.fields(err))
	calls := h.transactions()
	for _, token := range []string{
		"x", ".", ann.FamilyID, ann.FamilyID + ".", "." + secret, secret, ann.RefreshToken + "x", ann.RefreshToken[1:] + "=", ann.Token,
		ann.RefreshToken[:len(ann.RefreshToken)-1] + "\n", ann.FamilyID + "\x00." + secret, ann.FamilyID + "\xff." + secret,
		strings.Repeat("x", 65) + "." + secret,
	} {
		_, err := h.Refresh(t.Context(), token)
		h.refused(err, domain.CodeAuthTokenInvalid, token)
	}
	require.Equal(t, calls, h.transactions(), "not worth a look at the store")
	_, err = h.Refresh(t.Context(), "id.none."+secret)
	h.refused(err, domain.CodeAuthTokenInvalid)
	_, err = h.Refresh(t.Context(), ann.RefreshToken)
	require.NoError(t, err, "and none of that hurt the sign-in")
}

func TestLogout_Family_IsRevoked(t *testing.T) {
	h := newHarness(t)
	one, two := h.register("ann"), h.login("ann@example.com", password)
	bob := h.register("bob")
	require.NoError(t, h.Logout(t.Context(), one.Principal))
	h.bad(one, domain.CodeAuthTokenInvalid)
	_, err := h.Refresh(t.Context(), one.RefreshToken)
	h.refused(err, domain.CodeAuthTokenInvalid)
	h.good(two)
	require.NoError(t, h.Logout(t.Context(), one.Principal), "again")
	require.NoError(t, h.Logout(t.Context(), service.Principal{UserID: bob.UserID, FamilyID: two.FamilyID}))
	require.NoError(t, h.Logout(t.Context(), service.Principal{UserID: bob.UserID, FamilyID: "none"}))
	h.good(two)
	h.good(bob)
}

func TestAccounts_StoreFails_ErrorHidesCause(t *testing.T) {
	h := newHarness(t)
	ann := h.register("ann")
	cause := errors.New("dial tcp 10.0.0.5: refused")
	h.failStore(cause)
	uses := map[string]func(context.Context) error{
		"register": func(ctx context.Context) error {
			_, err := h.Register(ctx, "Bob", "bob@example.com", password)
			return err
		},
		"login":   func(ctx context.Context) error { _, err := h.Login(ctx, ann.email, password); return err },
		"refresh": func(ctx context.Context) error { _, err := h.Refresh(ctx, ann.RefreshToken); return err },
		"logout":  func(ctx context.Context) error { return h.Logout(ctx, ann.Principal) },
		"user":    func(ctx context.Context) error { _, err := h.Get(ctx, ann.UserID); return err },
		"users": func(ctx context.Context) error {
			_, _, err := h.List(ctx, ports.UserFilter{}, ports.Page{})
			return err
		},
		"change":   func(ctx context.Context) error { return h.ChangePassword(ctx, ann.Principal, password, other) },
		"reset":    func(ctx context.Context) error { return h.ResetPassword(ctx, strings.Repeat("A", 43), other) },
		"maintain": h.Maintain,
		"deactivate": func(ctx context.Context) error {
			return h.Deactivate(ctx, ann.Principal, password)
		},
		"update": func(ctx context.Context) error {
			name := "Bob"
			_, err := h.UpdateProfile(ctx, ann.Principal, service.Profile{Name: &name})
			return err
		},
		"authenticate": func(ctx context.Context) error {
			h.clock.advance(2 * time.Second)
			_, err := h.Authenticate(ctx, ann.Token)
			return err
		},
		"administrator": func(ctx context.Context) error {
			_, _, err := h.EnsureAdministrator(ctx, "admin@localhost", "")
			return err
		},
	}
	for what, use := range uses {
		e := h.refusal(use(t.Context()), domain.CodeInternal, what)
		require.NotContains(t, e.Message, "10.0.0.5", what)
		require.ErrorIs(t, e, cause, "the cause is there for the log")
	}
	h.failStore(nil)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for what, use := range uses {
		require.Equal(t, context.Canceled, use(ended), what)
	}
}

func TestUpdate_Conflicts_AreRetried(t *testing.T) {
	h := newHarness(t)
	ann := h.register("ann")
	name := "Anna"
	h.loseUpdates(19)
	_, err := h.UpdateProfile(t.Context(), ann.Principal, service.Profile{Name: &name})
	require.NoError(t, err)
	require.Equal(t, name, h.row(ann.email).Name)

	h.loseUpdates(1 << 30)
	_, err = h.Refresh(t.Context(), ann.RefreshToken)
	e := h.refusal(err, domain.CodeInvalidState)
	require.ErrorIs(t, e, ports.ErrConflict)
	h.loseUpdates(0)
	_, err = h.Refresh(t.Context(), ann.RefreshToken)
	require.NoError(t, err, "a retry is not a reuse")
	h.loseUpdates(5)
	_, err = h.Register(t.Context(), "Bob", "bob@example.com", password)
	require.NoError(t, err)
}

func TestRegister_RandomFails_InternalError(t *testing.T) {
	h := newHarness(t, func(c *accounts.Config) { c.Random = strings.NewReader("too short") })
	_, err := h.Register(t.Context(), "Ann", "ann@example.com", password)
	h.refused(err, domain.CodeInternal)
}
