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

	maxTaken    = 10 // registrations from one network with an email that has an account
	takenWindow = 15 * time.Minute

	// knownNetworkLife is how long a network stays known after a sign-in or refresh from there.
	knownNetworkLife = 30 * 24 * time.Hour
)

// budget bounds how often something may happen under one key within a time.
type budget struct {
	what   string // what is bounded, in the plural, for the message of a refusal
	key    string
	window time.Duration
	most   int
}

// guessBudget bounds wrong passwords under a key that no two callers share.
func guessBudget(key string) budget {
	return budget{wrongPasswords, key, failedLoginWindow, maxFailedLogins}
}

// accountBudget bounds what many networks together may guess for one email.
func accountBudget(email string) budget {
	return budget{wrongPasswords, "account:" + email, failedAccountWindow, maxFailedForAccount}
}

const wrongPasswords = "wrong passwords"

// signInBudgets returns the budgets of a sign-in. The budget of the account does not bind
// a known network, so that strangers cannot lock out the owner there.
func signInBudgets(email, network string, isKnown bool) []budget {
	budgets := []budget{guessBudget("sign-in:" + email + "|" + network)}
	if !isKnown {
		budgets = append(budgets, accountBudget(email))
	}
	return budgets
}

// isKnownNetwork reports whether one of the families was used from the network within
// knownNetworkLife.
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

// spendAll counts n in every budget. It returns an error if one of them is used up.
func (a *Accounts) spendAll(ctx context.Context, budgets []budget, n int) error {
	var refusal error
	for _, b := range budgets {
		if err := a.spend(ctx, b, n); err != nil && refusal == nil {
			refusal = err
		}
	}
	return refusal
}

// spend counts n in a budget. It returns an error if the budget is used up; n = 0 only
// asks. A limiter that fails limits nothing: people are not locked out, and the limit per
// address remains.
func (a *Accounts) spend(ctx context.Context, b budget, n int) error {
	now := a.now()
	use, err := a.limiter.AllowN(ctx, b.key, now, b.window, b.most, n)
	switch {
	case err != nil && ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		a.log.WarnContext(ctx, "limiter failed", "limit", b.what, "error", err)
		return nil
	case n == 0 && use.Remaining > 0, n > 0 && use.Allowed:
		return nil
	}
	wait := use.ResetAt.Sub(now)
	return domain.Errorf(domain.Exceeded, domain.CodeRateLimit,
		"Too many %s; try again in %s", b.what, inWords(wait)).WithRetryAfter(wait)
}

// countTaken counts n registrations with a taken email from the caller's network. It
// returns an error above the limit. There is no limit for a caller without an address,
// such as the command line.
func (a *Accounts) countTaken(ctx context.Context, n int) error {
	address := service.CallerOf(ctx).Address
	if address == "" {
		return nil
	}
	return a.spend(ctx, budget{"registrations with emails that have an account", "taken:" + networkOf(address), takenWindow, maxTaken}, n)
}

// forgiveAccount empties the budget of an account, whose owner has shown a mailed token.
func (a *Accounts) forgiveAccount(ctx context.Context, email string) {
	b := accountBudget(email)
	if _, err := a.limiter.AllowN(ctx, b.key, a.now(), b.window, b.most, -b.most); err != nil {
		a.log.WarnContext(ctx, "limiter failed", "limit", b.what, "error", err)
	}
}
