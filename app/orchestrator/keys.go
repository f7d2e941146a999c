package orchestrator

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

const (
	hour = time.Hour
	// cacheLife bounds how long another replica's change of a key or a user goes
	// unnoticed here; changes of this process are noticed at once.
	cacheLife = time.Second
	cacheSize = 100_000
)

// keyring keeps what the send path has to know of API keys and users, so that a
// send reads nothing from the store.
type keyring struct {
	mu    sync.RWMutex
	epoch uint64 // grows with every change; what was read before it is not kept
	keys  map[[32]byte]*credential
	users map[string]*allowance
	used  sync.Map // key id → *atomic.Int64, time of last use not yet stored, µs
}

// credential is an API key that is good until it has to be read again.
type credential struct {
	holder service.Sender
	key    domain.APIKey
	user   *allowance
	until  time.Time
	used   *atomic.Int64
}

// allowance is what a user may do.
type allowance struct {
	user     domain.User
	limits   domain.Limits
	messages string // limiter keys
	calls    string
	until    time.Time
	seeded   *atomic.Bool // it has been made sure that messages sent earlier are counted
}

func newKeyring() *keyring {
	return &keyring{keys: make(map[[32]byte]*credential), users: make(map[string]*allowance)}
}

// forget drops everything, and keeps reads that are under way from being kept.
func (r *keyring) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.epoch++
	clear(r.keys)
	for _, a := range r.users {
		a.until = time.Time{}
	}
}

func (r *keyring) key(hash [32]byte, now time.Time) (*credential, uint64) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if c := r.keys[hash]; c != nil && now.Before(c.until) && now.Before(c.user.until) {
		return c, r.epoch
	}
	return nil, r.epoch
}

func (r *keyring) keep(hash [32]byte, c *credential, epoch uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.epoch != epoch {
		return
	}
	if len(r.keys) >= cacheSize {
		clear(r.keys)
	}
	r.keys[hash] = c
}

// newKey makes the text of a new API key and what is stored of it.
func (o *Orchestrator) newKey(s *domain.Session, now time.Time) (string, *domain.APIKey, error) {
	random := make([]byte, 32)
	if _, err := o.random.Read(random); err != nil {
		return "", nil, err
	}
	text := domain.NewAPIKeyText(random)
	hash, err := domain.ParseAPIKey(text)
	if err != nil {
		return "", nil, err
	}
	return text, &domain.APIKey{
		ID: o.ids.NewID(), SessionID: s.ID, UserID: s.UserID, Name: s.Name,
		Hint: domain.APIKeyHint(text), Hash: hash, CreatedAt: now,
	}, nil
}

// Authenticate checks an API key and counts the call against the user's tier.
// What this process changed of a key or user counts at once, what others changed
// within a second.
func (o *apiKeyService) Authenticate(ctx context.Context, text string) (service.Sender, domain.Usage, error) {
	hash, err := domain.ParseAPIKey(text)
	if err != nil {
		return service.Sender{}, domain.Usage{}, err
	}
	now := o.now()
	c, epoch := o.keys.key(hash, now)
	if c == nil {
		if c, err = o.readKey(ctx, hash, epoch, now); err != nil {
			return service.Sender{}, domain.Usage{}, o.fault(err)
		}
	}
	if err := c.key.Check(now); err != nil {
		return service.Sender{}, domain.Usage{}, err
	}
	if !c.user.user.Active {
		return service.Sender{}, domain.Usage{}, domain.Errorf(domain.Forbidden, domain.CodeAccountDeactivated,
			"This account is deactivated; ask an administrator to activate it")
	}
	usage, err := o.limiter.AllowN(ctx, c.user.calls, now, hour, c.user.limits.APICallsPerHour, 1)
	if err != nil {
		return service.Sender{}, usage, o.fault(err)
	}
	c.used.Store(now.UnixMicro())
	if !usage.Allowed {
		return c.holder, usage, domain.Errorf(domain.Exceeded, domain.CodeAPILimit,
			"API call limit exceeded. %s tier allows %d calls per hour", c.user.user.Tier, usage.Limit).
			WithCause(usedUp{usage, usage.ResetAt.Sub(now)})
	}
	return c.holder, usage, nil
}

