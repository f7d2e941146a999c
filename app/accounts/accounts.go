package accounts

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

const (
	updateTries = 20 // of a transaction that met a changed row; each round somebody gets through

	guesses     = 10 // wrong passwords
	guessWindow = 15 * time.Minute
)

// Accounts implements the use cases of people. It is safe for concurrent use.
type Accounts struct {
	store     ports.Store
	tokens    ports.Tokens
	passwords ports.Passwords
	mailer    ports.Mailer
	limiter   ports.Limiter
	ids       ports.IDs
	random    ports.Random
	now       func() time.Time
	tiers     domain.Tiers
	firstTier domain.Tier
	log       *slog.Logger

	accessLife, refreshLife, resetLife time.Duration
	resetURL                           string
	onChange                           func(ctx context.Context, userID string) error

	authCache   *authCache
	mails       *background
	invalidator ports.Invalidator
	unsubscribe func() // ends hearing
}

var _ service.Accounts = (*Accounts)(nil)

// New makes accounts. It does not touch the store. The caller closes them with
// [Accounts.Close] before the store.
func New(c Config) (*Accounts, error) {
	c = c.WithDefaults()
	if err := c.Validate(); err != nil {
		return nil, err
	}
	a := &Accounts{
		store: c.Store, tokens: c.Tokens, passwords: c.Passwords, mailer: c.Mailer, limiter: c.Limiter,
		ids: c.IDs, random: c.Random, now: c.Clock.Now, tiers: c.Tiers, firstTier: c.FirstTier, log: c.Log,
		accessLife: c.AccessLife, refreshLife: c.RefreshLife, resetLife: c.ResetLife,
		resetURL: c.ResetURL, onChange: c.OnChange,
		authCache: newAuthCache(), mails: newBackground(c.Spawn), invalidator: c.Invalidator,
	}
	a.unsubscribe = a.invalidator.Subscribe(a.applyInvalidation)
	return a, nil
}

// Close waits, until the context ends, for mail that is being sent. Mail asked
// for afterwards is not sent.
func (a *Accounts) Close(ctx context.Context) error {
	a.unsubscribe()
	return a.mails.close(ctx)
}

