package sqlstore

import (
	"database/sql"
	"errors"
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
		return errors.Join(c.RegisterFunc(FoldFunction, strings.ToLower, true), c.RegisterFunc(WordsFunction, WordsOf, true))
	}})
}

// TestStatements_QueryPlans_UseIndexes asks SQLite for the plan of each statement. Every statement uses an index, and none sorts what
// may be many rows.
func TestStatements_QueryPlans_UseIndexes(t *testing.T) {
	db := openSchema(t)
	_, err := db.ExecContext(t.Context(), "CREATE TABLE schema_migrations (version INTEGER, name TEXT, applied_at INTEGER)")
	require.NoError(t, err)
	b := SQLite()
	index := map[*Statement]string{
		b.users.byEmail: "sqlite_autoindex_users_2 (email=?)", b.apiKeys.byHash: "sqlite_autoindex_api_keys_2 (hash=?)",
		b.users.update: "PRIMARY KEY (id=?)", b.apiKeys.update: "PRIMARY KEY (id=?)", b.workers.update: "PRIMARY KEY (id=?)",
		b.cleanups.update: "PRIMARY KEY (worker_id=? AND session_id=? AND state_group=?)", b.cleanups.byWorker: "PRIMARY KEY (worker_id=?)",
		b.cleanups.wipesByGroup: "cleanups_wipes (state_group=?)",
		b.migrations.update:     "PRIMARY KEY (id=?)", b.migrations.deleteBefore: "moves_ended (completed_at<?)",
		b.sessions.claimedBy: "sessions_claimed (claimed_by=?)",
		b.sessions.update:    "PRIMARY KEY (id=?)", b.messages.update: "sqlite_autoindex_messages_1 (id=?)",
		b.sessions.assigned: "sessions_worker (worker_id=?)", b.sessions.eachAssigned: "PRIMARY KEY (id>?)",
		b.sessions.due: "sessions_due (due_at>? AND due_at<?)", b.cleanups.due: "cleanups_due (due_at>? AND due_at<?)",
		b.messages.get:                  "sqlite_autoindex_messages_1 (id=?)",
		b.messages.sentByWhatsAppID:     "messages_sent (session_id=? AND whatsapp_id=?)",
		b.messages.receivedByWhatsAppID: "messages_received (session_id=? AND whatsapp_id=?)",
		b.messages.countSince:           "messages_history (session_id=? AND created_at>?)",
		b.messages.deleteBefore:         "messages_history (session_id=? AND created_at<?)",
		b.apiKeys.deleteExpired:         "api_keys_expiry (expires_at<?)",
		b.apiKeys.deleteRevoked:         "api_keys_revocation (revoked_at<?)",
		b.outbox.after:                  "INTEGER PRIMARY KEY (rowid>?)",
		b.outbox.afterOfUser:            "outbox_user (user_id=? AND seq>?)",
		b.outbox.afterOfSession:         "outbox_session (session_id=? AND seq>?)",
		b.outbox.afterOfSessionAnd:      "outbox_session (session_id=? AND seq>?)",
		b.outbox.deleteThrough:          "INTEGER PRIMARY KEY (rowid<?)",
		b.audit.deleteBefore:            "audit_age (occurred_at<?)",
		b.webhooks.update:               "PRIMARY KEY (id=?)",
		b.webhooks.bySession:            "sqlite_autoindex_webhooks_2 (session_id=?)",
		b.webhooks.due:                  "webhooks_due (due_at>? AND due_at<?)",
		b.deliveries.update:             "PRIMARY KEY (id=?)",
		b.deliveries.nextPending:        "deliveries_status (webhook_id=? AND status=?)",
		b.deliveries.list:               "sqlite_autoindex_deliveries_2 (webhook_id=? AND position<?)",
		b.deliveries.listOfStatus:       "deliveries_status (webhook_id=? AND status=? AND position<?)",
		b.deliveries.requeue:            "deliveries_created (webhook_id=? AND created_at>? AND created_at<?)",
		b.deliveries.createdAfter:       "deliveries_created (webhook_id=? AND created_at>? AND created_at<?)",
		b.deliveries.deleteOf:           "sqlite_autoindex_deliveries_2 (webhook_id=?)",
		b.deliveries.deleteEnded:        "deliveries_ended (status=? AND ended_at>? AND ended_at<?)",
		b.sendQueues.due:                "send_queues_due (due_at>? AND due_at<?)",
		b.sendQueues.nextDue:            "send_queues_due (due_at>?)",
		b.sendQueues.bytes:              "COVERING INDEX send_queues_user (user_id=?)",
		b.sendQueues.update:             "PRIMARY KEY (session_id=?)",
		b.queuedMessages.get:            "sqlite_autoindex_queued_messages_1 (session_id=? AND id=?)",
		b.queuedMessages.list:           "queued_messages_order (session_id=? AND (send_at,id)>(?,?))",
		b.queuedMessages.expired:        "queued_messages_deadline (session_id=? AND deadline<?)",
		b.queuedMessages.nextDeadline:   "COVERING INDEX queued_messages_deadline (session_id=?)",
		b.messages.remove:               "sqlite_autoindex_messages_1 (id=?)",
		b.idempotencyKeys.get:           "PRIMARY KEY (session_id=? AND idempotency_key=?)",
		b.idempotencyKeys.update:        "PRIMARY KEY (session_id=? AND idempotency_key=?)",
		b.idempotencyKeys.deleteBefore:  "idempotency_keys_age (created_at<?)",
	}
	mayScan := map[*Statement]string{
		b.sessions.countByStatus: "SCAN sessions USING COVERING INDEX sessions_status",
		b.migrations.open:        "SCAN moves USING INDEX moves_open",
		b.messages.pendingBefore: "SCAN messages USING INDEX messages_pending",
		b.replicas.list:          "SCAN replicas",
		b.outbox.oldest:          "SCAN outbox",
		b.webhooks.sessions:      "SCAN webhooks USING COVERING INDEX",
		b.schema.version:         "SEARCH schema_migrations",
		b.schema.owner:           "SCAN sqlite_master",
	}
	maySort := map[*Statement]bool{
		b.messages.sentByWhatsAppID:     true, // sorts one row, or a few
		b.messages.receivedByWhatsAppID: true,
		b.messages.pendingBefore:        true, // messages whose outcome is not known are few
		b.analytics.samples:             true, // groups the samples of at most 31 days
	}
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
	for _, s := range append(slices.Clone(b.all), ofUser, latest, ofSession) {
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

// openSchema opens a database with the schema.
func openSchema(t *testing.T) *sql.DB {
	db, err := sql.Open("sqlite3-with-fold", "file:"+filepath.Join(t.TempDir(), "plans.db"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	for _, m := range schemaMigrations() {
		text, err := m.sql(&sqlite)
		require.NoError(t, err)
		_, err = db.ExecContext(t.Context(), text)
		require.NoError(t, err)
	}
	return db
}

// eachHistoryFilter calls fn with every combination of the filters of a history, except for a search.
func eachHistoryFilter(fn func(f domain.MessageFilter)) {
	times := []time.Time{{}, time.Unix(1, 0)}
	for _, direction := range []domain.Direction{"", domain.Outbound, domain.Inbound} {
		for _, kind := range []domain.MessageType{"", domain.TypePoll} {
			for _, status := range []domain.MessageStatus{"", domain.MessagePending, domain.MessageFailed} {
				for _, to := range []string{"", "49@s.whatsapp.net"} {
					for _, since := range times {
						for _, until := range times {
							for _, cursor := range []domain.Cursor{{}, {At: time.Unix(2, 0), ID: "m"}} {
								fn(domain.MessageFilter{
									Direction: direction, Type: kind, Status: status, To: to, Since: since, Until: until,
									After: cursor, Limit: 21,
								})
							}
						}
					}
				}
			}
		}
	}
}

// TestHistory_EveryFilter_ReadsAnIndexInOrder asks SQLite for the plan of each combination of filters. The rows come from an index
// in their order. Only the ids of the newest messages of several kinds, and the rows of one page, are sorted.
func TestHistory_EveryFilter_ReadsAnIndexInOrder(t *testing.T) {
	db, b := openSchema(t), SQLite()
	eachHistoryFilter(func(f domain.MessageFilter) {
		s, args, err := b.HistoryQuery("s1", f)
		require.NoError(t, err)
		all := planWith(t, db, s, args)
		require.NotRegexp(t, `SCAN messages`, all, "%+v", f)
		if f.To != "" {
			require.Contains(t, all, "messages_recipient (session_id=? AND to_jid=?", "%+v", f)
			require.NotContains(t, all, "TEMP B-TREE", "%+v", f)
			return
		}
		if f.Direction == "" && f.Type == "" && f.Status == "" {
			require.Contains(t, all, "messages_history (session_id=?", "%+v", f)
			require.NotContains(t, all, "TEMP B-TREE", "%+v", f)
			return
		}
		kinds := len(kindsOf(f))
		require.Equal(t, kinds, strings.Count(all, "COVERING INDEX messages_kind (session_id=? AND direction=? AND type=? AND status=?"), all)
		pending := 0
		if f.Status == "" || f.Status == domain.MessagePending {
			pending = 1
		}
		require.Equal(t, pending, strings.Count(all, "INDEX messages_pending (session_id=?"), all)
		require.LessOrEqual(t, strings.Count(all, "TEMP B-TREE"), 2, all)
	})
}

// TestHistory_Search_ReadsTheFullTextIndex asks SQLite for the plan of a search.
func TestHistory_Search_ReadsTheFullTextIndex(t *testing.T) {
	db, b := openSchema(t), SQLite()
	s, args, err := b.HistoryQuery("s1", domain.MessageFilter{
		Since: time.Now(), Until: time.Now(), After: domain.Cursor{ID: "m"}, To: "49", Search: "Größe", Limit: 50,
	})
	require.NoError(t, err)
	all := planWith(t, db, s, args)
	require.Contains(t, all, "SEARCH messages USING INTEGER PRIMARY KEY (rowid=?)")
	require.Contains(t, all, "SCAN message_words VIRTUAL TABLE INDEX 2:", "the index of a match with the first column")
	require.Contains(t, all, "SEARCH messages USING INTEGER PRIMARY KEY (rowid>?)", "the messages that are not indexed yet")
}

// plan returns the plan of SQLite for a statement.
func plan(t *testing.T, db *sql.DB, s *Statement) string {
	return planWith(t, db, s, make([]any, strings.Count(s.SQL, "?")))
}

func planWith(t *testing.T, db *sql.DB, s *Statement, args []any) string {
	for i, v := range args {
		if n, is := v.(int); is {
			args[i] = int64(n)
		}
	}
	rows, err := db.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+s.SQL, args...)
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
