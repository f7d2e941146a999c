package httpapi

import (
	"net/http"
	"time"

	"github.com/klauspost/compress/gzhttp"
)

// stalledAfter is how long a client may take nothing of a streamed answer before it is dropped.
const stalledAfter = 10 * time.Second

// A streamedAnswer is written while it is made, without a buffer of its whole length.
type streamedAnswer struct {
	contentType string
	write       func(w *streamWriter) error
}

// stream writes the streamed answer. An error after its beginning can only end the connection.
func (c *requestContext) stream(s *streamedAnswer) {
	c.buffers.release()
	c.buffers = new(buffers) // a stream may last for hours
	h := c.w.Header()
	h["Content-Type"] = []string{s.contentType}
	h[gzhttp.HeaderNoCompression] = []string{"1"}
	c.status = c.successStatus()
	w := &streamWriter{c: c, control: http.NewResponseController(c.w)}
	_ = w.control.SetReadDeadline(time.Time{}) // the server's would end the stream
	c.w.WriteHeader(c.status)
	if err := s.write(w); err != nil && c.r.Context().Err() == nil {
		c.err = err
		panic(http.ErrAbortHandler) // the client must not take the answer for complete
	}
}

// streamWriter writes a streamed answer. A client that takes nothing for [stalledAfter] is an error.
type streamWriter struct {
	c       *requestContext
	control *http.ResponseController
}

// Write writes a part of the answer.
func (w *streamWriter) Write(b []byte) (int, error) {
	_ = w.control.SetWriteDeadline(time.Now().Add(stalledAfter))
	n, err := w.c.w.Write(b)
	w.c.bytes += n
	return n, err
}

// Flush sends what was written so far.
func (w *streamWriter) Flush() error {
	_ = w.control.SetWriteDeadline(time.Now().Add(stalledAfter))
	return w.control.Flush()
}
