package domain_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
)

func TestIsSameEndpoint_Spellings_SameAddress(t *testing.T) {
	for name, c := range map[string]struct {
		a, b string
		want bool
	}{
		"case":                       {"http://Worker-1:8001", "HTTP://worker-1:8001", true},
		"slash":                      {"http://w:8001", "http://w:8001/", true},
		"dot":                        {"http://w.example.com.:8001", "http://w.example.com:8001", true},
		"default port":               {"http://w", "http://w:80", true},
		"default port of https":      {"https://w:443/pool", "https://w/pool", true},
		"name of the loopback":       {"http://localhost:8001", "http://127.0.0.1:8001", true},
		"loopback as IPv6":           {"http://[::1]:8001", "http://LOCALHOST.:8001", true},
		"loopback, mapped":           {"http://[::ffff:127.0.0.1]:8001", "http://[0:0:0:0:0:0:0:1]:8001", true},
		"all addresses":              {"http://0.0.0.0:8001", "http://[::]:8001", true},
		"all addresses and loopback": {"http://0.0.0.0:8001", "http://localhost:8001", true},
		"loopback, default port":     {"http://127.0.0.1:80", "http://localhost", true},
		"mapped":                     {"http://[::ffff:10.0.0.5]:1", "http://10.0.0.5:1", true},
		"another port":               {"http://localhost:8001", "http://127.0.0.1:8002", false},
		"port of the other scheme":   {"http://w:443", "http://w", false},
		"another scheme":             {"http://w:443", "https://w", false},
		"another path":               {"http://localhost:1/a", "http://127.0.0.1:1/b", false},
		"another loopback address":   {"http://127.0.0.2:1", "http://127.0.0.1:1", false},
		"a name below localhost":     {"http://w1.localhost:1", "http://localhost:1", false},
		"another name":               {"http://w1:1", "http://w2:1", false},
	} {
		t.Run(name, func(t *testing.T) {
			a, err := domain.ParseEndpoint(c.a)
			require.NoError(t, err)
			b, err := domain.ParseEndpoint(c.b)
			require.NoError(t, err)
			require.Equal(t, c.want, domain.IsSameEndpoint(a, b))
			require.Equal(t, c.want, domain.IsSameEndpoint(b, a))
			require.Equal(t, c.want, domain.EndpointKey(a) == domain.EndpointKey(b))
			require.Equal(t, a, domain.EndpointSpellings(a)[0])
			for _, s := range domain.EndpointSpellings(a) {
				canonical, err := domain.ParseEndpoint(s)
				require.NoError(t, err)
				require.Equal(t, canonical, s, "a spelling is what a store may hold")
			}
		})
	}
	require.Equal(t, []string{":"}, domain.EndpointSpellings(":"))
	require.Equal(t, ":", domain.EndpointKey(":"))
}
