package conformance

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// ReceivedWebhook is one request that a receiver got.
type ReceivedWebhook struct {
	Header http.Header
	Body   []byte
}

// WebhookVerifier checks the signature of a request by a secret, such as whsec_….
type WebhookVerifier func(secret string, r ReceivedWebhook) error

// WebhookSender tests a [ports.WebhookSender] that may call this machine. verify is independent of the
// sender.
func WebhookSender(t *testing.T, newSender func(t *testing.T) ports.WebhookSender, verify WebhookVerifier) {
	key, other := []byte("0123456789abcdef01234567"), []byte("another key of more than 24 bytes")
	event := &domain.Event{
		Seq: 4711, Type: domain.EventMessageSent, At: noon, UserID: "u1", SessionID: "s1",
		Message: &domain.Message{ID: "m1", SessionID: "s1", Type: domain.TypeText, Content: "Grüße 🎉", Status: domain.MessageSent},
	}
	call := func(url string) ports.WebhookCall {
		return ports.WebhookCall{URL: url, ID: "delivery-1", At: time.Now(), Keys: [][]byte{key}, Event: event, Timeout: 5 * time.Second}
	}
	receiver := func(t *testing.T, handle http.HandlerFunc) (url string, received func() []ReceivedWebhook) {
		var mu sync.Mutex
		var all []ReceivedWebhook
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			mu.Lock()
			if err == nil && r.Method == http.MethodPost {
				all = append(all, ReceivedWebhook{r.Header, body})
			}
			mu.Unlock()
			handle(w, r)
		}))
		t.Cleanup(server.Close)
		return server.URL, func() []ReceivedWebhook {
			mu.Lock()
			defer mu.Unlock()
			return all
		}
	}
	ok := func(http.ResponseWriter, *http.Request) {}

	t.Run("the receiver gets the signed event", func(t *testing.T) {
		url, received := receiver(t, ok)
		answer, err := newSender(t).Post(t.Context(), call(url+"/in?a=1"))
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, answer.Code)
		require.Positive(t, answer.Latency)
		require.Len(t, received(), 1)
		got := received()[0]
		require.Equal(t, "delivery-1", got.Header.Get("webhook-id"))
		require.Equal(t, "application/json", got.Header.Get("Content-Type"))
		require.NoError(t, verify("whsec_"+base64.StdEncoding.EncodeToString(key), got))
		require.Error(t, verify("whsec_"+base64.StdEncoding.EncodeToString(other), got))
		var body struct {
			Type, Timestamp, SessionID string
			Position                   int64
			Data                       struct{ ID, SessionID, Content string }
		}
		require.NoError(t, json.Unmarshal(got.Body, &body))
		require.Equal(t, "message.sent", body.Type)
		require.Equal(t, int64(4711), body.Position)
		require.Equal(t, "s1", body.SessionID)
		require.Equal(t, "Grüße 🎉", body.Data.Content)
		require.Equal(t, "s1", body.Data.SessionID)
	})
	t.Run("every key signs", func(t *testing.T) {
		url, received := receiver(t, ok)
		c := call(url)
		c.Keys = [][]byte{key, other}
		_, err := newSender(t).Post(t.Context(), c)
		require.NoError(t, err)
		for _, k := range c.Keys {
			require.NoError(t, verify("whsec_"+base64.StdEncoding.EncodeToString(k), received()[0]))
		}
	})
	t.Run("any code is an answer", func(t *testing.T) {
		for _, code := range []int{201, 204, 400, 404, 410, 429, 500, 503} {
			url, _ := receiver(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) })
			answer, err := newSender(t).Post(t.Context(), call(url))
			require.NoError(t, err)
			require.Equal(t, code, answer.Code)
		}
	})
	t.Run("redirects are not followed", func(t *testing.T) {
		target, received := receiver(t, ok)
		for _, code := range []int{301, 302, 303, 307, 308} {
			url, _ := receiver(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, target, code) })
			answer, err := newSender(t).Post(t.Context(), call(url))
			require.NoError(t, err)
			require.Equal(t, code, answer.Code)
		}
		require.Empty(t, received())
	})
	t.Run("the beginning of the body is text", func(t *testing.T) {
		url, _ := receiver(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, "no\x00 such\r\n thing\xff"+strings.Repeat("x", 100_000))
		})
		answer, err := newSender(t).Post(t.Context(), call(url))
		require.NoError(t, err)
		require.True(t, strings.HasPrefix(answer.Body, "no such thing\uFFFD"), answer.Body)
		require.LessOrEqual(t, len(answer.Body), 1024)
	})
	t.Run("a receiver that does not answer costs the timeout", func(t *testing.T) {
		ended := make(chan struct{})
		url, _ := receiver(t, func(_ http.ResponseWriter, r *http.Request) {
			select {
			case <-r.Context().Done():
			case <-ended:
			}
		})
		t.Cleanup(func() { close(ended) })
		c := call(url)
		c.Timeout = 50 * time.Millisecond
		requireWebhookError(t, newSender(t), c, url)
	})
	t.Run("nothing is sent after NotAfter", func(t *testing.T) {
		url, received := receiver(t, ok)
		s := newSender(t)
		c := call(url)
		c.NotAfter = time.Now().Add(time.Minute)
		_, err := s.Post(t.Context(), c)
		require.NoError(t, err)
		c.NotAfter = time.Now().Add(-time.Millisecond)
		requireWebhookError(t, s, c, url)
		require.Len(t, received(), 1)
	})
	t.Run("nothing that listens is an error without an address", func(t *testing.T) {
		server := httptest.NewServer(http.NotFoundHandler())
		server.Close()
		requireWebhookError(t, newSender(t), call(server.URL), server.URL)
	})
	t.Run("the end of the context is its error", func(t *testing.T) {
		url, _ := receiver(t, ok)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := newSender(t).Post(ctx, call(url))
		require.ErrorIs(t, err, context.Canceled)
	})
}

// requireWebhookError requires that a call fails with a message for people.
func requireWebhookError(t *testing.T, s ports.WebhookSender, c ports.WebhookCall, url string) {
	t.Helper()
	_, err := s.Post(t.Context(), c)
	var e *ports.WebhookError
	require.ErrorAs(t, err, &e)
	require.NotEmpty(t, e.Message)
	require.NotContains(t, e.Message, strings.TrimPrefix(url, "http://"))
}
