package httpapi

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/switchyard-wa/switchyard/domain"
)

// A body reads one JSON object, member by member, and collects what is wrong
// with it rather than stopping at the first problem:
//
//	for b.next() {
//		switch b.member() {
//		case "to":
//			b.string(&m.To)
//		}
//	}
//	return b.end()
//
// Members that nobody reads are skipped, and null is like a member that is not
// there. Malformed JSON and a name that is there twice end the reading; end
// reports them.
type body struct {
	src      bytes.Buffer
	limited  io.LimitedReader
	dec      jsontext.Decoder
	name     []byte // of the present member, until the next read
	unread   bool   // the value of the present member or item
	err      error  // ends the reading
	problems domain.Problems
	count    int // of problems
	missing  bool
	worker   string // which sends it, as far as it says; see workerID
}

// What a client hears of one request; the rest is more of the same.
const maxProblems = 50

// open begins to read what is in src. Nothing at all counts as an empty object.
func (b *body) open() {
	b.name, b.unread, b.err, b.problems, b.count, b.worker = nil, false, nil, domain.Problems{}, 0, ""
	if b.missing = len(bytes.TrimSpace(b.src.Bytes())) == 0; b.missing {
		return
	}
	b.dec.Reset(&b.src)
	kind := b.dec.PeekKind()
	switch {
	case kind == jsontext.KindBeginObject:
		_, b.err = b.dec.ReadToken()
	case kind == jsontext.KindInvalid:
		_, b.err = b.dec.ReadToken()
	default:
		b.err = malformed("body", "Request body must be a JSON object")
	}
}

// next moves to the next member of the object that is being read, and reports
// whether there is one.
func (b *body) next() bool {
	if b.missing || !b.settle() {
		return false
	}
	if b.dec.PeekKind() == jsontext.KindEndObject {
		_, b.err = b.dec.ReadToken()
		return false
	}
	raw, err := b.dec.ReadValue()
	if err != nil {
		b.err = err
		return false
	}
	b.name = raw[1 : len(raw)-1]
	if bytes.IndexByte(raw, '\\') >= 0 {
		b.name, b.err = jsontext.AppendUnquote(nil, raw)
	}
	b.unread = true
	return b.err == nil
}

// member is the name of the present member.
func (b *body) member() string { return string(b.name) }

// item moves to the next item of the array that is being read, and reports
// whether there is one.
func (b *body) item() bool {
	if !b.settle() {
		return false
	}
	if b.dec.PeekKind() == jsontext.KindEndArray {
		_, b.err = b.dec.ReadToken()
		return false
	}
	b.unread = true
	return true
}

// settle skips a value that nobody has read.
func (b *body) settle() bool {
	if b.err == nil && b.unread {
		b.skip()
	}
	return b.err == nil
}

func (b *body) skip() {
	b.unread = false
	b.err = b.dec.SkipValue()
}

// kind peeks at the value.
func (b *body) kind() jsontext.Kind { return b.dec.PeekKind() }

// is reports whether the value is of the kind; if it is another, other than
// null, that is a problem.
func (b *body) is(kind jsontext.Kind, what string) bool {
	k := b.dec.PeekKind()
	if k == kind {
		return true
	}
	b.skip()
	if b.err == nil && k != jsontext.KindNull {
		b.mistyped(what)
	}
	return false
}

// mistyped records that the value just read is not what it should be.
func (b *body) mistyped(what string) {
	at := b.path()
	b.add(at, "%s must be %s", at, what)
}

// add records a problem with a field.
func (b *body) add(field, format string, args ...any) {
	if b.count++; b.count <= maxProblems {
		b.problems.Add(field, format, args...)
	}
}

// check records err, if it is one, as a problem with a field.
func (b *body) check(field string, err error) {
	if err == nil {
		return
	}
	if b.count++; b.count <= maxProblems {
		b.problems.Check(field, err)
	}
}

// object enters the value, which should be an object: its members follow from next.
func (b *body) object() bool {
	if !b.is(jsontext.KindBeginObject, "an object") {
		return false
	}
	b.unread = false
	_, b.err = b.dec.ReadToken()
	return b.err == nil
}

// array enters the value, which should be an array: its items follow from item.
func (b *body) array() bool {
	if !b.is(jsontext.KindBeginArray, "an array") {
		return false
	}
	b.unread = false
	_, b.err = b.dec.ReadToken()
	return b.err == nil
}

func (b *body) value() (jsontext.Value, bool) {
	b.unread = false
	v, err := b.dec.ReadValue()
	b.err = err
	return v, err == nil
}

// string reads a string and reports whether there was one.
func (b *body) string(to *string) bool {
	if !b.is(jsontext.KindString, "a string") {
		return false
	}
	raw, ok := b.value()
	if !ok {
		return false
	}
	if bytes.IndexByte(raw, '\\') < 0 {
		*to = string(raw[1 : len(raw)-1])
		return true
	}
	text, err := jsontext.AppendUnquote(make([]byte, 0, len(raw)), raw)
	b.err = err
	*to = string(text)
	return err == nil
}

// text reads a string as every store keeps it, cut to a length in bytes.
func (b *body) text(to *string, most int) {
	var s string
	if b.string(&s) {
		*to = clean(s, most)
	}
}

// bool reads a boolean and reports whether there was one.
func (b *body) bool(to *bool) bool {
	if b.kind() != jsontext.KindFalse && !b.is(jsontext.KindTrue, "true or false") {
		return false
	}
	raw, ok := b.value()
	*to = len(raw) == len("true")
	return ok
}

