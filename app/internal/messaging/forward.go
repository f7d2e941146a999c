package messaging

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/switchyard-wa/switchyard/app/internal/apikeys"
	"github.com/switchyard-wa/switchyard/app/internal/apperr"
	"github.com/switchyard-wa/switchyard/app/internal/sendqueue"
	"github.com/switchyard-wa/switchyard/app/internal/txn"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

const (
	// forwardAttempts bounds how often a queued message is handed to workers that state no
	// passing reason for not sending it.
	forwardAttempts = 5

	connectionPoll = 30 * time.Second // the queue is also woken when the session is connected
	workerPoll     = 5 * time.Second
	limitPoll      = 30 * time.Second // the hour may end later; a higher tier or limit ends the wait
	firstBackOff   = 2 * time.Second  // doubles with each attempt
)

// enqueue records a valid message in the queue of its session. It binds the key to the
// message if there is one.
func (m *Messages) enqueue(ctx context.Context, s service.Sender, out *domain.Outgoing, key *domain.IdempotencyKey) (*domain.Message, error) {
	queued, err := domain.NewQueuedMessage(m.IDs.NewID(), s.SessionID, s.UserID, out, m.Now())
	if err != nil {
		return nil, apperr.Public(err)
	}
	message := queued.NewMessage(queued.CreatedAt)
	err = m.Update(ctx, func(ctx context.Context, tx *ports.Tx) error {
		if _, err := txn.OwnedSession(ctx, tx, s.UserID, s.SessionID); err != nil {
			return err
		}
		if key != nil {
			if err := m.bindKey(ctx, tx, key, message); err != nil {
				return err
			}
		}
		return m.queues.Enqueue(ctx, tx, queued)
	})
	if err != nil {
		return nil, apperr.Public(apperr.Session(err))
	}
	m.queues.Wake(s.SessionID)
	return message, nil
}

// waitingMessage returns a message of the send queue in the form of the history.
func waitingMessage(ctx context.Context, tx *ports.Tx, sessionID, id string) (*domain.Message, error) {
	queued, err := tx.QueuedMessages.Get(ctx, sessionID, id)
	if err != nil {
		return nil, err
	}
	return queued.NewMessage(queued.CreatedAt), nil
}

// Check validates a message.
func (m *Messages) Check(ctx context.Context, out *domain.Outgoing) (*domain.Outgoing, error) {
	return m.prepare(ctx, out)
}

var _ sendqueue.Forwarder = (*Messages)(nil)

// Forward sends a message of the send queue, as [sendqueue.Forwarder] says.
func (m *Messages) Forward(ctx context.Context, queued *domain.QueuedMessage, dequeue, requeue func(ctx context.Context, tx *ports.Tx) error) error {
	s := service.Sender{UserID: queued.UserID, SessionID: queued.SessionID}
	plan, err := m.planSend(ctx, s, queued.Outgoing())
	if err != nil {
		return asHeld(err)
	}
	message := queued.NewMessage(plan.countedAt)
	message.From = plan.from
	err = m.Update(ctx, func(ctx context.Context, tx *ports.Tx) error {
		if err := dequeue(ctx, tx); err != nil {
			return err
		}
		message.Rev = 0
		return tx.Messages.Put(ctx, message)
	})
	if err != nil {
		plan.quota.RefundMessage(ctx)
		return err
	}
	// The message is recorded: it is sent at most once from here on.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), sendLimit)
	defer cancel()
	pending := m.early.beginSend(s.SessionID)
	send := ports.Send{SessionID: s.SessionID, ClientMessageID: message.ID, To: plan.to, Message: plan.message}
	worker, sent, err := m.callWorker(ctx, s, plan.worker, send)
	if err != nil {
		m.finishSend(ctx, pending, "")
		return m.recordForwardFailure(ctx, plan.quota, worker, queued, message, requeue, err)
	}
	err = m.recordOutcome(ctx, message, nil, sent, nil)
	m.finishSend(ctx, pending, sent.WhatsAppID)
	if errors.Is(err, ports.ErrNotFound) {
		return nil // the session was deleted meanwhile, with its history
	}
	m.LogFailure(ctx, "queued message outcome not recorded", err, "message", message.ID)
	return nil
}

// asHeld returns a *[sendqueue.HeldError] for the error of a send that may succeed later, and
// ErrGone if the session is gone. It returns any other error unchanged.
func asHeld(err error) error {
	switch domain.CodeOf(err) {
	case domain.CodeSessionNotFound:
		return sendqueue.ErrGone
	case domain.CodeSessionNotConnected:
		return &sendqueue.HeldError{Reason: "the session was not connected", Wait: connectionPoll}
	case domain.CodeWorkerUnreachable, domain.CodeNoAvailableWorkers, domain.CodeWorkerTimeout:
		return &sendqueue.HeldError{Reason: "the session's worker could not be reached", Wait: workerPoll}
	case domain.CodeMessageLimit:
		return &sendqueue.HeldError{Reason: "the messages of the hour were used up", Wait: min(cmp.Or(domain.RetryAfterOf(err), limitPoll), limitPoll)}
	case domain.CodeRateLimit:
		return &sendqueue.HeldError{Reason: "the worker limits how fast the session sends", Wait: cmp.Or(domain.RetryAfterOf(err), busyWait), Pauses: true}
	}
	return err
}

// recordForwardFailure records that a queued message was not sent, or may not have been. A
// message that certainly was not sent waits again, unless waiting does not help.
func (m *Messages) recordForwardFailure(ctx context.Context, quota *apikeys.Quota, w *domain.Worker, queued *domain.QueuedMessage,
	message *domain.Message, requeue func(ctx context.Context, tx *ports.Tx) error, err error,
) error {
	m.detector.RecordCall(ctx, w, err)
	var failure *ports.WorkerError
	if !errors.As(err, &failure) || !failure.IsNotExecuted() {
		m.Log.WarnContext(ctx, "queued message outcome unknown", "session", message.SessionID, "message", message.ID, "error", err)
		return nil
	}
	defer quota.RefundMessage(ctx)
	held := holdAfter(callError(failure, domain.CodeMessageSendFailed, err), queued.Attempts)
	if held == nil {
		m.recordFailed(ctx, message, nil, cmp.Or(failure.Text, failure.Message), nil)
		return nil
	}
	err = m.Update(ctx, func(ctx context.Context, tx *ports.Tx) error {
		if err := tx.Messages.Delete(ctx, message.SessionID, message.ID, message.Rev); err != nil {
			return err
		}
		return requeue(ctx, tx)
	})
	if errors.Is(err, ports.ErrConflict) || errors.Is(err, ports.ErrNotFound) {
		return nil // a report came first, or the session was deleted
	}
	if err != nil {
		return err
	}
	return held
}

// holdAfter returns how long a message waits that a worker certainly did not send. It returns
// nil if the message has failed.
func holdAfter(public error, attempts int) *sendqueue.HeldError {
	var held *sendqueue.HeldError
	if errors.As(asHeld(public), &held) {
		return held
	}
	var e *domain.Error
	if !errors.As(public, &e) || e.Kind == domain.Invalid || e.Kind == domain.NotFound || attempts+1 >= forwardAttempts {
		return nil
	}
	return &sendqueue.HeldError{Reason: e.Message, Wait: firstBackOff << attempts, Pauses: true}
}
