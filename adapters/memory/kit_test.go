package memory_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/switchyard-wa/switchyard/adapters/memory"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var noon = time.Date(2024, 5, 17, 12, 0, 0, 0, time.UTC)

// newStore returns a store with one user and one session.
func newStore(tb testing.TB) *memory.Store {
	tb.Helper()
	s := memory.NewStore()
	require.NoError(tb, s.Update(tb.Context(), func(ctx context.Context, tx *ports.Tx) error {
		if err := tx.Users.Put(ctx, &domain.User{ID: "u1", Email: "u1@example.com", CreatedAt: noon}); err != nil {
			return err
		}
		return tx.Sessions.Put(ctx, domain.NewSession("s1", "u1", "Session", "", noon))
	}))
	return s
}
