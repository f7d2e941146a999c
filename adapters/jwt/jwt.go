package jwt

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// MinSecret is the least length of a secret in bytes. It equals the length of the
// hash of HS256.
const MinSecret = 32

const (
	name     = "switchyard" // issuer and audience
	tokenMax = 4096         // bytes; a token of this package has about 400
)

// Tokens signs and verifies access tokens. It is safe for concurrent use.
type Tokens struct{ secret []byte }

var _ ports.Tokens = (*Tokens)(nil)

// New returns Tokens for a secret. The secret should be random and must have at
// least [MinSecret] bytes.
func New(secret []byte) (*Tokens, error) {
	if len(secret) < MinSecret {
		return nil, fmt.Errorf("jwt: the secret has %d bytes and needs at least %d", len(secret), MinSecret)
	}
	return &Tokens{secret: append([]byte(nil), secret...)}, nil
}

// claims is the JSON payload of a token. Its times have microseconds.
type claims struct {
	Issuer        string      `json:"iss"`
	Audience      string      `json:"aud"`
	UserID        string      `json:"sub"`
	FamilyID      string      `json:"sid"`
	Role          domain.Role `json:"role"`
	CredentialsAt int64       `json:"cat"`           // µs
	IssuedAt      float64     `json:"iat,omitempty"` // s
	ExpiresAt     float64     `json:"exp"`           // s
}

// claims implements the remaining methods of jwt.Claims.
var _ jwt.ClaimsValidator = (*claims)(nil)

func (c *claims) GetIssuer() (string, error)              { return c.Issuer, nil }
func (c *claims) GetSubject() (string, error)             { return c.UserID, nil }
func (c *claims) GetAudience() (jwt.ClaimStrings, error)  { return jwt.ClaimStrings{c.Audience}, nil }
func (c *claims) GetIssuedAt() (*jwt.NumericDate, error)  { return nil, nil }
func (c *claims) GetNotBefore() (*jwt.NumericDate, error) { return nil, nil }
func (c *claims) GetExpirationTime() (*jwt.NumericDate, error) {
	if c.ExpiresAt == 0 {
		return nil, nil
	}
	return &jwt.NumericDate{Time: toTime(c.ExpiresAt)}, nil
}

// toTime returns the time of a number of seconds since 1970. Rounding the fraction alone is exact. Multiplying all of it
// would lose a microsecond after 2106.
func toTime(s float64) time.Time {
	seconds, fraction := math.Modf(s)
	return time.Unix(int64(seconds), 0).Add(time.Duration(math.Round(fraction*1e6)) * time.Microsecond).UTC()
}

// toSeconds returns the seconds since 1970, in microseconds.
func toSeconds(t time.Time) float64 { return float64(t.UnixMicro()) / 1e6 }

// Validate implements jwt.ClaimsValidator. The library calls it after it verified
// the signature.
func (c *claims) Validate() error {
	if c.UserID == "" || c.FamilyID == "" {
		return errors.New("token names no user or sign-in")
	}
	return nil
}

// Sign returns a token with the claims. User, family and expiry are required.
func (t *Tokens) Sign(c ports.Claims) (string, error) {
	if c.UserID == "" || c.FamilyID == "" || c.ExpiresAt.IsZero() {
		return "", errors.New("jwt: a token needs a user, a sign-in and an expiry")
	}
	signed := &claims{
		Issuer: name, Audience: name,
		UserID: c.UserID, FamilyID: c.FamilyID, Role: c.Role,
		CredentialsAt: c.CredentialsAt.UnixMicro(), ExpiresAt: toSeconds(c.ExpiresAt),
	}
	if !c.IssuedAt.IsZero() {
		signed.IssuedAt = toSeconds(c.IssuedAt)
	}
	return jwt.NewWithClaims(jwt.SigningMethodHS256, signed).SignedString(t.secret)
}

// Verify returns the claims of a valid token, see [ports.Tokens]. A token expires
// at its expiry, not after it. Only a token that is otherwise valid is reported as
// expired.
func (t *Tokens) Verify(token string, now time.Time) (ports.Claims, error) {
	if len(token) > tokenMax || strings.ContainsAny(token, "\r\n") { // the decoder would skip line breaks
		return ports.Claims{}, errInvalid
	}
	var c claims
	_, err := jwt.NewParser(
		jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}),
		jwt.WithStrictDecoding(),
		jwt.WithIssuer(name),
		jwt.WithAudience(name),
		jwt.WithExpirationRequired(),
		jwt.WithTimeFunc(func() time.Time { return now }),
	).ParseWithClaims(token, &c, func(*jwt.Token) (any, error) { return t.secret, nil })
	switch {
	case err == nil:
	case errors.Is(err, jwt.ErrTokenExpired) && c.Issuer == name && c.Audience == name && c.Validate() == nil:
		return ports.Claims{}, errExpired
	default:
		return ports.Claims{}, errInvalid.WithCause(err)
	}
	verified := ports.Claims{
		UserID: c.UserID, FamilyID: c.FamilyID, Role: c.Role,
		CredentialsAt: time.UnixMicro(c.CredentialsAt).UTC(), ExpiresAt: toTime(c.ExpiresAt), // the parser requires it
	}
	if c.IssuedAt != 0 {
		verified.IssuedAt = toTime(c.IssuedAt)
	}
	return verified, nil
}

var (
	errInvalid = domain.Errorf(domain.Unauthenticated, domain.CodeAuthTokenInvalid,
		"The access token is not valid; sign in again")
	errExpired = domain.Errorf(domain.Unauthenticated, domain.CodeAuthTokenExpired,
		"The access token has expired; refresh it or sign in again")
)
