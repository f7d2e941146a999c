package httpapi

import (
	"bytes"
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
)

// loaded is the document in one form.
func loaded(t *testing.T, form Format) *openapi3.T {
	t.Helper()
	text, err := Document("1.2.3", form)
	require.NoError(t, err)
	again, err := Document("1.2.3", form)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(text, again), "%s differs from one time to the next", form)
	assert.False(t, bytes.Contains(text, []byte("ErrorModel")), "huma's own form of errors is never answered")
	doc, err := openapi3.NewLoader().LoadFromData(text)
	require.NoError(t, err, form)
	assert.Equal(t, "1.2.3", doc.Info.Version)
	return doc
}

func TestDocument_AnyForm_IsValid(t *testing.T) {
	newest := loaded(t, FormatJSON)
	assert.NoError(t, newest.Validate(t.Context()), "OpenAPI 3.1")
	assert.NoError(t, loaded(t, FormatJSON3).Validate(t.Context()), "OpenAPI 3.0")
	want, err := newest.MarshalJSON()
	require.NoError(t, err)
	got, err := loaded(t, FormatYAML).MarshalJSON()
	require.NoError(t, err)
	assert.True(t, bytes.Equal(want, got), "YAML and JSON say the same")
}

// parsed is the document as JSON values.
func parsed(t *testing.T) map[string]any {
	t.Helper()
	text, err := Document("1.0.0", FormatJSON)
	require.NoError(t, err)
	var doc map[string]any
	require.NoError(t, json.Unmarshal(text, &doc))
	return doc
}

func TestDocument_EveryOperation_IsDescribed(t *testing.T) {
	doc := parsed(t)
	paths, operations := at(doc, "paths"), 0
	for path := range paths {
		operations += len(at(paths, path))
	}
	assert.Equal(t, len(apiRoutes), operations, "operations of the document")
	ids := make(map[string]bool)
	for i := range apiRoutes {
		r := &apiRoutes[i]
		op := at(paths, r.fullPath(), strings.ToLower(r.method))
		require.NotNil(t, op, r.fullPath())
		assert.False(t, ids[r.id], "%s is used twice", r.id)
		ids[r.id] = true
		assert.NotEmpty(t, op["summary"], r.id)
		assert.Greater(t, len(text(op["description"])), 30, r.id)
		assert.Equal(t, r.credential != public, op["security"] != nil, r.id)
		for status := range at(op, "responses") {
			response := at(op, "responses", status)
			if ref := text(response["$ref"]); ref != "" {
				name := ref[strings.LastIndexByte(ref, '/')+1:]
				assert.NotEmpty(t, at(doc, "components", "responses", name, "content", "application/json")["examples"], name)
				continue
			}
			if r.stream {
				assert.NotNil(t, at(response, "content", "*/*", "schema"), "%s %s", r.id, status)
				continue
			}
			assert.NotNil(t, at(response, "content", "application/json")["example"], "%s %s", r.id, status)
		}
		parameters, _ := op["parameters"].([]any)
		for _, p := range parameters {
			assert.NotEmpty(t, at(p.(map[string]any), "schema")["type"], "%s %v", r.id, p)
		}
	}
}

// The server accepts every request that the document shows as an example.
func TestDocument_ExampleRequests_Succeed(t *testing.T) {
	doc := parsed(t)
	for i := range apiRoutes {
		r := &apiRoutes[i]
		media := at(doc, "paths", r.fullPath(), strings.ToLower(r.method), "requestBody", "content", "application/json")
		if media == nil {
			continue
		}
		body, err := json.Marshal(media["example"])
		require.NoError(t, err)
		got, _ := ask(t, r.method, example(r), tokenFor(r), string(body))
		assert.Less(t, got.Code, 300, "%s %s %s: %s", r.method, r.path, body, got.Body)
	}
}

// What receivers of webhooks get is described: the headers, the event, and when it comes again.
func TestDocument_Webhooks_AreDescribed(t *testing.T) {
	doc := parsed(t)
	op := at(doc, "webhooks", "event", "post")
	var headers []string
	for _, p := range op["parameters"].([]any) {
		headers = append(headers, p.(map[string]any)["name"].(string))
	}
	assert.Equal(t, []string{"webhook-id", "webhook-timestamp", "webhook-signature"}, headers)
	ref := at(op, "requestBody", "content", "application/json", "schema")["$ref"].(string)
	assert.NotNil(t, at(doc, "components", "schemas", strings.TrimPrefix(ref, "#/components/schemas/"), "properties")["position"])
	var waits []string
	for _, wait := range domain.DefaultWebhookPolicy().Retry {
		text := strings.NewReplacer("h0m0s", " h", "m0s", " min", "s", " s").Replace(wait.String())
		waits = append(waits, text)
	}
	last := len(waits) - 1
	assert.Contains(t, op["description"], "after "+strings.Join(waits[:last], ", ")+" and "+waits[last])
}

func TestDocument_EveryCode_HasAMessage(t *testing.T) {
	for i := range apiRoutes {
		r := &apiRoutes[i]
		for _, code := range append(r.credential.codes(), r.errors...) {
			assert.NotEmpty(t, failureMessages[code], code)
		}
	}
}

func TestPages_AreServed(t *testing.T) {
	h := New(config(&stub{}))
	for path, want := range map[string]struct{ contentType, content string }{
		"/openapi.json":     {"application/json; charset=utf-8", `"openapi": "3.1.0"`},
		"/openapi-3.0.json": {"application/json; charset=utf-8", `"openapi": "3.0.3"`},
		"/openapi.yaml":     {"application/yaml; charset=utf-8", "openapi: 3.1.0"},
		"/docs":             {"text/html; charset=utf-8", "<!doctype html>"},
		"/docs/":            {"text/html; charset=utf-8", "<!doctype html>"},
		"/docs/style.css":   {"text/css; charset=utf-8", "body {"},
	} {
		r := request("GET", path, "", "")
		w := serveRaw(h, r)
		assert.Equal(t, http.StatusOK, w.Code, path)
		assert.Equal(t, want.contentType, w.Header().Get("Content-Type"), path)
		assert.Contains(t, w.Body.String(), want.content, path)
		post := serve(t, h, request("POST", path, "", ""))
		assert.Equal(t, http.StatusMethodNotAllowed, post.Code, path)
		assert.Equal(t, "GET, HEAD, OPTIONS", post.Header().Get("Allow"), path)
	}
	for _, path := range []string{"/api/docs", "/api/v1/openapi.json", "/docs/page.html", "/docs/nothing"} {
		assert.Equal(t, http.StatusNotFound, serve(t, h, request("GET", path, "", "")).Code, path)
	}
}

// The page loads nothing but its own style sheet and has nothing inline.
func TestDocs_Policy_IsStrict(t *testing.T) {
	w := serveRaw(New(config(&stub{})), request("GET", "/docs", "", ""))
	assert.Equal(t, "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
		w.Header().Get("Content-Security-Policy"))
	page := w.Body.String()
	for _, forbidden := range []string{"<script", "<style", " style=", " onclick=", "<img", "<iframe"} {
		assert.NotContains(t, page, forbidden)
	}
	for _, link := range regexp.MustCompile(`(?:href|src)="([^"]*)"`).FindAllStringSubmatch(page, -1) {
		assert.Regexp(t, `^(#|/docs/style\.css$|/openapi)`, link[1])
	}
	for i := range apiRoutes {
		assert.Contains(t, page, `<details id="`+apiRoutes[i].id+`">`)
		assert.Contains(t, page, `<a href="#`+apiRoutes[i].id+`">`)
	}
}
