package apikeys

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/switchyard-wa/switchyard/app/internal/apperr"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// window is the window of the tiers' limits.
const window = time.Hour

// Quota is what a user may do, as read within the last second.
type Quota struct {
	keys     *Keys
	user     domain.User
	limits   domain.Limits
	until    time.Time
	isSeeded *atomic.Bool // the limiter knows the messages that were sent earlier

	messagesKey, callsKey string // of the limiter
}

// Quota returns what a user may do.
func (k *Keys) Quota(ctx context.Context, userID string) (*Quota, error) {
	now := k.Now()
	former, isFresh, epoch := k.cache.quota(userID, now)
	if isFresh {
		return former, nil
	}
	var u *domain.User
	err := k.Store.View(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		u, err = tx.Users.Get(ctx, userID)
		return apperr.User(err)
	})
	if err != nil {
		return nil, err
	}
	q := &Quota{
		keys: k, user: *u, limits: k.Limits(u.Tier), until: now.Add(cacheLife), isSeeded: new(atomic.Bool),
		messagesKey: "messages/" + userID, callsKey: "calls/" + userID,
	}
	k.cache.putQuota(q, former, epoch)
	return q, nil
}

// TakeMessage counts one message against the user's limit. The error is Exceeded
// (MESSAGE_LIMIT_EXCEEDED) when the limit is used up.
func (q *Quota) TakeMessage(ctx context.Context, now time.Time) error {
	usage, err := q.takeMessages(ctx, now, 1)
	if err != nil {
		return err
	}
	if !usage.Allowed {
		return domain.Errorf(domain.Exceeded, domain.CodeMessageLimit,
			"Message limit exceeded. %s tier allows %d messages per hour", q.user.Tier, usage.Limit).
			WithUsage(usage, now)
	}
	return nil
}

// RefundMessage takes one message off the count: it was certainly not sent.
func (q *Quota) RefundMessage(ctx context.Context) {
	_, err := q.countMessages(context.WithoutCancel(ctx), q.keys.Now(), -1)
	q.keys.LogFailure(ctx, "message not refunded", err, "user", q.user.ID)
}

func (q *Quota) countMessages(ctx context.Context, now time.Time, n int) (domain.Usage, error) {
	return q.keys.limiter.AllowN(ctx, q.messagesKey, now, window, q.limits.MessagesPerHour, n)
}

func (q *Quota) countCall(ctx context.Context, now time.Time, n int) (domain.Usage, error) {
	return q.keys.limiter.AllowN(ctx, q.callsKey, now, window, q.limits.APICallsPerHour, n)
}

// takeMessages counts n messages. If the limiter has no seeded window, it is filled
// from the history first. A message that is counted here is not in the history
// before the limiter is seeded, so nothing counts twice.
func (q *Quota) takeMessages(ctx context.Context, now time.Time, n int) (domain.Usage, error) {
	if !q.isSeeded.Load() {
		usage, err := q.countMessages(ctx, now, 0)
		if err == nil && !usage.Backfilled {
			err = q.seed(ctx, now)
		}
		if err != nil {
			return usage, err
		}
		q.isSeeded.Store(true)
	}
	usage, err := q.countMessages(ctx, now, n)
	if err != nil || usage.Backfilled || !usage.Allowed {
		return usage, err // a history makes no room for a refused message
	}
	if err := q.seed(ctx, now); err != nil {
		if n > 0 {
			q.RefundMessage(ctx)
		}
		return usage, err
	}
	usage, err = q.countMessages(ctx, now, 0)
	if err == nil && n > 0 && usage.Used > usage.Limit {
		q.RefundMessage(ctx)
		usage.Allowed = false
	}
	return usage, err
}

// seed fills the limiter's window with the messages of the last hour.
func (q *Quota) seed(ctx context.Context, now time.Time) error {
	var sent int
	var first time.Time
	err := q.keys.Store.View(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		sent, first, err = tx.Messages.CountSince(ctx, q.user.ID, now.Add(-window))
		return err
	})
	if err != nil {
		return err
	}
	if sent == 0 {
		first = now.Add(-window * 3 / 2) // a window that is over, also by a clock that lags
	}
	return q.keys.limiter.Backfill(ctx, q.messagesKey, first, window, sent)
}
