package domain

import (
	"net/url"
	"slices"
)

// loopbackHosts are the spellings of the loopback address in endpoints. A process that listens on all addresses
// may register with the unspecified one, which leads to the loopback address too.
var loopbackHosts = []string{"localhost", "127.0.0.1", "[::1]", "0.0.0.0", "[::]"}

// EndpointSpellings returns the endpoints that lead to the same address as a canonical endpoint, see
// [ParseEndpoint]. They have the default port or none, and every name of the loopback address. The given
// endpoint comes first.
func EndpointSpellings(endpoint string) []string {
	u, err := url.Parse(endpoint)
	if err != nil {
		return []string{endpoint}
	}
	host := u.Host
	port := ""
	if p := u.Port(); p != "" {
		port = ":" + p
		host = host[:len(host)-len(port)]
	}
	hosts, ports := []string{host}, []string{port}
	if slices.Contains(loopbackHosts, host) {
		hosts = loopbackHosts
	}
	standard := map[string]string{"http": ":80", "https": ":443"}[u.Scheme]
	if port == "" || port == standard {
		ports = []string{"", standard}
	}
	spellings := []string{endpoint}
	for _, h := range hosts {
		for _, p := range ports {
			if s := u.Scheme + "://" + h + p + u.EscapedPath(); s != endpoint {
				spellings = append(spellings, s)
			}
		}
	}
	return spellings
}

// EndpointKey returns one text for all canonical endpoints that lead to the same address. Stores keep it unique.
func EndpointKey(endpoint string) string { return slices.Min(EndpointSpellings(endpoint)) }

// IsSameEndpoint reports whether two canonical endpoints lead to the same address.
func IsSameEndpoint(a, b string) bool {
	return a == b || slices.Contains(EndpointSpellings(a), b)
}
