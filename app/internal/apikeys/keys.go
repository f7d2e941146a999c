package apikeys

import (
	"context"
	"errors"
	"time"

	"github.com/switchyard-wa/switchyard/app/internal/apperr"
	"github.com/switchyard-wa/switchyard/app/internal/audit"
	"github.com/switchyard-wa/switchyard/app/internal/txn"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

const (
	maxLiveKeys  = 3                  // of a session: the newest, and former ones within their grace
	maxKeys      = 10                 // of a session, with those that have ended
	endedKeyLife = 7 * 24 * time.Hour // how long a key is stored after its end
)

// Keys implements [service.APIKeys]. It is safe for concurrent use.
type Keys struct {
	*txn.Writer
	limiter    ports.Limiter
	invalidate func(ports.Invalidation)
	cache      *authCache
}

var _ service.APIKeys = (*Keys)(nil)

// New returns the service. invalidate tells other replicas of changes.
func New(w *txn.Writer, l ports.Limiter, invalidate func(ports.Invalidation)) *Keys {
	return &Keys{Writer: w, limiter: l, invalidate: invalidate, cache: newAuthCache()}
}

// Forget clears the cache: a key, a user or a tier has changed.
func (k *Keys) Forget() { k.cache.forget() }

// UserChanged clears the cache here and on other replicas.
func (k *Keys) UserChanged(userID string) {
	k.cache.forget()
	k.invalidate(ports.Invalidation{Users: []string{userID}})
}

// NewKey returns the text of a new API key of a session, and the row to store.
func (k *Keys) NewKey(s *domain.Session, now time.Time) (text string, key *domain.APIKey, err error) {
	random := make([]byte, 32)
	if _, err := k.Random.Read(random); err != nil {
		return "", nil, err
	}
	text = domain.NewAPIKeyText(random)
	hash, err := domain.ParseAPIKey(text)
	if err != nil {
		return "", nil, err
	}
	return text, &domain.APIKey{
		ID: k.IDs.NewID(), SessionID: s.ID, UserID: s.UserID, Name: s.Name,
		Hint: domain.APIKeyHint(text), Hash: hash, CreatedAt: now,
	}, nil
}

// Authenticate checks an API key and counts the call against the user's tier.
func (k *Keys) Authenticate(ctx context.Context, text string) (service.Sender, domain.Usage, error) {
	hash, err := domain.ParseAPIKey(text)
	if err != nil {
		return service.Sender{}, domain.Usage{}, err
	}
	now := k.Now()
	c, epoch := k.cache.credential(hash, now)
	if c == nil {
		c, err = k.readCredential(ctx, hash, epoch, now)
		if err != nil {
			return service.Sender{}, domain.Usage{}, apperr.Public(err)
		}
	}
	if err := c.key.Check(now); err != nil {
		return service.Sender{}, domain.Usage{}, err
	}
	if !c.quota.user.Active {
		return service.Sender{}, domain.Usage{}, errDeactivated()
	}
	usage, err := c.quota.countCall(ctx, now, 1)
	if err != nil {
		return service.Sender{}, usage, apperr.Public(err)
	}
	c.lastUse.Store(now.UnixMicro())
	if !usage.Allowed {
		return c.sender, usage, domain.Errorf(domain.Exceeded, domain.CodeAPILimit,
			"API call limit exceeded. %s tier allows %d calls per hour", c.quota.user.Tier, usage.Limit).
			WithUsage(usage, now)
	}
	return c.sender, usage, nil
}

// CheckSender checks that a sender whom Authenticate or an access token has named may still
// send. It counts no call. A call that takes long asks again before each step.
func (k *Keys) CheckSender(ctx context.Context, s service.Sender) error {
	quota, err := k.Quota(ctx, s.UserID)
	if err != nil {
		return apperr.Public(err)
	}
	if !quota.user.Active {
		return errDeactivated()
	}
	if s.KeyID == "" {
		return nil
	}
	var key *domain.APIKey
	err = k.Store.View(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		key, err = tx.APIKeys.Get(ctx, s.KeyID)
		return err
	})
	if errors.Is(err, ports.ErrNotFound) {
		return errUnknownKey()
	}
	if err != nil {
		return apperr.Public(err)
	}
	return key.Check(k.Now())
}

