package domain_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
)

func TestPublicText_PrivateDetails_AreMasked(t *testing.T) {
	for _, s := range []string{"Session is not connected", "to must be a JID, e.g. 628123@s.whatsapp.net", "Rate limit: 10/min", "image/png is not allowed"} {
		require.Equal(t, s, domain.PublicText(s))
	}
	for s, want := range map[string]string{
		"":                          "",
		"see http://x":              "see …",
		"10.1.2.3 said no":          "… said no",
		"worker-1:8001 said no":     "… said no",
		"[::1]:8001":                "",
		"at localhost":              "at …",
		"ENOENT: no such file":      "… no such file",
		"cannot open /app/x":        "cannot open …",
		"open '/app/x'":             "open …",
		"index.js failed":           "… failed",
		"a\nb":                      "a",
		"\r\n a\tb ":                "a b",
		"TypeError at Object.x":     "TypeError …",
		"half \xed\xa0 a\u202erune": "half \ufffd a rune",
		strings.Repeat("x", 301):    strings.Repeat("x", 300) + "…",
		"Failed to fetch https://user.example/a.png: 404":                                "Failed to fetch … 404",
		"connect ECONNREFUSED 10.0.0.7:6379 at Socket.x (/app/src/redis.js:12) or so on": "connect … or so on",
	} {
		require.Equal(t, want, domain.PublicText(s), "%q", s)
	}
}
