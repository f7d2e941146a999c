package orchestrator_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

func TestWhatIsRevokedIsRefusedEverywhere(t *testing.T) {
	change := func(c *crowd, user string, fn func(*domain.User)) {
		require.NoError(c.t, c.store.Update(c.t.Context(), func(ctx context.Context, tx *ports.Tx) error {
			u, err := tx.Users.Get(ctx, user)
			require.NoError(c.t, err)
			fn(u)
			return tx.Users.Put(ctx, u)
		}))
		require.NoError(c.t, c.all[0].UserChanged(c.t.Context(), user))
	}
	for name, revoke := range map[string]struct {
		how  func(c *crowd, s *ports.CreatedSession)
		code domain.Code
	}{
		"key rotated": {func(c *crowd, s *ports.CreatedSession) {
			_, err := c.all[0].RotateKey(c.t.Context(), s.UserID, s.ID, 0)
			require.NoError(c.t, err)
		}, domain.CodeAPIKeyInvalid},
		"key revoked": {func(c *crowd, s *ports.CreatedSession) {
			keys, err := c.all[0].Keys(c.t.Context(), s.UserID)
			require.NoError(c.t, err)
			require.NoError(c.t, c.all[0].RevokeKey(c.t.Context(), s.UserID, keys[0].ID))
		}, domain.CodeAPIKeyInvalid},
		"session deleted": {func(c *crowd, s *ports.CreatedSession) {
			require.NoError(c.t, c.all[0].DeleteSession(c.t.Context(), s.UserID, s.ID))
		}, domain.CodeAPIKeyInvalid},
		"user deactivated": {func(c *crowd, s *ports.CreatedSession) {
			change(c, s.UserID, func(u *domain.User) { u.Active = false })
		}, domain.CodeAccountDeactivated},
		"used up by a downgrade": {func(c *crowd, s *ports.CreatedSession) {
			change(c, s.UserID, func(u *domain.User) { u.Tier = domain.TierBasic })
		}, domain.CodeAPILimit},
	} {
		for _, cut := range []bool{false, true} {
			t.Run(fmt.Sprint(name, "/cut=", cut), func(t *testing.T) {
				c := newCrowd(t, 2)
				user := c.world().user(domain.TierPro)
				s, err := c.all[0].CreateSession(t.Context(), user, ports.NewSession{Name: "line"})
				require.NoError(t, err)
				use := func() error {
					_, _, err := c.all[1].AuthenticateKey(t.Context(), s.APIKey)
					return err
				}
				for range 1001 { // more than the lower tier allows
					require.NoError(t, use())
				}
				c.all[0].ears.cut.Store(cut)
				revoke.how(c, s)
				if cut {
					c.clock.advance(999 * time.Millisecond)
					require.NoError(t, use(), "the test would prove nothing")
					c.clock.advance(time.Millisecond)
				}
				require.Equal(t, revoke.code, domain.CodeOf(use()))
			})
		}
	}
}

func TestTheLatestUseOfAKeyIsKept(t *testing.T) {
	c := newCrowd(t, 2)
	a, b := c.all[0], c.all[1]
	s := c.line()
	_, _, err := b.AuthenticateKey(t.Context(), s.APIKey)
	require.NoError(t, err)
	b.dead = true
	c.pass(2*time.Minute, c.breathe(b))
	_, _, err = a.AuthenticateKey(t.Context(), s.APIKey)
	require.NoError(t, err)
	latest := c.clock.Now()
	c.pass(2*time.Minute, c.breathe(b))
	b.dead = false
	c.pass(time.Minute)
	keys, err := a.Keys(t.Context(), s.UserID)
	require.NoError(t, err)
	require.Equal(t, latest, keys[0].LastUsedAt)
}

func TestAKeyThatWasRotatedExpiresWithItsGrace(t *testing.T) {
	c := newCrowd(t, 2)
	a, b := c.all[0], c.all[1]
	s := c.line()
	use := func(key string) domain.Code {
		_, _, err := b.AuthenticateKey(t.Context(), key)
		return domain.CodeOf(err)
	}
	rotate := func(grace time.Duration) string {
		key, err := a.RotateKey(t.Context(), s.UserID, s.ID, grace)
		require.NoError(t, err)
		return key
	}
	second := rotate(time.Minute)
	third := rotate(time.Hour)
	require.Empty(t, use(s.APIKey))
	c.clock.advance(time.Minute)
	require.Equal(t, domain.CodeAPIKeyExpired, use(s.APIKey), "another rotation does not prolong it")
	require.Empty(t, use(second))
	keys, err := a.Keys(t.Context(), s.UserID)
	require.NoError(t, err)
	require.Len(t, keys, 2, "what has expired is not listed")
	fourth := rotate(0)
	require.Equal(t, domain.CodeAPIKeyExpired, use(s.APIKey))
	require.Equal(t, domain.CodeAPIKeyInvalid, use(second))
	require.Equal(t, domain.CodeAPIKeyInvalid, use(third))
	require.Empty(t, use(fourth))
}
