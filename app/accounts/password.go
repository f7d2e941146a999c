package accounts

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/switchyard-wa/switchyard/app/internal/apperr"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

const (
	// maxResetMails bounds the mails to one email that one network asks for.
	// maxAllResetMails bounds the mails that all networks ask for, so that a stranger does
	// not use up the owner's. Further requests are dropped silently.
	maxResetMails    = 5
	maxAllResetMails = 30
	resetWindow      = 15 * time.Minute
	maxEmailChanges  = 5 // tries of one user; each shows whether an email has an account
	emailWindow      = time.Hour
	mailTimeout      = time.Minute // time limit of one mail
)

// ChangePassword sets a new password. It ends every access token and every family of
// the user. The caller's own family ends too, because a thief may hold a copy of its
// refresh token. The caller signs in again.
func (a *Accounts) ChangePassword(ctx context.Context, c service.Principal, current, next string) error {
	var p domain.Problems
	checkExchange(&p, current, next)
	if err := p.Err(); err != nil {
		return err
	}
	_, err := a.changeProfile(ctx, c, nil, nil, current, next)
	return err
}

// UpdateProfile changes the given fields of the caller's account, all or none. A
// new password requires the current one, and has the effect of
// [Accounts.ChangePassword]. A new email requires the current password too. It ends
// every other sign-in, voids a reset that was mailed to the old address, and is told
// to the old address. A taken email is a Conflict, five tries an hour at most.
func (a *Accounts) UpdateProfile(ctx context.Context, c service.Principal, ch service.Profile) (*domain.User, error) {
	var p domain.Problems
	name, email := clone(ch.Name), clone(ch.Email)
	var err error
	if name != nil {
		*name, err = domain.CheckUserName(*name)
		p.Check("name", err)
	}
	if email != nil {
		*email, err = domain.NormalizeEmail(*email)
		p.Check("email", err)
	}
	if ch.NewPassword != "" {
		checkExchange(&p, ch.CurrentPassword, ch.NewPassword)
	}
	if err := p.Err(); err != nil {
		return nil, err
	}
	return a.changeProfile(ctx, c, name, email, ch.CurrentPassword, ch.NewPassword)
}

// checkExchange checks the passwords of a change of password.
func checkExchange(p *domain.Problems, current, next string) {
	if current == "" {
		p.Add("currentPassword", "Current password is required")
	}
	p.Check("newPassword", domain.CheckPassword(next))
}

// clone returns a pointer to a copy, or nil for nil.
func clone[T any](p *T) *T {
	if p == nil {
		return nil
	}
	v := *p
	return &v
}

