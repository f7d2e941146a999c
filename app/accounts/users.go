package accounts

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/switchyard-wa/switchyard/app/internal/apperr"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// Get returns a user with its usage.
func (a *Accounts) Get(ctx context.Context, userID string) (*service.UserSummary, error) {
	var s *service.UserSummary
	err := a.view(ctx, func(ctx context.Context, tx *ports.Tx) error {
		u, err := getUser(ctx, tx, userID)
		if err != nil {
			return err
		}
		s, err = summarize(ctx, tx, u)
		return err
	})
	return s, err
}

// List returns the matching users of a page, and the number of all matching users.
func (a *Accounts) List(ctx context.Context, f ports.UserFilter, page ports.Page) ([]*service.UserSummary, int, error) {
	var p domain.Problems
	switch f.Sort {
	case "", "createdAt", "name", "email", "lastLoginAt":
	default:
		p.Add("sort", "Sort must be one of createdAt, name, email, lastLoginAt")
	}
	if !utf8.ValidString(f.Search) || strings.ContainsRune(f.Search, 0) {
		p.Add("search", "Search must be plain text")
	}
	if err := p.Err(); err != nil {
		return nil, 0, err
	}
	var list []*service.UserSummary
	var total int
	err := a.view(ctx, func(ctx context.Context, tx *ports.Tx) error {
		users, n, err := tx.Users.List(ctx, f, page)
		if err != nil {
			return err
		}
		list, total = make([]*service.UserSummary, len(users)), n
		for i, u := range users {
			list[i], err = summarize(ctx, tx, u)
			if err != nil {
				return err
			}
		}
		return nil
	})
	return list, total, err
}

// Update changes the given fields of a user. A change of role or activity ends the
// user's access tokens. A deactivation also ends its families and sessions. The
// last active administrator keeps the role.
func (a *Accounts) Update(ctx context.Context, userID string, ch service.UserChange) (*service.UserSummary, error) {
	var p domain.Problems
	name := clone(ch.Name)
	if name != nil {
		var err error
		*name, err = domain.CheckUserName(*name)
		p.Check("name", err)
	}
	if ch.Tier != nil {
		p.Check("tier", a.checkTier(*ch.Tier))
	}
	if ch.Role != nil {
		p.Check("role", checkRole(*ch.Role))
	}
	if err := p.Err(); err != nil {
		return nil, err
	}
	var s *service.UserSummary
	err := a.update(ctx, func(ctx context.Context, tx *ports.Tx) error {
		u, err := getUser(ctx, tx, userID)
		if err != nil {
			return err
		}
		before := *u
		if name != nil {
			u.Name = *name
		}
		if ch.Tier != nil {
			u.Tier = *ch.Tier
		}
		if ch.Role != nil {
			u.Role = *ch.Role
		}
		if ch.Active != nil {
			u.Active = *ch.Active
		}
		if err := a.save(ctx, tx, u, before); err != nil {
			return err
		}
		s, err = summarize(ctx, tx, u)
		return err
	})
	a.invalidateUser(userID)
	if err != nil {
		a.trail().RecordFailure(ctx, err, domain.AuditUserUpdated, userObject(userID))
		return nil, err
	}
	a.log.InfoContext(ctx, "user changed", "by", "administrator", "user", userID, "tier", s.Tier, "role", s.Role, "active", s.Active)
	if ch.Active != nil || ch.Tier != nil {
		a.applyUserChange(ctx, userID)
	}
	return s, nil
}

// save stores a changed user, and applies what a change of role or activity
// requires.
func (a *Accounts) save(ctx context.Context, tx *ports.Tx, u *domain.User, before domain.User) error {
	if *u == before {
		return nil
	}
	now := a.storeTime()
	u.UpdatedAt = now
	if isActiveAdmin(&before) && !isActiveAdmin(u) {
		if err := requireOtherAdmin(ctx, tx, u.ID); err != nil {
			return err
		}
	}
	if u.Role != before.Role || u.Active != before.Active {
		revokeAccessTokens(u, now)
	}
	if err := putUser(ctx, tx, u); err != nil {
		return err
	}
	if err := a.recordChange(ctx, tx, u, before); err != nil || u.Active || !before.Active {
		return err
	}
	return a.endSignIns(ctx, tx, u.ID, "", now)
}

// recordChange adds what differs between two states of a user to the audit trail.
func (a *Accounts) recordChange(ctx context.Context, tx *ports.Tx, u *domain.User, before domain.User) error {
	var errs []error
	add := func(action domain.AuditAction, details ...string) {
		errs = append(errs, a.record(ctx, tx, u, action, details...))
	}
	if u.Name != before.Name {
		add(domain.AuditUserUpdated, "changed", "name")
	}
	if u.Tier != before.Tier {
		add(domain.AuditUserTierChanged, "from", string(before.Tier), "to", string(u.Tier))
	}
	if u.Role != before.Role {
		add(domain.AuditUserRoleChanged, "from", string(before.Role), "to", string(u.Role))
	}
	switch {
	case u.Active && !before.Active:
		add(domain.AuditUserActivated)
	case !u.Active && before.Active:
		add(domain.AuditUserDeactivated)
	}
	return errors.Join(errs...)
}

