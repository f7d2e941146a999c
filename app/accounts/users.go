package accounts

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// Get gives a user with what it has.
func (a *Accounts) Get(ctx context.Context, userID string) (*service.UserSummary, error) {
	var s *service.UserSummary
	err := a.view(ctx, func(ctx context.Context, tx *ports.Tx) error {
		u, err := user(ctx, tx, userID)
		if err != nil {
			return err
		}
		s, err = summary(ctx, tx, u)
		return err
	})
	return s, err
}

// List gives the users that match, and how many match in all.
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
			if list[i], err = summary(ctx, tx, u); err != nil {
				return err
			}
		}
		return nil
	})
	return list, total, err
}

// Update changes what is given of a user. A change of role or activity ends
// its access tokens, a deactivation its sign-ins and sessions too. The last
// active administrator stays one.
func (a *Accounts) Update(ctx context.Context, userID string, ch service.UserChange) (*service.UserSummary, error) {
	var p domain.Problems
	name := changed(ch.Name)
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
		u, err := user(ctx, tx, userID)
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
		s, err = summary(ctx, tx, u)
		return err
	})
	a.invalidateUser(userID)
	if err != nil {
		return nil, err
	}
	a.log.InfoContext(ctx, "user changed by an administrator", "user", userID, "tier", s.Tier, "role", s.Role, "active", s.Active)
	if ch.Active != nil || ch.Tier != nil {
		a.notifyUserChanged(ctx, userID)
	}
	return s, nil
}

// save stores a user, if it was changed, with everything that follows from a
// change of role or activity.
func (a *Accounts) save(ctx context.Context, tx *ports.Tx, u *domain.User, before domain.User) error {
	if *u == before {
		return nil
	}
	now := a.stamp()
	u.UpdatedAt = now
	if administers(&before) && !administers(u) {
		if err := requireOtherAdmin(ctx, tx, u.ID); err != nil {
			return err
		}
	}
	if u.Role != before.Role || u.Active != before.Active {
		revokeAccessTokens(u, now)
	}
	if err := put(ctx, tx, u); err != nil || u.Active || !before.Active {
		return err
	}
	return a.endSignIns(ctx, tx, u.ID, "", now)
}

func administers(u *domain.User) bool { return u.Active && u.Role == domain.RoleAdministrator }

// requireOtherAdmin makes sure that there is an active administrator besides the
// user. It writes that one unchanged, which fails if it is changed meanwhile:
// so two who are taken their role at the same time do not rely on each other.
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

// Deactivate ends the caller's account, after checking its password: nobody
// can sign in to it, and its sessions go down. An administrator can activate
// it again. The last active administrator cannot leave.
func (a *Accounts) Deactivate(ctx context.Context, c service.Principal, password string) error {
	var p domain.Problems
	if password == "" {
		p.Add("password", "Password is required")
		return p.Err()
	}
	proved, err := a.confirm(ctx, c.UserID, password)
	if err != nil {
		return err
	}
	err = a.update(ctx, func(ctx context.Context, tx *ports.Tx) error {
		u, err := user(ctx, tx, c.UserID)
		if err != nil {
			return err
		}
		if u.PasswordHash != proved {
			return errPassword // it was right a moment ago
		}
		before := *u
		u.Active = false
		return a.save(ctx, tx, u, before)
	})
	a.invalidateUser(c.UserID)
	if err != nil {
		return err
	}
	a.log.InfoContext(ctx, "user deactivated its account", "user", c.UserID)
	a.notifyUserChanged(ctx, c.UserID)
	return nil
}

// notifyUserChanged tells who has to know of a change that is committed. That the caller
// has gone does not stop it.
func (a *Accounts) notifyUserChanged(ctx context.Context, userID string) {
	if err := a.onChange(context.WithoutCancel(ctx), userID); err != nil {
		a.log.ErrorContext(ctx, "sessions that the user may not have up may still be", "user", userID, "error", err)
	}
}

// EnsureAdministrator makes a first administrator if there is none, of the
// highest tier, and returns it; otherwise it returns nil and changes nothing.
// Without a password it makes one and returns it, to be shown once. Several
// processes may call it at the same time with the same email.
func (a *Accounts) EnsureAdministrator(ctx context.Context, email, password string) (created *domain.User, generatedPassword string, err error) {
	if there, err := a.hasAdministrator(ctx); err != nil || there {
		return nil, "", err
	}
	if password == "" {
		if password, err = a.password(); err != nil {
			return nil, "", fault(ctx, err)
		}
		generatedPassword = password
	}
	created, err = a.CreateUser(ctx, "Administrator", email, password, a.highestTier(), domain.RoleAdministrator)
	if err == nil {
		return created, generatedPassword, nil
	}
	if errors.Is(err, errEmailTaken) {
		if there, err := a.hasAdministrator(ctx); err != nil || there {
			return nil, "", err // another process was quicker
		}
		err = domain.Errorf(domain.Conflict, domain.CodeEmailRegistered,
			"The administrator's email belongs to an ordinary user; choose another").WithCause(err)
	}
	return nil, "", err
}

