package domain

import (
	"strings"
	"unicode"
)

const (
	phoneRule = "Phone number must be in international format (e.g., 6281234567890)"
	phoneMin  = 8
	phoneMax  = 15 // ITU-T E.164

	serverUser   = "s.whatsapp.net"
	serverLegacy = "c.us" // the former name of serverUser
	serverGroup  = "g.us"
	serverHidden = "lid"
)

// JID is a WhatsApp address, such as 6281234567890@s.whatsapp.net for a person or
// 120363025246125486@g.us for a group. [ParseRecipient] returns valid ones.
type JID string

// Phone returns the digits of the phone number that j contains. It returns "" for groups, hidden ids
// (…@lid) and text that is no valid address of a person.
func (j JID) Phone() string {
	user, ok := strings.CutSuffix(string(j), "@"+serverUser)
	if !ok || !isPhone(user) {
		return ""
	}
	return user
}

// ParseRecipient returns the address that raw names: an international number by the rules of
// [ParsePhone], or a JID. The JID is of a person (…@s.whatsapp.net, or …@c.us with the same meaning), a
// group (…@g.us) or a hidden id (…@lid). Any other input is [Invalid], status@broadcast included. A
// parsed JID parses to itself.
func ParseRecipient(raw string) (JID, error) {
	raw = strings.TrimSpace(raw)
	user, server, isJID := strings.Cut(raw, "@")
	if !isJID {
		digits, err := ParsePhone(raw)
		if err != nil {
			return "", err
		}
		return JID(digits + "@" + serverUser), nil
	}

	server = strings.ToLower(server)
	if server == serverLegacy {
		server = serverUser
	}
	var ok bool
	switch server {
	case serverUser:
		ok = isPhone(user)
	case serverGroup:
		ok = isGroupID(user)
	case serverHidden:
		ok = isDigits(user) && len(user) <= 20
	}
	if !ok {
		return "", errPhone()
	}
	return JID(user + "@" + server), nil
}

// ParsePhone returns the digits of an international phone number. The number has 8 to 15 digits and
// does not start with 0, so it has no 00 prefix either. It may begin with +. Spaces, hyphens, dots and
// parentheses are ignored. Any other input is [Invalid].
func ParsePhone(raw string) (string, error) {
	raw = strings.TrimSpace(raw)
	var buf [phoneMax]byte
	digits, plus := buf[:0], false
	for i := range len(raw) {
		switch c := raw[i]; {
		case isDigit(c) && len(digits) < phoneMax:
			digits = append(digits, c)
		case c == '+' && !plus && len(digits) == 0:
			plus = true
		case c == '(':
		case strings.IndexByte(" -.)", c) >= 0 && i > 0:
		default:
			return "", errPhone()
		}
	}
	if phone := string(digits); isPhone(phone) {
		return phone, nil
	}
	return "", errPhone()
}

// AccountPhone returns the digits of the account that a worker names. The worker may write the number
// with or without device and server (6281234567890:12@s.whatsapp.net), in any spelling (+62
// 812-3456-7890). AccountPhone returns "" if there are no digits, more digits than a number has, or no
// number at all: other text, a group, a hidden id (…@lid). Unlike [ParsePhone] it accepts short
// numbers.
func AccountPhone(raw string) string {
	user, server, isJID := strings.Cut(raw, "@")
	if isJID {
		switch strings.ToLower(strings.TrimSpace(server)) {
		case serverUser, serverLegacy:
		default:
			return ""
		}
	}
	user, _, _ = strings.Cut(user, ":")
	if isDigits(user) && len(user) <= phoneMax {
		return user
	}
	var buf [phoneMax]byte
	digits := buf[:0]
	for _, r := range user {
		switch {
		case '0' <= r && r <= '9':
			if len(digits) == phoneMax {
				return ""
			}
			digits = append(digits, byte(r))
		case unicode.IsLetter(r) || unicode.IsNumber(r):
			return ""
		}
	}
	return string(digits)
}

// errPhone returns the error for text that is no phone number.
func errPhone() error { return Errorf(Invalid, CodeValidation, phoneRule) }

// isPhone reports whether s is a bare international number.
func isPhone(s string) bool {
	return len(s) >= phoneMin && len(s) <= phoneMax && isDigits(s) && s[0] != '0'
}

// isGroupID reports whether s is runs of digits joined by single hyphens, such as 120363025246125486 or
// the older form 6281234567890-1612345678.
func isGroupID(s string) bool {
	if len(s) > 64 {
		return false
	}
	for run := range strings.SplitSeq(s, "-") {
		if !isDigits(run) {
			return false
		}
	}
	return true
}
