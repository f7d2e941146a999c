package accounts

import (
	"context"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
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
	_, err := a.changeProfile(ctx, c, &profileChange{current: current, next: next})
	return err
}

// checkExchange checks the passwords of a change of password.
func checkExchange(p *domain.Problems, current, next string) {
	if current == "" {
		p.Add("currentPassword", "Current password is required")
	}
	p.Check("newPassword", domain.CheckPassword(next))
}

// checkOwnPassword refuses a new password that is the name or the email of its user.
func checkOwnPassword(next string, u *domain.User) error {
	var p domain.Problems
	p.Check("newPassword", domain.CheckPasswordOf(next, u.Name, u.Email))
	return p.Err()
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
	return hash, a.verifyPassword(ports.WithKnownCaller(ctx, userID), []budget{guessBudget("password:" + userID)}, hash, password, errPassword)
}

// replacePassword stores the user with a new password. It ends the user's access
// tokens, its resets, and all its families.
func (a *Accounts) replacePassword(ctx context.Context, tx *ports.Tx, u *domain.User, hash string, now time.Time) error {
	u.PasswordHash, u.UpdatedAt = hash, now
	revokeAccessTokens(u, now)
	if err := putUser(ctx, tx, u); err != nil {
		return err
	}
	return a.endSignIns(ctx, tx, u.ID, "", now)
}

// endSignIns revokes a user's families except keep, and voids its resets. The caller has
// written the user's row.
func (a *Accounts) endSignIns(ctx context.Context, tx *ports.Tx, userID, keep string, now time.Time) error {
	if err := tx.RefreshTokenFamilies.RevokeAll(ctx, userID, keep, now); err != nil {
		return err
	}
	return voidResets(ctx, tx, userID)
}
