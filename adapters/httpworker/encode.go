package httpworker

import (
	"encoding/base64"
	"encoding/json"
	"mime"
	"net/http"
	"net/url"
	"path"
	"strings"
	"unicode/utf8"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// appendSend appends the body of a send. dedupe says whether the worker knows
// clientMessageId.
func appendSend(b []byte, s *ports.Send, dedupe bool) ([]byte, error) {
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
		b, err = appendValue(b, "contact", m.Contact)
	case domain.TypeLink:
		b, err = appendValue(b, "link", m.Link)
	case domain.TypePoll:
		b, err = appendValue(b, "poll", m.Poll)
	default:
		b = appendMedia(b, m)
	}
	if m.HumanSimulation {
		b = append(b, `,"humanSimulation":true`...)
	} else {
		b = append(b, `,"humanSimulation":false`...) // left out, it would be true
	}
	if dedupe && s.ClientMessageID != "" {
		b = appendField(b, "clientMessageId", s.ClientMessageID)
	}
	return append(b, '}'), err
}

// appendMedia appends where the file is. Content that the caller uploaded goes
// as a data URL, the one form of mediaUrl that needs no second fetch.
func appendMedia(b []byte, m *domain.Outgoing) []byte {
	switch {
	case m.Media == "":
		b = appendField(b, "mediaUrl", m.MediaURL)
	case strings.HasPrefix(m.Media, "data:"):
		b = appendField(b, "mediaUrl", m.Media)
	default:
		b = append(b, `,"mediaUrl":"data:`...)
		b = append(b, mediaType(m)...)
		b = append(b, `;base64,`...)
		b = append(appendEscaped(b, m.Media), '"')
	}
	if m.Caption != "" {
		b = appendField(b, "caption", m.Caption)
	}
	name := m.Filename
	if name == "" && m.Type == domain.TypeDocument {
		name = filename(m.MediaURL)
	}
	if name != "" {
		b = appendField(b, "filename", name)
	}
	return b
}

// filename derives what older workers demand for a document: the last segment
// of the URL's path.
func filename(mediaURL string) string {
	const otherwise = "document"
	u, err := url.Parse(mediaURL)
	if err != nil {
		return otherwise
	}
	name := path.Base(u.Path)
	if name == "." || name == "/" || !utf8.ValidString(name) {
		return otherwise
	}
	return name
}

// mediaType tells the type of uploaded content by its first bytes, and where
// those say too little by the name of the file.
func mediaType(m *domain.Outgoing) string {
	head := m.Media[:min(len(m.Media), 684)] // 512 bytes
	head = head[:len(head)/4*4]
	var buf [513]byte
	n, _ := base64.StdEncoding.Decode(buf[:], []byte(head))
	sniffed, _, _ := strings.Cut(http.DetectContentType(buf[:n]), ";")
	switch {
	case m.Type == domain.TypeAudio && sniffed == "application/ogg":
		return "audio/ogg"
	case m.Type == domain.TypeAudio && strings.HasPrefix(sniffed, "video/"):
		return "audio/" + strings.TrimPrefix(sniffed, "video/") // containers of both
	case sniffed == "application/octet-stream", sniffed == "application/zip", sniffed == "text/plain":
		named, _, _ := strings.Cut(mime.TypeByExtension(path.Ext(m.Filename)), ";")
		if named != "" && !strings.ContainsAny(named, "\"\\") {
			return named
		}
	}
	return sniffed
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

// appendEscaped appends s as it stands inside a JSON string.
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

// startBody is the body of a start. The fields that older workers do not know
// are left out for them.
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
	if can(caps, domain.CapGeneration) {
		b.Generation, b.Recover = s.Generation, s.Recover
	}
	if s.PairingPhone != "" && len(caps) > 0 {
		b.Pairing = &pairing{PhoneNumber: s.PairingPhone}
	}
	return b
}

// orderBody names the generation that a restart or stop is meant for.
type orderBody struct {
	Generation int64 `json:"generation"`
}

func can(caps []domain.Capability, c domain.Capability) bool {
	for _, have := range caps {
		if have == c {
			return true
		}
	}
	return false
}

// manageBody is the body of an action on a message.
type manageBody struct {
	Action      domain.ActionType  `json:"action"`
	MessageID   string             `json:"messageId"`
	Phone       string             `json:"phone,omitempty"`
	ForEveryone bool               `json:"forEveryone,omitempty"`
	NewText     string             `json:"newText,omitempty"`
	Emoji       *string            `json:"emoji,omitempty"`
	JID         string             `json:"jid,omitempty"`
	MessageKey  *domain.MessageKey `json:"messageKey,omitempty"`
}

// presenceBody is the body of a send that sends no message.
type presenceBody struct {
	To        string            `json:"to"`
	Type      domain.ActionType `json:"type"`
	MessageID string            `json:"messageId,omitempty"`
}

// actBody gives the body of an action, and whether it goes by the send route.
func actBody(a domain.Action) (body any, bySend bool) {
	to, err := domain.ParseRecipient(a.Phone)
	switch a.Type {
	case domain.ActionSeen, domain.ActionTypingStart, domain.ActionTypingStop:
		if err != nil {
			to = domain.JID(a.Phone) // for the worker to judge
		}
		return presenceBody{To: string(to), Type: a.Type, MessageID: a.MessageID}, true
	}
	m := manageBody{
		Action: a.Type, MessageID: a.MessageID, Phone: a.Phone, ForEveryone: a.ForEveryone,
		NewText: a.NewText, JID: a.JID, MessageKey: a.MessageKey,
	}
	if err == nil {
		if m.Phone = to.Phone(); m.Phone == "" {
			m.Phone = string(to)
		}
	}
	if jid, err := domain.ParseRecipient(a.JID); err == nil {
		m.JID = string(jid)
	}
	if a.Type == domain.ActionReaction {
		m.Emoji = &a.Emoji // empty takes the reaction away
	}
	return m, false
}
