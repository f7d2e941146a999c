package apikeys_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/memory"
	"github.com/switchyard-wa/switchyard/app/internal/apikeys"
	"github.com/switchyard-wa/switchyard/app/internal/coretest"
	"github.com/switchyard-wa/switchyard/app/internal/txn"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// fixture is a user with session s1 and its API key.
type fixture struct {
	*coretest.Core
	keys          *apikeys.Keys
	user, key     string
	invalidations []ports.Invalidation
}

func newFixture(t *testing.T) *fixture {
	f := &fixture{Core: coretest.New(t)}
	f.keys = apikeys.New(f.Writer, memory.NewLimiter(), func(i ports.Invalidation) { f.invalidations = append(f.invalidations, i) })
	f.user = f.AddUser(domain.TierBasic)
	f.AddSession(f.user, "s1")
	f.Write(func(ctx context.Context, tx *txn.Tx) error {
		s, err := tx.Sessions.Get(ctx, "s1")
		if err != nil {
			return err
		}
		text, key, err := f.keys.NewKey(s, f.Now())
		if err != nil {
			return err
		}
		f.key = text
		return tx.APIKeys.Put(ctx, key)
	})
	return f
}

// keys returns the stored keys of s1.
func (f *fixture) storedKeys() (keys []*domain.APIKey) {
	f.Read(func(ctx context.Context, tx *ports.Tx) (err error) {
		keys, err = tx.APIKeys.BySession(ctx, "s1")
		return err
	})
	return keys
}

// code returns the code with which a key is refused; empty: it is accepted.
func (f *fixture) code(key string) domain.Code {
	_, _, err := f.keys.Authenticate(context.Background(), key)
	return domain.CodeOf(err)
}

func TestAuthenticate_ValidKey_ReturnsItsSender(t *testing.T) {
	f := newFixture(t)
	sender, usage, err := f.keys.Authenticate(context.Background(), f.key)
	require.NoError(t, err)
	require.Equal(t, f.user, sender.UserID)
	require.Equal(t, "s1", sender.SessionID)
	require.Equal(t, f.storedKeys()[0].ID, sender.KeyID)
	require.Equal(t, 1, usage.Used)
}

func TestAuthenticate_SecondCallWithinASecond_ReadsNothing(t *testing.T) {
	f := newFixture(t)
	require.Empty(t, f.code(f.key))

	f.Clock.Advance(time.Second - time.Microsecond)
	updates, views := f.Stored.Count(func() { require.Empty(t, f.code(f.key)) })
	require.Zero(t, updates+views)

	f.Clock.Advance(time.Microsecond)
	_, views = f.Stored.Count(func() { require.Empty(t, f.code(f.key)) })
	require.Equal(t, 2, views, "key and user are read again")
}

func TestAuthenticate_KeyRevokedWhileItIsRead_IsNotCached(t *testing.T) {
	f := newFixture(t)
	id, views := f.storedKeys()[0].ID, 0
	f.Stored.BeforeEachView(func() {
		views++
		if views == 2 { // the key is read already, its user is not
			require.NoError(t, f.keys.Revoke(context.Background(), f.user, id))
		}
	})

	require.Empty(t, f.code(f.key), "what was read is used once")
	require.Equal(t, domain.CodeAPIKeyInvalid, f.code(f.key))
}

func TestAuthenticate_UserDeactivated_IsRefused(t *testing.T) {
	f := newFixture(t)
	require.Empty(t, f.code(f.key))
	f.Write(func(ctx context.Context, tx *txn.Tx) error {
		u, err := tx.Users.Get(ctx, f.user)
		if err != nil {
			return err
		}
		u.Active = false
		return tx.Users.Put(ctx, u)
	})
	f.keys.UserChanged(f.user)
	require.Equal(t, domain.CodeAccountDeactivated, f.code(f.key))
	require.Equal(t, []ports.Invalidation{{Users: []string{f.user}}}, f.invalidations)
}

func TestAuthenticate_CallsUsedUp_TellsWhenToRetry(t *testing.T) {
	f := newFixture(t)
	f.SetTiers(domain.Tiers{domain.TierBasic: {APICallsPerHour: 1}})
	require.Empty(t, f.code(f.key))

	_, usage, err := f.keys.Authenticate(context.Background(), f.key)
	require.Equal(t, domain.CodeAPILimit, domain.CodeOf(err))
	require.False(t, usage.Allowed)
	require.Equal(t, time.Hour, domain.RetryAfterOf(err))
}

