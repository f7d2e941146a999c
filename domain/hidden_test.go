package domain_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/switchyard-wa/switchyard/domain"
)

func TestFindHidden_NamesOfAnyScript_NoneFound(t *testing.T) {
	for _, s := range []string{
		"", "Ann Lee", "Åsa Öberg", "李雷", "محمد", "می\u200cخواهم", "שלום", "क्\u200dष", "é", "e\u0301",
		"❤️", "👩\u200d💻", "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f", "1️⃣", "👍🏽",
		"🏳️\u200d🌈", "葛\U000e0100", "a\u00a0b", "\u06dd١٢", "\ufffd", "\xff",
	} {
		r, found := domain.FindHidden(s)
		require.False(t, found, "%q: %U", s, r)
	}
}

func TestFindHidden_HiddenCharacter_Found(t *testing.T) {
	for s, want := range map[string]rune{
		"a\x00b": 0, "a\nb": '\n', "a\x7f": 0x7f, "a\u0085b": 0x85,
		"Ann\u202egnp.exe": 0x202e, "\u202aAnn\u202c": 0x202a, "Ann\u200e": 0x200e, "\u200fAnn": 0x200f, "\u061c1": 0x61c,
		"\u2066Ann\u2069": 0x2066, "a\u2028b": 0x2028, "a\u2029b": 0x2029,
		"ad\u200bmin": 0x200b, "ad\u00admin": 0xad, "\ufeffadmin": 0xfeff, "ad\u2060min": 0x2060, "a\u180eb": 0x180e,
		"a\u034fb": 0x34f, "\u3164": 0x3164, "\uffa0": 0xffa0, "\u115f": 0x115f, "a\ufff9b": 0xfff9,
		"ad\u200dmin": 0x200d, "ad\u200cmin": 0x200c, "д\u200dа": 0x200d, "👩\u200d": 0x200d, "\u200d👩": 0x200d,
		"👩\u200d\u200d💻": 0x200d, "\ufe0f": 0xfe0f, "❤\ufe0f\ufe0f": 0xfe0f, "a\U000e0061": 0xe0061, "a\U000e0001": 0xe0001,
	} {
		r, found := domain.FindHidden(s)
		require.True(t, found, "%q", s)
		require.Equal(t, want, r, "%q", s)
	}
}

func TestFindHidden_AnyText_FindsHiddenOnly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.String().Draw(t, "s")
		r, found := domain.FindHidden(s)
		if found {
			require.True(t, domain.IsHidden(r))
			require.True(t, strings.ContainsRune(s, r))
			return
		}
		require.False(t, strings.ContainsFunc(s, func(r rune) bool { return r == '\u202e' || r == '\u200b' || r < ' ' }))
	})
}
