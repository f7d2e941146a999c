package webhook_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/egress"
	"github.com/switchyard-wa/switchyard/adapters/webhook"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/conformance"
)

// verify checks a signature by the library of the Standard Webhooks project.
func verify(secret string, r conformance.ReceivedWebhook) error {
	v, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		return err
	}
	return v.Verify(r.Body, r.Header)
}

func TestSender_Conformance(t *testing.T) {
	conformance.WebhookSender(t, func(t *testing.T) ports.WebhookSender { return newSender(t, webhook.Config{}) }, verify)
}

func newSender(t *testing.T, c webhook.Config) *webhook.Sender {
	s := webhook.New(c)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func call(url string) ports.WebhookCall {
	return ports.WebhookCall{
		URL: url, ID: "d1", At: time.Now(), Keys: [][]byte{make([]byte, 32)}, Event: &domain.Event{Type: domain.EventPing}, Timeout: 5 * time.Second,
	}
}

// message returns the message of the error of a call.
func message(t *testing.T, s *webhook.Sender, c ports.WebhookCall) string {
	t.Helper()
	_, err := s.Post(t.Context(), c)
	var e *ports.WebhookError
	require.ErrorAs(t, err, &e)
	require.NotContains(t, e.Message, "127.0.0.1")
	return e.Message
}

// guarded returns a sender with the address policy, for which every name resolves to the address that
// names returns.
func guarded(t *testing.T, names func() string) *webhook.Sender {
	d := net.Dialer{Timeout: time.Second, Control: func(network, address string, c syscall.RawConn) error {
		if err := egress.Control(network, address, c); err != nil {
			return fmt.Errorf("%w: %w", webhook.ErrNotAllowed, err)
		}
		return nil
	}}
	return newSender(t, webhook.Config{Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		if host, port, err := net.SplitHostPort(address); err == nil && net.ParseIP(host) == nil {
			address = net.JoinHostPort(names(), port)
		}
		return d.DialContext(ctx, network, address)
	}})
}

func TestPost_AddressIsNotPublic_IsRefusedAtDial(t *testing.T) {
	var calls atomic.Int32
	inside := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { calls.Add(1) }))
	defer inside.Close()
	s := guarded(t, func() string { return "127.0.0.1" })
	for _, url := range []string{inside.URL, strings.Replace(inside.URL, "127.0.0.1", "[::ffff:127.0.0.1]", 1), "http://169.254.169.254/latest/meta-data"} {
		require.Contains(t, message(t, s, call(url)), "must be public", url)
	}
	require.Zero(t, calls.Load())
}

func TestPost_NameChangesItsAddress_IsRefusedAtDial(t *testing.T) {
	var calls atomic.Int32
	inside := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { calls.Add(1) }))
	defer inside.Close()
	policy := egress.New(egress.Config{}) // knows no such name, and passes it
	url := strings.Replace(inside.URL, "127.0.0.1", "rebinds.example.com", 1)
	require.NoError(t, policy.CheckURL(t.Context(), url))
	require.Contains(t, message(t, guarded(t, func() string { return "127.0.0.1" }), call(url)), "must be public")
	require.Zero(t, calls.Load())
}

// The process is paused while it connects. The dial stands for the pause. The time of the attempt is not over.
func TestPost_PausedWhileItConnects_SendsNothing(t *testing.T) {
	for name, start := range map[string]func(*httptest.Server){"http": (*httptest.Server).Start, "https": (*httptest.Server).StartTLS} {
		t.Run(name, func(t *testing.T) {
			var calls atomic.Int32
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { calls.Add(1) }))
			start(server)
			defer server.Close()
			var pause time.Duration
			s := newSender(t, webhook.Config{
				Dial: func(_ context.Context, network, address string) (net.Conn, error) {
					time.Sleep(pause)
					return net.Dial(network, address)
				},
				Transport: func(tr *http.Transport) {
					tr.TLSClientConfig = server.Client().Transport.(*http.Transport).TLSClientConfig
				},
			})
			c := call(server.URL)
			pause, c.NotAfter = 60*time.Millisecond, time.Now().Add(50*time.Millisecond)
			require.Contains(t, message(t, s, c), "in time")

			pause, c.NotAfter = 0, time.Now().Add(time.Minute)
			for range 2 { // on a new connection, and on one that is used again
				_, err := s.Post(t.Context(), c)
				require.NoError(t, err)
			}
			c.NotAfter = time.Now().Add(-time.Millisecond)
			require.Contains(t, message(t, s, c), "in time")
			c.NotAfter = time.Time{}
			_, err := s.Post(t.Context(), c)
			require.NoError(t, err)
			require.NoError(t, s.Close())
			server.Close() // waits for requests
			require.EqualValues(t, 3, calls.Load())
		})
	}
}

