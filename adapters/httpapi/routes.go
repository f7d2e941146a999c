package httpapi

import (
	"context"
	"net/http"
	"reflect"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/switchyard-wa/switchyard/adapters/internal/view"
	"github.com/switchyard-wa/switchyard/domain"
)

// A route declares one operation of the API. Routing, decoding, validation, the
// credential, the limits, the document and the listing in testdata come from it.
type route struct {
	id          string // of the operation, for generated clients
	method      string
	path        string // below /api/v1 unless root, with {variables}
	tag         string
	summary     string
	description string // what it does and when it fails
	credential  credential
	limit       limitClass
	cost        cost
	status      int           // of a success; 0 is 200
	message     string        // of a success
	errors      []domain.Code // besides those of the credential, the limit and the input
	media       bool          // takes base64 media, so bodies may be larger
	file        int64         // bytes of the file that a form may have; 0: takes no forms
	quiet       bool          // comes so often that the access log has it only at debug level
	root        bool          // not below the base paths
	lenient     bool          // decoded by lenient types, which huma does not validate
	hot         bool          // called so often that huma validates bodies only when they cannot be decoded
	sendsMany   bool          // sends several messages; one may fail while others succeed
	optional    bool          // may come without a body
	images      bool          // answers images too
	download    bool          // answers rows as CSV or JSON, without an envelope
	stream      bool          // answers a stream of bytes, and JSON only to tell of a failure

	// What follows is filled in by register.
	register func(huma.API, *route)
	index    int // in the table
	registry huma.Registry
	schema   *huma.Schema            // of the body; nil if it is lenient or not read
	fields   []string                // of the body, then parameters, as declared
	params   map[string]*huma.Schema // by name
	isFlag   map[string]bool         // parameters that are true or false
	hasQuery bool
	strict   map[*huma.Schema][]string // the members of objects that refuse others
}

// A handler uses one service for a decoded request and returns the data of the
// answer.
type handler[I, O any] func(a *api, ctx context.Context, c *requestContext, in *I) (O, error)

// noInput is the input of operations that read neither parameters nor a body.
type noInput struct{}

// output is what huma writes.
type output[T any] struct {
	Status int
	Body   envelope[T]
}

const (
	get  = http.MethodGet
	post = http.MethodPost
	put  = http.MethodPut
	del  = http.MethodDelete
)

const basePath = "/api/v1"

// routes returns the whole API. The listing in testdata has the same order.
func routes() []route {
	return slices.Concat(signInRoutes(), accountRoutes(), sessionRoutes(), eventRoutes(), webhookRoutes(), messageRoutes(), scheduledRoutes(), actionRoutes(),
		fleetRoutes(), workerRoutes(), adminRoutes(), auditRoutes(), exportRoutes(), healthRoutes())
}

// operation completes the declaration of a route with its handler, whose types
// describe input and output.
func operation[I, O any](r route, handle handler[I, O]) route {
	r.register = func(h huma.API, r *route) {
		var required []requirement
		bodyIndex := -1
		if f, ok := reflect.TypeFor[I]().FieldByName("Body"); ok && !r.lenient {
			bodyIndex, required = f.Index[0], requirements(f.Type)
		}
		op := r.declare(h.OpenAPI(), reflect.TypeFor[I]())
		huma.Register(h, op, func(ctx context.Context, in *I) (*output[O], error) {
			c := contextOf(ctx)
			if bodyIndex >= 0 && (len(r.strict) > 0 || !isComplete(reflect.ValueOf(in).Elem().Field(bodyIndex), required)) {
				if err := c.recheck(); err != nil {
					return nil, &handlerError{err}
				}
			}
			if len(c.queryProblems) > 0 {
				return nil, &handlerError{c.invalid(nil)}
			}
			data, err := handle(c.api, ctx, c, in)
			if err != nil {
				return nil, &handlerError{err}
			}
			return &output[O]{c.successStatus(), envelope[O]{true, data, c.successMessage(), view.Time(c.api.Clock.Now())}}, nil
		})
		r.learn(h.OpenAPI(), reflect.TypeFor[I]())
	}
	return r
}

// recheck looks for members of the body that huma takes for present or known
// because it ignores their case.
func (c *requestContext) recheck() error {
	if _, problems := inspect(c.document(), c.route); len(problems) > 0 || len(c.route.strict) == 0 {
		return c.invalid(nil)
	}
	return nil
}

// handlerError passes an error of a service through huma as it is.
type handlerError struct{ error }

// Unwrap returns the error.
func (e *handlerError) Unwrap() error { return e.error }

// GetStatus makes huma write the error itself.
func (e *handlerError) GetStatus() int { return toHTTPError(e.error).status }

