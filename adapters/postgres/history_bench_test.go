package postgres_test

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/internal/sqlstore"
	"github.com/switchyard-wa/switchyard/adapters/internal/storebench"
	"github.com/switchyard-wa/switchyard/adapters/postgres"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// BenchmarkHistory measures a history of HISTORY_ROWS messages.
func BenchmarkHistory(b *testing.B) { storebench.History(b, openDurable, openFull) }

// openFull opens a store whose messages were copied into tables without indexes. The indexes are then built anew.
func openFull(b *testing.B, rows int) ports.Store {
	b.Helper()
	dsn := startDurable(b).NewDatabase(b)
	s, err := postgres.Open(b.Context(), dsn, postgres.Options{Migrate: true})
	require.NoError(b, err)
	storebench.SeedHistory(b, s)
	require.NoError(b, s.Close())
	loadHistory(b, dsn, rows)
	return open(b, dsn)
}

// messageLine writes a message as a line of COPY, its columns divided by tabs.
func messageLine(w io.Writer, m *domain.Message) {
	at := m.CreatedAt.UnixMicro()
	_, _ = fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t\t\t\t%s\t\t%d\t1\n", m.ID, m.SessionID, at, m.Direction, m.UserID,
		m.WhatsAppID, m.From, m.To, m.Type, m.Content, m.Status, at)
}

// wordsLine writes the words of a message as a line of COPY.
func wordsLine(w io.Writer, m *domain.Message) {
	_, _ = fmt.Fprintf(w, "%s\t%s\n", m.ID, sqlstore.WordsOf(m.SessionID, string(m.Type), m.Content, m.Caption, m.Filename))
}

func loadHistory(b *testing.B, dsn string, rows int) {
	b.Helper()
	c, err := pgconn.Connect(b.Context(), dsn)
	require.NoError(b, err)
	defer c.Close(b.Context())
	run := func(sql string) [][][]byte {
		results, err := c.Exec(b.Context(), sql).ReadAll()
		require.NoError(b, err, sql)
		return results[len(results)-1].Rows
	}
	run("SET session_replication_role = replica; SET maintenance_work_mem = '1GB'; SET max_parallel_maintenance_workers = 2")
	definitions := run("SELECT indexname, indexdef, constraint_name FROM pg_indexes" +
		" LEFT JOIN information_schema.table_constraints ON constraint_name = indexname AND constraint_schema = schemaname" +
		" WHERE schemaname = current_schema() AND tablename IN ('messages', 'message_words')" +
		" ORDER BY constraint_name")
	var restore []string
	for _, row := range definitions {
		name, definition := string(row[0]), string(row[1])
		table := strings.TrimSuffix(name, "_pkey")
		if table == name {
			run("DROP INDEX " + name)
			restore = append(restore, definition)
			continue
		}
		key := definition[strings.LastIndex(definition, "("):]
		run("ALTER TABLE " + table + " DROP CONSTRAINT " + name)
		restore = append(restore, "ALTER TABLE "+table+" ADD CONSTRAINT "+name+" PRIMARY KEY "+key)
	}
	copyLines(b, c, rows, "messages (id, session_id, created_at, direction, user_id, whatsapp_id, from_jid, to_jid, type, content,"+
		" media_url, filename, caption, status, error, sent_at, rev)", messageLine)
	copyLines(b, c, rows, "message_words (message_id, words)", wordsLine)
	for _, sql := range append(restore, "VACUUM ANALYZE messages, message_words", "CHECKPOINT") {
		run(sql)
	}
}

// copyLines copies a line for each message into a table.
func copyLines(b *testing.B, c *pgconn.PgConn, rows int, table string, line func(w io.Writer, m *domain.Message)) {
	b.Helper()
	r, w := io.Pipe()
	go func() {
		out := bufio.NewWriterSize(w, 1<<16)
		for i := range rows {
			line(out, storebench.HistoryMessage(i))
		}
		w.CloseWithError(out.Flush())
	}()
	_, err := c.CopyFrom(b.Context(), r, "COPY "+table+" FROM STDIN")
	require.NoError(b, err)
}
