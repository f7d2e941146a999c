package httpapi

import (
	"cmp"
	"errors"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/switchyard-wa/switchyard/domain"
)

// Recipient is what every send has.
type Recipient struct {
	To              string `json:"to" minLength:"1" doc:"An international number or a JID" example:"6281234567890"`
	HumanSimulation bool   `json:"humanSimulation,omitempty" doc:"The worker types for some seconds before it sends" example:"false"`

	QuotedMessageID string     `json:"quotedMessageId,omitempty" maxLength:"255" doc:"The message to which this one replies, by our id or WhatsApp's" example:"3EB0C767D26B"`
	SendAt          *string    `json:"sendAt,omitempty" doc:"RFC 3339, at most 30 days ahead: the message waits until then" example:"2026-03-01T18:00:00Z"`
	Queue           bool       `json:"queue,omitempty" doc:"The message waits while the session is not connected or is moving" example:"false"`
	Deadline        *string    `json:"deadline,omitempty" doc:"How long a message with sendAt or queue waits at most, from sendAt on: a length of time such as 90m, or seconds; or a time in RFC 3339. 1h without it, at most 30 days" example:"1h"`
	Mentions        []textItem `json:"mentions,omitempty" nullable:"false" maxItems:"256" doc:"Members of the group to mention, as numbers or JIDs, if the recipient is a group" example:"[]"`
}

// names is for routes whose fields have the names of domain.
func (Recipient) names() map[string]string { return nil }

func (r *Recipient) message(kind domain.MessageType) *domain.Outgoing {
	m := &domain.Outgoing{To: r.To, Type: kind, HumanSimulation: r.HumanSimulation, QuotedMessageID: r.QuotedMessageID, Mentions: asTexts(r.Mentions)}
	if r.Queue || r.SendAt != nil {
		m.Schedule, _ = parseSchedule(r.SendAt, r.Deadline)
	}
	return m
}

// scheduleProblems returns the problems of sendAt, queue and deadline.
func (r Recipient) scheduleProblems() problems {
	if r.Deadline == nil && r.SendAt == nil {
		return nil
	}
	_, p := parseSchedule(r.SendAt, r.Deadline)
	if len(p) == 0 && r.SendAt == nil && !r.Queue {
		p.add("deadline", "A deadline is for messages with sendAt or queue: give one of them too")
	}
	return p
}

// parseSchedule reads when a message is sent. Nil texts are not given. An empty text is a
// problem: a template without its value must not send at once.
func parseSchedule(sendAt, deadline *string) (*domain.Schedule, problems) {
	s := new(domain.Schedule)
	var p problems
	if sendAt != nil {
		at, err := time.Parse(time.RFC3339, *sendAt)
		if err != nil || !inRange(at) {
			p.add("sendAt", "sendAt must be a time in RFC 3339, such as 2026-03-01T18:00:00Z")
		}
		s.SendAt = at.Truncate(time.Microsecond)
	}
	if deadline == nil {
		return s, p
	}
	if at, err := time.Parse(time.RFC3339, *deadline); err == nil && inRange(at) {
		s.Deadline = at.Truncate(time.Microsecond)
		return s, p
	}
	var length problems
	length.duration("deadline", *deadline, &s.Patience, domain.MaxSendAhead)
	if len(length) > 0 || s.Patience <= 0 {
		p.add("deadline", "deadline must be a length of time such as 90m, at most 720h, or a time in RFC 3339")
	}
	return s, p
}

type textBody struct {
	Recipient
	Message string `json:"message" minLength:"1" maxLength:"4096" example:"Your code is 123456."`
}

func (b textBody) outgoing() *domain.Outgoing {
	m := b.message(domain.TypeText)
	m.Text = b.Message
	return m
}

// Media is the content of a message, for routes that take it as it is.
type Media struct {
	Media string `json:"media,omitempty" doc:"The media as base64 instead of a URL: with or without the head of a data URL, line breaks and padding, in the alphabet for URLs too"`
}

// Caption is the text beside a media.
type Caption struct {
	Caption string `json:"caption,omitempty" maxLength:"1024" example:"The invoice"`
}

