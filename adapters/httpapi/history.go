package httpapi

import (
	"context"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/switchyard-wa/switchyard/domain"
)

// messageView is a message of the history.
type messageView struct {
	ID           string               `json:"id"`
	MessageID    optional             `json:"messageId"`
	SessionID    string               `json:"sessionId"`
	Direction    domain.Direction     `json:"direction"`
	From         optional             `json:"from"`
	To           optional             `json:"to"`
	Type         domain.MessageType   `json:"type"`
	Content      jsontext.Value       `json:"content"` // a string, or an object for structured types
	MediaURL     optional             `json:"mediaUrl"`
	Filename     optional             `json:"filename"`
	Caption      optional             `json:"caption"`
	Status       domain.MessageStatus `json:"status"`
	ErrorMessage optional             `json:"errorMessage"`
	CreatedAt    stamp                `json:"createdAt"`
	SentAt       stamp                `json:"sentAt"`
	DeliveredAt  stamp                `json:"deliveredAt"`
	ReadAt       stamp                `json:"readAt"`
}

func viewMessage(m *domain.Message) messageView {
	return messageView{
		ID: m.ID, MessageID: optional(m.WhatsAppID), SessionID: m.SessionID, Direction: m.Direction,
		From: optional(m.From), To: optional(m.To), Type: m.Type, Content: viewContent(m),
		MediaURL: optional(m.MediaURL), Filename: optional(m.Filename), Caption: optional(m.Caption),
		Status: m.Status, ErrorMessage: optional(m.Error), CreatedAt: stamp(m.CreatedAt),
		SentAt: stamp(m.SentAt), DeliveredAt: stamp(m.DeliveredAt), ReadAt: stamp(m.ReadAt),
	}
}

// viewContent gives a structured content as the object that it is.
func viewContent(m *domain.Message) jsontext.Value {
	switch m.Type {
	case domain.TypeLocation, domain.TypeContact, domain.TypeLink, domain.TypePoll:
		if v := jsontext.Value(m.Content); v.Kind() == jsontext.KindBeginObject && v.IsValid() {
			return v
		}
	}
	return appendOptional(nil, m.Content)
}

func (a *api) history(ctx context.Context, c *call) (any, error) {
	q := c.query()
	f := domain.MessageFilter{Limit: defaultLimit}
	parse(q, "direction", &f.Direction, oneOf(domain.Outbound, domain.Inbound))
	parse(q, "type", &f.Type, domain.ParseMessageType)
	parse(q, "status", &f.Status, domain.ParseMessageStatus)
	q.text("to", &f.To)
	f.To = recipientPart(f.To)
	q.text("search", &f.Search)
	q.time("since", &f.Since)
	q.time("until", &f.Until)
	parse(q, "cursor", &f.After, domain.ParseCursor)
	q.integer("limit", &f.Limit, 1, maxLimit)
	if err := q.end(); err != nil {
		return nil, err
	}
	messages, next, err := a.Messages.History(ctx, c.caller.UserID, c.sessionRef(), f)
	if err != nil {
		return nil, err
	}
	views := make([]messageView, len(messages))
	for i, m := range messages {
		views[i] = viewMessage(m)
	}
	return struct {
		Messages   []messageView `json:"messages"`
		NextCursor optional      `json:"nextCursor"`
	}{views, optional(next.String())}, nil
}

// recipientPart gives a whole number or JID, however it is written, as the history
// has it. Parts of one are looked for as they are.
func recipientPart(s string) string {
	if strings.Contains(s, "@") {
		if jid, err := domain.ParseRecipient(s); err == nil {
			return string(jid)
		}
	} else if digits, err := domain.ParsePhone(s); err == nil {
		return digits
	}
	return s
}

func (a *api) messageByID(ctx context.Context, c *call) (any, error) {
	m, err := a.Messages.Get(ctx, c.caller.UserID, c.sessionRef(), c.param("messageId"))
	if err != nil {
		return nil, err
	}
	return viewMessage(m), nil
}
