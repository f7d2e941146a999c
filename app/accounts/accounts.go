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

	"github.com/switchyard-wa/switchyard/app/internal/apperr"
	"github.com/switchyard-wa/switchyard/app/internal/audit"
	"github.com/switchyard-wa/switchyard/app/internal/retry"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

const (
	// updateAttempts bounds the attempts of a transaction. In each round of
	// contention at least one caller succeeds.
	updateAttempts = 20
)

// Accounts implements service.Accounts. It is safe for concurrent use.
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
	isClosed  bool // nobody may register
	log       *slog.Logger

	accessLife, refreshLife, resetLife time.Duration
	resetURL                           string
	onChange                           func(ctx context.Context, userID string) error

	authCache   *authCache
	resets      *background // mails for a forgotten password, which anybody may ask for
	notices     *background // mails to owners, which do not wait for resets
	invalidator ports.Invalidator
	unsubscribe func() // ends the subscription of the invalidator
}

var _ service.Accounts = (*Accounts)(nil)

// New returns accounts. It does not touch the store. The caller calls
// [Accounts.Close] before it closes the store.
func New(c Config) (*Accounts, error) {
	c = c.WithDefaults()
	if err := c.Validate(); err != nil {
		return nil, err
	}
	a := &Accounts{
		store: c.Store, tokens: c.Tokens, passwords: c.Passwords, mailer: c.Mailer, limiter: c.Limiter,
		ids: c.IDs, random: c.Random, now: c.Clock.Now, tiers: c.Tiers, firstTier: c.FirstTier,
		isClosed: c.ClosedRegistration, log: c.Log,
		accessLife: c.AccessLife, refreshLife: c.RefreshLife, resetLife: c.ResetLife,
		resetURL: c.ResetURL, onChange: c.OnChange,
		authCache: newAuthCache(), resets: newBackground(c.Spawn), notices: newBackground(c.Spawn), invalidator: c.Invalidator,
	}
	a.unsubscribe = a.invalidator.Subscribe(a.applyInvalidation)
	return a, nil
}

// Close waits until the pending mail is sent or the context ends. Mail that is
// requested later is dropped.
func (a *Accounts) Close(ctx context.Context) error {
	a.unsubscribe()
	return errors.Join(a.resets.close(ctx), a.notices.close(ctx))
}

// Maintain removes expired refresh token families. It also applies OnChange to
// deactivated users with active sessions, which a crash leaves behind. Any replica
// may call it, at the start and regularly.
func (a *Accounts) Maintain(ctx context.Context) error {
	err := a.update(ctx, func(ctx context.Context, tx *ports.Tx) error {
		return tx.RefreshTokenFamilies.DeleteExpired(ctx, a.storeTime())
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
			a.applyUserChange(ctx, id)
		}
		page.Offset += page.Limit
		if page.Offset >= total {
			return ctx.Err()
		}
	}
}

// trail returns the audit trail.
func (a *Accounts) trail() audit.Trail {
	return audit.Trail{Store: a.store, IDs: a.ids, Now: a.now, Log: a.log}
}

// userObject returns a user as entries of the audit trail name it. An empty id stands
// for an unknown user.
func userObject(id string) string { return audit.Object("user", id) }

// recordBy adds an action of a user on its own account to the audit trail. It is for
// sign-ins, whose context does not name the user yet.
func (a *Accounts) recordBy(ctx context.Context, tx *ports.Tx, u *domain.User, action domain.AuditAction, details ...string) error {
	actor := domain.Actor{Kind: domain.ActorUser, ID: u.ID, Email: u.Email}
	return a.trail().RecordAs(ctx, tx, actor, action, userObject(u.ID), details...)
}

// record adds an action of the caller on a user to the audit trail.
func (a *Accounts) record(ctx context.Context, tx *ports.Tx, u *domain.User, action domain.AuditAction, details ...string) error {
	return a.trail().Record(ctx, tx, action, userObject(u.ID), details...)
}

// storeTime returns the time with the precision of stores.
func (a *Accounts) storeTime() time.Time { return a.now().UTC().Truncate(time.Microsecond) }

