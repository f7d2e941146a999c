package sendqueue

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/switchyard-wa/switchyard/app/internal/membership"
	"github.com/switchyard-wa/switchyard/app/internal/txn"
	"github.com/switchyard-wa/switchyard/app/internal/workqueue"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// Dispatch begins a run for each queue that is due and that this replica should work on. It
// returns when it must be called again; zero: after the next Wake.
func (q *Queues) Dispatch(ctx context.Context, work *workqueue.Batch) (time.Time, error) {
	now := q.Now()
	if !q.due.Swap(false) && (q.nextDue.IsZero() || now.Before(q.nextDue)) {
		return q.nextDue, nil
	}
	released := q.held.drainReleased()
	list, next, err := q.dueQueues(ctx, now)
	if err != nil {
		q.due.Store(true)
		q.NoteSessions(released...)
		return now.Add(retryAfterError), err
	}
	q.nextDue = next
	if q.IsShared() {
		q.lookAgain(now.Add(pollEvery))
	}
	q.beginReleased(work, released, list, now)
	q.beginDue(work, list, now)
	return q.nextDue, nil
}

// beginReleased begins runs for queues whose session may be connected by now. It leaves out
// those of list that are due.
func (q *Queues) beginReleased(work *workqueue.Batch, released []string, list []*domain.SendQueue, now time.Time) {
	for _, id := range released {
		if !slices.ContainsFunc(list, func(s *domain.SendQueue) bool { return s.SessionID == id && !s.DueAt.After(now) }) {
			q.begin(work, &domain.SendQueue{SessionID: id}, now)
		}
	}
}

// beginDue begins runs for the queues of list, by DueAt, that this replica should work on now.
func (q *Queues) beginDue(work *workqueue.Batch, list []*domain.SendQueue, now time.Time) {
	for _, queue := range list {
		if queue.DueAt.After(now) {
			q.lookAgain(queue.DueAt)
			break
		}
		if q.parts.Members.IsOthersClaim(queue.ClaimedBy, queue.ClaimedUntil, now) {
			continue // the next poll looks again
		}
		if !q.parts.Members.ShouldRun("queue/"+queue.SessionID, queue.DueAt, now) {
			q.lookAgain(queue.DueAt.Add(membership.TakeoverDelay))
			continue
		}
		q.begin(work, queue, now)
	}
}

// dueQueues returns the queues that are due now or soon, and when to look again; zero: after
// the next Wake.
func (q *Queues) dueQueues(ctx context.Context, now time.Time) (list []*domain.SendQueue, next time.Time, err error) {
	err = q.Store.View(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		next = now.Add(lookAhead)
		list, err = tx.SendQueues.Due(ctx, next, dueLimit)
		if err != nil || len(list) > 0 {
			return err
		}
		next, err = tx.SendQueues.NextDue(ctx)
		return err
	})
	return list, next, err
}

// lookAgain makes Dispatch read the due queues again at a time, or earlier.
func (q *Queues) lookAgain(at time.Time) {
	if q.nextDue.IsZero() || at.Before(q.nextDue) {
		q.nextDue = at
	}
}

// begin runs a queue in the background, now or as soon as there is a slot.
func (q *Queues) begin(work *workqueue.Batch, queue *domain.SendQueue, now time.Time) {
	id := queue.SessionID
	task := workqueue.Task{Key: id, Worker: queue.UserID} // the runs of one user are bounded as those of one worker
	if q.tasks.Dispatch(work, task, func() error { return q.run(work.Context, id) }, q.runEnded) {
		return
	}
	q.lookAgain(now.Add(retryAfterError))
	if queue.UserID == "" { // of beginReleased: the row may not be due, and the mark is gone
		q.held.release(id)
	}
}

// runEnded lets queues run that waited for a slot.
func (q *Queues) runEnded() {
	q.due.Store(true)
	q.parts.Wake()
}

// run forwards the messages of a session that are due, one after the other.
func (q *Queues) run(ctx context.Context, sessionID string) (err error) {
	defer func() { q.LogFailure(ctx, "send queue failed", err, "session", sessionID) }()
	for range forwardsPerRun {
		next, err := q.claimNext(ctx, sessionID)
		if err != nil || next == nil {
			return err
		}
		isHeld, err := q.forward(ctx, next)
		if err != nil || isHeld {
			return err
		}
	}
	return q.endClaim(ctx, sessionID)
}

