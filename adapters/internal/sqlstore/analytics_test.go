package sqlstore

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestAnalytics_Queries_ReadTheTimeAskedFor checks SQLite's plans. No query reads rows before the requested time.
func TestAnalytics_Queries_ReadTheTimeAskedFor(t *testing.T) {
	db, b := openSchema(t), SQLite()
	totals, args, err := b.list(messageTotals(time.Unix(1, 0), time.Hour.Microseconds()))
	require.NoError(t, err)
	require.Contains(t, planWith(t, db, totals, args), "SEARCH message_totals USING PRIMARY KEY (at>?)")
	samples := planWith(t, db, b.analytics.samples, []any{int64(1), int64(2)})
	require.Contains(t, samples, "SEARCH fleet_samples USING INTEGER PRIMARY KEY (rowid=?)")
	require.Contains(t, samples, "SEARCH fleet_samples USING INTEGER PRIMARY KEY (rowid>?)")
}
