package server

import "net/netip"

// reservedNetworks holds the networks that are not public, and the IPv6 networks that embed IPv4
// addresses.
var reservedNetworks = func() (list []netip.Prefix) {
	for _, p := range []string{
		"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
		"192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/4", "240.0.0.0/4",
		"::/128", "::1/128", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8",
		"64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32",
	} {
		list = append(list, netip.MustParsePrefix(p))
	}
	return list
}()

// isPublic reports whether an address is public on the internet.
func isPublic(a netip.Addr) bool {
	a = a.Unmap().WithZone("") // a Prefix contains no address with a zone
	for _, p := range reservedNetworks {
		if p.Contains(a) {
			return false
		}
	}
	return a.IsValid()
}
