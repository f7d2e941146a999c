package sqlite

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOpen_Connections_HaveTheirSettings(t *testing.T) {
	s := openTemp(t)
	for _, want := range []struct {
		conn    *conn
		pragmas map[string]any
	}{
		{s.writer.conn.conn, map[string]any{"synchronous": int64(2), "foreign_keys": int64(1), "journal_mode": "wal", "query_only": int64(0)}},
		{s.readers[0], map[string]any{"query_only": int64(1), "busy_timeout": int64(5000)}},
	} {
		for name, value := range want.pragmas {
			got, err := want.conn.pragma("%s", name)
			require.NoError(t, err)
			require.Equal(t, value, got[0], name)
		}
	}
	_, err := s.readers[0].raw.Exec("DELETE FROM users", nil)
	require.ErrorContains(t, err, "readonly")
}
