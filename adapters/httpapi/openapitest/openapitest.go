// Package openapitest holds the traffic of tests against the OpenAPI document of
// the server, so that the document and the server cannot drift apart.
//
// A [Checker] is made from the document in its 3.0 form. It watches requests and
// responses on the side of the server ([Checker.Handler]) or of the client
// ([Checker.Transport]):
//
//   - A request that succeeds must be as the document describes it. A request that
//     is refused may be anything. Numbers beyond the range of a float64 are passed
//     over, as the validator cannot read them, and so is a worker's body that is no
//     JSON object: the server reads of it what it can.
//   - Every response must have a status that the document lists for the operation,
//     and a body that its schema accepts. The schema of a failure lists the error
//     codes of the operation, so a code that the document does not name is found.
//   - A path or method that the document does not have must be answered 404 or 405.
//     OPTIONS, and the pages of the document itself, are passed over.
package openapitest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
)

// A Checker holds requests and responses against a document. It is safe for
// concurrent use.
type Checker struct{ router routers.Router }

// New returns a checker for a document. It fails if the document is not valid.
func New(document []byte) (*Checker, error) {
	doc, err := openapi3.NewLoader().LoadFromData(document)
	if err != nil {
		return nil, err
	}
	if err := doc.Validate(context.Background()); err != nil {
		return nil, err
	}
	router, err := gorillamux.NewRouter(doc)
	if err != nil {
		return nil, err
	}
	return &Checker{router}, nil
}

// An exchange is a request and its response, both read.
type exchange struct {
	request     *http.Request
	requestBody []byte
	status      int
	header      http.Header
	body        []byte
}

// check returns what the document has against an exchange, or nil.
func (c *Checker) check(x exchange) error {
	request := canonical(x.request, x.requestBody)
	if request.Method == http.MethodOptions || isPage(request.URL.Path) {
		return nil
	}
	problem := func(what string, err error) error {
		return fmt.Errorf("%s %s, answered %d: %s: %w", x.request.Method, x.request.URL, x.status, what, err)
	}
	route, params, err := c.router.FindRoute(request)
	if err != nil {
		if x.status == http.StatusNotFound || x.status == http.StatusMethodNotAllowed {
			return nil
		}
		return problem("the document has no such route", err)
	}
	input := &openapi3filter.RequestValidationInput{
		Request: request, PathParams: params, Route: route,
		Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, IncludeResponseStatus: true, MultiError: true},
	}
	input.Options.ExcludeRequestBody = slices.Contains(route.Operation.Tags, workerTag) && !isObject(x.requestBody) || isForm(x.request)
	if x.status < http.StatusBadRequest {
		if err := openapi3filter.ValidateRequest(request.Context(), input); err != nil && !errors.Is(err, strconv.ErrRange) {
			return problem("the request", err)
		}
	}
	if x.request.Method == http.MethodHead {
		return nil
	}
	if route.Operation.Responses.Status(x.status) == nil {
		return problem("the response", errors.New("the document does not list this status"))
	}
	if !strings.HasPrefix(x.header.Get("Content-Type"), "application/json") {
		return nil
	}
	output := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: input, Status: x.status, Header: x.header, Options: input.Options,
		Body: io.NopCloser(bytes.NewReader(x.body)),
	}
	if err := openapi3filter.ValidateResponse(request.Context(), output); err != nil {
		return problem("the response", err)
	}
	return nil
}

// workerTag is the tag of the operations that workers call.
const workerTag = "Worker protocol"

// isForm reports whether a request has a form. Its file may be of any type, and the
// validator reads only the types that it knows.
func isForm(r *http.Request) bool {
	return strings.HasPrefix(strings.ToLower(r.Header.Get("Content-Type")), "multipart/form-data")
}

func isObject(body []byte) bool {
	return json.Valid(body) && bytes.HasPrefix(bytes.TrimSpace(body), []byte("{"))
}

