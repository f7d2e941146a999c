package orchestrator_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// TestWhatIsRevokedWhileItIsReadIsNotKept: a key is revoked, or its user deactivated, between the look at its row and what is made of that.
func TestWhatIsRevokedWhileItIsReadIsNotKept(t *testing.T) {
	for _, what := range []struct {
		name string
		read int // after so many reads
		do   func(c *replicaSet, s *service.CreatedSession)
		code domain.Code
	}{
		{"a key", 1, func(c *replicaSet, s *service.CreatedSession) {
			keys, err := c.all[0].APIKeys.List(c.t.Context(), s.UserID)
			require.NoError(c.t, err)
			require.NoError(c.t, c.all[0].APIKeys.Revoke(c.t.Context(), s.UserID, keys[0].ID))
		}, domain.CodeAPIKeyInvalid},
		{"a user", 2, func(c *replicaSet, s *service.CreatedSession) {
			require.NoError(c.t, c.store.Update(c.t.Context(), func(ctx context.Context, tx *ports.Tx) error {
				u, err := tx.Users.Get(ctx, s.UserID)
				if err != nil {
					return err
				}
				u.Active = false
				return tx.Users.Put(ctx, u)
			}))
			require.NoError(c.t, c.all[0].Users.ApplyChange(c.t.Context(), s.UserID))
		}, domain.CodeAccountDeactivated},
	} {
		t.Run(what.name, func(t *testing.T) {
			c := newReplicaSet(t, 1)
			a := c.all[0]
			s := c.line()
			reads := 0
			a.store.AfterView = func(_ context.Context, err error) error {
				if reads++; reads == what.read {
					a.store.AfterView = nil
					what.do(c, s)
				}
				return err
			}
			_, _, err := a.APIKeys.Authenticate(t.Context(), s.APIKey)
			require.NoError(t, err, "it was good when it was asked for")
			_, _, err = a.APIKeys.Authenticate(t.Context(), s.APIKey)
			require.Equal(t, what.code, domain.CodeOf(err))
		})
	}
}
