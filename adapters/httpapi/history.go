package httpapi

import (
	"cmp"
	"context"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/switchyard-wa/switchyard/adapters/internal/view"
	"github.com/switchyard-wa/switchyard/domain"
)

// HistoryInput selects messages of a history.
type HistoryInput struct {
	Direction string `query:"direction" doc:"OUTBOUND or INBOUND, in any case" example:"OUTBOUND"`
	Type      string `query:"type" doc:"A type of message, in any case: one that can be sent, or poll_vote, reaction, edit or deletion" example:"text"`
	Status    string `query:"status" doc:"A message's status, in any case" example:"DELIVERED"`
	To        string `query:"to" doc:"The recipient: a number in international format, or a JID" example:"6289999999999"`
	Search    string `query:"search" doc:"Words, in any order and any case, at most 255 bytes. Each has to begin a word of the content, the caption or the filename. Chinese, Japanese, Thai, Lao, Khmer and Burmese are searched by pairs of neighbouring characters" example:"invoice may"`
	Since     string `query:"since" doc:"RFC 3339, a date, or milliseconds (or seconds) since 1970" example:"2026-03-01T00:00:00Z"`
	Until     string `query:"until" doc:"Like since" example:"2026-03-02"`
	filter    domain.MessageFilter
}

// resolve reads the parameters into the filter.
func (in *HistoryInput) resolve(p *problems) {
	f := &in.filter
	parse(p, "direction", in.Direction, &f.Direction, oneOf(domain.Outbound, domain.Inbound))
	parse(p, "type", in.Type, &f.Type, domain.ParseHistoryType)
	parse(p, "status", in.Status, &f.Status, domain.ParseMessageStatus)
	parse(p, "to", p.searchText("to", in.To), &f.To, parseRecipientFilter)
	f.Search = p.searchText("search", in.Search)
	p.time("since", in.Since, &f.Since)
	p.time("until", in.Until, &f.Until)
}

type historyInput struct {
	SessionPath
	HistoryInput
	Cursor string `query:"cursor" doc:"nextCursor of the page before"`
	Limit  int    `query:"limit" minimum:"1" maximum:"100" doc:"How many to return; 20 if it is not given" example:"20"`
}

// Resolve reads the parameters.
func (in *historyInput) Resolve(huma.Context) []error {
	var p problems
	in.resolve(&p)
	in.filter.Limit = cmp.Or(in.Limit, defaultLimit)
	parse(&p, "cursor", in.Cursor, &in.filter.After, domain.ParseCursor)
	return p
}

type historyView struct {
	Messages   []view.MessageView `json:"messages"`
	NextCursor view.String        `json:"nextCursor" doc:"Null on the last page" example:"AAYxyz"`
}

func (a *api) history(ctx context.Context, c *requestContext, in *historyInput) (historyView, error) {
	f := &in.filter
	var messages []*domain.Message
	var next domain.Cursor
	err := c.readLongIf(ctx, isLongHistory(f), func(ctx context.Context) (err error) {
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
	return historyView{views, view.String(next.String())}, nil
}

// isLongHistory reports whether the filter may make the store read many messages beside those of the page.
func isLongHistory(f *domain.MessageFilter) bool {
	return f.Search != "" || f.To != "" && (f.Direction != "" || f.Type != "" || f.Status != "")
}

// parseRecipientFilter returns the recipient as the history has it. A JID may be of any kind.
func parseRecipientFilter(s string) (string, error) {
	if strings.Contains(s, "@") {
		return domain.NormalizeAddress(s), nil
	}
	jid, err := domain.ParseRecipient(s)
	return string(jid), err
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
