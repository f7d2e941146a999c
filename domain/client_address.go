package domain

import (
	"net/netip"
	"strings"
)

// UnknownNetwork is the network of clients without an IP address, such as those of a
// Unix socket. Limits count all of them as one.
const UnknownNetwork = "local"

// nat64 is the well-known prefix of IPv4 addresses behind a translator (RFC 6052).
var nat64 = netip.MustParsePrefix("64:ff9b::/96")

// CanonicalIP returns the canonical form of an address: without a zone, and as IPv4 if
// it is an IPv4 address in IPv6 form.
func CanonicalIP(ip netip.Addr) netip.Addr {
	ip = ip.Unmap().WithZone("")
	if nat64.Contains(ip) {
		b := ip.As16()
		return netip.AddrFrom4([4]byte(b[12:]))
	}
	return ip
}

// ParseClientIP returns the canonical form of the address in text, which may have a
// port. The result is invalid if the text is no address.
func ParseClientIP(text string) netip.Addr {
	text = strings.TrimSpace(text)
	if ip, err := netip.ParseAddr(text); err == nil {
		return CanonicalIP(ip)
	}
	if ip, err := netip.ParseAddrPort(text); err == nil {
		return CanonicalIP(ip.Addr())
	}
	bare, isOpen := strings.CutPrefix(text, "[")
	if bare, isClosed := strings.CutSuffix(bare, "]"); isOpen && isClosed {
		if ip, err := netip.ParseAddr(bare); err == nil && ip.Is6() {
			return CanonicalIP(ip)
		}
	}
	return netip.Addr{}
}

// ClientNetwork returns the network as which limits count a client: an IPv4 address,
// the /64 of an IPv6 address, or [UnknownNetwork]. One customer has a whole /64.
func ClientNetwork(ip netip.Addr) string {
	ip = CanonicalIP(ip)
	if !ip.IsValid() {
		return UnknownNetwork
	}
	if ip.Is4() {
		return ip.String()
	}
	p, err := ip.Prefix(64)
	if err != nil {
		return UnknownNetwork // the address has 128 bits: it cannot fail
	}
	return p.String()
}

// TrustedProxies are the networks of proxies whose X-Forwarded-For is believed.
type TrustedProxies []netip.Prefix

// Contains reports whether an address belongs to a trusted proxy.
func (t TrustedProxies) Contains(ip netip.Addr) bool {
	ip = CanonicalIP(ip)
	for _, p := range t {
		if p.Contains(ip) || p.Addr().Is4In6() && p.Bits() >= 96 && netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96).Contains(ip) {
			return true
		}
	}
	return false
}

// ClientIP returns the canonical address of the client behind a peer. A peer that is no
// trusted proxy is the client itself. forwarded holds the lines of X-Forwarded-For,
// nearest address last. The client is the last address that is no trusted proxy. Text
// that is no address ends the search: the client is then the proxy that wrote it.
func (t TrustedProxies) ClientIP(peer netip.Addr, forwarded []string) netip.Addr {
	ip := CanonicalIP(peer)
	for i := len(forwarded) - 1; i >= 0; i-- {
		for rest := forwarded[i]; rest != ""; {
			if !t.Contains(ip) {
				return ip
			}
			hop := rest
			if comma := strings.LastIndexByte(rest, ','); comma >= 0 {
				rest, hop = rest[:comma], rest[comma+1:]
			} else {
				rest = ""
			}
			next := ParseClientIP(hop)
			if !next.IsValid() {
				return ip
			}
			ip = next
		}
	}
	return ip
}
