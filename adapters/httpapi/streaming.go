package httpapi

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/klauspost/compress/gzhttp"
)

// stalledAfter is how long a client may take nothing of a streamed answer before it is dropped.
const stalledAfter = 10 * time.Second

// A streamedAnswer is written while it is made, without a buffer of its whole length.
type streamedAnswer struct {
	contentType string
	write       func(ctx context.Context, w flushWriter) error
	// detach writes the answer to the connection itself, after the request has ended. It is nil for
	// answers that end soon. The HTTP server keeps about 50 kB for a request, and 5,000 streams 250 MB.
	detach func(w *detachedWriter)
}

// A flushWriter writes a streamed answer. A client that takes nothing for [stalledAfter] is an error.
type flushWriter interface {
	io.Writer
	Flush() error // sends what was written so far
}

// stream writes the streamed answer. An error after its beginning can only end the connection.
func (c *requestContext) stream(s *streamedAnswer) {
	h := c.w.Header()
	h["Content-Type"] = []string{s.contentType}
	c.status = c.successStatus()
	control := http.NewResponseController(c.w)
	if s.detach != nil && c.r.ProtoMajor == 1 {
		if conn, _, err := control.Hijack(); err == nil {
			w := &detachedWriter{conn}
			_ = w.writeHead(c.status, h) // detach finds out that the client is gone
			go s.detach(w)
			return
		}
	}
	h[gzhttp.HeaderNoCompression] = []string{"1"}
	_ = control.SetReadDeadline(time.Time{}) // the server's would end the stream
	c.w.WriteHeader(c.status)
	if err := s.write(c.r.Context(), &streamWriter{c, control}); err != nil && c.r.Context().Err() == nil {
		c.err = err
		panic(http.ErrAbortHandler) // the client must not take the answer for complete
	}
}

// streamWriter is the flushWriter of a request.
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

// detachedWriter is the flushWriter of a connection whose request has ended. The end of the
// connection is the end of the answer.
type detachedWriter struct{ conn net.Conn }

// writeHead writes status and headers.
func (w *detachedWriter) writeHead(status int, h http.Header) error {
	_ = w.conn.SetReadDeadline(time.Time{})
	h.Set("Connection", "close")
	var head strings.Builder
	fmt.Fprintf(&head, "HTTP/1.1 %d %s\r\n", status, http.StatusText(status))
	_ = h.Write(&head) // a Builder has no error
	head.WriteString("\r\n")
	_, err := w.Write([]byte(head.String()))
	return err
}

// Write writes a part of the answer.
func (w *detachedWriter) Write(b []byte) (int, error) {
	_ = w.conn.SetWriteDeadline(time.Now().Add(stalledAfter))
	return w.conn.Write(b)
}

// Flush does nothing: nothing is held back.
func (w *detachedWriter) Flush() error { return nil }