// number reads a number. One beyond the range of a float64 is infinite.
func (b *body) number(to *float64) bool {
	if !b.is(jsontext.KindNumber, "a number") {
		return false
	}
	raw, ok := b.value()
	if !ok {
		return false
	}
	*to, _ = strconv.ParseFloat(string(raw), 64) // the grammar holds; the range is said above
	return true
}

// integer reads a whole number within bounds.
func (b *body) integer(to *int64, least, most int64) bool {
	var f float64
	switch {
	case !b.number(&f):
		return false
	case f != math.Trunc(f) || f < float64(least) || f > float64(most):
		b.mistyped(fmt.Sprintf("a whole number from %d to %d", least, most))
		return false
	}
	*to = int64(f)
	return true
}

// time reads a point in time: RFC 3339, or a number of milliseconds (or
// seconds) since 1970.
func (b *body) time(to *time.Time) {
	if b.kind() != jsontext.KindNumber && !b.is(jsontext.KindString, "a string") {
		return
	}
	t, ok := b.moment()
	if !ok {
		b.mistyped(timeRule)
		return
	}
	*to = t
}

// moment reads a number or a string as a point in time; an empty string is the
// zero time.
func (b *body) moment() (time.Time, bool) {
	if b.kind() == jsontext.KindNumber {
		var f float64
		b.number(&f)
		return unixTime(f)
	}
	var s string
	if b.string(&s); s == "" {
		return time.Time{}, true
	}
	return parseTime(s)
}

const timeRule = "a time such as 2025-01-31T10:00:00Z"

func parseTime(s string) (time.Time, bool) {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return time.Time{}, false
	}
	t = t.UTC()
	return t, inRange(t)
}

func unixTime(f float64) (time.Time, bool) {
	if f < 1e11 { // in seconds until the year 5138; in milliseconds before 1973
		f *= 1000
	}
	if !(f >= 0 && f < 1e15) {
		return time.Time{}, false
	}
	t := time.UnixMilli(int64(f)).UTC()
	return t, inRange(t)
}

// inRange keeps to times that every store can hold.
func inRange(t time.Time) bool { return t.Year() >= 1970 && t.Year() <= 9999 }

// strings reads an array of strings.
func (b *body) strings(to *[]string) bool {
	if !b.array() {
		return false
	}
	list := []string{}
	for b.item() {
		var s string
		if b.string(&s) {
			list = append(list, s)
		}
	}
	*to = list
	return true
}

// path names the value just read, as in sessions[3].status.
func (b *body) path() string { return dotted(string(b.dec.StackPointer())) }

// dotted turns a JSON pointer into the way fields are named to clients.
func dotted(pointer string) string {
	var out strings.Builder
	for token := range jsontext.Pointer(pointer).Tokens() {
		switch {
		case isIndex(token):
			out.WriteString("[" + token + "]")
		case out.Len() > 0:
			out.WriteString("." + token)
		default:
			out.WriteString(token)
		}
	}
	if out.Len() == 0 {
		return "body"
	}
	return clean(out.String(), maxID)
}

func isIndex(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// broken returns the error that ended the reading, or nil. It comes once
// everything has been read, so that it sees what stands after the object.
func (b *body) broken() error {
	if b.missing {
		return nil
	}
	if b.err == nil {
		if _, err := b.dec.ReadToken(); err == nil {
			b.err = malformed("body", "Request body must be one JSON object with nothing after it")
		} else if !errors.Is(err, io.EOF) {
			b.err = err
		}
	}
	if b.err == nil {
		return nil
	}
	var e *domain.Error
	if errors.As(b.err, &e) {
		return e
	}
	var syntax *jsontext.SyntacticError
	if !errors.As(b.err, &syntax) {
		return malformed("body", "Request body is not valid JSON")
	}
	if errors.Is(syntax, jsontext.ErrDuplicateName) {
		field := dotted(string(syntax.JSONPointer))
		return malformed(field, field+" is there twice; give it once")
	}
	return malformed("body", fmt.Sprintf("Request body is not valid JSON: %v at byte %d",
		syntax.Err, syntax.ByteOffset))
}

// end finishes the reading and returns everything that was wrong, or nil.
func (b *body) end() error {
	if err := b.broken(); err != nil {
		return err
	}
	return b.problems.Err()
}

// endWith is end for a value with rules of its own. If the body was all right
// it leaves these to the use case; otherwise it adds what they say of other
// fields, so that the client hears of everything at once.
func (b *body) endWith(validate func() error) error {
	if err := b.broken(); err != nil {
		return err
	}
	err := b.problems.Err()
	if err == nil {
		return nil
	}
	b.also(validate())
	return b.problems.Err()
}

func malformed(field, message string) *domain.Error {
	return &domain.Error{
		Kind: domain.Invalid, Code: domain.CodeValidation, Message: message,
		Fields: []domain.FieldError{{Field: field, Message: message}},
	}
}

const (
	maxID   = 255  // bytes of an id from outside
	maxNote = 1024 // bytes of a text from a worker
)

// clean returns s as text that every store keeps and can be asked for: without
// NUL, valid, and of at most so many bytes.
func clean(s string, most int) string {
	if len(s) > most {
		s = s[:most]
	}
	if strings.IndexByte(s, 0) < 0 && utf8.ValidString(s) {
		return s
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}
