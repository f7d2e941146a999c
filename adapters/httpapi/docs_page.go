package httpapi

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
)

//go:embed docs
var docsFiles embed.FS

// docsPolicy lets the page of the document load its own style sheet and nothing
// else: it has no scripts, and nothing inline.
const docsPolicy = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// A page is a resource that describes the API.
type page struct {
	contentType string
	policy      string // Content-Security-Policy; empty: the policy of every answer
	content     func() ([]byte, error)
	compressed  func() ([]byte, error) // content, compressed by gzip
}

// pages returns what describes the API, by path. Contents are made when they are
// first asked for.
func pages(version string) map[string]page {
	document := func(form Format) func() ([]byte, error) {
		return func() ([]byte, error) { return Document(version, form) }
	}
	return map[string]page{
		"/openapi.json":     newPage("application/json; charset=utf-8", "", document(FormatJSON)),
		"/openapi-3.0.json": newPage("application/json; charset=utf-8", "", document(FormatJSON3)),
		"/openapi.yaml":     newPage("application/yaml; charset=utf-8", "", document(FormatYAML)),
		"/docs": newPage("text/html; charset=utf-8", docsPolicy,
			func() ([]byte, error) { return theSurface().renderDocs(version) }),
		"/docs/style.css": newPage("text/css; charset=utf-8", "",
			func() ([]byte, error) { return docsFiles.ReadFile("docs/style.css") }),
	}
}

// newPage returns a page whose content is made and compressed once.
func newPage(contentType, policy string, build func() ([]byte, error)) page {
	content := sync.OnceValues(build)
	compressed := sync.OnceValues(func() ([]byte, error) {
		plain, err := content()
		if err != nil {
			return nil, err
		}
		return compressPage(plain)
	})
	return page{contentType, policy, content, compressed}
}

// pagePaths are the paths of the pages.
var pagePaths = []string{"/openapi.json", "/openapi-3.0.json", "/openapi.yaml", "/docs", "/docs/style.css"}

// pageRoute stands in the access log for the pages.
var pageRoute = &route{path: "/docs", quiet: true}

// servePage answers with a page.
func servePage(_ http.ResponseWriter, r *http.Request) {
	c := contextOf(r.Context())
	c.route = pageRoute
	p := c.api.pages[r.URL.Path]
	content := p.content
	if c.acceptsGzip() {
		content = p.compressed
	}
	body, err := content()
	if err != nil {
		c.fail(err)
		return
	}
	if c.acceptsGzip() {
		c.w.Header().Set("Content-Encoding", "gzip")
	}
	if p.policy != "" {
		c.w.Header().Set("Content-Security-Policy", p.policy)
	}
	c.send(http.StatusOK, []string{p.contentType}, body)
}

// docs is the content of the page.
type docs struct {
	Title, Version string
	Intro          []string
	Schemes        []docField
	Groups         []docGroup
}

type docGroup struct {
	Name, Description string
	Operations        []docOperation
}

type docOperation struct {
	ID, Method, Class, Path, Summary, Description, Credential, Limit string
	Params, Body, Answer                                             []docField
	BodyOptional                                                     bool
	BodyExample, AnswerExample                                       string
	Status                                                           int
	Errors                                                           []docError
}

type docField struct {
	Name, In, Type, Description, Example string
	Required                             bool
}

type docError struct {
	Status        int
	Code, Message string
}

// A span is a piece of a text, between backticks or not.
type span struct {
	Text   string
	IsCode bool
}

func spans(text string) []span {
	var list []span
	for i, piece := range strings.Split(text, "`") {
		list = append(list, span{piece, i%2 == 1})
	}
	return list
}

var docsTemplate = template.Must(template.New("page.html").Funcs(template.FuncMap{"spans": spans}).ParseFS(docsFiles, "docs/page.html"))

// renderDocs renders the page from the document.
func (s *surface) renderDocs(version string) ([]byte, error) {
	doc := s.document(version)
	schemas := at(doc, "components", "schemas")
	info := at(doc, "info")
	d := docs{Title: text(info["title"]), Version: text(info["version"]), Intro: strings.Split(text(info["description"]), "\n\n")}
	for _, name := range []string{schemeUser, schemeAPIKey, schemeWorker} {
		d.Schemes = append(d.Schemes, docField{Name: name, Description: text(at(doc, "components", "securitySchemes", name)["description"])})
	}
	for _, tag := range s.huma.OpenAPI().Tags {
		group := docGroup{Name: tag.Name, Description: tag.Description}
		for _, r := range s.routes {
			if r.tag == tag.Name {
				group.Operations = append(group.Operations, r.document(doc, schemas))
			}
		}
		d.Groups = append(d.Groups, group)
	}
	var out bytes.Buffer
	err := docsTemplate.Execute(&out, d)
	return out.Bytes(), err
}

