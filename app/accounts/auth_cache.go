package accounts

import (
	"context"
	"errors"
	"hash/maphash"
	"sync"
	"time"

	"github.com/switchyard-wa/switchyard/app/internal/apperr"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// Authenticate verifies an access token and returns its holder with the present
// role. Changes of this process count at once, changes of others within a second.
func (a *Accounts) Authenticate(ctx context.Context, token string) (service.Principal, error) {
	if token == "" {
		return service.Principal{}, domain.Errorf(domain.Unauthenticated, domain.CodeAuthTokenMissing,
			"Send the access token as Authorization: Bearer …")
	}
	now := a.now()
	claims, err := a.tokens.Verify(token, now)
	if err != nil {
		return service.Principal{}, apperr.PublicIn(ctx, err)
	}
	if claims.IssuedAt.After(now.Add(clockTolerance)) || claims.ExpiresAt.Sub(claims.IssuedAt) > a.accessLife {
		return service.Principal{}, errToken
	}
	s, generation, ok := a.authCache.get(claims.UserID, claims.FamilyID, now)
	if !ok {
		s, err = a.readAuthState(ctx, claims)
		if err != nil {
			return service.Principal{}, err
		}
		s.readAt = now // before the reading
		a.authCache.put(claims.UserID, claims.FamilyID, s, generation)
	}
	switch {
	case !s.active:
		return service.Principal{}, errDeactivated
	case !now.Before(s.until), !s.credentialsAt.Equal(claims.CredentialsAt):
		return service.Principal{}, errToken
	}
	return service.Principal{UserID: claims.UserID, Email: s.email, Role: s.role, FamilyID: claims.FamilyID}, nil
}

// clockTolerance is how far the clocks of two replicas may differ. A token that was issued
// later than that is a forgery, and so is one that lives longer than the configuration
// says. A token without an issue time lives too long.
const clockTolerance = 5 * time.Minute

var errToken = domain.Errorf(domain.Unauthenticated, domain.CodeAuthTokenInvalid,
	"The access token is no longer good; refresh it or sign in again")

// readAuthState reads the state that decides about the access tokens of a family.
func (a *Accounts) readAuthState(ctx context.Context, c ports.Claims) (s authState, err error) {
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
		s = authState{role: u.Role, email: u.Email, active: u.Active, credentialsAt: u.CredentialsAt, until: f.ExpiresAt}
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
	authCacheLife   = time.Second
	authCacheShards = 16   // a power of two
	authCacheRoom   = 1024 // entries per shard
)

// authState decides about the access tokens of one family.
type authState struct {
	role          domain.Role
	email         string
	active        bool
	credentialsAt time.Time
	until         time.Time // zero: revoked
	readAt        time.Time
}

// authCache holds auth states for a second. Every change of a user moves a
// generation. put ignores a state that was read in an earlier generation:
//
//	reader                        writer
//	get: generation 1
//	reads the user: active
//	                              commits the deactivation
//	                              forget: generation 2
//	put(generation 1): ignored
type authCache struct {
	seed   maphash.Seed
	shards [authCacheShards]authCacheShard
}

type authCacheShard struct {
	mu         sync.Mutex
	generation uint64
	entries    map[authCacheKey]authState
}

type authCacheKey struct{ userID, familyID string }

func newAuthCache() *authCache {
	c := &authCache{seed: maphash.MakeSeed()}
	for i := range c.shards {
		c.shards[i].entries = make(map[authCacheKey]authState)
	}
	return c
}

func (c *authCache) shard(userID string) *authCacheShard {
	return &c.shards[maphash.String(c.seed, userID)%authCacheShards]
}

// get returns the cached state, and the generation to pass to put after a reading.
func (c *authCache) get(userID, familyID string, now time.Time) (s authState, generation uint64, ok bool) {
	shard := c.shard(userID)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	s, ok = shard.entries[authCacheKey{userID, familyID}]
	age := now.Sub(s.readAt)
	return s, shard.generation, ok && 0 <= age && age < authCacheLife
}

// putUser stores a state that was read since get returned the generation. It empties a
// full shard first; entries live for a second, and little is lost.
func (c *authCache) put(userID, familyID string, s authState, generation uint64) {
	shard := c.shard(userID)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	key := authCacheKey{userID, familyID}
	if shard.generation != generation || shard.entries[key].readAt.After(s.readAt) {
		return
	}
	if len(shard.entries) >= authCacheRoom {
		clear(shard.entries)
	}
	shard.entries[key] = s
}

// invalidateUser forgets the auth states of the user here and on other replicas.
func (a *Accounts) invalidateUser(userID string) {
	a.authCache.forget(userID)
	a.invalidator.Publish(ports.Invalidation{Users: []string{userID}})
}

// applyInvalidation applies the changes that other replicas publish.
func (a *Accounts) applyInvalidation(h ports.Invalidation) {
	if h.All {
		a.authCache.forgetAll()
	}
	for _, id := range h.Users {
		a.authCache.forget(id)
	}
}

// forgetAll removes all entries.
func (c *authCache) forgetAll() {
	for i := range c.shards {
		shard := &c.shards[i]
		shard.mu.Lock()
		shard.generation++
		clear(shard.entries)
		shard.mu.Unlock()
	}
}

// forget removes the entries of the user. It runs after a change was committed, or
// may have been, and before the caller gets the result.
func (c *authCache) forget(userID string) {
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
