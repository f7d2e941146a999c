package conformance

import (
	"context"
	"net/netip"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// URLPolicy checks what every [ports.URLPolicy] that refuses private addresses promises. The factory
// returns a policy whose names resolve as given. Other names do not resolve.
func URLPolicy(t *testing.T, newPolicy func(t *testing.T, names map[string][]netip.Addr) ports.URLPolicy) {
	addr := netip.MustParseAddr
	names := map[string][]netip.Addr{
		"public.example.com":  {addr("1.1.1.1"), addr("2606:4700::1111")},
		"private.example.com": {addr("10.0.0.7")},
		"mixed.example.com":   {addr("1.1.1.1"), addr("fd00::1")},
		"mapped.example.com":  {addr("::ffff:127.0.0.1")},
		"nat64.example.com":   {addr("64:ff9b::808:808")},
	}
	requireRefused := func(t *testing.T, p ports.URLPolicy, url string) {
		t.Helper()
		err := p.CheckURL(context.Background(), url)
		var e *domain.Error
		require.ErrorAs(t, err, &e, "%q", url)
		require.Equal(t, domain.Invalid, e.Kind, "%q", url)
		require.NotContains(t, e.Message, "10.0.0.7", "the message tells no address")
	}
	t.Run("public URLs pass", func(t *testing.T) {
		p := newPolicy(t, names)
		for _, url := range []string{
			"https://public.example.com/a.png?q=1#f", "http://public.example.com:8080/", "https://PUBLIC.example.com./a", "http://1.1.1.1/",
			"http://16843009/", "http://[2606:4700::1111]/", "https://nat64.example.com/", "https://bücher.example/a b.png",
		} {
			require.NoError(t, p.CheckURL(context.Background(), url), "%q", url)
		}
	})
	t.Run("names that do not resolve pass", func(t *testing.T) {
		require.NoError(t, newPolicy(t, names).CheckURL(context.Background(), "https://nowhere.example.com/a.png"))
	})
	t.Run("a context that has ended is no reason to refuse", func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		require.NoError(t, newPolicy(t, names).CheckURL(ctx, "https://public.example.com/a.png"))
	})
	t.Run("names with a private address are refused", func(t *testing.T) {
		p := newPolicy(t, names)
		for range 2 {
			for _, host := range []string{"private.example.com", "mixed.example.com", "mapped.example.com", "PRIVATE.Example.com.", "private。example。com"} {
				requireRefused(t, p, "https://"+host+"/a.png")
			}
		}
	})
	t.Run("local names are refused", func(t *testing.T) {
		p := newPolicy(t, names)
		for _, host := range []string{
			"localhost", "LOCALHOST.", "a.localhost", "localhost.localdomain", "printer.local", "metadata.google.internal", "metadata.goog",
			"redis", "router.home.arpa", "ⓛocalhost", "loc\u00adalhost",
		} {
			requireRefused(t, p, "http://"+host+"/")
		}
	})
	t.Run("private addresses are refused in every spelling", func(t *testing.T) {
		p := newPolicy(t, names)
		for _, host := range []string{
			"127.0.0.1", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "017700000001", "127.0.0.1.", "１２７.0.0.1",
			"127。0。0。1", "%ef%bc%91%32%37.0.0.1", "0", "10.0.0.7", "169.254.169.254", "0xa9fea9fe", "192.168.1.1", "172.16.0.1", "100.64.0.1",
			"192.0.0.192", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "255.255.255.255",
			"[::]", "[::1]", "[0:0:0:0:0:0:0:1]", "[::127.0.0.1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[64:ff9b::7f00:1]", "[100::1]",
			"[2001::1]", "[2001:db8::1]", "[2002:7f00:1::]", "[fc00::1]", "[fd00:ec2::254]", "[fe80::1]", "[fe80::1%25eth0]", "[ff02::1]",
			"[5f00::1]", "[3fff::1]",
		} {
			requireRefused(t, p, "http://"+host+"/")
			requireRefused(t, p, "https://"+host+":8443/a.png")
		}
	})
	t.Run("credentials and other schemes are refused", func(t *testing.T) {
		p := newPolicy(t, names)
		for _, url := range []string{
			"https://user:secret@public.example.com/", "https://user@public.example.com/", "https://:secret@public.example.com/",
			"ftp://public.example.com/", "file:///etc/passwd", "javascript:alert(1)", "//public.example.com/", "public.example.com", "",
			"http://", "http://1.2.3.4.5/", "http://256.1.1.1/", "http://a b.example.com/", "http://public.example.com:99999/",
		} {
			requireRefused(t, p, url)
		}
	})
	t.Run("concurrent calls agree", func(t *testing.T) {
		p := newPolicy(t, names)
		var wg sync.WaitGroup
		for i := range 64 {
			wg.Go(func() {
				host, isPublic := "private.example.com", false
				if i%2 == 0 {
					host, isPublic = "public.example.com", true
				}
				if err := p.CheckURL(context.Background(), "https://"+host+"/"); (err == nil) != isPublic {
					t.Errorf("%s: %v", host, err)
				}
			})
		}
		wg.Wait()
	})
}
