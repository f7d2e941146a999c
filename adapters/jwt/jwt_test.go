package jwt_test

import (
	"crypto/rand"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	gojwt "github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/switchyard-wa/switchyard/adapters/jwt"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/conformance"
)

func TestTokens_Conformance(t *testing.T) {
	conformance.Tokens(t, func(t *testing.T) ports.Tokens {
		secret := make([]byte, jwt.MinSecret)
		_, err := rand.Read(secret)
		require.NoError(t, err)
		s, err := jwt.New(secret)
		require.NoError(t, err)
		return s
	})
}

var (
	secret = []byte("0123456789abcdef0123456789abcdef")
	now    = time.Date(2026, 1, 2, 3, 4, 5, 678_901_000, time.UTC)
)

func tokens(t testing.TB) *jwt.Tokens {
	t.Helper()
	tokens, err := jwt.New(secret)
	require.NoError(t, err)
	return tokens
}

func claims() ports.Claims {
	return ports.Claims{
		UserID: "u1", FamilyID: "s1", Role: domain.RoleAdministrator,
		CredentialsAt: now.Add(-time.Hour), ExpiresAt: now.Add(time.Hour),
	}
}

func TestNew_ShortSecret_IsRefused(t *testing.T) {
	_, err := jwt.New(secret[:31])
	require.ErrorContains(t, err, "31 bytes and needs at least 32")
	require.NotContains(t, err.Error(), string(secret[:31]))

	mine := []byte(strings.Repeat("a", 32))
	a, err := jwt.New(mine)
	require.NoError(t, err)
	token, err := a.Sign(claims())
	require.NoError(t, err)
	mine[0] = 'b'
	_, err = a.Verify(token, now)
	require.NoError(t, err, "the secret is copied")
}

func TestVerify_SignedToken_ReturnsClaims(t *testing.T) {
	a := tokens(t)
	rapid.Check(t, func(t *rapid.T) {
		micro := rapid.Int64Range(0, time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro())
		c := ports.Claims{
			UserID: rapid.StringN(1, 64, 256).Draw(t, "user"), FamilyID: rapid.StringN(1, 64, 256).Draw(t, "sign-in"),
			Role:          rapid.SampledFrom([]domain.Role{domain.RoleUser, domain.RoleAdministrator}).Draw(t, "role"),
			CredentialsAt: time.UnixMicro(micro.Draw(t, "credentials")).UTC(),
			ExpiresAt:     time.UnixMicro(1 + micro.Draw(t, "expires")).UTC(),
		}
		token, err := a.Sign(c)
		require.NoError(t, err)
		got, err := a.Verify(token, c.ExpiresAt.Add(-time.Microsecond))
		require.NoError(t, err)
		require.Equal(t, c, got)
		_, err = a.Verify(token, c.ExpiresAt)
		require.Equal(t, domain.CodeAuthTokenExpired, domain.CodeOf(err), "not good any more at its expiry")
	})
}

func TestVerify_DistantExpiry_IsExact(t *testing.T) {
	c := claims()
	c.ExpiresAt = time.UnixMicro(1<<32*1_000_000 + 11).UTC()
	token, err := tokens(t).Sign(c)
	require.NoError(t, err)
	got, err := tokens(t).Verify(token, now)
	require.NoError(t, err)
	require.Equal(t, c, got)
}

func TestSign_IncompleteClaims_IsRefused(t *testing.T) {
	for _, spoil := range []func(*ports.Claims){
		func(c *ports.Claims) { c.UserID = "" },
		func(c *ports.Claims) { c.FamilyID = "" },
		func(c *ports.Claims) { c.ExpiresAt = time.Time{} },
	} {
		c := claims()
		spoil(&c)
		_, err := tokens(t).Sign(c)
		require.Error(t, err)
	}
}