type imageBody struct {
	Recipient
	ImageURL string `json:"imageUrl,omitempty" doc:"http or https, at a public address, without a user name" example:"https://example.com/a.png"`
	Media
	Caption
}

func (b imageBody) outgoing() *domain.Outgoing {
	m := b.message(domain.TypeImage)
	m.MediaURL, m.Media, m.Caption = b.ImageURL, b.Media.Media, b.Caption.Caption
	return m
}

func (imageBody) names() map[string]string { return map[string]string{"mediaUrl": "imageUrl"} }

type fileBody struct {
	Recipient
	FileURL  string `json:"fileUrl,omitempty" doc:"http or https, at a public address, without a user name" example:"https://example.com/a.pdf"`
	Filename string `json:"filename,omitempty" maxLength:"255" doc:"Without a path, control and invisible characters" example:"a.pdf"`
	Media
	Caption
}

func (b fileBody) outgoing() *domain.Outgoing {
	m := b.message(domain.TypeDocument)
	m.MediaURL, m.Media, m.Filename, m.Caption = b.FileURL, b.Media.Media, b.Filename, b.Caption.Caption
	return m
}

func (fileBody) names() map[string]string { return map[string]string{"mediaUrl": "fileUrl"} }

type voiceBody struct {
	Recipient
	AudioURL string `json:"audioUrl,omitempty" doc:"http or https, at a public address, without a user name" example:"https://example.com/a.ogg"`
	Media
}

func (b voiceBody) outgoing() *domain.Outgoing {
	m := b.message(domain.TypeAudio)
	m.MediaURL, m.Media = b.AudioURL, b.Media.Media
	return m
}

func (voiceBody) names() map[string]string { return map[string]string{"mediaUrl": "audioUrl"} }

type videoBody struct {
	Recipient
	VideoURL string `json:"videoUrl,omitempty" doc:"http or https, at a public address, without a user name" example:"https://example.com/a.mp4"`
	Media
	Caption
}

func (b videoBody) outgoing() *domain.Outgoing {
	m := b.message(domain.TypeVideo)
	m.MediaURL, m.Media, m.Caption = b.VideoURL, b.Media.Media, b.Caption.Caption
	return m
}

func (videoBody) names() map[string]string { return map[string]string{"mediaUrl": "videoUrl"} }

type stickerBody struct {
	Recipient
	StickerURL string `json:"stickerUrl,omitempty" doc:"http or https, at a public address, without a user name" example:"https://example.com/a.webp"`
	Media
}

func (b stickerBody) outgoing() *domain.Outgoing {
	m := b.message(domain.TypeSticker)
	m.MediaURL, m.Media = b.StickerURL, b.Media.Media
	return m
}

func (stickerBody) names() map[string]string { return map[string]string{"mediaUrl": "stickerUrl"} }

// Place is the content of a location. Coordinates are pointers because zero is a
// coordinate too.
type Place struct {
	Latitude  *coordinate `json:"latitude" nullable:"false" minimum:"-90" maximum:"90" example:"-6.2"`
	Longitude *coordinate `json:"longitude" nullable:"false" minimum:"-180" maximum:"180" example:"106.8"`
	Name      string      `json:"name,omitempty" example:"Head office"`
	Address   string      `json:"address,omitempty" example:"Jl. Sudirman 1, Jakarta"`
}

// A coordinate is a number, infinite beyond the range of a float64.
type coordinate float64

// UnmarshalJSONFrom reads the number. Any other value is an error, because it is no
// coordinate: huma does not validate the bodies of sends that can be decoded.
func (c *coordinate) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	var n number
	err := n.UnmarshalJSONFrom(dec)
	if err == nil && !n.given {
		return errNoNumber
	}
	*c = coordinate(n.value)
	return err
}

var errNoNumber = errors.New("httpapi: not a number")