// isActiveAdmin reports whether the user is an active administrator.
func isActiveAdmin(u *domain.User) bool { return u.Active && u.Role == domain.RoleAdministrator }

// requireOtherAdmin checks that another active administrator exists. It writes
// that administrator unchanged, and so conflicts with a concurrent change of it:
//
//	removes admin A                  removes admin B
//	finds B, writes B unchanged      finds A, writes A unchanged
//	commits
//	                                 conflict: B is stale; repeats, finds nobody
func requireOtherAdmin(ctx context.Context, tx *ports.Tx, userID string) error {
	active := true
	all, _, err := tx.Users.List(ctx, ports.UserFilter{Role: domain.RoleAdministrator, Active: &active}, ports.Page{Limit: 2})
	if err != nil {
		return err
	}
	for _, u := range all {
		if u.ID != userID {
			return tx.Users.Put(ctx, u)
		}
	}
	return errLastAdministrator
}

// Deactivate deactivates the caller's account after it verified the password.
// Nobody can sign in to the account, and its sessions stop. An administrator can
// activate it again. The last active administrator cannot deactivate itself.
func (a *Accounts) Deactivate(ctx context.Context, c service.Principal, password string) (err error) {
	var p domain.Problems
	if password == "" {
		p.Add("password", "Password is required")
		return p.Err()
	}
	defer func() {
		a.trail().RecordFailure(ctx, err, domain.AuditUserDeactivated, userObject(c.UserID))
	}()
	provenHash, err := a.confirmPassword(ctx, c.UserID, password)
	if err != nil {
		return err
	}
	var email string
	err = a.update(ctx, func(ctx context.Context, tx *ports.Tx) error {
		u, err := getUser(ctx, tx, c.UserID)
		if err != nil {
			return err
		}
		email = u.Email
		if u.PasswordHash != provenHash {
			return errPassword // it was changed after the comparison
		}
		before := *u
		u.Active = false
		return a.save(ctx, tx, u, before)
	})
	a.invalidateUser(c.UserID)
	if err != nil {
		return err
	}
	a.log.InfoContext(ctx, "account deactivated", "user", c.UserID)
	a.notify(ctx, email, "Your Switchyard account was deactivated",
		"Your Switchyard account was deactivated. Its sessions are disconnected and its API keys refused.")
	a.applyUserChange(ctx, c.UserID)
	return nil
}

// applyUserChange calls OnChange after a commit. It detaches from the caller's
// cancellation.
func (a *Accounts) applyUserChange(ctx context.Context, userID string) {
	if err := a.onChange(context.WithoutCancel(ctx), userID); err != nil {
		a.log.ErrorContext(ctx, "user change not applied to sessions", "user", userID, "error", err)
	}
}

// EnsureAdministrator creates an administrator of the highest tier and returns it, if
// there is none. Otherwise it returns nil and changes nothing. Without a password it
// generates one and returns it, to be shown once. Several processes
// may call it concurrently with the same email.
func (a *Accounts) EnsureAdministrator(ctx context.Context, email, password string) (created *domain.User, generatedPassword string, err error) {
	if exists, err := a.hasAdministrator(ctx); err != nil || exists {
		return nil, "", err
	}
	if password == "" {
		password, err = a.generatePassword()
		if err != nil {
			return nil, "", apperr.PublicIn(ctx, err)
		}
		generatedPassword = password
	}
	created, err = a.CreateUser(ctx, "Administrator", email, password, a.highestTier(), domain.RoleAdministrator)
	if err == nil {
		return created, generatedPassword, nil
	}
	if errors.Is(err, errEmailTaken) {
		if exists, err := a.hasAdministrator(ctx); err != nil || exists {
			return nil, "", err // another process created it
		}
		err = domain.Errorf(domain.Conflict, domain.CodeEmailRegistered,
			"The administrator's email belongs to an ordinary user; choose another").WithCause(err)
	}
	return nil, "", err
}

// hasAdministrator reports whether there is an administrator.
func (a *Accounts) hasAdministrator(ctx context.Context) (exists bool, err error) {
	err = a.view(ctx, func(ctx context.Context, tx *ports.Tx) error {
		_, n, err := tx.Users.List(ctx, ports.UserFilter{Role: domain.RoleAdministrator}, ports.Page{Limit: 1})
		exists = n > 0
		return err
	})
	return exists, err
}

