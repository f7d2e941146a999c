package httpapi

import (
	"cmp"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/switchyard-wa/switchyard/domain"
)

// Inbound has the members of a received message that only some kinds have. Deployed workers
// name other messages by an id, or by the key that WhatsApp's libraries use. Both are read.
type Inbound struct {
	Filename        lenientString  `json:"filename,omitempty"`
	Participant     lenientString  `json:"participant,omitempty" doc:"Who wrote the message, in a group" example:"\"6289999999999@s.whatsapp.net\""`
	QuotedMessageID lenientString  `json:"quotedMessageId,omitempty" doc:"WhatsApp's id of the message to which this one replies" example:"\"3EB0C767D26A\""`
	Mentions        lenientTexts   `json:"mentions,omitempty"`
	Location        inboundContent `json:"location,omitempty"`
	Contact         inboundContent `json:"contact,omitempty"`
	Poll            inboundContent `json:"poll,omitempty"`
	PollVote        inboundContent `json:"pollVote,omitempty"`
	Reaction        inboundContent `json:"reaction,omitempty"`
	EditedID        lenientString  `json:"editedId,omitempty" doc:"WhatsApp's id of the message that was edited; content is the new text" example:"\"3EB0C767D26A\""`
	DeletedID       lenientString  `json:"deletedId,omitempty" doc:"WhatsApp's id of the message that was deleted" example:"\"3EB0C767D26A\""`
}

// maxMentions bounds the mentions of a message that are kept.
const maxMentions = domain.MaxMentions

// relations returns what a message of a kind refers to. Some workers put the object of a
// reaction or a vote into the content.
func (b *Inbound) relations(kind domain.MessageType, content inboundContent) domain.Relations {
	r := domain.Relations{Author: b.Participant.cut(maxID), QuotedID: whatsAppID(b.QuotedMessageID)}
	for _, m := range b.Mentions[:min(len(b.Mentions), maxMentions)] {
		r.Mentions = append(r.Mentions, lenientString(m).cut(maxID))
	}
	target := cmp.Or(b.DeletedID, b.EditedID, targetOf(b.Reaction), targetOf(b.PollVote))
	if target == "" && (kind == domain.TypeReaction || kind == domain.TypePollVote) {
		target = targetOf(content)
	}
	r.TargetID = whatsAppID(target)
	return r
}

// kindAndContent returns the type and the content of a message. A member of a kind counts
// for more than a type that is missing or unknown, which says text.
func (b *Inbound) kindAndContent(kind domain.MessageType, content inboundContent) (domain.MessageType, inboundContent) {
	switch {
	case b.DeletedID != "":
		return domain.TypeDeletion, ""
	case b.EditedID != "":
		return domain.TypeEdit, content
	case b.Reaction != "" || kind == domain.TypeReaction:
		return domain.TypeReaction, emojiOf(cmp.Or(b.Reaction, content))
	case b.PollVote != "":
		return domain.TypePollVote, cmp.Or(content, b.PollVote)
	}
	for _, member := range []struct {
		kind  domain.MessageType
		value inboundContent
	}{{domain.TypeLocation, b.Location}, {domain.TypeContact, b.Contact}, {domain.TypePoll, b.Poll}} {
		if member.value != "" && (kind == member.kind || kind == domain.TypeText && content == "") {
			return member.kind, cmp.Or(content, member.value)
		}
	}
	return kind, content
}

// inboundReference is an object that refers to another message.
type inboundReference struct {
	MessageID lenientString `json:"messageId"`
	TargetID  lenientString `json:"targetId"`
	PollID    lenientString `json:"pollId"`
	ID        lenientString `json:"id"`
	Emoji     lenientString `json:"emoji"`
	Text      lenientString `json:"text"`
	Key       inboundKey    `json:"key"`
	PollKey   inboundKey    `json:"pollCreationMessageKey"`
}

// inboundKey is the id within a key of WhatsApp's libraries.
type inboundKey string

// UnmarshalJSONFrom reads the id of the key.
func (k *inboundKey) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	if dec.PeekKind() != jsontext.KindBeginObject {
		return (*lenientString)(k).UnmarshalJSONFrom(dec)
	}
	var key struct {
		ID lenientString `json:"id"`
	}
	err := json.UnmarshalDecode(dec, &key, lenientJSON)
	*k = inboundKey(key.ID)
	return err
}

// referenceOf reads an object. Text refers to nothing.
func referenceOf(object inboundContent) (r inboundReference) {
	if strings.HasPrefix(string(object), "{") {
		_ = json.Unmarshal([]byte(object), &r, lenientJSON) // what cannot be read is missing
	}
	return r
}

// targetOf returns the id of the message to which a reaction or a vote refers.
func targetOf(object inboundContent) lenientString {
	r := referenceOf(object)
	return cmp.Or(r.MessageID, r.TargetID, r.PollID, lenientString(r.Key), lenientString(r.PollKey), r.ID)
}

// emojiOf returns the emoji of a reaction. It is empty if the reaction was removed.
func emojiOf(reaction inboundContent) inboundContent {
	if !strings.HasPrefix(string(reaction), "{") {
		return reaction
	}
	r := referenceOf(reaction)
	return inboundContent(cmp.Or(r.Emoji, r.Text))
}

// lenientTexts is a list of texts. Items that are no texts are left out.
type lenientTexts []string

// UnmarshalJSONFrom reads the list. Any other value counts as missing.
func (l *lenientTexts) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	if dec.PeekKind() != jsontext.KindBeginArray {
		return dec.SkipValue()
	}
	if _, err := dec.ReadToken(); err != nil {
		return err
	}
	for dec.PeekKind() != jsontext.KindEndArray {
		var item lenientString
		if err := item.UnmarshalJSONFrom(dec); err != nil {
			return err
		}
		if item != "" && len(*l) < maxListed && !slices.Contains(*l, string(item)) {
			*l = append(*l, string(item))
		}
	}
	_, err := dec.ReadToken()
	return err
}

// Schema describes the list.
func (lenientTexts) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{
		Description: "List of the JIDs of the accounts that the message mentions; anything but texts is left out",
		Examples:    []any{[]any{"6289999999999@s.whatsapp.net"}},
	}
}
