package messaging

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/switchyard-wa/switchyard/app/internal/apperr"
	"github.com/switchyard-wa/switchyard/app/internal/txn"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// Pauses between looks at a send that another replica has under way.
const (
	firstLookAfter = 30 * time.Millisecond // doubles with each look
	lastLookAfter  = time.Second
)

// keyName identifies an idempotency key.
type keyName struct{ sessionID, key string }

// keyedSends holds the keys of the sends that are under way on this replica. Its zero
// value is ready. It is safe for concurrent use.
type keyedSends struct {
	mu       sync.Mutex
	underWay map[keyName]chan struct{} // closed when the send ends
}

// begin registers a send if no other with the key is under way. Otherwise it returns a
// channel that is closed when the other one ends.
func (k *keyedSends) begin(name keyName) (other <-chan struct{}) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if done, isUnderWay := k.underWay[name]; isUnderWay {
		return done
	}
	if k.underWay == nil {
		k.underWay = make(map[keyName]chan struct{})
	}
	k.underWay[name] = make(chan struct{})
	return nil
}

func (k *keyedSends) end(name keyName) {
	k.mu.Lock()
	defer k.mu.Unlock()
	close(k.underWay[name])
	delete(k.underWay, name)
}

// SendOnce sends a message unless a send with the key was recorded within
// [domain.IdempotencyKeyLife]. In that case it returns what the message has become by
// now. If the other send is under way it waits for the end.
//
// The first send reads nothing before it is recorded. It learns from the key's row,
// which it inserts with the message, that there was another one.
func (m *Messages) SendOnce(ctx context.Context, s service.Sender, key string, out *domain.Outgoing) (sent *domain.Message, isReplay bool, err error) {
	if err := domain.CheckIdempotencyKey(key); err != nil {
		var p domain.Problems
		p.Merge(err)
		if err := out.Validate(); err != nil {
			p.Merge(err)
		}
		return nil, false, p.Err()
	}
	name, hasWaited := keyName{s.SessionID, key}, false
	for {
		other := m.keyed.begin(name)
		if other == nil {
			break
		}
		select {
		case <-other:
			hasWaited = true
		case <-ctx.Done():
			return nil, false, apperr.Public(ctx.Err())
		}
	}
	// A panic of the send ends it too.
	defer m.keyed.end(name)
	return m.sendKeyed(ctx, s, key, out, hasWaited)
}

// sendKeyed sends a message with a key that no other send of this replica has. It looks
// at the store first if another send with the key has ended just now.
func (m *Messages) sendKeyed(ctx context.Context, s service.Sender, key string, out *domain.Outgoing, hasWaited bool) (*domain.Message, bool, error) {
	out, err := m.prepare(ctx, out)
	if err != nil {
		return nil, false, err
	}
	fingerprint, err := out.Fingerprint()
	if err != nil {
		return nil, false, apperr.Public(err)
	}
	bound := &domain.IdempotencyKey{SessionID: s.SessionID, Key: key, Fingerprint: fingerprint}
	if hasWaited {
		sent, isReplay, err := m.replay(ctx, s, bound, out)
		if isReplay || err != nil {
			return sent, isReplay, err
		}
	}
	sent, err := m.send(ctx, s, out, bound)
	if sent != nil || err == nil {
		return sent, false, err
	}
	// Nothing was recorded, perhaps because the key is bound already. A repeat is answered
	// even if a send would be refused by now.
	own := bound.MessageID
	replayed, isReplay, replayErr := m.replay(ctx, s, bound, out)
	switch {
	case isReplay && (replayed == nil || replayed.ID != own): // not our own, whose commit is uncertain
		return replayed, true, replayErr
	case errors.Is(err, errKeyBound): // it was unbound meanwhile, or cannot be read
		return nil, false, cmp.Or(replayErr, apperr.Public(ports.ErrConflict))
	}
	return nil, false, err
}

// errKeyBound reports that a key stands for another send.
var errKeyBound = errors.New("idempotency key is bound")

// bindKey records a key for a message. An expired key is renewed.
func (m *Messages) bindKey(ctx context.Context, tx *ports.Tx, key *domain.IdempotencyKey, message *domain.Message) error {
	key.Rev, key.MessageID, key.CreatedAt = 0, message.ID, message.CreatedAt
	err := tx.IdempotencyKeys.Put(ctx, key)
	if !errors.Is(err, ports.ErrExists) {
		return err
	}
	bound, err := tx.IdempotencyKeys.Get(ctx, key.SessionID, key.Key)
	if errors.Is(err, ports.ErrNotFound) {
		return errKeyBound // it was, until just now
	}
	if err != nil {
		return err
	}
	if !bound.IsExpired(message.CreatedAt) {
		return errKeyBound
	}
	key.Rev = bound.Rev
	err = tx.IdempotencyKeys.Put(ctx, key)
	if errors.Is(err, ports.ErrConflict) {
		return errKeyBound // another send has renewed it
	}
	return err
}

