package httpapi

import (
	"errors"
	"strings"

	"github.com/switchyard-wa/switchyard/domain"
)

// The one style of validation: a decoder reads everything first, and then says
// of each field what is wrong, once.

// need returns a text that has to be there.
func (b *body) need(field string, s *string, what string) string {
	if s == nil || *s == "" {
		b.lack(field, what)
		return ""
	}
	return *s
}

// lack records that something is missing, unless its type was wrong already.
func (b *body) lack(field, what string) { b.once(field, "%s is required", what) }

// once records a problem with a field that has none yet.
func (b *body) once(field, format string, args ...any) {
	if b.count >= maxProblems {
		return
	}
	var e *domain.Error
	if errors.As(b.problems.Err(), &e) && mentions(e.Fields, field) {
		return
	}
	b.add(field, format, args...)
}

// checked returns a text that has to be there and follows a rule.
func (b *body) checked(field string, s *string, what string, rule func(string) (string, error)) string {
	raw := b.need(field, s, what)
	if raw == "" {
		return ""
	}
	v, err := rule(raw)
	b.check(field, err)
	return v
}

// optional reads a string that may not be there.
func (b *body) optional(to **string) {
	var s string
	if b.string(&s) {
		*to = &s
	}
}

// unknown refuses the present member, where it would do harm to overlook it.
func (b *body) unknown(known string) {
	if b.skip(); b.err == nil {
		at := b.path()
		b.add(at, "%s cannot be given here; use %s", at, known)
	}
}

// also takes over the problems that err lists, apart from those with fields
// that have one already.
func (b *body) also(err error) {
	var e *domain.Error
	if !errors.As(err, &e) {
		return
	}
	for _, f := range e.Fields {
		b.once(f.Field, "%s", f.Message)
	}
}

// mentions reports whether there is a problem with the field, or within it.
func mentions(fields []domain.FieldError, name string) bool {
	for _, f := range fields {
		within, ok := strings.CutPrefix(f.Field, name)
		if ok && (within == "" || within[0] == '.' || within[0] == '[') {
			return true
		}
	}
	return false
}