// Maintain removes sign-ins that have expired and takes down the sessions that
// deactivated users still have, which happens if a crash came between. It is
// to be called at the start and now and then, by any replica.
func (a *Accounts) Maintain(ctx context.Context) error {
	err := a.update(ctx, func(ctx context.Context, tx *ports.Tx) error {
		return tx.RefreshTokenFamilies.DeleteExpired(ctx, a.stamp())
	})
	if err != nil {
		return err
	}
	inactive := false
	page := ports.Page{Limit: 100}
	for {
		var unfinished []string
		var total int
		err := a.view(ctx, func(ctx context.Context, tx *ports.Tx) error {
			unfinished = nil
			users, n, err := tx.Users.List(ctx, ports.UserFilter{Active: &inactive, Asc: true}, page)
			if err != nil {
				return err
			}
			total = n
			for _, u := range users {
				has, err := tx.Users.Usage(ctx, u.ID)
				if err != nil {
					return err
				}
				if has.ActiveSessions > 0 {
					unfinished = append(unfinished, u.ID)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		for _, id := range unfinished {
			a.notifyUserChanged(ctx, id)
		}
		if page.Offset += page.Limit; page.Offset >= total {
			return ctx.Err()
		}
	}
}

// stamp gives the time as stores keep it.
func (a *Accounts) stamp() time.Time { return a.now().UTC().Truncate(time.Microsecond) }

// update runs fn in a transaction, and again if a row changed meanwhile.
func (a *Accounts) update(ctx context.Context, fn func(context.Context, *ports.Tx) error) error {
	for try := 1; ; try++ {
		err := a.store.Update(ctx, fn)
		if !errors.Is(err, ports.ErrConflict) {
			return fault(ctx, err)
		}
		if try == updateTries {
			return domain.Errorf(domain.Conflict, domain.CodeInvalidState,
				"The account is being changed by others at the moment; try again").WithCause(err)
		}
	}
}

func (a *Accounts) view(ctx context.Context, fn func(context.Context, *ports.Tx) error) error {
	return fault(ctx, a.store.View(ctx, fn))
}

// fault makes an error fit to leave a use case: domain errors and the
// context's pass, everything else becomes an internal error with its cause.
func fault(ctx context.Context, err error) error {
	var e *domain.Error
	switch {
	case err == nil, errors.As(err, &e):
		return err
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return domain.Errorf(domain.Internal, domain.CodeInternal,
		"Something went wrong on our side; try again, and report the request id if it persists").WithCause(err)
}

// The answers that several use cases give.
var (
	errCredentials = domain.Errorf(domain.Unauthenticated, domain.CodeInvalidCredentials,
		"Email or password is wrong")
	errPassword = domain.Errorf(domain.Unauthenticated, domain.CodeInvalidCredentials,
		"The current password is wrong")
	errDeactivated = domain.Errorf(domain.Forbidden, domain.CodeAccountDeactivated,
		"This account is deactivated; ask an administrator to activate it")
	errUserNotFound = domain.Errorf(domain.NotFound, domain.CodeUserNotFound,
		"There is no such user")
	errEmailTaken = domain.Errorf(domain.Conflict, domain.CodeEmailRegistered,
		"This email is registered already; sign in, or reset the password")
	errLastAdministrator = domain.Errorf(domain.Conflict, domain.CodeInvalidState,
		"This is the last active administrator; make somebody else one first")
)

// user reads a user by id.
func user(ctx context.Context, tx *ports.Tx, id string) (*domain.User, error) {
	if !printable(id) {
		return nil, errUserNotFound
	}
	return found(tx.Users.Get(ctx, id))
}

func found(u *domain.User, err error) (*domain.User, error) {
	if errors.Is(err, ports.ErrNotFound) {
		return nil, errUserNotFound
	}
	return u, err
}

// put writes a user whose email may be taken.
func put(ctx context.Context, tx *ports.Tx, u *domain.User) error {
	err := tx.Users.Put(ctx, u)
	if errors.Is(err, ports.ErrExists) {
		return errEmailTaken.WithCause(err)
	}
	return err
}

// shown is a user as it leaves the use cases.
func shown(u *domain.User) *domain.User {
	c := *u
	c.PasswordHash = ""
	return &c
}

func summary(ctx context.Context, tx *ports.Tx, u *domain.User) (*service.UserSummary, error) {
	has, err := tx.Users.Usage(ctx, u.ID)
	if err != nil {
		return nil, err
	}
	return &service.UserSummary{User: shown(u), UserUsage: has}, nil
}

// revokeAccessTokens ends the access tokens that the user has. The value differs from the
// one before even if the clock stands still or went back.
func revokeAccessTokens(u *domain.User, now time.Time) {
	if !now.After(u.CredentialsAt) {
		now = u.CredentialsAt.Add(time.Microsecond)
	}
	u.CredentialsAt = now
}

// verifyPassword returns wrong unless the password is the one of the hash. Wrong ones
// count under the key; once they are used up nothing counts as right, also not
// what was being compared meanwhile. An empty hash takes as long as another.
func (a *Accounts) verifyPassword(ctx context.Context, key, hash, password string, wrong error) error {
	if err := a.countFailedLogin(ctx, key, 0); err != nil {
		return err
	}
	if a.passwords.Matches(hash, password) && hash != "" {
		return a.countFailedLogin(ctx, key, 0)
	}
	if err := a.countFailedLogin(ctx, key, 1); err != nil {
		return err
	}
	return wrong
}

// countFailedLogin counts n wrong passwords and refuses when there are too many. A limiter
// that fails does not lock people out: there is a limit per address as well.
func (a *Accounts) countFailedLogin(ctx context.Context, key string, n int) error {
	now := a.now()
	use, err := a.limiter.AllowN(ctx, key, now, guessWindow, guesses, n)
	switch {
	case err != nil && ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		a.log.WarnContext(ctx, "wrong passwords are not limited: the limiter fails", "error", err)
		return nil
	case n == 0 && use.Remaining > 0, n > 0 && use.Allowed:
		return nil
	}
	wait := use.ResetAt.Sub(now)
	return domain.Errorf(domain.Exceeded, domain.CodeRateLimit,
		"Too many wrong passwords; try again in %s", inWords(wait)).WithCause(limited(wait))
}

// limited is the cause of errors that go away with time.
type limited time.Duration

// Error is for logs.
func (l limited) Error() string { return "limited for " + time.Duration(l).String() }

// RetryAfter is how long to wait.
func (l limited) RetryAfter() time.Duration { return time.Duration(l) }

func inWords(d time.Duration) string {
	n, unit := math.Ceil(max(d, time.Second).Seconds()), "second"
	if n > 60 {
		n, unit = math.Ceil(n/60), "minute"
	}
	if n != 1 {
		unit += "s"
	}
	return fmt.Sprintf("%.0f %s", n, unit)
}

// printable reports whether text from outside can be an id at all; some stores
// choke on other text.
func printable(id string) bool {
	return id != "" && len(id) <= 64 && !strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r >= utf8.RuneSelf || r == 0x7f })
}
