package messaging

import (
	"context"
	"errors"

	"github.com/switchyard-wa/switchyard/app/internal/apikeys"
	"github.com/switchyard-wa/switchyard/app/internal/apperr"
	"github.com/switchyard-wa/switchyard/app/internal/fleet"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// Send records the message as PENDING, forwards it once, and records the outcome. If the
// outcome is unknown the message stays PENDING, and the error says so.
func (m *Messages) Send(ctx context.Context, s service.Sender, out *domain.Outgoing) (*domain.Message, error) {
	if err := m.sync.EnsureLoaded(ctx); err != nil {
		return nil, err
	}
	if err := out.Validate(); err != nil {
		return nil, err
	}
	to, err := domain.ParseRecipient(out.To)
	if err != nil {
		return nil, err
	}
	route, worker, err := m.target(ctx, s)
	if err != nil {
		return nil, err
	}
	quota, err := m.keys.Quota(ctx, s.UserID)
	if err != nil {
		return nil, apperr.Public(err)
	}
	now := m.Now()
	if err := quota.TakeMessage(ctx, now); err != nil {
		return nil, apperr.Public(err)
	}
	message := &domain.Message{
		ID: m.IDs.NewID(), SessionID: s.SessionID, UserID: s.UserID, Direction: domain.Outbound,
		From: jid(route.Phone), To: string(to), Type: out.Type, Content: out.Body(), MediaURL: out.MediaURL,
		Filename: out.Filename, Caption: out.Caption, Status: domain.MessagePending, CreatedAt: now,
	}
	if err := m.put(ctx, message); err != nil {
		quota.RefundMessage(ctx)
		return nil, apperr.Public(apperr.Session(err))
	}
	// The message is recorded: the caller's cancellation no longer counts.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), sendLimit)
	defer cancel()
	pending := m.early.beginSend(s.SessionID)
	send := ports.Send{SessionID: s.SessionID, ClientMessageID: message.ID, To: to, Message: out}
	sent, err := m.Workers.Send(ctx, fleet.Ref(worker), send)
	if err != nil {
		if moved := m.retargetAfterMove(ctx, s, worker, err); moved != nil {
			worker = moved
			sent, err = m.Workers.Send(ctx, fleet.Ref(worker), send)
		}
	}
	if err != nil {
		m.finishSend(ctx, pending, "")
		return message, m.recordSendFailure(ctx, quota, worker, message, err)
	}
	message.WhatsAppID = sent.WhatsAppID
	message.TransitionTo(domain.MessageSent, m.Now(), "")
	err = m.put(ctx, message)
	m.finishSend(ctx, pending, sent.WhatsAppID)
	if errors.Is(err, ports.ErrConflict) || errors.Is(err, ports.ErrNotFound) {
		return message, nil // the session was deleted meanwhile, with its history
	}
	// If the outcome could not be recorded, the message was sent, and yet the caller can
	// rely on nothing.
	return message, apperr.Public(err)
}

// recordSendFailure records that a message was not sent, or may not have been, and
// returns the error for the caller.
func (m *Messages) recordSendFailure(ctx context.Context, quota *apikeys.Quota, w *domain.Worker, message *domain.Message, err error) error {
	m.detector.RecordCall(ctx, w, err)
	var failure *ports.WorkerError
	if !errors.As(err, &failure) || isOutcomeUnknown(failure) {
		return domain.Errorf(domain.Timeout, domain.CodeWorkerTimeout,
			"The worker did not answer, so it is not known whether the message was sent; look at its status before sending it again").WithCause(err)
	}
	message.TransitionTo(domain.MessageFailed, m.Now(), failure.Message)
	if err := m.put(ctx, message); err != nil && !errors.Is(err, ports.ErrConflict) {
		m.LogFailure(ctx, "failed message not recorded", err, "message", message.ID)
	}
	if failure.IsNotExecuted() {
		quota.RefundMessage(ctx)
	}
	return sendError(failure, err)
}

// isOutcomeUnknown reports whether the worker may have sent the message. An unreadable
// answer with a 2xx status counts: the worker accepted the message.
func isOutcomeUnknown(f *ports.WorkerError) bool {
	isAccepted := f.Failure == ports.WorkerFailed && f.Status/100 == 2
	return isAccepted || f.Failure == ports.WorkerTimedOut || f.Failure == ports.WorkerConnectionLost
}

// sendError returns the public error for a message that was not sent.
func sendError(f *ports.WorkerError, cause error) error {
	switch f.Failure {
	case ports.WorkerConnectionRefused, ports.WorkerNameUnknown, ports.WorkerUnreachable, ports.WorkerCircuitOpen:
		return apperr.WorkerCall(cause)
	case ports.WorkerSessionNotFound:
		return domain.Errorf(domain.Conflict, domain.CodeSessionNotConnected,
			"The worker does not have the session at the moment; it is being brought back, try again in a minute").WithCause(cause)
	case ports.WorkerBusy:
		return domain.Errorf(domain.BadGateway, domain.CodeMessageSendFailed,
			"The worker limits how fast this session sends; try again in a minute").WithCause(cause)
	}
	return domain.Errorf(domain.BadGateway, domain.CodeMessageSendFailed,
		"The worker could not send the message: %s", f.Message).WithCause(cause)
}

// PerformAction acts on a message or in a chat.
func (m *Messages) PerformAction(ctx context.Context, s service.Sender, a domain.Action) error {
	if err := m.sync.EnsureLoaded(ctx); err != nil {
		return err
	}
	if err := a.Validate(); err != nil {
		return err
	}
	_, worker, err := m.target(ctx, s)
	if err != nil {
		return err
	}
	err = m.Workers.PerformAction(ctx, fleet.Ref(worker), s.SessionID, a)
	if err != nil {
		if moved := m.retargetAfterMove(ctx, s, worker, err); moved != nil {
			worker = moved
			err = m.Workers.PerformAction(ctx, fleet.Ref(worker), s.SessionID, a)
		}
	}
	if err != nil {
		m.detector.RecordCall(ctx, worker, err)
		return apperr.WorkerCall(err)
	}
	return nil
}
