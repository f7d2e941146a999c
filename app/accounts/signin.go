package accounts

import (
	"context"
	"errors"

	"github.com/switchyard-wa/switchyard/app/internal/apperr"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// Register creates a user of the first tier and signs it in.
// It refuses everybody if the registration is closed.
//
// A taken email is a Conflict: whoever registers must hear why there is no account, and a
// mail instead would need an address that is confirmed first. The price is that a caller
// may ask whether an email has an account, ten times in 15 minutes from one network.
func (a *Accounts) Register(ctx context.Context, name, email, password string) (*service.AuthTokens, error) {
	if a.isClosed {
		return nil, errClosed
	}
	if err := a.countTaken(ctx, 0); err != nil {
		return nil, err
	}
	u, err := a.newUser(ctx, name, email, password, a.firstTier, domain.RoleUser)
	if err != nil {
		return nil, err
	}
	f, refresh, err := a.newFamily(ctx, u.ID)
	if err != nil {
		return nil, err
	}
	var made *domain.User
	err = a.update(ctx, func(ctx context.Context, tx *ports.Tx) error {
		user, family := *u, *f
		if err := putUser(ctx, tx, &user); err != nil {
			return err
		}
		made = &user
		if err := a.addSignIn(ctx, tx, &family); err != nil {
			return err
		}
		return a.recordBy(ctx, tx, made, domain.AuditUserRegistered)
	})
	if errors.Is(err, errEmailTaken) {
		if limit := a.countTaken(ctx, 1); limit != nil {
			err = limit
		}
	}
	if err != nil {
		return nil, err
	}
	a.log.InfoContext(ctx, "user registered", "user", made.ID)
	return a.issueTokens(ctx, made, f.ID, refresh)
}

// Login signs a user in. An unknown email and a wrong password return the same
// error after the same time. They count per email and network of the caller
// ([service.CallerOf], [domain.ClientNetwork]); ten within 15 minutes lock the pair. A
// hundred within a day lock the email for all networks from which its user was not signed
// in within 30 days.
// Only a caller with the right password learns that the account is deactivated.
func (a *Accounts) Login(ctx context.Context, email, password string) (*service.AuthTokens, error) {
	var p domain.Problems
	email, err := domain.NormalizeEmail(email)
	p.Check("email", err)
	if password == "" {
		p.Add("password", "Password is required")
	}
	if err := p.Err(); err != nil {
		return nil, err
	}
	ip := service.CallerOf(ctx).Address
	network := networkOf(ip)
	found, err := a.findByEmail(ctx, email, network)
	if err != nil {
		return nil, err
	}
	id, hash := found.credentials()
	work := ctx
	if found.isKnown {
		work = ports.WithKnownCaller(ctx, id)
	}
	var s *service.AuthTokens
	err = a.verifyPassword(work, signInBudgets(email, network, found.isKnown), hash, password, errCredentials)
	if err == nil {
		s, err = a.login(ctx, id, hash)
	}
	if err != nil {
		a.log.InfoContext(ctx, "sign-in refused", "user", id, "ip", ip, "code", domain.CodeOf(err))
		a.trail().RecordFailedSignIn(ctx, err, id, email)
		return nil, err
	}
	a.log.InfoContext(ctx, "signed in", "user", id, "ip", ip)
	return s, nil
}

// An account is the user with an email, as looked up for a caller who is not signed in.
type account struct {
	user    *domain.User // nil: there is none
	isKnown bool         // the network of the caller is known for the user, see isKnownNetwork
}

// credentials returns the id and the password hash of the user, both empty if there is no user.
func (f account) credentials() (id, hash string) {
	if f.user == nil {
		return "", ""
	}
	return f.user.ID, f.user.PasswordHash
}

// findByEmail returns the account of an email for a caller from a network.
func (a *Accounts) findByEmail(ctx context.Context, email, network string) (account, error) {
	var found account
	err := a.view(ctx, func(ctx context.Context, tx *ports.Tx) error {
		found = account{}
		u, err := tx.Users.ByEmail(ctx, email)
		if errors.Is(err, ports.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		families, err := tx.RefreshTokenFamilies.ByUser(ctx, u.ID)
		found = account{u, isKnownNetwork(families, network, a.now())}
		return err
	})
	return found, err
}

// login signs in a user whose password matched provenHash.
func (a *Accounts) login(ctx context.Context, userID, provenHash string) (*service.AuthTokens, error) {
	f, refresh, err := a.newFamily(ctx, userID)
	if err != nil {
		return nil, err
	}
	var signed *domain.User
	err = a.update(ctx, func(ctx context.Context, tx *ports.Tx) error {
		u, err := tx.Users.Get(ctx, userID)
		switch {
		case errors.Is(err, ports.ErrNotFound), err == nil && u.PasswordHash != provenHash:
			return errCredentials // the password was changed after the comparison
		case err != nil:
			return err
		case !u.Active:
			return errDeactivated
		}
		u.LastLoginAt = f.CreatedAt
		if err := tx.Users.Put(ctx, u); err != nil {
			return err
		}
		signed = u
		family := *f
		if err := a.addSignIn(ctx, tx, &family); err != nil {
			return err
		}
		return a.recordBy(ctx, tx, u, domain.AuditUserSignedIn, "signIn", f.ID)
	})
	if err != nil {
		return nil, err
	}
	return a.issueTokens(ctx, signed, f.ID, refresh)
}

// Logout revokes the caller's family. It may be repeated.
func (a *Accounts) Logout(ctx context.Context, c service.Principal) error {
	err := a.update(ctx, func(ctx context.Context, tx *ports.Tx) error {
		f, err := tx.RefreshTokenFamilies.Get(ctx, c.FamilyID)
		if errors.Is(err, ports.ErrNotFound) {
			return nil
		}
		if err != nil || f.UserID != c.UserID || !f.RevokedAt.IsZero() {
			return err
		}
		f.RevokedAt = a.storeTime()
		if err := tx.RefreshTokenFamilies.Put(ctx, f); err != nil {
			return err
		}
		return a.trail().Record(ctx, tx, domain.AuditUserSignedOut, userObject(c.UserID), "signIn", f.ID)
	})
	a.invalidateUser(c.UserID)
	if err == nil {
		a.log.InfoContext(ctx, "signed out", "user", c.UserID)
	}
	return err
}

// newFamily returns a family, not yet stored, and its first refresh token.
func (a *Accounts) newFamily(ctx context.Context, userID string) (*domain.RefreshTokenFamily, string, error) {
	now := a.storeTime()
	f := &domain.RefreshTokenFamily{ID: a.ids.NewID(), UserID: userID, CreatedAt: now, ExpiresAt: now.Add(a.refreshLife)}
	a.noteUse(ctx, f)
	refresh, err := a.newRefreshToken(f)
	if err != nil {
		return nil, "", apperr.PublicIn(ctx, err)
	}
	f.TokenHash = digest(refresh)
	return f, refresh, nil
}

// newUser returns a user, not yet stored, from entered values. It hashes the
// password; the caller must not hold a transaction.
func (a *Accounts) newUser(ctx context.Context, name, email, password string, tier domain.Tier, role domain.Role) (*domain.User, error) {
	var p domain.Problems
	name, err := domain.CheckUserName(name)
	p.Check("name", err)
	email, err = domain.NormalizeEmail(email)
	p.Check("email", err)
	p.Check("password", domain.CheckPasswordOf(password, name, email))
	p.Check("tier", a.checkTier(tier))
	p.Check("role", checkRole(role))
	if err := p.Err(); err != nil {
		return nil, err
	}
	hash, err := a.passwords.Hash(ctx, password)
	if err != nil {
		return nil, apperr.PublicIn(ctx, err)
	}
	now := a.storeTime()
	return &domain.User{
		ID: a.ids.NewID(), Name: name, Email: email, PasswordHash: hash, Role: role, Tier: tier, Active: true,
		CredentialsAt: now, CreatedAt: now, UpdatedAt: now,
	}, nil
}
