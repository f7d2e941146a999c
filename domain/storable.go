package domain

import (
	"strings"
	"unicode/utf8"
)

// StorableText returns s as text that every store keeps: valid UTF-8 of at most so many bytes, cut
// between two characters, with U+FFFD in place of NUL and of bytes that are no UTF-8.
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

// wholeRunes returns the length of the longest prefix of at most so many bytes that splits no
// character. s is longer than that.
func wholeRunes(s string, most int) int {
	for i := most; i >= 0 && i > most-utf8.UTFMax; i-- {
		if utf8.RuneStart(s[i]) {
			return i
		}
	}
	return most // no UTF-8
}