// claimNext fails the messages whose deadline has passed, and claims the queue for the next
// message that is due. It returns nil if there is none now.
func (q *Queues) claimNext(ctx context.Context, sessionID string) (next *domain.QueuedMessage, err error) {
	for hasMore := true; hasMore; {
		err = q.Transact(ctx, func(ctx context.Context, tx *txn.Tx) error {
			next, hasMore = nil, false
			now := q.Now()
			queue, err := tx.SendQueues.Get(ctx, sessionID)
			if errors.Is(err, ports.ErrNotFound) {
				q.held.unwatch(sessionID)
				return nil
			}
			if err != nil || q.parts.Members.IsOthersClaim(queue.ClaimedBy, queue.ClaimedUntil, now) {
				return err
			}
			before := *queue
			expired, err := q.failExpired(ctx, tx, queue, now)
			if err != nil {
				return err
			}
			hasMore = expired == expiredPerTx
			next, err = q.pick(ctx, tx, queue, now)
			if err != nil || *queue == before {
				return err
			}
			return tx.SendQueues.Put(ctx, queue)
		})
		if err != nil {
			return nil, err
		}
	}
	return next, nil
}

// failExpired fails at most expiredPerTx messages of a queue, which the caller stores, whose
// deadline has passed. It returns their number.
func (q *Queues) failExpired(ctx context.Context, tx *txn.Tx, queue *domain.SendQueue, now time.Time) (int, error) {
	expired, err := tx.QueuedMessages.Expired(ctx, queue.SessionID, now, expiredPerTx)
	if err != nil {
		return 0, err
	}
	for _, m := range expired {
		if err := q.fail(ctx, tx, queue, m, queue.ExpiryReason()); err != nil {
			return 0, err
		}
	}
	return len(expired), nil
}

// pick returns the next message with its media if it is due, and claims the queue for it.
// Otherwise it sets when the queue is due, and clears the claim.
func (q *Queues) pick(ctx context.Context, tx *txn.Tx, queue *domain.SendQueue, now time.Time) (*domain.QueuedMessage, error) {
	first, err := tx.QueuedMessages.List(ctx, queue.SessionID, domain.Cursor{}, 1)
	if err != nil {
		return nil, err
	}
	if len(first) == 0 {
		queue.DueAt, queue.Hold = time.Time{}, ""
		q.clearClaim(queue)
		q.held.unwatch(queue.SessionID)
		return nil, nil
	}
	at := first[0].SendAt
	if queue.NotBefore.After(at) {
		at = queue.NotBefore
	}
	if first[0].SendAt.After(now) {
		queue.Hold = "" // nothing is due
	}
	if at.After(now) {
		q.held.unwatch(queue.SessionID)
		return nil, q.wait(ctx, tx, queue, at)
	}
	q.claim(queue, now)
	queue.WakeAt(now)
	return tx.QueuedMessages.Get(ctx, queue.SessionID, first[0].ID)
}

// wait makes a queue due at a time, or at the next deadline if that is earlier, and clears
// its claim.
func (q *Queues) wait(ctx context.Context, tx *txn.Tx, queue *domain.SendQueue, at time.Time) error {
	deadline, err := tx.QueuedMessages.NextDeadline(ctx, queue.SessionID)
	if err != nil {
		return err
	}
	queue.DueAt = at
	if !deadline.IsZero() {
		queue.WakeAt(deadline)
	}
	q.clearClaim(queue)
	return nil
}

// claim claims a queue, which the caller stores, for longer than a call to a worker takes.
func (q *Queues) claim(queue *domain.SendQueue, now time.Time) {
	if q.IsShared() {
		queue.ClaimedBy, queue.ClaimedUntil = q.Self.ID, now.Add(claimLife)
	}
}

// clearClaim removes the claim of this replica from a queue, which the caller stores.
func (q *Queues) clearClaim(queue *domain.SendQueue) {
	if queue.ClaimedBy == q.Self.ID {
		queue.ClaimedBy, queue.ClaimedUntil = "", time.Time{}
	}
}

// forward sends a message. isHeld means that the session cannot send now: the run ends.
func (q *Queues) forward(ctx context.Context, m *domain.QueuedMessage) (isHeld bool, err error) {
	jitter, err := q.Jitter()
	if err != nil {
		return false, err
	}
	q.held.watch(m.SessionID)
	err = q.parts.Forwarder.Forward(ctx, m,
		func(ctx context.Context, tx *ports.Tx) error { return q.dequeue(ctx, tx, m, jitter) },
		func(ctx context.Context, tx *ports.Tx) error { return q.requeue(ctx, tx, m) })
	var held *HeldError
	var refused *domain.Error
	switch {
	case err == nil, errors.Is(err, ErrGone):
		return false, nil
	case errors.As(err, &held):
		return true, q.hold(ctx, m.SessionID, held)
	case errors.As(err, &refused) && refused.Kind != domain.Internal && refused.Kind != domain.Unavailable:
		return false, q.change(ctx, m.SessionID, func(ctx context.Context, tx *txn.Tx, queue *domain.SendQueue) error {
			err := q.fail(ctx, tx, queue, m, refused.Message)
			if errors.Is(err, ports.ErrConflict) {
				return txn.ErrUnchanged // it was changed or cancelled meanwhile
			}
			return err
		})
	}
	return false, err
}

