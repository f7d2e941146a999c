package httpworker_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/httpworker"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/conformance"
)

const sentOK = `{"success":true,"data":{"messageId":"3EB0","status":"SENT"}}`

// quick returns a client with short delays between attempts.
func quick(t *testing.T, cfg httpworker.Config) *httpworker.Client {
	cfg.RetryWait = time.Millisecond
	c := httpworker.New("secret-token", httpworker.With(cfg))
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// failed requires that a call failed with the given failure.
func failed(t *testing.T, err error, want ports.WorkerFailure) {
	t.Helper()
	require.Equal(t, want, failure(t, err, want).Failure)
}

// failure returns the error of a call and requires the given failure.
func failure(t *testing.T, err error, want ports.WorkerFailure) *ports.WorkerError {
	t.Helper()
	var e *ports.WorkerError
	require.True(t, errors.As(err, &e), "%v", err)
	require.Equal(t, want, e.Failure, "%v", err)
	require.NotContains(t, err.Error(), "secret-token")
	return e
}

// script serves connections without an HTTP server. It calls serve for each
// request, numbered over all connections, and closes the connection on false.
func script(t *testing.T, serve func(n int, r *http.Request, conn net.Conn) (keep bool)) (endpoint string, closed <-chan int) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { ln.Close() })
	ended := make(chan int, 100)
	var count atomic.Int64
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				in := bufio.NewReader(conn)
				for {
					r, err := http.ReadRequest(in)
					if err == nil {
						_, err = io.Copy(io.Discard, r.Body)
					}
					if err != nil {
						conn.Close()
						return
					}
					n := int(count.Add(1))
					if !serve(n, r, conn) {
						conn.Close()
						ended <- n
						return
					}
				}
			}()
		}
	}()
	return "http://" + ln.Addr().String(), ended
}

// answer writes a response with a 200 and the body.
func answer(conn net.Conn, body string) {
	_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: "+itoa(len(body))+"\r\n\r\n"+body)
}

func itoa(n int) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return itoa(n/10) + string(rune('0'+n%10))
}

// A worker may close idle connections without notice. That costs neither a
// failure nor a second message.
func TestSend_ConnectionClosedWhileIdle_SendsOnce(t *testing.T) {
	var requests atomic.Int64
	endpoint, closed := script(t, func(_ int, _ *http.Request, conn net.Conn) bool {
		requests.Add(1)
		answer(conn, sentOK)
		return false
	})
	c := quick(t, httpworker.Config{})
	w := ports.WorkerRef{ID: "w1", Endpoint: endpoint}
	for range 20 {
		_, err := c.Send(t.Context(), w, hello)
		require.NoError(t, err)
		<-closed
	}
	require.EqualValues(t, 20, requests.Load())
}

// A connection that ends after the request was written leaves the outcome of a
// send unknown. The client repeats the send only if the worker has dedupe.
func TestSend_ConnectionEndsAfterRequest_RetriesOnlyWithDedupe(t *testing.T) {
	for _, reused := range []bool{false, true} {
		for _, dedupe := range []bool{false, true} {
			var requests atomic.Int64
			ends := int64(1)
			if reused {
				ends = 2
			}
			endpoint, _ := script(t, func(_ int, _ *http.Request, conn net.Conn) bool {
				if requests.Add(1) == ends {
					return false
				}
				answer(conn, sentOK)
				return true
			})
			c := quick(t, httpworker.Config{})
			w := ports.WorkerRef{ID: "w1", Endpoint: endpoint}
			if dedupe {
				w.Capabilities = []domain.Capability{domain.CapDedupe}
			}
			if reused {
				_, err := c.Send(t.Context(), w, hello)
				require.NoError(t, err)
			}
			_, err := c.Send(t.Context(), w, hello)
			if dedupe {
				require.NoError(t, err)
				require.Equal(t, ends+1, requests.Load())
			} else {
				require.False(t, failure(t, err, ports.WorkerConnectionLost).IsNotExecuted())
				require.Equal(t, ends, requests.Load())
			}
		}
	}
}