func errDeactivated() error {
	return domain.Errorf(domain.Forbidden, domain.CodeAccountDeactivated,
		"This account is deactivated; ask an administrator to activate it")
}

func errUnknownKey() error {
	return domain.Errorf(domain.Unauthenticated, domain.CodeAPIKeyInvalid,
		"API key is not valid; use the key shown when the session was created or rotate it")
}

func (k *Keys) readCredential(ctx context.Context, hash [32]byte, epoch uint64, now time.Time) (*credential, error) {
	var key *domain.APIKey
	err := k.Store.View(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		key, err = tx.APIKeys.ByHash(ctx, hash)
		return err
	})
	if errors.Is(err, ports.ErrNotFound) {
		return nil, errUnknownKey()
	}
	if err != nil {
		return nil, err
	}
	quota, err := k.Quota(ctx, key.UserID)
	if err != nil {
		return nil, err
	}
	c := &credential{
		sender: service.Sender{KeyID: key.ID, UserID: key.UserID, SessionID: key.SessionID},
		key:    *key, quota: quota, until: now.Add(cacheLife), lastUse: k.cache.lastUseOf(key.ID),
	}
	k.cache.putCredential(hash, c, epoch)
	return c, nil
}

// List returns the user's valid API keys, newest first.
func (k *Keys) List(ctx context.Context, userID string) ([]*service.APIKeyView, error) {
	var views []*service.APIKeyView
	now := k.Now()
	err := k.Store.View(ctx, func(ctx context.Context, tx *ports.Tx) error {
		views = nil
		keys, err := tx.APIKeys.ByUser(ctx, userID)
		if err != nil {
			return err
		}
		for _, key := range keys {
			if key.Check(now) != nil {
				continue
			}
			s, err := tx.Sessions.Get(ctx, key.SessionID)
			if err != nil {
				return apperr.Session(err)
			}
			if at := k.cache.unstoredUse(key.ID); at.After(key.LastUsedAt) {
				key.LastUsedAt = at
			}
			views = append(views, &service.APIKeyView{APIKey: key, Session: s})
		}
		return nil
	})
	return views, apperr.Public(err)
}

// Rotate creates a new key of the session. Old keys end at once, on other replicas
// within a second, or expire after the grace.
func (k *Keys) Rotate(ctx context.Context, userID, sessionID string, grace time.Duration) (string, error) {
	var text string
	err := k.Update(ctx, func(ctx context.Context, tx *ports.Tx) error {
		s, err := txn.OwnedSession(ctx, tx, userID, sessionID)
		if err != nil {
			return err
		}
		now := k.Now()
		old, err := tx.APIKeys.BySession(ctx, sessionID)
		if err != nil {
			return err
		}
		if err := endKeys(ctx, tx, old, grace, now); err != nil {
			return err
		}
		var key *domain.APIKey
		text, key, err = k.NewKey(s, now)
		if err != nil {
			return err
		}
		if err := tx.APIKeys.Put(ctx, key); err != nil {
			return err
		}
		return k.Trail().Record(ctx, tx, domain.AuditKeyRotated, audit.Object("api-key", key.ID), "session", sessionID, "grace", grace.String())
	})
	if err != nil {
		return "", apperr.Public(err)
	}
	k.UserChanged(userID)
	return text, nil
}