func isPage(path string) bool {
	return strings.HasPrefix(path, "/openapi") || path == "/docs" || strings.HasPrefix(path, "/docs/") || path == "/metrics"
}

// canonical returns a copy of a request as the document has it: below /api/v1,
// without a slash at the end, GET instead of HEAD.
func canonical(r *http.Request, body []byte) *http.Request {
	r = r.Clone(context.WithoutCancel(r.Context()))
	if r.Method == http.MethodHead {
		r.Method = http.MethodGet
	}
	rewrite := func(path string) string {
		path = strings.TrimSuffix(path, "/")
		if rest, ok := strings.CutPrefix(path, "/api/"); ok && !strings.HasPrefix(rest, "v1/") {
			path = "/api/v1/" + rest
		}
		return path
	}
	raw := r.URL.RawPath
	if raw != "" {
		raw = rewrite(raw)
	}
	r.URL = &url.URL{Scheme: "http", Host: "localhost", Path: rewrite(r.URL.Path), RawPath: raw, RawQuery: r.URL.RawQuery}
	r.Host = "localhost"
	if len(bytes.TrimSpace(body)) == 0 {
		body = nil
	}
	r.Body, r.ContentLength = http.NoBody, int64(len(body))
	if len(body) > 0 && !isForm(r) {
		r.Body = io.NopCloser(bytes.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
	}
	return r
}

// Handler returns a handler that answers as next does, and reports exchanges that
// the document has something against.
func (c *Checker) Handler(next http.Handler, report func(error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := exchange{request: r}
		if r.Body != nil {
			var err error
			x.requestBody, err = io.ReadAll(r.Body)
			if err != nil {
				r.Body = io.NopCloser(io.MultiReader(bytes.NewReader(x.requestBody), failing{err}))
			} else {
				r.Body = io.NopCloser(bytes.NewReader(x.requestBody))
			}
		}
		recorder := httptest.NewRecorder()
		next.ServeHTTP(recorder, r)
		x.status, x.header, x.body = recorder.Code, recorder.Header(), recorder.Body.Bytes()
		if err := c.check(x); err != nil {
			report(err)
		}
		for name, values := range x.header {
			w.Header()[name] = values
		}
		w.WriteHeader(x.status)
		_, _ = w.Write(x.body) // a client that is gone cannot be told
	})
}

// failing is a reader of nothing but an error.
type failing struct{ error }

func (f failing) Read([]byte) (int, error) { return 0, f.error }

// Transport returns a client's transport that sends by next, and reports exchanges
// that the document has something against. Responses are read to their end. A response
// without X-Request-Id is a proxy's, which the document does not describe.
func (c *Checker) Transport(next http.RoundTripper, report func(error)) http.RoundTripper {
	return &transport{c, next, report}
}

type transport struct {
	checker *Checker
	next    http.RoundTripper
	report  func(error)
}

// CloseIdleConnections closes those of the transport beneath.
func (t *transport) CloseIdleConnections() {
	if c, ok := t.next.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// RoundTrip sends a request.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	x := exchange{request: r}
	if r.GetBody != nil {
		body, err := r.GetBody()
		if err != nil {
			return nil, err
		}
		x.requestBody, err = io.ReadAll(body)
		body.Close()
		if err != nil {
			return nil, err
		}
	}
	response, err := t.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	body, broken := io.ReadAll(response.Body)
	response.Body.Close()
	if broken == nil {
		broken = io.EOF
	}
	response.Body = io.NopCloser(io.MultiReader(bytes.NewReader(body), failing{broken}))
	if !errors.Is(broken, io.EOF) {
		return response, nil // half a response is the caller's to judge
	}
	if response.Header.Get("X-Request-Id") == "" {
		return response, nil
	}
	x.body, x.status, x.header = body, response.StatusCode, response.Header
	if err := t.checker.check(x); err != nil {
		t.report(err)
	}
	return response, nil
}
