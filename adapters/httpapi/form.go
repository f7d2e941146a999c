package httpapi

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"mime/multipart"
	"net/http"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/switchyard-wa/switchyard/domain"
)

const (
	maxForm     = 1 << 20 // bytes of a form besides its file
	maxParts    = 64
	maxBoundary = 70 // RFC 2046
	// formLookahead is what mime/multipart reads beyond the end of a file.
	formLookahead = 8 << 10
	// deadlineStep is how many bytes of a form arrive until its deadline moves on.
	deadlineStep = 64 << 10
	// answerTime is the least time for the handler and the answer after a slow body.
	answerTime = 90 * time.Second
)

// errFormTooLong ends the reading of a form.
var errFormTooLong = errors.New("httpapi: the form is too long")

// A formSource is the body of a form. It bounds the bytes of files, and apart from them the
// bytes of fields and heads of parts. mime/multipart alone would keep up to 10 MiB of a
// part's head in memory.
type formSource struct {
	b      *requestBody
	isFile bool  // the file is being read
	left   int64 // bytes that may still come besides the file
	space  int64 // bytes that may still come of the file
	total  int64
	held   int64 // bytes of [bodyMemory] for fields and heads
	next   int64 // total from which the deadline moves on
}

// Read reads from the body.
func (s *formSource) Read(p []byte) (int, error) {
	left := &s.left
	if s.isFile {
		left = &s.space
	}
	if *left <= 0 {
		return 0, errFormTooLong
	}
	if s.total >= s.next {
		s.next += deadlineStep
		s.b.setDeadline(s.b.began.Add(bodyTime(int(s.next))))
	}
	n, err := s.b.c.r.Body.Read(p[:min(int64(len(p)), *left)])
	*left -= int64(n)
	s.total += int64(n)
	if !s.isFile {
		if err := s.hold(); err != nil {
			return n, err
		}
	}
	return n, err
}

// hold reserves memory for the fields, unless the form is small.
func (s *formSource) hold() error {
	for kept := maxForm - s.left; kept > smallBody && kept > s.held; {
		if !s.b.c.api.bodies.reserve(s.b.c.shareKey(), deadlineStep) {
			return errBodyMemory()
		}
		s.held += deadlineStep
		s.b.reserved += deadlineStep
	}
	return nil
}

// A form turns a form (multipart/form-data, RFC 7578) into the JSON object that the route
// reads, and an upload. A field becomes the member of its name. Its text becomes a boolean, a
// number, an object or a list if the schema asks for one.
type form struct {
	c      *requestContext
	source *formSource
	out    *bytes.Buffer
	schema *huma.Schema
	lists  map[string][]byte // items of members that are lists, with commas
	order  []string          // names of lists
	upload *formFile
}

// copyForm reads a form: it writes the members into huma's buffer and keeps the file.
func (b *requestBody) copyForm(w io.Writer, boundary string) (int64, error) {
	out, ok := w.(*bytes.Buffer)
	if !ok {
		return 0, errors.New("httpapi: a body is read into a buffer")
	}
	most := b.c.route.file
	if b.c.r.ContentLength > most+maxForm {
		return 0, errFileTooLarge(most)
	}
	if boundary == "" || len(boundary) > maxBoundary {
		return 0, malformed("body", fmt.Sprintf("The Content-Type of a form needs a boundary of 1 to %d characters", maxBoundary))
	}
	b.began = time.Now()
	f := &form{
		c: b.c, out: out, schema: resolve(b.c.route.schema, b.c.route.registry),
		source: &formSource{b: b, left: maxForm, space: most + formLookahead},
		lists:  make(map[string][]byte),
	}
	defer func() { b.upload = f.upload }()
	if err := f.read(multipart.NewReader(f.source, boundary)); err != nil {
		return int64(out.Len()), f.explain(err)
	}
	b.setDeadline(time.Time{}) // the server sets the next one
	b.allowAnswer()
	b.keep(out.Bytes())
	return int64(out.Len()), nil
}

// read reads all parts.
func (f *form) read(parts *multipart.Reader) error {
	f.out.WriteByte('{')
	for n := 0; ; n++ {
		part, err := parts.NextRawPart()
		if err == io.EOF { // a wrapped EOF means that the last boundary is missing
			break
		}
		if err != nil {
			return err
		}
		if n == maxParts {
			return malformed("body", fmt.Sprintf("A form may have at most %d parts", maxParts))
		}
		if err := f.readPart(part); err != nil {
			return err
		}
	}
	for _, name := range f.order {
		f.writeMember(name, append(append([]byte("["), f.lists[name]...), ']'))
	}
	f.out.WriteByte('}')
	return nil
}