// A message is written three times at most, however many pooled connections
// turn out to be closed.
func TestSend_ManyStaleConnections_ThreeAttemptsAtMost(t *testing.T) {
	const kept = 6
	var before, after atomic.Int64
	var ending atomic.Bool
	all := make(chan struct{})
	endpoint, _ := script(t, func(_ int, _ *http.Request, conn net.Conn) bool {
		if ending.Load() {
			after.Add(1)
			return false
		}
		if before.Add(1) == kept {
			close(all)
		}
		<-all // force a connection for each call
		answer(conn, sentOK)
		return true
	})
	c := quick(t, httpworker.Config{})
	w := ports.WorkerRef{ID: "w1", Endpoint: endpoint, Capabilities: []domain.Capability{domain.CapDedupe}}
	done := make(chan error, kept)
	for range kept {
		go func() {
			_, err := c.Send(t.Context(), w, hello)
			done <- err
		}()
	}
	for range kept {
		require.NoError(t, <-done)
	}
	ending.Store(true)
	_, err := c.Send(t.Context(), w, hello)
	require.False(t, failure(t, err, ports.WorkerConnectionLost).IsNotExecuted())
	require.EqualValues(t, 3, after.Load())
}

func TestSend_TruncatedResponse_ConnectionLost(t *testing.T) {
	for name, bytes := range map[string]string{
		"in the head":   "HTTP/1.1 200 OK\r\nContent-Le",
		"in the body":   "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"succ",
		"in the chunks": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"suc",
	} {
		t.Run(name, func(t *testing.T) {
			endpoint, _ := script(t, func(_ int, _ *http.Request, conn net.Conn) bool {
				_, _ = io.WriteString(conn, bytes)
				return false
			})
			_, err := quick(t, httpworker.Config{}).Send(t.Context(), ports.WorkerRef{Endpoint: endpoint}, hello)
			failed(t, err, ports.WorkerConnectionLost)
		})
	}
}

// The first try may have gone out. A worker that refuses the repetition, or has lost the session
// meanwhile, does not take that back.
func TestSend_RepetitionIsRefused_OutcomeStaysUnknown(t *testing.T) {
	for name, refusal := range map[string]string{
		"session not found": "HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\nContent-Length: 45\r\n\r\n" + `{"success":false,"error":"Session not found"}`,
		"rejected":          "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: 39\r\n\r\n" + `{"success":false,"error":"Not allowed"}`,
	} {
		t.Run(name, func(t *testing.T) {
			var requests atomic.Int64
			endpoint, _ := script(t, func(_ int, _ *http.Request, conn net.Conn) bool {
				if requests.Add(1) == 1 {
					return false // the connection ends after the request
				}
				_, _ = io.WriteString(conn, refusal)
				return true
			})
			w := ports.WorkerRef{ID: "w1", Endpoint: endpoint, Capabilities: []domain.Capability{domain.CapDedupe}}
			_, err := quick(t, httpworker.Config{}).Send(t.Context(), w, hello)
			require.False(t, failure(t, err, ports.WorkerConnectionLost).IsNotExecuted())
			require.EqualValues(t, 2, requests.Load())
		})
	}
}

func TestSend_InvalidResponse_FailsWithoutRetry(t *testing.T) {
	for name, bytes := range map[string]string{
		"not HTTP":        "SSH-2.0-OpenSSH_9.6 secret-token\r\n\r\n",
		"not JSON":        "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>",
		"no message id":   "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n{\"data\":{}}",
		"far too long":    "HTTP/1.1 200 OK\r\nContent-Length: 17000000\r\n\r\n",
		"endless heading": "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 20_000) + "\r\n\r\n",
		"a redirect":      "HTTP/1.1 307 Temporary Redirect\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			var requests atomic.Int64
			endpoint, _ := script(t, func(_ int, _ *http.Request, conn net.Conn) bool {
				requests.Add(1)
				_, _ = io.WriteString(conn, bytes)
				return false
			})
			w := ports.WorkerRef{Endpoint: endpoint, Capabilities: []domain.Capability{domain.CapDedupe}}
			_, err := quick(t, httpworker.Config{}).Send(t.Context(), w, hello)
			require.False(t, failure(t, err, ports.WorkerFailed).IsNotExecuted())
			require.EqualValues(t, 1, requests.Load(), "an invalid response is final")
		})
	}
}

