package accounts

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// Config configures [New]. Store, Tokens, Passwords and Mailer are required. If
// Store is a [ports.Backend], it provides Limiter, Invalidator, Clock, IDs and
// Random where they are nil.
type Config struct {
	Store     ports.Store
	Tokens    ports.Tokens
	Passwords ports.Passwords
	Mailer    ports.Mailer

	Limiter     ports.Limiter
	Invalidator ports.Invalidator // nil: ports.NoInvalidator
	Clock       ports.Clock
	IDs         ports.IDs
	Random      ports.Random

	// Tiers are the tiers that a user may have. Pass those of the orchestrator, which owns
	// the limits (orchestrator.Config.Tiers, SetTiers). The accounts use only the names and
	// ranks: to check a tier, and to assign the highest to the first administrator. Nil:
	// domain.DefaultTiers.
	Tiers     domain.Tiers
	FirstTier domain.Tier // tier of new users; empty: domain.TierBasic
	// ClosedRegistration makes Register refuse everybody. Administrators create users.
	ClosedRegistration bool
	Log                *slog.Logger // nil: slog.Default

	AccessLife  time.Duration // lifetime of an access token; 0: 1 h
	RefreshLife time.Duration // lifetime of a sign-in after its latest refresh; 0: 30 days
	ResetLife   time.Duration // lifetime of a password reset; 0: 30 min
	// ResetURL precedes the token in the mail that resets a password. Example:
	// https://example.com/reset?token=. Without it the mail holds the bare token.
	ResetURL string

	// OnChange runs after a change of a user's tier or activity was committed. It
	// stops the sessions that the user may no longer have. It must accept repetition.
	// If it fails for a deactivated user, or a crash prevents it, [Accounts.Maintain]
	// calls it again. Nil: nothing.
	OnChange func(ctx context.Context, userID string) error
	// Spawn runs background work, which sends mail. Nil: in a new goroutine. A harness
	// may run it in place.
	Spawn func(func())
}

// WithDefaults returns a copy with the defaults of all optional fields.
func (c Config) WithDefaults() Config {
	if b, ok := c.Store.(ports.Backend); ok {
		if c.Limiter == nil {
			c.Limiter = b.Limiter()
		}
		if c.Invalidator == nil {
			c.Invalidator = b.Invalidator()
		}
		if c.Clock == nil {
			c.Clock = b.Clock()
		}
		if c.IDs == nil {
			c.IDs = b.IDs()
		}
		if c.Random == nil {
			c.Random = b.Random()
		}
	}
	if c.Invalidator == nil {
		c.Invalidator = ports.NoInvalidator{}
	}
	if c.Tiers == nil {
		c.Tiers = domain.DefaultTiers()
	}
	if c.FirstTier == "" {
		c.FirstTier = domain.TierBasic
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.AccessLife == 0 {
		c.AccessLife = time.Hour
	}
	if c.RefreshLife == 0 {
		c.RefreshLife = 30 * 24 * time.Hour
	}
	if c.ResetLife == 0 {
		c.ResetLife = 30 * time.Minute
	}
	if c.OnChange == nil {
		c.OnChange = func(context.Context, string) error { return nil }
	}
	if c.Spawn == nil {
		c.Spawn = func(f func()) { go f() }
	}
	return c
}

// Validate returns every problem of the configuration.
func (c Config) Validate() error {
	var errs []error
	refuse := func(bad bool, format string, args ...any) {
		if bad {
			errs = append(errs, fmt.Errorf("accounts: "+format, args...))
		}
	}
	refuse(c.Store == nil, "Store is required")
	refuse(c.Tokens == nil, "Tokens is required")
	refuse(c.Passwords == nil, "Passwords is required")
	refuse(c.Mailer == nil, "Mailer is required")
	const hint = "is required (or a Store that is a ports.Backend)"
	refuse(c.Limiter == nil, "Limiter "+hint)
	refuse(c.Clock == nil, "Clock "+hint)
	refuse(c.IDs == nil, "IDs "+hint)
	refuse(c.Random == nil, "Random "+hint)
	_, known := c.Tiers[c.FirstTier]
	refuse(!known, "FirstTier %q is not one of Tiers", c.FirstTier)
	refuse(c.AccessLife < time.Second, "AccessLife (%v) must be at least a second", c.AccessLife)
	refuse(c.RefreshLife < c.AccessLife, "RefreshLife (%v) must not be shorter than AccessLife (%v)", c.RefreshLife, c.AccessLife)
	refuse(c.ResetLife < time.Second, "ResetLife (%v) must be at least a second", c.ResetLife)
	if c.ResetURL != "" {
		u, err := url.Parse(c.ResetURL)
		refuse(err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "",
			"ResetURL must begin with http:// or https:// and a host")
	}
	return errors.Join(errs...)
}
