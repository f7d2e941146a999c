package messaging

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/switchyard-wa/switchyard/app/internal/apikeys"
	"github.com/switchyard-wa/switchyard/app/internal/apperr"
	"github.com/switchyard-wa/switchyard/app/internal/fleet"
	"github.com/switchyard-wa/switchyard/app/internal/txn"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// Send records the message as PENDING, forwards it once, and records the outcome. If the
// outcome is unknown the message stays PENDING, and the error says so.
func (m *Messages) Send(ctx context.Context, s service.Sender, out *domain.Outgoing) (*domain.Message, error) {
	out, err := m.prepare(ctx, out)
	if err != nil {
		return nil, err
	}
	return m.send(ctx, s, out, nil)
}

// prepare validates a message once this replica knows the fleet.
func (m *Messages) prepare(ctx context.Context, out *domain.Outgoing) (*domain.Outgoing, error) {
	if err := m.sync.EnsureLoaded(ctx); err != nil {
		return nil, err
	}
	return m.validate(ctx, out)
}

// send sends a valid message. It binds the key to the message if there is one. The
// message is nil if it was not recorded.
func (m *Messages) send(ctx context.Context, s service.Sender, out *domain.Outgoing, key *domain.IdempotencyKey) (*domain.Message, error) {
	if out.Schedule != nil {
		return m.enqueue(ctx, s, out, key)
	}
	plan, err := m.planSend(ctx, s, out)
	if err != nil {
		return nil, err
	}
	out = plan.message
	message := &domain.Message{
		ID: m.IDs.NewID(), SessionID: s.SessionID, UserID: s.UserID, Direction: domain.Outbound,
		From: plan.from, To: string(plan.to), Type: out.Type, Content: out.Body(), MediaURL: out.MediaURL,
		Filename: out.Filename, Caption: out.Caption, Status: domain.MessagePending, CreatedAt: plan.countedAt,
		Relations: domain.Relations{QuotedID: out.QuotedMessageID, Mentions: out.MentionedJIDs()},
	}
	if err := m.put(ctx, message, key); err != nil {
		plan.quota.RefundMessage(ctx)
		return nil, apperr.Public(apperr.Session(err))
	}
	// The message is recorded: the caller's cancellation no longer counts.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), sendLimit)
	defer cancel()
	pending := m.early.beginSend(s.SessionID)
	send := ports.Send{SessionID: s.SessionID, ClientMessageID: message.ID, To: plan.to, Message: out}
	worker, sent, err := m.callWorker(ctx, s, plan.worker, send)
	if err != nil {
		m.finishSend(ctx, pending, "")
		return message, m.recordSendFailure(ctx, plan.quota, worker, message, key, err)
	}
	failure := sentFailure(sent)
	err = m.recordOutcome(ctx, message, key, sent, failure)
	m.finishSend(ctx, pending, sent.WhatsAppID)
	if err != nil {
		// The message was sent, and yet the caller can rely on nothing.
		return message, apperr.Public(err)
	}
	return message, failure
}

// sendPlan holds the facts that a send needs before its message is recorded.
type sendPlan struct {
	from      string // the JID of the session, or "" if it is not known
	to        domain.JID
	worker    *domain.Worker
	message   *domain.Outgoing // with WhatsApp's id of the message to which it replies
	quota     *apikeys.Quota   // refund it if nothing is sent
	countedAt time.Time        // the time at which quota has counted the message
}

// planSend returns the plan of a valid message, and counts the message against the user's limit.
// It does not change out.
func (m *Messages) planSend(ctx context.Context, s service.Sender, out *domain.Outgoing) (sendPlan, error) {
	var p sendPlan
	var err error
	p.to, err = domain.ParseRecipient(out.To)
	if err != nil {
		return p, err
	}
	var route ports.Route
	route, p.worker, err = m.target(ctx, s)
	if err != nil {
		return p, err
	}
	p.from = jid(route.Phone)
	p.message, err = m.resolveRelations(ctx, s, p.worker, out)
	if err != nil {
		return p, err
	}
	p.quota, err = m.keys.Quota(ctx, s.UserID)
	if err != nil {
		return p, apperr.Public(err)
	}
	p.countedAt = m.Now()
	return p, apperr.Public(p.quota.TakeMessage(ctx, p.countedAt))
}

