package accounts

import (
	"context"
	"errors"
	"time"

	"github.com/switchyard-wa/switchyard/app/internal/apperr"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

const (
	maxEmailChanges = 5 // tries of one user; each shows whether an email has an account
	emailWindow     = time.Hour
)

// UpdateProfile changes the given fields of the caller's account, all or none. A
// new password requires the current one, and has the effect of
// [Accounts.ChangePassword]. A new email requires the current password too. It ends
// every other sign-in, voids mailed resets, and is reported to the old address by mail.
// A taken email is a Conflict. A user may try five emails an hour.
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
	return a.changeProfile(ctx, c, &profileChange{name: name, email: email, current: ch.CurrentPassword, next: ch.NewPassword})
}

// clone returns a pointer to a copy of the value, or nil.
func clone[T any](p *T) *T {
	if p == nil {
		return nil
	}
	v := *p
	return &v
}

// A profileChange is a checked change of an account by its owner. Fields that are nil or empty
// change nothing.
type profileChange struct {
	name, email   *string
	current, next string // passwords

	changesEmail bool
	provenHash   string // of the current password; empty: it was not needed
	hash         string // of the next password
	before       domain.User
	after        *domain.User
}

// changeProfile applies a change in three parts: it proves that the caller may make the
// change, stores it, and tells the owner.
func (a *Accounts) changeProfile(ctx context.Context, c service.Principal, ch *profileChange) (*domain.User, error) {
	var err error
	ch.changesEmail, err = a.changesEmail(ctx, c.UserID, ch.email)
	if err != nil {
		return nil, err
	}
	err = a.proveProfile(ctx, c.UserID, ch)
	if err == nil {
		err = a.storeProfile(ctx, c, ch)
	}
	if err != nil {
		a.recordProfileFailure(ctx, c.UserID, ch, err)
		return nil, err
	}
	a.tellProfile(ctx, ch)
	return withoutHash(ch.after), nil
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

// proveProfile verifies the current password, if the change needs it, and hashes the next
// one.
func (a *Accounts) proveProfile(ctx context.Context, userID string, ch *profileChange) (err error) {
	if ch.changesEmail {
		if err := a.admitEmailChange(ctx, userID, ch.current); err != nil {
			return err
		}
	}
	if ch.next != "" || ch.changesEmail {
		ch.provenHash, err = a.confirmPassword(ctx, userID, ch.current)
		if err != nil {
			return err
		}
	}
	if ch.next == "" {
		return nil
	}
	ch.hash, err = a.passwords.Hash(ports.WithKnownCaller(ctx, userID), ch.next)
	return apperr.PublicIn(ctx, err)
}

// admitEmailChange checks that a change of email has a password and is within its budget. It runs
// before the password is compared.
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

// storeProfile writes the change, and ends the sign-ins that the change ends.
func (a *Accounts) storeProfile(ctx context.Context, c service.Principal, ch *profileChange) error {
	err := a.update(ctx, func(ctx context.Context, tx *ports.Tx) error {
		u, err := getUser(ctx, tx, c.UserID)
		switch {
		case err != nil:
			return err
		case !u.Active:
			return errDeactivated
		case ch.provenHash != "" && u.PasswordHash != ch.provenHash:
			return errPassword // it was changed after the comparison
		}
		ch.before, ch.after = *u, u
		if ch.name != nil {
			u.Name = *ch.name
		}
		if ch.email != nil {
			u.Email = *ch.email
		}
		return a.putProfile(ctx, tx, c, ch)
	})
	if ch.next != "" || ch.changesEmail {
		a.invalidateUser(c.UserID)
	}
	return err
}

// putProfile writes the changed user within a transaction.
func (a *Accounts) putProfile(ctx context.Context, tx *ports.Tx, c service.Principal, ch *profileChange) error {
	u, now := ch.after, a.storeTime()
	if ch.next != "" {
		if err := checkOwnPassword(ch.next, u); err != nil {
			return err
		}
		if err := a.replacePassword(ctx, tx, u, ch.hash, now); err != nil {
			return err
		}
		return a.recordProfile(ctx, tx, ch)
	}
	if *u == ch.before {
		return nil
	}
	u.UpdatedAt = now
	if err := putUser(ctx, tx, u); err != nil {
		return err
	}
	if err := a.recordProfile(ctx, tx, ch); err != nil || u.Email == ch.before.Email {
		return err
	}
	if ch.provenHash == "" {
		return ports.ErrConflict // the email has changed since it was compared
	}
	return a.endSignIns(ctx, tx, u.ID, c.FamilyID, now)
}

// recordProfile adds the changes of a profile to the audit trail.
func (a *Accounts) recordProfile(ctx context.Context, tx *ports.Tx, ch *profileChange) error {
	u, before := ch.after, &ch.before
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

// recordProfileFailure adds a refused change of password or email to the audit trail.
func (a *Accounts) recordProfileFailure(ctx context.Context, userID string, ch *profileChange, err error) {
	if ch.next != "" {
		a.trail().RecordFailure(ctx, err, domain.AuditUserPasswordChanged, userObject(userID))
	}
	if ch.changesEmail {
		a.trail().RecordFailure(ctx, err, domain.AuditUserEmailChanged, userObject(userID))
	}
}

// tellProfile mails a new password or email to the address that the account had before.
func (a *Accounts) tellProfile(ctx context.Context, ch *profileChange) {
	if ch.next != "" {
		a.log.InfoContext(ctx, "password changed", "user", ch.after.ID)
		a.tellPassword(ctx, ch.before.Email)
	}
	if ch.after.Email != ch.before.Email {
		a.log.InfoContext(ctx, "email changed", "user", ch.after.ID)
		a.tell(ctx, ch.before.Email, "The email of your Switchyard account was changed",
			"The email of your Switchyard account is now "+ch.after.Email+". All other sign-ins have ended.")
	}
}