func (p *Place) location() *domain.Location {
	if p == nil {
		return nil
	}
	l := &domain.Location{Name: p.Name, Address: p.Address}
	if p.Latitude != nil {
		l.Latitude = float64(*p.Latitude)
	}
	if p.Longitude != nil {
		l.Longitude = float64(*p.Longitude)
	}
	return l
}

type sendLocationBody struct {
	Place
	Recipient
}

func (b sendLocationBody) outgoing() *domain.Outgoing {
	m := b.message(domain.TypeLocation)
	m.Location = b.location()
	return m
}

type vcardBody struct {
	Recipient
	ContactName         string `json:"contactName" minLength:"1" example:"Bo Diaz"`
	ContactPhone        string `json:"contactPhone" minLength:"1" example:"6281234567891"`
	ContactEmail        string `json:"contactEmail,omitempty" example:"bo@example.com"`
	ContactOrganization string `json:"contactOrganization,omitempty" example:"Example Ltd"`
}

func (b vcardBody) outgoing() *domain.Outgoing {
	m := b.message(domain.TypeContact)
	m.Contact = &domain.Contact{Name: b.ContactName, Phone: b.ContactPhone, Email: b.ContactEmail, Organization: b.ContactOrganization}
	return m
}

// Link is the content of a link message.
type Link struct {
	URL         string `json:"url" minLength:"1" doc:"http or https, at a public address, without a user name" example:"https://example.com"`
	Title       string `json:"title,omitempty" maxLength:"255" example:"Example"`
	Description string `json:"description,omitempty" maxLength:"1024" example:"What is behind the link"`
	Thumbnail   string `json:"thumbnail,omitempty" doc:"A picture by URL at a public address, or as base64" example:"https://example.com/t.png"`
}

func (l *Link) link() *domain.Link {
	if l == nil {
		return nil
	}
	return &domain.Link{URL: l.URL, Title: l.Title, Description: l.Description, Thumbnail: l.Thumbnail}
}

type sendLinkBody struct {
	Recipient
	Link
}

func (b sendLinkBody) outgoing() *domain.Outgoing {
	m := b.message(domain.TypeLink)
	m.Link = b.link()
	return m
}

type pollBody struct {
	Question        string     `json:"question" minLength:"1" maxLength:"255" example:"Tea?"`
	Options         []textItem `json:"options" nullable:"false" minItems:"2" maxItems:"12" doc:"2 to 12 different texts" example:"[\"yes\",\"no\"]"`
	MultipleAnswers bool       `json:"multipleAnswers,omitempty" example:"false"`
}

func (b *pollBody) poll() *domain.Poll {
	if b == nil {
		return nil
	}
	return &domain.Poll{Question: b.Question, Options: asTexts(b.Options), MultipleAnswers: b.MultipleAnswers}
}

// A textItem is a text in a list.
type textItem string

// UnmarshalJSONFrom reads the text. Any other value is an error: a null that became an
// empty text, or none, would be another message.
func (i *textItem) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	if dec.PeekKind() != jsontext.KindString {
		return cmp.Or(dec.SkipValue(), errNoText)
	}
	return (*lenientString)(i).UnmarshalJSONFrom(dec)
}

var errNoText = errors.New("httpapi: not a text")

func asTexts(list []textItem) []string {
	var texts []string
	for _, s := range list {
		texts = append(texts, string(s))
	}
	return texts
}

type sendPollBody struct {
	Recipient
	Poll *pollBody `json:"poll" required:"true"`
}

func (b sendPollBody) outgoing() *domain.Outgoing {
	m := b.message(domain.TypePoll)
	m.Poll = b.Poll.poll()
	return m
}

// contactBody accepts its fields by short names and by those of /sendContactVcard.
type contactBody struct {
	Name                string `json:"name,omitempty" example:"Bo Diaz"`
	Phone               string `json:"phone,omitempty" example:"6281234567891"`
	Email               string `json:"email,omitempty" example:"bo@example.com"`
	Organization        string `json:"organization,omitempty" example:"Example Ltd"`
	ContactName         string `json:"contactName,omitempty" doc:"Same as name"`
	ContactPhone        string `json:"contactPhone,omitempty" doc:"Same as phone"`
	ContactEmail        string `json:"contactEmail,omitempty" doc:"Same as email"`
	ContactOrganization string `json:"contactOrganization,omitempty" doc:"Same as organization"`
}

