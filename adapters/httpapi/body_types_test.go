package httpapi

import (
	"cmp"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
)

// valuesOf are values of JSON by the type of a schema.
var valuesOf = map[string][]string{
	huma.TypeString:  {`"text"`, `"7"`, `"true"`, `""`},
	huma.TypeNumber:  {`7`, `0`, `1e999`},
	huma.TypeBoolean: {`true`, `false`},
	huma.TypeArray:   {`[]`, `["text"]`, `[{}]`},
	huma.TypeObject:  {`{}`, `{"x":"text"}`},
}

// wrongValues returns values of every type but the one of a schema.
func wrongValues(s *huma.Schema) []string {
	var list []string
	for kind, values := range valuesOf {
		if kind != s.Type && (kind != huma.TypeNumber || s.Type != huma.TypeInteger) {
			list = append(list, values...)
		}
	}
	return list
}

// A bodyMember is a member of a body, at any depth.
type bodyMember struct {
	path   []string // names; "0" for the item of a list
	schema *huma.Schema
	must   bool // be given
}

// field returns the path as clients are told it.
func (m bodyMember) field() string {
	var b strings.Builder
	for _, name := range m.path {
		switch {
		case name == "0":
			b.WriteString("[0]")
		case b.Len() == 0:
			b.WriteString(name)
		default:
			b.WriteString("." + name)
		}
	}
	return b.String()
}

// membersOf lists the members of a Go type with their schemas, at any depth.
func membersOf(t *testing.T, r *route, path []string, typ reflect.Type, s *huma.Schema) []bodyMember {
	t.Helper()
	s = resolve(s, r.registry)
	for typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	if typ == reflect.TypeFor[bulkMessages]() {
		typ = reflect.TypeFor[[]bulkMessage]()
	}
	within := func(name string) []string { return append(path[:len(path):len(path)], name) }
	var list []bodyMember
	switch typ.Kind() {
	case reflect.Struct:
		if s.Type != huma.TypeObject {
			return nil // a value of its own
		}
		for _, f := range reflect.VisibleFields(typ) {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if f.Anonymous || !f.IsExported() || name == "" || name == "-" {
				continue
			}
			if f.Type == reflect.TypeFor[refusedMember]() {
				continue // any value is refused
			}
			m := bodyMember{path: within(name), schema: resolve(s.Properties[name], r.registry)}
			require.NotNil(t, m.schema, "%s %s: the document does not have it", r.id, m.field())
			for _, required := range s.Required {
				m.must = m.must || required == name
			}
			list = append(append(list, m), membersOf(t, r, m.path, f.Type, m.schema)...)
		}
	case reflect.Slice:
		item := bodyMember{path: within("0"), schema: resolve(s.Items, r.registry)}
		list = append(append(list, item), membersOf(t, r, item.path, typ.Elem(), item.schema)...)
	case reflect.Map:
		other, ok := s.AdditionalProperties.(*huma.Schema)
		require.True(t, ok, "%s: %v", r.id, path)
		value := bodyMember{path: within("pool"), schema: resolve(other, r.registry)}
		list = append(append(list, value), membersOf(t, r, value.path, typ.Elem(), value.schema)...)
	}
	return list
}

// withValue returns a body with a value at a path.
func withValue(t *testing.T, body string, path []string, value string) string {
	t.Helper()
	if len(path) == 0 {
		return value
	}
	if path[0] == "0" {
		return "[" + withValue(t, "", path[1:], value) + "]"
	}
	members := map[string]jsontext.Value{}
	if body != "" {
		require.NoError(t, json.Unmarshal([]byte(body), &members))
	}
	members[path[0]] = jsontext.Value(withValue(t, string(members[path[0]]), path[1:], value))
	out, err := json.Marshal(members, json.Deterministic(true))
	require.NoError(t, err)
	return string(out)
}

// clientRoutes returns the routes with a body that comes from a client, with the type of
// the body. The bodies of workers are read leniently.
func clientRoutes() map[*route]reflect.Type {
	found := make(map[*route]reflect.Type)
	for _, r := range theSurface().routes {
		if r.schema != nil {
			found[r] = r.registry.TypeFromRef(r.schema.Ref)
		}
	}
	return found
}

// A value of a wrong type is never taken for none, for zero, or for a value of another
// type. Null stands for none where a member may be missing, and nowhere else.
func TestBodies_ValueOfWrongType_IsRefusedByField(t *testing.T) {
	checked := 0
	for r, typ := range clientRoutes() {
		for _, m := range membersOf(t, r, nil, typ, r.schema) {
			require.NotEmpty(t, m.schema.Type, "%s %s: the document does not have its type", r.id, m.field())
			wrong := wrongValues(m.schema)
			if m.must || m.path[len(m.path)-1] == "0" {
				wrong = append(wrong, "null")
			}
			for _, value := range wrong {
				body := withValue(t, bodies[r.method+" "+r.path], m.path, value)
				name := r.id + " " + body
				if r.sendsMany && len(m.path) > 1 {
					assertRefusedMessage(t, r, m, value, body)
					checked++
					continue
				}
				got, s := ask(t, r.method, example(r), tokenFor(r), body)
				assert.Equal(t, http.StatusBadRequest, got.Code, name)
				if value != "null" || m.field() != "type" { // a message without a type has a code of its own
					assert.Equal(t, domain.CodeValidation, got.Error.Code, name)
				}
				assert.Contains(t, got.fields(), m.field(), name)
				assert.Zero(t, s.calls, name)
				checked++
			}
		}
	}
	assert.Greater(t, checked, 1000, "members × values")
}

// assertRefusedMessage requires that a member of the only message of a list is refused, and not the list.
func assertRefusedMessage(t *testing.T, r *route, m bodyMember, value, body string) {
	t.Helper()
	s := &stub{}
	got := serveUnchecked(t, New(config(s)), request(r.method, example(r), tokenFor(r), body)) // the document allows no wrong message
	require.Equal(t, http.StatusOK, got.Code, body)
	assert.Zero(t, s.calls, body)
	result := got.results()[0]
	assert.Equal(t, http.StatusBadRequest, result.StatusCode, body)
	field := bodyMember{path: m.path[2:]}.field()
	if value != "null" || field != "type" {
		assert.Equal(t, domain.CodeValidation, result.Error.Code, body)
	}
	assert.Contains(t, result.fields(), cmp.Or(field, "body"), body)
}
