package httpapi

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports/service"
)

func TestUpdateProfile_EmailWithPassword_BothReachTheService(t *testing.T) {
	got, s := ask(t, "PUT", "/api/v1/users/profile", userToken, `{"email":"ADA2@example.com","currentPassword":"correct horse 1"}`)
	require.Equal(t, http.StatusOK, got.Code)
	email := "ada2@example.com"
	require.Equal(t, service.Profile{Email: &email, CurrentPassword: "correct horse 1"}, s.last)
}

func TestCreateUser_Fields_ReachTheService(t *testing.T) {
	got, s := ask(t, "POST", "/api/v1/admin/users", adminToken, `{"name":"Ada","email":"ADA@example.com","password":"correct horse 1","tier":"pro","role":"administrator"}`)
	require.Equal(t, http.StatusCreated, got.Code)
	require.Equal(t, []any{"Ada", "ada@example.com", "correct horse 1", domain.TierPro, domain.RoleAdministrator}, s.last)

	got, s = ask(t, "POST", "/api/v1/admin/users", userToken, bodies["POST /admin/users"])
	require.Equal(t, http.StatusForbidden, got.Code)
	require.Zero(t, s.calls)
}

func TestCreateUser_SeveralProblems_AreReportedTogether(t *testing.T) {
	got, _ := ask(t, "POST", "/api/v1/admin/users", adminToken, `{"name":"A","email":"x","password":"password1","tier":"","role":"king"}`)
	require.Equal(t, http.StatusBadRequest, got.Code)
	var fields []string
	for _, d := range got.Error.Details {
		fields = append(fields, d.Field)
	}
	require.ElementsMatch(t, []string{"name", "email", "password", "tier", "role"}, fields)
}

func TestRegister_PasswordIsTheEmail_IsRefused(t *testing.T) {
	got, _ := ask(t, "POST", "/api/v1/auth/register", "", `{"name":"Ada","email":"ada1815@example.com","password":"Ada1815@example.com"}`)
	require.Equal(t, http.StatusBadRequest, got.Code)
	require.Equal(t, "password", got.Error.Details[0].Field)
	require.Contains(t, got.Error.Details[0].Message, "name or the email")
}

func TestEndSignIn_ID_ReachesTheService(t *testing.T) {
	got, s := ask(t, "DELETE", "/api/v1/users/sign-ins/f0", userToken, "")
	require.Equal(t, http.StatusOK, got.Code)
	require.Equal(t, "f0", s.last)
	require.Equal(t, true, got.Data["ended"])
}