// update runs fn in a transaction and repeats it after a conflict.
func (a *Accounts) update(ctx context.Context, fn func(context.Context, *ports.Tx) error) error {
	updater := retry.Updater{Store: a.store, Attempts: updateAttempts}
	return apperr.PublicIn(ctx, updater.Update(ctx, fn))
}

// view runs fn in a read-only transaction.
func (a *Accounts) view(ctx context.Context, fn func(context.Context, *ports.Tx) error) error {
	return apperr.PublicIn(ctx, a.store.View(ctx, fn))
}

// The errors that several services return.
var (
	errCredentials = domain.Errorf(domain.Unauthenticated, domain.CodeInvalidCredentials,
		"Email or password is wrong")
	errPassword = domain.Errorf(domain.Unauthenticated, domain.CodeInvalidCredentials,
		"The current password is wrong")
	errDeactivated = domain.Errorf(domain.Forbidden, domain.CodeAccountDeactivated,
		"This account is deactivated; ask an administrator to activate it")
	errEmailTaken = domain.Errorf(domain.Conflict, domain.CodeEmailRegistered,
		"This email is registered already; sign in, or reset the password")
	errClosed = domain.Errorf(domain.Forbidden, domain.CodeRegistrationClosed,
		"Registration is closed on this server; ask an administrator for an account")
	errLastAdministrator = domain.Errorf(domain.Conflict, domain.CodeInvalidState,
		"This is the last active administrator; make somebody else one first")
)

// getUser returns a user by id.
func getUser(ctx context.Context, tx *ports.Tx, id string) (*domain.User, error) {
	if !isPlausibleID(id) {
		return nil, apperr.User(ports.ErrNotFound)
	}
	u, err := tx.Users.Get(ctx, id)
	return u, apperr.User(err)
}

// putUser writes a user. It returns errEmailTaken if another user has the email.
func putUser(ctx context.Context, tx *ports.Tx, u *domain.User) error {
	err := tx.Users.Put(ctx, u)
	if errors.Is(err, ports.ErrExists) {
		return errEmailTaken.WithCause(err)
	}
	return err
}

// withoutHash returns a copy of a user without its password hash.
func withoutHash(u *domain.User) *domain.User {
	c := *u
	c.PasswordHash = ""
	return &c
}

// summarize returns a user with its usage.
func summarize(ctx context.Context, tx *ports.Tx, u *domain.User) (*service.UserSummary, error) {
	has, err := tx.Users.Usage(ctx, u.ID)
	if err != nil {
		return nil, err
	}
	return &service.UserSummary{User: withoutHash(u), UserUsage: has}, nil
}

// revokeAccessTokens ends the access tokens of the user. It always changes
// CredentialsAt, even if the clock stands still or went back.
func revokeAccessTokens(u *domain.User, now time.Time) {
	if !now.After(u.CredentialsAt) {
		now = u.CredentialsAt.Add(time.Microsecond)
	}
	u.CredentialsAt = now
}

// verifyPassword returns wrong unless the password has the hash. It counts wrong
// passwords under the budgets. Above the limit it accepts no password, not even one
// whose comparison began earlier. An empty hash takes as long as another.
func (a *Accounts) verifyPassword(ctx context.Context, budgets []budget, hash, password string, wrong error) error {
	if err := a.spendAll(ctx, budgets, 0); err != nil {
		return err
	}
	matches, err := a.passwords.Matches(ctx, hash, password)
	if err != nil {
		return apperr.PublicIn(ctx, err)
	}
	if matches && hash != "" {
		return a.spendAll(ctx, budgets, 0)
	}
	if err := a.spendAll(ctx, budgets, 1); err != nil {
		return err
	}
	return wrong
}

// inWords returns a duration for people: seconds, or minutes above one minute.
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

// cut returns text as stores hold it, of at most a number of bytes.
func cut(s string, most int) string {
	if len(s) > most {
		s = s[:most]
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, ""), "\x00", "")
}

// isPlausibleID reports whether text from outside may be an id. Some stores fail on
// other text.
func isPlausibleID(id string) bool {
	return id != "" && len(id) <= 64 && !strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r >= utf8.RuneSelf || r == 0x7f })
}
