package sendqueue

import (
	"cmp"
	"context"
	"errors"

	"github.com/switchyard-wa/switchyard/app/internal/apperr"
	"github.com/switchyard-wa/switchyard/app/internal/txn"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// List returns a page of the messages of a session that wait.
func (q *Queues) List(ctx context.Context, userID, sessionID string, after domain.Cursor, limit int) (page []*domain.QueuedMessage, next domain.Cursor, err error) {
	err = q.Store.View(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		if _, err := txn.OwnedSession(ctx, tx, userID, sessionID); err != nil {
			return err
		}
		page, err = tx.QueuedMessages.List(ctx, sessionID, after, limit+1) // one more tells whether there is a next page
		return err
	})
	if err != nil {
		return nil, next, apperr.Public(err)
	}
	if limit > 0 && len(page) > limit {
		page = page[:limit]
		last := page[limit-1]
		next = domain.Cursor{At: last.SendAt, ID: last.ID}
	}
	return page, next, nil
}

// Get returns a message that waits. The error says what has become of a message that does
// not wait.
func (q *Queues) Get(ctx context.Context, userID, sessionID, messageID string) (found *domain.QueuedMessage, err error) {
	err = q.Store.View(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		if _, err := txn.OwnedSession(ctx, tx, userID, sessionID); err != nil {
			return err
		}
		found, err = tx.QueuedMessages.Get(ctx, sessionID, messageID)
		if errors.Is(err, ports.ErrNotFound) {
			return notWaitingError(ctx, tx, sessionID, messageID)
		}
		return err
	})
	if err != nil {
		return nil, apperr.Public(err)
	}
	return withoutMedia(found), nil
}

// withoutMedia removes the media of a message, which lists leave out, and returns it.
func withoutMedia(m *domain.QueuedMessage) *domain.QueuedMessage {
	m.Message.Media, m.Upload = "", nil
	return m
}

// updateTries bounds how often Update begins anew because others have changed the message.
const updateTries = 3

// Update changes a message that waits. The content is checked outside the transaction.
func (q *Queues) Update(ctx context.Context, userID, sessionID, messageID string, c service.ScheduledChange) (changed *domain.QueuedMessage, err error) {
	for range updateTries {
		var edited *domain.QueuedMessage
		if c.Edit != nil {
			edited, err = q.edit(ctx, userID, sessionID, messageID, c.Edit)
			if err != nil {
				return nil, err
			}
		}
		changed, err = q.update(ctx, userID, sessionID, messageID, c.Schedule, edited)
		if !errors.Is(err, errEdited) {
			break
		}
	}
	if errors.Is(err, errEdited) {
		err = apperr.Public(ports.ErrConflict)
	}
	if err != nil {
		return nil, err
	}
	return withoutMedia(changed), nil
}

// errEdited reports that a message has changed since its content was checked.
var errEdited = errors.New("the message was edited meanwhile")

// edit returns a message with a changed content that is valid. It returns nil if the message
// does not wait: update finds that too, and knows the error.
func (q *Queues) edit(ctx context.Context, userID, sessionID, messageID string, edit func(m *domain.Outgoing) error) (m *domain.QueuedMessage, err error) {
	err = q.Store.View(ctx, func(ctx context.Context, tx *ports.Tx) error {
		if _, err := txn.OwnedSession(ctx, tx, userID, sessionID); err != nil {
			return err
		}
		m, err = tx.QueuedMessages.Get(ctx, sessionID, messageID)
		if errors.Is(err, ports.ErrNotFound) {
			m, err = nil, nil
		}
		return err
	})
	if err != nil || m == nil {
		return nil, apperr.Public(err)
	}
	out := m.Outgoing()
	if err := edit(out); err != nil {
		return nil, err
	}
	out, err = q.parts.Forwarder.Check(ctx, out)
	if err == nil {
		err = m.SetMessage(out)
	}
	return m, apperr.Public(err)
}

