package view

import (
	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/switchyard-wa/switchyard/domain"
)

// MessageView is a message of the history.
type MessageView struct {
	ID        string              `json:"id" doc:"Our id" example:"01JX3B5ZKQ7M"`
	MessageID String              `json:"messageId" doc:"The id by which WhatsApp knows the message" example:"3EB0C767D26B"`
	SessionID string              `json:"sessionId" example:"support"`
	Direction domain.Direction    `json:"direction" doc:"OUTBOUND or INBOUND" example:"OUTBOUND"`
	From      String              `json:"from" example:"6281234567890@s.whatsapp.net"`
	To        String              `json:"to" example:"6289999999999@s.whatsapp.net"`
	Type      domain.MessageType  `json:"type" doc:"text, image, document, audio, video, sticker, location, contact, link or poll; received ones also poll_vote, reaction, edit or deletion" example:"text"`
	Content   MessageContent      `json:"content"`
	MediaURL  String              `json:"mediaUrl" doc:"Of a sent message, the URL that was given; of a received one, the path of its media in this API" example:"https://example.com/a.png"`
	Media     Nullable[MediaView] `json:"media" doc:"Of a received message, what its worker reported of its media"`
	Filename  String              `json:"filename" example:"a.pdf"`
	Caption   String              `json:"caption" example:"The invoice"`

	Participant     String   `json:"participant" doc:"Who wrote a received message, in a group" example:"6285555555555@s.whatsapp.net"`
	QuotedMessageID String   `json:"quotedMessageId" doc:"WhatsApp's id of the message to which this one replies" example:"3EB0C767D26A"`
	TargetMessageID String   `json:"targetMessageId" doc:"WhatsApp's id of the message that was edited, deleted, voted on or reacted to. That message stays as it was" example:"3EB0C767D26A"`
	Mentions        []string `json:"mentions" doc:"JIDs" nullable:"false" example:"[\"6285555555555@s.whatsapp.net\"]"`

	Status       domain.MessageStatus `json:"status" doc:"PENDING, SENT, DELIVERED, READ or FAILED" example:"SENT"`
	ErrorMessage String               `json:"errorMessage" doc:"Why the status is FAILED"`
	CreatedAt    Time                 `json:"createdAt"`
	SentAt       Time                 `json:"sentAt"`
	DeliveredAt  Time                 `json:"deliveredAt"`
	ReadAt       Time                 `json:"readAt"`
}

// MessageContent is the text of a message, or the object of a structured type.
type MessageContent jsontext.Value

// MarshalJSON writes the content.
func (c MessageContent) MarshalJSON() ([]byte, error) { return c, nil }

// Schema describes the content.
func (MessageContent) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Description: "The text, the emoji of a reaction, the object of a location, contact, link, poll or vote, or null", Examples: []any{"hello"}}
}

// Message returns the view of a message.
func Message(m *domain.Message) MessageView {
	return MessageView{
		ID: m.ID, MessageID: String(m.WhatsAppID), SessionID: m.SessionID, Direction: m.Direction,
		From: String(m.From), To: String(m.To), Type: m.Type, Content: Content(m),
		MediaURL: mediaURL(m), Media: media(m), Filename: String(m.Filename), Caption: String(m.Caption),
		Participant: String(m.Relations.Author), QuotedMessageID: String(m.Relations.QuotedID),
		TargetMessageID: String(m.Relations.TargetID), Mentions: mentions(m),
		Status: m.Status, ErrorMessage: String(m.Error), CreatedAt: Time(m.CreatedAt),
		SentAt: Time(m.SentAt), DeliveredAt: Time(m.DeliveredAt), ReadAt: Time(m.ReadAt),
	}
}

// mentions returns the mentions of a message. It is never nil.
func mentions(m *domain.Message) []string {
	if m.Relations.Mentions == nil {
		return []string{}
	}
	return m.Relations.Mentions
}

// Content returns a structured content as the object that it is.
func Content(m *domain.Message) MessageContent {
	switch m.Type {
	case domain.TypeLocation, domain.TypeContact, domain.TypeLink, domain.TypePoll, domain.TypePollVote:
		if v := jsontext.Value(m.Content); v.Kind() == jsontext.KindBeginObject && v.IsValid() {
			return MessageContent(v)
		}
	}
	if m.Content == "" {
		return MessageContent("null")
	}
	quoted, _ := jsontext.AppendQuote(nil, m.Content) // invalid UTF-8 is replaced
	return quoted
}
