package postgres

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestOpen_Connections_AreDurableAndBounded requires the settings of every connection.
func TestOpen_Connections_AreDurableAndBounded(t *testing.T) {
	s := openShared(t)
	pooled, err := s.acquire(t.Context())
	require.NoError(t, err)
	defer pooled.Release()
	for name, want := range map[string]string{
		"synchronous_commit": "on", "statement_timeout": "8s", "lock_timeout": "5s",
		"idle_in_transaction_session_timeout": "5s", "application_name": "switchyard",
	} {
		results, err := connOf(pooled).pg.Exec(t.Context(), "SHOW "+name).ReadAll()
		require.NoError(t, err)
		require.Equal(t, want, string(results[0].Rows[0][0]), name)
	}
}
