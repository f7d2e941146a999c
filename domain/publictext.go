package domain

import (
	"regexp"
	"strings"
	"unicode"
)

// MaxPublicText is the length in bytes from which [PublicText] cuts a text.
const MaxPublicText = 300

// privateWord matches words that customers must not see: addresses, paths, source positions, names of
// system errors.
var privateWord = regexp.MustCompile(`://|\d+\.\d+\.\d+\.\d+|[\w\]]:\d{2,}|localhost|^["'(=]*[/\\~]|[A-Za-z]:\\|\bE[A-Z]{4,}\b|\.[cm]?[jt]s\b`)

// stackFrame matches a source position as stack traces write it.
var stackFrame = regexp.MustCompile(`\bat \w+\.\S*`)

// PublicText returns the part of a worker's text that users may see: its first line, with … for each run
// of private words and in place of a long rest. It returns "" if no word is left.
func PublicText(text string) string {
	text, _, _ = strings.Cut(strings.TrimSpace(strings.ToValidUTF8(text, "\ufffd")), "\n")
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) {
			return ' '
		}
		return r
	}, text)
	var kept []string
	words := 0
	for _, word := range strings.Fields(stackFrame.ReplaceAllString(text, "://")) {
		switch {
		case !privateWord.MatchString(word):
			kept = append(kept, word)
			words++
		case len(kept) == 0 || kept[len(kept)-1] != "…":
			kept = append(kept, "…")
		}
	}
	if words == 0 {
		return ""
	}
	text = strings.Join(kept, " ")
	if len(text) > MaxPublicText {
		text = StorableText(text, MaxPublicText) + "…"
	}
	return text
}
