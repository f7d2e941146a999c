package orchestrator

import (
	"context"
	"errors"
	"slices"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// AddUser makes a user known whose account the embedding program manages
// itself. ID, Email and Tier are needed; the rest is filled in. A user that is
// known already takes over the tier.
func (o *Orchestrator) AddUser(ctx context.Context, u domain.User) error {
	now := o.now()
	err := o.update(ctx, func(ctx context.Context, tx *ports.Tx) error {
		known, err := tx.Users.Get(ctx, u.ID)
		if err == nil {
			known.Tier, known.UpdatedAt = u.Tier, now
			return tx.Users.Put(ctx, known)
		}
		if !errors.Is(err, ports.ErrNotFound) {
			return err
		}
		fresh := u
		fresh.Rev, fresh.Active, fresh.CreatedAt, fresh.UpdatedAt, fresh.CredentialsAt = 0, true, now, now, now
		if fresh.Role == "" {
			fresh.Role = domain.RoleUser
		}
		return tx.Users.Put(ctx, &fresh)
	})
	if err != nil {
		return o.fault(err)
	}
	return o.UserChanged(ctx, u.ID)
}

// UserChanged takes over a change of the user's tier or activity: it holds at
// once, and if more sessions are up than the tier allows, the youngest go down.
func (o *Orchestrator) UserChanged(ctx context.Context, userID string) error {
	if err := o.ready(ctx); err != nil {
		return err
	}
	o.keys.forget()
	o.hint(ports.Hint{Users: []string{userID}})
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
