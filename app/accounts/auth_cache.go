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
	s, generation, ok := a.authCache.get(claims.UserID, claims.FamilyID, now)
	if !ok {
		if s, err = a.readAuthState(ctx, claims); err != nil {
			return service.Principal{}, err
		}
		s.readAt = now // before it was read
		a.authCache.put(claims.UserID, claims.FamilyID, s, generation)
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

// readAuthState reads what decides about the access tokens of a sign-in.
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
		s = authState{role: u.Role, active: u.Active, credentialsAt: u.CredentialsAt, until: f.ExpiresAt}
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

// authState is what decides about the access tokens of one sign-in.
type authState struct {
	role          domain.Role
	active        bool
	credentialsAt time.Time
	until         time.Time // zero: revoked
	readAt        time.Time
}

// authCache remembers auth states for a second. What is read while something of
// the same user changes is not remembered: every change moves the generation,
// and put refuses what belongs to an earlier one.
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

// get returns what is remembered and, for put, the generation to read in.
func (c *authCache) get(userID, familyID string, now time.Time) (s authState, generation uint64, ok bool) {
	shard := c.shard(userID)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	s, ok = shard.entries[authCacheKey{userID, familyID}]
	age := now.Sub(s.readAt)
	return s, shard.generation, ok && 0 <= age && age < authCacheLife
}

// put remembers what was read since get gave the generation. A full shard
// starts anew: entries are short-lived, so little is lost.
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

// invalidateUser forgets the auth state of the user's sign-ins, here and on other replicas.
func (a *Accounts) invalidateUser(userID string) {
	a.authCache.forget(userID)
	a.invalidator.Publish(ports.Invalidation{Users: []string{userID}})
}

// applyInvalidation takes in what other replicas say has changed.
func (a *Accounts) applyInvalidation(h ports.Invalidation) {
	if h.All {
		a.authCache.forgetAll()
	}
	for _, id := range h.Users {
		a.authCache.forget(id)
	}
}

// forgetAll drops everything.
func (c *authCache) forgetAll() {
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