// changeProfile applies a checked change. next may be empty.
func (a *Accounts) changeProfile(ctx context.Context, c service.Principal, name, email *string, current, next string) (after *domain.User, err error) {
	var provenHash, hash string
	changesEmail, err := a.changesEmail(ctx, c.UserID, email)
	if err != nil {
		return nil, err
	}
	defer func() {
		if next != "" {
			a.trail().RecordFailure(ctx, err, domain.AuditUserPasswordChanged, userObject(c.UserID))
		}
		if changesEmail {
			a.trail().RecordFailure(ctx, err, domain.AuditUserEmailChanged, userObject(c.UserID))
		}
	}()
	if changesEmail {
		if err := a.admitEmailChange(ctx, c.UserID, current); err != nil {
			return nil, err
		}
	}
	if next != "" || changesEmail {
		provenHash, err = a.confirmPassword(ctx, c.UserID, current)
		if err != nil {
			return nil, err
		}
	}
	if next != "" {
		hash, err = a.passwords.Hash(ctx, next)
		if err != nil {
			return nil, apperr.PublicIn(ctx, err)
		}
	}
	var before domain.User
	err = a.update(ctx, func(ctx context.Context, tx *ports.Tx) error {
		u, err := getUser(ctx, tx, c.UserID)
		switch {
		case err != nil:
			return err
		case !u.Active:
			return errDeactivated
		case provenHash != "" && u.PasswordHash != provenHash:
			return errPassword // it was changed after the comparison
		}
		now := a.storeTime()
		before = *u
		if name != nil {
			u.Name = *name
		}
		if email != nil {
			u.Email = *email
		}
		after = u
		if next != "" {
			if err := checkOwnPassword(next, u); err != nil {
				return err
			}
			if err := a.replacePassword(ctx, tx, u, hash, now); err != nil {
				return err
			}
			return a.recordProfile(ctx, tx, u, before)
		}
		if *u == before {
			return nil
		}
		u.UpdatedAt = now
		if err := putUser(ctx, tx, u); err != nil {
			return err
		}
		if err := a.recordProfile(ctx, tx, u, before); err != nil || u.Email == before.Email {
			return err
		}
		if provenHash == "" {
			return ports.ErrConflict // the email has changed since it was compared
		}
		return a.endSignIns(ctx, tx, u.ID, c.FamilyID, now)
	})
	if next != "" || changesEmail {
		a.invalidateUser(c.UserID)
	}
	if err != nil {
		return nil, err
	}
	if next != "" {
		a.log.InfoContext(ctx, "password changed", "user", c.UserID)
		a.tellPassword(ctx, before.Email)
	}
	if after.Email != before.Email {
		a.log.InfoContext(ctx, "email changed", "user", c.UserID)
		a.tell(ctx, before.Email, "The email of your Switchyard account was changed",
			"The email of your Switchyard account is now "+after.Email+". All other sign-ins have ended.")
	}
	return withoutHash(after), nil
}

// changesEmail reports whether a profile has another email than the user. A client may
// send back the email that it has read.
func (a *Accounts) changesEmail(ctx context.Context, userID string, email *string) (changes bool, err error) {
	if email == nil {
		return false, nil
	}
	err = a.view(ctx, func(ctx context.Context, tx *ports.Tx) error {
		u, err := getUser(ctx, tx, userID)
		if err == nil {
			changes = u.Email != *email
		}
		return err
	})
	return changes, err
}

// admitEmailChange checks what a change of email needs before the password is compared.
func (a *Accounts) admitEmailChange(ctx context.Context, userID, current string) error {
	var p domain.Problems
	if current == "" {
		p.Add("currentPassword", "Current password is required to change the email")
	}
	if err := p.Err(); err != nil {
		return err
	}
	return a.spend(ctx, budget{"changes of the email", "email:" + userID, emailWindow, maxEmailChanges}, 1)
}

// checkOwnPassword refuses a new password that is the name or the email of its user.
func checkOwnPassword(next string, u *domain.User) error {
	var p domain.Problems
	p.Check("newPassword", domain.CheckPasswordOf(next, u.Name, u.Email))
	return p.Err()
}

// recordProfile adds what a user changed of the own account to the audit trail.
func (a *Accounts) recordProfile(ctx context.Context, tx *ports.Tx, u *domain.User, before domain.User) error {
	var errs []error
	if u.Name != before.Name {
		errs = append(errs, a.record(ctx, tx, u, domain.AuditUserUpdated, "changed", "name"))
	}
	if u.Email != before.Email {
		errs = append(errs, a.record(ctx, tx, u, domain.AuditUserEmailChanged, "from", before.Email, "to", u.Email))
	}
	if u.PasswordHash != before.PasswordHash {
		errs = append(errs, a.record(ctx, tx, u, domain.AuditUserPasswordChanged))
	}
	return errors.Join(errs...)
}

