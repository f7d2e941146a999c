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

// profileChange is a checked change of an account by its owner. Fields that are nil or empty
// change nothing.
type profileChange struct {
	name, email   *string
	current, next string // passwords

	changesEmail bool
}

// provenChange is a change that the caller may make: the current password was verified, if the
// change needs it.
type provenChange struct {
	*profileChange
	verifiedHash string // of the current password; empty: it was not needed
	nextHash     string // of the next password; empty: there is none
}

// storedChange is a change with the user before and after it.
type storedChange struct {
	provenChange
	before, after domain.User
}

// changeProfile applies a change in three parts: it proves that the caller may make the
// change, stores it, and notifies the owner.
func (a *Accounts) changeProfile(ctx context.Context, c service.Principal, ch *profileChange) (*domain.User, error) {
	var err error
	ch.changesEmail, err = a.changesEmail(ctx, c.UserID, ch.email)
	if err != nil {
		return nil, err
	}
	proven, err := a.proveProfile(ctx, c.UserID, ch)
	var stored *storedChange
	if err == nil {
		stored, err = a.storeProfile(ctx, c, proven)
	}
	if err != nil {
		a.recordProfileFailure(ctx, c.UserID, ch, err)
		return nil, err
	}
	a.notifyOfProfile(ctx, stored)
	return withoutHash(&stored.after), nil
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
func (a *Accounts) proveProfile(ctx context.Context, userID string, ch *profileChange) (provenChange, error) {
	proven := provenChange{profileChange: ch}
	if ch.changesEmail {
		if err := a.admitEmailChange(ctx, userID, ch.current); err != nil {
			return proven, err
		}
	}
	var err error
	if ch.next != "" || ch.changesEmail {
		proven.verifiedHash, err = a.confirmPassword(ctx, userID, ch.current)
		if err != nil {
			return proven, err
		}
	}
	if ch.next == "" {
		return proven, nil
	}
	proven.nextHash, err = a.passwords.Hash(ports.WithKnownCaller(ctx, userID), ch.next)
	return proven, apperr.PublicIn(ctx, err)
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
func (a *Accounts) storeProfile(ctx context.Context, c service.Principal, proven provenChange) (*storedChange, error) {
	ch := &storedChange{provenChange: proven}
	err := a.update(ctx, func(ctx context.Context, tx *ports.Tx) error {
		u, err := getUser(ctx, tx, c.UserID)
		switch {
		case err != nil:
			return err
		case !u.Active:
			return errDeactivated
		case ch.verifiedHash != "" && u.PasswordHash != ch.verifiedHash:
			return errPassword // it was changed after the comparison
		}
		ch.before = *u
		if ch.name != nil {
			u.Name = *ch.name
		}
		if ch.email != nil {
			u.Email = *ch.email
		}
		err = a.putProfile(ctx, tx, c, u, ch)
		ch.after = *u
		return err
	})
	if ch.next != "" || ch.changesEmail {
		a.invalidateUser(c.UserID)
	}
	return ch, err
}

// putProfile writes the changed user u within a transaction.
func (a *Accounts) putProfile(ctx context.Context, tx *ports.Tx, c service.Principal, u *domain.User, ch *storedChange) error {
	now := a.storeTime()
	if ch.next != "" {
		if err := checkOwnPassword(ch.next, u); err != nil {
			return err
		}
		if err := a.replacePassword(ctx, tx, u, ch.nextHash, now); err != nil {
			return err
		}
		return a.recordProfile(ctx, tx, &ch.before, u)
	}
	if *u == ch.before {
		return nil
	}
	u.UpdatedAt = now
	if err := putUser(ctx, tx, u); err != nil {
		return err
	}
	if err := a.recordProfile(ctx, tx, &ch.before, u); err != nil || u.Email == ch.before.Email {
		return err
	}
	if ch.verifiedHash == "" {
		return ports.ErrConflict // the email has changed since it was compared
	}
	return a.endSignIns(ctx, tx, u.ID, c.FamilyID, now)
}

// recordProfile adds the changes of a profile to the audit trail.
func (a *Accounts) recordProfile(ctx context.Context, tx *ports.Tx, before, after *domain.User) error {
	var errs []error
	if after.Name != before.Name {
		errs = append(errs, a.record(ctx, tx, after, domain.AuditUserUpdated, "changed", "name"))
	}
	if after.Email != before.Email {
		errs = append(errs, a.record(ctx, tx, after, domain.AuditUserEmailChanged, "from", before.Email, "to", after.Email))
	}
	if after.PasswordHash != before.PasswordHash {
		errs = append(errs, a.record(ctx, tx, after, domain.AuditUserPasswordChanged))
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

// notifyOfProfile mails a new password or email to the address that the account had before.
func (a *Accounts) notifyOfProfile(ctx context.Context, ch *storedChange) {
	if ch.next != "" {
		a.log.InfoContext(ctx, "password changed", "user", ch.after.ID)
		a.notifyOfPassword(ctx, ch.before.Email)
	}
	if ch.after.Email != ch.before.Email {
		a.log.InfoContext(ctx, "email changed", "user", ch.after.ID)
		a.notify(ctx, ch.before.Email, "The email of your Switchyard account was changed",
			"The email of your Switchyard account is now "+ch.after.Email+". All other sign-ins have ended.")
	}
}
