package httpapi

import (
	"context"
	"errors"

	"github.com/switchyard-wa/switchyard/domain"
)

// sentView is the answer to a send.
type sentView domain.Message

func (m *sentView) appendJSON(b []byte) []byte {
	b = append(b, `{"id":`...)
	b = appendString(b, m.ID)
	b = append(b, `,"messageId":`...)
	b = appendOptional(b, m.WhatsAppID)
	b = append(b, `,"sessionId":`...)
	b = appendString(b, m.SessionID)
	b = append(b, `,"to":`...)
	b = appendString(b, m.To)
	b = append(b, `,"type":`...)
	b = appendString(b, string(m.Type))
	b = append(b, `,"status":`...)
	b = appendString(b, string(m.Status))
	b = append(b, `,"timestamp":`...)
	at := m.SentAt
	if at.IsZero() {
		at = m.CreatedAt
	}
	b = appendTime(b, at)
	return append(b, '}')
}

// send makes the handler of a route that sends what decode reads. names says
// what the route calls the fields that domain finds problems with, where that
// differs.
func send(decode func(*body) (*domain.Outgoing, error), names map[string]string) handler {
	return func(a *api, ctx context.Context, c *call) (any, error) {
		b, err := c.read()
		if err != nil {
			return nil, err
		}
		m, err := decode(b)
		if err != nil {
			return nil, renamed(err, names)
		}
		sent, err := a.Messages.Send(ctx, c.sender(), m)
		if err != nil {
			return nil, unsettled(renamed(err, names), sent)
		}
		return (*sentView)(sent), nil
	}
}

// unsettled names the message whose outcome is unknown, so that its sender can
// look it up.
func unsettled(err error, m *domain.Message) error {
	var e *domain.Error
	if m == nil || m.ID == "" || !errors.As(err, &e) || e.Kind != domain.Timeout {
		return err
	}
	c := *e
	c.Fields = append(c.Fields[:len(c.Fields):len(c.Fields)], domain.FieldError{Field: "id", Message: m.ID})
	return &c
}

func sendMedia(kind domain.MessageType, urlName string) handler {
	names := map[string]string{"mediaUrl": urlName}
	return send(func(b *body) (*domain.Outgoing, error) { return decodeMedia(b, kind, names) }, names)
}

// common reads a member that every send has, and reports whether it was one.
func (b *body) common(m *domain.Outgoing) bool {
	switch b.member() {
	case "to":
		b.string(&m.To)
	case "humanSimulation":
		b.bool(&m.HumanSimulation)
	default:
		return false
	}
	return true
}

func decodeText(b *body) (*domain.Outgoing, error) {
	m := &domain.Outgoing{Type: domain.TypeText}
	for b.next() {
		if !b.common(m) && b.member() == "message" {
			b.string(&m.Text)
		}
	}
	return m, b.endWith(m.Validate)
}

func decodeMedia(b *body, kind domain.MessageType, names map[string]string) (*domain.Outgoing, error) {
	m := &domain.Outgoing{Type: kind}
	captioned := kind == domain.TypeImage || kind == domain.TypeDocument || kind == domain.TypeVideo
	for b.next() {
		if b.common(m) {
			continue
		}
		switch b.member() {
		case names["mediaUrl"]:
			b.string(&m.MediaURL)
		case "media":
			b.string(&m.Media)
		case "caption":
			if captioned {
				b.string(&m.Caption)
			}
		case "filename":
			if kind == domain.TypeDocument {
				b.string(&m.Filename)
			}
		}
	}
	return m, b.endWith(func() error { return renamed(m.Validate(), names) })
}

func decodeLocation(b *body) (*domain.Outgoing, error) {
	m := &domain.Outgoing{Type: domain.TypeLocation, Location: &domain.Location{}}
	var seen place
	for b.next() {
		if !b.common(m) {
			b.location(m.Location, &seen)
		}
	}
	b.wholePlace(seen, "")
	return m, b.endWith(m.Validate)
}

// A place notes which coordinates were given, as zero is one too.
type place struct{ latitude, longitude bool }

func (b *body) location(l *domain.Location, seen *place) {
	switch b.member() {
	case "latitude":
		seen.latitude = b.number(&l.Latitude) || seen.latitude
	case "longitude":
		seen.longitude = b.number(&l.Longitude) || seen.longitude
	case "name":
		b.string(&l.Name)
	case "address":
		b.string(&l.Address)
	}
}

func (b *body) wholePlace(seen place, within string) {
	if !seen.latitude {
		b.lack(within+"latitude", "Latitude")
	}
	if !seen.longitude {
		b.lack(within+"longitude", "Longitude")
	}
}

func decodeContact(b *body) (*domain.Outgoing, error) {
	m := &domain.Outgoing{Type: domain.TypeContact, Contact: &domain.Contact{}}
	for b.next() {
		if b.common(m) {
			continue
		}
		switch b.member() {
		case "contactName":
			b.string(&m.Contact.Name)
		case "contactPhone":
			b.string(&m.Contact.Phone)
		case "contactEmail":
			b.string(&m.Contact.Email)
		case "contactOrganization":
			b.string(&m.Contact.Organization)
		}
	}
	return m, b.endWith(m.Validate)
}

func decodeLink(b *body) (*domain.Outgoing, error) {
	m := &domain.Outgoing{Type: domain.TypeLink, Link: &domain.Link{}}
	for b.next() {
		if !b.common(m) {
			b.link(m.Link)
		}
	}
	return m, b.endWith(m.Validate)
}

func (b *body) link(l *domain.Link) {
	switch b.member() {
	case "url":
		b.string(&l.URL)
	case "title":
		b.string(&l.Title)
	case "description":
		b.string(&l.Description)
	case "thumbnail":
		b.string(&l.Thumbnail)
	}
}

