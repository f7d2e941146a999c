package accounts_test

import (
	"context"
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

// stubKeys rotates every key.
type stubKeys struct{ service.APIKeys }

func (stubKeys) Rotate(context.Context, string, string, time.Duration) (string, error) {
	return "wg_secret", nil
}

// signIn signs a user in from an address.
func (h *harness) signIn(t *testing.T, email, pw, address string) *person {
	s, err := h.Login(from(t, address, nil), email, pw)
	require.NoError(t, err)
	return h.person(s, email)
}

func TestSignIns_SeveralPlaces_AreListedLatestUseFirst(t *testing.T) {
	h := newHarness(t)
	h.register("bob")
	ann := h.register("ann")
	h.clock.advance(time.Minute)
	ctx := service.WithCaller(t.Context(), service.Caller{Address: "203.0.113.7", UserAgent: "Firefox"})
	s, err := h.Login(callerAt(ctx, "203.0.113.7"), ann.email, password)
	require.NoError(t, err)
	phone := h.person(s, ann.email)
	signedIn := h.clock.now
	h.clock.advance(time.Minute)
	_, err = h.Refresh(service.WithCaller(t.Context(), service.Caller{Address: "198.51.100.9", UserAgent: strings.Repeat("x", 999)}), phone.RefreshToken)
	require.NoError(t, err)

	list, err := h.SignIns(t.Context(), ann.Principal)

	require.NoError(t, err)
	require.Len(t, list, 2)
	require.Equal(t, service.SignIn{
		ID: phone.FamilyID, CreatedAt: signedIn, LastUsedAt: h.clock.now, ExpiresAt: h.clock.now.Add(30 * 24 * time.Hour),
		Address: "198.51.100.9", UserAgent: strings.Repeat("x", 200),
	}, list[0])
	require.True(t, list[1].IsCurrent)
	require.Equal(t, ann.FamilyID, list[1].ID)
}

func TestEndSignIn_OneOfTheOwn_EndsAtOnce(t *testing.T) {
	h := newHarness(t)
	bob, ann := h.register("bob"), h.register("ann")
	phone := h.login(ann.email, password)

	for _, id := range []string{bob.FamilyID, "nothing", "", "\x00", strings.Repeat("x", 999)} {
		h.refused(h.EndSignIn(t.Context(), ann.Principal, id), domain.CodeNotFound)
	}
	require.NoError(t, h.EndSignIn(t.Context(), ann.Principal, phone.FamilyID))

	h.bad(phone, domain.CodeAuthTokenInvalid)
	_, err := h.Refresh(t.Context(), phone.RefreshToken)
	h.refused(err, domain.CodeAuthTokenInvalid)
	h.good(ann)
	h.good(bob)
	h.refused(h.EndSignIn(t.Context(), ann.Principal, phone.FamilyID), domain.CodeNotFound, "it has ended already")
}

func TestLogin_ManySignIns_TheOneUsedLongestAgoEnds(t *testing.T) {
	h := newHarness(t)
	ann := h.register("ann")
	first := h.login(ann.email, password)
	for range 48 {
		h.clock.advance(time.Second)
		h.login(ann.email, password)
	}
	h.good(ann)
	h.clock.advance(time.Second)
	_, err := h.Refresh(t.Context(), ann.RefreshToken) // used again: no longer the oldest
	require.NoError(t, err)
	h.clock.advance(time.Second)
	h.login(ann.email, password)
	h.good(ann)
	h.bad(first, domain.CodeAuthTokenInvalid)

	for range 200 {
		h.clock.advance(time.Second)
		h.login(ann.email, password)
	}
	list, err := h.SignIns(t.Context(), ann.Principal)
	require.NoError(t, err)
	require.Len(t, list, 50)
	require.LessOrEqual(t, h.familyRows(ann.UserID), 100)
}

func TestRefresh_TextThatNeverWasAToken_DoesNotEndTheSignIn(t *testing.T) {
	h := newHarness(t)
	ann := h.register("ann")
	used := ann.RefreshToken
	s, err := h.Refresh(t.Context(), used)
	require.NoError(t, err)

	made := ann.FamilyID + "." + strings.Repeat("A", 43)
	_, err = h.Refresh(t.Context(), made)
	h.refused(err, domain.CodeAuthTokenInvalid)
	bob := h.register("bob")
	_, secret, _ := strings.Cut(bob.RefreshToken[strings.LastIndex(bob.RefreshToken, "."):], ".")
	_, err = h.Refresh(t.Context(), ann.FamilyID+"."+secret)
	h.refused(err, domain.CodeAuthTokenInvalid, "a token of another sign-in")

	s, err = h.Refresh(t.Context(), s.RefreshToken)
	require.NoError(t, err, "the sign-in goes on")
	_, err = h.Refresh(t.Context(), used)
	h.refused(err, domain.CodeAuthTokenInvalid)
	_, err = h.Refresh(t.Context(), s.RefreshToken)
	h.refused(err, domain.CodeAuthTokenInvalid, "a token of the past ended it")
}

func TestRegister_Closed_IsRefused(t *testing.T) {
	h := newHarness(t, func(c *accounts.Config) { c.ClosedRegistration = true })
	_, err := h.Register(t.Context(), "Ann", "ann@example.com", password)
	require.Equal(t, domain.Forbidden, h.refusal(err, domain.CodeRegistrationClosed).Kind)
	_, err = h.CreateUser(t.Context(), "Ann", "ann@example.com", password, "", "")
	require.NoError(t, err)
	h.login("ann@example.com", password)
}

func TestRegister_ManyTakenEmails_AreLimitedByNetwork(t *testing.T) {
	h := newHarness(t)
	h.register("ann")
	try := func(email, address string) error {
		_, err := h.Register(from(t, address, nil), "Ann", email, password)
		return err
	}
	for i := range 10 {
		h.refused(try("ann@example.com", fmt.Sprintf("2001:db8::%d", i)), domain.CodeEmailRegistered)
	}
	h.refused(try("ann@example.com", "2001:db8::99"), domain.CodeRateLimit)
	h.refused(try("nobody@example.com", "2001:db8::99"), domain.CodeRateLimit, "the same answer for every email")
	h.refused(try("ann@example.com", "2001:db8:0:1::1"), domain.CodeEmailRegistered, "another network")
	h.clock.advance(15 * time.Minute)
	require.NoError(t, try("new@example.com", "2001:db8::99"))
}

func TestPasswords_CommonOrOwn_AreRefusedWhereverOneIsSet(t *testing.T) {
	h := newHarness(t)
	ann := h.register("annette99") // name annette99, annette99@example.com
	for _, bad := range []string{"password123", "Annette99", "annette99@example.com"} {
		_, err := h.Register(t.Context(), "Annette99", "Annette99@example.com", bad)
		require.Equal(t, []string{"password"}, h.fields(err), bad)
		_, err = h.CreateUser(t.Context(), "annette99", "annette99@example.com", bad, "", "")
		require.Equal(t, []string{"password"}, h.fields(err), bad)
		require.Equal(t, []string{"newPassword"}, h.fields(h.ChangePassword(t.Context(), ann.Principal, password, bad)), bad)
		_, err = h.UpdateProfile(t.Context(), ann.Principal, service.Profile{CurrentPassword: password, NewPassword: bad})
		require.Equal(t, []string{"newPassword"}, h.fields(err), bad)
		require.NoError(t, h.ForgotPassword(t.Context(), ann.email))
		token := h.mailer.token()
		require.Equal(t, []string{"newPassword"}, h.fields(h.ResetPassword(t.Context(), token, bad)), bad)
		require.Equal(t, []string{"password"}, h.fields(h.SetPassword(t.Context(), ann.email, bad)), bad)
		h.clock.advance(time.Hour)
	}
	h.login(ann.email, password)
}

func TestUpdateProfile_NewEmail_NeedsThePasswordAndEndsOtherSignIns(t *testing.T) {
	h := newHarness(t)
	ann := h.register("ann")
	phone := h.login(ann.email, password)
	email := "thief@example.com"
	change := func(current string) error {
		_, err := h.UpdateProfile(from(t, "203.0.113.7", ann), ann.Principal, service.Profile{Email: &email, CurrentPassword: current})
		return err
	}
	require.Equal(t, []string{"currentPassword"}, h.fields(change("")))
	h.refused(change(other), domain.CodeInvalidCredentials)
	h.good(phone)
	require.Zero(t, h.mailer.count())

	require.NoError(t, change(password))

	h.good(ann)
	h.bad(phone, domain.CodeAuthTokenInvalid)
	_, err := h.Refresh(t.Context(), phone.RefreshToken)
	h.refused(err, domain.CodeAuthTokenInvalid)
	require.Equal(t, 1, h.mailer.count())
	mail := h.mailer.mails[0]
	require.Equal(t, "ann@example.com", mail.To, "the old address is told")
	require.Contains(t, mail.Text, "thief@example.com")
	require.Contains(t, mail.Text, "203.0.113.7")

	_, err = h.UpdateProfile(t.Context(), ann.Principal, service.Profile{Email: &email})
	require.NoError(t, err, "the present email needs no password")
}

// The caller stays signed in. Nobody can tell a copy of the caller's newest refresh token from
// the caller's own; an earlier one ends the sign-in, as it always does.
func TestUpdateProfile_NewEmail_CallersSignInGoesOn(t *testing.T) {
	h := newHarness(t)
	ann, phone := h.register("ann"), h.login("ann@example.com", password)
	stolen := ann.RefreshToken
	renewed, err := h.Refresh(t.Context(), ann.RefreshToken)
	require.NoError(t, err)
	email := "ann2@example.com"
	_, err = h.UpdateProfile(t.Context(), ann.Principal, service.Profile{Email: &email, CurrentPassword: password})
	require.NoError(t, err)

	h.good(ann)
	list, err := h.SignIns(t.Context(), ann.Principal)
	require.NoError(t, err)
	require.Len(t, list, 1, "the second device is signed out")
	require.True(t, list[0].IsCurrent)
	h.bad(phone, domain.CodeAuthTokenInvalid)
	latest, err := h.Refresh(t.Context(), renewed.RefreshToken)
	require.NoError(t, err)
	require.Equal(t, email, latest.User.Email)

	_, err = h.Refresh(t.Context(), stolen)
	h.refused(err, domain.CodeAuthTokenInvalid)
	h.bad(ann, domain.CodeAuthTokenInvalid)
	_, err = h.Refresh(t.Context(), latest.RefreshToken)
	h.refused(err, domain.CodeAuthTokenInvalid)
}

// The work on passwords tells known callers from strangers, who may come in any number.
func TestPasswords_KnownCallers_AreMarked(t *testing.T) {
	h := newHarness(t)
	ann := h.login(h.register("ann").email, password) // from 192.0.2.1
	works := func(do func() error) int64 {
		before := h.passwords.known.Load()
		require.NoError(t, do())
		return h.passwords.known.Load() - before
	}
	signIn := func(address string) func() error {
		return func() error {
			_, err := h.Login(from(t, address, nil), ann.email, password)
			return err
		}
	}
	require.Zero(t, works(signIn("203.0.113.7")))
	require.EqualValues(t, 1, works(signIn("203.0.113.7")), "known by the former sign-in")
	h.clock.advance(31 * 24 * time.Hour)
	require.Zero(t, works(signIn("203.0.113.7")), "forgotten")
	require.Zero(t, works(func() error {
		_, err := h.Register(t.Context(), "bob", "bob@example.com", password)
		return err
	}))
	require.NoError(t, h.ForgotPassword(t.Context(), ann.email))
	require.EqualValues(t, 1, works(func() error { return h.ResetPassword(t.Context(), h.mailer.token(), other) }), "has a mailed token")
	require.EqualValues(t, 2, works(func() error { return h.ChangePassword(t.Context(), ann.Principal, other, password) }), "compared and hashed")
	require.EqualValues(t, 1, works(func() error { return h.Deactivate(t.Context(), ann.Principal, password) }))
}

// Mails with resets, which anybody may ask for, leave room for notices.
func TestNotices_ResetMailsHang_OwnerIsTold(t *testing.T) {
	m := &slowMail{begun: make(chan struct{}, 100), done: make(chan struct{})}
	h := newHarness(t, func(c *accounts.Config) { c.Mailer, c.Spawn = m, nil })
	h.passwords.busy = true
	ann := h.register("ann")
	for i := range 32 {
		h.register(fmt.Sprint("user", i))
		require.NoError(t, h.ForgotPassword(t.Context(), fmt.Sprintf("user%d@example.com", i)))
	}
	for range 32 {
		<-m.begun
	}
	require.NoError(t, h.ChangePassword(t.Context(), ann.Principal, password, other))
	<-m.begun
	close(m.done)
	require.NoError(t, h.Close(t.Context()))
}

func TestUpdateProfile_ManyEmails_AreLimited(t *testing.T) {
	h := newHarness(t)
	h.register("bob")
	ann := h.register("ann")
	email := "bob@example.com"
	try := func() error {
		_, err := h.UpdateProfile(t.Context(), ann.Principal, service.Profile{Email: &email, CurrentPassword: password})
		return err
	}
	for range 5 {
		h.refused(try(), domain.CodeEmailRegistered)
	}
	h.refused(try(), domain.CodeRateLimit)
	h.clock.advance(time.Hour)
	h.refused(try(), domain.CodeEmailRegistered)
}

func TestNotices_PasswordKeyAndDeactivation_AreTold(t *testing.T) {
	h := newHarness(t)
	ann := h.register("ann")
	ctx := from(t, "203.0.113.7", ann)
	require.NoError(t, h.ChangePassword(ctx, ann.Principal, password, other))
	keys := h.WithNotices(stubKeys{})
	for range 7 {
		_, err := keys.Rotate(ctx, ann.UserID, "support", 0)
		require.NoError(t, err)
	}
	require.NoError(t, h.Deactivate(ctx, ann.Principal, other))

	var subjects []string
	for _, m := range h.mailer.mails {
		require.Equal(t, ann.email, m.To)
		require.Contains(t, m.Text, "203.0.113.7")
		require.NotContains(t, m.Text, "wg_")
		subjects = append(subjects, m.Subject)
	}
	rotated := "A Switchyard API key was replaced"
	require.Equal(t, []string{
		"Your Switchyard password was changed", rotated, rotated, rotated, rotated, rotated, "Your Switchyard account was deactivated",
	}, subjects, "at most five mails an hour tell of keys")
}

func TestForgotPassword_StrangerAsksOften_OwnerStillGetsMail(t *testing.T) {
	h := newHarness(t)
	ann := h.register("ann")
	for range 20 {
		require.NoError(t, h.ForgotPassword(from(t, "198.51.100.9", nil), ann.email))
	}
	require.Equal(t, 5, h.mailer.count())
	require.NoError(t, h.ForgotPassword(from(t, "203.0.113.7", nil), ann.email))
	require.Equal(t, 6, h.mailer.count())
	require.NoError(t, h.ResetPassword(t.Context(), h.mailer.token(), other))

	for i := range 100 {
		require.NoError(t, h.ForgotPassword(from(t, fmt.Sprintf("198.51.%d.1", i), nil), ann.email))
	}
	require.LessOrEqual(t, h.mailer.count(), 31+1, "a loose bound for all networks, and the notice of the new password")
}

func TestLogin_GuessesFromManyNetworks_LockTheAccountButNotItsOwner(t *testing.T) {
	h := newHarness(t)
	ann := h.register("ann")
	h.signIn(t, ann.email, password, "203.0.113.7")
	guess := func(email string, i int) error {
		address := fmt.Sprintf("198.51.%d.1", i)
		_, err := h.Login(from(t, address, nil), email, other)
		return err
	}
	for i := range 100 {
		h.refused(guess(ann.email, i), domain.CodeInvalidCredentials)
		h.refused(guess("nobody@example.com", i), domain.CodeInvalidCredentials)
	}
	h.refused(guess(ann.email, 101), domain.CodeRateLimit)
	h.refused(guess("nobody@example.com", 101), domain.CodeRateLimit, "the same without an account")
	_, err := h.Login(from(t, "192.0.2.50", nil), ann.email, password)
	h.refused(err, domain.CodeRateLimit, "even with the right password: the guess may be right")

	h.signIn(t, ann.email, password, "203.0.113.7")
	h.clock.advance(24 * time.Hour)
	h.signIn(t, ann.email, password, "192.0.2.50")
}

func TestLogin_NetworkUsedLongAgo_IsNoLongerKnown(t *testing.T) {
	h := newHarness(t, func(c *accounts.Config) { c.RefreshLife = 90 * 24 * time.Hour })
	ann := h.register("ann")
	h.signIn(t, ann.email, password, "203.0.113.7")
	h.clock.advance(30 * 24 * time.Hour)
	for i := range 100 {
		_, _ = h.Login(callerAt(t.Context(), fmt.Sprintf("198.51.%d.1", i)), ann.email, other)
	}
	_, err := h.Login(callerAt(t.Context(), "203.0.113.7"), ann.email, password)
	h.refused(err, domain.CodeRateLimit)
}

func TestResetPassword_AccountLocked_OwnerSignsInAtOnce(t *testing.T) {
	h := newHarness(t)
	ann := h.register("ann")
	for i := range 100 {
		_, _ = h.Login(callerAt(t.Context(), fmt.Sprintf("198.51.%d.1", i)), ann.email, other)
	}
	require.NoError(t, h.ForgotPassword(t.Context(), ann.email))
	require.NoError(t, h.ResetPassword(t.Context(), h.mailer.token(), other))
	h.signIn(t, ann.email, other, "192.0.2.50")
}

// familyRows returns how many rows the store has for a user's sign-ins.
func (h *harness) familyRows(userID string) (n int) {
	require.NoError(h.t, h.store.Store.View(context.Background(), func(ctx context.Context, tx *ports.Tx) error {
		list, err := tx.RefreshTokenFamilies.ByUser(ctx, userID)
		n = len(list)
		return err
	}))
	return n
}
