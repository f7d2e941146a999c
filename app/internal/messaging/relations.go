package messaging

import (
	"context"

	"github.com/switchyard-wa/switchyard/app/internal/apperr"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// resolveRelations returns the message with WhatsApp's id of the message to which it
// replies. The error says that the worker cannot send it, or that there is no such
// message. Most messages refer to nothing, and cost nothing here.
func (m *Messages) resolveRelations(ctx context.Context, s service.Sender, w *domain.Worker, out *domain.Outgoing) (*domain.Outgoing, error) {
	if err := checkAbilities(w, out); err != nil {
		return nil, err
	}
	if out.QuotedMessageID == "" {
		return out, nil
	}
	resolved := *out // the caller's message stays as it is
	err := m.Store.View(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		resolved.QuotedMessageID, err = whatsAppID(ctx, tx, s.SessionID, out.QuotedMessageID)
		return err
	})
	if err != nil {
		return nil, apperr.Public(err)
	}
	return &resolved, nil
}

// checkAbilities returns an error if the worker cannot send the message. Workers without
// the capability refuse members that they do not know.
func checkAbilities(w *domain.Worker, out *domain.Outgoing) error {
	if !out.HasRelations() || w.Supports(domain.CapReplies) {
		return nil
	}
	return domain.Errorf(domain.Conflict, domain.CodeInvalidState,
		"The session's worker cannot send replies and mentions; leave out quotedMessageId and mentions, or ask the operator to update the worker")
}
