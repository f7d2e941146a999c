package httpapi

import (
	"cmp"
	"context"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/switchyard-wa/switchyard/adapters/internal/view"
	"github.com/switchyard-wa/switchyard/domain"
)

type historyInput struct {
	SessionPath
	Direction string `query:"direction" doc:"OUTBOUND or INBOUND, in any case" example:"OUTBOUND"`
	Type      string `query:"type" doc:"A type of message, in any case" example:"text"`
	Status    string `query:"status" doc:"A message's status, in any case" example:"DELIVERED"`
	To        string `query:"to" doc:"The recipient: a number, a JID, or part of one" example:"6289999999999"`
	Search    string `query:"search" doc:"Part of the content, at most 255 bytes" example:"invoice"`
	Since     string `query:"since" doc:"RFC 3339, a date, or milliseconds (or seconds) since 1970" example:"2026-03-01T00:00:00Z"`
	Until     string `query:"until" doc:"Like since" example:"2026-03-02"`
	Cursor    string `query:"cursor" doc:"nextCursor of the page before"`
	Limit     int    `query:"limit" minimum:"1" maximum:"100" doc:"How many to return; 20 if it is not given" example:"20"`
	filter    domain.MessageFilter
}

// Resolve reads the parameters.
func (in *historyInput) Resolve(huma.Context) []error {
	var p problems
	f := &in.filter
	f.Limit = cmp.Or(in.Limit, defaultLimit)
	parse(&p, "direction", in.Direction, &f.Direction, oneOf(domain.Outbound, domain.Inbound))
	parse(&p, "type", in.Type, &f.Type, domain.ParseMessageType)
	parse(&p, "status", in.Status, &f.Status, domain.ParseMessageStatus)
	f.To = recipientPart(p.searchText("to", in.To))
	f.Search = p.searchText("search", in.Search)
	p.time("since", in.Since, &f.Since)
	p.time("until", in.Until, &f.Until)
	parse(&p, "cursor", in.Cursor, &f.After, domain.ParseCursor)
	return p
}

type historyView struct {
	Messages   []view.MessageView `json:"messages"`
	NextCursor nullableString     `json:"nextCursor" doc:"Null on the last page" example:"AAYxyz"`
}

func (a *api) history(ctx context.Context, c *requestContext, in *historyInput) (historyView, error) {
	f := &in.filter
	var messages []*domain.Message
	var next domain.Cursor
	many := f.Search != "" || f.To != "" || f.Type != "" || f.Status != "" || f.Direction != ""
	err := c.readLongIf(ctx, many, func(ctx context.Context) (err error) {
		messages, next, err = a.Messages.History(ctx, c.principal.UserID, c.sessionRef(), in.filter)
		return err
	})
	if err != nil {
		return historyView{}, err
	}
	views := make([]view.MessageView, len(messages))
	for i, m := range messages {
		views[i] = view.Message(m)
	}
	return historyView{views, nullableString(next.String())}, nil
}

// recipientPart returns a whole number or JID, however it is written, as the
// history has it. Parts of one are looked for as they are.
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

type messageInput struct {
	SessionPath
	MessageID string `path:"messageId" doc:"Our id of the message, or WhatsApp's" example:"3EB0C767D26B"`
}

func (a *api) messageByID(ctx context.Context, c *requestContext, in *messageInput) (view.MessageView, error) {
	m, err := a.Messages.Get(ctx, c.principal.UserID, c.sessionRef(), clean(in.MessageID, maxID))
	if err != nil {
		return view.MessageView{}, err
	}
	return view.Message(m), nil
}
