package httpapi

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	jsonv1 "github.com/go-json-experiment/json/v1"

	"github.com/switchyard-wa/switchyard/domain"
)

// unmarshal decodes a body as huma's JSON format: into an any for validation,
// then into the input. A name that is there twice, text that is not UTF-8, and
// anything after the document are errors; a blank body is an empty object.
//
// A member of the wrong type does not end the decoding: the rules see the rest.
//
// The body of a worker is decoded as far as it can be read.
func unmarshal(data []byte, v any) error {
	if body, ok := v.(lenientBody); ok {
		unmarshalLenient(data, body)
		return nil
	}
	text := bytes.TrimLeft(data, " \t\r\n")
	if len(text) == 0 {
		text = []byte("{}")
	}
	if text[0] == 'n' && reflect.TypeOf(v) != anyType {
		return errNull
	}
	err := json.Unmarshal(text, v)
	if err == nil {
		return nil
	}
	var semantic *json.SemanticError
	if !errors.As(err, &semantic) {
		return err
	}
	if err := json.Unmarshal(text, v, decodeOn); err != nil && reflect.TypeOf(v) != anyType {
		return err
	}
	return nil
}

// errNull refuses null in the place of the body, which a decoder takes for nothing.
var errNull = errors.New("httpapi: the body is null")

var anyType = reflect.TypeFor[*any]()

// decodeOn goes on after a member of the wrong type, and takes numbers beyond the
// range of a float64 for infinite.
var decodeOn = json.JoinOptions(
	jsonv1.ReportErrorsWithLegacySemantics(true),
	json.WithUnmarshalers(json.UnmarshalFromFunc(func(dec *jsontext.Decoder, v *any) error {
		if dec.PeekKind() != jsontext.KindNumber {
			return errors.ErrUnsupported
		}
		raw, err := dec.ReadValue()
		if err != nil {
			return err
		}
		*v, _ = strconv.ParseFloat(string(raw), 64) // infinite beyond the range
		return nil
	})),
)

// malformedBody returns the error for a body that is no JSON object.
func malformedBody(body []byte) error {
	dec := jsontext.NewDecoder(bytes.NewReader(body))
	switch dec.PeekKind() {
	case jsontext.KindBeginObject, jsontext.KindInvalid:
	default:
		return malformed("body", "Request body must be a JSON object")
	}
	err := dec.SkipValue()
	if err == nil {
		_, err = dec.ReadToken()
		if err == nil || errors.Is(err, io.EOF) {
			return malformed("body", "Request body must be one JSON object with nothing after it")
		}
	}
	var syntax *jsontext.SyntacticError
	if !errors.As(err, &syntax) {
		return malformed("body", "Request body is not valid JSON")
	}
	if errors.Is(syntax, jsontext.ErrDuplicateName) {
		field := dotted(syntax.JSONPointer)
		return malformed(field, field+" is there twice; give it once")
	}
	return malformed("body", fmt.Sprintf("Request body is not valid JSON: %v at byte %d", syntax.Err, syntax.ByteOffset))
}

// dotted turns a JSON pointer into the way fields are named to clients.
func dotted(pointer jsontext.Pointer) string {
	var out strings.Builder // the path may be as long as the body
	for token := range pointer.Tokens() {
		if token != "" && isIndex(token) {
			out.WriteString("[" + token + "]")
			continue
		}
		if out.Len() > 0 {
			out.WriteByte('.')
		}
		out.WriteString(cmp.Or(token, emptyName))
	}
	if out.Len() == 0 {
		return "body"
	}
	return clean(out.String(), maxID)
}

// emptyName stands for the empty name of a member.
const emptyName = `""`

// memberOf returns the path of a member as clients are told it.
func memberOf(path, name string) string {
	name = cmp.Or(name, emptyName)
	if path == "" {
		return name
	}
	return path + "." + name
}

func isIndex(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// decodeKnown decodes the members of a body that its schema knows, for validation. It
// skips all others, and the items of a list beyond one more than are allowed: what a
// client adds to a body costs no memory.
func decodeKnown(body []byte, s *huma.Schema, registry huma.Registry) (any, error) {
	dec := jsontext.NewDecoder(bytes.NewReader(body))
	v, err := decodeValue(dec, s, registry)
	if err != nil {
		return nil, err
	}
	if _, err := dec.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, errTrailing
	}
	return v, nil
}

var errTrailing = errors.New("httpapi: something follows the body")

func decodeValue(dec *jsontext.Decoder, s *huma.Schema, registry huma.Registry) (any, error) {
	s = resolve(s, registry)
	switch dec.PeekKind() {
	case jsontext.KindBeginObject:
		return decodeObject(dec, s, registry)
	case jsontext.KindBeginArray:
		return decodeArray(dec, s, registry)
	case jsontext.KindNumber:
		raw, err := dec.ReadValue()
		if err != nil {
			return nil, err
		}
		n, _ := strconv.ParseFloat(string(raw), 64) // infinite beyond the range
		return n, nil
	}
	token, err := dec.ReadToken()
	if err != nil {
		return nil, err
	}
	switch token.Kind() {
	case jsontext.KindString:
		return token.String(), nil
	case jsontext.KindTrue, jsontext.KindFalse:
		return token.Bool(), nil
	}
	return nil, nil
}

