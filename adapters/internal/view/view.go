// Package view holds the JSON forms in which clients see messages, sessions and events: in the answers
// of the HTTP API and in webhooks alike.
package view

import (
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Time is a time in UTC with milliseconds. The zero time is null.
type Time time.Time

// MarshalJSONTo writes the time.
func (t Time) MarshalJSONTo(enc *jsontext.Encoder) error {
	at := time.Time(t)
	if at.IsZero() {
		return enc.WriteToken(jsontext.Null)
	}
	at = at.UTC()
	b := append(enc.AvailableBuffer(), '"')
	b = at.AppendFormat(b, time.RFC3339) // faster than a layout with milliseconds
	b[len(b)-1] = '.'                    // was the Z
	ms := at.Nanosecond() / 1_000_000
	return enc.WriteValue(append(b, byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10), 'Z', '"'))
}

// Schema describes the time.
func (Time) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Format: "date-time", Nullable: true, Examples: []any{"2026-03-01T12:00:00.123Z"}}
}

// String is a text. The empty text is null.
type String string

// MarshalJSONTo writes the text.
func (s String) MarshalJSONTo(enc *jsontext.Encoder) error {
	if s == "" {
		return enc.WriteToken(jsontext.Null)
	}
	return enc.WriteToken(jsontext.String(string(s)))
}

// Schema describes the text.
func (String) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Nullable: true}
}

// Nullable is a struct that may be missing. It is null then.
type Nullable[T any] struct{ Value *T }

// MarshalJSONTo writes the struct.
func (n Nullable[T]) MarshalJSONTo(enc *jsontext.Encoder) error {
	if n.Value == nil {
		return enc.WriteToken(jsontext.Null)
	}
	return json.MarshalEncode(enc, n.Value)
}

// Schema describes the struct, or null.
func (Nullable[T]) Schema(r huma.Registry) *huma.Schema {
	return &huma.Schema{AnyOf: []*huma.Schema{r.Schema(reflect.TypeFor[T](), true, ""), {Type: "null"}}}
}
