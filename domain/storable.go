package domain

import (
	"strings"
	"unicode/utf8"
)

// StorableText returns s as text that every store keeps: valid UTF-8 of at most most bytes, cut between
// two characters. U+FFFD replaces NUL and invalid bytes.
func StorableText(s string, most int) string {
	if len(s) > most {
		s = s[:wholeRunes(s, most)]
	}
	if strings.IndexByte(s, 0) < 0 && utf8.ValidString(s) {
		return s
	}
	s = strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
	if len(s) > most {
		s = s[:wholeRunes(s, most)] // U+FFFD is longer than what it replaces
	}
	return s
}

// wholeRunes returns the length of the longest prefix of s that splits no character and has at most most
// bytes. s has more bytes than that.
func wholeRunes(s string, most int) int {
	for i := most; i >= 0 && i > most-utf8.UTFMax; i-- {
		if utf8.RuneStart(s[i]) {
			return i
		}
	}
	return most // no UTF-8
}
