package accounts_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/app/accounts"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

var yes, no = true, false

func TestGet_User_HasUsage(t *testing.T) {
	h := newHarness(t)
	ann := h.register("ann")
	require.NoError(t, h.store.Store.Update(t.Context(), func(ctx context.Context, tx *ports.Tx) error {
		return tx.Users.Reserve(ctx, ann.UserID, domain.UserUsage{Sessions: 1, ActiveSessions: 1}, domain.UserUsage{Sessions: 9, ActiveSessions: 9})
	}))
	u, err := h.Get(t.Context(), ann.UserID)
	require.NoError(t, err)
	require.Equal(t, "ann@example.com", u.Email)
	require.Empty(t, u.PasswordHash)
	require.Equal(t, domain.UserUsage{Sessions: 1, ActiveSessions: 1}, u.UserUsage)
	for _, id := range []string{"", "none", "x\x00", "\xff"} {
		_, err = h.Get(t.Context(), id)
		require.Equal(t, domain.NotFound, h.refusal(err, domain.CodeUserNotFound).Kind)
	}
}

func TestList_Filter_ReturnsPage(t *testing.T) {
	h := newHarness(t)
	for _, name := range []string{"ann", "bob", "cid"} {
		h.register(name)
		h.clock.advance(time.Minute)
	}
	list, total, err := h.List(t.Context(), ports.UserFilter{Sort: "name", Asc: true}, ports.Page{Offset: 1, Limit: 1})
	require.NoError(t, err)
	require.Equal(t, 3, total)
	require.Len(t, list, 1)
	require.Equal(t, "bob", list[0].Name)
	require.Empty(t, list[0].PasswordHash)
	_, _, err = h.List(t.Context(), ports.UserFilter{Sort: "passwordHash", Search: "\x00"}, ports.Page{})
	require.Equal(t, []string{"sort", "search"}, h.fields(err))
}

func TestUpdate_Fields_AreChanged(t *testing.T) {
	h := newHarness(t)
	h.administrator()
	ann := h.register("ann")
	x, gold, boss := "x", domain.Tier("GOLD"), domain.Role("BOSS")
	_, err := h.Update(t.Context(), ann.UserID, service.UserChange{Name: &x, Tier: &gold, Role: &boss})
	require.Equal(t, []string{"name", "tier", "role"}, h.fields(err))
	require.ErrorContains(t, h.SetTier(t.Context(), ann.email, gold), "BASIC, PRO, MAX")
	_, err = h.Update(t.Context(), "none", service.UserChange{Active: &no})
	h.refused(err, domain.CodeUserNotFound)
	require.Empty(t, h.deactivated)

	h.clock.advance(time.Minute)
	name, pro, role := " Ann Lee ", domain.TierPro, domain.RoleAdministrator
	u, err := h.Update(t.Context(), ann.UserID, service.UserChange{Name: &name, Tier: &pro})
	require.NoError(t, err)
	require.Equal(t, "Ann Lee", u.Name)
	require.Equal(t, domain.TierPro, u.Tier)
	require.Equal(t, h.clock.now, u.UpdatedAt)
	require.Empty(t, u.PasswordHash)
	h.good(ann)

	_, err = h.Update(t.Context(), ann.UserID, service.UserChange{Role: &role, Active: &yes})
	require.NoError(t, err)
	h.bad(ann, domain.CodeAuthTokenInvalid)
	s, err := h.Refresh(t.Context(), ann.RefreshToken)
	require.NoError(t, err, "its sign-ins stand")
	ann = h.person(s, ann.email)
	require.Equal(t, domain.RoleAdministrator, ann.Role)
	h.noSecrets(t)
}

func TestUpdate_Deactivation_EndsTokensAndSessions(t *testing.T) {
	h := newHarness(t)
	ann := h.register("ann")
	u, err := h.Update(t.Context(), ann.UserID, service.UserChange{Active: &no})
	require.NoError(t, err)
	require.False(t, u.Active)
	require.Equal(t, []string{ann.UserID}, h.deactivated)
	h.bad(ann, domain.CodeAccountDeactivated)
	_, err = h.Refresh(t.Context(), ann.RefreshToken)
	h.refused(err, domain.CodeAccountDeactivated)
	_, err = h.Login(t.Context(), ann.email, password)
	h.refused(err, domain.CodeAccountDeactivated)
	name := "Ann"
	_, err = h.UpdateProfile(t.Context(), ann.Principal, service.Profile{Name: &name})
	h.refused(err, domain.CodeAccountDeactivated)

	_, err = h.Update(t.Context(), ann.UserID, service.UserChange{Active: &no})
	require.NoError(t, err)
	require.Len(t, h.deactivated, 2, "asking again finishes what was left")
	_, err = h.Update(t.Context(), ann.UserID, service.UserChange{Name: &name})
	require.NoError(t, err)
	require.Len(t, h.deactivated, 2)

	_, err = h.Update(t.Context(), ann.UserID, service.UserChange{Active: &yes})
	require.NoError(t, err)
	h.bad(ann, domain.CodeAuthTokenInvalid)
	_, err = h.Refresh(t.Context(), ann.RefreshToken)
	h.refused(err, domain.CodeAuthTokenInvalid, "what ended does not come back")
	h.login(ann.email, password)
}