// Only a refusal in the error form of the protocol proves that nothing was sent.
func TestSend_ErrorResponse_ClassifiedByForm(t *testing.T) {
	const html = "<!DOCTYPE html><html><body><pre>Cannot POST /api/one/send</pre></body></html>"
	for name, k := range map[string]struct {
		status      int
		body        string
		want        ports.WorkerFailure
		notExecuted bool
		text        string
	}{
		"refused, text":          {400, `{"success":false,"error":"Stickers are not supported","details":{}}`, ports.WorkerRejected, true, "Stickers are not supported"},
		"refused, object":        {422, `{"success":false,"error":{"code":"X","message":"No groups"}}`, ports.WorkerRejected, true, "No groups"},
		"refused, errorMessage":  {400, `{"success":false,"errorMessage":"No"}`, ports.WorkerRejected, true, "No"},
		"no such recipient":      {404, `{"success":false,"error":"The number is not on WhatsApp"}`, ports.WorkerRejected, true, "The number is not on WhatsApp"},
		"no session":             {404, `{"success":false,"error":{"code":"SESSION_NOT_FOUND","message":"Not here"}}`, ports.WorkerSessionNotFound, true, "Not here"},
		"no session, in words":   {404, `{"success":false,"error":"Session one not found"}`, ports.WorkerSessionNotFound, true, "Session one not found"},
		"no message":             {404, `{"success":false,"error":"Message not found in this session"}`, ports.WorkerRejected, true, "Message not found in this session"},
		"no message, by code":    {404, `{"success":false,"error":{"code":"MESSAGE_NOT_FOUND","message":"Not in session one"}}`, ports.WorkerRejected, true, "Not in session one"},
		"nothing is named":       {404, `{"success":false,"error":"Not found"}`, ports.WorkerSessionNotFound, true, "Not found"},
		"no route, in the form":  {404, `{"success":false,"error":{"code":"ROUTE_NOT_FOUND","message":"Route POST /api/session-1/send not found"}}`, ports.WorkerRouteMissing, true, "Route POST … not found"},
		"no route, HTML":         {404, html, ports.WorkerRouteMissing, false, ""},
		"no route, another form": {404, `{"message":"no Route matched with those values"}`, ports.WorkerRouteMissing, false, "no Route matched with those values"},
		"wrong method":           {405, "", ports.WorkerRouteMissing, false, ""},
		"busy, in words":         {429, "Too many requests, please try again later.", ports.WorkerBusy, true, ""},
		"a proxy refuses":        {403, "<html>Forbidden</html>", ports.WorkerFailed, false, ""},
		"too large for a proxy":  {413, "<html>413</html>", ports.WorkerFailed, false, ""},
		"a proxy's JSON":         {400, `{"message":"bad request"}`, ports.WorkerFailed, false, "bad request"},
		"wrong token":            {401, `{"success":false,"error":"Unauthorized"}`, ports.WorkerRejected, true, ""},
		"failed":                 {500, `{"success":false,"error":"Oops","details":{}}`, ports.WorkerFailed, false, "Oops"},
		"failed before sending":  {503, `{"success":false,"error":{"message":"Starting","notSent":true}}`, ports.WorkerFailed, true, "Starting"},
		"bad gateway":            {502, "<html>502</html>", ports.WorkerFailed, false, ""},
		"unknown to a proxy":     {520, "error code: 520", ports.WorkerFailed, false, ""},
		"200 without an id":      {200, `{"success":true,"data":{"status":"SENT"}}`, ports.WorkerFailed, false, ""},
		"200 and no success":     {200, `{"success":false,"error":"Oops"}`, ports.WorkerFailed, false, "Oops"},
		"200 and not sent":       {200, `{"success":false,"error":{"message":"Oops","notSent":true}}`, ports.WorkerFailed, true, "Oops"},
		"200 with a page":        {200, "<html>Welcome</html>", ports.WorkerFailed, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(k.status)
				_, _ = io.WriteString(w, k.body)
			}))
			defer server.Close()
			_, err := quick(t, httpworker.Config{}).Send(t.Context(), ports.WorkerRef{Endpoint: server.URL}, hello)
			e := failure(t, err, k.want)
			require.Equal(t, k.status, e.Status)
			require.Equal(t, k.notExecuted, e.IsNotExecuted())
			require.Equal(t, k.text, e.Text)
			require.Equal(t, domain.ProbeAnswered, e.Probe())
		})
	}
}

