package orchestrator_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// Without invalidations the other replica refuses a second later.
func TestAPIKey_Revoked_EveryReplicaRefuses(t *testing.T) {
	change := func(c *replicaSet, user string, fn func(*domain.User)) {
		require.NoError(c.t, c.store.Update(c.t.Context(), func(ctx context.Context, tx *ports.Tx) error {
			u, err := tx.Users.Get(ctx, user)
			require.NoError(c.t, err)
			fn(u)
			return tx.Users.Put(ctx, u)
		}))
		require.NoError(c.t, c.all[0].Users.ApplyChange(c.t.Context(), user))
	}
	for name, revoke := range map[string]struct {
		how  func(c *replicaSet, s *service.CreatedSession)
		code domain.Code
	}{
		"key rotated": {func(c *replicaSet, s *service.CreatedSession) {
			_, err := c.all[0].APIKeys.Rotate(c.t.Context(), s.UserID, s.ID, 0)
			require.NoError(c.t, err)
		}, domain.CodeAPIKeyInvalid},
		"key revoked": {func(c *replicaSet, s *service.CreatedSession) {
			keys, err := c.all[0].APIKeys.List(c.t.Context(), s.UserID)
			require.NoError(c.t, err)
			require.NoError(c.t, c.all[0].APIKeys.Revoke(c.t.Context(), s.UserID, keys[0].ID))
		}, domain.CodeAPIKeyInvalid},
		"session deleted": {func(c *replicaSet, s *service.CreatedSession) {
			require.NoError(c.t, c.all[0].Sessions.Delete(c.t.Context(), s.UserID, s.ID))
		}, domain.CodeAPIKeyInvalid},
		"user deactivated": {func(c *replicaSet, s *service.CreatedSession) {
			change(c, s.UserID, func(u *domain.User) { u.Active = false })
		}, domain.CodeAccountDeactivated},
		"used up by a downgrade": {func(c *replicaSet, s *service.CreatedSession) {
			change(c, s.UserID, func(u *domain.User) { u.Tier = domain.TierBasic })
		}, domain.CodeAPILimit},
	} {
		for _, cut := range []bool{false, true} {
			t.Run(fmt.Sprint(name, "/cut=", cut), func(t *testing.T) {
				c := newReplicaSet(t, 2)
				user := c.fixture().user(domain.TierPro)
				s, err := c.all[0].Sessions.Create(t.Context(), user, service.CreateSessionParams{Name: "line"})
				require.NoError(t, err)
				use := func() error {
					_, _, err := c.all[1].APIKeys.Authenticate(t.Context(), s.APIKey)
					return err
				}
				for range 1001 { // more than the lower tier allows
					require.NoError(t, use())
				}

				c.all[0].invalidator.cut.Store(cut)
				revoke.how(c, s)
				if cut {
					c.clock.advance(999 * time.Millisecond)
					require.NoError(t, use(), "the cache still has the key")
					c.clock.advance(time.Millisecond)
				}

				require.Equal(t, revoke.code, domain.CodeOf(use()))
			})
		}
	}
}

// A key is revoked, or its user deactivated, after a replica has read its row and before it
// caches it.
func TestAPIKey_RevokedDuringRead_IsNotCached(t *testing.T) {
	for _, what := range []struct {
		name string
		read int // the change comes after this read
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
			s := c.createSession()
			reads := 0
			a.store.AfterView = func(_ context.Context, err error) error {
				reads++
				if reads == what.read {
					a.store.AfterView = nil
					what.do(c, s)
				}
				return err
			}

			_, _, err := a.APIKeys.Authenticate(t.Context(), s.APIKey)
			require.NoError(t, err, "the key was valid when it was read")
			_, _, err = a.APIKeys.Authenticate(t.Context(), s.APIKey)
			require.Equal(t, what.code, domain.CodeOf(err))
		})
	}
}

