package accounts_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// audit returns the entries of the audit trail that were added since the given number, oldest first.
func (h *harness) audit(since int) (list []domain.AuditEntry) {
	require.NoError(h.t, h.store.Store.View(context.Background(), func(ctx context.Context, tx *ports.Tx) error {
		all, err := tx.Audit.List(ctx, ports.AuditFilter{})
		for i := len(all) - 1 - since; i >= 0; i-- {
			list = append(list, all[i])
		}
		return err
	}))
	return list
}

// from is the context of a call from an address, by a person who may be signed in.
func from(t *testing.T, address string, p *person) context.Context {
	actor := domain.Actor{Kind: domain.ActorAnonymous}
	if p != nil {
		actor = domain.Actor{Kind: domain.ActorUser, ID: p.UserID, Email: p.email}
	}
	return service.WithCaller(t.Context(), service.Caller{Actor: actor, Address: address})
}

// callerAt returns a context whose caller has an address.
func callerAt(ctx context.Context, address string) context.Context {
	c := service.CallerOf(ctx)
	c.Address = address
	return service.WithCaller(ctx, c)
}

func TestAudit_EveryActionOnAnAccount_IsRecordedWithItsOutcome(t *testing.T) {
	h := newHarness(t)
	const address = "203.0.113.7"
	stranger := from(t, address, nil)
	ann := h.register("ann")
	admin := h.administrator()
	adminCtx := from(t, address, admin)
	tier, role, yes, name := domain.TierPro, domain.RoleAdministrator, true, "Ann Lee"

	for _, c := range []struct {
		name string
		do   func()
		want []string
	}{
		{"sign-in", func() { ann = h.login(ann.email, password) }, []string{"user.signed-in user SUCCEEDED"}},
		{"wrong password", func() { _, _ = h.Login(stranger, ann.email, other) }, []string{"user.sign-in-failed anonymous FAILED INVALID_CREDENTIALS"}},
		{"refresh used twice", func() {
			_, err := h.Refresh(stranger, ann.RefreshToken)
			require.NoError(t, err)
			_, err = h.Refresh(stranger, ann.RefreshToken)
			require.Error(t, err)
		}, []string{"user.refresh-reused anonymous FAILED AUTH_TOKEN_INVALID"}},
		{"sign-out", func() {
			ann = h.login(ann.email, password)
			require.NoError(t, h.Logout(from(t, address, ann), ann.Principal))
			require.NoError(t, h.Logout(from(t, address, ann), ann.Principal))
		}, []string{"user.signed-in user SUCCEEDED", "user.signed-out user SUCCEEDED"}},
		{"wrong current password", func() {
			_ = h.ChangePassword(from(t, address, ann), ann.Principal, other, "battery staple 3")
		}, []string{"user.password-changed user FAILED INVALID_CREDENTIALS"}},
		{"new password", func() {
			require.NoError(t, h.ChangePassword(from(t, address, ann), ann.Principal, password, other))
		}, []string{"user.password-changed user SUCCEEDED"}},
		{"reset", func() {
			require.NoError(t, h.ForgotPassword(stranger, ann.email))
			require.NoError(t, h.ResetPassword(stranger, h.mailer.token(), password))
		}, []string{"user.reset-requested anonymous SUCCEEDED", "user.password-reset anonymous SUCCEEDED"}},
		{"reset with a wrong token", func() {
			_ = h.ResetPassword(stranger, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", other)
		}, []string{"user.password-reset anonymous FAILED VALIDATION_ERROR"}},
		{"administrator's changes", func() {
			_, err := h.Update(adminCtx, ann.UserID, service.UserChange{Name: &name, Tier: &tier, Role: &role, Active: &yes})
			require.NoError(t, err)
		}, []string{"user.updated user SUCCEEDED", "user.tier-changed user SUCCEEDED", "user.role-changed user SUCCEEDED"}},
		{"a change that fails", func() { _, _ = h.Update(adminCtx, "nobody", service.UserChange{Tier: &tier}) },
			[]string{"user.updated user FAILED USER_NOT_FOUND"}},
		{"deactivation with a wrong password", func() { _ = h.Deactivate(from(t, address, ann), ann.Principal, other) },
			[]string{"user.deactivated user FAILED INVALID_CREDENTIALS"}},
		{"deactivation", func() { require.NoError(t, h.Deactivate(from(t, address, ann), ann.Principal, password)) },
			[]string{"user.deactivated user SUCCEEDED"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h.clock.advance(time.Hour)
			before := len(h.audit(0))
			c.do()
			var got []string
			for _, e := range h.audit(before) {
				line := string(e.Action) + " " + string(e.Actor.Kind) + " " + string(e.Outcome)
				if code := e.Details["code"]; code != "" {
					line += " " + code
				}
				got = append(got, line)
			}
			require.ElementsMatch(t, c.want, got)
		})
	}
	for _, e := range h.audit(0) {
		require.True(t, strings.HasPrefix(e.Object, "user"), e.Object)
		for _, text := range e.Details {
			require.NotContains(t, text, password)
			require.NotContains(t, text, other)
		}
	}
}

func TestAudit_FailedSignInsOfAnAttack_AreOneEntryAMinute(t *testing.T) {
	h := newHarness(t)
	h.register("ann")
	before := len(h.audit(0))
	h.clock.now = h.clock.now.Truncate(time.Minute).Add(time.Minute)
	for range 10 {
		_, err := h.Login(from(t, "203.0.113.7", nil), "ann@example.com", other)
		require.Error(t, err)
	}
	list := h.audit(before)
	require.Len(t, list, 1)
	require.Equal(t, 10, list[0].Count)
	require.Equal(t, "ann@example.com", list[0].Actor.Email)
	require.Equal(t, "203.0.113.7", list[0].Address)
}

func TestAudit_StoreRefusesTheEntry_ActionDoesNotTakePlace(t *testing.T) {
	h := newHarness(t)
	h.store.UpdateTx = func(_ context.Context, tx *ports.Tx) { tx.Audit = brokenAudit{} }
	_, err := h.Register(t.Context(), "Bob", "bob@example.com", password)
	require.Error(t, err)
	h.store.UpdateTx = nil
	_, err = h.Register(t.Context(), "Bob", "bob@example.com", password)
	require.NoError(t, err, "nothing was left behind")
}

type brokenAudit struct{ ports.Audit }

func (brokenAudit) Append(context.Context, domain.AuditEntry) error { return ports.ErrClosed }
