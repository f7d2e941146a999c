package messaging

import (
	"context"
	"errors"

	"github.com/switchyard-wa/switchyard/app/internal/apperr"
	"github.com/switchyard-wa/switchyard/app/internal/fleet"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// PerformAction acts on a message or in a chat. The action may name messages by our ids.
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
	a, err = m.translateIDs(ctx, s.SessionID, a)
	if err != nil {
		return apperr.Public(err)
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
		return actionError(err)
	}
	return nil
}

// actionError returns the public error for an action that failed.
func actionError(err error) error {
	var failure *ports.WorkerError
	switch {
	case !errors.As(err, &failure):
		return apperr.Public(err)
	case failure.IsNotExecuted(), failure.Failure == ports.WorkerRouteMissing:
		return callError(failure, domain.CodeWorkerCommunication, err)
	}
	return apperr.WorkerCall(err)
}

// translateIDs returns the action with WhatsApp's ids for ours.
func (m *Messages) translateIDs(ctx context.Context, sessionID string, a domain.Action) (domain.Action, error) {
	ids := []*string{&a.MessageID}
	if a.MessageKey != nil {
		key := *a.MessageKey
		a.MessageKey = &key
		ids = append(ids, &key.ID)
	}
	if a.MessageID == "" && a.MessageKey == nil {
		return a, nil
	}
	err := m.Store.View(ctx, func(ctx context.Context, tx *ports.Tx) error {
		for _, id := range ids {
			translated, err := whatsAppID(ctx, tx, sessionID, *id)
			if err != nil {
				return err
			}
			*id = translated
		}
		return nil
	})
	return a, err
}

// whatsAppID returns WhatsApp's id of a message that is named by either id. The history
// need not have a message that is named by WhatsApp's: it may be older than the session.
func whatsAppID(ctx context.Context, tx *ports.Tx, sessionID, id string) (string, error) {
	message, err := tx.Messages.Get(ctx, sessionID, id)
	switch {
	case err == nil && message.WhatsAppID == "":
		return "", domain.Errorf(domain.Conflict, domain.CodeInvalidState,
			"It is not known by which id WhatsApp knows this message; look at its status")
	case err == nil:
		return message.WhatsAppID, nil
	case !errors.Is(err, ports.ErrNotFound):
		return "", err
	case isUUID(id):
		_, err := tx.Messages.ByWhatsAppID(ctx, sessionID, id)
		return id, apperr.Message(err)
	}
	return id, nil
}

// isUUID reports whether id has the form of our ids, which WhatsApp's do not have.
func isUUID(id string) bool {
	if len(id) != 36 {
		return false
	}
	for i := range len(id) {
		c := id[i]
		isHyphen := i == 8 || i == 13 || i == 18 || i == 23
		isHex := '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
		if isHyphen && c != '-' || !isHyphen && !isHex {
			return false
		}
	}
	return true
}
