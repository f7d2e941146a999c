package domain

import (
	"encoding/json"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The limits of contents, in characters.
const (
	maxText     = 4096
	maxCaption  = 1024
	maxFilename = 255
	maxURL      = 2048
	maxField    = 1024
	maxPoll     = 12
)

// FieldURL is a URL in a field of a message.
type FieldURL struct{ Field, URL string }

// URLs returns the URLs that a worker fetches for the message, with the field names of the HTTP API. It
// leaves out malformed URLs, which [Outgoing.Validate] refuses.
func (m *Outgoing) URLs() []FieldURL {
	var urls []FieldURL
	add := func(field, url string) {
		if urlProblem(url) == "" {
			urls = append(urls, FieldURL{field, url})
		}
	}
	switch m.Type {
	case TypeImage, TypeDocument, TypeAudio, TypeVideo, TypeSticker:
		if m.MediaURL != "" {
			add("mediaUrl", m.MediaURL)
		}
	case TypeLink:
		if m.Link == nil {
			return nil
		}
		add("url", m.Link.URL)
		if m.Link.HasThumbnailURL() {
			add("thumbnail", m.Link.Thumbnail)
		}
	}
	return urls
}

// ParseMessageType returns the type that can be sent with the given name, in any case.
func ParseMessageType(s string) (MessageType, error) {
	switch t := MessageType(strings.ToLower(strings.TrimSpace(s))); t {
	case TypeText, TypeImage, TypeDocument, TypeAudio, TypeVideo, TypeSticker,
		TypeLocation, TypeContact, TypeLink, TypePoll:
		return t, nil
	}
	return "", errMessageType()
}

// ParseHistoryType returns the type with the given name, in any case. A history also has types that can
// only be received.
func ParseHistoryType(s string) (MessageType, error) {
	switch t := MessageType(strings.ToLower(strings.TrimSpace(s))); t {
	case TypePollVote, TypeReaction, TypeEdit, TypeDeletion:
		return t, nil
	}
	if t, err := ParseMessageType(s); err == nil {
		return t, nil
	}
	return "", Errorf(Invalid, CodeInvalidMessageType, "Message type must be one of text, image, document, audio, video, sticker, "+
		"location, contact, link, poll, poll_vote, reaction, edit, deletion")
}

// errMessageType returns the error for a type that cannot be sent.
func errMessageType() error {
	return Errorf(Invalid, CodeInvalidMessageType,
		"Message type must be one of text, image, document, audio, video, sticker, location, contact, link, poll")
}

// Validate checks the message and returns every problem at once. Problems carry the field names of the
// HTTP API.
func (m *Outgoing) Validate() error {
	var p Problems
	if _, err := ParseRecipient(m.To); err != nil {
		p.Check("to", err)
	}
	if t, err := ParseMessageType(string(m.Type)); err != nil || t != m.Type {
		p.Check("type", errMessageType())
		if len(p.fields) == 1 {
			return &Error{Kind: Invalid, Code: CodeInvalidMessageType, Message: p.fields[0].Message, Fields: p.fields}
		}
		return p.Err()
	}
	m.validateRelations(&p)
	if err := m.CheckQueueable(); err != nil {
		p.Merge(err)
	}
	switch m.Type {
	case TypeText:
		p.text("message", m.Text, 1, maxText)
	case TypeLocation:
		m.Location.validate(&p)
	case TypeContact:
		m.Contact.validate(&p)
	case TypeLink:
		m.Link.validate(&p)
	case TypePoll:
		m.Poll.validate(&p)
	default:
		m.validateMedia(&p)
	}
	return p.Err()
}

// validateRelations checks what the message refers to.
func (m *Outgoing) validateRelations(p *Problems) {
	if m.QuotedMessageID != "" {
		p.text("quotedMessageId", m.QuotedMessageID, 1, 255)
	}
	if len(m.Mentions) == 0 {
		return
	}
	if to, err := ParseRecipient(m.To); err == nil && !to.IsGroup() {
		p.Add("mentions", "Mentions are for messages to groups; leave them out, or send to a JID that ends in @g.us")
	}
	if len(m.Mentions) > MaxMentions {
		p.Add("mentions", "A message can have at most %d mentions", MaxMentions)
		return
	}
	for i, mention := range m.Mentions {
		field := fmt.Sprintf("mentions[%d]", i)
		switch jid, err := ParseRecipient(mention); {
		case err != nil:
			p.Check(field, err)
		case jid.IsGroup():
			p.Add(field, "A mention must be of a person, not of a group")
		}
	}
}

// MentionedJIDs returns the addresses of the mentions, each once. It leaves out what [Outgoing.Validate]
// refuses.
func (m *Outgoing) MentionedJIDs() []string {
	var jids []string
	for _, mention := range m.Mentions {
		if jid, err := ParseRecipient(mention); err == nil && !slices.Contains(jids, string(jid)) {
			jids = append(jids, string(jid))
		}
	}
	return jids
}

// HasRelations reports whether the message is a reply or mentions somebody.
func (m *Outgoing) HasRelations() bool { return m.QuotedMessageID != "" || len(m.Mentions) > 0 }

// validateMedia checks the fields of a message with media.
func (m *Outgoing) validateMedia(p *Problems) {
	switch {
	case m.MediaURL == "" && m.Media == "" && m.Upload == nil:
		p.Add("mediaUrl", "A URL or base64 media is required")
	case m.MediaURL != "" && m.HasContent():
		p.Add("mediaUrl", "Give a URL or the media itself, not both")
	case m.MediaURL != "":
		p.url("mediaUrl", m.MediaURL)
	case m.Upload != nil && m.Media != "":
		p.Add("media", "Give the media as a file or as base64, not both")
	case m.Upload != nil && m.Upload.Size == 0:
		p.Add("media", "Media must not be empty: the file has no content")
	case m.Upload != nil:
	default:
		if problem := base64Problem(m.Media); problem != "" {
			p.Add("media", "Media must be base64: %s", problem)
		}
	}
	p.text("caption", m.Caption, 0, maxCaption)
	p.filename("filename", m.Filename)
}

func (l *Location) validate(p *Problems) {
	if l == nil {
		p.Add("location", "Location with latitude and longitude is required")
		return
	}
	if math.IsNaN(l.Latitude) || l.Latitude < -90 || l.Latitude > 90 {
		p.Add("latitude", "Latitude must be between -90 and 90")
	}
	if math.IsNaN(l.Longitude) || l.Longitude < -180 || l.Longitude > 180 {
		p.Add("longitude", "Longitude must be between -180 and 180")
	}
	p.line("name", l.Name, 0, maxField)
	p.line("address", l.Address, 0, maxField)
}

func (c *Contact) validate(p *Problems) {
	if c == nil {
		p.Add("contact", "Contact with name and phone is required")
		return
	}
	p.line("contactName", c.Name, 1, 100)
	_, err := ParsePhone(c.Phone)
	p.Check("contactPhone", err)
	if c.Email != "" {
		_, err := NormalizeEmail(c.Email)
		p.Check("contactEmail", err)
	}
	p.line("contactOrganization", c.Organization, 0, 255)
}

func (l *Link) validate(p *Problems) {
	if l == nil {
		p.Add("link", "Link with url is required")
		return
	}
	p.url("url", l.URL)
	p.line("title", l.Title, 0, 255)
	p.text("description", l.Description, 0, maxField)
	switch {
	case l.Thumbnail == "":
	case l.HasThumbnailURL():
		p.url("thumbnail", l.Thumbnail)
	default:
		if problem := base64Problem(l.Thumbnail); problem != "" {
			p.Add("thumbnail", "Thumbnail must be an http:// or https:// URL, or base64: %s", problem)
		}
	}
}

// HasThumbnailURL reports whether the thumbnail is a URL from which the worker fetches it. Otherwise the
// thumbnail is base64, if there is one.
func (l *Link) HasThumbnailURL() bool {
	scheme, _, found := strings.Cut(l.Thumbnail, ":")
	return found && !strings.EqualFold(strings.TrimSpace(scheme), "data")
}

func (o *Poll) validate(p *Problems) {
	if o == nil {
		p.Add("poll", "Poll with question and options is required")
		return
	}
	p.line("poll.question", o.Question, 1, 255)
	seen := make(map[string]bool, len(o.Options))
	for _, option := range o.Options {
		text := strings.TrimSpace(option)
		if text == "" || utf8.RuneCountInString(text) > 100 {
			p.Add("poll.options", "Each option must have 1 to 100 characters")
			return
		}
		if !utf8.ValidString(option) || strings.ContainsFunc(option, isControl) {
			p.Add("poll.options", "Options must not contain control characters")
			return
		}
		seen[text] = true
	}
	if len(o.Options) < 2 || len(o.Options) > maxPoll || len(seen) != len(o.Options) {
		p.Add("poll.options", "A poll needs 2 to %d different options", maxPoll)
	}
}

// Body returns the part of the content that the history keeps: the text, or a JSON document for
// structured types. The history does not keep uploaded media, thumbnails included.
func (m *Outgoing) Body() string {
	var v any
	switch m.Type {
	case TypeLocation:
		v = m.Location
	case TypeContact:
		v = m.Contact
	case TypeLink:
		v = m.Link
		if m.Link != nil && !m.Link.HasThumbnailURL() {
			link := *m.Link
			link.Thumbnail = ""
			v = &link
		}
	case TypePoll:
		v = m.Poll
	default:
		return m.Text
	}
	b, err := json.Marshal(v)
	if err != nil { // only for a float that Validate refuses
		return ""
	}
	return string(b)
}

// Validate checks the action and returns every problem at once. Problems carry the field names of the
// HTTP API.
func (a *Action) Validate() error {
	var p Problems
	chat := "phone"
	switch a.Type {
	case ActionSeen, ActionTypingStart, ActionTypingStop:
		chat = "to"
	}
	if !(a.Type == ActionRead && a.JID != "" && a.Phone == "") {
		_, err := a.parseChat(a.Phone)
		p.Check(chat, err)
	}
	if a.JID != "" {
		_, err := a.parseChat(a.JID)
		p.Check("jid", err)
	}
	if a.MessageKey != nil {
		a.MessageKey.validate(&p)
	}
	if a.Type != ActionTypingStart && a.Type != ActionTypingStop {
		p.text("messageId", a.MessageID, 1, 255)
	}
	switch a.Type {
	case ActionEdit:
		p.text("newText", a.NewText, 1, maxText)
	case ActionReaction:
		if a.Emoji != "" && !isOneEmoji(a.Emoji) {
			p.Add("emoji", "Emoji must be one emoji, or empty to remove the reaction")
		}
	case ActionRead, ActionDelete, ActionUnsend, ActionStar, ActionUnstar, ActionSeen, ActionTypingStart, ActionTypingStop:
	default:
		p.Add("action", "Action must be one of delete, unsend, star, unstar, edit, reaction, read, seen, typing_start, typing_stop")
	}
	return p.Err()
}

// parseChat returns the address of the action's chat. A message can be marked as read wherever one
// arrives. Everything else happens in chats to which the session can send.
func (a *Action) parseChat(raw string) (JID, error) {
	if a.Type == ActionRead || a.Type == ActionSeen {
		return ParseChat(raw)
	}
	return ParseRecipient(raw)
}

// validate checks the key.
func (k *MessageKey) validate(p *Problems) {
	if k.ID == "" || k.RemoteJID == "" {
		p.Add("messageKey", "Message key needs remoteJid and id")
		return
	}
	_, err := ParseChat(k.RemoteJID)
	p.Check("messageKey.remoteJid", err)
	p.text("messageKey.id", k.ID, 1, 255)
	if k.Participant != "" {
		_, err := ParseRecipient(k.Participant)
		p.Check("messageKey.participant", err)
	}
}

// NormalizeAddresses returns the action with a JID in every field that names a chat or a person:
// Phone, JID and the addresses of the message key. An empty Phone becomes JID. An address that
// [Action.Validate] refuses is [Invalid].
func (a *Action) NormalizeAddresses() (Action, error) {
	type address struct {
		field *string
		parse func(string) (JID, error)
	}
	out := *a
	if out.Phone == "" {
		out.Phone = out.JID
	}
	addresses := []address{{&out.Phone, a.parseChat}, {&out.JID, a.parseChat}}
	if a.MessageKey != nil {
		key := *a.MessageKey
		out.MessageKey = &key
		addresses = append(addresses, address{&key.RemoteJID, ParseChat}, address{&key.Participant, ParseRecipient})
	}
	for _, to := range addresses {
		if *to.field == "" && to.field != &out.Phone {
			continue // optional
		}
		jid, err := to.parse(*to.field)
		if err != nil {
			return Action{}, err
		}
		*to.field = string(jid)
	}
	return out, nil
}

// isOneEmoji reports whether s is displayed as one emoji: a symbol with its modifiers, a joined
// sequence of symbols, a flag, or a keycap.
func isOneEmoji(s string) bool {
	const (
		joiner   = 0x200d
		keycap   = 0x20e3
		selector = 0xfe0f
	)
	if len(s) > 64 || !utf8.ValidString(s) || isBlank(s) {
		return false
	}
	modifier := func(r rune) bool {
		return r == selector || r == keycap || r >= 0x1f3fb && r <= 0x1f3ff || r >= 0xe0020 && r <= 0xe007f
	}
	regional := func(r rune) bool { return r >= 0x1f1e6 && r <= 0x1f1ff }
	runes := []rune(s)
	if strings.ContainsRune("0123456789#*", runes[0]) {
		rest := string(runes[1:])
		return rest == string(rune(keycap)) || rest == string([]rune{selector, keycap})
	}
	if regional(runes[0]) {
		return len(runes) == 2 && regional(runes[1])
	}
	wantSymbol := true
	for _, r := range runes {
		switch {
		case wantSymbol && isSymbol(r):
			wantSymbol = false
		case !wantSymbol && modifier(r):
		case !wantSymbol && r == joiner:
			wantSymbol = true
		default:
			return false
		}
	}
	return !wantSymbol
}

// isSymbol reports whether an emoji can begin with r. Characters below U+1F000 outside the category of
// symbols are listed one by one.
func isSymbol(r rune) bool {
	switch r {
	case 0x203c, 0x2049, 0x2139, 0x2194, 0x25fb, 0x25fc, 0x25fd, 0x25fe, 0x2934, 0x2935, 0x3030, 0x303d:
		return true
	}
	return unicode.Is(unicode.So, r) || r >= 0x1f000 && r <= 0x1ffff
}

// text checks a length in characters. A required text must not be blank.
func (p *Problems) text(field, value string, least, most int) {
	n := utf8.RuneCountInString(value)
	switch {
	case least > 0 && strings.TrimSpace(value) == "":
		p.Add(field, "%s is required (%d to %d characters)", label(field), least, most)
	case n > most:
		p.Add(field, "%s must have at most %d characters", label(field), most)
	case !utf8.ValidString(value) || strings.ContainsRune(value, 0):
		p.Add(field, "%s must be valid text", label(field))
	}
}

// line checks a text that is displayed on one line.
func (p *Problems) line(field, value string, least, most int) {
	before := len(p.fields)
	p.text(field, value, least, most)
	if len(p.fields) == before && strings.ContainsFunc(value, isControl) {
		p.Add(field, "%s must not contain control characters", label(field))
	}
}

// isControl reports whether r is a control character, ends a line or a paragraph, or changes the
// direction of the following text. Direction changes can make one text look like another. [IsHidden] is
// stricter: titles and questions may hold characters without width.
func isControl(r rune) bool {
	return unicode.IsControl(r) || r >= 0x2028 && r <= 0x202e || r >= 0x2066 && r <= 0x2069
}

// url checks an absolute http or https URL.
func (p *Problems) url(field, value string) {
	if problem := urlProblem(value); problem != "" {
		p.Add(field, "%s %s", label(field), problem)
	}
}

// urlProblem returns why value is no absolute http or https URL, or "".
func urlProblem(value string) string {
	u, err := url.Parse(value)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || !utf8.ValidString(value):
		return "must be an http:// or https:// URL"
	case !isPort(u.Port()):
		return "must have a port from 1 to 65535, or none"
	case len(value) > maxURL:
		return fmt.Sprintf("must have at most %d bytes", maxURL)
	}
	return ""
}

// isPort reports whether the port of a URL is none or a number that a server can listen on.
func isPort(text string) bool {
	n, err := strconv.ParseUint(text, 10, 16)
	return text == "" || err == nil && n > 0
}

// label returns a field's name for people: "messageId" becomes "Message id".
func label(field string) string {
	if i := strings.LastIndexByte(field, '.'); i >= 0 {
		field = field[i+1:]
	}
	var b strings.Builder
	for i, r := range field {
		switch {
		case i == 0:
			b.WriteRune(unicode.ToUpper(r))
		case unicode.IsUpper(r):
			b.WriteByte(' ')
			b.WriteRune(unicode.ToLower(r))
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}
