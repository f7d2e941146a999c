package httpapi

import (
	"bytes"
	"cmp"
	"encoding/json"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/yaml"

	"github.com/switchyard-wa/switchyard/domain"
)

// The tags of the document, in its order.
const (
	tagSignIn   = "Sign-in"
	tagAccount  = "Account"
	tagSessions = "Sessions"
	tagMessages = "Messages"
	tagEvents   = "Events"
	tagWebhooks = "Webhooks"
	tagFleet    = "Fleet"
	tagProtocol = "Worker protocol"
	tagAdmin    = "Administration"
	tagHealth   = "Health"
)

const documentDescription = `Switchyard runs fleets of WhatsApp sessions. Register, create a session, connect it, scan its QR code, and send with its API key.

Every success is ` + "`{success, data, message, timestamp}`" + ` and every failure ` + "`{success, error: {code, message, details}, message, requestId, timestamp}`" + `. All problems of a request are reported at once, by field. Unknown members of a request are ignored unless the operation says otherwise; ` + "`null`" + ` is like a member that is not there.

Every response carries X-Request-Id; a request may bring its own. Limited operations carry X-RateLimit-Limit, X-RateLimit-Remaining and X-RateLimit-Reset, and a 429 also Retry-After. HEAD is answered like GET. The paths below /api/v1 also answer below /api, for older clients.`

// newDocument returns the document without the operations.
func newDocument() *huma.OpenAPI {
	tag := func(name, description string) *huma.Tag { return &huma.Tag{Name: name, Description: description} }
	return &huma.OpenAPI{
		OpenAPI: "3.1.0",
		Info: &huma.Info{
			Title: "Switchyard", Description: documentDescription, Version: "dev",
			License: &huma.License{Name: "See LICENSE in the sources"},
		},
		Servers: []*huma.Server{{URL: "/", Description: "The server that shows this document"}},
		Tags: []*huma.Tag{
			tag(tagSignIn, "Accounts, tokens and passwords."),
			tag(tagAccount, "What a user sees and changes of the own account."),
			tag(tagSessions, "WhatsApp sessions: create, connect, stop, delete."),
			tag(tagMessages, "Sending, acting on messages, and the history."),
			tag(tagEvents, "What happened to sessions and messages, in one recorded order."),
			tag(tagWebhooks, "Events of a session, posted to URLs of its owner: signed, in order, at least once."),
			tag(tagFleet, "The workers, for administrators."),
			tag(tagProtocol, "What workers call. Bodies are decoded leniently."),
			tag(tagAdmin, "Users, sessions and migrations of everybody, for administrators."),
			tag(tagHealth, "For load balancers and monitoring."),
		},
		Components: &huma.Components{
			Schemas:   huma.NewMapRegistry("#/components/schemas/", schemaName),
			Responses: make(map[string]*huma.Response),
			SecuritySchemes: map[string]*huma.SecurityScheme{
				schemeUser:   {Type: "http", Scheme: "bearer", BearerFormat: "JWT", Description: "Access token from register, login or refresh"},
				schemeAPIKey: {Type: "http", Scheme: "bearer", Description: "API key of one session, wg_…"},
				schemeWorker: {Type: "http", Scheme: "bearer", Description: "The fleet's token, or the worker's own from its registration"},
			},
		},
	}
}