// endClaim ends the claim of this replica.
func (q *Queues) endClaim(ctx context.Context, sessionID string) error {
	return q.change(ctx, sessionID, func(context.Context, *txn.Tx, *domain.SendQueue) error { return nil })
}

// change lets fn change a queue, clears the claim of this replica, and stores the queue.
func (q *Queues) change(ctx context.Context, sessionID string, fn func(ctx context.Context, tx *txn.Tx, queue *domain.SendQueue) error) error {
	err := q.Transact(ctx, func(ctx context.Context, tx *txn.Tx) error {
		queue, err := tx.SendQueues.Get(ctx, sessionID)
		if errors.Is(err, ports.ErrNotFound) {
			return txn.ErrUnchanged // the session was deleted
		}
		if err != nil {
			return err
		}
		if err := fn(ctx, tx, queue); err != nil {
			return err
		}
		q.clearClaim(queue)
		return tx.SendQueues.Put(ctx, queue)
	})
	if errors.Is(err, txn.ErrUnchanged) {
		return nil
	}
	return err
}

// hold records why a queue waits, and until when.
func (q *Queues) hold(ctx context.Context, sessionID string, held *HeldError) error {
	return q.change(ctx, sessionID, func(ctx context.Context, tx *txn.Tx, queue *domain.SendQueue) error {
		at := q.Now().Add(held.Wait)
		queue.Hold = held.Reason
		if held.Pauses {
			queue.NotBefore = at
		}
		return q.wait(ctx, tx, queue, at)
	})
}

// dequeue removes a message from its queue because it is forwarded now. It returns ErrGone
// if the message must not be forwarded here.
func (q *Queues) dequeue(ctx context.Context, tx *ports.Tx, m *domain.QueuedMessage, jitter float64) error {
	now := q.Now()
	queue, err := tx.SendQueues.Get(ctx, m.SessionID)
	if errors.Is(err, ports.ErrNotFound) {
		return ErrGone
	}
	if err != nil {
		return err
	}
	if queue.ClaimedBy != q.Self.ID && q.IsShared() {
		return ErrGone // this replica was away, and another one goes on
	}
	err = tx.QueuedMessages.Delete(ctx, m.SessionID, m.ID, m.Rev)
	if errors.Is(err, ports.ErrConflict) {
		return ErrGone
	}
	if err != nil {
		return err
	}
	queue.Remove(m)
	queue.Hold = domain.HoldEarlier
	if q.parts.Pace > 0 {
		queue.NotBefore = now.Add(q.gap(jitter))
	}
	q.claim(queue, now)
	return tx.SendQueues.Put(ctx, queue)
}

// requeue makes a message wait again that the worker certainly did not send.
func (q *Queues) requeue(ctx context.Context, tx *ports.Tx, m *domain.QueuedMessage) error {
	queue, err := tx.SendQueues.Get(ctx, m.SessionID)
	if err != nil {
		return err
	}
	again := *m
	again.Rev = 0
	again.Attempts++
	if err := tx.QueuedMessages.Put(ctx, &again); err != nil {
		return err
	}
	queue.Restore(m)
	return tx.SendQueues.Put(ctx, queue)
}

// fail removes a message from its queue, which the caller stores, and records why it was
// not sent.
func (q *Queues) fail(ctx context.Context, tx *txn.Tx, queue *domain.SendQueue, m *domain.QueuedMessage, reason string) error {
	if err := tx.QueuedMessages.Delete(ctx, m.SessionID, m.ID, m.Rev); err != nil {
		return err
	}
	queue.Remove(m)
	now := q.Now()
	pending := m.NewMessage(m.CreatedAt)
	failed := *pending
	failed.TransitionTo(domain.MessageFailed, now, reason)
	failed.Unforwarded = true
	if err := tx.Messages.Put(ctx, &failed); err != nil {
		return err
	}
	return tx.Record(ctx, domain.MessageEvents(pending, &failed, now)...)
}