// endKeys ends the keys of a session, newest first, before a new one is added. Few of
// them live through the grace, and few of those that have ended are kept.
func endKeys(ctx context.Context, tx *ports.Tx, keys []*domain.APIKey, grace time.Duration, now time.Time) error {
	live := 0
	for i, key := range keys {
		if i >= maxKeys-1 {
			if err := tx.APIKeys.Delete(ctx, key.ID); err != nil {
				return err
			}
			continue
		}
		if key.Check(now) == nil {
			live++
		}
		rest := grace
		if live > maxLiveKeys-1 {
			rest = 0
		}
		if err := endKey(ctx, tx, key, rest, now); err != nil {
			return err
		}
	}
	return nil
}

// Housekeep deletes keys that ended a while ago. Until then their users are told that
// the key has expired.
func (k *Keys) Housekeep(ctx context.Context, now time.Time) error {
	return k.Update(ctx, func(ctx context.Context, tx *ports.Tx) error {
		return tx.APIKeys.DeleteEnded(ctx, now.Add(-endedKeyLife))
	})
}

// endKey expires a key after the grace, or revokes it if there is no grace.
func endKey(ctx context.Context, tx *ports.Tx, key *domain.APIKey, grace time.Duration, now time.Time) error {
	end := now.Add(grace)
	endsSooner := !key.ExpiresAt.IsZero() && !key.ExpiresAt.After(end)
	switch {
	case !key.RevokedAt.IsZero(), grace > 0 && endsSooner:
		return nil
	case grace > 0:
		key.ExpiresAt = end
	default:
		key.RevokedAt = now
	}
	return tx.APIKeys.Put(ctx, key)
}

// Revoke ends a key at once, on other replicas within a second.
func (k *Keys) Revoke(ctx context.Context, userID, keyID string) error {
	err := k.Update(ctx, func(ctx context.Context, tx *ports.Tx) error {
		key, err := tx.APIKeys.Get(ctx, keyID)
		if errors.Is(err, ports.ErrNotFound) || err == nil && key.UserID != userID {
			return domain.Errorf(domain.NotFound, domain.CodeAPIKeyNotFound, "API key not found; list your keys to see their ids")
		}
		if err != nil {
			return err
		}
		if err := tx.APIKeys.Delete(ctx, keyID); err != nil {
			return err
		}
		return k.Trail().Record(ctx, tx, domain.AuditKeyDeleted, audit.Object("api-key", keyID), "session", key.SessionID)
	})
	if err != nil {
		return apperr.Public(err)
	}
	k.cache.forgetLastUse(keyID)
	k.UserChanged(userID)
	return nil
}

// Tier returns what the user's tier allows and how much of it is used.
func (k *Keys) Tier(ctx context.Context, userID string) (*service.TierView, error) {
	q, err := k.Quota(ctx, userID)
	if err != nil {
		return nil, apperr.Public(err)
	}
	var owned domain.UserUsage
	err = k.Store.View(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		owned, err = tx.Users.Usage(ctx, userID)
		return apperr.User(err)
	})
	if err != nil {
		return nil, apperr.Public(err)
	}
	now := k.Now()
	messages, err := q.takeMessages(ctx, now, 0)
	if err != nil {
		return nil, apperr.Public(err)
	}
	calls, err := q.countCall(ctx, now, 0)
	if err != nil {
		return nil, apperr.Public(err)
	}
	return &service.TierView{
		Tier: q.user.Tier, Limits: q.limits, Sessions: owned.Sessions,
		Messages: messages.Used, APICalls: calls.Used,
	}, nil
}

// StoreLastUse stores when keys were last used.
func (k *Keys) StoreLastUse(ctx context.Context) error {
	uses := k.cache.takeLastUses()
	if len(uses) == 0 {
		return nil
	}
	return k.Update(ctx, func(ctx context.Context, tx *ports.Tx) error {
		for id, at := range uses {
			key, err := tx.APIKeys.Get(ctx, id)
			if errors.Is(err, ports.ErrNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			if at.After(key.LastUsedAt) {
				key.LastUsedAt = at
				if err := tx.APIKeys.Put(ctx, key); err != nil {
					return err
				}
			}
		}
		return nil
	})
}