func decodePoll(b *body) (*domain.Outgoing, error) {
	m := &domain.Outgoing{Type: domain.TypePoll}
	for b.next() {
		if !b.common(m) && b.member() == "poll" {
			m.Poll = b.poll()
		}
	}
	return m, b.endWith(m.Validate)
}

func (b *body) poll() *domain.Poll {
	if !b.object() {
		return nil
	}
	p := &domain.Poll{}
	for b.next() {
		switch b.member() {
		case "question":
			b.string(&p.Question)
		case "options":
			b.strings(&p.Options)
		case "multipleAnswers":
			b.bool(&p.MultipleAnswers)
		}
	}
	return p
}

// genericNames is what the route for any type of message calls the fields of
// structured contents.
var genericNames = map[string]string{
	"latitude": "location.latitude", "longitude": "location.longitude",
	"name": "location.name", "address": "location.address",
	"contactName": "contact.name", "contactPhone": "contact.phone",
	"contactEmail": "contact.email", "contactOrganization": "contact.organization",
	"url": "link.url", "title": "link.title", "description": "link.description", "thumbnail": "link.thumbnail",
}

// decodeMessage reads a message of any type.
func decodeMessage(b *body) (*domain.Outgoing, error) {
	m := &domain.Outgoing{}
	var kind string
	for b.next() {
		if b.common(m) {
			continue
		}
		switch b.member() {
		case "type":
			b.string(&kind)
		case "message":
			b.string(&m.Text)
		case "mediaUrl":
			b.string(&m.MediaURL)
		case "caption":
			b.string(&m.Caption)
		case "filename":
			b.string(&m.Filename)
		case "location":
			m.Location = b.place()
		case "contact":
			m.Contact = b.contact()
		case "link":
			if b.object() {
				m.Link = &domain.Link{}
				for b.next() {
					b.link(m.Link)
				}
			}
		case "poll":
			m.Poll = b.poll()
		}
	}
	m.Type = domain.MessageType(kind) // what is no type is for Validate to say
	if t, err := domain.ParseMessageType(kind); err == nil {
		m.Type = t
	}
	return m, b.endWith(func() error { return renamed(m.Validate(), genericNames) })
}

func (b *body) place() *domain.Location {
	if !b.object() {
		return nil
	}
	l := &domain.Location{}
	var seen place
	for b.next() {
		b.location(l, &seen)
	}
	if b.err == nil {
		b.wholePlace(seen, "location.")
	}
	return l
}

// contact accepts its fields by short names and by those of /sendContactVcard.
func (b *body) contact() *domain.Contact {
	if !b.object() {
		return nil
	}
	c := &domain.Contact{}
	for b.next() {
		switch b.member() {
		case "name", "contactName":
			b.string(&c.Name)
		case "phone", "contactPhone":
			b.string(&c.Phone)
		case "email", "contactEmail":
			b.string(&c.Email)
		case "organization", "contactOrganization":
			b.string(&c.Organization)
		}
	}
	return c
}

// act makes the handler of a route that does something to a message or in a
// chat. The message is named in the path or, for /sendSeen, in the body.
func act(kind domain.ActionType) handler {
	return func(a *api, ctx context.Context, c *call) (any, error) {
		b, err := c.read()
		if err != nil {
			return nil, err
		}
		action, err := decodeAction(b, kind, c.variable("messageId"))
		if err != nil {
			return nil, err
		}
		if err := a.Messages.PerformAction(ctx, c.sender(), action); err != nil {
			return nil, err
		}
		return actView{
			SessionID: c.key.SessionID, Action: kind, MessageID: action.MessageID, To: chatOf(action),
		}, nil
	}
}

type actView struct {
	SessionID string            `json:"sessionId"`
	Action    domain.ActionType `json:"action"`
	MessageID string            `json:"messageId,omitzero"`
	To        domain.JID        `json:"to,omitzero"`
}

// chatOf is where something is done.
func chatOf(a domain.Action) domain.JID {
	chat := a.Phone
	if chat == "" {
		chat = a.JID
	}
	jid, err := domain.ParseRecipient(chat)
	if err != nil {
		return ""
	}
	return jid
}

func decodeAction(b *body, kind domain.ActionType, messageID string) (domain.Action, error) {
	action := domain.Action{Type: kind, MessageID: messageID}
	chat := "phone"
	switch kind {
	case domain.ActionSeen, domain.ActionTypingStart, domain.ActionTypingStop:
		chat = "to"
	}
	var emoji *string
	for b.next() {
		switch b.member() {
		case chat:
			b.string(&action.Phone)
		case "messageId":
			if kind == domain.ActionSeen {
				b.string(&action.MessageID)
			}
		case "forEveryone":
			b.bool(&action.ForEveryone)
		case "newText":
			b.string(&action.NewText)
		case "emoji":
			b.optional(&emoji)
		case "jid":
			b.string(&action.JID)
		case "messageKey":
			action.MessageKey = b.messageKey()
		}
	}
	if emoji != nil {
		action.Emoji = *emoji
	} else if kind == domain.ActionReaction {
		b.once("emoji", "Emoji is required; an empty one removes the reaction")
	}
	return action, b.endWith(action.Validate)
}

func (b *body) messageKey() *domain.MessageKey {
	if !b.object() {
		return nil
	}
	k := &domain.MessageKey{}
	for b.next() {
		switch b.member() {
		case "remoteJid":
			b.string(&k.RemoteJID)
		case "fromMe":
			b.bool(&k.FromMe)
		case "id":
			b.string(&k.ID)
		}
	}
	return k
}