// schemaName names the schema of a type: Session for SessionView, SessionResponse
// for its envelope, CreateSessionRequest for a createSessionBody.
func schemaName(t reflect.Type, hint string) string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	name := cmp.Or(t.Name(), hint)
	if inner, ok := strings.CutPrefix(name, "envelope["); ok {
		list := strings.HasPrefix(inner, "[]")
		inner = strings.TrimSuffix(inner[strings.LastIndexByte(inner, '.')+1:], "]")
		inner = strings.TrimSuffix(inner, "View")
		if list {
			inner += "List"
		}
		return capital(inner) + "Response"
	}
	switch name {
	case "failureEnvelope":
		return "Error"
	case "failureView":
		return "ErrorBody"
	}
	if body, ok := strings.CutSuffix(name, "Body"); ok {
		return capital(body) + "Request"
	}
	return capital(strings.TrimSuffix(name, "View"))
}

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// codes returns every error code that the route can answer.
func (r *route) codes(input reflect.Type) []domain.Code {
	list := append(slices.Clone(r.errors), r.credential.codes()...)
	switch r.limit {
	case perIP, perUser:
		list = append(list, domain.CodeRateLimit)
	case perKey:
		if r.credential == keyOrUser {
			list = append(list, domain.CodeRateLimit)
		}
	}
	if input.NumField() > 0 && input.Field(0).Type != reflect.TypeFor[SessionPath]() || input.NumField() > 1 {
		list = append(list, domain.CodeValidation)
	}
	if _, hasBody := input.FieldByName("Body"); hasBody || r.cost != cheap {
		list = append(list, domain.CodeOverloaded)
	}
	if !r.root {
		list = append(list, domain.CodeInternal, domain.CodeNotReady, domain.CodeWorkerTimeout)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// responses describes the success, and every error that the route can answer.
func (r *route) responses(doc *huma.OpenAPI, input reflect.Type) map[string]*huma.Response {
	byStatus := make(map[int][]domain.Code)
	for _, code := range r.codes(input) {
		status := toHTTPError(domain.Errorf(domain.Unavailable, code, "")).status
		byStatus[status] = append(byStatus[status], code)
	}
	if _, ok := input.FieldByName("Body"); ok {
		for _, status := range []int{http.StatusRequestTimeout, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType} {
			byStatus[status] = []domain.Code{domain.CodeValidation}
		}
	}
	responses := map[string]*huma.Response{strconv.Itoa(successOf(r)): {Description: r.message, Headers: r.headers()}}
	for status, codes := range byStatus {
		responses[strconv.Itoa(status)] = errorResponse(doc, status, codes)
	}
	return responses
}

// headers describes the headers of a success.
func (r *route) headers() map[string]*huma.Param {
	header := func(kind, description string, example any) *huma.Param {
		return &huma.Param{Description: description, Schema: &huma.Schema{Type: kind}, Example: example}
	}
	headers := map[string]*huma.Param{"X-Request-Id": header(huma.TypeString, "The request's id", "01JX3B5ZKQ7M")}
	if r.limit != unlimited {
		headers["X-RateLimit-Limit"] = header(huma.TypeInteger, "Requests allowed in the window", 6000)
		headers["X-RateLimit-Remaining"] = header(huma.TypeInteger, "Requests left in the window", 5999)
		headers["X-RateLimit-Reset"] = header(huma.TypeInteger, "When the window ends, in seconds since 1970", 1772366460)
	}
	if r.takesIdempotencyKey() {
		headers[replayed] = header(huma.TypeString, "Is `true` if the request was a repeat, which sent nothing", "true")
	}
	return headers
}

// takesIdempotencyKey reports whether the route records messages, once for each key.
func (r *route) takesIdempotencyKey() bool {
	return r.sendsMany || slices.Contains(r.errors, domain.CodeIdempotencyConflict)
}

// idempotencyKeyParam describes the header, which [api.sendByKey] reads.
func idempotencyKeyParam() *huma.Param {
	least, most := 1, 255
	return &huma.Param{
		Name: idempotencyKey, In: "header", Example: "order-17",
		Description: "Makes the request safe to repeat for 24 hours. Use a new key for each message",
		Schema:      &huma.Schema{Type: huma.TypeString, MinLength: &least, MaxLength: &most, Pattern: "^[ -~]+$"},
	}
}

// errorResponse returns a reference to the response with these codes, which many
// operations share.
func errorResponse(doc *huma.OpenAPI, status int, codes []domain.Code) *huma.Response {
	name := strconv.Itoa(status)
	enum, examples := make([]any, len(codes)), make(map[string]*huma.Example)
	for i, code := range codes {
		name += "-" + string(code)
		enum[i] = string(code)
		examples[string(code)] = &huma.Example{Summary: string(code), Value: failureExample(status, code)}
	}
	ref := &huma.Response{Ref: "#/components/responses/" + name}
	if doc.Components.Responses[name] != nil {
		return ref
	}
	failure := doc.Components.Schemas.Schema(reflect.TypeFor[failureEnvelope](), true, "")
	code := &huma.Schema{Type: huma.TypeObject, Properties: map[string]*huma.Schema{"code": {Type: huma.TypeString, Enum: enum}}}
	response := &huma.Response{
		Description: http.StatusText(status),
		Content: map[string]*huma.MediaType{"application/json": {
			Schema:   &huma.Schema{AllOf: []*huma.Schema{failure, {Type: huma.TypeObject, Properties: map[string]*huma.Schema{"error": code}}}},
			Examples: examples,
		}},
	}
	if status == http.StatusTooManyRequests || slices.Contains(codes, domain.CodeOverloaded) {
		response.Headers = map[string]*huma.Param{
			"Retry-After": {Description: "Seconds to wait", Schema: &huma.Schema{Type: huma.TypeInteger}, Example: 60},
		}
	}
	doc.Components.Responses[name] = response
	return ref
}

// A Format is a form of the document.
type Format string

// The forms of the document.
const (
	FormatJSON  Format = "json" // OpenAPI 3.1
	FormatYAML  Format = "yaml" // OpenAPI 3.1
	FormatJSON3 Format = "3.0"  // OpenAPI 3.0, as JSON, for older tools
)

// Document returns the OpenAPI document of the API for a version of the server.
func Document(version string, form Format) ([]byte, error) {
	doc := theSurface().document(version)
	if form == FormatJSON3 {
		doc = downgrade(doc).(map[string]any)
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(doc); err != nil {
		return nil, err
	}
	if form != FormatYAML {
		return out.Bytes(), nil
	}
	var text bytes.Buffer
	err := yaml.Convert(&text, &out)
	return text.Bytes(), err
}

// document returns the document as JSON values, with what huma does not say: where
// null is accepted, and an example of every body.
func (s *surface) document(version string) map[string]any {
	text, err := json.Marshal(s.huma.OpenAPI())
	var doc map[string]any
	if err == nil {
		err = json.Unmarshal(text, &doc)
	}
	if err != nil {
		panic(err) // the document is made of plain values
	}
	doc["info"].(map[string]any)["version"] = cmp.Or(version, "dev")
	doc["webhooks"] = receivedWebhook()
	schemas := at(doc, "components", "schemas")
	requests := make(map[string]bool)
	for _, r := range s.routes {
		op := at(doc, "paths", r.fullPath(), strings.ToLower(r.method))
		media := at(op, "requestBody", "content", "application/json")
		if media != nil {
			collect(media, schemas, requests)
			media["example"] = exampleOf(media["schema"], schemas)
		}
		r.finish(op, schemas)
	}
	used := make(map[string]bool)
	collect(doc["paths"], schemas, used)
	collect(doc["webhooks"], schemas, used)
	collect(at(doc, "components", "responses"), schemas, used)
	for name, schema := range schemas {
		if !used[name] {
			delete(schemas, name) // huma's own form of errors
		}
		finishSchema(schema.(map[string]any), requests[name])
	}
	return doc
}

// acceptedResponse describes the answer 202 of a send route. sent describes its answer 200.
func acceptedResponse(sent map[string]any) map[string]any {
	accepted := maps.Clone(sent)
	success := at(sent, "content", "application/json")
	example := maps.Clone(success["example"].(map[string]any))
	data := maps.Clone(example["data"].(map[string]any))
	data["messageId"], data["status"] = nil, domain.MessagePending
	example["data"], example["message"] = data, acceptedMessage
	accepted["description"] = acceptedMessage
	accepted["content"] = map[string]any{"application/json": map[string]any{"schema": success["schema"], "example": example}}
	return accepted
}

// finish adds what the declaration of an operation says beyond huma.
func (r *route) finish(op, schemas map[string]any) {
	op["x-credential"] = r.credential.String()
	response := at(op, "responses", strconv.Itoa(successOf(r)))
	content := at(response, "content")
	success := at(content, "application/json")
	if r.stream {
		describeStream(op)
		return
	}
	example, _ := exampleOf(success["schema"], schemas).(map[string]any)
	example["message"] = r.message
	success["example"] = example
	if r.takesIdempotencyKey() && !r.sendsMany {
		at(op, "responses")[strconv.Itoa(http.StatusAccepted)] = acceptedResponse(response)
	}
	if r.download {
		data := at(schemas, strings.TrimPrefix(success["schema"].(map[string]any)["$ref"].(string), "#/components/schemas/"), "properties")["data"].(map[string]any)
		content["application/json"] = map[string]any{"schema": data, "example": exampleOf(data, schemas)}
		content["text/csv"] = map[string]any{"schema": map[string]any{"type": "string"}}
	}
	if r.images {
		content["image/png"] = map[string]any{"schema": map[string]any{"type": "string", "format": "binary"}}
		content["image/svg+xml"] = map[string]any{"schema": map[string]any{"type": "string"}}
		content["text/plain"] = map[string]any{"schema": map[string]any{"type": "string"}}
	}
	if r.id == "registerWorker" { // a known worker
		again := maps.Clone(response)
		again["description"] = "Worker registered before"
		at(op, "responses")["200"] = again
	}
}

// describeStream describes the answers of a route that streams.
func describeStream(op map[string]any) {
	responses := at(op, "responses")
	content := map[string]any{"*/*": map[string]any{"schema": map[string]any{"type": "string", "format": "binary"}}}
	responses["200"] = map[string]any{"description": "The media", "content": content}
	responses["206"] = map[string]any{"description": "The part of the media that Range selects", "content": content}
	responses["416"] = responses["400"] // the same form
}

// at follows keys into nested objects; it returns nil where there is none.
func at(v map[string]any, keys ...string) map[string]any {
	for _, key := range keys {
		v, _ = v[key].(map[string]any)
	}
	return v
}

// collect notes the schemas that a value refers to.
func collect(v any, schemas map[string]any, found map[string]bool) {
	switch v := v.(type) {
	case map[string]any:
		if name, ok := referred(v); ok && !found[name] {
			found[name] = true
			collect(schemas[name], schemas, found)
		}
		for _, child := range v {
			collect(child, schemas, found)
		}
	case []any:
		for _, child := range v {
			collect(child, schemas, found)
		}
	}
}

// referred returns the name of the schema that a reference leads to.
func referred(schema map[string]any) (string, bool) {
	ref, _ := schema["$ref"].(string)
	return strings.CutPrefix(ref, "#/components/schemas/")
}

// finishSchema says where null is accepted: in requests for every member that may
// be missing, in answers for no array.
func finishSchema(schema map[string]any, isRequest bool) {
	required, _ := schema["required"].([]any)
	properties, _ := schema["properties"].(map[string]any)
	for name, p := range properties {
		property := p.(map[string]any)
		switch {
		case !isRequest || slices.Contains(required, any(name)):
			if types, ok := property["type"].([]any); ok && types[0] == "array" {
				property["type"] = "array"
			}
		case property["$ref"] != nil:
			properties[name] = map[string]any{"anyOf": []any{property, map[string]any{"type": "null"}}}
		case property["minLength"] == nil:
			if kind, ok := property["type"].(string); ok {
				property["type"] = []any{kind, "null"}
			}
		}
	}
}

// exampleOf composes an example of a schema from those of its parts. It leaves out
// members that may be missing and have no example.
func exampleOf(v any, schemas map[string]any) any {
	schema, _ := v.(map[string]any)
	if examples, ok := schema["examples"].([]any); ok {
		return examples[0]
	}
	if name, ok := referred(schema); ok {
		return exampleOf(schemas[name], schemas)
	}
	if any, ok := schema["anyOf"].([]any); ok {
		return exampleOf(any[0], schemas)
	}
	kind := schema["type"]
	if kinds, ok := kind.([]any); ok {
		kind = kinds[0]
		if kind != "array" {
			return nil
		}
	}
	switch kind {
	case "object":
		example := make(map[string]any)
		required, _ := schema["required"].([]any)
		for name, p := range at(schema, "properties") {
			property := p.(map[string]any)
			if !slices.Contains(required, any(name)) && property["examples"] == nil {
				continue
			}
			example[name] = exampleOf(property, schemas)
		}
		if other, ok := schema["additionalProperties"].(map[string]any); ok {
			example["text"] = exampleOf(other, schemas)
		}
		return example
	case "array":
		return []any{exampleOf(schema["items"], schemas)}
	case "string":
		return "text"
	case "integer", "number":
		return 1
	case "boolean":
		return true
	}
	return nil
}

// downgrade turns a part of the document into OpenAPI 3.0, which has nullable
// instead of a type null, and one example instead of several.
func downgrade(v any) any {
	switch v := v.(type) {
	case []any:
		list := make([]any, len(v))
		for i, child := range v {
			list[i] = downgrade(child)
		}
		return list
	case map[string]any:
		out := make(map[string]any, len(v))
		for key, child := range v {
			out[key] = downgrade(child)
		}
		downgradeSchema(out)
		return out
	}
	return v
}

func downgradeSchema(s map[string]any) {
	if s["openapi"] == "3.1.0" {
		s["openapi"] = "3.0.3"
		delete(s, "webhooks") // 3.0 has no such section
	}
	if kinds, ok := s["type"].([]any); ok && len(kinds) == 2 {
		s["type"], s["nullable"] = kinds[0], true
	}
	properties, _ := s["properties"].(map[string]any)
	for _, p := range properties {
		if property := p.(map[string]any); property["type"] == nil && property["allOf"] == nil && property["$ref"] == nil {
			property["nullable"] = true // any value
		}
	}
	if s["format"] == "binary" {
		delete(s, "contentMediaType")
	}
	if s["type"] == "null" {
		s["type"], s["nullable"], s["maxProperties"] = "object", true, 0
	}
	if examples, ok := s["examples"].([]any); ok {
		s["example"] = examples[0]
		delete(s, "examples")
	}
	if options, ok := s["anyOf"].([]any); ok && len(options) == 2 {
		s["allOf"], s["nullable"] = options[:1], true
		delete(s, "anyOf")
	}
	if ref := s["$ref"]; ref != nil && len(s) > 1 {
		s["allOf"] = []any{map[string]any{"$ref": ref}}
		delete(s, "$ref")
	}
}