func (b *contactBody) contact() *domain.Contact {
	if b == nil {
		return nil
	}
	return &domain.Contact{
		Name: cmp.Or(b.Name, b.ContactName), Phone: cmp.Or(b.Phone, b.ContactPhone),
		Email: cmp.Or(b.Email, b.ContactEmail), Organization: cmp.Or(b.Organization, b.ContactOrganization),
	}
}

// AnyBody is a message of any type.
type AnyBody struct {
	Recipient
	Type     string       `json:"type" minLength:"1" doc:"text, image, document, audio, video, sticker, location, contact, link or poll, in any case" example:"text"`
	Message  string       `json:"message,omitempty" doc:"Of a text, at most 4096 characters" example:"Your code is 123456."`
	MediaURL string       `json:"mediaUrl,omitempty" doc:"Of media: http or https, at a public address, without a user name"`
	Media    string       `json:"media,omitempty" doc:"Of media: the media as base64 instead of a URL"`
	Caption  string       `json:"caption,omitempty" doc:"Of an image, document or video, at most 1024 characters"`
	Filename string       `json:"filename,omitempty" doc:"Of a document, without a path"`
	Location *anyPlace    `json:"location,omitempty"`
	Contact  *contactBody `json:"contact,omitempty"`
	Link     *anyLink     `json:"link,omitempty"`
	Poll     *anyPoll     `json:"poll,omitempty"`
}

// The contents of an AnyBody have no limits of their own: the rules of the domain
// apply to the content of the type that is given, and to no other.
type (
	anyPlace struct {
		Latitude  *coordinate `json:"latitude" nullable:"false" doc:"-90 to 90" example:"-6.2"`
		Longitude *coordinate `json:"longitude" nullable:"false" doc:"-180 to 180" example:"106.8"`
		Name      string      `json:"name,omitempty" example:"Head office"`
		Address   string      `json:"address,omitempty" example:"Jl. Sudirman 1, Jakarta"`
	}
	anyLink struct {
		URL         string `json:"url,omitempty" doc:"http or https, at a public address, without a user name" example:"https://example.com"`
		Title       string `json:"title,omitempty" doc:"At most 255 characters" example:"Example"`
		Description string `json:"description,omitempty" doc:"At most 1024 characters" example:"What is behind the link"`
		Thumbnail   string `json:"thumbnail,omitempty" doc:"A picture by URL at a public address, or as base64" example:"https://example.com/t.png"`
	}
	anyPoll struct {
		Question        string     `json:"question,omitempty" doc:"1 to 255 characters" example:"Tea?"`
		Options         []textItem `json:"options,omitempty" doc:"2 to 12 different texts" example:"[\"yes\",\"no\"]"`
		MultipleAnswers bool       `json:"multipleAnswers,omitempty" example:"false"`
	}
)

// genericNames has the names of fields of structured contents in an AnyBody.
var genericNames = map[string]string{
	"latitude": "location.latitude", "longitude": "location.longitude",
	"name": "location.name", "address": "location.address",
	"contactName": "contact.name", "contactPhone": "contact.phone",
	"contactEmail": "contact.email", "contactOrganization": "contact.organization",
	"url": "link.url", "title": "link.title", "description": "link.description", "thumbnail": "link.thumbnail",
}

func (b *AnyBody) outgoing() *domain.Outgoing {
	m := b.message(domain.MessageType(b.Type)) // Validate refuses an unknown type
	if t, err := domain.ParseMessageType(b.Type); err == nil {
		m.Type = t
	}
	m.Text, m.MediaURL, m.Media, m.Caption, m.Filename = b.Message, b.MediaURL, b.Media, b.Caption, b.Filename
	m.Location, m.Contact, m.Link, m.Poll = (*Place)(b.Location).location(), b.Contact.contact(), (*Link)(b.Link).link(), (*pollBody)(b.Poll).poll()
	return m
}
