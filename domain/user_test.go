package domain_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/switchyard-wa/switchyard/domain"
)

func TestTiers_DefaultsAndUnknownTier_Limits(t *testing.T) {
	tiers := domain.DefaultTiers()
	const day = 24 * time.Hour
	require.Equal(t, domain.Tiers{
		"BASIC": {Sessions: 1, MessagesPerHour: 100, APICallsPerHour: 1_000, Rank: 0, MessageRetention: 30 * day},
		"PRO":   {Sessions: 5, MessagesPerHour: 1_000, APICallsPerHour: 10_000, Rank: 1, MessageRetention: 90 * day},
		"MAX":   {Sessions: 20, MessagesPerHour: 10_000, APICallsPerHour: 100_000, Rank: 2, MessageRetention: 365 * day},
	}, tiers)
	require.Equal(t, tiers[domain.TierPro], tiers.Of(domain.TierPro))
	require.Zero(t, tiers.Of("GOLD"), "an unknown tier allows nothing")
	require.Zero(t, domain.Tiers(nil).Of(domain.TierMax))
	delete(tiers, domain.TierBasic)
	require.Len(t, domain.DefaultTiers(), 3, "every caller gets a copy")
}

// The model is a log of all uses. An hour begins with the first use after the previous hour.
func TestWindowAllowN_AnyUses_EqualsLog(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var w domain.Window
		var log []int
		var begin time.Time
		length := rapid.SampledFrom([]time.Duration{time.Hour, time.Minute}).Draw(t, "length")
		now := noon
		for range rapid.IntRange(1, 30).Draw(t, "calls") {
			now = now.Add(rapid.SampledFrom([]time.Duration{0, 1, -time.Second, -2 * time.Hour, length / 2, length - 1, length, 3 * length}).Draw(t, "later"))
			limit, n := rapid.IntRange(-1, 6).Draw(t, "limit"), rapid.IntRange(-3, 4).Draw(t, "n")
			over := begin.IsZero() || now.Sub(begin) >= length
			if before := w; over && n <= 0 {
				require.Equal(t, domain.Usage{Allowed: true, Limit: limit, Remaining: max(0, limit), ResetAt: now.Add(length)}, w.AllowN(now, length, limit, n))
				require.Equal(t, before, w, "only a use begins a window")
				continue
			}
			if over {
				begin, log = now, nil
			}
			used := len(log)
			u := w.AllowN(now, length, limit, n)
			switch {
			case n <= 0:
				require.True(t, u.Allowed, "giving back, or asking, is always allowed")
				log = log[:max(0, used+n)]
			case used+n <= limit:
				require.True(t, u.Allowed)
				log = append(log, make([]int, n)...)
			default:
				require.False(t, u.Allowed)
			}
			require.Equal(t, domain.Usage{
				Allowed: u.Allowed, Limit: limit, Used: len(log), Remaining: max(0, limit-len(log)), ResetAt: begin.Add(length),
			}, u)
			require.Equal(t, domain.Window{Start: begin, Used: len(log)}, w)
		}
	})
}

func TestWindowBackfill_FirstCall_CountsOnce(t *testing.T) {
	var w domain.Window
	w.Backfill(noon, 3)
	require.Equal(t, domain.Window{Start: noon, Used: 3, Backfilled: true}, w)
	w.Backfill(noon.Add(-time.Minute), 5)
	require.Equal(t, 3, w.Used, "the past is added once")

	w = domain.Window{}
	require.True(t, w.AllowN(noon, time.Hour, 5, 2).Allowed)
	w.Backfill(noon.Add(-time.Minute), 3)
	require.Equal(t, domain.Window{Start: noon.Add(-time.Minute), Used: 5, Backfilled: true}, w, "the window began with the first use of all")
	require.False(t, w.AllowN(noon.Add(58*time.Minute), time.Hour, 5, 1).Allowed)
	require.True(t, w.AllowN(noon.Add(59*time.Minute), time.Hour, 5, 1).Allowed)
	w.Backfill(noon, 9)
	require.Equal(t, 1, w.Used, "nor is it added to a later window")

	w = domain.Window{}
	require.False(t, w.AllowN(noon, time.Hour, 5, 0).Backfilled)
	w.Backfill(noon.Add(-2*time.Hour), 0)
	require.True(t, w.AllowN(noon, time.Hour, 5, 0).Backfilled)
	require.Equal(t, 1, w.AllowN(noon, time.Hour, 5, 1).Used)
	w.Backfill(noon, 1)
	require.Equal(t, domain.Window{Start: noon, Used: 1, Backfilled: true}, w, "that there was nothing counts, too")
}

func TestRefreshTokenFamily_ExpiredOrRevoked_NotUsable(t *testing.T) {
	f := domain.RefreshTokenFamily{ExpiresAt: noon}
	require.True(t, f.IsUsable(noon.Add(-1)))
	require.False(t, f.IsUsable(noon))
	f.RevokedAt = noon.Add(-time.Hour)
	require.False(t, f.IsUsable(noon.Add(-time.Minute)))
	require.False(t, (&domain.RefreshTokenFamily{}).IsUsable(noon), "a family that never lasts is not one that always does")
}

func TestAPIKeyCheck_ExpiredOrRevoked_Refused(t *testing.T) {
	for name, c := range map[string]struct {
		key  domain.APIKey
		want domain.Code
	}{
		"for ever":                 {domain.APIKey{}, ""},
		"until later":              {domain.APIKey{ExpiresAt: noon.Add(1)}, ""},
		"until now":                {domain.APIKey{ExpiresAt: noon}, domain.CodeAPIKeyExpired},
		"rotated, in its grace":    {domain.APIKey{ExpiresAt: noon.Add(1)}, ""},
		"rotated, grace over":      {domain.APIKey{ExpiresAt: noon}, domain.CodeAPIKeyExpired},
		"revoked by a clock ahead": {domain.APIKey{RevokedAt: noon.Add(1)}, domain.CodeAPIKeyInvalid},
		"revoked and expired":      {domain.APIKey{RevokedAt: noon, ExpiresAt: noon}, domain.CodeAPIKeyInvalid},
	} {
		err := c.key.Check(noon)
		require.Equal(t, c.want, domain.CodeOf(err), name)
		var e *domain.Error
		require.True(t, err == nil || errors.As(err, &e) && e.Kind == domain.Unauthenticated, name)
	}
}
