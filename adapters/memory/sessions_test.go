package memory_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

func TestEachAssigned_FnWrites_SkipsDeletedAndMovedSessions(t *testing.T) {
	s := newStore(t)
	require.NoError(t, s.Update(t.Context(), func(ctx context.Context, tx *ports.Tx) error {
		for i := range 10 {
			v := domain.NewSession(fmt.Sprint("a", i), "u1", "", "", noon)
			v.WorkerID = fmt.Sprint("w", i%2)
			if err := tx.Sessions.Put(ctx, v); err != nil {
				return err
			}
		}
		return nil
	}))
	var seen []string
	require.NoError(t, s.Update(t.Context(), func(ctx context.Context, tx *ports.Tx) error {
		return tx.Sessions.EachAssigned(ctx, func(v *domain.Session) error {
			seen = append(seen, v.ID)
			if v.ID == "a0" {
				doomed, err := tx.Sessions.Get(ctx, "a2")
				if err != nil {
					return err
				}
				return tx.Sessions.Delete(ctx, "a2", doomed.Rev)
			}
			v.WorkerID = ""
			return tx.Sessions.Put(ctx, v)
		})
	}))
	require.Equal(t, []string{"a0", "a4", "a6", "a8", "a1", "a3", "a5", "a7", "a9"}, seen)
}