// update changes when a message is sent, and its content unless edited is nil.
func (q *Queues) update(ctx context.Context, userID, sessionID, messageID string, s *domain.Schedule, edited *domain.QueuedMessage) (changed *domain.QueuedMessage, err error) {
	err = q.changeWaiting(ctx, userID, sessionID, messageID, func(ctx context.Context, tx *ports.Tx, queue *domain.SendQueue, m *domain.QueuedMessage) error {
		if edited != nil {
			if edited.Rev != m.Rev {
				return errEdited
			}
			userBytes, err := tx.SendQueues.Bytes(ctx, userID)
			if err != nil {
				return err
			}
			queue.Remove(m)
			if err := queue.Add(edited, userBytes-m.Size); err != nil {
				return err
			}
			m = edited.Clone()
		}
		changed = m
		if err := q.reschedule(m, s); err != nil {
			return err
		}
		queue.WakeAt(m.SendAt)
		return tx.QueuedMessages.Put(ctx, m)
	})
	return changed, err
}

// reschedule changes when a message is sent.
func (q *Queues) reschedule(m *domain.QueuedMessage, s *domain.Schedule) error {
	if s == nil {
		return nil
	}
	merged := *s
	if merged.SendAt.IsZero() {
		merged.SendAt = m.SendAt
	}
	if merged.Deadline.IsZero() && merged.Patience == 0 {
		merged.Patience = m.Deadline.Sub(m.SendAt)
	}
	sendAt, deadline, err := merged.Resolve(q.Now())
	m.SendAt, m.Deadline = sendAt, deadline
	return err
}

// Cancel removes a message that waits.
func (q *Queues) Cancel(ctx context.Context, userID, sessionID, messageID string) error {
	return q.changeWaiting(ctx, userID, sessionID, messageID, func(ctx context.Context, tx *ports.Tx, queue *domain.SendQueue, m *domain.QueuedMessage) error {
		queue.Remove(m)
		return tx.QueuedMessages.Delete(ctx, sessionID, messageID, m.Rev)
	})
}

// changeWaiting lets fn change a message that waits, and stores its queue. The error says
// what has become of a message that does not wait.
func (q *Queues) changeWaiting(ctx context.Context, userID, sessionID, messageID string,
	fn func(ctx context.Context, tx *ports.Tx, queue *domain.SendQueue, m *domain.QueuedMessage) error,
) error {
	err := q.Writer.Update(ctx, func(ctx context.Context, tx *ports.Tx) error {
		if _, err := txn.OwnedSession(ctx, tx, userID, sessionID); err != nil {
			return err
		}
		m, err := tx.QueuedMessages.Get(ctx, sessionID, messageID)
		if errors.Is(err, ports.ErrNotFound) {
			return notWaitingError(ctx, tx, sessionID, messageID)
		}
		if err != nil {
			return err
		}
		queue, err := tx.SendQueues.Get(ctx, sessionID)
		if err != nil {
			return err
		}
		if err := fn(ctx, tx, queue, m); err != nil {
			return err
		}
		return tx.SendQueues.Put(ctx, queue)
	})
	switch {
	case errors.Is(err, errEdited):
		return err
	case err == nil:
		q.Wake(sessionID)
	}
	return apperr.Public(err)
}

// notWaitingError returns the error for a message that does not wait. The error says what has
// become of the message, or that it does not exist.
func notWaitingError(ctx context.Context, tx *ports.Tx, sessionID, messageID string) error {
	m, err := tx.Messages.Get(ctx, sessionID, messageID)
	if err != nil {
		return apperr.Message(err)
	}
	state := "it was sent"
	switch {
	case m.Direction != domain.Outbound:
		return apperr.Message(ports.ErrNotFound)
	case m.Status == domain.MessageFailed:
		state = "it has failed: " + cmp.Or(m.Error, "no reason is known")
	case m.Status == domain.MessagePending:
		state = "it was handed to the session's worker, and the outcome is not known yet"
	}
	return domain.Errorf(domain.Conflict, domain.CodeInvalidState, "The message no longer waits: %s", state)
}