func TestPost_OthersHangAtTheHost_IsNotDelayed(t *testing.T) {
	const hanging = 100
	ended := make(chan struct{})
	var entered sync.WaitGroup
	entered.Add(hanging)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hang" {
			entered.Done()
			<-ended
		}
	}))
	defer server.Close()
	s := newSender(t, webhook.Config{})
	var all sync.WaitGroup
	defer all.Wait()
	defer close(ended)
	for range hanging {
		all.Go(func() {
			c := call(server.URL + "/hang")
			c.Timeout = time.Minute
			_, err := s.Post(context.WithoutCancel(t.Context()), c)
			assert.NoError(t, err)
		})
	}
	entered.Wait()
	answer, err := s.Post(t.Context(), call(server.URL+"/other"))
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, answer.Code)
}

func TestPost_HugeResponse_IsReadToItsBound(t *testing.T) {
	var sent atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		chunk := make([]byte, 1<<20)
		for range 1024 {
			n, err := w.Write(chunk)
			sent.Add(int64(n))
			if err != nil {
				return
			}
		}
	}))
	defer server.Close()
	answer, err := newSender(t, webhook.Config{}).Post(t.Context(), call(server.URL))
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, answer.Code)
	server.Close()
	require.Less(t, sent.Load(), int64(64<<20), "the connection was closed")
}

func TestPost_BodyDrips_StatusDecides(t *testing.T) {
	ended := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusAccepted)
		_, _ = io.WriteString(w, "a")
		_ = http.NewResponseController(w).Flush()
		select {
		case <-r.Context().Done():
		case <-ended:
		}
	}))
	defer server.Close()
	defer close(ended)
	c := call(server.URL)
	c.Timeout = time.Hour
	answer, err := newSender(t, webhook.Config{}).Post(t.Context(), c)
	require.NoError(t, err)
	require.Equal(t, http.StatusAccepted, answer.Code)
}

// raw returns the URL of a listener that answers each connection with bytes.
func raw(t *testing.T, answer func(c net.Conn)) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				answer(c)
			}()
		}
	}()
	return "http://" + l.Addr().String()
}

func TestPost_HeadersDrip_TimesOut(t *testing.T) {
	url := raw(t, func(c net.Conn) {
		for {
			if _, err := c.Read(make([]byte, 4096)); err != nil { // blocks once the request is read
				return
			}
			if _, err := io.WriteString(c, "H"); err != nil {
				return
			}
		}
	})
	c := call(url)
	c.Timeout = 100 * time.Millisecond
	require.Contains(t, message(t, newSender(t, webhook.Config{}), c), "did not answer in time")
}

func TestPost_UnusableAnswers_AreToldPlainly(t *testing.T) {
	request := func(c net.Conn) { _, _ = c.Read(make([]byte, 4096)) }
	for name, c := range map[string]struct {
		answer func(c net.Conn)
		want   string
	}{
		"closed at once": {func(c net.Conn) { request(c) }, "ended before"},
		"no HTTP":        {func(c net.Conn) { request(c); _, _ = io.WriteString(c, "220 smtp ready\r\n") }, "no HTTP"},
		"endless header": {func(c net.Conn) {
			request(c)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nX: "+strings.Repeat("x", 1<<20)+"\r\n\r\n")
			request(c)
		}, "no HTTP"},
	} {
		t.Run(name, func(t *testing.T) {
			require.Contains(t, message(t, newSender(t, webhook.Config{}), call(raw(t, c.answer))), c.want)
		})
	}
}

func TestPost_TLSFails_IsToldPlainly(t *testing.T) {
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	require.Contains(t, message(t, newSender(t, webhook.Config{}), call(server.URL)), "authority that this server does not know")

	trusting := func(change func(c *tls.Config)) webhook.Config {
		return webhook.Config{Transport: func(tr *http.Transport) {
			pool := x509.NewCertPool()
			pool.AddCert(server.Certificate())
			tr.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
			change(tr.TLSClientConfig)
		}}
	}
	answer, err := newSender(t, trusting(func(*tls.Config) {})).Post(t.Context(), call(server.URL))
	require.NoError(t, err)
	require.Equal(t, http.StatusNotFound, answer.Code)
	require.Contains(t, message(t, newSender(t, trusting(func(c *tls.Config) { c.ServerName = "other.invalid" })), call(server.URL)), "another host name")
	require.Contains(t, message(t, newSender(t, trusting(func(c *tls.Config) { c.Time = func() time.Time { return time.Unix(1<<40, 0) } })), call(server.URL)), "expired")

	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	require.Contains(t, message(t, newSender(t, webhook.Config{}), call(strings.Replace(plain.URL, "http:", "https:", 1))), "does not speak TLS")
}

func TestPost_NameUnknown_IsToldPlainly(t *testing.T) {
	s := newSender(t, webhook.Config{Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Err: &net.DNSError{Name: "nowhere.example.com", IsNotFound: true}}
	}})
	require.Contains(t, message(t, s, call("https://nowhere.example.com")), "not found")
	s = newSender(t, webhook.Config{Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Err: os.ErrDeadlineExceeded}
	}})
	require.Contains(t, message(t, s, call("https://a.example.com")), "did not accept")
	s = newSender(t, webhook.Config{Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Err: errors.New("no route to host")}
	}})
	require.Contains(t, message(t, s, call("https://a.example.com")), "cannot be reached")
}