// Whatever a 404 is about, a session call finds no session.
func TestSessionCalls_AnyNotFound_SessionNotThere(t *testing.T) {
	for _, body := range []string{"", "<html>Cannot DELETE /api/sessions/one</html>", `{"success":false,"error":"Route not found"}`, `{"success":false,"error":"No files of this one"}`} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, body)
		}))
		defer server.Close()
		c, w := quick(t, httpworker.Config{}), ports.WorkerRef{Endpoint: server.URL}
		require.NoError(t, c.Disconnect(t.Context(), w, "one", 0))
		failed(t, c.Delete(t.Context(), w, "one", 0), ports.WorkerSessionNotFound)
		failed(t, c.Logout(t.Context(), w, "one", 0), ports.WorkerSessionNotFound)
		failed(t, c.Restart(t.Context(), w, "one", 0), ports.WorkerSessionNotFound)
		_, err := c.Status(t.Context(), w, "one")
		failed(t, err, ports.WorkerSessionNotFound)
	}
}

// The token stays with the worker, because redirects are not followed.
func TestClient_Redirect_IsNotFollowed(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("followed") }))
	defer other.Close()
	server := httptest.NewServer(http.RedirectHandler(other.URL, http.StatusFound))
	defer server.Close()
	c := quick(t, httpworker.Config{})
	require.Equal(t, 302, failure(t, c.Health(t.Context(), ports.WorkerRef{Endpoint: server.URL}), ports.WorkerFailed).Status)
	_, err := c.Status(t.Context(), ports.WorkerRef{Endpoint: server.URL}, "one")
	failed(t, err, ports.WorkerFailed)
}

// A worker that echoes the request must not put the token into a log.
func TestSend_WorkerEchoesToken_ErrorHidesIt(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, `{"error":"bad header `+r.Header.Get("Authorization")+`"}`)
	}))
	defer server.Close()
	_, err := quick(t, httpworker.Config{}).Send(t.Context(), ports.WorkerRef{Endpoint: server.URL}, hello)
	failed(t, err, ports.WorkerRejected)
}

// Anything but 200 is a failure, and a health check is not retried.
func TestHealth_AnythingBut200_FailsWithoutRetry(t *testing.T) {
	var requests atomic.Int64
	status := http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		if r.URL.Path != "/health" || r.Method != http.MethodGet {
			t.Errorf("%s %s", r.Method, r.URL)
		}
		w.WriteHeader(status)
	}))
	defer server.Close()
	c := quick(t, httpworker.Config{})
	w := ports.WorkerRef{ID: "w1", Endpoint: server.URL}
	require.NoError(t, c.Health(t.Context(), w))
	for code, want := range map[int]ports.WorkerFailure{
		204: ports.WorkerFailed, 404: ports.WorkerRejected, 401: ports.WorkerRejected, 429: ports.WorkerBusy, 503: ports.WorkerFailed,
	} {
		status = code
		requests.Store(0)
		require.Equal(t, domain.ProbeAnswered, failure(t, c.Health(t.Context(), w), want).Probe())
		require.EqualValues(t, 1, requests.Load())
	}
}

