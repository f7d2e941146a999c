package postgres

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// putHistory stores a session with messages.
func putHistory(t *testing.T, s *Store, n int) {
	t.Helper()
	base := time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)
	require.NoError(t, s.Update(t.Context(), func(ctx context.Context, tx *ports.Tx) error {
		if err := tx.Users.Put(ctx, &domain.User{ID: "u1", Email: "a@example.com", Tier: domain.TierPro, CreatedAt: base}); err != nil {
			return err
		}
		if err := tx.Sessions.Put(ctx, domain.NewSession("s1", "u1", "Support", "", base)); err != nil {
			return err
		}
		for i := range n {
			m := &domain.Message{
				ID: fmt.Sprintf("m%05d", i), SessionID: "s1", UserID: "u1", Direction: domain.Outbound, To: "49@s.whatsapp.net",
				Type: domain.TypeText, Content: fmt.Sprintf("message number%d", i), Status: domain.MessageSent,
				CreatedAt: base.Add(time.Duration(i) * time.Second),
			}
			if i == 7 {
				m.Content = "" // no words
			}
			if err := tx.Messages.Put(ctx, m); err != nil {
				return err
			}
		}
		return nil
	}))
}

func search(t *testing.T, s *Store, text string) (ids []string) {
	t.Helper()
	require.NoError(t, s.View(t.Context(), func(ctx context.Context, tx *ports.Tx) error {
		found, err := tx.Messages.List(ctx, "s1", domain.MessageFilter{Search: text})
		ids = nil
		for _, m := range found {
			ids = append(ids, m.ID)
		}
		return err
	}))
	return ids
}

// TestIndexMessages_HistoryWithoutWords_IsFound indexes messages as the upgrade of a schema does.
func TestIndexMessages_HistoryWithoutWords_IsFound(t *testing.T) {
	s := openShared(t)
	putHistory(t, s, 1201)
	require.Equal(t, []string{"m01200"}, search(t, s, "number1200"))
	pooled, err := s.acquire(t.Context())
	require.NoError(t, err)
	require.NoError(t, connOf(pooled).pg.Exec(t.Context(), "DELETE FROM message_words").Close())
	pooled.Release()
	require.Empty(t, search(t, s, "number1200"))

	require.NoError(t, runOutsidePool(t.Context(), &s.config.ConnConfig.Config, time.Minute, mode{write: true}, func(tx *tx) error {
		return s.queries.IndexMessages(t.Context(), tx)
	}))
	require.Equal(t, []string{"m01200"}, search(t, s, "number1200"))
	require.Len(t, search(t, s, "message"), 1200)
}

// TestHistory_QueryPlans_ReadIndexes asks PostgreSQL for the plans of a history of 20 000 messages.
func TestHistory_QueryPlans_ReadIndexes(t *testing.T) {
	s := openShared(t)
	putHistory(t, s, 20_000)
	pooled, err := s.acquire(t.Context())
	require.NoError(t, err)
	defer pooled.Release()
	pg := connOf(pooled).pg
	require.NoError(t, pg.Exec(t.Context(), "VACUUM ANALYZE messages, message_words").Close())
	plan := func(f domain.MessageFilter) string {
		f.Limit = 21
		statement, args, err := s.queries.HistoryQuery("s1", f)
		require.NoError(t, err)
		text := statement.SQL
		for i := len(args); i > 0; i-- {
			text = strings.ReplaceAll(text, fmt.Sprintf("$%d", i), fmt.Sprintf("'%v'", strings.ReplaceAll(fmt.Sprint(args[i-1]), "'", "''")))
		}
		results, err := pg.Exec(t.Context(), "EXPLAIN "+text).ReadAll()
		require.NoError(t, err, text)
		var lines []string
		for _, row := range results[0].Rows {
			lines = append(lines, string(row[0]))
		}
		return strings.Join(lines, "\n")
	}
	cursor := domain.Cursor{At: time.Date(2026, 3, 2, 13, 0, 0, 0, time.UTC), ID: "m"}
	for index, filters := range map[string][]domain.MessageFilter{
		"messages_history":   {{}, {Since: cursor.At}, {Until: cursor.At}, {After: cursor}, {Since: cursor.At.Add(-time.Hour), After: cursor}},
		"messages_recipient": {{To: "1@s.whatsapp.net"}, {To: "1@s.whatsapp.net", After: cursor}, {To: "1@s.whatsapp.net", Type: domain.TypePoll}},
		"messages_kind": {
			{Direction: domain.Inbound}, {Type: domain.TypePoll}, {Status: domain.MessageFailed}, {Status: domain.MessageSent, After: cursor},
			{Direction: domain.Outbound, Type: domain.TypeText, Status: domain.MessageRead, Since: cursor.At},
		},
		"messages_pending":    {{Status: domain.MessagePending}, {Type: domain.TypeText}},
		"message_words_index": {{Search: "number7"}, {Search: "message", Status: domain.MessageSent}},
	} {
		for _, f := range filters {
			p := plan(f)
			require.Contains(t, p, index, "%+v", f)
			require.NotContains(t, p, "Seq Scan", "%+v\n%s", f, p)
			if f.Search == "" {
				require.NotRegexp(t, `Index Cond: \(\(?created_at `, p, "every index is read within the session")
			}
		}
	}
}