// document describes the operation for the page.
func (r *route) document(doc, schemas map[string]any) docOperation {
	op := at(doc, "paths", r.fullPath(), strings.ToLower(r.method))
	d := docOperation{
		ID: r.id, Method: r.method, Class: strings.ToLower(r.method), Path: r.fullPath(), Summary: r.summary, Description: r.description,
		Credential: r.credential.String(), Status: successOf(r), BodyOptional: r.optional,
		Limit: map[limitClass]string{
			perIP: "limit: 60 a minute for each address", perUser: "limit: 6000 a minute for each user", perKey: "limit: API calls of the tier",
		}[r.limit],
	}
	parameters, _ := op["parameters"].([]any)
	for _, p := range parameters {
		param := p.(map[string]any)
		field := fieldOf(text(param["name"]), at(param, "schema"), param["required"] == true)
		field.In = text(param["in"])
		d.Params = append(d.Params, field)
	}
	if media := at(op, "requestBody", "content", "application/json"); media != nil {
		d.Body = fieldsOf("", media["schema"], schemas, 3)
		d.BodyExample = indented(media["example"])
	}
	success := at(op, "responses", strconv.Itoa(d.Status), "content", "application/json")
	d.AnswerExample = indented(success["example"])
	envelope, _ := referred(at(success, "schema"))
	d.Answer = fieldsOf("data", at(schemas, envelope, "properties")["data"], schemas, 4)
	responses := at(op, "responses")
	for status := range responses {
		ref := text(at(responses, status)["$ref"])
		failure := at(doc, "components", "responses", ref[strings.LastIndexByte(ref, '/')+1:], "content", "application/json", "examples")
		n, _ := strconv.Atoi(status)
		for code, example := range failure {
			failed := at(example.(map[string]any), "value", "error")
			d.Errors = append(d.Errors, docError{n, code, text(failed["message"])})
		}
	}
	slices.SortFunc(d.Errors, func(a, b docError) int {
		return strings.Compare(fmt.Sprint(a.Status, a.Code), fmt.Sprint(b.Status, b.Code))
	})
	return d
}

// fieldsOf lists the fields of a schema and, to a depth, those within them.
func fieldsOf(prefix string, v any, schemas map[string]any, depth int) []docField {
	schema, _ := v.(map[string]any)
	if options, ok := schema["anyOf"].([]any); ok {
		schema = options[0].(map[string]any)
	}
	if name, ok := referred(schema); ok {
		schema = at(schemas, name)
	}
	if items, ok := schema["items"]; ok {
		return fieldsOf(prefix+"[]", items, schemas, depth)
	}
	required, _ := schema["required"].([]any)
	properties := at(schema, "properties")
	names := make([]string, 0, len(properties))
	for name := range properties {
		names = append(names, name)
	}
	slices.Sort(names)
	slices.SortStableFunc(names, func(a, b string) int { return rank(required, a) - rank(required, b) })
	var fields []docField
	for _, name := range names {
		path := name
		if prefix != "" {
			path = prefix + "." + name
		}
		property, _ := properties[name].(map[string]any)
		field := fieldOf(path, property, isBody(prefix) && slices.Contains(required, any(name)))
		fields = append(fields, field)
		if depth > 1 {
			fields = append(fields, fieldsOf(path, property, schemas, depth-1)...)
		}
	}
	return fields
}

// isBody reports whether fields are those of a request, by their prefix.
func isBody(prefix string) bool { return !strings.HasPrefix(prefix, "data") }

// rank orders members: those that are required as declared, then the others.
func rank(required []any, name string) int {
	if i := slices.Index(required, any(name)); i >= 0 {
		return i
	}
	return len(required)
}

func fieldOf(name string, schema map[string]any, isRequired bool) docField {
	f := docField{Name: name, Required: isRequired, Type: typeWords(schema), Description: text(schema["description"])}
	if examples, ok := schema["examples"].([]any); ok {
		f.Example = fmt.Sprint(examples[0])
	}
	return f
}

// typeWords describes the type and the limits of a schema.
func typeWords(schema map[string]any) string {
	kind := text(schema["type"])
	if kinds, ok := schema["type"].([]any); ok {
		kind = text(kinds[0])
		if len(kinds) > 1 {
			kind += " or null"
		}
	}
	switch {
	case schema["$ref"] != nil:
		kind = "object"
	case schema["anyOf"] != nil:
		kind = "object or null"
	case kind == "":
		kind = "any"
	}
	limit := func(least, most, what string) {
		from, hasLeast := schema[least].(float64)
		to, hasMost := schema[most].(float64)
		switch {
		case hasLeast && hasMost && to < 1<<31-1:
			kind += fmt.Sprintf(", %v to %v%s", from, to, what)
		case hasMost && to < 1<<31-1:
			kind += fmt.Sprintf(", at most %v%s", to, what)
		case hasLeast && what != " characters":
			kind += fmt.Sprintf(", at least %v%s", from, what)
		}
	}
	limit("minimum", "maximum", "")
	limit("minLength", "maxLength", " characters")
	limit("minItems", "maxItems", " items")
	return kind
}

func text(v any) string {
	s, _ := v.(string)
	return s
}

// indented returns an example as JSON for people, or "" for an empty one.
func indented(v any) string {
	if object, ok := v.(map[string]any); !ok || len(object) == 0 {
		return ""
	}
	var out strings.Builder
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return ""
	}
	return strings.TrimSuffix(out.String(), "\n")
}
