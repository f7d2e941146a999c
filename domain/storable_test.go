package domain_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
)

func TestStorableText_AnyText_IsValidAndWithinItsBound(t *testing.T) {
	for _, c := range []struct {
		text string
		most int
		want string
	}{
		{"", 5, ""},
		{"größe", 10, "größe"},
		{"größe", 3, "gr"},
		{"größe", 4, "grö"},
		{"Ada 🙂", 8, "Ada 🙂"},
		{"Ada 🙂", 7, "Ada "},
		{"Ada 🙂", 5, "Ada "},
		{"a\x00b", 10, "a\uFFFDb"},
		{"a\xffb", 10, "a\uFFFDb"},
		{"\xed\xa0\xbd", 10, "\uFFFD"}, // half of a surrogate pair
		{"\x00\x00", 4, "\uFFFD"},
		{"\x80\x80\x80\x80\x80\x80", 5, "\uFFFD"},
		{"🙂", 0, ""},
	} {
		require.Equal(t, c.want, domain.StorableText(c.text, c.most), "%q %d", c.text, c.most)
	}
}

func FuzzStorableText(f *testing.F) {
	for _, s := range []string{"", "Ada 🙂", "a\x00b", "\xff\xfe", strings.Repeat("é", 200), "\xed\xa0\xbd"} {
		f.Add(s, 7)
	}
	f.Fuzz(func(t *testing.T, s string, most int) {
		most = min(max(most, 0), 1000)
		got := domain.StorableText(s, most)
		if !utf8.ValidString(got) || strings.Contains(got, "\x00") || len(got) > most {
			t.Fatalf("%q %d: %q", s, most, got)
		}
		if again := domain.StorableText(got, most); again != got {
			t.Fatalf("%q becomes %q", got, again)
		}
	})
}
