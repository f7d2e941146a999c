package accounts

import (
	"context"
	"errors"
	"hash/maphash"
	"sync"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// Authenticate checks an access token and returns who holds it, with the role
// that the user has now. What this process changed counts at once, what others
// changed within a second.
func (a *Accounts) Authenticate(ctx context.Context, token string) (service.Principal, error) {
	if token == "" {
		return service.Principal{}, domain.Errorf(domain.Unauthenticated, domain.CodeAuthTokenMissing,
			"Send the access token as Authorization: Bearer …")
	}
	now := a.now()
	claims, err := a.tokens.Verify(token, now)
	if err != nil {
		return service.Principal{}, fault(ctx, err)
	}
	s, generation, ok := a.standings.get(claims.UserID, claims.FamilyID, now)
	if !ok {
		if s, err = a.standing(ctx, claims); err != nil {
			return service.Principal{}, err
		}
		s.readAt = now // before it was read
		a.standings.put(claims.UserID, claims.FamilyID, s, generation)
	}
	switch {
	case !s.active:
		return service.Principal{}, errDeactivated
	case !now.Before(s.until), !s.credentialsAt.Equal(claims.CredentialsAt):
		return service.Principal{}, errToken
	}
	return service.Principal{UserID: claims.UserID, Role: s.role, FamilyID: claims.FamilyID}, nil
}

var errToken = domain.Errorf(domain.Unauthenticated, domain.CodeAuthTokenInvalid,
	"The access token is no longer good; refresh it or sign in again")

// standing reads what decides about the access tokens of a sign-in.
func (a *Accounts) standing(ctx context.Context, c ports.Claims) (s standing, err error) {
	err = a.view(ctx, func(ctx context.Context, tx *ports.Tx) error {
		f, err := tx.RefreshTokenFamilies.Get(ctx, c.FamilyID)
		if err == nil && f.UserID != c.UserID {
			err = errToken
		}
		if err != nil {
			return err
		}
		u, err := tx.Users.Get(ctx, c.UserID)
		if err != nil {
			return err
		}
		s = standing{role: u.Role, active: u.Active, credentialsAt: u.CredentialsAt, until: f.ExpiresAt}
		if !f.RevokedAt.IsZero() {
			s.until = time.Time{}
		}
		return nil
	})
	if errors.Is(err, ports.ErrNotFound) {
		err = errToken.WithCause(err)
	}
	return s, err
}

const (
	standingLife   = time.Second
	standingShards = 16   // a power of two
	standingRoom   = 1024 // entries per shard
)

// standing is what decides about the access tokens of one sign-in.
type standing struct {
	role          domain.Role
	active        bool
	credentialsAt time.Time
	until         time.Time // zero: revoked
	readAt        time.Time
}

// standings remembers standings for a second. What is read while something of
// the same user changes is not remembered: every change moves the generation,
// and put refuses what belongs to an earlier one.
type standings struct {
	seed   maphash.Seed
	shards [standingShards]standingShard
}

type standingShard struct {
	mu         sync.Mutex
	generation uint64
	entries    map[standingKey]standing
}

type standingKey struct{ userID, signInID string }

func newStandings() *standings {
	c := &standings{seed: maphash.MakeSeed()}
	for i := range c.shards {
		c.shards[i].entries = make(map[standingKey]standing)
	}
	return c
}

func (c *standings) shard(userID string) *standingShard {
	return &c.shards[maphash.String(c.seed, userID)%standingShards]
}

// get returns what is remembered and, for put, the generation to read in.
func (c *standings) get(userID, signInID string, now time.Time) (s standing, generation uint64, ok bool) {
	shard := c.shard(userID)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	s, ok = shard.entries[standingKey{userID, signInID}]
	age := now.Sub(s.readAt)
	return s, shard.generation, ok && 0 <= age && age < standingLife
}

// put remembers what was read since get gave the generation. A full shard
// starts anew: entries are short-lived, so little is lost.
func (c *standings) put(userID, signInID string, s standing, generation uint64) {
	shard := c.shard(userID)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	key := standingKey{userID, signInID}
	if shard.generation != generation || shard.entries[key].readAt.After(s.readAt) {
		return
	}
	if len(shard.entries) >= standingRoom {
		clear(shard.entries)
	}
	shard.entries[key] = s
}

// changed forgets the standing of the user's sign-ins, here and on other replicas.
func (a *Accounts) changed(userID string) {
	a.standings.forget(userID)
	a.invalidator.Publish(ports.Invalidation{Users: []string{userID}})
}

// hear takes in what other replicas say has changed.
func (a *Accounts) hear(h ports.Invalidation) {
	if h.All {
		a.standings.forgetAll()
	}
	for _, id := range h.Users {
		a.standings.forget(id)
	}
}

// forgetAll drops everything.
func (c *standings) forgetAll() {
	for i := range c.shards {
		shard := &c.shards[i]
		shard.mu.Lock()
		shard.generation++
		clear(shard.entries)
		shard.mu.Unlock()
	}
}

// forget drops everything about the user. It is called after a change was
// committed, or may have been, and before the change is answered.
func (c *standings) forget(userID string) {
	shard := c.shard(userID)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	shard.generation++
	for key := range shard.entries {
		if key.userID == userID {
			delete(shard.entries, key)
		}
	}
}