// usedUp is the cause of an error that time cures.
type usedUp struct {
	usage domain.Usage
	wait  time.Duration
}

func (u usedUp) Error() string { return "used up for " + u.wait.String() }

// RetryAfter is how long to wait.
func (u usedUp) RetryAfter() time.Duration { return u.wait }

// Window is the limit that it is about.
func (u usedUp) Window() domain.Usage { return u.usage }

func (o *Orchestrator) readKey(ctx context.Context, hash [32]byte, epoch uint64, now time.Time) (*credential, error) {
	var key *domain.APIKey
	err := o.store.View(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		key, err = tx.APIKeys.ByHash(ctx, hash)
		return err
	})
	if errors.Is(err, ports.ErrNotFound) {
		return nil, domain.Errorf(domain.Unauthenticated, domain.CodeAPIKeyInvalid,
			"API key is not valid; use the key shown when the session was created or rotate it")
	}
	if err != nil {
		return nil, err
	}
	a, err := o.allowance(ctx, key.UserID)
	if err != nil {
		return nil, err
	}
	used, _ := o.keys.used.LoadOrStore(key.ID, new(atomic.Int64))
	c := &credential{
		holder: service.Sender{KeyID: key.ID, UserID: key.UserID, SessionID: key.SessionID},
		key:    *key, user: a, until: now.Add(cacheLife), used: used.(*atomic.Int64),
	}
	o.keys.keep(hash, c, epoch)
	return c, nil
}

// allowance gives what a user may do, read afresh after a second at most.
func (o *Orchestrator) allowance(ctx context.Context, userID string) (*allowance, error) {
	now := o.now()
	o.keys.mu.RLock()
	a, epoch := o.keys.users[userID], o.keys.epoch
	fresh := a != nil && now.Before(a.until)
	o.keys.mu.RUnlock()
	if fresh {
		return a, nil
	}
	var u *domain.User
	err := o.store.View(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		u, err = tx.Users.Get(ctx, userID)
		return userMissing(err)
	})
	if err != nil {
		return nil, err
	}
	next := &allowance{
		user: *u, limits: o.limits(u.Tier), until: now.Add(cacheLife),
		messages: "messages/" + userID, calls: "calls/" + userID, seeded: new(atomic.Bool),
	}
	o.keys.mu.Lock()
	defer o.keys.mu.Unlock()
	if a != nil {
		next.seeded = a.seeded
	} else if b := o.keys.users[userID]; b != nil {
		next.seeded = b.seeded
	}
	if len(o.keys.users) >= cacheSize {
		clear(o.keys.users)
	}
	if o.keys.epoch == epoch {
		o.keys.users[userID] = next
	}
	return next, nil
}

