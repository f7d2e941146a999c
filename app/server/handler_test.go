package server

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/app/backend"
	"github.com/switchyard-wa/switchyard/app/orchestrator"
)

func newTestHandler(t *testing.T, store *backend.Backend, c HandlerConfig) *Handler {
	t.Helper()
	o, err := orchestrator.New(orchestrator.Config{Store: store, Workers: store.Workers("fleet-token")})
	require.NoError(t, err)
	c.Log = slog.New(slog.DiscardHandler)
	h, err := NewHandler(t.Context(), o, store, c)
	require.NoError(t, err)
	return h
}

// Access tokens of the first handler are valid at the second.
func TestNewHandler_NoSecret_KeepsOneInTheStore(t *testing.T) {
	store, err := backend.Open(t.Context(), "memory:")
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	first, second := newTestHandler(t, store, HandlerConfig{}), newTestHandler(t, store, HandlerConfig{})

	tokens, err := first.Accounts.Register(t.Context(), "Ada", "ada@example.com", "correct-horse-1")
	require.NoError(t, err)

	_, err = second.Accounts.Authenticate(t.Context(), tokens.Token)
	require.NoError(t, err)
}

func TestNewHandler_WorkerRegisters_NeedsTheToken(t *testing.T) {
	for name, c := range map[string]struct {
		config HandlerConfig
		want   int
	}{
		"no token in the config": {HandlerConfig{}, http.StatusUnauthorized},
		"another token":          {HandlerConfig{WorkerToken: "another-token"}, http.StatusUnauthorized},
		"the same token":         {HandlerConfig{WorkerToken: "fleet-token"}, http.StatusBadRequest}, // the body is empty
	} {
		t.Run(name, func(t *testing.T) {
			store, err := backend.Open(t.Context(), "memory:")
			require.NoError(t, err)
			defer func() { require.NoError(t, store.Close()) }()
			h := newTestHandler(t, store, c.config)

			r := httptest.NewRequest(http.MethodPost, "/api/v1/workers/register", strings.NewReader("{}"))
			r.Header.Set("Authorization", "Bearer fleet-token")
			r.Header.Set("Content-Type", "application/json")
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)

			require.Equal(t, c.want, w.Code, w.Body)
		})
	}
}
