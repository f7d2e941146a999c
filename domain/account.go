package domain

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	emailRule    = "Email must be a single address such as name@example.com"
	emailMax     = 254 // RFC 5321: a path without its angle brackets
	emailUserMax = 64
)

// NormalizeEmail returns the canonical spelling of an email address: trimmed and in lower case. The
// address must be bare, without display name, quotes or comments, and have at most 254 ASCII
// characters. Its domain must contain a dot or be localhost. Domains in other scripts are written in
// their xn-- form. Any other input is [Invalid].
func NormalizeEmail(raw string) (string, error) {
	email := strings.TrimSpace(raw)
	user, host, ok := strings.Cut(email, "@")
	if !ok || len(email) > emailMax || !isEmailUser(user) || !isEmailHost(host) {
		return "", Errorf(Invalid, CodeValidation, emailRule)
	}
	// Lower the case last. strings.ToLower maps a few other letters to ASCII, so a look-alike could
	// pass for another user's address.
	return strings.ToLower(email), nil
}

// isEmailUser reports whether s is a dot-atom of RFC 5322.
func isEmailUser(s string) bool {
	if len(s) > emailUserMax {
		return false
	}
	for atom := range strings.SplitSeq(s, ".") {
		if atom == "" {
			return false
		}
		for i := range len(atom) {
			if c := atom[i]; !isAlnum(c) && strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) < 0 {
				return false
			}
		}
	}
	return true
}

// isEmailHost reports whether s is localhost or a host name whose last label is not a number.
func isEmailHost(s string) bool {
	if !isHostName(s, "") {
		return false
	}
	dot := strings.LastIndexByte(s, '.')
	return dot >= 0 && !isDigits(s[dot+1:]) || strings.EqualFold(s, "localhost")
}

// CheckUserName returns a user's name without surrounding space. The name must have 2 to 100
// characters, none of them hidden as [FindHidden] describes. Otherwise the error is [Invalid].
func CheckUserName(raw string) (string, error) {
	return checkText("Name", raw, 2, 100, "")
}

// CheckSessionName returns a session's name without surrounding space. The name must have 1 to 100
// characters, none of them hidden as [FindHidden] describes. Otherwise the error is [Invalid].
func CheckSessionName(raw string) (string, error) {
	return checkText("Session name", raw, 1, 100, "")
}

// CheckDescription returns a description without surrounding space. The description may be empty. It
// must have at most 255 characters, none of them hidden except tabs and line breaks. Otherwise the error
// is [Invalid].
func CheckDescription(raw string) (string, error) {
	return checkText("Description", raw, 0, 255, "\t\r\n")
}

// checkText returns raw without surrounding space. It counts characters, not bytes. It refuses invalid
// UTF-8, and hidden characters that are not in allowed. A text that must not be empty must not be blank
// either. Some stores and headers cannot carry control characters.
func checkText(what, raw string, least, most int, allowed string) (string, error) {
	text := strings.TrimSpace(raw)
	n := utf8.RuneCountInString(text)
	if least > 0 && isBlank(text) {
		n = 0
	}
	if n < least || n > most {
		if least == 0 {
			return "", Errorf(Invalid, CodeValidation, "%s must be at most %d characters", what, most)
		}
		return "", Errorf(Invalid, CodeValidation, "%s must be %d to %d characters", what, least, most)
	}
	withoutAllowed := strings.Map(func(r rune) rune {
		if strings.ContainsRune(allowed, r) {
			return ' '
		}
		return r
	}, text)
	r, found := FindHidden(withoutAllowed)
	switch {
	case !utf8.ValidString(text) || found && unicode.IsControl(r):
		return "", Errorf(Invalid, CodeValidation, "%s must be plain text without control characters", what)
	case found:
		return "", Errorf(Invalid, CodeValidation, "%s must not contain the invisible character %U", what, r)
	}
	return text, nil
}