func TestVerify_Forgery_IsRefused(t *testing.T) {
	a := tokens(t)
	good := gojwt.MapClaims{
		"iss": "switchyard", "aud": "switchyard", "sub": "u1", "sid": "s1", "role": "USER", "cat": 1, "exp": now.Unix() + 60,
	}
	sign := func(method gojwt.SigningMethod, key any, change ...any) string {
		c := gojwt.MapClaims{}
		for k, v := range good {
			c[k] = v
		}
		for i := 0; i < len(change); i += 2 {
			c[change[i].(string)] = change[i+1]
			if change[i+1] == nil {
				delete(c, change[i].(string))
			}
		}
		token, err := gojwt.NewWithClaims(method, c).SignedString(key)
		require.NoError(t, err)
		return token
	}
	_, err := a.Verify(sign(gojwt.SigningMethodHS256, secret), now)
	require.NoError(t, err, "the forgeries differ from this in one thing only")

	valid, err := a.Sign(claims())
	require.NoError(t, err)
	header, rest, _ := strings.Cut(valid, ".")
	body, signature, _ := strings.Cut(rest, ".")
	raw, err := base64.RawURLEncoding.DecodeString(body)
	require.NoError(t, err)
	raised := base64.RawURLEncoding.EncodeToString([]byte(strings.Replace(string(raw), `"u1"`, `"u2"`, 1)))

	expired := now.Unix() - 60
	for what, token := range map[string]string{
		"nothing":                      "",
		"not a token":                  "a.b.c",
		"no signature":                 header + "." + body + ".",
		"another body":                 header + "." + raised + "." + signature,
		"padding":                      valid + "=",
		"spare bits":                   valid[:len(valid)-1] + string(valid[len(valid)-1]+1),
		"line break":                   valid + "\n",
		"too long":                     valid + strings.Repeat("a", 5000),
		"algorithm none":               sign(gojwt.SigningMethodNone, gojwt.UnsafeAllowNoneSignatureType),
		"algorithm HS512":              sign(gojwt.SigningMethodHS512, secret),
		"another secret":               sign(gojwt.SigningMethodHS256, []byte(strings.Repeat("x", 32))),
		"another secret, and expired":  sign(gojwt.SigningMethodHS256, []byte(strings.Repeat("x", 32)), "exp", expired),
		"another issuer":               sign(gojwt.SigningMethodHS256, secret, "iss", "other"),
		"another audience":             sign(gojwt.SigningMethodHS256, secret, "aud", "other"),
		"another audience and expired": sign(gojwt.SigningMethodHS256, secret, "aud", "other", "exp", expired),
		"no issuer":                    sign(gojwt.SigningMethodHS256, secret, "iss", nil),
		"no audience":                  sign(gojwt.SigningMethodHS256, secret, "aud", nil),
		"no expiry":                    sign(gojwt.SigningMethodHS256, secret, "exp", nil),
		"absurd expiry":                sign(gojwt.SigningMethodHS256, secret, "exp", "tomorrow"),
		"no user":                      sign(gojwt.SigningMethodHS256, secret, "sub", nil),
		"no sign-in, and expired":      sign(gojwt.SigningMethodHS256, secret, "sid", nil, "exp", expired),
	} {
		c, err := a.Verify(token, now)
		require.Equal(t, domain.CodeAuthTokenInvalid, domain.CodeOf(err), what)
		require.Zero(t, c, what)
		require.NotContains(t, err.Error(), string(secret))
		require.NotContains(t, err.Error(), signature)
	}
	_, err = a.Verify(sign(gojwt.SigningMethodHS256, secret, "exp", expired), now)
	require.Equal(t, domain.CodeAuthTokenExpired, domain.CodeOf(err))
}

func FuzzVerify(f *testing.F) {
	a := tokens(f)
	valid, err := a.Sign(claims())
	require.NoError(f, err)
	f.Add(valid)
	f.Add("")
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	f.Fuzz(func(t *testing.T, token string) {
		if _, err := a.Verify(token, now); (err == nil) != (token == valid) {
			t.Fatalf("%q: %v", token, err)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	a := tokens(b)
	token, err := a.Sign(claims())
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := a.Verify(token, now); err != nil {
			b.Fatal(err)
		}
	}
}