func TestRotate_WithoutGrace_OldKeyEndsAtOnce(t *testing.T) {
	f := newFixture(t)
	require.Empty(t, f.code(f.key))
	next, err := f.keys.Rotate(context.Background(), f.user, "s1", 0)
	require.NoError(t, err)
	require.NotEmpty(t, f.code(f.key))
	require.Empty(t, f.code(next))
}

func TestRotate_WithGrace_OldKeyExpiresAfterIt(t *testing.T) {
	f := newFixture(t)
	next, err := f.keys.Rotate(context.Background(), f.user, "s1", time.Minute)
	require.NoError(t, err)
	f.Clock.Advance(30 * time.Second)
	require.Empty(t, f.code(f.key))

	_, err = f.keys.Rotate(context.Background(), f.user, "s1", time.Hour) // does not prolong the first grace
	require.NoError(t, err)
	f.Clock.Advance(30 * time.Second)
	require.NotEmpty(t, f.code(f.key))
	require.Empty(t, f.code(next))
}

func TestRevoke_KeyOfAnotherUser_DoesNotExist(t *testing.T) {
	f := newFixture(t)
	err := f.keys.Revoke(context.Background(), "somebody else", f.storedKeys()[0].ID)
	require.Equal(t, domain.CodeAPIKeyNotFound, domain.CodeOf(err))
	require.Empty(t, f.code(f.key))
}

func TestLastUse_KeyUsed_ShowsAtOnceAndIsStoredByOneWrite(t *testing.T) {
	f := newFixture(t)
	require.Empty(t, f.code(f.key))
	used := f.Now()

	views, err := f.keys.List(context.Background(), f.user)
	require.NoError(t, err)
	require.Equal(t, used, views[0].LastUsedAt)
	require.Zero(t, f.storedKeys()[0].LastUsedAt)

	updates, _ := f.Stored.Count(func() { require.NoError(t, f.keys.StoreLastUse(context.Background())) })
	require.Equal(t, 1, updates)
	require.Equal(t, used, f.storedKeys()[0].LastUsedAt)
	updates, _ = f.Stored.Count(func() { require.NoError(t, f.keys.StoreLastUse(context.Background())) })
	require.Zero(t, updates, "nothing was used since")
}

func TestList_KeyEnded_IsNotListed(t *testing.T) {
	f := newFixture(t)
	_, err := f.keys.Rotate(context.Background(), f.user, "s1", 0)
	require.NoError(t, err)
	views, err := f.keys.List(context.Background(), f.user)
	require.NoError(t, err)
	require.Len(t, views, 1)
	require.Equal(t, "s1", views[0].Session.ID)
}

// However often a key is rotated, few keys are live and few are stored.
func TestRotate_ManyTimesWithGrace_KeysStayFew(t *testing.T) {
	f := newFixture(t)
	all := []string{f.key}
	for range 30 {
		f.Clock.Advance(time.Second)
		key, err := f.keys.Rotate(context.Background(), f.user, "s1", 24*time.Hour)
		require.NoError(t, err)
		all = append(all, key)
	}
	require.Len(t, f.storedKeys(), 10)
	for i, key := range all {
		if i >= len(all)-3 {
			require.Empty(t, f.code(key), "%d", i)
		} else {
			require.Equal(t, domain.CodeAPIKeyInvalid, f.code(key), "%d", i)
		}
	}
	views, err := f.keys.List(context.Background(), f.user)
	require.NoError(t, err)
	require.Len(t, views, 3)
}

func TestHousekeep_KeysThatEnded_GoAfterAWeek(t *testing.T) {
	f := newFixture(t)
	_, err := f.keys.Rotate(context.Background(), f.user, "s1", time.Hour)
	require.NoError(t, err)
	_, err = f.keys.Rotate(context.Background(), f.user, "s1", 0)
	require.NoError(t, err)
	stored := func() int {
		require.NoError(t, f.keys.Housekeep(context.Background(), f.Now()))
		return len(f.storedKeys())
	}
	f.Clock.Advance(7 * 24 * time.Hour)
	require.Equal(t, 3, stored())
	f.Clock.Advance(time.Second)
	require.Equal(t, 1, stored(), "those that were revoked have gone")
	require.Empty(t, f.code(f.latest(t)))
}

// latest rotates the key and returns it.
func (f *fixture) latest(t *testing.T) string {
	t.Helper()
	key, err := f.keys.Rotate(context.Background(), f.user, "s1", 0)
	require.NoError(t, err)
	return key
}
