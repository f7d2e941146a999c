package accounts

import (
	"context"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports/service"
)

const (
	maxFailedLogins   = 10 // wrong passwords for one email from one network
	failedLoginWindow = 15 * time.Minute

	maxFailedForAccount = 100 // wrong passwords for one email from networks that are not known
	failedAccountWindow = 24 * time.Hour
	maxTaken            = 10 // registrations from one network with an email that has an account
	takenWindow         = 15 * time.Minute
	takenWhat           = "registrations with emails that have an account"

	// knownNetworkLife is how long a network stays known after a sign-in or refresh from there.
	knownNetworkLife = 30 * 24 * time.Hour
)

// guessBudget bounds wrong passwords under one key.
type guessBudget struct {
	key    string
	window time.Duration
	most   int
}

// guessBudgetOf is the budget of a key that one caller shares with nobody.
func guessBudgetOf(key string) guessBudget {
	return guessBudget{key, failedLoginWindow, maxFailedLogins}
}

// accountBudget bounds what many networks together may guess for one email.
func accountBudget(email string) guessBudget {
	return guessBudget{"account:" + email, failedAccountWindow, maxFailedForAccount}
}

// signInBudgets returns the budgets of a sign-in. The budget of the account does not bind
// a known network, so that strangers cannot lock out the owner there.
func signInBudgets(email, network string, isKnown bool) []guessBudget {
	budgets := []guessBudget{guessBudgetOf("sign-in:" + email + "|" + network)}
	if !isKnown {
		budgets = append(budgets, accountBudget(email))
	}
	return budgets
}

// isKnownNetwork reports whether one of the families was used from the network a short
// time ago.
func isKnownNetwork(families []*domain.RefreshTokenFamily, network string, now time.Time) bool {
	for _, f := range families {
		if now.Sub(f.LastUsedAt) < knownNetworkLife && networkOf(f.Address) == network {
			return true
		}
	}
	return false
}

// networkOf returns the network that limits count an address by.
func networkOf(address string) string { return domain.ClientNetwork(domain.ParseClientIP(address)) }

// countWrongPasswords counts n wrong passwords under every budget. It returns an error if
// one of them is used up.
func (a *Accounts) countWrongPasswords(ctx context.Context, budgets []guessBudget, n int) error {
	var refusal error
	for _, b := range budgets {
		if err := a.countWrongPassword(ctx, b, n); err != nil && refusal == nil {
			refusal = err
		}
	}
	return refusal
}

// countWrongPassword counts n wrong passwords and returns an error above the limit. If the
// limiter fails, there is no limit: people are not locked out, and the limit per address
// remains.
func (a *Accounts) countWrongPassword(ctx context.Context, b guessBudget, n int) error {
	now := a.now()
	use, err := a.limiter.AllowN(ctx, b.key, now, b.window, b.most, n)
	switch {
	case err != nil && ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		a.log.WarnContext(ctx, "password limiter failed", "error", err)
		return nil
	case n == 0 && use.Remaining > 0, n > 0 && use.Allowed:
		return nil
	}
	return tooMany("wrong passwords", use.ResetAt.Sub(now))
}

// tooMany returns the error of a limit that is used up.
func tooMany(what string, wait time.Duration) error {
	return domain.Errorf(domain.Exceeded, domain.CodeRateLimit,
		"Too many %s; try again in %s", what, inWords(wait)).WithCause(retryAfterError(wait))
}

// checkLimit returns an error if the key was counted most times within the window. It
// counts n. A limiter that fails limits nothing.
func (a *Accounts) checkLimit(ctx context.Context, what, key string, window time.Duration, most, n int) error {
	now := a.now()
	use, err := a.limiter.AllowN(ctx, key, now, window, most, n)
	switch {
	case err != nil:
		a.log.WarnContext(ctx, "limiter failed", "what", what, "error", err)
		return ctx.Err()
	case n == 0 && use.Remaining > 0, n > 0 && use.Allowed:
		return nil
	}
	return tooMany(what, use.ResetAt.Sub(now))
}

// countTaken counts n registrations with a taken email from the caller's network. It
// returns an error above the limit. A caller without an address is no stranger.
func (a *Accounts) countTaken(ctx context.Context, n int) error {
	address := service.CallerOf(ctx).Address
	if address == "" {
		return nil
	}
	return a.checkLimit(ctx, "registrations with emails that have an account", "taken:"+networkOf(address), takenWindow, maxTaken, n)
}

// forgiveAccount empties the budget of an account whose owner has proved to be one.
func (a *Accounts) forgiveAccount(ctx context.Context, email string) {
	b := accountBudget(email)
	if _, err := a.limiter.AllowN(ctx, b.key, a.now(), b.window, b.most, -b.most); err != nil {
		a.log.WarnContext(ctx, "password limiter failed", "error", err)
	}
}
