package httpapi

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"
	"unicode"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/validation"

	"github.com/switchyard-wa/switchyard/domain"
)

// maxProblems bounds how many problems a client hears of one request.
const maxProblems = 50

// A problem is something wrong with one field of a request.
type problem struct {
	domain.FieldError
	code     domain.Code // empty: VALIDATION_ERROR
	severity severity
	at       int // offset in the body; notFound if it is not there
}

// severity decides between several problems of one field.
type severity uint8

const (
	rule      severity = iota // of the domain, or of several fields together
	violation                 // of a limit in the declaration; a rule on the same field takes precedence
	missing                   // like violation
	unknown                   // like violation
	mistyped                  // takes precedence over rules, which see no value
)

const notFound = -1

// Error is for huma, which collects errors.
func (p *problem) Error() string { return p.Message }

// ErrorDetail passes the problem through huma's own error type.
func (p *problem) ErrorDetail() *huma.ErrorDetail {
	return &huma.ErrorDetail{Message: p.Message, Value: p}
}

// problems collects what rules find wrong, for huma's resolvers to return.
type problems []error

func (p *problems) add(field, format string, args ...any) {
	if len(*p) < maxProblems {
		*p = append(*p, &problem{FieldError: domain.FieldError{Field: field, Message: fmt.Sprintf(format, args...)}, at: notFound})
	}
}

// addMistyped records that a value is of the wrong type, at its place in the body.
func (p *problems) addMistyped(field, what string) {
	if len(*p) < maxProblems {
		*p = append(*p, &problem{FieldError: domain.FieldError{Field: field, Message: field + " must be " + what}, severity: mistyped, at: notFound})
	}
}

func (p *problems) addMissing(field, what string) { p.add(field, "%s is required", what) }

// check records err, if there is one.
func (p *problems) check(field string, err error) {
	var e *domain.Error
	switch {
	case err == nil:
	case errors.As(err, &e):
		p.add(field, "%s", e.Message)
	default:
		p.add(field, "%s", err.Error())
	}
}

// merge takes over the problems that err lists.
func (p *problems) merge(err error) {
	if err == nil {
		return
	}
	var e *domain.Error
	if !errors.As(err, &e) {
		return
	}
	code := e.Code
	if code == domain.CodeValidation {
		code = ""
	}
	for _, f := range e.Fields {
		*p = append(*p, &problem{FieldError: f, code: code, at: notFound})
	}
}

// text applies a rule to a text and returns what the rule makes of it. An empty
// text is the declaration's to require.
func (p *problems) text(field, s string, rule func(string) (string, error)) string {
	if s == "" {
		return ""
	}
	v, err := rule(s)
	p.check(field, err)
	return v
}

// optional applies a rule to a text that may be missing.
func optional[T any](p *problems, field string, s *string, rule func(string) (T, error)) *T {
	if s == nil {
		return nil
	}
	v, err := rule(*s)
	p.check(field, err)
	return &v
}

