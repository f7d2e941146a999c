package accounts

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"io"
	"strings"

	"github.com/switchyard-wa/switchyard/domain"
)

const (
	secretBytes = 32
	nonceBytes  = 16 // the random part of a refresh token
	secretChars = 43 // length in base64url without padding
)

// newSecret returns an unguessable text that is safe in URLs.
func (a *Accounts) newSecret() (string, error) {
	var b [secretBytes]byte
	if _, err := io.ReadFull(a.random, b[:]); err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(b[:]), nil
}

// isSecret reports whether text has the form of a newSecret.
func isSecret(text string) bool {
	if len(text) != secretChars { // this excludes line breaks too, which the decoder skips
		return false
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	return err == nil && len(b) == secretBytes
}

// digest returns the stored form of a secret.
func digest(text string) [32]byte { return sha256.Sum256([]byte(text)) }

// newRefreshToken returns a refresh token of the family: its id, 16 random bytes and
// their authentication code. A family without a reuse key gets one.
func (a *Accounts) newRefreshToken(f *domain.RefreshTokenFamily) (string, error) {
	if err := a.addReuseKey(f); err != nil {
		return "", err
	}
	var nonce [nonceBytes]byte
	if _, err := io.ReadFull(a.random, nonce[:]); err != nil {
		return "", err
	}
	return refreshTokenOf(f, nonce), nil
}

// successor returns the refresh token that follows another one of the family. Only the holder of
// the family's reuse key can tell it in advance. A family without a reuse key gets one.
func (a *Accounts) successor(f *domain.RefreshTokenFamily, token string) (string, error) {
	if err := a.addReuseKey(f); err != nil {
		return "", err
	}
	mac := hmac.New(sha256.New, f.ReuseKey[:])
	mac.Write([]byte("successor\x00" + token))
	return refreshTokenOf(f, [nonceBytes]byte(mac.Sum(nil))), nil
}

// addReuseKey makes the reuse key of a family that has none.
func (a *Accounts) addReuseKey(f *domain.RefreshTokenFamily) error {
	if f.ReuseKey != ([32]byte{}) {
		return nil
	}
	_, err := io.ReadFull(a.random, f.ReuseKey[:])
	return err
}

// refreshTokenOf returns the refresh token of a family with a random part.
func refreshTokenOf(f *domain.RefreshTokenFamily, nonce [nonceBytes]byte) string {
	return f.ID + "." + base64.RawURLEncoding.EncodeToString(append(nonce[:], reuseCode(f, nonce[:])...))
}

// reuseCode authenticates the random part of a refresh token. The code only distinguishes
// a former token from an invented one.
func reuseCode(f *domain.RefreshTokenFamily, nonce []byte) []byte {
	mac := hmac.New(sha256.New, f.ReuseKey[:])
	mac.Write([]byte(f.ID))
	mac.Write(nonce)
	return mac.Sum(nil)[:secretBytes-nonceBytes]
}

// wasIssued reports whether a text in the form of a refresh token was a token of the
// family. In a family without a reuse key every such text counts as one.
func wasIssued(f *domain.RefreshTokenFamily, text string) bool {
	if f.ReuseKey == ([32]byte{}) {
		return true
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(text[strings.LastIndexByte(text, '.')+1:])
	return err == nil && len(b) == secretBytes && hmac.Equal(reuseCode(f, b[:nonceBytes]), b[nonceBytes:])
}

// familyOfToken returns the family of a refresh token, if text has the form of
// one.
func familyOfToken(text string) (familyID string, ok bool) {
	dot := strings.LastIndexByte(text, '.') // an id may contain dots, a secret does not
	if dot < 0 || !isSecret(text[dot+1:]) {
		return "", false
	}
	return text[:dot], isPlausibleID(text[:dot])
}

// generatePassword returns a password that people can type: 20 characters, about 97 bits.
// CheckPassword accepts it for any random bytes.
func (a *Accounts) generatePassword() (string, error) {
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
