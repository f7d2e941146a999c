package sessions

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/switchyard-wa/switchyard/app/internal/apikeys"
	"github.com/switchyard-wa/switchyard/app/internal/apperr"
	"github.com/switchyard-wa/switchyard/app/internal/fleet"
	"github.com/switchyard-wa/switchyard/app/internal/txn"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// usersPerRound bounds the users that one round of housekeeping checks.
const usersPerRound = 256

// Users implements [service.Users]. It is safe for concurrent use.
type Users struct {
	*txn.Writer
	cache *fleet.Cache
	sync  *fleet.Sync
	keys  *apikeys.Keys

	round   sync.Mutex // held by checkUsers
	checked string     // the last user of the latest round
}

var _ service.Users = (*Users)(nil)

// NewUsers returns the service.
func NewUsers(w *txn.Writer, c *fleet.Cache, s *fleet.Sync, k *apikeys.Keys) *Users {
	return &Users{Writer: w, cache: c, sync: s, keys: k}
}

// Add stores a user of a program that manages accounts itself. ID, Email and Tier are
// required; the rest is filled in. For a known user only the tier changes.
func (u *Users) Add(ctx context.Context, user domain.User) error {
	email, err := u.check(user)
	if err != nil {
		return err
	}
	now := u.Now()
	err = u.Update(ctx, func(ctx context.Context, tx *ports.Tx) error {
		known, err := tx.Users.Get(ctx, user.ID)
		if err == nil {
			known.Tier, known.UpdatedAt = user.Tier, now
			return tx.Users.Put(ctx, known)
		}
		if !errors.Is(err, ports.ErrNotFound) {
			return err
		}
		_, err = tx.Users.ByEmail(ctx, email)
		if err == nil {
			return domain.Errorf(domain.Conflict, domain.CodeEmailRegistered, "Another user has this email")
		}
		if !errors.Is(err, ports.ErrNotFound) {
			return err
		}
		added := user
		added.Email = email
		added.Rev, added.Active, added.CreatedAt, added.UpdatedAt, added.CredentialsAt = 0, true, now, now, now
		if added.Role == "" {
			added.Role = domain.RoleUser
		}
		err = tx.Users.Put(ctx, &added)
		if errors.Is(err, ports.ErrExists) {
			return ports.ErrConflict // another replica added it since
		}
		return err
	})
	if err != nil {
		return apperr.Public(err)
	}
	return u.ApplyChange(ctx, user.ID)
}

func (u *Users) check(user domain.User) (email string, err error) {
	var p domain.Problems
	if user.ID == "" {
		p.Add("id", "User ID is required")
	}
	email, err = domain.NormalizeEmail(user.Email)
	p.Check("email", err)
	if _, known := u.Tiers()[user.Tier]; !known {
		p.Add("tier", "There is no tier %q", user.Tier)
	}
	return email, p.Err()
}

// ApplyChange applies a changed tier or activity of a user. If more sessions are up than
// the tier allows, the youngest go down.
func (u *Users) ApplyChange(ctx context.Context, userID string) error {
	if err := u.sync.EnsureLoaded(ctx); err != nil {
		return err
	}
	u.keys.UserChanged(userID)
	err := u.Transact(ctx, func(ctx context.Context, tx *txn.Tx) error {
		user, err := tx.Users.Get(ctx, userID)
		if err != nil {
			return apperr.User(err)
		}
		allowed := u.Limits(user.Tier).Sessions
		if !user.Active {
			allowed = 0
		}
		newestFirst, _, err := tx.Sessions.List(ctx, ports.SessionFilter{UserID: userID}, ports.Page{})
		if err != nil {
			return err
		}
		for _, s := range slices.Backward(newestFirst) {
			if s.Intent == domain.Down {
				continue
			}
			allowed--
			if allowed >= 0 {
				continue
			}
			before := s.Clone()
			_, events := s.Disconnect(u.Now())
			if err := tx.SaveSession(ctx, before, s, events); err != nil {
				return err
			}
		}
		return nil
	})
	return apperr.Public(err)
}

// Housekeep deletes refresh tokens that have expired, and takes sessions down that their
// users may not have up. It checks some users in each round.
func (u *Users) Housekeep(ctx context.Context, now time.Time) error {
	return errors.Join(u.deleteExpiredTokens(ctx, now), u.checkUsers(ctx))
}

func (u *Users) deleteExpiredTokens(ctx context.Context, now time.Time) error {
	return u.Update(ctx, func(ctx context.Context, tx *ports.Tx) error {
		return tx.RefreshTokenFamilies.DeleteExpired(ctx, now)
	})
}

// checkUsers checks some users that have sessions up, after those of the latest round.
func (u *Users) checkUsers(ctx context.Context) error {
	u.round.Lock()
	defer u.round.Unlock()
	up := u.cache.UpByUser()
	ids := slices.Sorted(maps.Keys(up))
	at, _ := slices.BinarySearch(ids, u.checked+"\x00")
	ids = slices.Concat(ids[at:], ids[:at])
	ids = ids[:min(len(ids), usersPerRound)]
	var over []string
	err := u.Store.View(ctx, func(ctx context.Context, tx *ports.Tx) error {
		over = over[:0]
		for _, id := range ids {
			user, err := tx.Users.Get(ctx, id)
			if err != nil && !errors.Is(err, ports.ErrNotFound) {
				return err
			}
			if user != nil && (!user.Active || up[id] > u.Limits(user.Tier).Sessions) {
				over = append(over, id)
			}
		}
		return nil
	})
	if err != nil || len(ids) == 0 {
		return err
	}
	u.checked = ids[len(ids)-1]
	var errs []error
	for _, id := range over {
		errs = append(errs, u.ApplyChange(ctx, id))
	}
	return errors.Join(errs...)
}
