package accounts

import (
	"context"
	"crypto/subtle"
	"errors"
	"time"

	"github.com/switchyard-wa/switchyard/app/internal/apperr"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// reuseGrace is how long a browser may repeat a refresh with its former token.
const reuseGrace = 10 * time.Second

// Refresh returns new tokens for the newest refresh token of a family, and extends
// the family by RefreshLife. An earlier token revokes the family: that token or
// the newest one was stolen. Of two concurrent calls with one token, the second
// uses an earlier token.
func (a *Accounts) Refresh(ctx context.Context, refreshToken string) (*service.AuthTokens, error) {
	return a.refresh(ctx, refreshToken, (*refreshing).rotateAtRandom)
}

// RefreshInBrowser returns new tokens as Refresh does. The former token returns the same newest
// token once more within reuseGrace after it was replaced. The pages of a browser share one
// token, and a reload loses the answer to a refresh.
func (a *Accounts) RefreshInBrowser(ctx context.Context, refreshToken string) (*service.AuthTokens, error) {
	return a.refresh(ctx, refreshToken, (*refreshing).rotateOrRepeat)
}

// refreshing is a refresh under way, within its transaction.
type refreshing struct {
	a      *Accounts
	have   string // the token of the caller
	now    time.Time
	family *domain.RefreshTokenFamily

	next     string // the newest token after the refresh
	isReused bool   // have is an earlier token, and next is empty
	isRepeat bool   // next was issued by an earlier refresh
}

// isNewest reports whether the caller has the newest token of the family.
func (r *refreshing) isNewest() bool {
	have := digest(r.have)
	return subtle.ConstantTimeCompare(r.family.TokenHash[:], have[:]) == 1
}

// rotateAtRandom makes a new token for the newest one.
func (r *refreshing) rotateAtRandom() (err error) {
	if !r.isNewest() {
		return r.refuse()
	}
	r.next, err = r.a.newRefreshToken(r.family)
	return err
}

// rotateOrRepeat makes the successor of the newest token. For the former token it makes that
// successor again: the newest token.
func (r *refreshing) rotateOrRepeat() (err error) {
	f := r.family
	if r.isNewest() {
		r.next, err = r.a.successor(f, r.have)
		return err
	}
	if f.ReuseKey == ([32]byte{}) || !f.IsUsable(r.now) || r.now.Sub(f.LastUsedAt) > reuseGrace {
		return r.refuse()
	}
	next, err := r.a.successor(f, r.have)
	if err != nil {
		return err
	}
	hash := digest(next)
	if subtle.ConstantTimeCompare(f.TokenHash[:], hash[:]) != 1 {
		return r.refuse()
	}
	r.next, r.isRepeat = next, true
	return nil
}

// refuse sets isReused if the caller has a former token of a usable family. Otherwise it returns
// errRefresh.
func (r *refreshing) refuse() error {
	if !r.family.IsUsable(r.now) || !wasIssued(r.family, r.have) {
		return errRefresh
	}
	r.isReused = true
	return nil
}

// refresh exchanges a refresh token for new tokens. rotate sets next, or isReused, or fails.
func (a *Accounts) refresh(ctx context.Context, refreshToken string, rotate func(*refreshing) error) (*service.AuthTokens, error) {
	if refreshToken == "" {
		var p domain.Problems
		p.Add("refreshToken", "Refresh token is required")
		return nil, p.Err()
	}
	id, ok := familyOfToken(refreshToken)
	if !ok {
		return nil, errRefresh
	}
	var r refreshing
	var u *domain.User
	err := a.update(ctx, func(ctx context.Context, tx *ports.Tx) error {
		r = refreshing{a: a, have: refreshToken, now: a.storeTime()}
		f, err := tx.RefreshTokenFamilies.Get(ctx, id)
		if errors.Is(err, ports.ErrNotFound) {
			return errRefresh.WithCause(err)
		}
		if err != nil {
			return err
		}
		r.family = f
		if err := rotate(&r); err != nil {
			return err
		}
		if r.isReused {
			return a.revokeReused(ctx, tx, f)
		}
		u, err = a.checkFamily(ctx, tx, f, r.now)
		if err != nil || r.isRepeat {
			return err
		}
		f.TokenHash, f.ExpiresAt = digest(r.next), r.now.Add(a.refreshLife)
		a.noteUse(ctx, f)
		return tx.RefreshTokenFamilies.Put(ctx, f)
	})
	if r.family != nil {
		a.invalidateUser(r.family.UserID)
	}
	if err != nil {
		return nil, err
	}
	if r.isReused {
		a.log.WarnContext(ctx, "refresh token used twice", "user", r.family.UserID, "signIn", id)
		return nil, errRefresh
	}
	return a.issueTokens(ctx, u, id, r.next)
}

// revokeReused ends a family one of whose earlier tokens was used, and records that.
func (a *Accounts) revokeReused(ctx context.Context, tx *ports.Tx, f *domain.RefreshTokenFamily) error {
	f.RevokedAt = a.storeTime()
	if err := tx.RefreshTokenFamilies.Put(ctx, f); err != nil {
		return err
	}
	return a.trail().RecordRefusal(ctx, tx, errRefresh, domain.AuditUserRefreshReused, userObject(f.UserID))
}

// checkFamily returns the user of a family that may be refreshed.
func (a *Accounts) checkFamily(ctx context.Context, tx *ports.Tx, f *domain.RefreshTokenFamily, now time.Time) (*domain.User, error) {
	u, err := tx.Users.Get(ctx, f.UserID)
	switch {
	case errors.Is(err, ports.ErrNotFound):
		return nil, errRefresh.WithCause(err)
	case err != nil:
		return nil, err
	case !u.Active:
		return nil, errDeactivated
	case !f.RevokedAt.IsZero():
		return nil, errRefresh
	case !f.IsUsable(now):
		return nil, errRefreshExpired
	}
	return u, nil
}

var (
	errRefresh = domain.Errorf(domain.Unauthenticated, domain.CodeAuthTokenInvalid,
		"The refresh token is not good; sign in again")
	errRefreshExpired = domain.Errorf(domain.Unauthenticated, domain.CodeAuthTokenExpired,
		"The refresh token has expired; sign in again")
)

// issueTokens returns the tokens of a sign-in with a new access token.
func (a *Accounts) issueTokens(ctx context.Context, u *domain.User, familyID, refresh string) (*service.AuthTokens, error) {
	now := a.storeTime()
	token, err := a.tokens.Sign(ports.Claims{
		UserID: u.ID, FamilyID: familyID, Role: u.Role,
		CredentialsAt: u.CredentialsAt, IssuedAt: now, ExpiresAt: now.Add(a.accessLife),
	})
	if err != nil {
		return nil, apperr.PublicIn(ctx, err)
	}
	return &service.AuthTokens{User: withoutHash(u), Token: token, RefreshToken: refresh, ExpiresIn: a.accessLife}, nil
}