// dialing returns a client whose connections fail in the given way, and the
// number of dials.
func dialing(t *testing.T, dial func(ctx context.Context) error) (*httpworker.Client, *atomic.Int64) {
	var dials atomic.Int64
	return quick(t, httpworker.Config{
		SuspendFor: time.Hour,
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			dials.Add(1)
			if err := dial(ctx); err != nil {
				return nil, &net.OpError{Op: "dial", Net: network, Err: err}
			}
			return new(net.Dialer).DialContext(ctx, network, address)
		},
	}), &dials
}

func TestSend_CannotConnect_NotExecutedAfterThreeAttempts(t *testing.T) {
	w := ports.WorkerRef{Endpoint: "http://worker.example:8001"}
	for _, k := range []struct {
		err  error
		want ports.WorkerFailure
		says string
	}{
		{&net.DNSError{Name: "worker.example", IsNotFound: true}, ports.WorkerNameUnknown, "not found"},
		{&net.DNSError{Name: "worker.example", IsTimeout: true}, ports.WorkerUnreachable, "timed out"},
		{context.DeadlineExceeded, ports.WorkerUnreachable, "timed out"},
		{fmt.Errorf("10.0.0.7: %w", httpworker.ErrNotAllowed), ports.WorkerUnreachable, "not one that this server may call"},
		{errors.New("no route to host 10.0.0.7"), ports.WorkerUnreachable, "cannot be reached"},
	} {
		c, dials := dialing(t, func(context.Context) error { return k.err })
		_, err := c.Send(t.Context(), w, hello)
		e := failure(t, err, k.want)
		require.True(t, e.IsNotExecuted())
		require.Contains(t, e.Message, k.says)
		require.NotContains(t, e.Message, "worker.example")
		require.NotContains(t, e.Message, "10.0.0.7")
		require.EqualValues(t, 3, dials.Load(), "failures to connect have three attempts")
	}
}

// A cancelled call does not wait for a slow dial.
func TestSend_CancelledWhileDialing_ReturnsAtOnce(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	released := make(chan struct{})
	c, _ := dialing(t, func(dial context.Context) error {
		cancel()
		<-released
		return errors.New("late")
	})
	_, err := c.Send(ctx, ports.WorkerRef{Endpoint: "http://worker.example:8001"}, hello)
	require.True(t, failure(t, err, ports.WorkerUnreachable).IsNotExecuted())
	close(released)
}

// A worker that keeps failing opens its circuit. Its health closes the circuit.
func TestCircuit_RepeatedFailures_OpensUntilHealthy(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, sentOK) }))
	defer server.Close()
	var down atomic.Bool
	down.Store(true)
	c, dials := dialing(t, func(context.Context) error {
		if down.Load() {
			return errors.New("down")
		}
		return nil
	})
	w := ports.WorkerRef{Endpoint: server.URL}
	for range 2 { // three attempts each; the fifth failure opens the circuit
		_, err := c.Send(t.Context(), w, hello)
		failed(t, err, ports.WorkerUnreachable)
	}
	require.EqualValues(t, 5, dials.Load())
	_, err := c.Send(t.Context(), w, hello)
	require.True(t, failure(t, err, ports.WorkerCircuitOpen).IsNotExecuted())
	require.EqualValues(t, 5, dials.Load(), "the circuit is open")

	failed(t, c.Health(t.Context(), ports.WorkerRef{Endpoint: server.URL}), ports.WorkerUnreachable)
	require.EqualValues(t, 6, dials.Load(), "an open circuit does not stop health checks")
	down.Store(false)
	_, err = c.Send(t.Context(), w, hello)
	failed(t, err, ports.WorkerCircuitOpen)
	require.NoError(t, c.Health(t.Context(), ports.WorkerRef{Endpoint: server.URL}))
	_, err = c.Send(t.Context(), w, hello)
	require.NoError(t, err, "a healthy worker is called at once")
}

