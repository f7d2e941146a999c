package domain

import (
	"encoding/base64"
	"strings"
)

// SealedSecret is a secret as the store keeps it.
type SealedSecret struct {
	Sealed []byte // see ports.Sealer
	Hint   string // the last characters of the secret
}

// Masked returns the secret as it is shown once it is set.
func (s SealedSecret) Masked() string { return webhookSecretPrefix + "…" + s.Hint }

// The rules of secrets, as Standard Webhooks has them.
const (
	webhookSecretPrefix = "whsec_"
	webhookSecretMin    = 24 // bytes of the key
	webhookSecretMax    = 64
	webhookHint         = 4
)

// WebhookSecretSize is the number of random bytes that [NewWebhookSecret] takes.
const WebhookSecretSize = 32

// NewWebhookSecret returns the secret with a key.
func NewWebhookSecret(key []byte) string {
	return webhookSecretPrefix + base64.StdEncoding.EncodeToString(key)
}

// ParseWebhookSecret returns the key of a secret: whsec_ and the base64 text of 24 to 64 bytes.
func ParseWebhookSecret(text string) ([]byte, error) {
	encoded, isPrefixed := strings.CutPrefix(text, webhookSecretPrefix)
	key, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if !isPrefixed || err != nil || len(key) < webhookSecretMin || len(key) > webhookSecretMax || strings.ContainsAny(encoded, "\r\n") {
		return nil, Errorf(Invalid, CodeValidation,
			"Secret must be whsec_ and the base64 text of %d to %d random bytes; leave it out to have one made", webhookSecretMin, webhookSecretMax)
	}
	return key, nil
}

// WebhookSecretHint returns the end of a secret, by which its owner recognises it.
func WebhookSecretHint(secret string) string {
	text := strings.TrimRight(secret, "=")
	return text[max(len(text)-webhookHint, 0):]
}
