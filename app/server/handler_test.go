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
	"github.com/switchyard-wa/switchyard/domain"
)

func newTestHandler(t *testing.T, store *backend.Backend, c HandlerConfig) *Handler {
	t.Helper()
	return newTestHandlerOf(t, store, orchestrator.Config{}, c)
}

func newTestHandlerOf(t *testing.T, store *backend.Backend, core orchestrator.Config, c HandlerConfig) *Handler {
	t.Helper()
	core.Store, core.Workers = store, store.Workers(one)
	o, err := orchestrator.New(core)
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

func TestNewHandler_TiersOfTheOrchestrator_AreThoseOfTheAccounts(t *testing.T) {
	store, err := backend.Open(t.Context(), "memory:")
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	h := newTestHandlerOf(t, store, orchestrator.Config{
		Tiers: domain.Tiers{"FREE": {Sessions: 1}, "GOLD": {Sessions: 9, Rank: 1}},
	}, HandlerConfig{FirstTier: "FREE"})

	tokens, err := h.Accounts.Register(t.Context(), "Ada", "ada@example.com", "correct-horse-1")
	require.NoError(t, err)
	require.Equal(t, domain.Tier("FREE"), tokens.User.Tier)
	require.NoError(t, h.Accounts.SetTier(t.Context(), "ada@example.com", "GOLD"))
	require.ErrorContains(t, h.Accounts.SetTier(t.Context(), "ada@example.com", domain.TierPro), "FREE, GOLD")
}

func TestNewHandler_WorkerRegisters_NeedsTheToken(t *testing.T) {
	for name, c := range map[string]struct {
		config HandlerConfig
		want   int
	}{
		"no token in the config": {HandlerConfig{}, http.StatusUnauthorized},
		"another token":          {HandlerConfig{WorkerToken: other}, http.StatusUnauthorized},
		"the same token":         {HandlerConfig{WorkerToken: one}, http.StatusBadRequest}, // the body is empty
	} {
		t.Run(name, func(t *testing.T) {
			store, err := backend.Open(t.Context(), "memory:")
			require.NoError(t, err)
			defer func() { require.NoError(t, store.Close()) }()
			h := newTestHandler(t, store, c.config)

			r := httptest.NewRequest(http.MethodPost, "/api/v1/workers/register", strings.NewReader("{}"))
			r.Header.Set("Authorization", "Bearer "+one)
			r.Header.Set("Content-Type", "application/json")
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)

			require.Equal(t, c.want, w.Code, w.Body)
		})
	}
}
