package accounts

import (
	"context"
	"errors"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

const (
	maxSignIns     = 50  // of a user at a time; another one ends the least recently used
	maxSignInRows  = 100 // of a user, with those that have ended
	maxUserAgent   = 200 // bytes
	maxAddressText = 64  // bytes
)

// SignIns returns the sign-ins of the caller that have not ended, latest use first.
func (a *Accounts) SignIns(ctx context.Context, c service.Principal) ([]service.SignIn, error) {
	var list []service.SignIn
	err := a.view(ctx, func(ctx context.Context, tx *ports.Tx) error {
		list = nil
		families, err := tx.RefreshTokenFamilies.ByUser(ctx, c.UserID)
		for _, f := range families {
			if f.IsUsable(a.now()) {
				list = append(list, service.SignIn{
					ID: f.ID, CreatedAt: f.CreatedAt, LastUsedAt: f.LastUsedAt, ExpiresAt: f.ExpiresAt,
					Address: f.Address, UserAgent: f.UserAgent, IsCurrent: f.ID == c.FamilyID,
				})
			}
		}
		return err
	})
	return list, err
}

var errSignIn = domain.Errorf(domain.NotFound, domain.CodeNotFound,
	"Sign-in not found; it may have ended already. List your sign-ins to see their ids")

// EndSignIn ends a sign-in of the caller at once: its refresh token and its access
// tokens.
func (a *Accounts) EndSignIn(ctx context.Context, c service.Principal, id string) error {
	if !isPlausibleID(id) {
		return errSignIn
	}
	err := a.update(ctx, func(ctx context.Context, tx *ports.Tx) error {
		f, err := tx.RefreshTokenFamilies.Get(ctx, id)
		if errors.Is(err, ports.ErrNotFound) || err == nil && (f.UserID != c.UserID || !f.IsUsable(a.now())) {
			return errSignIn
		}
		if err != nil {
			return err
		}
		return a.endSignIn(ctx, tx, f)
	})
	a.invalidateUser(c.UserID)
	return err
}

// endSignIn revokes a family and adds its end to the audit trail.
func (a *Accounts) endSignIn(ctx context.Context, tx *ports.Tx, f *domain.RefreshTokenFamily) error {
	f.RevokedAt = a.storeTime()
	if err := tx.RefreshTokenFamilies.Put(ctx, f); err != nil {
		return err
	}
	return a.trail().Record(ctx, tx, domain.AuditUserSignInEnded, userObject(f.UserID), "signIn", f.ID)
}

// addSignIn stores a new family of a user. It ends the one that was used longest ago if
// there are too many, and removes the rows of ended ones. The caller writes the user's
// row, so that two concurrent sign-ins of a user conflict.
func (a *Accounts) addSignIn(ctx context.Context, tx *ports.Tx, family *domain.RefreshTokenFamily) error {
	families, err := tx.RefreshTokenFamilies.ByUser(ctx, family.UserID)
	if err != nil {
		return err
	}
	usable, rows := 0, 0
	for _, f := range families { // latest use first
		rows++
		isUsable := f.IsUsable(family.CreatedAt)
		switch {
		case isUsable && usable+1 < maxSignIns:
			usable++
		case isUsable:
			err = a.endSignIn(ctx, tx, f)
		case rows >= maxSignInRows:
			err = tx.RefreshTokenFamilies.Delete(ctx, f.ID)
		}
		if err != nil {
			return err
		}
	}
	return tx.RefreshTokenFamilies.Put(ctx, family)
}

// noteUse records when and from where a family is used.
func (a *Accounts) noteUse(ctx context.Context, f *domain.RefreshTokenFamily) {
	c := service.CallerOf(ctx)
	f.LastUsedAt, f.Address, f.UserAgent = a.storeTime(), cut(c.Address, maxAddressText), cut(c.UserAgent, maxUserAgent)
}
