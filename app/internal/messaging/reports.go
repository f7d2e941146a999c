package messaging

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/switchyard-wa/switchyard/app/internal/apperr"
	"github.com/switchyard-wa/switchyard/app/internal/txn"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// Retries of a report on a message that another replica may be sending.
const (
	firstRetryAfter = 30 * time.Millisecond // doubles with each retry
	lastRetryAfter  = time.Second
)

// ReportMessage applies a worker's report on a message. A report that overtakes the
// answer to its send is held, or retried if the send may be another replica's.
func (m *Messages) ReportMessage(ctx context.Context, r domain.MessageReport) (applied bool, err error) {
	r.SessionID, r.WorkerID = domain.NormalizeSessionRef(r.SessionID), domain.NormalizeWorkerRef(r.WorkerID)
	isHeld := m.early.hold(r)
	applied, err = m.applyReport(ctx, r)
	switch {
	case !errors.Is(err, ports.ErrNotFound):
		m.early.drop(r)
	case isHeld:
		return true, nil
	default:
		applied, err = m.retryReports(ctx, r)
	}
	return applied, apperr.Public(apperr.Message(err))
}

// finishSend ends a send and applies the reports that overtook its answer. The rest are
// about no send of this replica, and perhaps about another's.
func (m *Messages) finishSend(ctx context.Context, p *pendingSends, whatsAppID string) {
	own, rest := m.early.endSend(p, whatsAppID)
	for _, r := range own {
		if _, err := m.applyReport(ctx, r); err != nil && !errors.Is(err, ports.ErrNotFound) {
			m.LogFailure(ctx, "early report not applied", err, "session", r.SessionID)
		}
	}
	if len(rest) > 0 && m.members.HasOthers() {
		m.Spawn(func() { _, _ = m.retryReports(context.WithoutCancel(ctx), rest...) })
	}
}

// retryReports applies reports on messages that other replicas may be sending, within
// about two seconds. It returns the result of the last.
func (m *Messages) retryReports(ctx context.Context, reports ...domain.MessageReport) (applied bool, err error) {
	err = ports.ErrNotFound
	for pause := firstRetryAfter; len(reports) > 0 && pause <= lastRetryAfter && m.members.HasOthers(); pause *= 2 {
		if m.Sleep(ctx, pause) != nil {
			break
		}
		reports = slices.DeleteFunc(reports, func(r domain.MessageReport) bool {
			applied, err = m.applyReport(ctx, r)
			return !errors.Is(err, ports.ErrNotFound)
		})
	}
	return applied, err
}

func (m *Messages) applyReport(ctx context.Context, r domain.MessageReport) (applied bool, err error) {
	err = m.Transact(ctx, func(ctx context.Context, tx *txn.Tx) error {
		applied = false
		s, err := tx.Sessions.Get(ctx, r.SessionID)
		if err != nil {
			return err
		}
		// A former worker may say the truth, but nothing proves it. Little is lost: WhatsApp
		// sends receipts to whoever holds the account's connection.
		isAllowed, err := txn.CanReport(ctx, tx.Tx, s, r.WorkerID)
		if err != nil || !isAllowed {
			return err
		}
		message, err := reportedMessage(ctx, tx.Tx, r)
		if err != nil {
			return err
		}
		before := *message
		applied = applyStatus(message, r, m.Now())
		if !applied {
			return nil
		}
		return m.saveMessage(ctx, tx, &before, message)
	})
	return applied, err
}

// reportedMessage finds the message of a report. A message whose send was never answered
// is known by our id alone, and learns WhatsApp's id from the report.
func reportedMessage(ctx context.Context, tx *ports.Tx, r domain.MessageReport) (*domain.Message, error) {
	if r.WhatsAppID != "" {
		message, err := tx.Messages.ByWhatsAppID(ctx, r.SessionID, r.WhatsAppID)
		if !errors.Is(err, ports.ErrNotFound) {
			return message, err
		}
	}
	id := r.ID
	if id == "" {
		id = r.WhatsAppID // some workers put our id there
	}
	message, err := tx.Messages.Get(ctx, r.SessionID, id)
	if err == nil && r.ID != "" && message.WhatsAppID == "" {
		message.WhatsAppID = r.WhatsAppID
	}
	return message, err
}

// applyStatus applies a report to its message and reports whether that changed it.
func applyStatus(message *domain.Message, r domain.MessageReport, now time.Time) bool {
	at := now
	if !r.At.IsZero() {
		at = r.At
	}
	switch {
	case r.Status == domain.MessageDelivered && !r.DeliveredAt.IsZero():
		at = r.DeliveredAt
	case r.Status == domain.MessageRead && !r.ReadAt.IsZero():
		at = r.ReadAt
	}
	hasChanged := false
	if r.Status == domain.MessageRead && !r.DeliveredAt.IsZero() {
		hasChanged = message.TransitionTo(domain.MessageDelivered, r.DeliveredAt, "")
	}
	return message.TransitionTo(r.Status, at, r.Error) || hasChanged
}

// ReceiveMessage stores an inbound message once.
func (m *Messages) ReceiveMessage(ctx context.Context, in service.InboundMessage) (stored bool, err error) {
	in.SessionID, in.WorkerID = domain.NormalizeSessionRef(in.SessionID), domain.NormalizeWorkerRef(in.WorkerID)
	now := m.Now()
	message := &domain.Message{
		ID: m.IDs.NewID(), WhatsAppID: in.WhatsAppID, SessionID: in.SessionID, Direction: domain.Inbound,
		From: domain.NormalizeAddress(in.From), To: domain.NormalizeAddress(in.To), Type: in.Type, Content: in.Content, MediaURL: in.MediaURL, Media: in.Media,
		Caption: in.Caption, Filename: in.Filename, Relations: in.Relations.Normalize(), Status: domain.MessageDelivered, CreatedAt: now, SentAt: in.At, DeliveredAt: now,
	}
	if message.SentAt.IsZero() {
		message.SentAt = now
	}
	err = m.Transact(ctx, func(ctx context.Context, tx *txn.Tx) error {
		stored, message.Rev = false, 0
		s, err := tx.Sessions.Get(ctx, in.SessionID)
		if err != nil {
			return apperr.Session(err)
		}
		if !s.IsCurrent(in.WorkerID, in.Generation) {
			return nil
		}
		isAllowed, err := txn.CanReport(ctx, tx.Tx, s, in.WorkerID)
		if err != nil || !isAllowed {
			return err
		}
		if in.WorkerID == "" && in.Generation == 0 {
			isWiped, err := txn.IsWipedElsewhere(ctx, tx.Tx, s)
			if err != nil || isWiped {
				return err // a legacy worker may be receiving for the former owner
			}
		}
		message.UserID = s.UserID
		if !domain.IsShowableURL(in.MediaURL, m.endpointOf(s.WorkerID)) {
			message.MediaURL = "" // the message is shown to users as it is stored
		}
		if message.To == "" {
			message.To = jid(s.PhoneNumber)
		}
		err = m.saveMessage(ctx, tx, nil, message)
		if errors.Is(err, ports.ErrExists) {
			return nil
		}
		stored = err == nil
		return err
	})
	return stored, apperr.Public(err)
}
