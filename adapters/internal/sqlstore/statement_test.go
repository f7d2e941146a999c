package sqlstore

import (
	"database/sql"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mattn/go-sqlite3"
	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

var bodies = map[string]*Queries{"sqlite": SQLite(), "postgres": Postgres()}

func TestEveryChangeHasACondition(t *testing.T) {
	for name, b := range bodies {
		for _, s := range b.all {
			verb, _, _ := strings.Cut(s.SQL, " ")
			require.Equal(t, verb != "SELECT", s.Write, s.SQL)
			if verb == "UPDATE" || verb == "DELETE" {
				_, condition, _ := strings.Cut(s.SQL, " WHERE ")
				require.Regexp(t, `^\w+ (=|<|>) (\?|\$\d+|'outbox')`, condition, "%s: %s", name, s.SQL)
			}
		}
		for _, condition := range []string{"", " \n"} {
			require.Panics(t, func() { b.update("users", sets("name"), condition) })
			require.Panics(t, func() { b.remove("users", condition) })
		}
	}
}

// TestOneWayToAChange holds the sources against what the test above relies on.
func TestOneWayToAChange(t *testing.T) {
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	for _, name := range files {
		source, err := os.ReadFile(name)
		require.NoError(t, err)
		n := 0
		if name == "statement.go" {
			n = 1
		}
		if !strings.HasSuffix(name, "_test.go") {
			require.Equal(t, n, strings.Count(string(source), "sq.Update("), name)
			require.Equal(t, n, strings.Count(string(source), "sq.Delete("), name)
			require.NotRegexp(t, `"(UPDATE|DELETE) `, string(source), name)
		}
	}
}

func TestDialectsDifferInPlaceholdersAlone(t *testing.T) {
	a, b := bodies["sqlite"], bodies["postgres"]
	require.Len(t, b.all, len(a.all))
	dollar := regexp.MustCompile(`\$\d+`)
	for i, s := range b.all {
		require.NotContains(t, s.SQL, "?")
		for n, p := range dollar.FindAllString(s.SQL, -1) {
			require.Equal(t, fmt.Sprintf("$%d", n+1), p, s.SQL)
		}
		if s != b.schema.exists {
			require.Equal(t, a.all[i].SQL, dollar.ReplaceAllString(s.SQL, "?"))
		}
	}
}

func TestMigrationsAreComplete(t *testing.T) {
	for name, b := range bodies {
		for _, m := range known() {
			text, err := m.sql(&b.dialect)
			require.NoError(t, err)
			require.NotContains(t, text, "{{", "%s: %s", name, m.name)
			require.NotContains(t, text, "<no value>", "%s: %s", name, m.name)
		}
	}
}

func TestSearchIsLiteral(t *testing.T) {
	never, _, err := sqlite.contains("name", strings.Repeat("%", 60_000)).ToSql()
	require.NoError(t, err)
	require.Equal(t, "1 = 0", never)
	for text, want := range map[string]struct {
		sql string
		arg string
	}{
		"Ann":     {`name LIKE ? ESCAPE '\'`, "%ann%"},
		`5%_\`:    {`name LIKE ? ESCAPE '\'`, `%5\%\_\\%`},
		"Größe":   {`fold(name) LIKE ? ESCAPE '\'`, "%größe%"},
		"o'Brien": {`name LIKE ? ESCAPE '\'`, "%o'brien%"},
	} {
		got, args, err := sqlite.contains("name", text).ToSql()
		require.NoError(t, err)
		require.Equal(t, want.sql, got)
		require.Equal(t, []any{want.arg}, args)
	}
}

func TestRevsNeverRepeat(t *testing.T) {
	seen := map[int64]bool{}
	for last := int64(0); len(seen) < 1000; {
		fresh := nextRev(0)
		require.Greater(t, fresh, last)
		require.False(t, seen[fresh])
		seen[fresh], last = true, fresh
	}
	ahead := nextRev(0) + 1_000_000
	require.Equal(t, ahead+1, nextRev(ahead), "of a row from a host whose clock is ahead")
	require.Less(t, nextRev(math.MaxInt64), ahead)
}

func init() {
	sql.Register("sqlite3-with-fold", &sqlite3.SQLiteDriver{ConnectHook: func(c *sqlite3.SQLiteConn) error {
		return c.RegisterFunc(FoldFunction, strings.ToLower, true)
	}})
}

// TestPlans asks SQLite how it would carry out each query: always with an
// index, and without sorting what may be many rows.
func TestPlans(t *testing.T) {
	db, err := sql.Open("sqlite3-with-fold", "file:"+filepath.Join(t.TempDir(), "plans.db"))
	require.NoError(t, err)
	defer db.Close()
	for _, m := range known() {
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
		b.migrations.update: "PRIMARY KEY (id=?)", b.migrations.deleteBefore: "moves_ended (completed_at<?)",
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
		b.outbox.trim:                   "outbox_age (occurred_at<?)",
	}
	mayScan := map[*Statement]string{
		b.sessions.countByStatus: "SCAN sessions USING COVERING INDEX sessions_status",
		b.migrations.open:        "SCAN moves USING INDEX moves_open",
		b.replicas.list:          "SCAN replicas",
		b.schema.version:         "SEARCH schema_migrations",
		b.schema.exists:          "SCAN sqlite_master",
	}
	maySort := map[*Statement]bool{
		b.messages.usageOfUser: true, b.messages.usageOfSession: true, // into groups
		b.messages.sentByWhatsAppID:     true, // there is one, or a few
		b.messages.receivedByWhatsAppID: true,
	}
	history, _, err := b.list(b.history("s1", domain.MessageFilter{
		Since: time.Now(), Until: time.Now(), After: domain.Cursor{ID: "m"}, To: "49", Search: "Größe", Limit: 50,
	}))
	require.NoError(t, err)
	index[history] = "messages_history (session_id=? AND created_at>? AND created_at<?)"
	ofUser, _, err := b.list(pick("sessions", sessionsTable.columns()...).where("user_id = ?").
		order("created_at DESC", "id DESC").page(ports.Page{Limit: 20}))
	require.NoError(t, err)
	index[ofUser] = "sessions_user (user_id=?)"
	latest, _, err := b.list(pick("moves", migrationRowsTable.columns()...).order("created_at DESC", "id DESC").page(ports.Page{Limit: 20}))
	require.NoError(t, err)
	mayScan[latest] = "SCAN moves USING INDEX moves_age"
	ofSession, _, err := b.list(pick("moves", migrationRowsTable.columns()...).where("session_id = ?").
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

// plan tells how SQLite would carry out a statement.
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
