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
	// maxResetMails bounds the mails to one email for one network. maxStrangerResetMails
	// bounds the mails to one email for all networks that are not known for the account. A
	// request beyond a bound sends no mail, and its answer does not tell.
	maxResetMails         = 5
	maxStrangerResetMails = 30
	resetWindow           = 15 * time.Minute

	maxResets   = 10          // tokens of one user that work at a time
	mailTimeout = time.Minute // time limit of one mail
)

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
	started := a.resets.start(func() {
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
	found, err := a.findByEmail(ctx, email, network)
	if err != nil || found.user == nil || !found.user.Active {
		return err
	}
	for _, b := range resetBudgets(email, network, found.isKnown) {
		if err := a.spend(ctx, b, 1); err != nil {
			a.log.WarnContext(ctx, "password reset mail dropped", "reason", "too many to this address")
			return ctx.Err() // a budget that is used up is no failure
		}
	}
	token, err := a.newSecret()
	if err != nil {
		return err
	}
	isAdded, err := a.addReset(ctx, found, digest(token))
	if err != nil {
		return err
	}
	if !isAdded {
		a.log.WarnContext(ctx, "password reset mail dropped", "reason", "earlier tokens work", "user", found.user.ID)
		return nil
	}
	if err := a.mailer.Send(ctx, a.resetMail(email, token)); err != nil {
		return errors.Join(fmt.Errorf("user %s: %w", found.user.ID, err), a.dropReset(ctx, digest(token)))
	}
	a.log.InfoContext(ctx, "password reset mailed", "user", found.user.ID)
	return nil
}

// resetBudgets returns the budgets of a mail with a reset. Strangers do not use up the
// mails of a known network.
func resetBudgets(email, network string, isKnown bool) []budget {
	const what = "reset mails"
	budgets := []budget{{what, "reset:" + email + "|" + network, resetWindow, maxResetMails}}
	if !isKnown {
		budgets = append(budgets, budget{what, "reset:" + email, resetWindow, maxStrangerResetMails})
	}
	return budgets
}

// addReset stores a reset beside the earlier ones. When maxResets resets work already, a
// caller from a known network replaces the oldest of them, and a stranger adds none: the
// owner has received tokens that work.
func (a *Accounts) addReset(ctx context.Context, found account, hash [32]byte) (isAdded bool, err error) {
	err = a.update(ctx, func(ctx context.Context, tx *ports.Tx) error {
		isAdded = false
		u, err := tx.Users.Get(ctx, found.user.ID)
		if errors.Is(err, ports.ErrNotFound) || err == nil && (!u.Active || u.Email != found.user.Email) {
			return nil
		}
		if err != nil {
			return err
		}
		now := a.storeTime()
		resets, err := tx.PasswordResets.ByUser(ctx, u.ID)
		if err != nil {
			return err
		}
		for i, r := range resets { // the latest first
			isLive := now.Before(r.ExpiresAt)
			if isLive && i >= maxResets-1 && !found.isKnown {
				return nil
			}
			if !isLive || i >= maxResets-1 {
				if err := consumeReset(ctx, tx, r.TokenHash); err != nil {
					return err
				}
			}
		}
		isAdded = true
		err = tx.PasswordResets.Put(ctx, &domain.PasswordReset{TokenHash: hash, UserID: u.ID, ExpiresAt: now.Add(a.resetLife)})
		if err != nil {
			return err
		}
		// This write conflicts with transactions that void the user's resets meanwhile.
		if err := tx.Users.Put(ctx, u); err != nil {
			return err
		}
		return a.record(ctx, tx, u, domain.AuditUserResetRequested)
	})
	return isAdded && err == nil, err
}

// dropReset removes a reset whose mail was not sent.
func (a *Accounts) dropReset(ctx context.Context, hash [32]byte) error {
	return a.update(context.WithoutCancel(ctx), func(ctx context.Context, tx *ports.Tx) error {
		return consumeReset(ctx, tx, hash)
	})
}

// consumeReset removes a reset. A missing reset is no error.
func consumeReset(ctx context.Context, tx *ports.Tx, hash [32]byte) error {
	_, err := tx.PasswordResets.Consume(ctx, hash)
	if errors.Is(err, ports.ErrNotFound) {
		return nil
	}
	return err
}

// voidResets removes the resets of a user.
func voidResets(ctx context.Context, tx *ports.Tx, userID string) error {
	resets, err := tx.PasswordResets.ByUser(ctx, userID)
	for _, r := range resets {
		err = errors.Join(err, consumeReset(ctx, tx, r.TokenHash))
	}
	return err
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
// only for an acceptable password. It ends the other tokens, every family and every access
// token of the user.
func (a *Accounts) ResetPassword(ctx context.Context, token, next string) error {
	var p domain.Problems
	if !isSecret(token) {
		p.Add("token", resetRefusal)
	}
	p.Check("newPassword", domain.CheckPassword(next))
	if err := p.Err(); err != nil {
		return err
	}
	userID, err := a.userOfReset(ctx, token)
	var hash string
	if err == nil {
		hash, err = a.passwords.Hash(ports.WithKnownCaller(ctx, userID), next)
		if err != nil {
			return apperr.PublicIn(ctx, err)
		}
	}
	var u *domain.User
	if err == nil {
		u, err = a.useReset(ctx, userID, token, next, hash)
	}
	if err != nil {
		a.trail().RecordFailure(ctx, err, domain.AuditUserPasswordReset, userObject(""))
		return err
	}
	a.log.InfoContext(ctx, "password reset", "user", u.ID)
	a.forgiveAccount(ctx, u.Email)
	a.notifyOfPassword(ctx, u.Email)
	return nil
}

// useReset sets the new password of the token's user. A password that is refused leaves the
// token valid.
//
// A reset ends together with a write of the user's row. useReset reads the row before the reset: if another
// call uses the token meanwhile, either the reset is gone or the row's version has changed.
func (a *Accounts) useReset(ctx context.Context, userID, token, next, hash string) (*domain.User, error) {
	var u *domain.User
	err := a.update(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		u, err = tx.Users.Get(ctx, userID)
		if errors.Is(err, ports.ErrNotFound) || err == nil && !u.Active {
			return errReset()
		}
		if err != nil {
			return err
		}
		if _, err := a.liveReset(ctx, tx, token); err != nil {
			return err
		}
		if err := checkOwnPassword(next, u); err != nil {
			return err
		}
		if err := a.replacePassword(ctx, tx, u, hash, a.storeTime()); err != nil {
			return err
		}
		return a.record(ctx, tx, u, domain.AuditUserPasswordReset)
	})
	if u != nil {
		a.invalidateUser(u.ID)
	}
	return u, err
}

// userOfReset returns the id of the user of a token. It returns [errReset] for a token without a
// live reset. An invented token therefore costs no hash of a password.
func (a *Accounts) userOfReset(ctx context.Context, token string) (userID string, err error) {
	err = a.view(ctx, func(ctx context.Context, tx *ports.Tx) error {
		r, err := a.liveReset(ctx, tx, token)
		if err == nil {
			userID = r.UserID
		}
		return err
	})
	return userID, err
}

// liveReset returns the reset of a token, or errReset.
func (a *Accounts) liveReset(ctx context.Context, tx *ports.Tx, token string) (*domain.PasswordReset, error) {
	r, err := tx.PasswordResets.Get(ctx, digest(token))
	if errors.Is(err, ports.ErrNotFound) || err == nil && !a.storeTime().Before(r.ExpiresAt) {
		return nil, errReset()
	}
	return r, err
}

// errReset returns the error for a token without a live reset.
func errReset() error {
	var p domain.Problems
	p.Add("token", resetRefusal)
	return p.Err()
}

const resetRefusal = "Reset token is not valid: it may have expired, or the password was changed since; ask for a new one"