// readPart reads one part.
func (f *form) readPart(part *multipart.Part) error {
	disposition, params, err := mime.ParseMediaType(part.Header.Get("Content-Disposition"))
	name := params["name"]
	if err != nil || disposition != "form-data" || name == "" || !utf8.ValidString(name) {
		return malformed("body", `Each part of a form needs a head like Content-Disposition: form-data; name="to"`)
	}
	field := clean(name, maxID)
	switch coding := strings.ToLower(part.Header.Get("Content-Transfer-Encoding")); coding {
	case "", "binary", "8bit", "7bit":
	default:
		return malformed(field, "Send the part "+field+" as it is, without Content-Transfer-Encoding")
	}
	declared := declaredType(part.Header.Get("Content-Type"))
	filename, hasName := params["filename"]
	isText := declared == "" || declared == "text/plain"
	if hasName || (name == "media" || name == "file") && !isText {
		return f.readFile(part, field, filename, declared)
	}
	value, err := io.ReadAll(part)
	if err != nil {
		return err
	}
	if !utf8.Valid(value) {
		return malformed(field, field+" must be text in UTF-8")
	}
	f.addField(name, value)
	return nil
}

// declaredType returns a media type without parameters, or "" if it is malformed.
func declaredType(header string) string {
	name, _, err := mime.ParseMediaType(header)
	if err != nil || !strings.Contains(name, "/") {
		return ""
	}
	return name
}

// readFile keeps the file of the form.
func (f *form) readFile(part *multipart.Part, field, filename, declared string) error {
	isChosen := filename != "" || declared == ""
	switch {
	case isChosen && field != "media" && field != "file":
		return malformed(field, "A file cannot be given as "+field+"; name its part media")
	case isChosen && f.upload != nil:
		return malformed("media", "Send one file, not several")
	}
	f.source.isFile = true
	defer func() { f.source.isFile = false }()
	u := newFormFile(f.c.api, f.c.shareKey(), filename, declared)
	_, err := io.CopyBuffer(u, part, make([]byte, 32<<10))
	switch {
	case err == nil && u.size > f.c.route.file:
		err = errFileTooLarge(f.c.route.file)
	case err == nil && (u.size > 0 || filename != ""):
		f.upload = u
		return nil
	}
	u.close() // without an error, a browser's part for a file that was not chosen
	return err
}

// addField adds the member that a field stands for.
func (f *form) addField(name string, value []byte) {
	quoted, _ := jsontext.AppendQuote(nil, value)
	raw := jsontext.Value(bytes.TrimSpace(value))
	kind := ""
	if m := resolve(member(f.schema, name), f.c.route.registry); m != nil {
		kind = m.Type
	}
	switch kind {
	case huma.TypeBoolean:
		if word := strings.ToLower(string(raw)); word == "true" || word == "false" {
			quoted = []byte(word)
		}
	case huma.TypeNumber, huma.TypeInteger:
		if raw.Kind() == jsontext.KindNumber && raw.IsValid() {
			quoted = raw
		}
	case huma.TypeObject:
		if raw.Kind() == jsontext.KindBeginObject && raw.IsValid() {
			quoted = raw
		}
	case huma.TypeArray:
		items, begun := f.lists[name]
		if !begun && raw.Kind() == jsontext.KindBeginArray && raw.IsValid() {
			quoted = bytes.TrimSpace(raw[1 : len(raw)-1])
		}
		if !begun {
			f.order = append(f.order, name)
		} else if len(items) > 0 && len(quoted) > 0 {
			items = append(items, ',')
		}
		f.lists[name] = append(items, quoted...)
		return
	}
	f.writeMember(name, quoted)
}

// writeMember writes a member of the object.
func (f *form) writeMember(name string, value []byte) {
	if f.out.Len() > 1 {
		f.out.WriteByte(',')
	}
	quoted, _ := jsontext.AppendQuote(nil, name)
	f.out.Write(quoted)
	f.out.WriteByte(':')
	f.out.Write(value)
}

// formSchema describes the forms that the route reads: the members of its JSON body, and
// the file.
func (r *route) formSchema() *huma.Schema {
	body := resolve(r.schema, r.registry)
	properties := maps.Clone(body.Properties)
	properties["media"] = &huma.Schema{
		Type: huma.TypeString, Format: "binary",
		Description: fmt.Sprintf("The file, at most %d MiB. Its name is the default of filename. Instead of a URL; the part may be called file too", r.file>>20),
	}
	return &huma.Schema{Type: huma.TypeObject, Properties: properties, Required: body.Required}
}

// explain returns the error of a form that cannot be read, for the client.
func (f *form) explain(err error) error {
	var shown *httpError
	var rule *domain.Error
	switch {
	case errors.As(err, &shown), errors.As(err, &rule):
		return err
	case errors.Is(err, errFormTooLong) && f.source.left <= 0, errors.Is(err, multipart.ErrMessageTooLarge):
		return refuse(http.StatusRequestEntityTooLarge, domain.CodeValidation, "body", "The fields of a form may have at most 1 MiB together")
	case errors.Is(err, errFormTooLong):
		return errFileTooLarge(f.c.route.file)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errBodyTime()
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return malformed("body", "The form did not arrive to its end: its last boundary is missing")
	}
	return malformed("body", "The body is not a valid form (multipart/form-data)")
}

// errFileTooLarge refuses a file that is larger than the route takes.
func errFileTooLarge(most int64) error {
	return refuse(http.StatusRequestEntityTooLarge, domain.CodeValidation, "media",
		fmt.Sprintf("The file may have at most %d MiB", most>>20))
}
