package httpworker_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/httpworker"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/conformance"
)

// The body of a call depends on the capabilities of the worker.
func TestClient_Capabilities_DecideBodies(t *testing.T) {
	start := ports.Start{SessionID: "one", UserID: "u1", SessionName: "One", Generation: 4, Recover: true, PairingPhone: "6281234567890"}
	plain := map[string]any{"sessionId": "one", "userId": "u1", "sessionName": "One"}
	pairing := map[string]any{"phoneNumber": "6281234567890"}
	for _, k := range []struct {
		caps []domain.Capability
		want map[string]any
	}{
		{nil, plain},
		{[]domain.Capability{domain.CapDedupe}, map[string]any{"sessionId": "one", "userId": "u1", "sessionName": "One", "pairing": pairing}},
		{[]domain.Capability{domain.CapGeneration}, map[string]any{"sessionId": "one", "userId": "u1", "sessionName": "One",
			"generation": 4.0, "recover": true, "pairing": pairing}},
	} {
		fake := conformance.NewHTTPWorker(t, "secret-token", k.caps...)
		w := fake.Worker()
		c := quick(t, httpworker.Config{})
		r, err := c.Start(t.Context(), w.Ref, start)
		require.NoError(t, err)
		require.Equal(t, domain.QRRequired, r.Status)
		require.Equal(t, "2@one", r.QR.Code)
		require.Equal(t, conformance.HTTPCall{Method: "POST", Path: "/api/sessions/start", Body: k.want}, fake.Last(t))

		s := hello
		s.SessionID = "one"
		_, err = c.Send(t.Context(), w.Ref, s)
		require.NoError(t, err)
		_, deduped := fake.Last(t).Body["clientMessageId"]
		require.Equal(t, len(k.caps) > 0 && k.caps[0] == domain.CapDedupe, deduped)

		var named map[string]any
		if len(k.caps) > 0 && k.caps[0] == domain.CapGeneration {
			named = map[string]any{"generation": 4.0}
		}
		for _, order := range []struct {
			method, after string
			call          func(context.Context, ports.WorkerRef, string, int64) error
		}{
			{"POST", "/restart", c.Restart}, {"POST", "/disconnect", c.Disconnect}, {"POST", "/logout", c.Logout}, {"DELETE", "", c.Delete},
		} {
			want := conformance.HTTPCall{Method: order.method, Path: "/api/sessions/one" + order.after}
			fake.Worker().Connect(t, "one")
			require.NoError(t, order.call(t.Context(), w.Ref, "one", 0))
			require.Equal(t, want, fake.Last(t), "generation 0 sends no body")
			fake.Worker().Connect(t, "one")
			require.NoError(t, order.call(t.Context(), w.Ref, "one", 4))
			want.Body = named
			require.Equal(t, want, fake.Last(t))
		}
		for _, id := range []string{"", ".", ".."} {
			failed(t, c.Delete(t.Context(), w.Ref, id, 4), ports.WorkerRejected)
		}
		require.NoError(t, c.Disconnect(t.Context(), w.Ref, "a/../b?c", 4))
		require.Equal(t, "/api/sessions/a/../b?c/disconnect", fake.Last(t).Path, "an id is one segment, escaped")
	}
}

// A worker with dedupe dies in a send. The send was on a pooled connection, and is repeated at once. Whatever the repetition meets,
// the first request may have been executed.
func TestSend_WorkerDiesInASendOnAPooledConnection_OutcomeIsUnknown(t *testing.T) {
	for name, afterwards := range map[string]string{
		"nothing listens": "",
		"it is busy":      "HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			t.Cleanup(func() { ln.Close() })
			var once sync.Once
			serve := func(conn net.Conn, answers ...string) {
				defer conn.Close()
				in := bufio.NewReader(conn)
				for _, a := range answers {
					r, err := http.ReadRequest(in)
					if err != nil {
						return
					}
					_, _ = io.Copy(io.Discard, r.Body)
					_, _ = io.WriteString(conn, a)
				}
				if afterwards == "" {
					once.Do(func() { ln.Close() })
				}
			}
			go func() {
				const sent = `{"success":true,"data":{"messageId":"3EB0","status":"sent"}}`
				first, err := ln.Accept()
				if err != nil {
					return
				}
				serve(first, "HTTP/1.1 200 OK\r\nContent-Length: "+itoa(len(sent))+"\r\n\r\n"+sent, "") // no answer to the second
				for {
					conn, err := ln.Accept()
					if err != nil {
						return
					}
					go serve(conn, afterwards, afterwards)
				}
			}()
			w := ports.WorkerRef{ID: "w1", Endpoint: "http://" + ln.Addr().String(), Capabilities: []domain.Capability{domain.CapDedupe}}
			c := quick(t, httpworker.Config{})
			_, err = c.Send(t.Context(), w, hello)
			require.NoError(t, err)
			_, err = c.Send(t.Context(), w, hello)
			require.False(t, failure(t, err, ports.WorkerConnectionLost).IsNotExecuted())
		})
	}
}
