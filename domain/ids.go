package domain

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"net/url"
	"path"
	"strconv"
	"strings"
)

const (
	idMin        = 3
	workerIDMax  = 50
	sessionIDMax = 100
	endpointMax  = 255
	nonceChars   = 8             // base36 characters at the end of a derived session id
	nonceSpace   = 2821109907456 // 36^nonceChars
)

const (
	workerIDRule = "Worker ID must be 3 to 50 characters once it is reduced to lower-case letters, " +
		"digits and single hyphens, such as worker-1"
	sessionIDRule     = "Session ID must be 3 to 100 characters and hold only letters, digits, '-' and '_'"
	sessionIDTooShort = "Session ID must keep at least 3 characters once hyphens and underscores " +
		"are dropped at its ends and single in between"
	endpointRule   = "Endpoint must be an http:// or https:// URL such as http://10.0.0.5:8001"
	endpointPlain  = endpointRule + ", without user name, query or fragment"
	endpointHost   = endpointRule + ", with a host name or IP address and a port from 1 to 65535 if any"
	endpointPath   = endpointRule + "; a path may hold only letters, digits, '-', '.', '_', '~' and single slashes"
	endpointTooBig = "Endpoint must be at most 255 characters"
)

// NormalizeWorkerID returns the canonical spelling of a worker id. Letters are in lower case. Every run
// of characters other than a-z and 0-9 becomes one hyphen, with none at the ends. Only ASCII letters
// count as letters. The result must have 3 to 50 characters, otherwise the error is [Invalid]. A
// normalized id stays unchanged.
func NormalizeWorkerID(raw string) (string, error) {
	if id, ok := workerID(raw); ok {
		return id, nil
	}
	return "", Errorf(Invalid, CodeValidation, workerIDRule)
}

// NormalizeWorkerRef is [NormalizeWorkerID] for look-ups. It returns text that cannot be a worker id
// unchanged. No worker is found under such text.
func NormalizeWorkerRef(raw string) string {
	if id, ok := workerID(raw); ok {
		return id
	}
	return raw
}

// workerID returns the canonical spelling of a worker id, and whether there is one.
func workerID(raw string) (string, bool) {
	var buf [workerIDMax]byte
	id, whole := appendHyphenated(buf[:0], raw, workerIDMax)
	if !whole || len(id) < idMin {
		return "", false
	}
	if string(id) == raw {
		return raw, true // the usual case, without a copy
	}
	return string(id), true
}

// WorkerIDFromEndpoint derives a worker id from the host, port and path of an endpoint. For
// http://my-host.example.com:8001 it returns worker-my-host-example-com-8001. It cuts an id of more
// than 50 characters and appends 8 hex digits of the endpoint's hash. Two endpoints can share an id,
// for example http and https of one host, so the caller checks for duplicates. The errors are those of
// [ParseEndpoint].
func WorkerIDFromEndpoint(endpoint string) (string, error) {
	endpoint, err := ParseEndpoint(endpoint)
	if err != nil {
		return "", err
	}
	_, location, _ := strings.Cut(endpoint, "://")
	name := "worker-" + location
	var buf [workerIDMax]byte
	id, whole := appendHyphenated(buf[:0], name, workerIDMax)
	if !whole {
		sum := sha256.Sum256([]byte(endpoint))
		id, _ = appendHyphenated(buf[:0], name, workerIDMax-9)
		id = append(id, '-')
		id = hex.AppendEncode(id, sum[:4])
	}
	return string(id), nil
}

// NormalizeSessionID returns the canonical spelling of a session id. The input has 3 to 100 ASCII
// letters, digits, '-' and '_'. The result is in lower case. Every run of '-' and '_' becomes one
// hyphen, with none at the ends. The result must still have 3 characters. Any other input is [Invalid],
// surrounding space included.
func NormalizeSessionID(raw string) (string, error) {
	id, problem := sessionID(raw)
	if problem != "" {
		return "", Errorf(Invalid, CodeValidation, "%s", problem)
	}
	return id, nil
}

// NormalizeSessionRef is [NormalizeSessionID] for ids in URLs and reports. It returns text that cannot
// be a session id unchanged. No session is found under such text.
func NormalizeSessionRef(raw string) string {
	id, problem := sessionID(raw)
	if problem != "" {
		return raw
	}
	return id
}

// sessionID returns the canonical spelling of a session id, or the rule that raw breaks.
func sessionID(raw string) (id, problem string) {
	if len(raw) < idMin || len(raw) > sessionIDMax {
		return "", sessionIDRule
	}
	for i := range len(raw) {
		if c := raw[i]; !isAlnum(c) && c != '-' && c != '_' {
			return "", sessionIDRule
		}
	}
	var buf [sessionIDMax]byte
	out, _ := appendHyphenated(buf[:0], raw, sessionIDMax)
	if len(out) < idMin {
		return "", sessionIDTooShort
	}
	if string(out) == raw {
		return raw, "" // the usual case, without a copy
	}
	return string(out), ""
}

