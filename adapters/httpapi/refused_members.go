package httpapi

import (
	"reflect"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/switchyard-wa/switchyard/domain"
)

// A refusedMember records that a body has a member which another route takes. The route
// refuses the member, because to ignore it would do something else than was asked. The
// document does not show it. Null is not given.
type refusedMember bool

// UnmarshalJSONFrom reads any value.
func (m *refusedMember) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	*m = dec.PeekKind() != jsontext.KindNull
	return dec.SkipValue()
}

// Schema allows any value.
func (refusedMember) Schema(huma.Registry) *huma.Schema { return new(huma.Schema) }

// Immediate is embedded in the bodies of routes that act at once. It refuses the members about
// sending later.
type Immediate struct {
	RefusedSendAt   refusedMember `json:"sendAt,omitzero" hidden:"true"`
	RefusedQueue    refusedMember `json:"queue,omitzero" hidden:"true"`
	RefusedDeadline refusedMember `json:"deadline,omitzero" hidden:"true"`
}

// refused returns a problem for each member about sending later. reason ends the sentence
// that begins with the name of the member.
func (i Immediate) refused(reason string) (p problems) {
	for _, m := range []struct {
		name    string
		isGiven refusedMember
	}{{"sendAt", i.RefusedSendAt}, {"queue", i.RefusedQueue}, {"deadline", i.RefusedDeadline}} {
		if m.isGiven {
			p.add(m.name, "%s %s", m.name, reason)
		}
	}
	return p
}

// Unchangeable is embedded in the body that changes a message that waits. It refuses the members
// of routes that send, unless the change takes them. The tag use has the member to use, if there
// is one.
type Unchangeable struct {
	RefusedType            refusedMember `json:"type,omitzero" hidden:"true"`
	RefusedQueue           refusedMember `json:"queue,omitzero" hidden:"true"`
	RefusedHumanSimulation refusedMember `json:"humanSimulation,omitzero" hidden:"true"`
	RefusedQuotedMessageID refusedMember `json:"quotedMessageId,omitzero" hidden:"true"`
	RefusedMentions        refusedMember `json:"mentions,omitzero" hidden:"true"`
	RefusedIdempotencyKey  refusedMember `json:"idempotencyKey,omitzero" hidden:"true"`

	RefusedImageURL   refusedMember `json:"imageUrl,omitzero" hidden:"true" use:"mediaUrl"`
	RefusedFileURL    refusedMember `json:"fileUrl,omitzero" hidden:"true" use:"mediaUrl"`
	RefusedAudioURL   refusedMember `json:"audioUrl,omitzero" hidden:"true" use:"mediaUrl"`
	RefusedVideoURL   refusedMember `json:"videoUrl,omitzero" hidden:"true" use:"mediaUrl"`
	RefusedStickerURL refusedMember `json:"stickerUrl,omitzero" hidden:"true" use:"mediaUrl"`

	RefusedLatitude  refusedMember `json:"latitude,omitzero" hidden:"true" use:"location.latitude"`
	RefusedLongitude refusedMember `json:"longitude,omitzero" hidden:"true" use:"location.longitude"`
	RefusedName      refusedMember `json:"name,omitzero" hidden:"true" use:"location.name"`
	RefusedAddress   refusedMember `json:"address,omitzero" hidden:"true" use:"location.address"`

	RefusedContactName         refusedMember `json:"contactName,omitzero" hidden:"true" use:"contact.name"`
	RefusedContactPhone        refusedMember `json:"contactPhone,omitzero" hidden:"true" use:"contact.phone"`
	RefusedContactEmail        refusedMember `json:"contactEmail,omitzero" hidden:"true" use:"contact.email"`
	RefusedContactOrganization refusedMember `json:"contactOrganization,omitzero" hidden:"true" use:"contact.organization"`

	RefusedURL         refusedMember `json:"url,omitzero" hidden:"true" use:"link.url"`
	RefusedTitle       refusedMember `json:"title,omitzero" hidden:"true" use:"link.title"`
	RefusedDescription refusedMember `json:"description,omitzero" hidden:"true" use:"link.description"`
	RefusedThumbnail   refusedMember `json:"thumbnail,omitzero" hidden:"true" use:"link.thumbnail"`
}

// refused returns a problem for each of the members.
func (u Unchangeable) refused() (p problems) {
	v := reflect.ValueOf(u)
	names := jsonNames(v.Type())
	for i, name := range names {
		if !v.Field(i).Bool() {
			continue
		}
		if use := v.Type().Field(i).Tag.Get("use"); use != "" {
			p.add(name, "%s cannot be given here; use %s", name, use)
			continue
		}
		p.add(name, "%s cannot be changed; cancel the message and send it anew", name)
	}
	return p
}

// checkMembersOf returns a problem for each content that messages of a type do not have.
func (b *ScheduledBody) checkMembersOf(kind domain.MessageType) error {
	isMedia := kind.MaxMedia() > 0
	hasCaption := kind == domain.TypeImage || kind == domain.TypeDocument || kind == domain.TypeVideo
	var wrong, has []string
	for _, m := range []struct {
		name            string
		isGiven, isOfIt bool
	}{
		{"message", b.Message != nil, kind == domain.TypeText},
		{"mediaUrl", b.MediaURL != nil, isMedia},
		{"media", b.Media != nil, isMedia},
		{"caption", b.Caption != nil, hasCaption},
		{"filename", b.Filename != nil, kind == domain.TypeDocument},
		{"location", b.Location != nil, kind == domain.TypeLocation},
		{"contact", b.Contact != nil, kind == domain.TypeContact},
		{"link", b.Link != nil, kind == domain.TypeLink},
		{"poll", b.Poll != nil, kind == domain.TypePoll},
	} {
		if m.isOfIt {
			has = append(has, m.name)
		} else if m.isGiven {
			wrong = append(wrong, m.name)
		}
	}
	var p domain.Problems
	for _, name := range wrong {
		p.Add(name, "%s cannot be given for a message of type %s; use %s", name, kind, listed(has))
	}
	return p.Err()
}