// CreateUser creates a user without signing it in. An empty tier means the first
// tier, an empty role means USER.
func (a *Accounts) CreateUser(ctx context.Context, name, email, password string, tier domain.Tier, role domain.Role) (*domain.User, error) {
	u, err := a.newUser(ports.WithKnownCaller(ctx, email), name, email, password, cmp.Or(tier, a.firstTier), cmp.Or(role, domain.RoleUser))
	if err != nil {
		return nil, err
	}
	var made *domain.User
	err = a.update(ctx, func(ctx context.Context, tx *ports.Tx) error {
		c := *u
		made = &c
		if err := putUser(ctx, tx, made); err != nil {
			return err
		}
		return a.record(ctx, tx, made, domain.AuditUserCreated, "email", made.Email, "role", string(made.Role), "tier", string(made.Tier))
	})
	if err != nil {
		a.trail().RecordFailure(ctx, err, domain.AuditUserCreated, "user", "email", u.Email)
		return nil, err
	}
	a.log.InfoContext(ctx, "user created", "user", made.ID, "role", made.Role)
	return withoutHash(made), nil
}

// SetTier changes the tier of the user with the email.
func (a *Accounts) SetTier(ctx context.Context, email string, tier domain.Tier) error {
	var p domain.Problems
	email, err := domain.NormalizeEmail(email)
	p.Check("email", err)
	p.Check("tier", a.checkTier(tier))
	if err := p.Err(); err != nil {
		return err
	}
	userID := ""
	err = a.updateByEmail(ctx, email, domain.AuditUserTierChanged, func(ctx context.Context, tx *ports.Tx, u *domain.User) error {
		userID = u.ID
		before := *u
		u.Tier = tier
		return a.save(ctx, tx, u, before)
	})
	if err == nil {
		a.applyUserChange(ctx, userID)
	}
	return err
}

// SetPassword changes the password of the user with the email. It ends every
// family and access token of the user.
func (a *Accounts) SetPassword(ctx context.Context, email, password string) error {
	var p domain.Problems
	email, err := domain.NormalizeEmail(email)
	p.Check("email", err)
	p.Check("password", domain.CheckPassword(password))
	if err := p.Err(); err != nil {
		return err
	}
	hash, err := a.passwords.Hash(ports.WithKnownCaller(ctx, email), password)
	if err != nil {
		return apperr.PublicIn(ctx, err)
	}
	return a.updateByEmail(ctx, email, domain.AuditUserPasswordChanged, func(ctx context.Context, tx *ports.Tx, u *domain.User) error {
		var p domain.Problems
		p.Check("password", domain.CheckPasswordOf(password, u.Name, u.Email))
		if err := p.Err(); err != nil {
			return err
		}
		if err := a.replacePassword(ctx, tx, u, hash, a.storeTime()); err != nil {
			return err
		}
		return a.record(ctx, tx, u, domain.AuditUserPasswordChanged)
	})
}

// updateByEmail runs fn on the user with the email in a transaction. It records the
// failure of the action.
func (a *Accounts) updateByEmail(ctx context.Context, email string, action domain.AuditAction, fn func(context.Context, *ports.Tx, *domain.User) error) error {
	var userID string
	err := a.update(ctx, func(ctx context.Context, tx *ports.Tx) error {
		u, err := tx.Users.ByEmail(ctx, email)
		err = apperr.User(err)
		if err != nil {
			return err
		}
		userID = u.ID
		return fn(ctx, tx, u)
	})
	if userID != "" {
		a.invalidateUser(userID)
	}
	if err != nil {
		a.trail().RecordFailure(ctx, err, action, userObject(userID), "email", email)
		return err
	}
	a.log.InfoContext(ctx, "user changed", "by", "operator", "user", userID)
	return nil
}

func (a *Accounts) checkTier(t domain.Tier) error {
	if _, ok := a.tiers[t]; ok {
		return nil
	}
	names := make([]string, 0, len(a.tiers))
	for _, t := range a.sortedTiers() {
		names = append(names, string(t))
	}
	return domain.Errorf(domain.Invalid, domain.CodeValidation, "Tier must be one of %s", strings.Join(names, ", "))
}

// sortedTiers returns the tiers, lowest first.
func (a *Accounts) sortedTiers() []domain.Tier {
	return slices.SortedFunc(maps.Keys(a.tiers), func(x, y domain.Tier) int {
		return cmp.Or(cmp.Compare(a.tiers[x].Rank, a.tiers[y].Rank), cmp.Compare(x, y))
	})
}

func (a *Accounts) highestTier() domain.Tier {
	ranked := a.sortedTiers()
	return ranked[len(ranked)-1]
}

func checkRole(r domain.Role) error {
	if r == domain.RoleUser || r == domain.RoleAdministrator {
		return nil
	}
	return domain.Errorf(domain.Invalid, domain.CodeValidation, "Role must be one of USER, ADMINISTRATOR")
}
