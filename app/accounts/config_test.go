package accounts_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/app/accounts"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

func TestConfigValidate_Problems_AreAllListed(t *testing.T) {
	_, err := accounts.New(accounts.Config{
		FirstTier: "GOLD", AccessLife: -1, RefreshLife: -2, ResetLife: -3, ResetURL: "javascript:alert(1)",
	})
	for _, problem := range []string{
		"Store is", "Tokens is", "Passwords is", "Mailer is", "Limiter is", "Clock is", "IDs is", "Random is", "FirstTier",
		"AccessLife", "RefreshLife", "ResetLife", "ResetURL",
	} {
		require.ErrorContains(t, err, problem)
	}
}

func TestConfigWithDefaults_Empty_IsFilled(t *testing.T) {
	h := newHarness(t)
	given := h.config()
	c := given.WithDefaults()
	require.NoError(t, c.Validate())
	require.Equal(t, time.Hour, c.AccessLife)
	require.Equal(t, 30*24*time.Hour, c.RefreshLife)
	require.Equal(t, 30*time.Minute, c.ResetLife)
	require.Equal(t, domain.TierBasic, c.FirstTier)
	require.Equal(t, domain.DefaultTiers(), c.Tiers)
	require.Zero(t, given.AccessLife, "a copy")

	c.Tiers = domain.Tiers{"FREE": {Sessions: 1}}
	require.ErrorContains(t, c.Validate(), `FirstTier "BASIC"`)
	c.FirstTier = "FREE"
	require.NoError(t, c.Validate())
}

// lender is a store that provides the other ports too.
type lender struct {
	ports.Store
	h *harness
}

func (l lender) Routes() ports.Routes           { return nil }
func (l lender) Limiter() ports.Limiter         { return l.h.limiter }
func (l lender) Invalidator() ports.Invalidator { return ports.NoInvalidator{} }
func (l lender) Shared() bool                   { return false }
func (l lender) Clock() ports.Clock             { return l.h.clock }
func (l lender) IDs() ports.IDs                 { return &ids{} }
func (l lender) Random() ports.Random           { return l.h.config().Random }

func TestConfigWithDefaults_Backend_ProvidesPorts(t *testing.T) {
	h := newHarness(t)
	c := h.config()
	c.Store, c.Limiter, c.Clock, c.IDs, c.Random = lender{h.store, h}, nil, nil, nil, nil
	_, err := accounts.New(c)
	require.NoError(t, err)
}
