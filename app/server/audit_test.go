package server

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/secretfile"
	"github.com/switchyard-wa/switchyard/app/accounts"
	"github.com/switchyard-wa/switchyard/app/backend"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// call answers a request to a handler and decodes the data of the answer.
func call(t *testing.T, h http.Handler, method, path, token, body string, data any) int {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, "/api/v1"+path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.RemoteAddr = "203.0.113.7:4711"
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if data != nil {
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &struct{ Data any }{data}), w.Body)
	}
	return w.Code
}

func TestAudit_CallsOverHTTP_NameActorAndAddress(t *testing.T) {
	store, err := backend.Open(t.Context(), "memory:")
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	h := newTestHandler(t, store, HandlerConfig{})
	_, _, err = h.Accounts.EnsureAdministrator(t.Context(), "root@example.com", "correct-horse-1")
	require.NoError(t, err)
	for range 3 {
		require.Equal(t, http.StatusUnauthorized, call(t, h, "POST", "/auth/login", "", `{"email":"Root@example.com","password":"wrong-horse-1"}`, nil))
	}
	var tokens struct{ Token string }
	require.Equal(t, http.StatusOK, call(t, h, "POST", "/auth/login", "", `{"email":"root@example.com","password":"correct-horse-1"}`, &tokens))
	require.Equal(t, http.StatusNotFound, call(t, h, "POST", "/workers/worker-9/drain", tokens.Token, "", nil))

	var page struct {
		Entries []struct {
			Actor                            struct{ Kind, ID, Email string }
			Action, Object, Address, Outcome string
			Details                          map[string]string
			Count                            int
		}
	}
	require.Equal(t, http.StatusOK, call(t, h, "GET", "/admin/audit?actor=root@example.com", tokens.Token, "", &page))

	var lines []string
	for _, e := range page.Entries {
		require.Equal(t, "203.0.113.7", e.Address)
		lines = append(lines, strings.TrimSpace(e.Actor.Kind+" "+e.Action+" "+e.Outcome+" "+e.Details["code"]))
		if e.Action == "user.sign-in-failed" {
			require.Equal(t, 3, e.Count)
		}
	}
	require.ElementsMatch(t, []string{
		"user worker.drained FAILED WORKER_NOT_FOUND", "user user.signed-in SUCCEEDED", "anonymous user.sign-in-failed FAILED INVALID_CREDENTIALS",
	}, lines)
}

func TestAdminister_ActionOfTheCommandLine_IsAudited(t *testing.T) {
	store := "sqlite:" + filepath.Join(t.TempDir(), "audit.db")
	b, err := backend.Open(t.Context(), store)
	require.NoError(t, err)
	require.NoError(t, b.Close())
	cfg := Config{Store: store, Log: slog.New(slog.DiscardHandler)}
	require.NoError(t, Administer(t.Context(), cfg, func(ctx context.Context, a *accounts.Accounts) error {
		_, err := a.CreateUser(ctx, "Ada", "ada@example.com", "correct-horse-1", "", "")
		return err
	}))
	require.Error(t, Administer(t.Context(), cfg, func(ctx context.Context, a *accounts.Accounts) error {
		return a.SetTier(ctx, "nobody@example.com", domain.TierPro)
	}))

	b, err = backend.Open(t.Context(), store)
	require.NoError(t, err)
	defer func() { require.NoError(t, b.Close()) }()
	var list []domain.AuditEntry
	require.NoError(t, b.View(t.Context(), func(ctx context.Context, tx *ports.Tx) (err error) {
		list, err = tx.Audit.List(ctx, ports.AuditFilter{Actor: "cli"})
		return err
	}))
	require.Len(t, list, 2)
	require.Equal(t, domain.AuditUserTierChanged, list[0].Action)
	require.Equal(t, map[string]string{"code": "USER_NOT_FOUND", "email": "nobody@example.com"}, list[0].Details)
	require.Equal(t, domain.AuditUserCreated, list[1].Action)
	require.NotEmpty(t, list[1].Actor.ID, "the user of the operating system")
}

// Wherever the token is kept, each time that it is shown has one entry.
func TestShowWorkerToken_StoreOfAServer_IsAudited(t *testing.T) {
	h := newHost(t)
	c := Config{Store: "sqlite:" + h.path}
	_, err := ShowWorkerToken(t.Context(), c)
	require.ErrorContains(t, err, "there is no store")
	h.keepInTable(one, other)
	shown, err := ShowWorkerToken(t.Context(), c)
	require.NoError(t, err)
	require.Equal(t, other, shown, "from the table")
	_, _, err = h.start(Config{})
	require.NoError(t, err)
	shown, err = ShowWorkerToken(t.Context(), c)
	require.NoError(t, err)
	require.Equal(t, other, shown, "from the file")
	shown, err = ShowWorkerToken(t.Context(), Config{Store: "memory:", SecretsFile: h.path + ".secrets"})
	require.NoError(t, err)
	require.Equal(t, other, shown, "of a store that keeps no trail")

	b, err := backend.Open(t.Context(), c.Store)
	require.NoError(t, err)
	defer func() { require.NoError(t, b.Close()) }()
	require.NoError(t, b.View(t.Context(), func(ctx context.Context, tx *ports.Tx) error {
		list, err := tx.Audit.List(ctx, ports.AuditFilter{Actor: "cli", Action: domain.AuditTokenShown})
		require.Len(t, list, 2)
		for _, entry := range list {
			require.Equal(t, "token:fleet", entry.Object)
		}
		return err
	}))
}

// A token that cannot be audited is not shown.
func TestShowWorkerToken_StoreIsMissing_ShowsNothing(t *testing.T) {
	h := newHost(t)
	_, err := secretfile.New(h.path + ".secrets").Add(map[string]string{"worker-token": one})
	require.NoError(t, err)
	shown, err := ShowWorkerToken(t.Context(), Config{Store: "sqlite:" + h.path})
	require.ErrorContains(t, err, "there is no store")
	require.Empty(t, shown)
}