func TestAPIKey_UsedAtTwoReplicas_LatestUseIsStored(t *testing.T) {
	c := newReplicaSet(t, 2)
	a, b := c.all[0], c.all[1]
	s := c.createSession()
	_, _, err := b.APIKeys.Authenticate(t.Context(), s.APIKey)
	require.NoError(t, err)

	b.halted = true
	c.advance(2*time.Minute, c.keepAlive(b))
	_, _, err = a.APIKeys.Authenticate(t.Context(), s.APIKey)
	require.NoError(t, err)
	latest := c.clock.Now()
	c.advance(2*time.Minute, c.keepAlive(b))

	b.halted = false
	c.advance(time.Minute)

	keys, err := a.APIKeys.List(t.Context(), s.UserID)
	require.NoError(t, err)
	require.Equal(t, latest, keys[0].LastUsedAt)
}

func TestAPIKey_Rotated_ExpiresAfterItsGrace(t *testing.T) {
	c := newReplicaSet(t, 2)
	a, b := c.all[0], c.all[1]
	s := c.createSession()
	use := func(key string) domain.Code {
		_, _, err := b.APIKeys.Authenticate(t.Context(), key)
		return domain.CodeOf(err)
	}
	rotate := func(grace time.Duration) string {
		key, err := a.APIKeys.Rotate(t.Context(), s.UserID, s.ID, grace)
		require.NoError(t, err)
		return key
	}

	second := rotate(time.Minute)
	third := rotate(time.Hour)

	require.Empty(t, use(s.APIKey))
	c.clock.advance(time.Minute)
	require.Equal(t, domain.CodeAPIKeyExpired, use(s.APIKey), "another rotation does not extend the grace")
	require.Empty(t, use(second))
	keys, err := a.APIKeys.List(t.Context(), s.UserID)
	require.NoError(t, err)
	require.Len(t, keys, 2, "expired keys are not listed")

	fourth := rotate(0)
	require.Equal(t, domain.CodeAPIKeyInvalid, use(s.APIKey))
	require.Equal(t, domain.CodeAPIKeyInvalid, use(second))
	require.Equal(t, domain.CodeAPIKeyInvalid, use(third))
	require.Empty(t, use(fourth))
}

// The clock of the replica that rotates the key is hours ahead.
func TestAPIKey_RotatedWithoutGraceBySkewedReplica_EndsAtOnce(t *testing.T) {
	c := newSkewedReplicaSet(t, []time.Duration{2 * time.Hour, 0})
	a, b := c.all[0], c.all[1]
	s, err := b.Sessions.Create(t.Context(), c.fixture().user(domain.TierBasic), service.CreateSessionParams{Name: "line"})
	require.NoError(t, err)
	_, err = b.APIKeys.Rotate(t.Context(), s.UserID, s.ID, time.Hour) // expired by a's clock
	require.NoError(t, err)
	second, err := b.APIKeys.Rotate(t.Context(), s.UserID, s.ID, time.Hour)
	require.NoError(t, err)

	third, err := a.APIKeys.Rotate(t.Context(), s.UserID, s.ID, 0)
	require.NoError(t, err)

	for _, r := range c.all {
		for _, old := range []string{s.APIKey, second} {
			_, _, err := r.APIKeys.Authenticate(t.Context(), old)
			require.Equal(t, domain.CodeAPIKeyInvalid, domain.CodeOf(err))
		}
		_, _, err := r.APIKeys.Authenticate(t.Context(), third)
		require.NoError(t, err)
	}
}

type keysBefore struct {
	ports.APIKeys
	keys []*domain.APIKey
}

func (k keysBefore) BySession(context.Context, string) ([]*domain.APIKey, error) { return k.keys, nil }

func TestAPIKey_ConcurrentRotations_OneKeyRemains(t *testing.T) {
	for _, grace := range []time.Duration{0, time.Minute} {
		c := newReplicaSet(t, 2)
		s := c.createSession()
		var read sync.WaitGroup
		read.Add(len(c.all))
		for _, r := range c.all {
			r.hideConcurrentKeys(s.ID, &read)
		}

		concurrently(2, func(i int) {
			_, err := c.all[i].APIKeys.Rotate(context.Background(), s.UserID, s.ID, grace)
			require.NoError(t, err)
		})

		c.clock.advance(grace)
		keys, err := c.all[0].APIKeys.List(t.Context(), s.UserID)
		require.NoError(t, err)
		require.Len(t, keys, 1)
	}
}
