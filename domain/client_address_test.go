package domain_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
)

func TestClientNetwork_AnySpelling_IsOneNetwork(t *testing.T) {
	for text, want := range map[string]string{
		"203.0.113.7":            "203.0.113.7",
		"::ffff:203.0.113.7":     "203.0.113.7",
		"64:ff9b::203.0.113.7":   "203.0.113.7",
		"203.0.113.7:4711":       "203.0.113.7",
		"2001:db8:0:1::1":        "2001:db8:0:1::/64",
		"2001:db8:0:1:a:b:c:d":   "2001:db8:0:1::/64",
		"[2001:db8:0:1::2]:4711": "2001:db8:0:1::/64",
		"[2001:db8:0:1::3]":      "2001:db8:0:1::/64",
		" 2001:DB8:0:1::4 ":      "2001:db8:0:1::/64",
		"2001:db8:0:2::1":        "2001:db8:0:2::/64",
		"fe80::1%eth0":           "fe80::/64",
		"fe80::2%eth1":           "fe80::/64",
		"::1":                    "::/64",
		"":                       "local",
		"unknown":                "local",
		"[203.0.113.7]":          "local",
		"@":                      "local",
	} {
		require.Equal(t, want, domain.ClientNetwork(domain.ParseClientIP(text)), text)
	}
}

func TestTrustedProxies_ClientIP_IsLastHopThatIsNoProxy(t *testing.T) {
	proxies := domain.TrustedProxies{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8"), netip.MustParsePrefix("::ffff:192.168.0.0/112")}
	for name, c := range map[string]struct {
		peer      string
		forwarded []string
		want      string
	}{
		"stranger's header is not believed": {"203.0.113.1", []string{"198.51.100.7"}, "203.0.113.1"},
		"proxy without a header":            {"10.0.0.1", nil, "10.0.0.1"},
		"proxy's client":                    {"10.0.0.1", []string{"198.51.100.7"}, "198.51.100.7"},
		"what the client claims":            {"10.0.0.1", []string{"1.1.1.1, 198.51.100.7"}, "198.51.100.7"},
		"chain of proxies":                  {"10.0.0.1", []string{"1.1.1.1", "198.51.100.7, fd00::9,10.9.9.9"}, "198.51.100.7"},
		"lines are one list":                {"10.0.0.1", []string{"198.51.100.7", "10.0.0.2"}, "198.51.100.7"},
		"proxies alone":                     {"10.0.0.1", []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.3"},
		"no address ends the search":        {"10.0.0.1", []string{"198.51.100.7, unknown, 10.0.0.2"}, "10.0.0.2"},
		"empty hop ends the search":         {"10.0.0.1", []string{"198.51.100.7,, 10.0.0.2"}, "10.0.0.2"},
		"with a port":                       {"10.0.0.1", []string{"[2001:db8::1]:99"}, "2001:db8::1"},
		"mapped peer":                       {"::ffff:10.0.0.1", []string{"::ffff:198.51.100.7"}, "198.51.100.7"},
		"mapped network":                    {"192.168.3.4", []string{"198.51.100.7"}, "198.51.100.7"},
		"zone":                              {"fd00::1%eth0", []string{"fe80::1%eth0"}, "fe80::1"},
	} {
		require.Equal(t, netip.MustParseAddr(c.want), proxies.ClientIP(netip.MustParseAddr(c.peer), c.forwarded), name)
	}
	require.False(t, proxies.ClientIP(netip.Addr{}, []string{"198.51.100.7"}).IsValid(), "a Unix socket is no proxy")
}

// FuzzClientAddress checks that the header of a peer that is no proxy is ignored, and that
// the network of an address does not depend on its spelling.
func FuzzClientAddress(f *testing.F) {
	f.Add("203.0.113.1", "198.51.100.7, 10.0.0.2")
	f.Add("10.0.0.1", "1.1.1.1,[2001:db8::1%eth0]:80,::ffff:10.0.0.9")
	f.Add("::ffff:10.0.0.1", "64:ff9b::a00:1, ,\x00")
	proxies := domain.TrustedProxies{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	f.Fuzz(func(t *testing.T, text, forwarded string) {
		peer := domain.ParseClientIP(text)
		ip := proxies.ClientIP(peer, strings.Split(forwarded, "\n"))
		require.Equal(t, domain.CanonicalIP(ip), ip)
		require.Equal(t, peer.IsValid(), ip.IsValid())
		if !proxies.Contains(peer) {
			require.Equal(t, peer, ip)
		}
		network := domain.ClientNetwork(ip)
		if !ip.IsValid() {
			require.Equal(t, domain.UnknownNetwork, network)
			return
		}
		require.Equal(t, network, domain.ClientNetwork(domain.ParseClientIP(ip.String())))
		require.Equal(t, network, domain.ClientNetwork(ip.WithZone("eth0")))
		if ip.Is4() {
			require.Equal(t, network, domain.ClientNetwork(netip.AddrFrom16(ip.As16())))
			return
		}
		low := ip.As16()
		low[15]++
		require.Equal(t, network, domain.ClientNetwork(netip.AddrFrom16(low)))
	})
}

// FuzzClientIP checks that a client cannot change its address by the X-Forwarded-For that it
// writes itself.
func FuzzClientIP(f *testing.F) {
	for _, s := range []string{
		"", "192.0.2.1", "192.0.2.1, 10.0.0.1", "unknown", "[2001:db8::1]:443", "::ffff:10.0.0.1", "64:ff9b::c000:201", "1.2.3.4:5:6", ",,,", "10.0.0.1%eth0", strings.Repeat("10.0.0.1,", 1000),
	} {
		f.Add(s, "203.0.113.9")
	}
	proxies := domain.TrustedProxies{netip.MustParsePrefix("10.0.0.0/8")}
	proxy := netip.MustParseAddr("10.0.0.7")
	f.Fuzz(func(t *testing.T, written, real string) {
		client := netip.MustParseAddr("203.0.113.9")
		if ip, err := netip.ParseAddr(real); err == nil && !proxies.Contains(ip) {
			client = domain.CanonicalIP(ip)
		}
		if got := proxies.ClientIP(client, []string{written}); got != client {
			t.Fatalf("%v without a proxy counts as %v", client, got)
		}
		if got := proxies.ClientIP(proxy, []string{written, client.String()}); got != client {
			t.Fatalf("%v that wrote %q counts as %v", client, written, got)
		}
		if network := domain.ClientNetwork(domain.ParseClientIP(written)); network == "" {
			t.Fatalf("%q has no network", written)
		}
	})
}
