package accounts_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
)

func TestRefreshInBrowser_FormerTokenWithinGrace_ReturnsTheSameToken(t *testing.T) {
	h := newHarness(t)
	s, err := h.Register(t.Context(), "Ada", "ada@example.com", password)
	require.NoError(t, err)
	first, err := h.RefreshInBrowser(t.Context(), s.RefreshToken)
	require.NoError(t, err)
	require.NotEqual(t, s.RefreshToken, first.RefreshToken)

	h.clock.advance(10 * time.Second)
	again, err := h.RefreshInBrowser(t.Context(), s.RefreshToken)
	require.NoError(t, err, "a reload that lost the answer")
	require.Equal(t, first.RefreshToken, again.RefreshToken)
	_, err = h.Authenticate(t.Context(), again.Token)
	require.NoError(t, err)
	_, err = h.RefreshInBrowser(t.Context(), first.RefreshToken)
	require.NoError(t, err, "the newest token is not used up")
}

func TestRefreshInBrowser_FormerTokenAfterGrace_EndsSignIn(t *testing.T) {
	h := newHarness(t)
	s, err := h.Register(t.Context(), "Ada", "ada@example.com", password)
	require.NoError(t, err)
	next, err := h.RefreshInBrowser(t.Context(), s.RefreshToken)
	require.NoError(t, err)

	h.clock.advance(10*time.Second + time.Microsecond)
	_, err = h.RefreshInBrowser(t.Context(), s.RefreshToken)
	require.Equal(t, domain.CodeAuthTokenInvalid, domain.CodeOf(err))
	_, err = h.RefreshInBrowser(t.Context(), next.RefreshToken)
	require.Equal(t, domain.CodeAuthTokenInvalid, domain.CodeOf(err), "the family is revoked")
}

func TestRefreshInBrowser_TokenBeforeTheFormer_EndsSignIn(t *testing.T) {
	h := newHarness(t)
	s, err := h.Register(t.Context(), "Ada", "ada@example.com", password)
	require.NoError(t, err)
	second, err := h.RefreshInBrowser(t.Context(), s.RefreshToken)
	require.NoError(t, err)
	third, err := h.RefreshInBrowser(t.Context(), second.RefreshToken)
	require.NoError(t, err)
	_, err = h.RefreshInBrowser(t.Context(), s.RefreshToken)
	require.Equal(t, domain.CodeAuthTokenInvalid, domain.CodeOf(err))
	_, err = h.Authenticate(t.Context(), third.Token)
	require.Error(t, err)
}

// The grace is for browsers alone, and no repeat brings back a sign-in that has ended.
func TestRefreshInBrowser_OtherCallers_HaveNoGrace(t *testing.T) {
	h := newHarness(t)
	s, err := h.Register(t.Context(), "Ada", "ada@example.com", password)
	require.NoError(t, err)
	next, err := h.RefreshInBrowser(t.Context(), s.RefreshToken)
	require.NoError(t, err)
	caller, err := h.Authenticate(t.Context(), next.Token)
	require.NoError(t, err)
	require.NoError(t, h.Logout(t.Context(), caller))
	_, err = h.RefreshInBrowser(t.Context(), s.RefreshToken)
	require.Equal(t, domain.CodeAuthTokenInvalid, domain.CodeOf(err), "signed out")

	s, err = h.Login(t.Context(), "ada@example.com", password)
	require.NoError(t, err)
	_, err = h.Refresh(t.Context(), s.RefreshToken)
	require.NoError(t, err)
	_, err = h.RefreshInBrowser(t.Context(), s.RefreshToken)
	require.Equal(t, domain.CodeAuthTokenInvalid, domain.CodeOf(err), "the next token was random")
}
