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
	serverLegacy = "c.us" // what serverUser was called once
	serverGroup  = "g.us"
	serverHidden = "lid"
)

// JID is a WhatsApp address, such as 6281234567890@s.whatsapp.net for a person
// or 120363025246125486@g.us for a group. [ParseRecipient] makes valid ones.
type JID string

// Phone returns the digits of the phone number that j stands for, and "" for
// groups, hidden ids (…@lid) and anything that is no valid address of a person.
func (j JID) Phone() string {
	user, ok := strings.CutSuffix(string(j), "@"+serverUser)
	if !ok || !isPhone(user) {
		return ""
	}
	return user
}

// ParseRecipient returns the address that raw names: an international number
// by the rule of [ParsePhone], or a JID of a person (…@s.whatsapp.net, or
// …@c.us, which means the same), a group (…@g.us) or a hidden id (…@lid).
// Anything else, status@broadcast included, is [Invalid]. A parsed JID parses
// to itself.
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

// ParsePhone returns the digits of an international phone number: 8 to 15
// of them, not starting with 0 (so no 00 prefix either), with an optional +
// in front, and spaces, hyphens, dots and parentheses ignored. Anything else
// is [Invalid].
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

// AccountPhone returns the digits of the account that a worker names: a number
// with or without device and server (6281234567890:12@s.whatsapp.net), written
// in any way (+62 812-3456-7890). It is "" if there are none, if there are more
// than a number has, and for what is no number: other text, a group, a hidden
// id (…@lid). Unlike [ParsePhone] it refuses no number for being short.
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

func errPhone() error { return Errorf(Invalid, CodeValidation, phoneRule) }

// isPhone reports whether s is a bare international number.
func isPhone(s string) bool {
	return len(s) >= phoneMin && len(s) <= phoneMax && isDigits(s) && s[0] != '0'
}

// isGroupID reports whether s is runs of digits joined by single hyphens, as
// in 120363025246125486 and the older 6281234567890-1612345678.
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
