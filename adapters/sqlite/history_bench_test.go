package sqlite_test

import (
	"context"
	"database/sql"
	"testing"

	"github.com/mattn/go-sqlite3"
	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/internal/sqlstore"
	"github.com/switchyard-wa/switchyard/adapters/internal/storebench"
	"github.com/switchyard-wa/switchyard/adapters/sqlite"
	"github.com/switchyard-wa/switchyard/ports"
)

func init() {
	sql.Register("sqlite3-with-words", &sqlite3.SQLiteDriver{ConnectHook: func(c *sqlite3.SQLiteConn) error {
		return c.RegisterFunc(sqlstore.WordsFunction, sqlstore.WordsOf, true)
	}})
}

// BenchmarkHistory measures a history of HISTORY_ROWS messages.
func BenchmarkHistory(b *testing.B) { storebench.History(b, openEmpty, openFull) }

// openFull opens a store whose messages were inserted into a table without indexes. The indexes are then built anew.
func openFull(b *testing.B, rows int) ports.Store {
	b.Helper()
	path := file(b)
	s, err := sqlite.Open(b.Context(), path, sqlite.Options{Migrate: true})
	require.NoError(b, err)
	storebench.SeedHistory(b, s)
	require.NoError(b, s.Close())
	loadHistory(b, path, rows)
	return open(b, path)
}

func loadHistory(b *testing.B, path string, rows int) {
	b.Helper()
	db, err := sql.Open("sqlite3-with-words", "file:"+path+"?_journal_mode=OFF&_synchronous=OFF&_cache_size=-500000&_locking_mode=EXCLUSIVE")
	require.NoError(b, err)
	defer db.Close()
	db.SetMaxOpenConns(1)
	run := func(text string) {
		_, err := db.ExecContext(b.Context(), text)
		require.NoError(b, err, text)
	}
	indexes := messageIndexes(b, db)
	for name := range indexes {
		run("DROP INDEX " + name)
	}
	insertMessages(b, db, rows)
	for _, definition := range indexes {
		run(definition)
	}
	run("INSERT INTO message_words (docid, words) SELECT rowid, words FROM message_texts")
	run("UPDATE counters SET value = (SELECT MAX(n) FROM messages) WHERE name = 'indexed'")
}

// messageIndexes returns the statements that create the indexes of messages, by name.
func messageIndexes(b *testing.B, db *sql.DB) map[string]string {
	b.Helper()
	found, err := db.QueryContext(b.Context(), "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = 'messages' AND sql <> ''")
	require.NoError(b, err)
	defer found.Close()
	indexes := make(map[string]string)
	for found.Next() {
		var name, definition string
		require.NoError(b, found.Scan(&name, &definition))
		indexes[name] = definition
	}
	require.NoError(b, found.Err())
	return indexes
}

func insertMessages(b *testing.B, db *sql.DB, rows int) {
	b.Helper()
	tx, err := db.BeginTx(b.Context(), nil)
	require.NoError(b, err)
	insert, err := tx.PrepareContext(b.Context(), "INSERT INTO messages (id, session_id, created_at, direction, user_id, whatsapp_id, from_jid, to_jid,"+
		" type, content, media_url, filename, caption, status, error, sent_at, rev) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, '', '', '', ?, '', ?, 1)")
	require.NoError(b, err)
	defer insert.Close()
	for i := range rows {
		m := storebench.HistoryMessage(i)
		at := m.CreatedAt.UnixMicro()
		_, err := insert.ExecContext(context.Background(), m.ID, m.SessionID, at, string(m.Direction), m.UserID, m.WhatsAppID, m.From, m.To,
			string(m.Type), m.Content, string(m.Status), at)
		require.NoError(b, err)
	}
	require.NoError(b, tx.Commit())
}
