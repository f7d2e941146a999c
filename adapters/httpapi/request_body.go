package httpapi

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
)

const (
	maxBody  = 1 << 20
	maxMedia = 16 << 20
)

// A requestBody is the body of a request for huma to read. It enforces the size
// limit and the content type. No body at all reads as an empty object.
type requestBody struct {
	c          *requestContext
	empty      bool   // there is none
	err        error  // why it could not be read
	incomplete string // why a worker's body could not be read to its end
	// began is when more than a small body had arrived, by the clock of the connection's
	// deadlines.
	began    time.Time
	reserved int64     // bytes of [bodyMemory], until the request ends
	upload   *formFile // the file of a form, until the request ends; nil: none
}

// WriteTo reads the whole body into huma's buffer. [io.Copy] prefers it to Read.
func (b *requestBody) WriteTo(w io.Writer) (int64, error) {
	most := int64(maxBody)
	if b.c.route.media {
		most = maxMedia
	}
	n, err := int64(0), error(nil)
	if b.c.route.lenient {
		n = b.copyLenient(w)
	} else if boundary, ok := b.formBoundary(); ok {
		n, err = b.copyForm(w, boundary)
	} else {
		n, err = b.copy(w, most)
	}
	if err != nil {
		b.err = err
		return n, err
	}
	b.empty = n == 0
	if b.empty {
		nothing, err := io.WriteString(w, "{}")
		return int64(nothing), err
	}
	return n, nil
}

// Read is for readers that ignore WriteTo.
func (b *requestBody) Read([]byte) (int, error) { return 0, io.ErrNoProgress }

func (b *requestBody) copy(w io.Writer, most int64) (int64, error) {
	length := b.c.r.ContentLength
	if length == 0 {
		return 0, nil
	}
	if length > most {
		return 0, errTooLarge(most)
	}
	buffer, ok := w.(*bytes.Buffer)
	if !ok {
		return 0, errors.New("httpapi: a body is read into a buffer")
	}
	n, err := b.read(buffer, length, most)
	switch {
	case n > most:
		return n, errTooLarge(most)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return n, errBodyTime()
	case domain.CodeOf(err) == domain.CodeOverloaded:
		return n, err
	case err != nil:
		return n, malformed("body", "Request body could not be read to its end; send it again")
	case n > 0:
		b.keep(buffer.Bytes())
		return n, checkType(b.c.r.Header)
	}
	return 0, nil
}

// copyLenient reads the body of a worker up to maxBody, whatever the headers say of it.
// It discards up to 16 MiB more: a worker may not read an answer before it has written its
// request.
func (b *requestBody) copyLenient(w io.Writer) int64 {
	buffer, ok := w.(*bytes.Buffer)
	if !ok || b.c.r.ContentLength == 0 {
		return 0
	}
	n, err := b.read(buffer, b.c.r.ContentLength, maxBody-1)
	rest := int64(0)
	if err == nil && n == maxBody {
		rest, err = io.CopyN(io.Discard, b.c.r.Body, maxMedia)
	}
	switch {
	case rest > 0:
		b.incomplete = "The body is longer than 1 MiB; what follows was not read"
	case err != nil && !errors.Is(err, io.EOF):
		b.incomplete = "The body did not arrive to its end"
	}
	return n
}

// read reads the body into a buffer that grows as bytes arrive, up to one byte more than
// most. What is larger than a small body has to find room in [bodyMemory], and has to
// arrive in time. length is -1 if it is not announced.
func (b *requestBody) read(buffer *bytes.Buffer, length, most int64) (n int64, err error) {
	whole := most + 1
	if length > 0 {
		whole = length + 1 // a read that finds the end needs room
	}
	buffer.Grow(int(min(whole, smallBody)))
	for {
		if buffer.Available() == 0 {
			if err := b.grow(buffer); err != nil {
				return n, err
			}
		}
		room := buffer.AvailableBuffer()
		room = room[:min(int64(cap(room)), most+1-n)]
		got, err := b.c.r.Body.Read(room)
		buffer.Write(room[:got])
		n += int64(got)
		if err == nil && n <= most {
			continue
		}
		if !errors.Is(err, io.EOF) {
			return n, err // the deadline stays set: the server reads the rest
		}
		if !b.began.IsZero() {
			b.setDeadline(time.Time{}) // the server sets the next one
			b.allowAnswer()
		}
		return n, nil
	}
}

