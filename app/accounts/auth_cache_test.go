package accounts_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/app/accounts"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

func TestAuthenticate_Tokens_AreVerified(t *testing.T) {
	h := newHarness(t)
	ann := h.register("ann")
	require.Equal(t, service.Principal{UserID: ann.User.ID, Email: ann.email, Role: domain.RoleUser, FamilyID: ann.FamilyID}, ann.Principal)
	require.NotEmpty(t, ann.FamilyID)

	_, err := h.Authenticate(t.Context(), "")
	h.refused(err, domain.CodeAuthTokenMissing)
	_, err = h.Authenticate(t.Context(), "x")
	h.refused(err, domain.CodeAuthTokenInvalid)
	_, err = h.Authenticate(t.Context(), ann.RefreshToken)
	h.refused(err, domain.CodeAuthTokenInvalid)
	h.clock.advance(time.Hour)
	h.bad(ann, domain.CodeAuthTokenExpired)
}

// A signed token may still name a family or user that does not exist.
func TestAuthenticate_TokenNamesUnknownUserOrFamily_IsRefused(t *testing.T) {
	h := newHarness(t)
	ann, bob := h.register("ann"), h.register("bob")
	tokens := h.config().Tokens
	for _, c := range []ports.Claims{
		{UserID: "none", FamilyID: ann.FamilyID},
		{UserID: ann.UserID, FamilyID: "none"},
		{UserID: ann.UserID, FamilyID: bob.FamilyID},
	} {
		c.CredentialsAt, c.IssuedAt, c.ExpiresAt = h.row(ann.email).CredentialsAt, h.clock.now, h.clock.now.Add(time.Hour)
		token, err := tokens.Sign(c)
		require.NoError(t, err)
		_, err = h.Authenticate(t.Context(), token)
		h.refused(err, domain.CodeAuthTokenInvalid)
	}
	h.good(ann)
	h.good(bob)
}

// A token that lives longer than the configuration says, or was issued in the future, was
// made with a stolen secret or under another configuration.
func TestAuthenticate_TokenLivesTooLong_IsRefused(t *testing.T) {
	h := newHarness(t)
	ann := h.register("ann")
	now, tokens := h.clock.now, h.config().Tokens
	for name, c := range map[string]struct {
		issued, expires time.Time
		code            domain.Code
	}{
		"configured life":                 {now, now.Add(time.Hour), ""},
		"a clock that is ahead":           {now.Add(5 * time.Minute), now.Add(65 * time.Minute), ""},
		"a microsecond more":              {now, now.Add(time.Hour + time.Microsecond), domain.CodeAuthTokenInvalid},
		"a year":                          {now, now.AddDate(1, 0, 0), domain.CodeAuthTokenInvalid},
		"old, and still good for a while": {now.Add(-30 * time.Minute), now.Add(31 * time.Minute), domain.CodeAuthTokenInvalid},
		"issued in the future":            {now.Add(6 * time.Minute), now.Add(time.Hour), domain.CodeAuthTokenInvalid},
		"no issue time":                   {time.Time{}, now.Add(time.Minute), domain.CodeAuthTokenInvalid},
	} {
		token, err := tokens.Sign(ports.Claims{
			UserID: ann.UserID, FamilyID: ann.FamilyID, CredentialsAt: h.row(ann.email).CredentialsAt, IssuedAt: c.issued, ExpiresAt: c.expires,
		})
		require.NoError(t, err)
		_, err = h.Authenticate(t.Context(), token)
		require.Equal(t, c.code, domain.CodeOf(err), name)
	}
}

func TestAuthenticate_ManyCalls_ReadStoreOnceASecond(t *testing.T) {
	h := newHarness(t)
	ann := h.register("ann")
	calls := h.transactions()
	for range 100 {
		h.clock.advance(time.Second / 101)
		h.good(ann)
	}
	require.Equal(t, calls, h.transactions())
	h.clock.advance(time.Second / 50)
	h.good(ann)
	require.Equal(t, calls+1, h.transactions())
}

func TestAuthenticate_RoleChanged_ReturnsStoredRole(t *testing.T) {
	h := newHarness(t)
	ann := h.register("ann")
	h.change(ann.email, func(u *domain.User) { u.Role = domain.RoleAdministrator })
	h.clock.advance(time.Second)
	c, err := h.Authenticate(t.Context(), ann.Token)
	require.NoError(t, err)
	require.Equal(t, domain.RoleAdministrator, c.Role)
}

