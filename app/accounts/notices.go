package accounts

import (
	"context"
	"fmt"
	"time"

	"github.com/switchyard-wa/switchyard/app/internal/apperr"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

const (
	maxKeyNotices   = 5 // mails about keys, per user
	keyNoticeWindow = time.Hour
)

// notify mails the owner of an account, in the background, what was done to it. Somebody else may
// have done it.
func (a *Accounts) notify(ctx context.Context, email, subject, what string) {
	c := service.CallerOf(ctx)
	origin := ""
	if c.Address != "" {
		origin = ", from the address " + c.Address
	}
	mail := ports.Mail{To: email, Subject: subject, Text: fmt.Sprintf(`%s

It was done at %s%s.

If it was you, ignore this mail. If it was not you, reset the password of the account at
once, look at its sign-ins and API keys, and tell an administrator.
`, what, a.now().UTC().Format("15:04 on 2 January 2006 (UTC)"), origin)}
	background := context.WithoutCancel(ctx)
	started := a.notices.start(func() {
		ctx, cancel := context.WithTimeout(background, mailTimeout)
		defer cancel()
		if err := a.mailer.Send(ctx, mail); err != nil {
			a.log.ErrorContext(ctx, "notice not mailed", "subject", subject, "error", err)
		}
	})
	if !started {
		a.log.WarnContext(ctx, "notice dropped", "subject", subject, "reason", "too many at once, or closed")
	}
}

// notifyOfPassword mails the owner that the password was changed.
func (a *Accounts) notifyOfPassword(ctx context.Context, email string) {
	a.notify(ctx, email, "Your Switchyard password was changed", "The password of your Switchyard account was changed. All sign-ins have ended.")
}

// noticingKeys is a service.APIKeys that mails owners when a key is rotated.
type noticingKeys struct {
	service.APIKeys
	accounts *Accounts
}

// WithNotices returns a service that does what next does. It also mails the owner of a
// session whose key was rotated, at most five times an hour, in case somebody rotated it
// with a stolen access token.
func (a *Accounts) WithNotices(next service.APIKeys) service.APIKeys {
	return noticingKeys{next, a}
}

// Rotate rotates the key of a session.
func (k noticingKeys) Rotate(ctx context.Context, userID, sessionID string, grace time.Duration) (string, error) {
	text, err := k.APIKeys.Rotate(ctx, userID, sessionID, grace)
	if err != nil {
		return "", err
	}
	k.accounts.notifyOfRotation(ctx, userID, sessionID)
	return text, nil
}

// notifyOfRotation mails the owner of a session that its key was rotated.
func (a *Accounts) notifyOfRotation(ctx context.Context, userID, sessionID string) {
	if a.spend(ctx, budget{"mails about keys", "key-notice:" + userID, keyNoticeWindow, maxKeyNotices}, 1) != nil {
		return
	}
	var u *domain.User
	err := a.view(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		u, err = tx.Users.Get(ctx, userID)
		return apperr.User(err)
	})
	if err != nil {
		a.log.ErrorContext(ctx, "notice not mailed", "user", userID, "error", err)
		return
	}
	a.notify(ctx, u.Email, "A Switchyard API key was replaced",
		fmt.Sprintf("A new API key was made for the session %s of your Switchyard account.", sessionID))
}
