package domain

import (
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// MediaRef names the media of an inbound message, which its worker keeps. The zero value names none.
type MediaRef struct {
	ID     string // by which the worker knows the media
	Type   string // media type as the worker reports it; empty: not reported
	Size   int64  // in bytes; 0: not reported
	SHA256 string // of the content, in lower-case hexadecimal digits; empty: not reported
}

// IsZero reports whether the reference names no media.
func (r MediaRef) IsZero() bool { return r.ID == "" }

// localMediaDomains holds the endings of host names that are no names of the internet.
var localMediaDomains = []string{
	".localhost", ".local", ".localdomain", ".internal", ".intranet", ".lan", ".home", ".corp", ".private", ".svc", ".test", ".invalid",
}

// IsShowableURL reports whether the URL of an inbound message's media may be shown to the owner of the
// session. Workers report URLs of their own, too: an address inside the network of the server, or a host
// without a dot, tells about that network. endpoint is the address of the session's worker; it may be
// empty.
func IsShowableURL(media, endpoint string) bool {
	u, err := url.Parse(media)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.User != nil {
		return false
	}
	host := strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
	if own, err := url.Parse(endpoint); endpoint != "" && err == nil && strings.EqualFold(own.Hostname(), host) {
		return false
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		ip = ip.Unmap()
		return ip.IsGlobalUnicast() && !ip.IsPrivate() && !sharedAddresses.Contains(ip)
	}
	if !strings.Contains(host, ".") || strings.Trim(host, "0123456789.") == "" || strings.HasPrefix(host, "0x") {
		return false // a name of the local network, or an address in a form that only some programs read
	}
	for _, ending := range localMediaDomains {
		if strings.HasSuffix(host, ending) {
			return false
		}
	}
	return true
}

// sharedAddresses is the network between providers and their customers (RFC 6598).
var sharedAddresses = netip.MustParsePrefix("100.64.0.0/10")

// ByteRange is a part of content. First and Last are positions from 0, both included. Last is -1 for the
// end of the content. First is -1 for the last bytes of the content; Last is their number then.
type ByteRange struct{ First, Last int64 }

// ParseByteRange parses the header Range of HTTP. It returns false for a header that asks for nothing, for
// several parts, or in another unit or form. Such a header is to be ignored (RFC 9110, 14.2).
func ParseByteRange(header string) (ByteRange, bool) {
	unit, spec, found := strings.Cut(header, "=")
	if !found || !strings.EqualFold(strings.TrimSpace(unit), "bytes") || strings.Contains(spec, ",") {
		return ByteRange{}, false
	}
	first, last, found := strings.Cut(strings.TrimSpace(spec), "-")
	if !found || first == "" && last == "" {
		return ByteRange{}, false
	}
	r := ByteRange{First: -1, Last: -1}
	for _, part := range []struct {
		text string
		to   *int64
	}{{first, &r.First}, {last, &r.Last}} {
		if part.text == "" {
			continue
		}
		n, err := strconv.ParseUint(part.text, 10, 63)
		if err != nil {
			return ByteRange{}, false
		}
		*part.to = int64(n)
	}
	if r.First >= 0 && r.Last >= 0 && r.Last < r.First {
		return ByteRange{}, false
	}
	return r, true
}

// String returns the range as the header Range has it.
func (r ByteRange) String() string {
	text := "bytes="
	if r.First >= 0 {
		text += strconv.FormatInt(r.First, 10)
	}
	text += "-"
	if r.Last >= 0 {
		text += strconv.FormatInt(r.Last, 10)
	}
	return text
}

// Within returns the range as offset and length within content of a size. It returns false if no byte of
// the content is in the range.
func (r ByteRange) Within(size int64) (offset, length int64, ok bool) {
	if r.First < 0 {
		length = min(r.Last, size)
		return size - length, length, length > 0
	}
	if r.First >= size {
		return 0, 0, false
	}
	last := size - 1
	if r.Last >= 0 {
		last = min(last, r.Last)
	}
	return r.First, last - r.First + 1, true
}
