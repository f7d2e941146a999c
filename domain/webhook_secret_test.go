package domain

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseWebhookSecret_Text_AcceptedByTheRules(t *testing.T) {
	secret := func(bytes int) string { return "whsec_" + base64.StdEncoding.EncodeToString(make([]byte, bytes)) }
	for _, good := range []string{secret(24), secret(25), secret(32), secret(64), NewWebhookSecret([]byte("0123456789abcdef01234567"))} {
		key, err := ParseWebhookSecret(good)
		require.NoError(t, err, good)
		require.Equal(t, good, NewWebhookSecret(key))
	}
	for _, bad := range []string{
		"", "whsec_", secret(23), secret(65), strings.TrimPrefix(secret(32), "whsec_"), "WHSEC_" + secret(32)[6:],
		strings.TrimRight(secret(32), "="), secret(32) + "\n", secret(24)[:12] + "\n" + secret(24)[12:], "whsec_" + strings.Repeat("_", 32),
	} {
		_, err := ParseWebhookSecret(bad)
		require.Equal(t, CodeValidation, CodeOf(err), "%q", bad)
	}
}

func TestWebhookSecretHint_Secret_ShowsItsEndAlone(t *testing.T) {
	require.Equal(t, "wxyz", WebhookSecretHint("whsec_abcdefghijklmnopqrstuvwxyz=="))
	require.Equal(t, "whsec_…wxyz", SealedSecret{Hint: "wxyz"}.Masked())
}