func TestDeactivate_RightPassword_StopsSessions(t *testing.T) {
	h := newHarness(t)
	ann, there := h.register("ann"), h.login("ann@example.com", password)
	require.Equal(t, []string{"password"}, h.fields(h.Deactivate(t.Context(), ann.Principal, "")))
	h.refused(h.Deactivate(t.Context(), ann.Principal, other), domain.CodeInvalidCredentials)
	h.good(ann)
	require.Empty(t, h.deactivated)

	ctx, cancel := context.WithCancel(t.Context())
	h.store.AfterUpdate = func(_ context.Context, err error) error { cancel(); return err } // the caller leaves after the commit
	require.NoError(t, h.Deactivate(ctx, ann.Principal, password))
	h.store.AfterUpdate = nil
	require.Equal(t, []string{ann.UserID}, h.deactivated)
	require.NotContains(t, h.log.String(), "still up")
	h.bad(ann, domain.CodeAccountDeactivated)
	h.bad(there, domain.CodeAccountDeactivated)
	_, err := h.Refresh(t.Context(), there.RefreshToken)
	h.refused(err, domain.CodeAccountDeactivated)
	h.refused(h.Deactivate(t.Context(), ann.Principal, password), domain.CodeAccountDeactivated)
	require.False(t, h.row(ann.email).Active)
}

// Maintain repairs a crash or a failure between the deactivation and the stop of
// the sessions.
func TestMaintain_UnfinishedDeactivation_StopsSessions(t *testing.T) {
	var asked []string
	down := errors.New("no workers")
	var h *harness
	h = newHarness(t, func(c *accounts.Config) {
		c.OnChange = func(ctx context.Context, userID string) error {
			asked = append(asked, userID)
			if down != nil {
				return down
			}
			return h.store.Update(ctx, func(ctx context.Context, tx *ports.Tx) error {
				return tx.Users.Reserve(ctx, userID, domain.UserUsage{ActiveSessions: -1}, domain.UserUsage{})
			})
		}
	})
	live := func(name string) *person {
		p := h.register(name)
		require.NoError(t, h.store.Update(t.Context(), func(ctx context.Context, tx *ports.Tx) error {
			return tx.Users.Reserve(ctx, p.UserID, domain.UserUsage{ActiveSessions: 1}, domain.UserUsage{ActiveSessions: 9})
		}))
		return p
	}
	ann, bob := live("ann"), h.register("bob")
	live("cid")
	require.NoError(t, h.Deactivate(t.Context(), ann.Principal, password))
	require.NoError(t, h.Deactivate(t.Context(), bob.Principal, password))
	require.Contains(t, h.log.String(), "no workers")
	asked, down = nil, nil
	require.NoError(t, h.Maintain(t.Context()))
	require.Equal(t, []string{ann.UserID}, asked)
	asked = nil
	require.NoError(t, h.Maintain(t.Context()))
	require.Empty(t, asked)
}

func TestUpdate_LastAdministrator_IsKept(t *testing.T) {
	h := newHarness(t)
	admin := h.administrator()
	ann := h.register("ann")
	user, administrator := domain.RoleUser, domain.RoleAdministrator
	stays := func() {
		for _, ch := range []service.UserChange{{Role: &user}, {Active: &no}, {Role: &user, Active: &no}} {
			_, err := h.Update(t.Context(), admin.UserID, ch)
			require.Equal(t, domain.Conflict, h.refusal(err, domain.CodeInvalidState).Kind)
		}
		h.refused(h.Deactivate(t.Context(), admin.Principal, password), domain.CodeInvalidState)
		h.good(admin)
		require.Empty(t, h.deactivated)
	}
	stays()
	_, err := h.Update(t.Context(), ann.UserID, service.UserChange{Role: &administrator, Active: &no})
	require.NoError(t, err)
	h.deactivated = nil
	stays() // the other administrator is not active

	_, err = h.Update(t.Context(), ann.UserID, service.UserChange{Active: &yes})
	require.NoError(t, err)
	_, err = h.Update(t.Context(), admin.UserID, service.UserChange{Active: &yes, Role: &administrator})
	require.NoError(t, err)
	require.NoError(t, h.Deactivate(t.Context(), admin.Principal, password))
	_, err = h.Update(t.Context(), ann.UserID, service.UserChange{Role: &user})
	h.refused(err, domain.CodeInvalidState)
}

