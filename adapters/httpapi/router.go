package httpapi

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humamux"
	"github.com/gorilla/mux"
)

// A surface is the API without a configuration: the routes, their router and
// their document. It is made once, as huma derives schemas by reflection, and
// every handler that [New] returns shares it.
type surface struct {
	routes []*route
	router *mux.Router
	huma   huma.API
}

var theSurface = sync.OnceValue(func() *surface { return newSurface(routes()) })

// newSurface registers the routes with huma and gorilla/mux. Of two paths the one
// with fewer variables comes first: /workers/statistics is never taken for a
// worker's id, whatever the method.
func newSurface(table []route) *surface {
	s := &surface{router: mux.NewRouter().UseEncodedPath().SkipClean(true)}
	s.router.NotFoundHandler = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		c := contextOf(r.Context())
		c.fail(errNoRoute(c.r))
	})
	s.huma = humamux.New(s.router, humaConfig())
	byPath := make(map[string][]*route)
	for i := range table {
		r := &table[i]
		r.index = i
		s.routes = append(s.routes, r)
		byPath[r.fullPath()] = append(byPath[r.fullPath()], r)
	}
	paths := make([]string, 0, len(byPath))
	for path := range byPath {
		paths = append(paths, path)
	}
	slices.SortFunc(paths, func(a, b string) int {
		return cmp.Or(cmp.Compare(strings.Count(a, "{"), strings.Count(b, "{")), cmp.Compare(a, b))
	})
	for _, path := range paths {
		for _, r := range byPath[path] {
			r.register(s.huma, r)
		}
		s.router.Path(path).Handler(otherMethods(byPath[path]))
	}
	for _, path := range pagePaths {
		s.router.Path(path).Methods(http.MethodGet).HandlerFunc(servePage)
		s.router.Path(path).Handler(otherMethods([]*route{{method: http.MethodGet}}))
	}
	return s
}

func humaConfig() huma.Config {
	config := huma.Config{
		OpenAPI:       newDocument(),
		Formats:       map[string]huma.Format{"application/json": {Marshal: marshal, Unmarshal: unmarshal}, "json": {Marshal: marshal, Unmarshal: unmarshal}},
		DefaultFormat: "application/json",
		Transformers:  []huma.Transformer{transform},
	}
	config.AllowAdditionalPropertiesByDefault = true // unknown members pass
	return config
}

// otherMethods answers OPTIONS, and refuses the methods that a path has no route
// for. gorilla/mux would do the latter without an Allow header.
func otherMethods(routes []*route) http.Handler {
	methods := []string{http.MethodOptions}
	for _, r := range routes {
		methods = append(methods, r.method)
		if r.method == http.MethodGet {
			methods = append(methods, http.MethodHead)
		}
	}
	slices.Sort(methods)
	allow := []string{strings.Join(methods, ", ")}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := contextOf(r.Context())
		w.Header()["Allow"] = allow
		if c.r.Method == http.MethodOptions {
			c.send(http.StatusNoContent, nil, nil)
			return
		}
		c.fail(errMethod(c.r, allow[0]))
	})
}

// rewrite returns the request as the router takes it: /api becomes /api/v1, HEAD
// becomes GET, and a slash at the end goes.
func (c *requestContext) rewrite() *http.Request {
	r := c.r.WithContext(c)
	if r.Method == http.MethodHead {
		r.Method = http.MethodGet
	}
	path, raw := canonicalPath(r.URL.Path), r.URL.RawPath
	if raw != "" {
		raw = canonicalPath(raw)
	}
	if path != r.URL.Path || raw != r.URL.RawPath {
		u := url.URL{Path: path, RawPath: raw, RawQuery: r.URL.RawQuery}
		r.URL = &u
	}
	return r
}

func canonicalPath(path string) string {
	if len(path) > 1 {
		path = strings.TrimSuffix(path, "/")
	}
	rest, ok := strings.CutPrefix(path, "/api/")
	if !ok || strings.HasPrefix(rest, "v1/") {
		return path
	}
	return basePath + "/" + rest
}
