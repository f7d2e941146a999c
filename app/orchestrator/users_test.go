package orchestrator_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/memory"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/conformance/storehooks"
)

func TestUsersAdd_KnownUser_OnlyTheTierChanges(t *testing.T) {
	w := newFixture(t)
	ctx := context.Background()
	read := func() (u *domain.User) {
		require.NoError(t, w.store.View(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
			u, err = tx.Users.Get(ctx, "ada")
			return err
		}))
		return u
	}
	require.NoError(t, w.Users.Add(ctx, domain.User{ID: "ada", Email: " Ada@Example.com", Tier: domain.TierPro}))
	u := read()
	require.Equal(t, []any{"ada@example.com", domain.TierPro, domain.RoleUser, true, w.clock.Now()},
		[]any{u.Email, u.Tier, u.Role, u.Active, u.CreatedAt})

	require.NoError(t, w.Users.Add(ctx, domain.User{ID: "ada", Email: "other@example.com", Tier: domain.TierMax}))
	u = read()
	require.Equal(t, []any{"ada@example.com", domain.TierMax}, []any{u.Email, u.Tier}, "only the tier changes")

	err := w.Users.Add(ctx, domain.User{ID: "eve", Email: "ada@example.com", Tier: domain.TierPro})
	require.Equal(t, domain.CodeEmailRegistered, domain.CodeOf(err))

	var failure *domain.Error
	require.ErrorAs(t, w.Users.Add(ctx, domain.User{Email: "nobody", Tier: "GOLD"}), &failure)
	require.Equal(t, domain.Invalid, failure.Kind)
	require.Len(t, failure.Fields, 3)
}

// Replicas that start together add the users of their program together. A row that another has
// written is the same user.
func TestUsersAdd_TwoReplicasAtOnce_BothSucceed(t *testing.T) {
	store := storehooks.New(memory.NewStore())
	w := newFixtureOn(t, store)
	late := 0 // this many reads of users do not find a row yet
	store.UpdateTx = func(_ context.Context, tx *ports.Tx) { tx.Users = lateUsers{tx.Users, &late} }
	ada := domain.User{ID: "ada", Email: "ada@example.com", Tier: domain.TierPro}
	require.NoError(t, w.Users.Add(context.Background(), ada))

	late = 2
	require.NoError(t, w.Users.Add(context.Background(), ada))

	require.Zero(t, late)
}

// lateUsers does not find users in the next reads, as many as late counts.
type lateUsers struct {
	ports.Users
	late *int
}

func (u lateUsers) Get(ctx context.Context, id string) (*domain.User, error) {
	if *u.late > 0 {
		*u.late--
		return nil, ports.ErrNotFound
	}
	return u.Users.Get(ctx, id)
}

func (u lateUsers) ByEmail(ctx context.Context, email string) (*domain.User, error) {
	if *u.late > 0 {
		*u.late--
		return nil, ports.ErrNotFound
	}
	return u.Users.ByEmail(ctx, email)
}