// grow doubles a full buffer.
func (b *requestBody) grow(buffer *bytes.Buffer) error {
	more := int64(buffer.Cap())
	if !b.c.api.bodies.reserve(b.c.shareKey(), more) {
		return errBodyMemory()
	}
	b.reserved += more
	if b.began.IsZero() {
		b.began = time.Now()
	}
	b.setDeadline(b.began.Add(bodyTime(int(2 * more))))
	buffer.Grow(int(more))
	return nil
}

// setDeadline sets until when the body has to arrive. Writers of tests have no deadline.
func (b *requestBody) setDeadline(at time.Time) {
	_ = http.NewResponseController(b.c.w).SetReadDeadline(at)
}

// allowAnswer extends the handler's time after a body that took long to arrive: the server
// counts the time from the head of the request on.
func (b *requestBody) allowAnswer() {
	if !b.began.IsZero() && time.Since(b.began) > bodyGrace {
		_ = http.NewResponseController(b.c.w).SetWriteDeadline(time.Now().Add(answerTime))
	}
}

// release returns the memory of the body to the budget, and deletes its file.
func (b *requestBody) release() {
	b.upload.close()
	if b.reserved > 0 {
		b.c.api.bodies.release(b.c.shareKey(), b.reserved)
		b.reserved = 0
	}
}

// keep copies the body for [requestContext.invalid], since huma reuses its own
// buffer before the problems are told. Media is not kept: the order of problems
// is then the declared one.
func (b *requestBody) keep(body []byte) {
	if len(body) <= maxBody {
		b.c.buffers.in.Write(body)
	}
}

func errBodyTime() error {
	return refuse(http.StatusRequestTimeout, domain.CodeValidation, "body", "Request body did not arrive in time; send it again")
}

func errTooLarge(most int64) error {
	message := "Request body must be at most 1 MiB"
	if most == maxMedia {
		message = "Request body must be at most 16 MiB; send larger media by URL, or as a form (multipart/form-data)"
	}
	return refuse(http.StatusRequestEntityTooLarge, domain.CodeValidation, "body", message)
}

// formBoundary returns the boundary of a form, and whether the body is a form that the
// route reads.
func (b *requestBody) formBoundary() (string, bool) {
	values := b.c.r.Header["Content-Type"]
	if b.c.route.file == 0 || len(values) == 0 || b.c.r.ContentLength == 0 {
		return "", false
	}
	media, rest, _ := strings.Cut(values[0], ";")
	if !strings.EqualFold(strings.TrimSpace(media), "multipart/form-data") || b.c.r.Header.Get("Content-Encoding") != "" {
		return "", false
	}
	_, params, _ := mime.ParseMediaType("multipart/form-data;" + rest)
	return params["boundary"], true
}

// checkType refuses a body that is declared to be anything but JSON. A body
// without a content type is taken for JSON.
func checkType(h http.Header) error {
	if coding := h.Get("Content-Encoding"); coding != "" && !strings.EqualFold(coding, "identity") {
		return refuse(http.StatusUnsupportedMediaType, domain.CodeValidation, "body", "Send the body without Content-Encoding")
	}
	values := h["Content-Type"]
	if len(values) == 0 || values[0] == "application/json" || values[0] == "" {
		return nil
	}
	media, params, err := mime.ParseMediaType(values[0])
	if err == nil && media == "application/json" {
		if charset := params["charset"]; charset == "" || strings.EqualFold(charset, "utf-8") {
			return nil
		}
	}
	return refuse(http.StatusUnsupportedMediaType, domain.CodeValidation, "body",
		"Send JSON in UTF-8, with Content-Type: application/json")
}
