package httpapi

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/switchyard-wa/switchyard/domain"
)

// The types of this file decode the bodies of deployed workers. huma does not
// validate these bodies. A malformed optional member counts as missing: a worker
// does not repeat a refused report. Resolvers say what to do without a member that
// is needed.

// maxExact is the largest whole number that a JSON number carries exactly.
const maxExact = 1 << 53

// maxListed bounds the items that are read of a worker's list: five times the
// sessions that a worker takes at most. Lists of deployed workers also name sessions
// that are long disconnected.
const maxListed = 5 * maxCapacity

// Incomplete is embedded in the body of a worker. It tells why the body could not be read
// to its end.
type Incomplete struct {
	reason string // empty: the whole body was read
}

func (i *Incomplete) setIncomplete(reason string) { i.reason = reason }

// A lenientBody is the body of a worker.
type lenientBody interface{ setIncomplete(reason string) }

// incompleteReason returns why the body of a worker could not be read to its end, or "".
func (c *requestContext) incompleteReason(i Incomplete) string {
	return cmp.Or(c.body.incomplete, i.reason)
}

// A worker's JSON may hold invalid UTF-8 and lone surrogates, which become U+FFFD. The
// last of repeated members wins.
var lenientJSON = json.JoinOptions(jsontext.AllowInvalidUTF8(true), jsontext.AllowDuplicateNames(true))

var byteOrderMark = []byte("\xef\xbb\xbf")

// unmarshalLenient decodes the body of a worker as far as it can be read.
func unmarshalLenient(data []byte, body lenientBody) {
	text := bytes.TrimLeft(bytes.TrimPrefix(data, byteOrderMark), " \t\r\n")
	switch {
	case len(text) == 0:
		return
	case text[0] != '{':
		body.setIncomplete("The body is no JSON object")
		return
	}
	err := json.Unmarshal(text, body, lenientJSON)
	var syntax *jsontext.SyntacticError
	switch {
	case err == nil:
	case errors.As(err, &syntax):
		body.setIncomplete(fmt.Sprintf("The body is no valid JSON at byte %d; what follows was not read", syntax.ByteOffset+int64(len(data)-len(text))))
	default:
		body.setIncomplete("The body could not be read to its end")
	}
}

// addIncomplete adds why the body could not be read to its end. It is one of the problems
// if there are others, which it may explain. Otherwise it is a warning.
func (p *problems) addIncomplete(w *warnings, reason string) {
	switch {
	case reason == "":
	case len(*p) > 0:
		p.add("body", "%s", reason)
	default:
		w.add("%s", reason)
	}
}

// warnings tell a worker what could not be used of its body.
type warnings struct {
	skipped int // items of a list
	texts   []string
}

// maxWarnings bounds the texts. Further items are counted only.
const maxWarnings = 10

// add adds a text.
func (w *warnings) add(format string, args ...any) {
	if len(w.texts) < maxWarnings {
		w.texts = append(w.texts, fmt.Sprintf(format, args...))
	}
}

// addProblem adds the problem of a subject, unless it is empty.
func (w *warnings) addProblem(subject, problem string) {
	if problem != "" {
		w.add("%s %s", subject, problem)
	}
}

// skip counts an item of a list that could not be used, and says why.
func (w *warnings) skip(list string, i int, format string, args ...any) {
	w.skipped++
	if len(w.texts) < maxWarnings {
		w.add("%s[%d] %s", list, i, fmt.Sprintf(format, args...))
	}
}

// skipBeyond counts the items that were not read because the list is too long.
func (w *warnings) skipBeyond(list string, beyond int) {
	if beyond > 0 {
		w.skipped += beyond
		w.add("%s has %d items; the first %d were read", list, maxListed+beyond, maxListed)
	}
}

// list returns the texts. It is never nil.
func (w *warnings) list() []string {
	if w.texts == nil {
		return []string{}
	}
	return w.texts
}

// logWarnings logs what could not be used of a worker's body.
func (c *requestContext) logWarnings(workerID string, w warnings) {
	if len(w.texts) == 0 || !c.api.warningLimit.AllowN(c.start, 1) {
		return
	}
	c.Log().WarnContext(c.Context, "worker body not used in full", "worker", workerID, "route", c.template(),
		"skipped", w.skipped, "warnings", w.texts, "request", c.id)
}

// Lines in the log about the bodies of workers, in a second and at once.
const (
	warningsPerSecond = 5
	warningsBurst     = 50
)

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

// cut returns the text in a form that every store keeps, of at most that many bytes.
func (s lenientString) cut(most int) string { return clean(string(s), most) }

// phone returns the text as the number of an account.
func (s lenientString) phone() string { return domain.AccountPhone(s.cut(maxID)) }

// workerRef returns the text as a worker's id in its one spelling.
func (s lenientString) workerRef() string { return normalizeWorker(string(s)) }

// sessionRef returns the text as a session's id in its one spelling.
func (s lenientString) sessionRef() string { return normalizeSession(string(s)) }

// A qrString is the text of a QR code. A number counts as missing.
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

// A number is infinite beyond the range of a float64.
type number struct {
	value float64
	given bool
}