func (a *Accounts) hasAdministrator(ctx context.Context) (there bool, err error) {
	err = a.view(ctx, func(ctx context.Context, tx *ports.Tx) error {
		_, n, err := tx.Users.List(ctx, ports.UserFilter{Role: domain.RoleAdministrator}, ports.Page{Limit: 1})
		there = n > 0
		return err
	})
	return there, err
}

// CreateUser makes a user without signing it in. An empty tier is that of new
// users, an empty role is USER.
func (a *Accounts) CreateUser(ctx context.Context, name, email, password string, tier domain.Tier, role domain.Role) (*domain.User, error) {
	u, err := a.newUser(ctx, name, email, password, cmp.Or(tier, a.firstTier), cmp.Or(role, domain.RoleUser))
	if err != nil {
		return nil, err
	}
	var made *domain.User
	err = a.update(ctx, func(ctx context.Context, tx *ports.Tx) error {
		c := *u
		made = &c
		return put(ctx, tx, made)
	})
	if err != nil {
		return nil, err
	}
	a.log.InfoContext(ctx, "user created", "user", made.ID, "role", made.Role)
	return shown(made), nil
}

// SetTier gives the user of the email another tier.
func (a *Accounts) SetTier(ctx context.Context, email string, tier domain.Tier) error {
	var p domain.Problems
	email, err := domain.NormalizeEmail(email)
	p.Check("email", err)
	p.Check("tier", a.checkTier(tier))
	if err := p.Err(); err != nil {
		return err
	}
	userID := ""
	err = a.change(ctx, email, func(ctx context.Context, tx *ports.Tx, u *domain.User) error {
		userID = u.ID
		before := *u
		u.Tier = tier
		return a.save(ctx, tx, u, before)
	})
	if err == nil {
		a.notifyUserChanged(ctx, userID)
	}
	return err
}

// SetPassword gives the user of the email another password. Every sign-in and
// access token of the user ends.
func (a *Accounts) SetPassword(ctx context.Context, email, password string) error {
	var p domain.Problems
	email, err := domain.NormalizeEmail(email)
	p.Check("email", err)
	p.Check("password", domain.CheckPassword(password))
	if err := p.Err(); err != nil {
		return err
	}
	hash, err := a.passwords.Hash(password)
	if err != nil {
		return fault(ctx, err)
	}
	return a.change(ctx, email, func(ctx context.Context, tx *ports.Tx, u *domain.User) error {
		return a.replacePassword(ctx, tx, u, hash, "", a.stamp())
	})
}

// change runs fn on the user of the email in a transaction.
func (a *Accounts) change(ctx context.Context, email string, fn func(context.Context, *ports.Tx, *domain.User) error) error {
	var userID string
	err := a.update(ctx, func(ctx context.Context, tx *ports.Tx) error {
		u, err := found(tx.Users.ByEmail(ctx, email))
		if err != nil {
			return err
		}
		userID = u.ID
		return fn(ctx, tx, u)
	})
	if userID != "" {
		a.invalidateUser(userID)
	}
	if err == nil {
		a.log.InfoContext(ctx, "user changed by an operator", "user", userID)
	}
	return err
}

func (a *Accounts) checkTier(t domain.Tier) error {
	if _, ok := a.tiers[t]; ok {
		return nil
	}
	names := make([]string, 0, len(a.tiers))
	for _, t := range a.ranked() {
		names = append(names, string(t))
	}
	return domain.Errorf(domain.Invalid, domain.CodeValidation, "Tier must be one of %s", strings.Join(names, ", "))
}

// ranked gives the tiers, the lowest first.
func (a *Accounts) ranked() []domain.Tier {
	return slices.SortedFunc(maps.Keys(a.tiers), func(x, y domain.Tier) int {
		return cmp.Or(cmp.Compare(a.tiers[x].Rank, a.tiers[y].Rank), cmp.Compare(x, y))
	})
}

func (a *Accounts) highestTier() domain.Tier {
	ranked := a.ranked()
	return ranked[len(ranked)-1]
}

func checkRole(r domain.Role) error {
	if r == domain.RoleUser || r == domain.RoleAdministrator {
		return nil
	}
	return domain.Errorf(domain.Invalid, domain.CodeValidation, "Role must be one of USER, ADMINISTRATOR")
}
