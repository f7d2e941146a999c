package httpworker_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/httpworker"
	"github.com/switchyard-wa/switchyard/ports"
)

// serveTLS starts a server with a certificate that is its own authority. It returns
// the endpoint and the authority.
func serveTLS(t *testing.T, name string, from, until time.Time) (endpoint string, roots *x509.CertPool) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{name}, NotBefore: from, NotAfter: until,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	parsed, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	roots = x509.NewCertPool()
	roots.AddCert(parsed)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	require.NoError(t, err)
	return "https://localhost:" + port, roots
}

func TestHealth_TroubleWithTLS_IsToldPlainly(t *testing.T) {
	now := time.Now()
	plain := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer plain.Close()
	_, plainPort, err := net.SplitHostPort(plain.Listener.Addr().String())
	require.NoError(t, err)
	good, roots := serveTLS(t, "localhost", now.Add(-time.Hour), now.Add(time.Hour))
	expired, expiredRoots := serveTLS(t, "localhost", now.Add(-2*time.Hour), now.Add(-time.Hour))
	early, earlyRoots := serveTLS(t, "localhost", now.Add(time.Hour), now.Add(2*time.Hour))
	other, otherRoots := serveTLS(t, "other.example.com", now.Add(-time.Hour), now.Add(time.Hour))
	for name, c := range map[string]struct {
		endpoint string
		roots    *x509.CertPool
		want     string
	}{
		"good":             {good, roots, ""},
		"authority":        {good, x509.NewCertPool(), "an authority that this server does not know"},
		"expired":          {expired, expiredRoots, "has expired"},
		"not valid yet":    {early, earlyRoots, "is not valid yet"},
		"another name":     {other, otherRoots, "is for another host name"},
		"https to plain":   {"https://localhost:" + plainPort, roots, "does not speak TLS: begin its endpoint with http://"},
		"http to TLS":      {"http" + good[len("https"):], roots, "speaks TLS: begin its endpoint with https://"},
		"alert":            {talk(t, "\x15\x03\x01\x00\x02\x02\x46"), roots, "speaks TLS: begin its endpoint with https://"},
		"ends silently":    {talk(t, ""), roots, "if it speaks TLS, its endpoint begins with https://"},
		"ends a handshake": {"https" + talk(t, "")[len("http"):], roots, "The TLS handshake with the worker failed"},
	} {
		t.Run(name, func(t *testing.T) {
			gateway := quick(t, httpworker.Config{TLS: &tls.Config{RootCAs: c.roots}})
			err := gateway.Health(t.Context(), ports.WorkerRef{Endpoint: c.endpoint})
			if c.want == "" {
				require.NoError(t, err)
				return
			}
			var failure *ports.WorkerError
			require.ErrorAs(t, err, &failure)
			require.Contains(t, failure.Message, c.want)
			require.NotContains(t, failure.Message, "localhost", "the message is shown")
		})
	}
}

// talk starts a server that reads something, writes the words and ends the connection.
// It returns the endpoint.
func talk(t *testing.T, words string) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 4096))
			_, _ = io.WriteString(conn, words)
			_ = conn.Close()
		}
	}()
	return "http://" + listener.Addr().String()
}