// DeriveSessionID returns a session id made from a session's name and random bytes: the name in the
// spelling of [NormalizeWorkerID], cut where needed, a hyphen, and 8 base36 characters. A name without
// a usable character counts as "session". The result is always a normalized session id, and the same
// arguments return the same id. random should hold at least 8 unpredictable bytes.
func DeriveSessionID(name string, random []byte) string {
	var buf [sessionIDMax]byte
	id, _ := appendHyphenated(buf[:0], name, sessionIDMax-nonceChars-1)
	if len(id) == 0 {
		id = append(id, "session"...)
	}
	id = append(id, '-')

	// The hash accepts random of any length and distributes its entropy.
	sum := sha256.Sum256(random)
	n := binary.BigEndian.Uint64(sum[:]) % nonceSpace
	for range nonceChars {
		id = append(id, "0123456789abcdefghijklmnopqrstuvwxyz"[n%36])
		n /= 36
	}
	return string(id)
}

// ParseEndpoint returns the canonical form of a worker's base URL. The URL is absolute, http or https,
// with scheme and host in lower case and at most 255 characters. The port stays as written. An optional
// path has no trailing slash. The host is an ASCII name without trailing dot, in which underscores are
// allowed, or an IP address without zone. An IPv4 address in IPv6 form becomes plain IPv4. User info, query
// and fragment are refused. Every error is [Invalid] and describes the expected form.
func ParseEndpoint(raw string) (string, error) {
	raw = strings.TrimSpace(raw)
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Opaque != "" {
		return "", Errorf(Invalid, CodeValidation, endpointRule)
	}
	if strings.ContainsAny(raw, "?#@") {
		return "", Errorf(Invalid, CodeValidation, endpointPlain)
	}

	host, ok := canonicalHost(u.Hostname(), strings.HasPrefix(u.Host, "["))
	if !ok || strings.HasSuffix(u.Host, ":") {
		return "", Errorf(Invalid, CodeValidation, endpointHost)
	}
	if port := u.Port(); port != "" {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 || port[0] == '0' {
			return "", Errorf(Invalid, CodeValidation, endpointHost)
		}
		host += ":" + port
	}

	// The path is taken literally. Without escapes it has one spelling.
	base := strings.TrimRight(u.EscapedPath(), "/")
	if base != "" && path.Clean(base) != base {
		return "", Errorf(Invalid, CodeValidation, endpointPath)
	}
	for i := range len(base) {
		if c := base[i]; !isAlnum(c) && strings.IndexByte("-._~/", c) < 0 {
			return "", Errorf(Invalid, CodeValidation, endpointPath)
		}
	}

	endpoint := u.Scheme + "://" + host + base
	if len(endpoint) > endpointMax {
		return "", Errorf(Invalid, CodeValidation, endpointTooBig)
	}
	return endpoint, nil
}

// canonicalHost returns the canonical spelling of a host in a URL. bracketed marks an IPv6 literal.
func canonicalHost(host string, bracketed bool) (string, bool) {
	if bracketed {
		addr, err := netip.ParseAddr(host)
		if err != nil || !addr.Is6() || addr.Zone() != "" {
			return "", false
		}
		if addr.Is4In6() {
			return addr.Unmap().String(), true
		}
		return "[" + addr.String() + "]", true
	}
	host = strings.TrimSuffix(host, ".")
	if !isHostName(host, "_") {
		return "", false
	}
	host = strings.ToLower(host) // only ASCII is left
	if last := host[strings.LastIndexByte(host, '.')+1:]; isDigits(last) {
		// Only IPv4 addresses end in a number.
		addr, err := netip.ParseAddr(host)
		return host, err == nil && addr.Is4()
	}
	return host, true
}

// isHostName reports whether s is a sequence of labels separated by dots. A label has 1 to 63 ASCII
// letters, digits, hyphens and bytes of extra, with no hyphen at its ends.
func isHostName(s, extra string) bool {
	if len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := range len(label) {
			if c := label[i]; !isAlnum(c) && c != '-' && strings.IndexByte(extra, c) < 0 {
				return false
			}
		}
	}
	return true
}

// appendHyphenated appends raw to the empty dst in lower case. Every run of bytes other than ASCII
// letters and digits becomes one hyphen, with none at the ends. It stops before dst exceeds limit.
// whole reports whether all of raw was appended.
func appendHyphenated(dst []byte, raw string, limit int) (out []byte, whole bool) {
	gap := false
	for i := range len(raw) {
		c := raw[i]
		if !isAlnum(c) {
			gap = len(dst) > 0
			continue
		}
		need := 1
		if gap {
			need = 2
		}
		if len(dst)+need > limit {
			return dst, false
		}
		if gap {
			dst = append(dst, '-')
			gap = false
		}
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		dst = append(dst, c)
	}
	return dst, true
}

// isAlnum reports whether c is an ASCII letter or digit.
func isAlnum(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || isDigit(c)
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// isDigits reports whether s is one or more ASCII digits.
func isDigits(s string) bool {
	for i := range len(s) {
		if !isDigit(s[i]) {
			return false
		}
	}
	return s != ""
}
