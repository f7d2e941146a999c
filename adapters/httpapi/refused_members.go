package httpapi

import (
	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json/jsontext"
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