// callWorker forwards a message. It returns the worker that was called last.
func (m *Messages) callWorker(ctx context.Context, s service.Sender, worker *domain.Worker, send ports.Send) (*domain.Worker, ports.Sent, error) {
	sent, err := m.Workers.Send(ctx, fleet.Ref(worker), send)
	if err != nil {
		if moved := m.retargetAfterMove(ctx, s, worker, err); moved != nil && checkAbilities(moved, send.Message) == nil {
			worker = moved
			sent, err = m.Workers.Send(ctx, fleet.Ref(worker), send)
		}
	}
	return worker, sent, err
}

// sentFailure returns the public error for an answer that the message failed, or nil.
func sentFailure(sent ports.Sent) error {
	if sent.Status != domain.MessageFailed {
		return nil
	}
	return domain.Errorf(domain.BadGateway, domain.CodeMessageSendFailed,
		"The worker could not send the message: %s", cmp.Or(sent.Error, noReason))
}

// noReason stands for the reason of a worker that states none.
const noReason = "it did not say why"

// recordOutcome records the answer to a send, and its failure for repeats with the key. A
// report that names our id may have changed the row since it was recorded; the row is read
// again then. If the session was deleted meanwhile, with its history, the events alone are
// recorded.
func (m *Messages) recordOutcome(ctx context.Context, message *domain.Message, key *domain.IdempotencyKey, sent ports.Sent, failure error) error {
	recorded, isFirst := *message, true
	before := &recorded
	return m.Transact(ctx, func(ctx context.Context, tx *txn.Tx) error {
		if !isFirst {
			current, err := tx.Messages.Get(ctx, message.SessionID, message.ID)
			if errors.Is(err, ports.ErrNotFound) {
				return tx.Record(ctx, domain.MessageEvents(before, message, m.Now())...)
			}
			if err != nil {
				return err
			}
			before = current
		}
		isFirst = false
		*message = *before
		message.WhatsAppID = cmp.Or(message.WhatsAppID, sent.WhatsAppID)
		message.TransitionTo(cmp.Or(sent.Status, domain.MessageSent), m.Now(), cmp.Or(sent.Error, noReason))
		if err := recordFailure(ctx, tx.Tx, key, failure); err != nil {
			return err
		}
		return m.saveMessage(ctx, tx, before, message)
	})
}

// recordSendFailure records that a message was not sent, or may not have been, and
// returns the error for the caller.
func (m *Messages) recordSendFailure(ctx context.Context, quota *apikeys.Quota, w *domain.Worker, message *domain.Message,
	key *domain.IdempotencyKey, err error,
) error {
	m.detector.RecordCall(ctx, w, err)
	var failure *ports.WorkerError
	if !errors.As(err, &failure) {
		failure = &ports.WorkerError{Failure: ports.WorkerTimedOut, Err: err}
	}
	if !failure.IsNotExecuted() {
		unknown := outcomeUnknown(failure, err)
		m.recordUnknown(ctx, key, unknown)
		return unknown
	}
	public := callError(failure, domain.CodeMessageSendFailed, err)
	m.recordFailed(ctx, message, key, cmp.Or(failure.Text, failure.Message), public)
	quota.RefundMessage(ctx)
	return public
}

// recordUnknown records that the send with a key has ended and that its outcome is not
// known. Without a key there is nothing to record: the message stays PENDING.
func (m *Messages) recordUnknown(ctx context.Context, key *domain.IdempotencyKey, unknown error) {
	if key == nil {
		return
	}
	err := m.Update(ctx, func(ctx context.Context, tx *ports.Tx) error { return recordFailure(ctx, tx, key, unknown) })
	m.LogFailure(ctx, "end of send not recorded", err, "session", key.SessionID)
}

// recordFailed records that a message was not sent, and the error for repeats with the
// key. A report that came first wins. If the session was deleted meanwhile, the event alone
// is recorded.
func (m *Messages) recordFailed(ctx context.Context, message *domain.Message, key *domain.IdempotencyKey, reason string, public error) {
	before := *message
	message.TransitionTo(domain.MessageFailed, m.Now(), reason)
	failed, isFirst := *message, true
	err := m.Transact(ctx, func(ctx context.Context, tx *txn.Tx) error {
		if !isFirst {
			_, err := tx.Messages.Get(ctx, message.SessionID, message.ID)
			if errors.Is(err, ports.ErrNotFound) {
				return tx.Record(ctx, domain.MessageEvents(&before, &failed, m.Now())...)
			}
			return err
		}
		isFirst = false
		*message = failed
		if err := recordFailure(ctx, tx.Tx, key, public); err != nil {
			return err
		}
		return m.saveMessage(ctx, tx, &before, message)
	})
	m.LogFailure(ctx, "failed message not recorded", err, "message", message.ID)
}
