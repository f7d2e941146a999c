package sqlite_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// TestSearch_FewNewMessages_AreFoundBeforeTheyAreIndexed puts fewer messages than the full-text index receives at once, and then
// so many that it receives them.
func TestSearch_FewNewMessages_AreFoundBeforeTheyAreIndexed(t *testing.T) {
	s := open(t, file(t))
	update := func(fn func(ctx context.Context, tx *ports.Tx) error) { require.NoError(t, s.Update(t.Context(), fn)) }
	update(func(ctx context.Context, tx *ports.Tx) error {
		if err := tx.Users.Put(ctx, &domain.User{ID: "user", Email: "user@example.com"}); err != nil {
			return err
		}
		return tx.Sessions.Put(ctx, domain.NewSession("line", "user", "Line", "", time.UnixMicro(1)))
	})
	put := func(first, last int, content string) {
		update(func(ctx context.Context, tx *ports.Tx) error {
			for i := first; i <= last; i++ {
				err := tx.Messages.Put(ctx, &domain.Message{
					ID: fmt.Sprintf("%04d", i), SessionID: "line", UserID: "user", Direction: domain.Outbound, Type: domain.TypeText,
					Content: content, Status: domain.MessageSent, CreatedAt: time.UnixMicro(int64(i)),
				})
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	count := func(search string) (n int) {
		require.NoError(t, s.View(t.Context(), func(ctx context.Context, tx *ports.Tx) error {
			found, err := tx.Messages.List(ctx, "line", domain.MessageFilter{Search: search})
			n = len(found)
			return err
		}))
		return n
	}
	change := func(id, content string) {
		update(func(ctx context.Context, tx *ports.Tx) error {
			m, err := tx.Messages.Get(ctx, "line", id)
			if err != nil {
				return err
			}
			m.Content = content
			return tx.Messages.Put(ctx, m)
		})
	}

	put(1, 3, "first invoice")
	require.Equal(t, 3, count("invo first"))
	require.Equal(t, 0, count("nvoice"), "words count from their beginning")
	change("0002", "second invoice")
	require.Equal(t, 2, count("first"))
	require.Equal(t, 1, count("second"))

	put(4, 1000, "many") // more than the index receives at once
	require.Equal(t, 3, count("invoice"))
	put(1001, 1002, "last invoice")
	require.Equal(t, 5, count("invoice"), "indexed and new messages")
	change("0001", "changed")
	change("1001", "changed")
	require.Equal(t, 3, count("invoice"))
	require.Equal(t, 2, count("changed"))
	update(func(ctx context.Context, tx *ports.Tx) error {
		_, err := tx.Messages.DeleteBefore(ctx, "line", time.UnixMicro(1002), 2000)
		return err
	})
	require.Equal(t, 1, count("invoice"))
	require.Equal(t, 0, count("changed"))
	put(1003, 2000, "many")
	require.Equal(t, 1, count("invoice"))
	require.Equal(t, 998, count("many"))
}
