package orchestrator

import (
	"context"
	"errors"
	"slices"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// Add makes a user known whose account the embedding program manages
// itself. ID, Email and Tier are needed; the rest is filled in. A user that is
// known already takes over the tier, and nothing else. An email that another
// user has is a Conflict.
func (o *userService) Add(ctx context.Context, u domain.User) error {
	var p domain.Problems
	if u.ID == "" {
		p.Add("id", "User ID is required")
	}
	email, err := domain.NormalizeEmail(u.Email)
	p.Check("email", err)
	if _, known := (*o.tiers.Load())[u.Tier]; !known {
		p.Add("tier", "There is no tier %q", u.Tier)
	}
	if err := p.Err(); err != nil {
		return err
	}
	now := o.now()
	err = o.update(ctx, func(ctx context.Context, tx *ports.Tx) error {
		known, err := tx.Users.Get(ctx, u.ID)
		if err == nil {
			known.Tier, known.UpdatedAt = u.Tier, now
			return tx.Users.Put(ctx, known)
		}
		if !errors.Is(err, ports.ErrNotFound) {
			return err
		}
		switch _, err := tx.Users.ByEmail(ctx, email); {
		case err == nil:
			return domain.Errorf(domain.Conflict, domain.CodeEmailRegistered, "Another user has this email")
		case !errors.Is(err, ports.ErrNotFound):
			return err
		}
		fresh := u
		fresh.Email = email
		fresh.Rev, fresh.Active, fresh.CreatedAt, fresh.UpdatedAt, fresh.CredentialsAt = 0, true, now, now, now
		if fresh.Role == "" {
			fresh.Role = domain.RoleUser
		}
		if err = tx.Users.Put(ctx, &fresh); errors.Is(err, ports.ErrExists) {
			return ports.ErrConflict // added since, perhaps by another replica that begins
		}
		return err
	})
	if err != nil {
		return o.fault(err)
	}
	return o.Users.ApplyChange(ctx, u.ID)
}

// ApplyChange takes over a change of the user's tier or activity: it holds at
// once, on other replicas within a second, and if more sessions are up than the
// tier allows, the youngest go down.
func (o *userService) ApplyChange(ctx context.Context, userID string) error {
	if err := o.ready(ctx); err != nil {
		return err
	}
	o.keys.forget()
	o.hint(ports.Invalidation{Users: []string{userID}})
	err := o.transact(ctx, func(ctx context.Context, tx *ports.Tx, c *changes) error {
		u, err := tx.Users.Get(ctx, userID)
		if err != nil {
			return userMissing(err)
		}
		left := o.limits(u.Tier).Sessions
		if !u.Active {
			left = 0
		}
		newestFirst, _, err := tx.Sessions.List(ctx, ports.SessionFilter{UserID: userID}, ports.Page{})
		if err != nil {
			return err
		}
		for _, s := range slices.Backward(newestFirst) {
			if s.Intent == domain.Down {
				continue
			}
			if left--; left >= 0 {
				continue
			}
			before := s.Clone()
			_, events := s.Disconnect(o.now())
			if err := o.save(ctx, tx, c, before, s, events); err != nil {
				return err
			}
		}
		return nil
	})
	return o.fault(err)
}
