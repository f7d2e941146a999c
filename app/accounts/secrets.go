package accounts

import (
	"crypto/sha256"
	"encoding/base64"
	"io"
	"strings"
)

const (
	secretBytes = 32
	secretChars = 43 // of base64url without padding
)

// secret makes an unguessable text that is safe in URLs.
func (a *Accounts) secret() (string, error) {
	var b [secretBytes]byte
	if _, err := io.ReadFull(a.random, b[:]); err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(b[:]), nil
}

// isSecret reports whether text looks like what secret makes.
func isSecret(text string) bool {
	if len(text) != secretChars { // which also keeps out the line breaks that the decoder skips
		return false
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	return err == nil && len(b) == secretBytes
}

// digest is what is stored of a secret.
func digest(text string) [32]byte { return sha256.Sum256([]byte(text)) }

// refreshToken makes a refresh token of the sign-in.
func (a *Accounts) refreshToken(signInID string) (string, error) {
	s, err := a.secret()
	return signInID + "." + s, err
}

// refreshTokenOf returns the sign-in that a refresh token names, if it looks
// like one.
func refreshTokenOf(text string) (signInID string, ok bool) {
	dot := strings.LastIndexByte(text, '.') // a secret has none, an id may
	if dot < 0 || !isSecret(text[dot+1:]) {
		return "", false
	}
	return text[:dot], printable(text[:dot])
}

// password makes a password that people can type: 20 characters, about 97
// bits, which CheckPassword accepts whatever the random bytes are.
func (a *Accounts) password() (string, error) {
	const alphabet = "abcdefghijkmnpqrstuvwxyz23456789" // 24 letters, 8 digits, no l, o, 0, 1
	b := make([]byte, 20)
	if _, err := io.ReadFull(a.random, b); err != nil {
		return "", err
	}
	for i, c := range b {
		switch i {
		case 0:
			b[i] = alphabet[c%24]
		case len(b) - 1:
			b[i] = alphabet[24+c%8]
		default:
			b[i] = alphabet[c%32]
		}
	}
	return string(b), nil
}
