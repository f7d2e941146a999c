package server

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/app/backend"
)

func TestSignIns_EndedOverHTTP_RefusesItsTokens(t *testing.T) {
	store, err := backend.Open(t.Context(), "memory:")
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	h := newTestHandler(t, store, HandlerConfig{})
	type tokens struct{ Token, RefreshToken string }
	var here, there tokens
	require.Equal(t, http.StatusCreated, call(t, h, "POST", "/auth/register", "", `{"name":"Ada","email":"ada@example.com","password":"correct-horse-1"}`, &here))
	require.Equal(t, http.StatusOK, call(t, h, "POST", "/auth/login", "", `{"email":"ada@example.com","password":"correct-horse-1"}`, &there))
	var list []struct {
		ID, Address string
		Current     bool
	}
	require.Equal(t, http.StatusOK, call(t, h, "GET", "/users/sign-ins", here.Token, "", &list))
	require.Len(t, list, 2)
	for _, s := range list {
		require.Equal(t, "203.0.113.7", s.Address)
		if s.Current {
			continue
		}
		require.Equal(t, http.StatusOK, call(t, h, "DELETE", "/users/sign-ins/"+s.ID, here.Token, "", nil))
		require.Equal(t, http.StatusNotFound, call(t, h, "DELETE", "/users/sign-ins/"+s.ID, here.Token, "", nil))
	}
	require.Equal(t, http.StatusUnauthorized, call(t, h, "GET", "/auth/me", there.Token, "", nil))
	require.Equal(t, http.StatusUnauthorized, call(t, h, "POST", "/auth/refresh", "", `{"refreshToken":"`+there.RefreshToken+`"}`, nil))
	require.Equal(t, http.StatusOK, call(t, h, "GET", "/auth/me", here.Token, "", nil))
}

func TestRegistration_Closed_AdministratorsCreateUsers(t *testing.T) {
	store, err := backend.Open(t.Context(), "memory:")
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	h := newTestHandler(t, store, HandlerConfig{ClosedRegistration: true})
	_, _, err = h.Accounts.EnsureAdministrator(t.Context(), "root@example.com", "correct-horse-1")
	require.NoError(t, err)
	const ada = `{"name":"Ada","email":"ada@example.com","password":"correct-horse-2"}`
	require.Equal(t, http.StatusForbidden, call(t, h, "POST", "/auth/register", "", ada, nil))
	var root struct{ Token string }
	require.Equal(t, http.StatusOK, call(t, h, "POST", "/auth/login", "", `{"email":"root@example.com","password":"correct-horse-1"}`, &root))
	require.Equal(t, http.StatusCreated, call(t, h, "POST", "/admin/users", root.Token, ada, nil))
	require.Equal(t, http.StatusConflict, call(t, h, "POST", "/admin/users", root.Token, ada, nil))
	require.Equal(t, http.StatusOK, call(t, h, "POST", "/auth/login", "", `{"email":"ada@example.com","password":"correct-horse-2"}`, nil))
}
