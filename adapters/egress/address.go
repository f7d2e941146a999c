package egress

import (
	"errors"
	"fmt"
	"net/netip"
	"syscall"

	"code.dny.dev/ssrf"

	"github.com/switchyard-wa/switchyard/domain"
)

// ErrNotPublic is the error for an address that is not public.
var ErrNotPublic = errors.New("the address is not public")

// guardian knows IANA's networks for special purposes. 168.63.129.16 is public there,
// but reaches the platform services of Azure from inside its virtual machines.
var guardian = ssrf.New(ssrf.WithAnyPort(), ssrf.WithDeniedV4Prefixes(netip.MustParsePrefix("168.63.129.16/32")))

// IsPublic reports whether an address is public on the internet.
func IsPublic(a netip.Addr) bool {
	return a.IsValid() && guardian.SafeAddr(domain.CanonicalIP(a)) == nil
}

// Control refuses connections to addresses that are not public. It fits the field
// Control of a net.Dialer, which calls it for each address after the resolution.
func Control(_, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil || !IsPublic(ap.Addr()) {
		return fmt.Errorf("connecting to %s: %w", address, ErrNotPublic)
	}
	return nil
}
