package domain_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
)

func TestDeriveFilename_Candidate_KeepsRules(t *testing.T) {
	for _, c := range []struct{ candidate, extension, want string }{
		{"a.pdf", "", "a.pdf"},
		{"a.pdf", ".pdf", "a.pdf"},
		{"a.PDF", ".pdf", "a.PDF"},
		{"a", ".pdf", "a.pdf"},
		{"a.exe", ".pdf", "a.exe.pdf"},
		{"/dir/a.pdf", "", "a.pdf"},
		{`c:\dir\a.pdf`, "", "a.pdf"},
		{"../../etc/passwd", "", "passwd"},
		{"..", ".pdf", "document.pdf"},
		{".", "", "document"},
		{"", "", "document"},
		{"/", ".zip", "document.zip"},
		{" \u200b\u3164 ", "", "document"},
		{"a\x00\r\nb.pdf", "", "ab.pdf"},
		{"a\u202egnp.exe", "", "agnp.exe"},
		{"a\xffb.pdf", "", "ab.pdf"},
		{"réport 李.pdf", "", "réport 李.pdf"},
		{strings.Repeat("é", 300) + ".pdf", "", strings.Repeat("é", 251) + ".pdf"},
		{strings.Repeat("é", 300), ".pdf", strings.Repeat("é", 251) + ".pdf"},
		{"a." + strings.Repeat("x", 300), "", "a." + strings.Repeat("x", 253)},
		{strings.Repeat("x", 249) + "👩\u200d💻💻💻.pdf", "", strings.Repeat("x", 249) + "👩.pdf"},
	} {
		require.Equal(t, c.want, domain.DeriveFilename(c.candidate, c.extension), "%q", c.candidate)
	}
}

func FuzzDeriveFilename(f *testing.F) {
	for _, s := range []string{"a.pdf", "..", "a\x00b", "a\u202eb", strings.Repeat("👩\u200d💻", 100), "\xff"} {
		f.Add(s, ".pdf")
	}
	f.Fuzz(func(t *testing.T, candidate, extension string) {
		if len(extension) > 8 || strings.Trim(extension, ".abcdefghijklmnopqrstuvwxyz0123456789") != "" || strings.LastIndexByte(extension, '.') != 0 || len(extension) < 2 {
			extension = ""
		}
		name := domain.DeriveFilename(candidate, extension)
		m := domain.Outgoing{To: someone, Type: domain.TypeDocument, MediaURL: "https://e.com/a", Filename: name}
		require.NoError(t, m.Validate(), "%q", name)
		require.NotEmpty(t, name)
		require.LessOrEqual(t, utf8.RuneCountInString(name), 255)
		require.True(t, strings.HasSuffix(strings.ToLower(name), extension), "%q", name)
	})
}

func TestOutgoingValidate_GivenFilename_RefusedByRule(t *testing.T) {
	for name, want := range map[string]string{
		"":                       "",
		"réport 👩\u200d💻.pdf":    "",
		"   ":                    "Filename is required (1 to 255 characters)",
		"\u2800":                 "Filename is required (1 to 255 characters)",
		"..":                     "Filename must not contain a path",
		"a/b":                    "Filename must not contain a path",
		`a\b`:                    "Filename must not contain a path",
		"a\x00b":                 "Filename must be valid text",
		"a\r\nb":                 "Filename must not contain control characters",
		"a\u202eb":               "Filename must not contain control characters",
		"a\u200eb":               "Filename must not contain the invisible character U+200E",
		"a\u200bb":               "Filename must not contain the invisible character U+200B",
		strings.Repeat("é", 255): "",
		strings.Repeat("é", 256): "Filename must have at most 255 characters",
	} {
		m := domain.Outgoing{To: someone, Type: domain.TypeDocument, MediaURL: "https://e.com/a", Filename: name}
		err := m.Validate()
		if want == "" {
			require.NoError(t, err, "%q", name)
			continue
		}
		requireRefused(t, err, want)
	}
}
