package domain_test

import (
	"net/mail"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/switchyard-wa/switchyard/domain"
)

func TestNormalizeEmail_Address_CanonicalOrRefused(t *testing.T) {
	long := strings.Repeat("a", 60) + "@" + strings.Repeat(strings.Repeat("b", 60)+".", 3) + strings.Repeat("c", 10)
	require.Len(t, long, 254)
	for raw, want := range map[string]string{
		"  Ann.Lee+Test@Example.COM\n": "ann.lee+test@example.com",
		"admin@localhost":              "admin@localhost",
		"a@LOCALHOST":                  "a@localhost",
		"o'neil_#1@mail.xn--p1ai":      "o'neil_#1@mail.xn--p1ai",
		long:                           long,
	} {
		got, err := domain.NormalizeEmail(raw)
		require.NoError(t, err, raw)
		require.Equal(t, want, got)
	}
	for _, raw := range []string{
		"", "@", "a", "a@", "@b.c", "a@b", "a@b.", "a@.b", "a@b..c", ".a@b.c", "a.@b.c", "a..b@c.d", "a b@c.d", "a@b c.d",
		"a@b@c.d", "Ann <ann@example.com>", "<ann@example.com>", "a@b.c, d@e.f", `"a b"@c.d`, "a(x)@b.c", "a@[10.0.0.1]",
		"a@10.0.0.1", "a@-b.c", "a@b_c.d", "a@b.c\r\nBcc: d@e.f", "a\x00@b.c", "ü@example.com", "a@bücher.example",
		"\u212Aelvin@example.com", "a@localho\u017ft", "a@example.com\u212A", "\xff@b.c",
		long + "c", strings.Repeat("a", 65) + "@b.c",
	} {
		got, err := domain.NormalizeEmail(raw)
		requireRefused(t, err, "Email must be a single address")
		require.Empty(t, got, raw)
	}
}

func TestNormalizeEmail_AnyText_StableOrRefused(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		checkEmail(t, rapid.StringMatching(`[A-Za-z0-9.+_'-]{1,20}@[A-Za-z0-9.-]{1,30}`).Draw(t, "raw"))
	})
}

func FuzzNormalizeEmail(f *testing.F) {
	for _, s := range []string{"", "admin@localhost", " A.b+c@Example.COM ", "a@b@c.d", "a@-b.c", "\u212A@b.c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) { checkEmail(t, raw) })
}

func checkEmail(t require.TestingT, raw string) {
	email, err := domain.NormalizeEmail(raw)
	if err != nil {
		requireRefused(t, err, "Email must be")
		return
	}
	require.LessOrEqual(t, len(email), 254)
	again, err := domain.NormalizeEmail(email)
	require.NoError(t, err)
	require.Equal(t, email, again)

	parsed, err := mail.ParseAddress(email)
	require.NoError(t, err, "whatever passes here, the mailer can parse")
	require.Equal(t, email, parsed.Address)
	require.Empty(t, parsed.Name)
}

func TestCheckPassword_LengthAndCharacters_AcceptedOrRefused(t *testing.T) {
	for _, pw := range []string{"kbcdefg1", "7234567x", "пароль12", " a1 b2 c3 ", strings.Repeat("a", 71) + "1"} {
		require.NoError(t, domain.CheckPassword(pw))
	}
	for _, pw := range []string{"", "abcdef1", "abcdefgh", "12345678", "!!!!!!!1", strings.Repeat("a", 72) + "1"} {
		err := domain.CheckPassword(pw)
		requireRefused(t, err, "8 to 72 bytes long with at least one letter and one digit")
	}
}

func TestCheckText_LengthAndCharacters_AcceptedOrRefused(t *testing.T) {
	for _, c := range []struct {
		check     func(string) (string, error)
		raw, want string
		refused   string
	}{
		{domain.CheckUserName, "  Ann  Lee ", "Ann  Lee", ""},
		{domain.CheckUserName, "李雷", "李雷", ""},
		{domain.CheckUserName, strings.Repeat("é", 100), strings.Repeat("é", 100), ""},
		{domain.CheckUserName, " a ", "", "Name must be 2 to 100 characters"},
		{domain.CheckUserName, strings.Repeat("a", 101), "", "Name must be 2 to 100 characters"},
		{domain.CheckUserName, "Ann\r\nBcc: x", "", "without control characters"},
		{domain.CheckUserName, "Ann\xff", "", "plain text"},
		{domain.CheckUserName, "Ann\u202enimda", "", "Name must not contain the invisible character U+202E"},
		{domain.CheckUserName, "ad\u200bmin", "", "Name must not contain the invisible character U+200B"},
		{domain.CheckUserName, "\u2800\u2800\u2800", "", "Name must be 2 to 100 characters"},
		{domain.CheckUserName, "👩\u200d💻 Ann", "👩\u200d💻 Ann", ""},
		{domain.CheckSessionName, "\tSupport\n", "Support", ""},
		{domain.CheckSessionName, "Sup\u2066port", "", "Session name must not contain the invisible character U+2066"},
		{domain.CheckSessionName, "\u3164", "", "Session name must be 1 to 100 characters"},
		{domain.CheckSessionName, "s", "s", ""},
		{domain.CheckSessionName, "   ", "", "Session name must be 1 to 100 characters"},
		{domain.CheckSessionName, strings.Repeat("a", 101), "", "Session name must be 1 to 100 characters"},
		{domain.CheckSessionName, "a\x00b", "", "without control characters"},
		{domain.CheckSessionName, "a\u0085b", "", "without control characters"},
		{domain.CheckDescription, "", "", ""},
		{domain.CheckDescription, " two\r\n\tlines ", "two\r\n\tlines", ""},
		{domain.CheckDescription, strings.Repeat("é", 255), strings.Repeat("é", 255), ""},
		{domain.CheckDescription, strings.Repeat("a", 256), "", "Description must be at most 255 characters"},
		{domain.CheckDescription, "a\x1bb", "", "without control characters"},
		{domain.CheckDescription, "a\n\u202eb", "", "Description must not contain the invisible character U+202E"},
	} {
		got, err := c.check(c.raw)
		if c.refused != "" {
			requireRefused(t, err, c.refused)
			require.Empty(t, got)
			continue
		}
		require.NoError(t, err, c.raw)
		require.Equal(t, c.want, got)
	}
}

func TestCheckText_CheckedText_Unchanged(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		raw := rapid.String().Draw(t, "raw")
		for _, check := range []func(string) (string, error){
			domain.CheckUserName, domain.CheckSessionName, domain.CheckDescription,
		} {
			text, err := check(raw)
			if err != nil {
				continue
			}
			again, err := check(text)
			require.NoError(t, err)
			require.Equal(t, text, again)
		}
	})
}