// flush stores when keys were last used.
func (r *keyring) flush(ctx context.Context, o *Orchestrator) error {
	used := make(map[string]int64)
	r.used.Range(func(id, at any) bool {
		if us := at.(*atomic.Int64).Swap(0); us != 0 {
			used[id.(string)] = us
		}
		return true
	})
	if len(used) == 0 {
		return nil
	}
	return o.update(ctx, func(ctx context.Context, tx *ports.Tx) error {
		for id, us := range used {
			k, err := tx.APIKeys.Get(ctx, id)
			if errors.Is(err, ports.ErrNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			if at := time.UnixMicro(us).UTC(); at.After(k.LastUsedAt) {
				k.LastUsedAt = at
				if err := tx.APIKeys.Put(ctx, k); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// List lists the user's API keys that are good, newest first.
func (o *apiKeyService) List(ctx context.Context, userID string) ([]*service.APIKeyView, error) {
	var views []*service.APIKeyView
	now := o.now()
	err := o.store.View(ctx, func(ctx context.Context, tx *ports.Tx) error {
		views = nil
		keys, err := tx.APIKeys.ByUser(ctx, userID)
		if err != nil {
			return err
		}
		for _, k := range keys {
			if k.Check(now) != nil {
				continue
			}
			s, err := tx.Sessions.Get(ctx, k.SessionID)
			if err != nil {
				return sessionMissing(err)
			}
			if used, ok := o.keys.used.Load(k.ID); ok {
				if us := used.(*atomic.Int64).Load(); us > k.LastUsedAt.UnixMicro() && us != 0 {
					k.LastUsedAt = time.UnixMicro(us).UTC()
				}
			}
			views = append(views, &service.APIKeyView{APIKey: k, Session: s})
		}
		return nil
	})
	return views, o.fault(err)
}

// Rotate gives the session a new key. The old ones end at once, on other
// replicas within a second, or expire after the grace.
func (o *apiKeyService) Rotate(ctx context.Context, userID, sessionID string, grace time.Duration) (string, error) {
	var text string
	err := o.update(ctx, func(ctx context.Context, tx *ports.Tx) error {
		s, err := owned(ctx, tx, userID, sessionID)
		if err != nil {
			return err
		}
		now := o.now()
		old, err := tx.APIKeys.BySession(ctx, sessionID)
		if err != nil {
			return err
		}
		for _, k := range old {
			if err := endKey(ctx, tx, k, grace, now); err != nil {
				return err
			}
		}
		var key *domain.APIKey
		if text, key, err = o.newKey(s, now); err != nil {
			return err
		}
		return tx.APIKeys.Put(ctx, key)
	})
	if err != nil {
		return "", o.fault(err)
	}
	o.keys.forget()
	o.hint(ports.Invalidation{Users: []string{userID}})
	return text, nil
}

// endKey has a key expire after the grace, or revokes it if there is none.
func endKey(ctx context.Context, tx *ports.Tx, k *domain.APIKey, grace time.Duration, now time.Time) error {
	end := now.Add(grace)
	sooner := !k.ExpiresAt.IsZero() && !k.ExpiresAt.After(end)
	switch {
	case !k.RevokedAt.IsZero(), grace > 0 && sooner:
		return nil
	case grace > 0:
		k.ExpiresAt = end
	default:
		k.RevokedAt = now
	}
	return tx.APIKeys.Put(ctx, k)
}

// Revoke ends a key at once, on other replicas within a second.
func (o *apiKeyService) Revoke(ctx context.Context, userID, keyID string) error {
	err := o.update(ctx, func(ctx context.Context, tx *ports.Tx) error {
		k, err := tx.APIKeys.Get(ctx, keyID)
		if errors.Is(err, ports.ErrNotFound) || err == nil && k.UserID != userID {
			return domain.Errorf(domain.NotFound, domain.CodeAPIKeyNotFound, "API key not found; list your keys to see their ids")
		}
		if err != nil {
			return err
		}
		return tx.APIKeys.Delete(ctx, keyID)
	})
	if err != nil {
		return o.fault(err)
	}
	o.keys.used.Delete(keyID)
	o.keys.forget()
	o.hint(ports.Invalidation{Users: []string{userID}})
	return nil
}

// Tier tells what the user's tier allows and how much of it is used.
func (o *apiKeyService) Tier(ctx context.Context, userID string) (*service.TierView, error) {
	a, err := o.allowance(ctx, userID)
	if err != nil {
		return nil, o.fault(err)
	}
	var owns domain.UserUsage
	err = o.store.View(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		owns, err = tx.Users.Usage(ctx, userID)
		return userMissing(err)
	})
	if err != nil {
		return nil, o.fault(err)
	}
	now := o.now()
	messages, err := o.takeMessages(ctx, a, now, 0)
	if err != nil {
		return nil, o.fault(err)
	}
	calls, err := o.limiter.AllowN(ctx, a.calls, now, hour, a.limits.APICallsPerHour, 0)
	if err != nil {
		return nil, o.fault(err)
	}
	return &service.TierView{
		Tier: a.user.Tier, Limits: a.limits, Sessions: owns.Sessions,
		Messages: messages.Limit - messages.Remaining, APICalls: calls.Limit - calls.Remaining,
	}, nil
}

// Usage counts the user's messages by time, session, type and outcome.
func (o *messageService) Usage(ctx context.Context, userID, sessionID string, since time.Time, bucket time.Duration) ([]ports.MessageUsage, error) {
	var cells []ports.MessageUsage
	err := o.store.View(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		if sessionID != "" {
			if _, err := owned(ctx, tx, userID, sessionID); err != nil {
				return err
			}
		}
		cells, err = tx.Messages.Usage(ctx, userID, sessionID, since, bucket)
		return err
	})
	return cells, o.fault(err)
}
