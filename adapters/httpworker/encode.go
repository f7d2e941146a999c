package httpworker

import (
	"encoding/json"
	"slices"
	"unicode/utf8"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// appendSend appends the body of a send. It adds clientMessageId for a worker with dedupe,
// and relations for one with replies: only such workers know these fields. fileAt is where the content of the message's
// upload goes, in base64; 0 without an upload.
func appendSend(b []byte, s *ports.Send, caps []domain.Capability) (_ []byte, fileAt int, _ error) {
	m := s.Message
	b = append(b, `{"to":`...)
	b = appendString(b, string(s.To))
	b = appendField(b, "type", string(m.Type))
	var err error
	switch m.Type {
	case domain.TypeText:
		b = appendField(b, "message", m.Text)
	case domain.TypeLocation:
		b, err = appendValue(b, "location", m.Location)
	case domain.TypeContact:
		b, err = appendValue(b, "contact", contactBody(m.Contact))
	case domain.TypeLink:
		b, err = appendValue(b, "link", linkBody(m.Link))
	case domain.TypePoll:
		b, err = appendValue(b, "poll", m.Poll)
	default:
		b, fileAt = appendMedia(b, m)
	}
	if m.HumanSimulation {
		b = append(b, `,"humanSimulation":true`...)
	} else {
		b = append(b, `,"humanSimulation":false`...) // workers take a missing field for true
	}
	if s.ClientMessageID != "" && slices.Contains(caps, domain.CapDedupe) {
		b = appendField(b, "clientMessageId", s.ClientMessageID)
	}
	if m.HasRelations() && slices.Contains(caps, domain.CapReplies) {
		b = appendRelations(b, m)
	}
	return append(b, '}'), fileAt, err
}

// appendRelations appends the message that is replied to, and the mentions.
func appendRelations(b []byte, m *domain.Outgoing) []byte {
	if m.QuotedMessageID != "" {
		b = appendField(b, "quotedMessageId", m.QuotedMessageID)
	}
	jids := m.MentionedJIDs()
	for i, jid := range jids {
		if i == 0 {
			b = append(b, `,"mentions":[`...)
		} else {
			b = append(b, ',')
		}
		b = appendString(b, jid)
	}
	if len(jids) > 0 {
		b = append(b, ']')
	}
	return b
}

func appendField(b []byte, name, value string) []byte {
	b = append(b, ',', '"')
	b = append(b, name...)
	b = append(b, '"', ':')
	return appendString(b, value)
}

func appendValue(b []byte, name string, v any) ([]byte, error) {
	doc, err := json.Marshal(v)
	b = append(b, ',', '"')
	b = append(b, name...)
	b = append(b, '"', ':')
	return append(b, doc...), err
}

func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	b = appendEscaped(b, s)
	return append(b, '"')
}

// appendEscaped appends s, escaped for the inside of a JSON string.
func appendEscaped(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	from := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && size == 1 {
				b = append(append(b, s[from:i]...), `\ufffd`...)
				from = i + 1
			}
			i += size
			continue
		}
		b = append(b, s[from:i]...)
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, '\\', 'n')
		default:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
		i++
		from = i
	}
	return append(b, s[from:]...)
}

// startBody is the JSON body of a start. Legacy workers get it without the
// optional fields.
type startBody struct {
	SessionID   string   `json:"sessionId"`
	UserID      string   `json:"userId"`
	SessionName string   `json:"sessionName"`
	Generation  int64    `json:"generation,omitempty"`
	Recover     bool     `json:"recover,omitempty"`
	Pairing     *pairing `json:"pairing,omitempty"`
}

type pairing struct {
	PhoneNumber string `json:"phoneNumber"`
}

func newStartBody(s ports.Start, caps []domain.Capability) startBody {
	b := startBody{SessionID: s.SessionID, UserID: s.UserID, SessionName: s.SessionName}
	if slices.Contains(caps, domain.CapGeneration) {
		b.Generation, b.Recover = s.Generation, s.Recover
	}
	if s.PairingPhone != "" && len(caps) > 0 {
		b.Pairing = &pairing{PhoneNumber: s.PairingPhone}
	}
	return b
}

// generationBody is the JSON body of a restart or stop of one generation.
type generationBody struct {
	Generation int64 `json:"generation"`
}

// manageBody is the JSON body of an action on a message.
type manageBody struct {
	Action      domain.ActionType  `json:"action"`
	MessageID   string             `json:"messageId"`
	Phone       string             `json:"phone"`
	ForEveryone bool               `json:"forEveryone,omitempty"`
	NewText     string             `json:"newText,omitempty"`
	Emoji       *string            `json:"emoji,omitempty"`
	JID         string             `json:"jid,omitempty"`
	MessageKey  *domain.MessageKey `json:"messageKey,omitempty"`
}

// presenceBody is the JSON body of an action that uses the send route.
type presenceBody struct {
	To        string            `json:"to"`
	Type      domain.ActionType `json:"type"`
	MessageID string            `json:"messageId,omitempty"`
}

// actionBody returns the body of an action, and whether it uses the send route.
// The addresses of the action are JIDs: legacy workers read bare digits that begin
// with 8 as Indonesian numbers.
func actionBody(a domain.Action) (body any, bySend bool) {
	switch a.Type {
	case domain.ActionSeen, domain.ActionTypingStart, domain.ActionTypingStop:
		return presenceBody{To: a.Phone, Type: a.Type, MessageID: a.MessageID}, true
	}
	m := manageBody{
		Action: a.Type, MessageID: a.MessageID, Phone: a.Phone, ForEveryone: a.ForEveryone,
		NewText: a.NewText, JID: a.JID, MessageKey: a.MessageKey,
	}
	if a.Type == domain.ActionReaction {
		m.Emoji = &a.Emoji // empty removes the reaction
	}
	return m, false
}

// contactBody returns the contact with the digits of its number.
func contactBody(c *domain.Contact) *domain.Contact {
	if c == nil {
		return nil
	}
	out := *c
	if phone, err := domain.ParsePhone(c.Phone); err == nil {
		out.Phone = phone
	}
	return &out
}
