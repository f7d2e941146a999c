package egress

import (
	"errors"
	"fmt"
	"net/netip"
	"syscall"

	"code.dny.dev/ssrf"
)

// ErrNotPublic is the error for an address that is not public.
var ErrNotPublic = errors.New("the address is not public")

// guardian knows the networks of IANA. A metadata service of Azure has a public
// address that leads inside.
var guardian = ssrf.New(ssrf.WithAnyPort(), ssrf.WithDeniedV4Prefixes(netip.MustParsePrefix("168.63.129.16/32")))

// IsPublic reports whether an address is public on the internet.
func IsPublic(a netip.Addr) bool {
	if !a.IsValid() {
		return false
	}
	a = a.WithZone("").Unmap()
	if ssrf.IPv6NAT64Prefix.Contains(a) {
		b := a.As16()
		a = netip.AddrFrom4([4]byte(b[12:]))
	}
	return guardian.SafeAddr(a) == nil
}

// Control refuses connections to addresses that are not public. It is for the field
// Control of a net.Dialer, which calls it with each address after the resolution.
func Control(_, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil || !IsPublic(ap.Addr()) {
		return fmt.Errorf("connecting to %s: %w", address, ErrNotPublic)
	}
	return nil
}