// confirmPassword verifies the password of a signed-in user. It returns the compared hash.
func (a *Accounts) confirmPassword(ctx context.Context, userID, password string) (string, error) {
	var hash string
	err := a.view(ctx, func(ctx context.Context, tx *ports.Tx) error {
		u, err := getUser(ctx, tx, userID)
		if err != nil {
			return err
		}
		if !u.Active {
			return errDeactivated
		}
		hash = u.PasswordHash
		return nil
	})
	if err != nil {
		return "", err
	}
	return hash, a.verifyPassword(ctx, []budget{guessBudget("password:" + userID)}, hash, password, errPassword)
}

// replacePassword stores the user with a new password. It ends the user's access
// tokens, its reset, and all its families.
func (a *Accounts) replacePassword(ctx context.Context, tx *ports.Tx, u *domain.User, hash string, now time.Time) error {
	u.PasswordHash, u.UpdatedAt = hash, now
	revokeAccessTokens(u, now)
	if err := putUser(ctx, tx, u); err != nil {
		return err
	}
	return a.endSignIns(ctx, tx, u.ID, "", now)
}

// endSignIns revokes a user's families except keep, and voids its reset.
func (a *Accounts) endSignIns(ctx context.Context, tx *ports.Tx, userID, keep string, now time.Time) error {
	if err := tx.RefreshTokenFamilies.RevokeAll(ctx, userID, keep, now); err != nil {
		return err
	}
	return a.voidReset(ctx, tx, userID, now)
}

// voidReset replaces the user's reset by an expired one without a token.
func (a *Accounts) voidReset(ctx context.Context, tx *ports.Tx, userID string, now time.Time) error {
	return tx.PasswordResets.Put(ctx, &domain.PasswordReset{TokenHash: digest("void " + a.ids.NewID()), UserID: userID, ExpiresAt: now})
}

// ForgotPassword mails a password reset to the user of the email, if there is one.
// The response does not depend on the user, and neither does its time: everything
// about the user happens in the background. Failures there are logged.
func (a *Accounts) ForgotPassword(ctx context.Context, email string) error {
	var p domain.Problems
	email, err := domain.NormalizeEmail(email)
	p.Check("email", err)
	if err := p.Err(); err != nil {
		return err
	}
	background := service.WithCaller(context.WithoutCancel(ctx), service.CallerOf(ctx))
	started := a.mails.start(func() {
		ctx, cancel := context.WithTimeout(background, mailTimeout)
		defer cancel()
		if err := a.mailReset(ctx, email); err != nil {
			a.log.ErrorContext(ctx, "password reset mail failed", "error", err)
		}
	})
	if !started {
		a.log.WarnContext(ctx, "password reset mail dropped", "reason", "too many at once, or closed")
	}
	return nil
}

// mailReset stores a reset and mails it, unless there is no such active user.
func (a *Accounts) mailReset(ctx context.Context, email string) error {
	network := networkOf(service.CallerOf(ctx).Address)
	for _, b := range []budget{
		{"reset mails", "reset:" + email + "|" + network, resetWindow, maxResetMails},
		{"reset mails", "reset:" + email, resetWindow, maxAllResetMails},
	} {
		if err := a.spend(ctx, b, 1); err != nil {
			a.log.WarnContext(ctx, "password reset mail dropped", "reason", "too many to this address")
			return ctx.Err()
		}
	}
	token, err := a.newSecret()
	if err != nil {
		return err
	}
	var userID string
	err = a.update(ctx, func(ctx context.Context, tx *ports.Tx) error {
		userID = ""
		u, err := tx.Users.ByEmail(ctx, email)
		if errors.Is(err, ports.ErrNotFound) || err == nil && !u.Active {
			return nil
		}
		if err != nil {
			return err
		}
		userID = u.ID
		err = tx.PasswordResets.Put(ctx, &domain.PasswordReset{
			TokenHash: digest(token), UserID: u.ID, ExpiresAt: a.storeTime().Add(a.resetLife),
		})
		if err != nil {
			return err
		}
		return a.record(ctx, tx, u, domain.AuditUserResetRequested)
	})
	if err != nil || userID == "" {
		return err
	}
	if err := a.mailer.Send(ctx, a.resetMail(email, token)); err != nil {
		return fmt.Errorf("user %s: %w", userID, err)
	}
	a.log.InfoContext(ctx, "password reset mailed", "user", userID)
	return nil
}