func TestEnsureAdministrator_None_CreatesOne(t *testing.T) {
	h := newHarness(t)
	u, generated, err := h.EnsureAdministrator(t.Context(), "Admin@localhost", "")
	require.NoError(t, err)
	require.Equal(t, "admin@localhost", u.Email)
	require.Equal(t, domain.RoleAdministrator, u.Role)
	require.Equal(t, domain.TierMax, u.Tier)
	require.Empty(t, u.PasswordHash)
	require.Len(t, generated, 20)
	require.Equal(t, domain.RoleAdministrator, h.login("admin@localhost", generated).Role)
	h.noSecrets(t, generated)

	again, generated, err := h.EnsureAdministrator(t.Context(), "not even an address", "x")
	require.NoError(t, err)
	require.Nil(t, again)
	require.Empty(t, generated)

	h = newHarness(t)
	_, _, err = h.EnsureAdministrator(t.Context(), "x", "x")
	require.Equal(t, []string{"email", "password"}, h.fields(err))
	h.register("ann")
	_, _, err = h.EnsureAdministrator(t.Context(), "ann@example.com", password)
	require.ErrorContains(t, err, "ordinary user")
	h.refused(err, domain.CodeEmailRegistered)
	_, generated, err = h.EnsureAdministrator(t.Context(), "admin@localhost", other)
	require.NoError(t, err)
	require.Empty(t, generated)
	h.login("admin@localhost", other)
}

func TestCommandLine_Users_AreCreatedAndChanged(t *testing.T) {
	h := newHarness(t)
	_, err := h.CreateUser(t.Context(), "x", "x", "x", "GOLD", "BOSS")
	require.Equal(t, []string{"name", "email", "password", "tier", "role"}, h.fields(err))
	u, err := h.CreateUser(t.Context(), "Ann", "ANN@example.com", password, "", "")
	require.NoError(t, err)
	require.Equal(t, domain.TierBasic, u.Tier)
	require.Equal(t, domain.RoleUser, u.Role)
	require.Empty(t, u.PasswordHash)
	_, err = h.CreateUser(t.Context(), "Ann", "ann@example.com", password, domain.TierMax, domain.RoleAdministrator)
	h.refused(err, domain.CodeEmailRegistered)

	require.Equal(t, []string{"email", "tier"}, h.fields(h.SetTier(t.Context(), "x", "GOLD")))
	h.refused(h.SetTier(t.Context(), "nobody@example.com", domain.TierPro), domain.CodeUserNotFound)
	ann := h.login("ann@example.com", password)
	require.NoError(t, h.SetTier(t.Context(), "ANN@example.com", domain.TierPro))
	require.Equal(t, domain.TierPro, h.row(ann.email).Tier)
	h.good(ann)

	require.Equal(t, []string{"email", "password"}, h.fields(h.SetPassword(t.Context(), "x", "x")))
	h.refused(h.SetPassword(t.Context(), "nobody@example.com", other), domain.CodeUserNotFound)
	require.NoError(t, h.SetPassword(t.Context(), " ANN@example.com", other))
	h.bad(ann, domain.CodeAuthTokenInvalid)
	_, err = h.Refresh(t.Context(), ann.RefreshToken)
	h.refused(err, domain.CodeAuthTokenInvalid)
	h.login(ann.email, other)
	h.noSecrets(t)
}

func TestTiers_Configured_AreUsed(t *testing.T) {
	h := newHarness(t, func(c *accounts.Config) {
		c.Tiers = domain.Tiers{"FREE": {Sessions: 1}, "GOLD": {Sessions: 9, Rank: 7}, "SILVER": {Sessions: 3, Rank: 5}}
		c.FirstTier = "FREE"
	})
	require.Equal(t, domain.Tier("FREE"), h.register("ann").User.Tier)
	require.Equal(t, domain.Tier("GOLD"), h.administrator().User.Tier)
	require.ErrorContains(t, h.SetTier(t.Context(), "ann@example.com", domain.TierPro), "FREE, SILVER, GOLD")
}
