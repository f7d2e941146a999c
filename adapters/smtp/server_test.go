package smtp_test

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// server is a minimal mail server. Its fields are set before start.
type server struct {
	implicit bool              // TLS from the first byte
	startTLS bool              // whether the extension is offered
	auth     string            // offered mechanisms, as in "PLAIN LOGIN"
	stall    string            // the command that gets no response
	answers  map[string]string // responses that differ from the usual ones, by command

	cert tls.Certificate
	addr *net.TCPAddr

	mu       sync.Mutex
	commands []string // in their order; "TLS " precedes an encrypted one
	data     []string // mails
}

// start listens on loopback until the test ends. The end of the test waits for
// every connection to end, and so finds connections that were left open.
func (s *server) start(t *testing.T) *server {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s.addr = listener.Addr().(*net.TCPAddr)
	s.cert = certificate(t)
	var wg sync.WaitGroup
	t.Cleanup(func() {
		listener.Close()
		wg.Wait()
	})
	wg.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer conn.Close()
				s.talk(conn)
			})
		}
	})
	return s
}

// roots returns the certificates that a client must trust.
func (s *server) roots(t *testing.T) *x509.CertPool {
	t.Helper()
	leaf, err := x509.ParseCertificate(s.cert.Certificate[0])
	require.NoError(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return pool
}

func (s *server) talk(conn net.Conn) {
	encrypted := false
	secure := func() {
		conn = tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{s.cert}})
		encrypted = true
	}
	if s.implicit {
		secure()
	}
	in := bufio.NewReader(conn)
	say := func(lines ...string) { _, _ = io.WriteString(conn, strings.Join(lines, "\r\n")+"\r\n") }
	say("220 test ready")
	for {
		text, err := in.ReadString('\n')
		if err != nil {
			return
		}
		text = strings.TrimRight(text, "\r\n")
		s.note(encrypted, text)
		verb, arg, _ := strings.Cut(text, " ")
		verb = strings.ToUpper(verb)
		if verb == s.stall {
			_, _ = io.Copy(io.Discard, in)
			return
		}
		if answer, ok := s.answers[verb]; ok {
			say(answer)
			continue
		}
		switch verb {
		case "EHLO":
			offer := []string{"250-test"}
			if s.startTLS && !encrypted {
				offer = append(offer, "250-STARTTLS")
			}
			if s.auth != "" {
				offer = append(offer, "250-AUTH "+s.auth)
			}
			say(append(offer, "250 8BITMIME")...)
		case "STARTTLS":
			say("220 go on")
			secure()
			in = bufio.NewReader(conn)
		case "AUTH":
			if _, blob, ok := strings.Cut(arg, " "); ok {
				plain, _ := base64.StdEncoding.DecodeString(blob)
				s.note(encrypted, "credentials "+strings.ReplaceAll(string(plain), "\x00", "|"))
			}
			say("235 welcome")
		case "DATA":
			say("354 go on")
			var mail strings.Builder
			for {
				text, err := in.ReadString('\n')
				if err != nil {
					return
				}
				if text == ".\r\n" {
					break
				}
				mail.WriteString(strings.TrimPrefix(text, "."))
			}
			s.mu.Lock()
			s.data = append(s.data, mail.String())
			s.mu.Unlock()
			if answer, ok := s.answers["."]; ok {
				say(answer)
				continue
			}
			say("250 taken")
		case "QUIT":
			say("221 bye")
			return
		default:
			say("250 fine")
		}
	}
}

func (s *server) note(encrypted bool, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if encrypted {
		text = "TLS " + text
	}
	s.commands = append(s.commands, text)
}

// heard returns the commands so far.
func (s *server) heard() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.commands, "\n")
}

// mails returns the accepted mails so far.
func (s *server) mails() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.data...)
}

func certificate(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
		DNSNames:     []string{"mail.example.com"},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err, fmt.Sprint(template.DNSNames))
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
