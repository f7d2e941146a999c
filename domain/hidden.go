package domain

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// FindHidden returns the first character of s that people cannot see, or that changes the order in which
// they see others. Such characters make one name look like another. They are:
//
//   - control characters and line separators,
//   - characters that direct the writing from left to right or back,
//   - characters without width or picture, such as the zero-width space and the soft hyphen.
//
// Joiners, variation selectors and tags are hidden only where they change nothing: words of Persian and
// Indic scripts need joiners, and emoji need all three.
func FindHidden(s string) (r rune, found bool) {
	var before rune // the character before r; 0 at the start
	for i, r := range s {
		switch {
		case r < utf8.RuneSelf:
			if unicode.IsControl(r) {
				return r, true
			}
		case isJoiner(r):
			after, _ := utf8.DecodeRuneInString(s[i+utf8.RuneLen(r):])
			if !isJoinable(before) || !isJoinable(after) || isJoiner(after) {
				return r, true
			}
		case unicode.Is(unicode.Variation_Selector, r):
			if before == 0 || unicode.Is(unicode.Variation_Selector, before) {
				return r, true
			}
		case isTag(r):
			if !isTag(before) && before != blackFlag {
				return r, true
			}
		case IsHidden(r):
			return r, true
		}
		before = r
	}
	return 0, false
}

// blackFlag begins the flags of regions, which are spelled with tags.
const blackFlag = '\U0001f3f4'

// isJoiner reports whether r is a zero-width joiner or non-joiner.
func isJoiner(r rune) bool { return r == '\u200c' || r == '\u200d' }

// isTag reports whether r is a tag, with which the flags of regions are spelled.
func isTag(r rune) bool { return r >= 0xe0020 && r <= 0xe007f }

// isJoinable reports whether a joiner beside r can change the picture of r. It changes nothing beside
// letters that stand alone, as in English.
func isJoinable(r rune) bool {
	return r >= utf8.RuneSelf && r != utf8.RuneError && !unicode.IsSpace(r) &&
		!unicode.In(r, unicode.Latin, unicode.Greek, unicode.Cyrillic)
}

// IsHidden reports whether r is one of the characters that [FindHidden] describes. It does not know the
// place of r: joiners, variation selectors and tags are always hidden.
func IsHidden(r rune) bool {
	if r < utf8.RuneSelf {
		return unicode.IsControl(r)
	}
	switch {
	case unicode.Is(unicode.Prepended_Concatenation_Mark, r):
		return false // drawn around the following digits
	case unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp,
		unicode.Variation_Selector, unicode.Other_Default_Ignorable_Code_Point):
		return true
	}
	return false
}

// isBlank reports whether no character of s leaves a mark on the screen.
func isBlank(s string) bool {
	const brailleBlank = '\u2800'
	return !strings.ContainsFunc(s, func(r rune) bool {
		return r != brailleBlank && !unicode.IsSpace(r) && !IsHidden(r)
	})
}