// Two processes share a store. Each sees its own changes at once, and those of
// the other within a second.
func TestAuthenticate_ChangeByOtherProcess_ShowsWithinASecond(t *testing.T) {
	h := newHarness(t)
	elsewhere, err := accounts.New(h.config())
	require.NoError(t, err)
	for what, c := range map[string]struct {
		change func(*person) error
		code   domain.Code
	}{
		"logout":          {func(p *person) error { return elsewhere.Logout(t.Context(), p.Principal) }, domain.CodeAuthTokenInvalid},
		"change-password": {func(p *person) error { return elsewhere.ChangePassword(t.Context(), p.Principal, password, other) }, domain.CodeAuthTokenInvalid},
		"deactivate":      {func(p *person) error { return elsewhere.Deactivate(t.Context(), p.Principal, password) }, domain.CodeAccountDeactivated},
		"reuse": {func(p *person) error {
			if _, err := elsewhere.Refresh(t.Context(), p.RefreshToken); err != nil {
				return err
			}
			_, err := elsewhere.Refresh(t.Context(), p.RefreshToken)
			h.refused(err, domain.CodeAuthTokenInvalid)
			return nil
		}, domain.CodeAuthTokenInvalid},
	} {
		p := h.register(what)
		_, err := elsewhere.Authenticate(t.Context(), p.Token)
		require.NoError(t, err)
		require.NoError(t, c.change(p), what)
		_, err = elsewhere.Authenticate(t.Context(), p.Token)
		h.refused(err, c.code, what)
		h.clock.advance(time.Second)
		h.bad(p, c.code)
	}
}

// A read that overlaps a change must not be cached.
func TestAuthenticate_ReadOverlapsChange_IsNotCached(t *testing.T) {
	for what, change := range map[string]func(*harness, *person) error{
		"logout": func(h *harness, p *person) error { return h.Logout(context.Background(), p.Principal) },
		"change-password": func(h *harness, p *person) error {
			return h.ChangePassword(context.Background(), p.Principal, password, other)
		},
		"deactivate": func(h *harness, p *person) error { return h.Deactivate(context.Background(), p.Principal, password) },
		"role": func(h *harness, p *person) error {
			role := domain.RoleAdministrator
			_, err := h.Update(context.Background(), p.UserID, service.UserChange{Role: &role})
			return err
		},
		"set-password": func(h *harness, p *person) error { return h.SetPassword(context.Background(), p.email, other) },
		"reset": func(h *harness, p *person) error {
			if err := h.ForgotPassword(context.Background(), p.email); err != nil {
				return err
			}
			return h.ResetPassword(context.Background(), h.mailer.token(), other)
		},
	} {
		h := newHarness(t)
		ann := h.register("ann")
		h.clock.advance(2 * time.Second)
		h.store.AfterNextView(func() { // the read saw an active user
			require.NoError(t, change(h, ann), what)
		})
		h.good(ann) // it started before the change
		_, err := h.Authenticate(t.Context(), ann.Token)
		require.Error(t, err, what)
	}
}

// The second starts before the read, however long the read takes.
func TestAuthenticate_SlowRead_ExpiresFromItsStart(t *testing.T) {
	h := newHarness(t)
	ann := h.register("ann")
	h.clock.advance(2 * time.Second)
	h.store.AfterNextView(func() {
		h.change(ann.email, func(u *domain.User) { u.Active = false }) // by another process
		h.clock.advance(900 * time.Millisecond)
	})
	h.good(ann)
	h.clock.advance(100 * time.Millisecond)
	h.bad(ann, domain.CodeAccountDeactivated)
}

// The outcome of a commit is unknown if its response is lost. Nothing read before
// it stays cached.
func TestAuthenticate_CommitOutcomeUnknown_IsNotCached(t *testing.T) {
	h := newHarness(t)
	ann := h.register("ann")
	h.good(ann)
	h.store.AfterUpdate = func(context.Context, error) error { return context.DeadlineExceeded }
	h.refused(h.Logout(t.Context(), ann.Principal), domain.CodeInternal)
	h.store.AfterUpdate = nil
	h.bad(ann, domain.CodeAuthTokenInvalid)
}

func BenchmarkAuthenticate(b *testing.B) {
	h := newHarness(b)
	ann := h.register("ann")
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := h.Authenticate(context.Background(), ann.Token); err != nil {
				b.Fatal(err)
			}
		}
	})
}