// Neither a 4xx nor a caller that goes away opens the circuit.
func TestCircuit_RejectionsAndCancellations_StaysClosed(t *testing.T) {
	fake := conformance.NewHTTPWorker(t, "secret-token")
	w := fake.Worker()
	c := quick(t, httpworker.Config{SuspendFor: time.Hour})
	for range 10 {
		_, err := c.Send(t.Context(), w.Ref, hello)
		failed(t, err, ports.WorkerSessionNotFound)
	}
	for range 10 {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := c.Send(ctx, w.Ref, hello)
		failed(t, err, ports.WorkerUnreachable)
	}
	_, err := c.List(t.Context(), w.Ref)
	require.NoError(t, err)
}

// After SuspendFor, one call probes whether the worker is back.
func TestCircuit_AfterSuspendFor_OneCallProbes(t *testing.T) {
	var down atomic.Bool
	down.Store(true)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, sentOK) }))
	defer server.Close()
	c := quick(t, httpworker.Config{SuspendAfter: 1, SuspendFor: 10 * time.Millisecond,
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			if down.Load() {
				return nil, errors.New("down")
			}
			return new(net.Dialer).DialContext(ctx, network, address)
		}})
	w := ports.WorkerRef{Endpoint: server.URL}
	_, err := c.Send(t.Context(), w, hello)
	failed(t, err, ports.WorkerUnreachable)
	down.Store(false)
	require.Eventually(t, func() bool {
		_, err := c.Send(t.Context(), w, hello)
		return err == nil
	}, 5*time.Second, 5*time.Millisecond)
}

// The time limit covers all attempts together.
func TestCallLimit_SlowWorker_CoversAllAttempts(t *testing.T) {
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer server.Close()
	defer close(release)
	c := quick(t, httpworker.Config{CallLimit: 60 * time.Millisecond, HealthLimit: 40 * time.Millisecond})
	began := time.Now()
	_, err := c.Start(t.Context(), ports.WorkerRef{Endpoint: server.URL}, ports.Start{SessionID: "one"})
	require.False(t, failure(t, err, ports.WorkerTimedOut).IsNotExecuted())
	failed(t, c.Health(t.Context(), ports.WorkerRef{Endpoint: server.URL}), ports.WorkerTimedOut)
	require.Less(t, time.Since(began), 5*time.Second)
}

// A context that ends just as the response arrives must not leave a pooled
// connection that fails the next call.
func TestSend_CancelledAsResponseArrives_NextCallSucceeds(t *testing.T) {
	endpoint := instant(t)
	c := quick(t, httpworker.Config{SuspendAfter: 1, SuspendFor: time.Hour})
	w := ports.WorkerRef{Endpoint: endpoint}
	for i := range 300 {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Duration(i%60)*2*time.Microsecond, cancel)
		_, _ = c.Send(ctx, w, hello)
		_, err := c.Send(t.Context(), w, hello)
		require.NoError(t, err)
	}
}

func TestClient_HTTPS_VerifiesCertificate(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, sentOK) }))
	defer server.Close()
	server.Config.ErrorLog = nil
	w := ports.WorkerRef{Endpoint: server.URL}
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	c := quick(t, httpworker.Config{TLS: &tls.Config{RootCAs: roots}})
	for range 3 {
		_, err := c.Send(t.Context(), w, hello)
		require.NoError(t, err)
	}
	_, err := quick(t, httpworker.Config{}).Send(t.Context(), w, hello)
	require.True(t, failure(t, err, ports.WorkerUnreachable).IsNotExecuted(), "the certificate is unknown")
}