// resetMail returns the mail that carries a token.
func (a *Accounts) resetMail(email, token string) ports.Mail {
	how := "open this address"
	if a.resetURL == "" {
		how = "use this token"
	}
	return ports.Mail{
		To:      email,
		Subject: "Reset your Switchyard password",
		Text: fmt.Sprintf(`Somebody, probably you, asked to reset the password of your Switchyard account.

To set a new password, %s within %s:

%s

It works once. If it was not you, ignore this mail: nothing has changed.
`, how, inWords(a.resetLife), a.resetURL+token),
	}
}

// ResetPassword sets a new password with a mailed token. The token works once, and
// only for an acceptable password. Every family and access token of the user ends.
func (a *Accounts) ResetPassword(ctx context.Context, token, next string) error {
	var p domain.Problems
	if !isSecret(token) {
		p.Check("token", errReset)
	}
	p.Check("newPassword", domain.CheckPassword(next))
	if err := p.Err(); err != nil {
		return err
	}
	if err := a.checkReset(ctx, token); err != nil {
		a.trail().RecordFailure(ctx, err, domain.AuditUserPasswordReset, userObject(""))
		return resetProblem(err)
	}
	hash, err := a.passwords.Hash(ctx, next)
	if err != nil {
		return apperr.PublicIn(ctx, err)
	}
	var userID, email string
	var refused error // a password that is not acceptable; the token stays valid
	err = a.update(ctx, func(ctx context.Context, tx *ports.Tx) error {
		refused = nil
		now := a.storeTime()
		r, err := tx.PasswordResets.Consume(ctx, digest(token))
		if errors.Is(err, ports.ErrNotFound) || err == nil && !now.Before(r.ExpiresAt) {
			return errReset
		}
		if err != nil {
			return err
		}
		u, err := tx.Users.Get(ctx, r.UserID)
		if errors.Is(err, ports.ErrNotFound) || err == nil && !u.Active {
			return errReset
		}
		if err != nil {
			return err
		}
		userID, email = u.ID, u.Email
		refused = checkOwnPassword(next, u)
		if refused != nil {
			return refused
		}
		if err := a.replacePassword(ctx, tx, u, hash, now); err != nil {
			return err
		}
		return a.record(ctx, tx, u, domain.AuditUserPasswordReset)
	})
	if userID != "" {
		a.invalidateUser(userID)
	}
	if err != nil {
		a.trail().RecordFailure(ctx, err, domain.AuditUserPasswordReset, userObject(""))
	}
	if refused != nil {
		return refused
	}
	if err == nil {
		a.log.InfoContext(ctx, "password reset", "user", userID)
		a.forgiveAccount(ctx, email)
		a.tellPassword(ctx, email)
	}
	return resetProblem(err)
}

// checkReset returns errReset for a token without a live reset, so that an invented token
// costs no hash of a password.
func (a *Accounts) checkReset(ctx context.Context, token string) error {
	return a.view(ctx, func(ctx context.Context, tx *ports.Tx) error {
		r, err := tx.PasswordResets.Get(ctx, digest(token))
		if errors.Is(err, ports.ErrNotFound) || err == nil && !a.storeTime().Before(r.ExpiresAt) {
			return errReset
		}
		return err
	})
}

// resetProblem returns errReset as a problem of the token. Other errors pass.
func resetProblem(err error) error {
	if !errors.Is(err, errReset) {
		return err
	}
	var p domain.Problems
	p.Check("token", errReset)
	return p.Err()
}

var errReset = domain.Errorf(domain.Invalid, domain.CodeValidation,
	"Reset token is not valid: it may have expired, been used, or been replaced by a newer one; ask for a new one")