// UnmarshalJSONFrom reads the number.
func (n *number) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	if dec.PeekKind() != jsontext.KindNumber {
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

// A lenientNumber is a number, or a text that holds one.
type lenientNumber struct{ number }

// UnmarshalJSONFrom reads the number.
func (n *lenientNumber) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	if dec.PeekKind() != jsontext.KindString {
		return n.number.UnmarshalJSONFrom(dec)
	}
	token, err := dec.ReadToken()
	if err != nil {
		return err
	}
	text := jsontext.Value(strings.TrimSpace(token.String()))
	if text.IsValid() && text.Kind() == jsontext.KindNumber {
		n.value, _ = strconv.ParseFloat(string(text), 64)
		n.given = true
	}
	return nil
}

// Schema describes what workers should send.
func (lenientNumber) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Description: "Number, or a text that holds one; anything else counts as missing"}
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

// A lenientGeneration is the generation of a session: a whole number from 1, or its digits as a
// text. Null and a missing member state none. Anything else is unusable: such a report names no
// assignment, and must not pass for the report of a legacy worker.
type lenientGeneration struct {
	value    int64  // 0: not stated, or unusable
	unusable string // what was sent instead; empty: nothing wrong
}

// UnmarshalJSONFrom reads the generation.
func (g *lenientGeneration) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	*g = lenientGeneration{}
	kind := dec.PeekKind()
	raw, err := dec.ReadValue()
	if err != nil || kind == jsontext.KindNull {
		return err
	}
	text, isText := string(raw), kind == jsontext.KindString
	if isText {
		unquoted, err := jsontext.AppendUnquote(nil, raw)
		text = strings.TrimSpace(string(unquoted))
		if err != nil && text == "" {
			text = string(raw)
		}
	}
	n, isWhole := parseGeneration(kind, text)
	if isWhole {
		g.value = n
		return nil
	}
	g.unusable = cmp.Or(clean(text, maxWord), `""`)
	return nil
}

// parseGeneration reads the number of a generation. A number may be written as 3.0 or 3e0, a text
// holds digits alone.
func parseGeneration(kind jsontext.Kind, text string) (n int64, ok bool) {
	switch kind {
	case jsontext.KindString:
		if strings.Trim(text, "0123456789") != "" {
			return 0, false
		}
		n, err := strconv.ParseInt(text, 10, 64)
		return n, err == nil && n >= 1 && n <= maxExact
	case jsontext.KindNumber:
		f, err := strconv.ParseFloat(text, 64)
		return int64(f), err == nil && f == math.Trunc(f) && f >= 1 && f <= maxExact
	}
	return 0, false
}

// Schema describes what workers should send.
func (lenientGeneration) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Description: "Whole number from 1, or a text of its digits; null counts as missing. Anything else is unusable: what it belongs to is skipped"}
}

// problem describes an unusable generation in words. It returns "" for a usable one, and if there
// is none.
func (g lenientGeneration) problem() string {
	if g.unusable == "" {
		return ""
	}
	return "has the unusable generation " + g.unusable
}

// isWhole reports whether the number is given, whole, and within its bounds.
func (n lenientNumber) isWhole(least, most float64) bool {
	return n.given && n.value == math.Trunc(n.value) && n.value >= least && n.value <= most
}

// A lenientBool is true or false.
type lenientBool bool

// UnmarshalJSONFrom reads the value.
func (b *lenientBool) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	if dec.PeekKind() != jsontext.KindString {
		*b = dec.PeekKind() == jsontext.KindTrue
		return dec.SkipValue()
	}
	token, err := dec.ReadToken()
	if err == nil {
		*b = lenientBool(strings.EqualFold(strings.TrimSpace(token.String()), "true"))
	}
	return err
}

// Schema describes what workers should send.
func (lenientBool) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Description: "True or false; anything else counts as missing"}
}

// A lenientTime is a point in time: RFC 3339, or milliseconds (or seconds) since
// 1970.
type lenientTime struct{ at time.Time }

// UnmarshalJSONFrom reads the time. Any other value is the zero time.
func (t *lenientTime) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	var s lenientString
	if err := s.UnmarshalJSONFrom(dec); err != nil {
		return err
	}
	text := strings.TrimSpace(string(s))
	if at, ok := parseTime(text); ok {
		t.at = at
		return nil
	}
	if seconds, err := strconv.ParseFloat(text, 64); err == nil {
		t.at, _ = unixTime(seconds)
	}
	return nil
}

// Schema describes what workers should send.
func (lenientTime) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Description: "RFC 3339, or milliseconds (or seconds) since 1970", Examples: []any{"2026-03-01T12:00:00.123Z"}}
}

// unmarshalObject decodes an object into v, and skips anything else.
func unmarshalObject(dec *jsontext.Decoder, v any) (bool, error) {
	if dec.PeekKind() != jsontext.KindBeginObject {
		return false, dec.SkipValue()
	}
	return true, json.UnmarshalDecode(dec, v)
}

// readList calls read for each of the first items of the array that is next, and
// returns how many more there are.
func readList(dec *jsontext.Decoder, read func() error) (beyond int, err error) {
	if _, err := dec.ReadToken(); err != nil {
		return 0, err
	}
	for n := 0; dec.PeekKind() != jsontext.KindEndArray; n++ {
		if n >= maxListed {
			beyond++
			err = dec.SkipValue()
		} else {
			err = read()
		}
		if err != nil {
			return beyond, err
		}
	}
	_, err = dec.ReadToken()
	return beyond, err
}
