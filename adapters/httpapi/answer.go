package httpapi

import (
	"context"
	"errors"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/switchyard-wa/switchyard/domain"
)

// An appender writes itself as JSON. It is for answers that are made
// thousands of times a second; all others are structs for the JSON package.
type appender interface {
	appendJSON(b []byte) []byte
}

// An image is an answer that is not JSON.
type image struct {
	contentType string
	body        []byte
}

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

// encodeAnswer is go-kit's response encoder.
func encodeAnswer(ctx context.Context, _ http.ResponseWriter, response any) error {
	c := callOf(ctx)
	if img, ok := response.(image); ok {
		c.send(http.StatusOK, []string{img.contentType}, img.body)
		return nil
	}
	b := append(c.scratch.out[:0], `{"success":true,"data":`...)
	switch v := response.(type) {
	case nil:
		b = append(b, "null"...)
	case appender:
		b = v.appendJSON(b)
	default:
		data, err := json.Marshal(v, json.Deterministic(true), jsontext.AllowInvalidUTF8(true))
		if err != nil {
			return err
		}
		b = append(b, data...)
	}
	message := c.message
	if message == "" {
		message = c.route.message
	}
	b = append(b, `,"message":`...)
	b = appendString(b, message)
	b = append(b, `,"timestamp":`...)
	b = appendTime(b, c.api.Clock.Now())
	b = append(b, '}')
	c.scratch.out = b
	status := c.route.status
	if status == 0 {
		status = http.StatusOK
	}
	if c.success != 0 {
		status = c.success
	}
	c.send(status, jsonType, b)
	return nil
}

// encodeError is go-kit's error encoder.
func encodeError(ctx context.Context, err error, _ http.ResponseWriter) { callOf(ctx).fail(err) }

// fail answers with an error.
func (c *call) fail(err error) {
	f := explain(err)
	c.err, c.code = err, f.code
	h := c.w.Header()
	switch {
	case f.status == http.StatusUnauthorized:
		h["Www-Authenticate"] = bearer
	case f.status == http.StatusRequestEntityTooLarge:
		h["Connection"] = closing // rather than reading on to the end
	case f.retry > 0:
		h.Set("Retry-After", strconv.FormatInt(seconds(f.retry), 10))
	}
	var limit interface{ Window() domain.Usage }
	if f.status == http.StatusTooManyRequests && errors.As(err, &limit) {
		c.showUsage(limit.Window()) // not the one of the route, of which there may be plenty
	}
	b := append(c.scratch.out[:0], `{"success":false,"error":{"code":`...)
	b = appendString(b, string(f.code))
	b = append(b, `,"message":`...)
	b = appendString(b, f.message)
	if len(f.fields) > 0 {
		b = append(b, `,"details":[`...)
		for i, field := range f.fields {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(b, `{"field":`...)
			b = appendString(b, field.Field)
			b = append(b, `,"message":`...)
			b = appendString(b, field.Message)
			b = append(b, '}')
		}
		b = append(b, ']')
	}
	b = append(b, `},"requestId":`...)
	b = appendString(b, c.id)
	b = append(b, `,"timestamp":`...)
	b = appendTime(b, c.api.Clock.Now())
	b = append(b, '}')
	c.scratch.out = b
	c.send(f.status, jsonType, b)
}

// seconds rounds up to whole seconds, at least one.
func seconds(d time.Duration) int64 {
	return max(1, int64((d+time.Second-1)/time.Second))
}

// send writes the answer, once.
func (c *call) send(status int, contentType []string, b []byte) {
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

// appendString writes s as a JSON string.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= 0x7f {
			b, _ = jsontext.AppendQuote(b, s) // it replaces what is not UTF-8
			return b
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

// appendOptional writes s as a JSON string, or null if it is empty.
func appendOptional(b []byte, s string) []byte {
	if s == "" {
		return append(b, "null"...)
	}
	return appendString(b, s)
}

// appendTime writes a time as JSON: RFC 3339, UTC, milliseconds; null if zero.
func appendTime(b []byte, t time.Time) []byte {
	if t.IsZero() {
		return append(b, "null"...)
	}
	t = t.UTC()
	b = append(b, '"')
	b = t.AppendFormat(b, time.RFC3339)
	ms := t.Nanosecond() / 1_000_000
	b[len(b)-1] = '.' // was the Z
	return append(b, byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10), 'Z', '"')
}

// A stamp is a time as the API writes it.
type stamp time.Time

// MarshalJSON writes it, null if it is zero.
func (s stamp) MarshalJSON() ([]byte, error) {
	return appendTime(make([]byte, 0, 26), time.Time(s)), nil
}

// An optional is a text that is null if it is empty.
type optional string

// MarshalJSON writes it.
func (o optional) MarshalJSON() ([]byte, error) { return appendOptional(nil, string(o)), nil }

// A figure is a number that is null if it is not known.
type figure float64

// MarshalJSON writes it with at most two decimals.
func (f figure) MarshalJSON() ([]byte, error) { return appendFigure(nil, float64(f)), nil }

func appendFigure(b []byte, f float64) []byte {
	if f < 0 || math.IsNaN(f) || math.IsInf(f, 0) {
		return append(b, "null"...)
	}
	return strconv.AppendFloat(b, math.Round(f*100)/100, 'f', -1, 64)
}

// cors answers preflight requests, and lets pages of the allowed origins read
// answers. It reports whether the request is answered.
func (a *api) cors(c *call) bool {
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
		"X-Request-Id, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, Retry-After")
	if c.r.Method != http.MethodOptions || c.r.Header.Get("Access-Control-Request-Method") == "" {
		return false
	}
	h.Set("Access-Control-Allow-Methods", "GET, HEAD, POST, PUT, DELETE")
	h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, X-Request-Id")
	h.Set("Access-Control-Max-Age", "600")
	c.send(http.StatusNoContent, nil, nil)
	return true
}
