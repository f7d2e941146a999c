package httpapi

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
)

// humaContext has another name than its method, as an embedded interface needs.
type humaContext = huma.Context

// An operationContext is huma's view of a request. It wraps the context of the
// gorilla/mux adapter and changes how huma reads and writes: path variables are
// unescaped, parameters trimmed, bodies limited, and the answer is buffered.
type operationContext struct {
	humaContext
	c    *requestContext
	next func(huma.Context) // what decodes the request and calls the handler
}

// Param returns a path variable as it was before it was escaped.
func (o *operationContext) Param(name string) string {
	escaped := o.c.variables[name]
	value, err := url.PathUnescape(escaped)
	if err != nil {
		return escaped // mux matches well-formed paths alone
	}
	return value
}

// Query returns a parameter without blanks around it. A page takes precedence
// over an offset, and booleans are accepted in any case.
func (o *operationContext) Query(name string) string {
	value := strings.TrimSpace(o.c.query.Get(name))
	switch {
	case name == "offset" && strings.TrimSpace(o.c.query.Get("page")) != "":
		return ""
	case o.c.route.isFlag[name]:
		return strings.ToLower(value)
	}
	return value
}

// Header hides two headers from huma: the content type, which [requestBody] checks,
// and the accepted types, since the answer is always JSON.
func (o *operationContext) Header(name string) string {
	if name == "Content-Type" || name == "Accept" {
		return ""
	}
	return o.humaContext.Header(name)
}

// BodyReader returns the limited body.
func (o *operationContext) BodyReader() io.Reader { return &o.c.body }

// SetReadDeadline leaves time limits to the server.
func (o *operationContext) SetReadDeadline(time.Time) error { return nil }

// SetHeader writes the content type with its charset.
func (o *operationContext) SetHeader(name, value string) {
	if name == "Content-Type" {
		o.c.w.Header()["Content-Type"] = jsonType
		return
	}
	o.humaContext.SetHeader(name, value)
}

// SetStatus keeps the status until the answer is complete. The status of an error
// is known already, and is not huma's.
func (o *operationContext) SetStatus(status int) {
	if !o.c.failed {
		o.c.success = status
	}
}

// BodyWriter returns the buffer of the answer.
func (o *operationContext) BodyWriter() io.Writer { return &o.c.buffers.out }

// flush writes the buffered answer.
func (c *requestContext) flush() {
	switch {
	case c.picture != nil && !c.failed:
		c.send(http.StatusOK, []string{c.picture.contentType}, c.picture.body)
	case c.streamed != nil && !c.failed:
		c.stream(c.streamed)
	case c.download != nil && !c.failed:
		c.sendDownload()
	default:
		c.send(c.success, jsonType, c.buffers.out.Bytes())
	}
}