func decodeObject(dec *jsontext.Decoder, s *huma.Schema, registry huma.Registry) (any, error) {
	members := make(map[string]any)
	if s == nil {
		return members, dec.SkipValue()
	}
	if _, err := dec.ReadToken(); err != nil {
		return nil, err
	}
	for dec.PeekKind() == jsontext.KindString {
		name, err := dec.ReadToken()
		if err != nil {
			return nil, err
		}
		text := name.String()
		m := member(s, text)
		if m == nil {
			err = dec.SkipValue()
		} else {
			members[text], err = decodeValue(dec, m, registry)
		}
		if err != nil {
			return nil, err
		}
	}
	_, err := dec.ReadToken()
	return members, err
}

func decodeArray(dec *jsontext.Decoder, s *huma.Schema, registry huma.Registry) (any, error) {
	items := []any{}
	if s == nil || s.Items == nil {
		return items, dec.SkipValue()
	}
	if _, err := dec.ReadToken(); err != nil {
		return nil, err
	}
	most := maxPlaces
	if s.MaxItems != nil {
		most = *s.MaxItems
	}
	for {
		switch dec.PeekKind() {
		case jsontext.KindEndArray, jsontext.KindInvalid:
			_, err := dec.ReadToken()
			return items, err
		}
		if len(items) > most {
			if err := dec.SkipValue(); err != nil {
				return nil, err
			}
			continue
		}
		v, err := decodeValue(dec, s.Items, registry)
		if err != nil {
			return nil, err
		}
		items = append(items, v)
	}
}

// maxPlaces bounds how many items of a list are looked at. A client hears of maxProblems
// alone.
const maxPlaces = 1000

// An inspector walks a body along its schema. It skips whatever the schema does not
// know, so the time grows with the length of the body alone.
type inspector struct {
	dec      *jsontext.Decoder
	route    *route
	places   map[string]int
	problems []*problem
}

// inspect returns where each field stands in a well-formed body, and the members
// that are missing or unknown.
func inspect(body []byte, r *route) (map[string]int, []*problem) {
	in := &inspector{dec: jsontext.NewDecoder(bytes.NewReader(body)), route: r, places: make(map[string]int)}
	in.value("", r.schema)
	return in.places, in.problems
}

// value walks one value and reports whether it counts as given: null does not,
// and an empty text does not where a text is required.
func (in *inspector) value(path string, s *huma.Schema) (given bool) {
	in.places[clean(path, maxID)] = int(in.dec.InputOffset())
	s = resolve(s, in.route.registry)
	if s == nil {
		isNull := in.dec.PeekKind() == jsontext.KindNull
		_ = in.dec.SkipValue()
		return !isNull
	}
	switch in.dec.PeekKind() {
	case jsontext.KindBeginObject:
		in.object(path, s)
		return true
	case jsontext.KindBeginArray:
		_, _ = in.dec.ReadToken()
		for i := 0; in.dec.PeekKind() != jsontext.KindEndArray && in.dec.PeekKind() != jsontext.KindInvalid; i++ {
			if s.Items == nil || i >= maxPlaces {
				_ = in.dec.SkipValue()
				continue
			}
			in.value(path+"["+strconv.Itoa(i)+"]", s.Items)
		}
		_, _ = in.dec.ReadToken()
		return true
	case jsontext.KindNull:
		_ = in.dec.SkipValue()
		return false
	}
	raw, _ := in.dec.ReadValue()
	return string(raw) != `""` || s.Type != huma.TypeString || s.MinLength == nil || *s.MinLength == 0
}

func (in *inspector) object(path string, s *huma.Schema) {
	_, _ = in.dec.ReadToken()
	given := make(map[string]bool)
	for in.dec.PeekKind() == jsontext.KindString {
		token, err := in.dec.ReadToken()
		if err != nil {
			return
		}
		name := token.String()
		known, m := in.route.strict[s], member(s, name)
		isUnknown := known != nil && !slices.Contains(known, name)
		if m == nil && !isUnknown || len(in.problems) >= maxProblems {
			_ = in.dec.SkipValue()
			continue
		}
		field := memberOf(path, name)
		if isUnknown {
			in.add(unknown, field, fmt.Sprintf("%s cannot be given here; use %s", clean(field, maxID), listed(known)))
		}
		given[name] = in.value(field, m)
	}
	_, _ = in.dec.ReadToken()
	if len(in.problems) >= maxProblems {
		return // whatever else is wrong, the client does not hear of it
	}
	for _, name := range s.Required {
		if given[name] {
			continue
		}
		field := memberOf(path, name)
		in.add(missing, field, label(field)+" is required")
	}
}

func (in *inspector) add(s severity, field, message string) {
	in.problems = append(in.problems, &problem{
		FieldError: domain.FieldError{Field: clean(field, maxID), Message: message}, severity: s, at: notFound,
	})
}

// listed joins names: "a, b or c".
func listed(names []string) string {
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:len(names)-1], ", ") + " or " + names[len(names)-1]
}
