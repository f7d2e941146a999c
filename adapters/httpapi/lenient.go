package httpapi

import (
	"math"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/switchyard-wa/switchyard/domain"
)

// The types of this file decode the bodies of deployed workers. huma does not
// validate these bodies. A malformed optional member counts as missing: a worker
// does not repeat a refused report. A malformed required member sets a flag, which
// the resolver of the input turns into a problem.

// maxExact is the largest whole number that a JSON number carries exactly.
const maxExact = 1 << 53

// A lenientString is a text; a number counts as its digits.
type lenientString string

// UnmarshalJSONFrom reads the text.
func (s *lenientString) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	switch dec.PeekKind() {
	case jsontext.KindString:
		token, err := dec.ReadToken()
		if err == nil {
			*s = lenientString(token.String())
		}
		return err
	case jsontext.KindNumber:
		raw, err := dec.ReadValue()
		*s = lenientString(raw)
		return err
	}
	return dec.SkipValue()
}

// Schema describes what workers should send.
func (lenientString) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Description: "Text; anything else but a number counts as missing"}
}

// cut returns the text as every store keeps it, of at most so many bytes.
func (s lenientString) cut(most int) string { return clean(string(s), most) }

// phone returns the text as the number of an account.
func (s lenientString) phone() string { return domain.AccountPhone(s.cut(maxID)) }

// workerRef returns the text as a worker's id in its one spelling.
func (s lenientString) workerRef() string { return normalizeWorker(string(s)) }

// A qrString is the text of a QR code. A number is none.
type qrString string

// UnmarshalJSONFrom reads the text.
func (s *qrString) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	if dec.PeekKind() != jsontext.KindString {
		return dec.SkipValue()
	}
	return (*lenientString)(s).UnmarshalJSONFrom(dec)
}

// Schema describes what workers should send.
func (qrString) Schema(r huma.Registry) *huma.Schema { return lenientString("").Schema(r) }

// A lenientNumber is a number, infinite beyond the range of a float64. wrong notes
// a value of another type, for members that are needed.
type lenientNumber struct {
	value        float64
	given, wrong bool
}

// UnmarshalJSONFrom reads the number.
func (n *lenientNumber) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	kind := dec.PeekKind()
	if kind != jsontext.KindNumber {
		n.wrong = kind != jsontext.KindNull
		return dec.SkipValue()
	}
	raw, err := dec.ReadValue()
	if err != nil {
		return err
	}
	n.value, _ = strconv.ParseFloat(string(raw), 64) // the grammar holds
	n.given = true
	return nil
}

// Schema describes what workers should send.
func (lenientNumber) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Description: "Number; anything else counts as missing"}
}

// capped returns the number held within 0 and a bound, or another if there is none.
func (n lenientNumber) capped(most, otherwise float64) float64 {
	if !n.given {
		return otherwise
	}
	return min(max(n.value, 0), most)
}

// count returns the number held within what a sum can take.
func (n lenientNumber) count() int { return int(n.capped(1e6, 0)) }

// generation returns the number as the generation of a session, or 0.
func (n lenientNumber) generation() int64 {
	if n.given && n.value == math.Trunc(n.value) && n.value >= 0 && n.value <= maxExact {
		return int64(n.value)
	}
	return 0
}

// A lenientBool is true or false.
type lenientBool bool

// UnmarshalJSONFrom reads the value.
func (b *lenientBool) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	*b = dec.PeekKind() == jsontext.KindTrue
	return dec.SkipValue()
}

// Schema describes what workers should send.
func (lenientBool) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Description: "True or false; anything else counts as missing"}
}

// A lenientTime is a point in time: RFC 3339, or milliseconds (or seconds) since
// 1970. wrong notes a value that is neither, for members that are needed.
type lenientTime struct {
	at    time.Time
	wrong bool
}

// UnmarshalJSONFrom reads the time. An empty text is the zero time.
func (t *lenientTime) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	switch dec.PeekKind() {
	case jsontext.KindNumber:
		var n lenientNumber
		err := n.UnmarshalJSONFrom(dec)
		t.set(unixTime(n.value))
		return err
	case jsontext.KindString:
		token, err := dec.ReadToken()
		if err != nil {
			return err
		}
		if s := token.String(); s != "" {
			t.set(parseTime(s))
		}
		return nil
	case jsontext.KindNull:
		return dec.SkipValue()
	}
	t.wrong = true
	return dec.SkipValue()
}

func (t *lenientTime) set(at time.Time, ok bool) {
	t.wrong = !ok
	if ok {
		t.at = at
	}
}

// Schema describes what workers should send.
func (lenientTime) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Description: "RFC 3339, or milliseconds (or seconds) since 1970", Examples: []any{"2026-03-01T12:00:00.123Z"}}
}

// A strictString is a text that is needed.
type strictString struct {
	text  string
	wrong bool // of another type
}

// UnmarshalJSONFrom reads the text.
func (s *strictString) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	switch dec.PeekKind() {
	case jsontext.KindString:
		token, err := dec.ReadToken()
		if err == nil {
			s.text = token.String()
		}
		return err
	case jsontext.KindNull:
		return dec.SkipValue()
	}
	s.wrong = true
	return dec.SkipValue()
}

// Schema describes the text.
func (strictString) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString}
}

// sessionRef returns the text as a session's id in its one spelling.
func (s strictString) sessionRef() string { return normalizeSession(s.text) }

// need records that a text is missing or of the wrong type. value is what became
// of the text.
func (p *problems) need(field, what string, s strictString, value string) {
	switch {
	case s.wrong:
		p.add(field, "%s must be a string", field)
	case value == "":
		p.addMissing(field, what)
	}
}

// unmarshalObject decodes an object into v, and skips anything else.
func unmarshalObject(dec *jsontext.Decoder, v any) (bool, error) {
	if dec.PeekKind() != jsontext.KindBeginObject {
		return false, dec.SkipValue()
	}
	return true, json.UnmarshalDecode(dec, v)
}
