package sendqueue

import (
	"context"
	"errors"
	"time"

	"github.com/switchyard-wa/switchyard/app/internal/txn"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// gap returns the time until the next message of a session, by the pace. jitter is from 0 to
// 1.
func (q *Queues) gap(jitter float64) time.Duration {
	return time.Duration(float64(time.Minute) / float64(q.parts.Pace) * (0.5 + jitter))
}

// AwaitPace waits until the pace allows a message of a session that does not go by its
// queue, and takes the place. Call giveBack if no message was sent. Without a pace AwaitPace
// does nothing. The error says that ctx has ended.
func (q *Queues) AwaitPace(ctx context.Context, userID, sessionID string) (giveBack func(), err error) {
	if q.parts.Pace == 0 {
		return func() {}, nil
	}
	jitter, err := q.jitter()
	if err != nil {
		return nil, err
	}
	for {
		wait, taken, err := q.takePace(ctx, userID, sessionID, q.gap(jitter))
		if err != nil {
			return nil, err
		}
		if wait <= 0 {
			return func() { q.givePaceBack(ctx, sessionID, taken) }, nil
		}
		if err := q.Sleep(ctx, wait); err != nil {
			return nil, err
		}
	}
}

// takePace takes the place of a message, or returns how long to wait for one. taken is when
// the next message may go.
func (q *Queues) takePace(ctx context.Context, userID, sessionID string, gap time.Duration) (wait time.Duration, taken time.Time, err error) {
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
		taken = now.Add(gap).Truncate(time.Microsecond)
		queue.NotBefore = taken
		err = tx.SendQueues.Put(ctx, queue)
		if errors.Is(err, ports.ErrExists) {
			err = ports.ErrConflict
		}
		return err
	})
	return wait, taken, err
}

// givePaceBack lets the next message go at once, unless another one has gone meanwhile.
func (q *Queues) givePaceBack(ctx context.Context, sessionID string, taken time.Time) {
	ctx = context.WithoutCancel(ctx)
	err := q.Writer.Update(ctx, func(ctx context.Context, tx *ports.Tx) error {
		queue, err := tx.SendQueues.Get(ctx, sessionID)
		if err != nil || !queue.NotBefore.Equal(taken) {
			return err
		}
		queue.NotBefore = time.Time{}
		return tx.SendQueues.Put(ctx, queue)
	})
	if !errors.Is(err, ports.ErrNotFound) {
		q.LogFailure(ctx, "place of a message not given back", err, "session", sessionID)
	}
}