// fullPath returns the path as clients write it.
func (r *route) fullPath() string {
	if r.root {
		return r.path
	}
	return basePath + r.path
}

// declare returns what huma is told of the route.
func (r *route) declare(doc *huma.OpenAPI, input reflect.Type) huma.Operation {
	return huma.Operation{
		OperationID: r.id, Method: r.method, Path: r.fullPath(),
		Tags: []string{r.tag}, Summary: r.summary, Description: r.description,
		DefaultStatus: successOf(r), MaxBodyBytes: -1, BodyReadTimeout: -1, // [requestBody] limits both
		SkipValidateBody: r.lenient || r.hot,
		Security:         r.credential.security(),
		Responses:        r.responses(doc, input),
		Middlewares:      huma.Middlewares{r.serve},
	}
}

func successOf(r *route) int {
	if r.status == 0 {
		return http.StatusOK
	}
	return r.status
}

// learn takes over what huma has made of the declaration.
func (r *route) learn(doc *huma.OpenAPI, input reflect.Type) {
	op := operationAt(doc, r)
	delete(op.Responses, "default") // huma's own form of errors
	r.registry = doc.Components.Schemas
	r.params, r.isFlag = make(map[string]*huma.Schema), make(map[string]bool)
	if body, ok := input.FieldByName("Body"); ok {
		r.fields = jsonNames(body.Type)
		op.RequestBody.Required = !r.optional
		if s := op.RequestBody.Content["application/json"].Schema; !r.lenient {
			r.schema, r.strict = s, make(map[*huma.Schema][]string)
			findStrict(s, r.registry, r.strict)
		}
		if r.file > 0 {
			op.RequestBody.Content["multipart/form-data"] = &huma.MediaType{Schema: r.formSchema()}
		}
	}
	for _, p := range op.Parameters {
		r.fields = append(r.fields, p.Name)
		r.params[p.Name] = p.Schema
		r.isFlag[p.Name] = p.Schema.Type == huma.TypeBoolean
		r.hasQuery = r.hasQuery || p.In == "query"
	}
	if r.takesIdempotencyKey() {
		op.Parameters = append(op.Parameters, idempotencyKeyParam())
	}
}

func operationAt(doc *huma.OpenAPI, r *route) *huma.Operation {
	item := doc.Paths[r.fullPath()]
	switch r.method {
	case get:
		return item.Get
	case post:
		return item.Post
	case put:
		return item.Put
	}
	return item.Delete
}

// jsonNames lists the members of a struct as declared.
func jsonNames(t reflect.Type) []string {
	var names []string
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Anonymous && f.Tag.Get("json") == "" {
			names = append(names, jsonNames(f.Type)...)
			continue
		}
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" && name != "-" {
			names = append(names, name)
		}
	}
	return names
}

// findStrict collects the objects that refuse unknown members, with their members
// as declared.
func findStrict(s *huma.Schema, registry huma.Registry, found map[*huma.Schema][]string) {
	object := resolve(s, registry)
	if object.AdditionalProperties == false && s.Ref != "" {
		found[object] = jsonNames(registry.TypeFromRef(s.Ref))
	}
	for _, m := range object.Properties {
		findStrict(m, registry, found)
	}
}

// serve is the huma middleware of the route: it runs the go-kit endpoint of the
// route, with the credential and the limits in front of huma's decoding.
func (r *route) serve(ctx huma.Context, next func(huma.Context)) {
	c := contextOf(ctx.Context())
	c.route = r
	c.operation = operationContext{humaContext: ctx, c: c, next: next}
	c.body.c = c
	if _, err := c.api.endpoints[r.index](ctx.Context(), c); err != nil {
		c.fail(err)
		return
	}
	c.flush()
}

// decodeAndHandle is the innermost go-kit endpoint: huma decodes the request and
// calls the handler.
func decodeAndHandle(_ context.Context, request any) (any, error) {
	c := request.(*requestContext)
	if c.route.hasQuery {
		c.parseQuery()
	}
	c.operation.next(&c.operation)
	return nil, nil
}

// transform turns errors into our envelope before huma writes them.
func transform(ctx huma.Context, _ string, v any) (any, error) {
	switch v := v.(type) {
	case *handlerError:
		return contextOf(ctx.Context()).failure(v.error), nil
	case *huma.ErrorModel:
		c := contextOf(ctx.Context())
		return c.failure(c.invalid(v.Errors)), nil
	case huma.StatusError: // of a program that has replaced huma.NewError
		c := contextOf(ctx.Context())
		return c.failure(c.invalid(nil)), nil
	}
	return v, nil
}
