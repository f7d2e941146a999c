package domain_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
)

func TestCheckPassword_CommonPassword_RefusedInAnyCase(t *testing.T) {
	for _, pw := range []string{"password1", "Password123", "QWERTY123", "1q2w3e4r", "abcd1234", "trustno1", "admin123"} {
		requireRefused(t, domain.CheckPassword(pw), "one of the most common")
	}
	for _, pw := range []string{"correct horse 1", "password1 ", "xpassword1x"} {
		require.NoError(t, domain.CheckPassword(pw), pw)
	}
}

func TestCheckPasswordOf_OwnNameOrEmail_IsRefused(t *testing.T) {
	const name, email = "Ada Lovelace 1815", "ada1815x@example2.com"
	for _, pw := range []string{"Ada Lovelace 1815", "adalovelace1815", "ADA1815X@example2.com", "ada1815x", " Ada1815X "} {
		requireRefused(t, domain.CheckPasswordOf(pw, name, email), "name or the email")
	}
	requireRefused(t, domain.CheckPasswordOf("password1", name, email), "most common")
	require.NoError(t, domain.CheckPasswordOf("ada1815x!", name, email))
	require.NoError(t, domain.CheckPasswordOf("correct horse 1", "", ""))
}

func TestCheckPassword_AnyRefusal_HidesThePassword(t *testing.T) {
	for _, err := range []error{domain.CheckPassword("password1"), domain.CheckPasswordOf("ada12345x", "", "ada12345x@example.com")} {
		require.Error(t, err)
		require.False(t, strings.Contains(err.Error(), "password1") || strings.Contains(err.Error(), "ada12345x"), err)
	}
}
