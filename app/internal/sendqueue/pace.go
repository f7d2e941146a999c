package sendqueue

import (
	"context"
	"errors"
	"time"

	"github.com/switchyard-wa/switchyard/app/internal/txn"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// gap returns the time between two messages of a session, by the pace. jitter is a number
// from 0 to 1.
func (q *Queues) gap(jitter float64) time.Duration {
	return time.Duration(float64(time.Minute) / float64(q.parts.Pace) * (0.5 + jitter))
}

// AwaitPace waits until the pace of a session allows a message outside its queue, and
// reserves the pause after that message. The caller calls cancel if it sent no message.
// Without a pace AwaitPace does nothing. It fails if ctx ends or the store is not available.
func (q *Queues) AwaitPace(ctx context.Context, userID, sessionID string) (cancel func(), err error) {
	if q.parts.Pace == 0 {
		return func() {}, nil
	}
	jitter, err := q.Jitter()
	if err != nil {
		return nil, err
	}
	for {
		wait, reserved, err := q.reservePace(ctx, userID, sessionID, q.gap(jitter))
		if err != nil {
			return nil, err
		}
		if wait <= 0 {
			return func() { q.cancelPace(ctx, sessionID, reserved) }, nil
		}
		if err := q.Sleep(ctx, wait); err != nil {
			return nil, err
		}
	}
}

// reservePace returns how long a message has to wait. If it need not wait, reservePace stores
// reserved as the time before which the next message is not sent.
func (q *Queues) reservePace(ctx context.Context, userID, sessionID string, gap time.Duration) (wait time.Duration, reserved time.Time, err error) {
	err = q.Writer.Update(ctx, func(ctx context.Context, tx *ports.Tx) error {
		if _, err := txn.OwnedSession(ctx, tx, userID, sessionID); err != nil {
			return err
		}
		queue, err := tx.SendQueues.Get(ctx, sessionID)
		if errors.Is(err, ports.ErrNotFound) {
			queue, err = &domain.SendQueue{SessionID: sessionID, UserID: userID}, nil
		}
		if err != nil {
			return err
		}
		now := q.Now()
		wait = queue.NotBefore.Sub(now)
		if wait > 0 {
			return nil
		}
		reserved = now.Add(gap).Truncate(time.Microsecond) // as stores keep it: cancelPace compares
		queue.NotBefore = reserved
		err = tx.SendQueues.Put(ctx, queue)
		if errors.Is(err, ports.ErrExists) {
			err = ports.ErrConflict
		}
		return err
	})
	return wait, reserved, err
}

// cancelPace lets the next message be sent at once, unless another message was sent meanwhile.
func (q *Queues) cancelPace(ctx context.Context, sessionID string, reserved time.Time) {
	ctx = context.WithoutCancel(ctx)
	err := q.Writer.Update(ctx, func(ctx context.Context, tx *ports.Tx) error {
		queue, err := tx.SendQueues.Get(ctx, sessionID)
		if err != nil || !queue.NotBefore.Equal(reserved) {
			return err
		}
		queue.NotBefore = time.Time{}
		return tx.SendQueues.Put(ctx, queue)
	})
	if !errors.Is(err, ports.ErrNotFound) {
		q.LogFailure(ctx, "pace not cancelled", err, "session", sessionID)
	}
}
