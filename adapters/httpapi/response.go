package httpapi

import (
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/switchyard-wa/switchyard/adapters/internal/view"
	"github.com/switchyard-wa/switchyard/domain"
)

// An envelope is around the data of every success.
type envelope[T any] struct {
	Success   bool      `json:"success" example:"true"`
	Data      T         `json:"data"`
	Message   string    `json:"message" doc:"What was done, for people"`
	Timestamp view.Time `json:"timestamp" nullable:"false" doc:"When the server answered"`
}

// A failureEnvelope is the answer to every request that fails.
type failureEnvelope struct {
	Success   bool        `json:"success" example:"false"`
	Error     failureView `json:"error"`
	Message   string      `json:"message" doc:"The message of the error again, for older clients"`
	RequestID string      `json:"requestId" doc:"The value of X-Request-Id; give it when asking for help" example:"01JX3B5ZKQ7M"`
	Timestamp view.Time   `json:"timestamp" nullable:"false" doc:"When the server answered"`
}

type failureView struct {
	Code    domain.Code         `json:"code" doc:"What went wrong, for programs" example:"VALIDATION_ERROR"`
	Message string              `json:"message" doc:"What went wrong and what to do next, for people"`
	Details []domain.FieldError `json:"details,omitempty" nullable:"false" doc:"Every problem of the request, by field"`
}

// An image is an answer other than JSON.
type image struct {
	contentType string
	body        []byte
}

// noData is the data of answers that tell nothing but their message.
type noData struct{}

// MarshalJSON writes null.
func (noData) MarshalJSON() ([]byte, error) { return []byte("null"), nil }

// Schema describes null.
func (noData) Schema(huma.Registry) *huma.Schema { return &huma.Schema{Type: "null"} }

// Header values that every answer shares; nobody may change them.
var (
	jsonType = []string{"application/json; charset=utf-8"}
	noSniff  = []string{"nosniff"}
	noStore  = []string{"no-store"}
	noFrames = []string{"default-src 'none'; frame-ancestors 'none'"}
	noRefer  = []string{"no-referrer"}
	tlsOnly  = []string{"max-age=31536000"}
	closing  = []string{"close"}
	bearer   = []string{`Bearer realm="switchyard"`}
)

// setHeaders sets what goes with every answer: it is data, for the caller alone.
func setHeaders(h http.Header, r *http.Request) {
	h["X-Content-Type-Options"] = noSniff
	h["Cache-Control"] = noStore
	h["Content-Security-Policy"] = noFrames
	h["Referrer-Policy"] = noRefer
	if r.TLS != nil {
		h["Strict-Transport-Security"] = tlsOnly
	}
}

// marshal writes an answer as huma's JSON format.
func marshal(w io.Writer, v any) error {
	return json.MarshalWrite(w, v, encoding)
}

// encoding sorts the keys of maps, and replaces invalid UTF-8.
var encoding = json.JoinOptions(json.Deterministic(true), jsontext.AllowInvalidUTF8(true))

// successStatus returns the status of the answer, if the request succeeds.
func (c *requestContext) successStatus() int {
	switch {
	case c.success != 0:
		return c.success
	case c.route.status != 0:
		return c.route.status
	}
	return http.StatusOK
}

// successMessage returns the message of the answer, if the request succeeds.
func (c *requestContext) successMessage() string {
	if c.message != "" {
		return c.message
	}
	return c.route.message
}

// fail answers with an error.
func (c *requestContext) fail(err error) {
	c.buffers.out.Reset()
	if err := marshal(&c.buffers.out, c.failure(err)); err != nil {
		panic(err) // strings and a time are always JSON
	}
	c.send(c.success, jsonType, c.buffers.out.Bytes())
}

// failure records an error, sets the headers that go with it, and returns the
// body of the answer.
func (c *requestContext) failure(err error) failureEnvelope {
	f := toHTTPError(err)
	c.err, c.code, c.success, c.failed = err, f.code, f.status, true
	h := c.w.Header()
	switch {
	case f.status == http.StatusUnauthorized:
		h["Www-Authenticate"] = bearer
	case f.status == http.StatusRequestEntityTooLarge:
		h["Connection"] = closing // rather than reading on to the end
	case f.retry > 0:
		h.Set("Retry-After", strconv.FormatInt(seconds(f.retry), 10))
	}
	if f.status == http.StatusTooManyRequests {
		c.showUsage(f.usage) // the exceeded limit, not the route's
	}
	return failureEnvelope{
		Error:     failureView{Code: f.code, Message: f.message, Details: f.fields},
		Message:   f.message,
		RequestID: c.id,
		Timestamp: view.Time(c.api.Clock.Now()),
	}
}

// seconds rounds up to whole seconds, at least one.
func seconds(d time.Duration) int64 {
	return max(1, int64((d+time.Second-1)/time.Second))
}

// send writes the answer, once.
func (c *requestContext) send(status int, contentType []string, b []byte) {
	h := c.w.Header()
	if contentType != nil {
		h["Content-Type"] = contentType
	}
	if len(b) > 2048 { // below that net/http finds out by itself, and cheaper
		h["Content-Length"] = []string{strconv.Itoa(len(b))}
	}
	c.status, c.bytes = status, len(b)
	c.w.WriteHeader(status)
	if len(b) > 0 {
		_, _ = c.w.Write(b) // a client that is gone cannot be told
	}
}

// A nullableFloat is null if it is unknown: negative or not finite.
type nullableFloat float64

// MarshalJSONTo writes the number with at most two decimals.
func (f nullableFloat) MarshalJSONTo(enc *jsontext.Encoder) error {
	if f < 0 || math.IsNaN(float64(f)) || math.IsInf(float64(f), 0) {
		return enc.WriteToken(jsontext.Null)
	}
	return enc.WriteValue(strconv.AppendFloat(enc.AvailableBuffer(), math.Round(float64(f)*100)/100, 'f', -1, 64))
}

// Schema describes the number.
func (nullableFloat) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeNumber, Nullable: true}
}

func milliseconds(d time.Duration) nullableFloat {
	return nullableFloat(float64(d) / float64(time.Millisecond))
}

// cors answers preflight requests, and lets pages of the allowed origins read
// answers. It reports whether the request is answered.
func (a *api) cors(c *requestContext) bool {
	if len(a.origins) == 0 {
		return false
	}
	h := c.w.Header()
	h.Add("Vary", "Origin")
	origin := c.r.Header.Get("Origin")
	if origin == "" || !a.origins["*"] && !a.origins[strings.ToLower(origin)] {
		return false
	}
	if a.origins["*"] {
		origin = "*"
	}
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Expose-Headers",
		"X-Request-Id, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, Retry-After, Idempotency-Replayed")
	if c.r.Method != http.MethodOptions || c.r.Header.Get("Access-Control-Request-Method") == "" {
		return false
	}
	h.Set("Access-Control-Allow-Methods", "GET, HEAD, POST, PUT, DELETE")
	h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, X-Request-Id, Idempotency-Key")
	h.Set("Access-Control-Max-Age", "600")
	c.send(http.StatusNoContent, nil, nil)
	return true
}
