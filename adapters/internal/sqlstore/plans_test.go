package sqlstore

import (
	"database/sql"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mattn/go-sqlite3"
	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

func init() {
	sql.Register("sqlite3-with-fold", &sqlite3.SQLiteDriver{ConnectHook: func(c *sqlite3.SQLiteConn) error {
		return c.RegisterFunc(FoldFunction, strings.ToLower, true)
	}})
}

// TestStatements_QueryPlans_UseIndexes asks SQLite for the plan of each statement. Every statement uses an index, and none sorts what
// may be many rows.
func TestStatements_QueryPlans_UseIndexes(t *testing.T) {
	db, err := sql.Open("sqlite3-with-fold", "file:"+filepath.Join(t.TempDir(), "plans.db"))
	require.NoError(t, err)
	defer db.Close()
	for _, m := range schemaMigrations() {
		text, err := m.sql(&sqlite)
		require.NoError(t, err)
		_, err = db.ExecContext(t.Context(), text)
		require.NoError(t, err)
	}
	_, err = db.ExecContext(t.Context(), "CREATE TABLE schema_migrations (version INTEGER, name TEXT, applied_at INTEGER)")
	require.NoError(t, err)
	b := SQLite()
	index := map[*Statement]string{
		b.users.byEmail: "sqlite_autoindex_users_2 (email=?)", b.apiKeys.byHash: "sqlite_autoindex_api_keys_2 (hash=?)",
		b.users.update: "PRIMARY KEY (id=?)", b.apiKeys.update: "PRIMARY KEY (id=?)", b.workers.update: "PRIMARY KEY (id=?)",
		b.cleanups.update: "PRIMARY KEY (worker_id=? AND session_id=?)", b.cleanups.byWorker: "PRIMARY KEY (worker_id=?)",
		b.cleanups.wipesByGroup: "cleanups_wipes (state_group=?)",
		b.migrations.update:     "PRIMARY KEY (id=?)", b.migrations.deleteBefore: "moves_ended (completed_at<?)",
		b.sessions.claimedBy: "sessions_claimed (claimed_by=?)",
		b.sessions.update:    "PRIMARY KEY (id=?)", b.messages.update: "sqlite_autoindex_messages_1 (id=?)",
		b.sessions.assigned: "sessions_worker (worker_id=?)", b.sessions.eachAssigned: "PRIMARY KEY (id>?)",
		b.sessions.due: "sessions_due (due_at>? AND due_at<?)", b.cleanups.due: "cleanups_due (due_at>? AND due_at<?)",
		b.messages.get:                  "sqlite_autoindex_messages_1 (id=?)",
		b.messages.sentByWhatsAppID:     "messages_sent (session_id=? AND whatsapp_id=?)",
		b.messages.receivedByWhatsAppID: "messages_received (session_id=? AND whatsapp_id=?)",
		b.messages.pendingBefore:        "messages_pending (created_at<?)",
		b.messages.countSince:           "messages_history (session_id=? AND created_at>?)",
		b.messages.usageOfUser:          "messages_history (session_id=? AND created_at>?)",
		b.messages.deleteBefore:         "messages_history (session_id=? AND created_at<?)",
		b.apiKeys.deleteExpired:         "api_keys_expiry (expires_at<?)",
		b.apiKeys.deleteRevoked:         "api_keys_revocation (revoked_at<?)",
		b.outbox.after:                  "INTEGER PRIMARY KEY (rowid>?)",
		b.outbox.afterOfUser:            "outbox_user (user_id=? AND seq>?)",
		b.outbox.afterOfSession:         "outbox_session (session_id=? AND seq>?)",
		b.outbox.afterOfSessionAnd:      "outbox_session (session_id=? AND seq>?)",
		b.outbox.deleteThrough:          "INTEGER PRIMARY KEY (rowid<?)",
		b.audit.deleteBefore:            "audit_age (occurred_at<?)",
	}
	mayScan := map[*Statement]string{
		b.sessions.countByStatus: "SCAN sessions USING COVERING INDEX sessions_status",
		b.migrations.open:        "SCAN moves USING INDEX moves_open",
		b.replicas.list:          "SCAN replicas",
		b.outbox.oldest:          "SCAN outbox",
		b.schema.version:         "SEARCH schema_migrations",
		b.schema.owner:           "SCAN sqlite_master",
	}
	maySort := map[*Statement]bool{
		b.messages.usageOfUser: true, b.messages.usageOfSession: true, // sorts groups
		b.messages.sentByWhatsAppID:     true, // sorts one row, or a few
		b.messages.receivedByWhatsAppID: true,
	}
	history, _, err := b.list(b.history("s1", domain.MessageFilter{
		Since: time.Now(), Until: time.Now(), After: domain.Cursor{ID: "m"}, To: "49", Search: "Größe", Limit: 50,
	}))
	require.NoError(t, err)
	index[history] = "messages_history (session_id=? AND created_at>? AND created_at<?)"
	ofUser, _, err := b.list(selectFrom("sessions", sessionsTable.columns()...).where("user_id = ?").
		order("created_at DESC", "id DESC").page(ports.Page{Limit: 20}))
	require.NoError(t, err)
	index[ofUser] = "sessions_user (user_id=?)"
	latest, _, err := b.list(selectFrom("moves", migrationsTable.columns()...).order("created_at DESC", "id DESC").page(ports.Page{Limit: 20}))
	require.NoError(t, err)
	mayScan[latest] = "SCAN moves USING INDEX moves_age"
	ofSession, _, err := b.list(selectFrom("moves", migrationsTable.columns()...).where("session_id = ?").
		order("created_at DESC", "id DESC").page(ports.Page{Limit: 20}))
	require.NoError(t, err)
	index[ofSession] = "moves_session (session_id=?)"
	for _, s := range append(slices.Clone(b.all), history, ofUser, latest, ofSession) {
		all := plan(t, db, s)
		if testing.Verbose() {
			t.Logf("%s\n    %s", s.SQL, all)
		}
		require.Contains(t, all, index[s], s.SQL)
		if want, may := mayScan[s]; may {
			require.Contains(t, all, want, s.SQL)
		} else {
			require.NotContains(t, all, "SCAN", s.SQL)
		}
		if !maySort[s] {
			require.NotContains(t, all, "TEMP B-TREE", s.SQL)
		}
	}
}

// plan returns the plan of SQLite for a statement.
func plan(t *testing.T, db *sql.DB, s *Statement) string {
	rows, err := db.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+s.SQL, make([]any, strings.Count(s.SQL, "?"))...)
	require.NoError(t, err, s.SQL)
	defer func() { require.NoError(t, rows.Close()) }()
	var steps []string
	for rows.Next() {
		var id, parent, unused int
		var detail string
		require.NoError(t, rows.Scan(&id, &parent, &unused, &detail))
		steps = append(steps, detail)
	}
	require.NoError(t, rows.Err())
	return strings.Join(steps, "; ")
}
