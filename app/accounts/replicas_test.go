package accounts_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/memory"
	"github.com/switchyard-wa/switchyard/app/accounts"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports/service"
)

func TestReplicas_Invalidation_EndsTokensAtOnce(t *testing.T) {
	ctx := context.Background()
	no := false
	user := domain.RoleUser
	for name, c := range map[string]struct {
		change func(h *harness, p *person)
		code   domain.Code
	}{
		"signed out": {func(h *harness, p *person) { require.NoError(t, h.Logout(ctx, p.Principal)) }, domain.CodeAuthTokenInvalid},
		"password changed": {func(h *harness, p *person) {
			second := h.login(p.email, password)
			require.NoError(t, h.ChangePassword(ctx, second.Principal, password, other))
		}, domain.CodeAuthTokenInvalid},
		"password set": {func(h *harness, p *person) {
			require.NoError(t, h.SetPassword(ctx, p.email, other))
		}, domain.CodeAuthTokenInvalid},
		"deactivated": {func(h *harness, p *person) {
			_, err := h.Update(ctx, p.UserID, service.UserChange{Active: &no})
			require.NoError(t, err)
		}, domain.CodeAccountDeactivated},
		"no administrator any more": {func(h *harness, p *person) {
			_, err := h.Update(ctx, p.UserID, service.UserChange{Role: &user})
			require.NoError(t, err)
		}, domain.CodeAuthTokenInvalid},
		"deactivated by themselves": {func(h *harness, p *person) {
			require.NoError(t, h.Deactivate(ctx, p.Principal, password))
		}, domain.CodeAccountDeactivated},
	} {
		t.Run(name, func(t *testing.T) {
			hub := memory.NewInvalidator()
			h := newHarness(t, func(c *accounts.Config) { c.Invalidator = hub.Join() })
			cfg := h.config()
			cfg.Invalidator = hub.Join()
			elsewhere, err := accounts.New(cfg)
			require.NoError(t, err)
			admin := h.administrator()
			p := h.register("somebody")
			h.change(p.email, func(u *domain.User) { u.Role = domain.RoleAdministrator })
			h.clock.advance(2 * time.Second)
			caller, err := elsewhere.Authenticate(ctx, p.Token)
			require.NoError(t, err)
			require.Equal(t, domain.RoleAdministrator, caller.Role)
			c.change(h, p)
			_, err = elsewhere.Authenticate(ctx, p.Token)
			require.Equal(t, c.code, domain.CodeOf(err))

			// A closed process has no subscription.
			require.NoError(t, elsewhere.Close(ctx))
			_, err = elsewhere.Authenticate(ctx, admin.Token)
			require.NoError(t, err)
			require.NoError(t, h.Logout(ctx, admin.Principal))
			_, err = elsewhere.Authenticate(ctx, admin.Token)
			require.NoError(t, err)
			h.clock.advance(time.Second)
			_, err = elsewhere.Authenticate(ctx, admin.Token)
			require.Equal(t, domain.CodeAuthTokenInvalid, domain.CodeOf(err), "it learns so in a second all the same")
		})
	}
}
