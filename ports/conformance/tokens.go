package conformance

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// Tokens tests a token service. Each call of open returns a service with another key.
func Tokens(t *testing.T, open func(t *testing.T) ports.Tokens) {
	now := time.Date(2024, 5, 17, 12, 0, 0, 0, time.UTC)
	claims := ports.Claims{
		UserID: "0190f3f0-user", FamilyID: "0190f3f0-sign-in", Role: domain.RoleAdministrator,
		CredentialsAt: now.Add(-time.Hour + 123456*time.Microsecond),
		IssuedAt:      now.Add(-123457 * time.Microsecond), ExpiresAt: now.Add(time.Hour),
	}
	sign := func(t *testing.T, s ports.Tokens, c ports.Claims) string {
		t.Helper()
		token, err := s.Sign(c)
		require.NoError(t, err)
		require.NotEmpty(t, token)
		return token
	}
	refused := func(t *testing.T, s ports.Tokens, token string, at time.Time, code domain.Code) {
		t.Helper()
		got, err := s.Verify(token, at)
		require.Error(t, err)
		require.Equal(t, code, domain.CodeOf(err), "%v of %s", err, token)
		var e *domain.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, domain.Unauthenticated, e.Kind)
		require.Zero(t, got)
	}

	t.Run("a token keeps its claims", func(t *testing.T) {
		s := open(t)
		requireFull(t, &claims)
		for _, c := range []ports.Claims{
			claims,
			{UserID: "u", FamilyID: "s", Role: domain.RoleUser, CredentialsAt: now.Add(time.Microsecond), ExpiresAt: now.Add(time.Second)},
			{UserID: "u", FamilyID: "s", Role: domain.RoleUser, ExpiresAt: now.Add(time.Second)},
		} {
			got, err := s.Verify(sign(t, s, c), now)
			require.NoError(t, err)
			requireSame(t, &c, &got)
		}
	})
	t.Run("a token fits into a header", func(t *testing.T) {
		token := sign(t, open(t), claims)
		require.Regexp(t, `^[A-Za-z0-9._~+/=-]+$`, token)
		require.LessOrEqual(t, len(token), 4096)
	})
	t.Run("a token expires", func(t *testing.T) {
		s := open(t)
		token := sign(t, s, claims)
		_, err := s.Verify(token, claims.ExpiresAt.Add(-time.Second))
		require.NoError(t, err)
		refused(t, s, token, claims.ExpiresAt, domain.CodeAuthTokenExpired)
		refused(t, s, token, claims.ExpiresAt.Add(time.Second), domain.CodeAuthTokenExpired)
		refused(t, s, token, claims.ExpiresAt.AddDate(1, 0, 0), domain.CodeAuthTokenExpired)
	})
	t.Run("a clock that is behind accepts a token", func(t *testing.T) {
		s := open(t)
		_, err := s.Verify(sign(t, s, claims), now.Add(-5*time.Minute))
		require.NoError(t, err)
	})
	t.Run("text that is no token is refused", func(t *testing.T) {
		s := open(t)
		for _, text := range []string{"", " ", ".", "..", "a.b.c", "Bearer x", strings.Repeat("a", 10000), "\x00", "é.é.é"} {
			refused(t, s, text, now, domain.CodeAuthTokenInvalid)
		}
	})
	t.Run("a changed token is refused", func(t *testing.T) {
		s := open(t)
		token := sign(t, s, claims)
		for i := range len(token) - 1 {
			// The last character of a part may hold unused bits.
			if token[i] == '.' || token[i+1] == '.' {
				continue
			}
			other := byte('A')
			if token[i] == other {
				other = 'B'
			}
			refused(t, s, token[:i]+string(other)+token[i+1:], now, domain.CodeAuthTokenInvalid)
		}
		refused(t, s, token[:len(token)-4], now, domain.CodeAuthTokenInvalid)
		refused(t, s, token+"."+token, now, domain.CodeAuthTokenInvalid)
		refused(t, s, token[:len(token)-4]+"AAAA", claims.ExpiresAt.AddDate(1, 0, 0), domain.CodeAuthTokenInvalid)
	})
	t.Run("another service's token is refused", func(t *testing.T) {
		refused(t, open(t), sign(t, open(t), claims), now, domain.CodeAuthTokenInvalid)
	})
	if strings.Count(sign(t, open(t), claims), ".") == 2 { // a JSON web token
		t.Run("a token without a signature is refused", func(t *testing.T) {
			s := open(t)
			parts := strings.Split(sign(t, s, claims), ".")
			for _, algorithm := range []string{"none", "None", "NONE", ""} {
				header := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"` + algorithm + `","typ":"JWT"}`))
				refused(t, s, header+"."+parts[1]+".", now, domain.CodeAuthTokenInvalid)
				refused(t, s, header+"."+parts[1]+"."+parts[2], now, domain.CodeAuthTokenInvalid)
			}
		})
	}
	t.Run("concurrent tokens are right", func(t *testing.T) {
		s := open(t)
		errs := make([]error, racers)
		race(racers, func(i int) {
			token, err := s.Sign(claims)
			if err == nil {
				_, err = s.Verify(token, now)
			}
			errs[i] = err
		})
		require.NoError(t, firstError(errs...))
	})
}
