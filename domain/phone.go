package domain

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	phoneRule = "Phone number must be in international format (e.g., 6281234567890)"
	phoneMin  = 8
	phoneMax  = 15 // ITU-T E.164

	serverUser   = "s.whatsapp.net"
	serverLegacy = "c.us" // the former name of serverUser
	serverGroup  = "g.us"
	serverHidden = "lid"
	maxHidden    = 20 // digits of a hidden id, a broadcast list or a channel

	serverBroadcast = "broadcast"
	serverChannel   = "newsletter"
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

// IsGroup reports whether j is the address of a group.
func (j JID) IsGroup() bool { return strings.HasSuffix(string(j), "@"+serverGroup) }

// ParseRecipient returns the address that raw names: an international number by the rules of
// [ParsePhone], or a JID. The JID is of a person (…@s.whatsapp.net, or …@c.us with the same meaning), a
// group (…@g.us) or a hidden id (…@lid). Device and agent parts (…:12@…, ….0:12@…) are dropped. Any
// other input is [Invalid], status@broadcast included. A parsed JID parses to itself.
func ParseRecipient(raw string) (JID, error) {
	raw = plainText(raw)
	user, server, isJID := cutAddress(raw)
	if !isJID {
		digits, err := ParsePhone(raw)
		if err != nil {
			return "", err
		}
		return JID(digits + "@" + serverUser), nil
	}
	var ok bool
	switch server {
	case serverUser:
		ok = isPhone(user)
	case serverGroup:
		ok = isGroupID(user)
	case serverHidden:
		ok = isDigits(user) && len(user) <= maxHidden
	}
	if !ok {
		return "", errPhone()
	}
	return JID(user + "@" + server), nil
}

// ParseChat returns the address of a chat in which messages arrive. Beside the addresses of
// [ParseRecipient] there are broadcast lists, status@broadcast included, and channels (…@newsletter).
// Nothing can be sent to these. Other input is [Invalid].
func ParseChat(raw string) (JID, error) {
	user, server, _ := cutAddress(plainText(raw))
	isChat := server == serverBroadcast && (user == "status" || isDigits(user)) || server == serverChannel && isDigits(user)
	if isChat && len(user) <= maxHidden {
		return JID(user + "@" + server), nil
	}
	return ParseRecipient(raw)
}

// NormalizeAddress returns the one form of an address that a worker names: a JID without device and
// agent parts, with c.us as s.whatsapp.net. A phone number becomes the JID of its account. Text that
// is neither is returned without the space around it.
func NormalizeAddress(raw string) string {
	raw = strings.TrimSpace(raw)
	if jid, err := ParseChat(raw); err == nil {
		return string(jid)
	}
	user, server, isJID := cutAddress(raw)
	if isJID {
		return user + "@" + server
	}
	if jid, err := ParseRecipient(dropDevice(raw)); err == nil {
		return string(jid)
	}
	return raw
}

// cutAddress splits a JID at the server, which it returns in lower case and by its present name. It
// drops the device and agent parts that the user may have: 6281234567890:12, 6281234567890.0:12 and
// 6281234567890_0:12 are the same account. Text without a server is no JID.
func cutAddress(raw string) (user, server string, isJID bool) {
	user, server, isJID = strings.Cut(raw, "@")
	if !isJID {
		return raw, "", false
	}
	server = strings.ToLower(server)
	switch server {
	case serverGroup:
		return user, server, true // a group has no devices
	case serverLegacy:
		server = serverUser
	}
	return dropDevice(user), server, true
}

// dropDevice returns the user part of an address without its device and agent. An agent has a device
// behind it. Text of another form is returned unchanged.
func dropDevice(user string) string {
	account, device, found := strings.Cut(user, ":")
	if !found || !isDigits(device) || len(device) > 5 {
		return user
	}
	if i := strings.IndexAny(account, "._"); i >= 0 {
		if agent := account[i+1:]; !isDigits(agent) || len(agent) > 3 {
			return user
		}
		account = account[:i]
	}
	return account
}

// ParsePhone returns the digits of an international phone number. The number has 8 to 15 digits and
// does not start with 0, so it has no 00 prefix either. It may begin with +. Spaces, tabs, hyphens, dots,
// parentheses and invisible characters are ignored. Line breaks and other ASCII control characters are
// refused. The zero that callers within a country dial first, as in +44 (0)7911 123456, is dropped. Any
// other input is [Invalid].
func ParsePhone(raw string) (string, error) {
	raw = plainText(raw)
	if i := strings.IndexFunc(raw, unicode.IsControl); i >= 0 {
		return "", Errorf(Invalid, CodeValidation, phoneRule+"; it contains the invisible character %U", raw[i])
	}
	var buf [phoneMax + 1]byte // one more for a zero that is dropped
	digits, plus := buf[:0], false
	for i := range len(raw) {
		switch c := raw[i]; {
		case isDigit(c) && len(digits) < len(buf):
			digits = append(digits, c)
		case c == '+' && !plus && len(digits) == 0:
			plus = true
		case c == '(':
		case strings.IndexByte(" -.)", c) >= 0 && i > 0:
		default:
			return "", errPhone()
		}
	}
	digits, ok := dropTrunkZero(digits)
	if phone := string(digits); ok && isPhone(phone) {
		return phone, nil
	}
	return "", errPhone()
}

// plainText returns raw without the space around it, and with [plainPunctuation].
func plainText(raw string) string {
	for i := range len(raw) {
		if raw[i] >= utf8.RuneSelf || raw[i] == '\t' {
			raw = strings.Map(plainPunctuation, raw)
			break
		}
	}
	return strings.TrimSpace(raw)
}

// plainPunctuation returns the ASCII character that stands for r in a phone number. Address books and
// web pages put invisible characters, wide spaces and long hyphens into numbers. It returns -1 for
// characters that are not displayed.
func plainPunctuation(r rune) rune {
	switch {
	case r == '\t':
		return ' '
	case r < utf8.RuneSelf:
		return r
	case IsHidden(r):
		return -1
	case unicode.Is(unicode.Zs, r):
		return ' '
	case unicode.Is(unicode.Pd, r):
		return '-'
	}
	return r
}

// AccountPhone returns the digits of the account that a worker names. The worker may write the number
// with or without device, agent and server (6281234567890:12@s.whatsapp.net), in any spelling (+62
// 812-3456-7890). AccountPhone returns "" if there are no digits, more digits than a number has, or no
// number at all: other text, a group, a hidden id (…@lid). Unlike [ParsePhone] it accepts short
// numbers, and believes digits that a worker writes without punctuation.
func AccountPhone(raw string) string {
	user, server, isJID := cutAddress(strings.TrimSpace(raw))
	switch {
	case !isJID:
		user = dropDevice(user)
	case strings.TrimSpace(server) != serverUser:
		return ""
	}
	if isDigits(user) && len(user) <= phoneMax {
		return user
	}
	if !isJID {
		if phone, err := ParsePhone(user); err == nil {
			return phone
		}
	}
	user, _, _ = strings.Cut(user, ":")
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