// replay returns the message and the error of the send to which the key is bound.
// isReplay is false if the key is free, or if the store cannot be read. A message with a
// Schedule was accepted, and is returned without an error whatever has become of it.
func (m *Messages) replay(ctx context.Context, s service.Sender, key *domain.IdempotencyKey, out *domain.Outgoing) (sent *domain.Message, isReplay bool, err error) {
	for pause := firstLookAfter; ; pause = min(2*pause, lastLookAfter) {
		bound, message, err := m.boundSend(ctx, s, key)
		switch {
		case errors.Is(err, ports.ErrNotFound):
			return nil, false, nil
		case err != nil:
			return nil, false, apperr.Public(err)
		case bound.Fingerprint != key.Fingerprint:
			return nil, true, domain.Errorf(domain.Conflict, domain.CodeIdempotencyConflict,
				"This Idempotency-Key was used for another message; use a new key for each message")
		case message == nil:
			return nil, true, domain.Errorf(domain.Conflict, domain.CodeIdempotencyConflict,
				"The message of this Idempotency-Key was cancelled, or is no longer in the history; use a new key to send it again")
		case out.Schedule != nil:
			return message, true, nil
		}
		if err := outcomeOf(bound, message); !errors.Is(err, errUndecided) {
			return message, true, err
		}
		if !m.mayBeUnderWay(bound) || m.Sleep(ctx, pause) != nil {
			if ctx.Err() != nil {
				return nil, true, apperr.Public(ctx.Err())
			}
			return message, true, outcomeUnknown(&ports.WorkerError{Failure: ports.WorkerTimedOut}, nil)
		}
	}
}

// boundSend reads a key and its message. A key that does not exist, or no longer counts,
// is [ports.ErrNotFound]. The message is nil if it was cancelled, or retention has removed it.
func (m *Messages) boundSend(ctx context.Context, s service.Sender, key *domain.IdempotencyKey) (bound *domain.IdempotencyKey, message *domain.Message, err error) {
	err = m.Store.View(ctx, func(ctx context.Context, tx *ports.Tx) error {
		bound, message = nil, nil
		_, err := txn.OwnedSession(ctx, tx, s.UserID, s.SessionID)
		if err != nil {
			return err
		}
		bound, err = tx.IdempotencyKeys.Get(ctx, key.SessionID, key.Key)
		if err != nil {
			return err
		}
		if bound.IsExpired(m.Now()) {
			return ports.ErrNotFound
		}
		message, err = tx.Messages.Get(ctx, key.SessionID, bound.MessageID)
		if errors.Is(err, ports.ErrNotFound) {
			message, err = waitingMessage(ctx, tx, key.SessionID, bound.MessageID)
		}
		if errors.Is(err, ports.ErrNotFound) {
			message, err = nil, nil
		}
		return err
	})
	return bound, message, err
}

// mayBeUnderWay reports whether another replica may still carry out the send. This
// replica does not: the caller holds the key.
func (m *Messages) mayBeUnderWay(bound *domain.IdempotencyKey) bool {
	return m.members.HasOthers() && m.Now().Before(bound.CreatedAt.Add(sendLimit).Add(m.members.MaxClockLag()))
}

// errUndecided reports that nothing tells how a send has ended.
var errUndecided = errors.New("the send may be under way")

// outcomeOf returns the error that a repeat of a send is answered with, or
// errUndecided. Nil: the message was sent, or a worker has accepted it.
func outcomeOf(bound *domain.IdempotencyKey, message *domain.Message) error {
	failure := bound.Failure.Err()
	wasUnknown := bound.Failure.Kind == domain.Timeout
	switch {
	case message.Status == domain.MessageFailed && failure != nil && !wasUnknown:
		return failure
	case message.Status == domain.MessageFailed:
		return domain.Errorf(domain.BadGateway, domain.CodeMessageSendFailed,
			"The message failed: %s; use a new Idempotency-Key to send it again", cmp.Or(message.Error, noReason))
	case message.Status != domain.MessagePending, message.WhatsAppID != "":
		return nil
	case failure != nil:
		return failure
	}
	return errUndecided
}

// recordFailure records the error that the first send with a key returns, if there are
// both. Repeats return it too.
func recordFailure(ctx context.Context, tx *ports.Tx, key *domain.IdempotencyKey, failure error) error {
	if key == nil || failure == nil {
		return nil
	}
	stored, err := tx.IdempotencyKeys.Get(ctx, key.SessionID, key.Key)
	if errors.Is(err, ports.ErrNotFound) {
		return nil // the session was deleted meanwhile
	}
	if err != nil {
		return err
	}
	stored.Failure = domain.StoreError(failure)
	return tx.IdempotencyKeys.Put(ctx, stored)
}

// trimKeys deletes the keys that no longer stand for their sends.
func (m *Messages) trimKeys(ctx context.Context, now time.Time) error {
	before := now.Add(-m.members.MaxClockLag()).Add(-domain.IdempotencyKeyLife)
	for deleted := rowsPerPass; deleted == rowsPerPass; {
		err := m.Update(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
			deleted, err = tx.IdempotencyKeys.DeleteBefore(ctx, before, rowsPerPass)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}