// valueOf returns what p points to, or the zero value for nil.
func valueOf[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// invalid returns the error for a request in which huma found something wrong,
// with every problem: types and limits, members that are missing or unknown, and
// the rules of the domain.
func (c *requestContext) invalid(details []*huma.ErrorDetail) error {
	if c.body.err != nil {
		return c.body.err
	}
	body := c.document()
	for _, d := range details {
		if s, ok := d.Value.(string); ok && d.Location == "body" && len(body) == 0 {
			body = []byte(s) // too long to have been kept
		}
	}
	var rules []error
	if c.rules != nil {
		rules = c.rules()
	}
	return c.route.explain(body, details, c.queryProblems, rules)
}

// explain returns the error for a body with every problem. query has the problems of
// the query's form.
func (r *route) explain(body []byte, details []*huma.ErrorDetail, query problems, rules []error) error {
	if r.hot && len(body) > 0 {
		details = r.validate(body)
	}
	var list []*problem
	for _, d := range details {
		if p, ok := d.Value.(*problem); ok {
			list = append(list, p)
			continue
		}
		if _, isObject := d.Value.(map[string]any); d.Location == "body" && isObject {
			continue // members are missing, which inspect finds
		}
		if d.Location == "body" {
			return malformedBody(body)
		}
		if p := r.translate(d); p != nil {
			list = append(list, p)
		}
	}
	for _, err := range slices.Concat(query, rules) {
		list = append(list, err.(*problem)) //nolint:errorlint // rules return problems alone
	}
	if r.schema != nil && len(body) > 0 {
		places, more := inspect(body, r)
		list = append(list, more...)
		for _, p := range list {
			p.at = notFound
			if at, ok := places[p.Field]; ok && p.severity != rule && p.severity != missing {
				p.at = at
			}
		}
	}
	return r.arrange(list)
}

// validate returns what huma finds wrong with a body that it did not validate.
func (r *route) validate(body []byte) []*huma.ErrorDetail {
	parsed, err := decodeKnown(body, r.schema, r.registry)
	if err != nil {
		return []*huma.ErrorDetail{{Location: "body", Message: err.Error()}}
	}
	path, result := huma.NewPathBuffer(nil, 0), new(huma.ValidateResult)
	path.Push("body")
	huma.Validate(r.registry, r.schema, path, huma.ModeWriteToServer, parsed, result)
	var details []*huma.ErrorDetail
	for _, err := range result.Errors {
		var d *huma.ErrorDetail
		if errors.As(err, &d) {
			details = append(details, d)
		}
	}
	return details
}

// document returns the body that was decoded, or nothing if it was not kept.
func (c *requestContext) document() []byte {
	body := c.buffers.in.Bytes()
	if c.body.empty || len(body) > 0 && len(bytes.TrimLeft(body, " \t\r\n")) == 0 {
		return []byte("{}")
	}
	return body
}

// translate puts what huma says of a field into our words. It returns nil for
// members that are missing or unknown, which inspect finds.
func (r *route) translate(d *huma.ErrorDetail) *problem {
	p := &problem{severity: violation, at: notFound}
	where, field, _ := strings.Cut(d.Location, ".")
	p.Field = clean(field, maxID)
	var s *huma.Schema
	if where == "body" {
		s = schemaAt(r.schema, r.registry, field)
	} else {
		s = r.params[field]
	}
	isItem := strings.HasSuffix(field, "]")
	switch {
	case d.Value == nil && !isItem, d.Message == validation.MsgUnexpectedProperty:
		return nil
	case s == nil: // the name of a label can look like a path
		p.Message = p.Field + " is not as the description at /docs has it"
		return p
	case where != "body" && s.Type == huma.TypeString:
		p.Message = field + " " + strings.TrimPrefix(d.Message, "invalid value: ")
		return p
	case where == "body" && !isOf(s, d.Value):
		p.severity = mistyped
	case s.Type == huma.TypeObject:
		return nil
	}
	p.Message = p.Field + " must be " + describe(s, p.severity)
	return p
}

// isOf reports whether a value is of the type that a schema asks for.
func isOf(s *huma.Schema, v any) bool {
	switch v.(type) {
	case string:
		return s.Type == huma.TypeString
	case bool:
		return s.Type == huma.TypeBoolean
	case float64:
		return s.Type == huma.TypeNumber || s.Type == huma.TypeInteger
	case []any:
		return s.Type == huma.TypeArray
	case map[string]any:
		return s.Type == huma.TypeObject
	}
	return false
}

// describe says what a value must be.
func describe(s *huma.Schema, sev severity) string {
	switch s.Type {
	case huma.TypeBoolean:
		return "true or false"
	case huma.TypeInteger:
		switch {
		case sev == mistyped:
			return "a number"
		case s.Minimum != nil && (s.Maximum == nil || *s.Maximum >= math.MaxInt32):
			return fmt.Sprintf("a whole number of at least %.0f", *s.Minimum)
		case s.Minimum != nil:
			return fmt.Sprintf("a whole number from %.0f to %.0f", *s.Minimum, *s.Maximum)
		}
		return "a whole number"
	case huma.TypeNumber:
		if sev == violation && s.Minimum != nil && s.Maximum != nil {
			return fmt.Sprintf("a number from %v to %v", *s.Minimum, *s.Maximum)
		}
		return "a number"
	case huma.TypeArray:
		if sev == violation && s.MaxItems != nil {
			return fmt.Sprintf("a list of at most %d", *s.MaxItems)
		}
		return "an array"
	case huma.TypeObject:
		return "an object"
	}
	switch {
	case sev == mistyped:
		return "a string"
	case s.MaxLength != nil && s.MinLength != nil:
		return fmt.Sprintf("plain text of %d to %d characters", *s.MinLength, *s.MaxLength)
	case s.MaxLength != nil:
		return fmt.Sprintf("plain text of at most %d characters", *s.MaxLength)
	}
	return "plain text that is not empty"
}

// resolve follows references.
func resolve(s *huma.Schema, registry huma.Registry) *huma.Schema {
	for s != nil && s.Ref != "" {
		s = registry.SchemaFromRef(s.Ref)
	}
	return s
}

// schemaAt returns the schema of a field such as poll.options[1], or nil.
func schemaAt(s *huma.Schema, registry huma.Registry, field string) *huma.Schema {
	for s = resolve(s, registry); s != nil && field != ""; s = resolve(s, registry) {
		if strings.HasPrefix(field, "[") {
			_, field, _ = strings.Cut(field, "]")
			field = strings.TrimPrefix(field, ".")
			s = s.Items
			continue
		}
		name := field
		if end := strings.IndexAny(field, ".["); end >= 0 {
			name = field[:end]
		}
		field = strings.TrimPrefix(field[len(name):], ".")
		s = member(s, name)
	}
	return s
}

// member returns the schema of an object's member, or nil.
func member(s *huma.Schema, name string) *huma.Schema {
	if s == nil {
		return nil
	}
	if m := s.Properties[name]; m != nil {
		return m
	}
	other, _ := s.AdditionalProperties.(*huma.Schema)
	return other
}

// arrange decides between problems of the same field, and puts the problems into
// order: those at a place in the body by that place, then members missing within an
// object, then rules and other missing members in the order of the declaration, and
// parameters last.
func (r *route) arrange(list []*problem) error {
	var rules []*problem
	found := make(map[string]*problem) // by field: the gravest, rules apart
	ruled := make(map[string]bool)
	for _, p := range list {
		if p.severity == rule {
			rules = append(rules, p)
			ruled[p.Field] = true
		}
	}
	for _, p := range list {
		if p.severity == rule || p.severity != mistyped && ruled[p.Field] {
			continue
		}
		if before := found[p.Field]; before == nil || p.severity > before.severity {
			found[p.Field] = p
		}
	}
	kept := slices.Collect(maps.Values(found))
	for _, p := range rules {
		told := func(q *problem) bool {
			return q.severity != rule && isWithin(q.Field, p.Field) || q.severity == mistyped && isWithin(p.Field, q.Field)
		}
		if !slices.ContainsFunc(kept, told) {
			kept = append(kept, p)
		}
	}
	slices.SortStableFunc(kept, func(p, q *problem) int {
		return cmp.Or(cmp.Compare(r.group(p), r.group(q)), cmp.Compare(p.at, q.at), cmp.Compare(r.position(p), r.position(q)))
	})
	return asError(kept)
}

func (r *route) group(p *problem) int {
	_, isParam := r.params[p.Field]
	switch {
	case p.at >= 0:
		return 0
	case p.severity == missing && strings.Contains(p.Field, "."):
		return 1
	case isParam:
		return 3
	}
	return 2
}

// position returns where the declaration has a field.
func (r *route) position(p *problem) int {
	name := p.Field
	if end := strings.IndexAny(name, ".["); end >= 0 {
		name = name[:end]
	}
	if i := slices.Index(r.fields, name); i >= 0 {
		return i
	}
	return len(r.fields)
}

// isWithin reports whether a field is another, or part of it.
func isWithin(field, whole string) bool {
	rest, ok := strings.CutPrefix(field, whole)
	return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
}

func asError(list []*problem) error {
	if len(list) == 0 {
		return malformed("body", "Request is not valid; compare it with the description at /docs")
	}
	list = list[:min(len(list), maxProblems)]
	e := &domain.Error{Kind: domain.Invalid, Code: cmp.Or(list[0].code, domain.CodeValidation), Message: list[0].Message}
	for _, p := range list {
		if p.code != list[0].code {
			e.Code = domain.CodeValidation
		}
		e.Fields = append(e.Fields, p.FieldError)
	}
	return e
}

func malformed(field, message string) *domain.Error {
	return &domain.Error{
		Kind: domain.Invalid, Code: domain.CodeValidation, Message: message,
		Fields: []domain.FieldError{{Field: field, Message: message}},
	}
}

// label turns the name of a field into words: "refreshToken" becomes "Refresh token".
func label(field string) string {
	field = field[strings.LastIndexByte(field, '.')+1:]
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
	if words, ok := strings.CutSuffix(b.String(), " id"); ok {
		return words + " ID"
	}
	return b.String()
}

// A requirement lists the members of a struct that must not be missing. huma
// takes a member in another case for present, and the decoder does not.
type requirement struct {
	index  int
	nested []requirement // of an embedded struct, or of an optional one
}

// requirements returns what has to be there in a body of type t.
func requirements(t reflect.Type) []requirement {
	var list []requirement
	for i := range t.NumField() {
		f := t.Field(i)
		tag := f.Tag.Get("json")
		required := f.Tag.Get("required") == "true" || !strings.Contains(tag, ",omit")
		switch {
		case !f.IsExported() || tag == "-":
		case f.Anonymous:
			if nested := requirements(f.Type); len(nested) > 0 {
				list = append(list, requirement{i, nested})
			}
		case f.Type.Kind() == reflect.Pointer && f.Type.Elem().Kind() == reflect.Struct:
			if nested := requirements(f.Type.Elem()); len(nested) > 0 {
				list = append(list, requirement{i, nested})
			}
		case required && (f.Type.Kind() == reflect.Pointer || f.Type.Kind() == reflect.String && f.Tag.Get("minLength") != ""):
			list = append(list, requirement{index: i})
		}
	}
	return list
}

// isComplete reports whether a decoded body has all that is required.
func isComplete(v reflect.Value, list []requirement) bool {
	for _, r := range list {
		f := v.Field(r.index)
		switch {
		case r.nested == nil:
			if f.IsZero() {
				return false
			}
		case f.Kind() == reflect.Struct:
			if !isComplete(f, r.nested) {
				return false
			}
		case !f.IsNil() && !isComplete(f.Elem(), r.nested):
			return false
		}
	}
	return true
}

const (
	maxID         = 255  // bytes of an id from outside
	maxWorkerText = 1024 // bytes of a text from a worker
)

// clean returns s as text that every store keeps and can be asked for.
func clean(s string, most int) string { return domain.StorableText(s, most) }

// normalizeSession and normalizeWorker return an id in its one spelling.
func normalizeSession(s string) string { return domain.NormalizeSessionRef(clean(s, maxID)) }
func normalizeWorker(s string) string  { return domain.NormalizeWorkerRef(clean(s, maxID)) }
