package httpworker_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/httpworker"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// The fleet token is shown only to workers without an own token.
func TestClient_EachKindOfWorker_SeesItsTokenAlone(t *testing.T) {
	const fleet = "0123456789abcdef0123456789abcdef"
	shown := make(chan string, 10)
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		shown <- r.Header.Get("Authorization")
		_, _ = io.WriteString(rw, `{"data":{"sessions":[]}}`)
	}))
	defer server.Close()
	c := httpworker.New(fleet)
	defer c.Close()
	own, tokens := []domain.Capability{domain.CapOwnToken}, domain.NewWorkerTokens(fleet)
	for name, call := range map[string]struct {
		ref  ports.WorkerRef
		want string
	}{
		"unknown endpoint": {ports.WorkerRef{}, ""},
		"legacy":           {ports.WorkerRef{ID: "w1"}, "Bearer " + fleet},
		"not announced":    {ports.WorkerRef{ID: "w1", TokenEpoch: "1", Capabilities: []domain.Capability{domain.CapLease}}, "Bearer " + fleet},
		"own token":        {ports.WorkerRef{ID: "w1", TokenEpoch: "1", Capabilities: own}, "Bearer " + tokens.Call("w1", "1")},
		"next epoch":       {ports.WorkerRef{ID: "w1", TokenEpoch: "2", Capabilities: own}, "Bearer " + tokens.Call("w1", "2")},
		"another worker":   {ports.WorkerRef{ID: "w2", TokenEpoch: "2", Capabilities: own}, "Bearer " + tokens.Call("w2", "2")},
	} {
		call.ref.Endpoint = server.URL
		require.NoError(t, c.Health(t.Context(), call.ref), name)
		require.Equal(t, call.want, <-shown, name)
		_, err := c.List(t.Context(), call.ref)
		require.NoError(t, err, name)
		require.Equal(t, call.want, <-shown, name)
	}
}

// A worker that has just restarted does not know its call token yet. It executed nothing,
// and the echo of a token does not reach users.
func TestClient_CallTokenRefused_IsBusy(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(rw, `{"success":false,"error":"unknown token `+r.Header.Get("Authorization")+`"}`)
	}))
	defer server.Close()
	w := ports.WorkerRef{ID: "w1", Endpoint: server.URL, TokenEpoch: "1", Capabilities: []domain.Capability{domain.CapOwnToken}}
	_, err := quick(t, httpworker.Config{}).Send(t.Context(), w, hello)
	e := failure(t, err, ports.WorkerBusy)
	require.True(t, e.IsNotExecuted())
	require.Equal(t, time.Second, e.Retry)
	require.NotContains(t, e.Error()+e.Text, "ct_")
}

// Without a token, a 401 says that something is there. With one, it says that the token is
// wrong.
func TestHealth_Unauthorized_ProvesAnUnknownEndpoint(t *testing.T) {
	for status, ok := range map[int]bool{http.StatusUnauthorized: true, http.StatusForbidden: false, http.StatusNotFound: false, http.StatusInternalServerError: false} {
		server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(status) }))
		defer server.Close()
		c := quick(t, httpworker.Config{})
		require.Equal(t, ok, c.Health(t.Context(), ports.WorkerRef{Endpoint: server.URL}) == nil, status)
		require.Error(t, c.Health(t.Context(), ports.WorkerRef{ID: "w1", Endpoint: server.URL}))
	}
}
